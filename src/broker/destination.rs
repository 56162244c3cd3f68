//! Destination names: which forms there are and what each means.
//!
//! STOMP leaves the names of destinations to the server. Here is the only place that knows `/queue/` from
//! `/topic/`; what leaves it is a [`Destination`], which cannot be empty or half a name.

use std::sync::Arc;

use super::pattern::{is_wildcard, may_hold_wildcard, pieces, Pattern};
use super::private::USER;
use super::settings::{Kind, Prefix, Separator, Spring};

/// The forms, as an ERROR lists them.
pub const FORMS: &str = "/topic/NAME, /queue/NAME, /app/NAME, /temp-queue/NAME, /temp-topic/NAME, \
    /user/DESTINATION (SUBSCRIBE), /user/NAME/DESTINATION (SEND), /amq/queue/NAME, /reply-queue/NAME, \
    /exchange/amq.topic/KEY, /exchange/amq.fanout, /exchange/amq.direct/KEY, \
    a bare NAME (= /queue/NAME), and the prefixes of the configuration ([[prefix]])";

/// What the addresses begin with at which requests are answered.
pub const ANSWER: &str = "/reply-app/";

/// What the addresses begin with that lead to what one session has subscribed under `/user`.
pub const SESSION: &str = "/reply-user/";

/// What application destinations begin with.
const APP: &str = "/app/";

/// What those who work for application destinations subscribe to, and the names of their queues begin with.
pub const WORKER: &str = "/worker/";

/// What the canonical names of [`Spring`]'s topics begin with.
const APART: &str = "apart:";

/// A destination that messages can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its canonical name, under which the directory knows it; `/amq/queue/a` is `/queue/a`.
    pub name: Arc<str>,
    /// Topic or queue.
    pub kind: Kind,
    /// Which characters part its segments.
    pub separator: Separator,
    /// A reply address: never made by a SEND, and only its owner may subscribe.
    pub reply: bool,
    /// The queue of those who work for an `/app` destination: never made by a SEND, which needs a worker.
    pub app: bool,
}

impl Destination {
    /// Whether it is one of [`Spring`]'s topics, which not everybody may use.
    pub fn is_apart(&self) -> bool {
        self.name.starts_with(APART)
    }
}

impl Spring {
    /// Whether it is the topic of messages whose user no node knew.
    pub fn is_for_unresolved(&self, to: &Destination) -> bool {
        self.user_destination.is_some() && to.name.strip_prefix(APART) == self.user_destination.as_deref()
    }
}

/// What the `destination` header of a SUBSCRIBE names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// One destination.
    One(Destination),
    /// All topics that match.
    Pattern(Pattern),
}

/// Why a name is no destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// Longer than the limit, in octets.
    TooLong(usize),
    /// No form fits.
    Unknown,
    /// A form fits but nothing follows it.
    Empty,
    /// Wildcards in a queue's name, or in the destination of a SEND.
    Wildcard,
    /// A wildcard pattern with more `#` than the trie takes.
    TooManyWildcards,
    /// A SEND to `/user/` that says to no user, or not what of it.
    NoUser,
    /// The form of workers, in the destination of a SEND.
    Worker,
}

/// What a name is read with.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The operator's own forms.
    pub prefixes: &'a [Prefix],
    /// Topics that are not for everybody.
    pub spring: &'a Spring,
    /// Octets a name may have.
    pub limit: usize,
    /// What the session is known by to those who answer it.
    pub token: &'a str,
    /// The session's part of its temporary names, unguessable.
    pub temporary: &'a str,
    /// Whose session it is.
    pub user: Option<&'a str>,
}

impl Names<'_> {
    /// The destination that a SEND names.
    pub fn target(&self, name: &str) -> Result<Destination, Unnamed> {
        if let Some(rest) = name.strip_prefix(USER) {
            return self.of_user(rest);
        }
        let destination = self.destination(name)?;
        let local = self.local_part(&destination);
        if destination.kind == Kind::Topic && holds_wildcard(local, destination.separator) {
            return Err(Unnamed::Wildcard);
        }
        Ok(destination)
    }

    /// Whether a SUBSCRIBE to `name` asks those who work for it, once.
    pub fn is_app(&self, name: &str) -> bool {
        name.starts_with(APP) && self.own(name).is_none()
    }

    /// What a SUBSCRIBE names.
    pub fn selection(&self, name: &str) -> Result<Selection, Unnamed> {
        if let Some(local) = name.strip_prefix(USER) {
            return self.own_user(local).map(Selection::One);
        }
        if let Some(local) = name.strip_prefix(WORKER).filter(|_| self.own(name).is_none()) {
            return self.work(name, local).map(Selection::One);
        }
        let destination = self.destination(name)?;
        let local = self.local_part(&destination);
        if !holds_wildcard(local, destination.separator) {
            return Ok(Selection::One(destination));
        }
        Pattern::parse(&destination.name, destination.separator)
            .map(Selection::Pattern)
            .ok_or(Unnamed::TooManyWildcards)
    }

    /// The address under which others may send to the session's own `/temp-queue/x` or `/temp-topic/x`.
    /// `None` if `name` is no temporary name.
    pub fn reply_address(&self, name: &str) -> Option<Destination> {
        let (kind, local) = match (name.strip_prefix("/temp-queue/"), name.strip_prefix("/temp-topic/")) {
            (Some(local), _) => (Kind::Queue, local),
            (_, Some(local)) => (Kind::Topic, local),
            _ => return None,
        };
        (!local.is_empty()).then(|| self.temporary(kind, local))
    }

    fn temporary(&self, kind: Kind, local: &str) -> Destination {
        let form = match kind {
            Kind::Queue => "/reply-queue/",
            Kind::Topic => "/reply-topic/",
        };
        Destination {
            name: format!("{form}{}/{local}", self.temporary).into(),
            kind,
            separator: Separator::Both,
            reply: true,
            app: false,
        }
    }

    fn destination(&self, name: &str) -> Result<Destination, Unnamed> {
        // What we made of a name that was short enough is not too long.
        let ours = || name.starts_with("/reply-") && name.len() <= self.limit + ADDRESS;
        if name.len() > self.limit && !ours() {
            return Err(Unnamed::TooLong(name.len()));
        }
        if self.spring.has(name) {
            return Ok(apart(name));
        }
        if let Some((own, local)) = self.own(name) {
            return named(own.kind, name.to_owned(), local, own.separator);
        }
        if let Some(local) = name.strip_prefix("/topic/") {
            return named(Kind::Topic, name.to_owned(), local, Separator::Both);
        }
        if let Some(local) = name.strip_prefix("/queue/") {
            return named(Kind::Queue, name.to_owned(), local, Separator::Both);
        }
        if let Some(local) = name.strip_prefix(APP) {
            return match holds_wildcard(local, Separator::Both) {
                true => Err(Unnamed::Wildcard),
                false => self.work(name, local),
            };
        }
        if let Some(address) = self.reply_address(name) {
            return Ok(address);
        }
        if let Some(local) = name.strip_prefix("/reply-queue/") {
            return reply_or_queue(name, local);
        }
        let topics = ["/reply-topic/", ANSWER, SESSION];
        if let Some(local) = topics.into_iter().find_map(|form| name.strip_prefix(form)) {
            return match is_reply_local(local) {
                true => Ok(reply(Kind::Topic, name)),
                false => Err(Unnamed::Unknown),
            };
        }
        if name.starts_with(WORKER) {
            return Err(Unnamed::Worker);
        }
        rabbitmq(name)
    }

    /// The queue of those who work for a name, or for all names of a pattern.
    fn work(&self, name: &str, local: &str) -> Result<Destination, Unnamed> {
        if name.len() > self.limit {
            return Err(Unnamed::TooLong(name.len()));
        }
        if local.is_empty() {
            return Err(Unnamed::Empty);
        }
        let queue = format!("{WORKER}{local}");
        if Pattern::parse(&queue, Separator::Both).is_none() {
            return Err(Unnamed::TooManyWildcards);
        }
        Ok(Destination {
            name: queue.into(),
            kind: Kind::Queue,
            separator: Separator::Both,
            reply: false,
            app: true,
        })
    }

    /// The operator's own form that fits, and what follows it.
    fn own<'n>(&self, name: &'n str) -> Option<(&Prefix, &'n str)> {
        self.prefixes.iter().find_map(|own| {
            let rest = name.strip_prefix(own.prefix.as_str())?;
            let local = match rest.strip_prefix('/') {
                Some(local) => local,
                None if rest.is_empty() || own.prefix.ends_with('/') => rest,
                None => return None,
            };
            Some((own, local))
        })
    }

    /// The part of a canonical name after its form, where wildcards may stand.
    fn local_part<'n>(&self, destination: &'n Destination) -> &'n str {
        let name: &str = &destination.name;
        let own = self.prefixes.iter().map(|p| p.prefix.as_str());
        let forms = ["/topic", "/queue", "/reply-queue", "/reply-topic", "/exchange"];
        own.chain(forms)
            .find_map(|form| name.strip_prefix(form))
            .unwrap_or(name)
    }
}

/// A topic under a name that no client can write and no pattern matches, since all others begin with a slash.
fn apart(name: &str) -> Destination {
    Destination {
        name: format!("{APART}{name}").into(),
        kind: Kind::Topic,
        separator: Separator::Both,
        reply: false,
        app: false,
    }
}

/// RabbitMQ's names for queues and exchanges.
fn rabbitmq(name: &str) -> Result<Destination, Unnamed> {
    if let Some(local) = name.strip_prefix("/amq/queue/") {
        return named(Kind::Queue, format!("/queue/{local}"), local, Separator::Both);
    }
    if let Some(key) = name.strip_prefix("/exchange/amq.topic/") {
        return named(Kind::Topic, format!("/topic/{key}"), key, Separator::Both);
    }
    if name == "/exchange/amq.fanout" || name.starts_with("/exchange/amq.fanout/") {
        // A fanout exchange ignores the routing key.
        return named(
            Kind::Topic,
            "/exchange/amq.fanout".to_owned(),
            "amq.fanout",
            Separator::Both,
        );
    }
    if let Some(key) = name.strip_prefix("/exchange/amq.direct/") {
        return named(Kind::Topic, name.to_owned(), key, Separator::Both);
    }
    if !name.starts_with('/') {
        return named(Kind::Queue, format!("/queue/{name}"), name, Separator::Both);
    }
    let bare = [
        "/topic",
        "/queue",
        "/temp-queue",
        "/temp-topic",
        "/amq/queue",
        "/reply-queue",
        "/app",
        "/worker",
    ];
    match bare.iter().any(|form| {
        name.strip_prefix(form)
            .is_some_and(|rest| rest.is_empty() || rest == "/")
    }) {
        true => Err(Unnamed::Empty),
        false => Err(Unnamed::Unknown),
    }
}

fn named(kind: Kind, name: String, local: &str, separator: Separator) -> Result<Destination, Unnamed> {
    if local.is_empty() {
        return Err(Unnamed::Empty);
    }
    if kind == Kind::Queue && holds_wildcard(local, separator) {
        return Err(Unnamed::Wildcard);
    }
    Ok(Destination {
        name: name.into(),
        kind,
        separator,
        reply: false,
        app: false,
    })
}

/// `/reply-queue/N` is RabbitMQ's name for any queue, and ours for a temporary one if N begins with a session's token.
fn reply_or_queue(name: &str, local: &str) -> Result<Destination, Unnamed> {
    if is_reply_local(local) {
        return Ok(reply(Kind::Queue, name));
    }
    named(Kind::Queue, format!("/queue/{local}"), local, Separator::Both)
}

pub(super) fn reply(kind: Kind, name: &str) -> Destination {
    Destination {
        name: name.into(),
        kind,
        separator: Separator::Both,
        reply: true,
        app: false,
    }
}

/// Digits of a session's token.
pub const TOKEN_DIGITS: usize = 32;

/// Octets that a reply address has more than what it stands for.
const ADDRESS: usize = TOKEN_DIGITS + 16;

fn is_reply_local(local: &str) -> bool {
    match local.split_once('/') {
        Some((token, rest)) => {
            !rest.is_empty() && token.len() == TOKEN_DIGITS && token.bytes().all(|b| b.is_ascii_hexdigit())
        }
        None => false,
    }
}

fn holds_wildcard(local: &str, separator: Separator) -> bool {
    may_hold_wildcard(local) && pieces(local, separator).any(is_wildcard)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: Spring = Spring {
        user_registry: None,
        user_destination: None,
    };
    const NAMES: Names<'static> = Names {
        prefixes: &[],
        spring: &NOWHERE,
        limit: 255,
        token: "fedcba9876543210fedcba9876543210",
        temporary: "0123456789abcdef0123456789abcdef",
        user: None,
    };

    fn canonical(name: &str) -> Result<(String, Kind), Unnamed> {
        NAMES.target(name).map(|d| (d.name.to_string(), d.kind))
    }

    #[test]
    fn each_form_has_one_canonical_name() {
        let table = [
            ("/topic/a", "/topic/a", Kind::Topic),
            ("/topic/a/b.c d é", "/topic/a/b.c d é", Kind::Topic),
            ("/queue/a/b", "/queue/a/b", Kind::Queue),
            ("/amq/queue/a", "/queue/a", Kind::Queue),
            ("/reply-queue/a/b", "/queue/a/b", Kind::Queue),
            ("/exchange/amq.topic/a.b", "/topic/a.b", Kind::Topic),
            ("/exchange/amq.fanout", "/exchange/amq.fanout", Kind::Topic),
            ("/exchange/amq.fanout/any", "/exchange/amq.fanout", Kind::Topic),
            ("/exchange/amq.direct/k", "/exchange/amq.direct/k", Kind::Topic),
            ("jobs", "/queue/jobs", Kind::Queue),
            (
                "/temp-queue/x",
                "/reply-queue/0123456789abcdef0123456789abcdef/x",
                Kind::Queue,
            ),
            (
                "/temp-topic/x",
                "/reply-topic/0123456789abcdef0123456789abcdef/x",
                Kind::Topic,
            ),
        ];
        for (name, expected, kind) in table {
            assert_eq!(canonical(name), Ok((expected.to_owned(), kind)), "{name}");
        }
    }

    #[test]
    fn what_is_no_destination_says_why() {
        let table = [
            ("", Unnamed::Empty),
            ("/topic/", Unnamed::Empty),
            ("/queue", Unnamed::Empty),
            ("/nothing/a", Unnamed::Unknown),
            ("/exchange/mine/k", Unnamed::Unknown),
            ("/user", Unnamed::Unknown),
            ("/topic/a.*", Unnamed::Wildcard),
            ("/topic/#", Unnamed::Wildcard),
            ("/queue/a.>", Unnamed::Wildcard),
        ];
        for (name, why) in table {
            assert_eq!(canonical(name), Err(why), "{name}");
        }
        assert_eq!(canonical(&"x".repeat(256)), Err(Unnamed::TooLong(256)));
        assert!(canonical(&"x".repeat(255)).is_ok());
        assert!(canonical("/topic/price*").is_ok(), "only a whole segment is a wildcard");
    }

    #[test]
    fn the_prefix_table_comes_first() {
        let prefixes = [
            Prefix {
                prefix: "/chat".into(),
                kind: Kind::Topic,
                separator: Separator::Slash,
            },
            Prefix {
                prefix: "/topic".into(),
                kind: Kind::Topic,
                separator: Separator::Slash,
            },
        ];
        let names = Names {
            prefixes: &prefixes,
            ..NAMES
        };
        assert_eq!(names.target("/chat/room").map(|d| d.kind), Ok(Kind::Topic));
        assert_eq!(names.target("/chatter/room"), Err(Unnamed::Unknown));
        assert_eq!(names.target("/topic/a.b").map(|d| d.separator), Ok(Separator::Slash));
        assert!(matches!(names.selection("/chat/*"), Ok(Selection::Pattern(_))));
    }

    #[test]
    fn the_topics_of_spring_are_apart() {
        let spring = Spring {
            user_registry: Some("/topic/users".into()),
            user_destination: None,
        };
        let names = Names {
            spring: &spring,
            ..NAMES
        };
        let apart = |name: &str| names.target(name).map(|to| to.is_apart());
        assert_eq!(apart("/topic/users"), Ok(true));
        assert_eq!(apart("/topic/users.more"), Ok(false));
        assert_eq!(apart("apart:/topic/users"), Ok(false));
        let patterns = ["/topic/#", "/topic/*", "/topic/>", "/topic/**/users"];
        for pattern in patterns {
            let Ok(Selection::Pattern(pattern)) = names.selection(pattern) else {
                panic!("{pattern} is a pattern");
            };
            assert!(pattern.matches("/topic/users") && !pattern.matches("apart:/topic/users"));
        }
    }

    #[test]
    fn an_application_destination_is_the_queue_of_its_workers() {
        let queue = |name: &str| Destination {
            name: name.into(),
            kind: Kind::Queue,
            separator: Separator::Both,
            reply: false,
            app: true,
        };
        assert_eq!(NAMES.target("/app/orders/7"), Ok(queue("/worker/orders/7")));
        let working = NAMES.selection("/worker/orders/*");
        assert_eq!(working, Ok(Selection::One(queue("/worker/orders/*"))));
        assert_eq!(NAMES.target("/worker/orders"), Err(Unnamed::Worker));
        assert_eq!(NAMES.target("/app/orders/*"), Err(Unnamed::Wildcard));
        assert_eq!(NAMES.target("/app/"), Err(Unnamed::Empty));
        assert_eq!(NAMES.selection("/worker/"), Err(Unnamed::Empty));
        assert_eq!(NAMES.selection("/worker/#.a.#.b.#.c.#"), Err(Unnamed::TooManyWildcards));
        assert!(NAMES.is_app("/app/orders") && !NAMES.is_app("/application/orders"));

        let prefixes = [Prefix {
            prefix: "/app".into(),
            kind: Kind::Topic,
            separator: Separator::Both,
        }];
        let own = Names {
            prefixes: &prefixes,
            ..NAMES
        };
        assert!(!own.is_app("/app/orders"), "the operator's word comes first");
        assert_eq!(own.target("/app/orders").map(|to| to.kind), Ok(Kind::Topic));
    }

    #[test]
    fn the_address_of_a_name_is_as_good_as_the_name() {
        let longest = format!("/temp-queue/{}", "x".repeat(243));
        let address = NAMES.reply_address(&longest).map(|d| d.name.to_string());
        assert!(NAMES.target(&address.unwrap_or_default()).is_ok());
        let token = NAMES.token;
        assert!(NAMES.target(&format!("{SESSION}{token}/{}", "x".repeat(249))).is_ok());
        assert!(NAMES
            .target(&format!("/reply-queue/{token}/{}", "x".repeat(300)))
            .is_err());
    }

    #[test]
    fn a_reply_address_is_told_from_a_queue() {
        let address = NAMES.reply_address("/temp-queue/x").map(|d| d.name.to_string());
        let again = address.as_deref().map(canonical);
        assert_eq!(again, Some(Ok((address.clone().unwrap_or_default(), Kind::Queue))));
        assert_eq!(NAMES.target(&address.unwrap_or_default()).map(|d| d.reply), Ok(true));
    }
}
