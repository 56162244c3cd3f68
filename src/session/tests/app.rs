//! Application destinations: what workers are given, what comes back to whom, and what becomes of what nobody works for.

use std::sync::Arc;

use super::disk::Disk;
use super::{body, header, Client, Step, World};
use crate::broker::{self, Journal, Volatile};
use crate::session::settings::{App, Workers};
use crate::session::{Answer, Authentication, Credentials, Principal, Settings};

pub(super) fn settings() -> Settings {
    Settings {
        app: App {
            workers: Workers::Anyone,
            patience_ms: 1_000,
            timeout_ms: 3_000,
        },
        ..Settings::default()
    }
}

pub(super) fn world() -> World {
    World::with(broker::Settings::default(), settings(), Arc::new(Volatile))
}

pub(super) fn work(world: &World, worker: &mut Client, name: &str, lines: &str) {
    worker.send(
        world,
        &format!("SUBSCRIBE\nid:w\ndestination:/worker/{name}\n{lines}\n"),
    );
}

/// The one frame that the socket takes now.
pub(super) fn one(world: &World, client: &mut Client) -> String {
    let mut frames = client.take(world);
    assert_eq!(frames.len(), 1, "{frames:?}");
    frames.remove(0)
}

pub(super) fn reply(world: &World, worker: &mut Client, request: &str, text: &str) -> Step {
    let address = header(request, "reply-to").expect("a reply-to");
    worker.send(
        world,
        &format!("SEND\ndestination:{address}\ncorrelation-id:7\n\n{text}"),
    )
}

pub(super) fn advance(world: &World, client: &mut Client) -> Step {
    client.session.advance(world.now)
}

#[test]
fn a_worker_is_told_who_asks_and_nothing_of_it_can_be_forged() {
    let mut world = world();
    let (mut worker, mut anybody) = (world.client(), world.client());
    let mut joe = world.client_with("login:joe\n");
    work(&world, &mut worker, "orders", "");
    let forged = "user:admin\nsession:other\nx-app-command:SUBSCRIBE\nUser:admin\n\\nuser:admin\nuser\\c:admin\n";
    joe.send(
        &world,
        &format!("SEND\ndestination:/app/orders\n{forged}mine:yes\n\nbuy"),
    );
    let first = one(&world, &mut worker);
    assert_eq!(header(&first, "destination"), Some("/app/orders"));
    assert_eq!(
        (header(&first, "user"), header(&first, "mine")),
        (Some("joe"), Some("yes"))
    );
    assert_eq!(header(&first, "x-app-command"), Some("SEND"));
    assert!(!first.contains("admin") && !first.contains("other"), "{first}");
    assert_eq!(body(&first), "buy");

    anybody.send(&world, &format!("SEND\ndestination:/app/orders\n{forged}\nbuy"));
    let second = one(&world, &mut worker);
    assert!(
        header(&second, "user").is_none() && !second.contains("admin"),
        "{second}"
    );
    let sessions = (header(&first, "session"), header(&second, "session"));
    assert!(sessions.0.is_some() && sessions.0 != sessions.1, "{sessions:?}");
    joe.send(&world, "SEND\ndestination:/app/orders\n\nmore");
    assert_eq!(
        header(&one(&world, &mut worker), "session"),
        sessions.0,
        "the same as before"
    );
}

#[test]
fn an_answer_reaches_the_session_that_asked_and_no_other() {
    let mut world = world();
    let (mut worker, mut joe, mut again) = (
        world.client(),
        world.client_with("login:joe\n"),
        world.client_with("login:joe\n"),
    );
    work(&world, &mut worker, "orders", "");
    for client in [&mut joe, &mut again] {
        client.send(&world, "SUBSCRIBE\nid:r\ndestination:/temp-queue/replies\n\n");
    }
    joe.send(
        &world,
        "SEND\ndestination:/app/orders\nreply-to:/temp-queue/replies\n\nbuy",
    );
    let request = one(&world, &mut worker);
    reply(&world, &mut worker, &request, "sold");
    let answer = one(&world, &mut joe);
    assert_eq!(
        (body(&answer), header(&answer, "subscription")),
        ("sold".to_owned(), Some("r"))
    );
    assert_eq!(again.take(&world), [""; 0]);
}

#[test]
fn without_a_reply_to_the_answer_comes_as_the_sessions_own_replies() {
    for lines in ["login:joe\n", ""] {
        let mut world = world();
        let (mut worker, mut asks, mut again) = (world.client(), world.client_with(lines), world.client_with(lines));
        work(&world, &mut worker, "orders", "");
        for client in [&mut asks, &mut again] {
            client.send(&world, "SUBSCRIBE\nid:r\ndestination:/user/queue/replies\n\n");
            client.send(&world, "SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n");
        }
        asks.send(&world, "SEND\ndestination:/app/orders\n\nbuy");
        asks.send(
            &world,
            "SEND\ndestination:/app/orders\nreply-to:/user/queue/errors\n\nbuy",
        );
        for (request, id) in worker.take(&world).into_iter().zip(["r", "e"]) {
            reply(&world, &mut worker, &request, "sold");
            let answer = one(&world, &mut asks);
            assert_eq!((header(&answer, "subscription"), &*body(&answer)), (Some(id), "sold"));
            let expected = if id == "r" {
                "/user/queue/replies"
            } else {
                "/user/queue/errors"
            };
            assert_eq!(header(&answer, "destination"), Some(expected));
            assert_eq!(header(&answer, "correlation-id"), Some("7"));
            // A worker may choose another of the session's own.
            let address = header(&request, "reply-to")
                .expect("a reply-to")
                .replace("/replies", "/errors");
            worker.send(&world, &format!("SEND\ndestination:{address}\n\nand more"));
            let more = one(&world, &mut asks);
            assert_eq!((header(&more, "subscription"), &*body(&more)), (Some("e"), "and more"));
        }
        assert_eq!(again.take(&world), [""; 0], "{lines}");
        asks.send(&world, "SEND\ndestination:/app/orders\n\nbuy");
        let request = one(&world, &mut worker);
        drop(asks);
        reply(&world, &mut worker, &request, "nobody is there");
        assert_eq!((worker.take(&world), again.take(&world)), (vec![], vec![]));
        assert_eq!(world.broker.counters().dropped_no_subscriber.get(), 1);
    }
}

#[test]
fn who_knows_a_temporary_name_cannot_answer_for_a_worker() {
    let mut world = world();
    let (mut worker, mut joe, mut eve) = (world.client(), world.client(), world.client());
    work(&world, &mut worker, "orders", "");
    joe.send(&world, "SUBSCRIBE\nid:r\ndestination:/user/queue/replies\n\n");
    joe.send(&world, "SUBSCRIBE\nid:1\ndestination:/app/orders\n\n");
    let request = one(&world, &mut worker);
    let session = header(&request, "session").expect("a session");
    let answer = header(&request, "reply-to").expect("a reply-to");
    eve.send(&world, "SUBSCRIBE\nid:j\ndestination:/queue/jobs\n\n");
    joe.send(&world, "SEND\ndestination:/queue/jobs\nreply-to:/temp-queue/x\n\n");
    let job = one(&world, &mut eve);
    let shown = header(&job, "reply-to")
        .and_then(|to| to.split('/').nth(2))
        .expect("a token");
    assert_ne!(shown, session);
    for address in [format!("/reply-user/{session}/queue/replies"), answer.to_owned()] {
        let guess = address.replace(session, shown);
        eve.send(&world, &format!("SEND\ndestination:{guess}\n\nfrom your bank"));
    }
    assert_eq!(joe.take(&world), [""; 0]);
    eve.send(&world, &format!("SEND\ndestination:/reply-queue/{shown}/x\n\ndone"));
    assert_eq!(joe.bodies(&world), ["done"]);
}

#[test]
fn an_answer_cannot_be_led_elsewhere() {
    for elsewhere in [
        "/queue/payments",
        "/topic/all",
        "/user/",
        "/user/queue/*",
        "/app/orders",
        "/reply-user/x/queue/y",
    ] {
        let mut world = world();
        let (mut worker, mut joe) = (world.client(), world.client());
        work(&world, &mut worker, "orders", "");
        joe.send(
            &world,
            &format!("SEND\ndestination:/app/orders\nreply-to:{elsewhere}\n\nbuy"),
        );
        assert_eq!(
            header(&one(&world, &mut joe), "code"),
            Some("bad-header"),
            "{elsewhere}"
        );
        assert_eq!(worker.take(&world), [""; 0]);
    }
}

#[test]
fn a_subscribe_is_a_request_for_one_answer() {
    let mut world = world();
    let (mut worker, mut joe) = (world.client(), world.client_with("login:joe\n"));
    work(&world, &mut worker, "orders", "");
    joe.send(
        &world,
        "SUBSCRIBE\nid:7\ndestination:/app/orders\nack:client\npage:2\nreceipt:a\n\n",
    );
    assert!(one(&world, &mut joe).starts_with("RECEIPT\n"));
    assert_eq!(world.broker.sizes().requests, 1);
    let request = one(&world, &mut worker);
    let told = ["destination", "x-app-command", "user", "page"].map(|name| header(&request, name));
    assert_eq!(told, [Some("/app/orders"), Some("SUBSCRIBE"), Some("joe"), Some("2")]);
    assert!(header(&request, "id").is_none(), "{request}");

    reply(&world, &mut worker, &request, "all");
    reply(&world, &mut worker, &request, "again");
    let answer = one(&world, &mut joe);
    assert!(answer.starts_with("MESSAGE\nsubscription:7\nmessage-id:"), "{answer}");
    let told = ["destination", "correlation-id", "ack"].map(|name| header(&answer, name));
    assert_eq!(told, [Some("/app/orders"), Some("7"), None]);
    assert_eq!((body(&answer), world.broker.sizes().requests), ("all".to_owned(), 0));
    assert_eq!(
        world.broker.counters().dropped_no_subscriber.get(),
        1,
        "the second answer"
    );

    joe.send(&world, "UNSUBSCRIBE\nid:7\nreceipt:b\n\n");
    assert!(one(&world, &mut joe).starts_with("RECEIPT\n"));
    joe.send(&world, "SUBSCRIBE\nid:7\ndestination:/topic/t\n\n");
    joe.send(&world, "SEND\ndestination:/topic/t\n\nthe id is free");
    assert_eq!(joe.bodies(&world), ["the id is free"]);
}

#[test]
fn the_id_of_a_request_is_taken_until_its_answer_is_written() {
    let mut world = world();
    let (mut worker, mut joe, mut ann) = (world.client(), world.client(), world.client());
    work(&world, &mut worker, "orders", "");
    for client in [&mut joe, &mut ann] {
        client.send(&world, "SUBSCRIBE\nid:7\ndestination:/app/orders\n\n");
    }
    for request in worker.take(&world) {
        reply(&world, &mut worker, &request, "all");
    }
    joe.send(&world, "SUBSCRIBE\nid:7\ndestination:/topic/t\n\n");
    assert_eq!(header(&one(&world, &mut joe), "code"), Some("duplicate-subscription"));
    assert_eq!(ann.bodies(&world), ["all"]);
    ann.send(&world, "SUBSCRIBE\nid:7\ndestination:/app/orders\n\n");
    let request = one(&world, &mut worker);
    ann.send(&world, "UNSUBSCRIBE\nid:7\nreceipt:a\n\n");
    reply(&world, &mut worker, &request, "too late");
    assert!(one(&world, &mut ann).starts_with("RECEIPT\n"), "and nothing else");
    assert_eq!(world.broker.sizes().requests, 0);
}

#[test]
fn a_request_that_nobody_answers_is_told_so_and_the_session_goes_on() {
    let mut world = world();
    let (mut worker, mut joe) = (world.client(), world.client());
    work(&world, &mut worker, "orders", "");
    joe.send(&world, "SUBSCRIBE\nid:7\ndestination:/app/orders\n\n");
    let request = one(&world, &mut worker);
    world.pass(2_999);
    assert_eq!(advance(&world, &mut joe), Step::Done);
    assert_eq!(joe.take(&world), [""; 0]);
    assert_eq!(joe.session.deadline(), Some(world.now.mono + 1));
    world.pass(1);
    advance(&world, &mut joe);
    let told = one(&world, &mut joe);
    let headers = ["subscription", "destination", "x-app-error"].map(|name| header(&told, name));
    assert_eq!(headers, [Some("7"), Some("/app/orders"), Some("no-answer")]);
    assert!(body(&told).contains("3000 ms (app.timeout)"), "{told}");
    reply(&world, &mut worker, &request, "too late");
    assert_eq!(joe.take(&world), [""; 0]);
    joe.send(&world, "SUBSCRIBE\nid:7\ndestination:/app/orders\n\n");
    assert_eq!(worker.take(&world).len(), 1, "the id is free");
}

#[test]
fn what_a_worker_did_not_acknowledge_goes_to_another() {
    let mut world = world();
    let (mut first, mut second, mut joe) = (world.client(), world.client(), world.client());
    let manual = "ack:client-individual\nprefetch-count:1\n";
    for worker in [&mut first, &mut second] {
        work(&world, worker, "orders", manual);
    }
    for n in 0..3 {
        joe.send(&world, &format!("SEND\ndestination:/app/orders\n\n{n}"));
    }
    assert_eq!(
        (first.bodies(&world), second.take(&world).len()),
        (vec!["0".to_owned()], 1)
    );
    drop(first);
    let mut rest = Vec::new();
    joe.send(&world, "SEND\ndestination:/app/orders\n\n3");
    let ids = ["0-1", "0-2", "0-3", "0-4"];
    for id in ids {
        second.send(&world, &format!("ACK\nid:{id}\n\n"));
        rest.extend(second.take(&world));
    }
    let bodies: Vec<_> = rest.iter().map(|frame| body(frame)).collect();
    assert_eq!(bodies, ["0", "2", "3"]);
    assert_eq!(header(&rest[0], "redelivered"), Some("true"));
}

#[test]
fn the_most_specific_worker_is_asked() {
    let mut world = world();
    let (mut all, mut orders, mut exact, mut joe) = (world.client(), world.client(), world.client(), world.client());
    work(&world, &mut all, "**", "");
    work(&world, &mut orders, "orders/*", "");
    work(&world, &mut exact, "orders/7", "");
    for name in ["orders/7", "orders/8", "orders/8/items", "prices"] {
        joe.send(&world, &format!("SEND\ndestination:/app/{name}\n\n{name}"));
    }
    assert_eq!(exact.bodies(&world), ["orders/7"]);
    assert_eq!(orders.bodies(&world), ["orders/8"]);
    assert_eq!(all.bodies(&world), ["orders/8/items", "prices"]);
    // Who is not there is not asked.
    exact.session.end(world.now);
    orders.send(&world, "UNSUBSCRIBE\nid:w\n\n");
    for name in ["orders/7", "orders/8"] {
        joe.send(&world, &format!("SEND\ndestination:/app/{name}\n\n{name}"));
    }
    assert_eq!(all.bodies(&world), ["orders/7", "orders/8"]);
    drop((all, orders, joe));
    world.pass(120_000);
    assert_eq!(world.broker.sizes(), Default::default());
}

#[test]
fn what_is_sent_in_a_transaction_is_worked_for_when_it_is_committed() {
    let mut world = world();
    let (mut worker, mut joe) = (world.client(), world.client_with("login:joe\n"));
    joe.send(&world, "BEGIN\ntransaction:t\n\n");
    joe.send(&world, "SEND\ntransaction:t\ndestination:/app/orders\n\nbuy");
    joe.send(&world, "COMMIT\ntransaction:t\nreceipt:a\n\n");
    assert_eq!(joe.take(&world), [""; 0]);
    work(&world, &mut worker, "*", "");
    world.pass(100);
    advance(&world, &mut joe);
    assert!(one(&world, &mut joe).starts_with("RECEIPT\n"));
    let request = one(&world, &mut worker);
    assert_eq!(
        (body(&request), header(&request, "user")),
        ("buy".to_owned(), Some("joe"))
    );
}

#[test]
fn requests_end_with_their_session() {
    let mut world = world();
    let (mut worker, mut joe) = (world.client(), world.client());
    work(&world, &mut worker, "orders", "");
    joe.send(&world, "SUBSCRIBE\nid:1\ndestination:/app/orders\n\n");
    joe.send(&world, "SUBSCRIBE\nid:2\ndestination:/app/nobody\n\n");
    let request = one(&world, &mut worker);
    assert_eq!(world.broker.sizes().requests, 2);
    drop(joe);
    assert_eq!(world.broker.sizes().requests, 0);
    reply(&world, &mut worker, &request, "nobody is there");
    assert_eq!(worker.take(&world), [""; 0]);
    assert_eq!(world.broker.counters().dropped_no_subscriber.get(), 1);
}

#[test]
fn a_client_may_not_work_over_websocket_while_nothing_says_who_it_is() {
    for (workers, allowed) in [
        (Workers::Nobody, false),
        (Workers::Permitted, false),
        (Workers::Anyone, true),
    ] {
        let mut settings = settings();
        settings.app.workers = workers;
        let mut world = World::with(broker::Settings::default(), settings, Arc::new(Volatile));
        let mut page = world.client_with("login:joe\n");
        page.send(&world, "SUBSCRIBE\nid:w\ndestination:/worker/orders\nreceipt:a\n\n");
        let told = one(&world, &mut page);
        let expected = if allowed { None } else { Some("forbidden") };
        assert_eq!(header(&told, "code"), expected, "{workers:?}: {told}");
    }
}

#[test]
fn a_user_may_work_for_what_covers_it_whatever_the_link() {
    let mut settings = settings();
    settings.app.workers = Workers::Permitted;
    settings.authentication = Some(Authentication::by(|who: Credentials, answer: Answer| {
        let works_for = Principal::work("/app/orders/**").into_iter().collect();
        answer.accept(Principal {
            works_for,
            ..Principal::named(&who.login.unwrap_or_default())
        });
    }));
    let mut world = World::with(broker::Settings::default(), settings, Arc::new(Volatile));
    for (name, allowed) in [
        ("orders/new", true),
        ("orders/*", true),
        ("orders/**", true),
        ("*", false),
        ("**", false),
        ("prices", false),
    ] {
        let mut worker = world.client_with("login:joe\n");
        work(&world, &mut worker, name, "receipt:a\n");
        let told = one(&world, &mut worker);
        let expected = if allowed { None } else { Some("forbidden") };
        assert_eq!(header(&told, "code"), expected, "{name}: {told}");
    }
    for (dead, allowed) in [
        ("orders/new", true),
        ("orders/_", true),
        ("prices", false),
        ("_", false),
        ("__", false),
    ] {
        let mut worker = world.client_with("login:joe\n");
        let subscribe = format!("SUBSCRIBE\nid:d\ndestination:/queue/DLQ.app/{dead}\nreceipt:a\n\n");
        worker.send(&world, &subscribe);
        let told = one(&world, &mut worker);
        let expected = if allowed { None } else { Some("forbidden") };
        assert_eq!(header(&told, "code"), expected, "{dead}: {told}");
    }
}

#[test]
fn whoever_asked_is_told_when_the_workers_give_up() {
    let mut world = world();
    let (mut worker, mut joe) = (world.client(), world.client());
    work(&world, &mut worker, "orders/*", "ack:client-individual\n");
    joe.send(&world, "SUBSCRIBE\nid:1\ndestination:/app/orders/new\n\n");
    let request = one(&world, &mut worker);
    worker.send(&world, "NACK\nid:0-1\nrequeue:false\n\n");
    let told = one(&world, &mut joe);
    let headers = ["subscription", "destination", "x-app-error"].map(|name| header(&told, name));
    assert_eq!(headers, [Some("1"), Some("/app/orders/new"), Some("rejected")]);
    assert_eq!(world.broker.counters().requests_declined.get(), 1);
    reply(&world, &mut worker, &request, "too late");
    // A SEND waits for nobody's word, and where it would be answered nothing is said.
    joe.send(&world, "SUBSCRIBE\nid:r\ndestination:/user/queue/replies\n\n");
    joe.send(&world, "SEND\ndestination:/app/orders/new\n\nbuy");
    worker.take(&world);
    worker.send(&world, "NACK\nid:0-2\nrequeue:false\n\n");
    assert_eq!(joe.take(&world), [""; 0]);
    assert_eq!(world.broker.queue_length("/queue/DLQ.app/orders/_"), Some(2));
}

#[test]
fn what_workers_gave_up_is_read_by_those_who_may_work() {
    let mut settings = settings();
    settings.app.workers = Workers::Nobody;
    let mut world = World::with(broker::Settings::default(), settings, Arc::new(Volatile));
    for name in ["/queue/DLQ.app/orders", "DLQ.app/orders", "/amq/queue/DLQ.app/orders"] {
        let mut curious = world.client();
        curious.send(
            &world,
            &format!("SUBSCRIBE\nid:1\ndestination:{name}\nbrowser:true\n\n"),
        );
        assert_eq!(header(&one(&world, &mut curious), "code"), Some("forbidden"), "{name}");
    }
    let mut other = world.client();
    other.send(
        &world,
        "SUBSCRIBE\nid:1\ndestination:/queue/DLQ.application\nreceipt:a\n\n",
    );
    assert!(one(&world, &mut other).starts_with("RECEIPT\n"));
}

#[test]
fn nobody_sends_to_workers_directly() {
    let mut world = world();
    let (mut worker, mut joe) = (world.client(), world.client());
    work(&world, &mut worker, "orders", "");
    joe.send(&world, "SEND\ndestination:/worker/orders\nuser:admin\n\nbuy");
    assert_eq!(header(&one(&world, &mut joe), "code"), Some("bad-destination"));
    let mut joe = world.client();
    joe.send(&world, "SUBSCRIBE\nid:1\ndestination:/app/orders\n\n");
    let request = one(&world, &mut worker);
    let address = header(&request, "reply-to").expect("a reply-to");
    let mut other = world.client();
    other.send(&world, &format!("SUBSCRIBE\nid:1\ndestination:{address}\n\n"));
    assert_eq!(header(&one(&world, &mut other), "code"), Some("not-owner"));
    assert_eq!(worker.take(&world), [""; 0]);
}

#[test]
fn what_is_persistent_waits_on_disk_for_the_next_worker_of_its_name() {
    let disk = Arc::new(Disk::default());
    let journal = Arc::clone(&disk) as Arc<dyn Journal>;
    let mut world = World::with(broker::Settings::default(), settings(), journal);
    let (mut worker, mut joe) = (world.client(), world.client_with("login:joe\n"));
    work(&world, &mut worker, "orders/*", "ack:client-individual\n");
    joe.send(&world, "SEND\ndestination:/app/orders/7\npersistent:true\n\nbuy");
    disk.tell(&world.broker, world.now);
    assert_eq!(worker.bodies(&world), ["buy"]);
    drop((worker, joe));
    assert_eq!(world.restart(&disk).messages, 1);
    let mut worker = world.client();
    work(&world, &mut worker, "orders/*", "ack:client-individual\n");
    disk.tell(&world.broker, world.now);
    let request = one(&world, &mut worker);
    let told = ["user", "destination", "redelivered"].map(|name| header(&request, name));
    assert_eq!(told, [Some("joe"), Some("/app/orders/7"), Some("true")]);
    // Whoever asked has gone, and the answer is nobody's.
    assert_eq!(reply(&world, &mut worker, &request, "sold"), Step::Done);
}
