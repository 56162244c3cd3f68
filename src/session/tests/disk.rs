//! A journal that keeps records in memory and tells the broker what it did when the test says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::broker::journal::{Journal, Listener, Record, Recovered, Report, Stub, Ticket};
use crate::broker::{Broker, Now};

/// The disk of a test.
#[derive(Debug, Default)]
pub(in crate::session) struct Disk(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    queues: BTreeMap<u64, Kept>,
    /// Records of batches that are not sealed.
    open: BTreeMap<u64, Vec<Owned>>,
    reports: Vec<Report>,
    tickets: Vec<Ticket>,
    refuses: Option<Arc<str>>,
    fetched: usize,
    pending: usize,
    next_queue: u64,
    /// Of all messages that ever were there.
    octets: BTreeMap<(u64, u64), Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    name: String,
    terms: Vec<u8>,
    below: u64,
    next_seq: u64,
    entries: BTreeMap<u64, (u32, Stub, Vec<u8>)>,
}

#[derive(Debug)]
enum Owned {
    Append(u64, u64, u32, Stub, Vec<u8>),
    Attempts(u64, u64, u32, Option<u64>),
    Settle(u64, u64),
}

impl Owned {
    fn place(&self) -> (u64, u64) {
        match self {
            Owned::Append(queue, seq, ..) | Owned::Attempts(queue, seq, ..) | Owned::Settle(queue, seq) => {
                (*queue, *seq)
            }
        }
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }

    /// What was written since the last time, one line a record.
    pub fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().lines)
    }

    /// Messages that were fetched.
    pub fn fetched(&self) -> usize {
        self.lock().fetched
    }

    /// Refuses persistent messages from now on, or takes them again.
    pub fn refuse(&self, why: Option<&str>) {
        self.lock().refuses = why.map(Arc::from);
    }

    /// Tells all that there is to tell, until nothing is left.
    pub fn tell(&self, broker: &Broker, now: Now) {
        while self.tell_once(broker, now) {}
    }

    /// Tells what there is to tell now; whether there was anything.
    pub fn tell_once(&self, broker: &Broker, now: Now) -> bool {
        let mut state = self.lock();
        let (reports, tickets) = (std::mem::take(&mut state.reports), std::mem::take(&mut state.tickets));
        drop(state);
        let any = !reports.is_empty() || !tickets.is_empty();
        for ticket in tickets {
            ticket.resolve(true);
        }
        for report in reports {
            broker.report(report, now);
        }
        any
    }

    /// Forgets the octets of a message: they cannot be read any more.
    pub fn damage(&self, seq: u64) {
        for queue in self.lock().queues.values_mut() {
            if let Some((_, _, octets)) = queue.entries.get_mut(&seq) {
                octets.clear();
            }
        }
    }

    /// Higher than the number of any queue that was ever declared.
    pub fn next_queue(&self) -> u64 {
        self.lock().next_queue
    }

    /// Says that so much waits to be written.
    pub fn pend(&self, octets: usize) {
        self.lock().pending = octets;
    }

    /// Holds what `other` held when `found` was recovered from it: a copy of a disk at that moment.
    pub fn fill(&self, found: &[Recovered], other: &Disk) {
        let mut state = self.lock();
        let octets = other.lock().octets.clone();
        for queue in found {
            let entry = |(seq, attempts, stub): &(u64, u32, Stub)| {
                let octets = octets.get(&(queue.queue, *seq)).cloned().unwrap_or_default();
                (*seq, (*attempts, *stub, octets))
            };
            let kept = Kept {
                name: queue.name.clone(),
                terms: queue.terms.clone(),
                below: queue.below,
                next_seq: queue.next_seq,
                entries: queue.entries.iter().map(entry).collect(),
            };
            state.queues.insert(queue.queue, kept);
        }
        state.octets = octets;
        state.next_queue = other.lock().next_queue;
    }

    /// What a start finds.
    pub fn recovered(&self) -> Vec<Recovered> {
        let found = |(number, kept): (&u64, &Kept)| Recovered {
            queue: *number,
            name: kept.name.clone(),
            terms: kept.terms.clone(),
            below: kept.below,
            next_seq: kept.next_seq,
            entries: (kept.entries.iter())
                .map(|(seq, (attempts, stub, _))| (*seq, *attempts, *stub))
                .collect(),
        };
        let mut state = self.lock();
        // What was not told is told to nobody.
        state.reports.clear();
        state.open.clear();
        state.queues.iter().map(found).collect()
    }
}

impl State {
    fn apply(&mut self, record: Owned) {
        match record {
            Owned::Append(queue, seq, attempts, stub, octets) => {
                let kept = self.queues.get_mut(&queue).expect("declared first");
                kept.next_seq = kept.next_seq.max(seq + 1);
                let before = kept.entries.insert(seq, (attempts, stub, octets));
                assert!(before.is_none(), "appended once");
            }
            Owned::Attempts(queue, seq, attempts, due) => {
                let kept = self.queues.get_mut(&queue).expect("declared first");
                let entry = kept.entries.get_mut(&seq).expect("appended first");
                entry.0 = attempts;
                entry.1.due = due.or(entry.1.due);
            }
            Owned::Settle(queue, seq) => {
                let kept = self.queues.get_mut(&queue).expect("declared first");
                assert!(
                    kept.entries.remove(&seq).is_some(),
                    "settled once, after it was appended"
                );
            }
        }
    }

    fn take(&mut self, record: Owned, batch: Option<u64>) {
        let place = record.place();
        let appends = |one: &Owned| matches!(one, Owned::Append(..)) && one.place() == place;
        let open = self.open.iter().find(|(_, records)| records.iter().any(appends));
        let batch = batch.or(open.map(|(batch, _)| *batch));
        match batch {
            Some(batch) => self.open.entry(batch).or_default().push(record),
            None => self.apply(record),
        }
    }
}

impl Journal for Disk {
    fn is_durable(&self) -> bool {
        true
    }

    fn write(&self, record: Record<'_>, batch: Option<u64>) {
        let mut state = self.lock();
        let mut line = match record {
            Record::Declare { queue, name, .. } => format!("declare {queue} {name}"),
            Record::Append { queue, seq, .. } => format!("append {queue} {seq}"),
            Record::Attempts {
                queue, seq, attempts, ..
            } => format!("attempts {queue} {seq} {attempts}"),
            Record::Settle { queue, seq } => format!("settle {queue} {seq}"),
            Record::Mark { queue, below } => format!("mark {queue} {below}"),
            Record::Remove { queue } => format!("remove {queue}"),
        };
        if batch.is_some() {
            line.push_str(" in batch");
        }
        state.lines.push(line);
        match record {
            Record::Declare { queue, name, terms } => {
                let (name, terms) = (name.to_owned(), terms.to_vec());
                let kept = Kept {
                    name,
                    terms,
                    ..Kept::default()
                };
                state.next_queue = state.next_queue.max(queue + 1);
                assert!(state.queues.insert(queue, kept).is_none(), "declared once");
            }
            Record::Append {
                queue,
                seq,
                attempts,
                message,
            } => {
                let mut octets = Vec::new();
                message.store(&mut octets);
                state.octets.insert((queue, seq), octets.clone());
                state.take(Owned::Append(queue, seq, attempts, message.stub(), octets), batch);
            }
            Record::Attempts {
                queue,
                seq,
                attempts,
                due,
            } => state.take(Owned::Attempts(queue, seq, attempts, due), batch),
            Record::Settle { queue, seq } => state.take(Owned::Settle(queue, seq), batch),
            Record::Mark { queue, below } => {
                state.queues.get_mut(&queue).expect("declared first").below = below;
                state.reports.push(Report::Marked { queue, below });
            }
            Record::Remove { queue } => {
                state.queues.remove(&queue).expect("declared first");
            }
        }
    }

    fn seal(&self, batch: u64) {
        let mut state = self.lock();
        state.lines.push("seal".to_owned());
        for record in state.open.remove(&batch).unwrap_or_default() {
            state.apply(record);
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        let ticket = Ticket::default();
        self.lock().tickets.push(ticket.clone());
        Some(ticket)
    }

    fn refuses(&self) -> Option<Arc<str>> {
        self.lock().refuses.clone()
    }

    fn pending(&self) -> usize {
        self.lock().pending
    }

    fn fetch(&self, queue: u64, seqs: &[u64]) {
        let mut state = self.lock();
        state.fetched += seqs.len();
        for seq in seqs {
            let octets = state.queues[&queue]
                .entries
                .get(seq)
                .map(|(_, _, octets)| octets.clone());
            // In an order of its own.
            let at = state.reports.len() / 2;
            state.reports.insert(
                at,
                Report::Loaded {
                    queue,
                    seq: *seq,
                    octets: octets.filter(|octets| !octets.is_empty()),
                },
            );
        }
    }

    fn attach(&self, _listener: Arc<dyn Listener>) {}
}
