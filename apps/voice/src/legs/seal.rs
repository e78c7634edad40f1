//! The layer that each leg puts around a call's messages, under keys of its own.
//!
//! A message of the call is sealed end to end already. Sent by two legs as it is, it would let the relays of one find the
//! other by comparing bytes. So each leg permutes it, with two bytes of its own before it, by a wide-block cipher (HCTR2)
//! under a key of this leg and this direction. A change of any bit turns all of it to noise, and noise shows: the unused
//! bits of the head, the kind and the upper bytes of the counter must be right, 62 bits in all ("encode, then encipher").
//! What passes is opened end to end by the call itself, as ever.

use crate::call::{MESSAGE_LEN, Message};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;
use zmesh_sphinx::WideBlock;

/// Bytes of what both sides derive the keys of all legs from.
pub const SEED_LEN: usize = 32;
/// Bytes before the call's message.
const HEAD_LEN: usize = 2;
/// Length of every message on a leg that has its keys.
pub const LEG_MESSAGE_LEN: usize = HEAD_LEN + MESSAGE_LEN;
/// The kind of a sealed frame, the only kind that travels under a leg's keys.
const FRAME: u8 = 3;
/// A counter may be so far ahead of the highest one: 22 minutes of messages.
const AHEAD: u64 = 1 << 16;
/// And so far behind.
const BEHIND: u64 = 1 << 10;
/// The tweak: each key has one use.
const TWEAK: [u8; 16] = *b"zmesh call leg 1";

// One message part of a cell holds 482 bytes.
const _: () = assert!(LEG_MESSAGE_LEN <= 482);

/// The seed of a call's legs, made by the answerer. Erased on drop.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; SEED_LEN]>);

impl Seed {
    /// Around bytes from a generator, or from the other side.
    #[must_use]
    pub fn new(bytes: [u8; SEED_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; SEED_LEN] {
        &self.0
    }

    fn key(&self, leg: u8, from_caller: bool) -> WideBlock {
        let mut hash = Sha256::new();
        hash.update(b"zmesh call leg 1");
        hash.update(&self.0[..]);
        hash.update([leg, u8::from(from_caller)]);
        let key = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
        WideBlock::new(&key)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed([redacted])")
    }
}

/// The two bytes before a message: which leg its sender relies on, and how it hears the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    /// The place (0 or 1) of the leg that carries every message of the sender.
    pub(super) active: u8,
    /// Both legs carry every message.
    pub(super) doubled: bool,
    /// For each place: 0 silent, else 1 to 15, from bad to good.
    pub(super) report: [u8; 2],
}

impl Head {
    fn encode(self) -> [u8; HEAD_LEN] {
        [self.active | u8::from(self.doubled) << 1, self.report[0] << 4 | self.report[1] & 0xf]
    }

    fn decode(bytes: [u8; HEAD_LEN]) -> Option<Self> {
        let [flags, report] = bytes;
        (flags < 4).then_some(Self { active: flags & 1, doubled: flags & 2 != 0, report: [report >> 4, report & 0xf] })
    }
}

/// A message as it came out of a leg.
pub(super) struct Opened {
    pub(super) head: Head,
    pub(super) counter: u64,
    pub(super) message: Message,
}

/// The keys of one leg. They are erased on drop.
pub(super) struct Seal {
    send: WideBlock,
    receive: WideBlock,
}

impl Seal {
    pub(super) fn new(seed: &Seed, leg: u8, caller: bool) -> Self {
        Self { send: seed.key(leg, caller), receive: seed.key(leg, !caller) }
    }

    /// Seals a frame of the call.
    pub(super) fn seal(&self, head: Head, message: &Message) -> [u8; LEG_MESSAGE_LEN] {
        let mut bytes = [0; LEG_MESSAGE_LEN];
        bytes[..HEAD_LEN].copy_from_slice(&head.encode());
        bytes[HEAD_LEN..].copy_from_slice(message);
        self.send.encrypt(&TWEAK, &mut bytes);
        bytes
    }

    /// Opens what came by this leg; `highest` is the highest counter seen so far by any leg.
    pub(super) fn open(&self, highest: u64, bytes: &[u8]) -> Option<Opened> {
        let mut bytes: [u8; LEG_MESSAGE_LEN] = bytes.try_into().ok()?;
        self.receive.decrypt(&TWEAK, &mut bytes);
        let (head, message) = bytes.split_first_chunk::<HEAD_LEN>()?;
        let head = Head::decode(*head)?;
        let counter = counter_of(message)?;
        if counter > highest.saturating_add(AHEAD) || counter.saturating_add(BEHIND) < highest {
            return None;
        }
        Some(Opened { head, counter, message: message.try_into().ok()? })
    }
}

/// The counter of a sealed frame; nothing for other messages of a call.
pub(super) fn counter_of(message: &[u8]) -> Option<u64> {
    let (kind, rest) = message.split_first()?;
    let counter = u64::from_be_bytes(*rest.first_chunk()?);
    (*kind == FRAME && message.len() == MESSAGE_LEN).then_some(counter)
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(counter: u64, fill: u8) -> Message {
        let mut message = [fill; MESSAGE_LEN];
        message[0] = FRAME;
        message[1..9].copy_from_slice(&counter.to_be_bytes());
        message
    }

    fn pair(leg: u8) -> (Seal, Seal) {
        let seed = Seed::new([7; SEED_LEN]);
        (Seal::new(&seed, leg, true), Seal::new(&seed, leg, false))
    }

    const HEAD: Head = Head { active: 1, doubled: true, report: [15, 3] };

    #[test]
    fn what_is_sealed_opens_at_the_other_side() {
        let (caller, answerer) = pair(0);
        for (from, to) in [(&caller, &answerer), (&answerer, &caller)] {
            let opened = to.open(0, &from.seal(HEAD, &frame(5, 9))).expect("a message of this leg");
            assert_eq!((opened.head, opened.counter, opened.message), (HEAD, 5, frame(5, 9)));
        }
    }

    #[test]
    fn neither_another_leg_nor_the_own_direction_opens_it() {
        let (caller, _) = pair(0);
        let (_, other) = pair(1);
        let sealed = caller.seal(HEAD, &frame(5, 9));
        assert!(other.open(0, &sealed).is_none(), "another leg");
        assert!(caller.open(0, &sealed).is_none(), "reflected");
        let strange = Seal::new(&Seed::new([8; SEED_LEN]), 0, false);
        assert!(strange.open(0, &sealed).is_none(), "another call");
    }

    #[test]
    fn an_altered_or_cut_message_is_noise() {
        let (caller, answerer) = pair(0);
        let sealed = caller.seal(HEAD, &frame(5, 9));
        for at in 0..LEG_MESSAGE_LEN {
            let mut altered = sealed;
            altered[at] ^= 1 << (at % 8);
            assert!(answerer.open(0, &altered).is_none(), "byte {at}");
        }
        for len in 0..LEG_MESSAGE_LEN {
            assert!(answerer.open(0, &sealed[..len]).is_none(), "{len} bytes");
        }
        assert!(answerer.open(0, &[&sealed[..], &[0]].concat()).is_none(), "one byte more");
    }

    #[test]
    fn counters_far_from_the_highest_are_refused() {
        let (caller, answerer) = pair(0);
        let open = |highest, counter| answerer.open(highest, &caller.seal(HEAD, &frame(counter, 0))).is_some();
        assert!(open(0, AHEAD) && !open(0, AHEAD + 1));
        assert!(open(5_000, 5_000 - BEHIND) && !open(5_000, 5_000 - BEHIND - 1));
        assert!(!open(0, u64::MAX));
    }

    #[test]
    fn one_message_has_nothing_in_common_on_two_legs() {
        let seed = Seed::new([7; SEED_LEN]);
        let (one, other) = (Seal::new(&seed, 0, true), Seal::new(&seed, 1, true));
        let (a, b) = (one.seal(HEAD, &frame(5, 9)), other.seal(HEAD, &frame(5, 9)));
        let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count();
        // By chance 482 / 256, about 2.
        assert!(equal < 16, "{equal} bytes are equal");
        let aligned = (0..LEG_MESSAGE_LEN - 8).filter(|at| b.windows(8).any(|part| *part == a[*at..at + 8])).count();
        assert_eq!(aligned, 0, "no eight bytes of one stand in the other");
    }
}
