//! What one circuit may use of an exit.
//!
//! An exit cannot know who asks, so it can only ration: streams and UDP flows at a time, new connections and look-ups a
//! minute, bytes. Each circuit has its own account, made at its first request and forgotten when it ends. All state is
//! bounded: accounts by number, everything in them by the limits themselves. Time is passed in.

mod bucket;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use zmesh_overlay::egress::{CircuitHandle, EgressError};

use bucket::{Bucket, Pace};

/// Limits per circuit, and the number of sockets of the whole exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// TCP streams at a time, those that are still connecting included.
    pub streams: usize,
    /// New TCP connections a minute; as many may come at once.
    pub connects_per_minute: u32,
    /// UDP flows at a time.
    pub udp_flows: usize,
    /// DNS queries a minute, those for connections included; as many may come at once.
    pub lookups_per_minute: u32,
    /// Bytes per second in both directions together, over all streams and flows.
    pub bytes_per_second: Option<u64>,
    /// Bytes over the life of the circuit.
    pub bytes_total: Option<u64>,
    /// Streams and flows of all circuits together: keep it below the process's limit of open files.
    pub node_sockets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 128,
            connects_per_minute: 300,
            udp_flows: 32,
            lookups_per_minute: 300,
            bytes_per_second: None,
            bytes_total: None,
            node_sockets: 8_192,
        }
    }
}

/// Most circuits with an account. Relays bound their circuits far below.
const ACCOUNTS_MAX: usize = 65_536;

/// Which limit is reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Exceeded {
    /// Streams at a time.
    #[error("too many streams at a time")]
    Streams,
    /// New connections.
    #[error("too many new connections a minute")]
    Connects,
    /// UDP flows at a time.
    #[error("too many UDP flows at a time")]
    UdpFlows,
    /// DNS queries.
    #[error("too many DNS queries a minute")]
    Lookups,
    /// Bytes over the life of the circuit.
    #[error("the circuit's bytes are used up")]
    Bytes,
    /// Sockets of the whole exit, or circuits with an account.
    #[error("the exit has no more sockets")]
    Exit,
}

impl From<Exceeded> for EgressError {
    fn from(_: Exceeded) -> Self {
        Self::QuotaExceeded
    }
}

/// The accounts of all circuits.
#[derive(Debug)]
pub struct Quotas {
    limits: Limits,
    accounts: Mutex<HashMap<CircuitHandle, Arc<Account>>>,
    sockets: Arc<AtomicUsize>,
}

impl Quotas {
    /// No accounts yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, accounts: Mutex::default(), sockets: Arc::default() }
    }

    /// The account of a circuit, made if there is none.
    ///
    /// # Errors
    /// [`Exceeded::Exit`] when there are too many circuits.
    pub fn account(&self, circuit: CircuitHandle, now: Instant) -> Result<Arc<Account>, Exceeded> {
        let mut accounts = self.accounts();
        if let Some(account) = accounts.get(&circuit) {
            return Ok(account.clone());
        }
        if accounts.len() >= ACCOUNTS_MAX {
            return Err(Exceeded::Exit);
        }
        let account = Arc::new(Account::new(self.limits, self.sockets.clone(), now));
        accounts.insert(circuit, account.clone());
        Ok(account)
    }

    /// Forgets the account of a circuit that ended.
    pub fn forget(&self, circuit: CircuitHandle) {
        self.accounts().remove(&circuit);
    }

    /// Circuits with an account.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts().len()
    }

    /// Whether no circuit has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts().is_empty()
    }

    /// Streams and flows that are open.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<CircuitHandle, Arc<Account>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one circuit has used.
#[derive(Debug)]
pub struct Account {
    limits: Limits,
    used: Mutex<Used>,
    sockets: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Used {
    streams: usize,
    flows: usize,
    connects: Bucket,
    lookups: Bucket,
    pace: Option<Pace>,
    bytes: u64,
}

/// What kind of socket a [`Permit`] is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Stream,
    Flow,
}

/// The right to one socket; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    account: Arc<Account>,
    kind: Kind,
}

impl Permit {
    /// The account that it came from.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut used = self.account.used();
        match self.kind {
            Kind::Stream => used.streams -= 1,
            Kind::Flow => used.flows -= 1,
        }
        self.account.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Account {
    fn new(limits: Limits, sockets: Arc<AtomicUsize>, now: Instant) -> Self {
        let used = Used {
            streams: 0,
            flows: 0,
            connects: Bucket::per_minute(limits.connects_per_minute, now),
            lookups: Bucket::per_minute(limits.lookups_per_minute, now),
            pace: limits.bytes_per_second.map(|rate| Pace::new(rate, now)),
            bytes: 0,
        };
        Self { limits, used: Mutex::new(used), sockets }
    }

    /// The right to one more stream, taken before it connects.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn stream(self: &Arc<Self>, now: Instant) -> Result<Permit, Exceeded> {
        let mut used = self.used();
        self.check_bytes(&used)?;
        if used.streams >= self.limits.streams {
            return Err(Exceeded::Streams);
        }
        if !used.connects.take(now) {
            return Err(Exceeded::Connects);
        }
        self.take_socket()?;
        used.streams += 1;
        drop(used);
        Ok(Permit { account: self.clone(), kind: Kind::Stream })
    }

    /// The right to one more UDP flow.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn flow(self: &Arc<Self>) -> Result<Permit, Exceeded> {
        let mut used = self.used();
        self.check_bytes(&used)?;
        if used.flows >= self.limits.udp_flows {
            return Err(Exceeded::UdpFlows);
        }
        self.take_socket()?;
        used.flows += 1;
        drop(used);
        Ok(Permit { account: self.clone(), kind: Kind::Flow })
    }

    /// Pays for one DNS query.
    ///
    /// # Errors
    /// [`Exceeded::Lookups`].
    pub fn lookup(&self, now: Instant) -> Result<(), Exceeded> {
        if self.used().lookups.take(now) { Ok(()) } else { Err(Exceeded::Lookups) }
    }

    /// Pays for bytes that were moved. The account may go into debt by one read or write.
    pub fn spend(&self, bytes: usize, now: Instant) {
        let bytes = bytes as u64;
        let mut used = self.used();
        used.bytes = used.bytes.saturating_add(bytes);
        if let Some(pace) = &mut used.pace {
            pace.spend(bytes, now);
        }
    }

    /// Whether bytes may move now: `Ok(None)`, or when they may.
    ///
    /// # Errors
    /// [`Exceeded::Bytes`]: never again.
    pub fn may_move(&self, now: Instant) -> Result<Option<Instant>, Exceeded> {
        let mut used = self.used();
        self.check_bytes(&used)?;
        Ok(used.pace.as_mut().and_then(|pace| pace.free_at(now)))
    }

    fn check_bytes(&self, used: &Used) -> Result<(), Exceeded> {
        match self.limits.bytes_total {
            Some(total) if used.bytes >= total => Err(Exceeded::Bytes),
            _ => Ok(()),
        }
    }

    fn take_socket(&self) -> Result<(), Exceeded> {
        let cap = self.limits.node_sockets;
        self.sockets
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < cap).then_some(open + 1))
            .map(|_| ())
            .map_err(|_| Exceeded::Exit)
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
