//! CONNECT, CONNECTED, and what waits for it (R4, R5, R7, R11, R12).

use super::*;

const BROWSER: &str = "CONNECT\nlogin:browser\npasscode:secret\nAuthorization:Bearer abc\nhost:my.example\n\
                       accept-version:1.2,1.1,1.0\nheart-beat:10000,20000\n\n^";

#[test]
fn r4_connect_passes_in_order_with_credentials_replaced_and_host_dropped() {
    let mut scene = Scene::new(|_| {});
    scene.client(BROWSER).dial();
    assert_eq!(
        scene.for_broker(),
        "CONNECT\nlogin:guest\npasscode:guest\nAuthorization:Bearer abc\naccept-version:1.2,1.1,1.0\nheart-beat:10000,10000\n\n^"
    );
}

#[test]
fn r4_what_connect_lacks_comes_last() {
    let mut scene = Scene::new(|settings| settings.host = "/vhost".into());
    scene.client("STOMP\naccept-version:1.1\nx:a:b\\c\n\n^").dial();
    assert_eq!(
        scene.for_broker(),
        "STOMP\naccept-version:1.1\nx:a:b\\c\nlogin:guest\npasscode:guest\nhost:/vhost\nheart-beat:10000,10000\n\n^"
    );
}

#[test]
fn r4_credentials_may_be_passed_through_mapped_or_left_out() {
    let asked = |login: &str, passcode: &str, connect: &str| {
        let mut scene = Scene::new(|settings| {
            settings.client_login = login.into();
            settings.client_passcode = passcode.into();
        });
        scene.client(connect).dial();
        scene.for_broker()
    };
    let connect = "CONNECT\naccept-version:1.2\nlogin:ann\npasscode:p:w\n\n^";
    let rest = "heart-beat:10000,10000\n\n^";
    assert_eq!(
        asked("{login}", "{passcode}", connect),
        format!("CONNECT\naccept-version:1.2\nlogin:ann\npasscode:p:w\n{rest}")
    );
    assert_eq!(
        asked("web-{login}", "fixed", connect),
        format!("CONNECT\naccept-version:1.2\nlogin:web-ann\npasscode:fixed\n{rest}")
    );
    assert_eq!(asked("", "", connect), format!("CONNECT\naccept-version:1.2\n{rest}"));
    let nobody = "CONNECT\naccept-version:1.2\n\n^";
    assert_eq!(
        asked("{login}", "{passcode}", nobody),
        format!("CONNECT\naccept-version:1.2\n{rest}")
    );
}

#[test]
fn escapes_in_connect_are_read_as_such_only_if_the_operator_says_so() {
    let passed = |unescape_connect: bool| {
        let shared = shared(|settings| {
            settings.client_login = "{login}".into();
            settings.client_passcode = "{passcode}".into();
        });
        let edge = Edge {
            unescape_connect,
            ..edge()
        };
        let mut scene = Scene::at(&shared, 1, edge);
        let connect = "CONNECT\naccept-version:1.2\nlogin:a\\cb\npasscode:p\\\\w\nclient-id:c\\cd\n\n^";
        scene.client(connect).dial();
        let asked = scene.for_broker();
        scene.broker("CONNECTED\nversion:1.2\n\n^");
        (asked, scene.for_client())
    };
    let (asked, connected) = passed(false);
    assert!(
        asked.contains("\nlogin:a\\cb\npasscode:p\\\\w\nclient-id:c\\cd\n"),
        "{asked}"
    );
    assert!(connected.contains("\nuser-name:a\\cb\n"), "{connected}");
    let (asked, connected) = passed(true);
    assert!(
        asked.contains("\nlogin:a:b\npasscode:p\\w\nclient-id:c\\cd\n"),
        "{asked}"
    );
    assert!(connected.contains("\nuser-name:a:b\n"), "{connected}");
}

#[test]
fn a_login_of_two_lines_is_none() {
    let edge = Edge {
        unescape_connect: true,
        ..edge()
    };
    let mut scene = Scene::at(&shared(|_| {}), 1, edge);
    scene.client("CONNECT\naccept-version:1.2\nlogin:a\\nhost:b\n\n^");
    assert!(scene.for_client().contains("\ncode:bad-header\n"));
    assert_eq!(scene.closed(), Some((1002, "bad-header")));
}

#[test]
fn a_1_0_client_is_asked_for_without_heart_beats() {
    let mut scene = Scene::new(|_| {});
    scene.client("CONNECT\nlogin:a\n\n^").dial();
    assert_eq!(scene.for_broker(), "CONNECT\nlogin:guest\npasscode:guest\n\n^");
    scene.broker("CONNECTED\nsession:1\n\n^");
    assert_eq!(scene.for_client(), "CONNECTED\nsession:1\nuser-name:a\n\n^");
}

#[test]
fn r7_connected_has_our_heart_beat_and_the_user() {
    let mut scene = Scene::new(|_| {});
    scene.client(BROWSER).dial();
    scene.broker("CONNECTED\nserver:ActiveMQ/5\nheart-beat:3,4\nsession:ID:x:1\nversion:1.2\nuser-name:guest\n\n^\n");
    assert_eq!(
        scene.for_client(),
        "CONNECTED\nserver:ActiveMQ/5\nheart-beat:10000,10000\nsession:ID:x:1\nversion:1.2\nuser-name:browser\n\n^"
    );
    assert_eq!(scene.shared.users.counts(), (1, 1));
}

#[test]
fn r5_frames_before_connected_wait_and_pass_in_order() {
    let mut scene = Scene::new(|_| {});
    scene.client(BROWSER);
    scene.client("SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^SEND\ndestination:/topic/a\nv:a\\cb\n\nhi^");
    scene.dial();
    assert!(scene.for_broker().starts_with("CONNECT\n"));
    scene.client("BEGIN\ntransaction:t\n\n^");
    assert_eq!(scene.for_broker(), "");
    scene.broker("CONNECTED\nversion:1.2\n\n^");
    assert_eq!(
        scene.for_broker(),
        "SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^SEND\ndestination:/topic/a\nv:a\\cb\n\nhi^BEGIN\ntransaction:t\n\n^"
    );
}

#[test]
fn r5_what_waits_is_written_by_the_version_that_the_broker_chose() {
    let mut scene = Scene::new(|_| {});
    scene
        .client(BROWSER)
        .client("SEND\ndestination:/topic/a\nv:a\\cb\\n\n\nhi^")
        .dial();
    scene.for_broker();
    scene.broker("CONNECTED\nversion:1.0\n\n^");
    assert_eq!(scene.for_broker(), "SEND\ndestination:/topic/a\nv:a:b \n\nhi^");
}

#[test]
fn r5_beyond_its_bounds_nothing_more_is_read_and_nobody_is_told() {
    let frame = "SEND\ndestination:/topic/a\n\n0123456789^";
    for (frames, bytes, most) in [(3, 1 << 20, 3), (1_000, 700, 5), (1_000, 1, 1)] {
        let mut scene = Scene::new(|settings| {
            settings.pending_frames = frames;
            settings.pending_bytes = bytes;
        });
        scene.client(BROWSER);
        let mut taken = 0;
        while scene.relay.accepts_input() {
            scene.client(frame);
            taken += 1;
        }
        assert_eq!((taken, scene.last.clone()), (most, Step::Done), "{frames} {bytes}");
        scene.dial();
        scene.for_broker();
        scene.broker("CONNECTED\nversion:1.2\n\n^");
        assert_eq!(scene.for_broker(), frame.repeat(most));
        assert!(scene.relay.accepts_input());
    }
}

#[test]
fn r11_without_a_broker_connect_is_told_so() {
    let shared = shared(|_| {});
    shared.upstream.set_available(false);
    let mut scene = Scene::of(&shared, 1);
    scene.client(BROWSER);
    let error = scene.for_client();
    assert!(
        error.starts_with("ERROR\nmessage:Broker not available.\ncode:broker-unavailable\n"),
        "{error}"
    );
    assert_eq!(scene.closed(), Some((1002, "broker-unavailable")));
}

#[test]
fn r12_what_keeps_us_from_the_broker_is_told_in_springs_words() {
    for (why, told) in [
        (
            Lost::NotConnected("connection refused".into()),
            "Failed to connect\\c connection refused\n",
        ),
        (Lost::Closed, "Connection to broker closed.\n"),
        (
            Lost::Broken("connection reset".into()),
            "Transport failure\\c connection reset\n",
        ),
        (
            Lost::NotWritten("broken pipe".into()),
            "failed to forward frames\\c broken pipe\n",
        ),
        (Lost::Silent(30_001), "No messages received in 30001 ms.\n"),
    ] {
        let mut scene = Scene::new(|_| {});
        scene.client(BROWSER).dial();
        scene.lose(why);
        let error = scene.for_client();
        assert!(error.starts_with(&format!("ERROR\nmessage:{told}")), "{error}");
        assert_eq!(scene.closed().map(|(code, _)| code), Some(1002));
    }
}

#[test]
fn r12_a_broker_that_does_not_answer_connect_is_told() {
    let mut scene = Scene::new(|_| {});
    scene.client(BROWSER).dial();
    scene.pass(59_999);
    assert_eq!(scene.last, Step::Done);
    scene.pass(1);
    assert!(scene
        .for_client()
        .starts_with("ERROR\nmessage:No CONNECTED frame received in 60000 ms.\n"));
    assert!(!scene.relay.has_upstream());
}

#[test]
fn f1_what_the_broker_says_of_connect_passes_whole() {
    let mut scene = Scene::new(|_| {});
    scene.client(BROWSER).dial();
    scene.for_broker();
    scene.broker("ERROR\nmessage:Bad CONNECT\ncontent-type:text/plain\ncontent-length:3\n\nno\n^");
    assert_eq!(
        scene.for_client(),
        "ERROR\nmessage:Bad CONNECT\ncontent-type:text/plain\ncontent-length:3\n\nno\n^"
    );
    assert_eq!(scene.closed(), Some((1002, "broker-error")));
    assert_eq!(scene.for_broker(), "", "there is nobody to say good-bye to");
}

#[test]
fn a_version_that_nobody_asked_for_is_no_agreement() {
    for (asked, answered) in [
        ("1.2", "version:1.0\n"),
        ("1.1,1.2", ""),
        ("1.1", "version:1.2\n"),
        ("1.2", "version:9\n"),
    ] {
        let mut scene = Scene::new(|_| {});
        scene.client(&format!("CONNECT\naccept-version:{asked}\n\n^")).dial();
        scene.broker(&format!("CONNECTED\n{answered}\n^"));
        assert!(
            scene.for_client().starts_with("ERROR\nmessage:Transport failure"),
            "{asked} {answered}"
        );
    }
}

#[test]
fn b4_b5_frames_in_the_wrong_place_never_reach_the_broker() {
    for (text, code) in [
        ("SEND\ndestination:/topic/a\n\n^", "not-connected"),
        ("CONNECT\naccept-version:9\n\n^", "unsupported-version"),
        ("CONNECT\nheart-beat:x\n\n^", "bad-header"),
        ("CONNECT\n\n^CONNECT\n\n^", "already-connected"),
        ("CONNECT\n\n^MESSAGE\n\n^", "unknown-command"),
    ] {
        let mut scene = Scene::new(|_| {});
        scene.client(text);
        let error = scene.for_client();
        assert!(error.contains(&format!("\ncode:{code}\n")), "{error}");
        assert_eq!(scene.for_broker(), "");
    }
}

#[test]
fn a_client_that_never_connects_is_closed() {
    let mut scene = Scene::new(|_| {});
    assert_eq!(scene.relay.due(), Some(10_000));
    scene.pass(10_000);
    assert_eq!(scene.closed(), Some((1008, "connect-timeout")));
}

/// A client of an edge that asks for credentials.
fn stranger() -> Scene {
    let edge = Edge {
        authenticates: true,
        ..edge()
    };
    let mut scene = Scene::at(&shared(|_| {}), 1, edge);
    scene.client("CONNECT\naccept-version:1.2\nlogin:ann\npasscode:p:w\nhost:h\n\n^");
    scene
}

#[test]
fn b3_nobody_reaches_the_broker_who_may_not() {
    let mut scene = stranger();
    let asked = scene.relay.asks().unwrap();
    let field = |field: &Option<Box<str>>| field.as_deref().unwrap_or_default().to_owned();
    assert_eq!(
        (field(&asked.login), field(&asked.passcode), field(&asked.host)),
        ("ann".into(), "p:w".into(), "h".into())
    );
    assert!(scene.relay.asks().is_none(), "asked once");
    assert!(!scene.relay.dials(0) && !scene.relay.accepts_input());
    scene.last = scene.relay.admit(None, &mut scene.written);
    assert!(scene
        .for_client()
        .starts_with("ERROR\nmessage:Wrong login or passcode\ncode:bad-credentials\n"));
    assert_eq!(scene.closed(), Some((1008, "bad-credentials")));
    assert!(!scene.relay.dials(0));
}

#[test]
fn b3_who_may_is_called_by_the_name_that_was_found() {
    let mut scene = stranger();
    scene.relay.asks();
    let admitted = Admitted {
        name: Some("Ann".into()),
        may_send_to_users: true,
    };
    scene.last = scene.relay.admit(Some(admitted), &mut scene.written);
    scene.dial();
    assert!(scene.for_broker().contains("\nlogin:guest\npasscode:guest\n"));
    scene.broker("CONNECTED\nversion:1.2\n\n^");
    assert!(scene.for_client().contains("\nuser-name:Ann\n"));
    scene.client("SEND\ndestination:/user/Ann/queue/x\n\nx^");
    assert!(scene.for_broker().starts_with("SEND\ndestination:/queue/x-user"));
}

#[test]
fn b3_whoever_waits_to_be_admitted_does_not_wait_for_ever() {
    let mut scene = stranger();
    scene.relay.asks();
    assert_eq!(scene.relay.due(), Some(10_000));
    scene.pass(10_000);
    assert_eq!(scene.closed(), Some((1008, "connect-timeout")));
    assert_eq!(
        scene.relay.admit(
            Some(Admitted {
                name: None,
                may_send_to_users: false
            }),
            &mut scene.written
        ),
        Step::Done
    );
}
