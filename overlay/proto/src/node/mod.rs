//! A whole node without input or output: links, relay and origin behind one interface.

mod api;
mod config;
pub(crate) mod core;
mod entry;
pub(crate) mod job;
mod machine;
mod metrics;
#[cfg(test)]
mod tests;
mod traverse;
mod work;

pub use api::{
    BuildError, BuildFailure, CircuitId, CloseReason, DescriptorFailure, Event, FetchError, FetchId, LocalId,
    MESSAGE_MAX, Meet, MeetingOutcome, SendError,
};
pub use config::{NodeConfig, OnionKey, OriginConfig, QueueConfig, RelayConfig, ReplayStart};
pub use job::{Job, JobDone};
pub use machine::Node;
pub use metrics::{
    CellDrops, CircuitMetrics, DescriptorMetrics, MessageDrops, Metrics, OwnMetrics, QueueMetrics, WorkMetrics,
};

pub use crate::link::Transmit;
pub use crate::origin::health::{Health, HopHealth};
