//! Types of lower layers that are still on their way.

/// A relay's identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RelayId(pub [u8; 16]);

/// A verified network document.
#[derive(Debug)]
pub struct Network;

/// A relay's secret keys.
#[derive(Debug)]
pub struct RelayKeys;
