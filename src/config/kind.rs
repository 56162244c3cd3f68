//! The kinds of option: how each is written, what is allowed, and the field of the settings it goes to.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::places::{address, folder, origin, path, topic};
use super::unit;
use crate::broker::settings::{DeadLetter, TopicPolicy, WhenExpired, WhenFull};
use crate::session::settings::{UserSend, Workers};
use crate::store::Durability;

/// A value as the file, the environment or the command line gave it, before its option has been asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML float.
    Float(f64),
    /// A TOML boolean.
    Flag(bool),
    /// A TOML array of strings.
    List(Vec<String>),
    /// From the environment or the command line, where everything is text and the option says what it stands for.
    Written(String),
    /// What no option takes, by the name of its type.
    Other(&'static str),
}

impl Value {
    /// The value for an error text.
    pub(super) fn show(&self) -> String {
        match self {
            Value::Text(text) | Value::Written(text) => quoted(text),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Flag(flag) => flag.to_string(),
            Value::List(items) => list(items),
            Value::Other(name) => format!("({name})"),
        }
    }
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Octets.
    Size,
    /// Milliseconds.
    Duration,
    /// Things.
    Count,
    /// Permille, written as a factor: 2.0 is 2000.
    Factor,
}

/// The field of `S` that holds a number.
pub(super) enum At<S: 'static> {
    U32(fn(&mut S) -> &mut u32),
    U64(fn(&mut S) -> &mut u64),
    Usize(fn(&mut S) -> &mut usize),
}

/// A kind of option together with the field of `S` it goes to.
pub(super) enum Kind<S: 'static> {
    /// A number with its unit and what is allowed.
    Number(Unit, RangeInclusive<u64>, At<S>),
    /// true or false.
    Flag(fn(&mut S) -> &mut bool),
    /// Where to listen, or `off`.
    Address(fn(&mut S) -> &mut Option<SocketAddr>),
    /// HTTP paths.
    Paths(fn(&mut S) -> &mut Vec<String>),
    /// Origins of web pages.
    Origins(fn(&mut S) -> &mut Vec<String>),
    /// A size, or `auto` for the server's own rule.
    SizeOrAuto(RangeInclusive<u64>, fn(&mut S) -> &mut Option<usize>),
    /// The two numbers of the `heart-beat` header, in milliseconds.
    HeartBeat(fn(&mut S) -> (&mut u32, &mut u32)),
    /// Verdict of a full queue.
    WhenFull(fn(&mut S) -> &mut WhenFull),
    /// Verdict about an expired message.
    WhenExpired(fn(&mut S) -> &mut WhenExpired),
    /// Whose `/user` destinations a client may SEND to, as a word.
    UserSend(fn(&mut S) -> &mut UserSend),
    /// Who may work for application destinations.
    Workers(fn(&mut S) -> &mut Workers),
    /// Where dead messages go: `own`, `off`, or a queue.
    DeadLetter(fn(&mut S) -> &mut DeadLetter),
    /// A topic, or `off`.
    Topic(fn(&mut S) -> &mut Option<String>),
    /// Verdict about a slow subscriber.
    SlowConsumer(fn(&mut S) -> &mut TopicPolicy),
    /// The header of `latest-only`; set after the verdict, and without a field unless that is `latest-only`.
    LatestKey(fn(&mut S) -> &mut TopicPolicy),
    /// A folder, or `off`.
    Folder(fn(&mut S) -> &mut Option<PathBuf>),
    /// When what was written counts as kept: `fsync`, `none`, or how often the disk is asked.
    Durability(fn(&mut S) -> &mut Durability),
    /// What is logged.
    Log(fn(&mut S) -> &mut String),
    /// A kind of its own.
    Own(&'static Own<S>),
}

/// A kind that one option or two have.
pub(super) struct Own<S: 'static> {
    pub(super) name: &'static str,
    pub(super) allowed: &'static str,
    pub(super) write: fn(&mut S, &Value) -> Result<(), String>,
    pub(super) show: fn(&mut S) -> String,
}

const WHEN_FULL: [(&str, WhenFull); 3] = [
    ("block", WhenFull::Block),
    ("reject", WhenFull::Reject),
    ("drop-head", WhenFull::DropHead),
];

const WHEN_EXPIRED: [(&str, WhenExpired); 2] = [("drop", WhenExpired::Drop), ("dead-letter", WhenExpired::DeadLetter)];

const USER_SEND: [(&str, UserSend); 3] = [("none", UserSend::None), ("own", UserSend::Own), ("any", UserSend::Any)];
const WORKERS: [(&str, Workers); 3] = [
    ("nobody", Workers::Nobody),
    ("permitted", Workers::Permitted),
    ("anyone", Workers::Anyone),
];

const SLOW_CONSUMER: [&str; 3] = ["disconnect", "drop-oldest", "latest-only"];

/// The longest interval that [`Kind::HeartBeat`] takes.
const HEART_BEAT_MS: u64 = 86_400_000;

impl<S> Kind<S> {
    /// The kind in one word, for the tables of the documentation.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Kind::Number(Unit::Size, ..) => "size",
            Kind::Number(Unit::Duration, ..) => "duration",
            Kind::Number(Unit::Count, ..) => "number",
            Kind::Number(Unit::Factor, ..) => "factor",
            Kind::Flag(_) => "true/false",
            Kind::Address(_) => "address",
            Kind::Paths(_) | Kind::Origins(_) => "list",
            Kind::SizeOrAuto(..) => "size or `auto`",
            Kind::HeartBeat(_) => "two durations",
            Kind::WhenFull(_) | Kind::WhenExpired(_) | Kind::UserSend(_) | Kind::Workers(_) | Kind::SlowConsumer(_) => {
                "word"
            }
            Kind::DeadLetter(_) => "queue or word",
            Kind::Topic(_) => "topic",
            Kind::LatestKey(_) => "header name",
            Kind::Folder(_) => "folder",
            Kind::Durability(_) => "word or duration",
            Kind::Log(_) => "filter",
            Kind::Own(own) => own.name,
        }
    }

    /// What may be written, where how numbers are written has been said.
    pub(super) fn range(&self) -> String {
        match self {
            Kind::Number(unit, range, _) => unit.range(range),
            Kind::SizeOrAuto(range, _) => format!("\"auto\", or {}", Unit::Size.range(range)),
            _ => self.allowed(),
        }
    }

    /// What may be written, for error texts.
    pub(super) fn allowed(&self) -> String {
        match self {
            Kind::Number(unit, range, _) => unit.allowed(range),
            Kind::Flag(_) => "true or false".to_string(),
            Kind::Address(_) => {
                "\"127.0.0.1:61613\" or \"[::1]:61613\", a port alone (on 127.0.0.1; 0 takes a free one), or \"off\""
                    .to_string()
            }
            Kind::Paths(_) => "a list of paths: [\"/ws\", \"/stomp\"]".to_string(),
            Kind::Origins(_) => "a list of origins: [\"https://app.example\"], or [\"*\"] for any".to_string(),
            Kind::SizeOrAuto(range, _) => format!("\"auto\", or {}", Unit::Size.allowed(range)),
            Kind::HeartBeat(_) => {
                "what we can send and what we want, each from 0s (none) to 1d: \"10s,10s\", or one for both".to_string()
            }
            Kind::WhenFull(_) => words(WHEN_FULL.iter().map(|(word, _)| *word)),
            Kind::WhenExpired(_) => words(WHEN_EXPIRED.iter().map(|(word, _)| *word)),
            Kind::UserSend(_) => words(USER_SEND.iter().map(|(word, _)| *word)),
            Kind::Workers(_) => words(WORKERS.iter().map(|(word, _)| *word)),
            Kind::DeadLetter(_) => "\"own\", \"off\", or a queue such as \"/queue/dead\"".to_string(),
            Kind::Topic(_) => "a topic such as \"/topic/users\", or \"off\"".to_string(),
            Kind::SlowConsumer(_) => words(SLOW_CONSUMER),
            Kind::LatestKey(_) => "the name of a header, such as \"symbol\"".to_string(),
            Kind::Folder(_) => "a folder, or \"off\" for memory".to_string(),
            Kind::Durability(_) => "\"fsync\", \"none\", or a duration from 1ms to 1h".to_string(),
            Kind::Log(_) => {
                "error, warn, info, debug, trace or off, or directives such as \"info,hoofbeat::session=debug\""
                    .to_string()
            }
            Kind::Own(own) => own.allowed.to_string(),
        }
    }

    /// Puts `value` into its field of `settings`, or says why it cannot be.
    pub(super) fn write(&self, settings: &mut S, value: &Value) -> Result<(), String> {
        match self {
            Kind::Number(unit, range, at) => at.write(settings, unit.read(value, range)?),
            Kind::Flag(at) => {
                *at(settings) = flag(value)?;
                Ok(())
            }
            Kind::Address(at) => {
                *at(settings) = address(value)?;
                Ok(())
            }
            Kind::Paths(at) => {
                *at(settings) = items(value)?.iter().map(|item| path(item)).collect::<Result<_, _>>()?;
                Ok(())
            }
            Kind::Origins(at) => {
                *at(settings) = items(value)?
                    .iter()
                    .map(|item| origin(item))
                    .collect::<Result<_, _>>()?;
                Ok(())
            }
            Kind::SizeOrAuto(range, at) => {
                *at(settings) = match text(value) {
                    Ok("auto") => None,
                    _ => Some(usize::try_from(Unit::Size.read(value, range)?).map_err(|_| "too large")?),
                };
                Ok(())
            }
            Kind::HeartBeat(at) => {
                let (send, receive) = heart_beat(value)?;
                let (send_field, receive_field) = at(settings);
                (*send_field, *receive_field) = (send, receive);
                Ok(())
            }
            Kind::WhenFull(at) => {
                *at(settings) = among(value, &WHEN_FULL)?;
                Ok(())
            }
            Kind::WhenExpired(at) => {
                *at(settings) = among(value, &WHEN_EXPIRED)?;
                Ok(())
            }
            Kind::UserSend(at) => {
                *at(settings) = among(value, &USER_SEND)?;
                Ok(())
            }
            Kind::Workers(at) => {
                *at(settings) = among(value, &WORKERS)?;
                Ok(())
            }
            Kind::DeadLetter(at) => {
                *at(settings) = dead_letter(text(value)?)?;
                Ok(())
            }
            Kind::Topic(at) => {
                *at(settings) = topic(text(value)?)?;
                Ok(())
            }
            Kind::SlowConsumer(at) => {
                let policy = slow_consumer(text(value)?, at(settings))?;
                *at(settings) = policy;
                Ok(())
            }
            Kind::LatestKey(at) => {
                let name = header_name(text(value)?)?;
                if let TopicPolicy::LatestOnly { key } = at(settings) {
                    *key = name;
                }
                Ok(())
            }
            Kind::Folder(at) => {
                *at(settings) = folder(text(value)?)?;
                Ok(())
            }
            Kind::Durability(at) => {
                *at(settings) = durability(value)?;
                Ok(())
            }
            Kind::Log(at) => {
                *at(settings) = filter(text(value)?)?;
                Ok(())
            }
            Kind::Own(own) => (own.write)(settings, value),
        }
    }

    /// The value in `settings` as TOML; `None` for the key of a verdict that has none.
    pub(super) fn show(&self, settings: &mut S) -> Option<String> {
        Some(match self {
            Kind::Number(unit, _, at) => unit.show(at.read(settings)),
            Kind::Flag(at) => at(settings).to_string(),
            Kind::Address(at) => match at(settings) {
                Some(address) => quoted(&address.to_string()),
                None => quoted("off"),
            },
            Kind::Paths(at) | Kind::Origins(at) => list(at(settings)),
            Kind::SizeOrAuto(_, at) => match *at(settings) {
                Some(octets) => Unit::Size.show(octets as u64),
                None => quoted("auto"),
            },
            Kind::HeartBeat(at) => {
                let (send, receive) = at(settings);
                let (send, receive) = (u64::from(*send), u64::from(*receive));
                quoted(&format!(
                    "{},{}",
                    unit::show_duration(send),
                    unit::show_duration(receive)
                ))
            }
            Kind::WhenFull(at) => quoted(word_of(*at(settings), &WHEN_FULL)?),
            Kind::WhenExpired(at) => quoted(word_of(*at(settings), &WHEN_EXPIRED)?),
            Kind::UserSend(at) => quoted(word_of(*at(settings), &USER_SEND)?),
            Kind::Workers(at) => quoted(word_of(*at(settings), &WORKERS)?),
            Kind::DeadLetter(at) => quoted(match at(settings) {
                DeadLetter::Own => "own",
                DeadLetter::Nowhere => "off",
                DeadLetter::Queue(name) => name,
            }),
            Kind::Topic(at) => quoted(at(settings).as_deref().unwrap_or("off")),
            Kind::SlowConsumer(at) => quoted(match at(settings) {
                TopicPolicy::Disconnect => "disconnect",
                TopicPolicy::DropOldest => "drop-oldest",
                TopicPolicy::LatestOnly { .. } => "latest-only",
            }),
            Kind::LatestKey(at) => match at(settings) {
                TopicPolicy::LatestOnly { key } => quoted(key),
                _ => return None,
            },
            Kind::Folder(at) => match at(settings) {
                Some(folder) => quoted(&folder.display().to_string()),
                None => quoted("off"),
            },
            Kind::Durability(at) => quoted(&match at(settings) {
                Durability::Fsync => "fsync".to_string(),
                Durability::None => "none".to_string(),
                Durability::Interval(interval) => unit::show_duration(interval.as_millis() as u64),
            }),
            Kind::Log(at) => quoted(at(settings)),
            Kind::Own(own) => (own.show)(settings),
        })
    }
}

impl<S> At<S> {
    fn write(&self, settings: &mut S, number: u64) -> Result<(), String> {
        match self {
            At::U32(at) => *at(settings) = number.try_into().map_err(|_| "too large")?,
            At::U64(at) => *at(settings) = number,
            At::Usize(at) => *at(settings) = number.try_into().map_err(|_| "too large")?,
        }
        Ok(())
    }

    fn read(&self, settings: &mut S) -> u64 {
        match self {
            At::U32(at) => u64::from(*at(settings)),
            At::U64(at) => *at(settings),
            At::Usize(at) => *at(settings) as u64,
        }
    }
}

impl Unit {
    fn allowed(self, range: &RangeInclusive<u64>) -> String {
        let range = self.range(range);
        match self {
            Unit::Size => {
                format!("a size from {range}: \"64KiB\", \"4MiB\", or a number of octets")
            }
            Unit::Duration => {
                format!("a duration from {range}: \"10s\", \"500ms\", or a number of milliseconds")
            }
            Unit::Count => format!("a whole number from {range}"),
            Unit::Factor => format!("a factor from {range}"),
        }
    }

    fn range(self, range: &RangeInclusive<u64>) -> String {
        format!("{} to {}", self.plain(*range.start()), self.plain(*range.end()))
    }

    fn read(self, value: &Value, range: &RangeInclusive<u64>) -> Result<u64, String> {
        let number = match self {
            Unit::Factor => permille(value)?,
            _ => self.whole(value)?,
        };
        if number < *range.start() {
            return Err("too small".to_string());
        }
        if number > *range.end() {
            return Err("too large".to_string());
        }
        Ok(number)
    }

    fn whole(self, value: &Value) -> Result<u64, String> {
        match (self, value) {
            (_, Value::Integer(number)) => u64::try_from(*number).map_err(|_| "less than nothing".to_string()),
            (Unit::Size, Value::Text(text) | Value::Written(text)) => unit::size(text),
            (Unit::Duration, Value::Text(text) | Value::Written(text)) => unit::duration(text),
            (Unit::Count, Value::Written(text)) => match text.parse() {
                Ok(number) => Ok(number),
                Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => Err("too large".to_string()),
                Err(_) => Err("not a whole number".to_string()),
            },
            (Unit::Size, _) => Err("not a size".to_string()),
            (Unit::Duration, _) => Err("not a duration".to_string()),
            (Unit::Count | Unit::Factor, _) => Err("not a whole number".to_string()),
        }
    }

    /// The number as TOML.
    fn show(self, number: u64) -> String {
        match self {
            Unit::Size | Unit::Duration => quoted(&self.plain(number)),
            Unit::Count | Unit::Factor => self.plain(number),
        }
    }

    fn plain(self, number: u64) -> String {
        match self {
            Unit::Size => unit::show_size(number),
            Unit::Duration => unit::show_duration(number),
            Unit::Count => number.to_string(),
            Unit::Factor => format!("{:?}", number as f64 / 1_000.0),
        }
    }
}

fn permille(value: &Value) -> Result<u64, String> {
    let factor = match value {
        Value::Float(factor) => Some(*factor),
        Value::Integer(factor) => Some(*factor as f64),
        Value::Written(text) => text.trim().parse().ok(),
        _ => None,
    };
    match factor {
        // Rounded, so that 1.1 is 1100 and not 1099.
        Some(factor) if factor.is_finite() && factor >= 0.0 => Ok((factor * 1_000.0).round() as u64),
        _ => Err("not a factor".to_string()),
    }
}

fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        Value::Written(text) => text.parse().map_err(|_| "neither true nor false".to_string()),
        _ => Err("neither true nor false".to_string()),
    }
}

pub(super) fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) | Value::Written(text) => Ok(text),
        _ => Err("not a string".to_string()),
    }
}

/// The items of a list; in the environment and on the command line they are parted by commas.
pub(super) fn items(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(items) => Ok(items.clone()),
        Value::Written(text) => Ok(text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(String::from)
            .collect()),
        _ => Err("not a list of strings".to_string()),
    }
}

fn heart_beat(value: &Value) -> Result<(u32, u32), String> {
    let (send, receive) = match value {
        Value::Integer(ms) => {
            let ms = u64::try_from(*ms).map_err(|_| "less than nothing")?;
            (ms, ms)
        }
        Value::Text(text) | Value::Written(text) => match text.split_once(',') {
            Some((send, receive)) => (unit::duration(send)?, unit::duration(receive)?),
            None => {
                let both = unit::duration(text)?;
                (both, both)
            }
        },
        _ => return Err("not a duration".to_string()),
    };
    let fits = |ms: u64| {
        let ms = Some(ms).filter(|ms| *ms <= HEART_BEAT_MS);
        ms.and_then(|ms| u32::try_from(ms).ok()).ok_or("too large")
    };
    Ok((fits(send)?, fits(receive)?))
}

fn slow_consumer(word: &str, before: &TopicPolicy) -> Result<TopicPolicy, String> {
    match word {
        "disconnect" => Ok(TopicPolicy::Disconnect),
        "drop-oldest" => Ok(TopicPolicy::DropOldest),
        "latest-only" => Ok(TopicPolicy::LatestOnly {
            key: match before {
                TopicPolicy::LatestOnly { key } => key.clone(),
                _ => String::new(),
            },
        }),
        _ => Err("not one of the words".to_string()),
    }
}

fn dead_letter(word: &str) -> Result<DeadLetter, String> {
    match word {
        "own" => Ok(DeadLetter::Own),
        "off" => Ok(DeadLetter::Nowhere),
        queue if queue.len() > "/queue/".len() && queue.starts_with("/queue/") => {
            Ok(DeadLetter::Queue(queue.to_string()))
        }
        _ => Err("neither a word nor a queue".to_string()),
    }
}

fn durability(value: &Value) -> Result<Durability, String> {
    const HOUR_MS: u64 = 3_600_000;
    match value {
        Value::Text(text) | Value::Written(text) if text == "fsync" => Ok(Durability::Fsync),
        Value::Text(text) | Value::Written(text) if text == "none" => Ok(Durability::None),
        _ => {
            let ms = Unit::Duration.read(value, &(1..=HOUR_MS))?;
            Ok(Durability::Interval(Duration::from_millis(ms)))
        }
    }
}

fn header_name(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("empty".to_string());
    }
    if name.contains([':', '\r', '\n', '\0']) {
        return Err("has a character that no header name has".to_string());
    }
    Ok(name.to_string())
}

fn filter(text: &str) -> Result<String, String> {
    // The filter's own parser takes any word for the name of a module; a misspelt level would log nothing.
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    for directive in text.split(',').map(str::trim) {
        let bare = !directive.contains(['=', ':', '[']);
        if bare && !levels.contains(&directive.to_ascii_lowercase().as_str()) {
            return Err(format!("{} is not a level", quoted(directive)));
        }
    }
    tracing_subscriber::EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_string())
}

/// What the word in `value` stands for.
fn among<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    let word = text(value)?;
    let known = words.iter().find(|(known, _)| *known == word);
    Ok(known.ok_or("not one of the words")?.1)
}

/// The word for `meaning`.
fn word_of<T: Copy + PartialEq>(meaning: T, words: &[(&'static str, T)]) -> Option<&'static str> {
    words.iter().find(|(_, known)| *known == meaning).map(|(word, _)| *word)
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

pub(super) fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// The text as a TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
