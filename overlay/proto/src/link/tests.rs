//! Two nodes and a network between them, in virtual time.

mod attack;
mod life;
mod moving;
#[expect(clippy::disallowed_methods, reason = "virtual time starts somewhere")]
mod network;
#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it prints a measurement")]
mod speed;
mod transfer;

use network::{Net, Side, cell};

use super::*;
