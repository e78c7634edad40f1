//! What a call costs: processor time and memory of the process at each end.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process;

/// A moment in the life of some processes.
#[derive(Debug)]
pub(super) struct Mark {
    at: Instant,
    used: Vec<(u32, Option<Duration>)>,
}

impl Mark {
    /// The processes as they are now.
    pub(super) fn now(processes: &[Option<u32>]) -> Mark {
        let used = processes.iter().map(|id| id.map_or((0, None), |id| (id, process::cpu_time(id)))).collect();
        Mark { at: Instant::now(), used }
    }

    /// What each of them used since.
    pub(super) fn since(&self) -> Vec<Cost> {
        let took = self.at.elapsed().as_secs_f64();
        let cost = |(id, before): &(u32, Option<Duration>)| {
            let used = process::cpu_time(*id).zip(*before).map(|(now, before)| now.saturating_sub(before));
            Cost {
                core: used.map(|used| used.as_secs_f64() / took.max(0.01)),
                memory: process::memory(*id),
                over_seconds: took,
            }
        };
        self.used.iter().map(cost).collect()
    }
}

/// What a process used for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Share of one core.
    core: Option<f64>,
    /// Resident set at the end, bytes.
    memory: Option<u64>,
    over_seconds: f64,
}

impl Cost {
    pub(crate) fn json(&self) -> Value {
        json!({ "core_share": self.core, "memory_bytes": self.memory, "over_seconds": self.over_seconds })
    }

    pub(crate) fn core(&self) -> String {
        self.core.map_or("-".to_owned(), |core| format!("{:.1} %", core * 100.0))
    }

    pub(crate) fn memory(&self) -> String {
        self.memory.map_or("-".to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6))
    }
}
