use data_encoding::HEXLOWER;
use proptest::prelude::*;
use serde::Deserialize;

use crate::{BODY_LEN, wide_block::WideBlock};

#[derive(Deserialize)]
struct Vector {
    description: String,
    input: Input,
    plaintext_hex: String,
    ciphertext_hex: String,
}

#[derive(Deserialize)]
struct Input {
    key_hex: String,
    tweak_hex: String,
}

fn check(text: &str) -> usize {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum File {
        Kept { vectors: Vec<Vector> },
        Published(Vec<Vector>),
    }
    let (File::Kept { vectors } | File::Published(vectors)) = serde_json::from_str(text).unwrap();
    let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
    for vector in &vectors {
        let cipher = WideBlock::new(&hex(&vector.input.key_hex).try_into().unwrap());
        let (tweak, plain) = (hex(&vector.input.tweak_hex), hex(&vector.plaintext_hex));
        let mut data = plain.clone();
        cipher.encrypt(&tweak, &mut data);
        assert_eq!(HEXLOWER.encode(&data), vector.ciphertext_hex, "{}", vector.description);
        cipher.decrypt(&tweak, &mut data);
        assert_eq!(data, plain, "{}", vector.description);
    }
    vectors.len()
}

#[test]
fn kept_vectors() {
    assert!(check(include_str!("../../../specs/vectors/hctr2.json")) >= 8);
}

/// All 350 vectors that Google publishes; `ZMESH_HCTR2_VECTORS` names the file.
#[test]
fn published_vectors_if_there() {
    if let Some(path) = std::env::var_os("ZMESH_HCTR2_VECTORS") {
        assert!(check(&std::fs::read_to_string(path).unwrap()) >= 300);
    }
}

fn compare(key: &[u8; 32], tweak: &[u8], data: &[u8]) {
    let ours = WideBlock::new(key);
    let peer = hctr2_rs::Hctr2_256::new(key);
    let (mut mine, mut theirs) = (data.to_vec(), vec![0; data.len()]);
    ours.encrypt(tweak, &mut mine);
    peer.encrypt(data, tweak, &mut theirs).unwrap();
    assert_eq!(mine, theirs);
    ours.decrypt(tweak, &mut mine);
    assert_eq!(mine, data);
    mine.copy_from_slice(data);
    ours.decrypt(tweak, &mut mine);
    peer.decrypt(data, tweak, &mut theirs).unwrap();
    assert_eq!(mine, theirs);
}

#[test]
fn every_length_agrees_with_the_peer() {
    for len in 16..600 {
        let data: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        compare(&[len as u8; 32], &[3; 16], &data);
    }
}

proptest! {
    #[test]
    fn random_cells_agree_with_the_peer(key: [u8; 32], tweak: [u8; 16], data in proptest::collection::vec(any::<u8>(), BODY_LEN)) {
        compare(&key, &tweak, &data);
    }

    #[test]
    fn random_inputs_agree_with_the_peer(
        key: [u8; 32],
        tweak in proptest::collection::vec(any::<u8>(), 0..80),
        data in proptest::collection::vec(any::<u8>(), 16..1200),
    ) {
        compare(&key, &tweak, &data);
    }

    #[test]
    fn one_bit_changes_half_of_all(key: [u8; 32], bit in 0..BODY_LEN * 8) {
        let cipher = WideBlock::new(&key);
        let mut data = [0; BODY_LEN];
        cipher.encrypt(&[1; 16], &mut data);
        data[bit / 8] ^= 1 << (bit % 8);
        cipher.decrypt(&[1; 16], &mut data);
        let ones: u32 = data.iter().map(|byte| byte.count_ones()).sum();
        // 2,016 expected, standard deviation 32.
        prop_assert!((1700..2330).contains(&ones), "{}", ones);
    }
}
