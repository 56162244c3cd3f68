//! A broker with 512 MiB and publishers that never stop.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::plain::until;
use crate::process::{Broker, Launch};
use crate::wire::Wire;
use crate::{Folder, Outcome, Plan};

const LIMIT: u64 = 512 << 20;
/// Of the limit, in percent, that may be resident.
const RESIDENT: u64 = 85;
/// Of the throughput without load, in percent, that the unrelated topic keeps.
const KEPT: u64 = 50;
const PUBLISHERS: usize = 4;

/// What publishers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// 256 octets, every second one persistent, to ten queues.
    Small,
    /// 1 MiB, every second one persistent, to ten queues.
    Large,
    /// 256 octets to a hundred thousand queues.
    Many,
}

impl Shape {
    fn body(self) -> usize {
        if self == Shape::Large {
            1 << 20
        } else {
            256
        }
    }

    fn queues(self) -> usize {
        if self == Shape::Many {
            100_000
        } else {
            10
        }
    }
}

/// A memory limit around a process; gone with this.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    /// `None` if this machine lets us make none.
    fn new() -> Option<Group> {
        let name = format!("hoofbeat-{}", std::process::id());
        for (root, file) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let folder = Path::new(root).join(&name);
            if !Path::new(root).is_dir() || fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Group(folder);
            if fs::write(group.0.join(file), LIMIT.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }

    /// Starts `launch` inside.
    fn hold(&self, mut launch: Launch) -> Launch {
        let procs = self.0.join("cgroup.procs").display().to_string();
        let enter = ["sh", "-c", "echo $$ > \"$0\" && exec \"$@\"", &procs].map(str::to_owned);
        launch.program.splice(0..0, enter);
        launch
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel lets go of the group a moment after its last process.
        let gone = || Ok(fs::remove_dir(&self.0).is_ok());
        let _ = until("the end of the memory group", Duration::from_secs(5), gone);
    }
}

pub fn run(plan: &Plan) -> Outcome<String> {
    let Some(group) = Group::new() else {
        return Ok("SKIPPED: cannot make a memory cgroup here (are we root?)".to_owned());
    };
    let mut figures = Vec::new();
    for shape in [Shape::Small, Shape::Large, Shape::Many] {
        let name = format!("{shape:?}").to_lowercase();
        let figure = one(plan, &group, shape, &name).map_err(|why| format!("{name}: {why}"))?;
        println!("  memory, {name}: {figure}");
        figures.push(name);
    }
    Ok(format!("{} in {} MiB", figures.join(", "), LIMIT >> 20))
}

fn one(plan: &Plan, group: &Group, shape: Shape, name: &str) -> Outcome<String> {
    let folder = Folder::new(plan, name)?;
    let data = folder.data.display().to_string();
    // No limit is set: the defaults have to fit.
    let options = ["--data", &data, "--set", "session.heart_beat=500ms,500ms"];
    let launch = group.hold(Launch::new(&plan.broker, &options, folder.log.clone()));
    let mut broker = launch.start()?;
    let seconds = if plan.long { 120 } else { 20 };
    let alone = topic(broker.tcp, Duration::from_secs(5))?;
    let load = Load::default();
    let seen = watch(&mut broker, shape, Duration::from_secs(seconds), &load);
    if let Some(panic) = launch.panicked() {
        return Err(panic);
    }
    let stats = seen.stats?;
    let (beside, blocked) = (seen.beside?, seen.blocked?);
    let number = |path: &str| stats.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let kept = beside * 100 / alone.max(1);
    let percent = seen.peak * 100 / LIMIT;
    let figure = format!(
        "{} sent, {} SENDs waited, {} queues, {} MiB counted; resident {} MiB at most, {percent} % of the limit; the topic \
         {alone}/s alone and {beside}/s beside it, {kept} %; {blocked}",
        load.sent.load(Ordering::Relaxed),
        number("/broker/counters/blocked"),
        number("/broker/sizes/queues"),
        number("/broker/sizes/message_octets") >> 20,
        seen.peak >> 20,
    );
    match (percent > RESIDENT, kept < KEPT) {
        (false, false) => Ok(figure),
        _ => Err(figure),
    }
}

/// What was seen under load.
struct Seen {
    /// Octets resident at most.
    peak: u64,
    beside: Outcome<u64>,
    blocked: Outcome<String>,
    stats: Outcome<serde_json::Value>,
}

/// Lets the publishers loose for `time`, and then ends the broker: who is blocked would wait for it.
fn watch(broker: &mut Broker, shape: Shape, time: Duration, load: &Load) -> Seen {
    let address = broker.tcp;
    thread::scope(|scope| {
        for number in 0..PUBLISHERS {
            scope.spawn(move || flood(address, shape, number, load));
        }
        let blocked = scope.spawn(move || heart_beats(address, shape, load, time));
        let beside = scope.spawn(move || {
            // When the publishers have come as far as they get.
            thread::sleep(time / 2);
            topic(address, time / 2)
        });
        let mut peak = 0;
        let end = Instant::now() + time;
        while Instant::now() < end {
            match broker.memory("VmRSS") {
                Ok(kib) => peak = peak.max(kib << 10),
                Err(_) => break,
            }
            thread::sleep(Duration::from_millis(100));
        }
        let panicked = || "a thread of the test panicked".to_owned();
        let beside = beside.join().unwrap_or_else(|_| Err(panicked()));
        load.over.store(true, Ordering::SeqCst);
        let blocked = blocked.join().unwrap_or_else(|_| Err(panicked()));
        let stats = match broker.is_alive() {
            true => broker.stats(),
            false => Err("the broker died".to_owned()),
        };
        let _ = broker.kill();
        Seen {
            peak,
            beside,
            blocked,
            stats,
        }
    })
}

/// What the publishers share.
#[derive(Debug, Default)]
struct Load {
    over: AtomicBool,
    sent: AtomicU64,
}

/// Sends without ever waiting for an answer, again when cut.
fn flood(address: SocketAddr, shape: Shape, number: usize, load: &Load) {
    let body = "x".repeat(shape.body());
    let mut at = number;
    while !load.over.load(Ordering::SeqCst) {
        let Ok(mut wire) = Wire::connect(address) else {
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        loop {
            let queue = at % shape.queues();
            let persistent = if (at / PUBLISHERS).is_multiple_of(2) {
                "persistent:true\n"
            } else {
                ""
            };
            at += PUBLISHERS;
            let frame = format!("SEND\ndestination:/queue/load.{queue}\n{persistent}\n{body}\0");
            // Its write deadline is longer than the broker's for who is blocked.
            if wire.write(frame.as_bytes()).is_err() || load.over.load(Ordering::SeqCst) {
                break;
            }
            load.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A publisher that beats, is blocked, and must neither be cut as silent nor miss the broker's beats.
fn heart_beats(address: SocketAddr, shape: Shape, load: &Load, time: Duration) -> Outcome<String> {
    // The others fill the queues first.
    thread::sleep(time / 4);
    let mut wire = Wire::connect_with(address, "heart-beat:500,500\n")?;
    wire.deadlines(Duration::from_millis(250))?;
    let body = "x".repeat(shape.body());
    let frame = format!("SEND\ndestination:/queue/load.0\nreceipt:beat\n\n{body}\0");
    let begun = Instant::now();
    let (mut receipts, mut waits) = (0_u64, 0_u64);
    let mut unsent: Vec<u8> = Vec::new();
    while begun.elapsed() < time / 2 && !load.over.load(Ordering::SeqCst) {
        if unsent.is_empty() {
            unsent.extend_from_slice(b"\n");
            unsent.extend_from_slice(frame.as_bytes());
        }
        waits += u64::from(!wire.write_some(&mut unsent)?);
        for frame in wire.frames_now()? {
            match frame.command.as_str() {
                "RECEIPT" => receipts += 1,
                // What may end it is the deadline for who waits for room, and that is said.
                "ERROR" if matches!(frame.value("code"), Some(b"queue-full" | b"memory-full")) => {
                    return Ok(format!("a publisher with heart-beats was told: {}", frame.show()));
                }
                _ => return Err(format!("a blocked publisher got {}", frame.show())),
            }
        }
    }
    if wire.beats * 2 < begun.elapsed().as_secs() {
        return Err(format!(
            "a blocked publisher got {} beats of 500 ms in {} s",
            wire.beats,
            begun.elapsed().as_secs()
        ));
    }
    Ok(format!(
        "a publisher with heart-beats of 500 ms got {receipts} RECEIPTs, {} beats, could not write {waits} times, and stayed",
        wire.beats
    ))
}

/// Messages a second through a topic: one publisher with a window, one subscriber.
fn topic(address: SocketAddr, time: Duration) -> Outcome<u64> {
    const WINDOW: usize = 200;
    let mut wire = Wire::connect(address)?;
    wire.write(b"SUBSCRIBE\nid:1\ndestination:/topic/unrelated\n\n\0")?;
    let frame = format!("SEND\ndestination:/topic/unrelated\n\n{}\0", "x".repeat(256));
    wire.write(frame.repeat(WINDOW).as_bytes())?;
    let begun = Instant::now();
    let mut got = 0;
    while begun.elapsed() < time {
        let frames = wire.frames()?;
        if frames.is_empty() {
            return Err("the unrelated topic's client was cut".to_owned());
        }
        if let Some(error) = frames.iter().find(|frame| frame.command == "ERROR") {
            return Err(format!("the unrelated topic's client got {}", error.show()));
        }
        got += frames.len();
        wire.write(frame.repeat(frames.len()).as_bytes())?;
    }
    Ok((got as u128 * 1_000 / begun.elapsed().as_millis().max(1)) as u64)
}
