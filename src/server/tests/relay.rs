//! A relay between clients and a broker: our own, or one that the test plays octet by octet.

mod publishing;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;

use super::client::{Http, Stomp, WebSocket, TEXT};
use super::*;
use crate::relay;
use crate::server::Mode;
use crate::session::{Answer, Authentication, Credentials, Principal};

const CONNECT: &[u8] = b"CONNECT\naccept-version:1.2\nlogin:ann\nheart-beat:0,0\n\n\0";

/// What no socket's buffers hold.
const MUCH: usize = 64 << 20;

/// A relay to `upstream` that looks for it without a pause.
pub(super) async fn edge(upstream: &[SocketAddr], change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = settings();
    settings.mode = Mode::Relay;
    settings.relay = relay::Settings {
        upstream: upstream.iter().map(SocketAddr::to_string).collect(),
        retry_first_ms: 1,
        retry_longest_ms: 20,
        ..relay::Settings::default()
    };
    change(&mut settings);
    Server::start(settings).await.unwrap()
}

pub(super) async fn until_available(server: &Server, available: bool) {
    let mut state = server.broker_available().unwrap();
    let waited = state.wait_for(|now| *now == available);
    timeout(Duration::from_secs(30), waited).await.unwrap().unwrap();
}

/// A broker of ours on `address`, or on a free port.
pub(super) async fn broker(address: Option<SocketAddr>) -> Server {
    let mut settings = settings();
    settings.websocket = None;
    settings.tcp = address.or(settings.tcp);
    settings.drain_ms = 0;
    Server::start(settings).await.unwrap()
}

/// The broker ends at once, as if it was killed, and its port is free again.
pub(super) async fn kill(broker: Server) -> SocketAddr {
    let address = broker.tcp_address().unwrap();
    let seats = broker.shared.roster.clone();
    drop(broker);
    timeout(Duration::from_secs(30), seats.all_gone()).await.unwrap();
    address
}

pub(super) async fn browser(server: &Server) -> WebSocket {
    let mut browser = connect(server).await.upgrade("/ws", "").await;
    browser.send(TEXT, CONNECT).await;
    assert!(text(&mut browser).await.starts_with("CONNECTED\nversion:1.2\n"));
    browser
}

/// The next frame that is no heart-beat.
pub(super) async fn text(browser: &mut WebSocket) -> String {
    loop {
        let frame = browser.receive().await;
        let text = String::from_utf8(frame.payload).unwrap();
        if text != "\n" {
            return text;
        }
    }
}

pub(super) async fn say(browser: &mut WebSocket, text: &str) {
    browser.send(TEXT, text.replace('^', "\0").as_bytes()).await;
}

pub(super) async fn page(server: &Server, path: &str) -> (u16, String) {
    let answer = connect(server)
        .await
        .request(&format!("GET {path}"), "Host: x\r\n")
        .await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn browsers_and_programs_meet_at_the_broker_behind() {
    let behind = broker(None).await;
    let server = edge(&[behind.tcp_address().unwrap()], |_| {}).await;
    until_available(&server, true).await;
    let mut browser = browser(&server).await;
    let mut program = Stomp::connect(server.tcp_address().unwrap()).await;
    say(&mut browser, "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:s\n\n^").await;
    assert_eq!(text(&mut browser).await, "RECEIPT\nreceipt-id:s\n\n\0");
    program.http.write(b"SEND\ndestination:/topic/a\nk:v\n\nhello\0").await;
    let message = text(&mut browser).await;
    assert!(
        message.starts_with("MESSAGE\nsubscription:0\n") && message.contains("\nk:v\n"),
        "{message}"
    );
    assert!(message.ends_with("\n\nhello\0"), "{message}");
    assert_eq!(page(&server, "/ready").await, (200, r#"{"status":"ready"}"#.to_owned()));
    let (_, stats) = page(&server, "/stats").await;
    assert!(stats.contains("\"summary\":\"2 sessions, 127.0.0.1:"), "{stats}");
    assert!(
        stats.contains(" (available), processed CONNECT(2)-CONNECTED(2)-DISCONNECT(0)\""),
        "{stats}"
    );
    say(&mut browser, "DISCONNECT\nreceipt:bye\n\n^").await;
    assert_eq!(text(&mut browser).await, "RECEIPT\nreceipt-id:bye\n\n\0");
    assert_eq!(browser.closed().await.0, 1000);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_is_gone_at_the_broker_too() {
    let behind = broker(None).await;
    let server = edge(&[behind.tcp_address().unwrap()], |_| {}).await;
    until_available(&server, true).await;
    drop(browser(&server).await);
    // What is left there is the system connection.
    while behind.stats().sessions > 1 {
        tokio::task::yield_now().await;
    }
    let closed = behind.stats().tcp.closed;
    assert_eq!(closed.get("disconnect").copied(), Some(1), "{closed:?}");
}

#[tokio::test]
async fn a_lost_broker_is_told_and_found_again() {
    let behind = broker(None).await;
    let server = edge(&[behind.tcp_address().unwrap()], |_| {}).await;
    until_available(&server, true).await;
    let mut browser = browser(&server).await;
    let address = kill(behind).await;
    let error = text(&mut browser).await;
    assert!(
        error.starts_with("ERROR\nmessage:Connection to broker closed.\n"),
        "{error}"
    );
    assert_eq!(browser.closed().await, (1002, "broker-lost".to_owned()));
    until_available(&server, false).await;
    assert_eq!(page(&server, "/ready").await.0, 503);
    assert_eq!(
        page(&server, "/health").await,
        (200, r#"{"status":"ok","broker":"not available"}"#.to_owned())
    );
    let mut early = connect(&server).await.upgrade("/ws", "").await;
    early.send(TEXT, CONNECT).await;
    assert!(text(&mut early)
        .await
        .starts_with("ERROR\nmessage:Broker not available.\n"));
    let _behind = broker(Some(address)).await;
    until_available(&server, true).await;
    super::relay::browser(&server).await;
}

#[tokio::test]
async fn kept_clients_do_not_notice_that_the_broker_was_killed() {
    let behind = broker(None).await;
    let server = edge(&[behind.tcp_address().unwrap()], |settings| {
        settings.relay.keep_ms = 60_000
    })
    .await;
    until_available(&server, true).await;
    let mut browsers = Vec::new();
    for _ in 0..10 {
        let mut browser = browser(&server).await;
        say(&mut browser, "SUBSCRIBE\nid:s\ndestination:/relay/status\n\n^").await;
        say(&mut browser, "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:s\n\n^").await;
        assert_eq!(text(&mut browser).await, "RECEIPT\nreceipt-id:s\n\n\0");
        browsers.push(browser);
    }
    let mut behind = behind;
    for round in 1..=3 {
        let address = kill(behind).await;
        for browser in &mut browsers {
            assert!(text(browser).await.contains("\"broker\":\"lost\""));
        }
        // Sent to nobody, and yet not lost.
        say(&mut browsers[0], &format!("SEND\ndestination:/queue/kept\n\n{round}^")).await;
        behind = broker(Some(address)).await;
        for browser in &mut browsers {
            assert!(text(browser).await.contains("\"broker\":\"back\""));
        }
        behind.publish("/topic/a", format!("round {round}")).await.unwrap();
        for browser in &mut browsers {
            let message = text(browser).await;
            assert!(message.ends_with(&format!("\n\nround {round}\0")), "{message}");
        }
        while behind.hosts().default.queue_length("/queue/kept") != Some(1) {
            tokio::task::yield_now().await;
        }
    }
    let (_, stats) = page(&server, "/stats").await;
    assert!(
        stats.contains("\"resumed\":30,") && stats.contains("\"told\":0,"),
        "{stats}"
    );
}

#[tokio::test]
async fn the_first_address_that_answers_is_the_broker() {
    let behind = broker(None).await;
    let dead = kill(broker(None).await).await;
    let server = edge(&[dead, behind.tcp_address().unwrap()], |_| {}).await;
    until_available(&server, true).await;
    browser(&server).await;
}

#[tokio::test]
async fn a_relay_to_itself_does_not_start() {
    let mut settings = settings();
    settings.mode = Mode::Relay;
    settings.tcp = Some(SocketAddr::from(([127, 0, 0, 1], 61_613)));
    let error = Server::start(settings).await.unwrap_err().to_string();
    assert!(
        error.starts_with("relay.upstream: 127.0.0.1:61613 is our own server.tcp"),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_program_sends_goes_to_the_broker_behind() {
    let behind = broker(None).await;
    let server = edge(&[behind.tcp_address().unwrap()], |_| {}).await;
    until_available(&server, true).await;
    let mut heard = behind.subscribe("/topic/a").unwrap();
    server.publish_with("/topic/a", &[("k", "a:b")], "hi").await.unwrap();
    assert_eq!(heard.next().await.unwrap().body(), b"hi");
    assert!(server.subscribe("/topic/a").is_err());
    kill(behind).await;
    until_available(&server, false).await;
    let error = server.publish("/topic/a", "hi").await.unwrap_err();
    assert_eq!(error.to_string(), "Broker not available.");
}

#[tokio::test]
async fn only_users_of_the_edge_reach_the_broker() {
    let behind = broker(None).await;
    let by_word = |who: Credentials, answer: Answer| match who.passcode.as_deref() {
        Some("open sesame") => answer.accept(Principal::named("Ann")),
        _ => answer.refuse(),
    };
    let server = edge(&[behind.tcp_address().unwrap()], |settings| {
        settings.session.authentication = Some(Authentication::by(by_word));
    })
    .await;
    until_available(&server, true).await;
    let mut stranger = connect(&server).await.upgrade("/ws", "").await;
    stranger.send(TEXT, CONNECT).await;
    assert!(text(&mut stranger).await.contains("\ncode:bad-credentials\n"));
    assert_eq!(stranger.closed().await, (1008, "bad-credentials".to_owned()));
    let mut ann = connect(&server).await.upgrade("/ws", "").await;
    say(
        &mut ann,
        "CONNECT\naccept-version:1.2\nlogin:a\npasscode:open sesame\n\n^",
    )
    .await;
    assert!(text(&mut ann).await.contains("\nuser-name:Ann\n"));
}

/// A broker that the test plays: the next connection, after its CONNECT.
async fn played(listener: &TcpListener) -> Stomp {
    let (socket, _) = listener.accept().await.unwrap();
    let mut peer = Stomp { http: Http::of(socket) };
    let connect = peer.receive().await;
    assert!(
        connect.starts_with("CONNECT\naccept-version:1.") && connect.contains("\nlogin:guest\n"),
        "{connect}"
    );
    peer
}

/// A relay before such a broker, with its system connection answered.
async fn before_played(change: impl FnOnce(&mut Settings)) -> (Server, TcpListener, Stomp) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = edge(&[listener.local_addr().unwrap()], change).await;
    let mut system = played(&listener).await;
    system.http.write(b"CONNECTED\nversion:1.2\n\n\0").await;
    until_available(&server, true).await;
    (server, listener, system)
}

#[tokio::test]
async fn frames_before_connected_wait_and_cut_frames_are_whole() {
    let (server, listener, _system) = before_played(|_| {}).await;
    let mut client = Stomp {
        http: Http::connect(server.tcp_address().unwrap()).await,
    };
    for octet in
        b"CONNECT\naccept-version:1.2\nlogin:ann\nheart-beat:0,0\n\n\0SUBSCRIBE\nid:0\ndestination:/topic/a\n\n\0"
    {
        client.http.write(&[*octet]).await;
    }
    let mut broker = played(&listener).await;
    for octet in b"CONNECTED\nversion:1.2\nsession:s\n\n\0\n" {
        broker.http.write(&[*octet]).await;
    }
    assert_eq!(broker.receive().await, "SUBSCRIBE\nid:0\ndestination:/topic/a\n\n\0");
    assert_eq!(
        client.receive().await,
        "CONNECTED\nversion:1.2\nsession:s\nheart-beat:10000,10000\nuser-name:ann\n\n\0"
    );
    for octet in b"MESSAGE\nsubscription:0\nmessage-id:1\ndestination:/topic/a\n\nhello\0" {
        broker.http.write(&[*octet]).await;
    }
    let message = "MESSAGE\nsubscription:0\nmessage-id:1\ndestination:/topic/a\n\nhello\0";
    assert_eq!(client.receive().await, message);
    client.http.write(b"SEND\ndestination:/topic/a\n\nha").await;
    broker
        .http
        .write(b"MESSAGE\nsubscription:0\nmessage-id:2\ndestination:/topic/a\n\nhel")
        .await;
    client.http.write(b"lf\0").await;
    assert_eq!(broker.receive().await, "SEND\ndestination:/topic/a\n\nhalf\0");
    broker.http.write(b"lo\0").await;
    assert!(client.receive().await.ends_with("\n\nhello\0"));
}

#[tokio::test]
async fn what_is_no_frame_is_told_and_ends_only_that_client() {
    let (server, listener, _system) = before_played(|_| {}).await;
    let mut client = Stomp {
        http: Http::connect(server.tcp_address().unwrap()).await,
    };
    client.http.write(CONNECT).await;
    let mut broker = played(&listener).await;
    broker.http.write(b"CONNECTED\nversion:1.2\n\n\0HTTP/1.1 400\n").await;
    client.receive().await;
    let error = client.receive().await;
    assert!(error.starts_with("ERROR\nmessage:Transport failure\\c "), "{error}");
    let mut client = Stomp {
        http: Http::connect(server.tcp_address().unwrap()).await,
    };
    client.http.write(CONNECT).await;
    let mut broker = played(&listener).await;
    broker.http.write(b"CONNECTED\nversion:1.2\n\n\0").await;
    client.receive().await;
    client.http.write(b"SEND\ndestination\n\n\0").await;
    assert!(client.receive().await.contains("\ncode:bad-frame\n"));
    assert_eq!(broker.receive().await, "DISCONNECT\n\n\0");
    assert_eq!(page(&server, "/ready").await.0, 200);
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_the_broker_up_and_is_cut() {
    let (server, listener, _system) = before_played(|settings| {
        settings.write_ms = 2_000;
        // Then what the broker still says is dropped, and not counted here.
        settings.linger_ms = 0;
    })
    .await;
    let mut client = Stomp {
        http: Http::connect(server.tcp_address().unwrap()).await,
    };
    client.http.write(CONNECT).await;
    let mut broker = played(&listener).await;
    broker.http.write(b"CONNECTED\nversion:1.2\n\n\0").await;
    client.receive().await;
    let frame = [
        b"MESSAGE\nsubscription:0\nmessage-id:1\ndestination:/topic/a\n\n".as_slice(),
        &[b'x'; 64 << 10],
        &[0],
    ]
    .concat();
    let mut written = 0;
    loop {
        broker.http.socket.writable().await.unwrap();
        match broker.http.socket.try_write(&frame) {
            Ok(octets) => written += octets,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        assert!(written < MUCH, "the relay takes what its client does not");
    }
    while server.stats().tcp.closed.get("slow-consumer") != Some(&1) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_broker_that_reads_late_gets_everything_in_order() {
    let (server, listener, _system) = before_played(|settings| settings.relay.upstream_buffer = 1_024).await;
    let mut client = Stomp {
        http: Http::connect(server.tcp_address().unwrap()).await,
    };
    client.http.write(CONNECT).await;
    let mut broker = played(&listener).await;
    broker.http.write(b"CONNECTED\nversion:1.2\n\n\0").await;
    client.receive().await;
    let filler = "y".repeat(10_000);
    let sent = 2_000;
    let writing = tokio::spawn(async move {
        for number in 0..sent {
            let frame = format!("SEND\ndestination:/topic/a\n\n{number} {filler}\0");
            client.http.write(frame.as_bytes()).await;
        }
        client
    });
    // It begins to read when the client cannot go on.
    until_held(&server, &writing).await;
    for number in 0..sent {
        let frame = broker.receive().await;
        assert!(
            frame.starts_with(&format!("SEND\ndestination:/topic/a\n\n{number} y")),
            "{number}"
        );
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_held_up_and_reset_is_gone() {
    let (server, listener, _system) = before_played(|settings| {
        settings.relay.upstream_buffer = 1_024;
        settings.linger_ms = 0;
    })
    .await;
    let mut client = Stomp {
        http: Http::connect(server.tcp_address().unwrap()).await,
    };
    socket2::SockRef::from(&client.http.socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    client.http.write(CONNECT).await;
    let mut broker = played(&listener).await;
    broker.http.write(b"CONNECTED\nversion:1.2\n\n\0").await;
    client.receive().await;
    let frame = format!("SEND\ndestination:/topic/a\n\n{}\0", "y".repeat(10_000));
    let writing = tokio::spawn(async move {
        loop {
            client.http.write(frame.as_bytes()).await;
        }
    });
    until_held(&server, &writing).await;
    // It goes with much unread, and without a word.
    writing.abort();
    let gone = async {
        while server.stats().tcp.closed.get("reset") != Some(&1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(30), gone).await.unwrap();
}

/// Until nothing more is read from the client that `writing` writes for, or it has written all.
async fn until_held<T>(server: &Server, writing: &tokio::task::JoinHandle<T>) {
    let mut quiet = 0;
    while quiet < 1_000 && !writing.is_finished() {
        let before = server.stats().octets_in;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        quiet = if server.stats().octets_in == before {
            quiet + 1
        } else {
            0
        };
    }
}

#[tokio::test]
async fn a_stopping_relay_waits_for_receipts_and_says_good_bye_to_both() {
    let (server, listener, mut system) = before_played(|_| {}).await;
    let mut browser = connect(&server).await.upgrade("/ws", "").await;
    browser.send(TEXT, CONNECT).await;
    let mut broker = played(&listener).await;
    broker.http.write(b"CONNECTED\nversion:1.2\n\n\0").await;
    text(&mut browser).await;
    say(&mut browser, "SEND\ndestination:/queue/a\nreceipt:1\n\nx^").await;
    assert!(broker.receive().await.starts_with("SEND\n"));
    let stopping = tokio::spawn(async move { server.stop().await });
    broker.http.write(b"RECEIPT\nreceipt-id:1\n\n\0").await;
    assert_eq!(text(&mut browser).await, "RECEIPT\nreceipt-id:1\n\n\0");
    assert_eq!(browser.closed().await, (1001, "shutdown".to_owned()));
    assert_eq!(broker.receive().await, "DISCONNECT\n\n\0");
    drop((browser, broker));
    assert_eq!(system.receive().await, "DISCONNECT\n\n\0");
    stopping.await.unwrap();
}

#[tokio::test]
async fn user_destinations_are_resolved_at_the_edge() {
    let behind = broker(None).await;
    let server = edge(&[behind.tcp_address().unwrap()], |settings| {
        settings.session.user_send = crate::session::settings::UserSend::Any;
    })
    .await;
    until_available(&server, true).await;
    let (mut one, mut two) = (browser(&server).await, browser(&server).await);
    for browser in [&mut one, &mut two] {
        say(browser, "SUBSCRIBE\nid:u\ndestination:/user/queue/pos\nreceipt:s\n\n^").await;
        assert_eq!(text(browser).await, "RECEIPT\nreceipt-id:s\n\n\0");
    }
    say(&mut one, "SEND\ndestination:/user/ann/queue/pos\nk:v\n\nP1^").await;
    for browser in [&mut one, &mut two] {
        let message = text(browser).await;
        assert!(
            message.contains("\ndestination:/user/queue/pos\n") && message.contains("\nk:v\n"),
            "{message}"
        );
        assert!(
            !message.contains("simpOrigDestination") && !message.contains("-user"),
            "{message}"
        );
    }
}
