//! Anonymous services: being reached and reaching without either side learning where the other is, and what relays do for both.
//!
//! [`host`] is the relay: it keeps descriptors and passes introductions on. [`listen`] is the service, [`dial`] the client. Both reach
//! relays by a [`relay_circuit`] and meet by [`meet`]; what is said end to end is QUIC ([`Spliced`](crate::quic::Spliced)).

mod dial;
mod error;
mod find;
mod host;
mod listen;
mod meet;
mod options;
mod relay_circuit;
mod second;

pub use error::{DialError, ListenError};
pub use listen::{Listener, ListenerStats};
pub use options::ServiceOptions;
pub use zmesh_proto::service::address::{AddressError as ServiceAddressError, ServiceAddress};
pub use zmesh_proto::service::key::ServiceKey;

pub(crate) use dial::Dialled;
#[cfg(not(feature = "testnet"))]
pub(crate) use host::Lie;
#[cfg(feature = "testnet")]
pub use host::Lie;
pub(crate) use host::{Host, Visitor};
pub(crate) use second::SharedSecond;

use crate::Network;

/// Relays of one's own choice on a circuit whose last relay somebody else chose.
const OWN_HOPS: usize = 3;

/// How many relays of one's own choice stand before one of somebody else's. A small test network may have no more.
fn own_hops(network: &Network) -> usize {
    if network.is_test_network() { OWN_HOPS.min(network.relays().len().saturating_sub(1)) } else { OWN_HOPS }
}
