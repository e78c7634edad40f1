//! The codec codec.
