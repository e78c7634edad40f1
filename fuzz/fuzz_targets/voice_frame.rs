//! The plaintext of a voice message, and sound files.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use zmesh_voice::audio::wav::decode_wav;
use zmesh_voice::media::frame::VoiceFrame;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = VoiceFrame::decode(bytes) {
        assert_eq!(frame.encode()[..], *bytes);
    }
    if let Ok(samples) = decode_wav(bytes, Path::new("fuzz.wav")) {
        assert!(samples.len() <= bytes.len(), "more samples than bytes");
    }
});
