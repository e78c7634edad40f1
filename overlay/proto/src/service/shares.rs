//! A table that is full lets the link go short that has left most in it, its oldest entry first.

use std::collections::{BTreeMap, BTreeSet};

use super::key::BlindedKey;

#[derive(Debug)]
struct Entry<V> {
    value: V,
    link: u64,
    number: u64,
}

/// See the head of this module.
#[derive(Debug)]
pub(super) struct Shares<V> {
    entries: BTreeMap<BlindedKey, Entry<V>>,
    /// What each link has left here, the oldest first.
    by_link: BTreeMap<u64, BTreeSet<(u64, BlindedKey)>>,
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

    /// Puts a value in the place of the one that this key had. What another key had goes where there is no room.
    pub(super) fn insert(&mut self, key: BlindedKey, link: u64, value: V) {
        self.remove(&key);
        while self.entries.len() >= self.most {
            let Some(victim) = self.victim() else { break };
            self.remove(&victim);
        }
        self.next += 1;
        self.by_link.entry(link).or_default().insert((self.next, key));
        self.entries.insert(key, Entry { value, link, number: self.next });
    }

    pub(super) fn remove(&mut self, key: &BlindedKey) {
        let Some(entry) = self.entries.remove(key) else { return };
        if let Some(left) = self.by_link.get_mut(&entry.link) {
            left.remove(&(entry.number, *key));
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

    fn victim(&self) -> Option<BlindedKey> {
        let busiest = self.by_link.values().max_by_key(|left| left.len())?;
        busiest.first().map(|(_, key)| *key)
    }
}
