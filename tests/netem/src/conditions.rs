//! What one direction of a link does to datagrams at one time.

use std::time::Duration;

use crate::loss::Loss;

/// What one direction of a link does to datagrams, as long as it stays the same.
///
/// A datagram that is too large is dropped; then it waits for the bottleneck, or is dropped if the queue before it is full; then it may
/// be lost (so a lost datagram has used the rate, as one lost in the air has); then it takes the delay, with jitter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Mean of the one-way delay.
    pub delay: Duration,
    /// The delay differs from its mean by at most this much, both ways; bell-shaped, with a standard deviation of a third of it.
    pub jitter: Duration,
    /// For how long one draw of the jitter holds; zero: each datagram has its own. Draws that fall faster than time passes are
    /// stretched where order is kept, so that the mean rises by a part of the jitter.
    pub jitter_every: Duration,
    /// Whether jitter keeps the order: what was sent later never arrives earlier.
    pub in_order: bool,
    /// Probability that a datagram is held back by [`Conditions::reorder_by`], while others overtake it.
    pub reorder: f64,
    /// How much longer than others a datagram that is held back takes.
    pub reorder_by: Duration,
    /// Probability that a datagram arrives twice, at the same time.
    pub duplicate: f64,
    /// Which datagrams are lost.
    pub loss: Loss,
    /// Rate of the bottleneck in bytes a second, IP and UDP headers included.
    pub rate: Option<u64>,
    /// How many bytes may wait for the bottleneck, the one that is being sent included.
    pub queue: usize,
    /// The longest IP packet that passes, in bytes.
    pub mtu: Option<usize>,
}

impl Conditions {
    /// Nothing happens to a datagram: it arrives at once.
    pub const CLEAR: Conditions = Conditions {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        jitter_every: Duration::ZERO,
        in_order: true,
        reorder: 0.0,
        reorder_by: Duration::ZERO,
        duplicate: 0.0,
        loss: Loss::None,
        rate: None,
        queue: 0,
        mtu: None,
    };

    /// The longest delay, jitter or hold that a profile may ask for.
    pub const MOST_DELAY: Duration = Duration::from_secs(60);

    /// Nothing but this delay.
    #[must_use]
    pub const fn delay(delay: Duration) -> Conditions {
        Conditions { delay, ..Conditions::CLEAR }
    }

    /// Whether the figures make sense: shares are between 0 and 1, times at most [`Conditions::MOST_DELAY`], the jitter no more than
    /// the delay, and a bottleneck has a rate and a queue that holds a datagram. A [`crate::Pipe`] copes with others, too, but
    /// does not do what they say.
    ///
    /// # Errors
    /// What does not make sense.
    pub fn check(&self) -> Result<(), Flaw> {
        let shares = match self.loss {
            Loss::None => [0.0; 4],
            Loss::Independent(share) => [share, 0.0, 0.0, 0.0],
            Loss::Gilbert { p, r, good, bad } => [p, r, good, bad],
        };
        if !shares.iter().chain([&self.reorder, &self.duplicate]).all(|share| (0.0..=1.0).contains(share)) {
            return Err(Flaw::Share);
        }
        let times = [self.delay, self.jitter, self.jitter_every, self.reorder_by];
        if times.into_iter().any(|time| time > Conditions::MOST_DELAY) {
            return Err(Flaw::TooLong);
        }
        if self.jitter > self.delay {
            return Err(Flaw::JitterExceedsDelay);
        }
        match (self.rate, self.mtu) {
            (Some(0), _) => Err(Flaw::NoRate),
            (Some(_), _) if self.queue < LEAST_QUEUE => Err(Flaw::SmallQueue),
            (_, Some(mtu)) if mtu < LEAST_MTU => Err(Flaw::SmallMtu),
            _ => Ok(()),
        }
    }
}

/// A queue that cannot hold one Ethernet packet passes nothing.
const LEAST_QUEUE: usize = 1_500;
/// What every IPv4 link passes (RFC 791).
const LEAST_MTU: usize = 68;

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions::CLEAR
    }
}

/// What does not make sense in [`Conditions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// A probability outside 0 to 1.
    #[error("a share must lie between 0 and 100 %")]
    Share,
    /// A time above [`Conditions::MOST_DELAY`].
    #[error("a time is longer than {} s", Conditions::MOST_DELAY.as_secs())]
    TooLong,
    /// The delay would be negative at times.
    #[error("the jitter is larger than the delay, but no datagram can arrive before it was sent")]
    JitterExceedsDelay,
    /// A bottleneck of rate 0.
    #[error("a rate of 0 passes nothing")]
    NoRate,
    /// A bottleneck whose queue does not hold one datagram.
    #[error("the queue must hold one datagram at least: {LEAST_QUEUE} bytes")]
    SmallQueue,
    /// An MTU below IPv4's.
    #[error("the MTU is below {LEAST_MTU} bytes, which every link passes")]
    SmallMtu,
}
