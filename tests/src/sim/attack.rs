//! Attackers that are no nodes: junk, and handshakes that nobody means to finish. Their own work takes no virtual time.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_proto::link::{LinkConfig, LinkPeer, Links, LocalIdentity};

use super::host::{Host, Outbox, Received};

/// Most datagrams that an attacker puts into one turn.
const BURST: usize = 256;

/// When an attacker sends.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The first datagram.
    pub start: Instant,
    /// No datagram from here on.
    pub end: Instant,
    /// Datagrams a second.
    pub per_second: u32,
}

impl Schedule {
    /// How many datagrams are due at `now` beyond the `sent` ones, and when the next is.
    fn due(&self, now: Instant, sent: u64) -> (usize, Option<Instant>) {
        let gap = Duration::from_secs(1) / self.per_second.max(1);
        let elapsed = now.min(self.end).saturating_duration_since(self.start);
        let allowed = if now < self.start { 0 } else { elapsed.as_nanos() / gap.as_nanos().max(1) + 1 };
        let due = u64::try_from(allowed).unwrap_or(u64::MAX).saturating_sub(sent);
        let next = self.start + gap * u32::try_from(sent + due).unwrap_or(u32::MAX);
        (usize::try_from(due).unwrap_or(usize::MAX).min(BURST), (next < self.end).then_some(next))
    }
}

/// Sends datagrams of random bytes in both lengths, with every type byte in turn, from ever new addresses.
#[derive(Debug)]
pub struct Junk {
    target: SocketAddr,
    schedule: Schedule,
    rng: ChaCha12Rng,
    next: Option<Instant>,
    /// Datagrams sent.
    pub sent: u64,
}

impl Junk {
    /// Junk for `target`.
    #[must_use]
    pub fn new(target: SocketAddr, schedule: Schedule, seed: u64) -> Junk {
        Junk { target, schedule, rng: ChaCha12Rng::seed_from_u64(seed), next: Some(schedule.start), sent: 0 }
    }
}

impl Host for Junk {
    fn turn(&mut self, now: Instant, _: &mut [Received], out: &mut Outbox) -> Duration {
        let (due, next) = self.schedule.due(now, self.sent);
        for _ in 0..due {
            let length = if self.sent.is_multiple_of(2) { 1200 } else { 576 };
            let mut data = vec![0; length];
            self.rng.fill_bytes(&mut data);
            // A header as it should be, so that the look at it goes as far as it can.
            data[0] = u8::try_from(self.sent % 6).unwrap_or(0);
            data[1] = 1;
            data[2..4].fill(0);
            out.send_as(spoofed(&mut self.rng), self.target, data);
            self.sent += 1;
        }
        self.next = next;
        Duration::ZERO
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next
    }
}

/// Sends well-formed first messages of the link handshake from ever new addresses and never answers.
#[derive(Debug)]
pub struct HalfOpen {
    target: LinkPeer,
    schedule: Schedule,
    unix_nanos: u64,
    rng: ChaCha12Rng,
    next: Option<Instant>,
    /// Messages sent.
    pub sent: u64,
}

impl HalfOpen {
    /// Half-open handshakes for `target`; `unix_nanos` is the wall clock that the messages tell.
    #[must_use]
    pub fn new(target: LinkPeer, schedule: Schedule, unix_nanos: u64, seed: u64) -> HalfOpen {
        HalfOpen {
            target,
            schedule,
            unix_nanos,
            rng: ChaCha12Rng::seed_from_u64(seed),
            next: Some(schedule.start),
            sent: 0,
        }
    }

    /// The first message of a fresh origin.
    fn first_message(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut links = Links::new(
            LinkConfig::new(LocalIdentity::Anonymous),
            ChaCha12Rng::from_rng(&mut self.rng),
            now,
            self.unix_nanos,
        );
        links.connect(now, &self.target).ok()?;
        while let Some(job) = links.poll_job() {
            links.handle_job(now, job.run());
        }
        links.finish_batch(now);
        let transmit = links.transmits().next()?;
        transmit.data.get(..transmit.segment).map(<[u8]>::to_vec)
    }
}

impl Host for HalfOpen {
    fn turn(&mut self, now: Instant, _: &mut [Received], out: &mut Outbox) -> Duration {
        let (due, next) = self.schedule.due(now, self.sent);
        for _ in 0..due {
            if let (Some(data), Some(to)) = (self.first_message(now), self.target.addresses.first().copied()) {
                out.send_as(spoofed(&mut self.rng), to, data);
            }
            self.sent += 1;
        }
        self.next = next;
        Duration::ZERO
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next
    }
}

/// A public-looking IPv4 address where nobody of the simulation lives.
fn spoofed(rng: &mut ChaCha12Rng) -> SocketAddr {
    let bits = rng.next_u32();
    let [a, b, c, d] = bits.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(a % 64 + 128, b, c, d), 1024 + (bits & 0x7fff) as u16))
}
