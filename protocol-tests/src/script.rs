//! Reads the script of a case. README.md is the reference of its form.

use crate::case::Line;
use crate::expression::Expression;
use crate::notation::Template;
use crate::step::{
    Action, Comparison, Cut, Expecting, HeaderPattern, Kind, Opcode, Opening, Pattern, Sending, Step, TextComparison,
    What,
};

/// What is wrong with a script, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its line in the file.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads a script. `websocket_only` allows steps that only make sense on WebSocket.
pub fn parse(lines: Vec<Line>, websocket_only: bool) -> Result<Vec<Step>, Wrong> {
    let mut open = vec![(0, None, Vec::new())];
    for block in blocks(lines)? {
        let wrong = |reason: String| Wrong {
            line: block.line,
            reason,
        };
        if let Some(count) = block.head.strip_prefix("repeat ") {
            let count = Expression::parse(count).map_err(wrong)?;
            open.push((block.line, Some(count), Vec::new()));
            continue;
        }
        let step = if block.head == "end" {
            match open.pop() {
                Some((line, Some(count), steps)) if !steps.is_empty() => Step {
                    line,
                    action: Action::Repeat(count, steps),
                },
                Some((_, Some(_), _)) => return Err(wrong("nothing is repeated".into())),
                _ => return Err(wrong("end without repeat".into())),
            }
        } else {
            Step {
                line: block.line,
                action: block.action(websocket_only)?,
            }
        };
        match open.last_mut() {
            Some((_, _, steps)) => steps.push(step),
            None => return Err(wrong("end without repeat".into())),
        }
    }
    match open.pop() {
        Some((line, Some(_), _)) => Err(Wrong {
            line,
            reason: "repeat without end".into(),
        }),
        Some((_, None, steps)) => Ok(steps),
        None => Ok(Vec::new()),
    }
}

/// A line at the margin and the indented lines below it.
struct Block {
    line: usize,
    head: String,
    below: Vec<Line>,
}

fn blocks(lines: Vec<Line>) -> Result<Vec<Block>, Wrong> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut indent = 0;
    for Line { number, text } in lines {
        let depth = text.len() - text.trim_start_matches(' ').len();
        if text.starts_with('#') {
            continue;
        }
        if text.is_empty() || depth > 0 {
            let Some(block) = blocks.last_mut() else {
                if text.is_empty() {
                    continue;
                }
                return Err(Wrong {
                    line: number,
                    reason: "an indented line belongs to no step".into(),
                });
            };
            if block.below.iter().all(|line| line.text.is_empty()) && depth > 0 {
                indent = depth;
            }
            if depth > 0 && depth < indent {
                return Err(Wrong {
                    line: number,
                    reason: format!("indented by {depth}, the lines above by {indent}"),
                });
            }
            let text = text.get(indent..).unwrap_or_default().to_string();
            block.below.push(Line { number, text });
        } else {
            blocks.push(Block {
                line: number,
                head: text,
                below: Vec::new(),
            });
        }
    }
    for block in &mut blocks {
        while block.below.last().is_some_and(|line| line.text.is_empty()) {
            block.below.pop();
        }
    }
    Ok(blocks)
}

impl Block {
    fn action(&self, websocket_only: bool) -> Result<Action, Wrong> {
        let head = self.head.as_str();
        if let Some(rest) = head.strip_prefix("wait ") {
            return self.bare(Expression::parse(rest).map(Action::Wait));
        }
        if let Some(rest) = head.strip_prefix("let ") {
            return self.bare(binding(rest));
        }
        if let Some(rest) = head.strip_prefix("check ") {
            return self.bare(comparison(rest));
        }
        let end = head
            .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
            .unwrap_or(head.len());
        let (peer, rest) = head.split_at(end);
        let (options, rest) = match rest.strip_prefix('(') {
            Some(rest) => rest.split_once(')').ok_or_else(|| self.wrong("( without )"))?,
            None => ("", rest),
        };
        let options = Options {
            line: self.line,
            words: options
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .collect(),
            websocket_only,
        };
        let sign = rest.chars().next().filter(|_| !peer.is_empty());
        let after = rest.get(1..).unwrap_or_default();
        match sign {
            Some(':') => self.deed(peer.into(), after.trim(), options),
            Some('>') => self.send(peer.into(), after, options),
            Some('<') => self.expect(peer.into(), after.trim(), options),
            _ => Err(self.wrong("expected `NAME: ...`, `NAME> ...`, `NAME< ...`, wait, let, check, repeat or end")),
        }
    }

    fn deed(&self, peer: String, deed: &str, options: Options<'_>) -> Result<Action, Wrong> {
        let mut words = deed.split_whitespace();
        match words.next() {
            Some("open") if words.next().is_none() => {
                let (opening, headers) = self.opening(options)?;
                match headers.is_empty() {
                    true => Ok(Action::Open(peer, opening)),
                    false => Err(self.wrong("open takes lines that begin with > or <")),
                }
            }
            Some("connect") => {
                let version = words.next().map(String::from);
                let (opening, headers) = self.opening(options)?;
                Ok(Action::Connect(peer, opening, version, headers))
            }
            Some(word @ ("subscribe" | "send")) => {
                let rest = deed[word.len()..].trim_start();
                let (first, second) = rest
                    .split_once(' ')
                    .ok_or_else(|| self.wrong("expected `subscribe ID DESTINATION` or `send DESTINATION BODY`"))?;
                options.none()?;
                let wrong = |reason: String| self.wrong(&reason);
                let (first, second) = (
                    Template::parse(first).map_err(wrong)?,
                    Template::parse(second).map_err(wrong)?,
                );
                let headers = self.below.iter().map(|line| {
                    Template::parse(&line.text).map_err(|reason| Wrong {
                        line: line.number,
                        reason,
                    })
                });
                let headers = headers.collect::<Result<_, _>>()?;
                Ok(if word == "send" {
                    Action::Publish(peer, first, second, headers)
                } else {
                    Action::Subscribe(peer, first, second, headers)
                })
            }
            _ => {
                let action = match deed {
                    "disconnect" => Action::Disconnect(peer),
                    "close" => Action::Close(peer),
                    "reset" => Action::Reset(peer),
                    "stop reading" => Action::StopReading(peer),
                    "go on reading" => Action::GoOnReading(peer),
                    _ => return Err(self.wrong(&format!("{deed:?} is not known (known: open, connect, subscribe, send, disconnect, close, reset, stop reading, go on reading)"))),
                };
                options.none()?;
                self.bare(Ok(action))
            }
        }
    }

    /// The options and lines of `open` and `connect`; lines without a sign are headers of CONNECT.
    fn opening(&self, options: Options<'_>) -> Result<(Opening, Vec<Template>), Wrong> {
        let mut opening = Opening::default();
        for word in &options.words {
            match *word {
                "text" => opening.kind = Some(Kind::Text),
                "binary" => opening.kind = Some(Kind::Binary),
                "mute" => opening.mute = true,
                _ => return Err(options.unknown(word, "text, binary, mute")),
            }
        }
        let mut headers = Vec::new();
        for line in &self.below {
            let wrong = |reason: String| Wrong {
                line: line.number,
                reason,
            };
            if let Some(sent) = line.text.strip_prefix("> ") {
                opening.sent.push(http_header(sent).map_err(wrong)?);
            } else if let Some(expected) = line.text.strip_prefix("< ") {
                match expected.parse() {
                    Ok(status) => opening.status = Some(status),
                    Err(_) => opening.expected.push(http_header(expected).map_err(wrong)?),
                }
            } else {
                headers.push(Template::parse(&line.text).map_err(wrong)?);
            }
        }
        Ok((opening, headers))
    }

    fn send(&self, peer: String, first: &str, options: Options<'_>) -> Result<Action, Wrong> {
        let mut sending = Sending::default();
        for word in &options.words {
            let (name, value) = word.split_once(' ').unwrap_or((word, ""));
            let number = || Expression::parse(value).map_err(|reason| self.wrong(&reason));
            match name {
                "bytes" => sending.cut = Cut::EveryOctet,
                "cut" => sending.cut = Cut::At(number()?),
                "pause" => sending.pause = Some(number()?),
                _ => {
                    options.needs_websocket(word)?;
                    match name {
                        "text" => sending.opcode = Opcode::Text,
                        "binary" => sending.opcode = Opcode::Binary,
                        "continuation" => sending.opcode = Opcode::Continuation,
                        "close" => sending.opcode = Opcode::Close,
                        "ping" => sending.opcode = Opcode::Ping,
                        "pong" => sending.opcode = Opcode::Pong,
                        "more" => sending.more = true,
                        "unmasked" => sending.unmasked = true,
                        "fragments" => sending.cut = Cut::Fragments(number()?),
                        _ => return Err(options.unknown(word, "bytes, cut N, pause N, text, binary, continuation, close, ping, pong, more, unmasked, fragments N")),
                    }
                }
            }
        }
        let first = first.strip_prefix(' ').unwrap_or(first);
        let first = (!first.is_empty()).then(|| Line {
            number: self.line,
            text: first.into(),
        });
        let octets = joined(first.iter().chain(&self.below))?;
        Ok(Action::Send(peer, sending, octets))
    }

    fn expect(&self, peer: String, rest: &str, options: Options<'_>) -> Result<Action, Wrong> {
        let (rest, within) = match rest.split_once(" within ") {
            Some((rest, time)) => (rest.trim(), Some(self.number(time)?)),
            None => (rest, None),
        };
        let (word, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let lines_below = !self.below.is_empty();
        let what = match word {
            "EOL" => What::EndOfLine(options.only("alone")?),
            "ping" | "pong" => {
                options.needs_websocket(word)?;
                options.none()?;
                match word {
                    "ping" => What::Ping,
                    _ => What::Pong(Template::parse(value).map_err(|reason| self.wrong(&reason))?),
                }
            }
            "nothing" | "silence" | "closed" | "gone" => {
                options.none()?;
                match (word, value) {
                    ("nothing", "") => What::Nothing(None),
                    ("nothing", time) => What::Nothing(Some(self.number(time)?)),
                    ("silence", time) => What::Silence(self.number(time)?),
                    ("gone", "") => What::Gone,
                    ("closed", codes) => {
                        let (codes, reason) = match codes.strip_suffix("with a reason") {
                            Some(codes) => (codes, true),
                            None => (codes, false),
                        };
                        let codes: Result<_, _> = codes.split_whitespace().map(str::parse).collect();
                        What::Closed(
                            codes.map_err(|_| self.wrong("closed takes close codes and `with a reason`"))?,
                            reason,
                        )
                    }
                    _ => return Err(self.wrong("gone takes nothing")),
                }
            }
            command
                if !command.is_empty()
                    && command.bytes().all(|octet| octet.is_ascii_uppercase())
                    && value.is_empty() =>
            {
                return Ok(Action::Expect(
                    peer,
                    Expecting {
                        what: What::Frame(self.pattern(command, options)?),
                        within,
                    },
                ));
            }
            _ => return Err(self.wrong("expected a command, EOL, ping, pong, nothing, silence, closed or gone")),
        };
        if lines_below {
            return Err(self.wrong("only a frame takes lines below it"));
        }
        Ok(Action::Expect(peer, Expecting { what, within }))
    }

    fn pattern(&self, command: &str, options: Options<'_>) -> Result<Pattern, Wrong> {
        let mut pattern = Pattern {
            command: command.into(),
            ..Pattern::default()
        };
        for word in &options.words {
            match *word {
                "next" => pattern.next = true,
                "skip" => pattern.skip = true,
                // On TCP there are no messages: these say something only where there are.
                "text" => pattern.kind = Some(Kind::Text),
                "binary" => pattern.kind = Some(Kind::Binary),
                "alone" => pattern.alone = true,
                _ => return Err(options.unknown(word, "next, skip, text, binary, alone")),
            }
        }
        let mut lines = self.below.iter();
        for line in lines.by_ref().take_while(|line| !line.text.is_empty()) {
            let wrong = |reason: String| Wrong {
                line: line.number,
                reason,
            };
            let template = |text: &str| Template::parse(text).map_err(wrong);
            if let Some(text) = line.text.strip_prefix("(body)~") {
                pattern.body_contains.push(template(text)?);
            } else if let Some(name) = line.text.strip_prefix('!') {
                pattern.headers.push(HeaderPattern::Absent(template(name)?));
            } else {
                let at = line
                    .text
                    .find([':', '~'])
                    .ok_or_else(|| wrong("expected name:value, name~text, !name or (body)~text".into()))?;
                let (name, value) = (template(&line.text[..at])?, template(&line.text[at + 1..])?);
                pattern.headers.push(match line.text.as_bytes()[at] {
                    b':' => HeaderPattern::Is(name, value),
                    _ => HeaderPattern::Contains(name, value),
                });
            }
        }
        let body: Vec<Line> = lines.cloned().collect();
        if let Some((last, before)) = body.split_last() {
            let end = last.text.strip_suffix("^@");
            let end = end.ok_or_else(|| self.wrong("an expected body ends with ^@"))?;
            let end = Line {
                number: last.number,
                text: end.into(),
            };
            pattern.body = Some(joined(before.iter().chain([&end]))?);
        }
        Ok(pattern)
    }

    fn bare(&self, action: Result<Action, String>) -> Result<Action, Wrong> {
        if !self.below.is_empty() {
            return Err(self.wrong("this step takes no lines below it"));
        }
        action.map_err(|reason| self.wrong(&reason))
    }

    fn number(&self, text: &str) -> Result<Expression, Wrong> {
        Expression::parse(text).map_err(|reason| self.wrong(&reason))
    }

    fn wrong(&self, reason: &str) -> Wrong {
        Wrong {
            line: self.line,
            reason: reason.into(),
        }
    }
}

/// The lines with an LF between each two.
fn joined<'a>(lines: impl Iterator<Item = &'a Line>) -> Result<Template, Wrong> {
    let mut whole = Template::default();
    for (at, line) in lines.enumerate() {
        let template = Template::parse(&line.text).map_err(|reason| Wrong {
            line: line.number,
            reason,
        })?;
        if at > 0 {
            whole.octets(b"\n");
        }
        whole.append(template);
    }
    Ok(whole)
}

/// The words in parentheses behind a connection's name.
struct Options<'a> {
    line: usize,
    words: Vec<&'a str>,
    websocket_only: bool,
}

impl Options<'_> {
    fn none(&self) -> Result<(), Wrong> {
        match self.words.first() {
            Some(word) => Err(self.unknown(word, "none")),
            None => Ok(()),
        }
    }

    fn only(&self, known: &str) -> Result<bool, Wrong> {
        match self.words.iter().find(|word| **word != known) {
            Some(word) => Err(self.unknown(word, known)),
            None => Ok(!self.words.is_empty()),
        }
    }

    fn needs_websocket(&self, word: &str) -> Result<(), Wrong> {
        if self.websocket_only {
            return Ok(());
        }
        Err(Wrong {
            line: self.line,
            reason: format!("{word:?} needs `transports: ws` in the head"),
        })
    }

    fn unknown(&self, word: &str, known: &str) -> Wrong {
        Wrong {
            line: self.line,
            reason: format!("the option {word:?} is not known here (known: {known})"),
        }
    }
}

/// `Name: value` or `!Name`.
fn http_header(text: &str) -> Result<(String, Option<Template>), String> {
    if let Some(name) = text.strip_prefix('!') {
        return Ok((name.into(), None));
    }
    let (name, value) = text.split_once(": ").ok_or("expected `Name: value` or `!Name`")?;
    Ok((name.into(), Some(Template::parse(value)?)))
}

fn binding(text: &str) -> Result<Action, String> {
    let (name, value) = text.split_once('=').ok_or("let needs NAME = EXPRESSION")?;
    Ok(Action::Let(name.trim().into(), Expression::parse(value)?))
}

fn comparison(text: &str) -> Result<Action, String> {
    let texts = [
        (" is not ", TextComparison::IsNot),
        (" is ", TextComparison::Is),
        (" contains ", TextComparison::Contains),
    ];
    for (sign, how) in texts {
        if let Some((left, right)) = text.split_once(sign) {
            return Ok(Action::CheckText(Template::parse(left)?, how, Template::parse(right)?));
        }
    }
    let numbers = [
        ("==", Comparison::Equal),
        ("!=", Comparison::Different),
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("<", Comparison::Less),
        (">", Comparison::More),
    ];
    for (sign, how) in numbers {
        if let Some((left, right)) = text.split_once(sign) {
            return Ok(Action::CheckNumbers(
                Expression::parse(left)?,
                how,
                Expression::parse(right)?,
            ));
        }
    }
    Err("check needs ==, !=, <=, >=, <, > between numbers or is, is not, contains between texts".into())
}
