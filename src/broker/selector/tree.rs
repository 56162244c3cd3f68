//! What a selector is once it has been read.

use super::like::Like;

/// Something that is true, false or unknown of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    /// AND of two or more.
    All(Vec<Condition>),
    /// OR of two or more.
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// A name or TRUE or FALSE that stands alone.
    Truth(Operand),
    Compare(Operand, Comparison, Operand),
    /// `BETWEEN low AND high`; `true`: NOT BETWEEN.
    Between(Box<[Operand; 3]>, bool),
    /// `IN (..)`; `true`: NOT IN.
    In(usize, Vec<Operand>, bool),
    /// `true`: NOT LIKE.
    Like(usize, Like, bool),
    /// `true`: IS NOT NULL.
    Null(usize, bool),
}

/// A value, or what one is computed from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// Place in the selector's names.
    Name(usize),
    Text(Box<str>),
    Number(Number),
    Truth(bool),
    Minus(Box<Operand>),
    /// Applied from left to right.
    Chain(Box<Operand>, Vec<(Operator, Operand)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Plus,
    Minus,
    Times,
    Over,
}

/// Exact as long as it fits, as in JMS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Exact(i64),
    Approximate(f64),
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The first header of that name.
    Header(Box<str>),
    /// `JMSPriority`: 0 to 9, 4 if the sender named none.
    Priority,
    /// `JMSDeliveryMode`: `PERSISTENT` or `NON_PERSISTENT`.
    DeliveryMode,
    /// `JMSExpiration`: milliseconds since 1970, 0 for never.
    Expiration,
    /// `JMSMessageID`: as subscriptions in auto mode see it.
    MessageId,
}

impl Name {
    /// What `written` stands for; `None` if it is no property of a message but of one delivery.
    pub(super) fn of(written: &str) -> Option<Name> {
        let header = |name: &str| Some(Name::Header(name.into()));
        match written {
            "JMSPriority" => Some(Name::Priority),
            "JMSDeliveryMode" => Some(Name::DeliveryMode),
            "JMSExpiration" => Some(Name::Expiration),
            "JMSMessageID" => Some(Name::MessageId),
            "JMSTimestamp" => header("timestamp"),
            "JMSCorrelationID" => header("correlation-id"),
            "JMSType" => header("type"),
            "JMSReplyTo" => header("reply-to"),
            "JMSDestination" => header("destination"),
            "JMSRedelivered" | "JMSXDeliveryCount" => None,
            other => header(other),
        }
    }
}
