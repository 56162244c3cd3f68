//! LIKE patterns: `%` any characters, `_` one.

/// A pattern, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Like(Vec<Sign>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// `%`
    Any,
    /// `_`
    One,
    Exactly(char),
}

impl Like {
    /// Reads a pattern; `None` if it ends with its escape character.
    pub(super) fn read(pattern: &str, escape: Option<char>) -> Option<Like> {
        let mut signs = Vec::with_capacity(pattern.len());
        let mut chars = pattern.chars();
        while let Some(char) = chars.next() {
            signs.push(match char {
                _ if escape == Some(char) => Sign::Exactly(chars.next()?),
                '%' => Sign::Any,
                '_' => Sign::One,
                other => Sign::Exactly(other),
            });
        }
        Some(Like(signs))
    }

    /// Whether all of `text` fits. Only the last `%` is ever tried again, so this takes at most as many steps as the
    /// product of the lengths; each calls `step`, and the answer is no once that says so.
    pub(super) fn matches(&self, text: &str, mut step: impl FnMut() -> bool) -> bool {
        let mut rest = text.chars();
        let mut place = 0;
        // Behind the last `%`, and the text that it has not taken.
        let mut again: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            if !step() {
                return false;
            }
            let sign = self.0.get(place);
            if sign == Some(&Sign::Any) {
                place += 1;
                again = Some((place, rest.clone()));
                continue;
            }
            let mut ahead = rest.clone();
            match (sign, ahead.next()) {
                (None, None) => return true,
                (Some(Sign::One), Some(_)) => {
                    place += 1;
                    rest = ahead;
                }
                (Some(Sign::Exactly(wanted)), Some(char)) if *wanted == char => {
                    place += 1;
                    rest = ahead;
                }
                (_, None) => return false,
                (_, Some(_)) => {
                    let Some((behind, left)) = &mut again else { return false };
                    left.next();
                    place = *behind;
                    rest = left.clone();
                }
            }
        }
    }
}
