//! The `[directory]` table.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use zmesh_control::Contact;
use zmesh_proto::wire::descriptor::{CONTROL_ADDRESSES_MAX, ControlAddress, ControlCarrier, Region};

/// How a relay takes part in a network whose voters agree on documents; without a genesis it does not.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DirectoryConfig {
    pub(crate) genesis: Option<PathBuf>,
    pub(crate) listen: Vec<SocketAddr>,
    advertise: Vec<SocketAddr>,
    contacts: Vec<String>,
    pub(crate) store: PathBuf,
    pub(crate) voter: Option<PathBuf>,
    pub(crate) measure: bool,
    region: Option<String>,
}

impl Default for DirectoryConfig {
    fn default() -> DirectoryConfig {
        DirectoryConfig {
            genesis: None,
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 9002))],
            advertise: Vec::new(),
            contacts: Vec::new(),
            store: "control".into(),
            voter: None,
            measure: true,
            region: None,
        }
    }
}

impl DirectoryConfig {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.contacts()?;
        self.region()?;
        if self.listen.is_empty() {
            return Err("directory.listen: give at least one address".to_owned());
        }
        if let Some(bad) = self.advertise.iter().find(|a| a.port() == 0 || a.ip().is_unspecified()) {
            return Err(format!("directory.advertise: {bad} is no address that others can reach"));
        }
        Ok(())
    }

    /// Whom to ask first.
    pub(crate) fn contacts(&self) -> Result<Vec<Contact>, String> {
        let parse =
            |text: &String| text.parse::<Contact>().map_err(|error| format!("directory.contacts: {text}: {error}"));
        self.contacts.iter().map(parse).collect()
    }

    pub(crate) fn region(&self) -> Result<Option<Region>, String> {
        let Some(text) = &self.region else { return Ok(None) };
        let region = Region::from_letters(text);
        region.map(Some).ok_or_else(|| "directory.region: write AF, AS, EU, NA, OC or SA".to_owned())
    }

    /// Where others reach this relay for the control plane: what the configuration says, else the IPs at which they reach the relay
    /// with the port at which it listens for the control plane.
    pub(crate) fn reached_at(&self, relay: &[SocketAddr]) -> Vec<SocketAddr> {
        if !self.advertise.is_empty() {
            return self.advertise.clone();
        }
        let mut addresses = Vec::new();
        for ip in relay.iter().map(SocketAddr::ip) {
            let fitting = self.listen.iter().find(|listen| listen.is_ipv4() == ip.is_ipv4() && listen.port() != 0);
            let address = fitting.map(|listen| SocketAddr::new(ip, listen.port()));
            addresses.extend(address.filter(|address| !addresses.contains(address)));
        }
        addresses
    }

    /// The same for a descriptor: QUIC and TCP at each address, as many as fit.
    pub(crate) fn described(&self, relay: &[SocketAddr]) -> Vec<ControlAddress> {
        let both =
            |address| [ControlCarrier::Quic, ControlCarrier::Tcp].map(|carrier| ControlAddress { carrier, address });
        self.reached_at(relay).into_iter().flat_map(both).take(CONTROL_ADDRESSES_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_reached_where_it_says_or_where_its_other_port_is() {
        let mut config = DirectoryConfig::default();
        let relay = ["192.0.2.1:9001", "[2001:db8::1]:9001"].map(|text| text.parse().expect("an address"));
        let at = |text: &str| vec![text.parse::<SocketAddr>().expect("an address")];
        assert_eq!(config.reached_at(&relay), at("192.0.2.1:9002"), "it does not listen by IPv6");
        assert_eq!(config.described(&relay).len(), 2, "QUIC and TCP");
        config.advertise = at("198.51.100.7:443");
        assert_eq!(config.reached_at(&relay), config.advertise);
    }
}
