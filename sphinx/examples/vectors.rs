//! Writes `specs/vectors/{setup,cells,replay}.json`: `cargo run -p zmesh-sphinx --example vectors [DIRECTORY]`.
//!
//! Everything comes from one seed, so the files are the same on every run. `tests/vectors.rs` checks that the repository's copies are
//! what this program writes. (`hctr2.json` is published by others and only kept here.)
#![allow(clippy::unwrap_used, reason = "a generator may panic")]
#![allow(clippy::print_stdout, reason = "says what it wrote")]
#![allow(clippy::disallowed_methods, reason = "a point in time to count from; nothing waits")]

use std::{
    convert::Infallible,
    path::PathBuf,
    time::{Duration, Instant},
};

use data_encoding::HEXLOWER;
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng},
};
use serde_json::{Value, json};
use zmesh_sphinx::{
    BODY_LEN, Forwarded, HopCircuit, Next, OnionSecret, OriginCircuit, Packet, PathHop, RelayId, ReplayFilter, create,
    hazmat,
};

const SLOT: u32 = 5_944_320;

/// Remembers what it gave out, so that another implementation can be fed the same.
struct Recorder {
    inner: ChaCha12Rng,
    drawn: Vec<u8>,
}

impl Recorder {
    fn take(&mut self) -> String {
        HEXLOWER.encode(&std::mem::take(&mut self.drawn))
    }
}

impl TryRng for Recorder {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let value = self.inner.next_u32();
        self.drawn.extend_from_slice(&value.to_le_bytes());
        Ok(value)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let value = self.inner.next_u64();
        self.drawn.extend_from_slice(&value.to_le_bytes());
        Ok(value)
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        self.inner.fill_bytes(target);
        self.drawn.extend_from_slice(target);
        Ok(())
    }
}

impl TryCryptoRng for Recorder {}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn steps(steps: &hazmat::Steps) -> Value {
    steps
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::String(hex(value))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

struct Built {
    origin: OriginCircuit,
    hops: Vec<HopCircuit>,
    /// The roots of every hop's chains by name.
    roots: Vec<Value>,
    json: Value,
}

/// One set-up, with every value on the way.
fn set_up(count: u8, now: Instant) -> Built {
    let mut rng = Recorder { inner: ChaCha12Rng::seed_from_u64(u64::from(count)), drawn: Vec::new() };
    let relays: Vec<_> =
        (1..=count).map(|number| (RelayId([number * 17; 16]), OnionSecret::generate(&mut rng))).collect();
    let path: Vec<_> = relays.iter().map(|(id, onion)| PathHop { id: *id, onion: onion.public() }).collect();
    rng.take();
    let (mut packet, pending) = create(&path, SLOT, &mut rng).unwrap();
    let drawn_by_origin = rng.take();

    let (mut hops, mut seals, mut roots, mut json_hops) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, onion) in &relays {
        let before = packet.clone();
        let sphinx = hazmat::sphinx_steps(&before, id, onion).unwrap();
        let unwrapped = packet.peel_header(id, onion, SLOT).unwrap().finish(&mut rng, now).unwrap();
        let drawn = rng.take();
        let uniform: [u8; 64] = HEXLOWER.decode(drawn.as_bytes()).unwrap().try_into().unwrap();
        let circuit = steps(&hazmat::circuit_steps(&before, id, onion, &uniform).unwrap());
        json_hops.push(json!({
            "relay_id": hex(&id.0),
            "onion_secret": hex(&*onion.to_bytes()),
            "onion_public": hex(&onion.public().to_bytes()),
            "packet_in": hex(before.as_bytes()),
            "keys_from_the_sphinx_secret": steps(&sphinx),
            "random_bytes_drawn": drawn,
            "keys_of_the_circuit": circuit,
        }));
        roots.push(circuit);
        hops.push(unwrapped.circuit);
        seals.push(unwrapped.reply);
        packet = match unwrapped.next {
            Next::Forward { packet, .. } => packet,
            Next::Last => break,
        };
    }
    let mut reply = None;
    for (seal, json) in seals.into_iter().zip(&mut json_hops).rev() {
        let made = match reply {
            None => seal.last(),
            Some(inner) => seal.forward(&inner),
        };
        json["reply_out"] = hex(&made).into();
        reply = Some(made);
    }
    let origin = pending.finish(&reply.unwrap(), now).unwrap();
    let json = json!({ "slot": SLOT, "random_bytes_drawn_by_the_origin": drawn_by_origin, "hops": json_hops });
    Built { origin, hops, roots, json }
}

fn set_up_file(now: Instant) -> Value {
    json!({
        "about": "Set-ups with 1 to 4 hops, for specs/01-sphinx.md. All values are hexadecimal. packet_in is the packet as the hop receives \
            it, reply_out the reply as it leaves the hop towards the origin. The random bytes are what an implementation drew in the order \
            of section 'Order of random draws'; a scalar is 64 of them reduced modulo the group order.",
        "set_ups": (1..=4).map(|count| set_up(count, now).json).collect::<Vec<_>>(),
    })
}

fn cells_file(mut now: Instant) -> Value {
    let Built { mut origin, mut hops, roots, .. } = set_up(3, now);
    let mut cells = Vec::new();
    for (text, skip) in [("first", 0), ("second", 0), ("after 65,534 lost cells", 65_534_u32)] {
        let mut body = [0; BODY_LEN];
        for _ in 0..skip {
            origin.seal(now, 2, 0, b"", &mut body).unwrap();
            hops[2].originate(now, 0, b"", &mut body).unwrap();
        }
        // The time in which so many cells can be sent and lost.
        now += Duration::from_micros(4) * skip;
        for target in 0..3 {
            let mut number = origin.seal(now, target, 1, text.as_bytes(), &mut body).unwrap();
            let mut links = Vec::new();
            for hop in &mut hops {
                links.push(json!({ "number": number, "body": hex(&body) }));
                match hop.forward(now, number, &mut body).unwrap() {
                    Forwarded::Onward { number: next } => number = next,
                    Forwarded::Mine(_) => break,
                }
            }
            cells.push(json!({ "direction": "forward", "hop": target, "kind": 1, "payload": text, "plain": hex(&body), "links": links }));
        }
        for source in 0..3 {
            let mut number = hops[source].originate(now, 2, text.as_bytes(), &mut body).unwrap();
            let mut links = Vec::new();
            for hop in hops[..source].iter_mut().rev() {
                links.push(json!({ "number": number, "body": hex(&body) }));
                number = hop.backward(now, number, &mut body).unwrap();
            }
            links.push(json!({ "number": number, "body": hex(&body) }));
            origin.open(now, number, &mut body).unwrap();
            cells.push(json!({ "direction": "backward", "hop": source, "kind": 2, "payload": text, "plain": hex(&body), "links": links }));
        }
    }
    let phases = |root: &Value| {
        let root: [u8; 32] = HEXLOWER.decode(root.as_str().unwrap().as_bytes()).unwrap().try_into().unwrap();
        let (keys, behind) = hazmat::phase_steps(&root, 3);
        json!({ "root": hex(&root), "phase_keys": keys.iter().map(|key| hex(key)).collect::<Vec<_>>(), "secret_behind_them": hex(&behind) })
    };
    json!({
        "about": "Cells on the circuit of the set-up with 3 hops in setup.json, for specs/02-cells.md. links lists number and body on every \
            link that the cell crosses, in its direction; plain is the body at the end. Hops count from 0. The third group comes after \
            65,534 cells each way between the origin and the last hop that were made and lost: its forward cells and the last hop's \
            backward cells are of phase 1.",
        "cells": cells,
        "phase_keys_of_the_forward_chains": roots.iter().map(|keys| phases(&keys["forward"])).collect::<Vec<_>>(),
    })
}

fn replay_file() -> Value {
    let mut rng = ChaCha12Rng::seed_from_u64(9);
    let onion = OnionSecret::generate(&mut rng);
    let id = RelayId([7; 16]);
    let mut filter = ReplayFilter::new(1000);
    let mut tags = Vec::new();
    for slot in [SLOT - 1, SLOT, SLOT, SLOT + 1] {
        let path = [PathHop { id, onion: onion.public() }];
        let (packet, _) = create(&path, slot, &mut rng).unwrap();
        let steps = hazmat::sphinx_steps(&packet, &id, &onion).unwrap();
        let tag = steps.iter().find(|(name, _)| *name == "replay tag").map(|(_, tag)| hex(tag));
        let packet = Packet::from_bytes(packet.as_bytes()).unwrap();
        let peeled = packet.peel_header(&id, &onion, SLOT).unwrap();
        filter.check_and_insert(peeled.slot(), peeled.replay_tag(), SLOT).unwrap();
        tags.push(json!({ "slot": slot, "tag": tag }));
    }
    json!({
        "about": "A replay filter and its form on disk, for specs/01-sphinx.md.",
        "capacity_per_slot": 1000,
        "slot_now": SLOT,
        "tags": tags,
        "file": hex(&filter.to_bytes()),
    })
}

/// The files' names and contents.
pub(crate) fn files() -> Vec<(&'static str, String)> {
    // Only differences of time count, and none passes here.
    let now = Instant::now() + Duration::from_secs(1);
    [("setup.json", set_up_file(now)), ("cells.json", cells_file(now)), ("replay.json", replay_file())]
        .into_iter()
        .map(|(name, value)| (name, serde_json::to_string_pretty(&value).unwrap() + "\n"))
        .collect()
}

#[allow(dead_code, reason = "the test includes this file for `files` alone")]
fn main() {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../specs/vectors");
    let directory = std::env::args_os().nth(1).map_or(default, PathBuf::from);
    for (name, text) in files() {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        println!("wrote {}", path.display());
    }
}
