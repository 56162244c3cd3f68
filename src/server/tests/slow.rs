//! Clients that do not read.

use super::client::{Stomp, PING, PONG, TEXT};
use super::*;

/// What no socket's buffers hold.
const MUCH: usize = 32 << 20;

#[tokio::test]
async fn a_ping_during_a_blocked_write_is_read_at_once_and_answered_in_its_turn() {
    let mut settings = settings();
    settings.broker.outbound.bytes = 2 * MUCH;
    let server = start(settings).await;
    let mut reader = connect(&server).await.upgrade("/ws", "").await;
    reader.send(TEXT, b"CONNECT\naccept-version:1.2\n\n\0").await;
    reader.receive().await;
    reader
        .send(TEXT, b"SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\0")
        .await;
    reader.receive().await;

    let mut sender = Stomp::connect(server.tcp_address().unwrap()).await;
    let sends = MUCH >> 20;
    for _ in 0..sends {
        send_megabyte(&mut sender).await;
    }
    // Blocked, and yet the ping is read, and so is the frame behind it.
    reader.send(PING, b"still there?").await;
    reader.send(TEXT, b"SEND\ndestination:/queue/b\n\nread\0").await;
    while server.hosts().default.queue_length("/queue/b") != Some(1) {
        tokio::task::yield_now().await;
    }
    let (mut messages, mut pongs) = (0, 0);
    while messages < sends || pongs < 1 {
        let frame = reader.receive().await;
        match frame.opcode {
            TEXT => messages += usize::from(frame.payload.starts_with(b"MESSAGE\n")),
            PONG => {
                assert_eq!(frame.payload, b"still there?");
                assert!(messages < sends, "the answer waited for everything");
                pongs += 1;
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_flood_of_pings_from_a_client_that_reads_nothing_is_held_back() {
    let server = start(Settings {
        write_ms: 300,
        linger_ms: 100,
        ..settings()
    })
    .await;
    let mut pinging = connect(&server).await.upgrade("/ws", "").await;
    pinging
        .send(TEXT, b"CONNECT\naccept-version:1.2\nheart-beat:0,0\n\n\0")
        .await;
    let flood = client::frame(PING, &[b'x'; 125]).repeat(1_000);
    // It ends by the write deadline; until then the server must not gather pongs.
    while tokio::io::AsyncWriteExt::write_all(&mut pinging.http.socket, &flood)
        .await
        .is_ok()
    {}
    server.shared.roster.all_gone().await;
    assert_eq!(server.stats().websocket.closed["slow-consumer"], 1);
}

#[tokio::test]
async fn a_reader_that_is_stuck_is_cut_and_the_others_go_on() {
    let server = start(Settings {
        write_ms: 500,
        linger_ms: 100,
        ..settings()
    })
    .await;
    let subscribe = b"SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\0";
    let mut stuck = connect(&server).await.upgrade("/ws", "").await;
    stuck.send(TEXT, b"CONNECT\naccept-version:1.2\n\n\0").await;
    stuck.receive().await;
    stuck.send(TEXT, subscribe).await;
    stuck.receive().await;
    let mut reading = Stomp::connect(server.tcp_address().unwrap()).await;
    reading.http.write(subscribe).await;
    reading.receive().await;

    let mut sender = Stomp::connect(server.tcp_address().unwrap()).await;
    let mut sent = 0;
    while server.stats().sessions == 3 {
        send_megabyte(&mut sender).await;
        sent += 1;
        assert!(reading.receive().await.starts_with("MESSAGE\n"));
    }
    assert!(sent > 1);
    assert_eq!(server.stats().websocket.closed["slow-consumer"], 1);
    assert_eq!(server.stats().sessions, 2);
    send_megabyte(&mut sender).await;
    assert!(reading.receive().await.starts_with("MESSAGE\n"));
    // What was in the socket's buffers still comes, and then the end.
    let rest = stuck.http.rest().await;
    assert!(rest.len() < (sent << 20));
}

async fn send_megabyte(sender: &mut Stomp) {
    let body = "x".repeat((1 << 20) - 200);
    let send = format!(
        "SEND\ndestination:/topic/a\nreceipt:1\ncontent-length:{}\n\n{body}\0",
        body.len()
    );
    sender.http.write(send.as_bytes()).await;
    assert!(sender.receive().await.starts_with("RECEIPT\n"));
}

#[tokio::test]
async fn the_verdict_on_a_slow_consumer_does_not_wait_for_its_socket() {
    let server = start(Settings {
        write_ms: 3_600_000,
        ..settings()
    })
    .await;
    let mut stuck = Stomp::connect(server.tcp_address().unwrap()).await;
    stuck
        .http
        .write(b"SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:1\n\n\0")
        .await;
    stuck.receive().await;
    let mut sender = Stomp::connect(server.tcp_address().unwrap()).await;
    while server.hosts().default.counters().slow_consumers.get() == 0 {
        send_megabyte(&mut sender).await;
    }
    // It may still read, and learns why it is cut.
    let said = stuck.http.rest().await;
    let error = said.windows(6).rposition(|six| six == b"ERROR\n").unwrap();
    assert!(String::from_utf8_lossy(&said[error..]).contains("\ncode:slow-consumer\n"));
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_waits_for_room_is_kept_alive_for_as_long_as_it_may_wait() {
    const PATIENCE_MS: u64 = 20 * 60_000;
    let mut settings = settings();
    settings.broker.queue.messages = 1;
    settings.session.blocked_ms = PATIENCE_MS;
    let server = start(settings).await;
    let mut sender = Http::connect(server.tcp_address().unwrap()).await;
    let begun = tokio::time::Instant::now();
    sender
        .write(b"CONNECT\naccept-version:1.2\nheart-beat:10000,10000\n\n\0")
        .await;
    for _ in 0..200 {
        // More than is read while it waits.
        sender.write(b"SEND\ndestination:/queue/a\nreceipt:r\n\nx\0").await;
    }
    let said = String::from_utf8(sender.rest().await).unwrap();
    assert!(begun.elapsed() >= std::time::Duration::from_millis(PATIENCE_MS));
    let (before, error) = said.split_once("ERROR\n").expect("an ERROR");
    assert!(error.contains("\ncode:queue-full\n"), "{error}");
    assert_eq!(before.matches("RECEIPT\n").count(), 1, "one found room");
    let beats = before.rsplit('\0').next().unwrap_or_default();
    assert!(beats.bytes().all(|octet| octet == b'\n'), "{beats:?}");
    assert!(beats.len() >= 120, "{} beats in twenty minutes", beats.len());
}
