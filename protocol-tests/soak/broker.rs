//! The broker under test, looked at from outside.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, Instant};

use crate::Outcome;

/// A running broker; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    pub websocket: SocketAddr,
    pub tcp: SocketAddr,
}

impl Broker {
    /// Starts `binary` on free loopback ports with these options (`section.key=value`).
    pub fn start(binary: &str, options: &[&str]) -> Outcome<Broker> {
        let mut command = Command::new(binary);
        command.args([
            "--websocket",
            "127.0.0.1:0",
            "--tcp",
            "127.0.0.1:0",
            "--log",
            "warn",
            "--ephemeral",
        ]);
        for option in options {
            command.args(["--set", option]);
        }
        // A configuration file in the current directory must not change what is measured.
        command.current_dir(std::env::temp_dir()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot start {binary}: {error}"))?;
        match listening(&mut child) {
            Some((websocket, tcp)) => Ok(Broker { child, websocket, tcp }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("{binary} did not say where it listens"))
            }
        }
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    /// Resident memory in KiB.
    pub fn rss(&self) -> Outcome<u64> {
        let path = self.proc("status");
        let status = fs::read_to_string(&path).map_err(|error| format!("the broker is gone: {path}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .ok_or_else(|| format!("no VmRSS in {path}"))
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> Outcome<usize> {
        let path = self.proc("fd");
        let entries = fs::read_dir(&path).map_err(|error| format!("the broker is gone: {path}: {error}"))?;
        Ok(entries.count())
    }

    /// Waits until as many descriptors are open as `before`: a closed connection is given back a moment later.
    pub async fn until_descriptors(&self, before: usize) -> Outcome<()> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let now = self.descriptors()?;
            if now == before {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(format!("{before} descriptors before, {now} after"));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What `/stats` says.
    pub async fn stats(&self) -> Outcome<Stats> {
        let answer = async {
            let mut socket = TcpStream::connect(self.websocket).await?;
            let request = b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            socket.write_all(request).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = answer.await.map_err(|error| format!("/stats: {error}"))?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        let parsed = body.and_then(|body| serde_json::from_str(body).ok());
        parsed.map(Stats).ok_or_else(|| format!("/stats answered {answer:?}"))
    }

    /// Waits until `done` says so of the stats. After `patience` the error tells what it said last.
    pub async fn until(&self, patience: Duration, done: impl Fn(&Stats) -> Outcome<()>) -> Outcome<Stats> {
        let end = Instant::now() + patience;
        loop {
            let stats = self.stats().await?;
            match done(&stats) {
                Ok(()) => return Ok(stats),
                Err(not) if Instant::now() >= end => {
                    return Err(format!("{not}, still after {} s", patience.as_secs()))
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads where it listens: `listening on ws://127.0.0.1:46327/ws`, and the same for tcp.
fn listening(child: &mut Child) -> Option<(SocketAddr, SocketAddr)> {
    let lines = BufReader::new(child.stdout.take()?).lines();
    let (mut websocket, mut tcp) = (None, None);
    for line in lines.map_while(Result::ok) {
        let Some(url) = line.strip_prefix("listening on ") else {
            continue;
        };
        if let Some(rest) = url.strip_prefix("ws://") {
            websocket = rest.split('/').next().and_then(|address| address.parse().ok());
        }
        if let Some(rest) = url.strip_prefix("tcp://") {
            tcp = rest.parse().ok();
        }
        if let (Some(websocket), Some(tcp)) = (websocket, tcp) {
            return Some((websocket, tcp));
        }
    }
    None
}

/// The document at `/stats`.
#[derive(Clone, Debug)]
pub struct Stats(Value);

impl Stats {
    /// A number by its path, such as `/broker/sizes/queues`; 0 if it is not there.
    pub fn number(&self, path: &str) -> u64 {
        self.0.pointer(path).and_then(Value::as_u64).unwrap_or_default()
    }

    /// Everything that must come back to what it was: registry sizes, connections and tasks.
    pub fn registries(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let sizes = self.0.pointer("/broker/sizes").and_then(Value::as_object);
        for (name, value) in sizes.into_iter().flatten() {
            found.push((name.clone(), value.as_u64().unwrap_or_default()));
        }
        for name in ["connections", "sessions", "tasks"] {
            found.push((format!("server {name}"), self.number(&format!("/server/{name}"))));
        }
        found
    }

    /// The reasons for which sessions ended, both transports together.
    pub fn closed(&self) -> String {
        let mut all = std::collections::BTreeMap::<&str, u64>::new();
        for link in ["websocket", "tcp"] {
            let reasons = self.0.pointer(&format!("/server/{link}/closed"));
            for (reason, count) in reasons.and_then(Value::as_object).into_iter().flatten() {
                *all.entry(reason).or_default() += count.as_u64().unwrap_or_default();
            }
        }
        let shown: Vec<String> = all.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        shown.join(", ")
    }
}
