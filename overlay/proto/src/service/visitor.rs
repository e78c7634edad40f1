//! What one session may ask a relay about services.

use std::time::Instant;

use crate::pace::Pace;

/// Requests of one session about services, in a second and at once.
const REQUESTS: u64 = 1;
const REQUESTS_BURST: u64 = 12;

/// Introductions of one session. A client opens a circuit for each relay that introduces it, so one is what it needs.
pub const INTRODUCTIONS_OF_SESSION: u32 = 2;

/// One session's bounds: junk costs its sender a circuit and a handshake for every second introduction.
#[derive(Debug)]
pub struct Visitor {
    pace: Pace,
    introductions: u32,
}

impl Default for Visitor {
    fn default() -> Self {
        Self { pace: Pace::new(REQUESTS, REQUESTS_BURST), introductions: 0 }
    }
}

impl Visitor {
    /// Whether the session may make another request about services.
    pub fn may_ask(&mut self, now: Instant) -> bool {
        self.pace.take(now, 1)
    }

    /// Whether the session may have another introduction passed on.
    pub fn may_introduce(&mut self) -> bool {
        let may = self.introductions < INTRODUCTIONS_OF_SESSION;
        self.introductions += u32::from(may);
        may
    }
}
