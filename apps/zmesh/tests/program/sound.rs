//! Sound devices and `zmesh voice test`, with the program as people run it.
//!
//! The devices are real ones for cpal and ALSA: the plugin `file` over the device `null`, with a named pipe on its other side that this
//! program fills and drains at the pace of a sound card.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Folder;
use crate::support::running::Running;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;
use zmesh_voice::SPEECH_WAV;

/// Bytes of 10 ms: 48 kHz, one channel, 16 bits.
const TICK_BYTES: usize = 960;
const TICK: Duration = Duration::from_millis(10);
/// Length of a WAV file's head.
const WAV_HEAD: usize = 44;

fn testnet(folder: &Folder) -> (Running, String) {
    let testnet = Running::start(folder, &["testnet", "--dir", "net", "--relays", "4", "--exits", "1", "--file"]);
    let network = testnet.network().to_owned();
    (testnet, network)
}

/// Configures ALSA: the system's own settings, and these.
fn alsa(folder: &Folder, settings: &str) -> String {
    folder.write("own.conf", settings);
    folder.write("alsa.conf", &format!("</usr/share/alsa/alsa.conf>\n<{}>\n", folder.path("own.conf").display()));
    folder.path("alsa.conf").to_str().expect("text").to_owned()
}

/// A microphone and a loudspeaker behind named pipes. The microphone hears the shipped speech; the thread gives what was played.
fn devices(folder: &Folder) -> (String, thread::JoinHandle<Vec<u8>>) {
    let (mouth, ear) = (folder.path("mouth"), folder.path("ear"));
    for pipe in [&mouth, &ear] {
        assert!(Command::new("mkfifo").arg(pipe).status().expect("mkfifo is there").success());
    }
    let config = alsa(
        folder,
        &format!(
            r#"
pcm.mouth {{ type file slave.pcm "null" file "/dev/null" infile "{}" format "raw" hint {{ show on description "Test microphone" }} }}
pcm.ear {{ type file slave.pcm "null" file "{}" format "raw" hint {{ show on description "Test loudspeaker" }} }}
pcm.!default {{ type asym playback.pcm "ear" capture.pcm "mouth" }}
"#,
            mouth.display(),
            ear.display()
        ),
    );
    thread::spawn(move || {
        let mut pipe = File::options().write(true).open(mouth).expect("a pipe");
        let mut due = Instant::now();
        for chunk in SPEECH_WAV[WAV_HEAD..].chunks_exact(TICK_BYTES).cycle() {
            if pipe.write_all(chunk).is_err() {
                break;
            }
            due += TICK;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    });
    let drain = thread::spawn(move || {
        let mut pipe = File::open(ear).expect("a pipe");
        let (mut played, mut chunk) = (Vec::new(), [0; TICK_BYTES]);
        let mut due = Instant::now();
        while pipe.read_exact(&mut chunk).is_ok() {
            played.extend(chunk);
            due += TICK;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        played
    });
    (config, drain)
}

#[test]
fn voice_test_plays_you_back_through_sound_devices() {
    let folder = Folder::new();
    let (_testnet, network) = testnet(&folder);
    let (config, played) = devices(&folder);
    let run = |arguments: &[&str]| {
        let all = [&["voice", "test", "--network", &network, "--seconds", "6"], arguments].concat();
        folder.command(&all).env("ALSA_CONFIG_PATH", &config).output().expect("it runs")
    };
    let output = run(&["--microphone", "test micro", "--speaker", "Test loudspeaker", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let result = lines.last().expect("a result");
    assert!(output.status.success(), "{said}\n{result}");
    assert!(!said.contains("ALSA lib"), "the sound library is silent: {said}");
    assert_eq!(
        (&result["devices"]["microphone"], &result["devices"]["loudspeaker"]),
        (&"Test microphone".into(), &"Test loudspeaker".into())
    );
    let delay = &result["mouth_to_ear"];
    assert!(delay["matched"].as_u64().expect("a number") > 3, "{result}");
    let (p50, p99) = (delay["p50_ms"].as_f64().expect("a number"), delay["p99_ms"].as_f64().expect("a number"));
    // A pipe that is filled late makes it look shorter, and so no more can be asked of it. Figures are for benchmarks.
    assert!(p50 > 5.0 && p99 >= p50, "{result}");
    assert!(result["loss"].as_f64().is_some() && result["level_spoken_dbfs"].as_f64().expect("a number") > -40.0);
    let (out, back) =
        (result["paths"]["out"].as_array().expect("a path"), result["paths"]["back"].as_array().expect("a path"));
    assert_eq!((out.len(), back.len()), (3, 2));
    assert_eq!(out.last(), back.last(), "they meet");

    // And it came out of the loudspeaker.
    let played = played.join().expect("drained");
    let loudest = played.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]).unsigned_abs()).max();
    assert!(loudest > Some(1_000), "{loudest:?}");
}

#[test]
fn voice_test_works_with_files_and_says_when_nothing_was_said() {
    let folder = Folder::new();
    let (_testnet, network) = testnet(&folder);
    std::fs::write(folder.path("a.wav"), SPEECH_WAV).expect("written");
    let test = ["voice", "test", "--network", &network, "--seconds", "5", "--output", "back.wav", "--input"];
    let said = folder.succeeds(&[&test[..], &["a.wav"]].concat());
    assert!(said.contains("out over ") && said.contains("mouth to ear p50 ") && said.contains("loss "), "{said}");
    assert!(folder.path("back.wav").is_file());

    std::fs::write(folder.path("silence.wav"), crate::support::wav(1, 48_000, 48_000)).expect("written");
    let ran = folder.run(&[&test[..], &["silence.wav"]].concat());
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("nothing was said") && ran.stderr.contains("zmesh voice devices"), "{}", ran.stderr);
}

#[test]
fn devices_are_listed_and_missing_ones_are_named() {
    let folder = Folder::new();
    folder.write("network", &crate::support::network(4, 1));
    let config = alsa(&folder, "pcm.desk { type null hint { show on description \"Microphone on the desk\" } }\n");
    let run = |arguments: &[&str]| {
        let output = folder.command(arguments).env("ALSA_CONFIG_PATH", &config).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, listed, said) = run(&["voice", "devices"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(listed.contains("Microphone on the desk") && listed.contains("desk"), "{listed}");
    let (_, listed, _) = run(&["voice", "devices", "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let desk = |device: &&Value| device["id"] == "desk" && device["microphone"] == true;
    assert!(listed["devices"].as_array().expect("a list").iter().any(|device| desk(&device)), "{listed}");

    for command in [&["voice", "test"][..], &["voice", "answer"]] {
        let (code, _, said) = run(&[command, &["--network", "network", "--microphone", "nowhere"]].concat());
        assert_eq!(code, Some(1));
        assert!(said.contains("no microphone named \"nowhere\"") && said.contains("zmesh voice devices"), "{said}");
        assert_eq!(said.lines().count(), 1, "and nothing of the sound library: {said}");
    }
    // No sound card at all.
    let config = alsa(&folder, "pcm.!default { type hw card 7 }\n");
    let output = folder
        .command(&["voice", "test", "--network", "network"])
        .env("ALSA_CONFIG_PATH", &config)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("no microphone found") && said.contains("--input") && said.lines().count() == 1, "{said}");
    // A damaged configuration of the sound system.
    folder.write("alsa.conf", "pcm.!default { type");
    let output = folder.command(&["voice", "devices"]).env("ALSA_CONFIG_PATH", &config).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_space_bar_switches_push_to_talk_and_the_terminal_is_put_back() {
    let folder = Folder::new();
    let (_testnet, network) = testnet(&folder);
    std::fs::write(folder.path("a.wav"), SPEECH_WAV).expect("written");
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).expect("allowed");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("a name").into_string().expect("text");
    let side = File::options().read(true).write(true).open(name).expect("the other side");
    let modes = || tcgetattr(&side).expect("a terminal").local_modes;
    let before = modes();
    assert!(before.contains(LocalModes::ICANON | LocalModes::ECHO));

    let arguments = [
        "voice",
        "test",
        "--network",
        &network,
        "--seconds",
        "60",
        "--json",
        "--push-to-talk",
        "--input",
        "a.wav",
        "--output",
        "back.wav",
    ];
    let process = folder
        .command(&arguments)
        .stdin(side.try_clone().expect("a handle"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut running = Running::of(process);
    running.result("ready");
    assert!(!modes().intersects(LocalModes::ICANON | LocalModes::ECHO), "keys come one by one and are not shown");
    assert!(modes().contains(LocalModes::ISIG), "Ctrl-C still works");
    let mut keyboard = File::from(terminal);
    for on in [true, false, true] {
        keyboard.write_all(b"x ").expect("pressed");
        assert_eq!(running.result("talking")["talking"], on);
    }
    let id = running.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill is there").success());
    assert!(running.process.wait().expect("it ends").success());
    assert_eq!(modes(), before, "the terminal is as it was");

    // Without a terminal there are no keys. `setsid` takes away the one that this test may have been started from.
    let alone = folder.command(&[
        "voice",
        "test",
        "--network",
        &network,
        "--push-to-talk",
        "--input",
        "a.wav",
        "--output",
        "b.wav",
    ]);
    let output = Command::new("setsid")
        .arg("--wait")
        .arg(alone.get_program())
        .args(alone.get_args())
        .current_dir(folder.path("."))
        .stdin(Stdio::null())
        .output()
        .expect("setsid is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("push to talk needs a keyboard"), "{said}");
}

#[test]
fn options_about_sound_are_checked() {
    let folder = Folder::new();
    for wrong in [
        &["voice", "test", "--processing", "loud"][..],
        &["voice", "answer", "--microphone", "a", "--input", "a.wav"],
        &["voice", "call", "--speaker", "a", "--output", "a.wav"],
        &["voice", "test", "--seconds", "0"],
        &["voice", "answer", "--class", "30"],
    ] {
        assert_eq!(folder.run(wrong).code, 2, "{wrong:?}");
    }
}
