use std::cell::Cell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use zmesh_proto::node::LocalId;
use zmesh_proto::pace::Pace;

use super::budget::{Budget, new_sessions};
use super::sessions::Sessions;
use crate::quic::local_address;

/// A connection that is nothing but the place where it is.
type Table = Sessions<SocketAddr>;

const MAX: usize = 3;

fn local(number: u64) -> LocalId {
    LocalId::from_u64(number)
}

fn has_room(sessions: &Table, circuit: u64) -> bool {
    sessions.has_room(local(circuit), MAX, |at| *at)
}

/// Session `number` on circuit `number`, with QUIC up.
fn enter(sessions: &mut Table, number: u64) -> Option<LocalId> {
    let leaves = sessions.enter(number, local(number), MAX, Arc::new(Notify::new()));
    assert!(sessions.connected(number, local_address(local(number))));
    leaves.map(|entry| entry.born_on)
}

#[test]
fn a_circuit_carries_one_session_and_a_second_once_the_first_has_moved() {
    let mut sessions = Table::default();
    sessions.enter(1, local(7), MAX, Arc::new(Notify::new()));
    assert!(!has_room(&sessions, 7), "it shakes hands");
    sessions.connected(1, local_address(local(7)));
    assert!(!has_room(&sessions, 7) && has_room(&sessions, 8));
    sessions.connected(1, local_address(local(8)));
    assert!(has_room(&sessions, 7), "it has moved");
    sessions.enter(2, local(7), MAX, Arc::new(Notify::new()));
    sessions.connected(2, local_address(local(9)));
    assert!(!has_room(&sessions, 7), "a third never comes");
}

#[test]
fn the_oldest_session_without_a_stream_leaves_a_full_exit() {
    let mut sessions = Table::default();
    for number in 1..=3 {
        assert_eq!(enter(&mut sessions, number), None);
    }
    assert_eq!(sessions.stream_began(1), 1);
    assert_eq!(enter(&mut sessions, 4), Some(local(2)));
    assert_eq!(sessions.len(), 3);
    assert!(!sessions.connected(2, local_address(local(2))), "it has no place any more");
    assert!(sessions.remove(2).is_none());
    for number in [3, 4] {
        sessions.stream_began(number);
    }
    assert!(!has_room(&sessions, 5), "everybody is busy");
    assert_eq!(sessions.stream_began(1), 2);
    sessions.stream_ended(1);
    assert!(!has_room(&sessions, 5), "one stream of two is left");
    sessions.stream_ended(1);
    assert!(has_room(&sessions, 5));
    assert_eq!(enter(&mut sessions, 5), Some(local(1)));
}

#[test]
fn only_sessions_that_nobody_moved_are_stranded() {
    let mut sessions = Table::default();
    for number in 1..=3 {
        enter(&mut sessions, number);
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
    let mut sessions = Table::default();
    for number in 0..MANY {
        sessions.enter(number, local(number), usize::try_from(MANY).unwrap(), Arc::new(Notify::new()));
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
    let budget = Budget::of(40, 1000, 600);
    let mut held: Vec<_> = (0..30).map(|_| budget.stream(1).expect("room")).collect();
    assert!(budget.stream(60).is_some(), "a quarter is free");
    held.push(budget.stream(1).expect("room"));
    assert!(budget.stream(17).is_none(), "streams are scarce");
    assert!(budget.stream(16).is_some());
    assert_eq!(budget.streams(), 31);
    held.clear();
    assert_eq!(budget.streams(), 0);
    let most = budget.bytes(900).expect("room");
    assert!(budget.bytes(101).is_none());
    drop(most);
    assert!(budget.bytes(1000).is_some());
    // Symbols that nobody reads take no stream's room, and the other way round.
    let unread = budget.chunk_bytes(600).expect("room");
    assert!(budget.chunk_bytes(1).is_none() && budget.bytes(1000).is_some());
    drop(unread);
    let _streams = budget.bytes(1000).expect("room");
    assert!(budget.chunk_bytes(600).is_some());
}

fn stranded_now(sessions: &mut Table) -> Vec<SocketAddr> {
    let closed = sessions.take_closed();
    sessions.stranded(&closed, |at| *at)
}
