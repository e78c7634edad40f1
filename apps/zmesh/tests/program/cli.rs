//! What people see when something is wrong: one clear line, the right exit code, nothing half-written.

use std::fs;
use std::net::{TcpListener, UdpSocket};

use crate::support::{Folder, bootstrap_line, expired_network, network, wav};

/// The commands that a page of help names.
fn listed(help: &str) -> Vec<String> {
    let section = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_help_has_an_example() {
    let folder = Folder::new();
    let (mut open, mut seen) = (vec![Vec::new()], Vec::new());
    while let Some(command) = open.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let ran = folder.run(&words);
        assert_eq!(ran.code, 0, "{command:?}");
        assert!(ran.stdout.contains("Example"), "{command:?}: {}", ran.stdout);
        assert!(!ran.stdout.contains("exit-with-stdin"));
        assert!(!ran.stdout.contains('\u{1b}'), "no colours into a pipe");
        open.extend(listed(&ran.stdout).into_iter().map(|name| [&command[..], &[name]].concat()));
        seen.push(command.join(" "));
    }
    for command in ["demo", "voice test", "voice devices", "chunk put", "service", "network genesis", "network line"] {
        assert!(seen.iter().any(|seen| seen == command), "{command} is not among {seen:?}");
    }
}

#[test]
fn misuse_is_exit_code_2() {
    let folder = Folder::new();
    for arguments in [
        &["nonsense"][..],
        &["proxy", "--hops", "4"],
        &["proxy", "--hops", "1"],
        &["proxy", "--listen", "nowhere"],
        &["demo", "--seconds", "1"],
        &["demo", "--impair", "nonsense"],
        &["demo", "--impair-all"],
        &["demo", "--print-profile", "nonsense"],
        &["keys", "generate"],
        &["config", "print", "mixer"],
        &["testnet"],
    ] {
        let ran = folder.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
    }
    folder.unchanged();
}

#[test]
fn missing_files_are_named() {
    let folder = Folder::new();
    for arguments in [
        &["relay", "--config", "missing"][..],
        &["proxy", "--network", "missing"],
        &["voice", "answer", "--network", "missing"],
        &["keys", "show", "missing"],
        &["keys", "descriptor", "--config", "missing", "--out", "out"],
        &["network", "show", "missing"],
        &["network", "add", "missing", "also-missing"],
        &["network", "sign", "missing", "--key", "missing"],
        &["network", "init", "--name", "n", "--signer", "missing", "--out", "out"],
        &["demo", "--input", "missing", "--output", "out"],
    ] {
        let line = folder.fails(arguments, 2);
        assert!(line.contains("missing") && line.contains("no such file"), "{line}");
    }
    folder.unchanged();
}

#[test]
fn without_a_network_the_next_step_is_named() {
    let folder = Folder::new();
    for arguments in [&["proxy"][..], &["voice", "answer"]] {
        let line = folder.fails(arguments, 2);
        assert!(line.contains("no network is known") && line.contains("zmesh testnet"), "{line}");
    }
}

#[test]
fn a_printed_configuration_is_read_back() {
    let folder = Folder::new();
    let printed = folder.run(&["config", "print", "relay"]);
    assert_eq!(printed.code, 0);
    let filled = printed
        .stdout
        .replace("operator = \"\"", "operator = \"me\"")
        .replace("advertise = []", "advertise = [\"192.0.2.1:9001\"]")
        .replace("enabled = false", "enabled = true");
    folder.write("relay.toml", &filled);
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    let made = folder.succeeds(&["keys", "descriptor", "--config", "relay.toml", "--out", "d", "--json"]);
    assert!(made.contains("\"nickname\":\"unnamed\""), "{made}");
}

#[test]
fn faults_of_a_configuration_are_named() {
    let folder = Folder::new();
    let good = folder.run(&["config", "print", "relay"]).stdout;
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    for (from, to, says) in [
        ("nickname =", "nickame =", "unknown field `nickame`"),
        ("nickname = \"unnamed\"", "nickname = \"two words\"", "nickname: write 1 to 24 of"),
        ("nickname = \"unnamed\"", "nickname = 5", "invalid type: integer `5`, expected a string"),
        ("listen = [\"0.0.0.0:9001\"]", "listen = \"0.0.0.0:9001\"", "invalid type"),
        ("\"accept *:80\"", "\"accept web\"", "exit.policy: rule 2"),
        ("[limits]", "[limit]", "unknown field `limit`"),
        ("meeting = true", "meeting = ", "line "),
        ("operator = \"\"", "operator = \"\"", "operator: "),
    ] {
        folder.write("relay.toml", &good.replace(from, to));
        let before = folder.names();
        let line = folder.fails(&["keys", "descriptor", "--config", "relay.toml", "--out", "d"], 2);
        assert!(line.contains(says) && line.contains("relay.toml"), "{line}");
        assert_eq!(folder.names(), before);
    }
}

#[test]
fn a_relay_that_cannot_describe_itself_does_not_start() {
    let folder = Folder::new();
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    folder.succeeds(&["network", "genesis", "--name", "n", "--voter", "me=keys", "--out", "genesis"]);
    let template = folder.run(&["config", "print", "relay"]).stdout;
    let config = template
        .replace("0.0.0.0:", "127.0.0.1:")
        .replace(":9001\"]", ":0\"]")
        .replace("#genesis = \"genesis\"", "genesis = \"genesis\"");
    folder.write("relay.toml", &config);
    let line = folder.fails(&["relay", "--config", "relay.toml"], 2);
    assert!(line.contains("operator: say who runs the relay"), "{line}");
    folder.unchanged();
}

#[test]
fn a_place_for_documents_that_is_a_file_is_named_at_once() {
    let folder = Folder::new();
    folder.write("state", "somebody's");
    let line = folder.fails(&["proxy", "--bootstrap", &bootstrap_line(), "--state", "state"], 2);
    assert!(line.contains("state") && line.contains("it is a file, not a directory"), "{line}");
    let line = folder.fails(&["network", "show", "--state", "state", &bootstrap_line()], 2);
    assert!(line.contains("it is a file, not a directory"), "{line}");
    folder.unchanged();
}

#[test]
fn what_has_no_network_in_it_is_not_shown_as_one() {
    let folder = Folder::new();
    fs::create_dir(folder.path("empty")).expect("made");
    let line = folder.fails(&["network", "show", "empty"], 2);
    assert!(line.contains("empty") && line.contains("no document was kept there"), "{line}");
    folder.write("network-0123456789abcdef", "no document");
    let line = folder.fails(&["network", "show", "network-0123456789abcdef"], 1);
    assert!(line.contains("kept document"), "{line}");
    folder.write("line", "zmesh:net/1/abc");
    let line = folder.fails(&["network", "show", "line"], 2);
    assert!(line.contains("damaged"), "{line}");
    let line = folder.fails(&["network", "show"], 2);
    assert!(line.contains("no network is known"), "{line}");
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let folder = Folder::new();
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    let before = fs::read(folder.path("keys")).expect("there");
    let line = folder.fails(&["keys", "generate", "--out", "keys"], 2);
    assert!(line.contains("exists already"), "{line}");
    assert_eq!(fs::read(folder.path("keys")).expect("there"), before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.path("keys")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    folder.write("keys", &String::from_utf8_lossy(&before[..before.len() / 2]));
    let line = folder.fails(&["keys", "show", "keys"], 2);
    assert!(line.contains("cannot be used"), "{line}");
    let shown = String::from_utf8_lossy(&before).into_owned();
    let secret = shown.lines().nth(1).expect("a line of the key");
    assert!(!line.contains(secret));
}

#[test]
fn three_people_form_a_network() {
    let folder = Folder::new();
    let template = folder.run(&["config", "print", "relay"]).stdout;
    for (index, name) in ["alice", "bob", "carol"].iter().enumerate() {
        let config = template
            .replace("nickname = \"unnamed\"", &format!("nickname = \"{name}\""))
            .replace("operator = \"\"", &format!("operator = \"{name}\""))
            .replace("advertise = []", &format!("advertise = [\"9.{index}.2.1:9001\"]"))
            .replace("keys = \"keys\"", &format!("keys = \"{name}.keys\""))
            .replace("enabled = false", &format!("enabled = {}", *name == "carol"));
        folder.write(&format!("{name}.toml"), &config);
        folder.succeeds(&["keys", "generate", "--out", &format!("{name}.keys")]);
        let (config, out) = (format!("{name}.toml"), format!("{name}.descriptor"));
        folder.succeeds(&["keys", "descriptor", "--config", &config, "--out", &out]);
    }
    let signers = ["--signer", "alice.descriptor", "--signer", "bob.keys", "--signer", "carol.descriptor"];
    folder.succeeds(&[&["network", "init", "--name", "friends", "--out", "net"], &signers[..]].concat());
    let line = folder.fails(&["network", "sign", "net", "--key", "alice.keys"], 1);
    assert!(line.contains("was not signed"), "an empty network: {line}");
    folder.succeeds(&["network", "add", "net", "alice.descriptor", "bob.descriptor", "carol.descriptor"]);
    folder.succeeds(&["network", "sign", "net", "--key", "alice.keys"]);
    fs::copy(folder.path("net"), folder.path("copy")).expect("copied");
    folder.succeeds(&["network", "sign", "net", "--key", "bob.keys"]);

    let line = folder.fails(&["proxy", "--network", "net"], 1);
    assert!(line.contains("2 of the 3 signatures"), "{line}");
    folder.succeeds(&["keys", "generate", "--signer", "--out", "stranger.keys"]);
    let before = fs::read(folder.path("net")).expect("there");
    let line = folder.fails(&["network", "sign", "net", "--key", "stranger.keys"], 1);
    assert!(line.contains("not among the signers"), "{line}");
    assert_eq!(fs::read(folder.path("net")).expect("there"), before);

    // Carol signed another copy meanwhile: her signature is taken up.
    folder.succeeds(&["network", "sign", "copy", "--key", "carol.keys"]);
    folder.succeeds(&["network", "add", "net", "copy"]);
    let shown = folder.succeeds(&["network", "show", "net"]);
    assert!(shown.contains("complete, 3 of 3 signatures"), "{shown}");
    assert!(["alice", "bob", "carol", "53,80,443"].iter().all(|word| shown.contains(word)), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&folder.succeeds(&["network", "show", "net", "--json"])).expect("JSON");
    assert_eq!(json["complete"], true);
    assert_eq!(json["relays"].as_array().map(Vec::len), Some(3));
}

#[test]
fn bad_networks_are_refused_before_anything_starts() {
    let folder = Folder::new();
    let good = network(4, 1);
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    let flipped = if lines[5].starts_with('A') { "B" } else { "A" };
    lines[5].replace_range(0..1, flipped);
    folder.write("forged", &lines.join("\n"));
    folder.write("cut", &good[..good.len() / 2]);
    folder.write("other", "hello");
    folder.write("expired", &expired_network());
    folder.write("good", &good);
    folder.write("keys", "");
    for (file, says) in [
        ("forged", "cannot be used"),
        ("cut", "cut short"),
        ("other", "another kind of file"),
        ("expired", "it expired on"),
    ] {
        for arguments in [&["proxy", "--network", file][..], &["voice", "answer", "--network", file]] {
            let line = folder.fails(arguments, 1);
            assert!(line.contains(says), "{line}");
        }
    }
    folder.unchanged();
}

#[test]
fn too_few_relays_are_counted() {
    let folder = Folder::new();
    folder.write("no-exit", &network(4, 0));
    folder.write("one", &network(1, 1));
    let missing = |file, says: &str| {
        let line = folder.fails(&["proxy", "--network", file, "--listen", "127.0.0.1:0"], 1);
        assert!(line.contains("no circuit could be built") && line.contains(says), "{line}");
    };
    missing("no-exit", "a path of 3 relays lacks its exit: no exit takes port 443");
    missing("one", "a path of 3 relays lacks 2 of them: the network has too few relays");
}

#[test]
fn ports_in_use_are_named() {
    let folder = Folder::new();
    folder.write("network", &network(4, 1));
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let busy = tcp.local_addr().expect("bound").to_string();
    let line = folder.fails(&["proxy", "--network", "network", "--listen", &busy], 1);
    assert!(line.contains(&busy) && line.contains("in use"), "{line}");

    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let busy = udp.local_addr().expect("bound").to_string();
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    let template = folder.run(&["config", "print", "relay"]).stdout;
    folder.write("relay.toml", &template.replace("0.0.0.0:9001", &busy));
    let line = folder.fails_after_warnings(&["relay", "--config", "relay.toml"], 1);
    assert!(line.contains(&busy) && line.contains("in use"), "{line}");
}

#[test]
fn bad_invites_are_refused() {
    let folder = Folder::new();
    folder.write("network", &network(4, 1));
    let other = "zmesh:call/2/aaaa";
    for (invite, code, says) in [
        ("hello", 2, "not a zMesh invite"),
        ("", 2, "not a zMesh invite"),
        (other, 2, "damaged"),
        ("zmesh:call/9/aaaa", 2, "version 9"),
    ] {
        let line = folder.fails(&["voice", "call", "--network", "network", invite], code);
        assert!(line.contains(says), "{line}");
        folder.write("invite", invite);
        for arguments in [&["voice", "call", "--network", "network"][..], &["voice", "call", "-"]] {
            let ran = folder.run_with(arguments, "invite");
            assert_eq!(ran.code, code, "{}", ran.stderr);
            assert!(ran.stderr.contains(says), "{}", ran.stderr);
        }
    }
    folder.fails(&["voice", "call", "--network", "network", other], 2);
    folder.unchanged();
}

#[test]
fn wrong_recordings_are_refused_before_a_call() {
    let folder = Folder::new();
    folder.write("network", &network(4, 1));
    fs::write(folder.path("stereo.wav"), wav(2, 44_100, 100)).expect("written");
    fs::write(folder.path("empty.wav"), wav(1, 48_000, 0)).expect("written");
    folder.write("text.wav", "this is no sound");
    for (file, says) in [("stereo.wav", "48000 Hz, mono"), ("empty.wav", "no sound"), ("text.wav", "not a usable WAV")]
    {
        for arguments in [
            &["voice", "answer", "--network", "network", "--input", file, "--output", "out.wav"][..],
            &["demo", "--input", file, "--output", "out"],
        ] {
            let line = folder.fails(arguments, 2);
            assert!(line.contains(says) && line.contains(file), "{line}");
        }
    }
    assert!(!folder.path("out.wav").exists() && !folder.path("out").exists());
    folder.unchanged();
}

#[test]
fn a_testnet_does_not_touch_other_files() {
    let folder = Folder::new();
    fs::create_dir(folder.path("mine")).expect("made");
    folder.write("mine/precious", "data");
    let line = folder.fails(&["testnet", "--dir", "mine"], 2);
    assert!(line.contains("other files"), "{line}");
    let line = folder.fails(&["testnet", "--dir", "new", "--relays", "2", "--exits", "3"], 2);
    assert!(line.contains("3 exits"), "{line}");
    assert!(!folder.path("new").exists());
    folder.unchanged();
}

#[test]
fn a_profile_is_printed_and_one_with_a_fault_names_the_line() {
    let folder = Folder::new();
    let printed = folder.succeeds(&["demo", "--print-profile", "wifi"]);
    assert!(printed.contains("loss 5% burst 1.5"), "{printed}");
    folder.write("mine", &printed.replace("burst 1.5", "burst often"));
    let ran = folder.run(&["demo", "--impair", "mine"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("line ") && ran.stderr.contains("\"often\" is no number"), "{}", ran.stderr);
}
