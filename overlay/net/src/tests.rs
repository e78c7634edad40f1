use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use zmesh_proto::keys::SignerKey;
use zmesh_proto::node::ReplayStart;
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, SignerId};

use crate::egress::{Target, TargetHost};
use crate::replay_file::{ReplayFile, start_from};
use crate::shard::{Bell, may_follow};
use crate::{IsolationToken, Meet, Network, NodeError, RelayKeys, clock, entropy};

#[test]
fn targets_read_literals_as_addresses_and_print_nothing_by_accident() {
    let target = Target::from(("[::1]", 80));
    assert_eq!(target, "[::1]:80".parse::<std::net::SocketAddr>().expect("an address").into());
    assert_eq!(target.to_string(), "[::1]:80");
    assert_eq!(Target::new("192.0.2.1", 1).to_string(), "192.0.2.1:1");
    let name = Target::new("example.org", 443);
    assert!(matches!(&name.host, TargetHost::Name(host) if host == "example.org"));
    assert!(!format!("{name:?}{:?}", name.host).contains("example"));
}

#[test]
fn tokens_are_equal_by_their_parts_and_print_nothing() {
    let token = |parts: &[&[u8]]| IsolationToken::from_parts(parts);
    assert_eq!(token(&[b"a", b"b"]), token(&[b"a", b"b"]));
    assert_ne!(token(&[b"ab", b"c"]), token(&[b"a", b"bc"]));
    assert_ne!(IsolationToken::fresh(), IsolationToken::fresh());
    assert!(!format!("{:?}", token(&[b"secret"])).contains("secret"));
    assert_eq!(format!("{:?}", Meet::join([1; 16])), "Join([redacted])");
}

#[test]
fn a_replay_file_tells_a_stop_from_a_crash() {
    let path = std::env::temp_dir().join(format!("zmesh-replay-{}", std::process::id()));
    let read = || ReplayFile::read(path.clone()).expect("the file can be used");
    let (file, left) = read();
    assert!(left.is_none() && read().1.is_none(), "reading makes no file");
    file.mark_running().expect("the file can be written");
    file.close(b"state").expect("the file can be written");
    // A start that fails before it is ready changes nothing.
    for _ in 0..2 {
        assert!(matches!(read().1, Some(ReplayStart::Saved(state)) if state == b"state"));
    }
    read().0.mark_running().expect("the file can be written");
    assert!(matches!(read().1, Some(ReplayStart::Lost)));
    fs::remove_file(&path).expect("the file is there");
}

#[test]
fn only_keys_that_were_never_used_need_no_replay_file() {
    let mut keys = RelayKeys::generate(&mut entropy::rng(), clock::unix_seconds());
    let stored = |keys: &RelayKeys| RelayKeys::from_text(keys.to_text().as_bytes()).expect("a key file");
    let fresh = |keys: &RelayKeys, kept| matches!(start_from(keys, kept, None), ReplayStart::Fresh);
    assert!(fresh(&keys, false) && fresh(&keys, true));
    assert!(fresh(&stored(&keys), true), "the first start of a relay");
    assert!(!fresh(&stored(&keys), false), "nothing would tell the second start from the first");
    assert!(keys.mark_used());
    assert!(!fresh(&keys, true) && !fresh(&stored(&keys), true), "somebody deleted the file");
    assert!(matches!(start_from(&keys, true, Some(ReplayStart::Saved(vec![1]))), ReplayStart::Saved(_)));
    assert!(matches!(start_from(&stored(&keys), true, Some(ReplayStart::Lost)), ReplayStart::Lost));
}

#[test]
fn only_the_same_network_and_no_older_document_may_follow() {
    let unix = clock::unix_seconds();
    let mut rng = entropy::rng();
    let signers = [SignerKey::generate(&mut rng), SignerKey::generate(&mut rng)];
    let keys = RelayKeys::generate(&mut rng, unix);
    let network = |signer: &SignerKey, age: u64| {
        let mut draft = Draft::new(DraftTerms {
            name: "testnet".into(),
            test_network: true,
            valid_after: unix - age,
            valid_until: unix + 3600,
            signers: vec![SignerId(signer.public())],
        })
        .expect("a draft");
        let info = DescriptorInfo {
            nickname: "relay".into(),
            operator: "operator".into(),
            family: None,
            country: None,
            addresses: vec!["127.0.0.1:9000".parse().expect("an address")],
            exit: None,
            meeting: false,
            cache: false,
            mixer: false,
            directory: false,
            region: None,
            control: Vec::new(),
        };
        let terms = Terms { published: unix - age, expires: unix + 3601, revision: 1 };
        draft.add(Descriptor::create(&keys, &info, terms).expect("a descriptor")).expect("it fits");
        draft.sign(signer, unix).expect("signed");
        Network::from_document(draft.into_document().expect("whole"), unix).expect("valid")
    };
    let in_use = network(&signers[0], 60);
    assert!(may_follow(None, &in_use).is_ok());
    assert!(may_follow(Some(&in_use), &in_use).is_ok());
    assert!(may_follow(Some(&in_use), &network(&signers[0], 0)).is_ok());
    let other = may_follow(Some(&in_use), &network(&signers[1], 0));
    assert!(matches!(other, Err(NodeError::OtherNetwork)));
    let older = may_follow(Some(&in_use), &network(&signers[0], 61));
    assert!(
        matches!(older, Err(NodeError::OlderNetwork { given, in_use }) if given == unix - 61 && in_use == unix - 60)
    );
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_bell_wakes_once_between_two_turns() {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let bell = Bell::default();
    bell.answer(&waker);
    bell.ring();
    bell.ring();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    bell.answer(&waker);
    bell.ring();
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
}
