//! Selectors: which messages a subscription wants, in the SQL-92 grammar of JMS.
//!
//! A selector is text from a client that is run for each message, so everything about it is bounded: its length, its
//! depth, and the steps that one message may take. It is parsed once, at SUBSCRIBE. There are no functions, no regular
//! expressions and nothing else that could be named from outside.

mod evaluate;
mod grammar;
mod like;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::sync::Arc;

use super::message::Message;
use evaluate::Scope;
use tree::{Condition, Name};

/// Octets of a selector.
pub const LENGTH_MAX: usize = 1_024;
/// Parentheses, NOTs and signs within each other.
pub const DEPTH_MAX: usize = 16;
/// Steps that the judgement on one message may take: header lines looked at, nodes of the tree, characters compared by
/// LIKE. A message that takes more does not match.
pub const STEPS_MAX: u32 = 65_536;

/// A selector, parsed.
#[derive(Clone, Debug)]
pub struct Selector {
    text: Box<str>,
    /// The names it asks for; the tree has their places.
    names: Vec<Name>,
    condition: Condition,
    /// What message ids begin with.
    boot: Arc<str>,
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSelector {
    /// The character at fault, from 1.
    pub at: usize,
    /// What is wrong there, as the end of a sentence.
    pub what: String,
}

impl fmt::Display for BadSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.at, self.what)
    }
}

impl Selector {
    /// Reads `text`. `boot` is what the ids of messages begin with, for `JMSMessageID`.
    pub fn parse(text: &str, boot: &str) -> Result<Selector, BadSelector> {
        if text.len() > LENGTH_MAX {
            let what = format!("the selector has {} octets; the limit is {LENGTH_MAX}", text.len());
            return Err(BadSelector { at: 1, what });
        }
        let (names, condition) = grammar::parse(text)?;
        Ok(Selector {
            text: text.into(),
            names,
            condition,
            boot: boot.into(),
        })
    }

    /// As it was written: equal texts select the same messages.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether `message` is wanted: what is unknown is not.
    pub fn matches(&self, message: &Message) -> bool {
        let mut scope = Scope::of(&self.names, message, &self.boot);
        let truth = scope.judge(&self.condition);
        truth == Some(true) && !scope.is_exhausted()
    }
}
