//! The body of a set-up packet: one wide block that every hop decrypts once. It carries no data (a set-up packet has no forward secrecy
//! for its route until the onion keys are erased). An honest last hop sees by it that the packet was altered on the way and refuses at once;
//! what makes the origin refuse, whatever the last hop does, is that every hop's keys are bound to the body as that hop received it.

use subtle::ConstantTimeEq;

use crate::{
    error::Error,
    secret::Secret,
    wide_block::{TWEAK_LEN, WideBlock},
};

/// Length of the body.
pub(crate) const SETUP_BODY_LEN: usize = 240;

const TWEAK: &[u8; TWEAK_LEN] = b"zmesh setup body";

/// The body as it enters each hop, first hop first.
pub(crate) fn create<'a>(keys: impl DoubleEndedIterator<Item = &'a Secret<32>>) -> Vec<[u8; SETUP_BODY_LEN]> {
    let mut body = [0; SETUP_BODY_LEN];
    let mut bodies: Vec<_> = keys
        .rev()
        .map(|key| {
            WideBlock::new(key.expose()).encrypt(TWEAK, &mut body);
            body
        })
        .collect();
    bodies.reverse();
    bodies
}

/// Takes one hop's layer off.
pub(crate) fn peel(key: &Secret<32>, body: &mut [u8; SETUP_BODY_LEN]) {
    WideBlock::new(key.expose()).decrypt(TWEAK, body);
}

/// What the last hop checks: every byte is zero. The first sixteen authenticate the body, the others are kept for later versions.
pub(crate) fn check(body: &[u8; SETUP_BODY_LEN]) -> Result<(), Error> {
    if body.ct_eq(&[0; SETUP_BODY_LEN]).into() { Ok(()) } else { Err(Error::BodyRefused) }
}
