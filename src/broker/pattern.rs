//! Wildcard subscriptions: patterns over the segments of topic names, and the trie that finds those that match.
//!
//! A name is cut into pieces, each with the separator before it: `/topic/ticker.AAPL` is `/topic`, `/ticker`,
//! `.AAPL`. In a pattern a piece whose segment is `*` stands for one piece with that separator; `#`, `**` and `>`
//! stand for none, or for one with that separator and any number of further ones.

use std::collections::BTreeMap;

use super::settings::Separator;

/// `#`, `**` and `>` in one pattern: each multiplies the work of a lookup.
const MANY_MAX: usize = 3;

/// The pieces of `name`, each with its separator.
pub fn pieces(name: &str, separator: Separator) -> impl Iterator<Item = &str> {
    let parts = move |c: char| match separator {
        Separator::Both => c == '/' || c == '.',
        Separator::Slash => c == '/',
        Separator::Dot => c == '.',
    };
    let mut rest = name;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest.get(first..)?.find(parts).map_or(rest.len(), |at| at + first);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// The separator of a piece and its segment.
fn split(piece: &str) -> (&str, &str) {
    match piece.starts_with(['/', '.']) {
        true => piece.split_at(1),
        false => ("", piece),
    }
}

/// Whether `name` may hold a wildcard: most names do not, and need not be cut into pieces to see it.
pub fn may_hold_wildcard(name: &str) -> bool {
    name.bytes()
        .fold(false, |found, octet| found | matches!(octet, b'*' | b'#' | b'>'))
}

/// Whether a piece is `*`, `#`, `**` or `>`.
pub fn is_wildcard(piece: &str) -> bool {
    matches!(split(piece).1, "*" | "#" | "**" | ">")
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Literal(Box<str>),
    /// One piece with this separator.
    One(Box<str>),
    /// None, or one piece with this separator and any after it.
    Many(Box<str>),
}

/// A wildcard subscription's destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    steps: Vec<Step>,
    separator: Separator,
    name: Box<str>,
}

impl Pattern {
    /// Reads a canonical name with wildcards; `None` if it holds more than three `#`.
    pub fn parse(name: &str, separator: Separator) -> Option<Pattern> {
        let mut steps: Vec<Step> = Vec::new();
        for piece in pieces(name, separator) {
            let (sep, segment) = split(piece);
            let step = match segment {
                "*" => Step::One(sep.into()),
                "#" | "**" | ">" => Step::Many(sep.into()),
                _ => Step::Literal(piece.into()),
            };
            if !(matches!(step, Step::Many(_)) && steps.last() == Some(&step)) {
                steps.push(step);
            }
        }
        let many = steps.iter().filter(|step| matches!(step, Step::Many(_))).count();
        let name = name.into();
        (many <= MANY_MAX).then_some(Pattern { steps, separator, name })
    }

    /// Whether a topic's canonical name matches.
    pub fn matches(&self, name: &str) -> bool {
        let pieces: Vec<&str> = pieces(name, self.separator).collect();
        matches(&self.steps, &pieces)
    }

    /// Whether every name that `narrow` matches is matched too.
    pub fn covers(&self, narrow: &Pattern) -> bool {
        self.separator == narrow.separator && covers(&self.steps, &narrow.steps)
    }

    /// As it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How names are cut for this pattern.
    pub fn separator(&self) -> Separator {
        self.separator
    }

    /// The first piece after the form (`/ticker` of `/topic/ticker.*`), if it is no wildcard: topics that begin
    /// otherwise are not touched by this pattern.
    pub fn root(&self) -> Option<&str> {
        match self.steps.get(1) {
            Some(Step::Literal(piece)) => Some(piece),
            _ => None,
        }
    }
}

fn matches(steps: &[Step], pieces: &[&str]) -> bool {
    let Some((step, later)) = steps.split_first() else {
        return pieces.is_empty();
    };
    let first = pieces.split_first();
    match step {
        Step::Literal(literal) => first.is_some_and(|(piece, rest)| **piece == **literal && matches(later, rest)),
        Step::One(sep) => first.is_some_and(|(piece, rest)| split(piece).0 == &**sep && matches(later, rest)),
        Step::Many(sep) => {
            matches(later, pieces)
                || first.is_some_and(|(piece, rest)| {
                    split(piece).0 == &**sep
                        && (0..=rest.len()).any(|used| matches(later, rest.get(used..).unwrap_or_default()))
                })
        }
    }
}

/// In doubt it says no: what may be narrower than it looks is not covered.
fn covers(wide: &[Step], narrow: &[Step]) -> bool {
    let Some((step, later)) = wide.split_first() else {
        return narrow.is_empty();
    };
    let first = narrow.split_first();
    match step {
        Step::Literal(_) => first.is_some_and(|(narrow, rest)| narrow == step && covers(later, rest)),
        Step::One(sep) => first.is_some_and(|(narrow, rest)| {
            let one = match narrow {
                Step::Literal(piece) => split(piece).0 == &**sep,
                Step::One(own) => own == sep,
                Step::Many(_) => false,
            };
            one && covers(later, rest)
        }),
        Step::Many(sep) => {
            covers(later, narrow)
                || first.is_some_and(|(narrow, rest)| {
                    let own = match narrow {
                        Step::Literal(piece) => split(piece).0,
                        Step::One(own) | Step::Many(own) => own,
                    };
                    // One that may stand for nothing leaves what follows it to come first.
                    let first = !matches!(narrow, Step::Many(_)) || covers(wide, rest);
                    own == &**sep
                        && first
                        && (0..=rest.len()).any(|used| covers(later, rest.get(used..).unwrap_or_default()))
                })
        }
    }
}

/// Patterns with what belongs to them, found by name in time that does not grow with what does not match.
#[derive(Debug)]
pub struct Trie<T> {
    root: Node<T>,
    patterns: usize,
}

#[derive(Debug)]
struct Node<T> {
    literal: BTreeMap<Box<str>, Node<T>>,
    one: BTreeMap<Box<str>, Node<T>>,
    many: BTreeMap<Box<str>, Node<T>>,
    here: Vec<T>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Trie {
            root: Node::default(),
            patterns: 0,
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node {
            literal: BTreeMap::new(),
            one: BTreeMap::new(),
            many: BTreeMap::new(),
            here: Vec::new(),
        }
    }
}

impl<T: Clone + Ord> Trie<T> {
    /// Entries, each counted once.
    pub fn len(&self) -> usize {
        self.patterns
    }

    /// Whether no pattern is there.
    pub fn is_empty(&self) -> bool {
        self.patterns == 0
    }

    /// Adds `item` under `pattern`.
    pub fn insert(&mut self, pattern: &Pattern, item: T) {
        let mut node = &mut self.root;
        for step in &pattern.steps {
            node = node.child(step).entry(step.key().into()).or_default();
        }
        node.here.push(item);
        self.patterns += 1;
    }

    /// Removes `item` from `pattern` and the branches that held only it.
    pub fn remove(&mut self, pattern: &Pattern, item: &T) {
        if self.root.remove(&pattern.steps, item) {
            self.patterns -= 1;
        }
    }

    /// Appends what belongs to patterns that match `name`, each once and in order; `found` comes in empty.
    pub fn find(&self, name: &str, separator: Separator, found: &mut Vec<T>) {
        if self.is_empty() {
            return;
        }
        let pieces: smallvec::SmallVec<[&str; 16]> = pieces(name, separator).collect();
        self.root.find(&pieces, found);
        // Two ways through a `#` may lead to the same pattern.
        found.sort_unstable();
        found.dedup();
    }
}

impl Step {
    fn key(&self) -> &str {
        match self {
            Step::Literal(key) | Step::One(key) | Step::Many(key) => key,
        }
    }
}

impl<T: Clone + Ord> Node<T> {
    fn child(&mut self, step: &Step) -> &mut BTreeMap<Box<str>, Node<T>> {
        match step {
            Step::Literal(_) => &mut self.literal,
            Step::One(_) => &mut self.one,
            Step::Many(_) => &mut self.many,
        }
    }

    fn is_bare(&self) -> bool {
        self.here.is_empty() && self.literal.is_empty() && self.one.is_empty() && self.many.is_empty()
    }

    fn remove(&mut self, steps: &[Step], item: &T) -> bool {
        let Some((step, later)) = steps.split_first() else {
            let before = self.here.len();
            self.here.retain(|here| here != item);
            return self.here.len() < before;
        };
        let children = self.child(step);
        let Some(child) = children.get_mut(step.key()) else {
            return false;
        };
        let removed = child.remove(later, item);
        if child.is_bare() {
            children.remove(step.key());
        }
        removed
    }

    fn find(&self, pieces: &[&str], found: &mut Vec<T>) {
        if !self.many.is_empty() {
            self.find_many(pieces, found);
        }
        let Some((piece, rest)) = pieces.split_first() else {
            found.extend(self.here.iter().cloned());
            return;
        };
        if let Some(child) = self.literal.get(*piece) {
            child.find(rest, found);
        }
        if !self.one.is_empty() {
            if let Some(child) = self.one.get(split(piece).0) {
                child.find(rest, found);
            }
        }
    }

    fn find_many(&self, pieces: &[&str], found: &mut Vec<T>) {
        for (sep, child) in &self.many {
            child.find(pieces, found);
            let Some((piece, rest)) = pieces.split_first() else {
                continue;
            };
            if split(piece).0 == &**sep {
                for used in 0..=rest.len() {
                    child.find(rest.get(used..).unwrap_or_default(), found);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(name: &str) -> Pattern {
        Pattern::parse(name, Separator::Both).expect("a pattern")
    }

    #[test]
    fn wildcards_span_segments_and_separators_match_themselves() {
        let table = [
            ("/topic/*", "/topic/a", true),
            ("/topic/*", "/topic/a.b", false),
            ("/topic/*", "/topic/a/b", false),
            ("/topic/a.*", "/topic/a.b", true),
            ("/topic/a.*", "/topic/a/b", false),
            ("/topic/a.#", "/topic/a", true),
            ("/topic/a.>", "/topic/a.b.c", true),
            ("/topic/a.#", "/topic/a.b/c", true),
            ("/topic/a.#", "/topic/a/b", false),
            ("/topic/**", "/topic/x/y.z", true),
            ("/topic/#.z", "/topic/z", false),
            ("/topic/#.z", "/topic/x/y.z", true),
            ("/topic/a.#.z", "/topic/a.z", true),
            ("/topic/a.#.z", "/topic/a.b.c.z", true),
            ("/topic/a.#.z", "/topic/a.b.c", false),
            ("/topic/*.b", "/topic/a.b", true),
            ("/topic/price*", "/topic/price*", true),
        ];
        for (text, name, expected) in table {
            assert_eq!(pattern(text).matches(name), expected, "{text} against {name}");
        }
        let spring = Pattern::parse("/topic/*", Separator::Slash).expect("a pattern");
        assert!(spring.matches("/topic/stock.AAPL"));
    }

    #[test]
    fn a_pattern_covers_narrower_ones() {
        let table = [
            ("/app/**", "/app/**", true),
            ("/app/**", "/app/orders", true),
            ("/app/**", "/app/orders.*", true),
            ("/app/**", "/app", true),
            ("/app/*", "/app/*", true),
            ("/app/*", "/app/orders", true),
            ("/app/*", "/app/**", false),
            ("/app/*", "/app/orders/*", false),
            ("/app/orders/**", "/app/orders/new", true),
            ("/app/orders/**", "/app/**", false),
            ("/app/orders/**", "/app/*", false),
            ("/app/orders", "/app/orders", true),
            ("/app/orders", "/app/*", false),
            ("/app/**", "/app/**.b", false),
            ("/app/**/x", "/app/a/x", true),
            ("/app/**/x", "/app/**", false),
        ];
        for (wide, narrow, expected) in table {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), expected, "{wide} over {narrow}");
        }
    }

    #[test]
    fn the_most_specific_pattern_is_the_least() {
        let table = [
            ("/app/orders/*", "/app/**"),
            ("/app/orders/**", "/app/*/new"),
            ("/app/*/new", "/app/**"),
            ("/app/orders/*", "/app/orders/**"),
        ];
        for (first, second) in table {
            assert!(pattern(first) < pattern(second), "{first} before {second}");
        }
    }

    #[test]
    fn too_many_many_is_refused() {
        assert!(Pattern::parse("/topic/#.a.#.b.#.c", Separator::Both).is_some());
        assert!(Pattern::parse("/topic/#.a.#.b.#.c.#", Separator::Both).is_none());
        assert!(
            Pattern::parse("/topic/a.#.#.#.#.#", Separator::Both).is_some(),
            "equal neighbours are one"
        );
    }

    #[test]
    fn an_emptied_trie_holds_nothing() {
        let mut trie = Trie::default();
        trie.insert(&pattern("/topic/a.*.c"), 1);
        trie.insert(&pattern("/topic/a.#"), 2);
        trie.remove(&pattern("/topic/a.*.c"), &1);
        trie.remove(&pattern("/topic/a.#"), &7);
        assert_eq!(trie.len(), 1);
        trie.remove(&pattern("/topic/a.#"), &2);
        assert!(trie.is_empty() && trie.root.is_bare());
    }

    proptest! {
        #[test]
        fn what_a_covered_pattern_matches_is_matched(
            wide in "(/app)([/.](a|b|\\*|#)){1,4}",
            narrow in "(/app)([/.](a|b|\\*|#)){1,4}",
            name in "(/app)([/.](a|b)){0,5}",
        ) {
            let read = |text: &str| Pattern::parse(text, Separator::Both);
            if let (Some(wide), Some(narrow)) = (read(&wide), read(&narrow)) {
                prop_assert!(wide.covers(&wide));
                prop_assert!(!(wide.covers(&narrow) && narrow.matches(&name)) || wide.matches(&name));
            }
        }

        #[test]
        fn the_trie_finds_what_each_pattern_alone_matches(
            patterns in prop::collection::vec("(/topic)([/.](a|b|\\*|#|>)){1,4}", 1..12),
            name in "(/topic)([/.](a|b|c)){1,5}",
        ) {
            let read: Vec<Pattern> = patterns.iter().filter_map(|p| Pattern::parse(p, Separator::Both)).collect();
            let mut trie = Trie::default();
            for (index, pattern) in read.iter().enumerate() {
                trie.insert(pattern, index);
            }
            let mut found = Vec::new();
            trie.find(&name, Separator::Both, &mut found);
            let expected: Vec<usize> = (0..read.len()).filter(|i| read[*i].matches(&name)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
