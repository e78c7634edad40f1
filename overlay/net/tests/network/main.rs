//! Relays and nodes over loopback, as one program uses them.

mod carrier;
mod chunks;
mod circuits;
mod directory;
mod guards;
mod measuring;
mod services;
