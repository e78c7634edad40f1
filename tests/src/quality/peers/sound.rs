//! A sound server without devices: two mouths and two ears on one clock.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use zmesh_voice::media::SAMPLE_RATE;

use super::commands::{PATIENCE, not_ready, program, quiet};
use crate::peers::Error;
use crate::peers::process::Process;

/// A sound server of its own, without devices.
#[derive(Debug)]
pub(super) struct Sound {
    _server: Process,
    /// Where programs find it.
    pub(super) address: String,
}

impl Sound {
    pub(super) fn start(root: &Path) -> Result<Sound, Error> {
        let socket = root.join("sound");
        let mut script = format!(
            "load-module module-native-protocol-unix auth-anonymous=1 socket={}\n\
             load-module module-null-sink sink_name=all rate={SAMPLE_RATE} channels=4 channel_map=front-left,front-right,rear-left,rear-right\n",
            socket.display()
        );
        for (name, channel) in
            [("mouth_a", "front-left"), ("ear_a", "front-right"), ("mouth_b", "rear-left"), ("ear_b", "rear-right")]
        {
            let map = format!("channels=1 master_channel_map={channel} channel_map=mono remix=no");
            let _ = writeln!(script, "load-module module-remap-sink sink_name={name} master=all {map}");
            if let Some(person) = name.strip_prefix("mouth_") {
                let _ = writeln!(
                    script,
                    "load-module module-remap-source source_name=mic_{person} master=all.monitor {map}"
                );
            }
        }
        let file = root.join("sound.pa");
        std::fs::write(&file, script).map_err(Error::io("writing the sound server's script"))?;
        let server = Process::start(
            "pulseaudio",
            quiet(
                Command::new(program("pulseaudio")?)
                    .args(["-n", "--daemonize=no", "--exit-idle-time=-1", "-F"])
                    .arg(file),
            )
            .env("HOME", root)
            .env("XDG_RUNTIME_DIR", root),
        )?;
        let sound = Sound { _server: server, address: format!("unix:{}", socket.display()) };
        let until = Instant::now() + PATIENCE;
        while !sound.has_channels()? {
            if Instant::now() > until {
                return Err(not_ready("pulseaudio", String::new()));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(sound)
    }

    fn has_channels(&self) -> Result<bool, Error> {
        let mut command = Command::new(program("pactl")?);
        let output = command.args(["list", "short", "sources"]).env("PULSE_SERVER", &self.address).output();
        let output = output.map_err(Error::io("starting pactl"))?;
        Ok(String::from_utf8_lossy(&output.stdout).contains("mic_b"))
    }

    pub(super) fn record(&self, into: &Path) -> Result<Process, Error> {
        let file = std::fs::File::create(into).map_err(Error::io("making the recording"))?;
        let mut command = Command::new(program("parec")?);
        command
            .args(["-d", "all.monitor", "--format=s16le", "--rate=48000", "--channels=4", "--latency-msec=20"])
            .arg("--channel-map=front-left,front-right,rear-left,rear-right")
            .env("PULSE_SERVER", &self.address);
        Process::start("parec", quiet(&mut command).stdout(file))
    }

    pub(super) fn say(&self, wav: &Path, mouth: &str) -> Result<Process, Error> {
        let mut command = Command::new(program("paplay")?);
        command.args(["-d", mouth]).arg(wav).env("PULSE_SERVER", &self.address);
        Process::start("paplay", quiet(&mut command))
    }
}
