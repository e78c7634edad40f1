//! A slab with generations: an old key never finds a newer entry.

/// Entries under `u64` keys (index in the low half, generation in the high half).
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(crate) fn insert(&mut self, entry: T) -> u64 {
        self.len += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.entry = Some(entry);
            return key(index, slot.generation);
        }
        let index = u32::try_from(self.slots.len()).expect("the number of circuits is bounded far below 2^32");
        self.slots.push(Slot { generation: 1, entry: Some(entry) });
        key(index, 1)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        let slot = self.slots.get(index(key))?;
        if slot.generation == generation(key) { slot.entry.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(index(key))?;
        if slot.generation == generation(key) { slot.entry.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let slot = self.slots.get_mut(index(key))?;
        if slot.generation != generation(key) {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.len -= 1;
        self.free.push(u32::try_from(index(key)).expect("an index of this slab fits 32 bits"));
        Some(entry)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// At most `most` keys, from about the `start`th on.
    pub(crate) fn some_keys(&self, start: usize, most: usize) -> impl Iterator<Item = u64> {
        let count = self.slots.len();
        (0..count.min(most)).filter_map(move |n| {
            let index = (start % count + n) % count;
            let slot = &self.slots[index];
            slot.entry.as_ref()?;
            Some(key(u32::try_from(index).ok()?, slot.generation))
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let index = u32::try_from(index).ok()?;
            Some((key(index, slot.generation), slot.entry.as_ref()?))
        })
    }
}

fn key(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn index(key: u64) -> usize {
    let [_, _, _, _, a, b, c, d] = key.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) as usize
}

fn generation(key: u64) -> u32 {
    (key >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_never_finds_a_newer_entry() {
        let mut slab = Slab::new();
        let a = slab.insert("a");
        let b = slab.insert("b");
        assert_eq!(slab.remove(a), Some("a"));
        let c = slab.insert("c");
        assert_ne!(a, c);
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.get(c), Some(&"c"));
        assert_eq!(slab.get_mut(b), Some(&mut "b"));
        assert_eq!(slab.len(), 2);
        assert_eq!(slab.iter().map(|(key, _)| key).collect::<Vec<_>>(), [c, b]);
        assert_eq!(slab.get(u64::MAX), None);
    }
}
