//! Which relays were up, as a voter saw it: what its ballots say.
//!
//! Pure: the time, in unix seconds, is an argument.

use std::collections::BTreeMap;

use zmesh_sphinx::RelayId;

/// Checks that count; at the next one, all of them count half.
const CHECKS: u32 = 256;

/// What was seen.
#[derive(Default)]
pub(crate) struct Watch {
    relays: BTreeMap<RelayId, Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    checks: u32,
    up: u32,
    last_up: u64,
}

impl Watch {
    /// A relay was looked for, and was there or not.
    pub(crate) fn note(&mut self, id: RelayId, up: bool, now: u64) {
        let seen = self.relays.entry(id).or_default();
        if seen.checks >= CHECKS {
            seen.checks /= 2;
            seen.up /= 2;
        }
        seen.checks += 1;
        if up {
            seen.up += 1;
            seen.last_up = now;
        }
    }

    /// For how much of the checks the relay was up, in thousandths, if it was up within so many seconds.
    pub(crate) fn uptime(&self, id: &RelayId, within: u64, now: u64) -> Option<u16> {
        let seen = self.relays.get(id).filter(|seen| seen.up > 0 && now.saturating_sub(seen.last_up) <= within)?;
        u16::try_from(u64::from(seen.up) * 1_000 / u64::from(seen.checks)).ok()
    }

    /// Forgets relays that are not among these.
    pub(crate) fn keep(&mut self, known: impl Fn(&RelayId) -> bool) {
        self.relays.retain(|id, _| known(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RelayId = RelayId([7; 16]);

    #[test]
    fn uptime_is_the_share_of_checks() {
        let mut watch = Watch::default();
        assert_eq!(watch.uptime(&ID, 60, 100), None, "never seen");
        watch.note(ID, false, 100);
        assert_eq!(watch.uptime(&ID, 60, 100), None, "never up");
        for now in 101..104 {
            watch.note(ID, true, now);
        }
        assert_eq!(watch.uptime(&ID, 60, 104), Some(750));
        assert_eq!(watch.uptime(&ID, 60, 103 + 61), None, "not up for long");
        watch.keep(|_| false);
        assert_eq!(watch.uptime(&ID, 60, 104), None, "forgotten");
    }

    #[test]
    fn old_checks_fade() {
        let mut watch = Watch::default();
        (0..10_000).for_each(|now| watch.note(ID, false, now));
        (10_000..10_512).for_each(|now| watch.note(ID, true, now));
        assert!(watch.uptime(&ID, 60, 10_512).is_some_and(|uptime| uptime > 800 && uptime <= 1_000));
    }
}
