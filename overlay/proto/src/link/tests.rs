//! Two nodes and a network between them, in virtual time.

mod attack;
mod life;
mod network;
#[expect(clippy::print_stdout, reason = "it prints a measurement")]
mod speed;
mod transfer;

use network::{Net, Side, cell};

use super::*;
