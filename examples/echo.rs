//! A WebSocket echo server on the transport that carries STOMP, for conformance suites: `echo 127.0.0.1:9001` serves
//! `ws://127.0.0.1:9001/echo`, with messages of up to 16 MiB.

use hoofbeat::server::{Server, Settings};

const LARGEST_MESSAGE: usize = 16 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("say where to listen, such as 127.0.0.1:9001")?;
    let settings = Settings {
        websocket: Some(address.parse()?),
        tcp: None,
        ..Settings::default()
    };
    let server = Server::start_with_echo(settings, "/echo", LARGEST_MESSAGE).await?;
    if let Some(address) = server.websocket_address() {
        println!("ws://{address}/echo");
    }
    std::future::pending().await
}
