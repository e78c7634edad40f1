//! The space bar, for push to talk.

use tokio::sync::mpsc;
use zmesh_voice::process::gate::TalkKey;

use crate::failure::{Failure, Outcome};

/// Switches the key at each press of the space bar, until it is dropped. The terminal is as it was then.
pub(super) struct Keyboard {
    /// Whether the key is on, each time that it was switched.
    pub(super) switched: mpsc::Receiver<bool>,
    #[cfg(unix)]
    terminal: std::sync::Arc<unix::Terminal>,
    #[cfg(unix)]
    reader: Option<std::thread::JoinHandle<()>>,
}

/// Presses that may wait to be shown.
#[cfg(unix)]
const PRESSES: usize = 16;

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io::{IsTerminal, Read};
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::{io, thread};

    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

    use super::{Failure, Keyboard, Outcome, PRESSES, TalkKey, mpsc};

    /// A read that finds nothing comes back after so many tenths of a second, to see whether it is over.
    const TENTHS: u8 = 2;

    /// A terminal whose keys come one by one and are not shown.
    pub(crate) struct Terminal {
        file: OwnedFd,
        before: Termios,
        over: AtomicBool,
    }

    impl Terminal {
        fn open() -> io::Result<Terminal> {
            // Stdin may be a file with the invite; the person sits at the terminal all the same.
            let stdin = io::stdin();
            let file =
                if stdin.is_terminal() { stdin.as_fd().try_clone_to_owned()? } else { File::open("/dev/tty")?.into() };
            let before = tcgetattr(&file)?;
            let mut keys = before.clone();
            // Ctrl-C still ends the call.
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            keys.special_codes[SpecialCodeIndex::VMIN] = 0;
            keys.special_codes[SpecialCodeIndex::VTIME] = TENTHS;
            tcsetattr(&file, OptionalActions::Now, &keys)?;
            Ok(Terminal { file, before, over: AtomicBool::new(false) })
        }

        fn read(&self, mut pressed: impl FnMut(u8)) -> io::Result<()> {
            let mut file = File::from(self.file.try_clone()?);
            let mut keys = [0; 16];
            while !self.over.load(Ordering::Relaxed) {
                match file.read(&mut keys) {
                    Ok(count) => keys[..count].iter().for_each(|key| pressed(*key)),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            let _ = tcsetattr(&self.file, OptionalActions::Now, &self.before);
        }
    }

    impl Keyboard {
        pub(crate) fn watch(key: TalkKey) -> Outcome<Keyboard> {
            let unusable = |error: io::Error| {
                Failure::misused(
                    "push to talk needs a keyboard",
                    error,
                    "run it in a terminal, or leave --push-to-talk out: voice activity needs none",
                )
            };
            let terminal = Arc::new(Terminal::open().map_err(unusable)?);
            let shared = Arc::clone(&terminal);
            let (sender, switched) = mpsc::channel(PRESSES);
            let reader = thread::Builder::new()
                .name("zmesh-keys".into())
                .spawn(move || {
                    let read = shared.read(|pressed| {
                        if pressed == b' ' {
                            let _ = sender.try_send(key.toggle());
                        }
                    });
                    if let Err(error) = read {
                        tracing::debug!(%error, "the terminal has gone");
                    }
                    // Nobody can switch it off any more.
                    key.set(false);
                })
                .map_err(unusable)?;
            Ok(Keyboard { switched, terminal, reader: Some(reader) })
        }
    }

    impl Drop for Keyboard {
        fn drop(&mut self) {
            self.terminal.over.store(true, Ordering::Relaxed);
            if let Some(reader) = self.reader.take() {
                // A fifth of a second at most; then the terminal is nobody's but this one's, and is put back.
                let _ = reader.join();
            }
        }
    }
}

#[cfg(not(unix))]
impl Keyboard {
    pub(super) fn watch(_: TalkKey) -> Outcome<Keyboard> {
        Err(Failure::misused(
            "push to talk needs a keyboard",
            "it is there on Unix systems only, so far",
            "leave --push-to-talk out: voice activity needs none",
        ))
    }
}
