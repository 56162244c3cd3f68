//! Clients that begin a CONNECT and do not end it: what each costs, and when it is gone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use protocol_tests::websocket::{frame, BINARY, TEXT};
use tokio::task::JoinSet;
use tokio::time::{sleep, Instant};

use crate::broker::Broker;
use crate::client::{shown, Client, Link};
use crate::{Outcome, Plan};

/// KiB of RSS that one may cost.
const MOST: f64 = 24.0;
const AT_ONCE: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);
const MASK: [u8; 4] = [1, 2, 3, 4];

/// What a client is told that does not finish its CONNECT.
const LATE: &str = "connect-timeout";

/// A way to begin a CONNECT: what is written after the transport has been opened.
struct Shape {
    name: &'static str,
    link: Link,
    octets: Vec<u8>,
    /// The ERROR's code: by the deadline, or at once if it is known at once.
    code: &'static str,
}

pub async fn run(plan: Plan) -> Outcome<String> {
    // Ten thousand take longer to open than three seconds on a small machine.
    let (connections, deadline) = if plan.long { (10_000, 10) } else { (2_000, 3) };
    if crate::cycles::descriptor_limit()? < connections + 500 {
        return Err(format!(
            "{connections} connections need a higher limit of descriptors (ulimit -n)"
        ));
    }
    let mut figures = Vec::new();
    for shape in shapes() {
        let name = shape.name;
        let figure = one(plan, shape, connections, deadline).await;
        let figure = format!("{name}: {}", figure.map_err(|reason| format!("{name}: {reason}"))?);
        eprintln!("half-sent: {figure}");
        figures.push(figure);
    }
    Ok(format!(
        "{connections} connections of each shape, deadline {deadline} s: {}",
        figures.join("; ")
    ))
}

fn shapes() -> Vec<Shape> {
    let head = long_head();
    let shape = |name, link, octets| Shape {
        name,
        link,
        octets,
        code: LATE,
    };
    vec![
        shape(
            "message of 16 KiB announced, 50 octets sent",
            Link::WebSocket,
            announced(16 << 10, &head[..50]),
        ),
        Shape {
            code: "frame-too-large",
            ..shape(
                "message of 4 MiB announced, 50 octets sent",
                Link::WebSocket,
                announced(4 << 20, &head[..50]),
            )
        },
        shape(
            "message of 16 KiB announced, all but 100 octets sent",
            Link::WebSocket,
            announced(16 << 10, &head),
        ),
        shape(
            "head without end in one message",
            Link::WebSocket,
            frame(TEXT, true, &head, Some(MASK)),
        ),
        shape(
            "head without end in messages of 10 octets",
            Link::WebSocket,
            in_pieces(&head),
        ),
        shape("TCP, head without end", Link::Tcp, head),
        shape("TCP, one octet", Link::Tcp, b"C".to_vec()),
    ]
}

/// A head that almost fills what a client may send before CONNECT.
fn long_head() -> Vec<u8> {
    let mut head = b"CONNECT\naccept-version:1.2\nhost:soak\n".to_vec();
    for letter in "abcd".chars() {
        let line = format!("{letter}:{}\n", "x".repeat(4_000));
        head.extend_from_slice(line.as_bytes());
    }
    head.resize((16 << 10) - 100, b'x');
    head
}

/// The header of a WebSocket message of `length` octets, and the first of them.
fn announced(length: usize, sent: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x80 | BINARY, 0x80 | 127];
    octets.extend_from_slice(&(length as u64).to_be_bytes());
    octets.extend_from_slice(&MASK);
    octets.extend(sent.iter().zip(MASK.iter().cycle()).map(|(octet, key)| octet ^ key));
    octets
}

fn in_pieces(octets: &[u8]) -> Vec<u8> {
    octets
        .chunks(10)
        .flat_map(|piece| frame(BINARY, true, piece, Some(MASK)))
        .collect()
}

/// Opens `connections` of this shape, and waits until the broker has cut them all.
async fn one(plan: Plan, shape: Shape, connections: usize, deadline: u64) -> Outcome<String> {
    let option = format!("session.connect_timeout={deadline}s");
    let broker = Arc::new(Broker::start(plan.broker, &[&option])?);
    let start = broker.rss()?;
    let neighbour = Arc::new(Neighbour::default());
    let connecting = tokio::spawn(neighbour.clone().connect_again_and_again(broker.clone()));

    let began = Instant::now();
    let code = shape.code;
    let mut open = open(&broker, shape, connections).await?;
    let opened = began.elapsed();
    let there = broker.stats().await?.number("/server/sessions");
    let each = (broker.rss()?.saturating_sub(start)) as f64 / connections as f64;
    let gone = |stats: &crate::broker::Stats| match stats.number("/server/sessions") {
        // The neighbour may be there.
        0 | 1 => Ok(()),
        sessions => Err(format!("{sessions} sessions are left")),
    };
    broker.until(PATIENCE, gone).await?;
    let lasted = began.elapsed();
    neighbour.over.store(true, Ordering::Relaxed);
    let slowest = connecting.await.map_err(|error| error.to_string())??;

    if there < connections as u64 && code == LATE {
        return Err(format!(
            "only {there} were there when the last had been opened, after {opened:.1?}: the machine is too slow"
        ));
    }
    if each > MOST {
        return Err(format!("{each:.1} KiB of RSS each; at most {MOST} are allowed"));
    }
    // The deadline, the time to read the ERROR, and a busy machine's delay.
    let allowed = opened + Duration::from_secs(deadline + 2 + 5);
    if lasted > allowed {
        return Err(format!(
            "they were gone after {lasted:.1?}, which is later than {allowed:.1?}"
        ));
    }
    for client in open.iter_mut().step_by(connections / 20) {
        let error = client.read_to_the_end().await?;
        if error.as_ref().and_then(|error| error.value("code")) != Some(code.as_bytes()) {
            return Err(format!("instead of ERROR {code} one got {}", shown(error.as_ref())));
        }
    }
    let connects = neighbour.connects.load(Ordering::Relaxed);
    Ok(format!(
        "{each:.1} KiB each, gone after {lasted:.1?} ({connects} other CONNECTs meanwhile, slowest {slowest:.0?})"
    ))
}

async fn open(broker: &Arc<Broker>, shape: Shape, connections: usize) -> Outcome<Vec<Client>> {
    let shape = Arc::new(shape);
    let mut opening = JoinSet::new();
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections + AT_ONCE {
        if number < connections {
            let (broker, shape) = (broker.clone(), shape.clone());
            opening.spawn(async move {
                let mut client = Client::open(&broker, shape.link, None).await?;
                client.write(&shape.octets).await?;
                Ok::<_, String>(client)
            });
        }
        if opening.len() >= AT_ONCE || number >= connections {
            match opening.join_next().await {
                Some(opened) => open.push(opened.map_err(|error| error.to_string())??),
                None => break,
            }
        }
    }
    // Until the broker has read what was written.
    sleep(Duration::from_millis(200)).await;
    Ok(open)
}

/// Somebody who means it.
#[derive(Default)]
struct Neighbour {
    over: AtomicBool,
    connects: AtomicUsize,
}

impl Neighbour {
    /// The longest time that one of its CONNECTs took.
    async fn connect_again_and_again(self: Arc<Neighbour>, broker: Arc<Broker>) -> Outcome<Duration> {
        let mut slowest = Duration::ZERO;
        while !self.over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let client = Client::connect(&broker, Link::WebSocket, "0,0").await;
            let client = client.map_err(|reason| format!("a client that means it: {reason}"))?;
            slowest = slowest.max(began.elapsed());
            self.connects.fetch_add(1, Ordering::Relaxed);
            client.close().await?;
            sleep(Duration::from_millis(50)).await;
        }
        Ok(slowest)
    }
}
