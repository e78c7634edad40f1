//! Ports of the router in front of this machine, for the control plane's own.

use std::net::SocketAddr;

use tokio::sync::mpsc;
use zmesh_portmap::{Forwarding, Transport};

/// A port of the router leads here, if the router speaks the truth; or none does any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    pub(crate) outside: Option<SocketAddr>,
    pub(crate) quic: bool,
}

/// The ports that are kept. Dropping them gives them back, while the runtime lives.
#[derive(Default)]
pub(crate) struct Mappings {
    kept: Vec<Forwarding>,
    told: Option<mpsc::Receiver<Mapped>>,
}

impl Mappings {
    /// Keeps ports for what listens at these addresses, by QUIC and TCP. A port that the system chooses is another after each start: not
    /// worth a mapping.
    pub(crate) fn start(listen: &[SocketAddr]) -> Self {
        let (tell, told) = mpsc::channel(8);
        let mut kept = Vec::new();
        for address in listen {
            for (transport, quic) in [(Transport::Udp, true), (Transport::Tcp, false)] {
                let Some(forwarding) = Forwarding::keep(*address, transport) else { continue };
                let (mut outside, tell) = (forwarding.outside(), tell.clone());
                tokio::spawn(async move {
                    while let Some(outside) = outside.next().await {
                        if tell.send(Mapped { outside, quic }).await.is_err() {
                            return;
                        }
                    }
                });
                kept.push(forwarding);
            }
        }
        Self { kept, told: Some(told) }
    }

    /// The next change.
    pub(crate) async fn next(&mut self) -> Mapped {
        let told = match &mut self.told {
            Some(told) => told.recv().await,
            None => None,
        };
        match told {
            Some(mapped) => mapped,
            // Nothing is kept, so nothing changes.
            None => std::future::pending().await,
        }
    }

    /// Gives all of them back.
    pub(crate) async fn give_back(&mut self) {
        futures::future::join_all(self.kept.drain(..).map(Forwarding::give_back)).await;
    }
}
