//! Sealing and opening link datagrams of 1,200 bytes, beside the bare cipher over as many bytes.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zmesh_proto::link::{Inbound, LinkConfig, LinkId, LinkPeer, LinkSecret, Links, LocalIdentity};
use zmesh_proto::wire::cell::Cell;
use zmesh_tests::micro::Timing;
use zmesh_tests::table::{Row, Target, Unit};

use crate::primitives::row;

/// Datagrams in one batch.
const BATCH: u32 = 32;

/// Plaintext of a long datagram: 1,200 bytes without header and tag.
const PLAIN: usize = 1200 - 16 - 16;

const UNIX_NANOS: u64 = 1_800_000_000_000_000_000;

/// Two ends of one link, and the wire between them.
struct Pair {
    origin: Links,
    relay: Links,
    link: LinkId,
    now: Instant,
}

/// Measures and gives the rows.
pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let Some(mut pair) = Pair::new() else {
        return vec![
            Row::new("link seal, 1,200 bytes", "AES-256-GCM (ring)", Unit::Nanoseconds, Target::None)
                .note("the link did not come up"),
        ];
    };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0x42; 32]).expect("a key of 32 bytes"));
    let (mut bare_seal, mut bare_open, mut seal, mut open) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (sealing, opening) = bare(&key);
        let (our_sealing, our_opening) = pair.batch();
        if round > 0 {
            bare_seal.push(sealing);
            bare_open.push(opening);
            seal.push(our_sealing);
            open.push(our_opening);
        }
    }
    let ns = Unit::Nanoseconds;
    let peer = "AES-256-GCM (ring)";
    vec![
        row("link seal, 1,200 bytes", peer, ns, Target::None, timing(bare_seal), timing(seal))
            .note("ours with frames, counter, window and congestion control"),
        row("link open, 1,200 bytes", peer, ns, Target::None, timing(bare_open), timing(open))
            .note("ours with look-up, replay window, frames and feedback"),
    ]
}

fn timing(batches: Vec<Duration>) -> Timing {
    let mut each: Vec<Duration> = batches.into_iter().map(|taken| taken * Timing::SCALE / BATCH).collect();
    each.sort_unstable();
    Timing { min: each[0], median: each[each.len() / 2] }
}

/// The bare cipher over the same number of bytes.
fn bare(key: &LessSafeKey) -> (Duration, Duration) {
    let nonce = |number: u32| {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        Nonce::assume_unique_for_key(bytes)
    };
    let mut datagrams = vec![vec![0x5a_u8; PLAIN]; BATCH as usize];
    let begun = Instant::now();
    for (datagram, number) in datagrams.iter_mut().zip(0..) {
        key.seal_in_place_append_tag(nonce(number), Aad::empty(), datagram).expect("a short message");
    }
    let sealing = begun.elapsed();
    let begun = Instant::now();
    for (datagram, number) in datagrams.iter_mut().zip(0..) {
        black_box(key.open_in_place(nonce(number), Aad::empty(), datagram).expect("its own message"));
    }
    (sealing, begun.elapsed())
}

impl Pair {
    fn new() -> Option<Pair> {
        let now = Instant::now();
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let secret = LinkSecret::generate(&mut rng);
        let peer = LinkPeer {
            identity: [7; 32],
            link_key: secret.public(),
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1))],
        };
        let local = LocalIdentity::Relay { identity: peer.identity, link_secret: secret };
        let mut origin =
            Links::new(LinkConfig::new(LocalIdentity::Anonymous), ChaCha12Rng::from_rng(&mut rng), now, UNIX_NANOS);
        let relay = Links::new(LinkConfig::new(local), ChaCha12Rng::from_rng(&mut rng), now, UNIX_NANOS);
        let link = origin.connect(now, &peer).ok()?;
        let mut pair = Pair { origin, relay, link, now };
        for _ in 0..10 {
            pair.exchange();
        }
        pair.origin.is_up(link).then_some(pair)
    }

    /// Carries everything that both sides have to say, once.
    fn exchange(&mut self) {
        self.now += Duration::from_millis(1);
        let (now, mut inbox) = (self.now, Vec::new());
        for _ in 0..2 {
            for side in [&mut self.origin, &mut self.relay] {
                while let Some(job) = side.poll_job() {
                    side.handle_job(now, job.run());
                }
                side.finish_batch(now);
            }
            let forward = taken(&mut self.origin);
            let backward = taken(&mut self.relay);
            for mut datagram in forward {
                self.relay.handle_datagram(now, address(2), &mut datagram, &mut inbox);
            }
            for mut datagram in backward {
                self.origin.handle_datagram(now, address(1), &mut datagram, &mut inbox);
            }
        }
        for side in [&mut self.origin, &mut self.relay] {
            while side.poll_event().is_some() {}
            if side.next_timeout().is_some_and(|at| at <= now) {
                side.handle_timeout(now);
            }
        }
    }

    /// Seals and opens a batch, and lets the feedback for it pass uncounted.
    fn batch(&mut self) -> (Duration, Duration) {
        let cell = Cell { circuit: 1, number: 1, body: [0x33; 504] };
        self.now += Duration::from_millis(1);
        let begun = Instant::now();
        for _ in 0..BATCH {
            self.origin.send_cells(self.now, self.link, &cell, Some(&cell));
        }
        self.origin.finish_batch(self.now);
        let sealing = begun.elapsed();
        let mut datagrams = taken(&mut self.origin);
        let mut inbox: Vec<Inbound> = Vec::with_capacity(2 * BATCH as usize);
        let begun = Instant::now();
        for datagram in &mut datagrams {
            self.relay.handle_datagram(self.now, address(2), datagram, &mut inbox);
        }
        let opening = begun.elapsed();
        black_box(&inbox);
        self.exchange();
        (sealing, opening)
    }
}

/// Takes what a side has to send.
fn taken(links: &mut Links) -> Vec<Vec<u8>> {
    let datagrams = links
        .transmits()
        .flat_map(|transmit| transmit.data.chunks(transmit.segment).map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect();
    links.clear_transmits();
    datagrams
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 1))
}
