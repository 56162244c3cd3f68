//! `hoofbeat bench`: load for any STOMP broker, and what the broker makes of it.
//!
//! One thread on purpose, so that it can be pinned to one core while the broker has the others. It knows the wire
//! (`stomp`) and nothing else of ours: what it finds out about this broker it finds out about any.
//!
//! | what | where |
//! |---|---|
//! | options | `arguments` |
//! | one client: octets, WebSocket, CONNECT | `connection`, `websocket`, `target` |
//! | what is sent, and what must come back | `stamp`, `check`, `flow` |
//! | the scenarios | `plan`, `publish`, `subscribe`, `neighbours`, `visits`, `work` |
//! | what is told | `figures`, `report`, `progress`, `process` |

mod arguments;
mod check;
mod connection;
mod figures;
mod flow;
mod neighbours;
mod plan;
mod process;
mod progress;
mod publish;
mod report;
mod stamp;
mod subscribe;
mod target;
#[cfg(test)]
mod tests;
mod visits;
mod websocket;
mod work;

use std::fmt;
use std::process::ExitCode;

use rustix::process::{getrlimit, setrlimit, Resource};
use tokio::runtime;
use tokio::task::LocalSet;

pub use arguments::{Arguments, Scenario};

use report::Report;

/// Something was lost, out of order, or could not be run at all.
const FAILED: u8 = 1;
/// The options ask for what cannot be.
const WRONG: u8 = 2;

/// Why there is no report.
#[derive(Debug)]
enum Failure {
    /// The options do not go together.
    Options(String),
    /// Nothing listens where the broker should be.
    Nobody(String),
    /// Something went wrong on the way.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Options(text) | Failure::Broken(text) => f.write_str(text),
            Failure::Nobody(text) => write!(
                f,
                "{text}\n\nNo broker there. Start one in another terminal, `hoofbeat` for ours on ws://127.0.0.1:15674/ws, \
                 or name the one to load: hoofbeat bench fanout --url tcp://127.0.0.1:61613"
            ),
        }
    }
}

/// Runs one scenario and prints what was found, a table or JSON, to stdout. Fails (1) when a message was lost, came
/// twice or out of order, or when the broker could not be reached; wrong options are 2.
pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: cannot start the runtime: {error}");
            return ExitCode::from(FAILED);
        }
    };
    raise_descriptors();
    match LocalSet::new().block_on(&runtime, load(arguments)) {
        Ok(report) => {
            report.print(arguments.json);
            if report.is_clean() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(FAILED)
            }
        }
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::from(match failure {
                Failure::Options(_) => WRONG,
                Failure::Nobody(_) | Failure::Broken(_) => FAILED,
            })
        }
    }
}

/// One scenario from its options to its report. Must run in a [`LocalSet`].
async fn load(arguments: &Arguments) -> Result<Report, Failure> {
    arguments.check().map_err(Failure::Options)?;
    match arguments.scenario {
        Scenario::Idle => visits::idle(arguments).await,
        Scenario::Connect => visits::connect(arguments).await,
        Scenario::Fanout | Scenario::Queue | Scenario::Pairs | Scenario::Spread => work::run(arguments).await,
    }
}

/// Thousands of connections need as many descriptors. If that is refused, the connection that finds none will say so.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
