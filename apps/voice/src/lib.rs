//! Private voice calls over zMesh circuits.
//!
//! A call is two people, each with a circuit of their own to a meeting relay that splices the two. What passes there is sealed end to end:
//! the relay sees messages of one length at one rate and nothing else. From the wire up:
//!
//! - [`invite`]: the one line of text that one person hands to the other;
//! - [`call`]: the sans-IO state machine [`call::Call`]: Noise handshake, one message every 20 ms, sealed frames, the end of a call;
//! - [`legs`]: the sans-IO judge and planner of a call's one or two circuits: a warm standby, doubling, moves;
//! - [`media`]: the sans-IO audio path: Opus, redundancy, the jitter buffer, concealment, levels;
//! - [`audio`]: where sound comes from and goes to: WAV files in real time, or the machine's microphone and loudspeaker;
//! - [`runner`]: drives all of the above with tokio over any [`runner::DatagramTransport`];
//! - [`measure`]: mouth-to-ear delay, measured on the audio itself.
//!
//! `media`, `call`, `legs`, `invite` and `measure` hold no clock and no I/O. The protocol is written down in `specs/08-voice.md`.

pub mod audio;
pub mod call;
pub mod invite;
pub mod legs;
pub mod measure;
pub mod media;
pub mod process;
pub mod runner;

/// The speech sample that the project ships: 12 s of synthesised speech with pauses, a WAV file of 48 kHz, mono, 16 bits.
///
/// `assets/README.md` says how it was made.
pub const SPEECH_WAV: &[u8] = include_bytes!("../assets/speech.wav");
