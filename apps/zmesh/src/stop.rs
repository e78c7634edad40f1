//! When to stop: Ctrl-C, SIGTERM, or the end of stdin for a process that another one started.

use std::io::Read;

use tokio::sync::oneshot;

use crate::failure::{Failure, Outcome};

/// Waits for a reason to stop. SIGTERM is Ctrl-C.
pub(crate) struct Stop {
    signals: Signals,
    stdin: Option<oneshot::Receiver<()>>,
    stdin_ended: bool,
}

impl Stop {
    /// Listens from now on. With `with_stdin`, the end of stdin is a reason too: when the parent process goes away, by
    /// whatever death, its children do not stay behind.
    pub(crate) fn listen(with_stdin: bool) -> Outcome<Stop> {
        let signals = Signals::listen()
            .map_err(|error| Failure::failed("cannot listen for Ctrl-C", error, "the system must allow it"))?;
        Ok(Stop { signals, stdin: with_stdin.then(stdin_end), stdin_ended: false })
    }

    /// Whether the process that started this one is what stops it, by the end of stdin.
    pub(crate) fn was_stdin(&self) -> bool {
        self.stdin_ended
    }

    /// Returns when it is time to stop. No reason is missed between two calls.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn wait(&mut self) {
        let stdin = async {
            match &mut self.stdin {
                // A sender that is gone means the same: nobody holds the other end of stdin.
                Some(end) => drop(end.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.signals.wait() => {}
            () = stdin => {
                self.stdin = None;
                self.stdin_ended = true;
            }
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            Some(()) = self.interrupt.recv() => {}
            Some(()) = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals)
    }

    async fn wait(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits for the wish to read the configuration again: SIGHUP, where there is such a thing.
pub(crate) struct Reload {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl Reload {
    /// Listens from now on.
    pub(crate) fn listen() -> Outcome<Reload> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let hangup = signal(SignalKind::hangup())
                .map_err(|error| Failure::failed("cannot listen for SIGHUP", error, "the system must allow it"))?;
            Ok(Reload { hangup })
        }
        #[cfg(not(unix))]
        Ok(Reload {})
    }

    /// Returns at the next wish.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn wait(&mut self) {
        #[cfg(unix)]
        if self.hangup.recv().await.is_some() {
            return;
        }
        std::future::pending().await
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
