//! Every way a client can be wrong, in one table, and the ERROR frame that says so.

use crate::broker::destination::WORKER;
use crate::broker::durable::DURABLE_PREFIX;
use crate::broker::queue::Full;
use crate::broker::{Limit, Refused};
pub use crate::stomp::report::Kind;
use crate::stomp::report::{error, faults, particulars};
use crate::stomp::{Command, DecodeError, DecodeErrorKind, Frame, Version};

faults! {
    [
        UNKNOWN_COMMAND,
        NOT_CONNECTED,
        ALREADY_CONNECTED,
        CONNECT_TIMEOUT,
        FRAME_TIMEOUT,
        UNSUPPORTED_VERSION,
        BAD_CREDENTIALS,
        BAD_HEADER,
        NOT_OWNER,
        TOO_MANY_SUBSCRIPTIONS,
        DUPLICATE_SUBSCRIPTION,
        SLOW_CONSUMER,
        TOO_MANY_TRANSACTIONS,
        SILENT,
        SHUTDOWN,
    ]
    /// The bytes are not a frame.
    BAD_FRAME = ("bad-frame", "Malformed frame", 1002);
    /// `content-length` is no number of octets, or not that of the body.
    BAD_CONTENT_LENGTH = ("bad-content-length", "Wrong content-length", 1002);
    /// A backslash that begins no escape sequence of the version.
    BAD_ESCAPE = ("bad-escape", "Undefined escape sequence", 1002);
    /// A body on a frame that has none.
    BODY_NOT_ALLOWED = ("body-not-allowed", "Frame must not have a body", 1002);
    /// A frame larger than the limit.
    FRAME_TOO_LARGE = ("frame-too-large", "Frame too large", 1009);
    /// A header line, their number or all of them over a limit.
    HEADERS_TOO_LARGE = ("headers-too-large", "Headers too large", 1009);
    /// A virtual host that is not configured, where that is asked for.
    UNKNOWN_HOST = ("unknown-host", "Unknown virtual host", 1008);
    /// A header that the frame must have is not there.
    MISSING_HEADER = ("missing-header", "Missing header", 1002);
    /// A destination that none of the forms fits.
    BAD_DESTINATION = ("bad-destination", "Bad destination", 1002);
    /// A selector that cannot be read.
    BAD_SELECTOR = ("bad-selector", "Bad selector", 1002);
    /// Something that would change delivery and is not served.
    UNSUPPORTED = ("unsupported", "Not supported", 1002);
    /// The client may not do that here.
    FORBIDDEN = ("forbidden", "Not allowed", 1008);
    /// The queue exists with other options.
    OTHER_OPTIONS = ("other-options", "Queue exists with other options", 1002);
    /// No subscription has the id.
    UNKNOWN_SUBSCRIPTION = ("unknown-subscription", "Unknown subscription id", 1002);
    /// More destinations than the broker may have.
    TOO_MANY_DESTINATIONS = ("too-many-destinations", "Too many destinations", 1008);
    /// ACK or NACK of a message that was never delivered.
    UNKNOWN_ACK = ("unknown-ack", "Unknown message to acknowledge", 1002);
    /// The transaction is open.
    DUPLICATE_TRANSACTION = ("duplicate-transaction", "Transaction already begun", 1002);
    /// The transaction is not open.
    UNKNOWN_TRANSACTION = ("unknown-transaction", "Unknown transaction", 1002);
    /// A transaction over its limit of frames or octets.
    TRANSACTION_TOO_LARGE = ("transaction-too-large", "Transaction too large", 1008);
    /// A transaction open for too long.
    TRANSACTION_TIMEOUT = ("transaction-timeout", "Transaction open for too long", 1008);
    /// The queue is full and stayed so.
    QUEUE_FULL = ("queue-full", "Queue full", 1008);
    /// Nobody works for the application destination, and nobody came to.
    NO_WORKER = ("no-worker", "No worker", 1008);
    /// The broker holds as much as it may and went on doing so.
    MEMORY_FULL = ("memory-full", "Broker out of room", 1008);
    /// A persistent message could not be stored.
    NOT_STORED = ("not-stored", "Message not stored", 1011);
}

/// A request that no worker answered in time. No ERROR says so, but the `x-app-error` of the request's MESSAGE.
pub const NO_ANSWER: Kind = Kind {
    code: "no-answer",
    message: "No answer in time",
    close: 1008,
};

/// One fault of a client: a line of the table and what was wrong this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line of the table.
    pub kind: Kind,
    /// Names the header, the value, the limit and the option.
    pub detail: String,
    /// The `receipt` of the frame at fault.
    pub receipt: Option<String>,
    /// Further headers: `destination`, `subscription`, `version`.
    pub headers: Vec<(&'static str, String)>,
}

impl Fault {
    /// A fault without particulars of a frame.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Fault {
        Fault {
            kind,
            detail: detail.into(),
            receipt: None,
            headers: Vec::new(),
        }
    }

    /// With a header that says what it is about.
    pub fn about(mut self, name: &'static str, value: impl Into<String>) -> Fault {
        self.headers.push((name, value.into()));
        self
    }

    /// With what the frame at fault tells of itself, where the fault does not say it already: clients look for the
    /// subscription or SEND that failed.
    pub fn of(mut self, frame: &Frame<'_>) -> Fault {
        particulars(frame, &mut self.headers, &mut self.receipt);
        self
    }

    /// The header `name` is not there.
    pub fn missing(command: Command, name: &str) -> Fault {
        let detail = format!("{command} needs the header \"{name}\", which is not there.");
        Fault::new(MISSING_HEADER, detail)
    }

    /// The header `name` has a value that is not among what is `allowed`.
    pub fn bad_header(name: &str, value: &str, allowed: &str) -> Fault {
        Fault::new(
            BAD_HEADER,
            format!("The header \"{name}\" is \"{value}\"; allowed is {allowed}."),
        )
    }

    /// The header `name` asks for what is not served.
    pub fn unsupported(name: &str, value: &str) -> Fault {
        let detail = format!(
            "The header \"{name}:{value}\" would change delivery and is not supported; it is refused rather than ignored."
        );
        Fault::new(UNSUPPORTED, detail)
    }

    /// The ERROR frame for a client of `version`.
    pub fn frame(&self, version: Version) -> Vec<u8> {
        error(
            (self.kind.message, self.kind.code),
            self.receipt.as_deref(),
            &self.headers,
            &self.detail,
            version,
        )
    }
}

impl From<Limit> for Fault {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Memory(held, most) => Fault::new(
                MEMORY_FULL,
                format!("All messages together hold {held} octets; the limit is {most} (limits.memory). Consumers must take some first."),
            ),
            Limit::Queue(name, full) => queue_full(&name, full),
            Limit::Disk(pending, most) => Fault::new(
                MEMORY_FULL,
                format!(
                    "{pending} octets wait to be written to disk; the limit is {most}, an eighth of limits.memory. The \
                     disk is slower than its senders."
                ),
            ),
            Limit::NoWorker(name, _) => {
                let local = name.strip_prefix(WORKER).unwrap_or(&name);
                Fault::new(
                    NO_WORKER,
                    format!(
                        "Nobody works for \"/app/{local}\": no client is subscribed to \"{name}\" or a pattern that \
                         matches it, and none came in time (app.patience)."
                    ),
                )
                .about("destination", format!("/app/{local}"))
            }
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full(name, full) => queue_full(&name, full),
            Refused::TooManyDestinations(most) => Fault::new(
                TOO_MANY_DESTINATIONS,
                format!("There are {most} destinations, which is the limit (limits.destinations)."),
            ),
            Refused::NotOwner(name) => Fault::new(
                NOT_OWNER,
                format!("\"{name}\" is private to another session or already in use; only its owner may subscribe to it."),
            ),
            Refused::TooManyDurable(most) => Fault::new(
                TOO_MANY_SUBSCRIPTIONS,
                format!("There are {most} durable subscriptions, which is the limit (durable.subscriptions)."),
            ),
            Refused::InUse(name, others) => Fault::new(
                NOT_OWNER,
                format!("The {} is in use by {others} other subscriptions; it can be removed when they have ended.", called(&name)),
            ),
            Refused::OtherOptions(name) if name.starts_with(DURABLE_PREFIX) => Fault::new(
                OTHER_OPTIONS,
                format!(
                    "The {} exists with another destination, selector or queue options than this frame asks for; \
                     UNSUBSCRIBE it by its name first.",
                    called(&name)
                ),
            ),
            Refused::NotStored(why) => Fault::new(
                NOT_STORED,
                format!("The persistent message could not be stored: {why}. It is nowhere; send it again later."),
            ),
            Refused::OtherOptions(name) => Fault::new(
                OTHER_OPTIONS,
                format!(
                    "The queue \"{name}\" exists with other x-message-ttl, x-max-length, x-max-length-bytes, x-expires, \
                     x-dead-letter-routing-key or auto-delete than this frame asks for; leave them out or use its own."
                ),
            ),
        }
    }
}

/// What a client calls the queue of that canonical name.
fn called(name: &str) -> String {
    match name.strip_prefix(DURABLE_PREFIX) {
        Some(own) => format!("durable subscription \"{own}\""),
        None => format!("queue \"{name}\""),
    }
}

fn queue_full(name: &str, full: Full) -> Fault {
    let ((messages, most), (octets, most_octets)) = (full.messages, full.bytes);
    let detail = format!(
        "The {} holds {messages} messages of at most {most} (queue.messages) and {octets} octets of at most \
         {most_octets} (queue.size); what a full queue does is queue.full.",
        called(name)
    );
    Fault::new(QUEUE_FULL, detail).about("destination", name)
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        use DecodeErrorKind as Bad;
        let (kind, option) = match &error.kind {
            Bad::UnknownCommand { .. } => (UNKNOWN_COMMAND, ""),
            Bad::HeadTooLong { .. } => (HEADERS_TOO_LARGE, " (limits.head)"),
            Bad::HeaderLineTooLong { .. } => (HEADERS_TOO_LARGE, " (limits.header_line)"),
            Bad::TooManyHeaders { .. } => (HEADERS_TOO_LARGE, " (limits.header_lines)"),
            Bad::FrameTooLarge { .. } => (
                FRAME_TOO_LARGE,
                " (limits.frame, before CONNECT limits.frame_before_connect)",
            ),
            Bad::BadEscape { .. } => (BAD_ESCAPE, ""),
            Bad::BadContentLength { .. } | Bad::NoNulAfterBody { .. } => (BAD_CONTENT_LENGTH, ""),
            Bad::BodyNotAllowed => (BODY_NOT_ALLOWED, ""),
            Bad::NotACommand { .. }
            | Bad::CommandTooLong { .. }
            | Bad::NulInHead { .. }
            | Bad::NotUtf8 { .. }
            | Bad::NoColon { .. }
            | Bad::NoHeaderName { .. }
            | Bad::StrayCarriageReturn { .. } => (BAD_FRAME, ""),
        };
        let culprit = error.command.map(|c| format!("{c}: ")).unwrap_or_default();
        Fault {
            receipt: error.receipt,
            ..Fault::new(kind, format!("{culprit}{}{option}.", error.kind))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_messages_are_unique_and_plain() {
        for (index, kind) in TABLE.iter().enumerate() {
            let others = TABLE.iter().skip(index + 1);
            assert!(
                others.clone().all(|o| o.code != kind.code && o.message != kind.message),
                "{kind:?}"
            );
            assert!(
                kind.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{kind:?}"
            );
            assert!(
                !kind.message.contains([':', '\\', '\n']),
                "{kind:?} reads the same in every version"
            );
            assert!((1000..=1011).contains(&kind.close), "{kind:?}");
        }
    }

    #[test]
    fn row_124_an_error_names_the_receipt_and_what_it_is_about() {
        let fault = Fault {
            receipt: Some("r:1".into()),
            ..Fault::missing(Command::Send, "destination").about("subscription", "0")
        };
        let text = String::from_utf8_lossy(&fault.frame(Version::V1_2)).into_owned();
        let head = "ERROR\nmessage:Missing header\ncode:missing-header\nreceipt-id:r\\c1\nsubscription:0\ncontent-type:text/plain\ncontent-length:";
        assert!(text.starts_with(head), "{text}");
        assert!(
            text.ends_with("SEND needs the header \"destination\", which is not there.\0"),
            "{text}"
        );
    }
}
