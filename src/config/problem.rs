//! What is wrong with a configuration: what, where, and how to put it right.

use std::fmt;
use std::sync::Arc;

/// A configuration file that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path as the operator wrote it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    source: Arc<Source>,
    start: usize,
    end: usize,
    /// What stands there is not to be shown.
    secret: bool,
}

impl Spot {
    pub(super) fn new(source: &Arc<Source>, span: std::ops::Range<usize>) -> Spot {
        Spot {
            source: source.clone(),
            start: span.start,
            end: span.end,
            secret: false,
        }
    }

    /// The same place, without what stands there.
    pub(super) fn secret(self) -> Spot {
        Spot { secret: true, ..self }
    }

    /// The line it begins in, from 1.
    pub fn line(&self) -> usize {
        let before = self.source.text.get(..self.start).unwrap_or(&self.source.text);
        1 + before.matches('\n').count()
    }

    /// The character of that line it begins at, from 1.
    pub fn column(&self) -> usize {
        1 + self.before().chars().count()
    }

    /// What stands before it in its line.
    fn before(&self) -> &str {
        let before = self.source.text.get(..self.start).unwrap_or(&self.source.text);
        before.rsplit('\n').next().unwrap_or_default()
    }

    /// The line of the file with a caret under each character of the spot (of its first line, if it has several).
    fn snippet(&self) -> String {
        if self.secret {
            let line = self.line().to_string();
            return format!("  {line} | {}…", self.before());
        }
        let rest = self.source.text.get(self.start..).unwrap_or_default();
        let rest = rest.lines().next().unwrap_or_default();
        let marked = self.source.text.get(self.start..self.end).unwrap_or_default();
        let carets = marked.lines().next().unwrap_or_default().chars().count().max(1);
        // A tab stays a tab, so that the carets stand under what they mean.
        let blank: String = self.before().chars().map(|c| if c == '\t' { c } else { ' ' }).collect();
        let line = self.line().to_string();
        let margin = " ".repeat(line.len());
        format!(
            "  {line} | {}{rest}\n  {margin} | {blank}{}",
            self.before(),
            "^".repeat(carets)
        )
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source.name, self.line())
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the configuration file.
    File(Spot),
    /// An environment variable, by its name.
    Variable(String),
    /// A flag of the command line, as written.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(spot) => spot.fmt(f),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One thing that is wrong, or at least looks so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    origin: Origin,
    what: String,
    notes: Vec<String>,
}

impl Problem {
    pub(super) fn new(origin: Origin, what: impl Into<String>) -> Problem {
        Problem {
            origin,
            what: what.into(),
            notes: Vec::new(),
        }
    }

    /// Adds a line that says what is allowed, or what to do.
    pub(super) fn note(mut self, note: impl Into<String>) -> Problem {
        self.notes.push(note.into());
        self
    }

    /// Where the file has it, to report problems in the order of the file.
    pub(super) fn order(&self) -> usize {
        match &self.origin {
            Origin::File(spot) => spot.start,
            _ => usize::MAX,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => f.write_str(&self.what)?,
            Origin::File(spot) => {
                let column = spot.column();
                write!(f, "{spot}:{column}: {}\n{}", self.what, spot.snippet())?;
            }
            Origin::Variable(name) => write!(f, "environment variable {name}: {}", self.what)?,
            Origin::Flag(flag) => write!(f, "{flag}: {}", self.what)?,
        }
        for note in &self.notes {
            write!(f, "\n  = {note}")?;
        }
        Ok(())
    }
}

/// Why a configuration cannot be used: everything that is wrong with it, in the order of file, environment, flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "error: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The candidate that `word` probably meant.
pub(super) fn meant<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let likeness = strsim::normalized_damerau_levenshtein(&word, &candidate.to_ascii_lowercase());
            (likeness, candidate)
        })
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(text: &str, part: &str) -> Spot {
        let start = text.find(part).unwrap();
        let source = Arc::new(Source {
            name: "hoofbeat.toml".to_string(),
            text: text.to_string(),
        });
        Spot::new(&source, start..start + part.len())
    }

    #[test]
    fn a_spot_shows_its_line_with_carets() {
        let spot = spot("[a]\nx = 1\n\ty = \"é\" # why\n", "\"é\"");
        assert_eq!((spot.line(), spot.column()), (3, 6));
        assert_eq!(spot.snippet(), "  3 | \ty = \"é\" # why\n    | \t    ^^^");
    }

    #[test]
    fn a_spot_at_the_very_end_has_a_caret() {
        let source = Arc::new(Source {
            name: "f".to_string(),
            text: "x =".to_string(),
        });
        let spot = Spot::new(&source, 3..3);
        assert_eq!(spot.snippet(), "  1 | x =\n    |    ^");
    }

    #[test]
    fn a_spot_over_several_lines_marks_the_first() {
        let spot = spot("x = [\n 1,\n]\n", "[\n 1,\n]");
        assert_eq!(spot.snippet(), "  1 | x = [\n    |     ^");
    }

    #[test]
    fn likely_words_are_found_and_unlikely_ones_not() {
        assert_eq!(meant("frmae", ["head", "frame"]), Some("frame"));
        assert_eq!(meant("LIMITS", ["limits"]), Some("limits"));
        assert_eq!(meant("colour", ["head", "frame"]), None);
    }
}
