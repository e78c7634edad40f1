//! curl and DNS through the proxy.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use zmesh_tests::load::server::Server;
use zmesh_tests::load::tls;
use zmesh_tests::peers::process::find_program;

use super::{LOCALHOST, Scene};

#[test]
fn programs_work_through_the_proxy() {
    if find_program("curl").is_none() {
        println!("skipped: curl is not installed (apt install curl)");
        return;
    }
    let mut scene = Scene::new();
    http_and_https(&scene);
    ipv6(&scene);
    dns(&scene);
    isolation(&mut scene);
}

/// Runs curl through the proxy and gives what it printed.
fn curl(scene: &Scene, user: Option<&str>, arguments: &[&str]) -> String {
    let user = user.map(|user| format!("{user}:x@")).unwrap_or_default();
    let proxy = format!("socks5h://{user}{}", scene.proxy.socks);
    curl_by(&proxy, arguments)
}

fn curl_by(proxy: &str, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "30", "--noproxy", "", "--proxy", proxy])
        .args(arguments)
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn http_and_https(scene: &Scene) {
    let page = format!("http://{}/hello", scene.http.address());
    assert_eq!(curl(scene, None, &[&page]), "hello\n");
    let connect = format!("http://{}", scene.proxy.socks);
    assert_eq!(curl_by(&connect, &["--proxytunnel", &page]), "hello\n");

    // A name that only the exit can know: resolved there, never here.
    let named = format!("http://localhost:{}/hello", scene.http.address().port());
    assert_eq!(curl(scene, None, &[&named]), "hello\n");

    let (server, certificate) = tls::https(LOCALHOST).expect("an HTTPS server");
    let file = scene.network.directory().join("ca.pem");
    fs::write(&file, certificate).expect("a file in the test's directory");
    let page = format!("https://{}/hello", server.address());
    assert_eq!(curl(scene, None, &["--cacert", &file.to_string_lossy(), &page]), "hello\n");

    let long = format!("http://{}/bytes/5000000", scene.http.address());
    let body = curl(scene, None, &["--write-out", "%{size_download}", "--output", "/dev/null", &long]);
    assert_eq!(body, "5000000");
}

fn ipv6(scene: &Scene) {
    let Ok(server) = Server::http(IpAddr::V6(Ipv6Addr::LOCALHOST)) else {
        println!("skipped: this machine has no IPv6 on loopback");
        return;
    };
    let page = format!("http://{}/hello", server.address());
    assert_eq!(curl(scene, None, &["--globoff", &page]), "hello\n");
}

/// Asks a DNS server by UDP ASSOCIATE, as a resolver that speaks SOCKS does.
fn dns(scene: &Scene) {
    let server = Server::datagrams(LOCALHOST, answer_dns).expect("a DNS server");
    let udp = scene.socks().bind_udp().expect("a UDP association");
    let query = dns_query(0x1234, "answers.example");
    let mut reply = None;
    // UDP may lose a datagram; a resolver asks again.
    for _ in 0..5 {
        udp.send_to(&query, server.address()).expect("a datagram to the proxy");
        if let Ok(received) = udp.recv_from(Duration::from_secs(2)) {
            reply = Some(received);
            break;
        }
    }
    let (reply, from) = reply.expect("an answer");
    assert_eq!(from, server.address());
    assert_eq!(&reply[..2], &[0x12, 0x34]);
    assert_eq!(&reply[reply.len() - 4..], &Ipv4Addr::new(192, 0, 2, 7).octets());
}

/// A query for the A record of `name` (RFC 1035).
fn dns_query(id: u16, name: &str) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a short label"));
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// Answers any query with one A record, 192.0.2.7.
fn answer_dns(query: &[u8]) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let mut reply = query.get(..2)?.to_vec();
    reply.extend_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    Some(reply)
}

/// Two user names never share a circuit: two users take one circuit more than one user does.
fn isolation(scene: &mut Scene) {
    let page = format!("http://{}/hello", scene.http.address());
    let mut circuits_of = |users: [&str; 2]| {
        let mut proxy = scene.network.proxy(&[], super::PATIENCE).expect("another proxy");
        for user in users {
            assert_eq!(curl_by(&format!("socks5h://{user}:x@{}", proxy.socks), &[&page]), "hello\n");
        }
        let said = proxy.ready.stop().expect("the proxy's last word");
        println!("circuits of {users:?}: {}", said["circuits"]);
        said["circuits"].as_array().expect("its circuits").len()
    };
    let (one, two) = (circuits_of(["alice", "alice"]), circuits_of(["alice", "bob"]));
    assert_eq!(two, one + 1, "circuits of two users against those of one");
}
