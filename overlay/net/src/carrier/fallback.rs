//! Other ways into the network, taken when UDP leads nowhere.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Hub, websocket};
use crate::RelayId;
use crate::shard::{Command, Shard};

/// How often it is looked whether UDP works.
const LOOK: Duration = Duration::from_millis(500);
/// Links over other carriers that are kept where UDP is blocked.
const WANTED: usize = 2;
/// A connection to a fallback may take so long to become a link before the next is tried as well.
const SETTLE: Duration = Duration::from_millis(1500);

/// A relay that can be linked to over WebSocket: `RELAY@wss://HOST:PORT/PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fallback {
    /// The relay.
    pub relay: RelayId,
    /// A name or an address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Begins with `/`.
    pub path: String,
}

/// Why a text is no fallback.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write a fallback as RELAY@wss://HOST:PORT/PATH, the relay by its 32 digits")]
pub struct FallbackError;

impl FromStr for Fallback {
    type Err = FallbackError;

    fn from_str(text: &str) -> Result<Self, FallbackError> {
        let (relay, url) = text.trim().split_once("@wss://").ok_or(FallbackError)?;
        let (place, path) = url.split_once('/').map_or((url, String::new()), |(place, path)| (place, path.to_owned()));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| FallbackError)?),
            _ => (place, 443),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || port == 0 || relay.len() != 32 || !relay.is_ascii() {
            return Err(FallbackError);
        }
        let mut id = [0; 16];
        for (byte, digits) in id.iter_mut().zip(relay.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| FallbackError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| FallbackError)?;
        }
        Ok(Self { relay: RelayId(id), host: host.to_owned(), port, path: format!("/{path}") })
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { relay, host, port, path } = self;
        if host.contains(':') {
            write!(f, "{relay}@wss://[{host}]:{port}{path}")
        } else {
            write!(f, "{relay}@wss://{host}:{port}{path}")
        }
    }
}

/// Watches over a node, and connects to fallbacks while UDP leads nowhere. Ends with the node.
pub(crate) async fn watch(shard: Weak<Shard>, hub: Arc<Hub>, fallbacks: Vec<Fallback>) {
    let mut next = 0;
    let mut open: Vec<tokio::task::JoinHandle<()>> = Vec::new();
    while !fallbacks.is_empty() {
        tokio::time::sleep(LOOK).await;
        let Some(shard) = shard.upgrade() else { break };
        let Some((cut_off, carried)) = shard.cut_off().await else { break };
        open.retain(|task| !task.is_finished());
        if !cut_off || carried >= WANTED || open.len() >= fallbacks.len() {
            continue;
        }
        let fallback = &fallbacks[next % fallbacks.len()];
        next += 1;
        match websocket::connect(&hub, shard.streams.as_ref(), &fallback.host, fallback.port, &fallback.path).await {
            Ok((address, task)) => {
                open.push(task);
                let relay = fallback.relay;
                if !shard.command(Command::UseCarrier { relay, address }).await {
                    break;
                }
                drop(shard);
                tokio::time::sleep(SETTLE.min(LOOK)).await;
            }
            Err(error) => tracing::debug!(kind = ?error.kind(), "a fallback cannot be used"),
        }
    }
    for task in open {
        task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fallback_reads_back() {
        let id = "00112233445566778899aabbccddeeff";
        for (text, host, port, path) in [
            ("@wss://relay.example:8443/a/b", "relay.example", 8443, "/a/b"),
            ("@wss://relay.example", "relay.example", 443, "/"),
            ("@wss://[2001:db8::1]:444/x", "2001:db8::1", 444, "/x"),
            ("@wss://[2001:db8::1]", "2001:db8::1", 443, "/"),
        ] {
            let fallback: Fallback = format!("{id}{text}").parse().expect("a fallback");
            assert_eq!((fallback.host.as_str(), fallback.port, fallback.path.as_str()), (host, port, path));
            assert_eq!(fallback.to_string().parse(), Ok(fallback));
        }
        for bad in ["", "x@wss://a", &format!("{id}@ws://a"), &format!("{id}@wss://:1/"), &format!("{id}@wss://a:b/")] {
            assert_eq!(bad.parse::<Fallback>(), Err(FallbackError), "{bad}");
        }
    }
}
