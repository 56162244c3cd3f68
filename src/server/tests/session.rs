//! STOMP over both transports: what only sockets can show.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use super::client::{frame, Stomp, BINARY, PING, PONG, TEXT};
use super::*;

#[tokio::test]
async fn a_connection_that_says_no_connect_ends_with_an_error() {
    let mut settings = settings();
    settings.session.connect_ms = 200;
    let server = start(settings).await;
    let silent_tcp = Http::connect(server.tcp_address().unwrap()).await;
    let silent_websocket = connect(&server).await.upgrade("/ws", "").await;
    let mut dribbling = Http::connect(server.tcp_address().unwrap()).await;
    let dribble = tokio::spawn(async move {
        // A client that is always about to finish its line.
        while tokio::io::AsyncWriteExt::write_all(&mut dribbling.socket, b"C")
            .await
            .is_ok()
        {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
    let mut silent_tcp = silent_tcp;
    let said = String::from_utf8(silent_tcp.rest().await).unwrap();
    assert!(said.starts_with("ERROR\n") && said.contains("connect"), "{said}");

    let mut silent_websocket = silent_websocket;
    let error = silent_websocket.receive().await;
    assert!(error.payload.starts_with(b"ERROR\n"));
    let (code, reason) = silent_websocket.closed().await;
    assert!(code >= 1002, "{code} {reason}");
    silent_websocket.send(client::CLOSE, &code.to_be_bytes()).await;
    assert_eq!(silent_websocket.http.rest().await, b"");
    dribble.await.unwrap();
    server.shared.roster.all_gone().await;
}

#[tokio::test]
async fn a_frame_that_is_dribbled_is_gone_by_its_deadline() {
    let mut settings = settings();
    settings.session.frame_ms = 200;
    let server = start(settings).await;
    let mut client = Stomp::connect(server.tcp_address().unwrap()).await;
    client.http.write(b"SEND\ndestination:/queue/a\n\n").await;
    // Always about to finish, and full of life; what it sends into the closed connection gets lost.
    let (mut reading, mut writing) = client.http.socket.into_split();
    let dribble = tokio::spawn(async move {
        while tokio::io::AsyncWriteExt::write_all(&mut writing, b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
    let mut said = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut said)
        .await
        .unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("\ncode:frame-timeout\n"), "{said}");
    assert!(said.contains("session.frame_timeout"), "{said}");
    drop(reading);
    dribble.await.unwrap();
    server.shared.roster.all_gone().await;
    assert_eq!(
        server.hosts().default.sizes(),
        Default::default(),
        "what was held is counted out"
    );
}

#[tokio::test]
async fn frames_are_answered_in_the_kind_of_the_client() {
    let server = start(settings()).await;
    for kind in [TEXT, BINARY] {
        let mut websocket = connect(&server).await.upgrade("/ws", "").await;
        websocket.send(kind, b"CONNECT\naccept-version:1.2\n\n\0").await;
        let connected = websocket.receive().await;
        assert_eq!(connected.opcode, kind);
        assert!(connected.payload.starts_with(b"CONNECTED\n"));

        // One frame per message, whatever the message of the other side held; and what is not UTF-8 goes binary.
        websocket
            .send(kind, b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0\nSEND\ndestin")
            .await;
        websocket.send(PING, b"between").await;
        assert_eq!(websocket.receive().await.opcode, PONG);
        websocket
            .send(BINARY, b"ation:/topic/a\n\n\xff\0SEND\ndestination:/topic/a\n\ntext\0")
            .await;
        let (first, second) = (websocket.receive().await, websocket.receive().await);
        assert!(first.payload.ends_with(b"\n\n\xff\0"), "{first:?}");
        assert!(second.payload.ends_with(b"\n\ntext\0"), "{second:?}");
        assert_eq!((first.opcode, second.opcode), (BINARY, kind));
    }
}

#[tokio::test]
async fn a_message_for_springs_client_is_cut_between_characters() {
    let server = start(settings()).await;
    let long = "한".repeat(10_000);
    let send = format!("SEND\ndestination:/topic/a\ncontent-length:{}\n\n{long}\0", long.len());
    for (springs, headers) in [(true, ""), (false, "Origin: http://localhost\r\n")] {
        let mut websocket = connect(&server).await.upgrade_as_spring("/ws", headers).await;
        websocket.send(TEXT, b"CONNECT\naccept-version:1.2\n\n\0").await;
        websocket.receive().await;
        websocket
            .send(TEXT, b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
            .await;
        websocket.send(TEXT, send.as_bytes()).await;
        let mut message = String::new();
        let mut parts = 0;
        while !message.ends_with('\0') {
            let frame = websocket.receive().await;
            assert_eq!(frame.opcode, TEXT);
            assert!(!springs || frame.payload.len() <= 8 << 10);
            message.push_str(std::str::from_utf8(&frame.payload).unwrap());
            parts += 1;
        }
        assert!(message.contains(&long));
        assert_eq!(parts > 1, springs);
    }
}

#[tokio::test]
async fn the_error_arrives_although_the_client_keeps_sending() {
    let server = start(settings()).await;
    let mut websocket = connect(&server).await.upgrade("/ws", "").await;
    let flood = frame(TEXT, &[b'x'; 60_000]);
    websocket
        .send(TEXT, b"CONNECT\naccept-version:1.2\n\n\0NONSENSE\n\n\0")
        .await;
    for _ in 0..20 {
        websocket.http.write(&flood).await;
    }
    assert!(websocket.receive().await.payload.starts_with(b"CONNECTED\n"));
    assert!(websocket.receive().await.payload.starts_with(b"ERROR\n"));
    assert_eq!(websocket.closed().await.0, 1002);

    let mut tcp = Stomp::connect(server.tcp_address().unwrap()).await;
    tcp.http.write(b"NONSENSE\n\n\0").await;
    for _ in 0..20 {
        tcp.http.write(&flood).await;
    }
    assert!(tcp.receive().await.starts_with("ERROR\n"));
    assert_eq!(tcp.http.rest().await, b"");
}

#[tokio::test]
async fn a_frame_that_is_too_long_gets_an_error_and_1009() {
    let server = start(settings()).await;
    let mut websocket = connect(&server).await.upgrade("/ws", "").await;
    let before = server.shared.settings.session.before_connect.frame;
    // The announcement suffices.
    websocket.http.write(&client::announce(TEXT, before + (64 << 10))).await;
    let error = websocket.receive().await;
    assert!(error.payload.starts_with(b"ERROR\n"), "{error:?}");
    assert!(String::from_utf8(error.payload).unwrap().contains(&before.to_string()));
    assert_eq!(websocket.closed().await.0, 1009);

    let mut websocket = connect(&server).await.upgrade("/ws", "").await;
    let request = format!("CONNECT\n{}\n\0", format!("x:{}\n", "x".repeat(before / 4)).repeat(4));
    websocket.send(TEXT, request.as_bytes()).await;
    let error = websocket.receive().await;
    assert!(String::from_utf8(error.payload).unwrap().contains(&before.to_string()));
    assert_eq!(websocket.closed().await.0, 1009);

    // As much is fine once the client is connected.
    let mut websocket = connect(&server).await.upgrade("/ws", "").await;
    websocket.send(TEXT, b"CONNECT\naccept-version:1.2\n\n\0").await;
    websocket.receive().await;
    let body = "x".repeat(before + (64 << 10));
    let send = format!("SEND\ndestination:/topic/a\nreceipt:1\n\n{body}\0");
    websocket.send(TEXT, send.as_bytes()).await;
    assert!(websocket.receive().await.payload.starts_with(b"RECEIPT\n"));
}

#[tokio::test]
async fn receipts_reach_a_client_that_closed_its_half() {
    let server = start(settings()).await;
    let mut tcp = Http::connect(server.tcp_address().unwrap()).await;
    tcp.write(b"CONNECT\naccept-version:1.2\n\n\0SEND\ndestination:/queue/a\nreceipt:1\n\nx\0")
        .await;
    tokio::io::AsyncWriteExt::shutdown(&mut tcp.socket).await.unwrap();
    let said = String::from_utf8(tcp.rest().await).unwrap();
    assert!(said.contains("RECEIPT\nreceipt-id:1\n"), "{said}");
    assert_eq!(server.hosts().default.queue_length("/queue/a"), Some(1));
}

#[tokio::test]
async fn after_disconnect_the_client_closes_first() {
    let server = start(Settings {
        linger_ms: 300,
        ..settings()
    })
    .await;
    let mut polite = connect(&server).await.upgrade("/ws", "").await;
    polite.send(TEXT, b"CONNECT\naccept-version:1.2\n\n\0").await;
    polite.receive().await;
    polite.send(TEXT, b"DISCONNECT\nreceipt:bye\n\n\0").await;
    assert!(polite.receive().await.payload.starts_with(b"RECEIPT\n"));
    polite.send(client::CLOSE, &[]).await;
    assert_eq!(polite.receive().await.opcode, client::CLOSE);
    assert_eq!(polite.http.rest().await, b"");

    let mut waiting = Stomp::connect(server.tcp_address().unwrap()).await;
    waiting.http.write(b"DISCONNECT\nreceipt:bye\n\n\0").await;
    assert!(waiting.receive().await.starts_with("RECEIPT\n"));
    assert_eq!(waiting.http.rest().await, b"");
    drop(waiting);
    server.shared.roster.all_gone().await;
}

#[tokio::test]
async fn a_stopping_server_finishes_what_it_received() {
    let server = start(settings()).await;
    let mut websocket = connect(&server).await.upgrade("/ws", "").await;
    websocket.send(TEXT, b"CONNECT\naccept-version:1.2\n\n\0").await;
    websocket.receive().await;
    let mut tcp = Stomp::connect(server.tcp_address().unwrap()).await;
    let idle = connect(&server).await;
    for number in 0..100 {
        let send = format!("SEND\ndestination:/queue/a\nreceipt:{number}\n\nx\0");
        websocket.send(TEXT, send.as_bytes()).await;
        tcp.http.write(send.as_bytes()).await;
    }
    let client = async {
        for number in 0..100 {
            let receipt = format!("RECEIPT\nreceipt-id:{number}\n\n\0");
            assert_eq!(websocket.receive().await.payload, receipt.as_bytes());
            assert_eq!(tcp.receive().await, receipt);
        }
        let closed = websocket.closed().await;
        websocket.send(client::CLOSE, &closed.0.to_be_bytes()).await;
        websocket.http.rest().await;
        let error = tcp.receive().await;
        assert!(
            error.starts_with("ERROR\n") && error.contains("\ncode:shutdown\n"),
            "{error}"
        );
        tcp.http.rest().await;
        drop(tcp);
        closed
    };
    let ((), closed) = tokio::join!(server.stop(), client);
    assert_eq!(closed, (1001, "shutdown".to_owned()));
    assert_eq!(server.hosts().default.queue_length("/queue/a"), Some(200));
    drop(idle);
    assert_eq!(server.stats().sessions, 0);
}

/// The numbers in `octets` that stand between `before` and the end of their line.
fn numbers(octets: &[u8], before: &str) -> BTreeSet<u32> {
    let text = String::from_utf8_lossy(octets);
    let lines = text.lines().filter_map(|line| line.strip_prefix(before));
    lines.map(|number| number.parse().unwrap()).collect()
}

#[tokio::test]
async fn what_a_stopping_server_still_takes_reaches_who_is_subscribed() {
    let server = start(settings()).await;
    let mut reader = Stomp::connect(server.tcp_address().unwrap()).await;
    let subscribe = b"SUBSCRIBE\nid:s\ndestination:/topic/load\nreceipt:there\n\n\0";
    reader.http.write(subscribe).await;
    assert!(reader.receive().await.starts_with("RECEIPT\n"));

    let writer = Stomp::connect(server.tcp_address().unwrap()).await;
    // Threads of their own: the server shall never find that there is nothing to read for the moment.
    let socket = writer.http.socket.into_std().unwrap();
    socket.set_nonblocking(false).unwrap();
    let (mut flood, mut octets) = (socket.try_clone().unwrap(), socket);
    let flooding = std::thread::spawn(move || {
        for batch in 0.. {
            let send = |number| format!("SEND\ndestination:/topic/load\nnumber:{number}\nreceipt:{number}\n\n\0");
            let batch: String = (batch * 100..(batch + 1) * 100).map(send).collect();
            if flood.write_all(batch.as_bytes()).is_err() {
                return;
            }
        }
    });
    let receipts = std::thread::spawn(move || {
        let mut receipts = Vec::new();
        // It may end with a reset, since it never pauses; what came before counts.
        let _ = octets.read_to_end(&mut receipts);
        receipts
    });
    let reading = tokio::spawn(async move {
        assert!(reader.receive().await.starts_with("MESSAGE\n"));
        reader.http.rest().await
    });
    while server.stats().frames_in < 100 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    server.stop().await;
    flooding.join().unwrap();
    let receipted = numbers(&receipts.join().unwrap(), "receipt-id:");
    let mut given = numbers(&reading.await.unwrap(), "number:");
    given.insert(0);
    assert!(receipted.len() > 100, "{}", receipted.len());
    let nobody_got: Vec<_> = receipted.difference(&given).collect();
    assert!(nobody_got.is_empty(), "{} of {}", nobody_got.len(), receipted.len());
}

#[tokio::test]
async fn while_stopping_health_says_so_and_upgrades_are_refused() {
    let server = start(settings()).await;
    let mut http = connect(&server).await;
    assert_eq!(http.request("GET /health", "Host: localhost\r\n").await.status, 200);
    // A session that does not close keeps the server draining.
    let mut websocket = connect(&server).await.upgrade("/ws", "").await;
    let watch = async {
        assert_eq!(websocket.closed().await.0, 1001);
        assert_eq!(http.request("GET /health", "Host: localhost\r\n").await.status, 503);
        let mut late = connect(&server).await;
        assert_eq!(late.request("GET /health", "Host: localhost\r\n").await.status, 503);
        let refused = late.handshake("/ws", "").await;
        assert_eq!(refused.status, 503);
        websocket.send(client::CLOSE, &[]).await;
    };
    tokio::join!(server.stop(), watch);
}

#[tokio::test]
async fn dropping_the_server_ends_everything() {
    let server = start(settings()).await;
    let mut websocket = connect(&server).await.upgrade("/ws", "").await;
    let mut tcp = Stomp::connect(server.tcp_address().unwrap()).await;
    let mut http = connect(&server).await;
    http.request("GET /health", "Host: localhost\r\n").await;
    let roster = server.shared.roster.clone();
    drop(server);
    roster.all_gone().await;
    websocket.http.rest().await;
    tcp.http.rest().await;
    http.rest().await;
}
