//! Runtimes whose threads are in a namespace, so that one test has nodes in several.

use std::fs::File;
use std::os::fd::AsFd as _;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A namespace that threads can go into.
#[derive(Debug)]
pub struct Inside(File);

impl Inside {
    /// Opens a namespace by its full name.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn of(namespace: &str) -> Result<Self, String> {
        let file = File::open(format!("/run/netns/{namespace}")).map_err(|error| format!("{namespace}: {error}"))?;
        Ok(Self(file))
    }

    /// Moves the thread that calls this: the sockets that it makes from now on are of the namespace.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn enter(&self) {
        let moved = move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network));
        moved.expect("root may enter a namespace that it made");
    }
}
