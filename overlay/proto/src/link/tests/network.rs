//! The harness: machines, a lossy network and a virtual clock that always jumps to the earliest event.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::wire::cell::{BODY_LEN, Cell};
use crate::wire::datagram::{Header, Kind, L_LEN, S_LEN};

pub(super) const UNIX: u64 = 1_700_000_000_000_000_000;

/// Which machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Opens the link.
    A,
    /// Accepts it.
    B,
}

impl Side {
    fn other(self) -> Self {
        if self == Self::A { Self::B } else { Self::A }
    }
}

pub(super) struct Machine {
    pub(super) links: Links,
    pub(super) address: SocketAddr,
    pub(super) cells: Vec<(LinkId, Cell)>,
    pub(super) controls: Vec<Control>,
    pub(super) events: Vec<LinkEvent>,
    /// Cells that wait for [`Links::can_send`].
    pub(super) backlog: Vec<(LinkId, u32)>,
    pub(super) alive: bool,
    /// Where the peer said that datagrams come from.
    pub(super) observed: Vec<SocketAddr>,
}

impl Machine {
    pub(super) fn up(&self) -> Option<LinkId> {
        self.events.iter().find_map(|event| match event {
            LinkEvent::Up(id, _) => Some(*id),
            LinkEvent::Down(..) => None,
        })
    }

    pub(super) fn down(&self) -> Option<LinkError> {
        self.events.iter().find_map(|event| match event {
            LinkEvent::Down(_, error) => Some(*error),
            LinkEvent::Up(..) => None,
        })
    }

    pub(super) fn numbers(&self) -> Vec<u32> {
        self.cells.iter().map(|(_, cell)| cell.number).collect()
    }
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) a: Machine,
    pub(super) b: Machine,
    pub(super) delay: Duration,
    /// Random extra delay up to this: reordering.
    pub(super) jitter: Duration,
    /// Per thousand.
    pub(super) loss: u32,
    pub(super) duplicates: u32,
    /// Public-key work is held back.
    pub(super) hold_jobs: bool,
    /// Every datagram sent: by whom, when, and its bytes.
    pub(super) log: Vec<(Side, Instant, Vec<u8>)>,
    pub(super) keep_log: bool,
    /// Bytes sent to each address.
    pub(super) sent_to: BTreeMap<SocketAddr, usize>,
    air: BTreeMap<(Instant, u64), (Side, SocketAddr, Vec<u8>)>,
    sequence: u64,
    rng: ChaCha12Rng,
}

pub(super) fn seeded(seed: u8) -> ChaCha12Rng {
    ChaCha12Rng::from_seed([seed; 32])
}

pub(super) fn relay_config(number: u8) -> LinkConfig {
    let link_secret = LinkSecret::generate(&mut seeded(number));
    LinkConfig::new(LocalIdentity::Relay { identity: [number; 32], link_secret })
}

pub(super) fn peer_of(config: &LinkConfig, address: SocketAddr) -> LinkPeer {
    match &config.local {
        LocalIdentity::Relay { identity, link_secret } => {
            LinkPeer { identity: *identity, link_key: link_secret.public(), addresses: vec![address] }
        }
        LocalIdentity::Anonymous => panic!("an origin is nobody's peer"),
    }
}

pub(super) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 9000))
}

pub(super) fn cell(circuit: u32, number: u32) -> Cell {
    Cell { circuit, number, body: [u8::try_from(number % 256).expect("below 256"); BODY_LEN] }
}

impl Net {
    pub(super) fn new(a: LinkConfig, b: LinkConfig) -> Self {
        let now = Instant::now();
        let machine = |config, number: u8| Machine {
            links: Links::new(config, seeded(100 + number), now, UNIX),
            address: address(number),
            cells: Vec::new(),
            controls: Vec::new(),
            events: Vec::new(),
            backlog: Vec::new(),
            alive: true,
            observed: Vec::new(),
        };
        Self {
            now,
            a: machine(a, 1),
            b: machine(b, 2),
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0,
            duplicates: 0,
            hold_jobs: false,
            log: Vec::new(),
            keep_log: true,
            sent_to: BTreeMap::new(),
            air: BTreeMap::new(),
            sequence: 0,
            rng: seeded(77),
        }
    }

    /// Two relays.
    pub(super) fn relays() -> Self {
        Self::new(relay_config(1), relay_config(2))
    }

    /// An origin and a relay.
    pub(super) fn origin() -> Self {
        Self::new(LinkConfig::new(LocalIdentity::Anonymous), relay_config(2))
    }

    pub(super) fn peer_b() -> LinkPeer {
        peer_of(&relay_config(2), address(2))
    }

    /// Opens a link from A to B and waits until both have it.
    pub(super) fn linked(mut self) -> (Self, LinkId, LinkId) {
        let id = self.a.links.connect(self.now, &Self::peer_b()).expect("room");
        self.run(Duration::from_secs(8));
        let (a, b) = (self.a.up(), self.b.up());
        assert_eq!(a, Some(id), "{:?}", self.a.links.counters());
        (self, id, b.expect("confirmed"))
    }

    pub(super) fn side(&mut self, side: Side) -> &mut Machine {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// Puts a datagram in the air towards `to`.
    pub(super) fn inject(&mut self, to: Side, from: SocketAddr, datagram: Vec<u8>, at: Instant) {
        self.sequence += 1;
        self.air.insert((at, self.sequence), (to, from, datagram));
    }

    fn roll(&mut self, permille: u32) -> bool {
        self.rng.next_u32() % 1000 < permille
    }

    fn drain(&mut self, side: Side) {
        let now = self.now;
        let hold = self.hold_jobs;
        let machine = self.side(side);
        while let Some(job) = (!hold).then(|| machine.links.poll_job()).flatten() {
            machine.links.handle_job(now, job.run());
        }
        while let Some((link, number)) = machine.backlog.first().copied() {
            if !machine.links.can_send(now, link) {
                break;
            }
            let second = machine.backlog.get(1).filter(|(other, _)| *other == link).copied();
            let pair = second.map(|(_, number)| cell(7, number));
            machine.links.send_cells(now, link, &cell(7, number), pair.as_ref());
            machine.backlog.drain(..1 + usize::from(second.is_some()));
        }
        machine.links.finish_batch(now);
        while let Some(event) = machine.links.poll_event() {
            machine.events.push(event);
        }
        let from = machine.address;
        let mut out = Vec::new();
        for transmit in machine.links.transmits() {
            assert!(transmit.data.len() <= MAX_RUN_BYTES && transmit.data.len() / transmit.segment <= MAX_SEGMENTS);
            assert_eq!(transmit.data.len() % transmit.segment, 0);
            out.extend(transmit.data.chunks(transmit.segment).map(|data| (transmit.to, data.to_vec())));
        }
        machine.links.clear_transmits();
        for (to, datagram) in out {
            *self.sent_to.entry(to).or_default() += datagram.len();
            if self.keep_log {
                self.log.push((side, now, datagram.clone()));
            }
            if to != self.side(side.other()).address || self.roll(self.loss) {
                continue;
            }
            for _ in 0..1 + u32::from(self.roll(self.duplicates)) {
                let jitter = self.jitter.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX));
                self.inject(side.other(), from, datagram.clone(), now + self.delay + jitter);
            }
        }
    }

    /// Runs for a span of virtual time.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..3_000_000 {
            self.drain(Side::A);
            self.drain(Side::B);
            let timers = [Side::A, Side::B].map(|side| {
                let machine = self.side(side);
                machine.links.next_timeout().filter(|_| machine.alive)
            });
            let arrival = self.air.first_key_value().map(|((at, _), _)| *at);
            let next = timers.into_iter().chain([arrival]).flatten().min().unwrap_or(end).max(self.now);
            if next >= end {
                self.now = end;
                return;
            }
            self.now = next;
            while let Some(entry) = self.air.first_entry().filter(|entry| entry.key().0 <= next) {
                let (to, from, mut datagram) = entry.remove();
                self.deliver(to, from, &mut datagram);
            }
            for side in [Side::A, Side::B] {
                let machine = self.side(side);
                if machine.alive && machine.links.next_timeout().is_some_and(|at| at <= next) {
                    machine.links.handle_timeout(next);
                }
            }
        }
        panic!("the harness does not get on");
    }

    /// Hands a datagram to a machine now.
    pub(super) fn deliver(&mut self, to: Side, from: SocketAddr, datagram: &mut [u8]) {
        let now = self.now;
        let machine = self.side(to);
        if !machine.alive {
            return;
        }
        let mut inbox = Vec::new();
        machine.links.handle_datagram(now, from, datagram, &mut inbox);
        machine.links.finish_batch(now);
        for item in inbox {
            match item {
                Inbound::Cell(link, cell) => machine.cells.push((link, cell)),
                Inbound::Control(_, control) => machine.controls.push(control),
                // Descriptors are the node's affair, and tested there.
                Inbound::DescriptorAsked(..) | Inbound::DescriptorPart(..) => {}
                Inbound::Observed(_, seen) => machine.observed.push(seen),
            }
        }
    }

    /// The last datagram of a kind that a side sent.
    pub(super) fn last(&self, side: Side, kind: Kind) -> Vec<u8> {
        let found = self.log.iter().rev().find(|(from, _, datagram)| {
            *from == side && Header::read(datagram).is_ok_and(|header| header.kind == kind)
        });
        found.expect("sent").2.clone()
    }

    /// Checks the lengths of everything that was sent.
    pub(super) fn check_lengths(&self) {
        for (_, _, datagram) in &self.log {
            let header = Header::read(datagram).expect("well-formed");
            match header.kind {
                Kind::Data => assert!(datagram.len() == S_LEN || datagram.len() == L_LEN),
                Kind::Init | Kind::Response => assert_eq!(datagram.len(), L_LEN),
                Kind::Cookie => assert!(datagram.len() < L_LEN),
                Kind::Probe | Kind::Relayed => unreachable!("links alone send none"),
            }
        }
    }
}
