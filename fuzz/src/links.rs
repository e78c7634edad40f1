//! Two links joined by a wire that an attacker holds: every datagram may be dropped, repeated, altered or kept back.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::link::{Control, Inbound, LinkConfig, LinkId, LinkPeer, LinkSecret, Links, LocalIdentity};
use zmesh_proto::wire::cell::{BODY_LEN, Cell};
use zmesh_proto::wire::datagram::{L_LEN, S_LEN};

static START: OnceLock<Instant> = OnceLock::new();
const IDENTITY: [u8; 32] = [9; 32];
const UNIX_NANOS: u64 = 1_800_000_000_000_000_000;
/// Datagrams that the attacker may hold at once.
const HELD_MAX: usize = 64;

/// One thing that happens.
#[derive(Arbitrary, Debug)]
pub enum Step {
    /// The origin sends a cell.
    Cell,
    /// The origin sends a cell of a sparse circuit, which is protected once something was lost.
    Sparse,
    /// The origin sends a control frame.
    Control,
    /// The relay sends a cell on the link that the origin opened.
    CellBack,
    /// The attacker delivers the held datagram with this index.
    Deliver(u8),
    /// The attacker delivers a copy and keeps the datagram.
    Repeat(u8),
    /// The attacker alters one bit of a held datagram.
    Flip(u8, u16),
    /// The attacker cuts a held datagram.
    Cut(u8, u16),
    /// The attacker drops a held datagram.
    Drop(u8),
    /// The attacker sends bytes of their own to one of the two.
    Junk(bool, Vec<u8>),
    /// Milliseconds pass.
    Wait(u16),
}

struct Held {
    to_relay: bool,
    bytes: Vec<u8>,
}

struct End {
    links: Links,
    link: Option<LinkId>,
    inbox: Vec<Inbound>,
    cells: u64,
    controls: u64,
}

impl End {
    fn new(local: LocalIdentity, seed: u8, now: Instant) -> Self {
        let links = Links::new(LinkConfig::new(local), ChaCha12Rng::from_seed([seed; 32]), now, UNIX_NANOS);
        Self { links, link: None, inbox: Vec::new(), cells: 0, controls: 0 }
    }

    fn work(&mut self, now: Instant) {
        while let Some(job) = self.links.poll_job() {
            let done = job.run();
            self.links.handle_job(now, done);
        }
        while self.links.poll_event().is_some() {}
        for inbound in self.inbox.drain(..) {
            match inbound {
                Inbound::Cell(link, _) => {
                    self.link = Some(link);
                    self.cells += 1;
                }
                Inbound::Observed(..) => {}
                Inbound::Control(link, _) => {
                    self.link = Some(link);
                    self.controls += 1;
                }
                Inbound::DescriptorAsked(..) | Inbound::DescriptorPart(..) => {}
            }
        }
        self.links.finish_batch(now);
    }
}

fn cell(number: u32) -> Cell {
    Cell { circuit: 1, number, body: [0; BODY_LEN] }
}

/// Plays a sequence and checks that nothing arrives twice or out of nothing.
pub fn play(steps: &[Step]) {
    let mut now = *START.get_or_init(Instant::now);
    let secret = LinkSecret::from_bytes([5; 32]);
    let addresses: [SocketAddr; 2] = [([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into()];
    let peer = LinkPeer { identity: IDENTITY, link_key: secret.public(), addresses: vec![addresses[1]] };
    let mut origin = End::new(LocalIdentity::Anonymous, 1, now);
    let mut relay = End::new(LocalIdentity::Relay { identity: IDENTITY, link_secret: secret }, 2, now);
    let link = origin.links.connect(now, &peer).expect("the first link");
    origin.link = Some(link);
    let mut held: Vec<Held> = Vec::new();
    let mut sent = [0u64; 3];

    // A link that is up and has carried a cell, so that the sequence begins where it becomes interesting.
    let mut prelude = vec![Step::Wait(0)];
    prelude.extend([0; 8].map(Step::Deliver));
    prelude.push(Step::Cell);
    prelude.extend([0; 8].map(Step::Deliver));
    for (index, step) in prelude.iter().chain(steps).enumerate() {
        match step {
            Step::Cell if origin.links.can_send(now, link) => {
                sent[0] += 1;
                origin.links.send_cells(now, link, &cell(0), None);
            }
            Step::Sparse if origin.links.can_send(now, link) => {
                sent[0] += 1;
                origin.links.send_queued(now, link, (&cell(0), true), None);
            }
            Step::CellBack => {
                if let Some(back) = relay.link.filter(|link| relay.links.can_send(now, *link)) {
                    sent[1] += 1;
                    relay.links.send_cells(now, back, &cell(0), None);
                }
            }
            Step::Control => {
                let told = origin.links.send_control(now, link, Control::Destroy { circuit: 1, reason: 0 });
                sent[2] += u64::from(told.is_ok());
            }
            Step::Deliver(index) | Step::Repeat(index) if !held.is_empty() => {
                let index = usize::from(*index) % held.len();
                let mut bytes = held[index].bytes.clone();
                let to_relay = held[index].to_relay;
                if matches!(step, Step::Deliver(_)) {
                    held.swap_remove(index);
                }
                let (end, from) = if to_relay { (&mut relay, addresses[0]) } else { (&mut origin, addresses[1]) };
                end.links.handle_datagram(now, from, &mut bytes, &mut end.inbox);
            }
            Step::Flip(index, bit) if !held.is_empty() => {
                let index = usize::from(*index) % held.len();
                let bytes = &mut held[index].bytes;
                if !bytes.is_empty() {
                    let bit = usize::from(*bit) % (bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            Step::Cut(index, len) if !held.is_empty() => {
                let index = usize::from(*index) % held.len();
                held[index].bytes.truncate(usize::from(*len));
            }
            Step::Drop(index) if !held.is_empty() => {
                let index = usize::from(*index) % held.len();
                held.swap_remove(index);
            }
            Step::Junk(to_relay, bytes) => {
                let mut bytes = bytes.clone();
                let (end, from) = if *to_relay { (&mut relay, addresses[0]) } else { (&mut origin, addresses[1]) };
                end.links.handle_datagram(now, from, &mut bytes, &mut end.inbox);
            }
            Step::Wait(millis) => {
                now += Duration::from_millis(u64::from(*millis));
                for end in [&mut origin, &mut relay] {
                    if end.links.next_timeout().is_some_and(|at| at <= now) {
                        end.links.handle_timeout(now);
                    }
                }
            }
            _ => {}
        }
        for (to_relay, end) in [(true, &mut origin), (false, &mut relay)] {
            end.work(now);
            for transmit in end.links.transmits() {
                for datagram in transmit.data.chunks(transmit.segment) {
                    let length = datagram.len();
                    assert!(length <= L_LEN, "longer than the longest datagram");
                    assert!(
                        length == L_LEN || length == S_LEN || !to_relay,
                        "only a cookie may have a length of its own"
                    );
                    if held.len() < HELD_MAX {
                        held.push(Held { to_relay, bytes: datagram.to_vec() });
                    }
                }
            }
            end.links.clear_transmits();
        }
        assert!(relay.cells <= sent[0], "a cell arrived that was not sent, or twice");
        assert!(origin.cells <= sent[1], "a cell came back that was not sent, or twice");
        assert!(index + 1 != prelude.len() || relay.cells == 1, "the first cell arrives");
        assert!(relay.controls <= sent[2], "a control frame arrived that was not sent, or twice");
    }
}
