//! Random selectors, judged a second time in the simplest way: truth is -1, 0 or 1, AND is the least, OR the greatest,
//! NOT the sign.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Test {
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Bare(Term),
    Compare(Term, &'static str, Term),
    Between(Term, Term, Term, bool),
    In(&'static str, Vec<Term>, bool),
    Like(&'static str, String, bool),
    Null(&'static str, bool),
}

#[derive(Clone, Debug)]
enum Term {
    Name(&'static str),
    Number(i64),
    Half(i64),
    Text(&'static str),
    Truth(bool),
    Minus(Box<Term>),
    Both(Box<Term>, char, Box<Term>),
}

#[derive(Clone, Debug, PartialEq)]
enum Thing {
    Null,
    Header(String),
    Text(String),
    /// And whether it is exact.
    Number(f64, bool),
    Truth(bool),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const TEXTS: [&str; 6] = ["", "1", "abc", "it's", "true", "a%b"];
const VALUES: [&str; 9] = ["", "1", "-2", "3.5", "true", "False", "abc", "it's", "a%b"];

type Lines = Vec<(&'static str, &'static str)>;

impl Test {
    fn show(&self) -> String {
        match self {
            Test::And(all) => join(all, " AND ", |test| matches!(test, Test::Or(_))),
            Test::Or(any) => join(any, " or ", |_| false),
            Test::Not(inner) if matches!(**inner, Test::And(_) | Test::Or(_)) => format!("NOT({})", inner.show()),
            Test::Not(inner) => format!("not {}", inner.show()),
            Test::Bare(term) => term.show(),
            Test::Compare(left, by, right) => format!("{} {by} {}", left.show(), right.show()),
            Test::Between(what, low, high, no) => {
                format!("{}{} BETWEEN {} AND {}", what.show(), not(*no), low.show(), high.show())
            }
            Test::In(name, list, no) => {
                let list: Vec<String> = list.iter().map(Term::show).collect();
                format!("{name}{} IN ({})", not(*no), list.join(" , "))
            }
            Test::Like(name, pattern, no) => format!("{name}{} LIKE '{}'", not(*no), pattern.replace('\'', "''")),
            Test::Null(name, no) => format!("{name} IS{} NULL", not(*no)),
        }
    }

    fn truth(&self, lines: &Lines) -> i8 {
        match self {
            Test::And(all) => all.iter().map(|test| test.truth(lines)).min().unwrap(),
            Test::Or(any) => any.iter().map(|test| test.truth(lines)).max().unwrap(),
            Test::Not(inner) => -inner.truth(lines),
            Test::Bare(term) => same(&term.thing(lines), "=", &Thing::Truth(true)),
            Test::Compare(left, by, right) => same(&left.thing(lines), by, &right.thing(lines)),
            Test::Between(what, low, high, no) => {
                let (what, low, high) = (what.thing(lines), low.thing(lines), high.thing(lines));
                match no {
                    false => same(&what, ">=", &low).min(same(&what, "<=", &high)),
                    true => same(&what, "<", &low).max(same(&what, ">", &high)),
                }
            }
            Test::In(name, list, no) => {
                let what = Term::Name(name).thing(lines);
                let any = list.iter().map(|term| same(&what, "=", &term.thing(lines)));
                flip(any.max().unwrap(), *no)
            }
            Test::Like(name, pattern, no) => match Term::Name(name).thing(lines) {
                Thing::Header(text) => {
                    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
                    flip(if fits(&pattern, &text) { 1 } else { -1 }, *no)
                }
                _ => 0,
            },
            Test::Null(name, no) => flip(
                if Term::Name(name).thing(lines) == Thing::Null {
                    1
                } else {
                    -1
                },
                *no,
            ),
        }
    }
}

fn join(tests: &[Test], between: &str, apart: impl Fn(&Test) -> bool) -> String {
    let show = |test: &Test| match apart(test) {
        true => format!("({})", test.show()),
        false => test.show(),
    };
    tests.iter().map(show).collect::<Vec<_>>().join(between)
}

fn not(no: bool) -> &'static str {
    if no {
        " NOT"
    } else {
        ""
    }
}

fn flip(truth: i8, no: bool) -> i8 {
    if no {
        -truth
    } else {
        truth
    }
}

fn fits(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['%', rest @ ..], _) => (0..=text.len()).any(|taken| fits(rest, &text[taken..])),
        (['_', rest @ ..], [_, left @ ..]) => fits(rest, left),
        ([sign, rest @ ..], [char, left @ ..]) => sign == char && fits(rest, left),
        _ => false,
    }
}

impl Term {
    fn show(&self) -> String {
        match self {
            Term::Name(name) => name.to_string(),
            Term::Number(number) => number.to_string(),
            Term::Half(number) => format!("{number}.5"),
            Term::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Term::Truth(truth) => truth.to_string(),
            Term::Minus(inner) => format!("-({})", inner.show()),
            Term::Both(left, by, right) => format!("({} {by} {})", left.show(), right.show()),
        }
    }

    fn thing(&self, lines: &Lines) -> Thing {
        match self {
            Term::Name(name) => match lines.iter().find(|(known, _)| known == name) {
                Some((_, value)) => Thing::Header(value.to_string()),
                None => Thing::Null,
            },
            Term::Number(number) => Thing::Number(*number as f64, true),
            Term::Half(number) => Thing::Number(*number as f64 + 0.5, false),
            Term::Text(text) => Thing::Text(text.to_string()),
            Term::Truth(truth) => Thing::Truth(*truth),
            Term::Minus(inner) => match inner.thing(lines).number() {
                Some((number, exact)) => Thing::Number(-number, exact),
                None => Thing::Null,
            },
            Term::Both(left, by, right) => {
                let (left, right) = (left.thing(lines).number(), right.thing(lines).number());
                let (Some((l, le)), Some((r, re))) = (left, right) else {
                    return Thing::Null;
                };
                let exact = le && re;
                let number = match by {
                    '+' => l + r,
                    '-' => l - r,
                    '*' => l * r,
                    _ if exact => (l / r).trunc(),
                    _ => l / r,
                };
                if number.is_finite() {
                    Thing::Number(number, exact)
                } else {
                    Thing::Null
                }
            }
        }
    }
}

impl Thing {
    fn number(&self) -> Option<(f64, bool)> {
        match self {
            Thing::Number(number, exact) => Some((*number, *exact)),
            Thing::Header(text) => Some((text.parse().ok()?, !text.contains('.'))),
            _ => None,
        }
    }

    fn truth(&self) -> Option<bool> {
        match self {
            Thing::Truth(truth) => Some(*truth),
            Thing::Header(text) => text.to_lowercase().parse().ok(),
            _ => None,
        }
    }

    fn text(&self) -> &str {
        match self {
            Thing::Header(text) | Thing::Text(text) => text,
            _ => unreachable!(),
        }
    }
}

fn same(left: &Thing, by: &str, right: &Thing) -> i8 {
    let equality = by == "=" || by == "<>";
    let is_number = |thing: &Thing| matches!(thing, Thing::Number(..));
    let is_truth = |thing: &Thing| matches!(thing, Thing::Truth(_));
    if *left == Thing::Null || *right == Thing::Null {
        return 0;
    }
    let headers = matches!((left, right), (Thing::Header(_), Thing::Header(_)));
    let order = if is_number(left) || is_number(right) || (headers && !equality) {
        match (left.number(), right.number()) {
            (Some((l, _)), Some((r, _))) => l.partial_cmp(&r),
            _ => None,
        }
    } else if is_truth(left) || is_truth(right) {
        left.truth().zip(right.truth()).map(|(l, r)| l.cmp(&r))
    } else {
        Some(left.text().cmp(right.text()))
    };
    let holds = order.is_some_and(|order| match by {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    });
    if holds {
        1
    } else {
        -1
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES)
}

fn number() -> impl Strategy<Value = Term> {
    let leaf = prop_oneof![
        name().prop_map(Term::Name),
        (0_i64..5).prop_map(Term::Number),
        (0_i64..5).prop_map(Term::Half),
    ];
    leaf.prop_recursive(3, 6, 2, |inner| {
        let operator = prop::sample::select(&['+', '-', '*', '/']);
        prop_oneof![
            inner.clone().prop_map(|term| Term::Minus(Box::new(term))),
            (inner.clone(), operator, inner).prop_map(|(l, by, r)| Term::Both(Box::new(l), by, Box::new(r))),
        ]
    })
}

fn value() -> impl Strategy<Value = Term> {
    prop_oneof![
        2 => number(),
        1 => prop::sample::select(&TEXTS).prop_map(Term::Text),
        1 => any::<bool>().prop_map(Term::Truth),
    ]
}

fn literal() -> impl Strategy<Value = Term> {
    prop_oneof![
        (0_i64..5).prop_map(Term::Number),
        prop::sample::select(&TEXTS).prop_map(Term::Text),
        any::<bool>().prop_map(Term::Truth),
    ]
}

fn test() -> impl Strategy<Value = Test> {
    let orders = prop::sample::select(&["=", "<>", "<", "<=", ">", ">="]);
    let equalities = prop::sample::select(&["=", "<>"]);
    let leaf = prop_oneof![
        name().prop_map(|name| Test::Bare(Term::Name(name))),
        (number(), orders, number()).prop_map(|(l, by, r)| Test::Compare(l, by, r)),
        (value(), equalities, value()).prop_map(|(l, by, r)| Test::Compare(l, by, r)),
        (number(), number(), number(), any::<bool>()).prop_map(|(w, l, h, no)| Test::Between(w, l, h, no)),
        (name(), prop::collection::vec(literal(), 1..4), any::<bool>()).prop_map(|(n, l, no)| Test::In(n, l, no)),
        (name(), "[ab%_1c]{0,4}", any::<bool>()).prop_map(|(n, p, no)| Test::Like(n, p, no)),
        (name(), any::<bool>()).prop_map(|(n, no)| Test::Null(n, no)),
    ];
    leaf.prop_recursive(4, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Test::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Test::Or),
            inner.prop_map(|test| Test::Not(Box::new(test))),
        ]
    })
}

fn lines() -> impl Strategy<Value = Lines> {
    prop::collection::vec((name(), prop::sample::select(&VALUES)), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_evaluator_agrees_with_a_naive_one(test in test(), messages in prop::collection::vec(lines(), 4)) {
        let text = test.show();
        prop_assume!(text.len() <= LENGTH_MAX);
        let selector = match Selector::parse(&text, "") {
            Ok(selector) => selector,
            Err(bad) if bad.what.contains("the limit of 16") => return Ok(()),
            Err(bad) => panic!("{text}: {bad}"),
        };
        for lines in messages {
            let message = message(&lines, Properties::default());
            prop_assert_eq!(selector.matches(&message), test.truth(&lines) == 1, "{} of {:?}", text, lines);
        }
    }

    #[test]
    fn any_text_is_a_selector_or_has_a_flaw_within_it(text in "[a-c0-9 '\"()=<>%_.,+*/!-]{0,40}|\\PC{0,30}") {
        if let Err(bad) = Selector::parse(&text, "") {
            prop_assert!((1..=text.chars().count() + 1).contains(&bad.at));
        }
    }
}
