//! How often a voter measures, and how much that may cost.

use std::time::Duration;

/// Bytes of one load in a network, and in a test network, where many relays share a machine.
const BYTES: u32 = 4 << 20;
const BYTES_TEST: u32 = 1 << 20;
/// Epochs between two loads of one relay, within these bounds.
const EPOCHS: u32 = 12;
const AGAIN_LEAST: Duration = Duration::from_secs(60);
const AGAIN_MOST: Duration = Duration::from_secs(12 * 3_600);
/// A quarter of an epoch between two maps, within these bounds.
const MAP_LEAST: Duration = Duration::from_secs(2);
const MAP_MOST: Duration = Duration::from_secs(600);
/// After so many intervals a figure is too old.
const STALE: u32 = 4;

/// How often a voter measures, and how much that may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// A relay is loaded once in this time at most, and a pair of relays timed.
    pub again: Duration,
    /// Between the end of a job and the next one lies between half of this and one and a half of it, drawn anew each time.
    pub pause: Duration,
    /// What comes over the circuit of one load at most, in bytes.
    pub bytes: u32,
    /// How long one load takes at most; what came by then is what counts.
    pub longest: Duration,
    /// What all loads of an hour bring together at most, in bytes. The circuits carry it there and back, so this voter sends and
    /// receives that much each.
    pub hourly: u64,
    /// A figure that is older counts no more.
    pub stale: Duration,
    /// The map is drawn anew so often.
    pub map: Duration,
}

impl Pace {
    /// The pace in a network with epochs of so many seconds.
    #[must_use]
    pub fn of(epoch_length: u32, test_network: bool) -> Self {
        let epochs = Duration::from_secs(u64::from(epoch_length) * u64::from(EPOCHS));
        let again = epochs.clamp(AGAIN_LEAST, AGAIN_MOST);
        let (bytes, pause) =
            if test_network { (BYTES_TEST, Duration::from_millis(100)) } else { (BYTES, Duration::from_secs(2)) };
        let hourly = if test_network { 2 << 30 } else { 360 << 20 };
        let map = Duration::from_secs(u64::from(epoch_length) / 4).clamp(MAP_LEAST, MAP_MOST);
        Self { again, pause, bytes, longest: Duration::from_secs(10), hourly, stale: again * STALE, map }
    }
}
