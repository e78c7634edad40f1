//! Writes `specs/vectors/fec.json`.
#![allow(clippy::print_stdout, reason = "a program that people run in a terminal")]

#[path = "../tests/common/mod.rs"]
mod common;

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../specs/vectors/fec.json");
    std::fs::write(path, format!("{:#}\n", common::document()))?;
    println!("wrote {path}");
    Ok(())
}
