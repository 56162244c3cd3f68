//! Where messages are kept: queues of every policy, and durable subscriptions in the three dialects.

use crate::wire::Frame;

/// A queue or a durable subscription.
#[derive(Debug)]
pub struct Place {
    /// Its canonical name.
    pub name: &'static str,
    /// What SUBSCRIBE names.
    pub destination: &'static str,
    /// The `id` that tells a durable subscription from others, where that does.
    pub id: Option<&'static str>,
    /// Further headers of SUBSCRIBE; of a queue those of SEND too, of a durable subscription those of UNSUBSCRIBE.
    pub headers: &'static [(&'static str, &'static str)],
    /// A durable subscription's place among [`SELECTORS`].
    pub selector: Option<usize>,
}

/// The first of [`PLACES`] are queues.
pub const QUEUES: usize = 7;
/// Nobody there has a selector or is alone, so that groups stay with their consumers.
pub const GROUPED: usize = 1;
/// Gives its oldest to its dead-letter queue when there are too many.
pub const LIMITED: usize = 3;
/// Its dead letters are what has expired.
pub const MORTAL: usize = 4;
/// Refuses what it has no room for.
pub const REJECTING: usize = 5;
/// Has its senders wait for room.
pub const BLOCKING: usize = 6;

const fn queue(name: &'static str, headers: &'static [(&'static str, &'static str)]) -> Place {
    Place {
        name,
        destination: name,
        id: None,
        headers,
        selector: None,
    }
}

pub const PLACES: [Place; 11] = [
    queue("/queue/q", &[]),
    queue("/queue/w", &[]),
    queue("/queue/v", &[]),
    queue(
        "/queue/limited",
        &[
            ("x-max-length", "5"),
            ("x-dead-letter-routing-key", "/queue/DLQ.limited"),
        ],
    ),
    queue("/queue/mortal", &[]),
    queue("/queue/rejecting", &[]),
    queue("/queue/blocking", &[]),
    Place {
        name: "durable:id/d0/topic/a",
        destination: "/topic/a",
        id: Some("d0"),
        headers: &[("durable", "true"), ("auto-delete", "false")],
        selector: None,
    },
    Place {
        name: "durable:client/c1/s1",
        destination: "/topic/a",
        id: None,
        headers: &[("client-id", "c1"), ("activemq.subscriptionName", "s1")],
        selector: Some(0),
    },
    Place {
        name: "durable:client/c2/s2",
        destination: "/topic/*",
        id: None,
        headers: &[("client-id", "c2"), ("durable-subscription-name", "s2")],
        selector: None,
    },
    Place {
        name: "durable:id/d3/topic/b",
        destination: "/topic/b",
        id: Some("d3"),
        headers: &[("durable", "true"), ("auto-delete", "false")],
        selector: None,
    },
];

/// Selectors, each with the only values of the header `kind` that it matches.
pub const SELECTORS: [(&str, &[Option<&str>]); 3] = [
    ("kind = 'a'", &[Some("a")]),
    ("kind <> 'a' OR kind IS NULL", &[Some("b"), None]),
    ("kind LIKE 'b%'", &[Some("b")]),
];

/// Whether a selector matches a message.
pub fn selects(selector: usize, sent: &Frame) -> bool {
    SELECTORS[selector].1.contains(&sent.get("kind"))
}

/// Durable subscriptions, by their place.
pub fn durables() -> std::ops::Range<usize> {
    QUEUES..PLACES.len()
}

/// Whether the place keeps a message that is sent to `destination`.
pub fn keeps(place: usize, sent: &Frame) -> bool {
    let destination = sent.get("destination").unwrap_or_default();
    let Place {
        destination: own,
        selector,
        ..
    } = PLACES[place];
    let named = own == destination || own == "/topic/*" && destination.starts_with("/topic/");
    named && selector.is_none_or(|selector| selects(selector, sent))
}

/// Where the dead letters of a place go.
pub fn dead_letters(place: usize) -> String {
    let name = PLACES[place].name;
    let local = name.strip_prefix("/queue/").or(name.strip_prefix("durable:"));
    format!("/queue/DLQ.{}", local.unwrap_or(name))
}

/// Whether what expires there becomes a dead letter; elsewhere it is dropped.
pub fn buries_expired(place: usize) -> bool {
    matches!(place, LIMITED | MORTAL)
}
