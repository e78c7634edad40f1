//! The rate class of a call: how much sound goes into one message, and so how often messages leave.
//!
//! A class is chosen once per call, by the side that made the invite, and never changes in it: everybody who carries the call's cells sees
//! which class it is, and a change would tell them more (`specs/08-voice.md`, section 3).

use super::FRAME;
use std::fmt;
use std::time::Duration;

/// How often a message of constant length leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// One message every 20 ms: 205 kbit/s of cells. The least delay and the most redundancy.
    #[default]
    Ms20,
    /// One message every 40 ms: 102 kbit/s of cells, 20 ms more delay.
    Ms40,
    /// One message every 60 ms: 68 kbit/s of cells, 40 ms more delay.
    Ms60,
}

/// The text or number names no class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a class is 20, 40 or 60 (ms between two messages)")]
pub struct ClassError;

impl Class {
    /// All of them, the quickest first.
    pub const ALL: [Self; 3] = [Self::Ms20, Self::Ms40, Self::Ms60];

    /// Frames of 20 ms that one message brings: 1, 2 or 3.
    #[must_use]
    pub const fn frames(self) -> u8 {
        match self {
            Self::Ms20 => 1,
            Self::Ms40 => 2,
            Self::Ms60 => 3,
        }
    }

    /// Time between two messages.
    #[must_use]
    pub fn interval(self) -> Duration {
        FRAME * u32::from(self.frames())
    }

    /// The class of a byte that [`Class::to_byte`] made.
    ///
    /// # Errors
    /// [`ClassError`] for any other byte.
    pub fn from_byte(byte: u8) -> Result<Self, ClassError> {
        Self::ALL.into_iter().find(|class| class.to_byte() == byte).ok_or(ClassError)
    }

    /// The class as one byte: 0, 1 or 2.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.frames() - 1
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.interval().as_millis())
    }
}

impl std::str::FromStr for Class {
    type Err = ClassError;

    /// Reads `20`, `40` or `60`, with or without `ms`.
    fn from_str(text: &str) -> Result<Self, ClassError> {
        match text.trim().trim_end_matches("ms").trim_end() {
            "20" => Ok(Self::Ms20),
            "40" => Ok(Self::Ms40),
            "60" => Ok(Self::Ms60),
            _ => Err(ClassError),
        }
    }
}
