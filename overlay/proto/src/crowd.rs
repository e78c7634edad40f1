//! Places of which there are not enough for all, shared out by the links over which those who take them came.
//!
//! A relay tells those who come by circuits apart by links alone, and a link costs a stranger nothing. So places have
//! two shares, one for links of relays and one for links of strangers: each may use what the other leaves, and has to
//! give it back. When all places are taken, whichever class has more than its share pays, and of that class the link
//! that has most. A crowd that comes by few links displaces itself; one that comes by all links takes from all, and
//! nothing that a relay sees tells it from others.
//!
//! Everything costs a few steps of a search tree, however many links there are.

use std::collections::{BTreeMap, BTreeSet};

/// Who is behind a link. A link costs a stranger nothing, so limits and turns tell the two apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A relay: its proven link key stands beside the identity that it claims in the network document.
    Known,
    /// Anybody else.
    #[default]
    Stranger,
}

impl Class {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Known => Self::Stranger,
            Self::Stranger => Self::Known,
        }
    }
}

/// One thing for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerClass<T> {
    pub(crate) known: T,
    pub(crate) stranger: T,
}

impl<T> PerClass<T> {
    pub(crate) const fn of(&self, class: Class) -> &T {
        match class {
            Class::Known => &self.known,
            Class::Stranger => &self.stranger,
        }
    }

    pub(crate) const fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Known => &mut self.known,
            Class::Stranger => &mut self.stranger,
        }
    }
}

/// A link, and who was behind it when something came over it: what a relay's bounds count by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Via {
    /// Who is behind it.
    pub class: Class,
    /// Its number.
    pub link: u64,
}

/// How many places each link has. See the head of this module.
#[derive(Debug)]
pub struct Crowd {
    held: BTreeMap<Via, usize>,
    /// The links of each class, the one with most places last.
    order: PerClass<BTreeSet<(usize, u64)>>,
    of_class: PerClass<usize>,
    most: usize,
    of_strangers: usize,
}

impl Crowd {
    /// At most `most` places, at least one, of which `of_strangers` are the share of strangers.
    #[must_use]
    pub fn new(most: usize, of_strangers: usize) -> Self {
        let most = most.max(1);
        Self {
            held: BTreeMap::new(),
            order: PerClass::default(),
            of_class: PerClass::default(),
            most,
            of_strangers: of_strangers.min(most),
        }
    }

    /// How many places are taken.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.of_class.known + self.of_class.stranger
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are free.
    #[must_use]
    pub const fn free(&self) -> usize {
        self.most.saturating_sub(self.len())
    }

    /// How many this link has.
    #[must_use]
    pub fn held(&self, via: Via) -> usize {
        self.held.get(&via).copied().unwrap_or(0)
    }

    /// The other link of which a place has to go when all are taken and one more is wanted over this link; `None` when
    /// that link would itself have most, so that it goes short.
    #[must_use]
    pub fn gives_way(&self, via: Via) -> Option<Via> {
        let strangers = self.of_class.stranger + usize::from(via.class == Class::Stranger);
        let class = if strangers > self.of_strangers { Class::Stranger } else { Class::Known };
        let (most, link) = *self.order.of(class).last()?;
        let busiest = Via { class, link };
        // Within a class a place that goes to and fro between two links helps nobody.
        (class != via.class || most > self.held(via) + 1).then_some(busiest)
    }

    /// A place is taken over this link; whoever calls has made room.
    pub fn enter(&mut self, via: Via) {
        self.change(via, |held| held + 1);
    }

    /// A place of this link is free again.
    pub fn leave(&mut self, via: Via) {
        self.change(via, |held| held.saturating_sub(1));
    }

    fn change(&mut self, via: Via, to: impl FnOnce(usize) -> usize) {
        let before = self.held(via);
        let after = to(before);
        let order = self.order.of_mut(via.class);
        order.remove(&(before, via.link));
        if after == 0 {
            self.held.remove(&via);
        } else {
            order.insert((after, via.link));
            self.held.insert(via, after);
        }
        let of_class = self.of_class.of_mut(via.class);
        *of_class = *of_class - before + after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(link: u64) -> Via {
        Via { class: Class::Known, link }
    }

    fn stranger(link: u64) -> Via {
        Via { class: Class::Stranger, link }
    }

    fn enter(crowd: &mut Crowd, via: Via, times: usize) {
        for _ in 0..times {
            crowd.enter(via);
        }
    }

    #[test]
    fn the_link_that_has_most_gives_way_and_never_to_one_that_would_have_as_much() {
        let mut crowd = Crowd::new(10, 0);
        enter(&mut crowd, known(1), 7);
        enter(&mut crowd, known(2), 3);
        assert_eq!(crowd.free(), 0);
        assert_eq!(crowd.gives_way(known(1)), None, "it has most itself");
        assert_eq!(crowd.gives_way(known(2)), Some(known(1)));
        assert_eq!(crowd.gives_way(known(3)), Some(known(1)));
        for _ in 0..2 {
            crowd.leave(known(1));
            crowd.enter(known(2));
        }
        assert_eq!((crowd.held(known(1)), crowd.held(known(2))), (5, 5));
        assert_eq!(crowd.gives_way(known(2)), None, "they have the same");
        assert_eq!(crowd.gives_way(known(3)), Some(known(2)));
    }

    #[test]
    fn many_links_of_strangers_pay_before_any_relay_does() {
        let mut crowd = Crowd::new(100, 25);
        enter(&mut crowd, known(1), 60);
        for link in 0..40 {
            crowd.enter(stranger(link));
        }
        assert!(matches!(crowd.gives_way(known(1)), Some(Via { class: Class::Stranger, .. })), "they have its share");
        assert_eq!(crowd.gives_way(stranger(99)), None, "each of them has one");
        for link in 0..15 {
            crowd.leave(stranger(link));
            crowd.enter(known(1));
        }
        assert_eq!(crowd.gives_way(known(1)), None, "each class has its own");
        assert_eq!(crowd.gives_way(known(2)), Some(known(1)));
        crowd.leave(stranger(20));
        crowd.enter(known(1));
        assert_eq!(crowd.gives_way(stranger(99)), Some(known(1)), "a stranger gets its share back");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// However links come and go: counts are right, and what gives way has the most of its class.
        #[test]
        fn counts_hold(steps in proptest::collection::vec((0u64..5, any::<bool>(), any::<bool>()), 0..300)) {
            let mut crowd = Crowd::new(12, 4);
            let mut model = BTreeMap::<Via, usize>::new();
            for (link, strange, comes) in steps {
                let via = if strange { stranger(link) } else { known(link) };
                if comes {
                    if crowd.free() == 0 {
                        let Some(gone) = crowd.gives_way(via) else { continue };
                        let held = model[&gone];
                        prop_assert!(model.iter().all(|(of, count)| of.class != gone.class || *count <= held));
                        crowd.leave(gone);
                        *model.get_mut(&gone).unwrap() -= 1;
                    }
                    crowd.enter(via);
                    *model.entry(via).or_default() += 1;
                } else if crowd.held(via) > 0 {
                    crowd.leave(via);
                    *model.get_mut(&via).unwrap() -= 1;
                }
                prop_assert_eq!(crowd.len(), model.values().sum::<usize>());
                prop_assert!(crowd.len() <= 12);
                prop_assert!(model.iter().all(|(via, count)| crowd.held(*via) == *count));
                model.retain(|_, count| *count > 0);
            }
        }
    }
}
