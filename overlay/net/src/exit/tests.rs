mod served;

use std::cell::Cell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use zmesh_proto::crowd::{Class, Via};
use zmesh_proto::node::LocalId;
use zmesh_proto::pace::Pace;
use zmesh_proto::service::Source;

use super::budget::{Budget, new_sessions};
use super::sessions::Sessions;
use crate::quic::local_address;

/// A connection that is nothing but the place where it is.
type Table = Sessions<SocketAddr>;

const MAX: usize = 3;

fn local(number: u64) -> LocalId {
    LocalId::from_u64(number)
}

fn table(max: usize) -> Table {
    Table::new(max, max / 4)
}

const fn known(link: u64) -> Via {
    Via { class: Class::Known, link }
}

const fn stranger(link: u64) -> Via {
    Via { class: Class::Stranger, link }
}

/// The link of tests that are about something else.
const VIA: Via = known(1);

fn has_room(sessions: &Table, circuit: u64, via: Via) -> bool {
    sessions.has_room(local(circuit), via, |at| *at)
}

/// Session `number` on circuit `number`, with QUIC up. Which session leaves for it.
fn enter(sessions: &mut Table, number: u64, via: Via) -> Option<LocalId> {
    assert!(has_room(sessions, number, via), "no room for session {number}");
    let leaves = sessions.enter(number, local(number), via, Arc::new(Notify::new()));
    assert!(sessions.connected(number, local_address(local(number))));
    leaves.map(|entry| entry.born_on)
}

#[test]
fn a_circuit_carries_one_session_and_a_second_once_the_first_has_moved() {
    let mut sessions = table(MAX);
    sessions.enter(1, local(7), VIA, Arc::new(Notify::new()));
    assert!(!has_room(&sessions, 7, VIA), "it shakes hands");
    sessions.connected(1, local_address(local(7)));
    assert!(!has_room(&sessions, 7, VIA) && has_room(&sessions, 8, VIA));
    sessions.connected(1, local_address(local(8)));
    assert!(has_room(&sessions, 7, VIA), "it has moved");
    sessions.enter(2, local(7), VIA, Arc::new(Notify::new()));
    sessions.connected(2, local_address(local(9)));
    assert!(!has_room(&sessions, 7, VIA), "a third never comes");
}

#[test]
fn the_oldest_session_without_a_stream_leaves_a_full_exit() {
    let mut sessions = table(MAX);
    for number in 1..=3 {
        assert_eq!(enter(&mut sessions, number, VIA), None);
    }
    sessions.stream_began(1);
    assert_eq!(enter(&mut sessions, 4, VIA), Some(local(2)));
    assert_eq!(sessions.len(), 3);
    assert!(!sessions.connected(2, local_address(local(2))), "it has no place any more");
    assert!(sessions.remove(2).is_none());
    for number in [3, 4] {
        sessions.stream_began(number);
    }
    assert!(!has_room(&sessions, 5, VIA), "everybody is busy");
    sessions.stream_began(1);
    sessions.stream_ended(1);
    assert!(!has_room(&sessions, 5, VIA), "one stream of two is left");
    sessions.stream_ended(1);
    assert!(has_room(&sessions, 5, VIA));
    assert_eq!(enter(&mut sessions, 5, VIA), Some(local(1)));
}

/// Link 1 fills the exit. What is idle over another link stays, and a third link gets in; with streams in all of them
/// it is the same.
#[test]
fn who_fills_an_exit_displaces_itself() {
    for with_streams in [false, true] {
        let mut sessions = table(40);
        let begin = |sessions: &mut Table, number, via| {
            let leaves = enter(sessions, number, via);
            if with_streams {
                sessions.stream_began(number);
            }
            leaves
        };
        assert_eq!(enter(&mut sessions, 1, known(2)), None, "an honest spare, idle and older than all others");
        for number in 2..=40 {
            assert_eq!(begin(&mut sessions, number, known(1)), None);
        }
        if with_streams {
            assert!(!has_room(&sessions, 50, known(1)), "nobody else pays for it");
            assert_eq!(begin(&mut sessions, 51, known(3)), Some(local(40)), "its latest");
        } else {
            assert_eq!(begin(&mut sessions, 50, known(1)), Some(local(2)), "its own oldest");
            assert_eq!(begin(&mut sessions, 51, known(3)), Some(local(3)));
        }
        let mut taken = 1;
        while has_room(&sessions, 100 + taken, known(3)) && taken < 19 {
            assert!(begin(&mut sessions, 100 + taken, known(3)).is_some_and(|gone| gone != local(1)));
            taken += 1;
        }
        assert_eq!((taken, sessions.len()), (19, 40), "until both have the same");
        assert!(sessions.remove(1).is_some(), "the spare is still there");
    }
}

#[test]
fn sessions_of_strangers_leave_relays_their_share() {
    let mut sessions = table(40);
    for number in 0..40 {
        enter(&mut sessions, number, stranger(number));
        sessions.stream_began(number);
    }
    assert!(!has_room(&sessions, 90, stranger(90)), "each has one");
    for number in 100..130 {
        assert!(enter(&mut sessions, number, known(1)).is_some_and(|gone| gone.as_u64() < 40));
        sessions.stream_began(number);
    }
    assert!(!has_room(&sessions, 200, known(1)), "a quarter is the strangers'");
    assert_eq!(sessions.len(), 40);
}

#[test]
fn only_sessions_that_nobody_moved_are_stranded() {
    let mut sessions = table(MAX);
    for number in 1..=3 {
        enter(&mut sessions, number, VIA);
    }
    assert!(!sessions.circuits_closed(&[local(50)]), "nobody was there");
    assert!(sessions.circuits_closed(&[local(1), local(2)]));
    assert!(!sessions.circuits_closed(&[local(60)]), "a walk is due already");
    let closed = sessions.take_closed();
    assert!(closed.is_superset(&HashSet::from([local_address(local(1)), local_address(local(2))])));
    sessions.connected(2, local_address(local(4)));
    assert_eq!(sessions.stranded(&closed, |at| *at), [local_address(local(1))]);
    // The circuit to which it moved closes too.
    assert!(sessions.circuits_closed(&[local(4)]));
    assert_eq!(stranded_now(&mut sessions), [local_address(local(4))]);
}

#[test]
fn closing_thousands_of_circuits_takes_one_walk() {
    const MANY: u64 = 8192;
    let mut sessions = table(usize::try_from(MANY).unwrap());
    for number in 0..MANY {
        sessions.enter(number, local(number), VIA, Arc::new(Notify::new()));
        sessions.connected(number, local_address(local(number)));
    }
    for number in 0..MANY {
        sessions.circuits_closed(&[local(number)]);
    }
    let closed = sessions.take_closed();
    let looked = Cell::new(0);
    let look = |at: &SocketAddr| {
        looked.set(looked.get() + 1);
        *at
    };
    assert_eq!(sessions.stranded(&closed, look).len(), usize::try_from(MANY).unwrap());
    assert_eq!(looked.get(), MANY, "each session is looked at once");
}

#[test]
fn new_sessions_come_at_a_bounded_pace() {
    let start = Instant::now();
    let mut pace = new_sessions();
    let take = |pace: &mut Pace, now| (0..10_000).filter(|_| pace.take(now, 1)).count();
    assert_eq!(take(&mut pace, start), 100);
    assert_eq!(take(&mut pace, start + Duration::from_millis(100)), 50);
    assert_eq!(take(&mut pace, start + Duration::from_secs(3600)), 100);
}

#[test]
fn budgets_run_out_and_come_back() {
    let budget = Budget::of(40, 7_168, 600);
    let source = Source { session: 1, via: VIA };
    let held: Vec<_> = (0..10).map(|_| budget.requests.take(source).expect("room")).collect();
    let _leaves = budget.egress.take(source).expect("room");
    assert_eq!(budget.streams(), 11);
    drop(held);
    assert_eq!(budget.streams(), 1);
    // 256 MiB, less the least buffers of all streams and flows, are enough for a thousand streams that are quick.
    let mut large: Vec<_> = std::iter::from_fn(|| budget.large_buffer()).take(5_000).collect();
    assert_eq!(large.len(), 1_024);
    large.pop();
    assert!(budget.large_buffer().is_some());
    // Symbols that nobody reads take no stream's room.
    let unread = budget.chunk_bytes(600).expect("room");
    assert!(budget.chunk_bytes(1).is_none() && budget.large_buffer().is_some());
    drop(unread);
    assert!(budget.chunk_bytes(600).is_some());
}

fn stranded_now(sessions: &mut Table) -> Vec<SocketAddr> {
    let closed = sessions.take_closed();
    sessions.stranded(&closed, |at| *at)
}
