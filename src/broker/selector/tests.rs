use std::sync::Arc;

use super::*;
use crate::broker::message::{Draft, Properties};
use crate::stomp::{Headers, Line, Version};

mod naive;

pub(super) fn message(lines: &[(&str, &str)], properties: Properties) -> Message {
    let headers = Headers::new(lines.iter().map(|(name, value)| Line { name, value }), true);
    let draft = Draft {
        destination: "/queue/q",
        headers: &headers,
        reply_to: None,
        body: b"body",
        version: Version::V1_2,
        properties,
        publisher: 0,
    };
    Message::new(7, draft, &Arc::default())
}

fn matches(selector: &str, lines: &[(&str, &str)]) -> bool {
    let selector = Selector::parse(selector, "m0").unwrap_or_else(|bad| panic!("{selector}: {bad}"));
    selector.matches(&message(lines, Properties::default()))
}

fn flaw(selector: &str) -> String {
    Selector::parse(selector, "m0").expect_err(selector).to_string()
}

/// Headers of the messages that the table below asks about.
const LINES: [(&str, &str); 9] = [
    ("n", "7"),
    ("f", "2.5"),
    ("big", "9007199254740993"),
    ("s", "abc"),
    ("quote", "it's"),
    ("t", "True"),
    ("empty", ""),
    ("correlation-id", "c-1"),
    ("a.b", "dot"),
];

#[test]
fn what_selectors_say() {
    for (selector, expected) in [
        ("n = 7", true),
        ("n = 7.0", true),
        ("n = '7'", true),
        ("n = '7.0'", false),
        ("7 = n", true),
        ("n <> 7", false),
        ("n>6 and n<8", true),
        ("n >= 7 AND n <= 7", true),
        ("n = 7L AND f = 2.5f AND f = 25e-1 AND f = .25E+1", true),
        ("big = 9007199254740993", true),
        ("big = 9007199254740992", false),
        ("s = 'abc'", true),
        ("s <> 'abd'", true),
        ("quote = 'it''s'", true),
        // Of another kind: false whatever is asked.
        ("s = 7", false),
        ("s <> 7", false),
        ("NOT s = 7", true),
        ("s = TRUE", false),
        ("t", true),
        ("NOT t", false),
        ("t = TRUE OR s = 'x'", true),
        ("t <> FALSE", true),
        ("TRUE", true),
        ("FALSE", false),
        ("s", false),
        // NULL makes unknown, and unknown is not wanted.
        ("missing = 1", false),
        ("NOT missing = 1", false),
        ("missing = 1 OR n = 7", true),
        ("missing = 1 AND n = 7", false),
        ("NOT (missing = 1 AND n = 8)", true),
        ("missing IS NULL", true),
        ("missing IS NOT NULL", false),
        ("empty IS NULL", false),
        ("n IS NOT NULL", true),
        ("n BETWEEN 7 AND 8", true),
        ("n BETWEEN 8 AND 9", false),
        ("n NOT BETWEEN 8 AND 9", true),
        ("n BETWEEN f AND f + 5", true),
        ("s NOT BETWEEN 1 AND 2", false),
        ("s IN ('x', 'abc')", true),
        ("n IN (6, 7)", true),
        ("n NOT IN ('x')", true),
        ("missing NOT IN ('x')", false),
        ("s LIKE 'a%'", true),
        ("s LIKE '_b_'", true),
        ("s LIKE 'a'", false),
        ("s LIKE '%'", true),
        ("empty LIKE '%'", true),
        ("empty LIKE '_'", false),
        ("s NOT LIKE '%d%'", true),
        ("missing NOT LIKE '%d%'", false),
        ("s LIKE 'a!%' ESCAPE '!'", false),
        ("n + 1 = 8", true),
        ("n * 2 + 1 = 15", true),
        ("1 + 2 * n = 15", true),
        ("(1 + 2) * n = 21", true),
        ("n / 2 = 3", true),
        ("n / 2.0 = 3.5", true),
        ("f = 2.5", true),
        ("n = 7.", true),
        ("n / 0 = 1 OR n = 7", true),
        ("-n = -7", true),
        ("- - n = 7", true),
        ("n - -1 = 8", true),
        ("10 - 2 - 3 = 5", true),
        ("s + 1 = 1 OR s + 1 <> 1", false),
        ("n = 7 OR n = 8 AND n = 9", true),
        ("(n = 7 OR n = 8) AND n = 9", false),
        ("\"correlation-id\" = 'c-1' AND JMSCorrelationID = 'c-1'", true),
        ("a.b = 'dot'", true),
        ("n>f", true),
        ("s = s AND n <> f", true),
        (
            "JMSPriority = 0 AND JMSDeliveryMode = 'NON_PERSISTENT' AND JMSExpiration = 0",
            true,
        ),
        ("JMSMessageID = 'm0-7'", true),
        ("JMSDestination = '/queue/q' AND JMSTimestamp IS NULL", true),
        ("((((((((((((((((n = 7))))))))))))))))", true),
        ("n\t=\n7", true),
        ("Orders.AND = 1 OR n = 7", true),
    ] {
        assert_eq!(matches(selector, &LINES), expected, "{selector}");
    }
}

#[test]
fn the_first_of_repeated_headers_counts_and_escapes_are_read() {
    assert!(matches("a = '1'", &[("a", "1"), ("a", "2")]));
    assert!(matches("a = 'x:y'", &[("a", "x\\cy")]));
}

#[test]
fn what_is_asked_of_the_sender_is_known() {
    let selector = "JMSPriority > 7 AND JMSDeliveryMode = 'PERSISTENT' AND JMSExpiration > 5";
    let properties = Properties {
        priority: 9,
        expires: Some(6),
        persistent: true,
        ..Properties::default()
    };
    assert!(Selector::parse(selector, "")
        .unwrap()
        .matches(&message(&[], properties)));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (selector, at, words) in [
        ("", 1, "is expected; there stands the end"),
        ("   ", 4, "there stands the end"),
        ("a", 0, ""),
        ("a =", 4, "the end"),
        ("a = = 1", 5, "\"= 1\""),
        ("a = 1 b", 7, "AND, OR, an operator or the end"),
        ("a = 'x", 5, "no end"),
        ("ä = 'x", 5, "no end"),
        ("\"a = 1", 1, "no end"),
        ("\"\" = 1", 1, "empty"),
        ("(a = 1", 7, ") that closes"),
        ("a = 1)", 6, "the end is expected"),
        ("a < 'x'", 5, "= and <> only"),
        ("TRUE > a", 1, "= and <> only"),
        ("a BETWEEN 1 OR 2", 12, "AND is expected"),
        ("a BETWEEN 'x' AND 2", 11, "a number"),
        ("a IN ()", 7, "a 'string'"),
        ("a IN ('x' 'y')", 11, "comma"),
        ("a IN 'x'", 6, "a list of literals"),
        ("1 IN (1)", 1, "a name is expected"),
        ("a LIKE b", 8, "'string'"),
        ("a LIKE 'x' ESCAPE '!!'", 19, "one character"),
        ("a LIKE 'x!' ESCAPE '!'", 8, "escape character"),
        ("a IS 1", 5, "NULL or NOT NULL"),
        ("a NOT 1", 6, "BETWEEN, IN or LIKE"),
        ("a + 'x' = 1", 5, "a number or a name"),
        ("1", 1, "a value alone"),
        ("'x'", 1, "a value alone"),
        ("a AND 1", 7, "a value alone"),
        ("(a = 1) = TRUE", 1, "not a condition"),
        ("(a = 1) + 1 = 2", 1, "a number or a name"),
        ("7a = 1", 1, "letters"),
        ("a-b = 'x'", 0, ""),
        ("a = 1e999", 5, "too large"),
        ("upper(a) = 'X'", 6, "AND, OR"),
        ("AND = 1", 1, "a name, a number"),
        ("JMSRedelivered = FALSE", 1, "one delivery"),
        ("a = 1; b", 6, "the end is expected"),
        ("a == 1", 4, "a name"),
    ] {
        if at == 0 {
            assert!(Selector::parse(selector, "").is_ok(), "{selector}");
            continue;
        }
        let bad = Selector::parse(selector, "").expect_err(selector);
        assert_eq!(bad.at, at, "{selector}: {bad}");
        assert!(bad.what.contains(words), "{selector}: {bad}");
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let long = format!("a = '{}'", "x".repeat(LENGTH_MAX - 6));
    assert!(Selector::parse(&long, "").is_ok());
    assert!(flaw(&format!("{long} ")).contains("the limit is 1024"));
    for (open, close) in [("(", ")"), ("NOT ", ""), ("NOT(", ")")] {
        let nested = |depth: usize| format!("{}a{}", open.repeat(depth), close.repeat(depth));
        let deepest = DEPTH_MAX / open.chars().filter(|c| *c == '(' || *c == 'T').count();
        assert!(Selector::parse(&nested(deepest), "").is_ok());
        assert!(flaw(&nested(deepest + 1)).contains("the limit of 16"), "{open}");
    }
    assert!(flaw(&format!("{}1 = 1", "- ".repeat(17))).contains("the limit of 16"));
    // As long as may be, and flat: no depth.
    let chain = "a OR ".repeat(200);
    assert!(Selector::parse(&format!("{chain}a"), "").is_ok());
    let sum = format!("{}1 = 1", "1+".repeat(500));
    assert!(!matches(&sum, &[]));
}

#[test]
fn a_judgement_ends_within_its_steps() {
    let text = "a".repeat(8_000);
    let pattern = format!("%{}b", "a".repeat(500));
    assert!(!matches(&format!("a LIKE '{pattern}'"), &[("a", &text)]));
    // What is not decided is not wanted, the other way round too.
    assert!(!matches(&format!("a NOT LIKE '{pattern}'"), &[("a", &text)]));
    // What is usual is far from it.
    assert!(matches(
        "a LIKE '%needle%'",
        &[("a", &format!("{}needle", "x".repeat(8_000)))]
    ));
}
