//! When to stop: Ctrl-C, SIGTERM, or the end of stdin for a process that another one started.

use std::io::Read;

use tokio::sync::oneshot;

use crate::failure::{Failure, Outcome};

/// Waits for a reason to stop. SIGTERM is Ctrl-C.
pub(crate) struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    stdin: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Listens from now on. With `with_stdin`, the end of stdin is a reason too: when the parent process goes away, by
    /// whatever death, its children do not stay behind.
    pub(crate) fn listen(with_stdin: bool) -> Outcome<Stop> {
        Ok(Stop {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .map_err(|error| Failure::failed("cannot listen for SIGTERM", error, "the system must allow it"))?,
            stdin: with_stdin.then(stdin_end),
        })
    }

    /// Returns when it is time to stop.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn wait(&mut self) {
        #[cfg(unix)]
        let terminate = self.terminate.recv();
        #[cfg(not(unix))]
        let terminate = std::future::pending::<Option<()>>();
        let stdin = async {
            match &mut self.stdin {
                // A sender that is gone means the same: nobody holds the other end of stdin.
                Some(end) => drop(end.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = tokio::signal::ctrl_c() => {}
            Some(()) = terminate => {}
            () = stdin => {}
        }
    }
}

/// A thread of its own, because a read of stdin cannot be given up and must not hold the end of the program up.
fn stdin_end() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; 256];
        while !matches!(stdin.read(&mut buffer), Ok(0) | Err(_)) {}
        // Nobody waits any more: then nobody has to be told.
        let _ = sender.send(());
    });
    receiver
}
