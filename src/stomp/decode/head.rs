//! The grammar of a finished head: the command line, the header lines, the blank line ("Augmented BNF", "Value Encoding").

use memchr::{memchr, memchr_iter};
use nom::bytes::complete::tag;
use nom::character::complete::char;
use nom::combinator::rest;
use nom::error::{ErrorKind, ParseError};
use nom::multi::fold_many0;
use nom::sequence::{separated_pair, terminated};
use nom::{IResult, Offset, Parser};

use super::error::printable;
use super::DecodeErrorKind;
use crate::stomp::headers::{unescape, Lines};
use crate::stomp::{Command, Headers, Line, Version};

/// What 1.0 trims.
const BLANKS: [char; 2] = [' ', '\t'];

/// What the versions of the specification, and the leniency towards clients in use, decide about a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grammar {
    /// Backslashes begin escape sequences (1.1, 1.2).
    pub escapes: bool,
    /// `\r` is one of them: in 1.2 by the specification; in 1.1 Spring sends it.
    pub escaped_return: bool,
    /// Lines end with LF only, and a CR before it belongs to the line: the letter of 1.0 and 1.1.
    pub bare_lf: bool,
    /// Blanks around names and values do not count (1.0).
    pub trims: bool,
    /// Blanks around the number in content-length are overlooked.
    pub blank_length: bool,
    /// SUBSCRIBE may have a body, which is ignored (1.0).
    pub subscribe_body: bool,
}

impl Grammar {
    /// The rules of `version`, without any leniency if `strict`.
    pub(super) fn of(version: Version, strict: bool) -> Grammar {
        let oldest = version == Version::V1_0;
        Grammar {
            escapes: !oldest,
            escaped_return: version == Version::V1_2 || !strict,
            bare_lf: strict && version < Version::V1_2,
            trims: oldest,
            blank_length: oldest || !strict,
            subscribe_body: oldest,
        }
    }
}

/// A frame up to its body.
pub(super) struct Head<'a> {
    pub command: Command,
    pub headers: Headers<'a>,
}

/// Reads `octets`, a whole head with its blank line.
pub(super) fn parse<'a>(octets: &'a [u8], grammar: Grammar) -> Result<Head<'a>, DecodeErrorKind> {
    let text = std::str::from_utf8(octets).map_err(|error| not_utf8(octets, error.valid_up_to()))?;
    let seen = Seen::in_head(octets, grammar);
    head(text, grammar, seen).map_err(|error| match error {
        nom::Err::Error(flaw) | nom::Err::Failure(flaw) => flaw.explained(text),
        // The parsers below are nom's "complete" ones, which never ask for more.
        nom::Err::Incomplete(_) => Flaw::at(text, Wrong::Grammar).explained(text),
    })
}

/// What there is anywhere in a head, found by looking at all of it at once: most heads have nothing special.
#[derive(Clone, Copy, Debug)]
struct Seen {
    backslashes: bool,
    /// Carriage returns that may be part of an end of line.
    returns: bool,
    /// Carriage returns that belong to names and values.
    bare_returns: bool,
    colons: usize,
}

impl Seen {
    fn in_head(octets: &[u8], grammar: Grammar) -> Seen {
        let returns = memchr(b'\r', octets).is_some();
        Seen {
            backslashes: memchr(b'\\', octets).is_some(),
            returns: returns && !grammar.bare_lf,
            bare_returns: returns && grammar.bare_lf,
            colons: memchr_iter(b':', octets).count(),
        }
    }

    /// Whether no name and no value of these lines, one colon each at least, needs an escape.
    fn is_plain(self, lines: usize) -> bool {
        !self.backslashes && !self.bare_returns && self.colons == lines
    }
}

fn head<'a>(text: &'a str, grammar: Grammar, seen: Seen) -> Result<Head<'a>, nom::Err<Flaw<'a>>> {
    let Seen {
        backslashes, returns, ..
    } = seen;
    let (text, command) = line(text, returns)?;
    let command = Command::parse(command).ok_or_else(|| fatal(command, Wrong::Command))?;
    let escaped = grammar.escapes && !command.is_connect();
    let checked = escaped && backslashes;
    let header = |text| header(text, grammar, checked, returns);
    let mut lines = Lines::new();
    let collected = fold_many0(header, || (), |(), line| lines.push(line));
    terminated(collected, |text| end_of_line(text, returns)).parse(text)?;
    let plain = seen.is_plain(lines.len());
    Ok(Head {
        command,
        headers: Headers::read(lines, escaped, backslashes, plain),
    })
}

/// One header line; the blank line is not one.
fn header<'a>(text: &'a str, grammar: Grammar, checked: bool, returns: bool) -> Parsed<'a, Line<'a>> {
    let (after, whole) = line(text, returns)?;
    if whole.is_empty() {
        return Err(nom::Err::Error(Flaw::at(text, Wrong::Grammar)));
    }
    let (_, header) = header_parts(whole, grammar).map_err(|_| fatal(whole, Wrong::NoColon))?;
    if header.name.is_empty() {
        return Err(fatal(whole, Wrong::NoName));
    }
    if checked {
        check_escapes(header.name, grammar)?;
        check_escapes(header.value, grammar)?;
    }
    Ok((after, header))
}

/// Name and value of a header line, parted at its first colon: further ones are outside the grammar, but many clients write them.
fn header_parts(line: &str, grammar: Grammar) -> Parsed<'_, Line<'_>> {
    let (nothing, (name, value)) = separated_pair(until(b':'), char(':'), rest).parse(line)?;
    let header = match grammar.trims {
        true => Line {
            name: name.trim_matches(BLANKS),
            value: value.trim_matches(BLANKS),
        },
        false => Line { name, value },
    };
    Ok((nothing, header))
}

/// A line without its end.
fn line(text: &str, returns: bool) -> Parsed<'_, &str> {
    let (after, line) = terminated(until(b'\n'), char('\n')).parse(text)?;
    if !returns {
        return Ok((after, line));
    }
    let line = line.strip_suffix('\r').unwrap_or(line);
    match memchr(b'\r', line.as_bytes()) {
        Some(at) => Err(fatal(line.get(at..).unwrap_or_default(), Wrong::Return)),
        None => Ok((after, line)),
    }
}

fn end_of_line(text: &str, returns: bool) -> Parsed<'_, &str> {
    if returns && text.starts_with('\r') {
        return tag("\r\n").parse(text);
    }
    tag("\n").parse(text)
}

/// What stands before the next `octet`, which must be ASCII.
fn until<'a>(octet: u8) -> impl Fn(&'a str) -> Parsed<'a, &'a str> {
    move |text| {
        memchr(octet, text.as_bytes())
            .and_then(|at| text.split_at_checked(at))
            .map(|(before, from)| (from, before))
            .ok_or(nom::Err::Error(Flaw::at(text, Wrong::Grammar)))
    }
}

/// Every backslash of `text`, a name or value, begins an escape sequence of the version.
fn check_escapes<'a>(text: &'a str, grammar: Grammar) -> Result<(), nom::Err<Flaw<'a>>> {
    let mut from = text;
    while let Some(at) = memchr(b'\\', from.as_bytes()) {
        let sequence = from.get(at..).unwrap_or_default();
        match sequence.as_bytes().get(1) {
            Some(b'n' | b'c' | b'\\') => {}
            Some(b'r') if grammar.escaped_return => {}
            _ => return Err(fatal(sequence, Wrong::Escape)),
        }
        from = sequence.get(2..).unwrap_or_default();
    }
    Ok(())
}

type Parsed<'a, T> = IResult<&'a str, T, Flaw<'a>>;

/// What is wrong, and the text of the head from there on. It is explained only when it turns out to be fatal.
#[derive(Clone, Copy, Debug)]
struct Flaw<'a> {
    at: &'a str,
    wrong: Wrong,
}

#[derive(Clone, Copy, Debug)]
enum Wrong {
    Command,
    NoColon,
    NoName,
    Escape,
    Return,
    Grammar,
}

impl<'a> Flaw<'a> {
    fn at(at: &'a str, wrong: Wrong) -> Self {
        Flaw { at, wrong }
    }

    /// The verdict on `text`, the whole head.
    fn explained(self, text: &str) -> DecodeErrorKind {
        let (line, column) = position(text.as_bytes(), text.offset(self.at));
        let whole = text.lines().nth(line - 1).unwrap_or_default();
        let seen = printable(whole.as_bytes());
        match self.wrong {
            Wrong::Command => DecodeErrorKind::UnknownCommand { name: seen },
            Wrong::NoColon | Wrong::Grammar => DecodeErrorKind::NoColon { line, seen },
            Wrong::NoName => DecodeErrorKind::NoHeaderName { line, seen },
            Wrong::Return => DecodeErrorKind::StrayCarriageReturn { line, column },
            Wrong::Escape => DecodeErrorKind::BadEscape {
                line,
                column,
                header: printable(whole.split(':').next().unwrap_or_default().as_bytes()),
                sequence: self.at.lines().next().unwrap_or_default().chars().take(2).collect(),
            },
        }
    }
}

impl<'a> ParseError<&'a str> for Flaw<'a> {
    fn from_error_kind(input: &'a str, _: ErrorKind) -> Self {
        Flaw::at(input, Wrong::Grammar)
    }

    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

fn fatal(at: &str, wrong: Wrong) -> nom::Err<Flaw<'_>> {
    nom::Err::Failure(Flaw::at(at, wrong))
}

#[cold]
fn not_utf8(octets: &[u8], at: usize) -> DecodeErrorKind {
    let (line, column) = position(octets, at);
    DecodeErrorKind::NotUtf8 { line, column }
}

/// Line and column, both from 1, of the octet at `place`.
fn position(octets: &[u8], place: usize) -> (usize, usize) {
    let before = octets.get(..place).unwrap_or(octets);
    let line = before.iter().filter(|&&octet| octet == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&octet| octet != b'\n').count() + 1;
    (line, column)
}

/// The number in a content-length header.
pub(super) fn content_length(value: &str, grammar: Grammar) -> Result<u64, DecodeErrorKind> {
    // Rust's own parser takes a plus sign.
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let number = match grammar.blank_length && !is_number(value) {
        true => value.trim_matches(BLANKS),
        false => value,
    };
    let digits = is_number(number);
    number
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| DecodeErrorKind::BadContentLength {
            value: printable(value.as_bytes()),
        })
}

/// The command on the first of the whole lines in `known`.
pub(super) fn command_of(known: &[u8], grammar: Grammar) -> Option<Command> {
    Command::parse(whole_lines(known, grammar).next()??)
}

/// The first `receipt` header among the whole lines in `known`, unescaped, if it can be read for itself.
pub(super) fn receipt_of(known: &[u8], grammar: Grammar) -> Option<String> {
    let value = whole_lines(known, grammar).skip(1).flatten().find_map(|line| {
        let (_, header) = header_parts(line, grammar).ok()?;
        (header.name == "receipt").then_some(header.value)
    })?;
    if !grammar.escapes {
        return Some(value.to_owned());
    }
    check_escapes(value, grammar).ok()?;
    Some(unescape(value).into_owned())
}

/// The whole lines that `known` begins with, each if it is UTF-8.
fn whole_lines(known: &[u8], grammar: Grammar) -> impl Iterator<Item = Option<&str>> {
    known
        .split_inclusive(|&octet| octet == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
        .map(move |line| match line.split_last() {
            Some((b'\r', without)) if !grammar.bare_lf => without,
            _ => line,
        })
        .map(|line| std::str::from_utf8(line).ok())
}
