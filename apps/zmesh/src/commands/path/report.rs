//! What is said of a path.

use std::time::Duration;

use serde_json::{Value, json};
use zmesh_overlay::{Explanation, Network, RelayId, Uncertainty};
use zmesh_proto::path::{Chooser, Floor, Strength};

use crate::term;
use crate::time::millis;

/// One relay of the path.
struct Hop {
    id: RelayId,
    nickname: String,
    operator: String,
    country: String,
    capacity: u32,
    /// The round trip from the relay before, as the map has it.
    from_before: Option<f64>,
    /// The round trip from here.
    measured: Option<Duration>,
}

/// A path and what its choice left open.
pub(super) struct Report {
    hops: Vec<Hop>,
    explanation: Explanation,
    test_network: bool,
}

impl Report {
    pub(super) fn new(network: &Network, chooser: &Chooser, path: &[RelayId], explanation: Explanation) -> Self {
        let describe = |(at, id): (usize, &RelayId)| {
            let relay = network.relay(id);
            let before = at.checked_sub(1).map(|before| path[before]);
            Hop {
                id: *id,
                nickname: relay.map(|relay| relay.nickname().to_owned()).unwrap_or_default(),
                operator: relay.map(|relay| relay.operator().to_owned()).unwrap_or_default(),
                country: relay.and_then(|relay| relay.country()).unwrap_or("-").to_owned(),
                capacity: network.measure(id).capacity,
                from_before: before.and_then(|before| chooser.expected_ms(&before, id)),
                measured: None,
            }
        };
        let hops = path.iter().enumerate().map(describe).collect();
        Self { hops, explanation, test_network: network.is_test_network() }
    }

    pub(super) fn measured(&mut self, hop: usize, round_trip: Duration) {
        if let Some(hop) = self.hops.get_mut(hop) {
            hop.measured = Some(round_trip);
        }
    }

    /// The whole way from the first relay to the last and back, as the map has it.
    fn expected(&self) -> Option<f64> {
        self.hops.iter().skip(1).map(|hop| hop.from_before).sum()
    }

    pub(super) fn to_json(&self) -> Value {
        let explanation = &self.explanation;
        let open = |left: &Uncertainty| {
            json!({
                "bits": round(left.bits), "min_bits": round(left.min_bits),
                "min_bits_against_adversary": round(left.adversary_bits),
                "half_ms": left.half_ms.map(round), "nine_of_ten_ms": left.most_ms.map(round),
            })
        };
        let strength = |strength: Strength| {
            json!({
                "capacity": f64::from(strength.capacity) / f64::from(Strength::CAPACITY_MAX),
                "latency_bits": f64::from(strength.latency) / 2.0,
            })
        };
        json!({
            "path": self.hops.iter().enumerate().map(|(at, hop)| json!({
                "relay": hop.nickname, "id": hop.id.to_string(), "place": self.place(at), "operator": hop.operator,
                "country": hop.country, "capacity_kb_s": (hop.capacity > 0).then_some(hop.capacity),
                "expected_ms_from_before": hop.from_before.map(round),
                "measured_ms": hop.measured.map(millis),
            })).collect::<Vec<_>>(),
            "expected_ms_behind_guard": self.expected().map(round),
            "paths": explanation.paths,
            "asked": strength(explanation.asked),
            "used": strength(explanation.used),
            "floor": {
                "entropy_percent": Floor::DEFAULT.entropy, "min_entropy_percent": Floor::DEFAULT.min_entropy,
                "adversary_percent": Floor::DEFAULT.adversary,
            },
            "choice": explanation.chosen.as_ref().map(open),
            "uniform": explanation.uniform.as_ref().map(open),
            "bits_given_up": self.given_up().map(round),
            "ms_gained": self.gained().map(round),
            "capacities_known": explanation.capacities_known,
            "latencies_known": explanation.latencies_known,
        })
    }

    pub(super) fn print(&self) {
        let heading = ["PLACE", "RELAY", "OPERATOR", "COUNTRY", "CAPACITY", "EXPECTED", "MEASURED"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.extend(self.hops.iter().enumerate().map(|(at, hop)| self.row(at, hop)));
        term::table(&rows);
        term::line("");
        self.say_choice();
        self.say_times();
        self.say_missing();
    }

    fn row(&self, at: usize, hop: &Hop) -> Vec<String> {
        vec![
            self.place(at).to_owned(),
            hop.nickname.clone(),
            hop.operator.clone(),
            hop.country.clone(),
            if hop.capacity > 0 { format!("{} kB/s", hop.capacity) } else { "-".to_owned() },
            hop.from_before.map_or("-".to_owned(), |ms| format!("+{ms:.1} ms")),
            hop.measured.map_or("-".to_owned(), |time| format!("{:.1} ms", millis(time))),
        ]
    }

    fn say_choice(&self) {
        let Explanation { paths, used, asked, .. } = self.explanation;
        let (Some(chosen), Some(uniform)) = (self.explanation.chosen, self.explanation.uniform) else {
            term::line(format_args!(
                "one of {paths} paths behind this guard: too many to look at each, so none is preferred"
            ));
            return;
        };
        term::line(format_args!("choice    drawn from the {paths} paths that are possible behind this guard"));
        term::line(format_args!(
            "entropy   {:.2} bits are left to guess for who sees the guard; {:.2} if the path is the likeliest; {:.2} for who runs the largest relays, {} % of the capacity",
            chosen.bits,
            chosen.min_bits,
            chosen.adversary_bits,
            Floor::DEFAULT.adversary,
        ));
        term::line(format_args!(
            "given up  {:.2} of the {:.2} bits that a choice without preference leaves",
            self.given_up().unwrap_or(0.0),
            uniform.bits,
        ));
        if let (Some(chosen), Some(uniform)) = (chosen.half_ms, uniform.half_ms) {
            term::line(format_args!(
                "gained    half of the choices take {chosen:.0} ms or less behind the guard; without preference {uniform:.0} ms"
            ));
        }
        if used != asked && self.explanation.capacities_known {
            term::line(format_args!(
                "weakened  to {} of 4 for capacity and {} bits for latency, from {} and {}: the anonymity floor is {} % of uniform entropy, {} % against that adversary",
                used.capacity,
                f64::from(used.latency) / 2.0,
                asked.capacity,
                f64::from(asked.latency) / 2.0,
                Floor::DEFAULT.entropy,
                Floor::DEFAULT.min_entropy,
            ));
        }
    }

    /// What the columns of times mean, where they hold something.
    fn say_times(&self) {
        if self.hops.iter().any(|hop| hop.from_before.is_some()) {
            term::line("expected  round trips from the relay before, by the map that the voters measured");
        }
        if self.hops.iter().any(|hop| hop.measured.is_some()) {
            term::line("measured  round trips from here to the relay, just now over this circuit");
        }
    }

    fn say_missing(&self) {
        if self.test_network {
            term::line(
                "rules     this is a test network, all on one machine: relays of one operator or place may share a path here, and nowhere else",
            );
        }
        if !self.explanation.capacities_known {
            term::line(
                "capacity  nobody has measured the relays of this network yet (of a network file nobody ever does): all paths are equally likely",
            );
        }
        if !self.explanation.latencies_known {
            term::line("latency   nobody has measured how far they are from each other either: no times are expected");
        }
    }

    fn place(&self, at: usize) -> &'static str {
        match at {
            0 => "guard",
            at if at + 1 == self.hops.len() => "exit",
            _ => "middle",
        }
    }

    fn given_up(&self) -> Option<f64> {
        Some((self.explanation.uniform?.bits - self.explanation.chosen?.bits).max(0.0))
    }

    fn gained(&self) -> Option<f64> {
        Some(self.explanation.uniform?.half_ms? - self.explanation.chosen?.half_ms?)
    }
}

/// To hundredths.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
