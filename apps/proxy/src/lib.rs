//! SOCKS5 and HTTP CONNECT over zMesh circuits.
//!
//! One port speaks both protocols; the first byte tells which. A program asks for a *name* and a port, the name
//! travels through the circuit and is looked up at the exit, so the local machine never asks a DNS server.
//!
//! ```text
//! socks5 · http_connect   bytes ⇄ values, no input or output, total: any bytes give a value, "more" or an error
//! handshake               drives either of them from the first byte to one accepted request
//! isolation               user name + password → the isolation token that keeps circuits apart
//! connector               what the proxy needs from the network below (`overlay` is one over a `zmesh_overlay::Node`)
//! server                  sockets, limits, deadlines; copies bytes between a client and a circuit
//! ```
//!
//! Nothing in this crate logs a destination, a client's address or a credential, at any level; the types that hold
//! them print `[redacted]`.

pub mod connector;
pub mod handshake;
pub mod http_connect;
pub mod isolation;
pub mod overlay;
pub mod server;
pub mod socks5;
pub mod target;

pub use connector::{ConnectError, Connector, UdpRelay};
pub use isolation::{Credentials, Token};
pub use overlay::Circuits;
pub use server::{Server, ServerConfig};
pub use target::{Host, Name, Target};
