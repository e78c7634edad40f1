//! The call's side of a device: takes and gives samples, never waits.

use super::keeper::{Keeper, Pace};
use super::stream::{Loudspeakers, Microphones, RING};
use super::{DeviceError, Kind, Wanted};
use crate::media::Pcm;
use crate::media::drift::{Follower, FollowerCounts};
use rtrb::{Consumer, Producer};
use std::fmt;
use std::time::Instant;

/// What should be left of a microphone's sound when a frame was taken, in samples: 10 ms, two of its buffers.
const INPUT_LEVEL: usize = 480;
/// What should be waiting for a loudspeaker right after a frame was written: a frame and 10 ms.
const OUTPUT_LEVEL: i64 = 1_440;
/// How far the level may stray before playout is moved, in samples: 5 ms.
const OUTPUT_PLAY: i64 = 240;
/// How much playout is moved at a time, in samples: 1 ms.
const NUDGE: i64 = 48;
/// Silence that a fresh loudspeaker begins with, so that it does not starve at once: 10 ms.
const HEAD_START: usize = 480;

/// How far a device's own clock has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceClock {
    /// Samples taken in or given out since the device was opened.
    pub samples: u64,
    /// When that was so.
    pub at: Instant,
}

/// A microphone, recording.
pub struct DeviceInput {
    keeper: Keeper<Consumer<i16>>,
    name: String,
    ring: Option<Consumer<i16>>,
    /// Brings the device's clock to the call's.
    follower: Follower,
    fresh: Vec<i16>,
}

impl DeviceInput {
    /// Opens a microphone and starts it.
    ///
    /// # Errors
    /// [`DeviceError`] if there is none, none of that name, or it cannot be used.
    pub fn open(wanted: Wanted) -> Result<Self, DeviceError> {
        let (keeper, name) = Keeper::start(Kind::Microphone, wanted, Microphones, Pace::default())?;
        Ok(Self { keeper, name, ring: None, follower: Follower::new(INPUT_LEVEL), fresh: Vec::with_capacity(RING) })
    }

    /// The device that was opened, as people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Drops what was picked up before.
    pub(in crate::audio) fn start(&mut self) {
        self.fetch();
        self.follower = Follower::new(INPUT_LEVEL);
    }

    /// Takes in what the device has given since the last time.
    fn fetch(&mut self) {
        if let Some(ring) = self.keeper.changed() {
            self.ring = Some(ring);
            // Another device, another clock.
            self.follower = Follower::new(INPUT_LEVEL);
        }
        self.fresh.clear();
        if let Some(ring) = &mut self.ring {
            self.fresh.extend(std::iter::from_fn(|| ring.pop().ok()));
        }
    }

    pub(in crate::audio) fn read(&mut self, pcm: &mut Pcm) {
        self.fetch();
        self.follower.push(&self.fresh);
        self.follower.pull(pcm);
    }

    /// What could not be taken in smoothly from the device in use.
    #[must_use]
    pub fn counts(&self) -> FollowerCounts {
        self.follower.counts()
    }

    /// The device's clock.
    #[must_use]
    pub fn clock(&self) -> DeviceClock {
        let (samples, at) = self.keeper.counter().read();
        DeviceClock { samples, at }
    }
}

/// A loudspeaker, playing.
pub struct DeviceOutput {
    keeper: Keeper<Producer<i16>>,
    name: String,
    ring: Option<Producer<i16>>,
    dropped: u64,
}

impl DeviceOutput {
    /// Opens a loudspeaker and starts it; it is silent until something is written.
    ///
    /// # Errors
    /// [`DeviceError`] if there is none, none of that name, or it cannot be used.
    pub fn open(wanted: Wanted) -> Result<Self, DeviceError> {
        let (keeper, name) = Keeper::start(Kind::Loudspeaker, wanted, Loudspeakers, Pace::default())?;
        Ok(Self { keeper, name, ring: None, dropped: 0 })
    }

    /// The device that was opened, as people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::audio) fn write(&mut self, samples: &[i16]) {
        if let Some(mut ring) = self.keeper.changed() {
            for _ in 0..HEAD_START {
                let _ = ring.push(0);
            }
            self.ring = Some(ring);
        }
        let Some(ring) = &mut self.ring else { return };
        for sample in samples {
            if ring.push(*sample).is_err() {
                self.dropped += 1;
            }
        }
    }

    /// Compares what waits in the ring with what should: the difference is the drift between the device's clock and ours.
    pub(in crate::audio) fn drift(&mut self) -> i64 {
        // A device that has gone takes nothing, which says nothing about clocks.
        let Some(ring) = self.ring.as_ref().filter(|ring| !ring.is_abandoned()) else { return 0 };
        let waiting = i64::try_from(RING - ring.slots()).unwrap_or(0);
        match waiting - OUTPUT_LEVEL {
            over if over > OUTPUT_PLAY => NUDGE,
            under if under < -OUTPUT_PLAY => -NUDGE,
            _ => 0,
        }
    }

    /// The device's clock.
    #[must_use]
    pub fn clock(&self) -> DeviceClock {
        let (samples, at) = self.keeper.counter().read();
        DeviceClock { samples, at }
    }
}

impl fmt::Debug for DeviceInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceInput").field("name", &self.name).field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl fmt::Debug for DeviceOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceOutput").field("name", &self.name).field("dropped", &self.dropped).finish_non_exhaustive()
    }
}
