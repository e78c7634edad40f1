use proptest::prelude::*;

use super::*;
use crate::directory::fixture::{NOW, genesis, rng, voter_keys};
use crate::keys::SignerKey;
use crate::wire::control::HEARTBEAT_MAX;
use crate::wire::document::NetworkId;

const HOUR: u64 = 3_600;
/// The epoch at [`NOW`].
const EPOCH: u64 = 1;

fn relay(number: u64) -> SignerKey {
    SignerKey::generate(&mut rng(1_000 + number))
}

/// Eight relays are listed.
fn heartbeats() -> Heartbeats {
    let mut heartbeats = Heartbeats::new(&genesis(&voter_keys(4), false));
    heartbeats.list((0..8).map(|number| relay(number).public()));
    heartbeats
}

fn network() -> NetworkId {
    genesis(&voter_keys(4), false).network_id()
}

fn said(number: u64, epoch: u64, peers: usize, load: Option<u16>) -> Vec<u8> {
    Heartbeat::sign(network(), epoch, Vitals::round((0, 1), peers, HOUR, load), &relay(number))
}

#[test]
fn figures_are_told_in_steps() {
    let steps = |peers, up, load| {
        let vitals = Vitals::round((1, 7), peers, up, load);
        (vitals.peers(), vitals.uptime(), vitals.load())
    };
    assert_eq!(steps(0, 0, None), (1, 1, 0));
    assert_eq!(steps(7, HOUR - 1, Some(0)), (1, 1, 1));
    assert_eq!(steps(8, HOUR, Some(249)), (2, 2, 1));
    assert_eq!(steps(15, 86_399, Some(250)), (2, 2, 2));
    assert_eq!(steps(16, 86_400, Some(749)), (3, 3, 3));
    assert_eq!(steps(127, 604_799, Some(750)), (5, 3, 4));
    assert_eq!(steps(usize::MAX, u64::MAX, Some(u16::MAX)), (6, 4, 4), "whatever comes, it fits");
    let bytes = Heartbeat::sign(network(), u64::MAX, Vitals::round((u16::MAX, 3), 9, 0, None), &relay(0));
    let read = Heartbeat::decode(&bytes).unwrap();
    assert_eq!((read.epoch, read.vitals.release(), read.identity), (u64::MAX, (u16::MAX, 3), relay(0).public()));
    assert!(bytes.len() <= HEARTBEAT_MAX, "{}", bytes.len());
}

/// What a few peers, or a little load, more or less have a relay say: the very same bytes.
#[test]
fn one_more_does_not_show() {
    let none = said(1, EPOCH, 0, Some(0));
    for few in 1..8 {
        assert_eq!(said(1, EPOCH, few, Some(30 * u16::try_from(few).unwrap())), none, "{few}");
    }
    // All that a relay can say of itself besides its release.
    let all: std::collections::BTreeSet<_> = (0..300)
        .flat_map(|peers| (0..1_001).step_by(10).map(move |load| Vitals::round((0, 1), peers, HOUR, Some(load))))
        .map(|vitals| (vitals.peers(), vitals.load()))
        .collect();
    assert_eq!(all.len(), 6 * 4);
}

/// A load that lies at the edge of two quarters, and moves a little there, is told as what was told before.
#[test]
fn a_load_at_an_edge_stays_where_it_was() {
    let told = |before: u16, load: u16| {
        let next = Vitals::round((0, 1), 9, HOUR, Some(before)).next((0, 1), 9, HOUR, Some(load));
        next.load()
    };
    assert_eq!((told(249, 250), told(249, 311), told(249, 312)), (1, 1, 2));
    assert_eq!((told(250, 249), told(250, 188), told(250, 187)), (2, 2, 1));
    assert_eq!((told(0, 999), told(999, 0), told(760, u16::MAX)), (4, 1, 4));
    let unknown = Vitals::round((0, 1), 9, HOUR, None);
    assert_eq!(unknown.next((0, 1), 9, HOUR, Some(250)).load(), 2, "nothing was told before");
    assert_eq!(Vitals::round((0, 1), 9, HOUR, Some(250)).next((0, 1), 9, HOUR, None).load(), 0);
}

/// The form has no room for anything finer: a relay that signs it is not passed on.
#[test]
fn finer_figures_are_refused() {
    use crate::wire::control::schema;
    use prost::Message as _;
    let signed = |change: &dyn Fn(&mut schema::Heartbeat)| {
        let signed = schema::Signed::decode(said(1, EPOCH, 9, Some(300)).as_slice()).unwrap();
        let mut body = schema::Heartbeat::decode(signed.body.as_slice()).unwrap();
        change(&mut body);
        let body = body.encode_to_vec();
        let signature = relay(1).sign(&[b"zmesh heartbeat v1\0".as_slice(), &body].concat()).to_vec();
        schema::Signed { body, signature }.encode_to_vec()
    };
    let mut heartbeats = heartbeats();
    let mut finer = Vec::new();
    finer.extend([0, 7, 9, 250].map(|peers| signed(&move |body| body.peers = peers)));
    finer.extend([0, 5, 3_600].map(|uptime| signed(&move |body| body.uptime = uptime)));
    finer.extend([5, 300].map(|load| signed(&move |body| body.load = load)));
    for bytes in finer {
        assert_eq!(heartbeats.offer(&bytes, NOW), Verdict::Reject(Reason::Malformed));
    }
    assert_eq!(heartbeats.offer(&signed(&|_| ()), NOW), Verdict::Accept, "the test signs as relays do");
}

#[test]
fn a_relay_is_heard_once_an_epoch() {
    let mut heartbeats = heartbeats();
    let first = said(1, EPOCH, 5, Some(100));
    assert_eq!(heartbeats.offer(&first, NOW), Verdict::Accept);
    assert_eq!(heartbeats.offer(&first, NOW + 1), Verdict::Ignore(Reason::Duplicate), "replayed");
    assert_eq!(heartbeats.offer(&said(1, EPOCH, 50, None), NOW + 1), Verdict::Ignore(Reason::TooMany), "too often");
    assert_eq!(heartbeats.offer(&said(1, EPOCH + 1, 5, None), NOW), Verdict::Accept, "clocks differ");
    assert_eq!(heartbeats.offer(&said(1, EPOCH + 2, 5, None), NOW), Verdict::Ignore(Reason::Early));
    assert_eq!(heartbeats.offer(&first, NOW), Verdict::Ignore(Reason::Stale));
    assert_eq!(heartbeats.offer(&said(2, EPOCH, 5, None), NOW + 2 * HOUR), Verdict::Ignore(Reason::Expired));
    // An hour of trying: three epochs are open to clocks that differ, and each takes one.
    let accepted = (0..HOUR).filter(|second| {
        let epoch = EPOCH - 1 + second % 5;
        heartbeats.offer(&said(3, epoch, usize::try_from(*second).unwrap(), None), NOW + second) == Verdict::Accept
    });
    assert_eq!(accepted.count(), 3);
}

#[test]
fn only_relays_of_the_document_are_heard() {
    let mut heartbeats = heartbeats();
    assert_eq!(heartbeats.offer(&said(8, EPOCH, 5, None), NOW), Verdict::Ignore(Reason::NotEntitled));
    assert_eq!(heartbeats.offer(&said(7, EPOCH, 5, None), NOW), Verdict::Accept);
    heartbeats.list((8..10).map(|number| relay(number).public()));
    assert_eq!(heartbeats.health(NOW).alive, 0, "who left says nothing any more");
    assert_eq!(heartbeats.offer(&said(8, EPOCH, 5, None), NOW), Verdict::Accept);
    assert_eq!(heartbeats.offer(&said(7, EPOCH + 1, 5, None), NOW), Verdict::Ignore(Reason::NotEntitled));
}

#[test]
fn what_no_honest_node_passes_on_is_held_against_who_brings_it() {
    let mut heartbeats = heartbeats();
    let good = said(1, EPOCH, 5, Some(300));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        // A byte of the identity or the epoch makes it one of a relay or a time that is not heard: nobody has to verify that.
        let verdict = heartbeats.offer(&bad, NOW);
        let unread = matches!(verdict, Verdict::Ignore(Reason::NotEntitled | Reason::Early | Reason::Expired));
        assert!(unread || matches!(verdict, Verdict::Reject(_)), "byte {at}: {verdict:?}");
    }
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(heartbeats.offer(&forged, NOW), Verdict::Reject(Reason::Forged));
    for len in 0..good.len() {
        assert!(matches!(heartbeats.offer(&good[..len], NOW), Verdict::Reject(Reason::Malformed)), "{len} bytes");
    }
    let long = [good.as_slice(), &[0; HEARTBEAT_MAX]].concat();
    assert_eq!(heartbeats.offer(&long, NOW), Verdict::Reject(Reason::Oversized));
    let foreign = Heartbeat::sign(NetworkId([9; 32]), EPOCH, Vitals::round((0, 1), 5, 0, None), &relay(1));
    assert_eq!(heartbeats.offer(&foreign, NOW), Verdict::Reject(Reason::OtherNetwork));
    assert_eq!(heartbeats.health(NOW).alive, 0);
    assert_eq!(heartbeats.offer(&good, NOW), Verdict::Accept, "nothing of that keeps the good one out");
}

#[test]
fn the_network_says_what_most_say() {
    let mut heartbeats = heartbeats();
    assert_eq!(heartbeats.health(NOW), Health::default());
    assert_eq!(heartbeats.health(NOW).typical_load(), None);
    for (number, load) in [(0, None), (1, Some(10)), (2, Some(20)), (3, Some(400)), (4, Some(990))] {
        assert_eq!(heartbeats.offer(&said(number, EPOCH, 16, load), NOW), Verdict::Accept);
    }
    let health = heartbeats.health(NOW);
    assert_eq!(health, Health { alive: 5, load: [1, 2, 1, 0, 1], peers: 3 });
    assert_eq!(health.typical_load(), Some(1), "two of four are below a quarter");
    // One that lies moves no median.
    assert_eq!(heartbeats.offer(&said(5, EPOCH, 60_000, Some(1_000)), NOW), Verdict::Accept);
    assert_eq!((heartbeats.health(NOW).peers, heartbeats.health(NOW).typical_load()), (3, Some(2)));
    assert_eq!(heartbeats.health(NOW + HOUR).alive, 6, "an epoch later they are still counted");
    assert_eq!(heartbeats.health(NOW + 2 * HOUR).alive, 0);
}

/// What a later version adds is passed on, and is no reason to refuse.
#[test]
fn a_heartbeat_of_a_later_version_is_heard() {
    use prost::Message as _;
    let mut heartbeats = heartbeats();
    let mut signed = crate::wire::control::schema::Signed::decode(said(1, EPOCH, 5, None).as_slice()).unwrap();
    signed.body.extend([0x80, 2, 7]);
    signed.signature = relay(1).sign(&[b"zmesh heartbeat v1\0".as_slice(), &signed.body].concat()).to_vec();
    assert_eq!(heartbeats.offer(&signed.encode_to_vec(), NOW), Verdict::Accept);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        prop_assert!(heartbeats().offer(&bytes, NOW) != Verdict::Accept);
    }

    #[test]
    fn what_was_signed_is_read(release: (u16, u16), peers: usize, up: u64, load: Option<u16>, epoch: u64) {
        let vitals = Vitals::round(release, peers, up, load);
        let read = Heartbeat::decode(&Heartbeat::sign(network(), epoch, vitals, &relay(0))).unwrap();
        prop_assert_eq!((read.network, read.epoch, read.vitals), (network(), epoch, vitals));
    }
}
