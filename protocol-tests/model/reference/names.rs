//! What the names of destinations mean.

use hoofbeat::session::settings::UserSend;

use super::*;

/// What a name names: the canonical name, whether a queue, whether a reply address.
type Named = (String, bool, bool);

impl Reference {
    pub fn name(&self, s: usize, name: &str) -> Result<Named, &'static str> {
        let bad = "bad-destination";
        if name.len() > self.broker.destination_bytes {
            return Err(bad);
        }
        let token = &self.sessions[s].temporary;
        let temporary = |kind: &str, local: &str| format!("/reply-{kind}/{token}/{local}");
        let part = |form: &str| name.strip_prefix(form).filter(|local| !local.is_empty());
        if let Some(local) = part("/topic/").or(part("/exchange/amq.topic/")) {
            return Ok((format!("/topic/{local}"), false, false));
        }
        if let Some(local) = part("/temp-queue/") {
            return Ok((temporary("queue", local), true, true));
        }
        if let Some(local) = part("/temp-topic/") {
            return Ok((temporary("topic", local), false, true));
        }
        if name.starts_with("/reply-") {
            return Ok((name.to_owned(), name.starts_with("/reply-queue"), true));
        }
        let plain = Some(name).filter(|n| !n.is_empty() && !n.starts_with('/'));
        let local = part("/queue/").or(part("/amq/queue/")).or(plain).ok_or(bad)?;
        match is_wild(name) {
            true => Err(bad),
            false => Ok((format!("/queue/{local}"), true, false)),
        }
    }

    /// What SUBSCRIBE calls `/user/local`.
    pub fn own_name(&self, s: usize, local: &str) -> Result<String, &'static str> {
        let session = &self.sessions[s];
        let (name, bounded) = match &session.user {
            Some(user) => (format!("/user/{}/{local}", user.replace('/', "%2F")), true),
            None => (format!("/user//{}/{local}", session.token), false),
        };
        let long = bounded && name.len() > self.broker.destination_bytes;
        match long || local.is_empty() || is_wild(&name) {
            true => Err("bad-destination"),
            false => Ok(name),
        }
    }

    /// Whether a SEND to `/user/NAME/local` may be, and as what its MESSAGE shows itself.
    pub fn user_shown(&mut self, s: usize, rest: &str) -> Result<String, &'static str> {
        let (user, local) = rest.split_once('/').ok_or("bad-destination")?;
        let form = |word: &str| word == "queue" || word == "topic";
        let nameless = form(user) && !local.split('/').next().is_some_and(form);
        if user.is_empty() || local.is_empty() || nameless || is_wild(rest) {
            return Err("bad-destination");
        }
        let own = self.sessions[s].user.as_ref().map(|own| own.replace('/', "%2F"));
        let allowed = match self.settings.user_send {
            UserSend::None => false,
            UserSend::Own => own.as_deref() == Some(user),
            UserSend::Any => true,
        };
        match allowed {
            true => Ok(format!("/user/{local}")),
            false => {
                self.mark("a SEND to a user refused");
                Err("forbidden")
            }
        }
    }
}
