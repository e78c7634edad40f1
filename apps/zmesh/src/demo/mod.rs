//! The demo: a network of processes, a call through it, a download beside the call, and what was measured.

mod download;
mod listen;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::process::Child;
use crate::term;
use crate::testnet::{Plan, Testnet};

pub(crate) use report::{Call, Performance};

const RELAYS: Plan = Plan { relays: 8, exits: 2 };
/// How long a process may take to get ready, a call to connect, and each to stop.
const READY: Duration = Duration::from_secs(40);
const CONNECT: Duration = Duration::from_secs(40);
const GOODBYE: Duration = Duration::from_secs(8);
/// How much longer than asked for a call may take.
const OVERTIME: Duration = Duration::from_secs(30);

/// What the user wants.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub(crate) hops: u8,
    pub(crate) seconds: u32,
    pub(crate) input: Option<PathBuf>,
    pub(crate) output: PathBuf,
}

/// Everything that runs, so that all of it can be stopped whatever happened.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    testnet: Option<Testnet>,
    proxy: Option<Child>,
    answer: Option<Child>,
    call: Option<Child>,
}

impl Stage {
    /// Stops what runs, those who use the network first; gives the relays with their counters.
    pub(crate) async fn clear(self) -> Vec<Value> {
        let users = [self.call, self.answer, self.proxy].into_iter().flatten();
        let mut stopping = tokio::task::JoinSet::new();
        for child in users {
            stopping.spawn(child.stop(GOODBYE));
        }
        stopping.join_all().await;
        match self.testnet {
            Some(testnet) => testnet.stop().await,
            None => Vec::new(),
        }
    }
}

/// Does it all, and measures. What it starts stands on the `stage`.
pub(crate) async fn perform(stage: &mut Stage, wishes: &Wishes) -> Outcome<Performance> {
    let speech = speech(wishes)?;
    files::directory(&wishes.output)?;
    // Absolute, so that the paths in the report work from everywhere.
    let output = std::fs::canonicalize(&wishes.output).unwrap_or_else(|_| wishes.output.clone());
    let spoken = output.join("spoken.wav");
    files::replace(&spoken, &speech.file, Access::Public)?;

    term::progress(format_args!("starting {} relays", RELAYS.relays));
    let testnet = stage.testnet.insert(Testnet::prepare(&output.join("testnet"), RELAYS)?);
    testnet.start().await?;
    let network = testnet.network_file().to_owned();

    term::progress("starting the proxy and the two ends of a call");
    let hops = wishes.hops.to_string();
    let seconds = wishes.seconds.to_string();
    let common = ["--hops", &hops, "--json"];
    let network_option = [Path::new("--network"), &network];
    let proxy = stage.proxy.insert(start(
        "the proxy",
        &["proxy", "--listen", "127.0.0.1:0"],
        &[&common[..]],
        &network_option,
        &output.join("proxy.log"),
    )?);
    let talk = ["--seconds", &seconds];
    let (heard_by_answerer, heard_by_caller) =
        (output.join("heard-by-answerer.wav"), output.join("heard-by-caller.wav"));
    let answer = stage.answer.insert(start(
        "the answering end",
        &["voice", "answer"],
        &[&common, &talk],
        &[&network_option[..], &sound(&spoken, &heard_by_answerer)].concat(),
        &output.join("answer.log"),
    )?);
    let answer_ready = answer.result("ready", READY).await?;
    let invite = answer_ready["invite"].as_str().unwrap_or_default().to_owned();
    // The caller is given the invite and nothing else: it brings the network.
    let call = stage.call.insert(start(
        "the calling end",
        &["voice", "call"],
        &[&common, &talk],
        &sound(&spoken, &heard_by_caller),
        &output.join("call.log"),
    )?);
    call.say(&invite).await?;
    call.result("ready", READY).await?;
    let connected = connected(call).await?;
    let proxy_ready = proxy.result("ready", READY).await?;

    // The first half of the call is quiet, the second shares the relays with the download. Both ends are listened to all
    // the while: what they say must not pile up, and if one fails there is no point in going on.
    term::progress(format_args!("talking for {seconds} s, both ways at once"));
    let length = Duration::from_secs(wishes.seconds.into());
    let beside = async {
        sleep_until(connected + length / 2).await;
        term::progress("downloading 100 MB through the proxy, beside the call");
        download::run(&proxy_ready).await
    };
    let patience = length + OVERTIME;
    let (bulk, call_report, answer_report) =
        tokio::try_join!(beside, call.result("stopped", patience), answer.result("stopped", patience))?;
    term::progress("listening to what was heard");

    let caller = Call::read(&call_report);
    let answerer = Call::read(&answer_report);
    let to_answerer = listen::measure(&speech.samples, &caller, &heard_by_answerer, &answerer, bulk.during)?;
    let to_caller = listen::measure(&speech.samples, &answerer, &heard_by_caller, &caller, bulk.during)?;
    Ok(Performance {
        hops: wishes.hops,
        output,
        recordings: vec![heard_by_answerer, heard_by_caller, spoken],
        caller,
        answerer,
        to_answerer,
        to_caller,
        proxy_circuits: proxy_ready["circuits"].clone(),
        bulk,
        memory: stage.testnet.as_ref().map(Testnet::relays).unwrap_or_default(),
    })
}

/// The recording that is spoken: the user's, or the one that zmesh brings.
struct Speech {
    file: Vec<u8>,
    samples: Vec<i16>,
}

fn speech(wishes: &Wishes) -> Outcome<Speech> {
    let (file, name) = match &wishes.input {
        Some(path) => {
            let bytes = files::read(path, "input", "give a WAV file, or leave --input out")?;
            (bytes.to_vec(), path.as_path())
        }
        None => (zmesh_voice::SPEECH_WAV.to_vec(), Path::new("speech.wav")),
    };
    let samples = zmesh_voice::audio::wav::decode_wav(file.as_slice(), name)
        .map_err(|error| Failure::misused("the input cannot be used", error, "give a WAV file of that format"))?;
    Ok(Speech { file, samples })
}

fn sound<'a>(input: &'a Path, output: &'a Path) -> [&'a Path; 4] {
    [Path::new("--input"), input, Path::new("--output"), output]
}

fn start(name: &str, command: &[&str], options: &[&[&str]], files: &[&Path], log: &Path) -> Outcome<Child> {
    let words = command.iter().chain(options.iter().copied().flatten()).map(AsRef::<std::ffi::OsStr>::as_ref);
    Child::start(name, words.chain(files.iter().map(|path| path.as_os_str())), log)
}

/// Waits until the call stands; gives the moment.
async fn connected(call: &mut Child) -> Outcome<Instant> {
    let deadline = Instant::now() + CONNECT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let update = call.result("update", left).await?;
        if update["update"] == "connected" {
            return Ok(Instant::now());
        }
    }
}
