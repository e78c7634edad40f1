//! The demo: a network of processes, a call through it, a download beside the call, and what was measured.

mod cost;
mod download;
mod impair;
mod listen;
mod report;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::process::Child;
use crate::term;
use crate::testnet::{Directory, EPOCH_DEFAULT, PEOPLE, Plan, Reserved, Testnet, shortage};
use cost::Mark;
use download::Download;
use impair::{Places, Weather};

pub(crate) use impair::{Impairment, builtin_profile};
pub(crate) use report::{Call, Performance};

const EXITS: usize = 2;
/// How long a process may take to get ready and a call to connect, and how long where bad lines stand between: a newcomer fetches a
/// document first, in several round trips.
const READY: Duration = Duration::from_secs(40);
const READY_IN_BAD_WEATHER: Duration = Duration::from_secs(120);
/// How long each may take to stop.
const GOODBYE: Duration = Duration::from_secs(8);
/// How much longer than asked for a call may take.
const OVERTIME: Duration = Duration::from_secs(30);
/// How long a call has settled before its cost is measured.
const SETTLED: Duration = Duration::from_secs(1);

/// What the user wants.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub(crate) hops: u8,
    pub(crate) relays: usize,
    pub(crate) seconds: u32,
    pub(crate) input: Option<PathBuf>,
    pub(crate) output: PathBuf,
    pub(crate) impair: Option<Impairment>,
    /// Megabytes (10⁶ bytes) to download.
    pub(crate) download: u32,
}

/// Everything that runs, so that all of it can be stopped whatever happened.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    testnet: Option<Testnet>,
    weather: Option<Weather>,
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
    // Where the two meet is the answerer's choice, on top of the caller's own relays.
    if let Some(lack) = shortage(wishes.relays, usize::from(wishes.hops) + 1) {
        return Err(Failure::misused("the demo cannot run", lack, "give more --relays or fewer --hops"));
    }
    let speech = speech(wishes)?;
    files::directory(&wishes.output)?;
    // Absolute, so that the paths in the report work from everywhere.
    let output = std::fs::canonicalize(&wishes.output).unwrap_or_else(|_| wishes.output.clone());
    let spoken = output.join("spoken.wav");
    files::replace(&spoken, &speech.file, Access::Public)?;

    term::progress(format_args!("starting {} relays", wishes.relays));
    // What voters load to measure relays would stand in every figure of this one machine.
    let directory = Directory::Agreed { epoch: EPOCH_DEFAULT, measure: false };
    let plan = Plan { relays: wishes.relays, exits: EXITS, directory };
    let testnet = stage.testnet.insert(Testnet::prepare(&output.join("testnet"), plan)?);
    let mut places = Places::default();
    if let Some(impairment) = &wishes.impair {
        let (weather, people) = Weather::begin(impairment, testnet)?;
        stage.weather = Some(weather);
        places = people;
    }
    testnet.start().await?;
    let ready = if wishes.impair.is_some() { READY_IN_BAD_WEATHER } else { READY };
    let (option, line) = testnet.option();
    let network = [Path::new(option), &line];
    // Each is a newcomer: nothing that another has fetched is there, and what they keep goes with the rest of the network.
    let people = output.join("testnet").join(PEOPLE);
    let state = |name: &str| [PathBuf::from("--state"), people.join(name)];

    term::progress("starting the proxy and the two ends of a call");
    let hops = wishes.hops.to_string();
    let seconds = wishes.seconds.to_string();
    // Each with guards of their own, as people have; what is on this machine belongs to one person.
    let common = ["--hops", &hops, "--ephemeral", "--json"];
    // Given up only now, for the process that starts next.
    let from = |place: Option<Reserved>| place.map(|place| ["--udp".to_owned(), place.address().to_string()]);
    let from_proxy = from(places.proxy);
    let proxy = stage.proxy.insert(start(
        "the proxy",
        &["proxy", "--listen", "127.0.0.1:0"],
        &[&common],
        from_proxy.as_ref(),
        &[&network, &paths(&state("proxy"))],
        &output.join("proxy.log"),
    )?);
    let talk = ["--seconds", &seconds];
    let (heard_by_answerer, heard_by_caller) =
        (output.join("heard-by-answerer.wav"), output.join("heard-by-caller.wav"));
    let from_answerer = from(places.answerer);
    let answer = stage.answer.insert(start(
        "the answering end",
        &["voice", "answer"],
        &[&common, &talk],
        from_answerer.as_ref(),
        &[&network, &paths(&state("answerer")), &sound(&spoken, &heard_by_answerer)],
        &output.join("answer.log"),
    )?);
    let answer_ready = answer.result("ready", ready).await?;
    let invite = answer_ready["invite"].as_str().unwrap_or_default().to_owned();
    // The caller is told no network: the invite brings it.
    let from_caller = from(places.caller);
    let call = stage.call.insert(start(
        "the calling end",
        &["voice", "call"],
        &[&common, &talk],
        from_caller.as_ref(),
        &[&paths(&state("caller")), &sound(&spoken, &heard_by_caller)],
        &output.join("call.log"),
    )?);
    call.say(&invite).await?;
    call.result("ready", ready).await?;
    let connected = connected(call, ready).await?;
    let proxy_ready = proxy.result("ready", ready).await?;

    // The first half of the call is quiet, the second shares the relays with the download. Both ends are listened to all
    // the while: what they say must not pile up, and if one fails there is no point in going on.
    term::progress(format_args!("talking for {seconds} s, both ways at once"));
    let length = Duration::from_secs(wishes.seconds.into());
    let ends = [call.id(), answer.id()];
    let download = Download {
        megabytes: wishes.download,
        // On a bad network it may never end: what arrived beside the call is measured.
        until: wishes.impair.as_ref().map(|_| connected + length),
    };
    let beside = async {
        sleep_until(connected + SETTLED).await;
        let mark = Mark::now(&ends);
        sleep_until(connected + length / 2).await;
        let costs = mark.since();
        term::progress(format_args!("downloading {} MB through the proxy, beside the call", wishes.download));
        Ok((costs, download::run(&proxy_ready, download).await?))
    };
    let patience = length + OVERTIME;
    let ((costs, bulk), call_report, answer_report) =
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
        costs,
        impaired: stage.weather.as_ref().map(Weather::report),
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

fn paths(option: &[PathBuf; 2]) -> [&Path; 2] {
    [&option[0], &option[1]]
}

fn start(
    name: &str,
    command: &[&str],
    options: &[&[&str]],
    from: Option<&[String; 2]>,
    files: &[&[&Path]],
    log: &Path,
) -> Outcome<Child> {
    let words = command.iter().chain(options.iter().copied().flatten()).map(AsRef::<OsStr>::as_ref);
    let from = from.into_iter().flatten().map(OsStr::new);
    let files = files.iter().copied().flatten().map(|path| path.as_os_str());
    Child::start(name, words.chain(from).chain(files), log)
}

/// Waits until the call stands; gives the moment.
async fn connected(call: &mut Child, within: Duration) -> Outcome<Instant> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let update = call.result("update", left).await?;
        if update["update"] == "connected" {
            return Ok(Instant::now());
        }
    }
}
