//! Real processes: `zmesh testnet` and `zmesh proxy` as a person starts them, and the programs that people use with them.
#![allow(clippy::print_stdout, reason = "figures that a reader of the test's output wants to see")]

mod capture;
mod failures;
mod floods;
mod healing;
mod programs;
mod queues;
mod traces;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use zmesh_tests::load::client;
use zmesh_tests::load::server::Server;
use zmesh_tests::load::socks::Socks;
use zmesh_tests::peers::zmesh::{ZmeshNetwork, ZmeshProxy, program};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How long a process may take to be ready. Not a promise of the program: only so that a hang ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stage, on which one network plays at a time: what these tests say of loss and silence is of that network's own load.
fn stage() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test network of eight relays, two of them exits.
struct Scene {
    // The proxy goes before the network, and both before the next scene.
    proxy: ZmeshProxy,
    network: ZmeshNetwork,
    http: Server,
    _stage: MutexGuard<'static, ()>,
}

impl Scene {
    fn new() -> Scene {
        let stage = stage();
        let mut network = ZmeshNetwork::start(built(), 8, 2, PATIENCE).expect("the test network starts");
        let proxy = network.proxy(&[], PATIENCE).expect("the proxy starts");
        let http = Server::http(LOCALHOST).expect("a port of loopback");
        let scene = Scene { proxy, network, http, _stage: stage };
        client::warm_up(&scene.socks(), scene.http.address(), PATIENCE).expect("a first stream");
        scene
    }

    fn socks(&self) -> Socks {
        Socks::new(self.proxy.socks)
    }
}

/// The program, built from the present source in the profile of this test.
fn built() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if std::env::var_os("ZMESH_BIN").is_none() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "-p", "zmesh"]).current_dir(env!("CARGO_MANIFEST_DIR"));
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            assert!(build.status().expect("cargo runs").success(), "zmesh does not build");
        }
        program().expect("the program was just built")
    })
}
