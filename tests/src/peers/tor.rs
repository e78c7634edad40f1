//! A private Tor network on loopback, from the system's `tor`: three authorities, four relays (all of them exits) and
//! one client with a SOCKS port. It touches nothing outside its own temporary directory.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Error;
use super::process::{Memory, Process, find_program, free_ports, last_line};

const AUTHORITIES: usize = 3;
const RELAYS: usize = 4;

/// What every daemon of the network has in common. Short voting intervals bring the first consensus after about half a minute.
const COMMON: &str = "\
TestingTorNetwork 1
RunAsDaemon 0
AvoidDiskWrites 1
SafeLogging 0
DisableDebuggerAttachment 0
ShutdownWaitLength 0
AssumeReachable 1
PathsNeededToBuildCircuits 0.67
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingMinExitFlagThreshold 0
V3AuthNIntervalsValid 2
";

const AUTHORITY: &str = "\
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
ContactInfo private@example.invalid
TestingV3AuthInitialVotingInterval 10
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 10
V3AuthVoteDelay 2
V3AuthDistDelay 2
ExitPolicy reject *:*
";

const EXIT: &str = "\
ExitRelay 1
ExitPolicy accept *:*
ExitPolicyRejectPrivate 0
ExitPolicyRejectLocalInterfaces 0
IPv6Exit 1
";

/// A running private Tor network. Dropping it ends every daemon and removes its directory.
#[derive(Debug)]
pub struct TorNetwork {
    // Dropped in this order: first the daemons, then their files.
    client: Process,
    relays: Vec<Process>,
    authorities: Vec<Process>,
    socks: SocketAddr,
    control: PathBuf,
    /// What every torrc begins with.
    common: String,
    directory: TempDir,
    took: Duration,
}

/// Where the daemons of a network run.
#[derive(Debug, Clone)]
pub struct Place {
    /// The address of authorities and relays.
    pub address: Ipv4Addr,
    /// What stands before the command of an authority or relay: `ip netns exec NAME`, or nothing.
    pub servers: Vec<String>,
    /// What stands before the command of the client.
    pub client: Vec<String>,
}

impl Place {
    /// This machine's loopback.
    #[must_use]
    pub fn here() -> Place {
        Place { address: Ipv4Addr::LOCALHOST, servers: Vec::new(), client: Vec::new() }
    }
}

/// One daemon before it runs.
struct Plan {
    nickname: String,
    address: Ipv4Addr,
    directory: PathBuf,
    or_port: u16,
    dir_port: u16,
}

impl TorNetwork {
    /// The version of the system's `tor`, or nothing where it is not installed.
    #[must_use]
    pub fn version() -> Option<String> {
        find_program("tor-gencert")?;
        let output = Command::new(find_program("tor")?).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(text.lines().next()?.trim_start_matches("Tor version ").trim_end_matches('.').to_owned())
    }

    /// Makes keys, starts the daemons and waits until the client has a circuit.
    ///
    /// # Errors
    /// When tor is not installed, a key cannot be made, or the client is not ready within `patience`.
    pub fn start(patience: Duration) -> Result<TorNetwork, Error> {
        TorNetwork::start_at(&Place::here(), patience)
    }

    /// The same network elsewhere.
    ///
    /// # Errors
    /// As [`TorNetwork::start`].
    pub fn start_at(place: &Place, patience: Duration) -> Result<TorNetwork, Error> {
        let begun = Instant::now();
        let tor = find_program("tor").ok_or(Error::Missing("tor"))?;
        let gencert = find_program("tor-gencert").ok_or(Error::Missing("tor-gencert"))?;
        let directory = tempfile::Builder::new()
            .prefix("zmesh-bench-tor-")
            .tempdir()
            .map_err(Error::io("making a directory for tor"))?;

        let ports = free_ports::<{ 2 * AUTHORITIES + RELAYS + 1 }>()?;
        let authorities = (0..AUTHORITIES)
            .map(|i| Plan::new(&directory, place.address, format!("auth{i}"), ports[2 * i], ports[2 * i + 1]))
            .collect::<Result<Vec<_>, _>>()?;
        let relays = (0..RELAYS)
            .map(|i| Plan::new(&directory, place.address, format!("relay{i}"), ports[2 * AUTHORITIES + i], 0))
            .collect::<Result<Vec<_>, _>>()?;
        let client = Plan::new(&directory, place.address, "client".to_owned(), 0, 0)?;
        let socks = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[2 * AUTHORITIES + RELAYS]));

        let mut common = COMMON.to_owned();
        for authority in &authorities {
            common.push_str(&authority.make_authority_keys(&tor, &gencert)?);
        }
        for authority in &authorities {
            authority.write_torrc(&[&common, AUTHORITY])?;
        }
        for relay in &relays {
            relay.write_torrc(&[&common, EXIT])?;
        }
        let control = client.directory.join("control");
        client.write_torrc(&[&common, &client.client_lines(socks)])?;

        let mut network = TorNetwork {
            authorities: authorities.iter().map(|plan| plan.start(&tor, &place.servers)).collect::<Result<_, _>>()?,
            relays: relays.iter().map(|plan| plan.start(&tor, &place.servers)).collect::<Result<_, _>>()?,
            client: client.start(&tor, &place.client)?,
            socks,
            control,
            common,
            directory,
            took: Duration::ZERO,
        };
        network.wait_until_ready(&client.log(), begun + patience, patience)?;
        network.took = begun.elapsed();
        Ok(network)
    }

    /// Starts one more client, with `before` before its command, and waits until it has a circuit: the process and its SOCKS port.
    ///
    /// # Errors
    /// As [`TorNetwork::start`].
    pub fn add_client(
        &self,
        name: &str,
        before: &[String],
        patience: Duration,
    ) -> Result<(Process, SocketAddr), Error> {
        let tor = find_program("tor").ok_or(Error::Missing("tor"))?;
        let [port] = free_ports::<1>()?;
        let socks = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let plan = Plan::new(&self.directory, Ipv4Addr::LOCALHOST, name.to_owned(), 0, 0)?;
        plan.write_torrc(&[&self.common, &plan.client_lines(socks)])?;
        let client = plan.start(&tor, before)?;
        let until = Instant::now() + patience;
        while !fs::read_to_string(plan.log()).unwrap_or_default().contains("Bootstrapped 100%") {
            if Instant::now() > until {
                let (program, seconds) = (format!("tor {name}"), patience.as_secs());
                return Err(Error::NotReady { program, seconds, last: last_line(&plan.log()) });
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok((client, socks))
    }

    /// Where the client's SOCKS port is.
    #[must_use]
    pub fn socks(&self) -> SocketAddr {
        self.socks
    }

    /// How long it took until the client was ready.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The directory with every daemon's files and logs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Resident memory of each relay, authorities left out.
    #[must_use]
    pub fn relay_memory(&self) -> Vec<Memory> {
        self.relays.iter().filter_map(Process::memory).collect()
    }

    /// Process ids of relays and client, for accounts of CPU time.
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        self.relays.iter().chain(&self.authorities).chain([&self.client]).map(Process::id).collect()
    }

    /// Turns the client's ready-made circuits on or off. Off, with every old circuit set aside, the next stream pays for its own circuit.
    ///
    /// # Errors
    /// When the client's control socket does not answer.
    pub fn set_ready_made_circuits(&self, on: bool) -> Result<(), Error> {
        if on {
            self.control(&["SETCONF __DisablePredictedCircuits=0"])
        } else {
            self.control(&["SETCONF __DisablePredictedCircuits=1", "SIGNAL NEWNYM"])
        }
        .map(drop)
    }

    /// How many of the client's circuits are built.
    ///
    /// # Errors
    /// When the client's control socket does not answer.
    pub fn circuits_built(&self) -> Result<usize, Error> {
        let said = self.control(&["GETINFO circuit-status"])?;
        Ok(said.iter().filter(|line| line.contains(" BUILT ")).count())
    }

    /// How many exits the client's consensus names.
    fn exits_known(&self) -> Result<usize, Error> {
        let said = self.control(&["GETINFO ns/all"])?;
        Ok(said.iter().filter(|line| line.starts_with("s ") && line.contains(" Exit ")).count())
    }

    fn wait_until_ready(&mut self, log: &Path, until: Instant, patience: Duration) -> Result<(), Error> {
        loop {
            let text = fs::read_to_string(log).unwrap_or_default();
            // The first consensus may lack relays that were late: wait for one that names every exit.
            if text.contains("Bootstrapped 100%") && self.exits_known().is_ok_and(|exits| exits >= RELAYS) {
                return Ok(());
            }
            let ended = self
                .authorities
                .iter_mut()
                .chain(&mut self.relays)
                .chain([&mut self.client])
                .find_map(|daemon| (!daemon.runs()).then(|| daemon.name().to_owned()));
            if let Some(name) = ended {
                let log = self.directory.path().join(&name).join("log");
                return Err(Error::Unexpected { said: last_line(&log), program: format!("tor {name}") });
            }
            if Instant::now() > until {
                return Err(Error::NotReady {
                    program: "the private Tor network".to_owned(),
                    seconds: patience.as_secs(),
                    last: last_line(log),
                });
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sends commands to the client's control socket and gives the lines of the answers.
    fn control(&self, commands: &[&str]) -> Result<Vec<String>, Error> {
        let what = || "asking tor's control socket";
        let mut stream = UnixStream::connect(&self.control).map_err(Error::io(what()))?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(Error::io(what()))?;
        let mut reader = BufReader::new(stream.try_clone().map_err(Error::io(what()))?);
        let mut lines = Vec::new();
        for command in ["AUTHENTICATE"].iter().chain(commands) {
            stream.write_all(format!("{command}\r\n").as_bytes()).map_err(Error::io(what()))?;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).map_err(Error::io(what()))?;
                let line = line.trim_end().to_owned();
                let last = line.as_bytes().get(3) == Some(&b' ') && line.as_bytes()[0].is_ascii_digit();
                let failed = last && !line.starts_with("250");
                lines.push(line);
                if failed || lines.last().is_some_and(String::is_empty) && lines.len() > 10_000 {
                    return Err(Error::Unexpected {
                        program: "tor client".to_owned(),
                        said: lines.pop().unwrap_or_default(),
                    });
                }
                if last {
                    break;
                }
            }
        }
        Ok(lines)
    }
}

impl Plan {
    fn new(root: &TempDir, address: Ipv4Addr, nickname: String, or_port: u16, dir_port: u16) -> Result<Plan, Error> {
        let directory = root.path().join(&nickname);
        fs::create_dir_all(directory.join("keys")).map_err(Error::io("making a directory"))?;
        for path in [&directory, &directory.join("keys")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .map_err(Error::io("restricting a directory"))?;
        }
        Ok(Plan { nickname, address, directory, or_port, dir_port })
    }

    /// What a client's torrc says beside the common part.
    fn client_lines(&self, socks: SocketAddr) -> String {
        let control = self.directory.join("control");
        format!("SocksPort {socks}\nControlSocket {}\nConnectionPadding 0\n", control.display())
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn torrc(&self) -> PathBuf {
        self.directory.join("torrc")
    }

    fn write_torrc(&self, parts: &[&str]) -> Result<(), Error> {
        let mut text = parts.concat();
        text.push_str(&format!(
            "Nickname {}\nDataDirectory {}\nLog notice file {}\n",
            self.nickname,
            self.directory.display(),
            self.log().display()
        ));
        if self.or_port != 0 {
            text.push_str(&format!("Address {0}\nORPort {0}:{1}\nSocksPort 0\n", self.address, self.or_port));
        }
        if self.dir_port != 0 {
            text.push_str(&format!("DirPort {}:{}\n", self.address, self.dir_port));
        }
        fs::write(self.torrc(), text).map_err(Error::io("writing a torrc"))
    }

    /// Makes an authority's keys and gives the line by which everybody else knows it.
    fn make_authority_keys(&self, tor: &Path, gencert: &Path) -> Result<String, Error> {
        let keys = self.directory.join("keys");
        let mut child = Command::new(gencert)
            .args(["--create-identity-key", "--passphrase-fd", "0", "-m", "12"])
            .args(["-a", &format!("{}:{}", self.address, self.dir_port)])
            .arg("-i")
            .arg(keys.join("authority_identity_key"))
            .arg("-s")
            .arg(keys.join("authority_signing_key"))
            .arg("-c")
            .arg(keys.join("authority_certificate"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("starting tor-gencert"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(b"a throwaway passphrase\n").map_err(Error::io("giving tor-gencert its passphrase"))?;
        }
        let output = child.wait_with_output().map_err(Error::io("waiting for tor-gencert"))?;
        let certificate = fs::read_to_string(keys.join("authority_certificate")).unwrap_or_default();
        let v3_identity = certificate
            .lines()
            .find_map(|line| line.strip_prefix("fingerprint "))
            .ok_or_else(|| Error::Unexpected {
                program: "tor-gencert".to_owned(),
                said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            })?
            .to_owned();

        let output = Command::new(tor)
            .args(["--ignore-missing-torrc", "--quiet", "--list-fingerprint"])
            .args(["-f", "/nonexistent", "--defaults-torrc", "/nonexistent"])
            .args(["--DirAuthority", "none 127.0.0.1:1 ffffffffffffffffffffffffffffffffffffffff"])
            .args(["--ORPort", &self.or_port.to_string()])
            .args(["--Nickname", &self.nickname])
            .arg("--DataDirectory")
            .arg(&self.directory)
            .output()
            .map_err(Error::io("starting tor --list-fingerprint"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let fingerprint = said
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{} ", self.nickname)))
            .map(|text| text.replace(' ', ""))
            .ok_or_else(|| Error::Unexpected {
                program: "tor --list-fingerprint".to_owned(),
                said: format!("{said}{}", String::from_utf8_lossy(&output.stderr)),
            })?;
        Ok(format!(
            "DirAuthority {} orport={} no-v2 v3ident={v3_identity} {}:{} {fingerprint}\n",
            self.nickname, self.or_port, self.address, self.dir_port
        ))
    }

    fn start(&self, tor: &Path, before: &[String]) -> Result<Process, Error> {
        let mut command = match before.split_first() {
            Some((first, more)) => {
                let mut command = Command::new(first);
                command.args(more).arg(tor);
                command
            }
            None => Command::new(tor),
        };
        Process::start(
            &self.nickname,
            command
                .args(["--defaults-torrc", "/nonexistent", "-f"])
                .arg(self.torrc())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
    }
}
