//! Application destinations that nobody works for yet, or that do not keep up: who waits for how long, and who is called.

use std::sync::Arc;
use std::task::Waker;

use super::app::{advance, one, reply, settings, work, world};
use super::{body, header, Client, Step, World};
use crate::broker::settings::{Policy, QueuePolicy, TopicPolicy, WhenFull};
use crate::broker::{self, Volatile};

/// Whether its connection would be woken.
fn is_called(client: &Client) -> bool {
    client.session.outbound().poll_work(Waker::noop())
}

#[test]
fn a_request_waits_for_a_worker_in_bounds() {
    let mut world = world();
    let (mut worker, mut joe) = (world.client(), world.client());
    joe.send(&world, "SUBSCRIBE\nid:1\ndestination:/app/orders\n\n");
    joe.send(&world, "SUBSCRIBE\nid:2\ndestination:/app/prices\n\n");
    world.pass(500);
    assert_eq!(joe.session.deadline(), Some(world.now.mono + 500), "it does not ask");
    work(&world, &mut worker, "orders", "");
    assert!(is_called(&joe), "it is called");
    joe.drain(&world);
    let request = one(&world, &mut worker);
    assert_eq!(header(&request, "destination"), Some("/app/orders"));
    world.pass(500);
    advance(&world, &mut joe);
    let told = one(&world, &mut joe);
    let headers = ["subscription", "destination", "x-app-error"].map(|name| header(&told, name));
    assert_eq!(headers, [Some("2"), Some("/app/prices"), Some("no-worker")]);
    reply(&world, &mut worker, &request, "all");
    assert_eq!(joe.bodies(&world), ["all"]);
}

#[test]
fn a_send_waits_for_a_worker_and_is_an_error_then() {
    let mut world = world();
    let (mut worker, mut joe, mut ann) = (world.client(), world.client(), world.client());
    for client in [&mut joe, &mut ann] {
        client.send(&world, "SEND\ndestination:/app/orders\nreceipt:a\n\nbuy");
        assert_eq!(client.take(&world), [""; 0], "no RECEIPT yet");
    }
    world.pass(999);
    work(&world, &mut worker, "orders", "");
    assert!(one(&world, &mut joe).starts_with("RECEIPT\n"));
    assert_eq!(worker.bodies(&world), ["buy"]);
    drop(worker);
    world.pass(1);
    let step = advance(&world, &mut ann);
    assert!(
        matches!(&step, Step::Close(close) if close.reason == "no-worker"),
        "{step:?}"
    );
    let told = one(&world, &mut ann);
    assert_eq!(
        (header(&told, "code"), header(&told, "receipt-id")),
        (Some("no-worker"), Some("a"))
    );
    assert!(
        body(&told).contains("/app/orders") && body(&told).contains("app.patience"),
        "{told}"
    );
}

#[test]
fn nobody_asks_for_workers_and_one_that_comes_calls_those_it_is_for() {
    let mut world = world();
    let (mut joe, mut ann, mut bob) = (world.client(), world.client(), world.client());
    joe.send(&world, "SEND\ndestination:/app/orders\n\nbuy");
    ann.send(&world, "SUBSCRIBE\nid:1\ndestination:/app/orders/new\n\n");
    ann.send(&world, "SUBSCRIBE\nid:2\ndestination:/app/prices/new\n\n");
    bob.send(&world, "SEND\ndestination:/app/prices\n\n");
    for client in [&joe, &ann, &bob] {
        assert_eq!(
            client.session.deadline(),
            Some(world.now.mono + 1_000),
            "nothing before"
        );
    }
    let called = |clients: [&Client; 3]| clients.map(is_called);
    let (mut other, mut exact, mut some) = (world.client(), world.client(), world.client());
    work(&world, &mut other, "order", "");
    assert_eq!(called([&joe, &ann, &bob]), [false; 3]);
    work(&world, &mut exact, "orders", "");
    assert_eq!(called([&joe, &ann, &bob]), [true, false, false]);
    work(&world, &mut some, "*/new", "");
    assert_eq!(called([&joe, &ann, &bob]), [true, true, false]);
    for client in [&mut joe, &mut ann, &mut bob] {
        client.drain(&world);
        assert!(!is_called(client));
    }
    assert_eq!(exact.bodies(&world), ["buy"]);
    let names: Vec<_> = some
        .take(&world)
        .iter()
        .map(|request| header(request, "destination").map(str::to_owned))
        .collect();
    assert_eq!(
        names,
        [Some("/app/orders/new".to_owned()), Some("/app/prices/new".to_owned())]
    );

    // Whoever has given up is not called.
    ann.send(&world, "SUBSCRIBE\nid:3\ndestination:/app/of/nobody\n\n");
    ann.send(&world, "UNSUBSCRIBE\nid:3\n\n");
    bob.session.end(world.now);
    work(&world, &mut other, "prices", "id:x\n");
    work(&world, &mut exact, "of/*", "id:x\n");
    assert_eq!(called([&joe, &ann, &bob]), [false; 3]);
}

#[test]
fn requests_for_a_full_queue_go_in_when_there_is_room() {
    let mut small = broker::Settings::default();
    small.queue.messages = 2;
    let mut world = World::with(small, settings(), Arc::new(Volatile));
    let (mut worker, mut joe) = (world.client(), world.client());
    work(
        &world,
        &mut worker,
        "orders",
        "ack:client-individual\nprefetch-count:1\n",
    );
    for id in 0..5 {
        joe.send(&world, &format!("SUBSCRIBE\nid:{id}\ndestination:/app/orders\n\n"));
    }
    let mut answered = Vec::new();
    for tag in 1..=5 {
        let request = worker.take(&world).into_iter().next();
        reply(&world, &mut worker, &request.expect("a request"), "all");
        worker.send(&world, &format!("ACK\nid:0-{tag}\n\n"));
        world.pass(50);
        advance(&world, &mut joe);
        answered.extend(
            joe.take(&world)
                .iter()
                .map(|answer| header(answer, "subscription").map(str::to_owned)),
        );
    }
    assert_eq!(answered.into_iter().flatten().collect::<String>(), "01234");
}

#[test]
fn a_request_that_a_full_queue_refuses_is_told_so() {
    let refusing = Policy {
        pattern: "/worker/#".into(),
        topic: TopicPolicy::default(),
        queue: QueuePolicy {
            messages: 1,
            full: WhenFull::Reject,
            ..QueuePolicy::default()
        },
    };
    let limited = broker::Settings {
        policies: vec![refusing],
        ..broker::Settings::default()
    };
    let mut world = World::with(limited, settings(), Arc::new(Volatile));
    let (mut worker, mut joe) = (world.client(), world.client());
    work(&world, &mut worker, "orders", "ack:client\n");
    joe.send(&world, "SUBSCRIBE\nid:1\ndestination:/app/orders\n\n");
    joe.send(&world, "SUBSCRIBE\nid:2\ndestination:/app/orders\n\n");
    let told = one(&world, &mut joe);
    let headers = ["subscription", "x-app-error"].map(|name| header(&told, name));
    assert_eq!(headers, [Some("2"), Some("queue-full")]);
}

#[test]
fn a_client_that_reads_slower_than_it_is_answered_is_waited_for() {
    let mut tiny = broker::Settings::default();
    tiny.outbound.messages = 8;
    let mut world = World::with(tiny, settings(), Arc::new(Volatile));
    let (mut worker, mut joe) = (world.client(), world.client());
    work(&world, &mut worker, "orders", "");
    let mut requests = Vec::new();
    for id in 0..6 {
        joe.send(&world, &format!("SUBSCRIBE\nid:{id}\ndestination:/app/orders\n\n"));
        requests.append(&mut worker.take(&world));
    }
    for (count, request) in requests.iter().enumerate() {
        assert_eq!(worker.session.accepts_input(), count < 3, "{count}");
        reply(&world, &mut worker, request, "all");
    }
    assert_eq!(joe.bodies(&world).len(), 6);
    worker.drain(&world);
    assert!(worker.session.accepts_input());
}
