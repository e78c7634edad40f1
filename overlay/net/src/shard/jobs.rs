//! Public-key work on a thread of its own, so that no handshake stalls the cells.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;

use zmesh_proto::node::{Job, JobDone};

use super::bell::Bell;
use crate::api::NodeError;

/// Jobs that may wait for the helper, and results that may wait for the shard. The node's own budget is smaller.
const DEPTH: usize = 256;

/// The helper thread, seen from the shard.
pub(crate) type Jobs = Helper<Job, JobDone>;

/// A thread that turns every `J` into a `D`.
pub(crate) struct Helper<J, D> {
    queue: Option<SyncSender<J>>,
    results: Option<Receiver<D>>,
    thread: Option<JoinHandle<()>>,
    /// A job that found the queue full.
    waiting: Option<J>,
    failed: bool,
}

/// Rings when the helper ends, also by a panic.
struct RingAtEnd(Arc<Bell>);

impl Drop for RingAtEnd {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl<J: Send + 'static, D: Send + 'static> Helper<J, D> {
    /// Starts the helper; it rings `bell` after every result.
    ///
    /// # Errors
    /// The operating system gave no thread.
    pub(crate) fn start(bell: Arc<Bell>, run: impl Fn(J) -> D + Send + 'static) -> Result<Self, NodeError> {
        let (queue, jobs) = sync_channel::<J>(DEPTH);
        let (done, results) = sync_channel(DEPTH);
        let work = move || {
            let bell = RingAtEnd(bell);
            // Dropped before the bell: who hears it finds the channel closed.
            let done = done;
            for job in jobs {
                if done.send(run(job)).is_err() {
                    return;
                }
                bell.0.ring();
            }
        };
        let thread = std::thread::Builder::new()
            .name("zmesh-keys".into())
            .spawn(work)
            .map_err(|source| NodeError::System { what: "a thread", source })?;
        Ok(Self { queue: Some(queue), results: Some(results), thread: Some(thread), waiting: None, failed: false })
    }

    /// Takes jobs from `next` for as long as the helper has room.
    pub(crate) fn submit(&mut self, mut next: impl FnMut() -> Option<J>) {
        let Some(queue) = &self.queue else { return };
        while let Some(job) = self.waiting.take().or_else(&mut next) {
            match queue.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => {
                    self.waiting = Some(job);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.failed = true;
                    return;
                }
            }
        }
    }

    /// A result, if one is there.
    pub(crate) fn result(&mut self) -> Option<D> {
        match self.results.as_ref()?.try_recv() {
            Ok(done) => Some(done),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.failed = true;
                None
            }
        }
    }

    /// Whether the helper has ended by itself, which only a panic makes it do: nothing can be built or accepted any
    /// more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }
}

impl<J, D> Drop for Helper<J, D> {
    fn drop(&mut self) {
        // With nobody to take results the helper stops after the job in hand.
        self.queue = None;
        self.results = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Bell, Helper};

    #[test]
    fn a_job_that_panics_shows() {
        let run = |job: u8| if job == 2 { panic!("as this test wants") } else { job };
        let mut helper = Helper::start(std::sync::Arc::new(Bell::default()), run).expect("a thread");
        let mut jobs = [1, 2].into_iter();
        helper.submit(|| jobs.next());
        let (start, mut results) = (Instant::now(), Vec::new());
        while !helper.has_failed() {
            results.extend(helper.result());
            assert!(start.elapsed() < Duration::from_secs(10), "the panic stays hidden");
        }
        assert_eq!(results, [1]);
    }
}
