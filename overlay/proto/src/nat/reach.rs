//! Whether a relay can be reached by those to whom it has sent nothing.
//!
//! It asks relays that it has links to. Each picks another one, which sends a probe to the address where the first sees the
//! asker. A probe from a relay that the asker never sent anything to shows that the address is open to all. Who was asked
//! could send that probe itself, under another's address: so every request has a key of its own, and two that went to
//! different relays have to bring one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::{CryptoRng, Rng};
use zmesh_sphinx::RelayId;

use super::probe::{Probe, ProbeKey, Said};
use crate::wire::frame::signal::BODY_LEN;

/// So many relays must have reached the address, each at the request of another one.
pub const CONFIRMATIONS: usize = 2;
/// Relays that one request names as known to the asker, at most.
const MAX_EXCLUDED: usize = 24;
/// How long the answer is waited for before the address counts as closed.
const PATIENCE: Duration = Duration::from_secs(7);
/// The pause between two requests.
const ASK_EVERY: Duration = Duration::from_millis(700);
/// Requests of one round.
const ASKS: usize = 8;
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
    /// There are too few relays, to ask or that it has no link to.
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
#[derive(Debug, Default)]
pub(crate) struct Reach {
    round: Option<Round>,
    state: Reachability,
}

/// One look at one address.
#[derive(Debug)]
struct Round {
    address: SocketAddr,
    begun: Instant,
    next_ask: Instant,
    requests: Vec<Request>,
    confirmed: BTreeSet<RelayId>,
    /// Whether its end has been judged.
    judged: bool,
}

#[derive(Debug)]
struct Request {
    asked: RelayId,
    key: ProbeKey,
    tag: u32,
    /// Whether it has brought a probe.
    spent: bool,
}

/// What a relay knows of itself and others when it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// Where the others see it.
    pub(crate) address: SocketAddr,
    /// The local port.
    pub(crate) port: u16,
    /// How many relays are left that could try.
    pub(crate) others: usize,
    /// Who can be asked.
    pub(crate) able: &'a [RelayId],
    /// Relays that would prove nothing.
    pub(crate) excluded: &'a BTreeSet<RelayId>,
}

impl Reach {
    pub(crate) fn state(&self) -> Reachability {
        self.state
    }

    /// The request that is due, and whom to ask.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        situation: &Situation<'_>,
        rng: &mut impl CryptoRng,
    ) -> Option<(RelayId, ReachRequest)> {
        let Situation { address, port, others, able, excluded } = *situation;
        if self.round.as_ref().is_none_or(|round| round.address != address || now >= round.begun + AGAIN) {
            if !matches!(self.state, Reachability::Open { address: of, .. } if of == address) {
                self.state = Reachability::Asking;
            }
            let (requests, confirmed) = (Vec::new(), BTreeSet::new());
            self.round = Some(Round { address, begun: now, next_ask: now, requests, confirmed, judged: false });
        }
        let round = self.round.as_mut()?;
        let (done, over) = (round.confirmed.len() >= CONFIRMATIONS, now >= round.begun + PATIENCE);
        let asked: BTreeSet<RelayId> = round.requests.iter().map(|request| request.asked).collect();
        if over && !done && !round.judged {
            round.judged = true;
            let said = others > 0 && asked.len() >= CONFIRMATIONS;
            self.state = if said { Reachability::Closed { address, port } } else { Reachability::Unknown };
        }
        if over || done || others == 0 || round.requests.len() >= ASKS || now < round.next_ask {
            return None;
        }
        // In turn; and last those that have brought somebody.
        let load = |id: &RelayId| -> usize {
            let of = round.requests.iter().filter(|request| request.asked == *id);
            of.map(|request| if request.spent { 1 + ASKS } else { 1 }).sum()
        };
        let least = able.iter().map(load).min()?;
        let able: Vec<RelayId> = able.iter().filter(|id| load(id) == least).copied().collect();
        let turn = usize::try_from(rng.next_u64() % (able.len() as u64).max(1)).unwrap_or(0);
        let asked = *able.get(turn)?;
        round.next_ask = now + ASK_EVERY;
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        let (key, tag) = (ProbeKey::from_bytes(key), rng.next_u32());
        round.requests.push(Request { asked, key: key.clone(), tag, spent: false });
        Some((asked, ReachRequest { key, tag, excluded: excluded.iter().copied().take(MAX_EXCLUDED).collect() }))
    }

    /// Whether a probe is for this.
    pub(crate) fn is_for(&self, probe: &Probe) -> bool {
        let of = |request: &Request| request.tag == probe.tag;
        probe.said == Said::Reached && self.round.as_ref().is_some_and(|round| round.requests.iter().any(of))
    }

    /// A probe has come that [`is_for`](Self::is_for) this. `stranger` says of its sender whether it is a relay at the
    /// address that it came from, and one that nothing was sent to. Returns whether the state has changed.
    pub(crate) fn handle(&mut self, probe: &Probe, datagram: &[u8], stranger: bool) -> bool {
        let Some(round) = self.round.as_mut().filter(|_| stranger) else { return false };
        let Some(at) = round.requests.iter().position(|request| request.tag == probe.tag) else { return false };
        let asked = round.requests[at].asked;
        // Whoever was asked knows the key. All that it brings counts once, and so does all that one relay sends.
        if !Probe::check(datagram, &round.requests[at].key)
            || round.requests.iter().any(|request| request.asked == asked && request.spent)
            || !round.confirmed.insert(RelayId(probe.relay))
        {
            return false;
        }
        round.requests[at].spent = true;
        let state = Reachability::Open { address: round.address, confirmed_by: round.confirmed.len() };
        // One may be wrong or lie; two say it.
        let news = round.confirmed.len() >= CONFIRMATIONS && state != self.state;
        if news {
            self.state = state;
        }
        news
    }
}

/// So many of something at once, and in a second.
#[derive(Debug)]
pub(crate) struct Favours {
    most: u32,
    left: u32,
    at: Instant,
}

/// Probes that a relay sends for others, and offers that it answers.
pub(crate) const FAVOURS: u32 = 32;

impl Favours {
    pub(crate) fn new(most: u32, now: Instant) -> Self {
        Self { most, left: most, at: now }
    }

    /// Whether one more may be done.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.at) >= Duration::from_secs(1) {
            (self.left, self.at) = (self.most, now);
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

    fn ask(reach: &mut Reach, now: Instant, rng: &mut Generator) -> Option<(RelayId, ReachRequest)> {
        ask_of(reach, now, rng, &[RelayId([21; 16]), RelayId([22; 16])])
    }

    fn ask_of(
        reach: &mut Reach,
        now: Instant,
        rng: &mut Generator,
        able: &[RelayId],
    ) -> Option<(RelayId, ReachRequest)> {
        let excluded = BTreeSet::from([RelayId([1; 16])]);
        let situation = Situation { address: ADDRESS.into(), port: 9000, others: 5, able, excluded: &excluded };
        reach.poll(now, &situation, rng)
    }

    /// The relay `id` probes as a request says.
    fn probe(reach: &mut Reach, request: &ReachRequest, id: u8, stranger: bool, rng: &mut Generator) -> bool {
        let datagram = reached(request, RelayId([id; 16]), rng);
        let probe = Probe::read(&datagram).expect("a probe");
        assert!(reach.is_for(&probe));
        reach.handle(&probe, &datagram, stranger)
    }

    #[test]
    fn two_strangers_open_it() {
        let (now, mut rng) = (any_instant(), Generator::new(&[1; 32]));
        let mut reach = Reach::default();
        let (first, request) = ask(&mut reach, now, &mut rng).expect("it asks at once");
        let request = ReachRequest::read(&request.to_body()).expect("it reads back");
        assert_eq!(request.excluded, [RelayId([1; 16])]);
        let (second, other) = ask(&mut reach, now + ASK_EVERY, &mut rng).expect("and again");
        assert_ne!(first, second, "another one, while there is one");
        assert!(!probe(&mut reach, &request, 2, true, &mut rng));
        assert!(!probe(&mut reach, &other, 3, false, &mut rng), "no stranger");
        assert!(!probe(&mut reach, &other, 2, true, &mut rng), "the same again");
        assert!(probe(&mut reach, &other, 4, true, &mut rng));
        assert_eq!(reach.state(), Reachability::Open { address: ADDRESS.into(), confirmed_by: 2 });
    }

    #[test]
    fn one_that_was_asked_cannot_open_it_under_the_names_of_others() {
        let (now, mut rng) = (any_instant(), Generator::new(&[1; 32]));
        let mut reach = Reach::default();
        // It got every request of the round, and forges the addresses of all others.
        let mut requests = Vec::new();
        for tick in 0..8 {
            requests.extend(ask_of(&mut reach, now + ASK_EVERY * tick, &mut rng, &[RelayId([21; 16])]));
        }
        assert_eq!(requests.len(), 8);
        let keys: BTreeSet<[u8; 32]> = requests.iter().map(|(_, request)| *request.key.as_bytes()).collect();
        assert_eq!(keys.len(), 8, "every request has a key of its own");
        for (_, request) in &requests {
            for id in 2..10 {
                assert!(!probe(&mut reach, request, id, true, &mut rng));
            }
        }
        assert!(ask_of(&mut reach, now + PATIENCE, &mut rng, &[RelayId([21; 16])]).is_none());
        assert_eq!(reach.state(), Reachability::Unknown, "one relay's word says neither");
    }

    #[test]
    fn silence_names_the_port_within_ten_seconds() {
        let (now, mut rng) = (any_instant(), Generator::new(&[1; 32]));
        let mut reach = Reach::default();
        let mut asked = 0;
        for tick in 0..200 {
            asked += usize::from(ask(&mut reach, now + Duration::from_millis(50) * tick, &mut rng).is_some());
        }
        assert_eq!(reach.state(), Reachability::Closed { address: ADDRESS.into(), port: 9000 });
        assert_eq!(asked, ASKS);
    }

    #[test]
    fn a_forged_probe_and_too_few_relays_say_nothing() {
        let (now, mut rng) = (any_instant(), Generator::new(&[1; 32]));
        let mut reach = Reach::default();
        let (_, mut request) = ask(&mut reach, now, &mut rng).expect("it asks at once");
        request.key = ProbeKey::from_bytes([0; 32]);
        for id in 2..6 {
            assert!(!probe(&mut reach, &request, id, true, &mut rng));
        }
        let (able, excluded) = (&[RelayId([21; 16])][..], &BTreeSet::new());
        let alone = Situation { address: ADDRESS.into(), port: 9000, others: 0, able, excluded };
        assert!(reach.poll(now + PATIENCE, &alone, &mut rng).is_none());
        assert_eq!(reach.state(), Reachability::Unknown);
    }
}
