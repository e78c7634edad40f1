use std::net::Ipv4Addr;

use super::wire::Path;
use super::*;

/// Sends `left` datagrams, one a millisecond, and notes when each arrives.
struct Ticker {
    peer: Option<SocketAddr>,
    left: u32,
    next: Option<Instant>,
    arrivals: Vec<Instant>,
    per_datagram: Duration,
    burst: usize,
}

impl Ticker {
    fn sender(peer: SocketAddr, left: u32, burst: usize) -> Ticker {
        Ticker { peer: Some(peer), left, next: None, arrivals: Vec::new(), per_datagram: Duration::ZERO, burst }
    }

    fn receiver(per_datagram: Duration) -> Ticker {
        Ticker { peer: None, left: 0, next: None, arrivals: Vec::new(), per_datagram, burst: 0 }
    }
}

impl Host for Ticker {
    fn turn(&mut self, now: Instant, batch: &mut [Received], out: &mut Outbox) -> Duration {
        self.arrivals.extend(batch.iter().map(|_| now));
        if let Some(peer) = self.peer
            && self.left > 0
            && self.next.is_none_or(|at| at <= now)
        {
            for _ in 0..self.burst {
                out.send(peer, vec![7; 576]);
            }
            self.left -= 1;
            self.next = (self.left > 0).then(|| now + Duration::from_millis(1));
        }
        self.per_datagram * u32::try_from(batch.len()).unwrap()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn wants_turn(&self) -> bool {
        self.left > 0 && self.next.is_none()
    }
}

fn at(host: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, host, 0, 1), 9000))
}

fn run(seed: u64, path: Path, burst: usize, buffer: usize, per_datagram: Duration) -> (Sim, HostId) {
    let mut sim = Sim::new(seed, path);
    sim.add(at(1), 1 << 20, Ticker::sender(at(2), 100, burst));
    let receiver = sim.add(at(2), buffer, Ticker::receiver(per_datagram));
    sim.run_until(Duration::from_secs(10));
    (sim, receiver)
}

#[test]
fn datagrams_arrive_after_the_delay() {
    let (mut sim, receiver) = run(1, Path::delay(Duration::from_millis(50)), 1, 1 << 20, Duration::ZERO);
    let epoch = sim.epoch;
    let arrivals = &sim.host::<Ticker>(receiver).arrivals;
    assert_eq!(arrivals.len(), 100);
    let first = arrivals[0] - epoch;
    assert!(first >= Duration::from_millis(50) && first < Duration::from_millis(51), "{first:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let path = Path::delay(Duration::from_millis(5)).jitter(Duration::from_millis(3)).loss(0.1);
    let trace = |seed| run(seed, path, 3, 1 << 20, Duration::from_micros(5)).0.trace().clone();
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1).times(), trace(2).times());
}

#[test]
fn losses_are_about_as_many_as_asked_for() {
    let path = Path::delay(Duration::ZERO).loss(0.1);
    let (sim, _) = run(3, path, 100, 1 << 20, Duration::ZERO);
    assert!((900..1100).contains(&sim.wire_drops()), "{}", sim.wire_drops());
}

#[test]
fn a_slow_host_drops_at_its_receive_buffer() {
    let datagram = 576 + wire::BUFFER_OVERHEAD;
    let path = Path::delay(Duration::ZERO);
    let (sim, receiver) = run(4, path, 10, 20 * datagram, Duration::from_micros(200));
    let counters = sim.counters(receiver);
    // Ten come each millisecond, five can be handled.
    assert!(counters.buffer_drops > 300, "{counters:?}");
    assert!(counters.buffer_peak <= 20 * datagram, "{counters:?}");
}

#[test]
fn a_bottleneck_spaces_datagrams_and_bounds_its_queue() {
    // 604 bytes with headers at 604,000 bytes a second: one a millisecond; the queue holds five.
    let path = Path::delay(Duration::ZERO).bottleneck(604_000, 5 * 604);
    let (sim, receiver) = run(5, path, 10, 1 << 20, Duration::ZERO);
    let received = sim.counters(receiver).received;
    assert!((100..=106).contains(&received), "{received}");
    assert_eq!(received + sim.wire_drops(), 1000);
}

#[test]
fn a_killed_host_receives_nothing() {
    let mut sim = Sim::new(6, Path::delay(Duration::ZERO));
    sim.add(at(1), 1 << 20, Ticker::sender(at(2), 100, 1));
    let receiver = sim.add(at(2), 1 << 20, Ticker::receiver(Duration::ZERO));
    sim.run_until(Duration::from_millis(10));
    sim.kill(receiver);
    let before = sim.counters(receiver).received;
    sim.run_until(Duration::from_secs(1));
    assert_eq!(sim.counters(receiver).received, before);
}
