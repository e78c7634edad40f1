//! The Sphinx header: one routing block per hop, in layers, without a trace of how many there are or which one is next.
//!
//! Danezis and Goldberg, "Sphinx: A Compact and Provably Secure Mix Format" (2009), with the unused blocks filled at random as Kuhn,
//! Beck and Strufe require ("Breaking and (Partially) Fixing Provably Secure Onion Routing", 2020).

use aes::{
    Aes256Enc,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::{
    MAX_HOPS,
    error::Error,
    group::{ELEMENT_LEN, OnionPublic, SecretScalar},
    kdf::{KeySource, MAC_LEN, mac},
    replay::ReplayTag,
    route::{ROUTING_LEN, RelayId, Routing},
    secret::Secret,
};

/// The protocol's name in every key of the set-up packet.
const PROTOCOL: &str = "zmesh sphinx 1";
/// One hop's share of the header: what it is told, and the authenticator of the next header.
const HOP_LEN: usize = ROUTING_LEN + MAC_LEN;
/// The routing blocks of all hops (β).
pub(crate) const BLOCKS_LEN: usize = MAX_HOPS * HOP_LEN;
/// A header: α, β, γ.
pub(crate) const HEADER_LEN: usize = ELEMENT_LEN + BLOCKS_LEN + MAC_LEN;
/// One hop's stream covers the blocks and the block that moves in behind them.
const STREAM_LEN: usize = BLOCKS_LEN + HOP_LEN;

/// The keys that the origin and one hop share from the Sphinx secret αᵇ alone.
pub(crate) struct SphinxKeys(KeySource);

impl SphinxKeys {
    pub(crate) fn new(
        shared: &Secret<ELEMENT_LEN>,
        id: &RelayId,
        onion: &OnionPublic,
        alpha: &[u8; ELEMENT_LEN],
    ) -> Self {
        Self(KeySource::extract(PROTOCOL, &[shared.expose(), &id.0, onion.as_bytes(), alpha]))
    }

    /// The factor that blinds α on its way to the next hop.
    pub(crate) fn blinding(&self) -> SecretScalar {
        let retry = || SecretScalar::from_uniform(&self.0.derive("blinding, second try"));
        SecretScalar::from_uniform(&self.0.derive("blinding"))
            .or_else(retry)
            .expect("two zero scalars have probability 2^-504")
    }

    pub(crate) fn body(&self) -> Secret<32> {
        self.0.derive("body")
    }

    pub(crate) fn reply(&self) -> Secret<32> {
        self.0.derive("reply")
    }

    /// Leads to what fills the slots behind the last hop's own.
    pub(crate) fn reply_filler(&self) -> Secret<32> {
        self.0.derive("reply filler")
    }

    pub(crate) fn replay_tag(&self) -> ReplayTag {
        ReplayTag(*self.0.derive("replay tag").expose())
    }

    /// The keys by name, for the test vectors.
    pub(crate) fn steps(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("header authenticator", self.0.derive::<32>("header authenticator").expose().to_vec()),
            ("header stream", self.0.derive::<32>("header stream").expose().to_vec()),
            ("replay tag", self.replay_tag().0.to_vec()),
            ("body", self.body().expose().to_vec()),
            ("blinding", self.0.derive::<64>("blinding").expose().to_vec()),
            ("reply", self.reply().expose().to_vec()),
            ("reply filler", self.reply_filler().expose().to_vec()),
        ]
    }

    fn authenticator(&self, blocks: &[u8; BLOCKS_LEN]) -> [u8; MAC_LEN] {
        mac(&self.0.derive("header authenticator"), &[blocks])
    }

    /// AES-256 in counter mode from zero, under a key that serves this one header.
    fn stream(&self) -> [u8; STREAM_LEN] {
        let cipher = Aes256Enc::new(self.0.derive::<32>("header stream").expose().into());
        let mut blocks = [aes::Block::default(); STREAM_LEN / 16];
        for (number, block) in (0u128..).zip(&mut blocks) {
            *block = number.to_le_bytes().into();
        }
        cipher.encrypt_blocks(&mut blocks);
        let mut stream = [0; STREAM_LEN];
        for (part, block) in stream.chunks_exact_mut(16).zip(&mut blocks) {
            part.copy_from_slice(block);
            block.as_mut_slice().zeroize();
        }
        stream
    }
}

/// β and γ: the part of a header that the routing blocks make.
#[derive(Clone)]
pub(crate) struct Blocks {
    pub(crate) beta: [u8; BLOCKS_LEN],
    pub(crate) gamma: [u8; MAC_LEN],
}

/// Builds the header of every hop, first hop first.
pub(crate) fn create(keys: &[SphinxKeys], routing: &[Routing], rng: &mut impl CryptoRng) -> Vec<Blocks> {
    let hops = keys.len();
    let mut streams: Vec<_> = keys.iter().map(SphinxKeys::stream).collect();

    // What the hops before the last one push in from behind, as the last one will see it.
    let mut filler = Vec::with_capacity(BLOCKS_LEN);
    for (before, stream) in streams.iter().take(hops - 1).enumerate() {
        filler.resize((before + 1) * HOP_LEN, 0);
        let at = STREAM_LEN - filler.len();
        xor(&mut filler, &stream[at..]);
    }

    let mut headers = Vec::with_capacity(hops);
    let mut beta = [0; BLOCKS_LEN];
    rng.fill_bytes(&mut beta);
    let mut gamma = [0; MAC_LEN];
    rng.fill_bytes(&mut gamma);
    for (number, ((keys, routing), stream)) in keys.iter().zip(routing).zip(&streams).enumerate().rev() {
        beta.copy_within(..BLOCKS_LEN - HOP_LEN, HOP_LEN);
        beta[..ROUTING_LEN].copy_from_slice(&routing.encode());
        beta[ROUTING_LEN..HOP_LEN].copy_from_slice(&gamma);
        xor(&mut beta, &stream[..BLOCKS_LEN]);
        if number == hops - 1 {
            beta[BLOCKS_LEN - filler.len()..].copy_from_slice(&filler);
        }
        gamma = keys.authenticator(&beta);
        headers.push(Blocks { beta, gamma });
    }
    streams.iter_mut().for_each(Zeroize::zeroize);
    headers.reverse();
    headers
}

/// Checks a header and takes one layer off it.
pub(crate) fn peel(keys: &SphinxKeys, blocks: &Blocks) -> Result<(Routing, Blocks), Error> {
    let expected = keys.authenticator(&blocks.beta);
    if !bool::from(expected.ct_eq(&blocks.gamma)) {
        return Err(Error::HeaderRefused);
    }
    let mut stream = keys.stream();
    xor(&mut stream[..BLOCKS_LEN], &blocks.beta);
    let mut routing = [0; ROUTING_LEN];
    routing.copy_from_slice(&stream[..ROUTING_LEN]);
    let mut next = Blocks { beta: [0; BLOCKS_LEN], gamma: [0; MAC_LEN] };
    next.gamma.copy_from_slice(&stream[ROUTING_LEN..HOP_LEN]);
    next.beta.copy_from_slice(&stream[HOP_LEN..]);
    stream.zeroize();
    Ok((Routing::decode(&routing)?, next))
}

fn xor(data: &mut [u8], stream: &[u8]) {
    for (byte, key) in data.iter_mut().zip(stream) {
        *byte ^= key;
    }
}
