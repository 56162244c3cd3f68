//! Durable subscriptions, in the words of three brokers.
//!
//! | broker | SUBSCRIBE | UNSUBSCRIBE, to remove it |
//! |---|---|---|
//! | RabbitMQ | `durable:true`, `auto-delete:false`, `id` | `durable:true`, `id`, and `destination` if it is not subscribed |
//! | ActiveMQ | `activemq.subscriptionName`, with `client-id` on CONNECT | the same |
//! | Artemis | `durable-subscription-name`, with `client-id` on CONNECT | the same |

use std::sync::Arc;

use super::subscribe::is_true;
use super::{fault, Connected, Fault};
use crate::broker::durable::{named_by_client, named_by_id};
use crate::broker::settings::Kind;
use crate::broker::subscription::Feed;
use crate::broker::Selection;
use crate::stomp::{Command, Frame, Headers};

/// Headers that name a durable subscription; the first that is there counts. The last was ActiveMQ's before 5.7.
const NAMES: [&str; 4] = [
    "durable-subscription-name",
    "durable-subscriber-name",
    "activemq.subscriptionName",
    "activemq.subcriptionName",
];

impl Connected {
    /// The canonical name of the durable subscription that a SUBSCRIBE asks for, if it asks for one.
    pub(super) fn durable(
        &self,
        headers: &Headers<'_>,
        selection: &Selection,
        id: Option<&str>,
    ) -> Result<Option<Arc<str>>, Fault> {
        let topic = match selection {
            Selection::One(one) if one.kind == Kind::Topic && !one.reply => &*one.name,
            Selection::Pattern(pattern) => pattern.name(),
            // Queues outlive their consumers anyway, so there `durable:true` asks for nothing.
            Selection::One(one) => {
                let word = NAMES.into_iter().find(|name| headers.has(name));
                let flag = flag(headers).filter(|_| one.kind == Kind::Topic);
                return match word.or(flag) {
                    Some(name) => Err(Fault::unsupported(name, &headers.get(name).unwrap_or_default())),
                    None => Ok(None),
                };
            }
        };
        if let Some(name) = self.named(headers)? {
            return self.checked(name).map(Some);
        }
        let Some(flag) = flag(headers) else { return Ok(None) };
        if !headers
            .get("auto-delete")
            .is_some_and(|value| value.eq_ignore_ascii_case("false"))
        {
            let detail = format!(
                "A durable subscription ({flag}:true on a topic) needs \"auto-delete:false\" too, as with RabbitMQ: it \
                 stays until it is removed."
            );
            return Err(Fault::new(fault::MISSING_HEADER, detail));
        }
        let id = id.ok_or_else(|| Fault::missing(Command::Subscribe, "id"))?;
        self.checked(named_by_id(id, topic)).map(Some)
    }

    /// The durable subscription that an UNSUBSCRIBE is to remove, if it is; `serial` is that of the subscription that
    /// it ends.
    pub(super) fn durable_to_remove(&self, frame: &Frame<'_>, serial: Option<u32>) -> Result<Option<Arc<str>>, Fault> {
        let headers = &frame.headers;
        if let Some(name) = self.named(headers)? {
            return Ok(Some(name));
        }
        if flag(headers).is_none() {
            return Ok(None);
        }
        if let Some(held) = serial.and_then(|serial| self.subscriptions.get(&serial)) {
            return Ok(match &held.subscription.feed {
                Feed::Queue(queue, _) if queue.is_subscription() => Some(Arc::clone(&queue.name)),
                _ => None,
            });
        }
        let (Some(id), Some(destination)) = (headers.get("id"), headers.get("destination")) else {
            return Ok(None);
        };
        let selection = self.names().selection(&destination);
        Ok(match selection.map_err(|why| self.unnamed(&destination, why))? {
            Selection::One(one) => Some(named_by_id(&id, &one.name)),
            Selection::Pattern(pattern) => Some(named_by_id(&id, pattern.name())),
        })
    }

    /// By the name that the client gives it, and its own.
    fn named(&self, headers: &Headers<'_>) -> Result<Option<Arc<str>>, Fault> {
        let Some((header, name)) = NAMES.into_iter().find_map(|name| Some((name, headers.get(name)?))) else {
            return Ok(None);
        };
        if name.is_empty() {
            return Err(Fault::bad_header(header, "", "a name that is not empty"));
        }
        let client = self.client_id.as_deref().map(std::borrow::Cow::Borrowed);
        match client.or_else(|| headers.get("client-id")).filter(|id| !id.is_empty()) {
            Some(client) => Ok(Some(named_by_client(&client, &name))),
            None => {
                let detail = format!(
                    "The header \"{header}:{name}\" names a durable subscription, which needs the header \"client-id\" \
                     on CONNECT."
                );
                Err(Fault::new(fault::MISSING_HEADER, detail))
            }
        }
    }

    fn checked(&self, name: Arc<str>) -> Result<Arc<str>, Fault> {
        let limit = self.broker.settings().destination_bytes.saturating_mul(2);
        if name.len() <= limit {
            return Ok(name);
        }
        let detail = format!(
            "The name of the durable subscription has {} octets with its client-id or destination; the limit is {limit} \
             (twice limits.destination_name).",
            name.len()
        );
        Err(Fault::new(fault::BAD_DESTINATION, detail))
    }
}

/// RabbitMQ's word for it, if it is there.
fn flag(headers: &Headers<'_>) -> Option<&'static str> {
    ["durable", "persistent"]
        .into_iter()
        .find(|name| is_true(headers, name))
}
