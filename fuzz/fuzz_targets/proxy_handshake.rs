//! SOCKS5 and HTTP CONNECT: cut anywhere, a client's bytes lead to the same answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_proxy::handshake::{Handshake, Progress};

/// Feeds the bytes in two pieces; gives the answers and how it ended.
fn play(first: &[u8], second: &[u8]) -> (Vec<u8>, String) {
    let mut handshake = Handshake::new();
    let mut answers = Vec::new();
    for piece in [first, second] {
        let progress = handshake.handle_input(piece);
        answers.extend(handshake.take_output());
        match progress {
            Progress::More => {}
            Progress::Accepted(accepted) => return (answers, format!("{:?} {:?}", accepted.command, accepted.target)),
            Progress::Refused(refusal) => return (answers, refusal.to_string()),
        }
    }
    (answers, "waits".into())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let (whole_answers, whole_end) = play(bytes, &[]);
    let (cut_answers, cut_end) = play(first, second);
    assert_eq!(whole_end, cut_end);
    assert_eq!(whole_answers, cut_answers);
});
