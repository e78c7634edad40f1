//! Keeps a device open: on a thread of its own, for opening and closing may take long.
//!
//! A device that fails, or from which nothing is heard for two seconds, is given up. Then the one that was asked for is tried again, the
//! system's default after it, every second until one works. While a substitute is in use, the one that was asked for is looked for every
//! five seconds and taken back when it is there.

use super::{DeviceError, Kind, Notice, Wanted};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Times of the keeper.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two attempts to find a device.
    pub(super) retry: Duration,
    /// Between two looks for the device that was asked for, while another is used.
    pub(super) look: Duration,
    /// A device that moves nothing for so long is given up.
    pub(super) patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { retry: Duration::from_secs(1), look: Duration::from_secs(5), patience: Duration::from_secs(2) }
    }
}

/// Opens devices. The one of the program is cpal's; tests have their own.
pub(super) trait Backend: Send + 'static {
    /// An open device; dropping it closes it.
    type Open: Send;
    /// The call's side of it.
    type End: Send + 'static;

    /// Opens the device of that name, or the default; gives its name for people as well.
    fn open(&mut self, name: Option<&str>, pulse: Pulse) -> Result<(Self::Open, Self::End, String), DeviceError>;

    /// Whether a device of that name is there now.
    fn is_there(&mut self, name: &str) -> bool;
}

/// What a device's callbacks tell the keeper, without waiting.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    counter: Arc<Counter>,
    generation: u64,
    keeper: SyncSender<Message>,
}

/// Samples that a device has moved, and when it last did.
#[derive(Debug)]
pub(super) struct Counter {
    origin: Instant,
    samples: AtomicU64,
    micros: AtomicU64,
}

impl Counter {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), samples: AtomicU64::new(0), micros: AtomicU64::new(0) }
    }

    /// The samples moved since the counter was made, whichever device moved them, and when that was true.
    pub(super) fn read(&self) -> (u64, Instant) {
        let at = self.origin + Duration::from_micros(self.micros.load(Ordering::Acquire));
        (self.samples.load(Ordering::Acquire), at)
    }
}

impl Pulse {
    /// So many samples were moved.
    pub(super) fn moved(&self, samples: usize) {
        let now = u64::try_from(self.counter.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counter.samples.fetch_add(samples as u64, Ordering::AcqRel);
        self.counter.micros.store(now, Ordering::Release);
    }

    /// The device works no more.
    pub(super) fn lost(&self) {
        // A full channel holds such a message already.
        let _ = self.keeper.try_send(Message::Lost(self.generation));
    }
}

enum Message {
    Lost(u64),
    Stop,
}

/// Where the keeper leaves the newest end for the call to fetch.
type Shelf<E> = Arc<Mutex<Option<E>>>;

/// The keeper of one device.
#[derive(Debug)]
pub(super) struct Keeper<E> {
    inbox: SyncSender<Message>,
    shelf: Shelf<E>,
    counter: Arc<Counter>,
}

impl<E: Send + 'static> Keeper<E> {
    /// Opens a device and keeps it; gives its name.
    pub(super) fn start<B: Backend<End = E>>(
        what: Kind,
        wanted: Wanted,
        backend: B,
        pace: Pace,
    ) -> Result<(Self, String), DeviceError> {
        let (inbox, messages) = sync_channel(8);
        let shelf = Shelf::default();
        let (opened, first) = sync_channel(1);
        let counter = Arc::new(Counter::new());
        let keeping = Keeping {
            what,
            wanted,
            backend,
            pace,
            inbox: inbox.clone(),
            messages,
            shelf: Arc::clone(&shelf),
            counter: Arc::clone(&counter),
            generation: 0,
            using: None,
        };
        thread::Builder::new()
            .name(format!("zmesh-{what}"))
            .spawn(move || keeping.run(&opened))
            .map_err(|source| DeviceError::Thread { what, source })?;
        // Dropped without a word only if the backend panicked.
        let name = first.recv().unwrap_or_else(|_| Err(what.none()))?;
        Ok((Self { inbox, shelf, counter }, name))
    }

    /// The newest end, if the device changed since the last call.
    pub(super) fn changed(&self) -> Option<E> {
        // Never waits: if the keeper is leaving one this moment, it is fetched at the next frame.
        self.shelf.try_lock().ok()?.take()
    }

    pub(super) fn counter(&self) -> &Counter {
        &self.counter
    }
}

impl<E> Drop for Keeper<E> {
    fn drop(&mut self) {
        // If the channel is full, the keeper wakes anyway and finds that nobody shares the shelf.
        let _ = self.inbox.try_send(Message::Stop);
    }
}

struct Using<O> {
    /// Open as long as this is held.
    _open: O,
    name: String,
    substitute: bool,
    moved: (u64, Instant),
}

struct Keeping<B: Backend> {
    what: Kind,
    wanted: Wanted,
    backend: B,
    pace: Pace,
    inbox: SyncSender<Message>,
    messages: Receiver<Message>,
    shelf: Shelf<B::End>,
    counter: Arc<Counter>,
    generation: u64,
    using: Option<Using<B::Open>>,
}

/// The other side has gone.
struct Over;

impl<B: Backend> Keeping<B> {
    fn run(mut self, opened: &SyncSender<Result<String, DeviceError>>) {
        super::list::hush();
        let wanted = self.wanted.name.clone();
        // At the start there is no substitute: who names a device means it.
        let first = self.open(wanted.as_deref(), false);
        let failed = first.is_err();
        let name = first.map(|()| self.using.as_ref().map(|using| using.name.clone()).unwrap_or_default());
        if opened.send(name).is_err() || failed {
            return;
        }
        while self.turn().is_ok() {}
    }

    fn turn(&mut self) -> Result<(), Over> {
        let pause = match &self.using {
            Some(using) if using.substitute => self.pace.look.min(self.pace.patience),
            Some(_) => self.pace.patience,
            None => self.pace.retry,
        };
        let lost = match self.messages.recv_timeout(pause) {
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Err(Over),
            Ok(Message::Lost(generation)) => generation == self.generation && self.using.is_some(),
            Err(RecvTimeoutError::Timeout) => self.stands_still(),
        };
        if Arc::strong_count(&self.shelf) == 1 {
            return Err(Over);
        }
        if lost && let Some(using) = self.using.take() {
            self.tell(Notice::Lost { what: self.what, name: using.name });
            // Closed here, before another is opened: it may be the same one.
            if self.find().is_err() {
                self.tell(Notice::Waiting { what: self.what });
            }
        } else if self.using.is_none() {
            // Nothing new for the user until there is one.
            let _ = self.find();
        } else {
            self.look_for_the_wanted();
        }
        Ok(())
    }

    /// Whether the device has moved nothing since the last turn that found it moving, for longer than patience lasts.
    fn stands_still(&mut self) -> bool {
        let now = Instant::now();
        let (samples, _) = self.counter.read();
        let Some(using) = &mut self.using else { return false };
        if samples != using.moved.0 {
            using.moved = (samples, now);
        }
        now - using.moved.1 >= self.pace.patience
    }

    /// Opens the device that was asked for, else the default.
    fn find(&mut self) -> Result<(), DeviceError> {
        let wanted = self.wanted.name.clone();
        match (self.open(wanted.as_deref(), false), wanted) {
            (Err(_), Some(_)) => self.open(None, true)?,
            (result, _) => result?,
        }
        if let Some(using) = &self.using {
            self.tell(Notice::Using { what: self.what, name: using.name.clone() });
        }
        Ok(())
    }

    fn look_for_the_wanted(&mut self) {
        let Some(wanted) = self.wanted.name.clone() else { return };
        if !self.using.as_ref().is_some_and(|using| using.substitute) || !self.backend.is_there(&wanted) {
            return;
        }
        // If it is there and cannot be opened, the substitute stays.
        if self.open(Some(&wanted), false).is_ok()
            && let Some(using) = &self.using
        {
            self.tell(Notice::Using { what: self.what, name: using.name.clone() });
        }
    }

    fn open(&mut self, name: Option<&str>, substitute: bool) -> Result<(), DeviceError> {
        let generation = self.generation + 1;
        let pulse = Pulse { counter: Arc::clone(&self.counter), generation, keeper: self.inbox.clone() };
        let (open, end, name) = self.backend.open(name, pulse)?;
        self.generation = generation;
        if let Ok(mut shelf) = self.shelf.lock() {
            *shelf = Some(end);
        }
        self.using = Some(Using { _open: open, name, substitute, moved: (self.counter.read().0, Instant::now()) });
        Ok(())
    }

    fn tell(&self, notice: Notice) {
        tracing::info!("{notice}");
        if let Some(notices) = &self.wanted.notices {
            let _ = notices.try_send(notice);
        }
    }
}
