//! `kill -9` under load, again and again, on one data folder.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::ledger::{Stream, Tally};
use crate::load::{consume, drain, publish, subscribe, transact, Round, TOGETHER};
use crate::process::{Broker, Launch};
use crate::random::Random;
use crate::wire::Wire;
use crate::{Folder, Outcome, Plan};

const DESTINATIONS: [&str; 3] = ["/queue/crash.a", "/queue/crash.b", "/topic/crash.t"];
/// Streams of transactions have names with this letter.
const TRANSACTIONS: &str = "t";

/// What is kept of all rounds.
#[derive(Debug, Default)]
struct Figures {
    kills: usize,
    at_start: usize,
    stopped: usize,
    while_stopped: usize,
    restarts: Vec<Duration>,
}

/// How much, and whether the disk is to be harmed behind the broker's back.
#[derive(Clone, Copy, Debug)]
struct Size {
    kills: usize,
    receipted: u64,
    sabotage: bool,
}

/// Passes if nothing was lost.
pub fn run(plan: &Plan) -> Outcome<String> {
    let size = match plan.long {
        true => Size {
            kills: 300,
            receipted: 5_000_000,
            sabotage: false,
        },
        false => Size {
            kills: 20,
            receipted: 0,
            sabotage: false,
        },
    };
    let (total, complaints, text) = rounds(plan, size)?;
    match total.violations() {
        0 => Ok(text),
        _ => Err(format!("{text}\n    {}", complaints.join("\n    "))),
    }
}

/// Passes if a harmed log is found out: a test that cannot fail proves nothing.
pub fn sabotage(plan: &Plan) -> Outcome<String> {
    let size = Size {
        kills: 5,
        receipted: 0,
        sabotage: true,
    };
    let (mut lost, mut back) = (0, 0);
    let mut said = Vec::new();
    // What stands in the last octets is chance: in one go it may be nothing that was promised.
    for attempt in 0..6 {
        let seed = plan.seed.wrapping_add(attempt);
        let broker = plan.broker.clone();
        let (total, complaints, text) = rounds(&Plan { broker, seed, ..*plan }, size)?;
        (lost, back) = (lost + total.lost, back + total.back);
        if lost > 0 && back > 0 {
            let example = complaints.first().map_or("none", String::as_str);
            return Ok(format!(
                "the end of the log was cut off before each start: {lost} messages were missed and {back} were back, \
                 such as: {example}"
            ));
        }
        said.push(text);
    }
    Err(format!(
        "the end of the log was cut off and not all was noticed: {}",
        said.join("\n")
    ))
}

fn rounds(plan: &Plan, size: Size) -> Outcome<(Tally, Vec<String>, String)> {
    let folder = Folder::new(plan, if size.sabotage { "sabotage" } else { "kills" })?;
    let launch = launch(plan, &folder);
    let streams = streams();
    let mut random = Random::new(plan.seed);
    let mut figures = Figures::default();
    let begun = Instant::now();
    let mut number = 0;
    while figures.kills < size.kills || receipted(&streams) < size.receipted {
        number += 1;
        one(&launch, &streams, number, &mut random, &mut figures)?;
        if size.sabotage {
            cut_the_end(&folder.segments())?;
        }
        let total = total(&streams);
        // What is wrong already is not made better by going on.
        if total.violations() > 0 && !size.sabotage {
            break;
        }
        if plan.long && number % 20 == 0 {
            println!("  {} kills, {} receipted", figures.kills, total.receipted);
        }
    }
    let done = finish(&launch, &streams, &mut figures);
    let mut total = Tally::default();
    let mut complaints = Vec::new();
    for stream in &streams {
        let together = if stream.name.starts_with(TRANSACTIONS) {
            TOGETHER
        } else {
            1
        };
        total.add(&stream.judge(together));
        complaints.extend(stream.complaints());
    }
    if let Err(reason) = done {
        complaints.push(format!("at the end: {reason}"));
        total.other += 1;
    }
    if let Some(panic) = launch.panicked() {
        complaints.push(panic);
        total.other += 1;
    }
    let text = table(&total, &mut figures, begun.elapsed(), plan.seed);
    Ok((total, complaints, text))
}

fn launch(plan: &Plan, folder: &Folder) -> Launch {
    let data = folder.data.display().to_string();
    // Small segments, so that rotation and compaction are always under way.
    let options = [
        "--data",
        &data,
        "--set",
        "queue.delivery_limit=10000",
        "--set",
        "limits.unacknowledged=10000",
        "--set",
        "store.segment=256KiB",
    ];
    Launch::new(&plan.broker, &options, folder.log.clone())
}

/// Two publishers to each destination, and transactions over the two queues.
fn streams() -> Vec<Stream> {
    let mut streams = Vec::new();
    for destination in DESTINATIONS {
        streams.push(Stream::new("p1", destination));
        streams.push(Stream::new("p2", destination));
    }
    streams.push(Stream::new(TRANSACTIONS, DESTINATIONS[0]));
    streams.push(Stream::new(TRANSACTIONS, DESTINATIONS[1]));
    streams
}

fn total(streams: &[Stream]) -> Tally {
    let mut total = Tally::default();
    for stream in streams {
        total.add(&stream.tally());
    }
    total
}

fn receipted(streams: &[Stream]) -> u64 {
    total(streams).receipted
}

/// Starts, lets everybody work, kills.
fn one(launch: &Launch, streams: &[Stream], number: u16, random: &mut Random, figures: &mut Figures) -> Outcome<()> {
    while figures.kills > 0 && random.once_in(4) {
        launch.start_and_kill(Duration::from_micros(random.below(50_000)))?;
        figures.kills += 1;
        figures.at_start += 1;
    }
    let mut broker = launch.start()?;
    figures.restarts.push(broker.listening_after);
    if number == 1 {
        // From here on the subscription keeps what it misses.
        let mut wire = Wire::connect(broker.tcp)?;
        wire.ask(&subscribe(DESTINATIONS[2]), "subscribed", &mut Vec::new())?;
    }
    let round = Round {
        address: broker.tcp,
        number,
        killed: AtomicBool::new(false),
        receipts: AtomicU64::new(0),
    };
    let seed = random.next();
    let outcomes = thread::scope(|scope| {
        let mut threads = Vec::new();
        for stream in streams.iter().filter(|stream| stream.name != TRANSACTIONS) {
            let round = &round;
            threads.push(scope.spawn(move || publish(round, stream)));
        }
        threads.push(scope.spawn(|| transact(&round, [&streams[6], &streams[7]])));
        for (at, destination) in DESTINATIONS.into_iter().enumerate() {
            let (round, random) = (&round, Random::new(seed + at as u64));
            threads.push(scope.spawn(move || consume(round, destination, streams, random)));
        }
        let killed = kill(&mut broker, &round, random, figures);
        let outcomes: Vec<Outcome<()>> = threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("a thread of the test panicked".to_owned()))
            })
            .chain([killed])
            .collect();
        outcomes
    });
    for outcome in outcomes {
        if let Err(what) = outcome {
            streams[0].wrong(format!("round {number}: {what}"));
        }
    }
    Ok(())
}

/// Kills within 0.2 to 1.5 s of the first RECEIPT, sometimes around a time in which the broker is stopped.
fn kill(broker: &mut Broker, round: &Round, random: &mut Random, figures: &mut Figures) -> Outcome<()> {
    let patience = Instant::now() + Duration::from_secs(30);
    while round.receipts.load(Ordering::Relaxed) == 0 && Instant::now() < patience {
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(Duration::from_millis(200 + random.below(1_300)));
    if random.once_in(8) {
        broker.signal("STOP")?;
        thread::sleep(Duration::from_millis(300 + random.below(700)));
        if random.once_in(2) {
            figures.while_stopped += 1;
        } else {
            figures.stopped += 1;
            broker.signal("CONT")?;
            thread::sleep(Duration::from_millis(random.below(300)));
        }
    }
    let alive = broker.is_alive();
    round.killed.store(true, Ordering::SeqCst);
    figures.kills += 1;
    broker.kill()?;
    match alive {
        true => Ok(()),
        false => Err("the broker had ended by itself".to_owned()),
    }
}

/// Starts a last time and takes everything out. The last message of each stream is sent now: queues are handed out in
/// order, so when it has come, so has everything that was there.
fn finish(launch: &Launch, streams: &[Stream], figures: &mut Figures) -> Outcome<()> {
    let broker = launch.start()?;
    figures.restarts.push(broker.listening_after);
    let mut wire = Wire::connect(broker.tcp)?;
    let mut ends = Vec::new();
    for stream in streams {
        let first = stream.send(TOGETHER, u16::MAX);
        for number in first..first + TOGETHER {
            let (destination, body) = (stream.destination, stream.body(number));
            let frame = format!("SEND\ndestination:{destination}\npersistent:true\nreceipt:end\n\n{body}");
            wire.ask(&frame, "end", &mut Vec::new())?;
        }
        stream.receipted(first..first + TOGETHER);
        ends.push((stream, first + TOGETHER - 1));
    }
    for destination in DESTINATIONS {
        let of_it = ends.iter().filter(|(stream, _)| stream.destination == destination);
        let mut left: Vec<(&str, usize)> = of_it.map(|(stream, number)| (stream.name.as_str(), *number)).collect();
        drain(broker.tcp, destination, streams, |stream, number| {
            left.retain(|end| *end != (stream.name.as_str(), number));
            left.is_empty()
        })?;
    }
    broker.terminate()
}

/// Cuts the last 64 KiB that hold anything off the log: the newest segment may have little more than its header.
fn cut_the_end(folder: &Path) -> Outcome<()> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            segments.push(path);
        }
    }
    segments.sort();
    let mut left = 64 << 10;
    for path in segments.iter().rev() {
        if left == 0 {
            break;
        }
        let octets = fs::read(path).map_err(fail)?;
        let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        let cut = end.min(left);
        left -= cut;
        fs::write(path, &octets[..end - cut]).map_err(fail)?;
    }
    Ok(())
}

fn table(total: &Tally, figures: &mut Figures, time: Duration, seed: u64) -> String {
    figures.restarts.sort();
    let restarts = &figures.restarts;
    let middle = restarts.get(restarts.len() / 2).map_or(0, Duration::as_millis);
    let slowest = restarts.last().map_or(0, Duration::as_millis);
    let Figures {
        kills,
        at_start,
        stopped,
        while_stopped,
        ..
    } = figures;
    let rows = [
        ("kills", *kills as u64),
        ("  of them during the start", *at_start as u64),
        ("  after a SIGSTOP and SIGCONT", *stopped as u64),
        ("  while stopped", *while_stopped as u64),
        ("sent", total.sent),
        ("receipted", total.receipted),
        ("not receipted and there", total.unknown_kept),
        ("not receipted and not there", total.unknown_gone),
        ("delivered", total.delivered),
        ("  with redelivered:true", total.flagged),
        ("  that had come before", total.duplicates),
        ("ACKs", total.acked),
        ("  receipted", total.ack_receipted),
        ("  not receipted, and the message came again", total.unknown_ack_back),
        ("LOST: receipted and gone", total.lost),
        ("BACK: ACK receipted and there again", total.back),
        ("UNFLAGGED: came again without redelivered:true", total.unflagged),
        ("DISORDERED: overtaken among never-redelivered", total.disordered),
        ("OTHER", total.other),
    ];
    let mut text = format!(
        "seed {seed}, {} s; from start to listening {middle} ms in the middle, {slowest} ms at most",
        time.as_secs()
    );
    for (name, count) in rows {
        text += &format!("\n  {name:<48} {count:>10}");
    }
    text
}
