//! Plays one case: a script, step by step, on real connections.

use crate::case::{Case, Version};
use crate::expect::contains;
use crate::expression::Expression;
use crate::notation::{show, Template, Variables};
use crate::peer::{Event, Peer};
use crate::step::{Action, Comparison, Step, TextComparison};
use crate::target::Target;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A step that did not go as the case says.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The line in the case file.
    pub line: usize,
    /// What was expected and what came.
    pub reason: String,
    /// What was sent and received until then.
    pub transcript: Vec<String>,
}

/// Plays `case` once. `name` makes its destinations unlike those of every other play.
pub fn play(
    case: &Case,
    version: Version,
    values: Option<&[String]>,
    target: &Target,
    name: &str,
) -> Result<(), Failure> {
    let failure = |line, reason| Failure {
        line,
        reason,
        transcript: Vec::new(),
    };
    let steps = case.steps(version).map_err(|wrong| failure(wrong.line, wrong.reason))?;
    let text = |text: &str| text.as_bytes().to_vec();
    let mut variables = Variables::from([
        ("version".to_string(), text(version.as_str())),
        ("name".to_string(), text(name)),
        ("topic".to_string(), text(&format!("{}{name}", target.topic_prefix))),
        ("queue".to_string(), text(&format!("{}{name}", target.queue_prefix))),
        ("vhost".to_string(), text(&target.vhost)),
        ("credentials".to_string(), text(&target.credentials())),
        ("authority".to_string(), text(&target.authority)),
        ("port".to_string(), text(&target.address.port().to_string())),
    ]);
    if let (Some(each), Some(values)) = (&case.each, values) {
        for (name, value) in each.names.iter().zip(values) {
            let value = Template::parse(value).and_then(|value| value.fill(&variables));
            variables.insert(name.clone(), value.map_err(|reason| failure(1, reason))?);
        }
    }
    let mut scene = Scene {
        target,
        version,
        variables,
        peers: BTreeMap::new(),
        transcript: Vec::new(),
        receipts: 0,
    };
    scene.steps(&steps).map_err(|(line, reason)| Failure {
        line,
        reason,
        transcript: std::mem::take(&mut scene.transcript),
    })
}

/// A case being played.
pub(crate) struct Scene<'a> {
    pub(crate) target: &'a Target,
    pub(crate) version: Version,
    pub(crate) variables: Variables,
    pub(crate) peers: BTreeMap<String, Peer>,
    pub(crate) transcript: Vec<String>,
    pub(crate) receipts: usize,
}

impl Scene<'_> {
    fn steps(&mut self, steps: &[Step]) -> Result<(), (usize, String)> {
        for step in steps {
            if let Action::Repeat(count, steps) = &step.action {
                let outside: BTreeSet<String> = self.variables.keys().cloned().collect();
                for turn in 1..=count.compute(&self.variables).map_err(|reason| (step.line, reason))? {
                    // What a turn captured would only be compared in the next one.
                    self.variables.retain(|name, _| outside.contains(name));
                    self.variables.insert("i".into(), turn.to_string().into_bytes());
                    self.steps(steps)?;
                }
                continue;
            }
            self.step(&step.action).map_err(|reason| (step.line, reason))?;
        }
        Ok(())
    }

    fn step(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Open(name, opening) => self.open(name, opening, None),
            Action::Connect(name, opening, version, headers) => {
                self.connect(name, opening, version.as_deref(), headers)
            }
            Action::Subscribe(name, id, destination, headers) => {
                let (id, destination) = (id.fill(&self.variables)?, destination.fill(&self.variables)?);
                self.asked(
                    name,
                    "SUBSCRIBE",
                    &[("id", id), ("destination", destination)],
                    headers,
                    b"",
                )
            }
            Action::Publish(name, destination, body, headers) => {
                let (destination, body) = (destination.fill(&self.variables)?, body.fill(&self.variables)?);
                let length = body.len().to_string().into_bytes();
                self.asked(
                    name,
                    "SEND",
                    &[("destination", destination), ("content-length", length)],
                    headers,
                    &body,
                )
            }
            Action::Disconnect(name) => self.disconnect(name),
            Action::Close(name) => {
                self.note(name, ':', "close");
                self.peer(name)?.close();
                Ok(())
            }
            Action::Reset(name) => {
                self.note(name, ':', "reset");
                let peer = self.peers.remove(name).ok_or_else(|| format!("{name} is not open"))?;
                peer.reset().map_err(|error| error.to_string())
            }
            Action::StopReading(name) => self.peer(name).map(|peer| peer.pause(true)),
            Action::GoOnReading(name) => self.peer(name).map(|peer| peer.pause(false)),
            Action::Send(name, sending, octets) => self.send(name, sending, octets),
            Action::Expect(name, expecting) => self.expect(name, expecting),
            Action::Wait(time) => {
                std::thread::sleep(self.time(time)?);
                Ok(())
            }
            Action::Let(name, value) => {
                let value = value.compute(&self.variables)?;
                self.variables.insert(name.clone(), value.to_string().into_bytes());
                Ok(())
            }
            Action::CheckNumbers(left, how, right) => {
                check_numbers(left.compute(&self.variables)?, *how, right.compute(&self.variables)?)
            }
            Action::CheckText(left, how, right) => {
                check_text(&left.fill(&self.variables)?, *how, &right.fill(&self.variables)?)
            }
            Action::Repeat(..) => Err("a repeat inside a step".into()),
        }
    }

    pub(crate) fn peer(&mut self, name: &str) -> Result<&mut Peer, String> {
        self.peers.get_mut(name).ok_or_else(|| format!("{name} is not open"))
    }

    pub(crate) fn time(&self, time: &Expression) -> Result<Duration, String> {
        let milliseconds = time.compute(&self.variables)?;
        u64::try_from(milliseconds)
            .map(Duration::from_millis)
            .map_err(|_| format!("{milliseconds} ms is no time"))
    }

    pub(crate) fn note_event(&mut self, name: &str, event: &Event) {
        let shown = event.to_string();
        self.note(name, '<', &shown);
    }

    pub(crate) fn note(&mut self, name: &str, sign: char, what: &str) {
        self.transcript.push(format!("{name}{sign} {what}"));
    }
}

fn check_numbers(left: i64, how: Comparison, right: i64) -> Result<(), String> {
    let (holds, sign) = match how {
        Comparison::Equal => (left == right, "=="),
        Comparison::Different => (left != right, "!="),
        Comparison::AtMost => (left <= right, "<="),
        Comparison::AtLeast => (left >= right, ">="),
        Comparison::Less => (left < right, "<"),
        Comparison::More => (left > right, ">"),
    };
    holds
        .then_some(())
        .ok_or_else(|| format!("expected {left} {sign} {right}"))
}

fn check_text(left: &[u8], how: TextComparison, right: &[u8]) -> Result<(), String> {
    let (holds, sign) = match how {
        TextComparison::Is => (left == right, "is"),
        TextComparison::IsNot => (left != right, "is not"),
        TextComparison::Contains => (contains(left, right), "contains"),
    };
    holds
        .then_some(())
        .ok_or_else(|| format!("expected {:?} {sign} {:?}", show(left, 200), show(right, 200)))
}
