//! What can still be written when the disk is full: what takes messages back needs little, and makes room.

use std::collections::BTreeSet;

use super::record::{records, Entry, Kind, Raw, HEAD, MORE};

/// Parts records in two: those that need little room and depend on none of the others, and the others.
///
/// What came and went in the meantime is in neither. A group stays whole, and so does the order of what concerns one
/// message or one queue.
pub(super) fn part(raw: &Raw) -> (Raw, Raw) {
    let groups = groups(raw.octets());
    let single = |group: &&Vec<One<'_>>| group.len() == 1;
    let brought: BTreeSet<_> = groups
        .iter()
        .flatten()
        .filter(|one| one.kind == Kind::Append)
        .map(One::id)
        .collect();
    let in_groups: BTreeSet<_> = groups
        .iter()
        .filter(|group| group.len() > 1)
        .flatten()
        .map(One::id)
        .collect();
    let taken = groups
        .iter()
        .filter(single)
        .flatten()
        .filter(|one| one.kind == Kind::Settle);
    let over: BTreeSet<_> = taken
        .map(One::id)
        .filter(|id| brought.contains(id) && !in_groups.contains(id))
        .collect();
    let removed = groups
        .iter()
        .filter(single)
        .flatten()
        .filter(|one| one.kind == Kind::Remove);
    let removed: BTreeSet<u64> = removed.map(|one| one.queue).collect();

    let (mut light, mut rest) = (Raw::default(), Raw::default());
    for group in &groups {
        let is_light = |one: &One<'_>| one.kind != Kind::Append && !brought.contains(&one.id());
        match group.as_slice() {
            [one] if one.kind == Kind::Remove || is_light(one) => light.append_record(one.octets),
            _ => {
                let mut kept = Raw::default();
                for one in group {
                    if !removed.contains(&one.queue) && !over.contains(&one.id()) {
                        kept.append_record(one.octets);
                    }
                }
                rest.append_group(&kept);
            }
        }
    }
    (light, rest)
}

/// Whether nothing but new messages and their queues is among the records: nothing that consumers have said.
pub(super) fn is_new(raw: &Raw) -> bool {
    records(raw.octets()).all(|(kind, _)| matches!(kind, Kind::Append | Kind::Declare))
}

/// A record and what it is about.
struct One<'a> {
    kind: Kind,
    queue: u64,
    seq: Option<u64>,
    octets: &'a [u8],
}

impl One<'_> {
    /// The message that it is about, or the queue.
    fn id(&self) -> (u64, Option<u64>) {
        (self.queue, self.seq)
    }
}

fn groups(raw: &[u8]) -> Vec<Vec<One<'_>>> {
    let mut groups = Vec::new();
    let mut group = Vec::new();
    for (kind, octets) in records(raw) {
        let entry = octets.get(HEAD..).and_then(|payload| Entry::read(kind, payload));
        group.push(One {
            kind,
            queue: entry.as_ref().map_or(0, Entry::queue),
            seq: entry.as_ref().and_then(Entry::seq),
            octets,
        });
        if octets.get(2).is_none_or(|flags| flags & MORE == 0) {
            groups.push(std::mem::take(&mut group));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(raw: &Raw) -> Vec<(Kind, u64, Option<u64>)> {
        groups(raw.octets())
            .into_iter()
            .flatten()
            .map(|one| (one.kind, one.queue, one.seq))
            .collect()
    }

    fn append(raw: &mut Raw, queue: u64, seq: u64) {
        raw.append_stored(queue, seq, 0, &Default::default(), |out| {
            out.extend_from_slice(&[0; 100])
        });
    }

    #[test]
    fn what_takes_back_goes_first_and_what_came_and_went_goes_nowhere() {
        let mut raw = Raw::default();
        append(&mut raw, 1, 10);
        raw.settle(1, 3);
        raw.attempts(1, 10, 1, None);
        append(&mut raw, 1, 11);
        raw.settle(1, 11);
        raw.mark(1, 50);
        let (light, rest) = part(&raw);
        assert_eq!(kinds(&light), [(Kind::Settle, 1, Some(3)), (Kind::Mark, 1, None)]);
        assert_eq!(
            kinds(&rest),
            [(Kind::Append, 1, Some(10)), (Kind::Attempts, 1, Some(10))]
        );
    }

    #[test]
    fn groups_stay_whole_and_keep_their_order_with_what_they_bring() {
        let mut group = Raw::default();
        append(&mut group, 1, 10);
        group.settle(1, 4);
        let mut raw = Raw::default();
        raw.append_group(&group);
        raw.settle(1, 10);
        raw.settle(1, 3);
        let (light, rest) = part(&raw);
        assert_eq!(kinds(&light), [(Kind::Settle, 1, Some(3))]);
        let all = groups(rest.octets());
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((all[1][0].kind, all[1][0].seq), (Kind::Settle, Some(10)));
    }

    #[test]
    fn nothing_comes_to_a_removed_queue() {
        let mut group = Raw::default();
        append(&mut group, 1, 10);
        append(&mut group, 2, 10);
        append(&mut group, 1, 11);
        let mut raw = Raw::default();
        append(&mut raw, 1, 9);
        raw.append_group(&group);
        raw.remove(1);
        let (light, rest) = part(&raw);
        assert_eq!(kinds(&light), [(Kind::Remove, 1, None)]);
        let all = groups(rest.octets());
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [1]);
        assert_eq!((all[0][0].queue, all[0][0].octets[2]), (2, 0));
    }
}
