//! What a relay says of whether others can reach it.

use serde_json::json;
use tokio::sync::watch;
use zmesh_overlay::{NatReport, Reachability};

use crate::term;

/// Follows what the relay knows of how it is seen, and says it once whenever it changes.
#[derive(Debug)]
pub(crate) struct Reach {
    report: watch::Receiver<NatReport>,
    said: Option<Reachability>,
    json: bool,
}

impl Reach {
    pub(crate) fn new(report: watch::Receiver<NatReport>, json: bool) -> Reach {
        Reach { report, said: None, json }
    }

    /// Waits until there is something new to say, and says it.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn follow(&mut self) {
        loop {
            if self.report.changed().await.is_err() {
                // The relay has ended; whoever waits for that hears it elsewhere.
                return std::future::pending().await;
            }
            let report = self.report.borrow_and_update().clone();
            let state = report.reachability;
            if state == Reachability::Asking || self.said == Some(state) {
                continue;
            }
            self.said = Some(state);
            if self.json {
                term::json(&json!({ "reachability": state, "nat": report }));
            } else {
                term::line(words(state, report.introducers));
            }
            return;
        }
    }
}

fn words(state: Reachability, introducers: usize) -> String {
    match state {
        Reachability::Open { address, confirmed_by } => {
            format!("reachable at {address}, confirmed by {confirmed_by} others")
        }
        Reachability::Closed { address, port } => format!(
            "not reachable at {address} from outside; others reach this relay through {introducers} relays. \
             To be reachable without them, forward UDP port {port} of your router to this machine, and let it through a firewall"
        ),
        _ => "whether others can reach this relay is not known: too few relays could try".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_relay_says_where_and_a_closed_one_names_the_port() {
        let address = "198.51.100.7:9001".parse().expect("an address");
        let open = words(Reachability::Open { address, confirmed_by: 2 }, 3);
        assert_eq!(open, "reachable at 198.51.100.7:9001, confirmed by 2 others");
        let closed = words(Reachability::Closed { address, port: 9002 }, 3);
        assert!(closed.contains("forward UDP port 9002"), "{closed}");
    }
}
