//! Commands that know nothing of their network but its bootstrap line.

use crate::support::Folder;
use crate::support::running::Running;
use tokio::runtime::Runtime;
use zmesh_overlay::testnet::{AgreedConfig, AgreedTestnet, TestnetConfig};

/// A network inside this process, which goes on while others run.
struct Net {
    runtime: Runtime,
    network: AgreedTestnet,
}

impl Net {
    fn start(net: TestnetConfig) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        // One long epoch, so that nothing is told of documents meanwhile; not so long that descriptors end before the document.
        let config = AgreedConfig { net, epoch_length: 300, ..AgreedConfig::default() };
        let network = runtime.block_on(AgreedTestnet::start(config)).expect("the test network starts");
        Self { runtime, network }
    }

    fn line(&self) -> String {
        self.network.bootstrap(&[0, 1]).to_string()
    }

    fn stop(self) {
        self.runtime.block_on(self.network.shutdown());
    }
}

#[test]
fn a_proxy_a_file_and_a_call_by_a_bootstrap_line() {
    let store = tempfile::tempdir().expect("a directory");
    let net = TestnetConfig { relays: 7, chunks: Some(store.path().to_owned()), ..TestnetConfig::default() };
    let net = Net::start(net);
    let (folder, line) = (Folder::new(), net.line());

    // The line as text, then as a file; the second time the document is on the disk.
    let proxy = Running::start(&folder, &["proxy", "--bootstrap", &line, "--listen", "127.0.0.1:0"]);
    assert_eq!(proxy.ready["circuits"][0]["path"].as_array().expect("a path").len(), 3);
    drop(proxy);
    assert!(folder.path("no-home/zmesh").read_dir().expect("kept").next().is_some());
    folder.write("bootstrap", &format!("{line}\n"));
    shown(&folder, &line);
    folder.write("notes", "what is written here goes over relays");
    let address = folder.succeeds(&["chunk", "put", "notes", "--bootstrap", "bootstrap"]);
    folder.write("address", &address);
    let got = folder.run_with(&["chunk", "get", "--out", "back", "--bootstrap", "bootstrap"], "address");
    assert_eq!(got.code, 0, "{}", got.stderr);
    assert_eq!(std::fs::read(folder.path("back")).expect("there"), std::fs::read(folder.path("notes")).expect("there"));

    // The invite carries the line, and the caller needs nothing else.
    std::fs::write(folder.path("say.wav"), zmesh_voice::SPEECH_WAV).expect("written");
    let sound = |out| ["--input", "say.wav", "--output", out, "--seconds", "3"];
    let answer = [&["voice", "answer", "--bootstrap", "bootstrap"][..], &sound("a.wav")].concat();
    let answerer = Running::start(&folder, &answer);
    let invite = answerer.ready["invite"].as_str().expect("an invite");
    assert!(invite.contains("#zmesh:net/1/") && invite.len() < 1_000, "{}", invite.len());
    folder.write("invite", invite);
    let called = folder.run_with(&[&["voice", "call"][..], &sound("b.wav")].concat(), "invite");
    assert_eq!(called.code, 0, "{}", called.stderr);
    // The words are for people to read, wherever results go.
    let words = "connected; both of you should see these words: ";
    let read = |text: &str| text.lines().find_map(|line| line.split(words).nth(1).map(str::to_owned));
    assert_eq!(read(&called.stderr).expect("words").split(' ').count(), 4, "{}", called.stderr);
    assert_eq!(read(&called.stdout), read(&called.stderr));
    drop(answerer);
    net.stop();
}

/// A network that agrees by itself is shown by its line, as text, as a file and by option, and from what was kept.
fn shown(folder: &Folder, line: &str) {
    for network in [&[line][..], &["bootstrap"], &["--bootstrap", "bootstrap"], &["no-home/zmesh"]] {
        let told = folder.succeeds(&[&["network", "show", "--json"][..], network].concat());
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["relays"].as_array().map(Vec::len), Some(7), "{network:?}: {told}");
        assert!(told["epoch"].as_u64() >= Some(1), "{network:?}: {told}");
    }
    let words = folder.succeeds(&["network", "show", "no-home/zmesh"]);
    for says in ["(test network)", "the document of epoch", "voter    ", "relays   7; exits: ", "NICKNAME"] {
        assert!(words.contains(says), "{says}: {words}");
    }
}

#[test]
fn with_too_few_relays_one_message_says_how_many_are_missing() {
    let net = Net::start(TestnetConfig { relays: 2, exits: 1, ..TestnetConfig::default() });
    let (folder, line) = (Folder::new(), net.line());
    let ran = folder.run(&["proxy", "--bootstrap", &line, "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let missing: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("lacks 1")).collect();
    assert_eq!(missing.len(), 1, "{}", ran.stderr);
    assert!(missing[0].starts_with("error: ") && missing[0].contains("too few relays"), "{}", missing[0]);
    net.stop();
}

#[test]
fn lines_that_lead_nowhere_are_told_apart() {
    let folder = Folder::new();
    let damaged = folder.fails(&["proxy", "--bootstrap", "zmesh:net/1/abc"], 2);
    assert!(damaged.contains("damaged"), "{damaged}");
    let missing = folder.fails(&["proxy", "--bootstrap", "no-such-file"], 2);
    assert!(missing.contains("no-such-file"), "{missing}");
    let both = folder.run(&["proxy", "--bootstrap", "a", "--network", "b"]);
    assert_eq!(both.code, 2);
    // A relay that is not there.
    let net = Net::start(TestnetConfig { relays: 2, exits: 1, ..TestnetConfig::default() });
    let line = net.line();
    net.stop();
    let nobody = folder.run(&["proxy", "--bootstrap", &line, "--listen", "127.0.0.1:0"]);
    assert_eq!(nobody.code, 1, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("the network cannot be entered"), "{}", nobody.stderr);
}
