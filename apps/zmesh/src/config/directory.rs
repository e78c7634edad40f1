//! The `[directory]` table.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use zmesh_control::Contact;
use zmesh_proto::wire::control::Voter;
use zmesh_proto::wire::descriptor::{CONTROL_ADDRESSES_MAX, ControlAddress, ControlCarrier, Region};
use zmesh_proto::wire::document::SignerId;

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
    wanted_voters: Vec<String>,
    unwanted_voters: Vec<String>,
    pub(crate) measure: bool,
    region: Option<String>,
    pub(crate) heartbeat: bool,
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
            wanted_voters: Vec::new(),
            unwanted_voters: Vec::new(),
            measure: true,
            region: None,
            heartbeat: true,
        }
    }
}

impl DirectoryConfig {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.contacts()?;
        self.region()?;
        self.wishes()?;
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

    /// Whom this voter would have vote, and not vote any more.
    pub(crate) fn wishes(&self) -> Result<(Vec<Voter>, Vec<SignerId>), String> {
        let key = |text: &str, what: &str| {
            SignerId::from_hex(text).ok_or_else(|| format!("directory.{what}: {text}: a key has 64 hexadecimal digits"))
        };
        let voter = |text: &String| match text.rsplit_once('=') {
            Some((operator, hex)) => Ok(Voter { key: key(hex, "wanted_voters")?, operator: operator.to_owned() }),
            None => Err(format!("directory.wanted_voters: {text}: write OPERATOR=KEY")),
        };
        let wanted = self.wanted_voters.iter().map(voter).collect::<Result<_, _>>()?;
        let unwanted =
            self.unwanted_voters.iter().map(|text| key(text, "unwanted_voters")).collect::<Result<_, _>>()?;
        Ok((wanted, unwanted))
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
    #[test]
    fn wishes_are_operators_and_keys() {
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let wish = |wanted: &str, unwanted: &str| {
            let list = |text: &str| Vec::from_iter((!text.is_empty()).then(|| text.to_owned()));
            let config = DirectoryConfig {
                wanted_voters: list(wanted),
                unwanted_voters: list(unwanted),
                ..DirectoryConfig::default()
            };
            config.check().and_then(|()| config.wishes())
        };
        let (wanted, unwanted) = wish(&format!("a=b & co={key}"), key).expect("well-formed");
        assert_eq!((wanted[0].operator.as_str(), wanted[0].key), ("a=b & co", unwanted[0]));
        for (wanted, unwanted) in [(key, ""), ("me=abc", ""), ("", "me=abc"), ("", "abc")] {
            let why = wish(wanted, unwanted).expect_err("no key");
            let helps = why.contains("hexadecimal") || why.contains("OPERATOR=KEY");
            assert!(why.contains("wanted_voters") && helps, "{why}");
        }
    }
}
