use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::wire::codec::ErrorKind;

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn any_name() -> impl Strategy<Value = HostName> {
    "[a-z0-9_-]{1,20}(\\.[a-z0-9_-]{1,20}){0,3}\\.[a-z]{2,10}".prop_map(|text| name(&text))
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(|octets| IpAddr::from(octets).to_canonical()),
    ]
}

fn any_host() -> impl Strategy<Value = Host> {
    prop_oneof![any_name().prop_map(Host::Name), any_ip().prop_map(Host::Ip)]
}

fn any_chunk() -> impl Strategy<Value = ChunkRef> {
    (any::<[u8; 32]>(), any::<[u8; 16]>(), prop::sample::select(Class::ALL.to_vec()))
        .prop_map(|(id, shelf, class)| ChunkRef { id: ChunkId(id), shelf: Shelf(shelf), class })
}

fn any_ask() -> impl Strategy<Value = DocumentAsk> {
    prop_oneof![
        prop::sample::select(vec![DocumentAsk::Head, DocumentAsk::Genesis, DocumentAsk::Snapshot, DocumentAsk::Header]),
        any::<[u8; 32]>().prop_map(|hash| DocumentAsk::Difference(DocumentHash(hash))),
        any::<u64>().prop_map(|from| DocumentAsk::Chain { from }),
    ]
}

fn any_head() -> impl Strategy<Value = Head> {
    let chunk = prop::option::of((any::<[u8; 32]>(), prop::sample::select(Class::ALL.to_vec()), any::<[u8; 32]>()));
    (any::<u64>(), any::<[u8; 32]>(), any_len(), chunk).prop_map(|(epoch, hash, snapshot_len, chunk)| Head {
        epoch,
        hash: DocumentHash(hash),
        snapshot_len,
        snapshot: chunk.map(|(id, class, key)| SnapshotRef { root: ChunkId(id), class, key }),
    })
}

fn any_len() -> impl Strategy<Value = u32> {
    1..=u32::try_from(DOCUMENT_MAX).unwrap()
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any_host(), 1..=u16::MAX).prop_map(|(host, port)| Request::Connect { host, port }),
        any_name().prop_map(|host| Request::Resolve { host }),
        any_ip().prop_map(|ip| Request::ResolvePtr { ip }),
        any::<u32>().prop_map(|flow| Request::BindUdp { flow }),
        (any_chunk(), 0..zmesh_fec::chunk::REPAIRS, 1..=SYMBOLS_MAX)
            .prop_map(|(chunk, first, count)| Request::Symbols(SymbolRun { chunk, first, count })),
        any_chunk().prop_map(Request::Keep),
        any_ask().prop_map(Request::Document),
        any::<[u8; 16]>().prop_map(Request::Load),
    ]
}

fn any_response() -> impl Strategy<Value = Response> {
    prop_oneof![
        Just(Response::Connected),
        prop::collection::vec(any_ip(), 1..=ADDRESSES_MAX).prop_map(Response::Addresses),
        prop::collection::vec(any_name(), 1..=NAMES_MAX).prop_map(Response::Names),
        (any_ip(), any::<u16>()).prop_map(|(ip, port)| Response::Bound(SocketAddr::new(ip, port))),
        (1..=SYMBOLS_MAX).prop_map(|count| Response::Symbols { count }),
        prop::sample::select(vec![Response::Send, Response::Held, Response::Stored]),
        any_head().prop_map(Response::Head),
        any_len().prop_map(|len| Response::Document { len }),
        (1..=13u8).prop_map(|code| Response::Failed(Failure::from_code(code).unwrap())),
    ]
}

proptest! {
    #[test]
    fn requests_round_trip_at_every_split(request in any_request(), tail in any::<[u8; 3]>()) {
        let bytes = request.encode();
        prop_assert!(bytes.len() <= REQUEST_MAX);
        prop_assert_eq!(Request::decode(&bytes).unwrap(), request.clone());
        for cut in 0..bytes.len() {
            prop_assert_eq!(Request::decode_prefix(&bytes[..cut]).unwrap(), None);
            prop_assert!(Request::decode(&bytes[..cut]).is_err());
        }
        let mut more = bytes.clone();
        more.extend(tail);
        prop_assert_eq!(Request::decode(&more).unwrap_err().kind, ErrorKind::Trailing);
        prop_assert_eq!(Request::decode_prefix(&more).unwrap(), Some((request, bytes.len())));
    }

    #[test]
    fn responses_round_trip_at_every_split(response in any_response()) {
        let bytes = response.encode();
        prop_assert!(bytes.len() <= RESPONSE_MAX);
        prop_assert_eq!(Response::decode(&bytes).unwrap(), response.clone());
        for cut in 0..bytes.len() {
            prop_assert_eq!(Response::decode_prefix(&bytes[..cut]).unwrap(), None);
        }
    }

    #[test]
    fn datagrams_and_records_round_trip(
        flow: u32, host in any_host(), port in 1..=u16::MAX, payload: Vec<u8>,
    ) {
        let datagram = UdpDatagram { flow, host, port, payload: &payload };
        let bytes = datagram.encode();
        prop_assert!(bytes.len() <= UDP_HEADER_MAX + payload.len());
        prop_assert_eq!(UdpDatagram::decode(&bytes).unwrap(), datagram.clone());
        let mut stream = Vec::new();
        frame_record(&datagram, &mut stream).unwrap();
        for cut in 0..stream.len() {
            prop_assert_eq!(read_record(&stream[..cut]).unwrap(), None);
        }
        stream.push(7);
        prop_assert_eq!(read_record(&stream).unwrap(), Some((datagram, stream.len() - 1)));
    }

    #[test]
    fn whatever_decodes_is_canonical(bytes: Vec<u8>) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(request.encode(), bytes.clone());
        }
        if let Ok(response) = Response::decode(&bytes) {
            prop_assert_eq!(response.encode(), bytes.clone());
        }
        if let Ok(datagram) = UdpDatagram::decode(&bytes) {
            prop_assert_eq!(datagram.encode(), bytes.clone());
        }
        let _ = read_record(&bytes);
    }

    #[test]
    fn altered_requests_stay_canonical(request in any_request(), at: prop::sample::Index, bit in 0..8u8) {
        let mut bytes = request.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(request.encode(), bytes);
        }
    }

    #[test]
    fn parsing_a_host_never_panics(text: String) {
        if let Ok(Host::Name(name)) = Host::parse(&text) {
            prop_assert_eq!(HostName::parse(name.as_str()).unwrap(), name);
        }
    }
}

#[test]
fn hosts_are_normalised() {
    assert_eq!(name("WWW.Example.ORG.").as_str(), "www.example.org");
    assert_eq!(name("_dmarc.xn--bcher-kva.example").as_str(), "_dmarc.xn--bcher-kva.example");
    let ip = |text: &str| Host::Ip(text.parse().unwrap());
    assert_eq!(Host::parse("[2001:DB8::1]").unwrap(), ip("2001:db8::1"));
    assert_eq!(Host::parse("::ffff:192.0.2.7").unwrap(), ip("192.0.2.7"));
    assert_eq!(Host::parse("192.0.2.7").unwrap(), ip("192.0.2.7"));
}

#[test]
fn names_that_are_none_are_refused() {
    for (text, want) in [
        ("", HostError::Empty),
        (".", HostError::Empty),
        ("a..b", HostError::Label),
        (".a", HostError::Label),
        ("a b", HostError::Character),
        ("nul\0.example", HostError::Character),
        ("bücher.example", HostError::Character),
        ("a/b", HostError::Character),
        ("127.1", HostError::Numeric),
        ("2130706433", HostError::Numeric),
        ("0x7f000001", HostError::Numeric),
        ("1.0x1", HostError::Numeric),
        ("1.0x", HostError::Numeric),
        ("127.0.0.1.", HostError::Numeric),
        ("256.256.256.256", HostError::Numeric),
    ] {
        assert_eq!(HostName::parse(text), Err(want), "{text:?}");
    }
    assert_eq!(HostName::parse(&"a".repeat(64)), Err(HostError::Label));
    assert_eq!(HostName::parse(&"a.".repeat(128)), Err(HostError::TooLong));
    assert!(HostName::parse(&format!("{}b", "a.".repeat(126))).is_ok());
}

#[test]
fn other_forms_of_the_same_request_are_refused() {
    let good = Request::Connect { host: Host::Name(name("a.example")), port: 80 }.encode();
    for (at, value) in [(4, b'A'), (5, b'/'), (0, 2), (1, 9), (2, 5)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert!(Request::decode_prefix(&bad).is_err(), "{at} {value}");
    }
    let mut port_0 = good;
    let len = port_0.len();
    port_0[len - 2..].fill(0);
    assert_eq!(Request::decode(&port_0).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn bad_heads_are_bad_before_they_are_whole() {
    assert!(Request::decode_prefix(&[2]).is_err());
    assert!(Request::decode_prefix(&[1, 77]).is_err());
    assert!(Request::decode_prefix(&[1, 2, 254]).is_err());
    assert!(Response::decode_prefix(&[1, 2, 0]).is_err());
    assert!(Response::decode_prefix(&[1, 2, 33]).is_err());
    assert!(Response::decode_prefix(&[1, 0, 99]).is_err());
    assert!(Request::decode_prefix(&[1, 20, 6]).is_err());
    assert!(Response::decode_prefix(&[1, 20, 0, 0, 0, 0]).is_err());
    assert!(Response::decode_prefix(&[1, 20, 2, 0, 0, 1]).is_err());
}

#[test]
fn an_empty_answer_is_a_failure_and_a_long_one_is_cut() {
    let none = Response::decode(&Response::Addresses(vec![]).encode()).unwrap();
    assert_eq!(none, Response::Failed(Failure::NameNotFound));
    let many = vec![IpAddr::from([192, 0, 2, 1]); 100];
    match Response::decode(&Response::Addresses(many).encode()).unwrap() {
        Response::Addresses(ips) => assert_eq!(ips.len(), ADDRESSES_MAX),
        other => panic!("{other:?}"),
    }
}

#[test]
fn destinations_do_not_print() {
    let request = Request::Connect { host: Host::parse("secret.example").unwrap(), port: 443 };
    assert!(!format!("{request:?}").contains("secret"));
}

/// The examples of the specification.
#[test]
fn the_bytes_are_pinned() {
    let hex = |bytes: Vec<u8>| data_encoding::HEXLOWER.encode(&bytes);
    let host = |text| Host::parse(text).unwrap();
    let connect = Request::Connect { host: host("example.org"), port: 443 };
    assert_eq!(hex(connect.encode()), "0101030b6578616d706c652e6f726701bb");
    let connect = Request::Connect { host: host("192.0.2.7"), port: 80 };
    assert_eq!(hex(connect.encode()), "010104c00002070050");
    assert_eq!(hex(Request::Resolve { host: name("a.example") }.encode()), "010209612e6578616d706c65");
    let ptr = Request::ResolvePtr { ip: "2001:db8::1".parse().unwrap() };
    assert_eq!(hex(ptr.encode()), "01030620010db8000000000000000000000001");
    assert_eq!(hex(Request::BindUdp { flow: 5 }.encode()), "010400000005");
    assert_eq!(hex(Response::Connected.encode()), "0101");
    assert_eq!(hex(Response::Failed(Failure::Refused).encode()), "010001");
    assert_eq!(hex(Response::Addresses(vec![[192, 0, 2, 7].into()]).encode()), "01020104c0000207");
    assert_eq!(hex(Response::Names(vec![name("a.example")]).encode()), "01030109612e6578616d706c65");
    assert_eq!(hex(Request::Document(DocumentAsk::Head).encode()), "011400");
    assert_eq!(hex(Request::Document(DocumentAsk::Chain { from: 7 }).encode()), "0114040000000000000007");
    assert_eq!(hex(Request::Load([7; 16]).encode()), format!("0115{}", "07".repeat(16)));
    assert_eq!(hex(Response::Document { len: 1_000 }.encode()), "0114000003e8");
    let head = Head { epoch: 9, hash: DocumentHash([0xab; 32]), snapshot_len: 4_096, snapshot: None };
    assert_eq!(hex(Response::Head(head).encode()), format!("01130000000000000009{}0000100000", "ab".repeat(32)));
    let datagram = UdpDatagram { flow: 5, host: host("192.0.2.7"), port: 53, payload: b"hi" };
    assert_eq!(hex(datagram.encode()), "0000000504c000020700356869");
}
