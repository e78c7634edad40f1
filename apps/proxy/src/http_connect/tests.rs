use proptest::prelude::*;

use super::*;

fn connect(head: &str) -> Result<Connect, HeadError> {
    decode(head.as_bytes()).map(|parsed| {
        let parsed = parsed.expect("complete");
        assert_eq!(parsed.used, head.len());
        parsed.value
    })
}

fn target(host: &str, port: u16) -> Target {
    Target { host: Host::parse(host.as_bytes()).expect("a host"), port }
}

#[test]
fn what_curl_sends() {
    let head = "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nUser-Agent: curl/8.5.0\r\n\
                Proxy-Connection: Keep-Alive\r\n\r\n";
    let got = connect(head).expect("fine");
    assert_eq!(got, Connect { target: target("example.org", 443), credentials: None });
}

#[test]
fn credentials_and_early_data() {
    let input = b"CONNECT a:1 HTTP/1.0\r\nproxy-authorization:  basic YWxpY2U6cDpx \r\n\r\n\x16\x03";
    let parsed = decode(input).expect("fine").expect("complete");
    assert_eq!(parsed.used, input.len() - 2);
    assert_eq!(parsed.value.credentials, Some(Credentials::new(b"alice", b"p:q")));
}

#[test]
fn targets() {
    for (text, host, port) in [
        ("[2001:db8::1]:8443", "2001:db8::1", 8443),
        ("192.0.2.1:80", "192.0.2.1", 80),
        ("localhost:65535", "localhost", 65535),
    ] {
        assert_eq!(connect(&format!("CONNECT {text} HTTP/1.1\r\n\r\n")).map(|c| c.target), Ok(target(host, port)));
    }
    for bad in [
        "a",
        ":1",
        "a:",
        "a:0",
        "a:65536",
        "a:+1",
        "a: 1",
        "::1:80",
        "[::1]",
        "[::1:80",
        "user@a:1",
        "http://a:1",
        "a:1/",
        "a_b..c:1",
        "[fe80::1%25eth0]:1",
    ] {
        let head = format!("CONNECT {bad} HTTP/1.1\r\n\r\n");
        assert!(matches!(decode(head.as_bytes()), Err(HeadError::Authority | HeadError::Malformed)), "{bad}");
    }
}

#[test]
fn refusals() {
    let cases: &[(&str, HeadError)] = &[
        ("GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n", HeadError::PlainProxyRequest),
        ("GET / HTTP/1.1\r\n\r\n", HeadError::NotAWebServer),
        ("OPTIONS * HTTP/1.1\r\n\r\n", HeadError::NotAWebServer),
        ("PRI * HTTP/2.0\r\n\r\n", HeadError::Version),
        ("CONNECT a:1\r\n\r\n", HeadError::Malformed),
        ("CONNECT a:1 HTTP/1.1 x\r\n\r\n", HeadError::Malformed),
        ("CONNECT a:1 FTP/1.1\r\n\r\n", HeadError::Malformed),
        ("CONNECT  HTTP/1.1\r\n\r\n", HeadError::Malformed),
        ("CONNECT a:1 HTTP/1.1\r\nno colon\r\n\r\n", HeadError::Malformed),
        ("CONNECT a:1 HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", HeadError::Malformed),
        ("CONNECT a:1 HTTP/1.1\r\nA : b\r\n\r\n", HeadError::Malformed),
        ("CONNECT a:1 HTTP/1.1\r\nContent-Length: 3\r\n\r\n", HeadError::Body),
        ("CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::Body),
        ("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Bearer x\r\n\r\n", HeadError::Scheme),
        ("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic !\r\n\r\n", HeadError::Authorization),
        ("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic YQ==\r\n\r\n", HeadError::Authorization),
        (
            "CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic Og==\r\nProxy-Authorization: Basic Og==\r\n\r\n",
            HeadError::Authorization,
        ),
    ];
    for (head, error) in cases {
        assert_eq!(connect(head), Err(*error), "{head:?}");
    }
    for raw in [&b"CONNECT a:1 HTTP/1.1\n"[..], b"\r\n", b"\n", b"CONNECT a\0", b"A\rB"] {
        assert_eq!(decode(raw), Err(HeadError::Malformed), "{raw:?}");
    }
}

#[test]
fn the_head_is_bounded() {
    let mut head = b"CONNECT a:1 HTTP/1.1\r\nA: ".to_vec();
    head.resize(MAX_HEAD - 1, b'x');
    assert_eq!(decode(&head), Ok(None));
    head.push(b'x');
    assert_eq!(decode(&head), Err(HeadError::TooLarge));
    let many = format!("CONNECT a:1 HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
    assert_eq!(connect(&many), Err(HeadError::TooLarge));
    let most = format!("CONNECT a:1 HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS));
    assert!(connect(&most).is_ok());
}

#[test]
fn answers_are_http() {
    for answer in [encode_refusal(HeadError::Scheme), encode_connect_error(crate::ConnectError::Policy)] {
        let text = String::from_utf8(answer).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("an empty line");
        assert!(head.starts_with("HTTP/1.1 40"));
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(body.starts_with("zMesh: ") && body.ends_with('\n'));
    }
}

fn incremental_is_whole(input: &[u8]) {
    let all = decode(input);
    for end in 0..input.len() {
        match decode(&input[..end]) {
            Ok(None) => {
                if let Ok(Some(parsed)) = &all {
                    assert!(end < parsed.used);
                }
            }
            early => assert_eq!(early, all),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(input in prop::collection::vec(any::<u8>(), 0..400)) {
        incremental_is_whole(&input);
    }

    #[test]
    fn near_heads(
        method in prop::sample::select(vec!["CONNECT", "GET", ""]),
        target in "[a-z0-9:.\\[\\]/@%]{0,20}",
        fields in prop::collection::vec("[A-Za-z-]{0,12}: ?[ -~]{0,20}", 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut head = format!("{method} {target}:80 HTTP/1.1\r\n").into_bytes();
        for field in fields {
            head.extend_from_slice(field.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(&tail);
        incremental_is_whole(&head);
    }
}
