//! `zmesh-quality --peers`: calls of others on the same profiles: one carried by TCP through a private Tor network, and one over Mumble.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use serde_json::Value;
use zmesh_netem::Profile;
use zmesh_tests::peers::tor::{Place, TorNetwork};
use zmesh_tests::quality::emodel;
use zmesh_tests::quality::end::Tape;
use zmesh_tests::quality::peers::carried::{JOIN_WITHIN, Stream, join_two};
use zmesh_tests::quality::peers::homes::{Homes, SERVERS, Who};
use zmesh_tests::quality::peers::mumble::MumbleCall;
use zmesh_tests::quality::report::{Heard, Row};
use zmesh_tests::quality::run::tape_delay;
use zmesh_tests::quality::score::{Score, Scorer, cut};
use zmesh_tests::quality::speech::Speech;
use zmesh_voice::audio::wav::read_wav;
use zmesh_voice::audio::{AtEnd, Input, Output};
use zmesh_voice::invite::Invite;
use zmesh_voice::runner::{AudioEnds, CallOptions, Party, run_call};

use crate::AnyError;
use crate::rows::Rows;

/// How long the private Tor network may take to be ready, behind an access link or not.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long a call may last beyond the time of talk.
const TO_CONNECT: Duration = Duration::from_secs(90);

/// Parts of a measurement that run as processes of their own, in namespaces of their own.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Joins the streams of two people.
    #[command(hide = true)]
    Join {
        /// Where to listen.
        listen: SocketAddr,
    },
    /// One person of a call that is carried by TCP.
    #[command(hide = true)]
    Talk {
        /// The SOCKS port.
        socks: SocketAddr,
        /// The server that joins the two.
        server: SocketAddr,
        /// Where what is heard goes, a WAV file.
        record: PathBuf,
        /// How long to talk, s.
        seconds: u64,
        /// The line from the other side; without it this side makes one and prints it.
        #[arg(long)]
        invite: Option<String>,
    },
}

pub(crate) fn part(part: &Part, speech: &Speech) -> Result<String, AnyError> {
    match part {
        Part::Join { listen } => {
            let listener = TcpListener::bind(listen)?;
            println!("{}", listener.local_addr()?);
            join_two(&listener)?;
            Ok(String::new())
        }
        Part::Talk { socks, server, record, seconds, invite } => {
            let talk = Duration::from_secs(*seconds);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(person(*socks, *server, record, talk, invite.as_deref(), speech))
        }
    }
}

async fn person(
    socks: SocketAddr,
    server: SocketAddr,
    record: &Path,
    talk: Duration,
    invite: Option<&str>,
    speech: &Speech,
) -> Result<String, AnyError> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let party = match invite {
        Some(line) => Party::Caller(Invite::parse(line, unix)?),
        None => {
            // Nobody else hears of it: predictable dice do no harm here.
            let mut dice = ChaCha12Rng::seed_from_u64(unix);
            let (invite, key) = Invite::create([0; 32], [0; 16], unix + 3_600, &mut dice);
            println!("{}", *invite.to_line());
            std::io::stdout().flush()?;
            Party::Answerer(invite, key)
        }
    };
    let said = speech.stretch(0, 0, speech.cycle_len());
    let ends = AudioEnds::new(Input::recording(said, AtEnd::Repeat), Output::wav(record)?);
    let options = CallOptions { join_within: Some(JOIN_WITHIN), talk_for: Some(talk), ..CallOptions::default() };
    let stream = Arc::new(Stream::connect(socks, server)?);
    let (updates, _unread) = tokio::sync::mpsc::channel(16);
    let report = run_call(stream, party, ends, options, updates).await?;
    Ok(serde_json::to_string(&report)?)
}

/// Whose calls are measured beside ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Our voice application, carried by TCP through Tor.
    Tor,
    /// Mumble's server and clients, by UDP.
    Mumble,
}

impl Peer {
    /// All of them.
    pub(crate) const ALL: [Peer; 2] = [Peer::Tor, Peer::Mumble];
}

/// What a measurement of a peer needs.
pub(crate) struct Peers<'a> {
    pub(crate) talk: Duration,
    pub(crate) seed: u64,
    pub(crate) speech: &'a Speech,
    pub(crate) directory: &'a Path,
    pub(crate) scorer: Option<&'a Scorer>,
}

impl Peers<'_> {
    /// A row for every profile and peer. A call that fails is told and left out: the others took minutes of real time.
    pub(crate) fn measure(
        &self,
        profiles: &[(String, Profile)],
        wanted: &[Peer],
        kept: &Rows,
    ) -> Result<Vec<Row>, AnyError> {
        let mut rows = Vec::new();
        for (name, profile) in profiles {
            for peer in wanted {
                let row = match peer {
                    Peer::Tor => self.tor(name, profile),
                    Peer::Mumble => self.mumble(name, profile),
                };
                match row {
                    Ok(row) => {
                        eprintln!("{}", row.summary());
                        kept.keep(&row)?;
                        rows.push(row);
                    }
                    Err(error) => eprintln!("{name}, {peer:?}: NOT MEASURED: {error}"),
                }
            }
        }
        Ok(rows)
    }

    /// A call over Tor on this profile.
    pub(crate) fn tor(&self, name: &str, profile: &Profile) -> Result<Row, AnyError> {
        let homes = Homes::build(profile, self.seed)?;
        let place = Place { address: SERVERS, servers: homes.at_servers(), client: homes.at_home(Who::Caller) };
        eprintln!("{name}: starting a private Tor network");
        let network = TorNetwork::start_at(&place, PATIENCE)?;
        let (_second, answerers) = network.add_client("client2", &homes.at_home(Who::Answerer), PATIENCE)?;
        let mut server = self.start(&homes.at_servers(), &["join", &format!("{SERVERS}:7000")])?;
        let address = first_line(&mut server)?;
        let files = [Who::Answerer, Who::Caller].map(|who| self.directory.join(format!("{name}-tor-{who:?}.wav")));
        let seconds = self.talk.as_secs().to_string();
        let talk = |home: Who, socks: SocketAddr, record: &Path, invite: Option<&str>| {
            let (socks, record) = (socks.to_string(), record.to_string_lossy().into_owned());
            let mut arguments = vec!["talk", &socks, &address, &record, &seconds];
            if let Some(invite) = invite {
                arguments.extend(["--invite", invite]);
            }
            self.start(&homes.at_home(home), &arguments)
        };
        let mut answerer = talk(Who::Answerer, answerers, &files[0], None)?;
        let invite = first_line(&mut answerer)?;
        let caller = talk(Who::Caller, network.socks(), &files[1], Some(&invite))?;
        let mut reports = Vec::new();
        for (who, mut child) in [("answerer", answerer), ("caller", caller)] {
            let report =
                last_line(&mut child, self.talk + TO_CONNECT).map_err(|error| format!("the {who}: {error}"))?;
            reports.push(serde_json::from_str::<Value>(&report)?);
        }
        let _ = server.kill();
        let _ = server.wait();
        self.row(name, "Tor, TCP", &reports, &files)
    }

    fn start(&self, before: &[String], arguments: &[&str]) -> Result<Child, AnyError> {
        let (first, more) = before.split_first().ok_or("no namespace")?;
        Ok(Command::new(first)
            .args(more)
            .arg(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?)
    }

    /// A call over Mumble on this profile.
    pub(crate) fn mumble(&self, name: &str, profile: &Profile) -> Result<Row, AnyError> {
        let homes = Homes::build(profile, self.seed)?;
        eprintln!("{name}: starting a Mumble server and two clients");
        let [caller, answerer] = MumbleCall::start(&homes)?.talk(&homes, self.speech, self.talk)?;
        let heard = |number: usize, talker: &Tape, listener: &Tape| -> Result<Heard, AnyError> {
            let mut heard = Heard::untold(tape_delay(talker, listener, self.speech, None));
            heard.scores = self.scores(&format!("{name}-mumble-{number}"), talker, listener)?;
            Ok(heard)
        };
        Ok(Row {
            profile: name.to_owned(),
            setting: "Mumble, UDP".to_owned(),
            seed: self.seed,
            seconds: self.talk.as_secs_f64(),
            heard: [heard(0, &caller, &answerer)?, heard(1, &answerer, &caller)?],
            added_p99_ms: None,
            kbit_s: None,
            ended_early: false,
        })
    }

    fn scores(&self, name: &str, talker: &Tape, listener: &Tape) -> Result<Vec<Score>, AnyError> {
        let Some(scorer) = self.scorer else { return Ok(Vec::new()) };
        let file = name.replace([' ', ',', '/', '.'], "_");
        Ok(scorer.score(cut(self.directory, &file, talker, listener, self.speech)?)?)
    }

    /// The row of a call of two real processes, from their reports and recordings: the answerer's, then the caller's.
    fn row(&self, name: &str, what: &str, reports: &[Value], files: &[PathBuf]) -> Result<Row, AnyError> {
        let mut tapes = Vec::new();
        for (report, file) in reports.iter().zip(files) {
            let micros = |key: &str| report[key].as_u64().ok_or_else(|| format!("a report without {key}"));
            tapes.push(Tape {
                start: Duration::from_micros(micros("first_input_unix_micros")?),
                connected: Some(Duration::from_micros(micros("first_input_unix_micros")?)),
                said: micros("messages_sent")?,
                offset: 0,
                heard: read_wav(file)?,
            });
        }
        let [answerer, caller] = tapes.as_slice() else { return Err("two reports are needed".into()) };
        let mut heard = Vec::new();
        for (number, (talker, listener)) in [(caller, answerer), (answerer, caller)].into_iter().enumerate() {
            let report = &reports[number];
            let count = |key: &str| report[key].as_u64().unwrap_or(0);
            let share = |key: &str| report[key].as_f64().unwrap_or(1.0);
            let mouth_to_ear = tape_delay(talker, listener, self.speech, None);
            let mut found = Heard {
                expected: count("frames_expected"),
                played: count("frames_played"),
                recovered: count("frames_recovered"),
                described: count("frames_described"),
                late: count("frames_late"),
                concealed: count("frames_concealed"),
                concealed_share: Some(share("concealed")),
                message_loss: Some(share("loss")),
                rating: mouth_to_ear.map(|found| emodel::rating(found.p50_ms, share("concealed"))),
                mouth_to_ear,
                scores: Vec::new(),
            };
            found.scores = self.scores(&format!("{name}-{what}-{number}"), talker, listener)?;
            heard.push(found);
        }
        let heard = heard.try_into().map_err(|_| "two directions are needed")?;
        let ended_early =
            reports.iter().any(|report| !matches!(report["ended"].as_str(), Some("hung_up" | "peer_hung_up")));
        Ok(Row {
            profile: name.to_owned(),
            setting: what.to_owned(),
            seed: self.seed,
            seconds: self.talk.as_secs_f64(),
            heard,
            added_p99_ms: None,
            kbit_s: None,
            ended_early,
        })
    }
}

fn first_line(child: &mut Child) -> Result<String, AnyError> {
    let stdout = child.stdout.as_mut().ok_or("no output")?;
    let mut line = String::new();
    // Byte by byte, so that nothing of what follows is swallowed.
    let mut byte = [0];
    while std::io::Read::read(stdout, &mut byte)? == 1 && byte[0] != b'\n' {
        line.push(char::from(byte[0]));
    }
    if line.is_empty() { Err("it said nothing".into()) } else { Ok(line) }
}

fn last_line(child: &mut Child, patience: Duration) -> Result<String, AnyError> {
    let until = std::time::Instant::now() + patience;
    while child.try_wait()?.is_none() {
        if std::time::Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            return Err("it did not end in time".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let stdout = child.stdout.take().ok_or("no output")?;
    let lines: Vec<String> = BufReader::new(stdout).lines().map_while(Result::ok).collect();
    lines.into_iter().rfind(|line| !line.is_empty()).ok_or_else(|| "it said nothing".into())
}
