//! What all links of a node share.

use std::collections::VecDeque;
use std::net::SocketAddr;

use zeroize::Zeroizing;

use super::bucket::Bucket;
use super::clock::{Clock, Nanos, SECOND};
use super::output::Output;
use super::repair::{Budget, RELAY_BYTES, STRANGER_BYTES, Work};
use super::{LinkConfig, LinkCounters, LinkEvent};
use crate::random::Generator;
use crate::wire::datagram::{L_LEN, S_LEN};

/// Bytes of a cookie reply.
const COOKIE_LEN: u64 = 80;

/// Configuration, time, randomness, output and counters.
pub(super) struct Shared {
    pub(super) config: LinkConfig,
    pub(super) clock: Clock,
    pub(super) rng: Generator,
    pub(super) output: Output,
    pub(super) counters: LinkCounters,
    /// What all links together may keep for repair.
    pub(super) repair: Budget,
    /// What decoding for all links may cost.
    pub(super) repair_work: Work,
    pub(super) events: VecDeque<LinkEvent>,
    /// Plaintext of the datagram at hand.
    pub(super) plain: Box<Zeroizing<[u8; L_LEN]>>,
    pub(super) rate: Option<Bucket>,
    /// Of a node with a rate limit: fortieths of it for handshakes and for cookies.
    handshakes: Option<(Bucket, Bucket)>,
    /// The part for handshakes was found used up; for a while only proven addresses are answered.
    strained_until: Nanos,
    /// The rate limit lets the next datagram leave then.
    pub(super) rate_wake: Option<Nanos>,
}

/// How long a used-up allowance for answers counts as load.
const STRAINED: Nanos = SECOND;

impl Shared {
    pub(super) fn new(config: LinkConfig, rng: Generator, clock: Clock) -> Self {
        let (rate, handshakes) = buckets(config.rate_limit, 0);
        Self {
            config,
            clock,
            rng,
            output: Output::default(),
            counters: LinkCounters::default(),
            repair: Budget::new(RELAY_BYTES, STRANGER_BYTES),
            repair_work: Work::of_node(),
            events: VecDeque::new(),
            plain: Box::new(Zeroizing::new([0; L_LEN])),
            rate,
            handshakes,
            strained_until: 0,
            rate_wake: None,
        }
    }

    /// Another rate limit from now on. The buckets begin full, so a change is worth one burst at most.
    pub(super) fn set_rate_limit(&mut self, now: Nanos, limit: Option<u64>) {
        if self.config.rate_limit == limit {
            return;
        }
        self.config.rate_limit = limit;
        (self.rate, self.handshakes) = buckets(limit, now);
        // Whoever waits for the old rate looks again at once.
        self.rate_wake = self.rate_wake.map(|_| now);
    }

    /// Whether the node's rate limit lets a long datagram leave.
    pub(super) fn rate_allows(&self, now: Nanos) -> bool {
        self.rate.as_ref().is_none_or(|rate| rate.allows(now, L_LEN as u64))
    }

    /// Charges a datagram to the node's rate limit.
    pub(super) fn charge(&mut self, now: Nanos, bytes: usize) {
        if let Some(rate) = &mut self.rate {
            rate.take(now, bytes as u64);
            self.rate_wake = rate.ready_at(now, L_LEN as u64);
        }
    }

    /// Whether the handshakes' part of the rate limit lets another stranger be answered.
    pub(super) fn may_answer(&self, now: Nanos) -> bool {
        self.handshakes.as_ref().is_none_or(|(answers, _)| answers.allows(now, L_LEN as u64))
    }

    /// Whether the handshakes' part of the rate limit is used up, or was a moment ago.
    pub(super) fn is_strained(&mut self, now: Nanos) -> bool {
        if !self.may_answer(now) {
            self.strained_until = now + STRAINED;
        }
        now < self.strained_until
    }

    /// Whether the cookies' part of the rate limit lets another leave.
    pub(super) fn may_send_cookie(&self, now: Nanos) -> bool {
        self.handshakes.as_ref().is_none_or(|(_, cookies)| cookies.allows(now, COOKIE_LEN))
    }

    /// Appends a handshake message to the output.
    pub(super) fn send_handshake(&mut self, now: Nanos, to: SocketAddr, message: &[u8]) {
        self.output.datagram(to, message.len()).copy_from_slice(message);
        if message.len() == L_LEN {
            self.counters.sent_handshake += 1;
        } else {
            self.counters.sent_cookie += 1;
        }
        if let Some((answers, cookies)) = &mut self.handshakes {
            let part = if message.len() == L_LEN { answers } else { cookies };
            part.take(now, message.len() as u64);
        }
    }

    pub(super) fn count_sent(&mut self, len: usize) {
        if len == S_LEN {
            self.counters.sent_short += 1;
        } else {
            self.counters.sent_long += 1;
        }
    }
}

/// The buckets of a rate limit: for datagrams of sessions, and for handshakes and cookies.
fn buckets(limit: Option<u64>, now: Nanos) -> (Option<Bucket>, Option<(Bucket, Bucket)>) {
    // Deep enough for a burst or five milliseconds.
    // A twentieth is set apart, so that no flood of first messages takes the rate from the cells.
    let cells = limit.map(|rate| rate - rate / 20);
    let rate = cells.map(|rate| Bucket::new(rate, (64 * L_LEN as u64).max(rate / 200), now));
    let part = limit.map(|rate| Bucket::new(rate / 40, 16 * L_LEN as u64, now));
    (rate, part.map(|part| (part, part)))
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("counters", &self.counters).finish_non_exhaustive()
    }
}
