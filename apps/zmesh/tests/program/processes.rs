//! Real processes: a network on this machine, and what people do with it.
//!
//! Every child here stops when its stdin ends, so a test that fails leaves nothing running.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::echo::echo;
use crate::support::running::{PATIENCE, Running, signal};
use crate::support::{Folder, held_port};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng as _;
use serde_json::Value;
use zmesh_proto::seeding::address::Address;
use zmesh_proto::seeding::seal::FileKey;
use zmesh_proto::seeding::{ChunkId, Class};

fn is_alive(process: u64) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

fn testnet(folder: &Folder) -> Running {
    Running::start(folder, &["testnet", "--dir", "net", "--relays", "5", "--exits", "2", "--file"])
}

fn proxy(folder: &Folder, network: &str) -> Running {
    Running::start(folder, &["proxy", "--network", network, "--listen", "127.0.0.1:0", "--hops", "2"])
}

/// Opens a stream by SOCKS5, with a user name if there is one; gives the reply code too.
fn socks(proxy: SocketAddr, user: Option<&str>, command: u8, target: SocketAddr) -> (TcpStream, u8, SocketAddr) {
    let mut stream = TcpStream::connect(proxy).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut greeting = vec![5, 1, 0];
    if let Some(user) = user {
        greeting = vec![5, 1, 2, 1, u8::try_from(user.len()).expect("short")];
        greeting.extend(user.as_bytes());
        greeting.push(0);
    }
    stream.write_all(&greeting).expect("open");
    let mut chosen = vec![0; if user.is_some() { 4 } else { 2 }];
    stream.read_exact(&mut chosen).expect("an answer");
    let mut request = vec![5, command, 0];
    match target {
        SocketAddr::V4(v4) => {
            request.push(1);
            request.extend(v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            request.push(4);
            request.extend(v6.ip().octets());
        }
    }
    request.extend(target.port().to_be_bytes());
    stream.write_all(&request).expect("open");
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).expect("a reply");
    let ip = std::net::Ipv4Addr::new(reply[4], reply[5], reply[6], reply[7]);
    (stream, reply[1], SocketAddr::from((ip, u16::from_be_bytes([reply[8], reply[9]]))))
}

fn echoes(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).expect("open");
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).expect("it comes back");
    assert_eq!(back, text);
}

#[test]
fn programs_use_the_proxy() {
    let folder = Folder::new();
    let net = testnet(&folder);
    let proxy = proxy(&folder, net.network());
    let address = proxy.address();

    let v4 = echo("127.0.0.1:0");
    let (mut first, code, _) = socks(address, Some("first"), 1, v4);
    assert_eq!(code, 0);
    echoes(&mut first, b"by IPv4");
    let (mut second, code, _) = socks(address, Some("second"), 1, v4);
    assert_eq!(code, 0);
    echoes(&mut second, b"isolated");

    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let (mut stream, code, _) = socks(address, None, 1, echo("[::1]:0"));
        assert_eq!(code, 0);
        echoes(&mut stream, b"by IPv6");
    }
    let held = held_port();
    assert_eq!(socks(address, None, 1, held.local_addr().expect("bound")).1, 5, "connection refused");
    let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
    assert_eq!(socks(address, None, 1, metadata).1, 2, "no exit goes there, not even in a test network");

    datagrams_pass(address);

    // Each user name had a circuit of its own.
    let circuits = proxy.terminate()["circuits"].as_array().expect("a list").len();
    assert!(circuits >= 3, "{circuits} circuits for three tokens");
}

/// One datagram there and back, as a DNS client does by UDP ASSOCIATE.
fn datagrams_pass(proxy: SocketAddr) {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let target = server.local_addr().expect("bound");
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&buffer[..length], from);
        }
    });
    let (_control, code, relay) = socks(proxy, None, 3, SocketAddr::from(([0, 0, 0, 0], 0)));
    assert_eq!(code, 0);
    let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    client.set_read_timeout(Some(Duration::from_secs(2))).expect("set");
    let datagram = [&[0, 0, 0, 1, 127, 0, 0, 1][..], &target.port().to_be_bytes(), b"query"].concat();
    let mut buffer = [0; 2048];
    // Datagrams may be lost: a client asks again.
    let answered = (0..5).any(|_| {
        client.send_to(&datagram, relay).expect("sent");
        client.recv_from(&mut buffer).is_ok_and(|(length, _)| buffer[..length] == datagram[..])
    });
    assert!(answered);
}

#[test]
fn a_call_between_two_processes_needs_the_invite_and_nothing_else() {
    let folder = Folder::new();
    std::fs::write(folder.path("say.wav"), zmesh_voice::SPEECH_WAV).expect("written");
    let net = testnet(&folder);
    let sound = |output: &'static str| ["--input", "say.wav", "--output", output, "--seconds", "4"];
    let answer = [&["voice", "answer", "--network", net.network()][..], &sound("a.wav")].concat();
    let mut answer = Running::start(&folder, &answer);
    let invite = answer.ready["invite"].as_str().expect("a line").to_owned();
    // By stdin: other users of the machine see the arguments of a process.
    folder.write("invite", &format!("{invite}\n"));
    let called = folder.run_with(&[&["voice", "call", "--json"][..], &sound("b.wav")].concat(), "invite");
    assert_eq!(called.code, 0, "{}", called.stderr);
    let answered = answer.result("stopped");
    let calls: Value = serde_json::from_str(called.stdout.lines().last().expect("a report")).expect("JSON");
    assert_eq!(calls["report"]["words"], answered["report"]["words"], "both see the same words");
    for call in [&calls, &answered] {
        let report = &call["report"];
        // Of 200. A machine that stalls skips some; how many is measured elsewhere.
        assert!(report["frames_sent"].as_u64() >= Some(100), "{report}");
        assert!(report["frames_played"].as_u64() >= Some(50), "{report}");
    }
    for recording in ["a.wav", "b.wav"] {
        assert!(zmesh_voice::audio::wav::read_wav(&folder.path(recording)).expect("a recording").len() > 48_000);
    }

    let again = folder.run(&[&["voice", "call", &invite][..], &sound("c.wav")].concat());
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("used already"), "{}", again.stderr);
    assert!(!folder.path("c.wav").exists(), "nothing half-written");
}

#[test]
fn nothing_stays_behind() {
    let folder = Folder::new();
    let mut net = testnet(&folder);
    let relays: Vec<u64> =
        net.ready["relays"].as_array().expect("a list").iter().filter_map(|relay| relay["process"].as_u64()).collect();
    assert_eq!(relays.len(), 5);
    assert!(relays.iter().all(|relay| is_alive(*relay)));

    signal("-KILL", u32::try_from(relays[0]).expect("an id"));
    let log = folder.path("testnet.log");
    wait_until(|| std::fs::read_to_string(&log).unwrap_or_default().contains("the relay relay1 is gone"));

    net.process.kill().expect("killed");
    net.process.wait().expect("ended");
    wait_until(|| !relays.iter().any(|relay| is_alive(*relay)));
}

#[test]
fn a_testnet_stops_on_request_and_tells_its_counters() {
    let folder = Folder::new();
    let net = testnet(&folder);
    let proxy = proxy(&folder, net.network());
    let (mut stream, _, _) = socks(proxy.address(), None, 1, echo("127.0.0.1:0"));
    echoes(&mut stream, b"hello");
    proxy.terminate();
    let relays: Vec<Value> = net.ready["relays"].as_array().expect("a list").clone();
    let stopped = net.terminate();
    let cells = |relay: &Value| relay["metrics"]["cells_received"].as_u64().unwrap_or_default();
    assert!(stopped["relays"].as_array().expect("a list").iter().map(cells).sum::<u64>() > 0);
    // What the operator's guide promises: whatever is dropped or refused is counted, and every counter is printed.
    let counters = [
        "/cells_forwarded",
        "/drops/codel",
        "/drops/forged",
        "/messages/events_full",
        "/queue/mean_delay_ms",
        "/circuits/refused_busy",
        "/circuits/refused_replay",
        "/work/cost_ms",
        "/links/refused_junk",
        "/datagrams_unsent",
        "/exit_sessions",
    ];
    for relay in stopped["relays"].as_array().expect("a list") {
        for counter in counters {
            assert!(relay["metrics"].pointer(counter).is_some_and(Value::is_number), "{counter}: {relay}");
        }
    }
    assert!(!relays.iter().filter_map(|relay| relay["process"].as_u64()).any(is_alive));
}

#[test]
fn after_a_killed_relay_new_streams_work_again_soon() {
    let folder = Folder::new();
    let net = testnet(&folder);
    let proxy = proxy(&folder, net.network());
    let target = echo("127.0.0.1:0");
    let guard = proxy.ready["circuits"][0]["path"][0].as_str().expect("a name").to_owned();
    let relay =
        net.ready["relays"].as_array().expect("a list").iter().find(|relay| relay["nickname"] == guard.as_str());
    let process = relay.expect("in the network")["process"].as_u64().expect("an id");
    let (mut stream, code, _) = socks(proxy.address(), None, 1, target);
    assert_eq!(code, 0);
    echoes(&mut stream, b"before");
    signal("-KILL", u32::try_from(process).expect("an id"));
    let killed = Instant::now();
    loop {
        let (mut stream, code, _) = socks(proxy.address(), None, 1, target);
        if code == 0 {
            echoes(&mut stream, b"after");
            break;
        }
        assert!(killed.elapsed() < PATIENCE, "no stream after the death of a relay");
    }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it took too long");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_demo_reports_and_leaves_nothing_running() {
    let folder = Folder::new();
    let said = folder.succeeds(&["demo", "--seconds", "10", "--hops", "2", "--output", "out", "--json"]);
    let report: Value = serde_json::from_str(said.trim()).expect("one line of JSON");
    assert_eq!(report["bulk"]["bytes"], 100_000_000);
    assert!(report["circuits"].as_array().map(Vec::len) >= Some(3), "{report}");
    for direction in ["caller_to_answerer", "answerer_to_caller"] {
        let direction = &report["call"][direction];
        // Of 500, as above.
        assert!(direction["frames_sent"].as_u64() >= Some(250), "{direction}");
        assert!(direction["frames_played"].as_u64() >= Some(125), "{direction}");
        assert!(direction["frames_concealed"].is_u64());
        assert!(direction["mouth_to_ear"]["whole_call"]["p50_ms"].is_f64(), "{direction}");
    }
    let relays = report["relays"].as_array().expect("a list");
    assert_eq!(relays.len(), 8);
    assert!(relays.iter().filter_map(|relay| relay["cells_forwarded"].as_u64()).sum::<u64>() > 100_000);
    for recording in report["recordings"].as_array().expect("a list") {
        assert!(Path::new(recording.as_str().expect("a path")).exists());
    }
}

#[test]
fn the_demo_runs_over_bad_access_links() {
    let folder = Folder::new();
    // Reordering and copies, too, and relays that are impaired: everything that the emulator can put between processes.
    folder.write("bad", "people both\n delay 10ms\n jitter 2ms every 20ms\n loss 3% burst 1.5\n duplicate 1%\n reorder 1% by 5ms\nrelays up\n delay 1ms\n");
    let arguments = ["demo", "--impair", "bad", "--seed", "7", "--seconds", "10", "--hops", "2", "--download", "2"];
    let said = folder.succeeds(&[&arguments[..], &["--output", "out", "--json"]].concat());
    let report: Value = serde_json::from_str(said.trim()).expect("one line of JSON");
    // The relays agreed, and each of the people fetched the document: the caller knew nothing but the line in the invite.
    let made = |name: &str| folder.path("out/testnet").join(name);
    assert!(made("genesis").exists() && made("bootstrap").exists() && !made("network").exists());
    for person in ["caller", "answerer", "proxy"] {
        assert!(std::fs::read_dir(made("people").join(person)).expect("kept").count() > 0, "{person} has no document");
    }
    // What says where the relays are names the emulator and no relay, so nothing of theirs goes by another way.
    let said_by = |relay: usize, key: &str| {
        let config = std::fs::read_to_string(made(&format!("relay-{relay}/relay.toml"))).expect("a configuration");
        config.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned)).expect("an address")
    };
    let listens: Vec<String> = (1..=8).map(|relay| said_by(relay, "listen = ")).collect();
    assert!((1..=8).all(|relay| !listens.contains(&said_by(relay, "advertise = "))), "{listens:?}");
    let impaired = &report["impaired"];
    assert_eq!(impaired["profile"], "bad");
    let access = |of: &str| {
        let links = impaired["access"].as_array().expect("a list");
        links.iter().find(|link| link["of"] == of).unwrap_or_else(|| panic!("no {of}: {impaired}"))
    };
    for of in ["caller", "answerer"] {
        for way in ["up", "down"] {
            let counters = &access(of)[way];
            assert!(counters["sent"].as_u64() >= Some(400), "{of} {way}: {counters}");
            assert!(counters["lost"].as_u64() > Some(0), "{of} {way}: {counters}");
        }
    }
    assert!(access("relays")["up"]["sent"].as_u64() >= Some(1_000), "{impaired}");
    assert!(access("proxy")["down"]["bytes"].as_u64() > Some(0), "{impaired}");
    for direction in ["caller_to_answerer", "answerer_to_caller"] {
        let direction = &report["call"][direction];
        assert!(direction["frames_played"].as_u64() >= Some(300), "{direction}");
        assert!(direction["concealed_share"].is_f64(), "{direction}");
        // Two access links of 10 ms, and the relays' own.
        assert!(direction["mouth_to_ear"]["whole_call"]["p50_ms"].as_f64() > Some(20.0), "{direction}");
    }
    for end in ["caller", "answerer"] {
        let cost = &report["call"]["cost"][end];
        assert!(cost["memory_bytes"].as_u64() > Some(0) && cost["core_share"].is_f64(), "{cost}");
    }
}

#[test]
fn a_file_outlives_its_publisher_and_some_of_the_relays() {
    let folder = Folder::new();
    // Two of ten: a newcomer cannot know that they are dead, and must still find paths over the others.
    let net = Running::start(&folder, &["testnet", "--dir", "net", "--relays", "10", "--exits", "2", "--file"]);
    let network = net.network().to_owned();
    let file: Vec<u8> =
        (0..600_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(600_000).collect();
    std::fs::write(folder.path("file"), &file).expect("written");
    // The publisher is a process that has ended when this returns.
    let put = folder.succeeds(&["chunk", "put", "file", "--network", &network, "--json"]);
    let put: Value = serde_json::from_str(&put).expect("JSON");
    assert_eq!(
        (put["bytes"].as_u64(), put["chunks"].as_u64(), put["copies"].as_u64()),
        (Some(600_000), Some(4), Some(4))
    );
    let address = put["address"].as_str().expect("an address").to_owned();
    let relays = net.ready["relays"].as_array().expect("relays");
    for relay in &relays[..2] {
        signal("-KILL", u32::try_from(relay["process"].as_u64().expect("a process")).expect("a process"));
    }
    folder.write("address", &address);
    let got = folder.run_with(&["chunk", "get", "--out", "got", "--network", &network, "--json"], "address");
    assert_eq!(got.code, 0, "{}", got.stderr);
    assert!(std::fs::read(folder.path("got")).expect("it is there") == file, "byte by byte");
    let got: Value = serde_json::from_str(&got.stdout).expect("JSON");
    assert_eq!((got["bytes"].as_u64(), got["liars"].as_u64()), (Some(600_000), Some(0)));
    assert!(!folder.path("got.part").exists());

    // What goes wrong says what, why and what to do.
    let line = folder.fails(&["chunk", "get", &address, "--out", "got", "--network", &network], 2);
    assert!(line.contains("it exists"), "{line}");
    let damaged = format!("{}b", &address[..address.len() - 1]);
    let line = folder.fails(&["chunk", "get", &damaged, "--out", "other", "--network", &network], 2);
    assert!(line.contains("the address is damaged"), "{line}");
    let nowhere = FileKey::generate(&mut ChaCha12Rng::from_seed([3; 32]));
    let unknown = Address::new(ChunkId([7; 32]), Class::Note, nowhere).to_line();
    let line = folder.fails(&["chunk", "get", &unknown, "--out", "other", "--network", &network], 1);
    assert!(line.contains("relays that may hold it") && line.contains("0 of 4 symbols found"), "{line}");
    assert!(!folder.path("other").exists() && !folder.path("other.part").exists(), "nothing is left behind");
    let line = folder.fails(&["chunk", "put", "nothing", "--network", &network], 2);
    assert!(line.contains("cannot read nothing"), "{line}");
}
