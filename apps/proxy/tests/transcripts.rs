//! Whole conversations with the proxy over real sockets, byte for byte.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use support::{Local, echo, proxy, read_all, read_exactly, udp_echo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use zmesh_proxy::Token;

/// greeting ‖ request for `name`:`port`, as curl's `--socks5-hostname` sends them.
fn socks_connect(name: &str, port: u16) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("short");
    [&[5, 1, 0, 5, 1, 0, 3, length], name.as_bytes(), &port.to_be_bytes()].concat()
}

const SOCKS_DONE: &[u8] = &[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

async fn client(proxy: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).await.expect("it listens");
    stream.write_all(bytes).await.expect("open");
    stream
}

#[tokio::test]
async fn socks5_stream_with_early_data_and_half_close() {
    let (port, proxy) = (echo().await, proxy(Local::default(), |_| {}).await);
    let mut stream = client(proxy, &[&socks_connect("echo.test", port)[..], b"early "].concat()).await;
    assert_eq!(read_exactly(&mut stream, SOCKS_DONE.len()).await, SOCKS_DONE);
    stream.write_all(b"late").await.expect("open");
    stream.shutdown().await.expect("open");
    assert_eq!(read_all(&mut stream).await, b"early late", "the other direction outlives ours");
}

#[tokio::test]
async fn socks5_byte_by_byte() {
    let (port, proxy) = (echo().await, proxy(Local::default(), |_| {}).await);
    let mut stream = TcpStream::connect(proxy).await.expect("it listens");
    stream.set_nodelay(true).expect("open");
    for byte in [&socks_connect("echo.test", port)[..], b"x"].concat() {
        stream.write_all(&[byte]).await.expect("open");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(read_exactly(&mut stream, SOCKS_DONE.len() + 1).await, [SOCKS_DONE, b"x"].concat());
}

#[tokio::test]
async fn http_connect_and_back() {
    let (port, proxy) = (echo().await, proxy(Local::default(), |_| {}).await);
    let head = format!("CONNECT echo.test:{port} HTTP/1.1\r\nHost: echo.test:{port}\r\n\r\nhello");
    let mut stream = client(proxy, head.as_bytes()).await;
    let expected = b"HTTP/1.1 200 Connection established\r\n\r\nhello";
    assert_eq!(read_exactly(&mut stream, expected.len()).await, expected);
}

#[tokio::test]
async fn failures_have_codes() {
    let proxy = proxy(Local::default(), |_| {}).await;
    // Bound and not listening: it refuses, and nobody else can take the port meanwhile.
    let held = TcpSocket::new_v4().expect("a socket");
    held.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let closed = held.local_addr().expect("bound").port();
    for (name, port, code, status) in [
        ("forbidden.example", 80, 2, "403"),
        ("nowhere.example", 80, 4, "502"),
        ("slow.example", 80, 6, "504"),
        ("here.test", closed, 5, "502"),
    ] {
        let mut socks = client(proxy, &socks_connect(name, port)).await;
        assert_eq!(read_all(&mut socks).await, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{name}");
        let mut http = client(proxy, format!("CONNECT {name}:{port} HTTP/1.1\r\n\r\n").as_bytes()).await;
        let answer = read_all(&mut http).await;
        assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{name}");
    }
}

#[tokio::test]
async fn plain_http_and_garbage_get_an_answer_or_a_close() {
    let proxy = proxy(Local::default(), |_| {}).await;
    let mut plain = client(proxy, b"POST http://a.test/ HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = String::from_utf8(read_all(&mut plain).await).expect("text");
    assert!(answer.starts_with("HTTP/1.1 501 ") && answer.contains("socks5h://"), "{answer}");
    let mut socks4 = client(proxy, b"\x04\x01\x00\x50\x7f\x00\x00\x01u\0").await;
    assert_eq!(read_all(&mut socks4).await, [0, 0x5b, 0, 0, 0, 0, 0, 0]);
    for garbage in [&b"\x16\x03\x01\x02\x00"[..], b"\0\0\0", b"\x05\x00", b"\xff"] {
        assert_eq!(read_all(&mut client(proxy, garbage).await).await, b"");
    }
}

#[tokio::test]
async fn credentials_choose_the_token_in_both_protocols() {
    let (port, local) = (echo().await, Local::default());
    let proxy = proxy(local.clone(), |_| {}).await;
    let socks = |user: &str, password: &str| {
        let mut bytes = vec![5, 2, 0, 2, 1, u8::try_from(user.len()).expect("short")];
        bytes.extend_from_slice(user.as_bytes());
        bytes.push(u8::try_from(password.len()).expect("short"));
        bytes.extend_from_slice(password.as_bytes());
        bytes.extend_from_slice(&socks_connect("echo.test", port)[3..]);
        bytes
    };
    let http = format!("CONNECT echo.test:{port} HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\n\r\n"); // a:b
    let openings = [socks("a", "b"), http.into_bytes(), socks("a", "c"), socks_connect("echo.test", port)];
    for opening in &openings {
        let mut stream = client(proxy, opening).await;
        stream.shutdown().await.expect("open");
        read_all(&mut stream).await;
    }
    let used = local.used.lock().expect("whole").clone();
    assert_eq!(used.len(), 4);
    assert_eq!(used[0], used[1]);
    assert_ne!(used[0], used[2]);
    assert_eq!(used[3], Token::SHARED);
    assert_ne!(used[2], Token::SHARED);
}

#[tokio::test]
async fn idle_tokens_are_forgotten() {
    let (port, local) = (echo().await, Local::default());
    let proxy = proxy(local.clone(), |config| config.token_idle = Duration::from_millis(40)).await;
    let head = format!("CONNECT echo.test:{port} HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\n\r\n");
    let mut stream = client(proxy, head.as_bytes()).await;
    read_exactly(&mut stream, 12).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(local.forgotten.lock().expect("whole").is_empty(), "in use");
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(10);
    while local.forgotten.lock().expect("whole").is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn resolve_both_ways() {
    let proxy = proxy(Local::default(), |_| {}).await;
    let mut stream = client(proxy, b"\x05\x01\x00\x05\xf0\x00\x03\x06a.test\x00\x00").await;
    assert_eq!(read_all(&mut stream).await, [5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 0]);
    let mut stream = client(proxy, b"\x05\x01\x00\x05\xf1\x00\x01\x7f\x00\x00\x01\x00\x00").await;
    assert_eq!(read_all(&mut stream).await, b"\x05\x00\x05\x00\x00\x03\x09here.test\x00\x00");
    let mut stream = client(proxy, b"\x05\x01\x00\x05\xf0\x00\x03\x06a.nope\x00\x00").await;
    assert_eq!(read_all(&mut stream).await[3], 4);
}

#[tokio::test]
async fn udp_association_serves_its_owner_only() {
    let (target, proxy) = (udp_echo().await, proxy(Local::default(), |_| {}).await);
    let mut control = client(proxy, &[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    let reply = read_exactly(&mut control, 12).await;
    assert_eq!(reply[..6], [5, 0, 5, 0, 0, 1]);
    let relay = SocketAddr::from(([127, 0, 0, 1], u16::from_be_bytes([reply[10], reply[11]])));

    let [owner, stranger] = [UdpSocket::bind("127.0.0.1:0").await, UdpSocket::bind("127.0.0.1:0").await];
    let (owner, stranger) = (owner.expect("a port"), stranger.expect("a port"));
    let elsewhere = UdpSocket::bind("127.0.0.2:0").await.expect("a port");
    let by_name = [&b"\0\0\0\x03\x09echo.test"[..], &target.port().to_be_bytes(), b"ping"].concat();
    let fragment = [&[0, 0, 1, 1, 127, 0, 0, 1][..], &target.port().to_be_bytes(), b"part"].concat();
    elsewhere.send_to(&by_name, relay).await.expect("sent");
    owner.send_to(&fragment, relay).await.expect("sent");
    owner.send_to(&by_name, relay).await.expect("sent");
    let mut buffer = [0; 100];
    let expected = [&[0, 0, 0, 1, 127, 0, 0, 1][..], &target.port().to_be_bytes(), b"ping"].concat();
    let receive = tokio::time::timeout(Duration::from_secs(10), owner.recv_from(&mut buffer)).await;
    let (length, from) = receive.expect("in time").expect("open");
    assert_eq!((&buffer[..length], from), (&expected[..], relay));

    stranger.send_to(&by_name, relay).await.expect("sent");
    let silence = Duration::from_millis(200);
    assert!(tokio::time::timeout(silence, stranger.recv_from(&mut buffer)).await.is_err(), "the first port owns it");
    assert!(tokio::time::timeout(silence, elsewhere.recv_from(&mut buffer)).await.is_err());

    drop(control);
    // As soon as the proxy has seen it, nothing comes back any more.
    let over = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < over, "the association outlives its connection");
        let _ = owner.send_to(&by_name, relay).await;
        if tokio::time::timeout(silence, owner.recv_from(&mut [0; 100])).await.map_or(true, |r| r.is_err()) {
            break;
        }
    }
}

/// Opens an association whose client announces `port`; gives its control connection and the relay's address.
async fn associate(proxy: SocketAddr, port: u16) -> (TcpStream, SocketAddr) {
    let request = [&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0][..], &port.to_be_bytes()].concat();
    let mut control = client(proxy, &request).await;
    let reply = read_exactly(&mut control, 12).await;
    assert_eq!(reply[..6], [5, 0, 5, 0, 0, 1]);
    (control, SocketAddr::from(([127, 0, 0, 1], u16::from_be_bytes([reply[10], reply[11]]))))
}

#[tokio::test]
async fn long_datagrams_arrive_whole() {
    let (target, proxy) = (udp_echo().await, proxy(Local::default(), |_| {}).await);
    let (_control, relay) = associate(proxy, 0).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let header = [&[0, 0, 0, 1, 127, 0, 0, 1][..], &target.port().to_be_bytes()].concat();
    let mut buffer = vec![0; 1 << 16];
    // The longest leaves room for the header on the way between client and proxy.
    for len in [0, 2_048, 2_049, 9_000, 65_507 - header.len()] {
        let payload: Vec<u8> = (0..=250).cycle().take(len).collect();
        let datagram = [&header[..], &payload].concat();
        socket.send_to(&datagram, relay).await.expect("sent");
        let received = tokio::time::timeout(Duration::from_secs(10), socket.recv_from(&mut buffer)).await;
        let (length, from) = received.expect("in time").expect("open");
        assert_eq!(from, relay);
        assert!(buffer[..length] == datagram[..], "{length} bytes of {}", datagram.len());
    }
}

#[tokio::test]
async fn an_announced_port_is_the_only_one_served() {
    let (target, proxy) = (udp_echo().await, proxy(Local::default(), |_| {}).await);
    let owner = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let (_control, relay) = associate(proxy, owner.local_addr().expect("bound").port()).await;
    let datagram = [&[0, 0, 0, 1, 127, 0, 0, 1][..], &target.port().to_be_bytes(), b"ping"].concat();
    let mut buffer = [0; 100];
    stranger.send_to(&datagram, relay).await.expect("sent");
    let silence = tokio::time::timeout(Duration::from_millis(200), stranger.recv_from(&mut buffer)).await;
    assert!(silence.is_err(), "it was first, but it is not the client");
    owner.send_to(&datagram, relay).await.expect("sent");
    let received = tokio::time::timeout(Duration::from_secs(10), owner.recv_from(&mut buffer)).await;
    assert_eq!(received.expect("in time").expect("open"), (datagram.len(), relay));
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_make_room() {
    let port = echo().await;
    let proxy = proxy(Local::default(), |config| {
        config.max_connections = 2;
        config.handshake_timeout = Duration::from_millis(300);
    })
    .await;
    let mut slow = [client(proxy, b"\x05").await, client(proxy, b"CONN").await];
    let mut waiting = client(proxy, &socks_connect("echo.test", port)).await;
    assert_eq!(read_exactly(&mut waiting, 4).await, SOCKS_DONE[..4]);
    for stream in &mut slow {
        assert_eq!(read_all(stream).await, b"");
    }
}

#[tokio::test]
async fn a_broken_stream_is_no_clean_end() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(b"half of it").await.expect("open");
        let mut ready = [0];
        stream.read_exact(&mut ready).await.expect("the client has read it");
        stream.set_zero_linger().expect("open");
    });
    let proxy = proxy(Local::default(), |_| {}).await;
    let mut stream = client(proxy, &socks_connect("here.test", port)).await;
    read_exactly(&mut stream, SOCKS_DONE.len() + 10).await;
    stream.write_all(b"!").await.expect("open");
    server.await.expect("served");
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 8])).await.expect("in time");
    assert!(end.is_err(), "a reset, not an end of file");
}

#[tokio::test]
async fn a_slow_reader_holds_the_sender_back() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (count, mut sent) = tokio::sync::watch::channel(0usize);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let block = [7; 64 * 1024];
        while stream.write_all(&block).await.is_ok() {
            count.send_modify(|n| *n += block.len());
        }
    });
    let proxy = proxy(Local::default(), |_| {}).await;
    let mut stream = client(proxy, &socks_connect("here.test", port)).await;
    read_exactly(&mut stream, SOCKS_DONE.len()).await;
    // Nothing is read: the sender must come to rest with bounded bytes under way.
    while tokio::time::timeout(Duration::from_millis(500), sent.changed()).await.is_ok() {
        assert!(*sent.borrow() < 64 * 1024 * 1024, "nobody holds the sender back");
    }
    let rested = *sent.borrow();
    read_exactly(&mut stream, rested).await;
    assert!(tokio::time::timeout(Duration::from_secs(10), sent.changed()).await.is_ok(), "and it goes on");
}
