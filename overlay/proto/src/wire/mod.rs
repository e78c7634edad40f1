//! What travels: datagrams, frames and cells on links; descriptors, documents and requests above them.

pub mod address;
pub mod bootstrap;
pub mod cell;
pub mod codec;
pub mod control;
pub mod datagram;
pub mod descriptor;
pub mod document;
pub mod frame;
pub mod request;
