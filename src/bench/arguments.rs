//! The options of `hoofbeat bench`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::stamp;
use super::target::Target;

/// Where a broker of ours listens when nothing is configured.
pub(super) const DEFAULT_URL: &str = "ws://127.0.0.1:15674/ws";

/// How the load is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Every publisher to every subscriber, by one topic
    Fanout,
    /// Consumers that share one queue and acknowledge each message
    Queue,
    /// Each publisher has a topic and a subscriber of its own
    Pairs,
    /// One publisher goes round many topics with one subscriber each
    Spread,
    /// Connections with one subscription that do nothing: what each costs in memory
    Idle,
    /// How fast clients can connect and subscribe
    Connect,
}

/// What to load the broker with, and how to tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Arguments {
    /// What kind of load
    #[arg(value_enum, default_value = "fanout")]
    pub scenario: Scenario,
    /// The broker: ws://HOST:PORT/PATH or tcp://HOST:PORT
    #[arg(long, help_heading = "Broker", value_name = "URL", default_value = DEFAULT_URL)]
    pub url: Target,
    /// CONNECT's `login`
    #[arg(long, help_heading = "Broker", default_value = "guest")]
    pub login: String,
    /// CONNECT's `passcode`
    #[arg(long, help_heading = "Broker", default_value = "guest")]
    pub passcode: String,
    /// CONNECT's `host`: the virtual host
    #[arg(long, help_heading = "Broker", default_value = "/")]
    pub host: String,
    /// Publishers; in `pairs` also the subscribers
    #[arg(long, help_heading = "Load", value_name = "N", default_value_t = 1)]
    pub publishers: usize,
    /// Subscribers; in `idle` and `connect` the connections [default: 100; 4 in queue]
    #[arg(long, help_heading = "Load", value_name = "N")]
    pub subscribers: Option<usize>,
    /// Topics, and subscribers, of `spread`
    #[arg(long, help_heading = "Load", value_name = "N", default_value_t = 100)]
    pub destinations: usize,
    /// Octets of a body
    #[arg(long, help_heading = "Load", value_name = "OCTETS", default_value_t = 128)]
    pub size: usize,
    /// Messages that each publisher sends after the warm-up, instead of --duration
    #[arg(long, help_heading = "Measure", value_name = "N", conflicts_with = "duration")]
    pub messages: Option<u64>,
    /// How long to measure: 500ms, 5s, 2m
    #[arg(long, help_heading = "Measure", value_name = "TIME", default_value = "5s", value_parser = time)]
    pub duration: Duration,
    /// Closed loop: messages of a publisher that may be under way
    #[arg(long, help_heading = "Load", value_name = "N", default_value_t = 256)]
    pub window: u64,
    /// Open loop: messages a second, all publishers together; latency counts from when a message was due
    #[arg(long, help_heading = "Load", value_name = "N", conflicts_with = "window")]
    pub rate: Option<u64>,
    /// Load that is checked but not measured, before
    #[arg(long, help_heading = "Measure", value_name = "TIME", default_value = "1s", value_parser = time)]
    pub warm_up: Duration,
    /// Mark messages persistent and ask for a receipt of each; until it has come the message is under way
    #[arg(long, help_heading = "Load")]
    pub persistent: bool,
    /// Further subscribers of the same topics that never read (not in `queue`)
    #[arg(long, help_heading = "Beside the load", value_name = "N", default_value_t = 0)]
    pub stuck: usize,
    /// Further connections with a subscription that gets nothing
    #[arg(long, help_heading = "Beside the load", value_name = "N", default_value_t = 0)]
    pub idle: usize,
    /// Further subscriptions, each to a topic of its own that nobody sends to
    #[arg(long, help_heading = "Beside the load", value_name = "N", default_value_t = 0)]
    pub others: usize,
    /// Further wildcard subscriptions that match nothing
    #[arg(long, help_heading = "Beside the load", value_name = "N", default_value_t = 0)]
    pub patterns: usize,
    /// Further publishers that send as fast as the broker takes it, to topics that nobody hears
    #[arg(long, help_heading = "Beside the load", value_name = "N", default_value_t = 0)]
    pub hot: usize,
    /// Messages to fill the queue with before its consumers come (only `queue`)
    #[arg(long, help_heading = "Load", value_name = "N", default_value_t = 0)]
    pub backlog: u64,
    /// Messages a consumer may hold unacknowledged
    #[arg(long, help_heading = "Load", value_name = "N", default_value_t = 100)]
    pub prefetch: u32,
    /// What a topic's name begins with
    #[arg(long, help_heading = "Broker", value_name = "TEXT", default_value = "/topic/")]
    pub topic_prefix: String,
    /// What a queue's name begins with
    #[arg(long, help_heading = "Broker", value_name = "TEXT", default_value = "/queue/")]
    pub queue_prefix: String,
    /// Processes of the broker on this machine, for its CPU time and memory
    #[arg(long, help_heading = "Broker", value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Without a delivery for that long, what is missing counts as lost
    #[arg(long, help_heading = "Measure", value_name = "TIME", default_value = "10s", value_parser = time)]
    pub patience: Duration,
    /// Print JSON
    #[arg(long, help_heading = "Measure")]
    pub json: bool,
    /// No line a second on stderr
    #[arg(long, help_heading = "Measure")]
    pub quiet: bool,
}

impl Arguments {
    /// Subscribers that count.
    pub(super) fn subscriber_count(&self) -> usize {
        let default = if self.scenario == Scenario::Queue { 4 } else { 100 };
        match self.scenario {
            Scenario::Pairs => self.publishers,
            Scenario::Spread => self.destinations,
            _ => self.subscribers.unwrap_or(default),
        }
    }

    /// What the command line's grammar does not say.
    pub(super) fn check(&self) -> Result<(), String> {
        let counts = [
            (self.publishers as u64, "--publishers"),
            (self.subscriber_count() as u64, "--subscribers"),
            (self.destinations as u64, "--destinations"),
            (self.window, "--window"),
            (self.rate.unwrap_or(1), "--rate"),
            (self.messages.unwrap_or(1), "--messages"),
        ];
        if let Some((_, name)) = counts.iter().find(|(count, _)| *count == 0) {
            return Err(format!("{name} must be 1 or more"));
        }
        if self.size < stamp::OCTETS {
            return Err(format!(
                "--size must be {} or more: a body carries when it was due, who sent it and its number",
                stamp::OCTETS
            ));
        }
        if self.scenario == Scenario::Queue && self.stuck > 0 {
            return Err("--stuck is for topics: a stuck consumer keeps its share of a queue for ever".to_string());
        }
        if self.scenario != Scenario::Queue && self.backlog > 0 {
            return Err("--backlog is for the scenario queue".to_string());
        }
        if self.window > u64::from(u32::MAX) {
            return Err("--window is too large".to_string());
        }
        Ok(())
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "no time; for example: 5s")?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("the unit must be ms, s or m; for example: 5s".to_string()),
    }
}
