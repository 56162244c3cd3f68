//! Queues that choose: groups that stay with their consumer, consumers that are the only one.

use crate::client::Consumer;
use crate::promises::{Broken, Key};
use crate::world::World;

impl World {
    /// Whether this subscription is the one that the message was for.
    pub fn is_the_one(&mut self, at: usize, id: &str, key: Key) -> Result<(), Broken> {
        let client = &self.clients[at];
        let reader = (client.number, id.to_owned());
        if client.consumers.get(id).is_none_or(|consumer| !consumer.live) {
            // It reads late what came before it left.
            return Ok(());
        }
        let alone = |consumer: &&Consumer| consumer.alone && consumer.since < key.0;
        let sole = self.competing(key.1).filter(|(_, consumer)| alone(consumer));
        let sole = sole.min_by_key(|(_, consumer)| consumer.since);
        if let Some((sole, _)) = sole {
            if sole != reader {
                return Err(format!("message {key:?} went to {reader:?}, and {sole:?} was alone"));
            }
            self.mark("alone");
        }
        let Some(group) = self.promises.facts[&key].group().map(str::to_owned) else {
            return Ok(());
        };
        if self.promises.mixed.contains(&key.1) {
            return Ok(());
        }
        let place = (key.1, group);
        let known = self.groups.get(&place).cloned();
        if known.as_ref() == Some(&reader) && self.competing(key.1).count() > 1 {
            self.mark("a group stayed");
        }
        if let Some(owner) = known.filter(|owner| *owner != reader) {
            if self.competing(key.1).any(|(other, _)| other == owner) {
                return Err(format!(
                    "message {key:?} of {place:?} went to {reader:?} and not to {owner:?}"
                ));
            }
            self.mark("a group moved");
        }
        self.groups.insert(place, reader);
        Ok(())
    }

    /// Those who compete for what is sent to a place, by client and subscription.
    fn competing(&self, place: usize) -> impl Iterator<Item = ((usize, String), &Consumer)> {
        let clients = self.clients.iter().filter(|client| !client.over && !client.closing);
        let all = clients.flat_map(|client| {
            let own = client.consumers.iter();
            own.map(|(id, consumer)| ((client.number, id.clone()), consumer))
        });
        all.filter(move |(_, consumer)| consumer.takes_from(place))
    }
}
