//! A side of a simultaneous open under any probes at any times: it finds nothing, and sends no more than it may.
#![no_main]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::nat::candidate::{Candidate, CandidateKind};
use zmesh_proto::nat::exchange::Description;
use zmesh_proto::nat::observe::{Filtering, Mapping};
use zmesh_proto::nat::punch::{Punch, Side};

static START: OnceLock<Instant> = OnceLock::new();

fuzz_target!(|input: (Vec<([u8; 4], u16)>, Vec<(u16, [u8; 4], u16, Vec<u8>)>, bool, u8)| {
    let now = *START.get_or_init(Instant::now);
    let (addresses, steps, offered, kinds) = input;
    let mapping =
        |bits: u8| [Mapping::Unknown, Mapping::Open, Mapping::Independent, Mapping::Dependent][usize::from(bits & 3)];
    let candidate = |(ip, port): &([u8; 4], u16)| Candidate {
        kind: CandidateKind::Reflexive,
        address: SocketAddr::from((*ip, *port)),
    };
    let describe = |tag: u32, mapping: Mapping, candidates: Vec<Candidate>| Description {
        tag,
        secret: [1; 32],
        mapping,
        filtering: Filtering::Unknown,
        candidates,
    };
    let own = describe(1, mapping(kinds), Vec::new());
    let peer = describe(2, mapping(kinds >> 2), addresses.iter().take(16).map(candidate).collect());
    let seen = Some(SocketAddr::from(([192, 0, 2, 1], 7)));
    let mut punch = Punch::new(now, Side { own: &own, peer: &peer, seen, offered });
    let mut rng = ChaCha12Rng::from_seed([1; 32]);
    let (mut at, mut sent) = (now, 0);
    for (wait, ip, port, bytes) in steps.into_iter().take(64) {
        at += Duration::from_millis(wait.into());
        punch.poll(at, &mut rng, |_, _| sent += 1);
        assert!(punch.handle(at, SocketAddr::from((ip, port)), &bytes).is_none(), "nobody has the key");
        assert!(punch.found().is_none());
    }
    assert!(sent <= 2048);
});
