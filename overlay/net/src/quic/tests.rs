use std::net::SocketAddr;
use std::sync::Arc;

use rustls::Error;
use tokio::sync::Semaphore;
use zmesh_proto::node::LocalId;
use zmesh_proto::service::tls::{MeetingSecret, Side, TlsKey};

use super::flows::{FlowQueue, records};
use super::inbox::Inbox;
use super::socket::{exit_address, local_address, local_of};
use super::{exit_config, tls};
use crate::{RelayId, RelayKeys, entropy};

#[test]
fn addresses_of_circuits_read_back_and_others_name_none() {
    for number in [0, 1, u64::MAX] {
        assert_eq!(local_of(local_address(LocalId::from_u64(number))), Some(LocalId::from_u64(number)));
    }
    assert_eq!(local_of("127.0.0.1:1".parse().expect("an address")), None);
    assert_eq!(local_of("[2001:db8::1]:1".parse().expect("an address")), None);
    let exit = exit_address(RelayId([7; 16]));
    assert!(matches!(exit, SocketAddr::V6(exit) if exit.ip().octets() == [7; 16]));
}

#[test]
fn clients_offer_the_post_quantum_group_first_and_remember_nothing() {
    let client = tls::client(&[1; 32], None, tls::EXIT).expect("a configuration");
    let groups: Vec<_> = client.crypto_provider().kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [rustls::NamedGroup::X25519MLKEM768, rustls::NamedGroup::X25519]);
    assert!(!client.enable_early_data && !client.enable_sni);
    let keys = RelayKeys::generate(&mut entropy::rng(), 1_700_000_000);
    let server = tls::server(&keys.exit_pkcs8(), &keys.exit_public(), None, tls::EXIT).expect("a configuration");
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
    assert!(exit_config(b"no key", &keys.exit_public()).is_err());
}

/// Has two sides shake hands in memory; gives what each says in the end. `own` is what the client proves, `expected` what it wants proven.
fn shake(own: Option<&TlsKey>, expected: &[u8; 32], of_service: &MeetingSecret) -> (Option<Error>, Option<Error>) {
    let (key, client_key) = (of_service.key(Side::Service), of_service.key(Side::Client).public());
    let server = tls::server(&key.pkcs8(), &key.public(), Some(&client_key), tls::SERVICE).expect("a configuration");
    let client = tls::client(expected, own, tls::SERVICE).expect("a configuration");
    let name = tls::SERVER_NAME.try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut server = rustls::ServerConnection::new(Arc::new(server)).expect("a server");
    let (mut by_client, mut by_server) = (None, None);
    for _ in 0..4 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("written");
        }
        server.read_tls(&mut &wire[..]).expect("read");
        by_server = by_server.or(server.process_new_packets().err());
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("written");
        }
        client.read_tls(&mut &wire[..]).expect("read");
        by_client = by_client.or(client.process_new_packets().err());
    }
    assert_eq!(server.is_handshaking(), by_server.is_some() || by_client.is_some(), "a service serves whom it knows");
    (by_client, by_server)
}

/// A meeting relay that does not splice, but shakes hands with the service itself: it has every public thing and not the introduction.
#[test]
fn a_meeting_relay_cannot_stand_in_for_the_client_or_the_service() {
    let [met, other] = [1, 2].map(|seed| MeetingSecret::from_bytes(&[seed; 32]));
    let service = met.key(Side::Service).public();
    assert_eq!(shake(Some(&met.key(Side::Client)), &service, &met), (None, None));
    let (_, refused) = shake(None, &service, &met);
    assert!(refused.is_some(), "it demands a key");
    let unknown = Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure);
    let (_, refused) = shake(Some(&other.key(Side::Client)), &service, &met);
    assert_eq!(refused.as_ref(), Some(&unknown));
    // Nor is a client fooled by who knows another introduction, or proves the client's key back to it.
    let (refused, _) = shake(Some(&met.key(Side::Client)), &service, &other);
    assert_eq!(refused, Some(unknown));
    // What the service shows before it knows the client is of this meeting alone.
    assert_ne!(service, other.key(Side::Service).public());
}

fn circuit(number: u64) -> SocketAddr {
    local_address(LocalId::from_u64(number))
}

#[test]
fn a_circuit_fills_its_own_share_of_the_inbox_and_others_come_first() {
    let mut inbox = Inbox::new(1 << 20, 16 << 10);
    let taken = (0..1000).filter(|_| inbox.push(circuit(1), vec![1])).count();
    assert_eq!(taken, (16 << 10) / 129, "short messages cost what they take");
    assert!(inbox.push(circuit(2), vec![2; 1446]));
    let mut order = std::iter::from_fn(|| inbox.pop()).map(|(from, _)| from);
    assert_eq!((order.next(), order.next()), (Some(circuit(1)), Some(circuit(2))));
    assert_eq!(order.count(), (16 << 10) / 129 - 1);
}

#[test]
fn many_circuits_never_fill_the_inbox_for_a_newcomer() {
    let mut inbox = Inbox::new(16 << 20, 256 << 10);
    for number in 0..64 {
        for _ in 0..1000 {
            inbox.push(circuit(number), vec![0; 1000]);
        }
    }
    assert!(inbox.push(circuit(64), vec![0; 1000]));
    let newcomers = (100..100_000).filter(|number| inbox.push(circuit(*number), vec![0; 1000])).count();
    assert!(newcomers > 1000 && std::iter::from_fn(|| inbox.pop()).count() * 1128 <= 16 << 20);
    assert!(inbox.push(circuit(1), vec![0; 1000]), "an emptied inbox takes messages again");
}

#[test]
fn a_flow_keeps_the_newest_datagrams_within_its_bytes() {
    let queue = FlowQueue::default();
    for number in 0..100u8 {
        queue.push(circuit(1), vec![number; 60_000].into());
    }
    let kept: Vec<_> = std::iter::from_fn(|| queue.pop().ok().flatten()).map(|(_, payload)| payload[0]).collect();
    assert_eq!(kept.len(), (1 << 20) / 60_128);
    assert_eq!(kept.last(), Some(&99));
    queue.push(circuit(1), vec![1].into());
    assert!(matches!(queue.pop(), Ok(Some(_))));
}

#[test]
fn records_of_all_flows_share_their_bytes() {
    let room = Arc::new(Semaphore::new(100_000));
    let (one, one_end) = records(&room);
    let (two, _two_end) = records(&room);
    one.push(vec![0; 60_000].into()).expect("queued");
    two.push(vec![0; 60_000].into()).expect("dropped");
    assert_eq!(room.available_permits(), 100_000 - 60_128);
    drop(one_end);
    assert_eq!(room.available_permits(), 100_000, "what nobody writes is given back");
    assert!(one.push(vec![0; 10].into()).is_err());
}
