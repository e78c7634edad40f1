//! Nodes that wake late, and peers whose pay is late.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// An attempt of a node that wakes as often as `wakes` says, in milliseconds, whose peer pays each step, and what it pays is here `lag`
/// later. Gives the guesses of each wake.
fn guess_late(wakes: impl Iterator<Item = u64>, lag: u64) -> Vec<(u64, u32)> {
    let mut end = End::new(Kind::Open, 1, 1);
    let (mut told, _) = end.describe(1, false);
    told.mapping = Mapping::Independent;
    let peer = other(&told, Mapping::Dependent, Vec::new());
    let start = any_instant();
    let mut punch = Punch::new(start, side(&told, &peer, ([192, 0, 2, 1], 53).into(), false));
    let (key, _) = ProbeKey::pair(&peer.secret, &told.secret);
    let pays = Probe { said: Said::Paid, tag: told.tag, transaction: 1, relay: [0; 16] }.seal(&key);
    let mut rng = Generator::new(&[1; 32]);
    let (mut at, mut paid, mut asked, mut out) = (0, 0, 0, Vec::new());
    for wake in wakes {
        at += wake;
        let now = start + Duration::from_millis(at);
        // For its guesses, and the asks of the one address that it knows.
        let due = u32::try_from(at.saturating_sub(700 + lag) / 8).expect("small").min(1_024 + 16);
        for _ in paid..due {
            punch.handle(now, FLOW, &pays);
        }
        paid = paid.max(due);
        let mut guessed = 0;
        punch.poll(now, true, &mut rng, |to, _| {
            asked += u32::from(to != FLOW);
            guessed += u32::from(to != FLOW && to.port() != 53);
        });
        assert!(asked <= FREE + paid, "all is paid");
        out.push((wake, guessed));
    }
    out
}

#[test]
fn guesses_that_are_paid_late_are_owed_and_not_lost() {
    for lag in [0, 100, 400, 800] {
        let guessed: u32 = guess_late((0..1_000).map(|_| 10), lag).iter().map(|(_, guessed)| guessed).sum();
        assert_eq!(guessed, 1_024, "paid {lag} ms late");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However late a node wakes and its peer's pay comes, every step's guess is made, none before it was paid for, and a late wake makes
    /// no more than two for each step that it is late.
    #[test]
    fn a_late_node_makes_all_its_guesses(wakes in prop::collection::vec(1u64..150, 600), lag in 0u64..700) {
        let mut left = 9_999;
        let wakes = wakes.into_iter().map_while(|wake| {
            let wake = wake.min(left);
            left -= wake;
            (wake > 0).then_some(wake)
        });
        let made = guess_late(wakes, lag);
        prop_assert_eq!(made.iter().map(|(_, guessed)| guessed).sum::<u32>(), 1_024);
        for (wake, guessed) in made {
            // One more step may be due for what the wake before left of its own.
            prop_assert!(u64::from(guessed) <= 2 * (wake / 8 + 1), "{guessed} after {wake} ms");
        }
    }
}
