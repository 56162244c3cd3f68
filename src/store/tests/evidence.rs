//! What tells damage from what the end of the process leaves behind: no loss goes unsaid, and no end of a process is told
//! as one, at the next start and at every later one.

use std::collections::BTreeMap;

use super::*;
use crate::store::log;
use crate::store::simulated::{Crash, Faults};
use crate::store::{Damage, Flaw};

/// The octets of messages, by queue and number.
type Octets = BTreeMap<(u64, u64), Vec<u8>>;

const CRASHES: [Crash; 4] = [Crash::Killed, Crash::Dropped, Crash::Torn(1), Crash::Torn(2)];

fn losses(opened: &Opened) -> Vec<&Damage> {
    opened.damage.iter().filter(|damage| damage.is_loss()).collect()
}

/// Segment, and from where to where.
fn place(disk: &Simulated, queue: u64, seq: u64) -> (u32, u64, u64) {
    let look = log::look(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).unwrap();
    look.place(queue, seq).unwrap()
}

fn segments(disk: &Simulated) -> Vec<String> {
    let names = disk.files().into_iter().map(|(name, _)| name);
    names.filter(|name| name.ends_with(".log")).collect()
}

/// Writes so much that does not count that the first segments are removed.
fn fill(store: &Store, queue: u64) {
    declare(store, queue);
    for seq in 1..60 {
        append(store, queue, seq, &[1; 1000], None);
        settle(store, queue, seq, None);
        store.step();
    }
    settle_down(store);
}

#[test]
fn a_segment_that_was_begun_in_vain_is_not_missed() {
    for syncs in 0..12 {
        for crash in CRASHES {
            let disk = Simulated::new();
            let Opened { store, .. } = open(&disk);
            declare(&store, 1);
            append(&store, 1, 1, b"promised", None);
            store.step();
            disk.set_faults(Faults {
                syncs: Some(syncs),
                ..Faults::default()
            });
            // Too much for the segment, so that others are begun; and again.
            for seq in 2..20 {
                append(&store, 1, seq, &[2; 3000], None);
                store.step();
            }
            let opened = open(&disk.crash(crash));
            assert_eq!(losses(&opened), Vec::<&Damage>::new(), "{syncs} syncs, {crash:?}");
            assert_eq!(
                found(&opened, 1).and_then(|found| found.first().copied()),
                Some(1),
                "{syncs} syncs, {crash:?}"
            );
        }
    }
}

#[test]
fn what_is_left_of_a_segment_that_was_never_made_is_no_damage() {
    // Twice the process stops while it begins a segment: in the segment's header, and, if the disk lives that long once
    // more, while it tells the head file of the next.
    for (first, second) in (0..200)
        .step_by(3)
        .flat_map(|first| [(first, 100), (first, 180), (first, 250)])
    {
        let disk = Simulated::new();
        let Opened { store, .. } = open(&disk);
        declare(&store, 1);
        append(&store, 1, 1, b"promised", None);
        store.step();
        append(&store, 1, 2, &[2; 8000], None);
        for fuel in [first, second] {
            disk.set_faults(Faults {
                fuel: Some(fuel),
                ..Faults::default()
            });
            store.step();
        }
        for crash in CRASHES {
            let opened = open(&disk.crash(crash));
            assert_eq!(losses(&opened), Vec::<&Damage>::new(), "{first}, {second}, {crash:?}");
            assert_eq!(found(&opened, 1), Some(vec![1]));
        }
    }
}

#[test]
fn the_last_segment_and_one_copy_of_the_head_file_are_lost_and_both_are_said() {
    for copy in [0, 4096] {
        let disk = Simulated::new();
        let Opened { store, .. } = open(&disk);
        declare(&store, 1);
        for seq in 1..=30 {
            append(&store, 1, seq, &[1; 1000], None);
            store.step();
        }
        disk.flip("head", (copy + 20) * 8);
        let last = segments(&disk).pop().unwrap();
        disk.lose(&last);
        let opened = open(&disk);
        let flaws: Vec<Flaw> = opened.damage.iter().map(|damage| damage.flaw).collect();
        assert_eq!(flaws, [Flaw::Copy, Flaw::Gone], "copy at {copy}");
        assert_eq!(format!("{:08}.log", opened.damage[1].segment), last);
    }
}

#[test]
fn a_lost_segment_and_a_cut_one_are_said_at_every_start_until_they_go() {
    for cut in [false, true] {
        let disk = Simulated::new();
        let Opened { store, .. } = open(&disk);
        declare(&store, 1);
        for seq in 1..=20 {
            append(&store, 1, seq, &[1; 1000], None);
            store.step();
        }
        let last = segments(&disk).pop().unwrap();
        match cut {
            true => disk.cut(&last, place(&disk, 1, 20).1),
            false => disk.lose(&last),
        }
        let disk = disk.crash(Crash::Killed);
        let first = open(&disk);
        let flaws: Vec<Flaw> = first.damage.iter().map(|damage| damage.flaw).collect();
        assert_eq!(flaws, [if cut { Flaw::Cut } else { Flaw::Gone }]);
        let served = found(&first, 1);
        for start in 2..8 {
            let opened = open(&disk);
            assert_eq!(opened.damage, first.damage, "start {start}");
            assert_eq!(found(&opened, 1), served);
            declare(&opened.store, 100 + start);
            append(&opened.store, 100 + start, 1, b"more", None);
            opened.store.step();
            match start % 3 {
                0 => opened.store.close(),
                1 => settle_down(&opened.store),
                _ => {}
            }
        }
        let opened = open(&disk);
        for queue in &opened.queues {
            opened.store.write(Record::Remove { queue: queue.queue }, None);
        }
        fill(&opened.store, 500);
        assert_eq!(open(&disk).damage, Vec::new());
    }
}

#[test]
fn what_is_offered_can_be_read_even_if_the_file_was_cut_in_its_last_zeros() {
    let disk = Simulated::new();
    let Opened { store, .. } = open(&disk);
    declare(&store, 1);
    append(&store, 1, 1, b"ends with zeros\0\0\0", None);
    store.step();
    store.close();
    let (segment, _, to) = place(&disk, 1, 1);
    let octets = disk.read(&format!("{segment:08}.log"));
    let zeros = octets[..to as usize]
        .iter()
        .rev()
        .take_while(|octet| **octet == 0)
        .count();
    assert!(zeros > 0);
    disk.cut(&format!("{segment:08}.log"), to - zeros as u64);
    let opened = open(&disk);
    assert_eq!(found(&opened, 1), Some(vec![1]));
    assert!(fetch(&opened.store, 1, 1).is_some());
}

#[test]
fn half_of_a_commit_does_not_count_when_a_queue_of_the_other_half_was_not_kept() {
    let disk = Simulated::new();
    let Opened { store, .. } = open(&disk);
    declare(&store, 1);
    append(&store, 1, 1, b"before", None);
    store.step();
    declare(&store, 2);
    append(&store, 1, 2, b"half", Some(1));
    append(&store, 2, 1, b"other half", Some(1));
    append(&store, 1, 3, b"alone", None);
    store.seal(1);
    store.step();
    let (name, octets) = ("00000001.log", disk.read("00000001.log"));
    // The blocks with both declarations did not reach the disk, and a later one did.
    let declarations = octets
        .windows(8)
        .enumerate()
        .filter(|(_, octets)| octets == b"/queue/2");
    let declarations: Vec<usize> = declarations.map(|(at, _)| at).collect();
    assert_eq!(declarations.len(), 2);
    for at in declarations {
        disk.flip(name, at as u64 * 8);
    }
    let disk = disk.crash(Crash::Killed);
    for start in 1..5 {
        let opened = open(&disk);
        assert_eq!(losses(&opened), Vec::<&Damage>::new(), "start {start}");
        assert_eq!((found(&opened, 1), found(&opened, 2)), (Some(vec![1, 3]), None));
        assert!(opened.next_queue > 2, "a number is given once");
        declare(&opened.store, 10 + start);
        opened.store.step();
        settle_down(&opened.store);
    }
}

#[test]
fn damage_of_something_promised_is_not_taken_for_a_torn_end_because_commits_are_numbered_in_a_circle() {
    let disk = Simulated::new();
    let Opened { store, .. } = open_with(
        &disk,
        Settings {
            segment_octets: 1 << 20,
            ..small()
        },
    );
    declare(&store, 1);
    store.step();
    for seq in 1..=257 {
        append(&store, 1, seq, b"x", None);
        store.step();
    }
    let (segment, _, to) = place(&disk, 1, 1);
    disk.flip(&format!("{segment:08}.log"), (to - 2) * 8);
    assert_eq!(losses(&open(&disk)).len(), 1);
}

/// Random operations; what is there afterwards, and everything that ever was.
fn written(random: &mut Random) -> (Simulated, Octets, Octets) {
    let disk = Simulated::new();
    let settings = Settings {
        segment_octets: 4096,
        reserve_octets: 0,
        ..small()
    };
    let Opened { store, .. } = open_with(&disk, settings);
    let (mut all, mut live) = (BTreeMap::new(), BTreeMap::new());
    (1..=3).for_each(|queue| declare(&store, queue));
    for seq in 1..1 + random.below(50) as u64 {
        let (queue, batch) = (1 + random.below(3) as u64, (random.below(4) == 0).then_some(seq / 8));
        match random.below(8) {
            0..4 => {
                let body = vec![seq as u8; random.below(700)];
                append(&store, queue, seq, &body, batch);
                all.insert((queue, seq), stored(&message(&body)));
                live.insert((queue, seq), stored(&message(&body)));
            }
            4..6 => {
                if let Some(((queue, seq), _)) = live.pop_first() {
                    settle(&store, queue, seq, batch);
                }
            }
            _ => settle_down(&store),
        }
        if seq % 8 == 7 {
            store.seal(seq / 8);
        }
    }
    (0..8).for_each(|batch| store.seal(batch));
    settle_down(&store);
    if random.below(2) == 0 {
        store.close();
    }
    (disk.crash(Crash::Killed), all, live)
}

/// Everything that a start serves, and what it says.
fn served(disk: &Simulated) -> (Octets, Vec<Damage>) {
    let opened = open_with(
        disk,
        Settings {
            segment_octets: 4096,
            reserve_octets: 0,
            ..small()
        },
    );
    let heard = Heard::by(&opened.store);
    for queue in &opened.queues {
        let seqs: Vec<u64> = queue.entries.iter().map(|(seq, _, _)| *seq).collect();
        opened.store.fetch(queue.queue, &seqs);
    }
    settle_down(&opened.store);
    let mut served = BTreeMap::new();
    for report in heard.take() {
        if let Report::Loaded { queue, seq, octets } = report {
            served.insert((queue, seq), octets.expect("what is offered can be read"));
        }
    }
    (served, opened.damage)
}

#[test]
fn several_damages_at_once_are_said_and_judged_alike_at_every_start() {
    for seed in 0..600 {
        let mut random = Random::new(seed);
        let (disk, all, live) = written(&mut random);
        for _ in 0..1 + random.below(4) {
            let files = disk.files();
            let Some((name, length)) = files.get(random.below(files.len())) else {
                continue;
            };
            match random.below(8) {
                0 => disk.lose(name),
                1 => disk.cut(name, random.below(*length as usize) as u64),
                2 => disk.cut(name, length.saturating_sub(4096)),
                _ => disk.flip(name, random.below(*length as usize * 8) as u64),
            }
        }
        if disk.files().is_empty() {
            continue;
        }
        let (first, damage) = served(&disk);
        let is_quiet = damage.iter().all(|damage| damage.flaw == Flaw::Copy);
        assert!(
            first.iter().all(|(id, octets)| all.get(id) == Some(octets)),
            "seed {seed}"
        );
        assert!(!is_quiet || first == live, "seed {seed}: gone, or back, without a word");
        for start in 2..5 {
            let (again, damage_again) = served(&disk);
            assert_eq!(
                again.keys().collect::<Vec<_>>(),
                first.keys().collect::<Vec<_>>(),
                "seed {seed}: start {start} judges otherwise: {damage:?}, {damage_again:?}"
            );
        }
    }
}
