//! Closures that work for application destinations, asked by clients over TCP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use super::client::Stomp;
use super::*;
use crate::server::{Reply, Request};

async fn joe(server: &Server) -> Stomp {
    let http = Http::connect(server.tcp_address().unwrap()).await;
    let mut stomp = Stomp { http };
    stomp.http.write(b"CONNECT\naccept-version:1.2\nlogin:joe\n\n\0").await;
    assert!(stomp.receive().await.starts_with("CONNECTED\n"));
    stomp
}

async fn ask(client: &mut Stomp, frame: &str) -> String {
    client.http.write(format!("{frame}\0").as_bytes()).await;
    client.receive().await
}

#[tokio::test]
async fn a_closure_answers_the_session_that_asks() {
    let server = start(settings()).await;
    let _orders = server
        .app("/app/orders/*", |request: Request| async move {
            let user = request.user().map(|user| user.into_owned());
            assert!(!request.session().is_empty());
            let asked = (
                request.destination().into_owned(),
                user,
                request.is_subscribe(),
                request.text().into_owned(),
            );
            Reply::json(&asked).header("mine", "a:b")
        })
        .unwrap();
    let mut client = joe(&server).await;
    let answer = ask(&mut client, "SUBSCRIBE\nid:7\ndestination:/app/orders/new\n\n").await;
    assert!(answer.starts_with("MESSAGE\nsubscription:7\n"), "{answer}");
    assert!(
        answer.contains("\ndestination:/app/orders/new\ncontent-type:application/json\nmine:a\\cb\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("\n\n[\"/app/orders/new\",\"joe\",true,\"\"]\0"),
        "{answer}"
    );

    let send = "SEND\ndestination:/app/orders/7\nreply-to:/temp-queue/a\ncorrelation-id:5\nuser:admin\n\nbuy";
    let answer = ask(&mut client, send).await;
    assert!(
        answer.contains("\nsubscription:/temp-queue/a\n") && answer.contains("\ncorrelation-id:5\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("\n\n[\"/app/orders/7\",\"joe\",false,\"buy\"]\0"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn what_a_closure_did_not_finish_is_tried_again() {
    let server = start(settings()).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let _worker = server
        .app("/app/orders", move |request: Request| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(number > 0, "the first try fails");
                request
                    .header("x-app-command")
                    .map_or(String::new(), |command| command.into_owned())
            }
        })
        .unwrap();
    let mut client = joe(&server).await;
    let answer = ask(&mut client, "SUBSCRIBE\nid:7\ndestination:/app/orders\n\n").await;
    assert!(answer.ends_with("\n\nSUBSCRIBE\0"), "{answer}");
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_dropped_works_no_more_and_its_requests_go_to_others() {
    let server = start(settings()).await;
    let (begun, mut began) = tokio::sync::mpsc::unbounded_channel();
    let stuck = server
        .app("/app/orders", move |_| {
            let begun = begun.clone();
            async move {
                begun.send(()).unwrap();
                std::future::pending::<()>().await
            }
        })
        .unwrap();
    let mut client = joe(&server).await;
    client
        .http
        .write(b"SUBSCRIBE\nid:7\ndestination:/app/orders\n\n\0")
        .await;
    began.recv().await.unwrap();
    drop(stuck);
    let _other = server.app("/app/orders", |_| async { "from another" }).unwrap();
    assert!(client.receive().await.ends_with("\n\nfrom another\0"));
    server.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_worker_is_given_to_the_closure_that_comes() {
    let server = Arc::new(start(settings()).await);
    let mut client = joe(&server).await;
    client
        .http
        .write(b"SUBSCRIBE\nid:7\ndestination:/app/orders\nreceipt:a\n\n\0")
        .await;
    assert!(client.receive().await.starts_with("RECEIPT\n"), "it waits");
    let publisher = Arc::clone(&server);
    let published = tokio::spawn(async move { publisher.publish("/app/orders", "from the program").await });
    let (seen, mut saw) = tokio::sync::mpsc::unbounded_channel();
    let _orders = server
        .app("/app/*", move |request: Request| {
            seen.send(request.text().into_owned()).unwrap();
            async { "done" }
        })
        .unwrap();
    assert!(client.receive().await.ends_with("\n\ndone\0"));
    published.await.unwrap().unwrap();
    let mut texts = [saw.recv().await.unwrap(), saw.recv().await.unwrap()];
    texts.sort();
    assert_eq!(texts, ["", "from the program"]);
    server.stop().await;
}

#[tokio::test]
async fn what_the_program_sends_to_nobody_is_refused_after_the_patience() {
    let mut settings = settings();
    settings.session.app.patience_ms = 1;
    let server = start(settings).await;
    let refused = server.publish("/app/orders", "anybody?").await;
    assert!(
        matches!(&refused, Err(crate::server::Error::Refused(why)) if why.contains("/app/orders")),
        "{refused:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_closure_is_for_application_destinations() {
    let server = start(settings()).await;
    for destination in ["/queue/orders", "/app/", "/worker/orders", "orders"] {
        assert!(server.app(destination, |_| async {}).is_err(), "{destination}");
    }
    assert!(server.subscribe("/worker/orders").is_err());
    server.stop().await;
}
