//! Application destinations served by closures: `cargo run --example app`.
//!
//! What a browser does with `client.subscribe('/app/stock', ...)` and `client.publish({ destination: '/app/orders', ... })`
//! is shown here over TCP, frame by frame.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hoofbeat::server::{Reply, Server, Settings};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(Settings {
        websocket: None,
        tcp: "127.0.0.1:0".parse().ok(),
        ..Settings::default()
    })
    .await?;
    let stock = Arc::new(Mutex::new(BTreeMap::from([("saddles", 3), ("reins", 0)])));

    // A SUBSCRIBE to it is a request: one MESSAGE comes back, under the id of the subscription.
    let shelf = Arc::clone(&stock);
    let _stock = server.app("/app/stock", move |_| {
        let now = shelf.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async move { Reply::json(&now) }
    })?;
    // The client cannot forge who it is.
    let _orders = server.app("/app/orders", move |order| {
        let stock = Arc::clone(&stock);
        async move {
            let mut stock = stock.lock().unwrap_or_else(PoisonError::into_inner);
            match stock.get_mut(&*order.text()).filter(|left| **left > 0) {
                Some(left) => {
                    *left -= 1;
                    Reply::text(format!(
                        "{} for {}",
                        order.text(),
                        order.user().unwrap_or("nobody".into())
                    ))
                }
                None => Reply::error("sold-out", format!("There are no {} left.", order.text())),
            }
        }
    })?;

    let address = server.tcp_address().ok_or("no address")?;
    let mut client = BufReader::new(TcpStream::connect(address).await?);
    let frames = [
        "CONNECT\naccept-version:1.2\nlogin:joe\n\n\0",
        "SUBSCRIBE\nid:stock\ndestination:/app/stock\n\n\0",
        "SEND\ndestination:/app/orders\nreply-to:/temp-queue/answers\n\nsaddles\0",
        "SEND\ndestination:/app/orders\nreply-to:/temp-queue/answers\n\nreins\0",
    ];
    for frame in frames {
        client.write_all(frame.as_bytes()).await?;
        let mut answer = Vec::new();
        client.read_until(0, &mut answer).await?;
        println!("{}\n", String::from_utf8_lossy(&answer).trim_matches(['\0', '\n']));
    }
    server.stop().await;
    Ok(())
}
