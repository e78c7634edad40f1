//! Simulator, end-to-end tests and benchmarks of zMesh.
//!
//! | module | what it holds |
//! |---|---|
//! | [`agreement`] | voters that agree on documents, in virtual time |
//! | [`quality`] | calls in virtual time whose sound is judged |
//! | [`paths`] | what weighing relays by capacity and latency gains, and costs in anonymity |
//! | [`peers`] | programs to measure against or to run: Debian's tor, our own binary |
//! | [`fec_table`] | link repair beside block codes, over the emulator's profiles |
//! | [`load`] | servers and clients that put load on a proxy, and the statistics of it |
//! | [`micro`] | interleaved micro-benchmarks |
//! | [`table`] | the one table that `make bench` prints |

pub mod adversary;
pub mod agreement;
pub mod fec_table;
pub mod load;
pub mod micro;
pub mod paths;
pub mod peers;
pub mod quality;
pub mod sim;
pub mod table;
pub mod topology;
