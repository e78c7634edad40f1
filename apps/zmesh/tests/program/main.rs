//! The program as people run it: real processes, real files.

mod blocked;
mod bootstrap;
mod cli;
mod directory;
mod guide;
mod operation;
mod path;
mod processes;
mod prometheus;
mod serve;
mod sound;
mod support;
