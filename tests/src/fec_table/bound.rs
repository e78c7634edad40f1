//! What no code could beat.
//!
//! The datagrams that a sender sent are taken as they were: when each left, which were lost, when the others arrived. A datagram of one
//! symbol tells at most one symbol's worth about cells that existed when it left. So every cell that is known by its deadline uses up a datagram
//! that left after the cell came to the sender and arrived before the cell's deadline, and no datagram serves two cells: take the cells that some code
//! delivers in time; for any run of them, the datagrams that left before the first of the run tell nothing of it, so at least as many as there are
//! cells in the run must have left since and arrived by the deadline of the last. By Hall's theorem (both ends of the intervals rise with the cell)
//! there is then a matching of cells to datagrams. The largest matching, which serving the oldest cell first finds, hence bounds every
//! code, systematic or not, that sends as many datagrams of one symbol at these times.

use std::collections::VecDeque;

/// The least share of cells, without the first `skip`, that stays unknown `deadline` after the time at which it was due. `cells` are the times
/// at which they came to the sender, `due` when they would have arrived, `datagrams` when each left and arrived.
pub(super) fn residual(
    cells: &[u64],
    due: &[u64],
    datagrams: &[(u64, Option<u64>)],
    deadline: u64,
    skip: usize,
) -> f64 {
    let mut waiting = VecDeque::new();
    let mut next = 0;
    let mut served = 0;
    for (left, arrived) in datagrams {
        while next < cells.len() && cells[next] <= *left {
            waiting.push_back(next);
            next += 1;
        }
        let Some(arrived) = *arrived else { continue };
        while waiting.front().is_some_and(|cell| due[*cell] + deadline < arrived) {
            waiting.pop_front();
        }
        if let Some(cell) = waiting.pop_front() {
            served += usize::from(cell >= skip);
        }
    }
    let count = cells.len().saturating_sub(skip).max(1);
    1.0 - served as f64 / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_needs_a_datagram_of_its_own() {
        let (cells, due) = ([0, 20, 40], [5, 25, 45]);
        // The second cell is lost; a repair at 30 makes up for it.
        let sent = [(0, Some(5)), (20, None), (30, Some(35)), (40, Some(45))];
        assert_eq!(residual(&cells, &due, &sent, 10, 0), 0.0);
        assert!((residual(&cells, &due, &sent, 9, 0) - 1.0 / 3.0).abs() < 1e-9, "too late for its deadline");
        // A repair before the cell tells nothing about it.
        let early = [(0, Some(5)), (10, Some(15)), (20, None), (40, Some(45))];
        assert!((residual(&cells, &due, &early, 10, 0) - 1.0 / 3.0).abs() < 1e-9);
    }
}
