//! How a service runs.

use std::path::PathBuf;

use crate::api::DEFAULT_HOPS;

/// Introduction points unless told otherwise.
const INTROS: usize = 3;
/// Clients at once unless told otherwise.
const CLIENTS: usize = 128;
/// Introductions by way of one point until its keys are drawn anew.
const INTRODUCTIONS: usize = 16_384;

/// How a service runs. The defaults suit most; give it a [state file](ServiceOptions::state) if it is to be up for days.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceOptions {
    pub(crate) state: Option<PathBuf>,
    pub(crate) intros: usize,
    pub(crate) clients: usize,
    pub(crate) hops: usize,
    pub(crate) ports: Option<Vec<u16>>,
    pub(crate) answers: usize,
    pub(crate) forge_key: bool,
    pub(crate) introductions: usize,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            state: None,
            intros: INTROS,
            clients: CLIENTS,
            hops: DEFAULT_HOPS,
            ports: None,
            answers: 8,
            forge_key: false,
            introductions: INTRODUCTIONS,
        }
    }
}

impl ServiceOptions {
    /// A file for the second relays of the service, so that a restart does not draw others: each new one is a chance for an adversary.
    #[must_use]
    pub fn state(mut self, file: PathBuf) -> Self {
        self.state = Some(file);
        self
    }

    /// Introduction points, 1 to 8.
    #[must_use]
    pub fn introduction_points(mut self, count: usize) -> Self {
        self.intros = count.clamp(1, zmesh_proto::service::descriptor::INTROS_MAX);
        self
    }

    /// Clients at once; more are not answered.
    #[must_use]
    pub fn clients(mut self, count: usize) -> Self {
        self.clients = count.max(1);
        self
    }

    /// Introductions that are answered at once, each with a circuit that is being built. The others wait.
    #[must_use]
    pub fn answers(mut self, count: usize) -> Self {
        self.answers = count.max(1);
        self
    }

    /// Ports that clients may ask for; all unless set.
    #[must_use]
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = Some(ports.into_iter().collect());
        self
    }

    /// Draws the keys of an introduction point anew after so many introductions, to see that it stays where it is.
    #[cfg(feature = "testnet")]
    #[must_use]
    pub fn introductions_of_a_point(mut self, count: usize) -> Self {
        self.introductions = count.max(1);
        self
    }

    /// Has the service prove another key than the one of the meeting, to see that clients refuse it.
    #[cfg(feature = "testnet")]
    #[must_use]
    pub fn forge_key(mut self) -> Self {
        self.forge_key = true;
        self
    }

    /// Relays of the service's own choice on each of its circuits, 2 or 3. A relay that somebody else chose comes on top.
    #[must_use]
    pub fn hops(mut self, hops: usize) -> Self {
        self.hops = hops;
        self
    }
}
