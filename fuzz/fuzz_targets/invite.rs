//! Invites: any text gives an invite or an error, and an invite is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_voice::invite::Invite;

fuzz_target!(|text: &str| {
    if let Ok(invite) = Invite::parse(text, 0) {
        let line = invite.to_line();
        let again = Invite::parse(&line, 0).expect("its own line");
        assert_eq!(*again.to_line(), *line);
    }
});
