//! See `zmesh_fuzz::admission`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<zmesh_fuzz::admission::Step>| zmesh_fuzz::admission::play(&steps));
