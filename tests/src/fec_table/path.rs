//! One link of the emulator, the same for every contender: a delay for each moment, and a fate for each datagram.

use std::time::Duration;

use zmesh_netem::{Conditions, Loss, Pipe, Timeline};

pub(super) const MILLISECOND: u64 = 1_000_000;

/// How long a datagram takes, sampled each millisecond from a pipe of the profile without loss. So contenders that send more or other
/// datagrams meet the same delays.
#[derive(Debug, Clone)]
pub(super) struct Delays(Vec<u64>);

impl Delays {
    pub(super) fn new(timeline: &Timeline, seed: u64, length: u64) -> Delays {
        let mut pipe =
            Pipe::new(timeline.map(|c| Conditions { loss: Loss::None, rate: None, reorder: 0.0, ..c }), seed);
        let times = (0..=length / MILLISECOND).map(|ms| Duration::from_nanos(ms * MILLISECOND));
        Delays(times.map(|at| pipe.send(at, 0).next().map_or(0, |arrival| nanos(arrival) - nanos(at))).collect())
    }

    /// When what is sent at `at` arrives, unless it is lost.
    pub(super) fn arrival(&self, at: u64) -> u64 {
        let place = usize::try_from(at / MILLISECOND).unwrap_or(usize::MAX).min(self.0.len() - 1);
        at + self.0[place]
    }
}

/// A link: its delays, and the losses of one contender's datagrams in the order of sending.
#[derive(Debug)]
pub(super) struct Link<'a> {
    delays: &'a Delays,
    fates: Pipe,
    /// Everything that was sent: when, and when it arrived.
    pub(super) log: Vec<(u64, Option<u64>)>,
}

impl<'a> Link<'a> {
    pub(super) fn new(timeline: &Timeline, delays: &'a Delays, seed: u64) -> Link<'a> {
        let fates = Pipe::new(timeline.map(|c| Conditions { loss: c.loss, ..Conditions::CLEAR }), seed);
        Link { delays, fates, log: Vec::new() }
    }

    /// Sends a datagram: when it arrives, if it does. Times must not fall.
    pub(super) fn send(&mut self, at: u64) -> Option<u64> {
        let arrival = self.fates.send(Duration::from_nanos(at), 0).next().map(|_| self.delays.arrival(at));
        self.log.push((at, arrival));
        arrival
    }

    /// When the sender hears what became of a datagram: a way there, a way back, and feedback each 25 ms.
    pub(super) fn reported(&self, at: u64) -> u64 {
        let there = self.delays.arrival(at);
        there + (there - at) + 25 * MILLISECOND
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
