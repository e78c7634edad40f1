//! Revisions of a descriptor: they rise with time and do not tell it.
//!
//! A store keeps the descriptor with the highest revision, so a service that was restarted and forgot what it published has to go on
//! above it. A clock does that, and would show every store how far the service's clock is off. So the revision is the sum of
//! pseudorandom steps, one for each ten seconds since the period began: it rises like the clock, and without the service's key neither
//! its start nor any step is known. Two revisions of one period still tell about how much time lies between them.

use hkdf::hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::key::BlindedSecret;
use super::period::Period;

/// Seconds of one step.
pub const STEP_SECONDS: u64 = 10;
const CONTEXT: &[u8] = b"zmesh service revision v1\0";

/// The revision of a descriptor that is made at this time (unix seconds) for this period. Times before the period's overlap count as its
/// beginning.
#[must_use]
pub fn revision(secret: &BlindedSecret, period: Period, unix: u64) -> u64 {
    let start = period.begins().saturating_sub(super::period::OVERLAP_SECONDS);
    // A step more than the longest life of a period changes nothing any more.
    let longest = (super::period::PERIOD_SECONDS + 2 * super::period::OVERLAP_SECONDS) / STEP_SECONDS;
    let steps = (unix.saturating_sub(start) / STEP_SECONDS).min(longest) + 1;
    let key = secret.revision_key();
    (0..steps).map(|step| u64::from(step_size(&key, step))).sum()
}

/// From 1 to 65,536.
fn step_size(key: &[u8; 32], step: u64) -> u32 {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(CONTEXT);
    mac.update(&step.to_be_bytes());
    let bytes = mac.finalize().into_bytes();
    u32::from(u16::from_be_bytes([bytes[0], bytes[1]])) + 1
}
