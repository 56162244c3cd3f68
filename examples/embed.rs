//! The broker in a program of one's own: `cargo run --example embed`.

use hoofbeat::server::{Error, Server, Settings};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let anywhere = "127.0.0.1:0".parse().ok();
    let server = Server::start(Settings {
        websocket: anywhere,
        tcp: None,
        // With `data: Some(folder)` persistent messages outlive the program.
        ..Settings::default()
    })
    .await?;
    println!(
        "browsers connect to ws://{}/ws",
        server.websocket_address().map_or_else(String::new, |a| a.to_string())
    );
    let mut prices = server.subscribe("/topic/price.*")?;
    server.publish("/topic/price.HOOF", "12.50").await?;
    let message = prices.next().await?;
    println!("{}", String::from_utf8_lossy(message.body()));

    // Kept for this subscription, whether it is open or not, and settled when they are taken.
    let mut orders = server.subscribe_durably("warehouse", "orders", "/topic/orders").await?;
    let persistent = [("persistent", "true"), ("priority", "7")];
    server.publish_with("/topic/orders", &persistent, "one chair").await?;
    let message = orders.next().await?;
    println!("{}", String::from_utf8_lossy(message.body()));
    server.stop().await;
    Ok(())
}
