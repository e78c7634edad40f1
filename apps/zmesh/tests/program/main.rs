//! The program as people run it: real processes, real files.

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
