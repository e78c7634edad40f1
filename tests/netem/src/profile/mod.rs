//! What stands where in a network, as a text file.
//!
//! ```text
//! # People at home; the caller's upload is poor from second 10 to second 15.
//! people down
//!   delay 10ms
//! answerer up
//!   delay 10ms
//! caller up
//!   delay 10ms
//!   jitter 4ms every 20ms
//!   at 10s
//!     loss 20% burst 3
//!   at 15s
//!     loss none
//! ```
//!
//! A line names a place and a direction, a setting, a time, or nothing; `#` begins a comment.
//!
//! | line | meaning |
//! |---|---|
//! | `PLACE DIRECTION` | what follows is about `caller`, `answerer`, `people` (both of them), `relays` or `all`, and `up` (what they send), `down` (what they receive) or `both` |
//! | `at TIME` | what follows holds from this time on; what is not named stays as it was |
//! | `repeat TIME` | after this time everything of this place starts anew |
//! | `delay TIME` | mean one-way delay |
//! | `jitter TIME [every TIME] [unordered]` | delay differs by at most this; one draw holds `every` so long, else each datagram has its own; `unordered`: datagrams may overtake each other by it |
//! | `reorder SHARE by TIME`, `reorder none` | this share is held back so long, others overtake it |
//! | `duplicate SHARE` | this share arrives twice |
//! | `loss none`, `loss SHARE`, `loss SHARE burst N`, `loss gilbert p SHARE r SHARE [good SHARE] [bad SHARE]` | independent loss, loss in runs of N on average, or Gilbert and Elliott's model with loss shares in its two states (0 and 100 % if left out) |
//! | `rate RATE queue SIZE`, `rate none` | bottleneck, and how much may wait for it |
//! | `mtu SIZE`, `mtu none` | longest IP packet that passes |
//!
//! Times are like `250ms` (`ns`, `us`, `ms`, `s`), shares like `2.5%`, rates like `16Mbit/s` (`B/s`, `kbit/s`, `Mbit/s`, `Gbit/s`), sizes like `64kB` (`B`, `kB`, `MB`).

mod print;
mod read;
mod units;

use crate::conditions::{Conditions, Flaw};
use crate::timeline::{Timeline, TimelineError};

/// The profiles that come with the crate.
pub const NAMES: [&str; 6] = ["clean", "dsl", "wifi", "mobile", "international", "spiky"];

/// What stands on the access of one kind of host: on what it sends, and on what it receives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Access {
    /// From the host into the network.
    pub up: Timeline,
    /// From the network to the host.
    pub down: Timeline,
}

impl Access {
    /// The same in both directions.
    #[must_use]
    pub fn both(timeline: impl Into<Timeline>) -> Access {
        let timeline = timeline.into();
        Access { up: timeline.clone(), down: timeline }
    }

    /// Whether nothing happens to any datagram at any time.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.up.is_clear() && self.down.is_clear()
    }
}

/// What stands where in a network. Every host has an access link; a datagram passes that of its sender and that of its receiver.
/// [`Profile::parse`] tells the text form.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Profile {
    /// The access link of the one who calls, and of whoever else uses the network.
    pub caller: Access,
    /// The access link of the one who is called.
    pub answerer: Access,
    /// The access link of each relay. A datagram passes the sender's `up`, then the receiver's `down`.
    pub relays: Access,
}

impl Profile {
    /// Reads a profile from text: a line names a place and direction (`caller up`, `people both`), a setting (`delay 20ms`,
    /// `loss 5% burst 1.5`, `rate 16Mbit/s queue 64kB`), or a time from which what follows holds (`at 5s`, `repeat 8s`).
    /// The files in `tests/netem/profiles` show all of it.
    ///
    /// # Errors
    /// The number of the line at fault, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Profile, ProfileError> {
        read::profile(text)
    }

    /// The text of the profile: reading it gives the same profile.
    #[must_use]
    pub fn print(&self) -> String {
        print::profile(self)
    }

    /// The text of a profile that comes with the crate, one of [`NAMES`].
    #[must_use]
    pub fn builtin_text(name: &str) -> Option<&'static str> {
        Some(match name {
            "clean" => include_str!("../../profiles/clean"),
            "dsl" => include_str!("../../profiles/dsl"),
            "wifi" => include_str!("../../profiles/wifi"),
            "mobile" => include_str!("../../profiles/mobile"),
            "international" => include_str!("../../profiles/international"),
            "spiky" => include_str!("../../profiles/spiky"),
            _ => return None,
        })
    }

    /// A profile that comes with the crate, one of [`NAMES`].
    #[must_use]
    pub fn builtin(name: &str) -> Option<Profile> {
        // A test reads every one of them.
        Profile::parse(Profile::builtin_text(name)?).ok()
    }
}

/// Why a text is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ProfileError {
    /// The line at fault, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line of a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The first word is neither a place nor a setting.
    #[error(
        "{0:?} is neither a place (caller, answerer, people, relays, all) nor a setting (at, repeat, delay, jitter, reorder, duplicate, loss, rate, mtu)"
    )]
    UnknownWord(String),
    /// A place without a direction.
    #[error("say up, down or both after the place")]
    NoDirection,
    /// A setting before any place.
    #[error("say first whom this is about, for example: people both")]
    NoPlace,
    /// One direction of one place twice.
    #[error("{0} was already said on line {1}")]
    Again(String, usize),
    /// A setting twice in one step.
    #[error("{0:?} was already set in this step")]
    SetAgain(String),
    /// A setting does not have the words that it needs.
    #[error("this line should read: {0}")]
    Form(&'static str),
    /// Not a figure with one of the units.
    #[error("{0:?} is no {1}")]
    Figure(String, &'static str),
    /// A run of losses shorter than one datagram, or one that cannot give that share.
    #[error("runs of {0} cannot make up that share of loss")]
    Burst(String),
    /// Too many steps.
    #[error("more than {} steps", read::MOST_STEPS)]
    TooManySteps,
    /// The text is too long.
    #[error("more than {} bytes", read::MOST_BYTES)]
    TooLong,
    /// Figures that do not go together, or lie outside their range.
    #[error(transparent)]
    Conditions(#[from] Flaw),
    /// Times that do not go together.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
}

#[cfg(test)]
mod tests;
