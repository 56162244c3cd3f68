//! ACK and NACK ("ACK", "NACK").

use std::sync::Arc;

use super::{fault, Connected, Fault};
use crate::broker::queue::NotHeld;
use crate::broker::{Act, Now, Settle};
use crate::stomp::{Command, Frame, Version};

/// The place of a delivery, as its id tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A subscription's serial, and the tag of the delivery.
    Of(u32, u64),
    /// A message of a subscription in auto mode.
    Auto,
    /// Nothing we ever wrote.
    Never,
}

impl Connected {
    pub(super) fn acknowledge(&mut self, frame: &Frame<'_>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        let settle = match frame.command {
            Command::Nack => Settle::Nack {
                requeue: requeue(frame)?,
                delay_ms: delay(frame)?,
            },
            _ => Settle::Ack,
        };
        let name = if self.version == Version::V1_2 {
            "id"
        } else {
            "message-id"
        };
        let id = frame
            .headers
            .get(name)
            .ok_or_else(|| Fault::missing(frame.command, name))?;
        let transaction = frame.headers.get("transaction");
        if let Some(transaction) = &transaction {
            if !self.transactions.contains_key(transaction.as_ref()) {
                return Err(super::send::unknown(frame.command, transaction));
            }
        }
        let never = || {
            let detail = format!(
                "{} names \"{id}\" in its header \"{name}\", which no MESSAGE of this connection had.",
                frame.command
            );
            Fault::new(fault::UNKNOWN_ACK, detail)
        };
        let (serial, tag) = match self.place(&id) {
            Place::Of(serial, tag) => (serial, tag),
            // Auto mode was settled when it was written.
            Place::Auto => return self.acknowledged(receipt, None),
            Place::Never => return Err(never()),
        };
        let Some(held) = self.subscriptions.get(&serial) else {
            // Its subscription is gone, and all it held is settled.
            return if serial < self.next_serial {
                self.acknowledged(receipt, None)
            } else {
                Err(never())
            };
        };
        if self.version == Version::V1_1 {
            if let Some(named) = frame.headers.get("subscription").filter(|named| *named != held.id) {
                let detail = format!(
                    "{} names the subscription \"{named}\", but \"{id}\" was delivered to \"{}\".",
                    frame.command, held.id
                );
                return Err(Fault::new(fault::UNKNOWN_ACK, detail));
            }
        }
        let Some((queue, consumer)) = held
            .subscription
            .source()
            .map(|(queue, consumer)| (Arc::clone(queue), consumer))
        else {
            return Err(never());
        };
        let live = held.live;
        let ticket = match transaction {
            Some(transaction) => match self.broker.hold(&queue, consumer, tag, now) {
                Ok(tags) => {
                    let act = Act::Settle(queue, consumer, tags, settle);
                    self.buffer(frame.command, &transaction, act, 0)?;
                    None
                }
                Err(NotHeld::Already) => None,
                Err(NotHeld::Never) => return Err(never()),
            },
            None => match self.broker.settle(&queue, consumer, tag, settle, now) {
                Ok(ticket) => {
                    if !live && !queue.holds(consumer) {
                        self.subscriptions.remove(&serial);
                    }
                    ticket
                }
                Err(NotHeld::Already) => None,
                Err(NotHeld::Never) => return Err(never()),
            },
        };
        if let Some(ticket) = &ticket {
            ticket.wait(&self.outbound);
        }
        self.acknowledged(receipt, ticket)
    }

    fn acknowledged(&mut self, receipt: Option<&str>, ticket: Option<crate::broker::Ticket>) -> Result<(), Fault> {
        self.receipt(receipt, ticket);
        Ok(())
    }

    /// Lets go of unsubscribed subscriptions that hold nothing any more.
    pub(super) fn forget_settled(&mut self) {
        self.subscriptions.retain(|_, held| {
            held.live
                || held
                    .subscription
                    .source()
                    .is_some_and(|(queue, consumer)| queue.holds(consumer))
        });
    }

    fn place(&self, id: &str) -> Place {
        let auto = id
            .strip_prefix(self.broker.boot())
            .is_some_and(|rest| rest.starts_with('-'));
        if auto {
            return Place::Auto;
        }
        let read = id.split_once('-').and_then(|(serial, tag)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            (digits(serial) && digits(tag)).then(|| Some((serial.parse().ok()?, tag.parse().ok()?)))?
        });
        match read {
            Some((serial, tag)) => Place::Of(serial, tag),
            None => Place::Never,
        }
    }
}

/// `delay` of a NACK: in how many milliseconds it is tried again.
fn delay(frame: &Frame<'_>) -> Result<u64, Fault> {
    let Some(value) = frame.headers.get("delay") else {
        return Ok(0);
    };
    let delay = super::send::read_delay("delay", &value)?;
    match requeue(frame)? {
        true => Ok(delay),
        false => Err(Fault::bad_header("delay", &value, "none beside requeue:false")),
    }
}

fn requeue(frame: &Frame<'_>) -> Result<bool, Fault> {
    match frame.headers.get("requeue") {
        None => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
        Some(value) => Err(Fault::bad_header("requeue", &value, "true (the default) or false")),
    }
}
