//! Addresses at which this node may be reached, and when others test them once more.
//!
//! libp2p's client of AutoNAT v2 has an address tested once: a test that failed, or whose answer was lost, is final for as long as the
//! process runs, and one that passed is final too. A port that the router opened a moment later, or opened again, would never be
//! confirmed. Written with the node's own name behind it an address counts as another one, so it is offered that way for another test.
//!
//! Pure: the time is an argument.

use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use crate::address::{self, Direct};

/// Addresses that are remembered. Peers say at which they see this node, and may say anything.
const CANDIDATES: usize = 16;
/// Tests after the first one. The pauses double, so these take some hours.
const AGAIN: u32 = 8;
/// Ways to write one address: a router that opens and closes a port for ever has it tested so often.
const SPELLINGS: u32 = 64;

/// See the head of this module.
pub(crate) struct Reach {
    own: PeerId,
    /// After the first test.
    pause: Duration,
    candidates: Vec<Candidate>,
}

struct Candidate {
    address: Direct,
    /// How often peers named it.
    seen: u32,
    tests: u32,
    /// Tests that are still to come.
    left: u32,
    next: Instant,
}

impl Reach {
    /// None yet; `pause` passes before an address is tested for the second time.
    pub(crate) fn new(own: PeerId, pause: Duration) -> Self {
        Self { own, pause, candidates: Vec::new() }
    }

    /// An address was named, and is tested for the first time; it, if it is a new one.
    pub(crate) fn named(&mut self, address: &Multiaddr, now: Instant) -> Option<Direct> {
        // What is offered again is no news.
        let direct = address::direct(address).filter(|direct| direct.multiaddr() == *address)?;
        if let Some(known) = self.candidates.iter_mut().find(|known| known.address == direct) {
            known.seen = known.seen.saturating_add(1);
            return None;
        }
        if self.candidates.len() >= CANDIDATES {
            // One that a single peer named makes room: who tells a lie each time drives out its own.
            let rare = self.candidates.iter().position(|known| known.seen == 1)?;
            self.candidates.remove(rare);
        }
        self.candidates.push(Candidate { address: direct, seen: 1, tests: 1, left: AGAIN, next: now + self.pause });
        Some(direct)
    }

    /// The router forwards a port from now on: a test before that says nothing.
    pub(crate) fn opened(&mut self, address: Direct, now: Instant) {
        if let Some(known) = self.candidates.iter_mut().find(|known| known.address == address) {
            known.left = known.left.max(1);
            known.next = now;
        }
    }

    /// What is to be tested once more.
    pub(crate) fn due(&mut self, is_confirmed: impl Fn(Direct) -> bool, now: Instant) -> Vec<Multiaddr> {
        let mut due = Vec::new();
        for known in &mut self.candidates {
            if known.left == 0 || known.tests > SPELLINGS || known.next > now || is_confirmed(known.address) {
                continue;
            }
            due.push(address::again(known.address, self.own, known.tests));
            known.next = now + self.pause * 2_u32.saturating_pow(known.tests);
            known.tests += 1;
            known.left -= 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(15);

    fn at(port: u16) -> Direct {
        Direct { address: ([5, 1, 0, 1], port).into(), quic: port.is_multiple_of(2) }
    }

    fn reach() -> Reach {
        Reach::new(PeerId::random(), PAUSE)
    }

    #[test]
    fn an_address_is_tested_again_with_growing_pauses_until_it_is_confirmed() {
        let (mut reach, begin) = (reach(), Instant::now());
        reach.named(&at(2).multiaddr(), begin);
        let mut offered = Vec::new();
        for second in 0..20_000 {
            for address in reach.due(|_| false, begin + Duration::from_secs(second)) {
                assert!(address::bare(&address) == Some(at(2)), "it is the same address");
                // Offering it makes it known, and changes nothing.
                reach.named(&address, begin);
                offered.push((second, address));
            }
        }
        let seconds: Vec<u64> = offered.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [15, 45, 105, 225, 465, 945, 1_905, 3_825]);
        let different: std::collections::BTreeSet<_> =
            offered.into_iter().map(|(_, address)| address.to_string()).collect();
        assert_eq!(different.len(), 8, "for libp2p each is another one");

        reach.named(&at(4).multiaddr(), begin);
        assert!(reach.due(|_| true, begin + 100 * PAUSE).is_empty(), "confirmed");
        assert_eq!(reach.due(|_| false, begin + 100 * PAUSE).len(), 1, "and not any more");
    }

    #[test]
    fn a_port_that_opens_is_tested_at_once() {
        let (mut reach, begin) = (reach(), Instant::now());
        reach.named(&at(3).multiaddr(), begin);
        assert!(reach.due(|_| false, begin).is_empty());
        reach.opened(at(3), begin);
        reach.opened(at(5), begin);
        assert_eq!(
            reach.due(|_| false, begin).len(),
            1,
            "the other one was never named, and its first test is libp2p's"
        );
        let mut offered = std::collections::BTreeSet::new();
        for opened in 0..1_000 {
            let now = begin + opened * 10_000 * PAUSE;
            reach.opened(at(3), now);
            offered.extend(reach.due(|_| false, now).into_iter().map(|address| address.to_string()));
        }
        assert_eq!(offered.len(), 63, "however often it was tested, and not for ever");
    }

    #[test]
    fn who_tells_lies_drives_out_no_address_that_two_named() {
        let (mut reach, begin) = (reach(), Instant::now());
        for _ in 0..2 {
            reach.named(&at(1).multiaddr(), begin);
        }
        for port in 2..10_000 {
            reach.named(&at(port).multiaddr(), begin);
        }
        assert_eq!(reach.candidates.len(), CANDIDATES);
        assert!(reach.candidates.iter().any(|known| known.address == at(1)));
        for other in ["/dns4/example.org/tcp/1", "/ip4/1.2.3.4/udp/1"] {
            reach.named(&other.parse().expect("a multiaddress"), begin);
        }
        assert!(reach.candidates.iter().all(|known| known.address.address.ip().to_string() == "5.1.0.1"));
    }
}
