//! What holds for the repository as a whole, checked by reading it as text.
//!
//! | file | what it checks |
//! |---|---|
//! | `rooms` | which room of `src` may know which (`docs/ARCHITECTURE.md` has the reasons), what a pure one must not know |
//! | `documents` | options, ERROR codes, cases, sections and links: what the documents must name, and what they name |
//! | here | what no file may hold |

// Helpers of tests, not only tests, fail by it here.
#![allow(clippy::unwrap_used)]

mod documents;
mod rooms;
mod source;

use source::files;

/// Lines of a file; a longer one is cut along its meaning.
const LINES: usize = 600;

/// A page that loads nothing else is one file, however long.
const WHOLE: [&str; 1] = ["src/server/page.html"];

#[test]
fn no_file_is_too_long() {
    let code = ["rs", "html", "js", "mjs", "css", "py", "go"];
    let long = files().filter(|file| code.iter().any(|kind| file.name.ends_with(&format!(".{kind}"))));
    let long = long.filter(|file| !WHOLE.contains(&file.name.as_str()));
    let long = long.map(|file| (file.text.lines().count(), file.name));
    none(
        &long
            .filter(|(lines, _)| *lines > LINES)
            .map(|(lines, name)| format!("{name}: {lines} lines, the limit is {LINES}"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn nothing_is_left_for_later_and_no_machine_is_named() {
    // Put together here, so that this file does not hold them.
    let later = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let ignored = concat!("#[", "ignore");
    let machine = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/t", "mp/")];
    let mut wrong = Vec::new();
    for file in files() {
        let is_script = file.text.starts_with("#!");
        for (number, line) in file.text.lines().enumerate() {
            let mut report = |what: &str| wrong.push(format!("{}:{}: {what}", file.name, number + 1));
            let found = |what: &&&str| line.contains(**what);
            later.iter().find(found).into_iter().for_each(|what| report(what));
            if line.contains(ignored) {
                report(ignored);
            }
            if let (false, Some(what)) = (is_script, machine.iter().find(found)) {
                report(what);
            }
        }
    }
    none(&wrong);
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
