//! The tables `[nat]` and `[websocket]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use zmesh_overlay::{Fallback, WebSocketServer};

/// Ways into the network that come with the program, one a line: `RELAY@wss://HOST:PORT/PATH`.
const SHIPPED: &str = include_str!("fallbacks.txt");

/// The `[nat]` table.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NatConfig {
    pub(crate) enabled: bool,
    pub(crate) port_mapping: bool,
    shipped_fallbacks: bool,
    fallbacks: Vec<String>,
}

impl Default for NatConfig {
    fn default() -> NatConfig {
        NatConfig { enabled: true, port_mapping: true, shipped_fallbacks: true, fallbacks: Vec::new() }
    }
}

impl NatConfig {
    /// Own entries first, then the shipped ones.
    pub(crate) fn fallbacks(&self) -> Result<Vec<Fallback>, String> {
        let parse = |text: &str| text.parse::<Fallback>().map_err(|error| format!("nat.fallbacks: {text}: {error}"));
        let mut all = self.fallbacks.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
        if self.shipped_fallbacks {
            all.extend(shipped_fallbacks());
        }
        Ok(all)
    }
}

/// The shipped entries.
pub(crate) fn shipped_fallbacks() -> Vec<Fallback> {
    let lines = SHIPPED.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.parse().ok()).collect()
}

/// The `[websocket]` table.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebSocketConfig {
    listen: Option<SocketAddr>,
    path: String,
    names: Vec<String>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Default for WebSocketConfig {
    fn default() -> WebSocketConfig {
        let names = vec!["localhost".to_owned()];
        WebSocketConfig { listen: None, path: "/".to_owned(), names, certificate: None, key: None }
    }
}

impl WebSocketConfig {
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err("websocket.path: begin it with /".to_owned());
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err("websocket: give certificate and key, or neither".to_owned());
        }
        Ok(())
    }

    /// The server to run, if any.
    pub(crate) fn server(&self) -> Option<WebSocketServer> {
        let mut server = WebSocketServer::new(self.listen?);
        server.path.clone_from(&self.path);
        server.names.clone_from(&self.names);
        server.certificate = self.certificate.clone().zip(self.key.clone());
        Some(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_list_reads() {
        let lines = SHIPPED.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        assert_eq!(lines.count(), shipped_fallbacks().len());
    }
}
