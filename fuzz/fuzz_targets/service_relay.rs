//! A relay's tables for services under any sequence of operations: counts stay in their bounds, an older descriptor never comes back, and what is removed is gone.
#![no_main]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zmesh_proto::service::Source;
use zmesh_proto::service::intro::Intros;
use zmesh_proto::service::introduce::IntroSecret;
use zmesh_proto::service::load::{Price, Queue};
use zmesh_proto::service::seen::Seen;

#[derive(Arbitrary, Debug)]
enum Step {
    Establish { secret: u8, session: u8, link: u8 },
    Introduce { secret: u8 },
    Remove { handle: u8 },
    Push { effort: u32, item: u8 },
    Pop,
    Look { waiting: u8 },
    See { cookie: u8 },
    Wait { millis: u16 },
}

const SERVICES: usize = 12;
const OF_LINK: usize = 5;
const WAITING: usize = 7;
const COOKIES: usize = 40;

fuzz_target!(|steps: Vec<Step>| {
    let mut now = Instant::now();
    let mut intros = Intros::new(SERVICES, OF_LINK);
    let mut handles: BTreeMap<u64, u8> = BTreeMap::new();
    let mut next = 0;
    let (mut queue, mut price) = (Queue::new(WAITING), Price::new(now));
    let mut seen = Seen::new(COOKIES, [1; 32].into());
    for step in steps {
        match step {
            Step::Establish { secret, session, link } => {
                let source = Source { session: u64::from(session), link: u64::from(link % 4) };
                if let Ok(before) = intros.establish(&IntroSecret::from_bytes(&[secret; 32]), next, source) {
                    if let Some(before) = before {
                        assert_eq!(handles.remove(&before), Some(secret));
                    }
                    handles.insert(next, secret);
                    next += 1;
                }
            }
            Step::Introduce { secret } => {
                let name = IntroSecret::from_bytes(&[secret; 32]).name();
                if let Ok(handle) = intros.introduce(now, &name) {
                    assert_eq!(handles.get(&handle), Some(&secret));
                }
            }
            Step::Remove { handle } => {
                intros.remove(u64::from(handle));
                handles.remove(&u64::from(handle));
            }
            Step::Push { effort, item } => queue.push(now, effort, item),
            Step::Pop => {
                if let Some((effort, _)) = queue.pop(now) {
                    price.answered(effort);
                }
            }
            Step::Look { waiting } => {
                let shed = queue.take_shed();
                price.look(now, shed, usize::from(waiting));
                assert!(price.effort() <= 10_000);
            }
            Step::See { cookie } => {
                let had = seen.contains(&[cookie; 16]);
                let room = !seen.is_full();
                assert_eq!(seen.insert(&[cookie; 16]), !had && room);
            }
            Step::Wait { millis } => now += Duration::from_millis(u64::from(millis)),
        }
        assert_eq!(intros.len(), handles.len());
        assert!(intros.len() <= SERVICES && queue.len() <= WAITING && seen.len() <= COOKIES);
    }
});
