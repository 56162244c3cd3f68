//! Clients of a relay that share subscriptions, at a broker of ours.

use super::client::WebSocket;
use super::relay::{broker, browser, edge, kill, page, say, text, until_available};
use super::*;

const CLIENTS: usize = 20;

/// A relay that shares topics, with its connections there.
async fn sharing(upstream: SocketAddr, change: impl FnOnce(&mut Settings)) -> Server {
    let server = edge(&[upstream], |settings| {
        settings.relay.shared_topics = vec!["/topic/".to_owned()];
        change(settings);
    })
    .await;
    until_available(&server, true).await;
    until_shared(&server, "broker", "available".into()).await;
    server
}

/// What `/stats` says of the shared connection.
async fn shared(server: &Server, name: &str) -> serde_json::Value {
    let mut stats: serde_json::Value = serde_json::from_str(&page(server, "/stats").await.1).unwrap();
    stats["relay"]["shared"][name].take()
}

/// Waits until it says that.
async fn until_shared(server: &Server, name: &str, value: serde_json::Value) {
    while shared(server, name).await != value {
        tokio::task::yield_now().await;
    }
}

async fn readers(server: &Server, clients: usize) -> Vec<WebSocket> {
    let mut readers = Vec::new();
    for _ in 0..clients {
        let mut reader = browser(server).await;
        say(&mut reader, "SUBSCRIBE\nid:s\ndestination:/relay/status\n\n^").await;
        say(&mut reader, "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:r\n\n^").await;
        assert_eq!(text(&mut reader).await, "RECEIPT\nreceipt-id:r\n\n\0");
        readers.push(reader);
    }
    readers
}

fn subscriptions(behind: &Server) -> usize {
    behind.hosts().default.sizes().subscriptions
}

#[tokio::test]
async fn many_clients_are_one_subscription_at_the_broker() {
    let behind = broker(None).await;
    let server = sharing(behind.tcp_address().unwrap(), |_| {}).await;
    let mut readers = readers(&server, CLIENTS).await;
    assert_eq!(subscriptions(&behind), 1);
    for number in 0..100 {
        behind.publish("/topic/a", format!("{number}")).await.unwrap();
    }
    for reader in &mut readers {
        for number in 0..100 {
            let message = text(reader).await;
            assert!(message.starts_with("MESSAGE\nsubscription:0\n"), "{message}");
            assert!(message.ends_with(&format!("\n\n{number}\0")), "{message}");
        }
    }
    until_shared(&server, "messages_in", 100.into()).await;
    until_shared(&server, "messages_out", (100 * CLIENTS).into()).await;
    until_shared(&server, "clients", CLIENTS.into()).await;
    // A client hears itself, and nothing after its UNSUBSCRIBE.
    let mut first = readers.remove(0);
    say(
        &mut first,
        "SEND\ndestination:/topic/a\n\nmine^UNSUBSCRIBE\nid:0\nreceipt:u\n\n^SEND\ndestination:/topic/a\nreceipt:z\n\nlast^",
    )
    .await;
    assert!(text(&mut readers[0]).await.ends_with("\n\nmine\0"));
    assert!(text(&mut readers[0]).await.ends_with("\n\nlast\0"));
    loop {
        let got = text(&mut first).await;
        assert!(!got.ends_with("\n\nlast\0"), "{got}");
        if got == "RECEIPT\nreceipt-id:z\n\n\0" {
            break;
        }
    }
    drop((first, readers));
    until_shared(&server, "subscriptions", 0.into()).await;
    while subscriptions(&behind) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn sharing_clients_are_told_of_a_loss_or_kept() {
    let behind = broker(None).await;
    let address = behind.tcp_address().unwrap();
    let telling = sharing(address, |_| {}).await;
    let keeping = sharing(address, |settings| settings.relay.keep_ms = 60_000).await;
    let mut told = readers(&telling, CLIENTS).await;
    let mut kept = readers(&keeping, CLIENTS).await;
    assert_eq!(subscriptions(&behind), 2);
    kill(behind).await;
    for reader in &mut told {
        let mut error = text(reader).await;
        while error.contains("\ndestination:/relay/status\n") {
            error = text(reader).await;
        }
        assert!(
            error.starts_with("ERROR\nmessage:Connection to broker closed.\n"),
            "{error}"
        );
        assert_eq!(reader.closed().await, (1002, "broker-lost".to_owned()));
    }
    let behind = broker(Some(address)).await;
    until_shared(&keeping, "broker", "available".into()).await;
    for reader in &mut kept {
        while !text(reader).await.ends_with("{\"shared\":\"back\"}\0") {}
    }
    assert_eq!(subscriptions(&behind), 1);
    behind.publish("/topic/a", "again").await.unwrap();
    for reader in &mut kept {
        let mut message = text(reader).await;
        while message.contains("\ndestination:/relay/status\n") {
            message = text(reader).await;
        }
        assert!(message.ends_with("\n\nagain\0"), "{message}");
    }
}

#[tokio::test]
async fn a_client_that_shares_and_reads_nothing_is_cut_and_the_others_go_on() {
    let behind = broker(None).await;
    let server = sharing(behind.tcp_address().unwrap(), |settings| settings.write_ms = 3_600_000).await;
    let mut readers = readers(&server, 3).await;
    let mut stuck = readers.pop().unwrap();
    let body = "x".repeat(500_000);
    let mut sent = 0;
    // The verdict does not wait for the socket.
    while shared(&server, "clients").await == 3 {
        behind.publish("/topic/a", body.clone()).await.unwrap();
        sent += 1;
        for reader in &mut readers {
            assert!(text(reader).await.ends_with("x\0"));
        }
    }
    assert!(sent > 2);
    let mut last = text(&mut stuck).await;
    while last.starts_with("MESSAGE\n") {
        last = text(&mut stuck).await;
    }
    assert!(
        last.starts_with("ERROR\nmessage:Slow consumer\ncode:slow-consumer\n"),
        "{last}"
    );
    assert_eq!(stuck.closed().await, (1008, "slow-consumer".to_owned()));
}

#[tokio::test]
async fn clients_with_logins_of_their_own_share_nothing() {
    for change in [
        |relay: &mut crate::relay::Settings| relay.client_login = "web-{login}".to_owned(),
        |relay: &mut crate::relay::Settings| relay.client_passcode = "{passcode}".to_owned(),
    ] {
        let mut settings = settings();
        settings.mode = crate::server::Mode::Relay;
        settings.relay.upstream = vec!["127.0.0.1:1".to_owned()];
        settings.relay.shared_topics = vec!["/topic/".to_owned()];
        change(&mut settings.relay);
        let error = Server::start(settings).await.unwrap_err().to_string();
        assert!(
            error.starts_with("relay.shared_topics: ") && error.contains("relay.client_login"),
            "{error}"
        );
    }
}
