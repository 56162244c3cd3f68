//! The conformance suite as a command: plays every case against the brokers named and prints a table.

use protocol_tests::case::{self, Case, Level};
use protocol_tests::report::{self, Column};
use protocol_tests::suite;
use protocol_tests::target::Target;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Plays the conformance cases against a STOMP broker and prints a table.

protocol-tests --url [NAME=]ws://HOST:PORT/PATH [--url [NAME=]tcp://HOST:PORT ...] [OPTIONS]

  --url [NAME=]URL      the broker; several give a column each
  --only ROW            this row or file only (20, W3, H4, 020a); may be repeated
  --login TEXT          login of CONNECT (none)
  --passcode TEXT       passcode of CONNECT (none)
  --vhost TEXT          host of CONNECT (/)
  --topic-prefix TEXT   what a topic's name begins with (/topic/)
  --queue-prefix TEXT   what a queue's name begins with (/queue/)
  --timeout MS          how long an expected frame may take (4000)
  --quiet MS            how long nothing is waited for (150)
  --jobs N              conversations at a time (64)
  --cases FOLDER        other cases
  --markdown | --json   the table in this form
  --verbose             every failed play with its frames, not only the first of a case
  --list                the cases and their rules

Exit status: 0 all MUST and SHOULD cases pass, 1 not all, 2 wrong usage.";

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match Arguments::parse(std::env::args().skip(1)).and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let mut cases = case::load(&arguments.cases).map_err(|error| error.to_string())?;
    cases.retain(|case| arguments.wants(case));
    if arguments.list {
        for case in &cases {
            println!("{:44} {} {}", case.id, case.level.as_str(), case.rule);
        }
        return Ok(true);
    }
    if arguments.targets.is_empty() || cases.is_empty() {
        return Err(USAGE.into());
    }
    let column = |(name, target): &(String, Target)| Column {
        name: name.clone(),
        transport: target.transport.as_str(),
        findings: suite::run(&cases, target, arguments.jobs),
    };
    let columns: Vec<Column> = arguments.targets.iter().map(column).collect();
    match arguments.form {
        Form::Text => {
            println!(
                "{}\n{}",
                report::text(&cases, &columns),
                report::failures(&cases, &columns, arguments.verbose)
            );
            println!("{}", report::summary(&cases, &columns));
        }
        Form::Markdown => println!(
            "{}\n{}",
            report::summary(&cases, &columns),
            report::markdown(&cases, &columns)
        ),
        Form::Json => println!("{}", report::json(&cases, &columns)),
    }
    let all_pass = |column: &Column| {
        [Level::Must, Level::Should]
            .iter()
            .all(|level| matches!(column.score(&cases, *level), (passed, applied) if passed == applied))
    };
    Ok(columns.iter().all(all_pass))
}

enum Form {
    Text,
    Markdown,
    Json,
}

struct Arguments {
    targets: Vec<(String, Target)>,
    only: Vec<String>,
    jobs: usize,
    cases: PathBuf,
    form: Form,
    verbose: bool,
    list: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            targets: Vec::new(),
            only: Vec::new(),
            jobs: 64,
            cases: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/cases")),
            form: Form::Text,
            verbose: false,
            list: false,
        };
        let mut changes: Vec<(String, String)> = Vec::new();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"));
            match word.as_str() {
                "--url" => arguments.targets.push(named_target(&value()?)?),
                "--only" => arguments.only.push(value()?),
                "--jobs" => arguments.jobs = number(&value()?)?,
                "--cases" => arguments.cases = value()?.into(),
                "--markdown" => arguments.form = Form::Markdown,
                "--json" => arguments.form = Form::Json,
                "--verbose" => arguments.verbose = true,
                "--list" => arguments.list = true,
                "--login" | "--passcode" | "--vhost" | "--topic-prefix" | "--queue-prefix" | "--timeout"
                | "--quiet" => changes.push((word.clone(), value()?)),
                _ => return Err(format!("{word:?} is not known\n\n{USAGE}")),
            }
        }
        for (_, target) in &mut arguments.targets {
            for (option, value) in &changes {
                change(target, option, value)?;
            }
        }
        Ok(arguments)
    }

    fn wants(&self, case: &Case) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|only| *only == case.row || case.id == *only || case.id.split('-').next() == Some(only))
    }
}

/// `NAME=URL` or `URL`, which then is the name.
fn named_target(text: &str) -> Result<(String, Target), String> {
    let (name, url) = match text.split_once('=') {
        Some((name, url)) if !name.contains("://") => (name, url),
        _ => (text, text),
    };
    Ok((name.into(), Target::parse(url)?))
}

fn change(target: &mut Target, option: &str, value: &str) -> Result<(), String> {
    match option {
        "--login" => target.login = Some(value.into()),
        "--passcode" => target.passcode = Some(value.into()),
        "--vhost" => target.vhost = value.into(),
        "--topic-prefix" => target.topic_prefix = value.into(),
        "--queue-prefix" => target.queue_prefix = value.into(),
        "--timeout" => target.patience = Duration::from_millis(number(value)?),
        _ => target.quiet = Duration::from_millis(number(value)?),
    }
    Ok(())
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}
