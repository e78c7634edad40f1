//! Our own calls: every profile with every setting, as many at a time as there are cores.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use zmesh_netem::Profile;
use zmesh_tests::quality::report::Row;
use zmesh_tests::quality::run::{Plan, run, without_loss};
use zmesh_tests::quality::score::{Scorer, cut};
use zmesh_tests::quality::setting::Setting;
use zmesh_tests::quality::speech::Speech;

use crate::AnyError;

/// What all calls of one table have in common.
pub(crate) struct Series<'a> {
    pub(crate) talk: Duration,
    pub(crate) between_relays: Duration,
    pub(crate) seed: u64,
    pub(crate) speech: &'a Speech,
    pub(crate) directory: &'a Path,
    pub(crate) scorer: Option<&'a Scorer>,
}

impl Series<'_> {
    /// The rows of these profiles and settings, in this order.
    pub(crate) fn measure(&self, profiles: &[(String, Profile)], settings: &[Setting]) -> Result<Vec<Row>, AnyError> {
        // A call over the same network without loss shows what loss and its repair add to the delay.
        let quiet: Vec<Option<f64>> = self.each(profiles, |(name, profile)| {
            let row = self.call(&format!("{name}-without-loss"), &without_loss(profile), Setting::SHIPPED, false)?;
            Ok(row.p99_ms())
        })?;
        let jobs: Vec<(usize, Setting)> =
            (0..profiles.len()).flat_map(|profile| settings.iter().map(move |setting| (profile, *setting))).collect();
        self.each(&jobs, |(number, setting)| {
            let (name, profile) = &profiles[*number];
            let mut row = self.call(name, profile, *setting, true)?;
            row.added_p99_ms = row.p99_ms().zip(quiet[*number]).map(|(here, quiet)| here - quiet);
            Ok(row)
        })
    }

    fn call(&self, name: &str, profile: &Profile, setting: Setting, score: bool) -> Result<Row, AnyError> {
        let plan = Plan {
            profile,
            setting,
            seed: self.seed,
            talk: self.talk,
            between_relays: self.between_relays,
            speech: self.speech,
        };
        let outcome = run(&plan, |_, _, _| {})?;
        let mut row = Row::new(name, setting.name, self.seed, self.talk.as_secs_f64(), &outcome, self.speech);
        if let Some(scorer) = self.scorer.filter(|_| score) {
            let (caller, answerer) = (&outcome.caller.tape, &outcome.answerer.tape);
            for (heard, (talker, listener, who)) in
                row.heard.iter_mut().zip([(caller, answerer, "answerer"), (answerer, caller, "caller")])
            {
                let file = format!("{name}-{}-{who}", setting.name).replace(['/', '.'], "_");
                let pairs = cut(self.directory, &file, talker, listener, self.speech)?;
                heard.scores = scorer.score(pairs)?;
            }
        }
        eprintln!("{name}, {}: {:.2} % made up", setting.name, row.concealed_share().unwrap_or(0.0) * 100.0);
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
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..cores {
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
