//! Which relays a voter calls to see whether they are up, and when again.
//!
//! A descriptor may name anybody's address: without these bounds voters would knock wherever it says, each of them in each round.
//!
//! Pure: the time, in unix seconds, is an argument.

use std::collections::BTreeMap;
use std::net::IpAddr;

use zmesh_proto::wire::descriptor::ControlAddress;
use zmesh_sphinx::RelayId;

/// How long a call may take, in seconds: a relay that is not connected by then is down.
const CALL_TIME: u64 = 10;
/// A relay that was called in vain is called again after so many seconds; twice as many each time, up to an hour.
const AGAIN_FIRST: u64 = 30;
const AGAIN_LAST: u64 = 3_600;
/// Seconds between calls to one IP, whoever is said to be there.
const ADDRESS_PAUSE: u64 = 60;

/// The calls of a voter.
#[derive(Default)]
pub(crate) struct Calls {
    /// One address for all relays: a test network.
    anywhere: bool,
    relays: BTreeMap<RelayId, Call>,
    addresses: BTreeMap<IpAddr, u64>,
}

#[derive(Clone, Copy)]
struct Call {
    times: u32,
    at: u64,
}

impl Calls {
    pub(crate) fn new(test_network: bool) -> Self {
        Self { anywhere: test_network, ..Self::default() }
    }

    /// The relay is there.
    pub(crate) fn came(&mut self, id: &RelayId) {
        self.relays.remove(id);
    }

    /// Whether it was called, and had time to come.
    pub(crate) fn is_down(&self, id: &RelayId, now: u64) -> bool {
        self.relays.get(id).is_some_and(|call| call.times > 1 || now.saturating_sub(call.at) >= CALL_TIME)
    }

    /// Where a relay is called now, of the addresses that its descriptor names; empty if it is not.
    pub(crate) fn now(&mut self, id: RelayId, named: &[ControlAddress], now: u64) -> Vec<ControlAddress> {
        let rests = |call: &Call| now < call.at.saturating_add(pause(call.times));
        if self.relays.get(&id).is_some_and(rests) {
            return Vec::new();
        }
        let recent = |at: &u64| now.saturating_sub(*at) < ADDRESS_PAUSE;
        self.addresses.retain(|_, at| recent(at));
        let free = |at: &&ControlAddress| self.anywhere || !self.addresses.contains_key(&at.address.ip());
        let addresses: Vec<_> = named.iter().filter(free).cloned().collect();
        if !addresses.is_empty() {
            self.addresses.extend(addresses.iter().map(|at| (at.address.ip(), now)));
            let times = self.relays.get(&id).map_or(0, |call| call.times);
            self.relays.insert(id, Call { times: times.saturating_add(1), at: now });
        }
        addresses
    }

    /// Forgets relays that are not among these.
    pub(crate) fn keep(&mut self, known: impl Fn(&RelayId) -> bool) {
        self.relays.retain(|id, _| known(id));
    }
}

fn pause(times: u32) -> u64 {
    (AGAIN_FIRST << times.saturating_sub(1).min(16)).min(AGAIN_LAST)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use zmesh_proto::wire::descriptor::ControlCarrier;

    use super::*;

    fn at(text: &str) -> ControlAddress {
        ControlAddress { carrier: ControlCarrier::Quic, address: text.parse::<SocketAddr>().expect("an address") }
    }

    fn id(n: u32) -> RelayId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        RelayId(bytes)
    }

    /// Ten thousand descriptors that all name one victim.
    #[test]
    fn one_address_is_called_once_a_minute_whoever_names_it() {
        let mut calls = Calls::new(false);
        let mut called = 0;
        for second in 0..600_u64 {
            for n in 0..8 {
                let relay = id(u32::try_from(second * 8 % 10_000).expect("small") + n);
                called += calls.now(relay, &[at("9.9.9.9:1"), at("9.9.9.9:443")], 1_000 + second).len();
            }
        }
        assert_eq!(called, 20, "both ports of it, ten times");
        assert!(!calls.now(id(1), &[at("8.8.8.8:1")], 1_600).is_empty(), "others are called");
    }

    #[test]
    fn who_does_not_come_is_called_ever_more_seldom() {
        let mut calls = Calls::new(true);
        let mut times = Vec::new();
        for now in 0..3 * 3_600 {
            if !calls.now(id(1), &[at("127.0.0.1:1")], now).is_empty() {
                times.push(now);
            }
            if now == 5 {
                assert!(!calls.is_down(&id(1), now), "it has time to come");
            }
        }
        assert_eq!(times, [0, 30, 90, 210, 450, 930, 1_890, 3_810, 7_410]);
        assert!(calls.is_down(&id(1), 7_411) && !calls.is_down(&id(2), 0));
        calls.came(&id(1));
        assert!(!calls.now(id(1), &[at("127.0.0.1:1")], 7_412).is_empty(), "who was there is called at once");
        calls.keep(|_| false);
        assert!(!calls.is_down(&id(1), 9_000));
    }
}
