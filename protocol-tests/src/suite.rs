//! Plays all cases against all targets, many at once.

use crate::case::{Case, Transport, Version};
use crate::play::{play, Failure};
use crate::target::Target;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// One play of a case and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The version it was played with.
    pub version: Version,
    /// The values it was repeated with, if any.
    pub values: Option<Vec<String>>,
    /// `None`: it went as the case says.
    pub failure: Option<Failure>,
}

/// What a case showed on one target.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// Every play, in the order of the case; empty when the case does not apply to the target's transport.
    pub outcomes: Vec<Outcome>,
}

/// A finding in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every play went as the case says.
    Passed,
    /// Some did.
    Part,
    /// None did.
    Failed,
    /// The case does not apply to this transport.
    NotApplicable,
}

impl Finding {
    /// The finding in one word.
    pub fn verdict(&self) -> Verdict {
        match (self.outcomes.len(), self.failures().count()) {
            (0, _) => Verdict::NotApplicable,
            (_, 0) => Verdict::Passed,
            (plays, failures) if plays == failures => Verdict::Failed,
            _ => Verdict::Part,
        }
    }

    /// The plays that went wrong.
    pub fn failures(&self) -> impl Iterator<Item = (&Outcome, &Failure)> {
        self.outcomes
            .iter()
            .filter_map(|outcome| Some((outcome, outcome.failure.as_ref()?)))
    }
}

struct Job<'a> {
    case: usize,
    play: &'a Case,
    version: Version,
    values: Option<Vec<String>>,
}

/// Plays `cases` against one target with `threads` plays at a time. The findings are in the order of the cases.
pub fn run(cases: &[Case], target: &Target, threads: usize) -> Vec<Finding> {
    let mut jobs: Vec<Job<'_>> = cases
        .iter()
        .enumerate()
        .flat_map(|(at, case)| jobs(at, case, target.transport))
        .collect();
    // Those that let time pass begin first, so that the suite takes hardly longer than the longest.
    jobs.sort_by_key(|job| !job.play.lets_time_pass());
    let run = RandomState::new().build_hasher().finish() & 0xFFFF_FFFF;
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Outcome>>> = Mutex::new(jobs.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| loop {
                let at = next.fetch_add(1, Ordering::SeqCst);
                let Some(job) = jobs.get(at) else { return };
                let name = format!("t{}-{run:x}-{at}", job.play.row.to_lowercase());
                let failure = play(job.play, job.version, job.values.as_deref(), target, &name).err();
                let outcome = Outcome {
                    version: job.version,
                    values: job.values.clone(),
                    failure,
                };
                if let Some(place) = done.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
                    *place = Some(outcome);
                }
            });
        }
    });
    let mut findings = vec![Finding::default(); cases.len()];
    for (job, outcome) in jobs
        .iter()
        .zip(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    {
        findings[job.case].outcomes.extend(outcome);
    }
    findings
}

fn jobs(at: usize, case: &Case, transport: Transport) -> Vec<Job<'_>> {
    if !case.transports.contains(&transport) {
        return Vec::new();
    }
    let values: Vec<Option<Vec<String>>> = match &case.each {
        Some(each) => each.values.iter().cloned().map(Some).collect(),
        None => vec![None],
    };
    let pairs = case
        .versions
        .iter()
        .flat_map(|version| values.iter().map(move |value| (*version, value.clone())));
    pairs
        .map(|(version, value)| Job {
            case: at,
            play: case,
            version,
            values: value,
        })
        .collect()
}
