//! What the embedding program sends by way of the system connection, to a broker that does not confirm it (R14).

use std::future::{poll_fn, Future};
use std::pin::pin;
use std::task::Poll;

use socket2::SockRef;
use tokio::io::AsyncReadExt;

use super::*;
use crate::server::Error;

const NOT_CONFIRMED: &str = "the broker did not confirm the message within 200 ms (relay.publish_timeout)";

async fn refused(server: &Server, body: &str) -> String {
    server.publish("/queue/a", body).await.unwrap_err().to_string()
}

/// The body and the receipt that the next frame, a SEND, asks for.
async fn send(system: &mut Stomp) -> (String, String) {
    let frame = system.receive().await;
    assert!(frame.starts_with("SEND\ndestination:/queue/a\n"), "{frame}");
    let (head, body) = frame.split_once("\n\n").unwrap();
    let receipt = head.lines().find_map(|line| line.strip_prefix("receipt:")).unwrap();
    (body.trim_end_matches('\0').to_owned(), receipt.to_owned())
}

async fn confirm(system: &mut Stomp, receipt: &str) {
    let frame = format!("RECEIPT\nreceipt-id:{receipt}\n\n\0");
    system.http.write(frame.as_bytes()).await;
}

/// Confirms everything, until dropped; the bodies.
fn confirming(
    mut system: Stomp,
) -> (
    tokio::task::JoinHandle<()>,
    tokio::sync::mpsc::UnboundedReceiver<String>,
) {
    let (bodies, seen) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        loop {
            let (body, receipt) = send(&mut system).await;
            confirm(&mut system, &receipt).await;
            if bodies.send(body).is_err() {
                return;
            }
        }
    });
    (task, seen)
}

/// On a slow machine the first answers may come too late.
async fn until_published(server: &Server, body: &str) {
    while server.publish("/queue/a", body).await.is_err() {}
}

#[tokio::test]
async fn what_the_broker_never_confirms_has_failed_and_takes_no_room() {
    let (server, _listener, mut system) = before_played(|settings| {
        settings.relay.publish_ms = 200;
        settings.relay.publish_waiting = 1;
    })
    .await;
    for round in 0..3 {
        assert_eq!(refused(&server, &format!("lost {round}")).await, NOT_CONFIRMED);
        assert_eq!(send(&mut system).await.0, format!("lost {round}"));
    }
    assert!(page(&server, "/stats").await.1.contains("\"publish_failed\":3,"));
    // A RECEIPT that comes too late is nobody's, and the connection is none the worse.
    confirm(&mut system, "p-1").await;
    let (answering, _bodies) = confirming(system);
    until_published(&server, "taken").await;
    answering.abort();
}

#[tokio::test]
async fn a_broker_that_takes_nothing_gets_nothing_that_was_given_up() {
    let (server, _listener, mut system) = before_played(|settings| settings.relay.publish_ms = 200).await;
    // So that not all of it is in the kernel's buffers.
    SockRef::from(&system.http.socket)
        .set_recv_buffer_size(256 << 10)
        .unwrap();
    let much = "x".repeat(MUCH / 2);
    assert_eq!(refused(&server, &much).await, NOT_CONFIRMED);
    assert_eq!(refused(&server, "given up").await, NOT_CONFIRMED);
    let head = format!(
        "SEND\ndestination:/queue/a\nreceipt:p-1\ncontent-length:{}\n\n",
        much.len()
    );
    let mut first = vec![0; head.len() + much.len() + 1];
    system.http.socket.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(head.as_bytes()) && first.ends_with(b"x\0"));
    let (answering, mut bodies) = confirming(system);
    until_published(&server, "next").await;
    assert_eq!(bodies.recv().await.as_deref(), Some("next"));
    answering.abort();
}

#[tokio::test]
async fn as_many_may_wait_as_the_operator_says() {
    let (server, _listener, mut system) = before_played(|settings| settings.relay.publish_waiting = 1).await;
    let mut first = pin!(server.publish("/queue/a", "first"));
    let mut second = pin!(server.publish("/queue/a", "second"));
    begin(first.as_mut()).await;
    let (_, receipt) = send(&mut system).await;
    begin(second.as_mut()).await;
    let full = "1 messages wait for the broker already (relay.publish_waiting)";
    assert_eq!(refused(&server, "third").await, full);
    confirm(&mut system, &receipt).await;
    first.await.unwrap();
    let (body, receipt) = send(&mut system).await;
    assert_eq!(body, "second");
    confirm(&mut system, &receipt).await;
    second.await.unwrap();
}

#[tokio::test]
async fn what_waits_when_the_broker_is_lost_has_failed() {
    let (server, listener, mut system) = before_played(|_| {}).await;
    let mut waiting = pin!(server.publish("/queue/a", "x"));
    begin(waiting.as_mut()).await;
    send(&mut system).await;
    drop((system, listener));
    let error = waiting.await.unwrap_err().to_string();
    assert_eq!(error, "Connection to broker closed.");
}

/// Lets it do what it does before it waits.
async fn begin(publishing: impl Future<Output = Result<(), Error>>) {
    let mut publishing = pin!(publishing);
    poll_fn(|cx| {
        assert!(publishing.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}
