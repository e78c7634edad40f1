use proptest::prelude::*;

use super::*;
use crate::directory::fixture::{self, LIFETIME, NOW, descriptor, exit, info, keys, terms};
use crate::keys::EPOCH_SECONDS;
use crate::wire::codec::ErrorKind;

fn rich() -> DescriptorInfo {
    DescriptorInfo {
        family: Some("friends".into()),
        country: Some(*b"NL"),
        addresses: vec!["192.0.2.7:9001".parse().unwrap(), "[2001:db8::7]:9001".parse().unwrap()],
        exit: Some(exit(&[80, 443], true)),
        meeting: true,
        cache: true,
        ..info(1)
    }
}

#[test]
fn a_descriptor_round_trips() {
    let keys = keys(1);
    let made = Descriptor::create(&keys, &rich(), terms()).unwrap();
    let read = Descriptor::decode(made.as_bytes()).unwrap();
    assert_eq!(read, made);
    assert_eq!(read.id(), keys.id());
    assert_eq!(read.identity(), keys.identity_public());
    assert_eq!(read.link_key(), keys.link_public());
    assert_eq!(read.exit_key(), Some(keys.exit_public()));
    assert_eq!(read.info(), &rich());
    assert_eq!(read.terms(), terms());
    assert_eq!(Descriptor::from_text(made.to_text().as_bytes()).unwrap(), made);
    // A function of keys and terms: exporting twice gives the same file.
    assert_eq!(Descriptor::create(&keys, &rich(), terms()).unwrap(), made);
}

#[test]
fn who_keeps_chunks_announces_the_key_of_its_tls() {
    let keys = keys(1);
    for (cache, exits) in [(false, false), (false, true), (true, false), (true, true)] {
        let said = DescriptorInfo { cache, exit: exits.then(|| exit(&[443], false)), ..info(1) };
        let made = Descriptor::create(&keys, &said, terms()).unwrap();
        let read = Descriptor::decode(made.as_bytes()).unwrap();
        assert_eq!(read.info(), &said);
        assert_eq!(read.exit_key(), (cache || exits).then(|| keys.exit_public()));
    }
    // One that does neither has the bytes that it had before there were chunks.
    let plain = Descriptor::create(&keys, &info(1), terms()).unwrap();
    let caches = Descriptor::create(&keys, &DescriptorInfo { cache: true, ..info(1) }, terms()).unwrap();
    assert_eq!(caches.as_bytes().len() - plain.as_bytes().len(), 96);
}

fn at(address: &str, carrier: ControlCarrier) -> ControlAddress {
    ControlAddress { carrier, address: address.parse().unwrap() }
}

/// A relay of the control plane.
fn controlled() -> DescriptorInfo {
    DescriptorInfo {
        mixer: true,
        directory: true,
        region: Some(Region::Europe),
        control: vec![at("192.0.2.7:9002", ControlCarrier::Tcp), at("192.0.2.7:9002", ControlCarrier::Quic)],
        ..rich()
    }
}

#[test]
fn the_control_plane_takes_the_second_version() {
    let said = [
        controlled(),
        DescriptorInfo { mixer: true, ..info(1) },
        DescriptorInfo { directory: true, ..info(1) },
        DescriptorInfo { region: Some(Region::Asia), ..info(1) },
        DescriptorInfo { control: vec![at("20.1.2.3:1", ControlCarrier::Tcp)], ..info(1) },
    ];
    for said in said {
        let made = descriptor(1, &said);
        assert_eq!(made.as_bytes()[0], 2);
        let read = Descriptor::decode(made.as_bytes()).unwrap();
        assert_eq!(read.info(), &said);
        assert_eq!(read.exit_key().is_some(), said.directory || said.cache || said.exit.is_some());
        for at in 0..made.as_bytes().len() {
            let mut bad = made.as_bytes().to_vec();
            bad[at] ^= 0x10;
            assert!(Descriptor::decode(&bad).is_err(), "byte {at}");
        }
    }
    for region in Region::ALL {
        assert_eq!(Region::from_letters(&region.to_string().to_lowercase()), Some(region));
    }
    assert_eq!(Region::from_letters("XX"), None);
}

/// Signed by the right key, but the second version for what the first one can say.
#[test]
fn a_version_higher_than_needed_is_refused() {
    let keys = keys(1);
    let plain = descriptor(1, &rich());
    let mut body = plain.as_bytes()[..plain.as_bytes().len() - 64].to_vec();
    body[0] = 2;
    body.push(0); // no addresses
    let signature = keys.identity().sign(&signed_message(&body)).to_bytes();
    assert!(matches!(
        Descriptor::decode(&[body.as_slice(), &signature].concat()),
        Err(DescriptorError::Field { field: "version", .. })
    ));
}

#[test]
fn control_addresses_that_break_their_rule_are_refused() {
    let many: Vec<ControlAddress> = (1..6).map(|n| at(&format!("20.1.1.1:{n}"), ControlCarrier::Tcp)).collect();
    let twice = vec![at("20.1.1.1:9", ControlCarrier::Tcp); 2];
    for control in
        [many, twice, vec![at("0.0.0.0:9", ControlCarrier::Quic)], vec![at("20.1.1.1:0", ControlCarrier::Tcp)]]
    {
        let said = DescriptorInfo { control, ..info(1) };
        assert!(matches!(
            Descriptor::create(&keys(1), &said, terms()),
            Err(DescriptorError::Field { field: "list of control addresses", .. })
        ));
    }
}

#[test]
fn onion_keys_cover_the_whole_validity() {
    let keys = keys(1);
    let made = Descriptor::create(&keys, &info(1), Terms::from_now(NOW)).unwrap();
    for unix in (NOW..NOW + LIFETIME_DEFAULT).step_by(3_600) {
        let announced = made.onion_at(unix).unwrap();
        let held = keys.onion_secrets_at(unix);
        assert_eq!(held[0].public(), announced, "{unix}");
    }
    assert!(made.onion_at(NOW - EPOCH_SECONDS).is_none());
    assert!(made.onion_at(NOW + LIFETIME_DEFAULT + EPOCH_SECONDS).is_none());
    assert!(made.onion_at(u64::MAX).is_none());
    assert!(made.as_bytes().len() <= DESCRIPTOR_MAX);
}

#[test]
fn the_longest_descriptor_fits() {
    let longest = DescriptorInfo {
        nickname: "n".repeat(NICKNAME_MAX),
        operator: "o".repeat(ORGANISATION_MAX),
        family: Some("f".repeat(ORGANISATION_MAX)),
        country: Some(*b"NL"),
        addresses: (1..=8u16).map(|port| SocketAddr::from(([0x2a00, 0, 0, 0, 0, 0, 0, 1], port))).collect(),
        exit: Some(ExitSummary {
            v4: true,
            v6: true,
            ports: PortSet::new((0..32u16).map(|n| 10 * n + 1..=10 * n + 2)).unwrap(),
        }),
        meeting: true,
        cache: true,
        mixer: true,
        directory: true,
        region: Some(Region::Oceania),
        control: (1..=4u16).map(|port| at(&format!("[2a00::1]:{port}"), ControlCarrier::Quic)).collect(),
    };
    let terms = Terms { expires: NOW + LIFETIME_MAX, ..terms() };
    let made = Descriptor::create(&keys(1), &longest, terms).unwrap();
    assert!(made.as_bytes().len() <= DESCRIPTOR_MAX, "{}", made.as_bytes().len());
    assert_eq!(Descriptor::decode(made.as_bytes()).unwrap(), made);
}

#[test]
fn any_altered_byte_is_refused() {
    let good = descriptor(1, &rich());
    let bytes = good.as_bytes();
    for at in 0..bytes.len() {
        let mut bad = bytes.to_vec();
        bad[at] ^= 0x10;
        assert!(Descriptor::decode(&bad).is_err(), "byte {at}");
    }
    // In the middle of an onion key nothing but the signature notices.
    let mut forged = bytes.to_vec();
    forged[200] ^= 1;
    assert_eq!(Descriptor::decode(&forged), Err(DescriptorError::ForgedSignature));
    for cut in 0..bytes.len() {
        assert!(Descriptor::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(matches!(
        Descriptor::decode(&longer),
        Err(DescriptorError::Malformed(codec::Error { kind: ErrorKind::Trailing, .. }))
    ));
    assert_eq!(
        Descriptor::decode(&vec![0; DESCRIPTOR_MAX + 1]),
        Err(DescriptorError::TooLarge { len: DESCRIPTOR_MAX + 1 })
    );
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let good = descriptor(1, &info(1));
    let split = good.as_bytes().len() - 64;
    let body = &good.as_bytes()[..split];
    let resign = |message: &[u8]| {
        let signature = keys(2).identity().sign(message).to_bytes();
        Descriptor::decode(&[body, &signature].concat())
    };
    assert_eq!(resign(&signed_message(body)), Err(DescriptorError::ForgedSignature));
    // The right key, but a signature made for another purpose.
    let elsewhere = keys(1).identity().sign(body).to_bytes();
    assert_eq!(Descriptor::decode(&[body, &elsewhere].concat()), Err(DescriptorError::ForgedSignature));
}

/// A relay that announces keys of another relay under its own identity and signature.
#[test]
fn keys_of_others_are_refused() {
    let victim = descriptor(1, &rich());
    let thief = keys(2);
    let own = Descriptor::create(&thief, &rich(), terms()).unwrap();
    let stolen = |range: std::ops::Range<usize>| {
        let mut body = own.as_bytes()[..own.as_bytes().len() - 64].to_vec();
        body[range.clone()].copy_from_slice(&victim.as_bytes()[range]);
        let signature = thief.identity().sign(&signed_message(&body)).to_bytes();
        Descriptor::decode(&[body.as_slice(), &signature].concat())
    };
    // Offsets: version 1, identity 32, three times 8, then link key and its proof.
    let link = 57..57 + 96;
    assert_eq!(stolen(link.clone()), Err(DescriptorError::ForgedProof(AnnouncedKey::Link)));
    assert_eq!(stolen(57..57 + 32), Err(DescriptorError::ForgedProof(AnnouncedKey::Link)));
    let keys_at = link.end + 5;
    let onion_count = usize::from(own.as_bytes()[link.end + 4]);
    let onion = keys_at..keys_at + 32 * onion_count;
    assert_eq!(stolen(onion.clone()), Err(DescriptorError::ForgedProof(AnnouncedKey::Onion)));
    assert_eq!(stolen(onion.start..onion.end + 64), Err(DescriptorError::ForgedProof(AnnouncedKey::Onion)));
    let victims_key = victim.exit_key().unwrap();
    let at = own.as_bytes().windows(32).position(|window| window == own.exit_key().unwrap()).unwrap();
    assert_eq!(victim.as_bytes()[at..at + 32], victims_key);
    assert_eq!(stolen(at..at + 96), Err(DescriptorError::ForgedProof(AnnouncedKey::Exit)));
}

#[test]
fn time_is_checked() {
    let made = descriptor(1, &info(1));
    assert_eq!(made.check_time(NOW), Ok(()));
    assert_eq!(made.check_time(NOW - CLOCK_SKEW), Ok(()));
    assert_eq!(made.check_time(NOW - CLOCK_SKEW - 1), Err(DescriptorError::NotYetValid { from: NOW }));
    assert_eq!(made.check_time(NOW + LIFETIME - 1), Ok(()));
    assert_eq!(made.check_time(NOW + LIFETIME), Err(DescriptorError::Expired { since: NOW + LIFETIME }));
}

#[test]
fn fields_that_break_their_rule_are_refused() {
    let field_of = |info: DescriptorInfo| match Descriptor::create(&keys(1), &info, terms()) {
        Err(DescriptorError::Field { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let with = |addresses: &[&str]| DescriptorInfo {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..info(1)
    };
    for nickname in ["", "two words", "änne", &"n".repeat(25), "a/b"] {
        assert_eq!(field_of(DescriptorInfo { nickname: nickname.into(), ..info(1) }), "nickname");
    }
    for operator in ["", " padded", "new\nline", "\u{202e}", &"o".repeat(65)] {
        assert_eq!(field_of(DescriptorInfo { operator: operator.into(), ..info(1) }), "operator");
    }
    assert_eq!(field_of(DescriptorInfo { family: Some(String::new()), ..info(1) }), "family");
    assert_eq!(field_of(DescriptorInfo { country: Some(*b"nl"), ..info(1) }), "country");
    let too_many: Vec<String> = (1..10).map(|port| format!("20.1.1.1:{port}")).collect();
    let too_many: Vec<&str> = too_many.iter().map(String::as_str).collect();
    for addresses in [
        &[][..],
        &too_many,
        &["20.1.1.1:0"],
        &["0.0.0.0:9"],
        &["224.0.0.1:9"],
        &["255.255.255.255:9"],
        &["[::]:9"],
        &["[ff02::1]:9"],
        &["[::ffff:20.1.1.1]:9"],
        &["20.1.1.1:9", "20.1.1.1:9"],
    ] {
        assert_eq!(field_of(with(addresses)), "list of addresses", "{addresses:?}");
    }
    let mut no_ports = info(1);
    no_ports.exit = Some(exit(&[], true));
    assert_eq!(field_of(no_ports), "exit summary");
    let mut no_version = info(1);
    no_version.exit = Some(ExitSummary { v4: false, ..exit(&[80], false) });
    assert_eq!(field_of(no_version), "exit summary");
}

#[test]
fn terms_that_break_their_rule_are_refused() {
    let create = |published, expires| {
        let terms = Terms { published, expires, revision: 1 };
        Descriptor::create(&keys(1), &info(1), terms).map(|_| ())
    };
    assert!(create(NOW, NOW).is_err());
    assert!(create(NOW + 1, NOW).is_err());
    assert!(create(NOW, NOW + LIFETIME_MAX + 1).is_err());
    assert!(create(u64::MAX - 10, u64::MAX).is_err());
    assert!(create(0, u64::MAX).is_err());
    assert_eq!(create(NOW, NOW + LIFETIME_MAX), Ok(()));
    // The keys of last month are gone.
    assert!(create(NOW - 30 * 86_400, NOW).is_err());
}

#[test]
fn port_sets_are_normalised() {
    let set = PortSet::new([443..=443, 80..=80, 8000..=8999, 81..=90, 8500..=9100, 0..=0]).unwrap();
    assert_eq!(set.to_string(), "80-90, 443, 8000-9100");
    assert!(set.contains(9100) && set.contains(85) && !set.contains(91) && !set.contains(0));
    assert_eq!(PortSet::new([0..=u16::MAX]).unwrap(), PortSet::all());
    assert!(PortSet::new((0..100u16).map(|n| 10 * n..=10 * n)).is_none());
    assert_eq!(PortSet::default().to_string(), "none");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Descriptor::decode(&bytes);
        let _ = Descriptor::from_text(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_good_head_are_read_or_refused(
        cut in 0usize..1_500, tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let good = GOOD.with(Clone::clone);
        let head = &good[..cut.min(good.len())];
        let bytes = [head, &tail].concat();
        prop_assert!(bytes == good || Descriptor::decode(&bytes).is_err());
        // The body alone, without the signature's say: what is read writes back to the same bytes.
        let mut r = Reader::new(&bytes);
        if let Ok(body) = body::Body::read(&mut r) {
            let mut w = Writer::new();
            body.write(&mut w);
            prop_assert_eq!(w.as_slice(), r.passed(0));
        }
    }

    #[test]
    fn a_body_with_a_flipped_bit_stays_canonical(at in 57usize..2_000, bit in 0..8u8) {
        let mut bytes = GOOD.with(Clone::clone);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let mut r = Reader::new(&bytes);
        if let Ok(body) = body::Body::read(&mut r) {
            let mut w = Writer::new();
            body.write(&mut w);
            prop_assert_eq!(w.as_slice(), r.passed(0));
        }
    }
}

thread_local! {
    static GOOD: Vec<u8> = fixture::descriptor(1, &rich()).as_bytes().to_vec();
}

/// The wire format is fixed: whoever changes these bytes on purpose raises the version.
#[test]
fn the_bytes_are_pinned() {
    use sha2::{Digest, Sha256};
    let made = Descriptor::create(&keys(1), &rich(), terms()).unwrap();
    assert_eq!(
        data_encoding::HEXLOWER.encode(&Sha256::digest(made.as_bytes())),
        "25f69128f68cbecaffd98395440cac684ba145af7c9129031ca1f50445e1ca94"
    );
    let made = Descriptor::create(&keys(1), &controlled(), terms()).unwrap();
    assert_eq!(
        data_encoding::HEXLOWER.encode(&Sha256::digest(made.as_bytes())),
        "ffd4c6c45c048f1e66c99ab562b7cafdfb0c512d9d0849118f98cb3bad97e1c8"
    );
}
