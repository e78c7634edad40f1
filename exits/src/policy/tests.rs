use proptest::prelude::*;

use super::*;

fn at(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), port)
}

const NEVER: &[(&str, Special)] = &[
    ("0.0.0.0", Special::Unspecified),
    ("0.255.255.255", Special::Unspecified),
    ("10.0.0.0", Special::Private),
    ("10.255.255.255", Special::Private),
    ("100.64.0.0", Special::CarrierNat),
    ("100.127.255.255", Special::CarrierNat),
    ("100.100.100.200", Special::Metadata),
    ("127.0.0.1", Special::Loopback),
    ("127.255.255.255", Special::Loopback),
    ("168.63.129.16", Special::Metadata),
    ("169.254.0.1", Special::LinkLocal),
    ("169.254.169.254", Special::Metadata),
    ("172.16.0.1", Special::Private),
    ("172.31.255.255", Special::Private),
    ("192.0.0.1", Special::Reserved),
    ("192.0.0.192", Special::Metadata),
    ("192.0.2.1", Special::Reserved),
    ("192.88.99.1", Special::Embedded),
    ("192.168.0.1", Special::Private),
    ("198.18.0.1", Special::Reserved),
    ("198.19.255.255", Special::Reserved),
    ("198.51.100.1", Special::Reserved),
    ("203.0.113.1", Special::Reserved),
    ("224.0.0.1", Special::Multicast),
    ("239.255.255.255", Special::Multicast),
    ("240.0.0.1", Special::Reserved),
    ("255.255.255.255", Special::Multicast),
    ("::", Special::Unspecified),
    ("::1", Special::Loopback),
    ("::2", Special::Embedded),
    ("::8.8.8.8", Special::Embedded),
    ("::ffff:127.0.0.1", Special::Loopback),
    ("::ffff:169.254.169.254", Special::Metadata),
    ("64:ff9b::127.0.0.1", Special::Loopback),
    ("64:ff9b::10.0.0.1", Special::Private),
    ("64:ff9b::169.254.169.254", Special::Metadata),
    ("64:ff9b:1::8.8.8.8", Special::Embedded),
    ("100::1", Special::Reserved),
    ("2001::1", Special::Embedded),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Special::Embedded),
    ("2001:2::1", Special::Reserved),
    ("2001:10::1", Special::Reserved),
    ("2001:1ff::1", Special::Reserved),
    ("2001:db8::1", Special::Reserved),
    ("2002:7f00:1::", Special::Embedded),
    ("2606:4700::5efe:10.0.0.1", Special::Embedded),
    ("2606:4700::200:5efe:10.0.0.1", Special::Embedded),
    ("3fff:fff::1", Special::Reserved),
    ("4000::1", Special::Reserved),
    ("5f00::1", Special::Reserved),
    ("fc00::1", Special::Private),
    ("fd00:ec2::254", Special::Metadata),
    ("fd20:ce::254", Special::Metadata),
    ("fe80::1", Special::LinkLocal),
    ("fec0::1", Special::LinkLocal),
    ("ff02::1", Special::Multicast),
];

const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700::1111",
    "2a00:1450::1",
    "3fff:1000::1",
];

#[test]
fn special_addresses_are_refused_whatever_the_rules() {
    for policy in [Policy::open(), Policy::default(), "accept 0.0.0.0/0\naccept ::/0".parse().unwrap()] {
        for (text, special) in NEVER {
            assert_eq!(policy.check(at(text, 443)), Err(Refusal::Special(*special)), "{text}");
        }
        for text in PUBLIC {
            assert_eq!(policy.check(at(text, 443)), Ok(()), "{text}");
        }
    }
}

#[test]
fn a_test_network_reaches_loopback_and_private_but_no_metadata() {
    let policy = Policy::test_network();
    assert!(policy.is_for_test_network() && !Policy::open().is_for_test_network());
    for (text, special) in NEVER {
        let want = if special.is_local() { Ok(()) } else { Err(Refusal::Special(*special)) };
        assert_eq!(policy.check(at(text, 8080)), want, "{text}");
    }
    let own = Policy::test_network().with_own_addresses(["127.0.0.1".parse().unwrap()]);
    assert_eq!(own.check(at("127.0.0.1", 80)), Ok(()));
}

#[test]
fn mail_between_servers_and_port_0_are_refused() {
    for policy in [Policy::open(), Policy::test_network(), "accept *:25".parse().unwrap()] {
        assert_eq!(policy.check(at("8.8.8.8", 25)), Err(Refusal::Port));
        assert_eq!(policy.check(at("8.8.8.8", 0)), Err(Refusal::Port));
    }
}

#[test]
fn own_addresses_are_refused_in_every_form() {
    let policy = Policy::open().with_own_addresses(["8.8.4.4".parse().unwrap(), "2606:4700::1".parse().unwrap()]);
    assert_eq!(policy.check(at("8.8.4.4", 80)), Err(Refusal::Own));
    assert_eq!(policy.check(at("::ffff:8.8.4.4", 80)), Err(Refusal::Own));
    assert_eq!(policy.check(at("64:ff9b::8.8.4.4", 80)), Err(Refusal::Own));
    assert_eq!(policy.check(at("2606:4700::1", 80)), Err(Refusal::Own));
    assert_eq!(policy.check(at("8.8.8.8", 80)), Ok(()));
}

#[test]
fn families_are_kept_apart() {
    let only_v4 = Policy::open().with_families(true, false);
    assert_eq!(only_v4.check(at("2606:4700::1", 80)), Err(Refusal::Family));
    assert_eq!(only_v4.check(at("::ffff:8.8.8.8", 80)), Ok(()));
    let only_v6 = Policy::open().with_families(false, true);
    assert_eq!(only_v6.check(at("8.8.8.8", 80)), Err(Refusal::Family));
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy: Policy = "
        # Not these people.
        reject 8.8.8.0/24:1-1023
        accept 8.8.0.0/16     # but their neighbours
        accept [2606:4700::]/32:443
        reject *:22
        accept *6:20-30,8000-8999
    "
    .parse()
    .unwrap();
    for (text, port, want) in [
        ("8.8.8.8", 443, false),
        ("8.8.8.8", 1024, true),
        ("8.8.9.9", 443, true),
        ("9.9.9.9", 443, false),
        ("64:ff9b::8.8.9.9", 8000, true),
        ("64:ff9b::8.8.8.8", 443, false),
        ("64:ff9b::9.9.9.9", 8000, false),
        ("2606:4700::1", 443, true),
        ("2606:4700::1", 22, false),
        ("2a00::1", 23, true),
        ("2a00::1", 8500, true),
        ("2a00::1", 9000, false),
        ("::ffff:8.8.8.8", 443, false),
    ] {
        assert_eq!(policy.check(at(text, port)).is_ok(), want, "{text} {port}");
    }
    let empty: Policy = "".parse().unwrap();
    assert_eq!(empty.check(at("8.8.8.8", 443)), Err(Refusal::Rule));
}

#[test]
fn rules_that_are_none_are_refused() {
    for (text, error) in [
        ("allow *", RuleError::Action),
        ("ACCEPT *", RuleError::Action),
        ("accept", RuleError::Words),
        ("accept * 80", RuleError::Words),
        ("accept example.org:80", RuleError::Address),
        ("accept 1.2.3", RuleError::Address),
        ("accept 1.2.3.4/33", RuleError::Address),
        ("accept 1.2.3.4/+8", RuleError::Address),
        ("accept 1.2.3.4/", RuleError::Address),
        ("accept [2606::", RuleError::Address),
        ("accept ::ffff:8.8.8.8", RuleError::Address),
        ("accept 8.8.8.8/24", RuleError::HostBits),
        ("accept [2606::1]/32:80", RuleError::HostBits),
        ("accept *:0", RuleError::Ports),
        ("accept *:", RuleError::Ports),
        ("accept *:+80", RuleError::Ports),
        ("accept *:65536", RuleError::Ports),
        ("accept *:90-80", RuleError::Ports),
        ("accept *:80,", RuleError::Ports),
        ("accept *:http", RuleError::Ports),
        ("accept 169.254.169.254", RuleError::NeverPublic),
        ("accept 224.0.0.0/4", RuleError::NeverPublic),
        ("accept [fe80::]/10:80", RuleError::NeverPublic),
    ] {
        assert_eq!(text.parse::<Policy>(), Err(ParseError { line: 1, error }), "{text}");
    }
    let third = "accept *:80\n# comment\nnonsense".parse::<Policy>().unwrap_err();
    assert_eq!(third.line, 3);
    assert!(third.to_string().starts_with("line 3 of the exit policy: a rule begins"));
    let many = "accept *\n".repeat(RULES_MAX + 1);
    assert_eq!(many.parse::<Policy>().unwrap_err().error, RuleError::TooMany);
}

#[test]
fn brackets_and_lengths_may_stand_either_way() {
    let read = |text: &str| text.parse::<Policy>().unwrap().to_string();
    assert_eq!(read("accept [2606:4700::]/32:443"), "accept [2606:4700::]/32:443\n");
    assert_eq!(read("accept [2606:4700::/32]:443"), "accept [2606:4700::]/32:443\n");
    assert_eq!(read("accept 2606:4700::/32"), "accept [2606:4700::]/32\n");
    assert_eq!(read("accept 2606:4700::1"), "accept [2606:4700::1]/128\n");
    assert_eq!(read("reject 8.8.8.8:80"), "reject 8.8.8.8/32:80\n");
    assert_eq!(read("accept *:443,80,81"), "accept *:80-81,443\n");
    assert_eq!(read("accept *:*"), "accept *\n");
}

#[test]
fn the_summary_says_what_holds_in_general() {
    let ports = |policy: &Policy| policy.summary().map(|s| (s.v4, s.v6, s.ports.to_string()));
    assert_eq!(ports(&Policy::default()), Some((true, true, "53, 80, 443".into())));
    assert_eq!(ports(&Policy::open()), Some((true, true, "1-24, 26-65535".into())));
    assert_eq!(ports(&Policy::default().with_families(true, false)), Some((true, false, "53, 80, 443".into())));
    let narrow: Policy = "accept 8.8.8.8\nreject *:80\naccept *4:80-82\naccept [2606::]/16:99".parse().unwrap();
    assert_eq!(ports(&narrow), Some((true, false, "81-82".into())));
    assert_eq!(ports(&"accept 8.8.8.8".parse().unwrap()), None);
    let odd: Vec<String> = (1..=100).map(|n| (2 * n).to_string()).collect();
    let many: Policy =
        odd.chunks(20).map(|chunk| format!("accept *:{}\n", chunk.join(","))).collect::<String>().parse().unwrap();
    assert!(many.summary().unwrap().ports.contains(60));
}

fn any_rule() -> impl Strategy<Value = String> {
    let addresses = prop_oneof![
        Just("*".to_owned()),
        Just("*4".to_owned()),
        Just("*6".to_owned()),
        (any::<u32>(), 0..=32u32).prop_map(|(ip, len)| {
            let masked = ip & u32::MAX.checked_shl(32 - len).unwrap_or(0);
            format!("{}/{len}", std::net::Ipv4Addr::from(masked))
        }),
        (any::<u128>(), 0..=128u32).prop_map(|(ip, len)| {
            let masked = ip & u128::MAX.checked_shl(128 - len).unwrap_or(0);
            format!("[{}]/{len}", std::net::Ipv6Addr::from(masked))
        }),
    ];
    let ports = prop_oneof![
        Just(String::new()),
        (1..=u16::MAX).prop_map(|port| format!(":{port}")),
        (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| format!(":{}-{}", a.min(b), a.max(b))),
    ];
    (any::<bool>(), addresses, ports).prop_map(|(accept, addresses, ports)| {
        format!("{} {addresses}{ports}", if accept { "accept" } else { "reject" })
    })
}

proptest! {
    #[test]
    fn rules_read_back(rules in prop::collection::vec(any_rule(), 0..6)) {
        if let Ok(policy) = rules.join("\n").parse::<Policy>() {
            prop_assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        let _ = text.parse::<Policy>();
    }

    #[test]
    fn no_rules_let_special_addresses_through(
        rules in prop::collection::vec(any_rule(), 0..6), octets: [u8; 16], v4: bool, port: u16,
    ) {
        if let Ok(policy) = rules.join("\n").parse::<Policy>() {
            let ip = if v4 {
                IpAddr::from([octets[0], octets[1], octets[2], octets[3]])
            } else {
                IpAddr::from(octets)
            };
            if special::classify(ip).is_some() || port == 25 {
                prop_assert!(policy.check(SocketAddr::new(ip, port)).is_err());
            }
        }
    }

    /// However an IPv4 address is dressed up, it is refused if it is refused plainly.
    #[test]
    fn no_embedding_gets_past(octets: [u8; 4], port in 1..=u16::MAX) {
        let policy = Policy::open();
        let v4 = std::net::Ipv4Addr::from(octets);
        let plain = policy.check(SocketAddr::new(v4.into(), port));
        let [a, b, c, d] = octets.map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        let dressed = [
            v4.to_ipv6_mapped(),
            std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            std::net::Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            std::net::Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
            std::net::Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            std::net::Ipv6Addr::new(0x2001, 0, 1, 1, 0, 0, !high, !low),
        ];
        for ip in dressed {
            let judged = policy.check(SocketAddr::new(ip.into(), port));
            prop_assert!(judged.is_err() || plain.is_ok(), "{}", ip);
        }
    }
}
