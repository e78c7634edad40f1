//! Who has to go when the places for those who call are nearly all taken: somebody of the network that has most of them, so that who
//! comes first with a crowd does not keep all others out.
//!
//! Pure: it is told who is there.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use crate::gate::Network;

/// A peer that called this node.
pub(super) struct Guest<I> {
    pub(super) id: I,
    pub(super) network: Network,
    /// It has greeted.
    pub(super) greeted: bool,
    /// It said that its identity lasts.
    pub(super) lasting: bool,
    pub(super) points: f32,
    pub(super) since: Instant,
}

/// Who goes first: of the network with most guests who has not greeted, then who does not last, then who stands lowest, then who came
/// last. Where no network has two, only those go who do not last or stand below nothing.
pub(super) fn first_to_go<I: Copy>(guests: &[Guest<I>]) -> Option<I> {
    let mut crowds: BTreeMap<Network, usize> = BTreeMap::new();
    for guest in guests {
        *crowds.entry(guest.network).or_default() += 1;
    }
    let most = crowds.values().copied().max()?;
    let may_go = |guest: &&Guest<I>| {
        crowds.get(&guest.network) == Some(&most) && (most > 1 || !guest.lasting || guest.points < 0.0)
    };
    let worse = |a: &&Guest<I>, b: &&Guest<I>| {
        let key = |guest: &Guest<I>| (guest.greeted, guest.lasting);
        key(a).cmp(&key(b)).then(a.points.total_cmp(&b.points)).then(Reverse(a.since).cmp(&Reverse(b.since)))
    };
    guests.iter().filter(may_go).min_by(worse).map(|guest| guest.id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gate::network;

    fn guest(id: u32, ip: &str, lasting: bool, points: f32) -> Guest<u32> {
        let (since, network) =
            (Instant::now() + Duration::from_secs(u64::from(id)), network(ip.parse().expect("an IP")));
        Guest { id, network, greeted: true, lasting, points, since }
    }

    #[test]
    fn the_largest_crowd_makes_room() {
        let mut guests = vec![guest(0, "9.9.9.1", false, -20.0), guest(1, "8.8.8.8", true, 0.0)];
        assert_eq!(first_to_go(&guests), Some(0), "nobody is a crowd, and one is a visitor");
        for (n, points) in [(10, 5.0), (11, 0.0), (12, -5.0)] {
            guests.push(guest(n, &format!("2606:4700:0:{n}::1"), true, points));
        }
        assert_eq!(first_to_go(&guests), Some(12), "the lowest of one /48");
        guests.push(guest(20, "2606:4700:0:9::1", false, 50.0));
        assert_eq!(first_to_go(&guests), Some(20), "a visitor before those who last");
        guests.push(Guest { greeted: false, ..guest(21, "2606:4700:0:9::2", true, 50.0) });
        assert_eq!(first_to_go(&guests), Some(21), "the silent before all");
    }

    #[test]
    fn of_equals_the_last_goes_and_good_neighbours_stay() {
        let mut guests = vec![guest(0, "9.9.9.1", true, 0.0), guest(1, "8.8.8.8", true, 0.0)];
        assert_eq!(first_to_go(&guests), None);
        guests.extend([guest(2, "7.7.7.1", true, 0.0), guest(3, "7.7.7.2", true, 0.0)]);
        assert_eq!(first_to_go(&guests), Some(3));
        assert_eq!(first_to_go::<u32>(&[]), None);
    }
}
