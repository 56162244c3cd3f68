//! What a selector says of one message. Unknown is `None`, as NULL makes it in SQL.

use std::borrow::Cow;
use std::cmp::Ordering;

use smallvec::SmallVec;

use super::tree::{Comparison, Condition, Name, Number, Operand, Operator};
use super::STEPS_MAX;
use crate::broker::message::Message;

/// One message, as far as a selector asks for it.
pub(super) struct Scope<'m> {
    values: SmallVec<[Value<'m>; 4]>,
    steps: u32,
}

/// What a name or literal comes to.
#[derive(Clone, Debug, PartialEq)]
enum Value<'m> {
    Null,
    /// A header: reads as a number beside numbers, as a truth beside truths.
    Header(Cow<'m, str>),
    Text(&'m str),
    Number(Number),
    Truth(bool),
}

impl<'m> Scope<'m> {
    /// Looks the names up, all in one pass over the headers.
    pub(super) fn of(names: &[Name], message: &'m Message, boot: &str) -> Scope<'m> {
        let properties = message.properties();
        let value = |name: &Name| match name {
            Name::Header(_) => Value::Null,
            Name::Priority => Value::Number(Number::Exact(properties.priority.into())),
            Name::DeliveryMode => Value::Text(match properties.persistent {
                true => "PERSISTENT",
                false => "NON_PERSISTENT",
            }),
            Name::Expiration => Value::Number(Number::Exact(
                i64::try_from(properties.expires.unwrap_or(0)).unwrap_or(i64::MAX),
            )),
            Name::MessageId => Value::Header(format!("{boot}-{}", message.number()).into()),
        };
        let mut scope = Scope {
            values: names.iter().map(value).collect(),
            steps: STEPS_MAX,
        };
        if names.iter().any(|name| matches!(name, Name::Header(_))) {
            scope.look_up(names, message);
        }
        scope
    }

    fn look_up(&mut self, names: &[Name], message: &'m Message) {
        for (header, value) in message.headers() {
            for (name, found) in names.iter().zip(&mut self.values) {
                let wanted = matches!(name, Name::Header(wanted) if **wanted == *header);
                // Of repeated headers the first counts.
                if wanted && *found == Value::Null {
                    *found = Value::Header(value.clone());
                }
            }
            self.spend(1 + names.len() as u32 / 8);
        }
    }

    /// Whether the steps ran out: the judgement is worth nothing.
    pub(super) fn is_exhausted(&self) -> bool {
        self.steps == 0
    }

    fn spend(&mut self, steps: u32) -> bool {
        self.steps = self.steps.saturating_sub(steps);
        self.steps > 0
    }

    pub(super) fn judge(&mut self, condition: &Condition) -> Option<bool> {
        if !self.spend(1) {
            return None;
        }
        match condition {
            Condition::All(all) => self.until(all, false),
            Condition::Any(any) => self.until(any, true),
            Condition::Not(inner) => self.judge(inner).map(|truth| !truth),
            Condition::Truth(operand) => compare(&self.value(operand), Comparison::Equal, &Value::Truth(true)),
            Condition::Compare(left, comparison, right) => {
                let left = self.value(left);
                compare(&left, *comparison, &self.value(right))
            }
            Condition::Between(operands, negated) => self.between(operands, *negated),
            Condition::In(name, list, negated) => self.contained(*name, list).map(|truth| truth != *negated),
            Condition::Like(name, like, negated) => {
                let Scope { values, steps } = self;
                let mut step = || {
                    *steps = steps.saturating_sub(1);
                    *steps > 0
                };
                match values.get(*name)? {
                    Value::Null => None,
                    Value::Header(text) => Some(like.matches(text, &mut step) != *negated),
                    Value::Text(text) => Some(like.matches(text, &mut step) != *negated),
                    Value::Number(_) | Value::Truth(_) => Some(false),
                }
            }
            Condition::Null(name, negated) => Some((*self.values.get(*name)? == Value::Null) != *negated),
        }
    }

    /// AND with `end` false, OR with `end` true: the first that is `end` decides, then any that is unknown.
    fn until(&mut self, conditions: &[Condition], end: bool) -> Option<bool> {
        let mut truth = Some(!end);
        for condition in conditions {
            match self.judge(condition) {
                Some(found) if found == end => return Some(end),
                Some(_) => {}
                None => truth = None,
            }
        }
        truth
    }

    fn between(&mut self, [what, low, high]: &[Operand; 3], negated: bool) -> Option<bool> {
        let what = self.value(what);
        let (low, high) = (self.value(low), self.value(high));
        let (below, above, end) = match negated {
            true => (Comparison::Less, Comparison::Greater, true),
            false => (Comparison::GreaterOrEqual, Comparison::LessOrEqual, false),
        };
        match (compare(&what, below, &low), compare(&what, above, &high)) {
            (Some(first), _) if first == end => Some(end),
            (_, Some(second)) if second == end => Some(end),
            (Some(_), Some(_)) => Some(!end),
            _ => None,
        }
    }

    fn contained(&mut self, name: usize, list: &[Operand]) -> Option<bool> {
        let what = self.values.get(name)?.clone();
        let mut truth = Some(false);
        for operand in list {
            let value = self.value(operand);
            match compare(&what, Comparison::Equal, &value) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => truth = None,
            }
        }
        truth
    }

    fn value<'v>(&mut self, operand: &'v Operand) -> Value<'v>
    where
        'm: 'v,
    {
        if !self.spend(1) {
            return Value::Null;
        }
        match operand {
            Operand::Name(place) => self.values.get(*place).cloned().unwrap_or(Value::Null),
            Operand::Text(text) => Value::Text(text),
            Operand::Number(number) => Value::Number(*number),
            Operand::Truth(truth) => Value::Truth(*truth),
            Operand::Minus(inner) => number(self.value(inner).number().and_then(minus)),
            Operand::Chain(first, rest) => {
                let mut total = self.value(first).number();
                for (operator, operand) in rest {
                    let next = self.value(operand).number();
                    total = total.zip(next).and_then(|(left, right)| apply(left, *operator, right));
                }
                number(total)
            }
        }
    }
}

impl Value<'_> {
    fn number(&self) -> Option<Number> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Header(text) => Number::read(text),
            Value::Null | Value::Text(_) | Value::Truth(_) => None,
        }
    }

    fn truth(&self) -> Option<bool> {
        match self {
            Value::Truth(truth) => Some(*truth),
            Value::Header(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::Header(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Value::Header(text) => Some(text),
            Value::Text(text) => Some(text),
            Value::Null | Value::Number(_) | Value::Truth(_) => None,
        }
    }
}

/// Unknown if either is NULL; false if they are not of one kind, whatever is asked.
fn compare(left: &Value<'_>, comparison: Comparison, right: &Value<'_>) -> Option<bool> {
    use Value::{Header, Null, Number, Text, Truth};
    let order = match (left, right) {
        (Null, _) | (_, Null) => return None,
        (Number(_), _) | (_, Number(_)) => left.number().zip(right.number()).and_then(|(l, r)| l.order(r)),
        (Truth(_), _) | (_, Truth(_)) => left.truth().zip(right.truth()).map(|(l, r)| l.cmp(&r)),
        (Header(_), Header(_)) if !comparison.is_equality() => {
            left.number().zip(right.number()).and_then(|(l, r)| l.order(r))
        }
        (Header(_) | Text(_), Header(_) | Text(_)) => left.text().zip(right.text()).map(|(l, r)| l.cmp(r)),
    };
    Some(order.is_some_and(|order| comparison.allows(order)))
}

impl Comparison {
    pub(super) fn is_equality(self) -> bool {
        matches!(self, Comparison::Equal | Comparison::NotEqual)
    }

    fn allows(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Number {
    /// A header's value, if it is written as a number.
    pub(super) fn read(text: &str) -> Option<Number> {
        let text = text.trim();
        if let Ok(exact) = text.parse() {
            return Some(Number::Exact(exact));
        }
        // Rust also reads "inf" and "nan".
        if !text.bytes().any(|octet| octet.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().and_then(finite)
    }

    fn approximate(self) -> f64 {
        match self {
            Number::Exact(exact) => exact as f64,
            Number::Approximate(number) => number,
        }
    }

    fn order(self, other: Number) -> Option<Ordering> {
        match (self, other) {
            (Number::Exact(left), Number::Exact(right)) => Some(left.cmp(&right)),
            _ => self.approximate().partial_cmp(&other.approximate()),
        }
    }
}

fn number<'v>(number: Option<Number>) -> Value<'v> {
    number.map_or(Value::Null, Value::Number)
}

fn finite(number: f64) -> Option<Number> {
    number.is_finite().then_some(Number::Approximate(number))
}

fn minus(of: Number) -> Option<Number> {
    apply(Number::Exact(0), Operator::Minus, of)
}

/// Exact where both are and the result fits; NULL for what has no finite result.
fn apply(left: Number, operator: Operator, right: Number) -> Option<Number> {
    if let (Number::Exact(l), Number::Exact(r)) = (left, right) {
        let exact = match operator {
            Operator::Plus => l.checked_add(r),
            Operator::Minus => l.checked_sub(r),
            Operator::Times => l.checked_mul(r),
            Operator::Over if r == 0 => return None,
            Operator::Over => l.checked_div(r),
        };
        if let Some(exact) = exact {
            return Some(Number::Exact(exact));
        }
    }
    let (l, r) = (left.approximate(), right.approximate());
    finite(match operator {
        Operator::Plus => l + r,
        Operator::Minus => l - r,
        Operator::Times => l * r,
        Operator::Over => l / r,
    })
}
