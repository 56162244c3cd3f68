//! Evidence that nothing leaks, and that one client costs only its own budget.
//!
//! `soak BROKER [short|long] [NAME..]` starts the binary `BROKER` on free loopback ports with the settings that each
//! test needs, and prints one line a test; `soak/run` builds both. Sockets, descriptors, RSS and `/stats` are looked at from
//! outside, as an operator would.

mod broker;
mod churn;
mod client;
mod cycles;
mod half_sent;
mod ledger;
mod life;
mod random;
mod stuck;

use std::process::ExitCode;

/// What went wrong, for a reader who was not there.
type Outcome<T> = Result<T, String>;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Path of the broker's binary.
    broker: &'static str,
    long: bool,
}

const NAMES: [&str; 4] = ["churn", "cycles", "half-sent", "stuck"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((plan, names)) = plan(&arguments) else {
        eprintln!("usage: soak BROKER [short|long] [{}]..", NAMES.join("|"));
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let failed = runtime.block_on(run(plan, &names));
    println!("{} passed, {failed} failed", names.len() - failed);
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn plan(arguments: &[String]) -> Option<(Plan, Vec<&'static str>)> {
    let (broker, rest) = arguments.split_first()?;
    let (long, rest) = match rest.split_first() {
        Some((word, rest)) if word == "long" => (true, rest),
        Some((word, rest)) if word == "short" => (false, rest),
        _ => (false, rest),
    };
    let named: Option<Vec<&str>> = rest
        .iter()
        .map(|wanted| NAMES.into_iter().find(|name| name == wanted))
        .collect();
    let names = named.map(|named| if named.is_empty() { NAMES.to_vec() } else { named })?;
    let broker = Box::leak(broker.clone().into_boxed_str());
    Some((Plan { broker, long }, names))
}

/// Runs the tests one after the other; how many failed.
async fn run(plan: Plan, names: &[&'static str]) -> usize {
    let mut failed = 0;
    for name in names {
        let outcome = match *name {
            "churn" => churn::run(plan).await,
            "cycles" => cycles::run(plan).await,
            "half-sent" => half_sent::run(plan).await,
            _ => stuck::run(plan).await,
        };
        match outcome {
            Ok(figures) => println!("{name}: passed ({figures})"),
            Err(reason) => {
                failed += 1;
                println!("{name}: FAILED: {reason}");
            }
        }
    }
    failed
}
