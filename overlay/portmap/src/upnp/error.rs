//! What can go wrong between this machine and a router that is asked by UPnP.

use std::io;

/// Why a router forwards nothing by UPnP. What it sent is not in here: it may be anything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no router answers the search")]
    Silent,
    #[error("it is not reached: {}", .0.kind())]
    Io(#[from] io::Error),
    #[error("it does not answer in time")]
    Late,
    #[error("its answer is too long")]
    Long,
    #[error("its answer is no HTTP")]
    Http,
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("an address that it names is not its own, or no address by HTTP")]
    Address,
    #[error("its answer is no XML")]
    Xml,
    #[error("its XML is too deep")]
    Deep,
    #[error("its answer lacks what was asked for")]
    Lacking,
    #[error("it describes no service that forwards ports")]
    NoService,
    #[error("it refuses with error {0}")]
    Refused(u16),
}
