//! Programs that run beside the bench: Debian's tor as the peer, and our own binary.

pub mod process;
pub mod tor;
pub mod zmesh;

/// Why a peer could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is not installed.
    #[error("{0} is not installed")]
    Missing(&'static str),
    /// A file, socket or process failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program answered something that was not expected.
    #[error("{program} said: {said}")]
    Unexpected {
        /// Which program.
        program: String,
        /// Its last words.
        said: String,
    },
    /// A program was not ready in time.
    #[error("{program} was not ready after {seconds} s; its last line: {last}")]
    NotReady {
        /// Which program.
        program: String,
        /// How long it was given.
        seconds: u64,
        /// The last line of its log.
        last: String,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}
