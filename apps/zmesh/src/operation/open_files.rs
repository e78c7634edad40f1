//! How many files a relay may have open: links by TCP and every stream of an exit are files.

/// Asks the system for as many as it gives to this user: what programs begin with, often 1,024, is meant for those that
/// do not look. A relay that does not get more bounds its streams accordingly.
#[cfg(unix)]
pub(crate) fn raise() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// macOS takes no more than this where its hard limit is none.
    const MODEST: u64 = 10_240;

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let few = |limit: Option<u64>, than: Option<u64>| limit.is_some_and(|limit| than.is_none_or(|than| limit < than));
    for wanted in [maximum, Some(maximum.map_or(MODEST, |maximum| maximum.min(MODEST)))] {
        if !few(current, wanted) || setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum }).is_ok() {
            return;
        }
    }
    tracing::warn!("the limit of open files cannot be raised");
}

/// There is no such limit.
#[cfg(not(unix))]
pub(crate) fn raise() {}
