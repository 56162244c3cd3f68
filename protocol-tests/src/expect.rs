//! What a case expects: frames, silence, the end of a connection.

use crate::case::Transport;
use crate::frame::Frame;
use crate::notation::{find, show, Template};
use crate::peer::{Arrival, Ending, Event};
use crate::play::Scene;
use crate::step::{Expecting, HeaderPattern, Pattern, What};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

impl Scene<'_> {
    pub(crate) fn expect(&mut self, name: &str, expecting: &Expecting) -> Result<(), String> {
        let patience = expecting
            .within
            .as_ref()
            .map(|time| self.time(time))
            .transpose()?
            .unwrap_or(self.target.patience);
        match &expecting.what {
            What::Frame(pattern) => self.frame(name, pattern, patience),
            What::EndOfLine(alone) => self.end_of_line(name, *alone, patience),
            What::Ping => self
                .event(name, patience, "a ping", |event| matches!(event, Event::Ping))
                .map(drop),
            What::Pong(payload) => {
                let payload = payload.fill(&self.variables)?;
                self.event(
                    name,
                    patience,
                    "a pong",
                    |event| matches!(event, Event::Pong(found) if *found == payload),
                )
                .map(drop)
            }
            What::Nothing(None) => {
                self.fence(name)?;
                self.no_frame(name, self.target.quiet)
            }
            What::Nothing(Some(time)) => {
                let time = self.time(time)?;
                self.no_frame(name, time)
            }
            What::Silence(time) => {
                let time = self.time(time)?;
                let before = self.peer(name)?.octets();
                self.no_frame(name, time)?;
                match self.peer(name)?.octets() - before {
                    0 => Ok(()),
                    more => Err(format!("{more} octets came although nothing should")),
                }
            }
            What::Closed(codes, reason) => self.closed(name, codes, *reason, patience, true),
            What::Gone => self.closed(name, &[], false, patience, false),
        }
    }

    /// Takes the first unread frame of the pattern's command and compares it.
    pub(crate) fn frame(&mut self, name: &str, pattern: &Pattern, patience: Duration) -> Result<(), String> {
        let lines: Vec<String> = pattern.headers.iter().map(|line| self.describe(line)).collect();
        let wanted = format!("{} {}", pattern.command, lines.join(" "));
        let deadline = Instant::now() + patience;
        loop {
            let arrival = self.arrival(
                name,
                pattern,
                wanted.trim(),
                deadline.saturating_duration_since(Instant::now()),
            )?;
            let before = self.variables.clone();
            let compared = self.compare(pattern, &arrival);
            if compared.is_ok() || !pattern.skip {
                return compared.map_err(|reason| format!("{reason}; came: {}", arrival.frame.show()));
            }
            self.variables = before;
        }
    }

    /// Waits for the frame that the pattern is to be compared with.
    fn arrival(&mut self, name: &str, pattern: &Pattern, wanted: &str, patience: Duration) -> Result<Arrival, String> {
        let lane = self.lane(pattern);
        let event = self.event(name, patience, wanted, |event| match event {
            Event::Frame(_) if pattern.next => true,
            Event::Frame(Arrival { frame, .. }) if frame.command == pattern.command => {
                lane.is_none() || frame.value("subscription") == lane.as_deref()
            }
            _ => false,
        })?;
        match event {
            Event::Frame(arrival) => Ok(arrival),
            other => Err(format!("expected {wanted}; came: {other}")),
        }
    }

    fn compare(&mut self, pattern: &Pattern, arrival: &Arrival) -> Result<(), String> {
        let frame = &arrival.frame;
        if frame.command != pattern.command {
            return Err(format!("expected {} next", pattern.command));
        }
        let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for line in &pattern.headers {
            self.header(frame, line, &mut seen)?;
        }
        if let Some(body) = &pattern.body {
            if !body.matches(&frame.body, &mut self.variables) {
                let body = body.fill(&self.variables).unwrap_or_default();
                let (wanted, found) = (body.len(), frame.body.len());
                return Err(format!(
                    "expected the body {} ({wanted} octets, not {found})",
                    show(&body, 200)
                ));
            }
        }
        for text in &pattern.body_contains {
            let text = text.fill(&self.variables)?;
            if !contains(&frame.body, &text) {
                return Err(format!("expected {} in the body", show(&text, 100)));
            }
        }
        match (pattern.kind, arrival.kind) {
            (Some(wanted), Some(kind)) if wanted != kind => {
                Err(format!("expected a message of kind {wanted:?}, not {kind:?}"))
            }
            (_, Some(_)) if pattern.alone && !arrival.alone => {
                Err("expected one whole frame in one WebSocket message".into())
            }
            _ => Ok(()),
        }
    }

    /// MESSAGEs of different subscriptions have no order among each other: the subscription that is asked for.
    fn lane(&self, pattern: &Pattern) -> Option<Vec<u8>> {
        pattern
            .headers
            .iter()
            .filter(|_| pattern.command == "MESSAGE")
            .find_map(|line| match line {
                HeaderPattern::Is(name, value) if name.literal().as_deref() == Some(b"subscription") => {
                    value.fill(&self.variables).ok()
                }
                _ => None,
            })
    }

    fn header(
        &mut self,
        frame: &Frame,
        line: &HeaderPattern,
        seen: &mut BTreeMap<Vec<u8>, usize>,
    ) -> Result<(), String> {
        let (HeaderPattern::Is(name, _) | HeaderPattern::Contains(name, _) | HeaderPattern::Absent(name)) = line;
        let name = name.fill(&self.variables)?;
        let values: Vec<&[u8]> = frame.values(&name).collect();
        let shown = show(&name, 80);
        match line {
            HeaderPattern::Is(_, value) => {
                let place = seen.entry(name.clone()).or_default();
                let found = values
                    .get(*place)
                    .ok_or_else(|| format!("expected the header {shown} ({} of them)", *place + 1))?;
                *place += 1;
                if !value.matches(found, &mut self.variables) {
                    return Err(format!(
                        "expected {}, the header is {shown}:{}",
                        self.describe(line),
                        show(found, 200)
                    ));
                }
            }
            HeaderPattern::Contains(_, text) => {
                let text = text.fill(&self.variables)?;
                let found = values.first().ok_or_else(|| format!("expected the header {shown}"))?;
                if !contains(found, &text) {
                    return Err(format!("expected {} in {shown}:{}", show(&text, 100), show(found, 200)));
                }
            }
            HeaderPattern::Absent(_) => {
                let named = seen.get(&name).copied().unwrap_or_default();
                if let Some(found) = values.get(named) {
                    return Err(format!(
                        "expected no header {shown} here, it is {shown}:{}",
                        show(found, 100)
                    ));
                }
            }
        }
        Ok(())
    }

    fn describe(&self, line: &HeaderPattern) -> String {
        let text = |template: &Template| match template.fill(&self.variables) {
            Ok(octets) => show(&octets, 100),
            Err(_) => "*".into(),
        };
        match line {
            HeaderPattern::Is(name, value) => format!("{}:{}", text(name), text(value)),
            HeaderPattern::Contains(name, value) => format!("{}~{}", text(name), text(value)),
            HeaderPattern::Absent(name) => format!("!{}", text(name)),
        }
    }

    /// Waits for the first event that `fits` and takes it; what came before it stays unread.
    pub(crate) fn event(
        &mut self,
        name: &str,
        patience: Duration,
        wanted: &str,
        fits: impl Fn(&Event) -> bool,
    ) -> Result<Event, String> {
        let deadline = Instant::now() + patience;
        let mut looked = 0;
        loop {
            let wants_error = wanted.starts_with("ERROR");
            let peer = self.peer(name)?;
            while let Some(event) = peer.unread.get(looked) {
                if fits(event) {
                    let event = peer.unread.remove(looked).ok_or("an event vanished")?;
                    self.note_event(name, &event);
                    return Ok(event);
                }
                let spoils = match event {
                    Event::Frame(arrival) if arrival.frame.command == "ERROR" => {
                        (!wants_error).then(|| arrival.frame.show())
                    }
                    Event::Violation(violation) => Some(violation.clone()),
                    Event::Ended(ending) => Some(ending.to_string()),
                    _ => None,
                };
                if let Some(spoils) = spoils {
                    return Err(format!("expected {wanted}; came: {spoils}"));
                }
                looked += 1;
            }
            if !peer.gather(deadline) {
                let unread = self.unread(name)?;
                return Err(format!(
                    "expected {wanted} within {} ms; came: {unread}",
                    patience.as_millis().div_ceil(10) * 10
                ));
            }
        }
    }

    fn end_of_line(&mut self, name: &str, alone: bool, patience: Duration) -> Result<(), String> {
        // What came before this step says nothing about the time from now on.
        let peer = self.peer(name)?;
        peer.gather_arrived();
        peer.unread.retain(|event| !matches!(event, Event::EndOfLine(_)));
        let event = self.event(name, patience, "an EOL", |event| matches!(event, Event::EndOfLine(_)))?;
        match event {
            Event::EndOfLine(false) if alone && self.target.transport == Transport::WebSocket => {
                Err("the EOL is not one LF alone in its WebSocket message".into())
            }
            _ => Ok(()),
        }
    }

    /// A receipt's round trip: what the server had to say because of earlier frames is here after it.
    fn fence(&mut self, name: &str) -> Result<(), String> {
        let topic = format!("{}fence", self.target.topic_prefix).into_bytes();
        self.asked(name, "SEND", &[("destination", topic)], &[], b"")
    }

    fn no_frame(&mut self, name: &str, time: Duration) -> Result<(), String> {
        let deadline = Instant::now() + time;
        let peer = self.peer(name)?;
        while peer.gather(deadline) {}
        if peer
            .unread
            .iter()
            .any(|event| matches!(event, Event::Frame(_) | Event::Violation(_) | Event::Ended(_)))
        {
            return Err(format!("expected nothing; came: {}", self.unread(name)?));
        }
        Ok(())
    }

    fn closed(
        &mut self,
        name: &str,
        codes: &[u16],
        reason: bool,
        patience: Duration,
        nothing_before: bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        let peer = self.peer(name)?;
        while peer.gather(deadline) {}
        let unread = self.unread(name)?;
        let peer = self.peer(name)?;
        let ending = peer.unread.iter().find_map(|event| match event {
            Event::Ended(ending) => Some(ending.clone()),
            _ => None,
        });
        let Some(ending) = ending else {
            return Err(format!(
                "expected the connection to be closed within {} ms; came: {unread}",
                patience.as_millis()
            ));
        };
        if nothing_before && peer.unread.iter().any(|event| matches!(event, Event::Frame(_))) {
            return Err(format!("expected nothing but the close; came: {unread}"));
        }
        self.note(name, '<', &ending.to_string());
        if codes.is_empty() || self.target.transport == Transport::Tcp {
            return Ok(());
        }
        match &ending {
            Ending::Close(Some(code), said) if codes.contains(code) && !(reason && said.is_empty()) => Ok(()),
            _ if reason => Err(format!(
                "expected the close code {codes:?} with a reason; came: {ending}"
            )),
            _ => Err(format!("expected the close code {codes:?}; came: {ending}")),
        }
    }

    fn unread(&mut self, name: &str) -> Result<String, String> {
        let peer = self.peer(name)?;
        peer.gather_arrived();
        let shown: Vec<String> = peer.unread.iter().map(Event::to_string).take(6).collect();
        let more = peer.unread.len().saturating_sub(6);
        Ok(match (shown.is_empty(), more) {
            (true, _) => "nothing".into(),
            (_, 0) => shown.join(", then "),
            _ => format!("{} and {more} more", shown.join(", then ")),
        })
    }
}

pub(crate) fn contains(octets: &[u8], text: &[u8]) -> bool {
    let lower = |octets: &[u8]| octets.to_ascii_lowercase();
    find(&lower(octets), &lower(text)).is_some()
}
