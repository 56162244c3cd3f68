//! What a client may ask of a queue that it is the first to name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::broker::settings::{QueuePolicy, Separator, WhenExpired, WhenFull};

/// What a client may ask of a queue that it is the first to name, beside the operator's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `x-message-ttl`: milliseconds that messages live at most.
    pub message_ttl: Option<u64>,
    /// `x-max-length`: messages; the oldest gives way.
    pub max_messages: Option<usize>,
    /// `x-max-length-bytes`: octets; the oldest gives way.
    pub max_bytes: Option<usize>,
    /// `x-expires`: milliseconds after which the unused queue goes away.
    pub idle_ms: Option<u64>,
    /// `x-dead-letter-routing-key`: the queue to which dead messages go.
    pub dead_letter: Option<Arc<str>>,
    /// `auto-delete:true`: goes away with its last consumer.
    pub auto_delete: bool,
    /// It is a durable subscription, fed by a topic.
    pub binding: Option<Arc<Binding>>,
}

/// What feeds the queue of a durable subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The canonical name of a topic, or a pattern of them.
    pub topic: String,
    /// It is a pattern.
    pub pattern: bool,
    /// Which characters part its segments.
    pub separator: Separator,
    /// Only messages that this matches.
    pub selector: Option<String>,
}

/// What the journal keeps of a queue besides its name and messages. What a later version adds must have a default.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Terms {
    message_ttl: Option<u64>,
    max_messages: Option<usize>,
    max_bytes: Option<usize>,
    idle_ms: Option<u64>,
    dead_letter: Option<String>,
    auto_delete: bool,
    binding: Option<Binding>,
}

impl Options {
    /// The destination whose policy governs the queue called `name`: what is kept of a topic is the topic's.
    pub fn governed<'a>(&'a self, name: &'a str) -> &'a str {
        self.binding.as_ref().map_or(name, |binding| &binding.topic)
    }

    /// Whether a frame that asks for `self` may have a queue that was made with `known`: who asks for nothing takes
    /// what is there.
    pub fn agree_with(&self, known: &Options) -> bool {
        let asked = Options {
            binding: None,
            ..self.clone()
        };
        let same = || *self == *known;
        self.binding == known.binding && (asked == Options::default() || same())
    }

    /// The policy with what the client asked for.
    pub fn narrow(&self, policy: &QueuePolicy) -> QueuePolicy {
        let mut narrowed = policy.clone();
        if let Some(messages) = self.max_messages {
            narrowed.messages = messages.min(policy.messages);
            narrowed.full = WhenFull::DropHead;
        }
        if let Some(bytes) = self.max_bytes {
            narrowed.bytes = bytes.min(policy.bytes);
            narrowed.full = WhenFull::DropHead;
        }
        if self.dead_letter.is_some() {
            narrowed.expired = WhenExpired::DeadLetter;
        }
        if let Some(idle) = self.idle_ms {
            narrowed.idle_ms = idle.max(1);
        }
        narrowed
    }

    /// As the journal keeps them.
    pub fn to_terms(&self) -> Vec<u8> {
        let terms = Terms {
            message_ttl: self.message_ttl,
            max_messages: self.max_messages,
            max_bytes: self.max_bytes,
            idle_ms: self.idle_ms,
            dead_letter: self.dead_letter.as_deref().map(str::to_owned),
            auto_delete: self.auto_delete,
            binding: self.binding.as_deref().cloned(),
        };
        serde_json::to_vec(&terms).unwrap_or_default()
    }

    /// As the journal kept them; `None` if that is not what `terms` are.
    pub fn from_terms(terms: &[u8]) -> Option<Options> {
        let terms: Terms = serde_json::from_slice(terms).ok()?;
        Some(Options {
            message_ttl: terms.message_ttl,
            max_messages: terms.max_messages,
            max_bytes: terms.max_bytes,
            idle_ms: terms.idle_ms,
            dead_letter: terms.dead_letter.map(Arc::from),
            auto_delete: terms.auto_delete,
            binding: terms.binding.map(Arc::new),
        })
    }
}
