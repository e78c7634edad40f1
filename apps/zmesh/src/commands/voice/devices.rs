//! `zmesh voice devices`: which microphones and loudspeakers there are.

use clap::Args;
use serde_json::json;
use zmesh_voice::audio::device::devices;

use super::sound;
use crate::failure::Outcome;
use crate::term;

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Say it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DevicesArgs) -> Outcome {
    let found = devices().map_err(|error| sound::device(&error))?;
    if args.json {
        let list: Vec<_> = found
            .iter()
            .map(|device| {
                json!({
                    "id": device.id,
                    "name": device.name,
                    "microphone": device.microphone,
                    "loudspeaker": device.loudspeaker,
                })
            })
            .collect();
        term::json(&json!({ "devices": list }));
        return Ok(());
    }
    if found.is_empty() {
        term::warning("the sound system knows no devices; files work everywhere: --input and --output");
        return Ok(());
    }
    let mark = |yes: bool| if yes { "yes" } else { "" }.to_owned();
    let mut rows = vec![["name", "id", "microphone", "loudspeaker"].map(str::to_owned).to_vec()];
    rows.extend(
        found.iter().map(|device| {
            vec![device.name.clone(), device.id.clone(), mark(device.microphone), mark(device.loudspeaker)]
        }),
    );
    term::table(&rows);
    Ok(())
}
