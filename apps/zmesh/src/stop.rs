//! When to stop: Ctrl-C, SIGTERM, or the end of stdin for a process that another one started.

use tokio::io::AsyncReadExt;

use crate::failure::{Failure, Outcome};

/// Waits for a reason to stop. SIGTERM is Ctrl-C; a second one of either ends the process at once.
pub(crate) struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    with_stdin: bool,
}

impl Stop {
    /// Listens from now on. With `with_stdin`, the end of stdin is a reason too: when the parent process goes away, by
    /// whatever death, its children do not stay behind.
    pub(crate) fn listen(with_stdin: bool) -> Outcome<Stop> {
        Ok(Stop {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .map_err(|error| {
                    Failure::failed("cannot listen for SIGTERM", error, "the system must allow it")
                })?,
            with_stdin,
        })
    }

    /// Returns when it is time to stop.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            () = interrupt() => {}
            () = self.terminated() => {}
            () = stdin_end(), if self.with_stdin => {}
        }
    }

    #[cfg(unix)]
    async fn terminated(&mut self) {
        if self.terminate.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(unix))]
    async fn terminated(&mut self) {
        std::future::pending::<()>().await;
    }
}

async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn stdin_end() {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 256];
    while !matches!(stdin.read(&mut buffer).await, Ok(0) | Err(_)) {}
}
