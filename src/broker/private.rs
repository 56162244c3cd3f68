//! Destinations of users: `/user/DEST` for its owner, `/user/NAME/DEST` for everybody else.
//!
//! Each is a topic of its own, `/user/NAME/DEST`, to which nobody can subscribe but by `/user/DEST` in a session of that
//! user; for a session of nobody's it is `/user//TOKEN/DEST`, which no SEND can name. So all sessions of a user are found
//! by one look-up, and what holds for topics holds here too: a copy for each subscription, order, budgets, policies.

use std::borrow::Cow;

use super::destination::{self, Destination, Names, Unnamed};
use super::pattern::{is_wildcard, may_hold_wildcard, pieces};
use super::settings::{Kind, Separator};
use super::users::Presence;

/// What they begin with.
pub const USER: &str = "/user/";

/// Forms that a SEND without a name would begin with after `/user`.
const FORMS: [&str; 2] = ["queue", "topic"];

impl Names<'_> {
    /// What a SEND to `/user/` and `rest` names.
    pub(super) fn of_user(&self, rest: &str) -> Result<Destination, Unnamed> {
        let (name, local) = rest.split_once('/').ok_or(Unnamed::NoUser)?;
        let nested = || FORMS.iter().any(|form| local.split('/').next() == Some(form));
        if name.is_empty() || (FORMS.contains(&name) && !nested()) {
            return Err(Unnamed::NoUser);
        }
        self.checked(local)?;
        self.bounded(format!("{USER}{}/{local}", encoded(&decoded(name))))
    }

    /// What a SUBSCRIBE to `/user/` and `local` names.
    pub(super) fn own_user(&self, local: &str) -> Result<Destination, Unnamed> {
        self.checked(local)?;
        match self.user {
            Some(user) => self.bounded(name_of(Some(user), self.token, local)),
            None => Ok(topic(name_of(None, self.token, local))),
        }
    }

    fn checked(&self, local: &str) -> Result<(), Unnamed> {
        if local.len() + USER.len() > self.limit {
            return Err(Unnamed::TooLong(local.len() + USER.len()));
        }
        if local.is_empty() {
            return Err(Unnamed::Empty);
        }
        match may_hold_wildcard(local) && pieces(local, Separator::Both).any(is_wildcard) {
            true => Err(Unnamed::Wildcard),
            false => Ok(()),
        }
    }

    fn bounded(&self, name: String) -> Result<Destination, Unnamed> {
        match name.len() <= self.limit {
            true => Ok(topic(name)),
            false => Err(Unnamed::TooLong(name.len())),
        }
    }
}

/// The canonical name of what a session has subscribed as `/user/` and `local`.
fn name_of(user: Option<&str>, token: &str, local: &str) -> String {
    match user {
        Some(user) => format!("{USER}{}/{local}", encoded(user)),
        None => format!("{USER}/{token}/{local}"),
    }
}

impl Presence {
    /// The canonical name of what the session has subscribed as `/user/` and `local`.
    pub(super) fn private_name(&self, local: &str) -> String {
        name_of(self.user.as_deref(), &self.token, local)
    }
}

fn topic(name: String) -> Destination {
    destination::reply(Kind::Topic, &name)
}

impl Destination {
    /// The user whose it is, as it stands in the name, and DEST with its slash; `None` if it is no user's.
    pub fn private(&self) -> Option<(&str, &str)> {
        if !self.reply {
            return None;
        }
        let rest = self.name.strip_prefix(USER)?;
        Some(rest.split_at(rest.find('/')?))
    }

    /// What a MESSAGE says as its destination: the `name` that its sender used, but for a user's the one under which the
    /// user has subscribed.
    pub fn shown<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match self.private() {
            None => Cow::Borrowed(name),
            Some((_, local)) => Cow::Owned(format!("/user{local}")),
        }
    }
}

/// A user's name as it stands in a destination: `/` is `%2F`, and `%` is `%25` so that no two names are one.
pub fn encoded(name: &str) -> Cow<'_, str> {
    match name.contains(['/', '%']) {
        true => Cow::Owned(name.replace('%', "%25").replace('/', "%2F")),
        false => Cow::Borrowed(name),
    }
}

/// The name that a sender meant. Spring writes `%2F` for a slash and leaves every other `%` as it is.
pub fn decoded(name: &str) -> Cow<'_, str> {
    match name.contains('%') {
        // The per cent sign last: "%252F" is "%2F", not a slash.
        true => Cow::Owned(name.replace("%2F", "/").replace("%2f", "/").replace("%25", "%")),
        false => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Spring;
    use super::super::Selection;
    use super::*;

    const NOWHERE: Spring = Spring {
        user_registry: None,
        user_destination: None,
    };

    fn names(user: Option<&'static str>) -> Names<'static> {
        Names {
            prefixes: &[],
            spring: &NOWHERE,
            limit: 255,
            token: "0123456789abcdef0123456789abcdef",
            temporary: "",
            user,
        }
    }

    fn sent(name: &str) -> Result<String, Unnamed> {
        names(None).target(name).map(|to| to.name.to_string())
    }

    fn subscribed(user: Option<&'static str>, name: &str) -> Result<String, Unnamed> {
        names(user).selection(name).map(|selection| match selection {
            Selection::One(one) => {
                assert!(one.reply && one.kind == Kind::Topic, "{one:?}");
                one.name.to_string()
            }
            Selection::Pattern(pattern) => panic!("{pattern:?}"),
        })
    }

    #[test]
    fn a_subscribe_and_a_send_to_its_user_meet() {
        for (user, written) in [
            ("joe", "joe"),
            ("joe/smith", "joe%2Fsmith"),
            ("joe/smith", "joe%2fsmith"),
            ("100%", "100%"),
            ("100%", "100%25"),
            ("a%2Fb", "a%252Fb"),
            ("queue", "queue"),
            ("한글", "한글"),
            ("joe@example.org", "joe@example.org"),
        ] {
            let own = subscribed(Some(user), "/user/queue/x");
            assert!(own.is_ok(), "{own:?}");
            assert_eq!(sent(&format!("/user/{written}/queue/x")), own, "{user}");
        }
    }

    #[test]
    fn no_two_users_share_a_name() {
        let users = ["a", "a/b", "a%2Fb", "a%252Fb", "a%", "a%25", "%", "/", "//"];
        let names: std::collections::BTreeSet<_> = users.map(|user| encoded(user).into_owned()).into();
        assert_eq!(names.len(), users.len(), "{names:?}");
        assert!(names.iter().all(|name| !name.contains('/')), "{names:?}");
    }

    #[test]
    fn a_session_of_nobodys_has_a_name_that_no_send_reaches() {
        let own = subscribed(None, "/user/queue/x").unwrap_or_default();
        assert_eq!(own, "/user//0123456789abcdef0123456789abcdef/queue/x");
        assert_eq!(sent(&own), Err(Unnamed::NoUser));
    }

    #[test]
    fn what_is_no_destination_of_a_user_says_why() {
        for name in [
            "/user/joe",
            "/user//queue/x",
            "/user/queue/x",
            "/user/topic/a/b",
            "/user/",
        ] {
            assert_eq!(sent(name), Err(Unnamed::NoUser), "{name}");
        }
        assert_eq!(sent("/user/joe/"), Err(Unnamed::Empty));
        assert_eq!(sent("/user/joe/queue/*"), Err(Unnamed::Wildcard));
        assert_eq!(subscribed(Some("joe"), "/user/"), Err(Unnamed::Empty));
        for pattern in ["/user/**", "/user/queue/#", "/user/*/x", "/user/>"] {
            assert_eq!(subscribed(Some("joe"), pattern), Err(Unnamed::Wildcard), "{pattern}");
        }
        let long = format!("/user/queue/{}", "x".repeat(240));
        assert!(subscribed(None, &long).is_ok());
        assert_eq!(subscribed(Some("joe"), &long), Err(Unnamed::TooLong(256)));
        assert_eq!(subscribed(None, &format!("{long}xxxx")), Err(Unnamed::TooLong(256)));
    }

    #[test]
    fn whose_it_is_can_be_told_from_its_name() {
        let to = names(None).target("/user/a%2Fb/queue/x/y");
        assert_eq!(
            to.as_ref().ok().and_then(Destination::private),
            Some(("a%2Fb", "/queue/x/y"))
        );
        assert_eq!(
            to.map(|to| to.shown("any").into_owned()).as_deref(),
            Ok("/user/queue/x/y")
        );
        let topic = names(None).target("/topic/user/x");
        assert_eq!(topic.as_ref().ok().and_then(Destination::private), None);
    }
}
