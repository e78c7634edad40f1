//! Two nodes and a network between them, in virtual time.

mod attack;
mod life;
mod network;
mod speed;
mod transfer;

use network::{Net, Side, cell};

use super::*;
