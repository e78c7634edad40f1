//! The zMesh protocol without input or output.
//!
//! Everything here is a pure state machine: bytes and the time go in by `handle_*`, what is to be sent and what
//! happened come out by `poll_*`. No clock is read, no socket opened and no randomness drawn from the system, so that
//! one seed replays a whole network run. `zmesh-overlay` drives these machines over real sockets; the simulator in
//! `tests/` drives them in virtual time.

pub mod crowd;
pub mod directory;
pub mod keys;
pub mod link;
pub mod nat;
pub mod node;
pub mod origin;
pub mod pace;
pub mod path;
pub mod random;
pub mod relay;
pub mod seeding;
pub mod service;
pub mod timer;
pub mod turns;
pub mod wire;
