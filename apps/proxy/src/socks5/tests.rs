use std::fmt::Debug;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::isolation::Credentials;

fn whole<T: Debug>(result: Incremental<T>) -> Parsed<T> {
    result.expect("valid").expect("complete")
}

#[test]
fn greetings() {
    let parsed = whole(Greeting::decode(&[5, 3, 0, 1, 2, 0xaa]));
    assert_eq!(parsed, Parsed { value: Greeting { none: true, password: true }, used: 5 });
    assert_eq!(parsed.value.choose(), Some(Method::Password));
    assert_eq!(whole(Greeting::decode(&[5, 1, 0])).value.choose(), Some(Method::None));
    assert_eq!(whole(Greeting::decode(&[5, 1, 1])).value.choose(), None);
    assert_eq!(Greeting::decode(&[5, 0]), Err(DecodeError::NoMethods));
    assert_eq!(Greeting::decode(&[4]), Err(DecodeError::Version));
    assert_eq!(Greeting::decode(&[5, 2, 0]), Ok(None));
    assert_eq!(Method::encode(Some(Method::Password)), [5, 2]);
    assert_eq!(Method::encode(None), [5, 0xff]);
}

#[test]
fn passwords() {
    let parsed = whole(decode_password(b"\x01\x05alice\x02pw+"));
    assert_eq!(parsed, Parsed { value: Credentials::new(b"alice", b"pw"), used: 10 });
    assert_eq!(whole(decode_password(&[1, 0, 0])).value, Credentials::new(b"", b""));
    assert_eq!(decode_password(&[5]), Err(DecodeError::Version));
}

#[test]
fn requests() {
    let parsed = whole(Request::decode(b"\x05\x01\x00\x03\x0bexample.org\x01\xbbrest"));
    assert_eq!(parsed.used, 18);
    assert_eq!(parsed.value.command, Command::Connect);
    assert_eq!(parsed.value.target, Target { host: Host::parse(b"example.org").expect("name"), port: 443 });
    assert!(!parsed.value.names_an_address());

    let v4 = whole(Request::decode(&[5, 1, 0, 1, 192, 0, 2, 7, 0, 80])).value;
    assert_eq!(v4.target, Target::ip(SocketAddr::from(([192, 0, 2, 7], 80))));
    assert!(v4.names_an_address());
    let named = whole(Request::decode(b"\x05\x01\x00\x03\x09192.0.2.7\x00\x50")).value;
    assert_eq!(named, v4, "an address written as a name is an address");

    let mut v6 = vec![5, 0xf1, 0, 4];
    v6.extend_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
    v6.extend_from_slice(&[0, 0]);
    assert_eq!(whole(Request::decode(&v6)).value.command, Command::ResolvePtr);

    assert_eq!(Request::decode(&[5, 2]), Err(DecodeError::Command), "BIND");
    assert_eq!(Request::decode(&[5, 1, 1]), Err(DecodeError::Reserved));
    assert_eq!(Request::decode(&[5, 1, 0, 2]), Err(DecodeError::AddressType));
    assert_eq!(Request::decode(&[5, 0xf1, 0, 3]), Err(DecodeError::AddressType), "a name has no name");
    assert_eq!(Request::decode(b"\x05\x01\x00\x03\x03a b\x00\x50"), Err(DecodeError::Name));
    assert_eq!(Request::decode(&[5, 1, 0, 3, 0]), Err(DecodeError::Name));
}

#[test]
fn replies() {
    assert_eq!(encode_reply(ReplyCode::Succeeded, None), [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let bound = SocketAddr::from(([127, 0, 0, 1], 0x1234));
    assert_eq!(encode_reply(ReplyCode::Succeeded, Some(bound)), [5, 0, 0, 1, 127, 0, 0, 1, 0x12, 0x34]);
    assert_eq!(encode_name_reply(&Name::parse(b"a.b").expect("name")), *b"\x05\x00\x00\x03\x03a.b\x00\x00");
    assert_eq!(ReplyCode::from(DecodeError::Command) as u8, 7);
    assert_eq!(ReplyCode::from(crate::ConnectError::Timeout) as u8, 6);
}

#[test]
fn datagrams() {
    let mut out = vec![9; 3];
    let target = Target { host: Host::parse(b"dns.example").expect("name"), port: 53 };
    encode_datagram(&target, b"query", &mut out);
    assert_eq!(Datagram::decode(&out), Ok(Datagram { target, payload: b"query" }));
    out[2] = 1;
    assert_eq!(Datagram::decode(&out), Err(DecodeError::Fragment));
    out[1] = 1;
    assert_eq!(Datagram::decode(&out), Err(DecodeError::Reserved));
    assert_eq!(Datagram::decode(&[0, 0, 0, 1, 127, 0, 0, 1, 0]), Err(DecodeError::Short));
    assert_eq!(Datagram::decode(&[0, 0, 0, 1, 127, 0, 0, 1, 0, 53]).map(|d| d.payload.len()), Ok(0));
}

/// On every prefix a decoder says "more" until it gives its final answer, and then stays with it.
fn incremental_is_whole<T: Debug + PartialEq>(decode: impl Fn(&[u8]) -> Incremental<T>, input: &[u8]) {
    let all = decode(input);
    if let Ok(Some(parsed)) = &all {
        assert!(parsed.used <= input.len());
    }
    for end in 0..input.len() {
        match decode(&input[..end]) {
            Ok(None) => {
                if let Ok(Some(parsed)) = &all {
                    assert!(end < parsed.used, "waits for more than it uses");
                }
            }
            early => assert_eq!(early, all),
        }
    }
}

fn address() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|a| [&[1][..], &a].concat()),
        any::<[u8; 16]>().prop_map(|a| [&[4][..], &a].concat()),
        "[a-z]{1,20}(\\.[a-z0-9-]{1,20}){0,3}".prop_map(|n| [
            &[3, u8::try_from(n.len()).expect("short")][..],
            n.as_bytes()
        ]
        .concat()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_alike_in_pieces(input in prop::collection::vec(any::<u8>(), 0..600)) {
        incremental_is_whole(Greeting::decode, &input);
        incremental_is_whole(decode_password, &input);
        incremental_is_whole(Request::decode, &input);
        let _ = Datagram::decode(&input);
    }

    #[test]
    fn near_messages_are_decoded_alike_in_pieces(
        command in prop::sample::select(vec![1u8, 2, 3, 0xf0, 0xf1]),
        address in address(),
        tail in prop::collection::vec(any::<u8>(), 0..8),
        lengths in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        incremental_is_whole(Request::decode, &[&[5, command, 0][..], &address, &tail].concat());
        incremental_is_whole(Greeting::decode, &[&[5][..], &lengths].concat());
        incremental_is_whole(decode_password, &[&[1][..], &lengths].concat());
    }

    #[test]
    fn a_datagram_comes_back(address in address(), port: u16, payload in prop::collection::vec(any::<u8>(), 0..100)) {
        let wire = [&[0, 0, 0][..], &address, &port.to_be_bytes(), &payload].concat();
        let decoded = Datagram::decode(&wire).expect("valid");
        let mut again = Vec::new();
        encode_datagram(&decoded.target, decoded.payload, &mut again);
        prop_assert_eq!(Datagram::decode(&again).expect("valid"), decoded);
    }
}
