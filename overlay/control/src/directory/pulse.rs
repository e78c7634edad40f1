//! When this relay says how it does, and what: once an epoch, at a moment that nobody can foresee, and as a mean over a whole epoch.
//!
//! Pure: the time, in unix seconds, and chance are arguments.

use tokio::sync::watch;
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::control::{Genesis, Heartbeat, Vitals};

/// Which part of an epoch passes at least before a heartbeat, and after it, in tenths: clocks differ.
const EDGE: u64 = 1;

/// How a relay does, as exactly as it knows. None of this leaves the node: a heartbeat tells of it in steps
/// ([`Vitals::round`]), and of its load only as the mean over an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Condition {
    /// The program's major and minor version.
    pub release: (u16, u16),
    /// Seconds since the relay started.
    pub up_seconds: u64,
    /// How much of what it can do it does now, in thousandths, if that is known.
    pub load: Option<u16>,
}

/// A relay's heartbeat.
pub(crate) struct Pulse {
    key: SignerKey,
    condition: watch::Receiver<Condition>,
    schedule: Schedule,
    load: MeanLoad,
    /// What was said last.
    said: Option<Vitals>,
}

impl Pulse {
    pub(crate) fn new(key: SignerKey, condition: watch::Receiver<Condition>) -> Self {
        Self { key, condition, schedule: Schedule::default(), load: MeanLoad::default(), said: None }
    }

    /// The identity that speaks.
    pub(crate) fn identity(&self) -> [u8; 32] {
        self.key.public()
    }

    /// Called each second: the heartbeat, when it is time. `chance` gives a number below its argument.
    pub(crate) fn due(
        &mut self,
        genesis: &Genesis,
        now: u64,
        peers: usize,
        chance: impl FnOnce(u64) -> u64,
    ) -> Option<Vec<u8>> {
        let epoch = genesis.epoch_at(now);
        let condition = *self.condition.borrow();
        self.load.note(epoch, condition.load);
        let span = (genesis.epoch_start(epoch), u64::from(genesis.terms().epoch_length));
        if !self.schedule.is_due(epoch, span, now, chance) {
            return None;
        }
        let load = self.load.of_last_epoch(epoch);
        let vitals = match self.said {
            Some(said) => said.next(condition.release, peers, condition.up_seconds, load),
            None => Vitals::round(condition.release, peers, condition.up_seconds, load),
        };
        self.said = Some(vitals);
        Some(Heartbeat::sign(genesis.network_id(), epoch, vitals, &self.key))
    }
}

/// One moment in each epoch.
#[derive(Default)]
struct Schedule {
    /// The epoch that is planned for, and when; no time once it was said or is too late.
    next: Option<(u64, Option<u64>)>,
}

impl Schedule {
    fn is_due(&mut self, epoch: u64, (start, length): (u64, u64), now: u64, chance: impl FnOnce(u64) -> u64) -> bool {
        if self.next.is_none_or(|(planned, _)| planned < epoch) {
            let edge = length * EDGE / 10;
            // Who starts in the middle of an epoch takes what is left of it.
            let (first, end) = (now.max(start + edge), start + length - edge);
            let at = (first < end).then(|| first + chance(end - first));
            self.next = Some((epoch, at));
        }
        match self.next {
            // A clock that went back says nothing twice.
            Some((planned, Some(at))) if planned == epoch && now >= at => {
                self.next = Some((epoch, None));
                true
            }
            _ => false,
        }
    }
}

/// The mean load over whole epochs: a moment's load would tell of single transfers.
#[derive(Default)]
struct MeanLoad {
    /// The present one.
    epoch: Option<u64>,
    sum: u64,
    looks: u64,
    /// The epoch that ended last, and its mean.
    last: Option<(u64, Option<u16>)>,
    /// Whether the present epoch was watched from its beginning on.
    whole: bool,
}

impl MeanLoad {
    fn note(&mut self, epoch: u64, load: Option<u16>) {
        if self.epoch != Some(epoch) {
            let mean = self.sum.checked_div(self.looks).and_then(|mean| u16::try_from(mean).ok());
            self.last = self.epoch.filter(|_| self.whole).map(|ended| (ended, mean));
            // The first one is not watched from its beginning, nor is the one after a gap.
            self.whole = self.epoch.is_some_and(|ended| ended.checked_add(1) == Some(epoch));
            (self.epoch, self.sum, self.looks) = (Some(epoch), 0, 0);
        }
        if let Some(load) = load {
            self.sum += u64::from(load.min(1_000));
            self.looks += 1;
        }
    }

    fn of_last_epoch(&self, now: u64) -> Option<u16> {
        let (epoch, mean) = self.last?;
        if epoch.checked_add(1) == Some(now) { mean } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 3_600;

    /// The seconds of ten epochs at which it speaks, from a second on.
    fn moments(from: u64, chance: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut schedule = Schedule::default();
        let due = |now: &u64| {
            let epoch = now / LENGTH;
            schedule.is_due(epoch, (epoch * LENGTH, LENGTH), *now, &chance)
        };
        (from..10 * LENGTH).filter(due).collect()
    }

    #[test]
    fn one_moment_an_epoch_away_from_its_edges() {
        let first = moments(0, |_| 0);
        let last = moments(0, |below| below - 1);
        assert_eq!((first.len(), last.len()), (10, 10));
        for (epoch, (first, last)) in (0u64..).zip(first.iter().zip(&last)) {
            assert_eq!((first - epoch * LENGTH, last - epoch * LENGTH), (360, 3_239));
        }
        // Who starts late in an epoch says it in what is left, or in the next one.
        assert_eq!(moments(3_000, |below| below - 1)[0], 3_239);
        assert_eq!(moments(3_300, |_| 0)[0], LENGTH + 360);
    }

    #[test]
    fn a_clock_that_goes_back_says_nothing_twice() {
        let mut schedule = Schedule::default();
        let mut due = |now: u64| schedule.is_due(now / LENGTH, (now / LENGTH * LENGTH, LENGTH), now, |_| 0);
        assert!(due(5_000) && !due(5_001));
        assert!(!due(1_000) && !due(2_000), "an epoch before");
        assert!(!due(6_000));
        assert!(due(9_000));
    }

    #[test]
    fn load_is_that_of_a_whole_epoch() {
        assert_eq!(load_at_the_beginning(), None);
        let mut load = MeanLoad::default();
        let mut tell = |epoch: u64, seen: &[Option<u16>]| {
            seen.iter().for_each(|seen| load.note(epoch, *seen));
            load.of_last_epoch(epoch)
        };
        assert_eq!(tell(7, &[Some(1_000)]), None);
        assert_eq!(tell(8, &[Some(100), None, Some(300)]), None, "the first one was not watched from its beginning");
        assert_eq!(tell(9, &[Some(900)]), Some(200));
        assert_eq!(tell(10, &[None]), Some(900));
        assert_eq!(tell(11, &[Some(1)]), None, "nothing was known");
        assert_eq!(tell(15, &[Some(1)]), None, "it slept");
        assert_eq!(tell(16, &[Some(1)]), None);
        assert_eq!(tell(17, &[Some(5_000)]), Some(1));
    }
    /// A network that is in its first epoch has none before it.
    fn load_at_the_beginning() -> Option<u16> {
        let mut load = MeanLoad::default();
        load.note(0, Some(500));
        load.note(1, Some(500));
        load.of_last_epoch(1)
    }
}
