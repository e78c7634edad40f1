//! The shape of the source: dependencies point downward, files hold one idea, and pure crates stay pure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates and their layers; a crate may depend on lower layers only. Crates of one layer never know each other.
const LAYERS: &[(&str, u32)] = &[
    ("zmesh-sphinx", 0),
    ("zmesh-fec", 0),
    ("zmesh-netem", 0),
    ("zmesh-netns", 0),
    ("zmesh-proto", 1),
    ("zmesh-portmap", 1),
    ("zmesh-shim", 1),
    ("zmesh-costs", 1),
    ("zmesh-overlay", 2),
    ("zmesh-control", 2),
    ("zmesh-exits", 3),
    ("zmesh-voice", 4),
    ("zmesh-proxy", 4),
    ("zmesh", 5),
    ("zmesh-tests", 6),
    ("zmesh-lab", 6),
];

/// Crates without I/O, clock and dice.
const PURE: &[&str] = &["sphinx", "fec", "overlay/proto", "tests/netem"];

/// What a pure crate must not name outside its tests.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "thread_rng",
    "OsRng",
    "SysRng",
    "getrandom",
    "tokio",
    "std::net::UdpSocket",
    "std::fs",
    "std::thread",
];

const MOST_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

#[test]
fn dependencies_point_downward() {
    let layers: BTreeMap<&str, u32> = LAYERS.iter().copied().collect();
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let Some(&layer) = layers.get(name) else {
            wrong.push(format!("{name} has no layer: give it one in this test"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            let kind = dependency["kind"].as_str().unwrap_or("normal");
            match layers.get(on) {
                // A crate's own tests may use it with other features.
                _ if on == name && kind == "dev" => {}
                Some(&below) if below >= layer => {
                    wrong.push(format!("{name} (layer {layer}) depends on {on} (layer {below})"));
                }
                None if on.starts_with("zmesh") => wrong.push(format!("{on} has no layer")),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_crates_have_no_runtime() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        if !["zmesh-sphinx", "zmesh-fec", "zmesh-netem", "zmesh-proto"].contains(&name) {
            continue;
        }
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            let normal = dependency["kind"].is_null();
            if normal && ["tokio", "getrandom", "rand", "quinn", "quinn-udp", "socket2"].contains(&on) {
                wrong.push(format!("{name} depends on {on}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_hold_one_idea() {
    let mut wrong = Vec::new();
    each_source(&root(), &mut |path, text| {
        let lines = text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{} has {lines} lines, more than {MOST_LINES}", path.display()));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_crates_name_no_clock_no_dice_no_sockets() {
    let mut wrong = Vec::new();
    for name in PURE {
        each_source(&root().join(name).join("src"), &mut |path, text| {
            if is_test(path) {
                return;
            }
            for (number, line) in text.lines().enumerate() {
                if line.trim_start().starts_with("#[cfg(test)]")
                    && text.lines().nth(number + 1).is_some_and(|next| next.contains("mod tests {"))
                {
                    // What follows is the file's own test module.
                    break;
                }
                let code = line.split("//").next().unwrap_or_default();
                for word in IMPURE.iter().filter(|word| code.contains(*word)) {
                    wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs")
    })
}

/// Shows every Rust file below `directory` that the project itself wrote.
fn each_source(directory: &Path, show: &mut dyn FnMut(&Path, &str)) {
    let entries = fs::read_dir(directory).expect("a directory of the workspace");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                each_source(&path, show);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("a readable source file");
            show(&path, &text);
        }
    }
}

/// Every file that git would keep below the root, with this ending.
fn files_ending(ending: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let list = String::from_utf8(output.stdout).expect("names are UTF-8");
    list.lines()
        .filter(|name| name.ends_with(ending))
        .map(|name| root().join(name))
        .filter(|path| path.is_file())
        .collect()
}

#[test]
fn references_in_documents_and_comments_lead_somewhere() {
    let decisions: Vec<String> = fs::read_dir(root().join("specs/decisions"))
        .expect("decisions")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let (mut seen, mut broken) = (0, Vec::new());
    for path in [files_ending(".md"), files_ending(".rs")].concat() {
        let text = fs::read_to_string(&path).expect("readable");
        let is_document = path.extension().is_some_and(|ending| ending == "md");
        // [words](target), without addresses and places inside a page.
        for target in text.split("](").skip(1).filter(|_| is_document).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            seen += 1;
            if !path.parent().expect("a folder").join(file).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
        for rest in text.split("decision ").skip(1) {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if number.len() == 4 {
                seen += 1;
                if !decisions.iter().any(|name| name.starts_with(&number)) {
                    broken.push(format!("{}: decision {number}", path.display()));
                }
            }
        }
    }
    assert!(seen > 30, "only {seen} references found");
    assert!(broken.is_empty(), "broken references:\n{}", broken.join("\n"));
}

/// Where a path that stands in back-ticks begins if it is one of this repository.
const ROOMS: &[&str] = &["apps/", "overlay/", "exits/", "sphinx/", "fec/", "tests/", "fuzz/", "specs/", ".ci/"];

/// `a/{b,c}` as `a/b` and `a/c`.
fn each_of(path: &str) -> Vec<String> {
    let Some((before, (choices, after))) =
        path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return vec![path.to_owned()];
    };
    choices.split(',').flat_map(|choice| each_of(&format!("{before}{choice}{after}"))).collect()
}

/// Whether there is such a file, folder or module; a star at the end stands for anything.
fn is_there(path: &str) -> bool {
    let Some(start) = path.strip_suffix('*') else {
        return root().join(path).exists() || root().join(format!("{path}.rs")).exists();
    };
    let (folder, name) = start.rsplit_once('/').unwrap_or(("", start));
    fs::read_dir(root().join(folder))
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(name)))
}

#[test]
fn paths_in_documents_lead_somewhere() {
    let (mut seen, mut broken) = (0, Vec::new());
    for document in files_ending(".md") {
        let text = fs::read_to_string(&document).expect("readable");
        // Every second part stands between back-ticks; blocks of code have none of their own, and three of them leave the count even.
        for part in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
            if part.contains(' ') || !ROOMS.iter().any(|room| part.starts_with(room)) {
                continue;
            }
            for path in each_of(part) {
                seen += 1;
                // What follows a colon is a line or a name inside.
                if !is_there(path.split(':').next().unwrap_or_default()) {
                    broken.push(format!("{}: {part}", document.display()));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} paths found");
    assert!(broken.is_empty(), "broken paths:\n{}", broken.join("\n"));
    assert!(!is_there("specs/nothing") && !is_there("specs/nothing*") && is_there("specs/1*"));
    assert_eq!(each_of("a/{b,c}/{d,e}"), ["a/b/d", "a/b/e", "a/c/d", "a/c/e"]);
}
