//! Nodes of a Spring application are told who is here.

use super::client::Stomp;
use super::*;

#[tokio::test]
async fn a_snapshot_without_room_is_skipped_and_counted_and_told_when_there_is_room() {
    let mut settings = settings();
    settings.broker.memory_high_water = 10_000;
    settings.broker.spring.user_registry = Some("/topic/registry".to_owned());
    let server = start(settings).await;
    // Beyond what topics may use.
    server.publish("/queue/full", vec![b'x'; 20_000]).await.unwrap();
    let mut zoe = Stomp {
        http: Http::connect(server.tcp_address().unwrap()).await,
    };
    zoe.http
        .write(
            b"CONNECT\naccept-version:1.2\nlogin:zoe\n\n\0SUBSCRIBE\nid:1\ndestination:/user/queue/x\nreceipt:r\n\n\0",
        )
        .await;
    assert!(zoe.receive().await.starts_with("CONNECTED\n"));
    assert!(zoe.receive().await.starts_with("RECEIPT\n"));
    let mut node = server.subscribe("/topic/registry").unwrap();
    let counters = server.hosts().default.counters();
    while counters.snapshots_skipped.get() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let presence = server.hosts().default.users().sessions("zoe").remove(0);
    assert!(!presence.is_told());
    let mut full = server.subscribe("/queue/full").unwrap();
    drop(full.next().await.unwrap());
    let snapshot = node.next().await.unwrap();
    let text = String::from_utf8_lossy(snapshot.body()).into_owned();
    assert!(text.contains(r#""userMap":{"zoe":{"name":"zoe","#), "{text}");
    while !presence.is_told() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    server.stop().await;
}
