//! How the circuit in use and the one that stands by do, so that a circuit that merely got worse is left, too.
//!
//! Once a second, while data moves, every hop of the circuit in use and the far end of the standby are probed, and QUIC's own
//! counters say what became of the data. The circuit in use is left when its judge finds it degraded **and** the
//! standby's finds nothing wrong: what both suffer from is the access link, and no move helps.

use std::sync::Arc;
use std::time::Duration;

use quinn::Connection;
use tokio::sync::mpsc;
use tokio::time::timeout;
use zmesh_proto::origin::judge::{Judge, Verdict};

use super::{Carrier, ping};
use crate::clock;
use crate::shard::Shard;

/// How long a hop may take to answer.
const ANSWER: Duration = Duration::from_millis(1500);
/// Answers that may wait to be looked at.
const ANSWERS: usize = 32;
/// Looks after which a standby is known well enough.
const KNOWN_AFTER: u32 = 5;

struct Answer {
    standby: bool,
    hop: usize,
    rtt: Option<Duration>,
}

/// The judges of a session's two circuits.
pub(super) struct Watch {
    active: Judge,
    standby: Judge,
    looks: u32,
    sent: u64,
    lost: u64,
    results: mpsc::Receiver<Answer>,
    report: mpsc::Sender<Answer>,
}

impl Watch {
    /// For circuits of so many hops that are up from now on.
    pub(super) fn new(hops: usize) -> Self {
        let now = clock::now();
        let (report, results) = mpsc::channel(ANSWERS);
        let (active, standby) = (Judge::new(hops, now), Judge::new(hops, now));
        Self { active, standby, looks: 0, sent: 0, lost: 0, results, report }
    }

    /// Looks once, if data moved since the last look. True if the standby should take over.
    pub(super) fn look(
        &mut self,
        shard: &Arc<Shard>,
        connection: &Connection,
        active: &Arc<Carrier>,
        standby: &Arc<Carrier>,
    ) -> bool {
        let now = clock::now();
        while let Ok(Answer { standby, hop, rtt }) = self.results.try_recv() {
            let judge = if standby { &mut self.standby } else { &mut self.active };
            match rtt {
                Some(rtt) => judge.answered(now, hop, rtt),
                None => judge.unanswered(now, hop),
            }
        }
        let path = connection.stats().path;
        let (sent, lost) = (path.sent_packets.saturating_sub(self.sent), path.lost_packets.saturating_sub(self.lost));
        (self.sent, self.lost) = (path.sent_packets, path.lost_packets);
        if sent == 0 {
            return false;
        }
        self.active.acknowledged(now, sent, lost, None);
        for hop in 0..active.path.len() {
            self.probe(shard, active, hop, false);
        }
        self.probe(shard, standby, standby.path.len().saturating_sub(1), true);
        self.looks = self.looks.saturating_add(1);
        self.looks >= KNOWN_AFTER
            && self.standby.verdict() == Verdict::Fine
            && matches!(self.active.verdict(), Verdict::Degraded(..) | Verdict::Dead(_))
    }

    fn probe(&self, shard: &Arc<Shard>, carrier: &Arc<Carrier>, hop: usize, standby: bool) {
        let (shard, carrier, report) = (Arc::clone(shard), Arc::clone(carrier), self.report.clone());
        tokio::spawn(async move {
            let rtt = timeout(ANSWER, ping(&shard, &carrier, hop)).await.ok().and_then(Result::ok);
            // A watch that is gone needs no answers, and one that is behind has enough.
            let _ = report.try_send(Answer { standby, hop, rtt });
        });
    }
}
