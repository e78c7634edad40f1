//! Running a relay for long: what it tells its operator, what it may use, and how it changes and stops without breaking
//! what others do through it.
//!
//! `exported` is the whole list of figures that leave the process, each rounded as `told` has it; `endpoint` offers it to
//! Prometheus over connections that are `few`; `status` answers `zmesh status` on a socket beside the relay's files;
//! `allowance` keeps the bytes of a month; `load` says how busy the relay is; `open_files` asks the system for more of
//! them; `reload` finds out what a changed configuration changes.

pub(crate) mod allowance;
pub(crate) mod endpoint;
pub(crate) mod exported;
mod few;
pub(crate) mod load;
pub(crate) mod open_files;
pub(crate) mod reload;
pub(crate) mod status;
mod told;
