//! Runs the program, and makes files for it.

pub(crate) mod echo;
pub(crate) mod running;

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use zmesh_overlay::Bootstrap;
use zmesh_proto::keys::RelayKeys;
use zmesh_proto::link::LinkPeer;
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, ExitSummary, PortSet, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, NetworkId, SignerId};

/// A directory in which the program runs, with a home of its own.
pub(crate) struct Folder {
    directory: TempDir,
    /// The names that the test itself put there.
    written: RefCell<Vec<PathBuf>>,
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder { directory: TempDir::new().expect("a directory"), written: RefCell::default() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Writes a file that nobody else may read.
    #[cfg(target_os = "linux")]
    pub(crate) fn write_secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("changed");
    }

    /// The program with arguments, in this directory, without the user's own settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zmesh"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("XDG_CONFIG_HOME", self.path("no-home"))
            .env("XDG_STATE_HOME", self.path("no-home"))
            .env_remove("ZMESH_NETWORK")
            .env_remove("ZMESH_BOOTSTRAP")
            .env_remove("ZMESH_STATE")
            .env_remove("ZMESH_FALLBACKS")
            .env_remove("ZMESH_LOG")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.written.replace(self.names());
        let output = self.command(arguments).output().expect("it runs");
        Ran {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// The same, with the file `input` as stdin.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let file = fs::File::open(self.path(input)).expect("a file");
        let output = self.command(arguments).stdin(file).output().expect("it runs");
        Ran {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    pub(crate) fn succeeds(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        ran.stdout
    }

    /// Runs what must fail with `code`, one line about it, and no results. Gives the line.
    pub(crate) fn fails(&self, arguments: &[&str], code: i32) -> String {
        let line = self.fails_after_warnings(arguments, code);
        assert!(!line.starts_with("warning: "));
        line
    }

    /// The same, warnings allowed.
    pub(crate) fn fails_after_warnings(&self, arguments: &[&str], code: i32) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        let said: Vec<&str> =
            ran.stderr.lines().filter(|line| !line.starts_with("· ") && !line.starts_with("warning: ")).collect();
        assert_eq!(said.len(), 1, "{arguments:?}: {}", ran.stderr);
        let line = said[0].strip_prefix("error: ").unwrap_or_else(|| panic!("{said:?}"));
        assert!(line.contains(": ") && line.contains("; "), "what, why, what to do: {line}");
        assert!(!line.contains('\u{1b}'), "no colours into a pipe");
        line.to_owned()
    }

    /// The last run left no new file.
    pub(crate) fn unchanged(&self) {
        assert_eq!(self.names(), *self.written.borrow());
    }

    pub(crate) fn names(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, names: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    walk(&path, names);
                }
                names.push(path);
            }
        }
        let mut names = Vec::new();
        walk(self.directory.path(), &mut names);
        names.sort();
        names
    }
}

/// A test network whose relays do not run: `relays` of them, the last `exits` are exits.
pub(crate) fn network(relays: u8, exits: u8) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    network_at(now, relays, exits)
}

/// A bootstrap line that leads to a relay that does not run.
pub(crate) fn bootstrap_line() -> String {
    let keys = RelayKeys::generate(&mut ChaCha12Rng::from_seed([5; 32]), 1_700_000_000);
    let entry = LinkPeer {
        identity: keys.identity_public(),
        link_key: keys.link_public(),
        addresses: vec![SocketAddr::from(([127, 0, 0, 1], 9))],
    };
    Bootstrap::new(NetworkId([6; 32]), vec![entry]).expect("one relay with an address").to_string()
}

/// A network document that was good a month ago.
pub(crate) fn expired_network() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    network_at(now - 30 * 86_400, 4, 1)
}

fn network_at(now: u64, relays: u8, exits: u8) -> String {
    let mut rng = ChaCha12Rng::from_seed([9; 32]);
    let keys: Vec<RelayKeys> = (0..relays).map(|_| RelayKeys::generate(&mut rng, now)).collect();
    network_of(now, &keys, |number, info| {
        info.exit = (number >= relays - exits).then(|| ExitSummary { v4: true, v6: false, ports: PortSet::all() });
    })
}

/// A test network from `now` on for a day, of the relays with these keys; `describe` changes what is said of each.
pub(crate) fn network_of(now: u64, keys: &[RelayKeys], describe: impl Fn(u8, &mut DescriptorInfo)) -> String {
    let terms = Terms { published: now, expires: now + 86_400, revision: 1 };
    let mut draft = Draft::new(DraftTerms {
        name: "test".to_owned(),
        test_network: true,
        valid_after: now,
        valid_until: now + 86_400,
        signers: vec![SignerId(keys[0].identity_public())],
    })
    .expect("valid");
    for (number, keys) in (0..).zip(keys) {
        let mut info = DescriptorInfo {
            nickname: format!("r{number}"),
            operator: "test".to_owned(),
            family: None,
            country: None,
            // Nobody answers at the discard port.
            addresses: vec![SocketAddr::from(([127, 0, 0, 1 + number], 9))],
            exit: None,
            meeting: true,
            cache: false,
            mixer: false,
            directory: false,
            region: None,
            control: Vec::new(),
        };
        describe(number, &mut info);
        draft.add(Descriptor::create(keys, &info, terms).expect("valid")).expect("new");
    }
    assert!(draft.sign(&keys[0].signer(), now).expect("signed").is_enough());
    draft.to_text()
}

/// A port of TCP that refuses connections and that nobody else can take as long as this lives.
pub(crate) fn held_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
    socket
}

/// A WAV file of 16-bit silence.
pub(crate) fn wav(channels: u16, rate: u32, frames: u32) -> Vec<u8> {
    let bytes = frames * u32::from(channels) * 2;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * u32::from(channels) * 2).to_le_bytes());
    out.extend((channels * 2).to_le_bytes());
    out.extend(16u16.to_le_bytes());
    out.extend(b"data");
    out.extend(bytes.to_le_bytes());
    out.resize(out.len() + usize::try_from(bytes).expect("small"), 0);
    out
}
