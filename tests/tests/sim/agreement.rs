//! Voters agree on documents over 100 and 1,000 relays: how long it takes, what it costs, how old documents get.

use zmesh_tests::agreement::{Conditions, Faults, World};

/// Relays come and go by a tenth an hour, a hop loses two messages of a hundred, clocks are half a minute apart.
fn usual(voters: usize, followers: usize, relays: usize) -> Conditions {
    Conditions { voters, followers, relays, lost: 20, churn: 100, skew: 15_000 }
}

#[test]
fn a_hundred_relays() {
    let report = World::new(usual(7, 13, 100), Faults::default(), 1).run(5);
    println!("{report}");
    assert_eq!(report.epochs, 5);
    assert_eq!(report.oldest, 3_600, "no epoch is left out");
}

#[test]
fn a_thousand_relays_and_a_third_of_the_voters_less_one_faulty() {
    let mut world = World::new(usual(13, 7, 1_000), Faults { silent: 2, lying: 2 }, 2);
    let report = world.run(3);
    println!("{report}");
    assert_eq!(report.epochs, 3);
    for document in world.documents() {
        assert!(document.relays().len() > 950, "{} relays", document.relays().len());
        assert!(
            document.relays().iter().all(|entry| entry.measure.capacity < 25_000 && entry.descriptor != [0xee; 32])
        );
    }
}

#[test]
fn many_voters() {
    let report = World::new(usual(31, 9, 100), Faults { silent: 5, lying: 5 }, 3).run(3);
    println!("{report}");
    assert_eq!(report.epochs, 3);
}
