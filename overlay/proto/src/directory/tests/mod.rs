mod catalogue;
mod chain;

use zmesh_sphinx::RelayId;

use super::fixture::{LIFETIME, NOW, exit, info, keys, network};
use super::*;

#[test]
fn relays_are_found_by_id() {
    let mut infos: Vec<DescriptorInfo> = (0..5).map(info).collect();
    infos[1].exit = Some(exit(&[443], false));
    infos[2].country = Some(*b"IS");
    infos[3].meeting = true;
    let network = network(&infos, false);
    assert_eq!(network.relays().len(), 5);
    for (seed, info) in infos.iter().enumerate() {
        let keys = keys(1_000 + seed as u64);
        let relay = network.relay(&keys.id()).unwrap();
        assert_eq!(relay.id(), keys.id());
        assert_eq!(relay.info(), info);
        let peer = relay.link_peer();
        assert_eq!(peer.identity, keys.identity_public());
        assert_eq!(peer.link_key, keys.link_public());
        assert_eq!(peer.addresses, info.addresses);
        assert_eq!(relay.exit_key(), (seed == 1 || seed == 3).then(|| keys.exit_public()));
        assert_eq!(relay.country(), (seed == 2).then_some("IS"));
        assert_eq!(relay.is_meeting(), seed == 3);
    }
    assert!(network.relay(&RelayId([0; 16])).is_none());
}

#[test]
fn a_path_gets_the_keys_of_its_time() {
    let network = network(&[info(1), info(2)], false);
    let path: Vec<RelayId> = network.relays().iter().map(Relay::id).collect();
    let today = network.path_hops(&path, NOW).unwrap();
    let tomorrow = network.path_hops(&path, NOW + 86_400).unwrap();
    assert_eq!(today[1].id, path[1]);
    assert_ne!(today[0].onion, tomorrow[0].onion);
    assert!(network.path_hops(&path, NOW + 3 * LIFETIME).is_none());
    assert!(network.path_hops(&[RelayId([7; 16])], NOW).is_none());
    assert!(network.is_valid_at(NOW) && !network.is_valid_at(NOW + LIFETIME));
}
