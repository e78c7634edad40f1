//! From a profile to text.

use std::fmt::Write as _;

use super::units::{RATE, SIZE, print, print_share, print_time};
use super::{Access, Conditions, Profile, Timeline};
use crate::loss::Loss;

pub(super) fn profile(profile: &Profile) -> String {
    let mut text = String::new();
    if profile.caller == profile.answerer {
        access(&mut text, "people", &profile.caller);
    } else {
        access(&mut text, "caller", &profile.caller);
        access(&mut text, "answerer", &profile.answerer);
    }
    access(&mut text, "relays", &profile.relays);
    text
}

fn access(text: &mut String, place: &str, access: &Access) {
    if access.up == access.down {
        timeline(text, place, "both", &access.up);
    } else {
        timeline(text, place, "up", &access.up);
        timeline(text, place, "down", &access.down);
    }
}

fn timeline(text: &mut String, place: &str, direction: &str, timeline: &Timeline) {
    if *timeline == Timeline::default() {
        return;
    }
    line(text, &format!("{place} {direction}"));
    if let Some(repeat) = timeline.repeat() {
        line(text, &format!("  repeat {}", print_time(repeat)));
    }
    let mut before = Conditions::CLEAR;
    for (from, conditions) in timeline.steps() {
        if !from.is_zero() {
            line(text, &format!("  at {}", print_time(*from)));
        }
        let was = settings(&before);
        for (setting, old) in settings(conditions).iter().zip(&was) {
            if setting != old {
                line(text, &format!("  {setting}"));
            }
        }
        before = *conditions;
    }
}

/// Every setting as it would be written.
fn settings(conditions: &Conditions) -> [String; 7] {
    let c = conditions;
    let mut jitter = format!("jitter {}", print_time(c.jitter));
    if !c.jitter_every.is_zero() {
        let _ = write!(jitter, " every {}", print_time(c.jitter_every));
    }
    if !c.in_order {
        jitter.push_str(" unordered");
    }
    [
        format!("delay {}", print_time(c.delay)),
        jitter,
        format!("reorder {} by {}", print_share(c.reorder), print_time(c.reorder_by)),
        format!("duplicate {}", print_share(c.duplicate)),
        loss(&c.loss),
        c.rate.map_or("rate none".to_owned(), |rate| {
            format!("rate {} queue {}", print(rate, RATE), print(c.queue as u64, SIZE))
        }),
        c.mtu.map_or("mtu none".to_owned(), |mtu| format!("mtu {}", print(mtu as u64, SIZE))),
    ]
}

fn loss(loss: &Loss) -> String {
    match loss {
        Loss::None => "loss none".to_owned(),
        Loss::Independent(share) => format!("loss {}", print_share(*share)),
        Loss::Gilbert { p, r, good, bad } => {
            let [p, r, good, bad] = [p, r, good, bad].map(|share| print_share(*share));
            format!("loss gilbert p {p} r {r} good {good} bad {bad}")
        }
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
