//! One session of the churn: what it does while it lives, and the six ways in which it dies.

use std::time::Duration;

use protocol_tests::frame::Frame;
use protocol_tests::websocket::{frame, TEXT};
use tokio::time::sleep;

use crate::broker::Broker;
use crate::client::{shown, Client, Link};
use crate::ledger::Ledger;
use crate::random::Random;
use crate::Outcome;

/// Queues whose every message is accounted for: only acknowledged ones leave them.
pub const KEPT_QUEUES: u64 = 20;
/// Queues with consumers in auto mode, whose messages may die with a socket.
pub const LOOSE_QUEUES: u64 = 5;
const TOPICS: u64 = 50;
/// Of the topic that carries more than a slow consumer takes.
pub const FLOOD: &str = "/topic/flood";

/// Longer than any deadline that the churn's settings have: who is silent for so long has been cut.
const SILENCE: Duration = Duration::from_secs(6);
/// What a slow consumer's kernel may keep for it.
const SMALL_BUFFER: u32 = 8 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Close,
    Reset,
    HalfOpen,
    Disconnect,
    ProtocolError,
    SlowConsumer,
}

pub const WAYS: [Way; 6] = [
    Way::Close,
    Way::Reset,
    Way::HalfOpen,
    Way::Disconnect,
    Way::ProtocolError,
    Way::SlowConsumer,
];

/// Lives and dies. An error is the broker's fault.
pub async fn live(broker: &Broker, ledger: &Ledger, way: Way, link: Link, mut random: Random) -> Outcome<()> {
    if way == Way::SlowConsumer {
        return read_too_slowly(broker, link, random).await;
    }
    if way == Way::HalfOpen && random.once_in(4) {
        return never_connect(broker, link, random).await;
    }
    // Only TCP clients with heart-beats can be found missing: their kernel answers everything else.
    let beats = way == Way::HalfOpen && (link == Link::Tcp || random.once_in(2));
    let client = Client::connect(broker, link, if beats { "500,500" } else { "0,0" }).await?;
    let mut life = Life {
        client,
        ledger,
        random,
        receipts: 0,
        messages: Vec::new(),
        kept: None,
        open: Vec::new(),
    };
    life.subscribe().await?;
    for _ in 0..life.random.below(4) {
        life.send().await?;
    }
    for number in 0..life.random.below(3) {
        life.transaction(number).await?;
    }
    if life.random.once_in(2) {
        life.acknowledge().await?;
    }
    let pause = life.random.below(300);
    sleep(Duration::from_millis(pause)).await;
    life.die(way).await
}

struct Life<'a> {
    client: Client,
    ledger: &'a Ledger,
    random: Random,
    receipts: u64,
    messages: Vec<Frame>,
    /// The queue it consumes, and whether an ACK counts for what came before too.
    kept: Option<bool>,
    /// Transactions that it leaves open.
    open: Vec<u64>,
}

impl Life<'_> {
    /// Sends a frame with a receipt and waits for that.
    async fn ask(&mut self, command: &str, headers: &str, body: &str) -> Outcome<()> {
        self.receipts += 1;
        let id = format!("r{}", self.receipts);
        self.client
            .send(&format!("{command}\n{headers}receipt:{id}\n\n{body}"))
            .await?;
        self.client.receipt(&id, &mut self.messages).await
    }

    async fn subscribe(&mut self) -> Outcome<()> {
        let topic = self.random.below(TOPICS);
        if self.random.once_in(2) {
            self.ask("SUBSCRIBE", &format!("id:topic\ndestination:/topic/soak.{topic}\n"), "")
                .await?;
        }
        if self.random.once_in(3) {
            let pattern = self.random.one_of(&["soak.*", "*.7", "soak.#", "#.9"]);
            self.ask("SUBSCRIBE", &format!("id:pattern\ndestination:/topic/{pattern}\n"), "")
                .await?;
        }
        if self.random.once_in(2) {
            let cumulative = self.random.once_in(2);
            let mode = if cumulative { "client" } else { "client-individual" };
            let (queue, prefetch) = (self.random.below(KEPT_QUEUES), 1 + self.random.below(20));
            let headers = format!("id:kept\ndestination:/queue/kept.{queue}\nack:{mode}\nprefetch-count:{prefetch}\n");
            self.ask("SUBSCRIBE", &headers, "").await?;
            self.kept = Some(cumulative);
        }
        if self.random.once_in(3) {
            let queue = self.random.below(LOOSE_QUEUES);
            self.ask(
                "SUBSCRIBE",
                &format!("id:loose\ndestination:/queue/loose.{queue}\n"),
                "",
            )
            .await?;
        }
        if self.random.once_in(4) {
            self.ask("SUBSCRIBE", "id:own\ndestination:/temp-queue/own\n", "")
                .await?;
            self.ask("SEND", "destination:/temp-queue/own\n", "to myself").await?;
        }
        if self.random.once_in(4) {
            let headers = format!("destination:/topic/soak.{topic}\nreply-to:/temp-queue/reply\n");
            self.ask("SEND", &headers, "who is there?").await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Outcome<()> {
        match self.random.below(3) {
            0 => {
                let number = self.ledger.number();
                let queue = self.random.below(KEPT_QUEUES);
                self.ask(
                    "SEND",
                    &format!("destination:/queue/kept.{queue}\n"),
                    &number.to_string(),
                )
                .await?;
                self.ledger.sent(&[number]);
            }
            1 => {
                let queue = self.random.below(LOOSE_QUEUES);
                self.ask("SEND", &format!("destination:/queue/loose.{queue}\n"), "loose")
                    .await?;
            }
            _ => {
                let topic = self.random.below(TOPICS);
                self.ask("SEND", &format!("destination:/topic/soak.{topic}\n"), "news")
                    .await?;
            }
        }
        Ok(())
    }

    /// A transaction that is committed, aborted, or left open.
    async fn transaction(&mut self, number: u64) -> Outcome<()> {
        self.ask("BEGIN", &format!("transaction:t{number}\n"), "").await?;
        let mut sent = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let message = self.ledger.number();
            let queue = self.random.below(KEPT_QUEUES);
            let headers = format!("destination:/queue/kept.{queue}\ntransaction:t{number}\n");
            self.ask("SEND", &headers, &message.to_string()).await?;
            sent.push(message);
        }
        match self.random.below(3) {
            0 => {
                self.ask("COMMIT", &format!("transaction:t{number}\n"), "").await?;
                self.ledger.sent(&sent);
            }
            1 => self.ask("ABORT", &format!("transaction:t{number}\n"), "").await?,
            _ => self.open.push(number),
        }
        Ok(())
    }

    /// Acknowledges some of what it got; the rest goes back when it dies, and what it acknowledges in a transaction
    /// that stays open too.
    async fn acknowledge(&mut self) -> Outcome<()> {
        let Some(cumulative) = self.kept else { return Ok(()) };
        let mut got = Vec::new();
        for message in &self.messages {
            if message.value("subscription") != Some(b"kept") {
                continue;
            }
            let number = number(message)?;
            let ack = message
                .value("ack")
                .ok_or_else(|| format!("no ack header: {}", message.show()))?;
            got.push((number, String::from_utf8_lossy(ack).into_owned()));
        }
        let some = self.random.below(got.len() as u64 + 1) as usize;
        if let Some(transaction) = self.open.first() {
            for (_, ack) in got.drain(..some) {
                let headers = format!("id:{ack}\ntransaction:t{transaction}\n");
                self.client.send(&format!("ACK\n{headers}\n")).await?;
            }
            return Ok(());
        }
        let numbers: Vec<u64> = got.iter().take(some).map(|(number, _)| *number).collect();
        let last = some.saturating_sub(1);
        for (index, (_, ack)) in got.iter().take(some).enumerate() {
            if !cumulative || index == last {
                self.ask("ACK", &format!("id:{ack}\n"), "").await?;
            }
        }
        self.ledger.settled(&numbers);
        Ok(())
    }

    async fn die(mut self, way: Way) -> Outcome<()> {
        match way {
            Way::Close => self.client.close().await,
            Way::Reset => self.client.reset(),
            Way::HalfOpen => be_silent(self.client).await,
            Way::Disconnect => {
                self.ask("DISCONNECT", "", "").await?;
                self.client.close().await
            }
            Way::ProtocolError | Way::SlowConsumer => self.offend().await,
        }
    }

    /// Breaks a rule, and reads what it is told.
    async fn offend(mut self) -> Outcome<()> {
        const FAULTS: [&str; 7] = [
            "HELLO\n\n",
            "SUBSCRIBE\nid:1\ndestination:/topic/a\nack:clinet\n\n",
            "SUBSCRIBE\ndestination:/topic/a\n\n",
            "SEND\n\nno destination",
            "ACK\nid:never-seen\n\n",
            "COMMIT\ntransaction:never-begun\n\n",
            "SEND\ndestination:/queue/kept.0\ncontent-length:99999999\n\ntoo much",
        ];
        if self.random.once_in(8) {
            // Not masked on WebSocket; on TCP the octets are no frame.
            self.client.write(&frame(TEXT, true, b"BEGIN\n\n\0", None)).await?;
            return self.client.read_to_the_end().await.map(drop);
        }
        let fault = self.random.one_of(&FAULTS);
        self.client.send(fault).await?;
        match self.client.read_to_the_end().await? {
            Some(_) => Ok(()),
            None => Err(format!("no ERROR came for {fault:?}")),
        }
    }
}

/// The number that is the body of a message in a kept queue.
pub fn number(message: &Frame) -> Outcome<u64> {
    let body = std::str::from_utf8(&message.body).ok();
    body.and_then(|body| body.parse().ok())
        .ok_or_else(|| format!("a message that nobody sent: {}", message.show()))
}

/// Neither reads nor writes until it must have been cut, and then finds that it was.
async fn be_silent(mut client: Client) -> Outcome<()> {
    sleep(SILENCE).await;
    client.read_to_the_end().await.map(drop)
}

async fn never_connect(broker: &Broker, link: Link, mut random: Random) -> Outcome<()> {
    let mut client = Client::open(broker, link, None).await?;
    if random.once_in(2) {
        client.send_octets(b"CONNECT\naccept-version:1.2\nhost:so").await?;
    }
    sleep(SILENCE).await;
    match client.read_to_the_end().await? {
        Some(error) if error.value("code") == Some(b"connect-timeout") => Ok(()),
        other => Err(format!("a client that never connects got {}", shown(other.as_ref()))),
    }
}

/// Subscribes to more than it reads, until it must have been cut; then reads on, or is torn off.
async fn read_too_slowly(broker: &Broker, link: Link, mut random: Random) -> Outcome<()> {
    let client = Client::open(broker, link, Some(SMALL_BUFFER)).await?;
    let mut client = client.connected("0,0").await?;
    client
        .send(&format!("SUBSCRIBE\nid:flood\ndestination:{FLOOD}\n\n"))
        .await?;
    sleep(SILENCE).await;
    if random.once_in(2) {
        return client.reset();
    }
    client.read_on()?;
    match client.read_to_the_end().await? {
        Some(error) if error.value("code") == Some(b"slow-consumer") => Ok(()),
        // When the deadline of the write was earlier than the budget's end, nothing can be said any more.
        None => Ok(()),
        other => Err(format!("a slow consumer got {}", shown(other.as_ref()))),
    }
}
