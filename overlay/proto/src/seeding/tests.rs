#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::address::{Address, AddressError};
use super::placement::{RANKS, first_symbol, ranking};
use super::root::{FILE_MAX, PART_LEN, Root, WHOLE_MAX, part_count, part_len, part_ref};
use super::seal::{FileKey, Place, SealError, capacity, class_for, open, open_piece, seal};
use super::*;
use crate::directory::fixture::{info, network};
use crate::wire::descriptor::DescriptorInfo;

fn key(seed: u64) -> FileKey {
    FileKey::generate(&mut ChaCha12Rng::seed_from_u64(seed))
}

fn address() -> Address {
    Address::new(ChunkId([0xa5; 32]), Class::Sheet, key(1))
}

#[test]
fn an_address_survives_its_line() {
    let line = address().to_line();
    assert!(line.starts_with("zmesh:chunk/1/"), "{}", *line);
    assert!(line.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(Address::parse(&line).unwrap(), address());
    assert_eq!(Address::parse(&format!(" {}\r\n", line.to_ascii_uppercase())).unwrap(), address());
    assert_eq!(format!("{:?} {:?}", address(), key(1)), "Address([redacted]) FileKey([redacted])");
    assert_eq!(address().root().shelf.0[..], [0xa5; 16]);
}

#[test]
fn each_fault_of_an_address_has_its_own_error() {
    let line = address().to_line();
    for text in ["", "hello", "zmesh:chunk/", "zmesh:chunk/x/aa", "zmesh:call/1/aa", &"z".repeat(300)] {
        assert_eq!(Address::parse(text), Err(AddressError::NotAnAddress), "{text}");
    }
    let newer = line.replacen("/1/", "/2/", 1);
    assert_eq!(Address::parse(&newer), Err(AddressError::WrongVersion { found: "2".into() }));
    assert_eq!(Address::parse(&line[..line.len() - 1]), Err(AddressError::Damaged));
    for at in 14..line.len() {
        let mut bytes = line.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(Address::parse(&changed), Err(AddressError::Damaged), "at {at}");
    }
}

#[test]
fn a_chunk_opens_with_its_key_in_its_place_and_whole() {
    let (class, chunk) = seal(&key(1), Place::Part(3), b"piece").unwrap();
    assert_eq!((class, chunk.len()), (Class::Note, 4096));
    assert_eq!(open(&key(1), Place::Part(3), chunk.clone()).unwrap()[..6], *b"piece\0");
    let refused = Err(SealError::DoesNotOpen);
    assert_eq!(open(&key(2), Place::Part(3), chunk.clone()), refused, "wrong key");
    assert_eq!(open(&key(1), Place::Part(4), chunk.clone()), refused, "another place: replayed");
    assert_eq!(open(&key(1), Place::Root, chunk.clone()), refused);
    for len in [0, 15, 16, 4095] {
        assert_eq!(open(&key(1), Place::Part(3), chunk[..len].to_vec()), refused, "cut to {len}");
    }
    for at in (0..4096).step_by(97).chain([4095]) {
        let mut tampered = chunk.clone();
        tampered[at] ^= 1;
        assert_eq!(open(&key(1), Place::Part(3), tampered), refused, "altered at {at}");
    }
    // Equal pieces of different files have nothing in common that a relay could see.
    assert_ne!(chunk, seal(&key(2), Place::Part(3), b"piece").unwrap().1);
    assert_ne!(chunk, seal(&key(1), Place::Part(2), b"piece").unwrap().1);
    let long = capacity(Class::Full) + 1;
    assert_eq!(seal(&key(1), Place::Root, &vec![0; long]), Err(SealError::TooLong { len: long }));
}

#[test]
fn parts_have_one_form() {
    let (_, chunk) = seal(&key(1), Place::Part(3), b"piece").unwrap();
    assert_eq!(open_piece(&key(1), Place::Part(3), chunk.clone(), 5).unwrap(), b"piece");
    assert_eq!(open_piece(&key(1), Place::Part(3), chunk.clone(), 4), Err(SealError::Padding), "not empty behind it");
    let longer = capacity(Class::Note) + 1;
    assert_eq!(open_piece(&key(1), Place::Part(3), chunk, longer), Err(SealError::Padding), "longer than the chunk");
    // A publisher who hides something behind the piece, or pads more than is needed.
    let (_, hiding) = seal(&key(1), Place::Part(3), b"piece\0\0and more").unwrap();
    assert_eq!(open_piece(&key(1), Place::Part(3), hiding, 5), Err(SealError::Padding));
    let (class, roomy) = seal(&key(1), Place::Part(3), &vec![0; capacity(Class::Note) + 1]).unwrap();
    assert_eq!(class, Class::Page);
    assert_eq!(open_piece(&key(1), Place::Part(3), roomy, 5), Err(SealError::Padding));
}

#[test]
fn lengths_fall_into_four_classes() {
    for class in Class::ALL {
        assert_eq!(class_for(capacity(class)), Some(class));
        assert_eq!(Class::from_code(class.code()), Some(class));
    }
    assert_eq!(class_for(0), Some(Class::Note));
    assert_eq!(class_for(capacity(Class::Note) + 1), Some(Class::Page));
    assert_eq!(class_for(capacity(Class::Full) + 1), None);
    assert_eq!(Class::from_code(4), None);
    assert_eq!(Class::Full.len(), 256 * 1024);
    assert_eq!(capacity(Class::Full), PART_LEN);
}

#[test]
fn files_have_the_parts_that_their_length_says() {
    assert_eq!(part_count(WHOLE_MAX as u64), None);
    assert_eq!(part_count(WHOLE_MAX as u64 + 1), Some(1));
    assert_eq!(part_count(PART_LEN as u64 + 1), Some(2));
    assert_eq!(part_count(FILE_MAX), Some(root::PARTS_MAX));
    assert_eq!(part_count(FILE_MAX + 1), None);
    assert_eq!(part_count(u64::MAX), None);
    assert_eq!(part_len(PART_LEN as u64 + 5, 0), PART_LEN);
    assert_eq!(part_len(PART_LEN as u64 + 5, 1), 5);
    let last = part_ref(&key(1), PART_LEN as u64 + 5, 1, ChunkId([1; 32]));
    assert_eq!(last.class, Class::Note);
    assert_eq!(last.shelf, key(1).shelf(0));
    assert_ne!(key(1).shelf(31), key(1).shelf(32));
    assert_ne!(key(1).shelf(0), key(2).shelf(0));
}

fn sealed_form(root: &Root) -> Vec<u8> {
    let mut bytes = root.encode();
    bytes.resize(capacity(class_for(bytes.len()).unwrap()), 0);
    bytes
}

proptest! {
    #[test]
    fn roots_round_trip(file in prop::collection::vec(any::<u8>(), 0..10_000), len in WHOLE_MAX as u64 + 1..60_000_000) {
        let whole = Root::Whole(file);
        prop_assert_eq!(Root::decode(&sealed_form(&whole)).unwrap(), whole);
        let ids = (0..part_count(len).unwrap()).map(|at| ChunkId([at as u8; 32])).collect();
        let parts = Root::Parts { len, ids };
        let bytes = sealed_form(&parts);
        prop_assert_eq!(Root::decode(&bytes).unwrap(), parts);
        for cut in [0, 1, 2, 9, 10, 41, bytes.len() - 1] {
            prop_assert!(Root::decode(&bytes[..cut]).is_err());
        }
        let mut padded = bytes.clone();
        *padded.last_mut().unwrap() = 1;
        prop_assert!(Root::decode(&padded).is_err(), "padding is zeros");
        prop_assert!(Root::decode(&[bytes, vec![0; 4096]].concat()).is_err(), "no more padding than needed");
    }

    #[test]
    fn any_bytes_are_a_root_or_an_error(head in prop::collection::vec(any::<u8>(), 0..64), class in 0u8..4) {
        let mut bytes = head.clone();
        let _ = Root::decode(&bytes);
        bytes.resize(capacity(Class::from_code(class).unwrap()), 0);
        if let Ok(root) = Root::decode(&bytes) {
            prop_assert_eq!(sealed_form(&root), bytes);
        }
    }

    #[test]
    fn any_text_is_an_address_or_an_error(text in ".{0,300}", code in "[a-z2-7]{0,120}") {
        let _ = Address::parse(&text);
        let line = format!("zmesh:chunk/1/{code}");
        prop_assert!(Address::parse(&line).is_err());
    }
}

#[test]
fn everybody_finds_the_same_seeders_and_few_chunks_move() {
    let infos = |count: u8| -> Vec<DescriptorInfo> {
        (0..count).map(|number| DescriptorInfo { cache: number % 5 != 4, ..info(number) }).collect()
    };
    let (before, after) = (network(&infos(40), true), network(&infos(39), true));
    let left = before.relays().iter().map(|relay| relay.id()).find(|id| after.relay(id).is_none()).unwrap();
    let mut uses = std::collections::BTreeMap::<_, usize>::new();
    for number in 0..200u8 {
        let shelf = Shelf([number; 16]);
        let ranked = ranking(&before, &shelf);
        assert_eq!(ranked.len(), RANKS);
        assert!(ranked.iter().all(|id| before.relay(id).unwrap().is_cache()), "only who says so keeps chunks");
        for id in &ranked[..4] {
            *uses.entry(*id).or_default() += 1;
        }
        // Who is left keeps its rank, and moves up by one at most.
        let kept: Vec<_> = ranked.iter().filter(|id| **id != left).collect();
        let moved = ranking(&after, &shelf);
        assert!(kept.iter().zip(&moved).all(|(a, b)| **a == *b));
    }
    // 800 places over 32 relays.
    assert_eq!(uses.len(), 32);
    assert!(uses.values().all(|uses| (8..=50).contains(uses)), "{uses:?}");
    assert_eq!(ranking(&network(&infos(2), true), &Shelf([0; 16])).len(), 2);
}

#[test]
fn seeders_begin_far_apart() {
    let chunk = ChunkId([3; 32]);
    let mut firsts: Vec<u32> = (0..100u8).map(|n| first_symbol(&zmesh_sphinx::RelayId([n; 16]), &chunk)).collect();
    firsts.sort_unstable();
    let near = firsts.windows(2).filter(|pair| pair[1] - pair[0] < 600).count();
    assert!(near <= 2, "{near} of 100");
}
