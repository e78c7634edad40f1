//! What circuits promise, by the public interface alone.

mod circuit;
mod common;
mod hiding;
mod loss;
mod replay;
mod tamper;
mod vectors;
