//! Evidence that nothing is lost: the real binary, a real disk, and everything that can happen to them.
//!
//! `crash BROKER [short|long] [NAME..]`; `crash/run` builds both. docs/reliability.md has the promises and the figures.

mod disks;
mod kills;
mod ledger;
mod load;
mod memory;
mod plain;
mod process;
#[path = "../soak/random.rs"]
mod random;
mod restart;
mod wire;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// What went wrong, for a reader who was not there.
type Outcome<T> = Result<T, String>;

/// How much of everything.
#[derive(Clone, Debug)]
struct Plan {
    /// Path of the broker's binary.
    broker: String,
    long: bool,
    seed: u64,
}

/// A folder for a test, with a data folder and a log in it. Removed at the end, unless something failed.
#[derive(Debug)]
struct Folder {
    data: PathBuf,
    log: PathBuf,
}

impl Folder {
    /// Where the log of the virtual host is that clients get who name none.
    fn segments(&self) -> PathBuf {
        self.data.join("default")
    }
}

impl Folder {
    fn new(plan: &Plan, name: &str) -> Outcome<Folder> {
        let root = scratch(plan).join(name);
        let fresh = match fs::remove_dir_all(&root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&root),
        };
        fresh.map_err(|error| format!("{}: {error}", root.display()))?;
        Ok(Folder {
            data: root.join("store"),
            log: root.join("log"),
        })
    }
}

/// Beside the binary: there is a real disk.
fn scratch(plan: &Plan) -> PathBuf {
    let folder = PathBuf::from(&plan.broker);
    folder
        .parent()
        .unwrap_or(&folder)
        .join(format!("crash-{}", std::process::id()))
}

type Test = fn(&Plan) -> Outcome<String>;

const TESTS: [(&str, Test); 8] = [
    ("kills", kills::run),
    ("sabotage", kills::sabotage),
    ("restart", restart::run),
    ("full-disk", disks::full),
    ("read-only", disks::read_only),
    ("second", disks::second),
    ("damage", disks::damage),
    ("memory", memory::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((plan, tests)) = plan(&arguments) else {
        let names: Vec<&str> = TESTS.iter().map(|(name, _)| *name).collect();
        eprintln!("usage: crash BROKER [short|long] [{}]..", names.join("|"));
        return ExitCode::from(2);
    };
    let mut failed = 0;
    for (name, test) in &tests {
        match test(&plan) {
            Ok(figures) => println!("{name}: passed ({figures})"),
            Err(reason) => {
                failed += 1;
                println!("{name}: FAILED: {reason}");
            }
        }
    }
    println!("{} passed, {failed} failed", tests.len() - failed);
    match failed {
        0 => {
            let _ = fs::remove_dir_all(scratch(&plan));
            ExitCode::SUCCESS
        }
        _ => {
            println!("what is left of it: {}", scratch(&plan).display());
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[String]) -> Option<(Plan, Vec<(&'static str, Test)>)> {
    let (broker, rest) = arguments.split_first()?;
    let (long, rest) = match rest.split_first() {
        Some((word, rest)) if word == "long" => (true, rest),
        Some((word, rest)) if word == "short" => (false, rest),
        _ => (false, rest),
    };
    let named: Option<Vec<(&str, Test)>> = rest
        .iter()
        .map(|wanted| TESTS.into_iter().find(|(name, _)| name == wanted))
        .collect();
    let tests = named.map(|named| if named.is_empty() { TESTS.to_vec() } else { named })?;
    let seed = match std::env::var("CRASH_SEED") {
        Ok(seed) => seed.parse().ok()?,
        Err(_) => u64::from(std::process::id()),
    };
    let broker = broker.clone();
    Some((Plan { broker, long, seed }, tests))
}
