//! The naive journal: a list of everything that was written, of which a beginning is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hoofbeat::broker::journal::{Journal, Listener, Record, Recovered, Report, Stub, Ticket};

use crate::random::Random;

/// A record that owns what it says.
#[derive(Clone, Debug)]
enum Line {
    Declare(u64, String, Vec<u8>),
    Append(u64, u64, u32, Stub, Vec<u8>),
    Attempts(u64, u64, u32, Option<u64>),
    Settle(u64, u64),
    Mark(u64, u64),
    Remove(u64),
    Seal(u64),
}

#[derive(Default)]
struct Sheet {
    lines: Vec<(Line, Option<u64>)>,
    /// Lines that are kept.
    kept: usize,
    tickets: Vec<(usize, Ticket)>,
    asked: Vec<(u64, u64)>,
    listener: Option<Arc<dyn Listener>>,
}

/// A journal whose disk does what it is told.
#[derive(Default)]
pub struct Paper(Mutex<Sheet>);

impl std::fmt::Debug for Paper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sheet = self.lock();
        write!(f, "{} lines, {} kept", sheet.lines.len(), sheet.kept)
    }
}

impl Paper {
    fn lock(&self) -> MutexGuard<'_, Sheet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps everything that was written until now and answers; whether there was anything to do.
    pub fn step(&self) -> bool {
        let mut sheet = self.lock();
        let all = sheet.lines.len();
        let before = std::mem::replace(&mut sheet.kept, all);
        let tickets = std::mem::take(&mut sheet.tickets);
        let asked = std::mem::take(&mut sheet.asked);
        let mut reports = Vec::new();
        for (line, _) in &sheet.lines[before..] {
            if let Line::Mark(queue, below) = line {
                reports.push(Report::Marked {
                    queue: *queue,
                    below: *below,
                });
            }
        }
        for (queue, seq) in asked {
            let octets = sheet.lines.iter().rev().find_map(|(line, _)| match line {
                Line::Append(q, s, _, _, octets) if (*q, *s) == (queue, seq) => Some(octets.clone()),
                _ => None,
            });
            reports.push(Report::Loaded { queue, seq, octets });
        }
        let some = before < sheet.kept || !reports.is_empty() || !tickets.is_empty();
        let listener = sheet.listener.clone();
        drop(sheet);
        for (_, ticket) in tickets {
            ticket.resolve(true);
        }
        for report in reports {
            if let Some(listener) = &listener {
                listener.report(report);
            }
        }
        some
    }

    /// What a start finds after a crash: all that was kept, and of the rest as much as chance has it.
    pub fn crash(&self, random: &mut Random) -> (Paper, Vec<Recovered>) {
        let sheet = self.lock();
        let more = match random.below(3) {
            0 => 0,
            _ => random.below(sheet.lines.len() - sheet.kept + 1),
        };
        let mut lines = sheet.lines[..sheet.kept + more].to_vec();
        // The next process numbers its batches anew.
        let sealed = sealed(&lines);
        lines.retain(|(line, _)| !matches!(line, Line::Seal(_)));
        lines.retain(|(_, batch)| batch.is_none_or(|batch| sealed.contains(&batch)));
        lines.iter_mut().for_each(|(_, batch)| *batch = None);
        let found = replay(&lines);
        let sheet = Sheet {
            kept: lines.len(),
            lines,
            ..Sheet::default()
        };
        (Paper(Mutex::new(sheet)), found)
    }
}

impl Journal for Paper {
    fn is_durable(&self) -> bool {
        true
    }

    fn write(&self, record: Record<'_>, batch: Option<u64>) {
        let line = match record {
            Record::Declare { queue, name, terms } => Line::Declare(queue, name.to_owned(), terms.to_vec()),
            Record::Append {
                queue,
                seq,
                attempts,
                message,
            } => {
                let mut octets = Vec::new();
                message.store(&mut octets);
                Line::Append(queue, seq, attempts, message.stub(), octets)
            }
            Record::Attempts {
                queue,
                seq,
                attempts,
                due,
            } => Line::Attempts(queue, seq, attempts, due),
            Record::Settle { queue, seq } => Line::Settle(queue, seq),
            Record::Mark { queue, below } => Line::Mark(queue, below),
            Record::Remove { queue } => Line::Remove(queue),
        };
        self.lock().lines.push((line, batch));
    }

    fn seal(&self, batch: u64) {
        self.lock().lines.push((Line::Seal(batch), None));
    }

    fn ticket(&self) -> Option<Ticket> {
        let mut sheet = self.lock();
        if sheet.kept == sheet.lines.len() {
            return None;
        }
        let ticket = Ticket::default();
        let at = sheet.lines.len();
        sheet.tickets.push((at, ticket.clone()));
        Some(ticket)
    }

    fn refuses(&self) -> Option<Arc<str>> {
        None
    }

    fn fetch(&self, queue: u64, seqs: &[u64]) {
        self.lock().asked.extend(seqs.iter().map(|seq| (queue, *seq)));
    }

    fn attach(&self, listener: Arc<dyn Listener>) {
        self.lock().listener = Some(listener);
    }
}

fn sealed(lines: &[(Line, Option<u64>)]) -> BTreeSet<u64> {
    let seals = lines.iter().filter_map(|(line, _)| match line {
        Line::Seal(batch) => Some(*batch),
        _ => None,
    });
    seals.collect()
}

/// Tries and stub by number.
type Entries = BTreeMap<u64, (u32, Stub)>;

/// What the lines come to; none of them is of a batch without its seal.
fn replay(lines: &[(Line, Option<u64>)]) -> Vec<Recovered> {
    let mut queues: BTreeMap<u64, (Recovered, Entries)> = BTreeMap::new();
    for (line, _) in lines {
        match line {
            Line::Declare(queue, name, terms) => {
                let found = Recovered {
                    queue: *queue,
                    name: name.clone(),
                    terms: terms.clone(),
                    ..Recovered::default()
                };
                queues.insert(*queue, (found, BTreeMap::new()));
            }
            Line::Append(queue, seq, attempts, stub, _) => {
                if let Some((found, entries)) = queues.get_mut(queue) {
                    found.next_seq = found.next_seq.max(seq + 1);
                    entries.insert(*seq, (*attempts, *stub));
                }
            }
            Line::Attempts(queue, seq, attempts, due) => {
                let entry = queues.get_mut(queue).and_then(|(_, entries)| entries.get_mut(seq));
                if let Some(entry) = entry {
                    entry.0 = *attempts;
                    entry.1.due = due.or(entry.1.due);
                }
            }
            Line::Settle(queue, seq) => {
                if let Some((_, entries)) = queues.get_mut(queue) {
                    entries.remove(seq);
                }
            }
            Line::Mark(queue, below) => {
                if let Some((found, _)) = queues.get_mut(queue) {
                    found.below = *below;
                }
            }
            Line::Remove(queue) => drop(queues.remove(queue)),
            Line::Seal(_) => {}
        }
    }
    let finish = |(mut found, entries): (Recovered, Entries)| {
        let entries = entries.into_iter();
        found.entries = entries.map(|(seq, (attempts, stub))| (seq, attempts, stub)).collect();
        found
    };
    queues.into_values().map(finish).collect()
}
