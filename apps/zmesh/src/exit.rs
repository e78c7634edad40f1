//! What an exit does, as its configuration says.

use std::net::IpAddr;
use std::sync::Arc;

use zmesh_exits::direct::DirectConfig;
use zmesh_exits::{Direct, Limits, Policy};
use zmesh_overlay::egress::Egress;
use zmesh_proto::wire::descriptor::ExitSummary;

use crate::config::{ExitConfig, RelayConfig};

/// The way out, if the relay is an exit. Has to be called inside a tokio runtime. The error is a line about the key.
pub(crate) fn start(config: &RelayConfig) -> Result<Option<Arc<dyn Egress>>, String> {
    let exit = &config.exit;
    if !exit.enabled {
        return Ok(None);
    }
    let own = config.advertise.iter().map(|address| address.ip());
    let mut direct = DirectConfig::new(policy(exit, own)?);
    let defaults = Limits::default();
    direct.limits = Limits {
        streams: exit.streams,
        connects_per_minute: exit.connects_per_minute,
        lookups_per_minute: exit.lookups_per_minute,
        bytes_per_second: (exit.bytes_per_second > 0).then_some(exit.bytes_per_second),
        ..defaults
    };
    let direct = Direct::new(direct).map_err(|error| format!("exit: the resolver of names cannot start: {error}"))?;
    Ok(Some(Arc::new(direct)))
}

/// What the descriptor says of the exit.
pub(crate) fn summary(config: &ExitConfig) -> Result<Option<ExitSummary>, String> {
    if !config.enabled {
        return Ok(None);
    }
    let summary = policy(config, [])?.summary();
    summary.ok_or("exit.policy: it accepts no port in general, so nobody would choose this exit".to_owned()).map(Some)
}

/// The policy, whether the exit is enabled or not: a wrong rule is said in any case.
pub(crate) fn policy(config: &ExitConfig, own: impl IntoIterator<Item = IpAddr>) -> Result<Policy, String> {
    let mut policy = Policy::default();
    for (index, rule) in config.policy.iter().enumerate() {
        // One by one, so that the error can name the rule.
        rule.parse::<Policy>().map_err(|error| format!("exit.policy: rule {}: {}", index + 1, error.error))?;
    }
    if !config.policy.is_empty() {
        policy = config.policy.join("\n").parse().map_err(|error| format!("exit.policy: {error}"))?;
    }
    if config.test_network {
        policy = policy.for_test_network();
    }
    Ok(policy.with_families(config.ipv4, config.ipv6).with_own_addresses(own))
}
