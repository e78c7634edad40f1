//! The replay filter of set-up packets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common::{SLOT, TestRelay, path, rng};
use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;
use zmesh_sphinx::{Error, Packet, ReplayError, ReplayFilter, ReplayTag, create};

fn tag(relays: &[TestRelay], slot: u32, rng: &mut ChaCha12Rng) -> (Packet, ReplayTag) {
    let (packet, _) = create(&path(relays), slot, rng).unwrap();
    let peeled = packet.clone().peel_header(&relays[0].id, &relays[0].onion, slot).unwrap();
    assert_eq!(peeled.slot(), slot);
    (packet, peeled.replay_tag())
}

fn tags(count: usize, slot: u32) -> Vec<ReplayTag> {
    let mut rng = rng(u64::from(slot));
    let relays = TestRelay::many(1, &mut rng);
    (0..count).map(|_| tag(&relays, slot, &mut rng).1).collect()
}

#[test]
fn a_packet_passes_once_also_after_a_restart() {
    let mut rng = rng(1);
    let relays = TestRelay::many(2, &mut rng);
    let (packet, tag) = tag(&relays, SLOT, &mut rng);
    let mut filter = ReplayFilter::new(100);
    assert_eq!(filter.check_and_insert(SLOT, tag, SLOT), Ok(()));
    assert_eq!(filter.check_and_insert(SLOT, tag, SLOT), Err(ReplayError::Replayed));
    let mut filter = ReplayFilter::from_bytes(&filter.to_bytes()).unwrap();
    // The same packet again gives the same tag.
    let again = packet.peel_header(&relays[0].id, &relays[0].onion, SLOT + 1).unwrap().replay_tag();
    assert_eq!(filter.check_and_insert(SLOT, again, SLOT + 1), Err(ReplayError::Replayed));
    assert_eq!(filter.check_and_insert(SLOT, again, SLOT + 2), Err(ReplayError::OutOfSlot));
    assert!(filter.is_empty(), "what is no longer accepted is no longer remembered");
}

#[test]
fn a_full_slot_refuses_and_forgets_nothing() {
    let tags_now = tags(5, SLOT);
    let mut filter = ReplayFilter::new(3);
    for tag in &tags_now[..3] {
        filter.check_and_insert(SLOT, *tag, SLOT).unwrap();
    }
    for tag in &tags_now[3..] {
        assert_eq!(filter.check_and_insert(SLOT, *tag, SLOT), Err(ReplayError::Full));
    }
    for tag in &tags_now[..3] {
        assert_eq!(filter.check_and_insert(SLOT, *tag, SLOT), Err(ReplayError::Replayed));
    }
    // Other slots have room of their own, and after its time the slot's room is free again.
    assert_eq!(filter.check_and_insert(SLOT + 1, tags_now[3], SLOT), Ok(()));
    assert_eq!(filter.check_and_insert(SLOT - 1, tags_now[3], SLOT), Ok(()));
    assert_eq!(filter.len(), 5);
    assert_eq!(filter.check_and_insert(SLOT + 3, tags_now[4], SLOT + 3), Ok(()));
    assert_eq!(filter.len(), 1);
    filter.set_capacity(1);
    assert_eq!(filter.check_and_insert(SLOT + 3, tags_now[0], SLOT + 3), Err(ReplayError::Full));
}

#[test]
fn accepted_and_remembered_for_the_same_time() {
    let tag = tags(1, SLOT)[0];
    for now in SLOT - 3..=SLOT + 3 {
        let expected = if now.abs_diff(SLOT) <= 1 { Ok(()) } else { Err(ReplayError::OutOfSlot) };
        assert_eq!(ReplayFilter::new(9).check_and_insert(SLOT, tag, now), expected);
    }
    // From the first moment that it passes to the last that it would: seen at every step.
    let mut filter = ReplayFilter::new(9);
    filter.check_and_insert(SLOT, tag, SLOT - 1).unwrap();
    for now in [SLOT - 1, SLOT, SLOT + 1] {
        assert_eq!(filter.check_and_insert(SLOT, tag, now), Err(ReplayError::Replayed));
    }
    assert_eq!(filter.check_and_insert(SLOT, tag, SLOT + 2), Err(ReplayError::OutOfSlot));
}

#[test]
fn a_clock_set_back_opens_nothing() {
    let tag = tags(1, SLOT)[0];
    let mut filter = ReplayFilter::new(9);
    filter.check_and_insert(SLOT, tag, SLOT).unwrap();
    filter.check_and_insert(SLOT + 100, tag, SLOT + 100).unwrap();
    for now in [SLOT - 1, SLOT, SLOT + 1] {
        assert_eq!(filter.check_and_insert(SLOT, tag, now), Err(ReplayError::OutOfSlot));
    }
    assert_eq!(filter.check_and_insert(SLOT + 100, tag, SLOT + 100), Err(ReplayError::Replayed));
}

#[test]
fn after_a_crash_nothing_that_may_have_been_seen_passes() {
    let tag = tags(1, SLOT)[0];
    let mut filter = ReplayFilter::after_crash(9, SLOT);
    for slot in [SLOT - 1, SLOT, SLOT + 1] {
        assert_eq!(filter.check_and_insert(slot, tag, SLOT), Err(ReplayError::OutOfSlot));
    }
    assert_eq!(filter.check_and_insert(SLOT + 1, tag, SLOT + 1), Err(ReplayError::OutOfSlot));
    assert_eq!(filter.check_and_insert(SLOT + 2, tag, SLOT + 1), Ok(()));
    assert_eq!(filter.check_and_insert(SLOT + 2, tag, SLOT + 2), Err(ReplayError::Replayed));
}

#[test]
fn ends_of_time() {
    let tag = tags(1, SLOT)[0];
    for slot in [0, 1, u32::MAX - 1, u32::MAX] {
        let mut filter = ReplayFilter::new(9);
        assert_eq!(filter.check_and_insert(slot, tag, slot), Ok(()));
        assert_eq!(filter.check_and_insert(slot, tag, slot), Err(ReplayError::Replayed));
    }
    assert_eq!(ReplayFilter::after_crash(9, u32::MAX).check_and_insert(u32::MAX, tag, u32::MAX), Ok(()));
}

fn filled() -> ReplayFilter {
    let mut filter = ReplayFilter::new(50);
    for slot in [SLOT - 1, SLOT, SLOT + 1] {
        for tag in tags(4, slot) {
            filter.check_and_insert(slot, tag, SLOT).unwrap();
        }
    }
    filter
}

#[test]
fn every_damage_of_the_stored_form_is_found() {
    let stored = filled().to_bytes();
    assert_eq!(ReplayFilter::from_bytes(&stored), Ok(filled()));
    for at in 0..stored.len() {
        let mut damaged = stored.clone();
        damaged[at] ^= 1 << (at % 8);
        assert_eq!(ReplayFilter::from_bytes(&damaged), Err(Error::FilterState));
        assert_eq!(ReplayFilter::from_bytes(&stored[..at]), Err(Error::FilterState));
    }
    let longer = [stored.as_slice(), &[0]].concat();
    assert_eq!(ReplayFilter::from_bytes(&longer), Err(Error::FilterState));
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    use sha2::{Digest, Sha256};
    let mut stored = filled().to_bytes();
    stored.truncate(stored.len() - 32);
    for at in (16..stored.len() - 8).step_by(4) {
        let mut lying = stored.clone();
        lying[at..at + 8].fill(0xff);
        let checksum = Sha256::digest(&lying);
        lying.extend_from_slice(&checksum);
        let _ = ReplayFilter::from_bytes(&lying);
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(ReplayFilter::from_bytes(&bytes).is_err());
    }

    /// However the clock moves: no tag passes twice for the same slot.
    #[test]
    fn nothing_passes_twice(steps in proptest::collection::vec((0_u32..8, 0_usize..3, 0_u32..8), 1..120)) {
        let tags = tags(3, SLOT);
        let mut filter = ReplayFilter::new(10);
        let mut passed = std::collections::HashSet::new();
        for (slot, tag, now) in steps {
            if filter.check_and_insert(SLOT + slot, tags[tag], SLOT + now).is_ok() {
                prop_assert!(passed.insert((slot, tag)));
            }
            filter = ReplayFilter::from_bytes(&filter.to_bytes()).unwrap();
        }
    }
}
