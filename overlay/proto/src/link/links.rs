//! All links of one node.

use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha12Rng;

use super::output::{Output, Transmit};
use super::{
    Control, Error, HandshakeDone, HandshakeJob, Inbound, LinkConfig, LinkCounters, LinkEvent,
    LinkId, LinkPeer, LinkStats,
};
use crate::wire::cell::Cell;

/// All links of one node.
#[derive(Debug)]
pub struct Links {
    counters: LinkCounters,
    output: Output,
}

#[expect(unused_variables, clippy::unused_self, reason = "signatures first")]
impl Links {
    /// Creates the links of a node; none exist yet.
    #[must_use]
    pub fn new(config: LinkConfig, rng: ChaCha12Rng, now: Instant, unix_nanos: u64) -> Self {
        Self {
            counters: LinkCounters::default(),
            output: Output::default(),
        }
    }
    /// Sets the wall clock.
    pub fn set_clock(&mut self, now: Instant, unix_nanos: u64) {}
    /// Opens a link, or returns the one that exists.
    ///
    /// # Errors
    /// [`Error`]
    pub fn connect(&mut self, now: Instant, peer: &LinkPeer) -> Result<LinkId, Error> {
        Err(Error::TooManyLinks)
    }
    /// Takes a datagram.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        inbox: &mut Vec<Inbound>,
    ) {
    }
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {}
    /// When something is due next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }
    /// Whether one more long datagram may be sent now.
    #[must_use]
    pub fn can_send(&self, now: Instant, link: LinkId) -> bool {
        false
    }
    /// Whether the link is up.
    #[must_use]
    pub fn is_up(&self, link: LinkId) -> bool {
        false
    }
    /// Whether the link is up and may not send now.
    #[must_use]
    pub fn backlogged(&self, now: Instant, link: LinkId) -> bool {
        false
    }
    /// Seals one or two cells into the output.
    pub fn send_cells(&mut self, now: Instant, link: LinkId, first: &Cell, second: Option<&Cell>) {}
    /// Queues a control frame.
    ///
    /// # Errors
    /// [`Error`]
    pub fn send_control(
        &mut self,
        now: Instant,
        link: LinkId,
        control: Control,
    ) -> Result<(), Error> {
        Err(Error::UnknownLink)
    }
    /// After a batch of input: feedback, acknowledgements, control frames.
    pub fn finish_batch(&mut self, now: Instant) {}
    /// What is to be sent.
    pub fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.output.transmits()
    }
    /// Forgets what was sent.
    pub fn clear_transmits(&mut self) {
        self.output.clear();
    }
    /// The next event.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        None
    }
    /// The next public-key work.
    pub fn poll_job(&mut self) -> Option<HandshakeJob> {
        None
    }
    /// Takes the outcome of public-key work.
    pub fn handle_job(&mut self, now: Instant, done: HandshakeDone) {}
    /// Closes a link.
    pub fn close(&mut self, now: Instant, link: LinkId) {}
    /// How a link fares.
    #[must_use]
    pub fn stats(&self, link: LinkId) -> Option<LinkStats> {
        None
    }
    /// Counters over all links.
    #[must_use]
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }
}
