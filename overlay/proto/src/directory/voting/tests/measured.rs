//! By how much voters who lie, voters behind slow lines and relays that recognise a measurement move what documents say.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{genesis, relay};
use crate::directory::measuring::{CAPACITY_MAX, speed};
use crate::directory::voting::count;
use crate::directory::{Chain, Measure};
use crate::wire::control::RelayFlags;
use crate::wire::control::vote::{Ballot, Sighting};

/// Bytes of a load.
const LOAD: u64 = 4 << 20;

/// The capacity in the document when so many vote and these hand in ballots with these figures; 0 is none.
fn agreed(voters: usize, figures: &[u32]) -> u32 {
    let genesis = genesis(voters as u64);
    let head = Chain::from_genesis(genesis.clone()).head().clone();
    let ballot = |capacity: &u32| {
        let measure = Measure { capacity: *capacity, place: None };
        let (id, flags) = (relay(1), RelayFlags::default());
        Ballot {
            sightings: vec![Sighting { id, descriptor: [1; 32], uptime: 990, measure, flags }],
            ..Ballot::default()
        }
    };
    let ballots: Vec<Ballot> = figures.iter().map(ballot).collect();
    let placed: Vec<(u8, &Ballot)> = (0..).zip(&ballots).collect();
    count(&genesis, &head, &placed).relays[0].measure.capacity
}

/// What one run over a relay shows that sends `burst` bytes at once and so many kB/s after that.
fn run(burst: u64, kilobytes: f64) -> u32 {
    let course: Vec<(Duration, u64)> = (0..=256)
        .map(|part| {
            let bytes = LOAD * part / 256;
            (Duration::from_secs_f64(bytes.saturating_sub(burst) as f64 / kilobytes / 1_000.0), bytes)
        })
        .collect();
    speed(&course).expect("a speed")
}

const fn tolerated(voters: usize) -> usize {
    (voters - 1) / 3
}

#[test]
fn voters_behind_slow_lines_count_while_they_are_half_of_all() {
    // The figure is the lower median: neither the best nor what most could carry, but what half of the voters found.
    for (voters, slow, found) in [
        (4, 1, 9_000),
        (4, 2, 300),
        (5, 2, 9_000),
        (7, 2, 9_000),
        (7, 3, 9_000),
        (7, 4, 300),
        (10, 5, 300),
        (13, 6, 9_000),
    ] {
        let figures: Vec<u32> = (0..voters).map(|voter| if voter < slow { 300 } else { 9_000 }).collect();
        assert_eq!(agreed(voters, &figures), found, "{slow} of {voters}");
    }
}

#[test]
fn more_liars_than_are_tolerated_say_what_they_like() {
    // With all ballots even f + 1 liars find the middle among honest figures …
    assert_eq!(agreed(4, &[100, 110, u32::MAX, u32::MAX]), 110);
    // … but who proposes chooses ballots, 2f + 1 of them at least.
    assert_eq!(agreed(4, &[100, u32::MAX, u32::MAX]), u32::MAX);
    assert_eq!(agreed(4, &[100, 110, u32::MAX]), 110, "one liar is tolerated");
    assert_eq!(agreed(7, &[100, 110, 120, u32::MAX, u32::MAX]), 120);
    assert_eq!(agreed(7, &[100, 110, u32::MAX, u32::MAX, u32::MAX]), u32::MAX);
}

#[test]
fn who_recognises_a_measurement_shows_its_whole_line_and_no_more() {
    let line = 1_000.0;
    for (used, factor) in [(0.0, 1.0), (0.5, 2.0), (0.8, 5.0), (0.9, 10.0)] {
        let (honest, liar) = (run(0, line * (1.0 - used)), run(0, line));
        // Five of seven measure it; the two others are its friends.
        let of_seven = |found: u32, friends: u32| agreed(7, &[friends, friends, found, found, found, found, found]);
        let gained = f64::from(of_seven(liar, u32::MAX)) / f64::from(of_seven(honest, u32::MAX));
        assert!((gained / factor - 1.0).abs() < 0.03, "{gained} at a load of {used}");
        assert!(f64::from(of_seven(liar, u32::MAX)) <= line * 1.01, "friends among the voters add nothing to it");
    }
    // Several names on one line are measured each at a time of its own: they count so many times what it carries.
    let names: u32 = (0..8).map(|_| agreed(7, &[run(0, line); 7])).sum();
    assert!((7_900..=8_010).contains(&names), "{names}");
}

#[test]
fn what_was_saved_up_counts_once_it_lasts_for_five_of_eight_slices() {
    let sustained = 200.0;
    let found = |eighths: u64| run(LOAD * eighths / 8, sustained);
    for eighths in 0..=4 {
        assert!((199..=201).contains(&found(eighths)), "{eighths}: {}", found(eighths));
    }
    // From there on at most twice the mean counts: 16/3 of what lasts, and 16 with seven of eight. Who sends all of a load
    // at once does have that line, for so long.
    assert!((1_060..=1_070).contains(&found(5)), "{}", found(5));
    assert!((1_590..=1_610).contains(&found(6)), "{}", found(6));
    assert!((3_190..=3_210).contains(&found(7)), "{}", found(7));
}

proptest! {
    /// Whatever f of n voters state, whoever is silent and whoever measured nothing: the figure lies between honest ones. Where all
    /// speak it is the honest voters' at the rank of the middle, at most, and so many ranks lower as there are liars, at least.
    #[test]
    fn liars_move_a_figure_within_what_honest_voters_found(
        voters in 1usize..=22,
        honest in prop::collection::vec(1..=CAPACITY_MAX, 22),
        lies in prop::collection::vec(prop_oneof![Just(1), Just(u32::MAX), any::<u32>()], 8),
        liars in 0usize..8,
        silent in 0usize..22,
        unmeasured in 0usize..22,
    ) {
        let liars = liars.min(tolerated(voters));
        let honest = &honest[..voters - liars];
        let all: Vec<u32> = honest.iter().chain(&lies[..liars]).copied().collect();
        let figure = agreed(voters, &all);
        let mut sorted = honest.to_vec();
        sorted.sort_unstable();
        let middle = (voters - 1) / 2;
        if lies[..liars].iter().all(|lie| *lie > 0) {
            prop_assert!((sorted[middle - liars]..=sorted[middle]).contains(&figure), "{figure} of {sorted:?}");
        }

        // Some say nothing, and some of those who speak have no figure: those of whom it hurts, as who proposes chooses.
        let quorum = voters - tolerated(voters);
        let speaking = (voters - silent.min(voters)).max(quorum) - liars;
        let speaking = speaking.min(honest.len());
        let measured = speaking.saturating_sub(unmeasured);
        let mut heard: Vec<u32> = honest[..speaking].to_vec();
        heard[measured..].fill(0);
        let heard: Vec<u32> = heard.into_iter().chain(lies[..liars].iter().copied()).collect();
        let (least, most) = (honest.iter().min().expect("one"), honest.iter().max().expect("one"));
        let figure = agreed(voters, &heard);
        let figures = heard.iter().filter(|figure| **figure > 0).count();
        prop_assert_eq!(figure > 0, figures > 2 * tolerated(voters));
        prop_assert!(figure == 0 || (*least..=*most).contains(&figure), "{} of {:?}", figure, heard);
    }
}
