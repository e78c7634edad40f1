use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;
use zmesh_proto::node::LocalId;

use super::flows::{FlowQueue, records};
use super::inbox::Inbox;
use super::socket::{exit_address, local_address, local_of};
use super::{server_config, tls};
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
    let client = tls::client(&[1; 32], tls::EXIT).expect("a configuration");
    let groups: Vec<_> = client.crypto_provider().kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [rustls::NamedGroup::X25519MLKEM768, rustls::NamedGroup::X25519]);
    assert!(!client.enable_early_data && !client.enable_sni);
    let keys = RelayKeys::generate(&mut entropy::rng(), 1_700_000_000);
    let server = tls::server(&keys.exit_pkcs8(), &keys.exit_public(), tls::EXIT).expect("a configuration");
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
    assert!(server_config(b"no key", &keys.exit_public(), tls::EXIT).is_err());
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
