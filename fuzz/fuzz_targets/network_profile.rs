//! A profile of a bad network from a file: any text is a profile or an error that names a line, what is printed is read again, and a
//! pipe with whatever it says takes any datagrams.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use zmesh_netem::{Pipe, Profile};

fuzz_target!(|input: (&str, Vec<(u32, u16)>)| {
    let (text, datagrams) = input;
    let profile = match Profile::parse(text) {
        Ok(profile) => profile,
        Err(error) => {
            assert!(error.line >= 1 && error.line <= text.lines().count().max(1), "{error}");
            return;
        }
    };
    assert_eq!(Profile::parse(&profile.print()), Ok(profile.clone()));
    let mut pipe = Pipe::new(profile.caller.up, 1);
    let mut at = Duration::ZERO;
    for (after, len) in datagrams {
        at += Duration::from_micros(after.into());
        assert!(pipe.send(at, len.into()).all(|arrival| arrival >= at));
    }
});
