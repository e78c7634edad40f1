use proptest::prelude::*;

use super::*;

#[test]
fn the_template_is_valid_and_holds_the_defaults() {
    let printed = RelayConfig::parse(RELAY_TEMPLATE).expect("valid");
    let least = RelayConfig::parse("nickname = \"unnamed\"\noperator = \"\"\nlisten = [\"0.0.0.0:9001\"]");
    assert_eq!(format!("{printed:?}"), format!("{:?}", least.expect("valid")));
}

#[test]
fn the_template_shows_every_key() {
    let all = RELAY_TEMPLATE.replace("\n#", "\n");
    let lines: Vec<&str> = all.lines().filter(|line| line.contains(" = ")).collect();
    for key in [
        "nickname",
        "operator",
        "family",
        "country",
        "listen",
        "advertise",
        "keys",
        "network",
        "state",
        "meeting",
        "enabled",
        "directory",
        "megabytes",
        "put_bytes_per_second",
        "policy",
        "ipv4",
        "ipv6",
        "send_bytes_per_second",
        "circuits",
        "streams",
        "connects_per_minute",
        "lookups_per_minute",
        "bytes_per_second",
        "test_network",
        "genesis",
        "contacts",
        "store",
        "voter",
        "measure",
        "region",
        "wanted_voters",
        "unwanted_voters",
        "heartbeat",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
}

#[test]
fn errors_name_the_key_and_the_line() {
    for (change, says) in [
        (("nickname =", "nicknam ="), "line 4: unknown field `nicknam`"),
        (("enabled = false", "enabld = false"), "unknown field `enabld`"),
        (("nickname = \"unnamed\"", "nickname = 7"), "line 4: invalid type: integer `7`, expected a string"),
        (("\"0.0.0.0:9001\"", "\"0.0.0.0\""), "invalid socket address"),
        (("listen = [\"0.0.0.0:9001\"]", "listen = []"), "listen: "),
        (("#country = \"DE\"", "country = \"de\""), "country: "),
        (("[exit]", "[exit"), "line "),
        (("accept *:80\"", "allow *:80\""), "exit.policy: rule 2: "),
        (("circuits = 16384", "circuits = 0"), "limits.circuits: "),
        (("megabytes = 256", "megabytes = 3"), "chunks.megabytes: "),
        (("directory = \"chunks\"", "folder = \"chunks\""), "unknown field `folder`"),
        (("circuits = 16384", "circuits = 1000001"), "limits.circuits: "),
        (("contacts = []", "contacts = [\"example.org:9002\"]"), "directory.contacts: example.org:9002: "),
        (("#region = \"EU\"", "region = \"DE\""), "directory.region: "),
        (("ipv4 = true", "ipv4 = 1"), "invalid type: integer `1`, expected a boolean"),
    ] {
        let text = RELAY_TEMPLATE.replace(change.0, change.1);
        assert_ne!(text, RELAY_TEMPLATE, "{change:?}");
        let error = RelayConfig::parse(&text).expect_err("refused");
        assert!(error.contains(says), "{error}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn a_descriptor_needs_an_operator_and_an_address() {
    let mut config = RelayConfig::parse(RELAY_TEMPLATE).expect("valid");
    assert!(config.describe().expect_err("refused").starts_with("operator: "));
    config.operator = "me".to_owned();
    assert!(config.describe().expect_err("refused").starts_with("advertise: "));
    config.advertise = vec!["0.0.0.0:9001".parse().expect("valid")];
    assert!(config.describe().expect_err("refused").starts_with("advertise: "));
    config.advertise = vec!["192.0.2.1:9001".parse().expect("valid")];
    assert!(config.describe().is_ok());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = RelayConfig::parse(&text);
    }

    #[test]
    fn any_change_of_the_template_is_read_or_refused(at in 0..RELAY_TEMPLATE.len(), byte in 0x20u8..0x7f) {
        let mut bytes = RELAY_TEMPLATE.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = RelayConfig::parse(std::str::from_utf8(&bytes).expect("the template is ASCII"));
    }
}
