//! When a client asks for the next document.

#[cfg(test)]
mod tests;

use std::time::Duration;

use rand_core::Rng;

use super::Chain;

/// The shortest wait between two tries, and the longest after failures.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(600);

/// How long to wait for the next document after everything went well: until a random moment of the next epoch, so that neither
/// do all clients come at once nor does the moment say which client it is.
#[must_use]
pub fn next_refresh(chain: &Chain, unix_now: u64, rng: &mut impl Rng) -> Duration {
    let genesis = chain.genesis();
    let length = u64::from(genesis.terms().epoch_length);
    // The first tenth belongs to the voters and relays, who may still be busy with it.
    let within = span(length, 10 + below(rng, 80));
    let due = genesis.epoch_start(chain.head().epoch.saturating_add(1));
    let until = Duration::from_secs(due.saturating_sub(unix_now));
    (until + within).max(SHORTEST)
}

/// How long to wait after the `tries`-th try in a row that brought nothing new, the first one being 1: an epoch at most.
#[must_use]
pub fn retry_after(chain: &Chain, tries: u32, rng: &mut impl Rng) -> Duration {
    let length = u64::from(chain.genesis().terms().epoch_length);
    let first = span(length, 4 + below(rng, 8));
    (first * (1 << tries.saturating_sub(1).min(6))).clamp(SHORTEST, LONGEST.min(Duration::from_secs(length)))
}

/// So many hundredths of so many seconds.
fn span(seconds: u64, hundredths: u64) -> Duration {
    Duration::from_millis(seconds.saturating_mul(10).saturating_mul(hundredths))
}

/// A number below a small one; its bias is far below what matters here.
fn below(rng: &mut impl Rng, limit: u32) -> u64 {
    (u64::from(rng.next_u32()) * u64::from(limit)) >> 32
}
