//! Directory nodes on loopback, one for each relay of a small network.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use zmesh_control::directory::{Condition, DirectoryHandle, DirectoryNode, Measures};
use zmesh_control::{Contact, Control, Limits, PeerIdentity, Store};
use zmesh_proto::keys::{RelayKeys, SignerKey};
use zmesh_proto::random::Generator;
use zmesh_proto::wire::control::{Genesis, GenesisTerms, Parameters, Voter, VoterSet};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, Terms};
use zmesh_proto::wire::document::SignerId;

/// How long a descriptor of these tests lives, in seconds.
const LIFE: u64 = 7_200;

pub fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn relay_keys(n: u8) -> RelayKeys {
    RelayKeys::generate(&mut Generator::new(&[n; 32]), unix())
}

pub fn voters() -> Vec<SignerKey> {
    (1..=4).map(|n| relay_keys(n).signer()).collect()
}

/// A network of four voters.
pub fn genesis(epoch_length: u32, epoch_zero: u64) -> Genesis {
    let voter =
        |(n, key): (usize, &SignerKey)| Voter { key: SignerId(key.public()), operator: format!("operator {n}") };
    let voters = VoterSet::new(voters().iter().enumerate().map(voter).collect(), 1).unwrap();
    Genesis::new(GenesisTerms {
        name: "loopback".to_owned(),
        test_network: true,
        epoch_length,
        epoch_zero,
        voters_per_operator: 1,
        voters,
        parameters: Parameters::new(),
    })
    .unwrap()
}

pub fn descriptor(n: u8, now: u64) -> Descriptor {
    let info = DescriptorInfo {
        nickname: format!("relay{n}"),
        operator: format!("operator {n}"),
        family: None,
        country: None,
        addresses: vec![SocketAddr::from(([127, 0, 0, 1], 9_000 + u16::from(n)))],
        exit: None,
        meeting: false,
        cache: false,
        mixer: false,
        directory: true,
        region: None,
        control: Vec::new(),
    };
    Descriptor::create(&relay_keys(n), &info, Terms { published: now, expires: now + LIFE, revision: now }).unwrap()
}

pub struct Member {
    pub handle: DirectoryHandle,
    pub contact: Contact,
}

/// Starts the directory node of relay `n`, which votes if `votes` says so.
pub async fn start(
    genesis: &Genesis,
    n: u8,
    contact: Option<Contact>,
    store: Option<Arc<Store>>,
    votes: bool,
) -> Member {
    start_with(genesis, n, contact, store, votes, Says::default()).await
}

/// What a voter says in its ballots besides whom it sees.
#[derive(Default)]
pub struct Says {
    /// Whom it would have vote.
    pub wanted: Vec<Voter>,
    pub measures: Option<Measures>,
}

/// The same for a voter that says more.
pub async fn start_with(
    genesis: &Genesis,
    n: u8,
    contact: Option<Contact>,
    store: Option<Arc<Store>>,
    votes: bool,
    says: Says,
) -> Member {
    let keys = relay_keys(n);
    let mut control = Control::builder(genesis.network_id())
        .identity(keys.identity())
        .listen((Ipv4Addr::LOCALHOST, 0).into())
        .limits(Limits::one_machine());
    if let Some(contact) = contact {
        control = control.bootstrap(contact);
    }
    let describe = Box::new(move |now| Some(descriptor(n, now)));
    let mut node = DirectoryNode::new(genesis.clone(), control).describe(describe, Duration::from_secs(60));
    // Nobody tells it anything else later.
    let condition = Condition { release: (0, 1), up_seconds: 7_200, load: Some(300) };
    node = node.heartbeat(keys.signer(), watch::Sender::new(condition).subscribe());
    if let Some(store) = store {
        node = node.store(store);
    }
    if votes {
        node = node.voter(keys.signer()).wishes(says.wanted, Vec::new()).begin_network();
    }
    if let Some(measures) = says.measures {
        node = node.measures(measures);
    }
    let handle = node.start().unwrap();
    let mut listening = handle.listening();
    let address = *listening.wait_for(|all| !all.is_empty()).await.unwrap().first().unwrap();
    let contact = Contact { address, identity: Some(PeerIdentity(keys.identity_public())) };
    Member { handle, contact }
}
