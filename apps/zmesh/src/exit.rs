//! What an exit does, as its configuration says.

use std::sync::Arc;

use zmesh_overlay::egress::Egress;
use zmesh_overlay::testnet::Loopback;
use zmesh_proto::wire::descriptor::{ExitSummary, PortSet};

use crate::config::ExitConfig;

pub(crate) fn start(config: &ExitConfig) -> Result<Option<Arc<dyn Egress>>, String> {
    if !config.enabled {
        return Ok(None);
    }
    Ok(Some(Arc::new(Loopback::default())))
}

pub(crate) fn summary(config: &ExitConfig) -> Result<Option<ExitSummary>, String> {
    if !config.enabled {
        return Ok(None);
    }
    Ok(Some(ExitSummary { v4: config.ipv4, v6: config.ipv6, ports: PortSet::all() }))
}
