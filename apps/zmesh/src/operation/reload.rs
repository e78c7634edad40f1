//! What a changed configuration changes in a relay that runs.

use crate::config::{Limits, RelayConfig};

/// What SIGHUP may change at once.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Changes {
    pub(crate) limits: Limits,
    /// Keys of the file whose new values hold from the next start on.
    pub(crate) later: Vec<&'static str>,
}

/// Compares the configuration in use with one that was read anew.
pub(crate) fn changes(used: &RelayConfig, new: &RelayConfig) -> Changes {
    // Every key but those of `limits`: whoever adds one to the configuration is reminded here by the compiler.
    let RelayConfig {
        nickname,
        operator,
        family,
        country,
        listen,
        advertise,
        keys,
        network,
        state,
        meeting,
        exit,
        directory,
        chunks,
        nat,
        websocket,
        limits: _,
        metrics,
    } = used;
    let all = [
        ("nickname", *nickname != new.nickname),
        ("operator", *operator != new.operator),
        ("family", *family != new.family),
        ("country", *country != new.country),
        ("listen", *listen != new.listen),
        ("advertise", *advertise != new.advertise),
        ("keys", *keys != new.keys),
        ("network", *network != new.network),
        ("state", *state != new.state),
        ("meeting", *meeting != new.meeting),
        ("exit", *exit != new.exit),
        ("directory", *directory != new.directory),
        ("chunks", *chunks != new.chunks),
        ("nat", *nat != new.nat),
        ("websocket", *websocket != new.websocket),
        ("limits.circuits", used.limits.circuits != new.limits.circuits),
        ("metrics", *metrics != new.metrics),
    ];
    let later = all.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
    Changes { limits: new.limits.clone(), later }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::RELAY_TEMPLATE;

    #[test]
    fn limits_change_at_once_and_the_rest_is_named() {
        let used = RelayConfig::parse(RELAY_TEMPLATE).unwrap();
        assert_eq!(changes(&used, &used).later, Vec::<&str>::new());
        let text = RELAY_TEMPLATE
            .replace("send_bytes_per_second = 0", "send_bytes_per_second = 125000")
            .replace("circuits = 16384", "circuits = 100")
            .replace("ipv6 = false", "ipv6 = true")
            .replace("meeting = true", "meeting = false");
        let new = changes(&used, &RelayConfig::parse(&text).unwrap());
        assert_eq!(new.limits.send_bytes_per_second(), Some(125_000));
        assert_eq!(new.later, ["meeting", "exit", "limits.circuits"]);
    }
}
