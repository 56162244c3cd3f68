//! The grammar, production by production. Each alternative is decided by what it begins with, so nothing is ever read
//! twice, and what is missing is known where it is missing.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{opt, recognize, value};
use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Parser};

use super::like::Like;
use super::tree::{Comparison, Condition, Name, Number, Operand, Operator};
use super::{BadSelector, DEPTH_MAX};

/// What is wrong, and where.
#[derive(Debug)]
struct Flaw<'a> {
    at: &'a str,
    what: &'static str,
}

impl<'a> ParseError<&'a str> for Flaw<'a> {
    fn from_error_kind(at: &'a str, _: ErrorKind) -> Flaw<'a> {
        Flaw { at, what: VALUE }
    }

    fn append(_: &'a str, _: ErrorKind, other: Flaw<'a>) -> Flaw<'a> {
        other
    }
}

type Parsed<'a, T> = IResult<&'a str, T, Flaw<'a>>;

fn flaw<'a, T>(at: &'a str, what: &'static str) -> Result<T, nom::Err<Flaw<'a>>> {
    Err(nom::Err::Failure(Flaw { at, what }))
}

const VALUE: &str = "a name, a number, a 'string', TRUE, FALSE, NOT or ( is expected";

/// Words that are no names.
const RESERVED: [&str; 11] = [
    "AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ESCAPE", "IS", "NULL", "TRUE", "FALSE",
];

/// Either of what parentheses may hold.
enum Node {
    Condition(Condition),
    Operand(Operand),
}

/// What is known while a selector is read.
struct Reader {
    names: Vec<Name>,
    depth: usize,
}

/// Reads a whole selector: the names it asks for, and its condition.
pub(super) fn parse(text: &str) -> Result<(Vec<Name>, Condition), BadSelector> {
    let mut reader = Reader {
        names: Vec::new(),
        depth: 0,
    };
    match reader.whole(text) {
        Ok(condition) => Ok((reader.names, condition)),
        Err(nom::Err::Error(flaw) | nom::Err::Failure(flaw)) => Err(told(text, &flaw)),
        // The parsers below are nom's "complete" ones, which never ask for more.
        Err(nom::Err::Incomplete(_)) => Err(told(text, &Flaw { at: text, what: VALUE })),
    }
}

fn told(text: &str, flaw: &Flaw<'_>) -> BadSelector {
    let before = text.get(..text.len() - flaw.at.len()).unwrap_or_default();
    let next: String = flaw.at.chars().take(12).collect();
    let found = match next.as_str() {
        "" => "the end".to_owned(),
        next => format!("\"{next}\""),
    };
    BadSelector {
        at: before.chars().count() + 1,
        what: format!("{}; there stands {found}", flaw.what),
    }
}

impl Reader {
    fn whole<'a>(&mut self, text: &'a str) -> Result<Condition, nom::Err<Flaw<'a>>> {
        let (rest, node) = self.expression(text)?;
        let (rest, ()) = blanks(rest)?;
        if !rest.is_empty() {
            return flaw(rest, "AND, OR, an operator or the end is expected");
        }
        condition(node, text)
    }

    /// `conjunction { OR conjunction }`
    fn expression<'a>(&mut self, text: &'a str) -> Parsed<'a, Node> {
        self.series(text, "OR", Reader::conjunction, Condition::Any)
    }

    /// `negation { AND negation }`
    fn conjunction<'a>(&mut self, text: &'a str) -> Parsed<'a, Node> {
        self.series(text, "AND", Reader::negation, Condition::All)
    }

    fn series<'a>(
        &mut self,
        text: &'a str,
        between: &str,
        part: fn(&mut Reader, &'a str) -> Parsed<'a, Node>,
        join: fn(Vec<Condition>) -> Condition,
    ) -> Parsed<'a, Node> {
        let (mut rest, first) = part(self, text)?;
        let Some(mut next) = word(rest, between) else {
            return Ok((rest, first));
        };
        let mut all = vec![condition(first, text)?];
        loop {
            let (after, node) = part(self, next)?;
            all.push(condition(node, next)?);
            rest = after;
            match word(rest, between) {
                Some(further) => next = further,
                None => return Ok((rest, Node::Condition(join(all)))),
            }
        }
    }

    /// `[ NOT ] predicate`
    fn negation<'a>(&mut self, text: &'a str) -> Parsed<'a, Node> {
        let Some(after) = word(text, "NOT") else {
            return self.predicate(text);
        };
        let (rest, node) = self.deeper(after, Reader::negation)?;
        let inner = condition(node, after)?;
        Ok((rest, Node::Condition(Condition::Not(Box::new(inner)))))
    }

    /// `sum [ comparison sum | IS .. | [ NOT ] BETWEEN .. | [ NOT ] IN .. | [ NOT ] LIKE .. ]`
    fn predicate<'a>(&mut self, text: &'a str) -> Parsed<'a, Node> {
        let (rest, left) = self.sum(text)?;
        if let Ok((after, comparison)) = comparison(rest) {
            let (rest, right) = self.sum(after)?;
            let left = comparable(left, comparison, text)?;
            let right = comparable(right, comparison, after)?;
            return Ok((rest, Node::Condition(Condition::Compare(left, comparison, right))));
        }
        if let Some(after) = word(rest, "IS") {
            let negated = word(after, "NOT");
            let Some(rest) = word(negated.unwrap_or(after), "NULL") else {
                return flaw(after, "NULL or NOT NULL is expected");
            };
            let name = name_of(left, text)?;
            return Ok((rest, Node::Condition(Condition::Null(name, negated.is_some()))));
        }
        let negated = word(rest, "NOT");
        let verb = negated.unwrap_or(rest);
        let is_negated = negated.is_some();
        if let Some(after) = word(verb, "BETWEEN") {
            return self.between(after, number_of(left, text)?, is_negated);
        }
        if let Some(after) = word(verb, "IN") {
            return list(after, name_of(left, text)?, is_negated);
        }
        if let Some(after) = word(verb, "LIKE") {
            return like(after, name_of(left, text)?, is_negated);
        }
        match negated {
            Some(_) => flaw(verb, "BETWEEN, IN or LIKE is expected"),
            None => Ok((rest, left)),
        }
    }

    /// `sum AND sum`
    fn between<'a>(&mut self, text: &'a str, what: Operand, negated: bool) -> Parsed<'a, Node> {
        let (rest, low) = self.sum(text)?;
        let low = number_of(low, text)?;
        let Some(after) = word(rest, "AND") else {
            return flaw(rest, "AND is expected");
        };
        let (rest, high) = self.sum(after)?;
        let high = number_of(high, after)?;
        let between = Condition::Between(Box::new([what, low, high]), negated);
        Ok((rest, Node::Condition(between)))
    }

    /// `product { ( + | - ) product }`
    fn sum<'a>(&mut self, text: &'a str) -> Parsed<'a, Node> {
        self.chain(text, plus_or_minus, Reader::product)
    }

    /// `sign { ( * | / ) sign }`
    fn product<'a>(&mut self, text: &'a str) -> Parsed<'a, Node> {
        self.chain(text, times_or_over, Reader::sign)
    }

    fn chain<'a>(
        &mut self,
        text: &'a str,
        operator: fn(&'a str) -> Parsed<'a, Operator>,
        part: fn(&mut Reader, &'a str) -> Parsed<'a, Node>,
    ) -> Parsed<'a, Node> {
        let (mut rest, first) = part(self, text)?;
        let Ok((mut next, mut by)) = operator(rest) else {
            return Ok((rest, first));
        };
        let first = number_of(first, text)?;
        let mut further = Vec::new();
        loop {
            let (after, node) = part(self, next)?;
            further.push((by, number_of(node, next)?));
            rest = after;
            match operator(rest) {
                Ok(another) => (next, by) = another,
                Err(_) => return Ok((rest, Node::Operand(Operand::Chain(Box::new(first), further)))),
            }
        }
    }

    /// `[ + | - ] primary`
    fn sign<'a>(&mut self, text: &'a str) -> Parsed<'a, Node> {
        let Ok((after, sign)) = plus_or_minus(text) else {
            return self.primary(text);
        };
        let (rest, node) = self.deeper(after, Reader::sign)?;
        let inner = number_of(node, after)?;
        let signed = match sign {
            Operator::Minus => Operand::Minus(Box::new(inner)),
            _ => inner,
        };
        Ok((rest, Node::Operand(signed)))
    }

    /// `( expression ) | literal | name`
    fn primary<'a>(&mut self, text: &'a str) -> Parsed<'a, Node> {
        let (text, ()) = blanks(text)?;
        if let Some(inside) = text.strip_prefix('(') {
            let (rest, node) = self.deeper(inside, Reader::expression)?;
            let (rest, ()) = blanks(rest)?;
            return match rest.strip_prefix(')') {
                Some(rest) => Ok((rest, node)),
                None => flaw(rest, "an operator or the ) that closes is expected"),
            };
        }
        if let Some(literal) = literal(text) {
            let (rest, operand) = literal?;
            return Ok((rest, Node::Operand(operand)));
        }
        let (rest, written) = name(text)?;
        let Some(name) = Name::of(&written) else {
            return flaw(
                text,
                "this is a property of one delivery, not of the message, and cannot be selected by",
            );
        };
        let place = self.names.iter().position(|known| *known == name);
        let place = place.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        Ok((rest, Node::Operand(Operand::Name(place))))
    }

    fn deeper<'a>(&mut self, text: &'a str, part: fn(&mut Reader, &'a str) -> Parsed<'a, Node>) -> Parsed<'a, Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return flaw(
                text,
                "the limit of 16 parentheses, NOTs and signs within each other is reached",
            );
        }
        let read = part(self, text);
        self.depth -= 1;
        read
    }
}

fn condition(node: Node, at: &str) -> Result<Condition, nom::Err<Flaw<'_>>> {
    match node {
        Node::Condition(condition) => Ok(condition),
        Node::Operand(operand @ (Operand::Name(_) | Operand::Truth(_))) => Ok(Condition::Truth(operand)),
        Node::Operand(_) => flaw(at.trim_start(), "a condition is expected, and a value alone is none"),
    }
}

fn number_of(node: Node, at: &str) -> Result<Operand, nom::Err<Flaw<'_>>> {
    match node {
        Node::Operand(Operand::Text(_) | Operand::Truth(_)) | Node::Condition(_) => {
            flaw(at.trim_start(), "a number or a name is expected")
        }
        Node::Operand(operand) => Ok(operand),
    }
}

fn name_of(node: Node, at: &str) -> Result<usize, nom::Err<Flaw<'_>>> {
    match node {
        Node::Operand(Operand::Name(place)) => Ok(place),
        _ => flaw(at.trim_start(), "a name is expected before IS, IN and LIKE"),
    }
}

fn comparable(node: Node, comparison: Comparison, at: &str) -> Result<Operand, nom::Err<Flaw<'_>>> {
    match node {
        Node::Condition(_) => flaw(at.trim_start(), "a value is expected, not a condition"),
        Node::Operand(Operand::Text(_) | Operand::Truth(_)) if !comparison.is_equality() => {
            flaw(at.trim_start(), "strings and truths compare with = and <> only")
        }
        Node::Operand(operand) => Ok(operand),
    }
}

/// `( literal { , literal } )`
fn list<'a>(text: &'a str, name: usize, negated: bool) -> Parsed<'a, Node> {
    let (mut rest, _) = sign(text, '(', "( and a list of literals is expected")?;
    let mut list = Vec::new();
    loop {
        let (at, ()) = blanks(rest)?;
        let Some(literal) = literal(at) else {
            return flaw(at, "a 'string', a number, TRUE or FALSE is expected");
        };
        let (after, operand) = literal?;
        list.push(operand);
        let (after, ()) = blanks(after)?;
        if let Some(end) = after.strip_prefix(')') {
            return Ok((end, Node::Condition(Condition::In(name, list, negated))));
        }
        (rest, _) = sign(after, ',', "a comma or ) is expected")?;
    }
}

/// `'pattern' [ ESCAPE 'c' ]`
fn like<'a>(text: &'a str, name: usize, negated: bool) -> Parsed<'a, Node> {
    let (at, ()) = blanks(text)?;
    let (rest, pattern) = string(at)?;
    let (rest, escape) = match word(rest, "ESCAPE") {
        Some(after) => {
            let (after, ()) = blanks(after)?;
            let (rest, escape) = string(after)?;
            let mut chars = escape.chars();
            match (chars.next(), chars.next()) {
                (Some(escape), None) => (rest, Some(escape)),
                _ => return flaw(after, "a string of one character is expected"),
            }
        }
        None => (rest, None),
    };
    match Like::read(&pattern, escape) {
        Some(like) => Ok((rest, Node::Condition(Condition::Like(name, like, negated)))),
        None => flaw(at, "the pattern ends with its escape character"),
    }
}

/// A literal, if `text` begins like one.
fn literal(text: &str) -> Option<Parsed<'_, Operand>> {
    if text.starts_with('\'') {
        return Some(string(text).map(|(rest, text)| (rest, Operand::Text(text.into()))));
    }
    if text.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Some(number(text));
    }
    let truth = |written, truth| word(text, written).map(|rest| Ok((rest, Operand::Truth(truth))));
    truth("TRUE", true).or_else(|| truth("FALSE", false))
}

/// `'..'`, where `''` is a quote.
fn string(text: &str) -> Parsed<'_, String> {
    if !text.starts_with('\'') {
        return flaw(text, "a 'string' is expected");
    }
    quoted(text, '\'', "the string that begins here has no end")
}

fn quoted<'a>(text: &'a str, quote: char, endless: &'static str) -> Parsed<'a, String> {
    let (mut rest, _) = char(quote).parse(text)?;
    let mut whole = String::new();
    loop {
        let (from_quote, part) = take_while(|next| next != quote).parse(rest)?;
        whole.push_str(part);
        let Some(after) = from_quote.strip_prefix(quote) else {
            return flaw(text, endless);
        };
        match after.strip_prefix(quote) {
            Some(further) => {
                whole.push(quote);
                rest = further;
            }
            None => return Ok((after, whole)),
        }
    }
}

/// `7`, `7L`, `7.5`, `.5`, `7E3`, `7.5d`
fn number(text: &str) -> Parsed<'_, Operand> {
    let exponent = |text| recognize((one_of("eE"), opt(one_of("+-")), digit1)).parse(text);
    // Not nom's `digit0`: at the end of its input version 8.0 takes nothing and loses the rest.
    let digits = |text| take_while(|next: char| next.is_ascii_digit()).parse(text);
    let whole = |text| recognize((digit1, opt((char('.'), digits)), opt(exponent))).parse(text);
    let part = |text| recognize((char('.'), digit1, opt(exponent))).parse(text);
    let Ok((rest, written)) = alt((whole, part)).parse(text) as Parsed<'_, &str> else {
        return flaw(text, VALUE);
    };
    let rest = rest.strip_prefix(['l', 'L', 'd', 'D', 'f', 'F']).unwrap_or(rest);
    if rest.starts_with(|next: char| is_inner(next)) {
        return flaw(
            text,
            "a number is not followed by letters, and names begin with a letter",
        );
    }
    let read = written.parse().map(Number::Exact).ok();
    let read = read.or_else(|| {
        let finite = |number: &f64| number.is_finite();
        written.parse().ok().filter(finite).map(Number::Approximate)
    });
    match read {
        Some(number) => Ok((rest, Operand::Number(number))),
        None => flaw(text, "the number is too large"),
    }
}

/// A name as in Java, with dots; or any header's name in double quotes, where `""` is a quote.
fn name(text: &str) -> Parsed<'_, String> {
    if text.starts_with('"') {
        return match quoted(text, '"', "the name that begins here has no end") {
            Ok((_, name)) if name.is_empty() => flaw(text, "a name cannot be empty"),
            named => named,
        };
    }
    let first = text.chars().next();
    if !first.is_some_and(|first| first.is_alphabetic() || first == '_' || first == '$') {
        return flaw(text, VALUE);
    }
    let (rest, name) = take_while1(is_inner).parse(text)?;
    match RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) {
        true => flaw(text, VALUE),
        false => Ok((rest, name.to_owned())),
    }
}

fn is_inner(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '$' | '.')
}

fn comparison(text: &str) -> Parsed<'_, Comparison> {
    let (text, ()) = blanks(text)?;
    alt((
        value(Comparison::Equal, tag("=")),
        value(Comparison::NotEqual, tag("<>")),
        value(Comparison::LessOrEqual, tag("<=")),
        value(Comparison::Less, tag("<")),
        value(Comparison::GreaterOrEqual, tag(">=")),
        value(Comparison::Greater, tag(">")),
    ))
    .parse(text)
}

fn plus_or_minus(text: &str) -> Parsed<'_, Operator> {
    let (text, ()) = blanks(text)?;
    alt((value(Operator::Plus, char('+')), value(Operator::Minus, char('-')))).parse(text)
}

fn times_or_over(text: &str) -> Parsed<'_, Operator> {
    let (text, ()) = blanks(text)?;
    alt((value(Operator::Times, char('*')), value(Operator::Over, char('/')))).parse(text)
}

fn sign<'a>(text: &'a str, wanted: char, what: &'static str) -> Parsed<'a, char> {
    let (text, ()) = blanks(text)?;
    match text.strip_prefix(wanted) {
        Some(rest) => Ok((rest, wanted)),
        None => flaw(text, what),
    }
}

/// What follows a word of the grammar, in any case, if it stands there.
fn word<'a>(text: &'a str, wanted: &str) -> Option<&'a str> {
    let text = text.trim_start_matches(is_blank);
    let (found, rest) = text.split_at_checked(wanted.len())?;
    (found.eq_ignore_ascii_case(wanted) && !rest.starts_with(is_inner)).then_some(rest)
}

fn blanks(text: &str) -> Parsed<'_, ()> {
    value((), take_while(is_blank)).parse(text)
}

fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\r' | '\n' | '\u{c}')
}
