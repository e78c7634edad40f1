use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::loss::Loss;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn the_profiles_that_come_along_are_what_they_are_called() {
    let profiles = NAMES.map(|name| {
        let text = Profile::builtin_text(name).unwrap();
        Profile::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"))
    });
    let [clean, _, wifi, mobile, international, spiky] = &profiles;
    let first = |timeline: &Timeline| timeline.steps()[0].1;
    assert_eq!(first(&clean.caller.up).loss, Loss::None);
    assert_eq!(first(&wifi.caller.up).loss, Loss::bursts(0.05, 1.5));
    assert_eq!(first(&mobile.answerer.down).loss, Loss::bursts(0.10, 2.0));
    assert_eq!(first(&mobile.answerer.down).jitter, ms(25));
    let far = first(&international.caller.down);
    assert_eq!((far.delay, far.jitter), (ms(250), ms(100)));
    assert_eq!(far.loss, Loss::Gilbert { p: 0.03, r: 0.25, good: 0.0, bad: 1.0 });
    assert!(spiky.caller.up.steps().len() > 3);
    assert!(profiles.iter().all(|profile| profile.relays.is_clear()));
    assert!(Profile::builtin("nonsense").is_none());
}

/// The developer's guide shows one profile with every setting.
#[test]
fn the_profile_in_the_guide_is_one() {
    let guide = include_str!("../../../../specs/guide/developer.md");
    let text =
        guide.split("```text\npeople both").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let profile = Profile::parse(&format!("people both{text}")).unwrap();
    assert_eq!(profile.caller.up.steps().len(), 2);
    assert_eq!(profile.caller.up.repeat(), Some(Duration::from_secs(20)));
}

#[test]
fn steps_keep_what_they_do_not_name() {
    let text = "caller up # the worse one\n delay 20ms\n jitter 5ms every 20ms unordered\n\n at 1.5s\n  loss 2.5%\n";
    let profile = Profile::parse(text).unwrap();
    let conditions =
        Conditions { delay: ms(20), jitter: ms(5), jitter_every: ms(20), in_order: false, ..Conditions::CLEAR };
    let later = Conditions { loss: Loss::Independent(0.025), ..conditions };
    assert_eq!(profile.caller.up.steps(), [(ms(0), conditions), (ms(1_500), later)]);
    assert!(profile.caller.down.is_clear() && profile.answerer.is_clear());
}

#[test]
fn errors_name_the_line_and_the_cause() {
    for (text, line, words) in [
        ("delay 5ms", 1, "say first whom"),
        ("\npeople sideways", 2, "up, down or both"),
        ("people", 1, "up, down or both"),
        ("people both\n lag 5ms", 2, "\"lag\" is neither"),
        ("people both\n delay 5", 2, "\"5\" is no time"),
        ("people both\n delay 5 ms", 2, "should read: delay TIME"),
        ("people both\n delay 0.0000000001s", 2, "is no time"),
        ("people both\n delay 61s", 1, "longer than 60 s"),
        ("people both\n delay 5ms\n delay 6ms", 3, "already set"),
        ("people both\n jitter 5ms", 1, "jitter is larger than the delay"),
        ("people both\n delay 9ms\n jitter 5ms always", 3, "should read: jitter"),
        ("people both\n loss 101%", 1, "between 0 and 100 %"),
        ("people both\n loss -1%", 2, "\"-1%\" is no share"),
        ("people both\n loss 5", 2, "\"5\" is no share"),
        ("people both\n loss 5% burst 0.5", 2, "cannot make up"),
        ("people both\n loss 90% burst 2", 2, "cannot make up"),
        ("people both\n loss gilbert p 3%", 2, "should read: loss gilbert"),
        ("people both\n rate 5Mbit/s", 2, "should read: rate"),
        ("people both\n rate 5Mbit queue 5kB", 2, "\"5Mbit\" is no rate"),
        ("people both\n rate 5Mbit/s queue 5B", 1, "1500 bytes"),
        ("people both\n rate 0kbit/s queue 5kB", 1, "rate of 0"),
        ("people both\n mtu 10B", 1, "below 68"),
        ("people both\n at 0s", 2, "later than"),
        ("people both\n at 5s\n at 4s", 3, "later than"),
        ("people both\n repeat 5s\n at 6s", 3, "starts anew"),
        ("people both\n at 2s\n loss 200%\n at 3s\n", 2, "between 0 and 100 %"),
        ("people both\n delay 5ms\ncaller up\n", 3, "caller up was already said on line 1"),
    ] {
        let error = Profile::parse(text).expect_err(text);
        let said = error.to_string();
        assert!(said.starts_with(&format!("line {line}: ")) && said.contains(words), "{text:?}: {said}");
    }
    assert!(Profile::parse(&" ".repeat(read::MOST_BYTES + 1)).is_err());
    let steps: String = (1..=read::MOST_STEPS + 1).map(|second| format!("at {second}s\n")).collect();
    assert_eq!(Profile::parse(&format!("all both\n{steps}")).unwrap_err().problem, Problem::TooManySteps);
}

fn share() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.0), Just(0.05), 0.0..1.0]
}

fn time(most: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![(0..=most / 1_000_000).prop_map(Duration::from_millis), (0..=most).prop_map(Duration::from_nanos)]
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        Just(Loss::None),
        share().prop_map(Loss::Independent),
        (share(), 1.0..20.0).prop_map(|(share, mean)| Loss::bursts(share, mean)),
        (share(), share(), share(), share()).prop_map(|(p, r, good, bad)| Loss::Gilbert { p, r, good, bad }),
    ]
}

prop_compose! {
    fn conditions()(
        delay in time(60_000_000_000), jitter in 0.0..=1.0, jitter_every in time(1_000_000_000), in_order: bool,
        reorder in share(), reorder_by in time(1_000_000_000), duplicate in share(), loss in loss(),
        bottleneck in proptest::option::of((1..u64::from(u32::MAX), 1_500..10_000_000_usize)),
        mtu in proptest::option::of(68..10_000_usize),
    ) -> Conditions {
        Conditions {
            delay, jitter: delay.mul_f64(jitter).min(delay), jitter_every, in_order,
            reorder, reorder_by, duplicate, loss,
            rate: bottleneck.map(|(rate, _)| rate), queue: bottleneck.map_or(0, |(_, queue)| queue), mtu,
        }
    }
}

fn timeline() -> BoxedStrategy<Timeline> {
    (conditions(), proptest::collection::vec((1..100_000_u64, conditions()), 0..4), any::<bool>())
        .prop_map(|(first, more, repeats)| {
            let mut at = 0;
            let mut steps = vec![(Duration::ZERO, first)];
            for (after, conditions) in more {
                at += after;
                steps.push((Duration::from_micros(at), conditions));
            }
            Timeline::new(steps, repeats.then(|| Duration::from_micros(at + 1))).unwrap()
        })
        .boxed()
}

fn access() -> BoxedStrategy<Access> {
    prop_oneof![
        timeline().prop_map(Access::both),
        (timeline(), timeline()).prop_map(|(up, down)| Access { up, down }),
        Just(Access::default()),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(people in access(), answerer in proptest::option::of(access()), relays in access()) {
        let profile = Profile { caller: people.clone(), answerer: answerer.unwrap_or(people), relays };
        let text = profile.print();
        prop_assert_eq!(Profile::parse(&text).map_err(|error| format!("{error}\n{text}")), Ok(profile));
    }

    #[test]
    fn any_text_is_a_profile_or_an_error(text in "((caller|people|relays|at|loss|rate|delay) ?(up|both|[0-9.]{1,4}(%|ms|s)?)?.{0,12}\n){0,8}") {
        if let Ok(profile) = Profile::parse(&text) {
            prop_assert_eq!(Profile::parse(&profile.print()), Ok(profile));
        }
    }

    #[test]
    fn figures_stand_as_they_were_written(figure in any::<u64>(), share in 0.0..=1.0_f64) {
        for units in [units::TIME, units::RATE, units::SIZE] {
            let figure = figure % 1_000_000_000_000_000;
            prop_assert_eq!(units::quantity(&units::print(figure, units), units), Some(figure));
        }
        prop_assert_eq!(units::share(&units::print_share(share)), Some(share));
    }
}
