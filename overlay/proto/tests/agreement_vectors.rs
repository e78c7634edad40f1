//! The repository's test vectors of agreement are what this implementation makes.

#[path = "../examples/agreement_vectors.rs"]
mod generator;

#[test]
fn the_kept_vectors_are_what_the_generator_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/agreement.json");
    let kept = std::fs::read_to_string(path).expect("the vectors are in the repository");
    assert_eq!(
        kept,
        generator::vectors(),
        "run `cargo run -p zmesh-proto --example agreement_vectors` and look at the difference"
    );
}
