//! From text to a profile.

use std::time::Duration;

use super::units::{self, RATE, SIZE};
use super::{Access, Conditions, Problem, Profile, ProfileError, Timeline};
use crate::loss::Loss;

/// Bounds of what is read, so that a file from a stranger costs little.
pub(super) const MOST_BYTES: usize = 256 * 1024;
pub(super) const MOST_STEPS: usize = 4_096;

/// The six timelines of a profile, in the order of [`PLACES`].
const PLACES: [&str; 6] = ["caller up", "caller down", "answerer up", "answerer down", "relays up", "relays down"];

/// What is being written: which timelines, and what was said of them so far.
struct Section {
    line: usize,
    places: Vec<usize>,
    steps: Vec<(Duration, Conditions)>,
    repeat: Option<Duration>,
    /// First words of the settings of the current step.
    set: Vec<String>,
    /// Line at which the current step began.
    step_line: usize,
}

pub(super) fn profile(text: &str) -> Result<Profile, ProfileError> {
    if text.len() > MOST_BYTES {
        return Err(ProfileError { line: 1, problem: Problem::TooLong });
    }
    let mut done: [Option<(usize, Timeline)>; 6] = Default::default();
    let mut current: Option<Section> = None;
    let mut steps = 0;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let wrong = |problem| ProfileError { line: number, problem };
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let Some((first, rest)) = words.split_first() else {
            continue;
        };
        if let Some(places) = places(first) {
            if let Some(section) = current.take() {
                section.close(&mut done)?;
            }
            let directions = directions(rest).ok_or_else(|| wrong(Problem::NoDirection))?;
            let places = places.iter().flat_map(|place| directions.iter().map(move |way| place * 2 + way)).collect();
            current = Some(Section::new(number, places, &done)?);
            continue;
        }
        if !SETTINGS.contains(first) {
            return Err(wrong(Problem::UnknownWord((*first).to_owned())));
        }
        let section = current.as_mut().ok_or_else(|| wrong(Problem::NoPlace))?;
        if *first == "at" {
            steps += 1;
            if steps > MOST_STEPS {
                return Err(wrong(Problem::TooManySteps));
            }
        }
        section.setting(number, first, rest)?;
    }
    if let Some(section) = current {
        section.close(&mut done)?;
    }
    let mut timelines = done.into_iter().map(|timeline| timeline.map(|(_, timeline)| timeline).unwrap_or_default());
    let mut access = || Access { up: timelines.next().unwrap_or_default(), down: timelines.next().unwrap_or_default() };
    Ok(Profile { caller: access(), answerer: access(), relays: access() })
}

const SETTINGS: [&str; 9] = ["at", "repeat", "delay", "jitter", "reorder", "duplicate", "loss", "rate", "mtu"];

fn places(word: &str) -> Option<&'static [usize]> {
    Some(match word {
        "caller" => &[0],
        "answerer" => &[1],
        "people" => &[0, 1],
        "relays" => &[2],
        "all" => &[0, 1, 2],
        _ => return None,
    })
}

fn directions(words: &[&str]) -> Option<&'static [usize]> {
    Some(match words {
        ["up"] => &[0],
        ["down"] => &[1],
        ["both"] => &[0, 1],
        _ => return None,
    })
}

impl Section {
    fn new(line: usize, places: Vec<usize>, done: &[Option<(usize, Timeline)>; 6]) -> Result<Section, ProfileError> {
        for place in &places {
            if let Some((before, _)) = &done[*place] {
                return Err(ProfileError { line, problem: Problem::Again(PLACES[*place].to_owned(), *before) });
            }
        }
        let steps = vec![(Duration::ZERO, Conditions::CLEAR)];
        Ok(Section { line, places, steps, repeat: None, set: Vec::new(), step_line: line })
    }

    fn close(self, done: &mut [Option<(usize, Timeline)>; 6]) -> Result<(), ProfileError> {
        self.check()?;
        let wrong = |problem| ProfileError { line: self.step_line, problem };
        let timeline = Timeline::new(self.steps, self.repeat).map_err(|why| wrong(why.into()))?;
        for place in self.places {
            done[place] = Some((self.line, timeline.clone()));
        }
        Ok(())
    }

    /// Whether the step that ends here makes sense.
    fn check(&self) -> Result<(), ProfileError> {
        let last = self.steps.last().map_or(Conditions::CLEAR, |(_, conditions)| *conditions);
        last.check().map_err(|flaw| ProfileError { line: self.step_line, problem: flaw.into() })
    }

    fn setting(&mut self, line: usize, word: &str, rest: &[&str]) -> Result<(), ProfileError> {
        let wrong = |problem| ProfileError { line, problem };
        if word == "at" {
            self.check()?;
            self.set.retain(|word| word == "repeat");
            self.step_line = line;
            return self.step(rest).map_err(wrong);
        }
        if self.set.iter().any(|before| before == word) {
            return Err(wrong(Problem::SetAgain(word.to_owned())));
        }
        self.set.push(word.to_owned());
        if word == "repeat" {
            let [time] = rest else {
                return Err(wrong(Problem::Form("repeat TIME")));
            };
            self.repeat = Some(time_of(time).map_err(wrong)?);
            return Ok(());
        }
        match self.steps.last_mut() {
            Some((_, conditions)) => set(conditions, word, rest).map_err(wrong),
            None => Ok(()),
        }
    }

    fn step(&mut self, rest: &[&str]) -> Result<(), Problem> {
        let [time] = rest else {
            return Err(Problem::Form("at TIME"));
        };
        let at = time_of(time)?;
        let (before, conditions) = self.steps.last().copied().unwrap_or_default();
        if at <= before {
            return Err(crate::timeline::TimelineError::NotRising.into());
        }
        self.steps.push((at, conditions));
        Ok(())
    }
}

/// Changes one setting of the conditions.
fn set(conditions: &mut Conditions, word: &str, rest: &[&str]) -> Result<(), Problem> {
    match (word, rest) {
        ("delay", [time]) => conditions.delay = time_of(time)?,
        ("delay", _) => return Err(Problem::Form("delay TIME")),
        ("jitter", [time, rest @ ..]) => {
            conditions.jitter = time_of(time)?;
            let (every, rest) = match rest {
                ["every", time, rest @ ..] => (time_of(time)?, rest),
                rest => (Duration::ZERO, rest),
            };
            conditions.jitter_every = every;
            conditions.in_order = match rest {
                [] => true,
                ["unordered"] => false,
                _ => return Err(Problem::Form(JITTER)),
            };
        }
        ("jitter", []) => return Err(Problem::Form(JITTER)),
        ("reorder", ["none"]) => (conditions.reorder, conditions.reorder_by) = (0.0, Duration::ZERO),
        ("reorder", [share, "by", time]) => {
            (conditions.reorder, conditions.reorder_by) = (share_of(share)?, time_of(time)?);
        }
        ("reorder", _) => return Err(Problem::Form("reorder SHARE by TIME")),
        ("duplicate", [share]) => conditions.duplicate = share_of(share)?,
        ("duplicate", _) => return Err(Problem::Form("duplicate SHARE")),
        ("loss", rest) => conditions.loss = loss(rest)?,
        ("rate", ["none"]) => (conditions.rate, conditions.queue) = (None, 0),
        ("rate", [rate, "queue", queue]) => {
            let bytes = units::quantity(rate, RATE).ok_or_else(|| Problem::Figure((*rate).to_owned(), A_RATE))?;
            (conditions.rate, conditions.queue) = (Some(bytes), size_of(queue)?);
        }
        ("rate", _) => return Err(Problem::Form("rate RATE queue SIZE")),
        ("mtu", ["none"]) => conditions.mtu = None,
        ("mtu", [size]) => conditions.mtu = Some(size_of(size)?),
        ("mtu", _) => return Err(Problem::Form("mtu SIZE")),
        _ => return Err(Problem::UnknownWord(word.to_owned())),
    }
    Ok(())
}

const JITTER: &str = "jitter TIME [every TIME] [unordered]";
const GILBERT: &str = "loss gilbert p SHARE r SHARE [good SHARE] [bad SHARE]";
const A_RATE: &str = "rate like 16Mbit/s (B/s, kbit/s, Mbit/s, Gbit/s)";

fn loss(words: &[&str]) -> Result<Loss, Problem> {
    match words {
        ["none"] => Ok(Loss::None),
        ["gilbert", "p", p, "r", r, rest @ ..] => {
            let (p, r) = (share_of(p)?, share_of(r)?);
            let (good, bad) = match rest {
                [] => (0.0, 1.0),
                ["good", good] => (share_of(good)?, 1.0),
                ["bad", bad] => (0.0, share_of(bad)?),
                ["good", good, "bad", bad] => (share_of(good)?, share_of(bad)?),
                _ => return Err(Problem::Form(GILBERT)),
            };
            Ok(Loss::Gilbert { p, r, good, bad })
        }
        ["gilbert", ..] => Err(Problem::Form(GILBERT)),
        [share] => Ok(Loss::Independent(share_of(share)?)),
        [share, "burst", mean] => {
            let share = share_of(share)?;
            let too_short = || Problem::Burst((*mean).to_owned());
            let mean = units::number(mean).ok_or_else(|| Problem::Figure((*mean).to_owned(), "number like 1.5"))?;
            if !(1.0..=MOST_BURST).contains(&mean) || share >= 1.0 || mean < share / (1.0 - share) {
                return Err(too_short());
            }
            Ok(Loss::bursts(share, mean))
        }
        _ => Err(Problem::Form("loss none, loss SHARE, loss SHARE burst N, or loss gilbert p SHARE r SHARE")),
    }
}

/// Longer runs are an outage, which is better said as a step of its own.
const MOST_BURST: f64 = 1e6;

fn time_of(word: &str) -> Result<Duration, Problem> {
    units::time(word).ok_or_else(|| Problem::Figure(word.to_owned(), "time like 250ms (ns, us, ms, s)"))
}

fn share_of(word: &str) -> Result<f64, Problem> {
    units::share(word).ok_or_else(|| Problem::Figure(word.to_owned(), "share like 2.5%"))
}

fn size_of(word: &str) -> Result<usize, Problem> {
    units::quantity(word, SIZE)
        .and_then(|size| usize::try_from(size).ok())
        .ok_or_else(|| Problem::Figure(word.to_owned(), "size like 64kB (B, kB, MB)"))
}
