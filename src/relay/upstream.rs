//! Frames of the broker on their way to the client.

use std::borrow::Cow;

use super::away::delivery_mark;
use super::client::{acknowledgement, DISCONNECTED};
use super::passage::{head, Edit};
use super::users::{self, ORIGIN};
use super::{Close, Lost, Open, Relay, Shared, State, Step, Up, UserSend, Wires};
use crate::stomp::{Command, Frame, Line, Version};

/// The broker said ERROR: its own words have been passed on.
const REFUSED: Close = Close {
    code: 1002,
    reason: "broker-error",
};

impl Relay {
    /// Takes one frame of the broker.
    pub fn answer(&mut self, frame: &Frame<'_>, wires: &mut impl Wires, now: u64) -> Step {
        let State::Open(open) = &mut self.state else {
            return Step::Done;
        };
        self.shared.counters.to_clients.one();
        match (frame.command, &open.upstream) {
            (Command::Connected, Up::Asked(_)) => self.connected(frame, wires, now),
            (Command::Error, Up::Asked(_)) if open.client.is_some() => {
                // The client has done nothing; the broker may still be on its way up.
                let why = frame.headers.get("message").unwrap_or_default().into_owned();
                self.lost(Lost::Refused(why), wires, now)
            }
            (Command::Error, _) => {
                open.pass_back(frame, |_| Edit::Keep, wires);
                // It is over for the broker too: there is nobody to say good-bye to.
                open.upstream = Up::Dialling;
                self.close(REFUSED, wires)
            }
            (Command::Message, Up::Ready(_)) => {
                open.deliver(frame, &self.shared, &self.token, wires);
                Step::Done
            }
            (Command::Receipt, Up::Ready(_)) => self.receipt(frame, wires),
            (command, _) => {
                let why = format!("{command} from the broker where none belongs");
                self.lost(Lost::Broken(why), wires, now)
            }
        }
    }

    fn receipt(&mut self, frame: &Frame<'_>, wires: &mut impl Wires) -> Step {
        let State::Open(open) = &mut self.state else {
            return Step::Done;
        };
        let id = frame.headers.get("receipt-id").unwrap_or_default();
        let is_back = open.back.take_if(|back| **back == *id).is_some();
        let owed = open.paid(&id);
        if owed || !is_back {
            open.pass_back(frame, |_| Edit::Keep, wires);
        }
        if is_back {
            open.tell("back", &self.shared.settings.status, wires);
        }
        if open.leaving.as_ref().is_some_and(|leaving| leaving.receipt == id) {
            return self.close(DISCONNECTED, wires);
        }
        self.settled(wires)
    }
}

impl Open {
    /// The broker has given a RECEIPT; whether it owed it.
    fn paid(&mut self, id: &str) -> bool {
        let Some(at) = self.receipts.iter().position(|(owed, _)| **owed == *id) else {
            return false;
        };
        let paid = self.receipts.remove(at);
        if matches!(paid, Some((_, Command::Subscribe))) {
            let is_it = |receipt: Option<Cow<'_, str>>| receipt.is_some_and(|receipt| receipt == id);
            for subscription in self
                .subscriptions
                .values_mut()
                .filter(|subscription| !subscription.confirmed)
            {
                subscription.confirmed = is_it(subscription.frame.frame().headers.get("receipt"));
            }
        }
        true
    }

    /// A MESSAGE: what belongs to a user destination is called so again.
    fn deliver(&mut self, frame: &Frame<'_>, shared: &Shared, token: &str, wires: &mut impl Wires) {
        let destination = frame.headers.get("destination").unwrap_or_default();
        let mark = delivery_mark(self.epoch);
        let id = match self.version {
            Version::V1_2 => "ack",
            Version::V1_0 | Version::V1_1 => "message-id",
        };
        let marked = |line: &Line<'_>| match (&mark, line.name == id) {
            (Some(mark), true) => Some(format!("{mark}{}", frame.headers.get(id).unwrap_or_default())),
            _ => None,
        };
        let hidden = self.user_send != UserSend::Any && shared.is_broadcast(&destination);
        match users::owner(&destination) {
            owned if hidden || owned.is_some_and(|(_, owner)| owner != token) => {
                // A subscription by pattern would have shown somebody else's.
                shared.counters.withheld.one();
                if let (Some(id), Version::V1_2) = (frame.headers.get("ack"), self.version) {
                    wires.upstream(&[&acknowledgement(&id, self.version)]);
                }
            }
            Some((rest, _)) => {
                let shown = match frame.headers.get(ORIGIN) {
                    Some(origin) => origin.into_owned(),
                    None => format!("{}{rest}", users::PREFIX),
                };
                let edit = |line: &Line<'_>| match line.name {
                    "destination" => Edit::Set(Cow::Borrowed(shown.as_str())),
                    ORIGIN => Edit::Drop,
                    _ => marked(line).map_or(Edit::Keep, |id| Edit::Set(Cow::Owned(id))),
                };
                self.pass_back(frame, edit, wires);
            }
            None => {
                let edit = |line: &Line<'_>| marked(line).map_or(Edit::Keep, |id| Edit::Set(Cow::Owned(id)));
                self.pass_back(frame, edit, wires);
            }
        }
    }

    /// Writes the frame to the client.
    fn pass_back<'e>(&self, frame: &Frame<'_>, edit: impl FnMut(&Line<'_>) -> Edit<'e>, wires: &mut impl Wires) {
        let head = head(frame, self.version, edit, &[]);
        let utf8 = std::str::from_utf8(frame.body).is_ok();
        wires.client(&[&head, frame.body, &[0]], utf8);
    }
}
