//! The network's documents: what a relay gives of them, and how a client comes by them without ever joining the control plane.
//!
//! | file | what |
//! |---|---|
//! | `store` | what a relay gives |
//! | `lanes` | how fast it gives it, and to whom first |
//! | `source` | a circuit to a relay that gives documents |
//! | `client` | the first document: from the disk, or by an entry relay of a bootstrap line |
//! | `keep` | later ones: heads compared, differences followed, warnings |
//! | `disk` | the newest document between two runs |

mod client;
mod disk;
mod events;
mod keep;
mod lanes;
mod source;
mod store;

pub use events::{DirectoryError, DirectoryEvent, EntryFault, UpdateBy};
pub use source::SourceError;
pub use store::{DocumentMetrics, Publication, PublishError};

pub(crate) use client::{Client, Settings, Teller};
pub(crate) use keep::{Outlook, keep};
pub(crate) use store::{Answer, DocumentStore, Reader};
