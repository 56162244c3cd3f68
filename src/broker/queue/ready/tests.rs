//! Random operations on what waits, against what there is to see of it.

use proptest::prelude::*;

use super::*;
use crate::broker::message::{Draft, Properties};
use crate::stomp::{Headers, Version};

fn message(persistent: bool, priority: u8) -> Arc<Message> {
    let headers = Headers::new([], false);
    let draft = Draft {
        destination: "/queue/q",
        headers: &headers,
        reply_to: None,
        body: b"body",
        version: Version::V1_2,
        properties: Properties {
            persistent,
            priority,
            ..Properties::default()
        },
        publisher: 1,
    };
    Arc::new(Message::new(1, draft, &Arc::default()))
}

/// All that waits, in order; `None` where the octets are on disk.
fn all(ready: &Ready) -> Vec<(Key, Option<Arc<Message>>)> {
    let mut all = Vec::new();
    let mut from = Key::MIN;
    while let Some((key, glance)) = ready.next_from(from) {
        from = key.next();
        all.push(match glance {
            Glance::Here(message) => (key, Some(message)),
            Glance::Away => (key, None),
        });
    }
    all
}

/// Octets of persistent messages that are here.
fn persistent(all: &[(Key, Option<Arc<Message>>)]) -> usize {
    let here = all.iter().filter_map(|(_, message)| message.as_ref());
    let kept = here.filter(|message| message.properties().persistent);
    kept.map(|message| message.size()).sum()
}

/// Brings the octets of some messages from `place` on.
fn fetch(ready: &mut Ready, place: Key, octets: usize) {
    for seq in ready.wanted_from(place, octets) {
        let stub = ready.fetched(seq).expect("it was asked for");
        assert!(ready.load(seq, message(true, stub.priority)));
    }
}

proptest! {
    #[test]
    fn before_the_place_that_was_unloaded_no_persistent_message_is_here(
        operations in proptest::collection::vec((0u8..10, 0usize..60, 3u8..6), 1..150)
    ) {
        let mut ready = Ready::default();
        let mut held: Vec<Entry> = Vec::new();
        for (seq, (what, number, priority)) in (0..).zip(operations) {
            let waiting = all(&ready);
            let place = waiting.get(number % waiting.len().max(1)).map_or(Key::MIN, |(key, _)| key.next());
            match what {
                0..=2 => ready.push(seq, message(number % 3 > 0, priority)),
                3 => ready.push_stub(seq, message(true, priority).stub()),
                4 => held.extend(ready.pop()),
                5 => held.extend(waiting.get(number).and_then(|(key, _)| ready.take(*key))),
                6 if !held.is_empty() => {
                    let entry = held.remove(number % held.len());
                    match entry.message.properties().persistent && number % 2 == 0 {
                        true => ready.put_back_stub(entry.seq, entry.message.stub(), entry.attempts + 1),
                        false => ready.put_back(entry),
                    }
                }
                7 => fetch(&mut ready, place, number * 20),
                _ => {
                    ready.unload(place);
                    let left = all(&ready);
                    let before = left.partition_point(|(key, _)| *key < place);
                    prop_assert_eq!(persistent(&left[..before]), 0);
                    prop_assert_eq!(persistent(&left[before..]), persistent(&waiting[before..]));
                    prop_assert_eq!(left.len(), waiting.len());
                }
            }
            prop_assert_eq!(ready.resident(), persistent(&all(&ready)));
        }
    }
}
