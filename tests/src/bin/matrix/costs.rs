//! What cryptography costs, as `zmesh-costs` measured it, and what the simulator charges for it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use zmesh_tests::sim::cost::Costs;

/// Nanoseconds, as measured in one build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    layer: f64,
    aes_gcm: f64,
    chacha: f64,
}

impl Measured {
    pub(crate) fn read(path: &Path) -> Result<Measured, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| format!("{name} is no JSON: {error}"))?;
        let figure = |key: &str| value[key].as_f64().ok_or_else(|| format!("{name} has no {key}"));
        Ok(Measured {
            layer: figure("layer_ns")?,
            aes_gcm: figure("aes_gcm_ns")?,
            chacha: figure("chacha20_poly1305_ns")?,
        })
    }
}

/// One kind of machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    pub(crate) note: String,
    pub(crate) costs: Costs,
}

/// The machines of the table. The charged figures of a native machine stand in `sim/cost.rs`; a portable one takes longer by what was measured
/// now: its layers in constant-time software, its links sealed with ChaCha20-Poly1305.
pub(crate) fn machines(native: Option<Measured>, portable: Option<Measured>) -> Vec<Machine> {
    let note = native.map_or("costs as recorded in the simulator".to_owned(), |m| {
        format!("one cell layer {:.0} ns, AES-256-GCM over a long datagram {:.0} ns", m.layer, m.aes_gcm)
    });
    let mut machines = vec![Machine { name: "native", note, costs: Costs::NATIVE }];
    if let (Some(native), Some(portable)) = (native, portable) {
        let more = |slow: f64, quick: f64| Duration::from_secs_f64(((slow - quick).max(0.0)) * 1e-9);
        let costs = Costs::NATIVE.slower(more(portable.layer, native.layer), more(portable.chacha, native.aes_gcm));
        let mut note = format!(
            "one cell layer {:.0} ns, ChaCha20-Poly1305 over a long datagram {:.0} ns",
            portable.layer, portable.chacha
        );
        if portable.layer < 2.0 * native.layer {
            note.push_str(" (hardly slower than native: does this build use the processor's AES after all?)");
        }
        machines.push(Machine { name: "portable", note, costs });
    }
    machines
}
