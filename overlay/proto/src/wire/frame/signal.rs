//! What SIGNAL frames carry: words about reaching a node that cannot be linked to directly.
//!
//! ```text
//! signal = kind u8 ‖ peer 16 ‖ flow u32 ‖ address 18, or zero ‖ body 448
//! ```
//!
//! The fields before the body are between the two ends of the link; the body is for the far end of the exchange, and
//! nobody between can read it.

use std::net::SocketAddr;

use crate::wire::address::{ADDRESS_LEN, address_bytes, read_address};

/// Bytes of a signal.
pub const SIGNAL_LEN: usize = 1 + 16 + 4 + ADDRESS_LEN + BODY_LEN;
/// Bytes of a signal's body.
pub const BODY_LEN: usize = 448;

/// What a signal is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SignalKind {
    /// To a relay between: pass this offer on to the relay `peer`. `flow` is the asker's own number for the attempt.
    Offer = 1,
    /// From the relay between: an offer has come, from `address`; answer to the ticket in `peer`; what goes by `flow` is
    /// passed on.
    Offered = 2,
    /// To the relay between: the answer for the ticket in `peer`.
    Answer = 3,
    /// From the relay between: the answer to the offer whose number stands in the first four bytes of `peer`; it came
    /// from `address`; what goes by `flow` is passed on.
    Answered = 4,
    /// From the relay between: the offer of this number cannot be passed on.
    Refused = 5,
    /// To a relay: have others that I have no link to send me a probe.
    Reach = 6,
    /// To another relay: send a probe to `address`. The same body.
    Probe = 7,
    /// Passes a flow on no longer; `flow` is its number on this link.
    FlowClosed = 8,
}

impl SignalKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Offer,
            2 => Self::Offered,
            3 => Self::Answer,
            4 => Self::Answered,
            5 => Self::Refused,
            6 => Self::Reach,
            7 => Self::Probe,
            8 => Self::FlowClosed,
            _ => return None,
        })
    }
}

/// One signal.
#[derive(Clone, PartialEq, Eq)]
pub struct Signal {
    /// What it is about.
    pub kind: SignalKind,
    /// A relay's id or a ticket, by kind.
    pub peer: [u8; 16],
    /// A flow's number, or an attempt's, by kind.
    pub flow: u32,
    /// Where the other end is, as the relay between sees it.
    pub address: Option<SocketAddr>,
    /// For the far end.
    pub body: [u8; BODY_LEN],
}

impl Signal {
    /// A signal without address and body.
    #[must_use]
    pub fn new(kind: SignalKind, peer: [u8; 16], flow: u32) -> Self {
        Self { kind, peer, flow, address: None, body: [0; BODY_LEN] }
    }

    /// The signal's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SIGNAL_LEN] {
        let mut out = [0; SIGNAL_LEN];
        out[0] = self.kind as u8;
        out[1..17].copy_from_slice(&self.peer);
        out[17..21].copy_from_slice(&self.flow.to_be_bytes());
        if let Some(address) = self.address {
            out[21..21 + ADDRESS_LEN].copy_from_slice(&address_bytes(address));
        }
        out[21 + ADDRESS_LEN..].copy_from_slice(&self.body);
        out
    }

    /// Reads a signal; `None` for an unknown kind. An address that is none counts as left out.
    #[must_use]
    pub fn read(bytes: &[u8; SIGNAL_LEN]) -> Option<Self> {
        let (&[kind], rest) = bytes.split_first_chunk::<1>()?;
        let (&peer, rest) = rest.split_first_chunk::<16>()?;
        let (&flow, rest) = rest.split_first_chunk::<4>()?;
        let (address, rest) = rest.split_first_chunk::<ADDRESS_LEN>()?;
        Some(Self {
            kind: SignalKind::from_byte(kind)?,
            peer,
            flow: u32::from_be_bytes(flow),
            address: read_address(address),
            body: *rest.first_chunk::<BODY_LEN>()?,
        })
    }
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signal").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_signal_that_reads_says_the_same_when_read_again(kind in 0u8..12, fill: u8, flow: u32) {
            let mut bytes = [fill; SIGNAL_LEN];
            bytes[0] = kind;
            bytes[17..21].copy_from_slice(&flow.to_be_bytes());
            match Signal::read(&bytes) {
                Some(signal) => prop_assert_eq!(Signal::read(&signal.to_bytes()), Some(signal)),
                None => prop_assert!(kind == 0 || kind > 8),
            }
        }
    }
}
