//! The two ways by which nodes of a Spring application reach users of ours (`[spring]`).
//!
//! What a node knows of our sessions it has from snapshots of ours, and it sends to them as to its own: to
//! `/queue/x-userSESSION`. What no node knows the way for comes to a topic, with the user's destination in a header.

use super::{fault, Connected, Fault};
use crate::broker::destination::TOKEN_DIGITS;
use crate::broker::private::{decoded, encoded};
use crate::broker::{Act, Destination, Draft, Properties, Route};
use crate::stomp::{Frame, Headers};

/// Where Spring's resolver puts what the sender meant.
pub(super) const ORIGIN: &str = "simpOrigDestination";

/// What a queue of Spring's for one session of ours leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// A destination of the session's user, and the session's number.
    Session(String, u64),
    /// The session has ended.
    Nobody,
}

impl Connected {
    /// Where a SEND of a Spring application to one of our sessions goes; `None` if this is none.
    pub(super) fn reached(&self, destination: &str) -> Option<Reached> {
        self.broker.settings().spring.user_registry.as_ref()?;
        let (local, token) = session_queue(destination)?;
        let session = self.broker.users().session(token);
        let found = session.and_then(|session| {
            let user = session.user.as_deref()?;
            Some(Reached::Session(
                format!("/user/{}{local}", encoded(user)),
                session.number,
            ))
        });
        Some(found.unwrap_or(Reached::Nobody))
    }

    /// A SEND to the topic of unresolved destinations, as it is for sessions of ours.
    pub(super) fn for_ours(&self, frame: &Frame<'_>, to: &Destination, properties: &Properties) -> Option<Act> {
        let spring = &self.broker.settings().spring;
        if !spring.is_for_unresolved(to) {
            return None;
        }
        let origin = frame.headers.get(ORIGIN)?;
        let to = self.names().target(&origin).ok()?;
        let (user, _) = to.private()?;
        let sessions = self.broker.users().sessions(&decoded(user));
        // Those that the nodes know of the nodes send to; the one that asked may not have known yet, but then the others do.
        let known = spring.user_registry.is_some() && sessions.iter().any(|session| session.is_told());
        if sessions.is_empty() || known {
            return None;
        }
        let message = self.broker.message(Draft {
            destination: &to.shown(&origin),
            headers: &without_origin(&frame.headers),
            reply_to: None,
            body: frame.body,
            version: self.version,
            properties: properties.clone(),
            publisher: self.number,
        });
        let route = Route {
            to,
            create: true,
            owner: None,
            options: None,
        };
        Some(Act::Send(Box::new(route), message))
    }

    /// Whether the client may use the topics by which Spring's nodes talk of users.
    pub(super) fn check_apart(&self, name: &str, to: &Destination) -> Result<(), Fault> {
        if !to.is_apart() || self.may_send_to_all() {
            return Ok(());
        }
        Err(Fault::new(
            fault::FORBIDDEN,
            format!(
                "\"{name}\" is one of the topics by which the nodes of a Spring application tell each other of users \
                 ([spring]); only who may SEND to everybody's /user destinations may use it: may_send_to_users = true of its \
                 [[users]] entry, or user.send = \"any\"."
            ),
        ))
    }

    /// Nobody may wait where Spring's nodes send what is for a session of ours.
    pub(super) fn check_waiting(&self, name: &str) -> Result<(), Fault> {
        match self.reached(name) {
            None => Ok(()),
            Some(_) => Err(Fault::new(
                fault::FORBIDDEN,
                format!("\"{name}\" is for one session; it subscribes to /user/… itself."),
            )),
        }
    }
}

/// `/queue/x-userSESSION` with a session of ours: `/queue/x`, and the session's token.
fn session_queue(destination: &str) -> Option<(&str, &str)> {
    let (local, token) = destination.rsplit_once("-user")?;
    let ours = token.len() == TOKEN_DIGITS && token.bytes().all(|octet| octet.is_ascii_hexdigit());
    (ours && local.starts_with('/') && local.len() > 1).then_some((local, token))
}

/// The headers of a SEND without what was between Spring and us.
pub(super) fn without_origin<'a>(headers: &Headers<'a>) -> Headers<'a> {
    let lines = headers.lines().iter().filter(|line| line.name != ORIGIN);
    Headers::new(lines.copied(), headers.is_escaped())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_springs_for_a_session_of_ours_is_told_from_others() {
        let token = "0123456789abcdef0123456789abcdef";
        let told = |name: &str| session_queue(name).map(|(local, token)| (local.to_owned(), token.to_owned()));
        let ours = |local: &str| Some((local.to_owned(), token.to_owned()));
        assert_eq!(told(&format!("/queue/pos-user{token}")), ours("/queue/pos"));
        assert_eq!(told(&format!("/queue/a-user-user{token}")), ours("/queue/a-user"));
        for other in [
            "/queue/pos-user5f0c86f2-4a7c-0b5f-9a35-6d3d2f5c8a11".to_owned(),
            format!("/queue/pos-user{}", &token[1..]),
            format!("-user{token}"),
            format!("/queue/{token}"),
        ] {
            assert_eq!(told(&other), None, "{other}");
        }
    }
}
