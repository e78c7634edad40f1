//! A relay's tables for services under any sequence of operations: counts stay in their bounds, an older descriptor never comes back, and what is removed is gone.
#![no_main]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zmesh_proto::crowd::{Class, Via};
use zmesh_proto::service::Source;
use zmesh_proto::service::intro::{Intros, Next};
use zmesh_proto::service::introduce::IntroSecret;
use zmesh_proto::service::load::{Offer, Price, Queue};
use zmesh_proto::service::places::Places;
use zmesh_proto::service::seen::Seen;

#[derive(Arbitrary, Debug)]
enum Step {
    Establish { secret: u8, session: u8, link: u8 },
    Introduce { secret: u8, link: u8 },
    Next { handle: u8 },
    Remove { handle: u8 },
    Push { effort: u32, item: u8 },
    Pop,
    Enter { effort: u32 },
    Met { number: u8 },
    Leave { number: u8 },
    Look { waiting: u8 },
    See { cookie: u8 },
    Wait { millis: u32 },
}

const SERVICES: usize = 12;
const OF_LINK: usize = 5;
const WAITING: usize = 7;
const COOKIES: usize = 40;
const CLIENTS: usize = 5;

fuzz_target!(|steps: Vec<Step>| {
    let mut now = Instant::now();
    let mut intros = Intros::new(SERVICES, OF_LINK);
    let mut handles: BTreeMap<u64, u8> = BTreeMap::new();
    let mut next = 0;
    let (mut queue, mut price) = (Queue::new(WAITING), Price::new(now));
    let (mut places, mut inside) = (Places::new(CLIENTS), BTreeMap::new());
    let mut seen = Seen::new(COOKIES, [1; 32].into());
    for step in steps {
        match step {
            Step::Establish { secret, session, link } => {
                let class = if link & 8 == 0 { Class::Known } else { Class::Stranger };
                let source = Source { session: u64::from(session), via: Via { class, link: u64::from(link % 4) } };
                if let Ok(before) = intros.establish(&IntroSecret::from_bytes(&[secret; 32]), next, source) {
                    if let Some(before) = before {
                        let gone = handles.remove(&before);
                        assert!(gone == Some(secret) || gone.is_some() && handles.len() + 1 == SERVICES, "it gave way");
                    }
                    handles.insert(next, secret);
                    next += 1;
                }
            }
            Step::Introduce { secret, link } => {
                let name = IntroSecret::from_bytes(&[secret; 32]).name();
                if let Ok((handle, displaced)) = intros.introduce(&name, u64::from(link % 4), secret) {
                    assert_eq!(handles.get(&handle), Some(&secret));
                    assert!(displaced.is_none_or(|other| other == secret), "of the same service");
                }
            }
            Step::Next { handle } => {
                let handle = u64::from(handle);
                match intros.next(now, handle) {
                    Next::Take(secret) => assert_eq!(handles.get(&handle), Some(&secret)),
                    Next::Gone => assert!(!handles.contains_key(&handle)),
                    Next::Later | Next::Nothing => assert!(handles.contains_key(&handle)),
                }
            }
            Step::Remove { handle } => {
                intros.leave(u64::from(handle));
                handles.remove(&u64::from(handle));
            }
            Step::Push { effort, item } => {
                let offer = price.judge(effort);
                if offer != Offer::Refused {
                    queue.push(now, effort, offer == Offer::Enough, item);
                }
            }
            Step::Pop => {
                if let Some((effort, _)) = queue.pop(now) {
                    price.answered(effort);
                }
            }
            Step::Enter { effort } => {
                let room = places.has_room(now, effort);
                let entered = places.enter(now, effort);
                assert_eq!(entered.is_some(), room);
                if let Some((number, lost)) = entered {
                    assert!(lost.is_none_or(|lost| inside.remove(&lost).is_some_and(|paid| paid < effort)));
                    inside.insert(number, effort);
                }
            }
            Step::Met { number } => places.met(u64::from(number), now),
            Step::Leave { number } => {
                places.leave(u64::from(number));
                inside.remove(&u64::from(number));
            }
            Step::Look { waiting } => {
                let shed = queue.take_shed();
                assert!(shed.enough <= shed.all);
                price.look(now, shed.enough, usize::from(waiting));
                assert!(price.effort() <= 10_000);
            }
            Step::See { cookie } => {
                let had = seen.contains(&[cookie; 16]);
                let room = !seen.is_full();
                assert_eq!(seen.insert(&[cookie; 16]), !had && room);
            }
            Step::Wait { millis } => now += Duration::from_millis(u64::from(millis % 1_000_000)),
        }
        assert_eq!((intros.len(), places.len()), (handles.len(), inside.len()));
        assert!(places.len() <= CLIENTS);
        assert!(intros.len() <= SERVICES && queue.len() <= WAITING && seen.len() <= COOKIES);
    }
});
