//! The quality of calls, measured: real ends of the voice application over the simulator, their sound recorded and judged.

pub mod emodel;
pub mod end;
pub mod peers;
pub mod report;
pub mod run;
pub mod score;
pub mod setting;
pub mod speech;

#[cfg(test)]
mod tests;
