//! Four words that both people read to each other to be sure that nobody sits between them.
//!
//! They come from the handshake hash, which covers the invite and both one-time keys, and from a nonce to which the caller is bound by its
//! first message and which it shows after the answer. Somebody who swapped the invite on its way and relays the call has two handshakes with
//! two hashes. In each of them he is fixed before he learns what he would have to hit: towards the caller he must answer before he
//! sees the nonce, towards the answerer he must commit before he sees her one-time key. So he has one try in 2³² (decision 0067).

use crate::media::frame::NONCE_LEN;
use sha2::{Digest, Sha256};
use std::fmt;

/// Words shown.
const COUNT: usize = 4;

/// The words of one call. Both sides see the same ones, or somebody is between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words([u8; COUNT]);

impl Words {
    pub(crate) fn new(handshake_hash: &[u8; 32], nonce: &[u8; NONCE_LEN]) -> Self {
        let digest = Sha256::new()
            .chain_update(b"zmesh call words 1")
            .chain_update(handshake_hash)
            .chain_update(nonce)
            .finalize();
        Self(digest[..COUNT].try_into().expect("a digest is longer than its first 4 bytes"))
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, index) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(LIST[usize::from(*index)])?;
        }
        Ok(())
    }
}

/// Short, common words that differ in sound, in the order of the alphabet.
#[rustfmt::skip]
const LIST: [&str; 256] = [
    "acid", "acorn", "actor", "agent", "album", "alley", "amber", "angle", "ankle", "apple", "apron", "arch", "arena",
    "arrow", "artist", "atlas", "attic", "autumn", "badge", "bagel", "baker", "bamboo", "banana", "barrel", "basket",
    "beach", "beacon", "bean", "beaver", "bench", "berry", "bicycle", "bird", "biscuit", "blanket", "blossom", "boat",
    "bonfire", "bottle", "bowl", "branch", "bread", "brick", "bridge", "broom", "bubble", "bucket", "butter", "cabin",
    "cable", "cactus", "camel", "camera", "canal", "candle", "canyon", "captain", "carbon", "carpet", "carrot",
    "castle", "cedar", "cello", "chalk", "cherry", "chess", "chimney", "cider", "cinema", "circus", "clover", "coast",
    "cobra", "coffee", "comet", "copper", "coral", "cotton", "cradle", "crane", "crayon", "cricket", "crystal",
    "daisy", "dentist", "desert", "diamond", "dinner", "doctor", "dolphin", "donkey", "dragon", "drawer", "drum",
    "eagle", "echo", "elbow", "elephant", "emerald", "engine", "fabric", "falcon", "farmer", "feather", "fiddle",
    "finger", "flame", "flute", "forest", "fossil", "fountain", "fox", "galaxy", "garden", "garlic", "gecko",
    "ginger", "giraffe", "glacier", "glove", "goblet", "gravel", "guitar", "hammer", "harp", "hazel", "hedge",
    "helmet", "hermit", "hippo", "honey", "hotel", "iceberg", "igloo", "insect", "island", "ivory", "jacket",
    "jaguar", "jelly", "jewel", "jungle", "kettle", "kitten", "koala", "ladder", "lagoon", "lantern", "lemon",
    "leopard", "letter", "lily", "lizard", "lobster", "lotus", "magnet", "mango", "marble", "meadow", "melon",
    "mirror", "monkey", "mosaic", "mountain", "mushroom", "napkin", "needle", "nickel", "noodle", "nutmeg", "oasis",
    "ocean", "olive", "onion", "orange", "orchid", "otter", "oyster", "paddle", "palace", "panda", "paper", "parrot",
    "peach", "pebble", "pencil", "pepper", "piano", "picnic", "pillow", "pilot", "pirate", "planet", "plum", "pocket",
    "polar", "pond", "potato", "prism", "pumpkin", "puzzle", "pyramid", "quartz", "rabbit", "radio", "raft",
    "rainbow", "raven", "ribbon", "river", "robot", "rocket", "rose", "saddle", "sailor", "salad", "salmon", "sandal",
    "satin", "scarf", "school", "shadow", "shovel", "silver", "sketch", "spider", "spoon", "squirrel", "stable",
    "statue", "summer", "sunset", "table", "teapot", "temple", "tiger", "timber", "tomato", "tractor", "tulip",
    "tunnel", "turtle", "umbrella", "vanilla", "velvet", "violin", "volcano", "wagon", "walnut", "willow", "window",
    "winter", "wizard", "yacht", "zebra", "zipper",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_without_repeats() {
        assert!(LIST.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn words_follow_hash_and_nonce() {
        let words = Words::new(&[1; 32], &[2; 32]);
        assert_eq!(words, Words::new(&[1; 32], &[2; 32]));
        assert_ne!(words, Words::new(&[2; 32], &[2; 32]));
        assert_ne!(words, Words::new(&[1; 32], &[1; 32]));
        assert_eq!(words.to_string().split(' ').count(), COUNT);
    }
}
