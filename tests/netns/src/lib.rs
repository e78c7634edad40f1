//! Network namespaces that tests make, what connects them, and routers that translate addresses and forward ports.
//!
//! Everything needs root and the programs `ip` and `nft`; [`able`] says whether they are there.
#![allow(clippy::print_stderr, reason = "tests say what they clean up")]

#[cfg(target_os = "linux")]
mod inside;
mod router;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(target_os = "linux")]
pub use inside::Inside;
pub use router::{Forwarder, SILENT, Speaks, translator};

/// A translator that lets answers in and nothing else.
pub const CLOSED: &str = "ct state established accept ; iifname wan drop ;";

/// Whether this machine can run the lab; else what is missing.
///
/// # Errors
/// What went wrong, in words.
pub fn able() -> Result<(), String> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.starts_with(b"0\n"));
    if !root {
        return Err("it needs root, to make network namespaces".into());
    }
    for program in ["ip", "nft"] {
        if Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return Err(format!("{program} is not installed (.ci/packages lab installs it)"));
        }
    }
    // Tests of one process may ask at once.
    static TRIES: AtomicU32 = AtomicU32::new(0);
    let name = format!("{PREFIX}{}-try{}", std::process::id(), TRIES.fetch_add(1, Ordering::Relaxed));
    let made = run("ip", &["netns", "add", &name]);
    let works = made.clone().and_then(|()| {
        let rules = "table ip t {\n chain c { type nat hook postrouting priority 100 ; masquerade fully-random ; }\n}";
        run("ip", &["netns", "exec", &name, "nft", rules])
    });
    let _ = run("ip", &["netns", "del", &name]);
    works.map_err(|why| format!("this system lets no namespace or nft rule be made ({why})"))
}

/// Runs a command.
///
/// # Errors
/// What went wrong, in words.
pub fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let out = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if out.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&out.stderr);
    Err(format!("{program} {}: {}", args.join(" "), words.trim()))
}

/// What the names of all of the lab's namespaces and directories begin with; the number of its process follows.
pub const PREFIX: &str = "zmesh-lab-";

/// The lab's process that a name was made by, if it is one of the lab's.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Whether a process of this number runs that is a lab: numbers are used again, and one that was killed keeps its number
/// until somebody has asked how it ended, but has no program any more.
fn is_lab(process: u32) -> bool {
    // Its tests have the other name.
    let named = |name: &str| name.starts_with("zmesh-lab") || name.starts_with("zmesh_lab");
    let program = std::fs::read_link(format!("/proc/{process}/exe"));
    program.is_ok_and(|program| program.file_name().is_some_and(|name| named(&name.to_string_lossy())))
}

/// Removes what labs left behind that were killed: their namespaces with the processes inside, and their directories.
/// Nothing of a lab that still runs, and nothing of others.
pub fn clean() {
    let left = |name: &str| maker(name).is_some_and(|process| process != std::process::id() && !is_lab(process));
    let named = Command::new("ip").args(["netns", "list"]).output().map(|out| out.stdout).unwrap_or_default();
    let named = String::from_utf8_lossy(&named).into_owned();
    let mut removed = 0;
    for name in named.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| left(name)) {
        removed += 1;
        remove(name);
    }
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if left(&entry.file_name().to_string_lossy()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    if removed > 0 {
        eprintln!("removed {removed} namespaces of a lab that was killed");
    }
}

/// Ends what runs in a namespace and removes it.
fn remove(name: &str) {
    let inside = Command::new("ip").args(["netns", "pids", name]).output().map(|out| out.stdout).unwrap_or_default();
    for process in String::from_utf8_lossy(&inside).split_whitespace() {
        // By its number, and only since it runs in a namespace that the lab made. It may have ended by itself.
        let _ = run("kill", &["-KILL", process]);
    }
    if let Err(why) = run("ip", &["netns", "del", name]) {
        eprintln!("lab: {why}");
    }
}

/// Network namespaces that are removed with this, and what still runs in them.
#[derive(Debug)]
pub struct Namespaces {
    prefix: String,
    made: Vec<String>,
}

impl Namespaces {
    /// None yet; their names begin with `prefix` and the number of this process.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: format!("{prefix}{}-", std::process::id()), made: Vec::new() }
    }

    /// Makes a namespace with loopback up; gives its full name.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn make(&mut self, name: &str) -> Result<String, String> {
        let full = format!("{}{name}", self.prefix);
        run("ip", &["netns", "add", &full])?;
        self.made.push(full.clone());
        run("ip", &["-n", &full, "link", "set", "lo", "up"])?;
        Ok(full)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.made.drain(..).for_each(|name| remove(&name));
    }
}

/// Connects two namespaces by a pair of interfaces that are up.
///
/// # Errors
/// What went wrong, in words.
pub fn wire(a: &str, at_a: &str, b: &str, at_b: &str) -> Result<(), String> {
    run("ip", &["link", "add", at_a, "netns", a, "type", "veth", "peer", "name", at_b, "netns", b])?;
    run("ip", &["-n", a, "link", "set", at_a, "up"])?;
    run("ip", &["-n", b, "link", "set", at_b, "up"])
}

/// Gives an interface an address.
///
/// # Errors
/// What went wrong, in words.
pub fn address(namespace: &str, interface: &str, address: &str) -> Result<(), String> {
    let mut args = vec!["-n", namespace, "address", "add", address, "dev", interface];
    if address.contains(':') {
        args.push("nodad");
    }
    run("ip", &args)
}

/// Gives a namespace a default route.
///
/// # Errors
/// What went wrong, in words.
pub fn gateway(namespace: &str, via: &str) -> Result<(), String> {
    run("ip", &["-n", namespace, "route", "add", "default", "via", via])
}

/// Loads rules into a namespace.
///
/// # Errors
/// What went wrong, in words.
pub fn rules(namespace: &str, rules: &str) -> Result<(), String> {
    run("ip", &["netns", "exec", namespace, "nft", rules])
}

/// Lets a namespace forward.
///
/// # Errors
/// What went wrong, in words.
pub fn forward(namespace: &str) -> Result<(), String> {
    run("ip", &["netns", "exec", namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
}

/// Has a router lose one in a hundred of the packets that it passes on, both ways.
///
/// # Errors
/// What went wrong, in words.
pub fn lose_one_in_a_hundred(namespace: &str) -> Result<(), String> {
    let chain =
        "chain lossy { type filter hook forward priority -10 ; policy accept ; numgen random mod 100 == 0 drop ; }";
    rules(namespace, &format!("table ip lossy {{\n {chain}\n}}"))
}

/// TCP connections to port 443 that a namespace has open.
#[must_use]
pub fn connections_to_443(namespace: &str) -> usize {
    let args = ["netns", "exec", namespace, "ss", "-Htn", "state", "established", "dport", "=", ":443"];
    let out = Command::new("ip").args(args).output().map(|out| out.stdout).unwrap_or_default();
    String::from_utf8_lossy(&out).lines().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_lab_are_its_own() {
        assert_eq!(maker("zmesh-lab-4711-open-a-router"), Some(4711));
        for other in ["net1", "zmesh-lab-", "zmesh-lab-x-open", "zmesh-lab-4711", "my-zmesh-lab-1-a"] {
            assert_eq!(maker(other), None, "{other}");
        }
        assert!(!is_lab(1), "the first process of a system is no lab");
    }

    #[test]
    fn what_a_killed_lab_left_is_removed() {
        // The highest number that a process can have is below this one.
        let left = std::env::temp_dir().join(format!("{PREFIX}4194305-{}", std::process::id()));
        std::fs::create_dir_all(left.join("inside")).expect("a directory");
        clean();
        assert!(!left.exists());
        if let Err(why) = able() {
            return eprintln!("namespaces are not tried: {why}");
        }
        let namespace = format!("{PREFIX}4194305-t{}", std::process::id());
        run("ip", &["netns", "add", &namespace]).expect("it can be made");
        clean();
        assert!(run("ip", &["netns", "exec", &namespace, "true"]).is_err(), "it is gone");
    }
}
