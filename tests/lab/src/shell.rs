//! Commands of the system, and the network namespaces that they make.

use std::process::{Command, Stdio};

/// Whether this machine can run the lab; else what is missing.
pub(crate) fn able() -> Result<(), String> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.starts_with(b"0\n"));
    if !root {
        return Err("it needs root, to make network namespaces".into());
    }
    for program in ["ip", "nft"] {
        if Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return Err(format!("{program} is not installed (.ci/packages lab installs it)"));
        }
    }
    let name = format!("zl{}-try", std::process::id());
    let made = run("ip", &["netns", "add", &name]);
    let works = made.clone().and_then(|()| {
        let rules = "table ip t {\n chain c { type nat hook postrouting priority 100 ; masquerade fully-random ; }\n}";
        run("ip", &["netns", "exec", &name, "nft", rules])
    });
    let _ = run("ip", &["netns", "del", &name]);
    works.map_err(|why| format!("this system lets no namespace or nft rule be made ({why})"))
}

/// Runs a command.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let out = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if out.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&out.stderr);
    Err(format!("{program} {}: {}", args.join(" "), words.trim()))
}

/// Network namespaces that are removed with this.
#[derive(Debug)]
pub(crate) struct Namespaces {
    prefix: String,
    made: Vec<String>,
}

impl Namespaces {
    pub(crate) fn new() -> Self {
        Self { prefix: format!("zl{}-", std::process::id()), made: Vec::new() }
    }

    /// Makes a namespace with loopback up; gives its full name.
    pub(crate) fn make(&mut self, name: &str) -> Result<String, String> {
        let full = format!("{}{name}", self.prefix);
        run("ip", &["netns", "add", &full])?;
        self.made.push(full.clone());
        run("ip", &["-n", &full, "link", "set", "lo", "up"])?;
        Ok(full)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.made.drain(..) {
            if let Err(why) = run("ip", &["netns", "del", &name]) {
                eprintln!("lab: {why}");
            }
        }
    }
}

/// Connects two namespaces by a pair of interfaces that are up.
pub(crate) fn wire(a: &str, at_a: &str, b: &str, at_b: &str) -> Result<(), String> {
    run("ip", &["link", "add", at_a, "netns", a, "type", "veth", "peer", "name", at_b, "netns", b])?;
    run("ip", &["-n", a, "link", "set", at_a, "up"])?;
    run("ip", &["-n", b, "link", "set", at_b, "up"])
}

/// Gives an interface an address.
pub(crate) fn address(namespace: &str, interface: &str, address: &str) -> Result<(), String> {
    let mut args = vec!["-n", namespace, "address", "add", address, "dev", interface];
    if address.contains(':') {
        args.push("nodad");
    }
    run("ip", &args)
}

/// Gives a namespace a default route.
pub(crate) fn gateway(namespace: &str, via: &str) -> Result<(), String> {
    run("ip", &["-n", namespace, "route", "add", "default", "via", via])
}

/// Loads rules into a namespace.
pub(crate) fn rules(namespace: &str, rules: &str) -> Result<(), String> {
    run("ip", &["netns", "exec", namespace, "nft", rules])
}

/// Lets a namespace forward.
pub(crate) fn forward(namespace: &str) -> Result<(), String> {
    run("ip", &["netns", "exec", namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
}
