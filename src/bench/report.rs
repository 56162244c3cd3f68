//! What is told at the end: a table for people, JSON for programs.

use std::fmt;
use std::io::Write;

use serde::Serialize;

use super::check::Faults;
use super::figures::{grouped, kib, Quantiles};
use super::Scenario;

/// The outcome of a scenario.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Report {
    /// Of one in which messages flowed.
    Load(Box<Load>),
    /// Of one that was about connections.
    Visits(Box<Visits>),
}

/// Messages that flowed.
#[derive(Debug, Serialize)]
pub(super) struct Load {
    pub(super) scenario: Name,
    pub(super) url: String,
    pub(super) server: String,
    pub(super) publishers: usize,
    pub(super) subscribers: usize,
    pub(super) destinations: usize,
    pub(super) size: usize,
    pub(super) window: Option<u64>,
    pub(super) rate: Option<u64>,
    pub(super) persistent: bool,
    pub(super) stuck: usize,
    pub(super) idle: usize,
    pub(super) others: usize,
    pub(super) patterns: usize,
    pub(super) hot: usize,
    pub(super) backlog: u64,
    /// That were measured; so with all figures down to `tool_cores`.
    pub(super) seconds: f64,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) sent_per_second: f64,
    pub(super) delivered_per_second: f64,
    pub(super) latency: Option<Quantiles>,
    pub(super) receipts: Option<Quantiles>,
    pub(super) broker: Option<BrokerCost>,
    /// CPU of the load tool itself, in cores.
    pub(super) tool_cores: f64,
    /// RECEIPTs that never came; of the whole run, as what follows.
    pub(super) unreceipted: u64,
    #[serde(flatten)]
    pub(super) faults: Faults,
    pub(super) troubles: Vec<String>,
}

/// What the broker spent on it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct BrokerCost {
    pub(super) cpu_us_per_delivery: f64,
    pub(super) cores: f64,
    pub(super) rss_before_kib: u64,
    pub(super) rss_peak_kib: u64,
}

/// Connections that came, and stayed or went.
#[derive(Debug, Serialize)]
pub(super) struct Visits {
    pub(super) scenario: Name,
    pub(super) url: String,
    pub(super) server: String,
    pub(super) connections: u64,
    pub(super) seconds: f64,
    pub(super) connections_per_second: f64,
    /// From the first packet to SUBSCRIBE's RECEIPT.
    pub(super) latency: Option<Quantiles>,
    pub(super) broker: Option<VisitCost>,
    pub(super) tool_cores: f64,
    pub(super) troubles: Vec<String>,
}

/// What the broker spent on connections.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct VisitCost {
    pub(super) cpu_us_per_connection: f64,
    pub(super) rss_before_kib: u64,
    pub(super) rss_after_kib: u64,
    /// Of those that stayed.
    pub(super) kib_per_connection: Option<f64>,
}

/// A scenario's name as it is typed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Name(String);

impl From<Scenario> for Name {
    fn from(scenario: Scenario) -> Name {
        Name(format!("{scenario:?}").to_lowercase())
    }
}

impl Report {
    /// Whether all that was sent came, once and in order.
    pub(super) fn is_clean(&self) -> bool {
        match self {
            Report::Load(load) => load.faults.none() && load.unreceipted == 0 && load.troubles.is_empty(),
            Report::Visits(visits) => visits.troubles.is_empty(),
        }
    }

    /// Writes it to stdout. Who reads it may have had enough (`| head`); that is no failure.
    pub(super) fn print(&self, json: bool) {
        let text = match json {
            true => serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")),
            false => self.to_string(),
        };
        let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Load(load) => load.fmt(f),
            Report::Visits(visits) => visits.fmt(f),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {} ({})", self.scenario.0, self.url, self.server)?;
        writeln!(f, "  work        {}", self.work())?;
        row(f, "sent", self.sent, self.sent_per_second)?;
        row(f, "delivered", self.delivered, self.delivered_per_second)?;
        if let Some(latency) = &self.latency {
            writeln!(f, "  latency     {}", latency.line())?;
        }
        if let Some(receipts) = &self.receipts {
            writeln!(f, "  receipts    {}", receipts.line())?;
        }
        if let Some(broker) = &self.broker {
            writeln!(
                f,
                "  broker      {:.3} us CPU a delivery, {:.2} cores, memory {} at first, {} at most",
                broker.cpu_us_per_delivery,
                broker.cores,
                kib(broker.rss_before_kib),
                kib(broker.rss_peak_kib)
            )?;
        }
        tool(f, self.tool_cores)?;
        writeln!(
            f,
            "  checked     {} lost, {} twice, {} out of order",
            grouped(self.faults.lost),
            grouped(self.faults.duplicates),
            grouped(self.faults.reordered)
        )?;
        if self.unreceipted > 0 {
            writeln!(f, "  receipts    {} never came", grouped(self.unreceipted))?;
        }
        troubles(f, &self.troubles)
    }
}

impl Load {
    /// What was asked of the broker, in words.
    fn work(&self) -> String {
        let counted = |count: u64, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{} {what}s", grouped(count)),
        };
        let mut parts = vec![
            format!(
                "{} -> {} -> {}",
                counted(self.publishers as u64, "publisher"),
                counted(self.destinations as u64, "destination"),
                counted(self.subscribers as u64, "subscriber")
            ),
            counted(self.size as u64, "octet"),
        ];
        match (self.rate, self.window) {
            (Some(rate), _) => parts.push(format!("{} messages/s", grouped(rate))),
            (None, Some(window)) => parts.push(format!("window {}", grouped(window))),
            (None, None) => {}
        }
        if self.persistent {
            parts.push("persistent, with receipts".to_string());
        }
        let beside = [
            (self.stuck as u64, "stuck reader"),
            (self.idle as u64, "idle neighbour"),
            (self.others as u64, "other subscription"),
            (self.patterns as u64, "foreign pattern"),
            (self.hot as u64, "hot publisher"),
            (self.backlog, "message before"),
        ];
        let beside = beside.iter().filter(|(count, _)| *count > 0);
        parts.extend(beside.map(|(count, what)| match *what {
            "message before" => format!("{} messages in the queue before", grouped(*count)),
            _ => counted(*count, what),
        }));
        parts.push(format!("{:.1} s measured", self.seconds));
        parts.join(", ")
    }
}

impl fmt::Display for Visits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {} ({})", self.scenario.0, self.url, self.server)?;
        row(f, "connections", self.connections, self.connections_per_second)?;
        if let Some(latency) = &self.latency {
            writeln!(f, "  each took   {}", latency.line())?;
        }
        match &self.broker {
            Some(broker) => {
                write!(f, "  broker      {:.1} us CPU each", broker.cpu_us_per_connection)?;
                if let Some(each) = broker.kib_per_connection {
                    write!(f, ", {each:.2} KiB each")?;
                }
                writeln!(
                    f,
                    ", memory {} before, {} after",
                    kib(broker.rss_before_kib),
                    kib(broker.rss_after_kib)
                )?;
            }
            None => writeln!(f, "  broker      give its --pid to see what each costs")?,
        }
        tool(f, self.tool_cores)?;
        troubles(f, &self.troubles)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, count: u64, rate: f64) -> fmt::Result {
    let (count, rate) = (grouped(count), grouped(rate.round() as u64));
    writeln!(f, "  {name:<11} {count:>13} {rate:>13} /s")
}

/// The load tool has one core; near that it measures itself.
fn tool(f: &mut fmt::Formatter<'_>, cores: f64) -> fmt::Result {
    let remark = match cores > 0.95 {
        true => ": it may be what limits the rate",
        false => "",
    };
    writeln!(f, "  this tool   {cores:.2} of its one core{remark}")
}

fn troubles(f: &mut fmt::Formatter<'_>, troubles: &[String]) -> fmt::Result {
    troubles
        .iter()
        .try_for_each(|trouble| writeln!(f, "  trouble     {trouble}"))
}
