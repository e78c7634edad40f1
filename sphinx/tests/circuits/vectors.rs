//! The repository's test vectors are what this implementation makes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../examples/vectors.rs"]
mod generator;

#[test]
fn the_kept_vectors_are_what_the_generator_writes() {
    for (name, text) in generator::files() {
        let path = format!("{}/../specs/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == text,
            "{name} differs: run `cargo run -p zmesh-sphinx --example vectors` and look at the difference"
        );
    }
}
