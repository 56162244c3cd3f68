//! How a text file writes any octet, and values that are known only when a case is played.
//!
//! `^@` is NUL (as the STOMP specification writes it), `^M` CR, `^J` LF, `^I` TAB, `^xHH` any octet, `^^` a caret.
//! `$name` is a variable, `$$` a dollar, `${1000*ab}` is `ab` a thousand times.

use std::collections::BTreeMap;

/// What the variables of a case hold while it is played.
pub type Variables = BTreeMap<String, Vec<u8>>;

/// A text with places for variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Octets(Vec<u8>),
    Variable(String),
}

impl Template {
    /// Reads the notation; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut template = Template::default();
        let mut rest = text;
        while let Some(at) = rest.find(['^', '$']) {
            template.octets(&rest.as_bytes()[..at]);
            let mark = rest.as_bytes()[at];
            rest = &rest[at + 1..];
            rest = match mark {
                b'^' => template.caret(rest)?,
                _ => template.dollar(rest)?,
            };
        }
        template.octets(rest.as_bytes());
        Ok(template)
    }

    fn caret<'a>(&mut self, rest: &'a str) -> Result<&'a str, String> {
        let sign = rest
            .chars()
            .next()
            .ok_or("a caret at the end of the line (write ^^ for a caret)")?;
        let after = &rest[sign.len_utf8()..];
        let octet = match sign {
            '@' => 0,
            'M' => b'\r',
            'J' => b'\n',
            'I' => b'\t',
            '^' => b'^',
            'x' => {
                let digits = after.get(..2).ok_or("^x needs two hexadecimal digits")?;
                let octet = u8::from_str_radix(digits, 16).map_err(|_| format!("^x{digits} is not hexadecimal"))?;
                self.octets(&[octet]);
                return Ok(&after[2..]);
            }
            other => return Err(format!("^{other} is not known (known: ^@ ^M ^J ^I ^xHH ^^)")),
        };
        self.octets(&[octet]);
        Ok(after)
    }

    fn dollar<'a>(&mut self, rest: &'a str) -> Result<&'a str, String> {
        if let Some(after) = rest.strip_prefix('$') {
            self.octets(b"$");
            return Ok(after);
        }
        if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or("${ without }")?;
            let (count, text) = after[..end].split_once('*').ok_or("${ needs COUNT*TEXT")?;
            let count: usize = count.parse().map_err(|_| format!("{count:?} is not a count"))?;
            let piece = Template::parse(text)?;
            let octets = piece.literal().ok_or("${ } cannot hold a variable")?;
            self.octets(&octets.repeat(count));
            return Ok(&after[end + 1..]);
        }
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        if end == 0 {
            return Err("a dollar without a name (write $$ for a dollar)".into());
        }
        self.0.push(Piece::Variable(rest[..end].into()));
        Ok(&rest[end..])
    }

    /// Adds octets at the end.
    pub fn octets(&mut self, more: &[u8]) {
        if more.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(Piece::Octets(octets)) => octets.extend_from_slice(more),
            _ => self.0.push(Piece::Octets(more.to_vec())),
        }
    }

    /// Adds another template at the end.
    pub fn append(&mut self, other: Template) {
        for piece in other.0 {
            match piece {
                Piece::Octets(octets) => self.octets(&octets),
                variable => self.0.push(variable),
            }
        }
    }

    /// The octets, if there is no variable in it.
    pub fn literal(&self) -> Option<Vec<u8>> {
        self.fill(&Variables::new()).ok()
    }

    /// The octets with every variable filled in; the error names the one that is not set.
    pub fn fill(&self, variables: &Variables) -> Result<Vec<u8>, String> {
        let mut filled = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Octets(octets) => filled.extend_from_slice(octets),
                Piece::Variable(name) => {
                    filled.extend_from_slice(variables.get(name).ok_or_else(|| format!("${name} is not set"))?);
                }
            }
        }
        Ok(filled)
    }

    /// Whether `found` reads like this template. A variable that is not set yet takes what stands in its place
    /// (up to the first occurrence of what follows it); `$_` takes anything each time.
    pub fn matches(&self, found: &[u8], variables: &mut Variables) -> bool {
        let mut taken = Vec::new();
        let mut rest = found;
        for (at, piece) in self.0.iter().enumerate() {
            let known = match piece {
                Piece::Octets(octets) => Some(octets.as_slice()),
                Piece::Variable(name) => variables.get(name).map(Vec::as_slice),
            };
            if let Some(known) = known {
                let Some(after) = rest.strip_prefix(known) else {
                    return false;
                };
                rest = after;
                continue;
            }
            let end = match self.0.get(at + 1) {
                Some(Piece::Octets(next)) => find(rest, next),
                _ => Some(rest.len()),
            };
            let Some(end) = end else { return false };
            if let Piece::Variable(name) = piece {
                taken.push((name.clone(), rest[..end].to_vec()));
            }
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            return false;
        }
        variables.extend(taken.into_iter().filter(|(name, _)| name != "_"));
        true
    }

    /// The names of the variables in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name.as_str()),
            Piece::Octets(_) => None,
        })
    }
}

/// Where `needle` begins in `octets`.
pub fn find(octets: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    octets.windows(needle.len()).position(|window| window == needle)
}

/// Octets for a reader's eye, in the notation, cut after `limit` characters.
pub fn show(octets: &[u8], limit: usize) -> String {
    let mut shown = String::new();
    for chunk in octets.utf8_chunks() {
        for sign in chunk.valid().chars() {
            if shown.len() >= limit {
                return format!("{shown}... ({} octets)", octets.len());
            }
            match sign {
                '\0' => shown.push_str("^@"),
                '\r' => shown.push_str("^M"),
                '\n' => shown.push_str("^J"),
                '\t' => shown.push_str("^I"),
                '^' => shown.push_str("^^"),
                other => shown.push(other),
            }
        }
        for octet in chunk.invalid() {
            shown.push_str(&format!("^x{octet:02X}"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Vec<u8> {
        Template::parse(text).unwrap().literal().unwrap()
    }

    #[test]
    fn every_octet_can_be_written() {
        assert_eq!(filled("a^@b^M^J^I^xfF^^$$"), b"a\0b\r\n\t\xff^$");
        assert_eq!(filled("<${3*ab}>"), b"<ababab>");
        assert_eq!(filled("${2*^@}"), b"\0\0");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for wrong in ["^", "^q", "^x1", "^xzz", "$", "${3*a", "${a}", "${x*a}", "${2*$b}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unset_variable_takes_what_stands_there_and_then_compares() {
        let mut variables = Variables::new();
        let pair = Template::parse("$x,$y").unwrap();
        assert!(pair.matches(b"10,20", &mut variables));
        assert_eq!(variables["x"], b"10");
        assert_eq!(variables["y"], b"20");
        assert!(!pair.matches(b"10,21", &mut variables));
        let any = Template::parse("<$_>").unwrap();
        assert!(any.matches(b"<1>", &mut variables) && any.matches(b"<2>", &mut variables));
    }
}
