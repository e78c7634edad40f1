//! `specs/vectors/service.json`: what a second implementation can check itself by. `specs/vectors/check.py` follows the document through it.
//!
//! `ZMESH_WRITE_VECTORS=1 cargo test -p zmesh-proto --lib service::tests::vectors` writes the file anew.

use std::path::Path;

use data_encoding::HEXLOWER;
use rand_core::Rng as _;
use serde_json::{Value, json};
use zmesh_sphinx::RelayId;

use super::super::descriptor::{self, Outer};
use super::super::introduce::{self, IntroKeySecret, IntroSecret, Introduction};
use super::super::key::{ServiceKey, blinded_key, subcredential};
use super::super::period::Period;
use super::super::place_work::Placing;
use super::super::pow::{Puzzle, Solution, Solver, Trial};
use super::super::revision::revision;
use super::super::tls::{MeetingSecret, Side};
use super::{NOON, contents, rng};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/service.json");

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn names() -> Value {
    let vectors = (1..4u8).map(|seed| {
        let key = ServiceKey::from_seed(&[seed; 32]);
        let address = key.address();
        let period = Period::at(NOON + u64::from(seed) * 86_400);
        let blinded = blinded_key(&address, period);
        let secret = key.blinded(period);
        let unix = period.begins() + 1_234 * u64::from(seed);
        json!({
            "seed": hex(&[seed; 32]),
            "public": hex(address.key()),
            "address": address.to_string(),
            "period": period.0,
            "blinded": hex(&blinded.0),
            "subcredential": hex(&*subcredential(&address, &blinded).0),
            "message": hex(b"zmesh"),
            "signature": hex(&secret.sign(b"zmesh")),
            "unix": unix,
            "revision": revision(&secret, period, unix),
        })
    });
    vectors.collect()
}

fn sealed() -> Value {
    let key = ServiceKey::from_seed(&[1; 32]);
    let (address, period) = (key.address(), Period::at(NOON));
    let contents = contents(2, NOON + 7_200);
    let bytes = descriptor::seal(&key.blinded(period), &address, period, 1_234_567, &contents, &mut rng(1));
    assert!(Outer::decode(&bytes).unwrap().is_signed());
    let intros = contents
        .intros
        .iter()
        .map(|intro| json!({ "relay": hex(&intro.relay.0), "name": hex(&intro.name.0), "key": hex(&intro.key.0) }));
    json!({
        "public": hex(address.key()),
        "period": period.0,
        "revision": 1_234_567,
        "not_after": contents.not_after,
        "effort": contents.puzzle.effort,
        "puzzle_seed": hex(&contents.puzzle.seed),
        "intros": intros.collect::<Value>(),
        "descriptor": hex(&bytes),
    })
}

fn introduction() -> Value {
    let key = ServiceKey::from_seed(&[1; 32]);
    let subcredential = key.blinded(Period::at(NOON)).subcredential();
    // The generator gives a key its 32 bytes in one draw.
    let draw = |seed: u64| {
        let mut bytes = [0; 32];
        rng(seed).fill_bytes(&mut bytes);
        bytes
    };
    let (intro, secret) = (IntroSecret::from_bytes(&[7; 32]), IntroKeySecret::generate(&mut rng(20)));
    let solution = Solution { seed_head: [1, 2, 3, 4], effort: 99, nonce: [5; 16] };
    let meeting = MeetingSecret::from_bytes(&[8; 32]);
    let said = Introduction { relay: RelayId([3; 16]), cookie: [4; 16], solution, meeting: meeting.clone() };
    let sealed = introduce::seal(&said, &intro.name(), &secret.public(), &subcredential, &mut rng(21)).unwrap();
    json!({
        "subcredential": hex(&*subcredential.0),
        "intro_secret": hex(&[7; 32]),
        "intro_name": hex(&intro.name().0),
        "key_secret": hex(&draw(20)),
        "key": hex(&secret.public().0),
        "ephemeral_secret": hex(&draw(21)),
        "relay": hex(&said.relay.0),
        "cookie": hex(&said.cookie),
        "seed_head": hex(&solution.seed_head),
        "effort": solution.effort,
        "nonce": hex(&solution.nonce),
        "meeting_secret": hex(&[8; 32]),
        "meeting_client": hex(&meeting.key(Side::Client).public()),
        "meeting_service": hex(&meeting.key(Side::Service).public()),
        "sealed": hex(&sealed),
    })
}

fn work() -> Value {
    let blinded = ServiceKey::from_seed(&[1; 32]).blinded(Period::at(NOON)).public();
    let (seed, cookie) = ([6; 32], [4; 16]);
    let mut solver = Solver::new(Puzzle { effort: 20, seed }, blinded, cookie, [9; 16]);
    let solution = (0..100).find_map(|_| solver.attempt(20)).expect("2,000 attempts at 20 are enough");
    let hash = Trial::new().hash(&seed, &blinded, &cookie, &solution);
    json!({
        "blinded": hex(&blinded.0),
        "cookie": hex(&cookie),
        "seed": hex(&seed),
        "effort": solution.effort,
        "nonce": hex(&solution.nonce),
        "hash": hex(&hash),
    })
}

fn place() -> Value {
    let period = Period::at(NOON);
    let blinded = ServiceKey::from_seed(&[1; 32]).blinded(period).public();
    let placing = Placing { blinded, period, revision: 1_234_567, relay: RelayId([3; 16]) };
    let work = placing.solve(20, [9; 16]);
    json!({
        "blinded": hex(&blinded.0),
        "period": period.0,
        "revision": placing.revision,
        "relay": hex(&placing.relay.0),
        "effort": 20,
        "work": hex(&work),
        "hash": hex(&placing.hash(&mut Trial::new(), &work)),
    })
}

#[test]
fn the_file_is_what_this_code_makes() {
    let made = json!({
        "about": "Names, a descriptor, an introduction and proofs of work of specs/16-services.md. Byte strings in hexadecimal.",
        "names": names(),
        "descriptor": sealed(),
        "introduction": introduction(),
        "work": work(),
        "place": place(),
    });
    if std::env::var_os("ZMESH_WRITE_VECTORS").is_some() {
        std::fs::write(FILE, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(Path::new(FILE)).unwrap()).unwrap();
    assert_eq!(made, file);
}
