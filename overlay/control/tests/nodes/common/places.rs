//! Places of a small internet of network namespaces: public machines, and homes behind routers that translate addresses. Nodes run in
//! this process, by threads that are in a place's namespace.

#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::net::{Ipv4Addr, SocketAddr};

use tokio::runtime::{Builder as RuntimeBuilder, Runtime};
use zmesh_control::{Builder, Contact, Control};
use zmesh_netns::{Inside, Namespaces, address, forward, gateway, rules, run, translator, wire};

use super::{NETWORK, Node, key};

pub const PORT: u16 = 9_002;

/// The public address of a place, no two of one network.
pub fn outside(n: u8) -> SocketAddr {
    (Ipv4Addr::new(5, n, 0, 1), PORT).into()
}

pub struct Places {
    core: String,
    runtimes: Vec<Runtime>,
    namespaces: Namespaces,
}

/// A home: its namespaces, and the address of the machine in it.
pub struct Home {
    pub router: String,
    pub host: String,
    pub inside: String,
}

impl Places {
    /// None yet. Each test has its own name. Says why when there cannot be any.
    pub fn new(test: &str) -> Option<Self> {
        if let Err(why) = zmesh_netns::able() {
            println!("SKIPPED: {why}");
            return None;
        }
        let mut namespaces = Namespaces::new(&format!("zmesh-test-{test}-"));
        let core = namespaces.make("net").unwrap();
        run("ip", &["-n", &core, "link", "add", "name", "br0", "type", "bridge"]).unwrap();
        run("ip", &["-n", &core, "link", "set", "br0", "up"]).unwrap();
        Some(Self { core, runtimes: Vec::new(), namespaces })
    }

    fn plug(&self, namespace: &str, n: u8) {
        let at_core = format!("p{n}");
        wire(&self.core, &at_core, namespace, "wan").unwrap();
        run("ip", &["-n", &self.core, "link", "set", &at_core, "master", "br0"]).unwrap();
        address(namespace, "wan", &format!("{}/8", outside(n).ip())).unwrap();
    }

    /// A machine at [`outside`] of this number.
    pub fn public(&mut self, n: u8) -> String {
        let namespace = self.namespaces.make(&format!("public{n}")).unwrap();
        self.plug(&namespace, n);
        namespace
    }

    /// A machine behind a router there, which lets in answers alone and writes its addresses so.
    pub fn home(&mut self, n: u8, masquerade: &str) -> Home {
        let router = self.namespaces.make(&format!("router{n}")).unwrap();
        let host = self.namespaces.make(&format!("home{n}")).unwrap();
        wire(&router, "lan", &host, "eth").unwrap();
        address(&router, "lan", &format!("192.168.{n}.1/24")).unwrap();
        let inside = format!("192.168.{n}.2");
        address(&host, "eth", &format!("{inside}/24")).unwrap();
        gateway(&host, &format!("192.168.{n}.1")).unwrap();
        forward(&router).unwrap();
        self.plug(&router, n);
        rules(&router, &translator(masquerade, "", zmesh_netns::CLOSED)).unwrap();
        Home { router, host, inside }
    }

    /// Starts a node in a namespace.
    pub async fn start(&mut self, namespace: &str, builder: Builder) -> Node {
        let inside = Inside::of(namespace).unwrap();
        let runtime = RuntimeBuilder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(move || inside.enter())
            .enable_all()
            .build()
            .unwrap();
        let node = runtime.spawn(Node::start(builder, true)).await.unwrap();
        self.runtimes.push(runtime);
        node
    }

    /// A node that everybody reaches, as its operator says.
    pub async fn start_public(&mut self, n: u8, relays: bool, contact: Option<Contact>) -> Node {
        let namespace = self.public(n);
        let builder = behind(n).advertise(outside(n)).relays(relays);
        let builder = contact.into_iter().fold(builder, Builder::bootstrap);
        let mut node = self.start(&namespace, builder).await;
        node.address = outside(n);
        node
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.runtimes.drain(..).for_each(Runtime::shutdown_background);
    }
}

/// Settings of a node that does not know how it is reached.
pub fn behind(n: u8) -> Builder {
    Control::builder(NETWORK).identity(&key(n)).listen((Ipv4Addr::UNSPECIFIED, PORT).into())
}
