//! Turns at something of which there is not enough for all: the links take them one after the other, however many wait over one of them.
//!
//! A relay tells those who come by circuits apart by links alone. So a crowd that comes by few links waits for itself, and who comes by
//! another one is next. A crowd that comes by all links takes everybody's turns in part; nothing that a relay sees tells it from clients.

use std::collections::{BTreeMap, VecDeque};

/// Those who wait. See the head of this module.
#[derive(Debug)]
pub struct Turns<T> {
    waiting: BTreeMap<u64, VecDeque<T>>,
    /// The links of those who wait, the one whose turn it is first.
    order: VecDeque<u64>,
    len: usize,
    most: usize,
}

impl<T> Turns<T> {
    /// At most `most` wait, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { waiting: BTreeMap::new(), order: VecDeque::new(), len: 0, most: most.max(1) }
    }

    /// Puts one behind those of its link. Where there is no room, the link over which most wait lets its latest one go, which is given back.
    ///
    /// # Errors
    /// The item itself: no other link has more than this one would have with it.
    pub fn push(&mut self, link: u64, item: T) -> Result<Option<T>, T> {
        let here = self.waiting.get(&link).map_or(0, VecDeque::len);
        let mut displaced = None;
        if self.len >= self.most {
            let busiest =
                self.waiting.iter().max_by_key(|(_, line)| line.len()).map(|(link, line)| (*link, line.len()));
            match busiest {
                Some((busiest, most)) if most > here + 1 => {
                    displaced = self.waiting.get_mut(&busiest).and_then(VecDeque::pop_back);
                    self.len -= usize::from(displaced.is_some());
                }
                _ => return Err(item),
            }
        }
        if here == 0 {
            self.order.push_back(link);
        }
        self.waiting.entry(link).or_default().push_back(item);
        self.len += 1;
        Ok(displaced)
    }

    /// The one whose turn it is, if it may go.
    pub fn pop_if(&mut self, may: impl FnOnce(&T) -> bool) -> Option<T> {
        let link = *self.order.front()?;
        let line = self.waiting.get_mut(&link)?;
        if !may(line.front()?) {
            return None;
        }
        let item = line.pop_front();
        self.len -= 1;
        self.order.pop_front();
        if line.is_empty() {
            self.waiting.remove(&link);
        } else {
            self.order.push_back(link);
        }
        item
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_crowd_over_one_link_waits_for_itself() {
        let mut turns = Turns::new(10);
        for number in 0..10 {
            assert_eq!(turns.push(1, number), Ok(None));
        }
        assert_eq!(turns.push(1, 10), Err(10), "it has most already");
        assert_eq!(turns.push(2, 100), Ok(Some(9)), "another link has room");
        assert_eq!(turns.push(2, 101), Ok(Some(8)));
        let order: Vec<_> = std::iter::from_fn(|| turns.pop_if(|_| true)).collect();
        assert_eq!(order, [0, 100, 1, 101, 2, 3, 4, 5, 6, 7], "one after the other");
        assert!(turns.is_empty());
    }

    #[test]
    fn who_waits_alone_over_its_link_is_never_displaced() {
        let mut turns = Turns::new(3);
        for link in 0..3 {
            assert_eq!(turns.push(link, link), Ok(None));
        }
        assert_eq!(turns.push(9, 9), Err(9));
        assert_eq!(turns.pop_if(|_| false), None, "it stays until it may go");
        assert_eq!((turns.pop_if(|_| true), turns.len()), (Some(0), 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_lost_and_the_bound_holds(steps in proptest::collection::vec((0u64..5, any::<bool>()), 0..200)) {
            let mut turns = Turns::new(7);
            let mut inside = std::collections::BTreeSet::new();
            for (number, (link, push)) in steps.into_iter().enumerate() {
                if push {
                    match turns.push(link, number) {
                        Ok(displaced) => {
                            inside.insert(number);
                            prop_assert!(displaced.is_none_or(|gone| inside.remove(&gone)));
                        }
                        Err(back) => prop_assert_eq!(back, number),
                    }
                } else {
                    let popped = turns.pop_if(|_| true);
                    prop_assert_eq!(popped.is_none(), inside.is_empty());
                    prop_assert!(popped.is_none_or(|gone| inside.remove(&gone)));
                }
                prop_assert!(turns.len() == inside.len() && turns.len() <= 7);
            }
        }
    }
}
