//! Whether a relay can be reached by those to whom it has sent nothing.
//!
//! It asks relays that it has links to. Each picks another one, which sends a probe to the address where the first sees the
//! asker. A probe from a relay that the asker never sent anything to proves that the address is open to all.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::{CryptoRng, Rng};
use zmesh_sphinx::RelayId;

use super::probe::{Probe, ProbeKey, Said};
use crate::wire::frame::signal::BODY_LEN;

/// So many relays must have reached the address.
pub const CONFIRMATIONS: usize = 2;
/// Relays that one request names as known to the asker, at most.
const MAX_EXCLUDED: usize = 24;
/// How long the answer is waited for before the address counts as closed.
const PATIENCE: Duration = Duration::from_secs(7);
/// The pause between two requests.
const ASK_EVERY: Duration = Duration::from_millis(700);
/// Requests of one round.
const ASKS: u32 = 8;
/// A round begins anew after this time.
const AGAIN: Duration = Duration::from_secs(600);

/// Whether strangers can reach a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
#[non_exhaustive]
pub enum Reachability {
    /// Not known yet.
    #[default]
    Asking,
    /// Others that this relay had sent nothing to have reached it.
    Open {
        /// At this address.
        address: SocketAddr,
        /// How many of them.
        confirmed_by: usize,
    },
    /// Nobody got through. If it is to be reachable without help, this UDP port must be forwarded or opened.
    Closed {
        /// Where relays see it.
        address: SocketAddr,
        /// The local port.
        port: u16,
    },
    /// There are too few relays that it has no link to.
    Unknown,
}

/// What a request says; it also goes on to the relay that sends the probe.
#[derive(Clone, Debug)]
pub(crate) struct ReachRequest {
    pub(crate) key: ProbeKey,
    pub(crate) tag: u32,
    /// Relays that would prove nothing.
    pub(crate) excluded: Vec<RelayId>,
}

impl ReachRequest {
    pub(crate) fn to_body(&self) -> [u8; BODY_LEN] {
        let mut out = [0; BODY_LEN];
        out[..32].copy_from_slice(self.key.as_bytes());
        out[32..36].copy_from_slice(&self.tag.to_be_bytes());
        let count = self.excluded.len().min(MAX_EXCLUDED);
        out[36] = u8::try_from(count).unwrap_or(0);
        for (slot, id) in out[37..].chunks_exact_mut(16).zip(&self.excluded[..count]) {
            slot.copy_from_slice(&id.0);
        }
        out
    }

    pub(crate) fn read(body: &[u8; BODY_LEN]) -> Option<Self> {
        let (&key, rest) = body.split_first_chunk::<32>()?;
        let (&tag, rest) = rest.split_first_chunk::<4>()?;
        let (&[count], rest) = rest.split_first_chunk::<1>()?;
        let count = usize::from(count);
        if count > MAX_EXCLUDED {
            return None;
        }
        let excluded = rest.chunks_exact(16).take(count).filter_map(|id| Some(RelayId(*id.first_chunk()?)));
        Some(Self { key: ProbeKey::from_bytes(key), tag: u32::from_be_bytes(tag), excluded: excluded.collect() })
    }
}

/// The asking side.
#[derive(Debug)]
pub(crate) struct Reach {
    key: ProbeKey,
    tag: u32,
    round: Option<Round>,
    state: Reachability,
}

/// One look at one address.
#[derive(Debug)]
struct Round {
    address: SocketAddr,
    begun: Instant,
    asks: u32,
    next_ask: Instant,
    confirmed: BTreeSet<RelayId>,
    /// Whether its end has been judged.
    judged: bool,
}

impl Reach {
    pub(crate) fn new(rng: &mut impl CryptoRng) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        let (tag, state) = (rng.next_u32(), Reachability::Asking);
        Self { key: ProbeKey::from_bytes(key), tag, round: None, state }
    }

    pub(crate) fn state(&self) -> Reachability {
        self.state
    }

    /// The request that is due, if this node is seen at `address` and `others` are left that could try.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        address: Option<SocketAddr>,
        port: u16,
        others: usize,
        excluded: &[RelayId],
    ) -> Option<ReachRequest> {
        let address = address?;
        if self.round.as_ref().is_none_or(|round| round.address != address || now >= round.begun + AGAIN) {
            if !matches!(self.state, Reachability::Open { address: of, .. } if of == address) {
                self.state = Reachability::Asking;
            }
            let confirmed = BTreeSet::new();
            self.round = Some(Round { address, begun: now, asks: 0, next_ask: now, confirmed, judged: false });
        }
        let round = self.round.as_mut()?;
        let (done, over) = (round.confirmed.len() >= CONFIRMATIONS, now >= round.begun + PATIENCE);
        if over && !done && !round.judged {
            round.judged = true;
            self.state = if others == 0 { Reachability::Unknown } else { Reachability::Closed { address, port } };
        }
        if over || done || others == 0 || round.asks >= ASKS || now < round.next_ask {
            return None;
        }
        round.asks += 1;
        round.next_ask = now + ASK_EVERY;
        Some(ReachRequest { key: self.key.clone(), tag: self.tag, excluded: excluded.to_vec() })
    }

    /// Whether a probe is for this.
    pub(crate) fn is_for(&self, probe: &Probe) -> bool {
        probe.said == Said::Reached && probe.tag == self.tag
    }

    /// A probe has come that [`is_for`](Self::is_for) this. `stranger` says of its sender whether it is a relay at the
    /// address that it came from, and one that nothing was sent to. Returns whether the state has changed.
    pub(crate) fn handle(&mut self, probe: &Probe, datagram: &[u8], stranger: bool) -> bool {
        let genuine = stranger && Probe::check(datagram, &self.key);
        let Some(round) = self.round.as_mut().filter(|_| genuine) else { return false };
        round.confirmed.insert(RelayId(probe.relay));
        let state = Reachability::Open { address: round.address, confirmed_by: round.confirmed.len() };
        // One may be wrong or lie; two say it.
        let news = round.confirmed.len() >= CONFIRMATIONS && state != self.state;
        if news {
            self.state = state;
        }
        news
    }
}

/// Bounds on the probes that a relay sends for others.
#[derive(Debug)]
pub(crate) struct Favours {
    left: u32,
    at: Instant,
}

/// Favours at once, and in a second.
const FAVOURS: u32 = 32;

impl Favours {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: FAVOURS, at: now }
    }

    /// Whether one more may be done.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.at) >= Duration::from_secs(1) {
            (self.left, self.at) = (FAVOURS, now);
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

/// The probe of a relay that was asked for one.
pub(crate) fn reached(
    request: &ReachRequest,
    own: RelayId,
    rng: &mut impl Rng,
) -> [u8; crate::wire::datagram::PROBE_LEN] {
    Probe { said: Said::Reached, tag: request.tag, transaction: rng.next_u64(), relay: own.0 }.seal(&request.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Generator;
    use crate::timer::any_instant;

    const ADDRESS: ([u8; 4], u16) = ([198, 51, 100, 7], 4000);

    fn ask(reach: &mut Reach, now: Instant) -> Option<ReachRequest> {
        reach.poll(now, Some(ADDRESS.into()), 9000, 5, &[RelayId([1; 16])])
    }

    #[test]
    fn two_strangers_open_it() {
        let (now, mut rng) = (any_instant(), Generator::new(&[1; 32]));
        let mut reach = Reach::new(&mut rng);
        let request = ask(&mut reach, now).expect("it asks at once");
        let request = ReachRequest::read(&request.to_body()).expect("it reads back");
        assert_eq!(request.excluded, [RelayId([1; 16])]);
        for (id, stranger, news) in [(2, true, false), (2, true, false), (3, false, false), (4, true, true)] {
            let datagram = reached(&request, RelayId([id; 16]), &mut rng);
            let probe = Probe::read(&datagram).expect("a probe");
            assert!(reach.is_for(&probe));
            assert_eq!(reach.handle(&probe, &datagram, stranger), news, "{id}");
        }
        assert_eq!(reach.state(), Reachability::Open { address: ADDRESS.into(), confirmed_by: 2 });
    }

    #[test]
    fn silence_names_the_port_within_ten_seconds() {
        let (now, mut rng) = (any_instant(), Generator::new(&[1; 32]));
        let mut reach = Reach::new(&mut rng);
        let mut asked = 0;
        for tick in 0..200 {
            asked += usize::from(ask(&mut reach, now + Duration::from_millis(50) * tick).is_some());
        }
        assert_eq!(reach.state(), Reachability::Closed { address: ADDRESS.into(), port: 9000 });
        assert_eq!(asked, ASKS as usize);
    }

    #[test]
    fn a_forged_probe_and_too_few_relays_say_nothing() {
        let (now, mut rng) = (any_instant(), Generator::new(&[1; 32]));
        let mut reach = Reach::new(&mut rng);
        let mut request = ask(&mut reach, now).expect("it asks at once");
        request.key = ProbeKey::from_bytes([0; 32]);
        for id in 2..6 {
            let datagram = reached(&request, RelayId([id; 16]), &mut rng);
            assert!(!reach.handle(&Probe::read(&datagram).expect("a probe"), &datagram, true));
        }
        assert!(reach.poll(now + PATIENCE, Some(ADDRESS.into()), 9000, 0, &[]).is_none());
        assert_eq!(reach.state(), Reachability::Unknown);
    }
}
