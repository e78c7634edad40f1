use std::time::Duration;

use zmesh_netem::Profile;

use super::run::{BETWEEN_RELAYS, Plan, run, tape_delay};
use super::setting::Setting;
use super::speech::Speech;

#[test]
fn a_call_over_a_quiet_network_loses_nothing_and_is_quick() {
    let speech = Speech::shipped().unwrap();
    let profile = Profile::builtin("clean").unwrap();
    let plan = Plan {
        profile: &profile,
        setting: Setting::SHIPPED,
        seed: 1,
        talk: Duration::from_secs(13),
        between_relays: BETWEEN_RELAYS,
        speech: &speech,
    };
    let outcome = run(&plan, |_, _, _| {}).unwrap();
    for (talker, listener) in [(&outcome.caller, &outcome.answerer), (&outcome.answerer, &outcome.caller)] {
        let delay = tape_delay(&talker.tape, &listener.tape, &speech, None).unwrap();
        println!("{delay:?} {:?} up {} down {}", listener.stats.frames, listener.up, listener.down);
        assert_eq!(listener.stats.frames.concealed, 0);
        // Six links of 10 ms each; a frame, the codec, the output and little else.
        assert!((60.0 + 26.5..60.0 + 60.0).contains(&delay.p50_ms), "{delay:?}");
        assert_eq!(listener.ended, None);
    }
}
