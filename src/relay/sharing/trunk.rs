//! The shared connection to the broker: what is subscribed to over it, and who is to blame when it ends.

use std::collections::VecDeque;
use std::sync::Arc;

use super::mailbox::{Mail, Passed};
use super::{Aftermath, Stage, LINGER_MS, STRIKES};
use crate::relay::own::Own;
use crate::relay::{users, Lost, Shared};
use crate::stomp::{encode, Command, Frame, Limits, Version};

/// SUBSCRIBE and UNSUBSCRIBE frames that may be on their way at once.
const MOST_ASKED: usize = 100;

/// The state of one shared connection, from its CONNECT on.
#[derive(Debug)]
pub struct Trunk {
    shared: Arc<Shared>,
    own: Own,
    /// What the broker has not confirmed, oldest first.
    asked: VecDeque<Asked>,
    /// The subscription is asked for alone, because it may be why an earlier connection was lost.
    alone: bool,
    /// The `receipt-id` of its ERROR.
    blamed: Option<String>,
}

/// A frame whose RECEIPT is outstanding.
#[derive(Debug)]
struct Asked {
    topic: u64,
    command: Command,
    by: u64,
}

impl Asked {
    fn receipt(&self) -> String {
        match self.command {
            Command::Subscribe => format!("s-{}", self.topic),
            _ => format!("u-{}", self.topic),
        }
    }
}

/// What subscriptions are called at the broker.
const ID: &str = "t-";

impl Trunk {
    /// The connection has just been made. Appends CONNECT to `out`, in the name of all clients.
    pub fn new(shared: Arc<Shared>, out: &mut Vec<u8>, now: u64) -> Trunk {
        let settings = &shared.settings;
        let own = Own::connect(settings, &settings.client_login, &settings.client_passcode, out, now);
        Trunk {
            shared,
            own,
            asked: VecDeque::new(),
            alone: false,
            blamed: None,
        }
    }

    /// By whose rules the broker is read on.
    pub fn version(&self) -> (Version, Limits) {
        (self.own.version, self.shared.settings.limits())
    }

    /// Whether the broker has taken the connection.
    pub fn is_up(&self) -> bool {
        self.own.is_connected()
    }

    /// Takes one frame of the broker; to how many subscriptions it was given.
    ///
    /// # Errors
    /// The connection is of no use any more; then comes [`Trunk::lost`].
    pub fn receive(&mut self, frame: &Frame<'_>, now: u64) -> Result<usize, Lost> {
        match (frame.command, self.own.is_connected()) {
            (Command::Connected, false) => {
                self.own.connected(frame, &self.shared.settings, now)?;
                self.shared.sharing.lock().up();
                Ok(0)
            }
            (Command::Error, _) => {
                self.blamed = frame.headers.get("receipt-id").map(std::borrow::Cow::into_owned);
                let why = frame.headers.get("message").unwrap_or_default().into_owned();
                Err(Lost::Refused(why))
            }
            (Command::Receipt, true) => {
                self.confirmed(&frame.headers.get("receipt-id").unwrap_or_default());
                Ok(0)
            }
            (Command::Message, true) => Ok(self.hand_out(frame)),
            (command, _) => Err(Lost::Broken(format!("{command} where none belongs"))),
        }
    }

    fn confirmed(&mut self, receipt: &str) {
        let Some(at) = self.asked.iter().position(|asked| asked.receipt() == receipt) else {
            return;
        };
        let asked = self.asked.remove(at);
        // If it was alone, it was this one.
        self.alone = false;
        if let Some(asked) = asked.filter(|asked| asked.command == Command::Subscribe) {
            self.shared.sharing.lock().confirm(asked.topic);
        }
    }

    /// Gives a message to everybody who is subscribed. Nobody is waited for.
    fn hand_out(&self, frame: &Frame<'_>) -> usize {
        let id = frame.headers.get("subscription").unwrap_or_default();
        let topic = id.strip_prefix(ID).and_then(|number| number.parse::<u64>().ok());
        let entries = {
            let table = self.shared.sharing.lock();
            let topic = topic.and_then(|topic| table.topics.get(&topic));
            topic.map(|topic| Arc::clone(&topic.entries))
        };
        // What comes after the UNSUBSCRIBE is nobody's.
        let Some(entries) = entries else { return 0 };
        let counters = &self.shared.counters;
        counters.shared_in.one();
        let destination = frame.headers.get("destination").unwrap_or_default();
        if users::owner(&destination).is_some() || self.shared.is_broadcast(&destination) {
            counters.withheld.one();
            return 0;
        }
        let passed = Arc::new(Passed::new(frame));
        for entry in entries.iter() {
            entry.mailbox.push(Mail::Message(entry.ticket, Arc::clone(&passed)));
        }
        entries.len()
    }

    /// Says what is wanted and what is not any more.
    pub fn go_on(&mut self, out: &mut Vec<u8>, now: u64) {
        if !self.own.is_connected() || self.alone {
            return;
        }
        let sharing = Arc::clone(&self.shared.sharing);
        let mut table = sharing.lock();
        while let Some(topic) = table.emptied.pop_first() {
            table.ending.insert((now + LINGER_MS, topic));
        }
        while self.asked.len() < MOST_ASKED {
            let Some((until, topic)) = table.ending.first().copied().filter(|(until, _)| *until <= now) else {
                break;
            };
            table.ending.remove(&(until, topic));
            let is_empty = |topic: &super::Topic| topic.entries.is_empty() && topic.stage == Stage::Confirmed;
            if table.topics.get(&topic).is_some_and(is_empty) {
                table.remove(topic);
                self.ask(Command::Unsubscribe, topic, "", out, now);
            }
        }
        while self.asked.len() < MOST_ASKED {
            let Some(number) = table.wanted.pop_first() else { break };
            let Some(topic) = table.topics.get_mut(&number) else {
                continue;
            };
            topic.stage = Stage::Asked;
            self.ask(Command::Subscribe, number, &topic.name, out, now);
        }
        if self.asked.is_empty() {
            // One after the other, and nothing beside it: if the connection ends now, it is known why.
            let suspect = table.suspects.first().copied();
            if let Some((number, topic)) = suspect.and_then(|number| Some((number, table.topics.get_mut(&number)?))) {
                topic.stage = Stage::Asked;
                self.alone = true;
                self.ask(Command::Subscribe, number, &topic.name, out, now);
            }
        }
    }

    fn ask(&mut self, command: Command, topic: u64, destination: &str, out: &mut Vec<u8>, now: u64) {
        let asked = Asked {
            topic,
            command,
            by: now + self.shared.settings.publish_ms,
        };
        let version = self.own.version;
        out.extend_from_slice(command.as_str().as_bytes());
        out.push(b'\n');
        encode::header(out, "id", &format!("{ID}{topic}"), version);
        if command == Command::Subscribe {
            encode::header(out, "destination", destination, version);
        }
        encode::header(out, "receipt", &asked.receipt(), version);
        out.extend_from_slice(b"\n\0");
        self.asked.push_back(asked);
    }

    /// The connection is gone: says whose fault it was, tells clients what they must know, and wants everything again.
    pub fn lost(self, why: &Lost, now: u64) -> Aftermath {
        let is_error = matches!(why, Lost::Refused(_));
        let was_up = self.is_up();
        let subscribes = |asked: &&Asked| asked.command == Command::Subscribe;
        let outstanding: Vec<u64> = self.asked.iter().filter(subscribes).map(|asked| asked.topic).collect();
        let named = self
            .blamed
            .and_then(|receipt| self.asked.iter().find(|asked| asked.receipt() == receipt));
        let only = match (outstanding.as_slice(), self.asked.len()) {
            ([topic], 1) => Some(*topic),
            _ => None,
        };
        let mut culprit = match named {
            Some(named) => subscribes(&named).then_some(named.topic),
            None => only.filter(|_| is_error),
        };
        let counters = &self.shared.counters;
        counters.shared_lost.one();
        let mut table = self.shared.sharing.lock();
        if let (None, Some(topic)) = (culprit, only.and_then(|topic| table.topics.get_mut(&topic))) {
            topic.strikes += 1;
            culprit = only.filter(|_| topic.strikes >= STRIKES);
        }
        let mut refused = None;
        if let Some(topic) = culprit {
            counters.shared_refused.one();
            refused = table.turn_away(topic, now);
        } else if !(is_error && named.is_some()) {
            let suspects = outstanding.iter().filter(|topic| table.topics.contains_key(topic));
            let suspects: Vec<u64> = suspects.copied().collect();
            table.suspects.extend(suspects);
        }
        table.down(now);
        // What one client asked for shall not end the others' sessions.
        let is_ours = is_error && !outstanding.is_empty();
        let keep_ms = self.shared.settings.keep_ms;
        let waited = now >= table.since.saturating_add(keep_ms);
        if !is_ours && ((was_up && keep_ms == 0) || (!was_up && waited)) {
            table.give_up();
        }
        Aftermath {
            refused,
            at_once: is_ours,
        }
    }

    /// Octets came.
    pub fn heard(&mut self, now: u64) {
        self.own.heard(now);
    }

    /// Octets were written.
    pub fn sent(&mut self, now: u64) {
        self.own.sent(now);
    }

    /// When [`Trunk::advance`] must be called, and [`Trunk::go_on`] after it.
    pub fn due(&self) -> Option<u64> {
        let asked = self.asked.front().map(|asked| asked.by);
        // What cannot be said now is said when a RECEIPT has come.
        let ending = match self.alone || self.asked.len() >= MOST_ASKED {
            true => None,
            false => self.shared.sharing.lock().ending.first().map(|(until, _)| *until),
        };
        [self.own.due(), asked, ending].into_iter().flatten().min()
    }

    /// Does what is due: beats, and the verdict on a silent broker.
    pub fn advance(&mut self, out: &mut Vec<u8>, now: u64) -> Option<Lost> {
        if self.asked.front().is_some_and(|asked| now >= asked.by) {
            let limit = self.shared.settings.publish_ms;
            return Some(Lost::Broken(format!("no RECEIPT within {limit} ms")));
        }
        self.own.advance(&self.shared.settings, out, now)
    }
}
