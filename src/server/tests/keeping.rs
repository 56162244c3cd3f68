//! What is on disk, from one server to the next.

use std::path::Path;

use super::client::Stomp;
use super::*;
use crate::broker;
use crate::error::Error;
use crate::store;

fn keeping(folder: &Path, hosts: &[&str]) -> Settings {
    Settings {
        data: Some(folder.to_owned()),
        hosts: hosts
            .iter()
            .map(|name| (name.to_string(), broker::Settings::default()))
            .collect(),
        ..settings()
    }
}

async fn connected(server: &Server, host: &str) -> Stomp {
    let mut client = Stomp {
        http: Http::connect(server.tcp_address().unwrap()).await,
    };
    let connect = format!("CONNECT\naccept-version:1.2\nhost:{host}\n\n\0");
    client.http.write(connect.as_bytes()).await;
    assert!(client.receive().await.starts_with("CONNECTED\n"));
    client
}

async fn send(client: &mut Stomp, body: &str) {
    let send = format!("SEND\ndestination:/queue/q\npersistent:true\nreceipt:r\n\n{body}\0");
    client.http.write(send.as_bytes()).await;
    assert_eq!(client.receive().await, "RECEIPT\nreceipt-id:r\n\n\0");
}

#[tokio::test]
async fn each_host_finds_its_own_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(keeping(folder.path(), &["a.example"])).await;
    assert!(server.kept().iter().all(|kept| kept.found.queues == 0 && !kept.loss));
    let mut default = connected(&server, "localhost").await;
    let mut other = connected(&server, "a.example").await;
    send(&mut default, "1").await;
    for body in ["2", "3"] {
        send(&mut other, body).await;
    }
    server.stop().await;
    drop(server);

    // A host that is not configured any more keeps what it has.
    let server = start(keeping(folder.path(), &[])).await;
    assert_eq!(server.kept().len(), 1);
    server.stop().await;
    drop(server);

    let server = start(keeping(folder.path(), &["a.example"])).await;
    let found: Vec<_> = server.kept().iter().map(|kept| kept.found.messages).collect();
    assert_eq!(found, [1, 2]);
    let stats = connect(&server)
        .await
        .request("GET /stats", "Host: localhost\r\n")
        .await;
    let stats: serde_json::Value = serde_json::from_str(&stats.body).unwrap();
    assert_eq!(stats["broker"]["sizes"]["stored_messages"], 1);
    assert_eq!(stats["hosts"]["a.example"]["sizes"]["stored_messages"], 2);
    let store = &stats["broker"]["store"];
    assert_eq!(store["folder"], folder.path().join("default").to_str().unwrap());
    assert_eq!((&store["pending_octets"], store["unwell"].is_null()), (&0.into(), true));
    let mut other = connected(&server, "a.example").await;
    other.http.write(b"SUBSCRIBE\nid:0\ndestination:/queue/q\n\n\0").await;
    for body in ["2", "3"] {
        let frame = other.receive().await;
        assert!(
            frame.contains("\nredelivered:false\n") && frame.ends_with(&format!("\n\n{body}\0")),
            "{frame}"
        );
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(keeping(folder.path(), &[])).await;
    let second = Server::start(keeping(folder.path(), &[])).await.unwrap_err();
    assert!(matches!(second, Error::Store(store::Error::Locked(_))), "{second}");
    drop(first);
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let third = Server::start(keeping(&file, &[])).await.unwrap_err();
    assert!(matches!(third, Error::Store(store::Error::Io { .. })), "{third}");
}

#[tokio::test]
async fn a_server_that_is_dropped_loses_nothing_that_was_receipted() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(keeping(folder.path(), &[])).await;
    let mut client = connected(&server, "localhost").await;
    send(&mut client, "1").await;
    client
        .http
        .write(b"SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n\0")
        .await;
    assert!(client.receive().await.starts_with("MESSAGE\n"));
    drop(server);
    // Its tasks end when the runtime comes to them, and only then does it let go of the folder.
    assert_eq!(client.http.rest().await, b"");
    let server = loop {
        match Server::start(keeping(folder.path(), &[])).await {
            Ok(server) => break server,
            Err(Error::Store(store::Error::Locked(_))) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    };
    let mut client = connected(&server, "localhost").await;
    client.http.write(b"SUBSCRIBE\nid:0\ndestination:/queue/q\n\n\0").await;
    let frame = client.receive().await;
    assert!(
        frame.contains("\nredelivered:true\n") && frame.ends_with("\n\n1\0"),
        "{frame}"
    );
}
