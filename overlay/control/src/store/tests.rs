//! The store on a real disk.

use std::net::SocketAddr;

use super::{Record, Store};
use crate::PeerIdentity;
use crate::address::Direct;
use crate::limits::FORGET_AFTER;
use crate::reputation::{Deed, Reputation};

const NOW: u64 = 1_800_000_000;

fn direct(text: &str) -> Direct {
    Direct { address: text.parse::<SocketAddr>().expect("an address"), quic: true }
}

fn peer() -> Record {
    let mut record = Record::default();
    record.met_at(direct("192.0.2.1:5"), NOW);
    record.reputation.note(Deed::Helped, NOW);
    record
}

#[test]
fn what_is_put_is_there_when_the_store_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("control");
    let (a, b) = (PeerIdentity([1; 32]), PeerIdentity([2; 32]));
    {
        let store = Store::open(&path).expect("opens");
        assert!(store.peers().expect("reads").is_empty());
        assert_eq!(store.value("head").expect("reads"), None);
        store.put_peers([(a, Some(&peer())), (b, Some(&peer()))]).expect("writes");
        store.put_peers([(b, None)]).expect("writes");
        store.put_values([("head", Some(&b"one"[..])), ("vote", Some(&b"two"[..]))]).expect("writes");
        store.put_values([("vote", None)]).expect("writes");
    }
    let store = Store::open(&path).expect("opens");
    let peers = store.peers().expect("reads");
    assert!(peers.len() == 1 && peers[0].0 == a && peers[0].1 == peer());
    assert_eq!(store.value("head").expect("reads").as_deref(), Some(&b"one"[..]));
    assert_eq!(store.value("vote").expect("reads"), None);
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("control");
    std::fs::write(&path, b"").expect("writes");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changes");
    let store = Store::open(&path).expect("opens");
    store.put_peers([(PeerIdentity([1; 32]), Some(&peer()))]).expect("writes");
    assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
    assert!(Store::open(&path).is_err(), "two nodes cannot share one store");
}

#[test]
fn forgotten_addresses_leave_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("control");
    let id = PeerIdentity([1; 32]);
    let marked = direct("[2001:db8:dead:beef:1234:5678:9abc:def0]:4001");
    let needle = marked.to_bytes();
    let found = || {
        let bytes = std::fs::read(&path).expect("reads");
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    {
        let store = Store::open(&path).expect("opens");
        let mut record = Record::default();
        record.met_at(marked, NOW);
        store.put_peers([(id, Some(&record))]).expect("writes");
    }
    assert!(found(), "the test can see it");
    Store::open(&path).expect("opens").put_peers([(id, None)]).expect("writes");
    drop(Store::open(&path).expect("opens"));
    // Not asserted to be false: see the specification on what the database leaves behind.
}

#[test]
fn addresses_are_kept_while_they_are_of_use() {
    let mut record = peer();
    assert!(record.expire(NOW + FORGET_AFTER) && record.addresses.len() == 1);
    assert!(!record.clone().expire(NOW + FORGET_AFTER + 1));
    record.reputation = Reputation { bans: 1, banned_until: NOW + 600, ..Reputation::default() };
    assert!(record.expire(NOW), "a ban is remembered");
    assert!(record.addresses.is_empty(), "without an address");
    for port in 1..10 {
        record.met_at(direct(&format!("192.0.2.1:{port}")), NOW);
    }
    assert_eq!(record.addresses.len(), 4);
    assert_eq!(record.addresses[0].address.port(), 9);
}
