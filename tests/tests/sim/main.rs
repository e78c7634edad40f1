//! Whole networks in virtual time: what must hold of circuits, queues, floods, failures and observers.
#![allow(clippy::print_stdout, reason = "figures that a reader of the test's output wants to see")]

mod agreement;
mod attacks;
mod circuits;
mod epochs;
mod fairness;
mod heal;
mod observers;
mod quality;
mod repair;

use std::time::Duration;

use zmesh_tests::sim::app::Reflector;
use zmesh_tests::sim::node::{App, NoApp};
use zmesh_tests::sim::wire::Path;
use zmesh_tests::topology::World;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A world whose relays send every message for themselves back.
fn reflecting(seed: u64, relays: usize, path: Path) -> World {
    World::new(seed, relays, path, |_, _| {}, |_| Box::<Reflector>::default())
}

/// A world in which every relay runs what `app` makes.
fn world_with(seed: u64, relays: usize, path: Path, app: impl FnMut(usize) -> Box<dyn App>) -> World {
    World::new(seed, relays, path, |_, _| {}, app)
}

/// An app for relays that only forward.
fn no_app() -> Box<dyn App> {
    Box::new(NoApp)
}

/// Milliseconds for people.
fn in_ms(duration: Option<Duration>) -> f64 {
    duration.unwrap_or_default().as_secs_f64() * 1e3
}
