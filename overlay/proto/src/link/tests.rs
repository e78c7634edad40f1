//! Two nodes and a network between them, in virtual time.

mod attack;
mod flood;
mod life;
mod moving;
#[expect(clippy::disallowed_methods, reason = "virtual time starts somewhere")]
mod network;
mod reach;
#[expect(clippy::print_stdout, reason = "figures for whoever tunes repair")]
mod repair;
mod transfer;

use network::{Net, Side, cell};

use super::*;
