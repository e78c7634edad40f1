//! A call over Mumble: Debian's server among the servers, Debian's client at both homes, without a desktop and without a sound card.
//!
//! The clients draw on a screen in memory (Xvfb) and play to a sound server without devices (PulseAudio). There both mouths and both ears are
//! channels of one device, so that one recording holds them all on one clock: what is said is known to the sample, and so is when.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use zmesh_voice::audio::wav::write_wav;
use zmesh_voice::media::{FRAME_SAMPLES, SAMPLE_RATE};
use zmesh_voice::runner::OUTPUT_LEAD;

use super::commands::{PATIENCE, inside, not_ready, program, quiet, run};
use super::homes::{Homes, SERVERS, Who};
use super::sound::Sound;
use crate::peers::Error;
use crate::peers::process::{Process, last_line};
use crate::quality::end::Tape;
use crate::quality::run::samples_in;
use crate::quality::speech::Speech;

/// The server's port.
const PORT: u16 = 64_738;
/// From being connected to talking: the clients try UDP every 5 s, and speak TCP until it answers.
const SETTLES: Duration = Duration::from_secs(12);
/// What still arrives after the last word.
const AFTER: Duration = Duration::from_secs(2);
/// Datagrams a second that a home must send for its voice to go by UDP; the client sends 50.
const LEAST_DATAGRAMS: f64 = 25.0;
/// Channels of the recording: the two mouths, the two ears.
const CHANNELS: usize = 4;

/// What each client is told: 72 kbit/s in packets of 20 ms, the best of the presets of its settings, always sending; no processing of
/// the sound, as our measured calls have none.
const SETTINGS: &str = "\
[General]
lastupdate=2

[audio]
input=PulseAudio
output=PulseAudio
transmit=0
quality=72000
framesperpacket=2
noisesupress=0
loudness=30000
echo=false

[ui]
usage=false
updateCheck=false
pluginCheck=false

[tts]
enable=false
";

/// A running server, two clients, and what they see and hear by. Dropping it ends all of them.
#[derive(Debug)]
pub struct MumbleCall {
    sound: Sound,
    clients: Vec<Process>,
    _server: Process,
    _screen: Process,
    directory: TempDir,
}

impl MumbleCall {
    /// Starts everything and waits until both clients are in the same room.
    ///
    /// # Errors
    /// When a program is missing, or not ready in time.
    pub fn start(homes: &Homes) -> Result<MumbleCall, Error> {
        let directory = tempfile::Builder::new()
            .prefix("zmesh-mumble-")
            .tempdir()
            .map_err(Error::io("making a directory for mumble"))?;
        let root = directory.path();
        let sound = Sound::start(root)?;
        let (screen, display) = screen()?;
        let identity = Identity::make(root)?;
        let log = root.join("server.log");
        let server = server(root, &identity, &log, homes)?;
        let mut clients = Vec::new();
        for (who, name) in [(Who::Caller, "a"), (Who::Answerer, "b")] {
            clients.push(client(root, &identity, (who, name), (&sound.address, &display), homes)?);
            wait_for(&log, "Authenticated", clients.len())?;
        }
        Ok(MumbleCall { sound, clients, _server: server, _screen: screen, directory })
    }

    /// Both talk for `talk`: what each said and heard, the caller's first.
    ///
    /// # Errors
    /// When the sound server fails, what was said is not what the recording holds, or the voices did not go by UDP.
    pub fn talk(&mut self, homes: &Homes, speech: &Speech, talk: Duration) -> Result<[Tape; 2], Error> {
        thread::sleep(SETTLES);
        let root = self.directory.path();
        let said = speech.stretch(0, 0, samples_in(talk) / FRAME_SAMPLES * FRAME_SAMPLES);
        let (wav, raw) = (root.join("said.wav"), root.join("recorded.raw"));
        write_wav(&wav, &said)
            .map_err(|error| Error::Unexpected { program: "the sound file".to_owned(), said: error.to_string() })?;
        let before = [Who::Caller, Who::Answerer].map(|who| datagrams_sent(homes, who));
        let recorder = self.sound.record(&raw)?;
        // The recorder must hear the silence before the first word.
        thread::sleep(Duration::from_secs(1));
        let mut mouths = [self.sound.say(&wav, "mouth_a")?, self.sound.say(&wav, "mouth_b")?];
        let until = Instant::now() + talk + PATIENCE;
        while mouths.iter_mut().any(Process::runs) {
            if Instant::now() > until {
                return Err(not_ready("paplay", String::new()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(AFTER);
        drop(recorder);
        for (who, before) in [Who::Caller, Who::Answerer].into_iter().zip(before) {
            let sent = datagrams_sent(homes, who)?.saturating_sub(before?);
            if (sent as f64) < LEAST_DATAGRAMS * talk.as_secs_f64() {
                let said = format!("only {sent} datagrams left the home of {who:?}: its voice went by TCP");
                return Err(Error::Unexpected { program: "mumble".to_owned(), said });
            }
        }
        if let Some(gone) =
            self.clients.iter_mut().find_map(|client| (!client.runs()).then(|| client.name().to_owned()))
        {
            return Err(Error::Unexpected { program: gone, said: "it ended during the call".to_owned() });
        }
        let bytes = std::fs::read(&raw).map_err(Error::io("reading the recording"))?;
        tapes(&bytes, &said)
    }
}

/// The tapes out of the recording, whose channels are the mouth and the ear of the caller, then of the answerer.
fn tapes(recorded: &[u8], said: &[i16]) -> Result<[Tape; 2], Error> {
    let frame = 2 * CHANNELS;
    let channel = |number: usize| -> Vec<i16> {
        let samples = recorded.chunks_exact(frame).map(|frame| &frame[2 * number..2 * number + 2]);
        samples.map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]])).collect()
    };
    let tape = |mouth: usize| -> Result<Tape, Error> {
        let begins = find_exactly(&channel(mouth), said).ok_or_else(|| Error::Unexpected {
            program: "pulseaudio".to_owned(),
            said: "what was recorded is not what was said: other work held up the sound".to_owned(),
        })?;
        let start = Duration::from_secs_f64(begins as f64 / f64::from(SAMPLE_RATE));
        let heard = channel(mouth + 1).split_off(begins + samples_in(OUTPUT_LEAD));
        Ok(Tape { start, connected: Some(start), said: (said.len() / FRAME_SAMPLES) as u64, offset: 0, heard })
    };
    Ok([tape(0)?, tape(2)?])
}

/// Where `said` begins in `recorded`, if all of it is there without a gap. A sound server may round by one step.
fn find_exactly(recorded: &[i16], said: &[i16]) -> Option<usize> {
    const LOUD: u16 = 8;
    let first = |samples: &[i16]| samples.iter().position(|sample| sample.unsigned_abs() > LOUD);
    let begins = first(recorded)?.checked_sub(first(said)?)?;
    // What is a little under the bound in one may be a little over it in the other.
    (begins.saturating_sub(2)..=begins + 2).find(|begins| {
        let there = recorded.get(*begins..*begins + said.len());
        there.is_some_and(|there| there.iter().zip(said).all(|(a, b)| a.abs_diff(*b) <= 2))
    })
}

/// A screen in memory, and its name.
fn screen() -> Result<(Process, String), Error> {
    let mut command = Command::new(program("Xvfb")?);
    command.args(["-displayfd", "1", "-screen", "0", "1024x768x16", "-nolisten", "tcp"]);
    let mut screen = Process::start("Xvfb", quiet(&mut command).stdout(Stdio::piped()))?;
    let mut number = String::new();
    if let Some(stdout) = screen.child().stdout.take() {
        BufReader::new(stdout).read_line(&mut number).map_err(Error::io("reading from Xvfb"))?;
    }
    match number.trim() {
        "" => Err(not_ready("Xvfb", String::new())),
        number => Ok((screen, format!(":{number}"))),
    }
}

/// One key and certificate: for the server, so that clients can know it before, and for the clients, who else ask for one on the screen.
struct Identity {
    key: PathBuf,
    certificate: PathBuf,
    /// The certificate's SHA-1, by which a client knows a server.
    digest: String,
    /// Key and certificate as they stand in a client's settings.
    settings: String,
}

impl Identity {
    fn make(root: &Path) -> Result<Identity, Error> {
        let (key, certificate, bundle) = (root.join("key.pem"), root.join("certificate.pem"), root.join("id.p12"));
        let path = |path: &Path| path.display().to_string();
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=measured -keyout {} -out {}",
            path(&key),
            path(&certificate)
        ))?;
        openssl(&format!(
            "pkcs12 -export -passout pass: -inkey {} -in {} -out {}",
            path(&key),
            path(&certificate),
            path(&bundle)
        ))?;
        let said = openssl(&format!("x509 -noout -fingerprint -sha1 -in {}", path(&certificate)))?;
        let digest = said.rsplit('=').next().unwrap_or_default().trim().replace(':', "").to_lowercase();
        let bytes = std::fs::read(&bundle).map_err(Error::io("reading a key"))?;
        let mut settings = String::from("[net]\ncertificate=\"@ByteArray(");
        for byte in bytes {
            let _ = write!(settings, "\\x{byte:02x}");
        }
        settings.push_str(")\"\n");
        Ok(Identity { key, certificate, digest, settings })
    }
}

fn server(root: &Path, identity: &Identity, log: &Path, homes: &Homes) -> Result<Process, Error> {
    let configuration = format!(
        "database={root}/server.sqlite\nlogfile=\nhost={SERVERS}\nport={PORT}\nusers=4\nbandwidth=200000\nuname=root\ndbus=\n\
         bonjour=false\nwelcometext=\nsslCert={}\nsslKey={}\n",
        identity.certificate.display(),
        identity.key.display(),
        root = root.display(),
    );
    let file = root.join("server.ini");
    std::fs::write(&file, configuration).map_err(Error::io("writing the server's settings"))?;
    let output = std::fs::File::create(log).map_err(Error::io("making the server's log"))?;
    let errors = output.try_clone().map_err(Error::io("making the server's log"))?;
    let mut command = inside(&homes.at_servers(), &program("murmurd")?);
    command.args(["-fg", "-ini"]).arg(file);
    let server = Process::start("murmurd", quiet(&mut command).stdout(output).stderr(errors))?;
    wait_for(log, "Server listening", 1)?;
    Ok(server)
}

fn client(
    root: &Path,
    identity: &Identity,
    (who, name): (Who, &str),
    (sound, display): (&str, &str),
    homes: &Homes,
) -> Result<Process, Error> {
    let home = root.join(name);
    let (settings, data) = (home.join(".config/Mumble"), home.join(".local/share/Mumble/Mumble"));
    for directory in [&settings, &data] {
        std::fs::create_dir_all(directory).map_err(Error::io("making a directory for mumble"))?;
    }
    let devices = format!("\n[pulseaudio]\ninput=mic_{name}\noutput=ear_{name}\n\n");
    let text = [SETTINGS, &devices, &identity.settings].concat();
    std::fs::write(settings.join("Mumble.conf"), text).map_err(Error::io("writing mumble's settings"))?;
    // The server that this client knows already: else it would ask on the screen.
    let known = format!(
        "CREATE TABLE cert (id INTEGER PRIMARY KEY AUTOINCREMENT, hostname TEXT, port INTEGER, digest TEXT); \
         INSERT INTO cert (hostname, port, digest) VALUES ('{SERVERS}', {PORT}, '{}');",
        identity.digest
    );
    run(Command::new(program("sqlite3")?).arg(data.join("mumble.sqlite")).arg(known))?;
    let mut command = inside(&homes.at_home(who), &program("mumble")?);
    command
        .args(["-m", &format!("mumble://{name}@{SERVERS}:{PORT}/?version=1.2.0")])
        .env("HOME", &home)
        .env("XDG_RUNTIME_DIR", root)
        .env("PULSE_SERVER", sound)
        .env("DISPLAY", display);
    Process::start("mumble", quiet(&mut command))
}

/// Datagrams that programs at somebody's home have sent so far.
fn datagrams_sent(homes: &Homes, who: Who) -> Result<u64, Error> {
    let text = run(inside(&homes.at_home(who), &program("cat")?).arg("/proc/net/snmp"))?;
    let lines: Vec<Vec<&str>> =
        text.lines().filter(|line| line.starts_with("Udp:")).map(|line| line.split_whitespace().collect()).collect();
    let found = match lines.as_slice() {
        [names, values, ..] => {
            let column = names.iter().position(|name| *name == "OutDatagrams");
            column.and_then(|column| values.get(column)?.parse().ok())
        }
        _ => None,
    };
    found.ok_or_else(|| Error::Unexpected { program: "/proc/net/snmp".to_owned(), said: text })
}

fn wait_for(log: &Path, words: &str, times: usize) -> Result<(), Error> {
    let until = Instant::now() + PATIENCE;
    while std::fs::read_to_string(log).unwrap_or_default().matches(words).count() < times {
        if Instant::now() > until {
            return Err(not_ready("murmurd", last_line(log)));
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn openssl(arguments: &str) -> Result<String, Error> {
    run(Command::new(program("openssl")?).args(arguments.split(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_gives_what_each_said_and_heard() {
        let speech = Speech::shipped().unwrap();
        let said = speech.stretch(0, 0, 200 * FRAME_SAMPLES);
        let (begins, ear) = ([700, 1_900], 40);
        let mut recorded = Vec::new();
        for at in 0..said.len() + 5_000 {
            let spoken = |person: usize| at.checked_sub(begins[person]).and_then(|at| said.get(at)).copied();
            for person in 0..2 {
                let heard = i16::try_from(at % 1_000).unwrap() + ear;
                for sample in [spoken(person).unwrap_or(0), heard] {
                    recorded.extend_from_slice(&sample.to_le_bytes());
                }
            }
        }
        let [caller, answerer] = tapes(&recorded, &said).unwrap();
        for (tape, begins) in [(&caller, begins[0]), (&answerer, begins[1])] {
            // A time in nanoseconds is a sample short where it does not divide.
            assert!(samples_in(tape.start).abs_diff(begins) <= 1, "{:?} {begins}", tape.start);
            assert_eq!(tape.said, 200);
            let first = (begins + samples_in(OUTPUT_LEAD)) % 1_000;
            assert_eq!(i32::from(tape.heard[0]), i32::try_from(first).unwrap() + i32::from(ear));
        }
        // A gap in what was said is found out: its time of arrival would say nothing.
        let frame = 2 * CHANNELS;
        recorded.drain(120_000 * frame..120_480 * frame);
        assert!(tapes(&recorded, &said).is_err());
    }
}
