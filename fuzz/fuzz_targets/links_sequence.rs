//! See `zmesh_fuzz::links`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<zmesh_fuzz::links::Step>| zmesh_fuzz::links::play(&steps));
