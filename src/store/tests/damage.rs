//! Flipped bits and cut files: what is not served is named.

use std::collections::BTreeMap;

use super::*;
use crate::store::log;
use crate::store::simulated::Crash;
use crate::store::{Damage, Flaw};

type Id = (u64, u64);

/// A folder with a bit of everything, and where in it each message is.
struct Folder {
    disk: Simulated,
    bodies: BTreeMap<Id, Vec<u8>>,
    /// Segment, and from where to where.
    places: BTreeMap<Id, (u32, u64, u64)>,
}

impl Folder {
    fn new(clean: bool) -> Folder {
        let disk = Simulated::new();
        let Opened { store, .. } = open(&disk);
        let mut random = Random::new(u64::from(clean));
        let mut bodies = BTreeMap::new();
        (1..=3).for_each(|queue| declare(&store, queue));
        for seq in 1..=120 {
            for queue in 1..=3 {
                let body = vec![(seq * queue % 251) as u8; random.below(300)];
                let batch = (seq % 8 == 0).then_some(seq);
                append(&store, queue, seq, &body, batch);
                bodies.insert((queue, seq), body);
            }
            if seq % 8 == 0 {
                store.seal(seq);
            }
            if seq > 40 && seq % 3 == 0 {
                settle(&store, 2, seq - 40, None);
                bodies.remove(&(2, seq - 40));
            }
            if seq % 5 == 0 {
                store.step();
            }
        }
        settle_down(&store);
        if clean {
            store.close();
        }
        let disk = disk.crash(Crash::Killed);
        let look = log::look(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).unwrap();
        let places = bodies.keys().map(|id| (*id, look.place(id.0, id.1).unwrap())).collect();
        Folder { disk, bodies, places }
    }

    /// Opens a damaged copy: what is wrong with it. Everything that is not named is served as it was.
    fn open(&self, damaged: &Simulated) -> Vec<Damage> {
        let opened = open(damaged);
        let heard = Heard::by(&opened.store);
        for queue in &opened.queues {
            let seqs: Vec<u64> = queue.entries.iter().map(|(seq, _, _)| *seq).collect();
            opened.store.fetch(queue.queue, &seqs);
        }
        opened.store.step();
        let mut served = BTreeMap::new();
        for report in heard.take() {
            if let Report::Loaded { queue, seq, octets } = report {
                served.insert((queue, seq), octets.expect("what is offered can be read"));
            }
        }
        for (id, body) in &self.bodies {
            match served.remove(id) {
                Some(octets) => assert_eq!(octets, stored(&message(body)), "{id:?}"),
                None => assert!(
                    self.is_named(*id, &opened.damage),
                    "{id:?} is gone, with {:?}",
                    opened.damage
                ),
            }
        }
        // Settled ones may be back if what settled them is damaged.
        assert!(
            served.is_empty() || !opened.damage.is_empty(),
            "{:?} are back",
            served.keys()
        );
        // Nothing was written, and the process was killed.
        let again = open(&damaged.crash(Crash::Killed));
        assert_eq!(
            again.queues, opened.queues,
            "the second start judges otherwise: {:?}",
            again.damage
        );
        self.go_on(&opened.store, damaged);
        opened.damage
    }

    fn is_named(&self, id: Id, damage: &[Damage]) -> bool {
        let (segment, from, to) = self.places[&id];
        damage.iter().any(|damage| {
            let overlaps = damage.octets.0 < to && from < damage.octets.1;
            let here = damage.segment == segment && (overlaps || (damage.flaw == Flaw::Cut && damage.octets.0 < to));
            here || damage.about == Some((id.0, Some(id.1)))
        })
    }

    /// A damaged log is written to like any other, and what is written then is safe.
    fn go_on(&self, store: &Store, disk: &Simulated) {
        declare(store, 9);
        append(store, 9, 1, b"after the damage", None);
        store.step();
        let opened = open(&disk.crash(Crash::Dropped));
        assert_eq!(found(&opened, 9), Some(vec![1]));
    }
}

#[test]
fn a_thousand_flipped_bits() {
    let mut named = 0;
    for clean in [true, false] {
        let folder = Folder::new(clean);
        let files = folder.disk.files();
        let mut random = Random::new(5);
        for _ in 0..500 {
            let damaged = folder.disk.crash(Crash::Killed);
            let (name, length) = &files[random.below(files.len())];
            damaged.flip(name, random.below(*length as usize * 8) as u64);
            let damage = folder.open(&damaged);
            named += usize::from(!damage.is_empty());
            if clean {
                assert!(
                    damage.iter().all(|damage| damage.flaw != Flaw::Torn),
                    "closed, so nothing is torn: {damage:?}"
                );
            }
        }
    }
    assert!(named > 500, "{named} of 1,000 were noticed");
}

#[test]
fn two_hundred_cut_files() {
    for clean in [true, false] {
        let folder = Folder::new(clean);
        let segments: Vec<_> = folder
            .disk
            .files()
            .into_iter()
            .filter(|(name, _)| name.ends_with(".log"))
            .collect();
        let mut random = Random::new(6);
        for _ in 0..100 {
            let damaged = folder.disk.crash(Crash::Killed);
            let (name, length) = &segments[random.below(segments.len())];
            let at = random.below(*length as usize) as u64;
            damaged.cut(name, at);
            let last_used = folder
                .places
                .values()
                .map(|(segment, _, to)| (format!("{segment:08}.log"), *to));
            let lost = last_used.into_iter().any(|(its, to)| its == *name && to > at);
            let damage = folder.open(&damaged);
            assert!(
                !lost || damage.iter().any(Damage::is_loss),
                "{name} cut at {at}: {damage:?}"
            );
        }
    }
}

#[test]
fn a_cut_at_the_very_end_of_a_commit_is_noticed_too() {
    let disk = Simulated::new();
    let Opened { store, .. } = open(&disk);
    declare(&store, 1);
    store.step();
    let mut ends = Vec::new();
    for seq in 1..=5 {
        append(&store, 1, seq, b"x", None);
        store.step();
        let look = log::look(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).unwrap();
        ends.push(look.place(1, seq).unwrap());
    }
    for (segment, _, end) in &ends[..4] {
        let cut = disk.crash(Crash::Killed);
        cut.cut(&format!("{segment:08}.log"), *end);
        assert!(open(&cut).damage.iter().any(Damage::is_loss), "cut at {end}");
    }
}

#[test]
fn a_lost_segment_is_noticed_whichever_it_is() {
    let folder = Folder::new(false);
    let segments: Vec<_> = folder
        .disk
        .files()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".log"))
        .collect();
    assert!(segments.len() > 4);
    for (name, _) in &segments {
        let damaged = folder.disk.crash(Crash::Killed);
        damaged.lose(name);
        let opened = open(&damaged);
        let number: u32 = name[..8].parse().unwrap();
        let gone = |damage: &Damage| damage.flaw == Flaw::Gone && damage.segment == number;
        assert!(opened.damage.iter().any(gone), "{name}: {:?}", opened.damage);
    }
}

#[test]
fn a_damaged_head_file_costs_no_segment() {
    for rounds in 0..60 {
        let disk = Simulated::new();
        let Opened { store, .. } = open(&disk);
        declare(&store, 1);
        for seq in 1..=rounds {
            append(&store, 1, seq, &[1; 1000], None);
            store.step();
            if seq > 10 {
                settle(&store, 1, seq - 10, None);
            }
        }
        store.step();
        settle_down(&store);
        for slot in [0, 4096] {
            let damaged = disk.crash(Crash::Killed);
            damaged.flip("head", (slot + 20) * 8);
            let opened = open(&damaged);
            let there: Vec<u64> = (1..=rounds).filter(|seq| seq + 10 > rounds).collect();
            assert_eq!(
                found(&opened, 1),
                Some(there),
                "slot {slot} after {rounds}: {:?}",
                opened.damage
            );
        }
    }
}

#[test]
fn a_head_file_and_a_segment_that_are_damaged_together_are_noticed() {
    let disk = Simulated::new();
    let Opened { store, .. } = open(&disk);
    declare(&store, 1);
    append(&store, 1, 1, b"x", None);
    store.step();
    for length in [0, 30, 64, 100, 4096] {
        for slot in [0, 4096] {
            let damaged = disk.crash(Crash::Killed);
            damaged.flip("head", (slot + 20) * 8);
            damaged.cut("00000001.log", length);
            let opened = open(&damaged);
            assert!(
                length == 4096 || opened.damage.iter().any(Damage::is_loss),
                "{length}, {slot}"
            );
        }
    }
}

#[test]
fn what_is_damaged_is_set_aside_and_said_at_every_start_until_its_segment_goes() {
    let folder = Folder::new(true);
    let (id, (segment, from, to)) = folder.places.iter().next().map(|(id, place)| (*id, *place)).unwrap();
    let name = format!("{segment:08}.log");
    folder.disk.flip(&name, (to - 2) * 8);
    for _ in 0..2 {
        let opened = open(&folder.disk);
        assert_eq!(opened.damage.len(), 1);
        assert_eq!(
            (opened.damage[0].octets, opened.damage[0].flaw),
            ((from, to), Flaw::Unreadable)
        );
        assert_eq!(opened.damage[0].about, Some((id.0, Some(id.1))));
        opened.store.close();
    }
    let aside = folder.disk.read(&format!("damaged/{segment:08}-{from}.part"));
    assert_eq!(aside, folder.disk.read(&name)[from as usize..to as usize]);
    let opened = open(&folder.disk);
    for queue in &opened.queues {
        opened.store.write(Record::Remove { queue: queue.queue }, None);
    }
    declare(&opened.store, 4);
    opened.store.step();
    settle_down(&opened.store);
    for seq in 1..40 {
        append(&opened.store, 4, seq, &[1; 1000], None);
        opened.store.step();
    }
    settle_down(&opened.store);
    assert_eq!(open(&folder.disk).damage, Vec::new());
    assert_eq!(folder.disk.read(&format!("damaged/{segment:08}-{from}.part")), aside);
}

/// A closed log whose last commit brings message 2 and takes message 1 back; where message 2 is.
fn closed() -> (Simulated, (u32, u64, u64)) {
    let disk = Simulated::new();
    let Opened { store, .. } = open(&disk);
    declare(&store, 1);
    append(&store, 1, 1, b"settled", None);
    store.step();
    append(&store, 1, 2, b"damaged", None);
    settle(&store, 1, 1, None);
    store.step();
    settle_down(&store);
    let look = log::look(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).unwrap();
    store.close();
    (disk, look.place(1, 2).unwrap())
}

#[test]
fn damage_in_the_last_commit_of_a_closed_log_is_never_taken_for_a_torn_end() {
    let (disk, (segment, from, to)) = closed();
    disk.flip(&format!("{segment:08}.log"), (to - 2) * 8);
    for start in 1..=3 {
        // Nothing is written, and the process is killed.
        let opened = open(&disk);
        assert_eq!(found(&opened, 1), Some(vec![]), "start {start}: {:?}", opened.damage);
        let damage: Vec<_> = opened
            .damage
            .iter()
            .map(|damage| (damage.octets, damage.flaw))
            .collect();
        assert_eq!(damage, [((from, to), Flaw::Unreadable)], "start {start}");
    }
}

#[test]
fn a_segment_that_was_cut_is_never_made_longer() {
    let (disk, (segment, from, _)) = closed();
    let name = format!("{segment:08}.log");
    disk.cut(&name, from);
    let opened = open(&disk);
    assert!(opened.damage.iter().any(Damage::is_loss));
    append(&opened.store, 1, 3, b"more", None);
    opened.store.step();
    assert_eq!(disk.read(&name).len() as u64, from);
}

#[test]
fn a_record_in_a_body_is_not_taken_for_one() {
    let disk = Simulated::new();
    let Opened { store, .. } = open(&disk);
    declare(&store, 1);
    append(&store, 1, 1, b"precious", None);
    settle(&store, 1, 7, None);
    store.step();
    // A client sends a segment of this very log, with the settlement of a message in it.
    let (name, _) = disk
        .files()
        .into_iter()
        .find(|(name, _)| name.ends_with(".log"))
        .unwrap();
    let segment = disk.read(&name)[..600].to_vec();
    append(&store, 1, 2, &segment, None);
    append(&store, 1, 3, b"more", None);
    store.step();
    let look = log::look(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).unwrap();
    let (_, from, _) = look.place(1, 2).unwrap();
    drop(look);
    for bit in 0..20 * 8 {
        let damaged = disk.crash(Crash::Killed);
        damaged.flip(&name, from * 8 + bit);
        let opened = open(&damaged);
        assert_eq!(found(&opened, 1), Some(vec![1, 3]), "bit {bit}");
        assert!(!opened.damage.is_empty());
    }
}
