use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use zmesh_proto::node::ReplayStart;

use crate::egress::{Target, TargetHost};
use crate::replay_file::ReplayFile;
use crate::shard::Bell;
use crate::{IsolationToken, Meet};

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
    let open = || ReplayFile::open(path.clone()).expect("the file can be used");
    let (file, start) = open();
    assert!(matches!(start, ReplayStart::Fresh));
    file.close(b"state").expect("the file can be written");
    let (_crashed, start) = open();
    assert!(matches!(start, ReplayStart::Saved(state) if state == b"state"));
    let (_file, start) = open();
    assert!(matches!(start, ReplayStart::Lost));
    fs::remove_file(&path).expect("the file is there");
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
