//! A set of ports as sorted ranges.

use std::fmt;
use std::ops::RangeInclusive;

use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

/// Most ranges in a set.
pub const PORT_RANGES_MAX: usize = 32;

/// A set of ports from 1 to 65,535, kept as sorted ranges that neither overlap nor touch: one form per set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortSet(Vec<(u16, u16)>);

impl PortSet {
    /// Every port.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![(1, u16::MAX)])
    }

    /// The union of ranges. Port 0 and empty ranges drop out. `None` when more than [`PORT_RANGES_MAX`] ranges remain.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Option<Self> {
        let mut sorted: Vec<(u16, u16)> = ranges
            .into_iter()
            .map(|range| ((*range.start()).max(1), *range.end()))
            .filter(|(first, last)| first <= last)
            .collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(previous) if u32::from(first) <= u32::from(previous.1) + 1 => {
                    previous.1 = previous.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        (merged.len() <= PORT_RANGES_MAX).then_some(Self(merged))
    }

    /// Whether a port is in the set.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// Whether no port is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, sorted.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> + '_ {
        self.0.iter().map(|(first, last)| *first..=*last)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.count8(self.0.len());
        for (first, last) in &self.0 {
            w.u16(*first);
            w.u16(*last);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        r.check(|r| {
            let count = r.count8(PORT_RANGES_MAX)?;
            let mut ranges = Vec::with_capacity(count);
            for _ in 0..count {
                ranges.push((r.u16()?, r.u16()?));
            }
            let canonical = Self::new(ranges.iter().map(|(first, last)| *first..=*last));
            match canonical {
                Some(set) if set.0 == ranges => Ok(set),
                _ => Err(r.error(ErrorKind::Invalid)),
            }
        })
    }
}

/// As people write it: `80, 443, 8000-8999`.
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (at, (first, last)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            if first == last {
                write!(f, "{first}")?;
            } else {
                write!(f, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}
