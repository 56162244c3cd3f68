//! The program that runs the server publishes and subscribes itself.

use std::path::Path;

use super::client::Stomp;
use super::*;
use crate::error::Error;

async fn keeping(folder: &Path) -> Server {
    start(Settings {
        data: Some(folder.to_owned()),
        ..settings()
    })
    .await
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_it_sends_persistently_is_there_after_a_restart_with_all_that_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let server = keeping(folder.path()).await;
    let persistent = ("persistent", "true");
    server.publish_with("/queue/q", &[persistent], "low").await.unwrap();
    let headers = [persistent, ("priority", "9"), ("note", "a:b")];
    server.publish_with("/queue/q", &headers, "high").await.unwrap();
    server.publish("/queue/q", "transient").await.unwrap();
    let headers = [persistent, ("x-delay", "3600000")];
    server.publish_with("/queue/later", &headers, "later").await.unwrap();
    server.stop().await;
    drop(server);

    let server = keeping(folder.path()).await;
    assert_eq!(server.kept()[0].found.messages, 3);
    let mut queue = server.subscribe("/queue/q").unwrap();
    let first = queue.next().await.unwrap();
    assert_eq!(
        (first.body(), first.header("note").as_deref()),
        (&b"high"[..], Some("a:b"))
    );
    assert_eq!(queue.next().await.unwrap().body(), b"low");
    assert_eq!(server.hosts().default.queue_length("/queue/later"), Some(1));
    server.stop().await;
}

#[tokio::test]
async fn its_durable_subscription_is_that_of_clients_and_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = keeping(folder.path()).await;
    let orders = server
        .subscribe_durably("shop", "orders", "/topic/orders.*")
        .await
        .unwrap();
    let in_use = refused(server.remove_subscription("shop", "orders").await);
    assert!(in_use.contains("in use"), "{in_use}");
    drop(orders);
    for body in ["1", "2"] {
        let persistent = [("persistent", "true")];
        server
            .publish_with("/topic/orders.new", &persistent, body)
            .await
            .unwrap();
    }
    server.stop().await;
    drop(server);

    let server = keeping(folder.path()).await;
    let mut orders = server
        .subscribe_durably("shop", "orders", "/topic/orders.*")
        .await
        .unwrap();
    assert_eq!(orders.next().await.unwrap().body(), b"1");
    drop(orders);
    let mut client = Stomp::connect(server.tcp_address().unwrap()).await;
    let subscribe =
        b"SUBSCRIBE\nid:0\ndestination:/topic/orders.*\nclient-id:shop\ndurable-subscription-name:orders\n\n\0";
    client.http.write(subscribe).await;
    let message = client.receive().await;
    assert!(message.ends_with("\n\n2\0"), "{message}");
    client.http.write(b"DISCONNECT\nreceipt:r\n\n\0").await;
    assert!(client.receive().await.starts_with("RECEIPT\n"));
    drop(client);
    while server.stats().sessions > 0 {
        tokio::task::yield_now().await;
    }
    assert!(server.remove_subscription("shop", "orders").await.unwrap());
    assert!(!server.remove_subscription("shop", "orders").await.unwrap());
    assert_eq!(server.hosts().default.sizes().durable_subscriptions, 0);
    server.stop().await;
}

#[tokio::test]
async fn it_is_refused_what_clients_are_refused() {
    let server = start(settings()).await;
    let delayed = server.publish_with("/topic/t", &[("x-delay", "5")], "").await;
    assert!(refused(delayed).contains("x-delay"));
    let priority = server.publish_with("/queue/q", &[("priority", "high")], "").await;
    assert!(refused(priority).contains("priority"));
    let transaction = server.publish_with("/queue/q", &[("transaction", "t")], "").await;
    assert!(refused(transaction).contains("transaction"));
    let queue = server.subscribe_durably("shop", "orders", "/queue/q").await;
    assert!(refused(queue).contains("is a queue"));
    let nameless = server.subscribe_durably("shop", "", "/topic/t").await;
    assert!(refused(nameless).contains("a name"));
    let long = server.subscribe_durably("shop", &"x".repeat(600), "/topic/t").await;
    assert!(refused(long).contains("limit"));
}
