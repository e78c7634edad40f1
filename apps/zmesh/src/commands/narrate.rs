//! Words while circuits are built: a path that fails costs seconds, and nobody should wonder.

use std::future::Future;

use zmesh_overlay::{Node, NodeEvent};

use crate::term;

/// Does `work` and says meanwhile which paths failed.
pub(super) async fn narrate<T>(node: &Node, work: impl Future<Output = T>) -> T {
    let mut events = node.events();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Ok(event) = events.recv() => {
                if let NodeEvent::CircuitFailed { reason } = event {
                    term::progress(format_args!("a path failed ({reason}); trying another"));
                }
            }
        }
    }
}
