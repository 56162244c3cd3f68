//! What a client is told when the relay, and not the broker behind, ends its session.

use std::borrow::Cow;

pub use crate::stomp::report::Kind;
use crate::stomp::report::{error, faults, particulars};
use crate::stomp::{Frame, Version};

// Where Spring's relay has a text, the `message` is Spring's, which people search their logs for; some end in particulars.
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
    /// There is no broker behind now.
    BROKER_UNAVAILABLE = ("broker-unavailable", "Broker not available.", 1002);
    /// The broker behind closed the client's connection, or it was lost.
    BROKER_LOST = ("broker-lost", "Connection to broker closed.", 1002);
    /// None of the addresses could be reached.
    CONNECT_FAILED = ("broker-connect-failed", "Failed to connect: ", 1002);
    /// The connection to the broker broke, or what came over it was no STOMP.
    TRANSPORT_FAILED = ("broker-transport", "Transport failure: ", 1002);
    /// What the client sent could not be written to the broker. Spring names the frame; here they are written together.
    NOT_FORWARDED = ("broker-not-forwarded", "failed to forward frames: ", 1002);
    /// The broker did not answer CONNECT.
    NO_CONNECTED = ("broker-silent-connect", "No CONNECTED frame received in ", 1002);
    /// The broker broke its promise of heart-beats.
    NO_MESSAGES = ("broker-silent", "No messages received in ", 1002);
    /// A kept client had frames whose outcome cannot be known any more.
    IN_DOUBT = ("broker-lost-receipt", "Receipt lost with the connection to the broker", 1002);
    /// COMMIT of a transaction that went with the connection.
    TRANSACTION_LOST = ("broker-lost-transaction", "Transaction lost with the connection to the broker", 1002);
    /// ACK or NACK, with a receipt, of a message that went back with the connection.
    DELIVERY_LOST = ("broker-lost-delivery", "Delivery lost with the connection to the broker", 1002);
    /// A destination that is not relayed.
    NOT_RELAYED = ("not-relayed", "Destination is not relayed", 1002);
}

/// Why a client's session is over, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The ERROR's `code`.
    pub code: &'static str,
    /// Its `message`.
    pub message: Cow<'static, str>,
    /// The WebSocket close code.
    pub close: u16,
    /// Its body.
    pub detail: String,
    /// The `receipt` of the frame at fault.
    pub receipt: Option<String>,
    /// Further headers: `destination`, `subscription`, `version`.
    pub headers: Vec<(&'static str, String)>,
}

impl Fault {
    /// A line of the table with its particulars.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Fault {
        Fault {
            code: kind.code,
            message: Cow::Borrowed(kind.message),
            close: kind.close,
            detail: detail.into(),
            receipt: None,
            headers: Vec::new(),
        }
    }

    /// With particulars behind its message, as Spring words them.
    pub(super) fn saying(kind: Kind, what: &str, detail: impl Into<String>) -> Fault {
        Fault {
            message: Cow::Owned(format!("{}{what}", kind.message)),
            ..Fault::new(kind, detail)
        }
    }

    /// With what the frame at fault tells of itself.
    pub(super) fn of(mut self, frame: &Frame<'_>) -> Fault {
        if frame.command.is_connect() {
            return self;
        }
        particulars(frame, &mut self.headers, &mut self.receipt);
        self
    }

    /// The ERROR frame for a client of `version`.
    pub fn frame(&self, version: Version) -> Vec<u8> {
        error(
            (self.message.as_ref(), self.code),
            self.receipt.as_deref(),
            &self.headers,
            &self.detail,
            version,
        )
    }
}
