//! Our own calls: every profile with every setting, several at a time.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use zmesh_netem::Profile;
use zmesh_tests::quality::report::{Row, WITHOUT_LOSS};
use zmesh_tests::quality::run::{Plan, run, without_loss};
use zmesh_tests::quality::score::{Scorer, cut};
use zmesh_tests::quality::setting::Setting;
use zmesh_tests::quality::speech::Speech;

use crate::AnyError;
use crate::rows::Rows;

/// What all calls of one table have in common.
pub(crate) struct Series<'a> {
    pub(crate) talk: Duration,
    pub(crate) between_relays: Duration,
    pub(crate) seed: u64,
    pub(crate) speech: &'a Speech,
    pub(crate) directory: &'a Path,
    pub(crate) scorer: Option<&'a Scorer>,
    /// Calls that are made at a time.
    pub(crate) jobs: usize,
}

/// One call to make: the number of its profile, and its setting; `None` is the shipped one without the profile's loss.
type Job = (usize, Option<Setting>);

impl Series<'_> {
    /// The rows of these profiles and settings, in this order; each is kept in `kept` as soon as it is there.
    pub(crate) fn measure(
        &self,
        profiles: &[(String, Profile)],
        settings: &[Setting],
        kept: &Rows,
    ) -> Result<Vec<Row>, AnyError> {
        // A call over the same network without loss shows what loss and its repair add to the delay.
        let of_profile = |profile| {
            std::iter::once(None).chain(settings.iter().copied().map(Some)).map(move |setting| (profile, setting))
        };
        let jobs: Vec<Job> = (0..profiles.len()).flat_map(of_profile).collect();
        let done = AtomicUsize::new(0);
        self.each(&jobs, |(number, setting)| {
            let (name, profile) = &profiles[*number];
            let what = setting.map_or(WITHOUT_LOSS, |setting| setting.name);
            let seconds = self.talk.as_secs_f64();
            let (row, took) = match kept.find(name, what, self.seed, seconds) {
                Some(row) => (row, None),
                None => {
                    let begun = Instant::now();
                    let row = match setting {
                        Some(setting) => self.call(name, what, profile, *setting, true)?,
                        None => self.call(name, what, &without_loss(profile), Setting::SHIPPED, false)?,
                    };
                    kept.keep(&row)?;
                    (row, Some(begun.elapsed()))
                }
            };
            let number = done.fetch_add(1, Ordering::Relaxed) + 1;
            let took = took.map_or("kept from before".to_owned(), |took| format!("{:.0} s", took.as_secs_f64()));
            eprintln!("{number} of {}: {} ({took})", jobs.len(), row.summary());
            Ok(row)
        })
    }

    fn call(&self, name: &str, what: &str, profile: &Profile, setting: Setting, score: bool) -> Result<Row, AnyError> {
        let plan = Plan {
            profile,
            setting,
            seed: self.seed,
            talk: self.talk,
            between_relays: self.between_relays,
            speech: self.speech,
        };
        let outcome = run(&plan, |_, _, _| {})?;
        let mut row = Row::new(name, what, self.seed, self.talk.as_secs_f64(), &outcome, self.speech);
        if let Some(scorer) = self.scorer.filter(|_| score) {
            let (caller, answerer) = (&outcome.caller.tape, &outcome.answerer.tape);
            for (heard, (talker, listener, who)) in
                row.heard.iter_mut().zip([(caller, answerer, "answerer"), (answerer, caller, "caller")])
            {
                let file = format!("{name}-{what}-{who}").replace(['/', '.', ' '], "_");
                let pairs = cut(self.directory, &file, talker, listener, self.speech)?;
                heard.scores = scorer.score(pairs)?;
            }
        }
        Ok(row)
    }

    /// Does `work` for every item, several at a time; the first error ends it.
    fn each<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R, AnyError> + Sync,
    ) -> Result<Vec<R>, AnyError> {
        let next = AtomicUsize::new(0);
        let done: Vec<Mutex<Option<Result<R, AnyError>>>> = items.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let (Some(item), Some(slot)) = (items.get(number), done.get(number)) else { break };
                        let result = work(item);
                        if result.is_err() {
                            next.store(items.len(), Ordering::Relaxed);
                        }
                        *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(result);
                    }
                });
            }
        });
        let mut results = Vec::with_capacity(items.len());
        let mut undone = false;
        for slot in done {
            match slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
                Some(result) => results.push(result?),
                // An error further on ended it.
                None => undone = true,
            }
        }
        if undone { Err("a run was not done".into()) } else { Ok(results) }
    }
}
