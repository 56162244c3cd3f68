//! Whole numbers in a script: `$interval * 2 + 500`, `max(300, $sx)`. Times are milliseconds.

use crate::notation::Variables;

/// An expression, checked when the case is read and computed when it is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A number as it stands.
    Number(i64),
    /// The number that a variable holds.
    Variable(String),
    /// Two of them and the sign (`+ - * /`) or name (`max`, `min`) between them.
    Pair(Box<Expression>, Operator, Box<Expression>),
}

/// What joins two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `max(a, b)`
    Max,
    /// `min(a, b)`
    Min,
}

impl Expression {
    /// Reads an expression; the error says where it stops making sense.
    pub fn parse(text: &str) -> Result<Expression, String> {
        let mut reader = Reader { rest: text.trim() };
        let expression = reader.sum()?;
        if reader.rest.is_empty() {
            Ok(expression)
        } else {
            Err(format!("cannot read {:?} in the expression {text:?}", reader.rest))
        }
    }

    /// Its value; the error names the variable that is not set or not a number.
    pub fn compute(&self, variables: &Variables) -> Result<i64, String> {
        match self {
            Expression::Number(number) => Ok(*number),
            Expression::Variable(name) => {
                let octets = variables.get(name).ok_or_else(|| format!("${name} is not set"))?;
                let text = String::from_utf8_lossy(octets);
                text.parse().map_err(|_| format!("${name} is {text:?}, not a number"))
            }
            Expression::Pair(left, operator, right) => {
                let (left, right) = (left.compute(variables)?, right.compute(variables)?);
                let value = match operator {
                    Operator::Add => left.checked_add(right),
                    Operator::Subtract => left.checked_sub(right),
                    Operator::Multiply => left.checked_mul(right),
                    Operator::Divide => left.checked_div(right),
                    Operator::Max => Some(left.max(right)),
                    Operator::Min => Some(left.min(right)),
                };
                value.ok_or_else(|| format!("{left} {operator:?} {right} has no value"))
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn sum(&mut self) -> Result<Expression, String> {
        self.chain(&[("+", Operator::Add), ("-", Operator::Subtract)], Self::product)
    }

    fn product(&mut self) -> Result<Expression, String> {
        self.chain(&[("*", Operator::Multiply), ("/", Operator::Divide)], Self::atom)
    }

    fn chain(
        &mut self,
        signs: &[(&str, Operator)],
        part: fn(&mut Self) -> Result<Expression, String>,
    ) -> Result<Expression, String> {
        let mut left = part(self)?;
        while let Some(operator) = signs
            .iter()
            .find(|(sign, _)| self.takes(sign))
            .map(|(_, operator)| *operator)
        {
            left = Expression::Pair(Box::new(left), operator, Box::new(part(self)?));
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<Expression, String> {
        for (name, operator) in [("max(", Operator::Max), ("min(", Operator::Min)] {
            if self.takes(name) {
                let left = self.sum()?;
                self.needs(",")?;
                let right = self.sum()?;
                self.needs(")")?;
                return Ok(Expression::Pair(Box::new(left), operator, Box::new(right)));
            }
        }
        if self.takes("$") {
            return Ok(Expression::Variable(
                self.word(|c| c.is_ascii_alphanumeric() || c == '_')?,
            ));
        }
        let digits = self.word(|c| c.is_ascii_digit())?;
        digits
            .parse()
            .map(Expression::Number)
            .map_err(|_| format!("{digits} is too large"))
    }

    fn takes(&mut self, sign: &str) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(after) => {
                self.rest = after.trim_start();
                true
            }
            None => false,
        }
    }

    fn needs(&mut self, sign: &str) -> Result<(), String> {
        if self.takes(sign) {
            Ok(())
        } else {
            Err(format!("expected {sign:?} before {:?}", self.rest))
        }
    }

    fn word(&mut self, belongs: fn(char) -> bool) -> Result<String, String> {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(format!("expected a number or a $variable before {:?}", self.rest));
        }
        let word = self.rest[..end].to_string();
        self.rest = self.rest[end..].trim_start();
        Ok(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_computed() {
        let variables = Variables::from([("sx".to_string(), b"250".to_vec())]);
        let value = |text| Expression::parse(text).unwrap().compute(&variables);
        assert_eq!(value("1 + 2*3 - 4/2"), Ok(5));
        assert_eq!(value("max(300, $sx * 2) + 1"), Ok(501));
        assert!(value("$other").unwrap_err().contains("$other"));
        assert!(value("1/0").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in ["", "1 +", "max(1)", "two", "1 2", "$"] {
            assert!(Expression::parse(wrong).is_err(), "{wrong}");
        }
    }
}
