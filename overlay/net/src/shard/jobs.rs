//! Public-key work on a thread of its own, so that no handshake stalls the cells.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use zmesh_proto::node::{Job, JobDone};

use super::bell::Bell;
use crate::api::NodeError;

/// Jobs that may wait for the helper, and results that may wait for the shard. The node's own budget is smaller.
const DEPTH: usize = 256;

/// The helper thread, seen from the shard.
pub(crate) struct Jobs {
    queue: Option<SyncSender<Job>>,
    results: Option<Receiver<JobDone>>,
    thread: Option<JoinHandle<()>>,
    /// A job that found the queue full.
    waiting: Option<Job>,
}

impl Jobs {
    /// Starts the helper; it rings `bell` after every result.
    ///
    /// # Errors
    /// The operating system gave no thread.
    pub(crate) fn start(bell: Arc<Bell>) -> Result<Self, NodeError> {
        let (queue, jobs) = sync_channel::<Job>(DEPTH);
        let (done, results) = sync_channel(DEPTH);
        let work = move || {
            for job in jobs {
                if done.send(job.run()).is_err() {
                    return;
                }
                bell.ring();
            }
        };
        let thread = std::thread::Builder::new()
            .name("zmesh-keys".into())
            .spawn(work)
            .map_err(|source| NodeError::System { what: "a thread", source })?;
        Ok(Self { queue: Some(queue), results: Some(results), thread: Some(thread), waiting: None })
    }

    /// Takes jobs from `next` for as long as the helper has room.
    pub(crate) fn submit(&mut self, mut next: impl FnMut() -> Option<Job>) {
        let Some(queue) = &self.queue else { return };
        while let Some(job) = self.waiting.take().or_else(&mut next) {
            match queue.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => {
                    self.waiting = Some(job);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }

    /// A result, if one is there.
    pub(crate) fn result(&mut self) -> Option<JobDone> {
        self.results.as_ref()?.try_recv().ok()
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        // With nobody to take results the helper stops after the job in hand.
        self.queue = None;
        self.results = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
