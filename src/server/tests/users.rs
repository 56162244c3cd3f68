//! Users: the program that embeds the broker, and the clients that it lets in.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::client::Stomp;
use super::*;
use crate::session::{Answer, Authentication, Credentials, Principal};

async fn joe(server: &Server) -> Stomp {
    let http = Http::connect(server.tcp_address().unwrap()).await;
    let mut joe = Stomp { http };
    joe.http.write(b"CONNECT\naccept-version:1.2\nlogin:joe\n\n\0").await;
    joe
}

#[tokio::test]
async fn the_program_sends_to_a_user() {
    let server = start(settings()).await;
    let mut joe = joe(&server).await;
    joe.http
        .write(b"SUBSCRIBE\nid:1\ndestination:/user/queue/x\nreceipt:r\n\n\0")
        .await;
    assert!(joe.receive().await.starts_with("CONNECTED\n"));
    assert!(joe.receive().await.starts_with("RECEIPT\n"));
    let sent = server
        .send_to_user("joe", "/queue/x", &[("kind", "note")], "hello")
        .await;
    sent.unwrap();
    let message = joe.receive().await;
    assert!(
        message.contains("\ndestination:/user/queue/x\nkind:note\n"),
        "{message}"
    );
    server.send_to_user("ann", "/queue/x", &[], "nobody").await.unwrap();
    assert!(server.send_to_user("", "/queue/x", &[], "nobody").await.is_err());
    assert!(server.subscribe("/user/queue/x").is_err(), "the program is no user");
    server.stop().await;
}

#[tokio::test]
async fn what_comes_while_a_passcode_is_checked_waits_and_is_not_lost() {
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let mut settings = settings();
    settings.session.authentication = Some(Authentication::by(move |who: Credentials, answer: Answer| {
        let gate = Arc::clone(&closed);
        tokio::spawn(async move {
            let _ = gate.acquire().await;
            answer.accept(Principal::named(who.login.as_deref().unwrap_or_default()));
        });
    }));
    let server = start(settings).await;
    let mut joe = joe(&server).await;
    for number in 0..500 {
        let frame = format!(
            "SEND\ndestination:/topic/nobody\nreceipt:{number}\n\n{}\0",
            "x".repeat(100)
        );
        joe.http.write(frame.as_bytes()).await;
    }
    // Another one is asked at the same time: nobody waits for somebody else.
    let mut other = super::users::joe(&server).await;
    gate.add_permits(2);
    assert!(other.receive().await.contains("\nuser-name:joe\n"));
    assert!(joe.receive().await.contains("\nuser-name:joe\n"));
    for number in 0..500 {
        assert_eq!(joe.receive().await, format!("RECEIPT\nreceipt-id:{number}\n\n\0"));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_check_that_takes_too_long_ends_with_an_error() {
    let mut settings = settings();
    settings.session.connect_ms = 200;
    let kept: Arc<std::sync::Mutex<Vec<Answer>>> = Arc::default();
    let answers = Arc::clone(&kept);
    settings.session.authentication = Some(Authentication::by(move |_: Credentials, answer: Answer| {
        answers.lock().unwrap().push(answer);
    }));
    let server = start(settings).await;
    let mut joe = joe(&server).await;
    let said = String::from_utf8(joe.http.rest().await).unwrap();
    assert!(
        said.contains("\ncode:connect-timeout\n") && said.contains("passcode"),
        "{said}"
    );
    server.shared.roster.all_gone().await;
    assert!(kept.lock().unwrap().iter().all(|answer| !answer.is_awaited()));
}

#[tokio::test]
async fn sessions_are_counted_in_the_words_that_operators_of_spring_know() {
    let server = start(settings()).await;
    let wordless = Http::connect(server.tcp_address().unwrap()).await;
    let mut joe = joe(&server).await;
    assert!(joe.receive().await.starts_with("CONNECTED\n"));
    let tcp = server.stats().tcp;
    assert_eq!((tcp.open, tcp.opened, tcp.wordless), (2, 2, 0));
    assert_eq!(server.stats().websocket.open, 0);

    joe.http.write(b"DISCONNECT\nreceipt:bye\n\n\0").await;
    assert!(joe.receive().await.starts_with("RECEIPT\n"));
    drop((joe, wordless));
    server.shared.roster.all_gone().await;
    let tcp = server.stats().tcp;
    assert_eq!((tcp.open, tcp.opened, tcp.wordless), (0, 2, 1));
    assert_eq!(tcp.closed.values().sum::<u64>(), 2, "{:?}", tcp.closed);
    let counters = server.hosts().default.counters();
    let frames = [&counters.connect, &counters.connected, &counters.disconnect];
    assert_eq!(frames.map(|counter| counter.get()), [1, 1, 1]);
}
