use super::client::{frame, Frame, TEXT};
use super::*;

const HOST: &str = "Host: localhost\r\n";

#[tokio::test]
async fn a_plain_get_finds_pages_and_the_others_are_told_where_they_are() {
    let server = start(settings()).await;
    let mut http = connect(&server).await;

    let page = http.request("GET /", HOST).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(page.body.contains("<html") && page.body.contains("Hoofbeat"));

    let health = http.request("GET /health?verbose=1", HOST).await;
    assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"ok"}"#));

    let stats = http.request("GET /stats", HOST).await;
    let counted: serde_json::Value = serde_json::from_str(&stats.body).unwrap();
    assert_eq!(stats.header("content-type"), Some("application/json"));
    assert_eq!(counted["server"]["connections"], 1);
    assert_eq!(counted["server"]["requests"], 3);

    let missing = http.request("GET /nowhere", HOST).await;
    assert_eq!(missing.status, 404);
    for path in ["/nowhere", "/ws", "/stomp", "/health", "/stats"] {
        assert!(missing.body.contains(path), "{}", missing.body);
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let server = start(settings()).await;
    let mut http = connect(&server).await;
    for path in ["/", "/health", "/stats", "/nowhere"] {
        http.write(format!("HEAD {path} HTTP/1.1\r\n{HOST}\r\n").as_bytes())
            .await;
        let head = http.head().await;
        assert_ne!(head.header("content-length"), Some("0"), "{path}");
    }
    // Nothing but heads came: the next answer begins where it should.
    assert_eq!(http.request("GET /health", HOST).await.status, 200);
}

#[tokio::test]
async fn a_bad_upgrade_is_told_what_is_wrong() {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let server = start(settings()).await;
    let mut http = connect(&server).await;
    for (line, headers, status, says) in [
        ("GET /ws", String::new(), 426, "WebSocket"),
        ("GET /stomp", String::new(), 426, "WebSocket"),
        ("POST /ws", format!("{upgrade}{version}{key}"), 405, "POST"),
        ("POST /", String::new(), 405, "POST"),
        ("POST /health", String::new(), 405, "GET and HEAD"),
        ("GET /ws", format!("{upgrade}{key}"), 426, "Sec-WebSocket-Version"),
        (
            "GET /ws",
            format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n"),
            426,
            "13",
        ),
        (
            "GET /",
            format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n"),
            426,
            "13",
        ),
        ("GET /ws", format!("{upgrade}{version}"), 400, "Sec-WebSocket-Key"),
        (
            "GET /ws",
            format!("{upgrade}{version}{key}{key}"),
            400,
            "Sec-WebSocket-Key",
        ),
        (
            "GET /ws",
            format!("{upgrade}{version}Sec-WebSocket-Key: abc\r\n"),
            400,
            "24 characters",
        ),
        (
            "GET /ws",
            format!("Upgrade: websocket\r\n{version}{key}"),
            400,
            "Connection: Upgrade",
        ),
        (
            "GET /ws",
            format!("{upgrade}{version}{key}Origin: null\r\n"),
            403,
            "server.allowed_origins",
        ),
        (
            "GET /ws",
            format!("{upgrade}{version}{key}Origin: https://evil.example\r\n"),
            403,
            "https://evil.example",
        ),
        ("GET /nowhere", format!("{upgrade}{version}{key}"), 404, "/ws"),
    ] {
        let answer = http.request(line, &format!("{HOST}{headers}")).await;
        assert_eq!(answer.status, status, "{line} {headers}: {}", answer.body);
        assert!(answer.body.contains(says), "{line} {headers}: {}", answer.body);
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        }
        assert_eq!(answer.header("allow").is_some(), status == 405, "{line} {headers}");
    }
    assert_eq!(server.stats().refused["origin"], 2);
    assert_eq!(server.stats().websocket.opened, 0);
}

#[tokio::test]
async fn an_upgrade_may_follow_other_requests_on_the_same_connection() {
    let server = start(settings()).await;
    let mut http = connect(&server).await;
    assert_eq!(http.request("GET /health", HOST).await.status, 200);
    let mut websocket = http.upgrade("/echo", "").await;
    websocket.send(TEXT, b"after health").await;
    assert_eq!(websocket.receive().await.payload, b"after health");
}

#[tokio::test]
async fn octets_behind_the_upgrade_are_not_lost() {
    let server = start(settings()).await;
    let mut http = connect(&server).await;
    let mut octets = format!(
        "GET /echo HTTP/1.1\r\n{HOST}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes();
    octets.extend(frame(TEXT, b"one"));
    let long = "two".repeat(5_000);
    octets.extend(frame(TEXT, long.as_bytes()));
    http.write(&octets).await;

    assert_eq!(http.head().await.status, 101);
    let mut websocket = client::WebSocket { http };
    assert_eq!(
        websocket.receive().await,
        Frame {
            opcode: TEXT,
            payload: b"one".to_vec()
        }
    );
    assert_eq!(websocket.receive().await.payload, long.into_bytes());
}

#[tokio::test]
async fn silent_and_half_said_requests_end_at_the_deadline() {
    let server = start(Settings {
        http_head_ms: 200,
        ..settings()
    })
    .await;
    let mut silent = connect(&server).await;
    let mut half = connect(&server).await;
    half.write(b"GET /ws HTTP/1.1\r\nHost: loc").await;
    let mut done = connect(&server).await;
    assert_eq!(done.request("GET /health", HOST).await.status, 200);

    assert_eq!(silent.rest().await, b"");
    half.rest().await;
    done.rest().await;
    server.shared.roster.all_gone().await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = start(settings()).await;
    let mut http = connect(&server).await;
    http.write(b"GET / HTTP/1.1\r\n").await;
    let line = format!("X-Filler: {}\r\n", "x".repeat(1_000));
    for _ in 0..17 {
        http.write(line.as_bytes()).await;
    }
    assert_eq!(http.head().await.status, 431);
}

#[tokio::test]
async fn beyond_the_cap_http_is_told_and_tcp_closed() {
    let server = start(Settings {
        connections: 1,
        ..settings()
    })
    .await;
    let first = connect(&server).await;
    // Only an answer proves that it has its seat.
    let mut first = first.upgrade("/echo", "").await;

    let mut second = connect(&server).await;
    let answer = second.request("GET /health", HOST).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("server.connections"), "{}", answer.body);
    let mut third = Http::connect(server.tcp_address().unwrap()).await;
    assert_eq!(third.rest().await, b"");

    first.send(client::CLOSE, b"").await;
    first.http.rest().await;
    server.shared.roster.all_gone().await;
    assert_eq!(connect(&server).await.request("GET /health", HOST).await.status, 200);
    assert_eq!(server.stats().refused["connections"], 2);
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_word_of_the_operator() {
    let open = SocketAddr::from(([0, 0, 0, 0], 0));
    for settings in [
        Settings {
            websocket: Some(open),
            ..settings()
        },
        Settings {
            tcp: Some(open),
            ..settings()
        },
    ] {
        let error = Server::start(settings.clone()).await.unwrap_err();
        assert!(error.to_string().contains("insecure_open"), "{error}");
        let insecure_open = true;
        Server::start(Settings {
            insecure_open,
            ..settings
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let server = start(settings()).await;
    let error = Server::start(Settings {
        websocket: server.websocket_address(),
        ..settings()
    })
    .await
    .unwrap_err();
    let port = server.websocket_address().unwrap().port().to_string();
    assert!(error.to_string().contains(&port), "{error}");
    assert!(error.to_string().contains("server.websocket"), "{error}");
}
