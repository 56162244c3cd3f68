//! Plays one case: a script, step by step, on real connections.

use crate::case::{Case, Transport, Version};
use crate::expression::Expression;
use crate::notation::{show, Template, Variables};
use crate::peer::{Ending, Event, Greeting, Peer};
use crate::step::{
    Action, Comparison, Cut, Expecting, HeaderPattern, Kind, Opcode, Opening, Pattern, Sending, Step, TextComparison,
    What,
};
use crate::target::Target;
use crate::websocket;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A step that did not go as the case says.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The line in the case file.
    pub line: usize,
    /// What was expected and what came.
    pub reason: String,
    /// What was sent and received until then.
    pub transcript: Vec<String>,
}

/// Plays `case` once. `name` makes its destinations unlike those of every other play.
pub fn play(
    case: &Case,
    version: Version,
    values: Option<&[String]>,
    target: &Target,
    name: &str,
) -> Result<(), Failure> {
    let failure = |line, reason| Failure {
        line,
        reason,
        transcript: Vec::new(),
    };
    let steps = case.steps(version).map_err(|wrong| failure(wrong.line, wrong.reason))?;
    let text = |text: &str| text.as_bytes().to_vec();
    let mut variables = Variables::from([
        ("version".to_string(), text(version.as_str())),
        ("name".to_string(), text(name)),
        ("topic".to_string(), text(&format!("{}{name}", target.topic_prefix))),
        ("queue".to_string(), text(&format!("{}{name}", target.queue_prefix))),
        ("vhost".to_string(), text(&target.vhost)),
        ("credentials".to_string(), text(&target.credentials())),
        ("authority".to_string(), text(&target.authority)),
        ("port".to_string(), text(&target.address.port().to_string())),
    ]);
    if let (Some(each), Some(values)) = (&case.each, values) {
        for (name, value) in each.names.iter().zip(values) {
            let value = Template::parse(value).and_then(|value| value.fill(&variables));
            variables.insert(name.clone(), value.map_err(|reason| failure(1, reason))?);
        }
    }
    let mut scene = Scene {
        target,
        version,
        variables,
        peers: BTreeMap::new(),
        transcript: Vec::new(),
        receipts: 0,
    };
    scene.steps(&steps).map_err(|(line, reason)| Failure {
        line,
        reason,
        transcript: std::mem::take(&mut scene.transcript),
    })
}

struct Scene<'a> {
    target: &'a Target,
    version: Version,
    variables: Variables,
    peers: BTreeMap<String, Peer>,
    transcript: Vec<String>,
    receipts: usize,
}

impl Scene<'_> {
    fn steps(&mut self, steps: &[Step]) -> Result<(), (usize, String)> {
        for step in steps {
            if let Action::Repeat(count, steps) = &step.action {
                for turn in 1..=count.compute(&self.variables).map_err(|reason| (step.line, reason))? {
                    self.variables.insert("i".into(), turn.to_string().into_bytes());
                    self.steps(steps)?;
                }
                continue;
            }
            self.step(&step.action).map_err(|reason| (step.line, reason))?;
        }
        Ok(())
    }

    fn step(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Open(name, opening) => self.open(name, opening, None),
            Action::Connect(name, opening, version, headers) => {
                self.connect(name, opening, version.as_deref(), headers)
            }
            Action::Subscribe(name, id, destination, headers) => {
                let (id, destination) = (id.fill(&self.variables)?, destination.fill(&self.variables)?);
                self.asked(
                    name,
                    "SUBSCRIBE",
                    &[("id", id), ("destination", destination)],
                    headers,
                    b"",
                )
            }
            Action::Publish(name, destination, body, headers) => {
                let (destination, body) = (destination.fill(&self.variables)?, body.fill(&self.variables)?);
                let length = body.len().to_string().into_bytes();
                self.asked(
                    name,
                    "SEND",
                    &[("destination", destination), ("content-length", length)],
                    headers,
                    &body,
                )
            }
            Action::Disconnect(name) => self.disconnect(name),
            Action::Close(name) => {
                self.note(name, ':', "close");
                self.peer(name)?.close();
                Ok(())
            }
            Action::Reset(name) => {
                self.note(name, ':', "reset");
                let peer = self.peers.remove(name).ok_or_else(|| format!("{name} is not open"))?;
                peer.reset().map_err(|error| error.to_string())
            }
            Action::StopReading(name) => self.peer(name).map(|peer| peer.pause(true)),
            Action::GoOnReading(name) => self.peer(name).map(|peer| peer.pause(false)),
            Action::Send(name, sending, octets) => self.send(name, sending, octets),
            Action::Expect(name, expecting) => self.expect(name, expecting),
            Action::Wait(time) => {
                std::thread::sleep(self.time(time)?);
                Ok(())
            }
            Action::Let(name, value) => {
                let value = value.compute(&self.variables)?;
                self.variables.insert(name.clone(), value.to_string().into_bytes());
                Ok(())
            }
            Action::CheckNumbers(left, how, right) => {
                check_numbers(left.compute(&self.variables)?, *how, right.compute(&self.variables)?)
            }
            Action::CheckText(left, how, right) => {
                check_text(&left.fill(&self.variables)?, *how, &right.fill(&self.variables)?)
            }
            Action::Repeat(..) => Err("a repeat inside a step".into()),
        }
    }

    fn open(&mut self, name: &str, opening: &Opening, subprotocol: Option<&str>) -> Result<(), String> {
        let mut headers = vec![
            ("Host".to_string(), self.target.authority.clone()),
            // A request without any of these looks like one particular client to some servers.
            ("User-Agent".to_string(), "stomp-protocol-tests".to_string()),
        ];
        headers.extend(subprotocol.map(|value| ("Sec-WebSocket-Protocol".to_string(), value.to_string())));
        for (header, value) in &opening.sent {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(header));
            if let Some(value) = value {
                let value = String::from_utf8_lossy(&value.fill(&self.variables)?).into_owned();
                headers.push((header.clone(), value));
            }
        }
        self.peers.remove(name);
        self.note(name, ':', "open");
        let greeting = Greeting {
            headers,
            kind: opening.kind.unwrap_or(Kind::Text),
            mute: opening.mute,
        };
        let (peer, answer) = Peer::open(self.target, &greeting)
            .map_err(|error| format!("the connection could not be opened: {error}"))?;
        if let Some(answer) = &answer {
            let wanted = opening.status.unwrap_or(101);
            if answer.status != wanted {
                return Err(format!(
                    "the handshake was answered with {}, expected {wanted}",
                    answer.status
                ));
            }
            for (header, wanted) in &opening.expected {
                let found = answer.value(header);
                let fits = match (wanted, found) {
                    (Some(wanted), Some(found)) => wanted.matches(found.as_bytes(), &mut self.variables),
                    (None, None) => true,
                    _ => false,
                };
                if !fits {
                    return Err(format!("the handshake's {header} is {found:?}"));
                }
            }
        }
        self.peers.extend(peer.map(|peer| (name.to_string(), peer)));
        Ok(())
    }

    fn connect(
        &mut self,
        name: &str,
        opening: &Opening,
        version: Option<&str>,
        headers: &[Template],
    ) -> Result<(), String> {
        let version = version.unwrap_or(self.version.as_str()).to_string();
        self.open(name, opening, Some(&format!("v{}.stomp", version.replace('.', ""))))?;
        let Target { vhost, .. } = self.target;
        let mut octets = format!(
            "CONNECT\naccept-version:{version}\nhost:{vhost}{}\n",
            self.target.credentials()
        )
        .into_bytes();
        for header in headers {
            octets.extend(header.fill(&self.variables)?);
            octets.push(b'\n');
        }
        octets.extend_from_slice(b"\n\0");
        self.write(name, &octets)?;
        let mut connected = Pattern {
            command: "CONNECTED".into(),
            ..Pattern::default()
        };
        if version != "1.0" {
            connected.headers.push(HeaderPattern::Is(
                Template::parse("version")?,
                Template::parse(&version)?,
            ));
        }
        self.frame(name, &connected, self.target.patience)
    }

    /// Ends the session politely. Whether the RECEIPT comes is another rule: the end of the connection will do.
    fn disconnect(&mut self, name: &str) -> Result<(), String> {
        self.write(name, b"DISCONNECT\nreceipt:disconnect\n\n\0")?;
        let deadline = Instant::now() + self.target.patience;
        let peer = self.peer(name)?;
        let over = |event: &Event| match event {
            Event::Frame(arrival) => arrival.frame.value("receipt-id") == Some(b"disconnect"),
            Event::Ended(_) => true,
            _ => false,
        };
        while !peer.unread.iter().any(over) {
            if !peer.gather(deadline) {
                return Err("DISCONNECT was answered neither with RECEIPT nor with the end of the connection".into());
            }
        }
        peer.unread.retain(|event| !over(event) || matches!(event, Event::Ended(_)));
        peer.close();
        Ok(())
    }

    /// Sends a frame that asks for a receipt, and takes that.
    fn asked(
        &mut self,
        name: &str,
        command: &str,
        headers: &[(&str, Vec<u8>)],
        more: &[Template],
        body: &[u8],
    ) -> Result<(), String> {
        self.receipts += 1;
        let receipt = format!("{}-{}", command.to_lowercase(), self.receipts).into_bytes();
        let mut octets = format!("{command}\n").into_bytes();
        for (header, value) in headers.iter().chain([&("receipt", receipt.clone())]) {
            octets.extend_from_slice(header.as_bytes());
            octets.push(b':');
            octets.extend_from_slice(value);
            octets.push(b'\n');
        }
        for header in more {
            octets.extend(header.fill(&self.variables)?);
            octets.push(b'\n');
        }
        octets.push(b'\n');
        octets.extend_from_slice(body);
        octets.push(0);
        self.write(name, &octets)?;
        let wanted = format!("RECEIPT receipt-id:{}", show(&receipt, 100));
        let patience = self.target.patience;
        self.event(name, patience, &wanted, |event| {
            matches!(event, Event::Frame(arrival) if arrival.frame.command == "RECEIPT" && arrival.frame.value("receipt-id") == Some(&receipt))
        })
        .map(drop)
    }

    fn send(&mut self, name: &str, sending: &Sending, octets: &Template) -> Result<(), String> {
        let octets = octets.fill(&self.variables)?;
        self.note(name, '>', &show(&octets, 400));
        let pause = sending
            .pause
            .as_ref()
            .map(|pause| self.time(pause))
            .transpose()?
            .unwrap_or_default();
        let cut = match &sending.cut {
            Cut::Whole => octets.len().max(1),
            Cut::EveryOctet => 1,
            Cut::At(at) => usize::try_from(at.compute(&self.variables)?)
                .unwrap_or_default()
                .clamp(1, octets.len().max(1)),
            Cut::Fragments(count) => octets.len().div_ceil(
                usize::try_from(count.compute(&self.variables)?)
                    .unwrap_or_default()
                    .max(1),
            ),
        };
        let pieces = match &sending.cut {
            Cut::At(_) => vec![&octets[..cut], &octets[cut..]],
            _ if octets.is_empty() => vec![octets.as_slice()],
            _ => octets.chunks(cut.max(1)).collect(),
        };
        let fragmented = matches!(sending.cut, Cut::Fragments(_));
        let websocket = self.target.transport == Transport::WebSocket;
        let peer = self.peer(name)?;
        let opcode = match sending.opcode {
            Opcode::Usual => None,
            Opcode::Text => Some(websocket::TEXT),
            Opcode::Binary => Some(websocket::BINARY),
            Opcode::Continuation => Some(websocket::CONTINUATION),
            Opcode::Close => Some(websocket::CLOSE),
            Opcode::Ping => Some(websocket::PING),
            Opcode::Pong => Some(websocket::PONG),
        };
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 && !pause.is_zero() {
                std::thread::sleep(pause);
            }
            let last_piece = at + 1 == pieces.len();
            let sent = if websocket {
                // A message of text must be UTF-8 by itself, wherever it was cut.
                let whole = if fragmented { octets.as_slice() } else { piece };
                let opcode = if fragmented && at > 0 {
                    websocket::CONTINUATION
                } else {
                    opcode.unwrap_or_else(|| peer.opcode(whole))
                };
                let last = !sending.more && (last_piece || !fragmented);
                peer.send_frame(opcode, last, piece, !sending.unmasked)
            } else {
                peer.send(piece)
            };
            if let Err(error) = sent {
                // The server may rightly have closed; what it said is for the steps that follow.
                self.note(name, '!', &format!("not all could be sent: {error}"));
                return Ok(());
            }
        }
        Ok(())
    }

    fn write(&mut self, name: &str, octets: &[u8]) -> Result<(), String> {
        self.note(name, '>', &show(octets, 400));
        self.peer(name)?
            .send(octets)
            .map_err(|error| format!("could not send: {error}"))
    }

    fn expect(&mut self, name: &str, expecting: &Expecting) -> Result<(), String> {
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

    /// Takes the first unread frame of the pattern's kind and compares it.
    fn frame(&mut self, name: &str, pattern: &Pattern, patience: Duration) -> Result<(), String> {
        let wanted = format!(
            "{} {}",
            pattern.command,
            pattern
                .headers
                .iter()
                .map(|line| self.describe(line))
                .collect::<Vec<_>>()
                .join(" ")
        );
        let lane = self.lane(pattern);
        let next = pattern.next;
        let event = self.event(name, patience, wanted.trim(), |event| match event {
            Event::Frame(arrival) => {
                let same = arrival.frame.command == pattern.command;
                let same_lane = lane
                    .as_deref()
                    .is_none_or(|lane| arrival.frame.value("subscription") == Some(lane));
                next || (same && same_lane)
            }
            _ => false,
        })?;
        let Event::Frame(arrival) = event else {
            return Err("this is no frame".into());
        };
        let found = arrival.frame.show();
        if arrival.frame.command != pattern.command {
            return Err(format!("expected next: {wanted}; came: {found}"));
        }
        let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for line in &pattern.headers {
            self.header(&arrival.frame, line, &mut seen)
                .map_err(|reason| format!("{reason}; came: {found}"))?;
        }
        if let Some(body) = &pattern.body {
            if !body.matches(&arrival.frame.body, &mut self.variables) {
                let body = body.fill(&self.variables).unwrap_or_default();
                return Err(format!(
                    "expected the body {} ({} octets); came: {found} ({} octets)",
                    show(&body, 200),
                    body.len(),
                    arrival.frame.body.len()
                ));
            }
        }
        for text in &pattern.body_contains {
            let text = text.fill(&self.variables)?;
            if !contains(&arrival.frame.body, &text) {
                return Err(format!("expected {} in the body; came: {found}", show(&text, 100)));
            }
        }
        match (pattern.kind, arrival.kind) {
            (Some(wanted), Some(kind)) if wanted != kind => {
                return Err(format!("expected a message of kind {wanted:?}, came {kind:?}: {found}"))
            }
            (_, Some(_)) if pattern.alone && !arrival.alone => {
                return Err(format!(
                    "expected one whole frame in one message; came otherwise: {found}"
                ))
            }
            _ => {}
        }
        Ok(())
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
        frame: &crate::frame::Frame,
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
    fn event(
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
                    patience.as_millis()
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

    fn peer(&mut self, name: &str) -> Result<&mut Peer, String> {
        self.peers.get_mut(name).ok_or_else(|| format!("{name} is not open"))
    }

    fn time(&self, time: &Expression) -> Result<Duration, String> {
        let milliseconds = time.compute(&self.variables)?;
        u64::try_from(milliseconds)
            .map(Duration::from_millis)
            .map_err(|_| format!("{milliseconds} ms is no time"))
    }

    fn note_event(&mut self, name: &str, event: &Event) {
        let shown = event.to_string();
        self.note(name, '<', &shown);
    }

    fn note(&mut self, name: &str, sign: char, what: &str) {
        self.transcript.push(format!("{name}{sign} {what}"));
    }
}

fn contains(octets: &[u8], text: &[u8]) -> bool {
    let lower = |octets: &[u8]| octets.to_ascii_lowercase();
    crate::notation::find(&lower(octets), &lower(text)).is_some()
}

fn check_numbers(left: i64, how: Comparison, right: i64) -> Result<(), String> {
    let (holds, sign) = match how {
        Comparison::Equal => (left == right, "=="),
        Comparison::Different => (left != right, "!="),
        Comparison::AtMost => (left <= right, "<="),
        Comparison::AtLeast => (left >= right, ">="),
        Comparison::Less => (left < right, "<"),
        Comparison::More => (left > right, ">"),
    };
    holds
        .then_some(())
        .ok_or_else(|| format!("expected {left} {sign} {right}"))
}

fn check_text(left: &[u8], how: TextComparison, right: &[u8]) -> Result<(), String> {
    let (holds, sign) = match how {
        TextComparison::Is => (left == right, "is"),
        TextComparison::IsNot => (left != right, "is not"),
        TextComparison::Contains => (contains(left, right), "contains"),
    };
    holds
        .then_some(())
        .ok_or_else(|| format!("expected {:?} {sign} {:?}", show(left, 200), show(right, 200)))
}
