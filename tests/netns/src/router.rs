//! Rules of nft for a router with the interfaces `wan` and `lan`, and the service by which it forwards ports at request.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::rules;

/// What comes for a router itself is dropped, as by one at home (of TCP, RFC 5382 REQ-4 wants that); else the system would
/// answer it, or remember it and take another port for what goes out.
pub const SILENT: &str =
    "chain in { type filter hook input priority 0 ; policy accept ; iifname wan meta l4proto { tcp, udp } drop ; }";

/// A router: how it writes outgoing addresses, what it redirects inward, and whom it lets in.
#[must_use]
pub fn translator(masquerade: &str, inward: &str, forward: &str) -> String {
    format!(
        "table ip nat {{
           set met {{ type ipv4_addr ; flags dynamic, timeout ; timeout 120s ; size 4096 ; }}
           chain pre {{ type nat hook prerouting priority -100 ; policy accept ; {inward} }}
           chain post {{ type nat hook postrouting priority 100 ; policy accept ; oifname wan {masquerade} ; }}
           {SILENT}
           chain on {{ type filter hook forward priority 0 ; policy accept ; {forward} }}
         }}"
    )
}

/// By what the service can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speaks {
    /// PCP and NAT-PMP.
    pub pcp: bool,
    /// UPnP.
    pub upnp: bool,
}

impl Default for Speaks {
    fn default() -> Self {
        Self { pcp: true, upnp: true }
    }
}

/// A router's service that forwards ports at request (miniupnpd). Dropping it ends it; what it forwards stays in the rules.
#[derive(Debug)]
pub struct Forwarder(Child);

impl Forwarder {
    /// Whether the service is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        let asked = Command::new("miniupnpd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok()
    }

    /// Starts it in a router's namespace, before a [`translator`] there, for the machines of the network of `inside`. Its files are in
    /// `dir`.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn start(router: &str, inside: &str, speaks: Speaks, dir: &Path) -> Result<Self, String> {
        let table = "table inet filter {
             chain miniupnpd { }
             chain prerouting_miniupnpd { }
             chain postrouting_miniupnpd { }
             chain pre { type nat hook prerouting priority -100 ; jump prerouting_miniupnpd ; }
             chain post { type nat hook postrouting priority 99 ; jump postrouting_miniupnpd ; }
           }";
        rules(router, table)?;
        // Behind the translator's own chain: what the service forwards is marked as redirected.
        rules(router, "insert rule ip nat on ct status dnat accept")?;
        let lan = inside.rsplit_once('.').map_or(inside, |(lan, _)| lan);
        let yes = |on: bool| if on { "yes" } else { "no" };
        let text = format!(
            "ext_ifname=wan\nlistening_ip=lan\nport=0\nenable_natpmp={}\nenable_upnp={}\nsecure_mode=yes\n\
             upnp_table_name=filter\nupnp_nat_table_name=filter\nupnp_forward_chain=miniupnpd\n\
             upnp_nat_chain=prerouting_miniupnpd\nupnp_nat_postrouting_chain=postrouting_miniupnpd\n\
             allow 1024-65535 {lan}.0/24 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
            yes(speaks.pcp),
            yes(speaks.upnp)
        );
        let file = dir.join(format!("{router}.conf"));
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let pid = dir.join(format!("{router}.pid"));
        let log = std::fs::File::create(dir.join(format!("{router}.log"))).map_err(|error| error.to_string())?;
        let daemon = Command::new("ip")
            .args(["netns", "exec", router, "miniupnpd", "-d", "-f"])
            .arg(&file)
            .arg("-P")
            .arg(&pid)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn();
        daemon.map(Self).map_err(|error| format!("miniupnpd: {error}"))
    }

    /// The ports that a router's service forwards now.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn forwarded(router: &str) -> Result<Vec<String>, String> {
        let args = ["netns", "exec", router, "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd"];
        let out = Command::new("ip").args(args).output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        Ok(text.lines().filter(|line| line.contains("dnat")).map(|line| line.trim().to_owned()).collect())
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
