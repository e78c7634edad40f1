//! What README and the guides tell people to type works as they say.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DOCUMENTS: [&str; 4] =
    ["README.md", "specs/guide/caller.md", "specs/guide/operator.md", "specs/guide/developer.md"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn zmesh(directory: &Path, words: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zmesh")).args(words).current_dir(directory).output().expect("the program starts")
}

/// The lines of a document's shell blocks, without comments.
fn shell_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                let command = line.split(" #").next().unwrap_or_default().trim();
                if !command.is_empty() {
                    lines.push(command.to_owned());
                }
            }
            _ => {}
        }
    }
    lines
}

/// The arguments of a line that runs our program, without the file that it reads, and the file that its output goes to.
fn arguments(line: &str) -> Option<(Vec<String>, Option<String>)> {
    let mut words: Vec<String> = line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect();
    let program = words.remove(0);
    if program != "zmesh" && program != "target/release/zmesh" {
        return None;
    }
    if let Some(input) = words.iter().position(|word| word == "<") {
        words.drain(input..input + 2);
    }
    let output = words.iter().position(|word| word == ">").map(|at| words.split_off(at).pop().expect("a file name"));
    Some((words, output))
}

#[test]
fn every_command_shown_exists_with_its_options() {
    let mut seen = 0;
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(repository().join(document)).expect(document);
        for line in shell_lines(&text) {
            let Some((mut words, _)) = arguments(&line) else { continue };
            words.push("--help".into());
            let output = zmesh(&repository(), &words);
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{document}: {line}\n{problem}");
            seen += 1;
        }
    }
    assert!(seen >= 12, "the documents show commands: {seen} found");
}

#[test]
fn every_make_target_and_example_shown_exists() {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).expect("Makefile");
    let mut seen = 0;
    for document in DOCUMENTS.iter().chain(&["CONTRIBUTING.md"]) {
        let text = std::fs::read_to_string(repository().join(document)).expect(document);
        for line in shell_lines(&text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["make", targets @ ..] => {
                    for target in targets {
                        assert!(makefile.contains(&format!("\n{target}: ")), "{document}: make {target}");
                        seen += 1;
                    }
                }
                ["cargo", "run", "-p", "zmesh-overlay", .., "--example", example] => {
                    let file = repository().join(format!("overlay/net/examples/{example}.rs"));
                    assert!(file.is_file(), "{document}: example {example}");
                    seen += 1;
                }
                _ => {}
            }
        }
    }
    assert!(seen >= 8, "the documents show targets and examples: {seen} found");
}

#[test]
fn three_people_form_a_network_as_the_operators_guide_says() {
    let text = std::fs::read_to_string(repository().join("specs/guide/operator.md")).expect("guide");
    let commands: Vec<_> = shell_lines(&text).iter().filter_map(|line| arguments(line)).collect();
    let home = tempfile::tempdir().expect("temporary directory");
    let names = ["alice", "bob", "carol"];

    // Everybody: configuration, keys, descriptor.
    for (number, name) in names.iter().enumerate() {
        let directory = home.path().join(name);
        std::fs::create_dir(&directory).expect("directory");
        for (words, redirect) in &commands {
            if begins(words, &["config", "print"]) {
                run(&directory, words, redirect.as_deref());
                let file = directory.join("relay.toml");
                let edited = std::fs::read_to_string(&file)
                    .expect("relay.toml")
                    .replace("nickname = \"unnamed\"", &format!("nickname = \"{name}\""))
                    .replace("operator = \"\"", &format!("operator = \"{name}\""))
                    .replace("advertise = []", &format!("advertise = [\"5.{number}.100.7:9001\"]"));
                std::fs::write(file, edited).expect("write");
            } else if begins(words, &["keys", "backup"]) || begins(words, &["keys", "restore"]) {
                // There is no terminal to ask at, and the restored keys are for another machine.
                std::fs::write(directory.join("phrase"), "five words drawn by dice\n").expect("write");
                if begins(words, &["keys", "restore"]) {
                    std::fs::rename(directory.join("keys"), directory.join("lost")).expect("moved away");
                }
                let asked = [words.clone(), vec!["--passphrase-file".into(), "phrase".into()]].concat();
                run(&directory, &asked, redirect.as_deref());
            } else if begins(words, &["keys"]) {
                run(&directory, words, redirect.as_deref());
            }
        }
        let descriptor = directory.join("relay.descriptor");
        std::fs::copy(descriptor, home.path().join(format!("{name}.descriptor"))).expect("the descriptor is there");
    }

    // One begins the draft; it goes round; the last signature makes it the document.
    let mut shown = String::new();
    for (words, redirect) in &commands {
        if begins(words, &["network", "sign"]) {
            for name in names {
                let mut words = words.clone();
                let key = words.last_mut().expect("the key file");
                *key = format!("{name}/{key}");
                run(home.path(), &words, redirect.as_deref());
            }
        } else if begins(words, &["network", "line", "--config"]) {
            // In the directory of one who takes part, before there is a document.
            let alice = home.path().join("alice");
            std::fs::copy(home.path().join("genesis"), alice.join("genesis")).expect("the genesis was made before");
            let file = alice.join("relay.toml");
            let text = std::fs::read_to_string(&file).expect("relay.toml");
            std::fs::write(file, text.replace("#genesis = \"genesis\"", "genesis = \"genesis\"")).expect("write");
            assert!(run(&alice, words, redirect.as_deref()).starts_with("zmesh:net/1/"));
        } else if begins(words, &["network"]) {
            shown = run(home.path(), words, redirect.as_deref());
        }
    }
    assert!(shown.contains("complete, 3 of 3 signatures"), "{shown}");
    for name in names {
        assert!(shown.contains(name), "{shown}");
    }
}

fn begins(words: &[String], prefix: &[&str]) -> bool {
    words.len() >= prefix.len() && words.iter().zip(prefix).all(|(word, wanted)| word == wanted)
}

/// Runs a command that must succeed; returns what it printed.
fn run(directory: &Path, words: &[String], redirect: Option<&str>) -> String {
    let output = zmesh(directory, words);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "zmesh {}\n{problem}", words.join(" "));
    if let Some(file) = redirect {
        std::fs::write(directory.join(file), &output.stdout).expect("write");
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}
