//! Two calls over a pipe that loses, delays, repeats and reorders, in virtual time that jumps from event to event.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "test support, shared by several test programs that use parts of it"
)]

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use zmesh_voice::call::{Call, CallEvent, Message, Patience};
use zmesh_voice::invite::Invite;
use zmesh_voice::media::class::Class;
use zmesh_voice::media::redundancy::Means;
use zmesh_voice::media::{FRAME_SAMPLES, Pcm, SILENCE};

/// The network between the two, the same in both directions.
#[derive(Clone, Debug)]
pub struct Pipe {
    pub delay: Duration,
    /// Added to each datagram, evenly distributed.
    pub jitter: Duration,
    /// Chance that a datagram begins a gap.
    pub loss: f64,
    /// Mean length of a gap.
    pub burst: f64,
    /// Chance that a datagram arrives twice.
    pub repeat: f64,
    /// Datagrams sent in `[at, at + for)` arrive together at the end of that time.
    pub stalls: Vec<(Duration, Duration)>,
    /// From each of these instants on the delay is another one, as after a move to another circuit.
    pub moves: Vec<(Duration, Duration)>,
    /// Nothing arrives at all.
    pub cut: bool,
    pub seed: u64,
}

impl Default for Pipe {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(30),
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: 1.0,
            repeat: 0.0,
            stalls: Vec::new(),
            moves: Vec::new(),
            cut: false,
            seed: 1,
        }
    }
}

pub struct End {
    pub call: Call,
    /// What this end says, repeated.
    pub voice: Vec<i16>,
    pub heard: Vec<i16>,
    pub events: Vec<(Duration, CallEvent)>,
    pub sent: Vec<(Duration, Message)>,
    /// Lag of the jitter buffer at each playout.
    pub held_back: Vec<Duration>,
    /// How much later than the world's clock this end's call began.
    pub offset: Duration,
    /// How much faster this end's clock runs than the world's: 300e-6 is 300 parts in a million.
    pub skew: f64,
    at: usize,
}

impl End {
    fn new(call: Call, voice: Vec<i16>) -> Self {
        Self {
            call,
            voice,
            heard: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
            held_back: Vec::new(),
            offset: Duration::ZERO,
            skew: 0.0,
            at: 0,
        }
    }

    fn next_sound(&mut self) -> Pcm {
        if self.voice.is_empty() {
            return SILENCE;
        }
        let mut pcm = SILENCE;
        for sample in &mut pcm {
            *sample = self.voice[self.at % self.voice.len()];
            self.at += 1;
        }
        pcm
    }

    fn next_event(&self) -> Duration {
        let playout = self.call.next_playout();
        let next = self.call.next_slot().map_or(playout, |slot| slot.min(playout));
        // A little on top, so that rounding never leaves the clock just before the event.
        let rounding = if self.skew == 0.0 { Duration::ZERO } else { Duration::from_nanos(100) };
        self.offset + next.div_f64(1.0 + self.skew) + rounding
    }

    /// This end's clock when the world's shows `now`; `None` before its call began.
    fn clock(&self, now: Duration) -> Option<Duration> {
        now.checked_sub(self.offset).map(|since| if self.skew == 0.0 { since } else { since.mul_f64(1.0 + self.skew) })
    }

    fn handle(&mut self, now: Duration, datagram: &[u8]) {
        // Before its call began nobody was there to receive.
        if let Some(now) = self.clock(now) {
            self.call.handle_datagram(now, datagram);
        }
    }

    fn words(&self) -> Option<String> {
        self.events.iter().find_map(|(_, event)| match event {
            CallEvent::Connected(words) => Some(words.to_string()),
            _ => None,
        })
    }
}

pub struct World {
    pub now: Duration,
    /// Caller, answerer.
    pub ends: [End; 2],
    pub pipe: Pipe,
    flying: BTreeMap<(Duration, u64), (usize, Vec<u8>)>,
    rng: ChaCha12Rng,
    gaps: [bool; 2],
    serial: u64,
}

pub fn speech() -> Vec<i16> {
    hound::WavReader::new(zmesh_voice::SPEECH_WAV).unwrap().samples::<i16>().map(Result::unwrap).collect()
}

impl World {
    pub fn new(pipe: Pipe, voice: Vec<i16>) -> Self {
        Self::with(pipe, voice, Class::Ms20, Means::default())
    }

    pub fn with(pipe: Pipe, voice: Vec<i16>, class: Class, means: Means) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(pipe.seed);
        let (invite, key) = Invite::create([1; 32], [2; 16], u64::MAX, &mut rng);
        let invite = invite.with_class(class);
        let caller = Call::caller(invite.clone(), Patience::default()).unwrap().with_means(means);
        let answerer = Call::answerer(invite, key, Patience::default(), 0).unwrap().with_means(means);
        Self {
            now: Duration::ZERO,
            ends: [End::new(caller, voice.clone()), End::new(answerer, voice)],
            pipe,
            flying: BTreeMap::new(),
            rng,
            gaps: [false; 2],
            serial: 0,
        }
    }

    fn chance(&mut self, share: f64) -> bool {
        f64::from(self.rng.next_u32()) < share * 4_294_967_296.0
    }

    fn launch(&mut self, from: usize, datagram: Message) {
        // Gilbert's model: gaps begin so often that the given share is lost over all.
        let start = self.pipe.loss / self.pipe.burst / (1.0 - self.pipe.loss);
        let lost = if self.gaps[from] { !self.chance(1.0 / self.pipe.burst) } else { self.chance(start) };
        self.gaps[from] = lost;
        if lost || self.pipe.cut {
            return;
        }
        let copies = if self.chance(self.pipe.repeat) { 2 } else { 1 };
        for _ in 0..copies {
            let moved = self.pipe.moves.iter().rev().find(|(from, _)| *from <= self.now);
            let mut at = self.now + moved.map_or(self.pipe.delay, |(_, delay)| *delay);
            if !self.pipe.jitter.is_zero() {
                at += self.pipe.jitter.mul_f64(f64::from(self.rng.next_u32()) / 4_294_967_296.0);
            }
            for (begin, length) in &self.pipe.stalls {
                if (*begin..*begin + *length).contains(&self.now) {
                    at = at.max(*begin + *length + self.pipe.delay);
                }
            }
            self.serial += 1;
            self.flying.insert((at, self.serial), (1 - from, datagram.to_vec()));
        }
    }

    /// Lets the time run until `end`.
    pub fn run_until(&mut self, end: Duration) {
        loop {
            let flying = self.flying.first_key_value().map(|((at, _), _)| *at);
            let own = self.ends.iter().map(End::next_event).min().unwrap();
            let next = flying.map_or(own, |at| at.min(own));
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, datagram) = entry.remove();
                self.ends[to].handle(self.now, &datagram);
            }
            for side in 0..2 {
                self.turn(side);
            }
        }
    }

    fn turn(&mut self, side: usize) {
        let Some(now) = self.ends[side].clock(self.now) else { return };
        if self.ends[side].call.next_slot().is_some_and(|due| due <= now) {
            let sound = self.ends[side].next_sound();
            if let Some(message) = self.ends[side].call.poll_transmit(now, &sound) {
                self.ends[side].sent.push((self.now, message));
                self.launch(side, message);
            }
        }
        let end = &mut self.ends[side];
        while end.call.next_playout() <= now {
            end.call.play(&mut end.heard);
            end.held_back.push(end.call.stats().held_back);
        }
        while let Some(event) = end.call.poll_event() {
            end.events.push((self.now, event));
        }
    }

    /// Puts a datagram in front of one end, as somebody on the way could.
    pub fn inject(&mut self, to: usize, datagram: &[u8]) {
        self.ends[to].handle(self.now, datagram);
    }

    pub fn words(&self) -> [Option<String>; 2] {
        [self.ends[0].words(), self.ends[1].words()]
    }
}

/// Datagrams that one end sent in each full second.
pub fn per_second(sent: &[(Duration, Message)]) -> Vec<usize> {
    let mut counts: VecDeque<usize> = VecDeque::new();
    for (at, _) in sent {
        let second = usize::try_from(at.as_secs()).unwrap();
        while counts.len() <= second {
            counts.push_back(0);
        }
        counts[second] += 1;
    }
    counts.pop_back();
    counts.into()
}

/// Seconds of sound in samples.
pub fn seconds(count: usize) -> usize {
    count * 50 * FRAME_SAMPLES
}
