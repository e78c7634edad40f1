//! What to think of a circuit: fine, worse than it was at some hop, or dead.
//!
//! Two witnesses are heard. **Probes** ask each hop by itself: what is lost or late from one hop on, and not before it,
//! is the doing of that hop or of the link to it. **End-to-end acknowledgements** tell what became of the data itself:
//! a hop that answers probes and drops data shows there and nowhere else.
//!
//! A verdict has hysteresis: it takes a while of bad news to leave "fine", more good news than that to come back, and the
//! bounds of the two differ. Time is passed in.

use std::time::{Duration, Instant};

/// Weight of one probe: 1/8.
const PROBE_WEIGHT: f64 = 1.0 / 8.0;
/// Weight of one report of acknowledgements, which covers many messages.
const REPORT_WEIGHT: f64 = 1.0 / 4.0;
/// A loss above this is bad …
const LOSS_BAD: f64 = 0.15;
/// … and below this it is good again.
const LOSS_GOOD: f64 = 0.05;
/// A round trip longer than the best by more than half of it and by this is bad …
const LATE_BAD: Duration = Duration::from_millis(60);
/// … and by less than this it is good again.
const LATE_GOOD: Duration = Duration::from_millis(20);
/// Bad news must last so long.
const BAD_FOR: Duration = Duration::from_secs(3);
/// And good news so long.
const GOOD_FOR: Duration = Duration::from_secs(8);
/// Probes of a hop in a row that fail make it dead, with all behind it.
const DEAD_PROBES: u32 = 4;
/// A loss of data above this makes the circuit useless, whatever probes say.
const DEAD_LOSS: f64 = 0.9;

/// Where the trouble seems to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At this hop (0 = first relay), or on the link to it.
    Hop(usize),
    /// Some relay drops data and answers probes; which one cannot be told.
    Data,
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// More is lost than was.
    Loss,
    /// Everything takes longer than it did.
    Delay,
}

/// What to think of a circuit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing is wrong.
    Fine,
    /// It works, and worse than it did.
    Degraded(Place, Trouble),
    /// Nothing comes through any more.
    Dead(Place),
}

#[derive(Clone, Copy, Debug, Default)]
struct Witness {
    loss: f64,
    rtt: Option<f64>,
    best: Option<f64>,
    lost_in_a_row: u32,
}

impl Witness {
    fn answered(&mut self, rtt: Duration, weight: f64) {
        let rtt = rtt.as_secs_f64();
        self.rtt = Some(self.rtt.map_or(rtt, |old| old + (rtt - old) * weight));
        self.best = Some(self.best.map_or(rtt, |old| old.min(rtt)));
    }

    fn lost(&mut self, share: f64, weight: f64) {
        self.loss += (share - self.loss) * weight;
    }

    /// By how much the round trip is longer than the best one was.
    fn late(&self) -> f64 {
        self.rtt.zip(self.best).map_or(0.0, |(rtt, best)| rtt - best)
    }

    fn is_late(&self, bound: Duration, before: f64) -> bool {
        let late = self.late() - before;
        late > bound.as_secs_f64() && self.best.is_none_or(|best| bound == LATE_GOOD || late > best / 2.0)
    }
}

/// Judges one circuit. See the [module](self).
#[derive(Debug)]
pub struct Judge {
    hops: Vec<Witness>,
    data: Witness,
    verdict: Verdict,
    /// What the news says, and since when.
    news: Verdict,
    since: Instant,
}

impl Judge {
    /// A circuit of so many hops that has just come up.
    #[must_use]
    pub fn new(hops: usize, now: Instant) -> Self {
        let data = Witness::default();
        Self { hops: vec![Witness::default(); hops], data, verdict: Verdict::Fine, news: Verdict::Fine, since: now }
    }

    /// A hop answered a probe. Hops that the circuit does not have are ignored.
    pub fn answered(&mut self, now: Instant, hop: usize, rtt: Duration) {
        if let Some(witness) = self.hops.get_mut(hop) {
            witness.lost(0.0, PROBE_WEIGHT);
            witness.lost_in_a_row = 0;
            witness.answered(rtt, PROBE_WEIGHT);
        }
        self.weigh(now);
    }

    /// A hop did not answer a probe in time.
    pub fn unanswered(&mut self, now: Instant, hop: usize) {
        if let Some(witness) = self.hops.get_mut(hop) {
            witness.lost(1.0, PROBE_WEIGHT);
            witness.lost_in_a_row = witness.lost_in_a_row.saturating_add(1);
        }
        self.weigh(now);
    }

    /// The far end says what became of data: of so many messages since the last report, so many were lost; and how long
    /// the round trip took.
    pub fn acknowledged(&mut self, now: Instant, messages: u64, lost: u64, rtt: Option<Duration>) {
        if messages > 0 {
            self.data.lost(lost.min(messages) as f64 / messages as f64, REPORT_WEIGHT);
        }
        if let Some(rtt) = rtt {
            self.data.answered(rtt, REPORT_WEIGHT);
        }
        self.weigh(now);
    }

    /// What to think of it now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The share of probes that each hop lost lately, first hop first.
    pub fn losses(&self) -> impl Iterator<Item = f64> + '_ {
        self.hops.iter().map(|witness| witness.loss)
    }

    fn weigh(&mut self, now: Instant) {
        let news = self.news_now();
        if std::mem::discriminant(&news) != std::mem::discriminant(&self.news) {
            self.since = now;
        }
        self.news = news;
        let lasted = now.saturating_duration_since(self.since);
        match (self.verdict, news) {
            // Death needs no patience: it has been counted out.
            (_, Verdict::Dead(_)) => self.verdict = news,
            (Verdict::Fine, Verdict::Degraded(..)) if lasted >= BAD_FOR => self.verdict = news,
            (Verdict::Degraded(..) | Verdict::Dead(_), Verdict::Fine) if lasted >= GOOD_FOR => self.verdict = news,
            (Verdict::Dead(_), Verdict::Degraded(..)) if lasted >= BAD_FOR => self.verdict = news,
            _ => {}
        }
    }

    fn news_now(&self) -> Verdict {
        if let Some(hop) = self.hops.iter().position(|witness| witness.lost_in_a_row >= DEAD_PROBES) {
            return Verdict::Dead(Place::Hop(hop));
        }
        if self.data.loss > DEAD_LOSS {
            return Verdict::Dead(self.blame_loss(LOSS_BAD).unwrap_or(Place::Data));
        }
        let was_fine = self.verdict == Verdict::Fine;
        let (loss, late) = if was_fine { (LOSS_BAD, LATE_BAD) } else { (LOSS_GOOD, LATE_GOOD) };
        if let Some(place) = self.blame_loss(loss) {
            return Verdict::Degraded(place, Trouble::Loss);
        }
        if self.data.loss > loss {
            return Verdict::Degraded(Place::Data, Trouble::Loss);
        }
        let mut before = 0.0;
        for (hop, witness) in self.hops.iter().enumerate() {
            if witness.is_late(late, before) {
                return Verdict::Degraded(Place::Hop(hop), Trouble::Delay);
            }
            before = witness.late().max(before);
        }
        if self.data.is_late(late, before) {
            return Verdict::Degraded(Place::Data, Trouble::Delay);
        }
        Verdict::Fine
    }

    /// The hop from which on probes are lost.
    fn blame_loss(&self, bound: f64) -> Option<Place> {
        let mut before = 0.0;
        for (hop, witness) in self.hops.iter().enumerate() {
            if witness.loss - before > bound {
                return Some(Place::Hop(hop));
            }
            before = witness.loss.max(before);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::any_instant;

    /// One probe of each of three hops and one report of data a second.
    struct Watch {
        judge: Judge,
        now: Instant,
        verdicts: Vec<Verdict>,
    }

    impl Watch {
        fn new() -> Self {
            let now = any_instant();
            Self { judge: Judge::new(3, now), now, verdicts: vec![Verdict::Fine] }
        }

        /// `hop(n, second)` is what hop n answers, `data(second)` the share of 50 messages that was lost.
        fn run(&mut self, seconds: u64, hop: impl Fn(usize, u64) -> Option<u64>, lost: impl Fn(u64) -> u64) -> Verdict {
            for second in 0..seconds {
                for at in 0..3 {
                    match hop(at, second) {
                        Some(rtt) => self.judge.answered(self.now, at, Duration::from_millis(rtt)),
                        None => self.judge.unanswered(self.now, at),
                    }
                }
                self.judge.acknowledged(self.now, 50, lost(second), Some(Duration::from_millis(80)));
                self.now += Duration::from_secs(1);
                if self.verdicts.last() != Some(&self.judge.verdict()) {
                    self.verdicts.push(self.judge.verdict());
                }
            }
            self.judge.verdict()
        }
    }

    const WELL: [u64; 3] = [20, 40, 60];

    #[test]
    fn a_hop_that_drops_data_and_answers_probes_is_found_out() {
        let mut watch = Watch::new();
        assert_eq!(watch.run(20, |hop, _| Some(WELL[hop]), |_| 0), Verdict::Fine);
        let verdict = watch.run(10, |hop, _| Some(WELL[hop]), |_| 15);
        assert_eq!(verdict, Verdict::Degraded(Place::Data, Trouble::Loss));
        assert_eq!(watch.run(20, |hop, _| Some(WELL[hop]), |_| 50), Verdict::Dead(Place::Data));
    }

    #[test]
    fn a_hop_that_loses_what_goes_through_it_is_named() {
        let mut watch = Watch::new();
        watch.run(20, |hop, _| Some(WELL[hop]), |_| 0);
        // The first hop answers every probe, everything behind it loses every third.
        let verdict = watch.run(20, |hop, second| (hop == 0 || second % 3 > 0).then_some(WELL[hop]), |_| 16);
        assert_eq!(verdict, Verdict::Degraded(Place::Hop(1), Trouble::Loss));
    }

    #[test]
    fn a_hop_that_grows_slow_is_named() {
        let mut watch = Watch::new();
        watch.run(20, |hop, _| Some(WELL[hop]), |_| 0);
        let verdict = watch.run(20, |hop, _| Some(WELL[hop] + 150 * u64::from(hop == 2)), |_| 0);
        assert_eq!(verdict, Verdict::Degraded(Place::Hop(2), Trouble::Delay));
    }

    #[test]
    fn a_dead_hop_is_the_first_that_is_silent() {
        let mut watch = Watch::new();
        watch.run(5, |hop, _| Some(WELL[hop]), |_| 0);
        assert_eq!(watch.run(4, |hop, _| (hop == 0).then_some(20), |_| 50), Verdict::Dead(Place::Hop(1)));
    }

    #[test]
    fn news_that_comes_and_goes_makes_the_verdict_change_rarely() {
        let mut watch = Watch::new();
        watch.run(20, |hop, _| Some(WELL[hop]), |_| 0);
        // For five minutes, four bad seconds and then four good ones.
        let verdict = watch.run(300, |hop, _| Some(WELL[hop]), |second| if second % 8 < 4 { 30 } else { 0 });
        assert!(matches!(verdict, Verdict::Degraded(..)), "{:?}", watch.verdicts);
        assert!(watch.verdicts.len() <= 3, "{:?}", watch.verdicts);
        assert_eq!(
            watch.run(30, |hop, _| Some(WELL[hop]), |_| 0),
            Verdict::Fine,
            "and good news is believed in the end"
        );
    }

    #[test]
    fn a_short_trouble_changes_nothing() {
        let mut watch = Watch::new();
        watch.run(20, |hop, _| Some(WELL[hop]), |_| 0);
        watch.run(2, |hop, _| Some(WELL[hop] + 300), |_| 20);
        watch.run(30, |hop, _| Some(WELL[hop]), |_| 0);
        assert_eq!(watch.verdicts, [Verdict::Fine]);
    }
}
