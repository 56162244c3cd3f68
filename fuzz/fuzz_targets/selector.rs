//! Any text is a selector or has a flaw within it; a selector says yes or no to any message, in time; and it says the same
//! in parentheses, and never the same of its contrary.
//!
//! Up to the first NUL the input is the selector, and then header lines.
#![no_main]

use std::sync::Arc;

use hoofbeat::broker::selector::Selector;
use hoofbeat::broker::{Draft, Message, Properties};
use hoofbeat::stomp::{Headers, Line, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (text, lines) = input.split_once('\0').unwrap_or((input, ""));
    let selector = match Selector::parse(text, "m0") {
        Ok(selector) => selector,
        Err(bad) => {
            assert!((1..=text.chars().count() + 1).contains(&bad.at), "{bad}");
            return;
        }
    };
    let lines = lines.split('\n').filter_map(|line| line.split_once(':'));
    let headers = Headers::new(lines.map(|(name, value)| Line { name, value }), false);
    let message = Message::new(7, draft(&headers), &Arc::default());
    let matches = selector.matches(&message);
    if let Ok(same) = Selector::parse(&format!("({text})"), "m0") {
        assert_eq!(same.matches(&message), matches);
    }
    if let Ok(contrary) = Selector::parse(&format!("NOT ({text})"), "m0") {
        assert!(!(matches && contrary.matches(&message)));
    }
});

fn draft<'a, 'h>(headers: &'a Headers<'h>) -> Draft<'a, 'h> {
    Draft {
        destination: "/queue/q",
        headers,
        reply_to: None,
        body: b"",
        version: Version::V1_0,
        properties: Properties::default(),
        publisher: 0,
    }
}
