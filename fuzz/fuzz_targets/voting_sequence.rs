//! See `zmesh_fuzz::voting`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<zmesh_fuzz::voting::Step>| zmesh_fuzz::voting::play(&steps));
