//! What a voter measures of other relays, so that documents can say it: how much each forwards, and where it stands on the map.
//!
//! What relays say of themselves draws no paths to them: each voter measures by itself, and what counts is the median of what all
//! voters found. Two jobs are done, one at a time, in random order, never more of them in an hour than [`Pace`] says:
//!
//! - **A load** ([`Job::Load`]): a circuit by way of the relay back to the voter itself, over which a bounded number of bytes comes.
//!   The relay has to receive and to forward each of them, and knows none of them ahead. [`speed`] makes a figure of a run,
//!   [`Figures`] one of several.
//! - **Times** ([`Job::Times`]): a circuit over two relays, of which both are probed. The second answer less the first is the time
//!   between the two. Who is probed can be late and never early, and of the two directions the longer one counts: so the first relay
//!   of a pair, which could delay its own answer to look nearer to the second, gains nothing unless both of them lie. [`Survey`] draws
//!   the map of these times.
//!
//! [`Measurer`] is the machine: [`Measurer::follow`] tells it of documents, [`Measurer::next`] gives the next job when one is due,
//! [`Measurer::loaded`] and [`Measurer::timed`] take results, and [`Measurer::figures`] says what the next ballot should. Nothing
//! here reads a clock or a socket.

mod figures;
mod machine;
mod pace;
mod pairs;
mod survey;
#[cfg(test)]
mod tests;

pub use figures::{CAPACITY_MAX, Figures, LEAST_BYTES, speed};
pub use machine::{Job, Measurer};
pub use pace::Pace;
pub use pairs::{NEIGHBOURS, Timing};
pub use survey::Survey;
