//! A table that is full lets the link go short that has left most in it, the entry first that stands worst there.
//!
//! Where an entry stands follows from what it is (the score of this relay for its name), so who wants to drive others out needs names that stand
//! better, and has to look for them.

use std::collections::{BTreeMap, BTreeSet};

use super::key::BlindedKey;

#[derive(Debug)]
struct Entry<V> {
    value: V,
    link: u64,
    standing: u64,
    number: u64,
}

/// See the head of this module.
#[derive(Debug)]
pub(super) struct Shares<V> {
    entries: BTreeMap<BlindedKey, Entry<V>>,
    /// What each link has left here: what stands worst first, and of what stands the same the oldest.
    by_link: BTreeMap<u64, BTreeSet<(u64, u64, BlindedKey)>>,
    next: u64,
    most: usize,
}

impl<V> Shares<V> {
    /// Keeps at most `most` entries, at least one.
    pub(super) fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), by_link: BTreeMap::new(), next: 0, most: most.max(1) }
    }

    pub(super) fn get(&self, key: &BlindedKey) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Whether there is room for this key, over a link that would leave it here.
    pub(super) fn has_room(&self, key: &BlindedKey, link: u64, standing: u64) -> bool {
        self.entries.len() < self.most || self.entries.contains_key(key) || self.victim(link, standing).is_some()
    }

    /// Puts a value in the place of the one that this key had. What another key had goes where there is no room; false if this one would be it.
    pub(super) fn insert(&mut self, key: BlindedKey, link: u64, standing: u64, value: V) -> bool {
        self.remove(&key);
        while self.entries.len() >= self.most {
            let Some(victim) = self.victim(link, standing) else { return false };
            self.remove(&victim);
        }
        self.next += 1;
        self.by_link.entry(link).or_default().insert((standing, self.next, key));
        self.entries.insert(key, Entry { value, link, standing, number: self.next });
        true
    }

    pub(super) fn remove(&mut self, key: &BlindedKey) {
        let Some(entry) = self.entries.remove(key) else { return };
        if let Some(left) = self.by_link.get_mut(&entry.link) {
            left.remove(&(entry.standing, entry.number, *key));
            if left.is_empty() {
                self.by_link.remove(&entry.link);
            }
        }
    }

    /// Lets those go that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        let over: Vec<BlindedKey> =
            self.entries.iter().filter(|(_, entry)| !keep(&entry.value)).map(|(key, _)| *key).collect();
        for key in over {
            self.remove(&key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What goes for another entry of this link: the one that stands worst of those of the links that would have most. `None` if it is that other one.
    fn victim(&self, link: u64, standing: u64) -> Option<BlindedKey> {
        let own = self.by_link.get(&link).map_or(0, BTreeSet::len) + 1;
        let would_have = |of: u64, left: &BTreeSet<_>| left.len() + usize::from(of == link);
        let most = self.by_link.iter().map(|(of, left)| would_have(*of, left)).fold(own, usize::max);
        let busiest = self.by_link.iter().filter(|(of, left)| would_have(**of, left) == most);
        let (worst, _, key) = busiest.filter_map(|(_, left)| left.first()).min()?;
        (own < most || *worst <= standing).then_some(*key)
    }
}
