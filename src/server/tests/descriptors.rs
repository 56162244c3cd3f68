//! A server that runs out of descriptors, in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use rustix::process::{setrlimit, Resource, Rlimit};

use super::*;

const CHILD: &str = "HOOFBEAT_TEST_DESCRIPTORS";

#[tokio::test]
async fn running_out_of_descriptors_is_survived() {
    if std::env::var_os(CHILD).is_some() {
        return serve_with_few_descriptors().await;
    }
    let mut server = Server::spawn();
    let address = server.address();

    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(Http::connect(address).await);
    }
    // The first ones have been accepted, the last ones wait in the backlog.
    assert_eq!(many[0].request("GET /health", "Host: localhost\r\n").await.status, 200);
    loop {
        let stats = many[0].request("GET /stats", "Host: localhost\r\n").await;
        let stats: serde_json::Value = serde_json::from_str(&stats.body).unwrap();
        if stats["server"]["accept_errors"].as_u64() > Some(0) {
            break;
        }
    }
    drop(many);
    let answer = Http::connect(address)
        .await
        .request("GET /health", "Host: localhost\r\n")
        .await;
    assert_eq!(answer.status, 200);
    server.0.kill().unwrap();
    server.0.wait().unwrap();
}

/// This test again, in a process that serves.
struct Server(Child);

impl Server {
    fn spawn() -> Server {
        let name = "server::tests::descriptors::running_out_of_descriptors_is_survived";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Server(child)
    }

    fn address(&mut self) -> SocketAddr {
        let lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        lines
            .map(|line| line.unwrap())
            .find_map(|line| line.split_once("serving ").map(|(_, address)| address.parse().unwrap()))
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

async fn serve_with_few_descriptors() {
    let few = Some(48);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: few,
            maximum: few,
        },
    )
    .unwrap();
    let server = start(Settings {
        connections: 1_000,
        ..settings()
    })
    .await;
    println!("\nserving {}", server.websocket_address().unwrap());
    // Until the parent is gone.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await;
}
