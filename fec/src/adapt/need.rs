//! The least number of repairs that meets an aim, over a channel with memory.

/// Longer horizons are judged as if they held so many symbols, which errs on the side of more repairs.
pub(super) const MOST_SYMBOLS: usize = 24;

/// Most repairs for a horizon.
const MOST_REPAIRS: usize = 2 * MOST_SYMBOLS;

/// Repairs for each symbol, so that of `symbols` within a horizon at most the share `aim` stays lost; at most `most`.
///
/// The channel is Gilbert's: a share `loss` is lost, in runs of the mean length `burst`. Symbols and repairs pass it one after the other. With
/// as many repairs as losses at least, all is recovered; else what was lost stays so. A sliding window gives each symbol such a horizon.
pub(super) fn redundancy(symbols: f64, loss: f64, burst: f64, aim: f64, most: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float's cast saturates, and the bounds follow"
    )]
    let (symbols, most_repairs) = {
        let symbols = (symbols as usize).clamp(1, MOST_SYMBOLS);
        (symbols, ((most * symbols as f64) as usize).min(MOST_REPAIRS))
    };
    if loss <= 0.0 {
        return 0.0;
    }
    let mut channel = Channel::new(loss.min(0.99), burst);
    (0..symbols).for_each(|_| channel.pass());
    let mut repairs = 0;
    while repairs < most_repairs && channel.lost_beyond(repairs, symbols + repairs) > aim {
        channel.pass();
        repairs += 1;
    }
    repairs as f64 / symbols as f64
}

/// How probable each number of losses is, by whether the last datagram was lost.
struct Channel {
    arrived: [f64; MOST_SYMBOLS + MOST_REPAIRS + 1],
    lost: [f64; MOST_SYMBOLS + MOST_REPAIRS + 1],
    /// That a datagram is lost, after one that arrived and after one that was lost.
    begins: f64,
    goes_on: f64,
}

impl Channel {
    fn new(loss: f64, burst: f64) -> Channel {
        // Runs are at least as long as chance makes them.
        let goes_on = (1.0 - 1.0 / burst.max(1.0)).clamp(loss, 0.99);
        let begins = loss * (1.0 - goes_on) / (1.0 - loss);
        let mut channel = Channel {
            arrived: [0.0; MOST_SYMBOLS + MOST_REPAIRS + 1],
            lost: [0.0; MOST_SYMBOLS + MOST_REPAIRS + 1],
            begins,
            goes_on,
        };
        channel.arrived[0] = 1.0 - loss;
        channel.lost[0] = loss;
        channel
    }

    /// One more datagram passes.
    fn pass(&mut self) {
        let (mut arrived_before, mut lost_before) = (0.0, 0.0);
        for (arrived, lost) in self.arrived.iter_mut().zip(&mut self.lost) {
            let now_lost = arrived_before * self.begins + lost_before * self.goes_on;
            (arrived_before, lost_before) = (*arrived, *lost);
            *arrived = arrived_before * (1.0 - self.begins) + lost_before * (1.0 - self.goes_on);
            *lost = now_lost;
        }
    }

    /// The share of symbols that stays lost when `repairs` of `datagrams` were repairs.
    fn lost_beyond(&self, repairs: usize, datagrams: usize) -> f64 {
        let counts = self.arrived.iter().zip(&self.lost).enumerate().skip(repairs + 1);
        counts.map(|(count, (arrived, lost))| (arrived + lost) * count as f64).sum::<f64>() / datagrams as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_symbol_and_one_repair_by_hand() {
        // Without repairs the share of loss stays. With one repair for one symbol: both lost, 5 % · 1/3, each with weight 2 of 2.
        let mut channel = Channel::new(0.05, 1.5);
        channel.pass();
        assert!((channel.lost_beyond(0, 1) - 0.05).abs() < 1e-12);
        channel.pass();
        assert!((channel.lost_beyond(1, 2) - 0.05 / 3.0).abs() < 1e-12);
        assert_eq!(redundancy(1.0, 0.05, 1.5, 0.017, 2.0), 1.0);
        assert_eq!(redundancy(1.0, 0.05, 1.5, 0.016, 2.0), 2.0);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let mut channel = Channel::new(0.1, 2.0);
        (0..MOST_SYMBOLS + MOST_REPAIRS).for_each(|_| channel.pass());
        let sum: f64 = channel.arrived.iter().chain(&channel.lost).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn more_loss_needs_more_and_more_symbols_share_it() {
        let need = |symbols, loss, burst| redundancy(symbols, loss, burst, 0.001, 2.0);
        assert_eq!(need(3.0, 0.0, 1.0), 0.0);
        assert_eq!(need(3.0, 0.0009, 1.0), 0.0, "less than the aim needs nothing");
        assert!(need(3.0, 0.01, 1.2) < need(3.0, 0.05, 1.5));
        assert!(need(3.0, 0.05, 1.5) <= need(3.0, 0.1, 2.0));
        assert!(need(24.0, 0.05, 1.5) < need(3.0, 0.05, 1.5));
        assert!(need(24.0, 0.15, 2.5) < 1.2);
    }
}
