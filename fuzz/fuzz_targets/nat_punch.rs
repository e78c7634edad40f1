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
use zmesh_proto::nat::probe::{Probe, ProbeKey, Said};
use zmesh_proto::nat::punch::{Punch, Side};

static START: OnceLock<Instant> = OnceLock::new();

/// An address and a port.
type Place = ([u8; 4], u16);
/// Time that passes in milliseconds, who sends, and what comes.
type Arrival = (u16, [u8; 4], u16, Vec<u8>);

fuzz_target!(|input: (Vec<Place>, Vec<Arrival>, bool, u8)| {
    let now = *START.get_or_init(Instant::now);
    let (addresses, steps, offered, kinds) = input;
    let mapping =
        |bits: u8| [Mapping::Unknown, Mapping::Open, Mapping::Independent, Mapping::Dependent][usize::from(bits & 3)];
    let candidate = |(ip, port): &Place| Candidate {
        kind: if port & 1 == 0 { CandidateKind::Reflexive } else { CandidateKind::Stream },
        address: SocketAddr::from((*ip, *port)),
    };
    let describe = |tag: u32, mapping: Mapping, candidates: Vec<Candidate>| Description {
        tag,
        secret: [1; 32],
        mapping,
        filtering: Filtering::Unknown,
        candidates,
    };
    let home = Candidate { kind: CandidateKind::Stream, address: SocketAddr::from(([192, 0, 2, 9], 4000)) };
    let own = describe(1, mapping(kinds), vec![home; usize::from(kinds >> 6 & 1)]);
    let peer = describe(2, mapping(kinds >> 2), addresses.iter().take(16).map(candidate).collect());
    let seen = Some(SocketAddr::from(([192, 0, 2, 1], 7)));
    // What stands for the flow: 100::1:0:7.
    let flow = SocketAddr::from(([0x0100, 0, 0, 0, 0, 1, 0, 7], 1));
    let side = Side { own: &own, peer: &peer, seen, flow: Some(flow), anywhere: kinds & 16 != 0, offered };
    let mut punch = Punch::new(now, side);
    let (asker, wanted) = ProbeKey::pair(&[1; 32], &[1; 32]);
    let pays = Probe { said: Said::Paid, tag: 1, transaction: 0, relay: [0; 16] };
    let pays = pays.seal(if offered { &wanted } else { &asker });
    let mut rng = ChaCha12Rng::from_seed([1; 32]);
    let (mut at, mut sent, mut paid) = (now, 0, 0);
    for (wait, ip, port, bytes) in steps.into_iter().take(64) {
        at += Duration::from_millis(wait.into());
        for _ in 0..bytes.len() % 8 {
            assert!(punch.handle(at, flow, &pays).is_none());
            paid += 1;
        }
        punch.poll(at, kinds & 32 != 0, &mut rng, |to, _| sent += u32::from(to != flow));
        sent += u32::from(punch.take_connect().is_some());
        assert!(sent <= 6 + paid);
        assert!(punch.handle(at, SocketAddr::from((ip, port)), &bytes).is_none(), "nobody has the key");
        assert!(punch.found().is_none());
    }
    assert!(sent <= 2048);
});
