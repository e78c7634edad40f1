//! The E-model: one number for what delay and loss do to a conversation.
//!
//! ITU-T G.107 (06/2015) on the narrowband scale, with every input that a network does not change at its default: R = 93.2 − Idd − Ie,eff
//! (clause 7.1, with Ro − Is = 93.2 and no echo). Opus has no values of its own in ITU-T G.113, so Ie = 0 and Bpl = 25.1 are taken,
//! which Appendix I of G.113 gives for G.711 with loss concealment. The figure compares settings; it is no measured opinion (decision 0150).

/// R of a connection that nothing impairs: G.107, clause 7.7, defaults.
pub const UNIMPAIRED: f64 = 93.2;
/// Ie: what the codec takes without loss.
const IMPAIRMENT_OF_CODEC: f64 = 0.0;
/// Bpl: how well the codec bears loss, in per cent.
const ROBUSTNESS: f64 = 25.1;
/// Delay under which nobody minds, ms: mT of G.107 for the default class of use.
const UNNOTICED: f64 = 100.0;

/// R for a mouth-to-ear delay in milliseconds and a share of sound made up (0 to 1), lost without regard to what was lost before.
#[must_use]
pub fn rating(mouth_to_ear_ms: f64, concealed: f64) -> f64 {
    (UNIMPAIRED - delay_impairment(mouth_to_ear_ms) - loss_impairment(concealed)).max(0.0)
}

/// Idd: G.107, clause 7.4, for the default delay sensitivity (sT = 1).
fn delay_impairment(millis: f64) -> f64 {
    if millis <= UNNOTICED {
        return 0.0;
    }
    let x = (millis / UNNOTICED).log2();
    let root = |value: f64| (1.0 + value.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

/// Ie,eff: G.107, clause 7.5, with BurstR = 1.
fn loss_impairment(concealed: f64) -> f64 {
    let percent = concealed.clamp(0.0, 1.0) * 100.0;
    IMPAIRMENT_OF_CODEC + (95.0 - IMPAIRMENT_OF_CODEC) * percent / (percent + ROBUSTNESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points_of_the_recommendation() {
        assert!((rating(0.0, 0.0) - 93.2).abs() < 1e-9);
        assert!((rating(100.0, 0.0) - 93.2).abs() < 1e-9);
        // As in figure 1 of ITU-T G.114 (05/2003): little up to 200 ms, then about 6 for each 50 ms, flatter again beyond 400 ms.
        for (millis, lost) in [(150.0, 0.2), (200.0, 3.0), (250.0, 8.9), (300.0, 14.8), (400.0, 24.1), (600.0, 35.3)] {
            let found = 93.2 - rating(millis, 0.0);
            assert!((found - lost).abs() < 0.1, "{millis} ms: {found}");
        }
        // G.711 with concealment under 5 % random loss: 95 × 5 / 30.1.
        assert!((93.2 - rating(50.0, 0.05) - 15.78).abs() < 0.01);
    }

    #[test]
    fn more_delay_and_more_loss_are_never_better() {
        let mut before = f64::MAX;
        for step in 0..200 {
            let now = rating(f64::from(step) * 10.0, f64::from(step) / 400.0);
            assert!(now <= before && (0.0..=93.2).contains(&now));
            before = now;
        }
        assert!(rating(50.0, f64::NAN.max(0.0)) <= 93.2);
    }
}
