//! QUIC over circuits.

mod channel;
pub(crate) mod codes;
mod flows;
mod inbox;
mod runtime;
mod socket;
mod spliced;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

pub(crate) use channel::{Channel, Opened, answer, host, reset_reason};
pub(crate) use flows::{Flow, PAYLOAD_MAX, Records, records, send_datagram};
pub(crate) use runtime::ShardRuntime;
pub(crate) use socket::{CircuitSocket, local_address, local_of};
pub(crate) use spliced::{Spliced, SplicedError};
pub(crate) use tls::warm_up;
pub(crate) use transport::{exit as exit_config, service as service_config};
#[cfg(test)]
pub(crate) use {
    tls::{EXIT, SERVER_NAME},
    transport::{client as client_config, endpoint as endpoint_config},
};

use std::sync::Arc;

/// An endpoint on the shard's thread over `socket`.
///
/// # Errors
/// What quinn says; a circuit socket itself gives no error.
pub(crate) fn endpoint(
    runtime: &tokio::runtime::Handle,
    socket: Arc<CircuitSocket>,
    server: Option<quinn::ServerConfig>,
) -> std::io::Result<quinn::Endpoint> {
    let runtime = Arc::new(ShardRuntime(runtime.clone()));
    quinn::Endpoint::new_with_abstract_socket(transport::endpoint(), server, socket, runtime)
}
