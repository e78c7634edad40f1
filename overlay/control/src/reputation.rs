//! A peer's standing: points that offences take and service gives, that fade with time, and bans that grow.
//!
//! Pure: the time, in unix seconds, is an argument.

/// Points at which a connection is ended; the peer may come again.
pub(crate) const CUT_AT: f32 = -30.0;
/// Points at which a peer is banned.
pub(crate) const BAN_AT: f32 = -60.0;

const MOST: f32 = 50.0;
const LEAST: f32 = -100.0;
/// Half of the points are gone after this many seconds.
const HALF_LIFE: f32 = 3_600.0;
/// The first ban, and the longest; each is twice the one before.
const BAN_FIRST: u64 = 600;
const BAN_LONGEST: u64 = 86_400;
/// After so long without a ban, in seconds, one earlier ban is forgiven.
const FORGIVE: u64 = 7 * 86_400;

/// What a peer did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// Brought a message first that was worth forwarding.
    Served,
    /// Answered a question well, or was there when it was dialled.
    Helped,
    /// Brought a message that no honest node forwards.
    Invalid,
    /// Sent more than its share.
    Flood,
    /// Broke a protocol, or did not greet.
    Rude,
    /// Greeted with a claim that is false.
    Lied,
}

impl Deed {
    fn points(self) -> f32 {
        match self {
            Deed::Served => 0.05,
            Deed::Helped => 1.0,
            Deed::Invalid => -20.0,
            Deed::Flood => -35.0,
            Deed::Rude => -10.0,
            Deed::Lied => -60.0,
        }
    }
}

/// What follows from a deed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Consequence {
    Nothing,
    /// End the connection.
    Cut,
    /// Have nothing to do with the peer until then, in unix seconds.
    Ban(u64),
}

/// A peer's standing.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct Reputation {
    pub(crate) points: f32,
    /// When the points were counted, unix seconds.
    pub(crate) at: u64,
    /// Bans so far.
    pub(crate) bans: u32,
    /// The end of the last ban, unix seconds.
    pub(crate) banned_until: u64,
}

impl Reputation {
    /// Notes a deed.
    pub(crate) fn note(&mut self, deed: Deed, now: u64) -> Consequence {
        if self.is_banned(now) {
            // What it had sent before it was cut off still comes, and is paid for already.
            return Consequence::Nothing;
        }
        self.fade(now);
        self.points = (self.points + deed.points()).clamp(LEAST, MOST);
        if deed.points() > 0.0 || self.points > CUT_AT {
            return Consequence::Nothing;
        }
        if self.points > BAN_AT {
            return Consequence::Cut;
        }
        let window = (BAN_FIRST << self.bans.min(16)).min(BAN_LONGEST);
        self.bans = self.bans.saturating_add(1);
        self.banned_until = now.saturating_add(window);
        // Who comes back starts low, not at the edge of the next ban.
        self.points = CUT_AT + 5.0;
        Consequence::Ban(self.banned_until)
    }

    /// The points now.
    pub(crate) fn points(&self, now: u64) -> f32 {
        let past = now.saturating_sub(self.at);
        #[allow(clippy::cast_precision_loss, reason = "a time in seconds needs no more precision")]
        let faded = self.points * (-(past as f32) / HALF_LIFE).exp2();
        faded
    }

    /// Whether a ban is on.
    pub(crate) fn is_banned(&self, now: u64) -> bool {
        now < self.banned_until
    }

    /// Whether nothing of it has to be kept.
    pub(crate) fn is_blank(&self, now: u64) -> bool {
        self.bans == 0 && self.points(now).abs() < 1.0
    }

    fn fade(&mut self, now: u64) {
        self.points = self.points(now);
        self.at = self.at.max(now);
        while self.bans > 0 && now.saturating_sub(self.banned_until) > FORGIVE {
            self.bans -= 1;
            self.banned_until = self.banned_until.saturating_add(FORGIVE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000;

    fn ban(reputation: &mut Reputation, now: u64) -> u64 {
        for _ in 0..10 {
            if let Consequence::Ban(until) = reputation.note(Deed::Invalid, now) {
                return until - now;
            }
        }
        panic!("ten invalid messages are worth a ban");
    }

    #[test]
    fn lies_are_cut_then_banned() {
        let mut reputation = Reputation::default();
        assert_eq!(reputation.note(Deed::Invalid, NOW), Consequence::Nothing, "one may be a mistake");
        assert_eq!(reputation.note(Deed::Invalid, NOW), Consequence::Cut);
        assert_eq!(reputation.note(Deed::Invalid, NOW), Consequence::Ban(NOW + 600));
        assert!(reputation.is_banned(NOW + 599) && !reputation.is_banned(NOW + 600));
        assert_eq!(Reputation::default().note(Deed::Lied, NOW), Consequence::Ban(NOW + 600));
    }

    #[test]
    fn bans_grow_to_a_day_and_are_forgiven_slowly() {
        let mut reputation = Reputation::default();
        let mut now = NOW;
        let mut windows = Vec::new();
        for _ in 0..10 {
            let window = ban(&mut reputation, now);
            windows.push(window);
            now += window;
        }
        assert_eq!(windows, [600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 76_800, 86_400, 86_400]);
        now += 9 * FORGIVE + 10;
        assert_eq!(ban(&mut reputation, now), 1_200, "nine weeks forgive nine bans");
    }

    #[test]
    fn what_was_on_its_way_at_a_ban_costs_nothing_more() {
        let mut reputation = Reputation::default();
        let window = ban(&mut reputation, NOW);
        let before = reputation;
        assert_eq!(reputation.note(Deed::Flood, NOW + window - 1), Consequence::Nothing);
        assert_eq!(reputation, before);
        assert_ne!(reputation.note(Deed::Flood, NOW + window), Consequence::Nothing);
    }

    #[test]
    fn points_fade() {
        let mut reputation = Reputation::default();
        reputation.note(Deed::Invalid, NOW);
        assert!((reputation.points(NOW + 3_600) + 10.0).abs() < 0.01);
        assert!(reputation.is_blank(NOW + 6 * 3_600));
        assert_eq!(reputation.note(Deed::Rude, NOW + 6 * 3_600), Consequence::Nothing, "old mistakes weigh nothing");
    }

    #[test]
    fn service_does_not_pay_for_lies() {
        let mut reputation = Reputation::default();
        for _ in 0..100_000 {
            reputation.note(Deed::Served, NOW);
        }
        let mut lies = 0;
        while reputation.note(Deed::Invalid, NOW) == Consequence::Nothing {
            lies += 1;
        }
        assert!(lies <= 3, "{lies}");
    }

    proptest! {
        #[test]
        fn no_history_breaks_the_bounds(deeds in proptest::collection::vec((0_u8..6, 0_u64..100_000), 0..200)) {
            let all = [Deed::Served, Deed::Helped, Deed::Invalid, Deed::Flood, Deed::Rude, Deed::Lied];
            let (mut reputation, mut now) = (Reputation::default(), NOW);
            for (deed, wait) in deeds {
                now += wait;
                if let Consequence::Ban(until) = reputation.note(all[usize::from(deed)], now) {
                    prop_assert!(until > now && until <= now + BAN_LONGEST);
                }
                prop_assert!(reputation.points >= LEAST && reputation.points <= MOST);
                prop_assert!(reputation.points.is_finite());
            }
        }
    }
}
