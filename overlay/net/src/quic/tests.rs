use std::net::SocketAddr;

use zmesh_proto::node::LocalId;

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
    let client = tls::client(&[1; 32]).expect("a configuration");
    let groups: Vec<_> = client.crypto_provider().kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [rustls::NamedGroup::X25519MLKEM768, rustls::NamedGroup::X25519]);
    assert!(!client.enable_early_data && !client.enable_sni);
    let keys = RelayKeys::generate(&mut entropy::rng(), 1_700_000_000);
    let server = tls::server(&keys.exit_pkcs8(), &keys.exit_public()).expect("a configuration");
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
    assert!(server_config(b"no key", &keys.exit_public()).is_err());
}
