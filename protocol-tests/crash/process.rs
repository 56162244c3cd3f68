//! The broker under test: a process that is started, looked at, stopped and killed.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;

/// Longer than any start; only for a broker that hangs.
const START: Duration = Duration::from_secs(120);

/// How to start it.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program and what comes before the broker's own arguments.
    pub program: Vec<String>,
    /// The broker's arguments.
    pub arguments: Vec<String>,
    /// Where its standard error goes.
    pub log: PathBuf,
}

impl Launch {
    /// `binary` on free loopback ports, with `arguments`; it logs into `log`.
    pub fn new(binary: &str, arguments: &[&str], log: PathBuf) -> Launch {
        let ports = ["--websocket", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "--log", "warn"];
        let arguments = ports.iter().chain(arguments).map(ToString::to_string).collect();
        Launch {
            program: vec![binary.to_owned()],
            arguments,
            log,
        }
    }

    fn spawn(&self, stdout: Stdio) -> Outcome<Child> {
        let open = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = open.map_err(|error| format!("{}: {error}", self.log.display()))?;
        let (program, before) = self.program.split_first().ok_or("no program")?;
        let mut command = Command::new(program);
        // A configuration file in the current folder must not change what is measured.
        command
            .args(before)
            .args(&self.arguments)
            .current_dir(std::env::temp_dir());
        command.stdin(Stdio::null()).stdout(stdout).stderr(log);
        command
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))
    }

    /// Starts it and waits until it says where it listens.
    pub fn start(&self) -> Outcome<Broker> {
        let begun = Instant::now();
        let mut child = self.spawn(Stdio::piped())?;
        let stdout = child.stdout.take();
        let (tell, told) = mpsc::channel();
        let reader = std::thread::spawn(move || tell.send(stdout.and_then(listening)));
        let found = told.recv_timeout(START).ok().flatten();
        let Some((http, tcp)) = found else {
            let _ = child.kill();
            let status = child.wait();
            return Err(format!("the broker did not start: {status:?}: {}", self.last_words()));
        };
        let _ = reader.join();
        Ok(Broker {
            child,
            http,
            tcp,
            begun,
            listening_after: begun.elapsed(),
        })
    }

    /// Starts it and kills it after `time`, however far it has come.
    pub fn start_and_kill(&self, time: Duration) -> Outcome<()> {
        let mut child = self.spawn(Stdio::null())?;
        std::thread::sleep(time);
        child.kill().map_err(|error| format!("cannot kill: {error}"))?;
        child.wait().map(drop).map_err(|error| format!("cannot wait: {error}"))
    }

    /// Starts it although it should not be able to; what it says, and its exit code.
    pub fn refused(&self) -> Outcome<(Option<i32>, String)> {
        let before = self.said().len();
        let mut child = self.spawn(Stdio::null())?;
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let ended = child.try_wait().map_err(|error| format!("cannot wait: {error}"))?;
            if let Some(status) = ended {
                let said = self.said();
                return Ok((status.code(), said.get(before..).unwrap_or_default().trim().to_owned()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        Err("it started".to_owned())
    }

    /// Everything it has logged.
    pub fn said(&self) -> String {
        let mut octets = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| log.read_to_end(&mut octets));
        read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&octets).into_owned())
    }

    fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }

    /// The first line of its log that tells of a panic.
    pub fn panicked(&self) -> Option<String> {
        let said = self.said();
        let mut lines = said.lines();
        let found = lines.find(|line| line.contains("panicked"))?.to_owned();
        Some(format!("{found} {}", lines.next().unwrap_or_default()))
    }
}

/// Reads where it listens: `listening on ws://127.0.0.1:46327/ws`, and the same for tcp.
fn listening(stdout: ChildStdout) -> Option<(SocketAddr, SocketAddr)> {
    let mut found = (None, None);
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Some(url) = line.strip_prefix("listening on ") else {
            continue;
        };
        if let Some(rest) = url.strip_prefix("ws://") {
            found.0 = rest.split('/').next().and_then(|address| address.parse().ok());
        }
        if let Some(rest) = url.strip_prefix("tcp://") {
            found.1 = rest.parse().ok();
        }
        if let (Some(http), Some(tcp)) = found {
            return Some((http, tcp));
        }
    }
    None
}

/// A running broker; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    pub http: SocketAddr,
    pub tcp: SocketAddr,
    /// When the process was started.
    pub begun: Instant,
    /// How long it took until it said where it listens.
    pub listening_after: Duration,
}

impl Broker {
    /// Sends it SIGKILL and waits for its end.
    pub fn kill(&mut self) -> Outcome<()> {
        self.child.kill().map_err(|error| format!("cannot kill: {error}"))?;
        self.child
            .wait()
            .map(drop)
            .map_err(|error| format!("cannot wait: {error}"))
    }

    /// Sends it another signal: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) -> Outcome<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("kill -s {name} {id}: {other:?}")),
        }
    }

    /// Sends SIGTERM and waits for a clean end.
    pub fn terminate(mut self) -> Outcome<()> {
        self.signal("TERM")?;
        let status = self.child.wait().map_err(|error| format!("cannot wait: {error}"))?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("after SIGTERM: {status}")),
        }
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A line of `/proc/ID/status` in KiB, such as `VmRSS`.
    pub fn memory(&self, name: &str) -> Outcome<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("the broker is gone: {error}"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .ok_or_else(|| format!("no {name} in {path}"))
    }

    /// What `/stats` says.
    pub fn stats(&self) -> Outcome<Value> {
        let ask = || {
            let mut socket = TcpStream::connect(self.http)?;
            socket.set_read_timeout(Some(Duration::from_secs(30)))?;
            socket.write_all(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = ask().map_err(|error| format!("/stats: {error}"))?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        let parsed = body.and_then(|body| serde_json::from_str(body).ok());
        parsed.ok_or_else(|| format!("/stats answered {answer:?}"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
