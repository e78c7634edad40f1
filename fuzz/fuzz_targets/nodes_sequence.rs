//! See `zmesh_fuzz::nodes`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<zmesh_fuzz::nodes::Step>| zmesh_fuzz::nodes::play(&steps));
