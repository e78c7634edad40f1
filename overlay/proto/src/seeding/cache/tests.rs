#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

use proptest::prelude::*;

use super::*;
use crate::seeding::{Class, Shelf};

fn chunk(number: u32, class: Class) -> ChunkRef {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    ChunkRef { id: ChunkId(id), shelf: Shelf([0; 16]), class }
}

const ROOM: u64 = 64 << 20;
const COST: u64 = 256 * 1024 + OVERHEAD;

#[test]
fn what_nobody_wants_never_displaces_what_people_use() {
    let mut index = Index::new(ROOM);
    for number in 0..16 {
        index.insert(chunk(number, Class::Full), Source(1), 0).unwrap_or_else(|_| panic!("{number}"));
        if number % 4 == 3 {
            assert_eq!(index.used(&chunk(number, Class::Full).id, Source(2), 1), (true, vec![]));
        }
    }
    // A flood from a hundred sources, each within its share.
    for number in 100..1_600 {
        let _ = index.insert(chunk(number, Class::Full), Source(u64::from(number / 15)), 2);
        assert!(index.bytes() <= ROOM);
    }
    for number in (3..16).step_by(4) {
        assert_eq!(index.find(&chunk(number, Class::Full).id).map(|found| found.1), Some(Stage::Kept));
    }
    assert!(index.trial_bytes <= ROOM / TRIAL_PART);
}

#[test]
fn one_source_has_its_share_and_loses_its_own_first() {
    let mut index = Index::new(ROOM);
    let share = ROOM / TRIAL_PART / SOURCE_PART / COST;
    for number in 0..share {
        index.insert(chunk(number as u32, Class::Full), Source(1), 0).unwrap();
    }
    assert_eq!(index.insert(chunk(900, Class::Full), Source(1), 0), Err(Refusal::Share));
    assert_eq!(index.insert(chunk(0, Class::Full), Source(2), 0), Err(Refusal::Held));
    index.insert(chunk(901, Class::Full), Source(2), 0).unwrap();
    for number in 0..share * 4 {
        let from = Source(10 + number / share);
        index.insert(chunk(1_000 + number as u32, Class::Full), from, 0).unwrap();
    }
    // The room is full now. The smallest source is the last to lose what it left.
    assert!(index.find(&chunk(901, Class::Full).id).is_some());
    assert!(index.find(&chunk(0, Class::Full).id).is_none());
}

#[test]
fn asking_for_ones_own_chunk_gains_nothing() {
    let mut index = Index::new(ROOM);
    index.insert(chunk(1, Class::Note), Source(7), 0).unwrap();
    assert_eq!(index.used(&chunk(1, Class::Note).id, Source(7), 100), (false, vec![]));
    assert_eq!(index.find(&chunk(1, Class::Note).id).unwrap().1, Stage::Trial);
    assert_eq!(index.expire(TRIAL_SECONDS - 1), vec![]);
    assert_eq!(index.expire(TRIAL_SECONDS), vec![(chunk(1, Class::Note).id, Stage::Trial)]);
    assert!(index.is_empty());
}

#[test]
fn kept_chunks_go_by_last_use_and_end_in_time() {
    let mut index = Index::new(8 << 20);
    let room = (8 << 20) - (8 << 20) / TRIAL_PART;
    let fit = room / COST;
    for number in 0..fit as u32 {
        index.insert(chunk(number, Class::Full), Source(number.into()), 0).unwrap();
        assert!(index.used(&chunk(number, Class::Full).id, Source::SELF, u64::from(number)).0);
    }
    // The first one is asked for again, so the second goes.
    assert_eq!(index.used(&chunk(0, Class::Full).id, Source(3), 1_000), (false, vec![]));
    index.insert(chunk(500, Class::Full), Source(3), 1_000).unwrap();
    let (promoted, gone) = index.used(&chunk(500, Class::Full).id, Source(4), 1_000);
    assert!(promoted);
    assert_eq!(gone, vec![(chunk(1, Class::Full).id, Stage::Kept)]);
    let ended = index.expire(KEPT_SECONDS + 500);
    assert_eq!(ended.len() as u64, fit - 2);
    assert_eq!(index.len(), 2);
}

#[test]
fn a_cache_that_is_too_small_takes_nothing() {
    let mut index = Index::new(1 << 20);
    assert_eq!(index.insert(chunk(1, Class::Full), Source(1), 0), Err(Refusal::TooSmall));
    index.insert(chunk(1, Class::Note), Source(1), 0).unwrap();
    assert!(!index.restore(chunk(2, Class::Full), Stage::Trial, 0));
    assert!(index.restore(chunk(3, Class::Full), Stage::Kept, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u8, u8),
    Used(u32, u8),
    Remove(u32),
    Restore(u32, u8, bool),
    Expire(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..200u32, 0..4u8, 0..6u8).prop_map(|(number, class, source)| Step::Insert(number, class, source)),
        3 => (0..200u32, 0..6u8).prop_map(|(number, source)| Step::Used(number, source)),
        1 => (0..200u32).prop_map(Step::Remove),
        1 => (0..200u32, 0..4u8, any::<bool>()).prop_map(|(number, class, kept)| Step::Restore(number, class, kept)),
        1 => (0..4_000_000u32).prop_map(Step::Expire),
    ]
}

proptest! {
    /// Whatever happens: the room holds, the books agree with the entries, and what is said to be gone is gone.
    #[test]
    fn the_room_holds(room in (1u64 << 18)..(16 << 20), steps in prop::collection::vec(step(), 0..300)) {
        let mut index = Index::new(room);
        for (at, step) in steps.into_iter().enumerate() {
            let at = at as u64 * 1_000;
            let class = |code: u8| Class::from_code(code).unwrap();
            let gone = match step {
                Step::Insert(number, code, source) => {
                    index.insert(chunk(number, class(code)), Source(source.into()), at).unwrap_or_default()
                }
                Step::Used(number, source) => index.used(&chunk(number, Class::Note).id, Source(source.into()), at).1,
                Step::Remove(number) => {
                    index.remove(&chunk(number, Class::Note).id);
                    Vec::new()
                }
                Step::Restore(number, code, kept) => {
                    let stage = if kept { Stage::Kept } else { Stage::Trial };
                    index.restore(chunk(number, class(code)), stage, at);
                    Vec::new()
                }
                Step::Expire(unix) => index.expire(unix.into()),
            };
            prop_assert!(gone.iter().all(|(id, _)| index.find(id).is_none()));
            prop_assert!(index.trial_bytes <= room / TRIAL_PART);
            prop_assert!(index.kept_bytes <= room - room / TRIAL_PART);
            let sum: u64 = index.entries.values().map(|entry| cost(&entry.chunk)).sum();
            prop_assert_eq!(index.bytes(), sum);
            prop_assert_eq!(index.trial.len() + index.kept.len(), index.len());
            let shares: u64 = index.sources.values().map(|share| share.bytes).sum();
            prop_assert_eq!(shares, index.trial_bytes);
        }
    }
}
