//! A relay: a node that forwards for others and may be their exit.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::NodeError;
use crate::egress::Egress;
use crate::{Network, RelayKeys};

/// Settings of a relay; made by [`Relay::builder`].
#[derive(Debug, Default)]
pub struct RelayBuilder {}

impl RelayBuilder {
    /// The relay's secret keys. Required.
    #[must_use]
    pub fn keys(self, keys: RelayKeys) -> Self {
        let _ = keys;
        self
    }

    /// The network document. Required; the relay need not be in it yet.
    #[must_use]
    pub fn network(self, network: Arc<Network>) -> Self {
        let _ = network;
        self
    }

    /// A local UDP address; may be given twice, for IPv4 and IPv6. Port 0 takes any.
    #[must_use]
    pub fn bind(self, address: SocketAddr) -> Self {
        let _ = address;
        self
    }

    /// Makes the relay an exit.
    #[must_use]
    pub fn egress(self, egress: Arc<dyn Egress>) -> Self {
        let _ = egress;
        self
    }

    /// Lets the relay splice meetings.
    #[must_use]
    pub fn meeting(self, allow: bool) -> Self {
        let _ = allow;
        self
    }

    /// The most that the relay sends, in bytes per second.
    #[must_use]
    pub fn rate_limit(self, bytes_per_second: Option<u64>) -> Self {
        let _ = bytes_per_second;
        self
    }

    /// Where the replay filter is kept between runs.
    #[must_use]
    pub fn replay_file(self, path: PathBuf) -> Self {
        let _ = path;
        self
    }

    /// Opens the sockets and starts the relay's threads.
    ///
    /// # Errors
    /// A setting is missing or the operating system refused something.
    ///
    /// # Cancel safety
    /// Dropping the future stops whatever was started.
    pub async fn start(self) -> Result<RelayHandle, NodeError> {
        todo!()
    }
}

/// The way to a relay: see [`Relay::builder`].
#[derive(Debug)]
pub struct Relay;

impl Relay {
    /// Settings of a new relay.
    #[must_use]
    pub fn builder() -> RelayBuilder {
        RelayBuilder::default()
    }
}

/// A relay's counters at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RelayMetrics {
    /// Datagrams that the shard received.
    pub datagrams_received: u64,
    /// Datagrams that the shard handed to the operating system.
    pub datagrams_sent: u64,
    /// Datagrams that the operating system did not take.
    pub datagrams_unsent: u64,
    /// QUIC sessions up at this exit.
    pub sessions: u64,
    /// Streams open at this exit.
    pub streams: u64,
}

/// A running relay. Dropping it ends the relay without farewell; see [`RelayHandle::shutdown`].
#[derive(Debug)]
pub struct RelayHandle {}

impl RelayHandle {
    /// Where the relay listens.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        todo!()
    }

    /// Takes a newer network document into use.
    ///
    /// # Errors
    /// [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the old document in place.
    pub async fn set_network(&self, network: Arc<Network>) -> Result<(), NodeError> {
        let _ = network;
        todo!()
    }

    /// The relay's counters now.
    ///
    /// # Errors
    /// [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn metrics(&self) -> Result<RelayMetrics, NodeError> {
        todo!()
    }

    /// Waits until the relay has ended by itself, which it only does after [`RelayHandle::shutdown`] or a panic.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&self) {
        todo!()
    }

    /// Closes every circuit, tells the neighbours, writes the replay filter, and ends the relay's threads.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) {
        todo!()
    }
}
