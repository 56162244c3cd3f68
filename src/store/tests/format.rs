//! What is on disk, to the octet: what one version writes, later ones read.

use proptest::prelude::*;

use super::*;
use crate::store::check::check_disk;
use crate::store::header::{Header, Tail, HEADER};
use crate::store::record::{fitting, records, seal, Entry, Head, Raw, Seal, HEAD};
use crate::store::scan::{Found, Scanner};
use crate::store::shelf::Shelf;
use crate::store::Error;

const SEAL: Seal = Seal { salt: 5, segment: 3 };

#[test]
fn a_folder_of_a_later_version_is_left_alone() {
    for (name, place) in [("00000001.log", 8), ("head", 8)] {
        let disk = Simulated::new();
        let Opened { store, .. } = open(&disk);
        declare(&store, 1);
        store.step();
        drop(store);
        // As the later version would write it: with a check that is right.
        let mut octets = disk.read(name)[..HEADER].to_vec();
        octets[place] = 2;
        let check = crc32c::crc32c(&octets[..HEADER - 4]);
        octets[HEADER - 4..].copy_from_slice(&check.to_le_bytes());
        let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
        as_disk.open(name).unwrap().write_at(&octets, 0).unwrap();
        let before: Vec<_> = disk
            .files()
            .iter()
            .map(|(name, _)| (name.clone(), disk.read(name)))
            .collect();
        for error in [
            Store::manual(&as_disk, small()).unwrap_err(),
            check_disk(&as_disk).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Newer { found: 2, .. }), "{error}");
        }
        let after: Vec<_> = disk
            .files()
            .iter()
            .map(|(name, _)| (name.clone(), disk.read(name)))
            .collect();
        assert_eq!(before, after);
    }
}

#[test]
fn the_first_version_looks_like_this() {
    let header = Header {
        segment: 3,
        salt: 5,
        turn: 7,
        before: Tail {
            segment: 2,
            end: 1000,
            chain: 9,
            torn_from: u64::MAX,
            cut: false,
        },
    };
    let octets = header.write();
    assert_eq!(Header::read(&octets), Ok(header));
    assert_eq!(&octets[..16], b"HOOFSEGM\x01\x07\0\0\x03\0\0\0");
    let mut raw = Raw::default();
    raw.settle(1, 2);
    seal(raw.octets_mut(), SEAL, 64, header.chain(), 8, true);
    assert_eq!(raw.octets()[..8], [0xb7, 4, 4, 8, 16, 0, 0, 0]);
    assert_eq!(crc32c::crc32c(raw.octets()), 587_211_941);
}

#[test]
fn a_record_that_does_not_follow_the_one_before_it_is_read_and_said() {
    let disk = Simulated::new();
    let file = disk.create("segment").unwrap();
    let mut at = HEADER as u64;
    for (seq, chain) in [(1, 70), (2, 71)] {
        let mut raw = Raw::default();
        raw.settle(1, seq);
        seal(raw.octets_mut(), SEAL, at, chain, 1, true);
        file.allocate(4096).unwrap();
        file.write_at(raw.octets(), at).unwrap();
        at += raw.len() as u64;
    }
    let mut scanner = Scanner::new(file, SEAL, 4096, Some(70), None);
    assert!(matches!(scanner.next(), Found::Record(spot) if spot.at == 64));
    assert!(matches!(scanner.next(), Found::Hole(hole) if (hole.from, hole.to) == (100, 100)));
    assert!(matches!(scanner.next(), Found::Record(spot) if spot.at == 100));
    assert!(matches!(scanner.next(), Found::End));
}

fn any_raw() -> impl Strategy<Value = Raw> {
    let one = (
        0..6,
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
        proptest::collection::vec(any::<u8>(), 0..60),
    );
    proptest::collection::vec(one, 1..12).prop_map(|all| {
        let mut raw = Raw::default();
        for (kind, queue, number, small, octets) in all {
            match kind {
                0 => raw.declare(queue, number, u64::from(small), "/queue/ä", &octets),
                1 => {
                    let stub = Stub {
                        size: small,
                        priority: small as u8,
                        expires: (small & 1 == 0).then_some(number),
                        due: (small & 2 == 0).then_some(queue),
                    };
                    raw.append_stored(queue, number, small, &stub, |out| out.extend_from_slice(&octets));
                }
                2 => raw.attempts(queue, number, small, Some(number).filter(|_| small % 2 == 0)),
                3 => raw.settle(queue, number),
                4 => raw.mark(queue, number),
                _ => raw.remove(queue),
            }
        }
        raw
    })
}

proptest! {
    #[test]
    fn sealed_records_read_as_they_were_written_and_nowhere_else(mut raw in any_raw(), offset in 64u64..1 << 40, place in any::<prop::sample::Index>(), bit in 0u8..8) {
        let unsealed = raw.octets().to_vec();
        seal(raw.octets_mut(), SEAL, offset, 77, 3, true);
        let mut at = 0;
        let mut prev = 77;
        for (kind, record) in records(&unsealed) {
            let sealed = &raw.octets()[at..at + record.len()];
            let head = Head::read(sealed, SEAL, offset + at as u64).expect("sealed");
            let payload = &sealed[HEAD..];
            prop_assert!(head.vouches_for(payload, SEAL, offset + at as u64));
            prop_assert_eq!((head.kind, head.prev, head.octets()), (kind, prev, record.len() as u64));
            prop_assert_eq!(Entry::read(head.kind, payload), Entry::read(kind, &record[HEAD..]));
            prop_assert!(Head::read(sealed, SEAL, offset + at as u64 + 1).is_none());
            let elsewhere = Seal { segment: 4, ..SEAL };
            prop_assert!(Head::read(sealed, elsewhere, offset + at as u64).is_none());
            let mut damaged = sealed.to_vec();
            let flipped = place.index(damaged.len());
            damaged[flipped] ^= 1 << bit;
            let read = Head::read(&damaged, SEAL, offset + at as u64);
            prop_assert!(!read.is_some_and(|head| head.vouches_for(&damaged[HEAD..], SEAL, offset + at as u64)));
            prev = head.chain;
            at += record.len();
        }
        prop_assert_eq!(at, unsealed.len());
    }

    #[test]
    fn what_fits_is_whole_groups_and_at_least_one(first in any_raw(), second in any_raw(), third in any_raw(), room in 0u64..2000) {
        let mut raw = Raw::default();
        let mut ends = vec![0];
        for group in [&first, &second, &third] {
            raw.append_group(group);
            ends.push(raw.len());
        }
        let fits = fitting(raw.octets(), room);
        prop_assert!(ends[1..].contains(&fits));
        let most = ends.iter().copied().filter(|end| *end as u64 <= room).max().unwrap_or(0);
        prop_assert_eq!(fits, most.max(ends[1]));
    }

    #[test]
    fn no_payload_makes_the_reader_fail(kind in 0u8..8, octets in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut raw = Raw::default();
        raw.settle(1, 1);
        if let Some((known, _)) = records(&[&[0xb7, kind, 0, 0, 0, 0, 0, 0], &octets[..]].concat()).next() {
            let _ = Entry::read(known, &octets);
        }
    }

    #[test]
    fn a_shelf_is_a_sorted_map(operations in proptest::collection::vec((0u64..3, 0u64..200), 0..400)) {
        let mut shelf = Shelf::default();
        let mut map = std::collections::BTreeMap::new();
        for (what, number) in operations {
            match what {
                0 => prop_assert_eq!(shelf.remove(number), map.remove(&number)),
                _ => prop_assert_eq!(shelf.insert(number, number * what), map.insert(number, number * what)),
            }
            prop_assert_eq!(shelf.get(number), map.get(&number));
        }
        let all: Vec<_> = shelf.iter().map(|(number, thing)| (number, *thing)).collect();
        prop_assert_eq!(all, map.into_iter().collect::<Vec<_>>());
    }
}
