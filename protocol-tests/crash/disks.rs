//! Disks that are full, that cannot be written, and that changed what was written; and a folder that another uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use protocol_tests::frame::Frame;

use crate::ledger::{read, Stream};
use crate::load::drain;
use crate::plain::{fill, fill_until_refused, send_one, until, Sent};
use crate::process::Launch;
use crate::random::Random;
use crate::wire::{shown, Wire};
use crate::{Folder, Outcome, Plan};

const QUEUE: &str = "/queue/disk";

/// A file system in memory, of a size of our own; gone with this.
#[derive(Debug)]
struct Mount(PathBuf);

impl Mount {
    /// `None` if this machine lets us mount nothing.
    fn new(at: &Path, options: &str) -> Outcome<Option<Mount>> {
        fs::create_dir_all(at).map_err(|error| format!("{}: {error}", at.display()))?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        match command.output() {
            Ok(output) if output.status.success() => Ok(Some(Mount(at.to_owned()))),
            _ => Ok(None),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

const SKIPPED: &str = "SKIPPED: cannot mount a tmpfs here (are we root?)";

/// A full disk: persistent messages are refused, everything else goes on, and when there is room again, so do they.
pub fn full(plan: &Plan) -> Outcome<String> {
    let folder = Folder::new(plan, "full")?;
    let Some(mount) = Mount::new(&folder.data, "size=48m")? else {
        return Ok(SKIPPED.to_owned());
    };
    let filler = mount.0.join("filler");
    fs::write(&filler, vec![1; 16 << 20]).map_err(|error| format!("cannot fill the disk: {error}"))?;
    let data = mount.0.join("store").display().to_string();
    let options = [
        "--data",
        &data,
        "--set",
        "store.segment=1MiB",
        "--set",
        "queue.delivery_limit=0",
    ];
    let launch = Launch::new(&plan.broker, &options, folder.log.clone());
    let broker = launch.start()?;

    let streams = [Stream::new("p1", QUEUE)];
    let [stream] = &streams;
    let refused = fill_until_refused(broker.tcp, stream, 1_000_000)?.ok_or("32 MiB took a million messages")?;
    expect_not_stored(&refused)?;
    let stored = stream.tally().receipted;
    // What needs no disk, and what takes from it, goes on.
    for (destination, headers) in [("/queue/transient", ""), ("/topic/nobody", "persistent:true\n")] {
        if let Sent::Refused(error) = send_one(broker.tcp, destination, headers, "still taken")? {
            return Err(format!(
                "with a full disk, a SEND to {destination} was refused: {}",
                error.show()
            ));
        }
    }
    consume_some(broker.tcp, stream, 1_000)?;
    // Room comes back.
    fs::remove_file(&filler).map_err(|error| error.to_string())?;
    let recovered = until("SENDs after the disk has room again", Duration::from_secs(60), || {
        let first = stream.send(1, 1);
        match send_one(broker.tcp, QUEUE, "persistent:true\n", &stream.body(first))? {
            Sent::Receipted => {
                stream.receipted([first]);
                Ok(true)
            }
            Sent::Refused(error) => expect_not_stored(&error).map(|()| false),
        }
    })?;
    fill(broker.tcp, stream, 1_000)?;
    drop(broker);
    empty(&launch, &streams)?;
    Ok(format!(
        "{stored} messages until not-stored; transient SENDs, MESSAGEs and ACKs went on; taken again {} ms after there was \
         room; nothing receipted was lost",
        recovered.as_millis()
    ))
}

fn expect_not_stored(error: &Frame) -> Outcome<()> {
    match error.value("code") {
        Some(b"not-stored") => Ok(()),
        _ => Err(format!("expected ERROR not-stored, got {}", error.show())),
    }
}

/// Consumes and acknowledges `count` messages of the queue; RECEIPTs of the ACKs count when they come, and must not be
/// waited for while the disk is unwell.
fn consume_some(address: std::net::SocketAddr, stream: &Stream, count: usize) -> Outcome<()> {
    let mut wire = Wire::connect(address)?;
    let subscribe = format!("SUBSCRIBE\nid:1\ndestination:{QUEUE}\nack:client-individual\n\n\0");
    wire.write(subscribe.as_bytes())?;
    let mut taken = 0;
    while taken < count {
        let frames = wire.frames()?;
        if frames.is_empty() {
            return Err(format!("the consumer was cut after {taken} messages"));
        }
        let mut answer = String::new();
        for frame in frames {
            if frame.command != "MESSAGE" {
                return Err(format!("with a full disk, a consumer got {}", frame.show()));
            }
            let (_, number) = read(std::slice::from_ref(stream), QUEUE, &frame.body)?;
            stream.delivered(number, frame.value("redelivered") == Some(b"true"));
            stream.acked(number);
            let ack = frame.value("ack").map(String::from_utf8_lossy).unwrap_or_default();
            answer += &format!("ACK\nid:{ack}\n\n\0");
            taken += 1;
        }
        wire.write(answer.as_bytes())?;
    }
    Ok(())
}

/// Starts once more, takes everything out, and compares.
fn empty(launch: &Launch, streams: &[Stream; 1]) -> Outcome<()> {
    let broker = launch.start()?;
    let [stream] = streams;
    let last = stream.send(1, 2);
    if let Sent::Refused(error) = send_one(broker.tcp, QUEUE, "persistent:true\n", &stream.body(last))? {
        return Err(format!("after a restart a SEND was refused: {}", error.show()));
    }
    stream.receipted([last]);
    drain(broker.tcp, QUEUE, streams, |_, number| number == last)?;
    let total = stream.judge(1);
    if let Some(panic) = launch.panicked() {
        return Err(panic);
    }
    match total.violations() {
        0 => Ok(()),
        _ => Err(stream.complaints().join("; ")),
    }
}

/// A folder that cannot be written: no start, and words that name it.
pub fn read_only(plan: &Plan) -> Outcome<String> {
    let folder = Folder::new(plan, "read-only")?;
    let Some(_mount) = Mount::new(&folder.data, "size=4m,ro")? else {
        return Ok(SKIPPED.to_owned());
    };
    let data = folder.data.display().to_string();
    let launch = Launch::new(&plan.broker, &["--data", &data], folder.log.clone());
    let (code, said) = launch.refused()?;
    match code {
        Some(1 | 2) if said.contains(&data) && !said.contains("panicked") => Ok(said.replace('\n', " | ")),
        _ => Err(format!("exit code {code:?}: {said}")),
    }
}

/// A second process on the same folder: refused in words, and the first goes on.
pub fn second(plan: &Plan) -> Outcome<String> {
    let folder = Folder::new(plan, "second")?;
    let data = folder.data.display().to_string();
    let launch = Launch::new(&plan.broker, &["--data", &data], folder.log.clone());
    let broker = launch.start()?;
    let (code, said) = launch.refused()?;
    if !matches!(code, Some(1 | 2)) || !said.contains(&data) || said.contains("panicked") {
        return Err(format!("exit code {code:?}: {said}"));
    }
    let stream = Stream::new("p1", QUEUE);
    fill(broker.tcp, &stream, 10)?;
    Ok(said.replace('\n', " | "))
}

/// Flipped bits and cut files: never a panic, nothing but what was sent comes out, and what is missing is told.
pub fn damage(plan: &Plan) -> Outcome<String> {
    let samples = if plan.long { 150 } else { 12 };
    let folder = Folder::new(plan, "damage")?;
    let data = folder.data.display().to_string();
    let options = ["--data", &data, "--set", "store.segment=64KiB"];
    let launch = Launch::new(&plan.broker, &options, folder.log.clone());
    let mut broker = launch.start()?;
    let count = 2_000;
    let whole = Stream::new("p1", QUEUE);
    fill(broker.tcp, &whole, count)?;
    broker.kill()?;
    let original = files(&folder.segments())?;

    let mut random = Random::new(plan.seed);
    let (mut short, mut refused) = (0, 0);
    for sample in 0..samples {
        let what = harm(&folder.segments(), &original, &mut random)?;
        let fresh = Launch {
            log: folder.log.with_extension(sample.to_string()),
            ..launch.clone()
        };
        match look(&fresh, count).map_err(|why| format!("{what}: {why}"))? {
            Some(found) if found < count => short += 1,
            Some(_) => {}
            None => refused += 1,
        }
    }
    Ok(format!(
        "{samples} samples of {count} messages in {} files: {} whole, {short} with something missing and told, \
         {refused} refused at the start in words",
        original.len(),
        samples - short - refused
    ))
}

type Files = Vec<(PathBuf, Vec<u8>)>;

fn files(folder: &Path) -> Outcome<Files> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)?.flatten() {
        if entry.path().is_file() {
            found.push((entry.path(), fs::read(entry.path()).map_err(fail)?));
        }
    }
    found.sort();
    Ok(found)
}

/// Puts the folder back as it was, but for one bit or the end of one file; which.
fn harm(folder: &Path, original: &Files, random: &mut Random) -> Outcome<String> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::remove_dir_all(folder).map_err(fail)?;
    fs::create_dir_all(folder).map_err(fail)?;
    let candidates: Vec<usize> = (0..original.len()).filter(|at| !original[*at].1.is_empty()).collect();
    let victim = random.one_of(&candidates);
    let mut what = String::new();
    for (at, (path, octets)) in original.iter().enumerate() {
        let mut octets = octets.clone();
        if at == victim {
            let place = random.below(octets.len() as u64) as usize;
            if random.once_in(5) {
                octets.truncate(place);
                what = format!("{} cut to {place} octets", path.display());
            } else {
                let bit = random.below(8);
                octets[place] ^= 1 << bit;
                what = format!("bit {bit} of octet {place} of {} flipped", path.display());
            }
        }
        fs::write(path, octets).map_err(fail)?;
    }
    Ok(what)
}

/// Starts on the harmed folder and takes out what is there: how many messages, or `None` if it refused to start.
fn look(launch: &Launch, count: usize) -> Outcome<Option<usize>> {
    let broker = match launch.start() {
        Ok(broker) => broker,
        Err(_) if launch.said().contains("error") && launch.panicked().is_none() => return Ok(None),
        Err(why) => return Err(why),
    };
    let streams = [Stream::new("p1", QUEUE)];
    let [stream] = &streams;
    stream.send(count, 0);
    stream.receipted(0..count);
    let last = stream.send(1, 1);
    match send_one(broker.tcp, QUEUE, "persistent:true\n", &stream.body(last))? {
        Sent::Receipted => stream.receipted([last]),
        Sent::Refused(error) => return Err(format!("a new message was refused: {}", shown(Some(&error)))),
    }
    drain(broker.tcp, QUEUE, &streams, |_, number| number == last)?;
    let total = stream.judge(1);
    if let Some(panic) = launch.panicked() {
        return Err(panic);
    }
    let said = launch.said();
    match total.lost {
        0 => {}
        _ if said.to_lowercase().contains("damage") || said.contains("torn") => {}
        lost => {
            return Err(format!(
                "{lost} messages are missing and the log says nothing of it: {said:?}"
            ))
        }
    }
    match total.violations() - total.lost {
        0 => Ok(Some(count - total.lost as usize)),
        _ => Err(stream.complaints().join("; ")),
    }
}
