//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::Flag;

/// A STOMP message broker over WebSocket and TCP.
#[derive(Debug, Parser)]
#[command(
    name = "hoofbeat",
    version,
    after_help = "Exit codes: 0 done, 1 failed while running, 2 wrong command line or configuration."
)]
pub struct Arguments {
    /// What to do; without one, serve.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// What to configure.
    #[command(flatten)]
    pub options: Options,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Serve until SIGTERM or Ctrl-C (the default).
    Serve,
    /// Read the configuration, say what is wrong with it or looks so, and serve nothing.
    Check,
    /// Load a STOMP broker, ours or any other, and tell what it makes of it.
    Bench(Box<crate::bench::Arguments>),
    /// Look at a data folder.
    Store {
        /// What of it.
        #[command(subcommand)]
        verb: StoreVerb,
    },
    /// Ask for a password and print the `[[users]]` entry for the configuration file.
    Passwd {
        /// The user's name: what its clients say as login.
        name: String,
        /// Read the password from the first line of stdin instead of asking for it twice.
        #[arg(long)]
        stdin: bool,
    },
    /// Print configuration.
    Config {
        /// What of it.
        #[command(subcommand)]
        verb: ConfigVerb,
    },
}

/// What to do with a data folder.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum StoreVerb {
    /// Say what is in a folder that no broker has open, and what of it is damaged; exit code 1 if anything is.
    Check {
        /// The folder.
        folder: PathBuf,
    },
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum ConfigVerb {
    /// A complete file: every option with its meaning and default.
    Default,
    /// Each value that holds, and where it came from.
    Show,
    /// The tables of docs/configuration.md.
    #[command(hide = true)]
    Doc,
}

/// Flags that every verb takes.
#[derive(Debug, Default, Args)]
pub struct Options {
    /// Configuration file [default: hoofbeat.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to serve WebSocket and the page to try it: IP:PORT, PORT or off
    #[arg(long, global = true, value_name = "ADDR")]
    pub websocket: Option<String>,
    /// Where to serve STOMP over TCP: IP:PORT, PORT or off
    #[arg(long, global = true, value_name = "ADDR")]
    pub tcp: Option<String>,
    /// With whom clients speak: broker (the one in this process) or relay (another behind it)
    #[arg(long, global = true, value_name = "MODE")]
    pub mode: Option<String>,
    /// Where a relay finds the broker behind it: HOST:PORT, several parted by commas
    #[arg(long, global = true, value_name = "ADDRS")]
    pub upstream: Option<String>,
    /// Listen on other addresses than loopback although nothing authenticates clients
    #[arg(long, global = true)]
    pub insecure_open: bool,
    /// Where to keep persistent messages [default: hoofbeat-data]
    #[arg(long, global = true, value_name = "FOLDER", conflicts_with = "ephemeral")]
    pub data: Option<String>,
    /// Keep persistent messages in memory only
    #[arg(long, global = true)]
    pub ephemeral: bool,
    /// What to log: error, warn, info, debug, trace, off, or directives by module
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Set any option, as often as needed
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

impl Options {
    /// The options that the flags set, those with a flag of their own last.
    pub fn flags(&self) -> Vec<Flag> {
        let set = self
            .set
            .iter()
            .map(|(option, text)| (format!("--set {option}"), option.as_str(), text.clone()));
        let own = |name: &str, option: &'static str, text: Option<String>| Some((format!("--{name}"), option, text?));
        let own = [
            own("websocket", "server.websocket", self.websocket.clone()),
            own("tcp", "server.tcp", self.tcp.clone()),
            own("mode", "server.mode", self.mode.clone()),
            own("upstream", "relay.upstream", self.upstream.clone()),
            own("log", "log.filter", self.log.clone()),
            own("data", "store.folder", self.data.clone()),
            own("ephemeral", "store.folder", self.ephemeral.then(|| "off".to_string())),
            own(
                "insecure-open",
                "server.insecure_open",
                self.insecure_open.then(|| "true".to_string()),
            ),
        ];
        set.chain(own.into_iter().flatten())
            .map(|(flag, option, text)| Flag {
                flag,
                option: option.to_string(),
                text,
            })
            .collect()
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((option, value)) => Ok((option.trim().to_string(), value.trim().to_string())),
        None => Err("no `=`; for example: --set limits.frame=8MiB".to_string()),
    }
}
