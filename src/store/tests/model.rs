//! Random operations and crashes, against lists.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::broker::journal::Ticket;
use crate::store::simulated::{Crash, Faults};

type Id = (u64, u64);

/// What one message may be found as.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    body: Vec<u8>,
    attempts: u32,
    due: Option<u64>,
}

/// What may have happened since the last promise was kept.
#[derive(Clone, Debug)]
enum Maybe {
    Declared(u64),
    In(Id, Known),
    Tried(Id, u32, Option<u64>),
    Out(Id),
    Removed(u64),
    Marked(u64, u64),
    /// All of them or none.
    Together(Vec<Maybe>),
}

/// A list of what must be there, and one of what may have happened.
#[derive(Default)]
struct World {
    disk: Simulated,
    store: Option<Arc<Store>>,
    random: Option<Random>,
    queues: BTreeMap<u64, u64>,
    messages: BTreeMap<Id, Known>,
    maybe: Vec<Maybe>,
    batches: BTreeMap<u64, Vec<Maybe>>,
    next_seq: BTreeMap<u64, u64>,
    next_queue: u64,
    next_batch: u64,
    crashes: usize,
    kept: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            random: Some(Random::new(seed)),
            next_queue: 1,
            ..World::default()
        };
        world.start();
        world
    }

    fn below(&mut self, most: usize) -> usize {
        self.random.as_mut().unwrap().below(most)
    }

    fn store(&self) -> Arc<Store> {
        self.store.clone().unwrap()
    }

    /// Queues as they are if everything happened.
    fn present(&self) -> (BTreeMap<u64, u64>, BTreeMap<Id, Known>) {
        let (mut queues, mut messages) = (self.queues.clone(), self.messages.clone());
        for maybe in &self.maybe {
            apply(maybe, &mut queues, &mut messages);
        }
        (queues, messages)
    }

    fn operate(&mut self) {
        let (queues, messages) = self.present();
        let queues: Vec<u64> = queues.keys().copied().collect();
        // Also what only an open batch brings: consumers may settle that before the batch is sealed.
        let mut ids: Vec<Id> = messages.keys().copied().collect();
        ids.extend(self.batches.values().flatten().filter_map(|maybe| match maybe {
            Maybe::In(id, _) => Some(*id),
            _ => None,
        }));
        let gone: BTreeSet<Id> = self.batches.values().flatten().filter_map(out_of).collect();
        ids.retain(|id| !gone.contains(id));
        match self.below(20) {
            0 if queues.len() < 4 => self.declare(),
            1 if self.below(6) == 0 && !queues.is_empty() => {
                let queue = queues[self.below(queues.len())];
                self.store().write(Record::Remove { queue }, None);
                for batch in self.batches.values_mut() {
                    batch.retain(|maybe| queue_of(maybe) != queue);
                }
                self.maybe.push(Maybe::Removed(queue));
            }
            2 if !queues.is_empty() => {
                let (queue, below) = (queues[self.below(queues.len())], self.below(1000) as u64);
                self.store().write(Record::Mark { queue, below }, None);
                self.maybe.push(Maybe::Marked(queue, below));
            }
            3..=9 if !queues.is_empty() => {
                let queue = queues[self.below(queues.len())];
                self.append(queue);
            }
            10..=14 if !ids.is_empty() => {
                // Mostly the oldest, as consumers do.
                let place = match self.below(3) {
                    0 => self.below(ids.len()),
                    _ => 0,
                };
                self.settle(ids[place]);
            }
            15 if !ids.is_empty() => {
                let id = ids[self.below(ids.len())];
                let attempts = self.below(9) as u32;
                let due = (self.below(3) == 0).then(|| self.below(1 << 20) as u64);
                let (queue, seq) = id;
                let record = Record::Attempts {
                    queue,
                    seq,
                    attempts,
                    due,
                };
                self.store().write(record, None);
                self.note(Maybe::Tried(id, attempts, due), None);
            }
            16 => self.seal(),
            17 | 18 => self.commit(),
            _ => {
                self.store().step();
            }
        }
    }

    fn declare(&mut self) {
        let queue = self.next_queue;
        self.next_queue += 1;
        declare(&self.store(), queue);
        self.maybe.push(Maybe::Declared(queue));
    }

    fn batch(&mut self) -> Option<u64> {
        (self.below(3) == 0).then(|| {
            let open: Vec<u64> = self.batches.keys().copied().collect();
            match self.below(3) {
                0 | 1 if !open.is_empty() => open[self.below(open.len())],
                _ => {
                    self.next_batch += 1;
                    self.batches.insert(self.next_batch, Vec::new());
                    self.next_batch
                }
            }
        })
    }

    fn append(&mut self, queue: u64) {
        let next = self.next_seq.entry(queue).or_insert(1);
        let seq = *next;
        *next += 1;
        let length = match self.below(12) {
            0 => 3000,
            _ => self.below(400),
        };
        let body = vec![(seq % 251) as u8; length];
        let batch = self.batch();
        append(&self.store(), queue, seq, &body, batch);
        let known = Known {
            body,
            attempts: 0,
            due: None,
        };
        self.note(Maybe::In((queue, seq), known), batch);
    }

    fn settle(&mut self, id: Id) {
        let batch = self.batch();
        settle(&self.store(), id.0, id.1, batch);
        self.note(Maybe::Out(id), batch);
    }

    /// What is done to a message that an open batch brings happens with that batch, and everything that depends on it.
    fn note(&mut self, maybe: Maybe, batch: Option<u64>) {
        let id = id_of(&maybe);
        let brings = |all: &Vec<Maybe>| {
            all.iter()
                .any(|other| matches!(other, Maybe::In(its, _) if Some(*its) == id))
        };
        let bringing = self
            .batches
            .iter()
            .find(|(_, all)| brings(all))
            .map(|(number, _)| *number);
        match (bringing, batch) {
            (Some(bringing), Some(own)) if own != bringing => {
                let own = self.batches.remove(&own).unwrap_or_default();
                let all = self.batches.get_mut(&bringing).unwrap();
                all.extend(own);
                all.push(maybe);
            }
            (Some(batch), _) | (None, Some(batch)) => self.batches.entry(batch).or_default().push(maybe),
            (None, None) => self.maybe.push(maybe),
        }
    }

    fn seal(&mut self) {
        if let Some((batch, all)) = self.batches.pop_first() {
            self.store().seal(batch);
            self.maybe.push(Maybe::Together(all));
        }
    }

    /// Everything that was promised is certain from now on.
    fn commit(&mut self) {
        let store = self.store();
        let ticket = store.ticket();
        store.step();
        if ticket.is_none_or(|ticket: Ticket| ticket.outcome() == Some(true)) {
            (self.queues, self.messages) = self.present();
            self.maybe.clear();
            self.kept += 1;
        }
    }

    fn crash(&mut self) {
        let seed = self.below(1 << 30) as u64;
        let crash = match self.below(4) {
            0 => Crash::Killed,
            1 => Crash::Dropped,
            _ => Crash::Torn(seed),
        };
        self.disk = self.disk.crash(crash);
        self.crashes += 1;
        self.start();
    }

    fn stop(&mut self) {
        while let Some((batch, all)) = self.batches.pop_first() {
            self.store().seal(batch);
            self.maybe.push(Maybe::Together(all));
        }
        self.commit();
        self.store().close();
        self.start();
        assert!(self.maybe.is_empty());
    }

    fn start(&mut self) {
        let opened = open(&self.disk);
        for damage in &opened.damage {
            assert!(!damage.is_loss(), "{damage}");
        }
        self.compare(&opened);
        self.queues = opened.queues.iter().map(|queue| (queue.queue, queue.below)).collect();
        let heard = Heard::by(&opened.store);
        let mut attempts = BTreeMap::new();
        for queue in &opened.queues {
            let seqs: Vec<u64> = queue.entries.iter().map(|(seq, _, _)| *seq).collect();
            opened.store.fetch(queue.queue, &seqs);
            attempts.extend(
                queue
                    .entries
                    .iter()
                    .map(|(seq, tries, stub)| ((queue.queue, *seq), (*tries, stub.due))),
            );
        }
        opened.store.step();
        let bodies = self.bodies();
        self.messages.clear();
        for report in heard.take() {
            let Report::Loaded { queue, seq, octets } = report else {
                continue;
            };
            let body = bodies.get(&(queue, seq)).expect("a message that was sent").clone();
            assert_eq!(octets, Some(stored(&message(&body))), "message {seq} of queue {queue}");
            let (attempts, due) = attempts.remove(&(queue, seq)).unwrap();
            self.messages.insert((queue, seq), Known { body, attempts, due });
        }
        assert!(attempts.is_empty(), "not all were read: {attempts:?}");
        self.maybe.clear();
        self.batches.clear();
        self.store = Some(opened.store);
    }

    fn bodies(&self) -> BTreeMap<Id, Vec<u8>> {
        let mut bodies: BTreeMap<Id, Vec<u8>> = BTreeMap::new();
        for (id, known) in &self.messages {
            bodies.insert(*id, known.body.clone());
        }
        for maybe in flat(&self.maybe) {
            if let Maybe::In(id, known) = maybe {
                bodies.insert(*id, known.body.clone());
            }
        }
        bodies
    }

    /// What was found is what was promised, and nothing that never was.
    fn compare(&self, opened: &Opened) {
        let touched: BTreeSet<Id> = flat(&self.maybe).filter_map(id_of).collect();
        let removed: BTreeSet<u64> = flat(&self.maybe)
            .filter(|m| matches!(m, Maybe::Removed(_)))
            .map(queue_of)
            .collect();
        let there: BTreeMap<Id, (u32, Stub)> = opened
            .queues
            .iter()
            .flat_map(|queue| {
                queue
                    .entries
                    .iter()
                    .map(|(seq, tries, stub)| ((queue.queue, *seq), (*tries, *stub)))
            })
            .collect();
        for (id, known) in &self.messages {
            if touched.contains(id) || removed.contains(&id.0) {
                continue;
            }
            let written = stub(&known.body);
            let stub = Stub {
                due: known.due.or(written.due),
                ..written
            };
            assert_eq!(
                there.get(id),
                Some(&(known.attempts, stub)),
                "{id:?} is lost or changed"
            );
        }
        let bodies = self.bodies();
        for id in there.keys() {
            assert!(bodies.contains_key(id), "{id:?} was settled, or never sent");
        }
        for (queue, below) in &self.queues {
            let found = opened.queues.iter().find(|found| found.queue == *queue);
            assert!(found.is_some() || removed.contains(queue), "queue {queue} is lost");
            let Some(found) = found else { continue };
            assert_eq!(
                (found.name.as_str(), found.terms.as_slice()),
                (format!("/queue/{queue}").as_str(), queue.to_le_bytes().as_slice())
            );
            let marks: Vec<u64> = flat(&self.maybe)
                .filter_map(|maybe| match maybe {
                    Maybe::Marked(its, below) if its == queue => Some(*below),
                    _ => None,
                })
                .collect();
            assert!(found.below == *below || marks.contains(&found.below));
            let last = found.entries.last().map_or(0, |(seq, _, _)| *seq);
            assert!(found.next_seq > last || found.entries.is_empty());
            assert!(found.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
        self.compare_groups(&there, &removed);
    }

    /// Of a batch there is all or nothing: as far as nothing else was done to its messages.
    fn compare_groups(&self, there: &BTreeMap<Id, (u32, Stub)>, removed: &BTreeSet<u64>) {
        let mut times: BTreeMap<Id, usize> = BTreeMap::new();
        flat(&self.maybe)
            .filter_map(id_of)
            .for_each(|id| *times.entry(id).or_default() += 1);
        for maybe in &self.maybe {
            let Maybe::Together(all) = maybe else { continue };
            let effects = all
                .iter()
                .filter(|maybe| id_of(maybe).is_some_and(|id| times[&id] == 1 && !removed.contains(&id.0)));
            let happened: BTreeSet<bool> = effects
                .filter_map(|maybe| match maybe {
                    Maybe::In(id, _) => Some(there.contains_key(id)),
                    Maybe::Out(id) => Some(!there.contains_key(id)),
                    _ => None,
                })
                .collect();
            assert!(happened.len() < 2, "half of {all:?}");
        }
    }
}

fn apply(maybe: &Maybe, queues: &mut BTreeMap<u64, u64>, messages: &mut BTreeMap<Id, Known>) {
    match maybe {
        Maybe::Declared(queue) => {
            queues.insert(*queue, 0);
        }
        Maybe::In(id, known) => {
            messages.insert(*id, known.clone());
        }
        Maybe::Tried(id, attempts, due) => {
            if let Some(known) = messages.get_mut(id) {
                (known.attempts, known.due) = (*attempts, due.or(known.due));
            }
        }
        Maybe::Out(id) => {
            messages.remove(id);
        }
        Maybe::Removed(queue) => {
            queues.remove(queue);
            messages.retain(|id, _| id.0 != *queue);
        }
        Maybe::Marked(queue, below) => {
            if let Some(mark) = queues.get_mut(queue) {
                *mark = *below;
            }
        }
        Maybe::Together(all) => all.iter().for_each(|maybe| apply(maybe, queues, messages)),
    }
}

fn flat(all: &[Maybe]) -> Box<dyn Iterator<Item = &Maybe> + '_> {
    Box::new(all.iter().flat_map(|maybe| match maybe {
        Maybe::Together(all) => flat(all),
        one => Box::new(std::iter::once(one)),
    }))
}

fn id_of(maybe: &Maybe) -> Option<Id> {
    match maybe {
        Maybe::In(id, _) | Maybe::Tried(id, ..) | Maybe::Out(id) => Some(*id),
        _ => None,
    }
}

fn out_of(maybe: &Maybe) -> Option<Id> {
    match maybe {
        Maybe::Out(id) => Some(*id),
        _ => None,
    }
}

fn queue_of(maybe: &Maybe) -> u64 {
    match maybe {
        Maybe::In((queue, _), _) | Maybe::Tried((queue, _), ..) | Maybe::Out((queue, _)) => *queue,
        Maybe::Declared(queue) | Maybe::Removed(queue) | Maybe::Marked(queue, _) => *queue,
        Maybe::Together(_) => 0,
    }
}

#[test]
fn nothing_promised_is_lost_and_nothing_settled_comes_back_whatever_crashes() {
    let (mut crashes, mut kept) = (0, 0);
    for seed in 0..400 {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..4 {
                for _ in 0..world.below(120) {
                    world.operate();
                }
                match world.below(8) {
                    0 => world.stop(),
                    _ => world.crash(),
                }
            }
            (world.crashes, world.kept)
        });
        let Ok((its_crashes, its_kept)) = result else {
            panic!("seed {seed}");
        };
        crashes += its_crashes;
        kept += its_kept;
    }
    assert!(crashes > 800 && kept > 800, "{crashes} crashes, {kept} promises kept");
}

#[test]
fn disks_fail_and_recover_and_nothing_promised_is_lost() {
    let none = Faults::default();
    let mut broken = 0;
    for seed in 0..300 {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            let mut broken = 0;
            for _ in 0..8 {
                let room = world.below(40_000) as u64;
                let used: u64 = world.disk.files().iter().map(|(_, length)| length).sum();
                let faults = match world.below(6) {
                    0 => Faults {
                        sync_fails: true,
                        ..none
                    },
                    1 => Faults {
                        read_only: true,
                        ..none
                    },
                    2 | 3 => Faults {
                        capacity: Some(used + room),
                        ..none
                    },
                    _ => none,
                };
                world.disk.set_faults(faults);
                for _ in 0..world.below(80) {
                    world.operate();
                }
                broken += usize::from(world.store().refuses().is_some());
                if world.below(4) == 0 {
                    world.crash();
                    continue;
                }
                world.disk.set_faults(none);
                world.commit();
                assert_eq!((world.store().refuses(), world.maybe.len()), (None, 0));
            }
            world.crash();
            broken
        });
        let Ok(its_broken) = result else {
            panic!("seed {seed}");
        };
        broken += its_broken;
    }
    assert!(broken > 300, "{broken} times unwell");
}

#[test]
fn the_crash_may_come_at_any_octet() {
    for seed in 0..300 {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..3 {
                let fuel = Some(world.below(20_000) as u64);
                world.disk.set_faults(Faults {
                    fuel,
                    ..Faults::default()
                });
                let mut operations = 0;
                while world.disk.faults().fuel != Some(0) && operations < 600 {
                    world.operate();
                    operations += 1;
                }
                world.crash();
            }
        });
        assert!(result.is_ok(), "seed {seed}");
    }
}
