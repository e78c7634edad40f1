//! The relay's configuration file.

mod directory;
mod nat;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use zmesh_overlay::ChunkStore;
use zmesh_proto::wire::descriptor::{DescriptorInfo, NICKNAME_MAX};

use crate::exit;
use crate::failure::{Failure, Outcome};
use crate::files;

use directory::DirectoryConfig;
pub(crate) use nat::shipped_fallbacks;
use nat::{NatConfig, WebSocketConfig};

/// What `zmesh config print relay` prints: every key, with its meaning and default.
pub const RELAY_TEMPLATE: &str = include_str!("relay.toml");

/// A relay's configuration, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    pub(crate) nickname: String,
    pub(crate) operator: String,
    #[serde(default)]
    pub(crate) family: Option<String>,
    #[serde(default)]
    pub(crate) country: Option<String>,
    pub(crate) listen: Vec<SocketAddr>,
    #[serde(default)]
    pub(crate) advertise: Vec<SocketAddr>,
    #[serde(default = "default_keys")]
    pub(crate) keys: PathBuf,
    #[serde(default = "default_network")]
    pub(crate) network: PathBuf,
    #[serde(default = "default_state")]
    pub(crate) state: PathBuf,
    #[serde(default = "default_true")]
    pub(crate) meeting: bool,
    #[serde(default)]
    pub(crate) exit: ExitConfig,
    #[serde(default)]
    pub(crate) directory: DirectoryConfig,
    #[serde(default)]
    pub(crate) chunks: ChunksConfig,
    #[serde(default)]
    pub(crate) nat: NatConfig,
    #[serde(default)]
    pub(crate) websocket: WebSocketConfig,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) metrics: MetricsConfig,
}

/// The `[exit]` table.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExitConfig {
    pub(crate) enabled: bool,
    pub(crate) policy: Vec<String>,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    pub(crate) streams: usize,
    pub(crate) connects_per_minute: u32,
    pub(crate) lookups_per_minute: u32,
    pub(crate) bytes_per_second: u64,
    pub(crate) test_network: bool,
}

/// The `[chunks]` table.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ChunksConfig {
    pub(crate) enabled: bool,
    pub(crate) directory: PathBuf,
    megabytes: u64,
    put_bytes_per_second: u64,
}

impl Default for ChunksConfig {
    fn default() -> ChunksConfig {
        ChunksConfig { enabled: true, directory: "chunks".into(), megabytes: 256, put_bytes_per_second: 2_097_152 }
    }
}

impl ChunksConfig {
    /// What the relay is to keep, if anything.
    pub(crate) fn store(&self) -> Option<ChunkStore> {
        let mut store = ChunkStore::new(self.directory.clone());
        store.room = self.megabytes << 20;
        store.put_rate = self.put_bytes_per_second;
        self.enabled.then_some(store)
    }
}

/// The `[limits]` table.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    send_bytes_per_second: u64,
    /// 0 for no limit.
    pub(crate) send_bytes_per_month: u64,
    pub(crate) circuits: usize,
    drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { send_bytes_per_second: 0, send_bytes_per_month: 0, circuits: 16_384, drain_seconds: 30 }
    }
}

/// The `[metrics]` table.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MetricsConfig {
    pub(crate) listen: Option<SocketAddr>,
}

impl Default for ExitConfig {
    fn default() -> ExitConfig {
        let policy = ["accept *:53", "accept *:80", "accept *:443"].map(str::to_owned).to_vec();
        ExitConfig {
            enabled: false,
            policy,
            ipv4: true,
            ipv6: false,
            streams: 128,
            connects_per_minute: 300,
            lookups_per_minute: 300,
            bytes_per_second: 0,
            test_network: false,
        }
    }
}

fn default_keys() -> PathBuf {
    "keys".into()
}

fn default_network() -> PathBuf {
    "network".into()
}

fn default_state() -> PathBuf {
    "state".into()
}

fn default_true() -> bool {
    true
}

impl RelayConfig {
    /// Reads and checks a file. Paths in the result are ready to use.
    pub(crate) fn load(path: &Path) -> Outcome<RelayConfig> {
        let next = "make one with: zmesh config print relay > relay.toml";
        let bytes = files::read(path, "configuration", next)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong(path, "it is not UTF-8 text"))?;
        let mut config = RelayConfig::parse(text).map_err(|why| wrong(path, why))?;
        for file in [&mut config.keys, &mut config.network, &mut config.state, &mut config.chunks.directory] {
            *file = files::beside(path, file);
        }
        let (web, directory) = (&mut config.websocket, &mut config.directory);
        directory.store = files::beside(path, &directory.store);
        let given = [&mut web.certificate, &mut web.key, &mut directory.genesis, &mut directory.voter];
        for file in given.into_iter().flatten() {
            *file = files::beside(path, file);
        }
        Ok(config)
    }

    /// Reads and checks text.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn parse(text: &str) -> Result<RelayConfig, String> {
        let config: RelayConfig = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let message = error.message().trim().replace('\n', ", ");
            match line {
                Some(line) => format!("line {line}: {message}"),
                None => message,
            }
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let nickname_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=NICKNAME_MAX).contains(&self.nickname.len()) || !self.nickname.bytes().all(nickname_byte) {
            return Err(format!("nickname: write 1 to {NICKNAME_MAX} of A-Z a-z 0-9 . _ -"));
        }
        if self.listen.is_empty() {
            return Err("listen: give at least one address".to_owned());
        }
        for v6 in [false, true] {
            if self.listen.iter().filter(|address| address.is_ipv6() == v6).count() > 1 {
                let family = if v6 { "IPv6" } else { "IPv4" };
                return Err(format!("listen: give at most one {family} address"));
            }
        }
        if !(1..=1_000_000).contains(&self.limits.circuits) {
            return Err("limits.circuits: write a number from 1 to 1000000".to_owned());
        }
        if self.limits.drain_seconds > 86_400 {
            return Err("limits.drain_seconds: write a number from 0 to 86400".to_owned());
        }
        if !(4..=16_777_216).contains(&self.chunks.megabytes) {
            return Err("chunks.megabytes: write a number from 4 to 16777216".to_owned());
        }
        self.nat.fallbacks()?;
        self.directory.check()?;
        self.websocket.check()?;
        self.country_code()?;
        exit::policy(&self.exit, [])?;
        if self.exit.enabled && !self.exit.ipv4 && !self.exit.ipv6 {
            return Err("exit: an exit needs ipv4 or ipv6".to_owned());
        }
        Ok(())
    }

    /// What the descriptor says of this relay, but for its exit, which depends on the policy.
    pub(crate) fn describe(&self) -> Result<DescriptorInfo, String> {
        if self.operator.trim().is_empty() {
            return Err("operator: say who runs the relay (a name or a mail address)".to_owned());
        }
        if self.advertise.is_empty() {
            return Err("advertise: give the public address at which others reach the relay".to_owned());
        }
        if let Some(bad) = self.advertise.iter().find(|a| a.port() == 0 || a.ip().is_unspecified()) {
            return Err(format!("advertise: {bad} is no address that others can reach"));
        }
        let agreed = self.directory.genesis.is_some();
        Ok(DescriptorInfo {
            nickname: self.nickname.clone(),
            operator: self.operator.clone(),
            family: self.family.clone(),
            country: self.country_code()?,
            addresses: self.advertise.clone(),
            exit: None,
            meeting: self.meeting,
            cache: self.chunks.enabled,
            mixer: false,
            directory: agreed,
            region: self.directory.region()?.filter(|_| agreed),
            control: if agreed { self.directory.described(&self.advertise) } else { Vec::new() },
        })
    }

    fn country_code(&self) -> Result<Option<[u8; 2]>, String> {
        let Some(country) = &self.country else {
            return Ok(None);
        };
        match country.as_bytes() {
            [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] => Ok(Some([*a, *b])),
            _ => Err("country: write two capital letters, such as DE".to_owned()),
        }
    }
}

/// The failure for a configuration that cannot be used.
pub(crate) fn wrong(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::misused(
        format_args!("the configuration {} cannot be used", path.display()),
        why,
        "zmesh config print relay shows every key",
    )
}

impl Limits {
    /// The limit, if there is one.
    pub(crate) fn send_bytes_per_second(&self) -> Option<u64> {
        (self.send_bytes_per_second > 0).then_some(self.send_bytes_per_second)
    }

    /// How long circuits may go on when the relay is told to stop.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}
