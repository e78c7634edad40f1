//! The line that `zmesh voice answer` prints, with the network document that it may carry.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = zmesh_program::invite_line::read(text, 0);
});
