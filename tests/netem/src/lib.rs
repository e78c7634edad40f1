//! Emulated networks: what a bad network does to datagrams, as a pure function of time, length and a seed.
//!
//! A [`Pipe`] is one direction of one link. It is asked with the time and the length of each datagram and answers when it arrives: never,
//! once or twice. It holds no datagram, reads no clock and rolls no dice but those of its seed, so the same questions get the
//! same answers. Whoever owns the datagrams (the simulator, or a shim between real sockets) keeps them until they are due.
//!
//! Decision 0080 says why it is as it is.
//!
//! A [`Profile`] says what stands on the access link of each person and on the links between relays, and how it changes over time. It
//! is a text file ([`Profile::parse`], [`Profile::print`]); six come with the crate ([`Profile::builtin`], [`NAMES`]).
//!
//! ```
//! use std::time::Duration;
//! use zmesh_netem::{Pipe, Profile};
//!
//! let profile = Profile::builtin("wifi").expect("it is in NAMES");
//! let mut up = Pipe::new(profile.caller.up, 1);
//! for arrival in up.send(Duration::from_millis(20), 576) {
//!     assert!(arrival > Duration::from_millis(20));
//! }
//! ```

mod conditions;
mod dice;
mod loss;
mod pipe;
pub mod profile;
mod timeline;

pub use conditions::{Conditions, Flaw};
pub use loss::{Loss, LossProcess};
pub use pipe::{Arrivals, Counters, HEADERS, Pipe};
pub use profile::{Access, NAMES, Problem, Profile, ProfileError};
pub use timeline::{Timeline, TimelineError};
