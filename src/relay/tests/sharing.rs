//! Subscriptions that clients share: one at the broker, and each client is none the wiser.

use std::collections::BTreeMap;

use super::*;
use crate::relay::sharing::Aftermath;

/// Tests look by themselves.
#[derive(Debug)]
struct Silent;

impl Bell for Silent {
    fn ring(&self) {}
}

/// A shared connection.
pub(super) struct Line {
    shared: Arc<Shared>,
    trunk: Option<Trunk>,
    out: Vec<u8>,
    decoder: Decoder,
    pub(super) now: u64,
    /// What each topic was asked for as, last.
    ids: BTreeMap<String, String>,
    /// RECEIPTs that were asked for, and neither given nor lost.
    pub(super) owed: Vec<String>,
}

impl Line {
    pub(super) fn new(shared: &Arc<Shared>) -> Line {
        Line {
            shared: Arc::clone(shared),
            trunk: None,
            out: Vec::new(),
            decoder: Decoder::new(LIMITS),
            now: 0,
            ids: BTreeMap::new(),
            owed: Vec::new(),
        }
    }

    /// The connection is made and taken.
    pub(super) fn up(&mut self, version: &str) -> &mut Line {
        self.dial();
        self.broker(&format!("CONNECTED\nversion:{version}\n\n^")).unwrap();
        self
    }

    pub(super) fn dial(&mut self) {
        let trunk = Trunk::new(Arc::clone(&self.shared), &mut self.out, self.now);
        self.trunk = Some(trunk);
        self.decoder = Decoder::new(LIMITS);
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now += ms;
        if let Some(trunk) = &mut self.trunk {
            trunk.heard(self.now);
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.trunk.as_ref().is_some_and(Trunk::is_up)
    }

    /// The broker writes `text`.
    pub(super) fn broker(&mut self, text: &str) -> Result<(), Lost> {
        let octets = text.replace('^', "\0").into_bytes();
        let mut input = octets.as_slice();
        let trunk = self.trunk.as_mut().unwrap();
        loop {
            let Some(frame) = self.decoder.decode(&mut input).unwrap() else {
                return Ok(());
            };
            trunk.receive(&frame, self.now)?;
            drop(frame);
            self.decoder.agree(trunk.version().0, LIMITS, false);
        }
    }

    /// The broker has been silent for too long.
    pub(super) fn is_overdue(&mut self) -> Option<Lost> {
        self.trunk.as_mut()?.advance(&mut self.out, self.now)
    }

    /// What is said to the broker now.
    pub(super) fn says(&mut self) -> String {
        if let Some(trunk) = &mut self.trunk {
            trunk.go_on(&mut self.out, self.now);
        }
        let said = shown(&std::mem::take(&mut self.out));
        for frame in said.split('^') {
            let header = |name: &str| {
                frame
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            if let (Some(destination), Some(id)) = (header("destination:"), header("id:")) {
                self.ids.insert(destination, id);
            }
            self.owed.extend(header("receipt:"));
        }
        said
    }

    /// What the broker calls the subscription to `destination`.
    pub(super) fn id(&self, destination: &str) -> &str {
        &self.ids[destination]
    }

    /// The broker gives all RECEIPTs that it owes.
    pub(super) fn confirm(&mut self) -> &mut Line {
        for receipt in std::mem::take(&mut self.owed) {
            self.broker(&format!("RECEIPT\nreceipt-id:{receipt}\n\n^")).unwrap();
        }
        self
    }

    /// The broker has a message there.
    pub(super) fn message(&mut self, destination: &str, body: &str) {
        let id = self.id(destination);
        let message = format!("MESSAGE\nsubscription:{id}\nmessage-id:1\ndestination:{destination}\n\n{body}^");
        self.broker(&message).unwrap();
    }

    pub(super) fn lose(&mut self, why: &Lost) -> Aftermath {
        self.out.clear();
        self.owed.clear();
        self.trunk.take().unwrap().lost(why, self.now)
    }

    /// The broker says ERROR.
    fn fails(&mut self, error: &str) -> Aftermath {
        let why = self.broker(error).unwrap_err();
        self.lose(&why)
    }
}

impl Scene {
    /// A client that shares, with that version.
    pub(super) fn sharing(shared: &Arc<Shared>, id: u128, version: &str) -> Scene {
        let mut scene = Scene::of(shared, id);
        scene.relay.listen(Arc::new(Silent));
        scene.connect(version);
        scene
    }

    /// What the shared connection has for it, and what that means.
    pub(super) fn hear(&mut self) -> String {
        while self.relay.has_mail() {
            self.last = self.relay.hear(&mut self.written, self.now);
        }
        self.for_client()
    }
}

pub(super) fn topics(change: impl FnOnce(&mut Settings)) -> Arc<Shared> {
    shared(|settings| {
        settings.shared_topics = vec!["/topic/".to_owned()];
        change(settings);
    })
}

/// A shared connection that is there, and so many clients of version 1.2.
fn stage(clients: u128, change: impl FnOnce(&mut Settings)) -> (Line, Vec<Scene>) {
    let shared = topics(change);
    let mut line = Line::new(&shared);
    line.up("1.2");
    line.says();
    let scenes = (1..=clients).map(|id| Scene::sharing(&shared, id, "1.2")).collect();
    (line, scenes)
}

/// All of them are subscribed to `/topic/a`.
fn subscribed(clients: u128, change: impl FnOnce(&mut Settings)) -> (Line, Vec<Scene>) {
    let (mut line, mut scenes) = stage(clients, change);
    for scene in &mut scenes {
        scene.client("SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^");
    }
    line.says();
    line.confirm();
    scenes.iter_mut().for_each(|scene| assert_eq!(scene.hear(), ""));
    (line, scenes)
}

const SUBSCRIBE: &str = "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:r\n\n^";
const RECEIPT: &str = "RECEIPT\nreceipt-id:r\n\n^";
const MINE: &str = "SEND\ndestination:/topic/a\n\nmine^";
const LOST: &str = "ERROR\nmessage:Connection to broker closed.\ncode:broker-lost\n";
const NO: &str = "ERROR\nmessage:no\n\n^";

/// How often something is in it.
fn times(said: &str, what: &str) -> usize {
    said.matches(what).count()
}

#[test]
fn the_shared_connection_speaks_for_all_clients() {
    let shared = topics(|settings| {
        settings.client_login = "web".into();
        settings.client_passcode = "secret".into();
        settings.host = "/".into();
    });
    let mut line = Line::new(&shared);
    line.dial();
    assert_eq!(
        line.says(),
        "CONNECT\naccept-version:1.1,1.2\nlogin:web\npasscode:secret\nheart-beat:10000,10000\nhost:/\n\n^"
    );
}

#[test]
fn one_subscription_is_made_and_ended_for_all() {
    let (mut line, mut scenes) = stage(3, |_| {});
    scenes[0].client(SUBSCRIBE);
    scenes[1].client(SUBSCRIBE);
    let said = line.says();
    let id = line.id("/topic/a").to_owned();
    let receipt = line.owed[0].clone();
    assert_eq!(
        said,
        format!("SUBSCRIBE\nid:{id}\ndestination:/topic/a\nreceipt:{receipt}\n\n^")
    );
    assert_eq!(
        (scenes[0].hear(), scenes[0].for_broker()),
        (String::new(), String::new())
    );
    // What comes before the RECEIPT counts too.
    line.message("/topic/a", "x");
    line.confirm();
    for scene in &mut scenes[..2] {
        let heard = "MESSAGE\nsubscription:0\nmessage-id:1\ndestination:/topic/a\n\nx^";
        assert_eq!(scene.hear(), format!("{heard}{RECEIPT}"));
    }
    scenes[2].client(SUBSCRIBE);
    assert_eq!(scenes[2].for_client(), RECEIPT, "there is nothing to wait for");
    assert_eq!(line.shared.sharing.counts(), (1, 3));
    line.message("/topic/a", "y");
    scenes[0].client("UNSUBSCRIBE\nid:0\nreceipt:r\n\n^");
    assert_eq!(scenes[0].hear(), RECEIPT, "nothing after it");
    assert!(scenes[1].hear().ends_with("\n\ny^"));
    scenes[1].client("DISCONNECT\n\n^");
    assert_eq!(scenes[1].for_broker(), "DISCONNECT\n\n^");
    assert!(scenes[2].hear().ends_with("\n\ny^"));
    assert_eq!((line.says(), line.shared.sharing.counts()), (String::new(), (1, 1)));
    scenes.pop();
    assert_eq!(line.says(), "", "somebody may come");
    line.pass(1_000);
    assert!(line.says().starts_with(&format!("UNSUBSCRIBE\nid:{id}\nreceipt:")));
    assert_eq!(line.shared.sharing.counts(), (0, 0));
    line.message("/topic/a", "late");
    let counters = &line.shared.counters;
    assert_eq!((counters.shared_in.get(), counters.shared_out.get()), (2, 4));
}

#[test]
fn who_comes_before_the_end_stays_on_it() {
    let (mut line, mut scenes) = subscribed(1, |_| {});
    scenes[0].client("UNSUBSCRIBE\nid:0\n\n^");
    line.says();
    line.pass(500);
    scenes[0].client(SUBSCRIBE);
    assert_eq!(scenes[0].for_client(), RECEIPT);
    line.pass(60_000);
    assert_eq!(line.says(), "");
}

#[test]
fn who_leaves_before_it_is_confirmed_leaves_nothing_behind() {
    let (mut line, mut scenes) = stage(1, |_| {});
    scenes[0].client(SUBSCRIBE);
    line.says();
    scenes.clear();
    line.says();
    line.pass(1_000);
    assert_eq!(line.says(), "", "it is not known whether there is something to end");
    line.confirm().says();
    line.pass(1_000);
    assert_eq!(times(&line.says(), "UNSUBSCRIBE\n"), 1);
    assert_eq!(line.shared.sharing.counts(), (0, 0));
}

#[test]
fn what_asks_for_more_goes_its_own_way() {
    let (mut line, mut scenes) = stage(1, |settings| {
        settings.queue_wildcards = true;
        settings.user_broadcast = "/topic/unresolved".into();
    });
    for (number, rest) in [
        "destination:/topic/a\nack:client\n",
        "destination:/topic/a\nselector:x\n",
        "destination:/topic/a\ndurable:true\n",
        "destination:/topic/*\n",
        "destination:/topic/a.#\n",
        "destination:/topic/a,/topic/b\n",
        "destination:/topic/a?consumer.exclusive=true\n",
        "destination:/queue/a\n",
        "destination:/topic/x-user00000000000000000000000000000001\n",
    ]
    .iter()
    .enumerate()
    {
        let said = format!("SUBSCRIBE\nid:{number}\n{rest}\n^");
        scenes[0].client(&said);
        assert_eq!(scenes[0].for_broker(), said);
    }
    scenes[0].client("SUBSCRIBE\nid:u\ndestination:/user/topic/a\n\n^");
    assert!(scenes[0].for_broker().contains("\ndestination:/topic/a-user0"));
    assert_eq!((line.says(), scenes[0].for_client()), (String::new(), String::new()));
    scenes[0].client("SUBSCRIBE\nid:a\ndestination:/topic/a\nack:auto\n\n^");
    assert_eq!((scenes[0].for_broker(), line.says().is_empty()), (String::new(), false));
}

#[test]
fn what_a_client_may_not_have_it_does_not_share() {
    for destination in [
        "/topic/unresolved",
        "/topic/x-user0000000000000000000000000000000f",
        "/queue/*",
    ] {
        let (mut line, mut scenes) = stage(1, |settings| settings.user_broadcast = "/topic/unresolved".into());
        scenes[0].client(&format!("SUBSCRIBE\nid:0\ndestination:{destination}\n\n^"));
        assert_eq!(
            (scenes[0].closed(), line.says()),
            (Some((1008, "not-owner")), String::new())
        );
    }
    let (mut line, mut scenes) = subscribed(1, |_| {});
    let id = line.id("/topic/a");
    line.broker(&format!(
        "MESSAGE\nsubscription:{id}\ndestination:/topic/x-user0000000000000000000000000000000f\n\nforeign^"
    ))
    .unwrap();
    assert_eq!(
        (scenes[0].hear(), line.shared.counters.withheld.get()),
        (String::new(), 1)
    );
}

#[test]
fn each_client_reads_by_the_rules_of_its_version() {
    for (trunk, sent) in [("1.2", "k:a\\cb\\\\c\\r"), ("1.1", "k:a\\cb\\\\c")] {
        let shared = topics(|_| {});
        let mut line = Line::new(&shared);
        line.up(trunk).says();
        let versions = ["1.0", "1.1", "1.2"];
        let mut scenes: Vec<Scene> = versions
            .iter()
            .zip(1..)
            .map(|(version, id)| Scene::sharing(&shared, id, version))
            .collect();
        for scene in &mut scenes {
            scene.client("SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^");
        }
        line.says();
        let id = line.id("/topic/a");
        line.broker(&format!(
            "MESSAGE\nsubscription:{id}\ndestination:/topic/a\n{sent}\nk:2\ncontent-length:3\n\nx^y^"
        ))
        .unwrap();
        let head = "MESSAGE\nsubscription:0\ndestination:/topic/a\n";
        let rest = "k:2\ncontent-length:3\n\nx^y^";
        let plain = if trunk == "1.2" { "k:a:b\\c " } else { "k:a:b\\c" };
        assert_eq!(scenes[0].hear(), format!("{head}{plain}\n{rest}"));
        assert_eq!(scenes[1].hear(), format!("{head}{sent}\n{rest}"));
        assert_eq!(scenes[2].hear(), format!("{head}{sent}\n{rest}"));
    }
}

#[test]
fn an_id_is_used_once_and_escaped() {
    let (mut line, mut scenes) = stage(1, |_| {});
    scenes[0].client("SUBSCRIBE\nid:a\\cb\ndestination:/topic/a\n\n^");
    line.says();
    line.confirm().message("/topic/a", "x");
    assert!(scenes[0]
        .hear()
        .starts_with("MESSAGE\nsubscription:a\\cb\nmessage-id:1\n"));
    scenes[0].client("SUBSCRIBE\nid:a\\cb\ndestination:/queue/a\n\n^");
    assert_eq!(scenes[0].closed(), Some((1002, "duplicate-subscription")));
}

#[test]
fn a_client_does_not_overtake_its_own_subscription() {
    let (mut line, mut scenes) = stage(1, |_| {});
    scenes[0].client(SUBSCRIBE);
    assert!(!scenes[0].relay.accepts_input());
    line.says();
    scenes[0].client(MINE);
    assert_eq!(scenes[0].for_broker(), "");
    line.confirm();
    assert_eq!(scenes[0].hear(), RECEIPT);
    assert_eq!(scenes[0].for_broker(), MINE);
    assert!(scenes[0].relay.accepts_input());
}

#[test]
fn who_waits_too_long_uses_its_own_connection() {
    let shared = topics(|settings| settings.keep_ms = 60_000);
    let mut scene = Scene::sharing(&shared, 1, "1.2");
    scene.client(SUBSCRIBE).client(MINE);
    assert_eq!(scene.for_broker(), "");
    scene.pass(5_000);
    assert_eq!(scene.for_broker(), format!("{SUBSCRIBE}{MINE}"));
    assert_eq!(shared.sharing.counts(), (0, 0));
    // By now it is known that there is none.
    scene.client("SUBSCRIBE\nid:1\ndestination:/topic/b\n\n^");
    assert_eq!(scene.for_broker(), "SUBSCRIBE\nid:1\ndestination:/topic/b\n\n^");
    // And it is kept like any other.
    scene
        .broker("RECEIPT\nreceipt-id:r\n\n^")
        .lose(Lost::Closed)
        .for_client();
    scene.dial();
    scene.for_broker();
    scene.broker("CONNECTED\nversion:1.2\n\n^");
    assert_eq!(
        scene.for_broker(),
        "SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^SUBSCRIBE\nid:1\ndestination:/topic/b\n\n^"
    );
}

#[test]
fn a_client_that_takes_nothing_holds_up_nobody() {
    let (mut line, mut scenes) = subscribed(2, |settings| settings.client_buffer = 10_000);
    let mut got = 0;
    for _ in 0..100 {
        line.message("/topic/a", &"x".repeat(900));
        got += times(&scenes[1].hear(), "MESSAGE\n");
    }
    assert_eq!(got, 100);
    assert!(scenes[0].relay.is_overrun());
    let error = scenes[0].hear();
    assert!(
        error.starts_with("ERROR\nmessage:Slow consumer\ncode:slow-consumer\n"),
        "{error}"
    );
    assert!(error.contains("relay.client_buffer"), "{error}");
    assert_eq!(scenes[0].closed(), Some((1008, "slow-consumer")));
    assert_eq!(line.shared.sharing.counts(), (1, 1));
    // One message may be as long as any.
    line.message("/topic/a", &"x".repeat(20_000));
    assert!(scenes[1].hear().len() > 20_000);
}

#[test]
fn a_lost_shared_connection_ends_only_those_that_share() {
    let (mut line, mut scenes) = subscribed(3, |_| {});
    scenes[2].client("UNSUBSCRIBE\nid:0\n\n^SUBSCRIBE\nid:q\ndestination:/queue/a\n\n^");
    assert!(!line.lose(&Lost::Closed).at_once);
    for scene in &mut scenes[..2] {
        let error = scene.hear();
        assert!(error.starts_with(LOST), "{error}");
        assert_eq!(scene.closed(), Some((1002, "broker-lost")));
    }
    assert_eq!((scenes[2].hear(), scenes[2].closed()), (String::new(), None));
    assert_eq!(line.shared.sharing.counts(), (0, 0));
}

#[test]
fn kept_clients_hear_of_it_and_are_subscribed_again() {
    let (mut line, mut scenes) = subscribed(2, |settings| settings.keep_ms = 60_000);
    scenes[0].client("SUBSCRIBE\nid:s\ndestination:/relay/status\n\n^");
    line.lose(&Lost::Closed);
    assert!(scenes[0].hear().ends_with("\n\n{\"shared\":\"lost\"}^"));
    line.shared.sharing.not_reached(60_000, 1_000);
    assert_eq!(times(&line.up("1.2").says(), "\ndestination:/topic/a\n"), 1);
    assert_eq!(scenes[0].hear(), "", "not yet");
    line.confirm().message("/topic/a", "x");
    let heard = scenes[0].hear();
    assert!(
        heard.contains("{\"shared\":\"back\"}^MESSAGE\nsubscription:0\n"),
        "{heard}"
    );
    assert_eq!(times(&scenes[1].hear(), "MESSAGE\n"), 1);
    line.lose(&Lost::Closed);
    line.shared.sharing.not_reached(60_000, 60_000);
    assert!(scenes[1].hear().starts_with(LOST));
}

#[test]
fn whoever_asks_for_what_is_refused_is_alone_with_it() {
    for named in [true, false] {
        let (mut line, mut scenes) = subscribed(2, |_| {});
        scenes[0].client("SUBSCRIBE\nid:s\ndestination:/relay/status\n\n^");
        let said = "SUBSCRIBE\nid:1\ndestination:/topic/secret\nreceipt:r\n\n^";
        scenes[1].client(said);
        line.says();
        let error = match named {
            true => format!("ERROR\nmessage:no\nreceipt-id:{}\n\n^", line.owed[0]),
            false => NO.to_owned(),
        };
        let after = line.fails(&error);
        assert_eq!((after.refused.as_deref(), after.at_once), (Some("/topic/secret"), true));
        // It asks by itself, and the broker tells it.
        assert_eq!(
            (scenes[1].hear(), scenes[1].for_broker()),
            (String::new(), said.to_owned())
        );
        assert!(scenes[0].hear().contains("{\"shared\":\"lost\"}"));
        let again = line.up("1.2").says();
        assert_eq!((times(&again, "SUBSCRIBE\n"), times(&again, "/topic/a")), (1, 1));
        line.confirm();
        assert!(scenes[0].hear().contains("{\"shared\":\"back\"}"));
        // Who comes later asks by itself, for this or for anything new.
        let mut late = Scene::sharing(&line.shared, 9, "1.2");
        for destination in ["/topic/secret", "/topic/new"] {
            late.client(&format!("SUBSCRIBE\nid:{destination}\ndestination:{destination}\n\n^"));
            assert_eq!(times(&late.for_broker(), destination), 2);
        }
        late.client("SUBSCRIBE\nid:a\ndestination:/topic/a\nreceipt:r\n\n^");
        assert_eq!(
            (late.for_client(), late.for_broker()),
            (RECEIPT.to_owned(), String::new())
        );
        late.now = 60_000;
        late.client("SUBSCRIBE\nid:y\ndestination:/topic/secret\n\n^");
        assert_eq!(times(&late.for_broker(), "/topic/secret"), 1);
        late.client("SUBSCRIBE\nid:n\ndestination:/topic/newer\n\n^");
        assert_eq!(late.for_broker(), "");
        assert_eq!(line.shared.counters.shared_refused.get(), 1);
    }
}

#[test]
fn several_suspects_are_tried_one_by_one() {
    let (mut line, mut scenes) = subscribed(4, |_| {});
    for (scene, topic) in scenes.iter_mut().zip(["b", "secret", "c"]) {
        scene.client(&format!("SUBSCRIBE\nid:1\ndestination:/topic/{topic}\n\n^"));
    }
    assert_eq!(times(&line.says(), "SUBSCRIBE\n"), 3);
    // Nobody can say whose fault that was.
    let mut after = line.fails(NO);
    assert_eq!((after.refused.as_deref(), after.at_once), (None, true));
    line.up("1.2");
    while after.refused.is_none() {
        let said = line.says();
        assert_eq!(times(&said, "SUBSCRIBE\n"), 1, "{said}");
        match said.contains("secret") {
            true => after = line.fails(NO),
            false => drop(line.confirm()),
        }
    }
    assert_eq!(after.refused.as_deref(), Some("/topic/secret"));
    line.up("1.2");
    while !line.says().is_empty() {
        line.confirm();
    }
    assert_eq!(line.shared.sharing.counts(), (3, 4));
    for scene in &mut scenes {
        assert_eq!((scene.hear(), scene.closed()), (String::new(), None));
    }
    assert_eq!(times(&scenes[1].for_broker(), "secret"), 1);
}

#[test]
fn a_destination_that_only_breaks_the_connection_is_found_too() {
    let (mut line, mut scenes) = subscribed(2, |settings| settings.keep_ms = 60_000);
    scenes[0].client("SUBSCRIBE\nid:1\ndestination:/topic/bad\n\n^");
    for round in 1..=3 {
        while !line.says().contains("bad") {
            line.confirm();
        }
        let after = line.lose(&Lost::Closed);
        assert_eq!(after.refused.is_some(), round == 3);
        line.up("1.2");
    }
    assert_eq!(
        (scenes[0].hear(), times(&scenes[0].for_broker(), "/topic/bad")),
        (String::new(), 1)
    );
}

#[test]
fn a_broker_that_confirms_nothing_is_lost() {
    let (mut line, mut scenes) = stage(1, |_| {});
    scenes[0].client(SUBSCRIBE);
    line.says();
    line.pass(10_000);
    let trunk = line.trunk.as_mut().unwrap();
    assert_eq!(trunk.due(), Some(10_000));
    assert!(matches!(trunk.advance(&mut Vec::new(), 10_000), Some(Lost::Broken(_))));
}

#[test]
fn shared_subscriptions_count_for_the_limit() {
    let (mut line, mut scenes) = stage(1, |_| {});
    for number in 0..4 {
        assert_eq!(scenes[0].closed(), None);
        scenes[0].client(&format!("SUBSCRIBE\nid:{number}\ndestination:/topic/{number}\n\n^"));
        line.says();
        line.confirm();
        scenes[0].hear();
    }
    assert_eq!(scenes[0].closed(), Some((1008, "too-many-subscriptions")));
    assert_eq!(line.shared.sharing.counts().1, 0);
}
