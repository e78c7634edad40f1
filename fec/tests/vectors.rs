//! `specs/vectors/fec.json` is what the code does. `make vectors` writes it anew.

mod common;

#[test]
fn the_vectors_match() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../specs/vectors/fec.json");
    let text = std::fs::read_to_string(path).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    let made = common::document();
    assert!(kept == made, "specs/vectors/fec.json differs from what the code makes");
    let arrivals = made["exchange"]["arrivals"].as_array().unwrap();
    let recovered: usize = arrivals.iter().map(|arrival| arrival["recovered"].as_array().unwrap().len()).sum();
    assert_eq!(recovered, 3, "all that was lost comes back");
}
