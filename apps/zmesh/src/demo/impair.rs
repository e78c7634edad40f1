//! A bad network between the people and the relays of the demo.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rand_core::Rng;
use serde_json::{Value, json};
use zmesh_netem::{Counters, NAMES, Profile};
use zmesh_shim::{Clients, Host, Limits, Shim};

use crate::failure::{Failure, Outcome};
use crate::testnet::{Reserved, Testnet, reserve};
use crate::{files, randomness};

/// What the user asked for.
#[derive(Clone, Debug)]
pub(crate) struct Impairment {
    name: String,
    profile: Profile,
    seed: Option<u64>,
}

impl Impairment {
    /// A profile that zmesh brings, or a file. With `everywhere` the relays have the caller's access link, if the profile says nothing
    /// about them.
    pub(crate) fn load(name: &str, everywhere: bool, seed: Option<u64>) -> Outcome<Impairment> {
        let mut profile = match Profile::builtin(name) {
            Some(profile) => profile,
            None => read(name)?,
        };
        if everywhere && profile.relays.is_clear() {
            profile.relays = profile.caller.clone();
        }
        Ok(Impairment { name: name.to_owned(), profile, seed })
    }
}

/// The text of a profile that zmesh brings.
pub(crate) fn builtin_profile(name: &str) -> Outcome<&'static str> {
    Profile::builtin_text(name).ok_or_else(|| {
        Failure::misused(
            format_args!("there is no profile {name}"),
            "zmesh does not bring it",
            format_args!("choose one of {}", NAMES.join(", ")),
        )
    })
}

fn read(name: &str) -> Outcome<Profile> {
    let path = Path::new(name);
    let known = NAMES.join(", ");
    if !path.exists() {
        return Err(Failure::misused(
            format_args!("there is no profile {name}"),
            "it is neither one that zmesh brings nor a file",
            format_args!(
                "choose one of {known}, or give a file (zmesh demo --print-profile wifi prints one to start from)"
            ),
        ));
    }
    let bytes = files::read(path, "profile", "choose another file")?;
    let text = String::from_utf8_lossy(&bytes);
    Profile::parse(&text).map_err(|error| {
        Failure::misused(format_args!("the profile {name} cannot be used"), error, "correct that line")
    })
}

/// The shim that stands before the relays, and who is who.
#[derive(Debug)]
pub(crate) struct Weather {
    name: String,
    shim: Shim,
    people: Vec<(&'static str, Host)>,
    relays: Vec<Host>,
}

/// From which local address each of the people has to send, so that the shim knows whose access link a datagram takes.
/// Anywhere, where there is no shim.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) caller: Option<Reserved>,
    pub(crate) answerer: Option<Reserved>,
    pub(crate) proxy: Option<Reserved>,
}

impl Weather {
    /// Puts a shim before the relays, which from then on are known by its addresses alone: whoever links to a relay passes it, the
    /// people by their access links and the relays by theirs, if those are impaired, too. The testnet must not run yet.
    pub(crate) fn begin(impairment: &Impairment, testnet: &mut Testnet) -> Outcome<(Weather, Places)> {
        let seed = match impairment.seed {
            Some(seed) => seed,
            None => randomness::generator()?.next_u64(),
        };
        let profile = &impairment.profile;
        let mut shim = Shim::start(seed, Limits::default());
        let addresses = testnet.addresses();
        let relays: Vec<Host> = if profile.relays.is_clear() {
            Vec::new()
        } else {
            addresses.iter().map(|_| shim.host(&profile.relays)).collect()
        };
        let people = vec![
            ("caller", shim.host(&profile.caller)),
            ("answerer", shim.host(&profile.answerer)),
            // Somebody else, on a line like the caller's.
            ("proxy", shim.host(&profile.caller)),
        ];
        let places = reserve(people.len())?;
        let known = places.iter().map(Reserved::address).zip(people.iter().map(|(_, host)| *host));
        let known: Arc<[(SocketAddr, Host)]> =
            known.chain(addresses.iter().copied().zip(relays.iter().copied())).collect();
        let before = stand_before(&mut shim, &addresses, &relays, &Clients::By(known))?;
        testnet.stand_behind(&before)?;
        let [caller, answerer, proxy] = <[Reserved; 3]>::try_from(places).expect("three people").map(Some);
        let weather = Weather { name: impairment.name.clone(), shim, people, relays };
        Ok((weather, Places { caller, answerer, proxy }))
    }

    /// What it did to datagrams so far.
    pub(crate) fn report(&self) -> Impaired {
        let mut links: Vec<Link> = Vec::new();
        let mut add = |name: &str, (up, down): (Counters, Counters)| {
            links.push(Link { of: name.to_owned(), up, down });
        };
        for (name, host) in &self.people {
            add(name, self.shim.counters(*host));
        }
        let all = self.relays.iter().map(|host| self.shim.counters(*host));
        if let Some(sum) = all.reduce(|(up, down), (more_up, more_down)| (up.plus(&more_up), down.plus(&more_down))) {
            add("relays", sum);
        }
        let report = self.shim.report();
        Impaired {
            profile: self.name.clone(),
            links,
            unsent: report.unsent + report.overflowed + report.refused,
            latest_ms: report.latest.as_secs_f64() * 1e3,
        }
    }
}

/// Listens before every relay for these clients; gives the addresses.
fn stand_before(
    shim: &mut Shim,
    addresses: &[SocketAddr],
    relays: &[Host],
    clients: &Clients,
) -> Outcome<Vec<SocketAddr>> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listen = addresses
        .iter()
        .enumerate()
        .map(|(number, address)| shim.forward(any, clients.clone(), *address, relays.get(number).copied()));
    listen.collect::<Result<_, _>>().map_err(|error| {
        Failure::failed(
            "the bad network cannot be made",
            files::reason(&error),
            "stop other programs that use UDP ports",
        )
    })
}

/// What a bad network did to datagrams.
#[derive(Clone, Debug)]
pub(crate) struct Impaired {
    profile: String,
    links: Vec<Link>,
    /// Datagrams that the emulator itself did not manage to forward.
    unsent: u64,
    /// The longest that it was behind its own timetable.
    latest_ms: f64,
}

#[derive(Clone, Debug)]
struct Link {
    of: String,
    up: Counters,
    down: Counters,
}

impl Impaired {
    pub(crate) fn json(&self) -> Value {
        let links: Vec<Value> = self
            .links
            .iter()
            .map(|link| json!({ "of": link.of, "up": counters_json(&link.up), "down": counters_json(&link.down) }))
            .collect();
        json!({
            "profile": self.profile, "access": links,
            "dropped_by_the_emulator": self.unsent, "most_behind_ms": self.latest_ms,
        })
    }

    /// Its name, and a table.
    pub(crate) fn table(&self) -> (String, Vec<Vec<String>>) {
        let heading = ["ACCESS OF", "WAY", "SENT", "LOST", "SHARE", "MEAN RUN", "QUEUE FULL", "HELD BACK", "TWICE"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for link in &self.links {
            for (way, c) in [("up", &link.up), ("down", &link.down)] {
                let share = c.lost as f64 * 100.0 / c.sent.max(1) as f64;
                let run = c.lost as f64 / c.loss_runs.max(1) as f64;
                rows.push(vec![
                    link.of.clone(),
                    way.to_owned(),
                    c.sent.to_string(),
                    c.lost.to_string(),
                    format!("{share:.2} %"),
                    if c.lost == 0 { "-".to_owned() } else { format!("{run:.2}") },
                    (c.queue_dropped + c.too_big).to_string(),
                    c.reordered.to_string(),
                    c.duplicated.to_string(),
                ]);
            }
        }
        let mut name = self.profile.clone();
        if self.unsent > 0 {
            name.push_str(&format!("; {} more dropped by the emulator itself, which could not keep up", self.unsent));
        }
        (name, rows)
    }
}

fn counters_json(counters: &Counters) -> Value {
    json!({
        "sent": counters.sent,
        "bytes": counters.bytes,
        "delivered": counters.delivered(),
        "lost": counters.lost,
        "loss_runs": counters.loss_runs,
        "queue_dropped": counters.queue_dropped,
        "too_big": counters.too_big,
        "duplicated": counters.duplicated,
        "reordered": counters.reordered,
    })
}
