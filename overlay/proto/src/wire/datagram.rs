//! The datagram codec.
