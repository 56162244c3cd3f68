//! Policies and prefixes: the lists of a virtual host.

use super::file::Table;
use super::{in_order, Given};
use crate::broker;
use crate::broker::settings::Policy;

/// Puts the lists of `table`, or those of `root` where it has none, into `host`, whose options are set already:
/// what a policy leaves out is as in the host's `[queue]` and `[topic]`.
pub(super) fn fill(
    host: &mut broker::Settings,
    root: &Table,
    table: &Table,
    put: &mut impl FnMut(&Given, Result<(), String>),
) {
    let prefixes = table.prefixes.as_ref().or(root.prefixes.as_ref());
    host.prefixes = prefixes
        .into_iter()
        .flatten()
        .map(|entry| entry.prefix.clone())
        .collect();

    let policies = table.policies.as_ref().or(root.policies.as_ref());
    for entry in policies.into_iter().flatten() {
        let mut own = broker::Settings {
            queue: host.queue.clone(),
            topic: host.topic.clone(),
            ..broker::Settings::default()
        };
        for given in in_order(&entry.given) {
            put(given, given.option.write_host(&mut own, &given.value));
        }
        host.policies.push(Policy {
            pattern: entry.pattern.clone(),
            topic: own.topic,
            queue: own.queue,
        });
    }
}
