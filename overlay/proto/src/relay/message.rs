//! Messages of a circuit socket, cut into one to three cells and put together again.
//!
//! The payload of a MSG cell is `message id (u16) ‖ index (4 bits) ‖ count (4 bits) ‖ part`. Every part but the last is
//! exactly [`PART_MAX`] bytes long, so a part's place is known from its index alone and the pieces of a message may
//! come in any order. Nothing is asked for again: a message with a lost part is dropped when newer ones need its place.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zmesh_sphinx::PAYLOAD_MAX;

/// Bytes before a part: message id, index and count.
pub const PART_HEADER: usize = 3;
/// The most bytes of a message that one cell carries.
pub const PART_MAX: usize = PAYLOAD_MAX - PART_HEADER;
/// The most cells of one message.
pub const PARTS_MAX: usize = 3;
/// The longest message.
pub const MESSAGE_MAX: usize = PARTS_MAX * PART_MAX;
/// A circuit keeps at most this many unfinished messages.
pub const PARTIAL_MAX: usize = 64;
/// So many finished messages of several parts are remembered, to ignore late duplicates.
const DONE_MAX: usize = 32;
/// An unfinished message whose id is further away from a new one's is given up.
const NEAR: u16 = 8192;
/// Messages that stay unfinished for one to two of these are given up.
const AGE: Duration = Duration::from_secs(10);

/// The parts of `message`, with their headers: calls `each` with the payload of every cell in order.
///
/// Returns false, without calling, when the message is empty or longer than [`MESSAGE_MAX`].
pub fn split<E>(message: &[u8], id: u16, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<bool, E> {
    if message.is_empty() || message.len() > MESSAGE_MAX {
        return Ok(false);
    }
    let mut payload = [0; PAYLOAD_MAX];
    payload[..2].copy_from_slice(&id.to_be_bytes());
    let count = message.len().div_ceil(PART_MAX);
    for (index, part) in message.chunks(PART_MAX).enumerate() {
        payload[2] = u8::try_from(index << 4 | count).expect("index and count are below 16");
        payload[PART_HEADER..PART_HEADER + part.len()].copy_from_slice(part);
        each(&payload[..PART_HEADER + part.len()])?;
    }
    Ok(true)
}

/// What became of one part.
#[derive(Debug, PartialEq, Eq)]
pub enum Assembled {
    /// The message with this id is whole.
    Message(u16, Vec<u8>),
    /// More parts are needed.
    Partial,
    /// A part that was there already.
    Duplicate,
    /// The header or the length is wrong, or it contradicts an earlier part.
    Malformed,
}

#[derive(Debug)]
struct Partial {
    id: u16,
    /// Whether it was there at the last [`Assembly::age`].
    old: bool,
    count: u8,
    have: u8,
    bytes: Vec<u8>,
}

/// Unfinished messages of one circuit and direction.
#[derive(Debug, Default)]
pub struct Assembly {
    partial: VecDeque<Partial>,
    done: VecDeque<u16>,
    aged: Option<Instant>,
    evicted: u64,
}

impl Assembly {
    /// Takes the payload of one MSG cell. Without `room` for another unfinished message, the oldest of this circuit
    /// makes it.
    pub fn accept(&mut self, payload: &[u8], room: bool) -> Assembled {
        let Some((id, index, count, part)) = parse(payload) else {
            return Assembled::Malformed;
        };
        if count == 1 {
            return Assembled::Message(id, part.to_vec());
        }
        if self.done.contains(&id) {
            return Assembled::Duplicate;
        }
        let at = match self.partial.iter().position(|partial| partial.id == id) {
            Some(at) => at,
            None => self.begin(id, count, room),
        };
        let partial = &mut self.partial[at];
        if partial.count != count {
            return Assembled::Malformed;
        }
        let bit = 1 << index;
        if partial.have & bit != 0 {
            return Assembled::Duplicate;
        }
        partial.have |= bit;
        let begin = usize::from(index) * PART_MAX;
        let end = begin + part.len();
        if partial.bytes.len() < end {
            partial.bytes.resize(end, 0);
        }
        partial.bytes[begin..end].copy_from_slice(part);
        if partial.have.count_ones() < u32::from(count) {
            return Assembled::Partial;
        }
        let whole = self.partial.remove(at).map(|partial| partial.bytes).unwrap_or_default();
        if self.done.len() == DONE_MAX {
            self.done.pop_front();
        }
        self.done.push_back(id);
        Assembled::Message(id, whole)
    }

    /// How many messages were given up, since the last call, because newer ones needed their place.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// How many messages are unfinished.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.partial.len()
    }

    /// Gives up messages that have been unfinished for 10 to 20 s. Call it now and then.
    pub fn age(&mut self, now: Instant) {
        if self.aged.is_some_and(|at| now.saturating_duration_since(at) < AGE) {
            return;
        }
        self.aged = Some(now);
        let before = self.partial.len();
        self.partial.retain_mut(|partial| !std::mem::replace(&mut partial.old, true));
        self.evicted += (before - self.partial.len()) as u64;
        if self.partial.is_empty() {
            self.partial = VecDeque::new();
        }
    }

    fn begin(&mut self, id: u16, count: u8, room: bool) -> usize {
        // A fast sender's ids come again before old pieces have aged: what is far away is of another round.
        let near = |other: u16| id.wrapping_sub(other).min(other.wrapping_sub(id)) <= NEAR;
        let before = self.partial.len();
        self.partial.retain(|partial| near(partial.id));
        self.evicted += (before - self.partial.len()) as u64;
        if (self.partial.len() == PARTIAL_MAX || !room) && self.partial.pop_front().is_some() {
            self.evicted += 1;
        }
        self.partial.push_back(Partial {
            id,
            old: false,
            count,
            have: 0,
            bytes: Vec::with_capacity(usize::from(count) * PART_MAX),
        });
        self.partial.len() - 1
    }
}

/// Message id, index, count and part, if the header and the length are sound.
fn parse(payload: &[u8]) -> Option<(u16, u8, u8, &[u8])> {
    let (header, part) = payload.split_at_checked(PART_HEADER)?;
    let id = u16::from_be_bytes([header[0], header[1]]);
    let (index, count) = (header[2] >> 4, header[2] & 15);
    let last = index + 1 == count;
    let sound = index < count
        && usize::from(count) <= PARTS_MAX
        && !part.is_empty()
        && part.len() <= PART_MAX
        && (last || part.len() == PART_MAX);
    sound.then_some((id, index, count, part))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::timer::any_instant;

    fn parts(message: &[u8], id: u16) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let sent = split::<Infallible>(message, id, |payload| {
            out.push(payload.to_vec());
            Ok(())
        });
        assert_eq!(sent, Ok(true));
        out
    }

    #[test]
    fn empty_and_oversized_messages_are_refused() {
        for len in [0, MESSAGE_MAX + 1] {
            assert_eq!(split::<Infallible>(&vec![1; len], 0, |_| panic!("no part")), Ok(false));
        }
        assert_eq!(parts(&[7; MESSAGE_MAX], 1).len(), PARTS_MAX);
    }

    #[test]
    fn unsound_headers_are_refused() {
        let mut assembly = Assembly::default();
        let long = [0; PART_MAX + PART_HEADER + 1];
        let short_middle = [0, 1, 0x02, 9];
        for bad in [
            &[][..],
            &[0, 0],
            &[0, 0, 0x01],
            &[0, 0, 0x10, 1],
            &[0, 0, 0x00, 1],
            &[0, 0, 0x04, 1],
            &short_middle,
            &long,
        ] {
            assert_eq!(assembly.accept(bad, true), Assembled::Malformed, "{bad:?}");
        }
        assert_eq!(assembly.unfinished(), 0);
        let whole = parts(&[5; 1200], 9);
        assert_eq!(assembly.accept(&whole[0], true), Assembled::Partial);
        let mut other_count = parts(&[5; 700], 9);
        assert_eq!(assembly.accept(&other_count.remove(1), true), Assembled::Malformed);
    }

    #[test]
    fn unfinished_messages_are_bounded_and_the_oldest_goes() {
        let mut assembly = Assembly::default();
        for id in 0..100 {
            assert_eq!(assembly.accept(&parts(&[1; 700], id)[0], true), Assembled::Partial);
        }
        assert_eq!(assembly.unfinished(), PARTIAL_MAX);
        assert_eq!(assembly.take_evicted(), 36);
        assert_eq!(assembly.accept(&parts(&[1; 700], 99)[1], true), Assembled::Message(99, vec![1; 700]));
        assert_eq!(assembly.accept(&parts(&[1; 700], 99)[1], true), Assembled::Duplicate);
    }

    #[test]
    fn unfinished_messages_age_and_make_room() {
        let start = any_instant();
        let mut assembly = Assembly::default();
        assert_eq!(assembly.accept(&parts(&[1; 700], 1)[0], true), Assembled::Partial);
        assembly.age(start);
        assembly.age(start + AGE / 2);
        assert_eq!(assembly.accept(&parts(&[1; 700], 2)[0], true), Assembled::Partial);
        assembly.age(start + AGE);
        assert_eq!((assembly.unfinished(), assembly.take_evicted()), (1, 1));
        assert_eq!(assembly.accept(&parts(&[1; 700], 3)[0], false), Assembled::Partial);
        assert_eq!((assembly.unfinished(), assembly.take_evicted()), (1, 1));
        assert_eq!(assembly.accept(&parts(&[1; 700], 3)[1], false), Assembled::Message(3, vec![1; 700]));
    }

    #[test]
    fn an_id_that_comes_again_begins_anew() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.accept(&parts(&[1; 700], 5)[0], true), Assembled::Partial);
        // The sender goes once around, one message of a part after the other.
        assert_eq!(assembly.accept(&parts(&[2; 700], NEAR + 6)[0], true), Assembled::Partial);
        assert_eq!((assembly.unfinished(), assembly.take_evicted()), (1, 1));
        let again = parts(&[3; 700], 5);
        assert_eq!(assembly.accept(&again[0], true), Assembled::Partial);
        assert_eq!(assembly.accept(&again[1], true), Assembled::Message(5, vec![3; 700]));
    }

    proptest! {
        /// Whatever is lost, repeated or reordered within the bound: every message with all its parts arrives once and
        /// unchanged, and no other.
        #[test]
        fn whole_messages_arrive_once(
            lengths in prop::collection::vec(1..=MESSAGE_MAX, 1..24),
            fates in prop::collection::vec((0..10u8, any::<u32>()), 72),
        ) {
            let messages: Vec<Vec<u8>> =
                lengths.iter().zip(1u8..).map(|(len, fill)| (0..*len).map(|i| fill ^ u8::try_from(i % 251).unwrap()).collect()).collect();
            let mut sent = Vec::new();
            let mut complete = vec![true; messages.len()];
            let mut fates = fates.into_iter();
            for (i, message) in messages.iter().enumerate() {
                let all = parts(message, u16::try_from(i).unwrap());
                for part in &all {
                    let (fate, order) = fates.next().unwrap();
                    if fate == 0 {
                        complete[i] = false;
                        continue;
                    }
                    sent.push((order, i, part.clone()));
                    if fate == 1 && all.len() > 1 {
                        sent.push((order.wrapping_mul(31), i, part.clone()));
                    }
                }
            }
            sent.sort_by_key(|(order, ..)| *order);
            let mut arrived = vec![0; messages.len()];
            let mut assembly = Assembly::default();
            for (_, i, part) in sent {
                if let Assembled::Message(_, message) = assembly.accept(&part, true) {
                    prop_assert_eq!(&message, &messages[i]);
                    arrived[i] += 1;
                }
            }
            for (arrived, complete) in arrived.iter().zip(complete) {
                prop_assert_eq!(*arrived, u32::from(complete));
            }
        }

        #[test]
        fn any_bytes_are_judged_without_panic(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..500), 0..50)) {
            let mut assembly = Assembly::default();
            for payload in payloads {
                assembly.accept(&payload, true);
                prop_assert!(assembly.unfinished() <= PARTIAL_MAX);
            }
        }
    }
}
