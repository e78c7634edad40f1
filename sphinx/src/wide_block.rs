//! HCTR2 with AES-256 (Crowley, Huckleberry, Biggers: "Length-preserving encryption with HCTR2", 2021): a tweakable permutation of byte
//! strings. Whoever changes one bit of the output changes every bit of the input.
//!
//! The keys of AES in both directions, the powers of the hash key and the hash of the length block are computed once per key. One
//! layer of a cell then costs two POLYVAL passes, one AES block and one XCTR pass, on a stack buffer of whole blocks:
//!
//! ```text
//! blocks   0      1 … 31
//!          tweak  message without its first block, then 01 and zeros
//! ```

use std::fmt;

use aes::{
    Aes256,
    cipher::{
        Array, BlockCipherDecrypt, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser,
        KeyInit, ParBlocks, consts::U16,
    },
};
use polyval::{Polyval, universal_hash::UniversalHash};
use zeroize::Zeroize;

use crate::secret::Secret;

/// Length of an AES block.
const BLOCK: usize = 16;
/// Blocks in the stack buffer: one for the tweak, 31 for the message without its first block.
const BUFFER: usize = 32;
/// Length of every tweak that this crate uses.
pub(crate) const TWEAK_LEN: usize = 16;

type AesBlock = Array<u8, U16>;

/// A key of the wide-block cipher, ready for use. About 1.2 kB; erased when dropped.
pub struct WideBlock {
    aes: Aes256,
    /// POLYVAL under the hash key, with nothing absorbed.
    hash: Polyval,
    /// POLYVAL after the length block of a 16-byte tweak and a message of whole blocks.
    whole: Polyval,
    /// POLYVAL after the length block of a 16-byte tweak and a message that ends inside a block.
    broken: Polyval,
    /// Whitens the counter mode's start.
    whitening: Secret<BLOCK>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Encrypt,
    Decrypt,
}

impl WideBlock {
    /// Expands a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let aes = Aes256::new(key.into());
        // The encryptions of 0 and of 1 are the hash key and the whitening.
        let mut derived = [AesBlock::default(); 2];
        derived[1][0] = 1;
        aes.encrypt_blocks(&mut derived);
        let hash = Polyval::new(&derived[0]);
        let mut whitening = Secret::zero();
        whitening.expose_mut().copy_from_slice(&derived[1]);
        derived.iter_mut().for_each(|block| block.as_mut_slice().zeroize());
        let after_length = |broken| {
            let mut hash = hash.clone();
            hash.update(&[length_block(TWEAK_LEN, broken)]);
            hash
        };
        Self { aes, whole: after_length(false), broken: after_length(true), hash, whitening }
    }

    /// Encrypts `data` in place under `tweak`.
    ///
    /// # Panics
    /// If `data` is shorter than 16 bytes.
    pub fn encrypt(&self, tweak: &[u8], data: &mut [u8]) {
        self.permute(Direction::Encrypt, tweak, data);
    }

    /// Decrypts `data` in place under `tweak`.
    ///
    /// # Panics
    /// If `data` is shorter than 16 bytes.
    pub fn decrypt(&self, tweak: &[u8], data: &mut [u8]) {
        self.permute(Direction::Decrypt, tweak, data);
    }

    fn permute(&self, direction: Direction, tweak: &[u8], data: &mut [u8]) {
        assert!(data.len() >= BLOCK, "a wide block has at least 16 bytes");
        let (first, rest) = data.split_at_mut(BLOCK);
        let first: &mut [u8; BLOCK] = first.try_into().expect("split at 16");
        match <&[u8; TWEAK_LEN]>::try_from(tweak) {
            Ok(tweak) if rest.len() <= (BUFFER - 1) * BLOCK => self.permute_buffered(direction, tweak, first, rest),
            _ => self.permute_any(direction, tweak, first, rest),
        }
    }

    /// The fast way, for all that this crate encrypts: everything in one buffer of whole blocks.
    #[inline]
    fn permute_buffered(
        &self,
        direction: Direction,
        tweak: &[u8; TWEAK_LEN],
        first: &mut [u8; BLOCK],
        rest: &mut [u8],
    ) {
        let broken = !rest.len().is_multiple_of(BLOCK);
        let end = 1 + rest.len().div_ceil(BLOCK);
        let start = if broken { &self.broken } else { &self.whole };
        let mut buffer = [[0; BLOCK]; BUFFER];
        buffer[0] = *tweak;
        let message = buffer[1..].as_flattened_mut();
        message[..rest.len()].copy_from_slice(rest);
        if broken {
            message[rest.len()] = 1;
        }
        let masked = u128::from_le_bytes(*first) ^ digest(start, &buffer[..end]);
        let middle = self.core(direction, masked, &mut buffer[1..end]);
        let message = buffer[1..end].as_flattened_mut();
        rest.copy_from_slice(&message[..rest.len()]);
        if broken {
            message[rest.len()..].fill(0);
            message[rest.len()] = 1;
        }
        *first = (middle ^ digest(start, &buffer[..end])).to_le_bytes();
    }

    /// The general way, for tweaks and messages of any length.
    fn permute_any(&self, direction: Direction, tweak: &[u8], first: &mut [u8; BLOCK], rest: &mut [u8]) {
        let broken = !rest.len().is_multiple_of(BLOCK);
        let mut start = self.hash.clone();
        start.update(&[length_block(tweak.len(), broken)]);
        start.update_padded(tweak);
        let mut blocks = vec![[0; BLOCK]; rest.len().div_ceil(BLOCK)];
        let pad = |blocks: &mut Vec<[u8; BLOCK]>| {
            if broken {
                let message = blocks.as_flattened_mut();
                message[rest.len()..].fill(0);
                message[rest.len()] = 1;
            }
        };
        blocks.as_flattened_mut()[..rest.len()].copy_from_slice(rest);
        pad(&mut blocks);
        let masked = u128::from_le_bytes(*first) ^ digest(&start, &blocks);
        let middle = self.core(direction, masked, &mut blocks);
        pad(&mut blocks);
        rest.copy_from_slice(&blocks.as_flattened()[..rest.len()]);
        *first = (middle ^ digest(&start, &blocks)).to_le_bytes();
    }

    /// Sends the first block, masked by the hash, through AES, and XORs the counter mode that starts there onto `blocks`. Returns
    /// what AES made of the first block.
    #[inline]
    fn core(&self, direction: Direction, masked: u128, blocks: &mut [[u8; BLOCK]]) -> u128 {
        let whitening = u128::from_le_bytes(*self.whitening.expose());
        let mut middle = masked;
        match direction {
            Direction::Encrypt => self.aes.encrypt_with_backend(EncryptCore { middle: &mut middle, whitening, blocks }),
            Direction::Decrypt => {
                let mut block = AesBlock::from(masked.to_le_bytes());
                self.aes.decrypt_block(&mut block);
                middle = u128::from_le_bytes(block.into());
                let seed = masked ^ middle ^ whitening;
                self.aes.encrypt_with_backend(Xctr { seed, blocks });
            }
        }
        middle
    }
}

impl fmt::Debug for WideBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WideBlock([redacted])")
    }
}

/// The block that opens the hash: it holds the tweak's length and whether the message ends inside a block.
fn length_block(tweak_len: usize, broken: bool) -> AesBlock {
    let bits = 8 * tweak_len as u128;
    (2 * bits + if broken { 3 } else { 2 }).to_le_bytes().into()
}

/// POLYVAL of `blocks`, going on from `start`.
#[inline]
fn digest(start: &Polyval, blocks: &[[u8; BLOCK]]) -> u128 {
    let mut hash = start.clone();
    hash.update(Array::cast_slice_from_core(blocks));
    u128::from_le_bytes(hash.finalize().into())
}

/// Counter mode with a block cipher: block `i`, from 1, is XORed with the encryption of `seed ^ i`.
///
/// Runs inside the code that the AES crate compiled for the CPU at hand, and takes as many blocks at a time as that code does. What
/// does not fill its width goes block by block, which modern CPUs overlap (31 blocks against a width of 64: 110 and 145 ns).
struct Xctr<'a> {
    seed: u128,
    blocks: &'a mut [[u8; BLOCK]],
}

impl BlockSizeUser for Xctr<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Xctr<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut counter = 0;
        for chunk in self.blocks.chunks_mut(BUFFER) {
            let mut stream = [AesBlock::default(); BUFFER];
            let stream = &mut stream[..chunk.len()];
            for block in &mut *stream {
                counter += 1;
                *block = (self.seed ^ counter).to_le_bytes().into();
            }
            let (wide, tail) = ParBlocks::<B>::slice_as_chunks_mut(stream);
            wide.iter_mut().for_each(|blocks| backend.encrypt_par_blocks_inplace(blocks));
            backend.encrypt_tail_blocks_inplace(tail);
            for (block, stream) in chunk.iter_mut().zip(stream) {
                *block = (u128::from_le_bytes(*block) ^ u128::from_le_bytes((*stream).into())).to_le_bytes();
            }
        }
    }
}

/// The core of encryption: AES on the middle block and the counter mode that it starts, in one visit to the backend (choosing it
/// and spreading its round keys costs 25 ns).
struct EncryptCore<'a> {
    middle: &'a mut u128,
    whitening: u128,
    blocks: &'a mut [[u8; BLOCK]],
}

impl BlockSizeUser for EncryptCore<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for EncryptCore<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let masked = *self.middle;
        let mut block = AesBlock::from(masked.to_le_bytes());
        backend.encrypt_block_inplace(&mut block);
        *self.middle = u128::from_le_bytes(block.into());
        let seed = masked ^ *self.middle ^ self.whitening;
        let xctr = Xctr { seed, blocks: self.blocks };
        xctr.call(backend);
    }
}
