//! Subscriptions that clients share: one at the broker, and each client is none the wiser.

mod joining;
mod losing;
mod random;

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
struct Line {
    shared: Arc<Shared>,
    trunk: Option<Trunk>,
    out: Vec<u8>,
    decoder: Decoder,
    now: u64,
    /// What each topic was asked for as, last.
    ids: BTreeMap<String, String>,
    /// RECEIPTs that were asked for, and neither given nor lost.
    owed: Vec<String>,
}

impl Line {
    fn new(shared: &Arc<Shared>) -> Line {
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
    fn up(&mut self, version: &str) -> &mut Line {
        self.dial();
        self.broker(&format!("CONNECTED\nversion:{version}\n\n^")).unwrap();
        self
    }

    fn dial(&mut self) {
        let trunk = Trunk::new(Arc::clone(&self.shared), &mut self.out, self.now);
        self.trunk = Some(trunk);
        self.decoder = Decoder::new(LIMITS);
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        if let Some(trunk) = &mut self.trunk {
            trunk.heard(self.now);
        }
    }

    fn is_up(&self) -> bool {
        self.trunk.as_ref().is_some_and(Trunk::is_up)
    }

    /// The broker writes `text`.
    fn broker(&mut self, text: &str) -> Result<(), Lost> {
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
    fn is_overdue(&mut self) -> Option<Lost> {
        self.trunk.as_mut()?.advance(&mut self.out, self.now)
    }

    /// What is said to the broker now.
    fn says(&mut self) -> String {
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
    fn id(&self, destination: &str) -> &str {
        &self.ids[destination]
    }

    /// The broker gives all RECEIPTs that it owes.
    fn confirm(&mut self) -> &mut Line {
        for receipt in std::mem::take(&mut self.owed) {
            self.broker(&format!("RECEIPT\nreceipt-id:{receipt}\n\n^")).unwrap();
        }
        self
    }

    /// The broker has a message there.
    fn message(&mut self, destination: &str, body: &str) {
        let id = self.id(destination);
        let message = format!("MESSAGE\nsubscription:{id}\nmessage-id:1\ndestination:{destination}\n\n{body}^");
        self.broker(&message).unwrap();
    }

    fn lose(&mut self, why: &Lost) -> Aftermath {
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
    fn sharing(shared: &Arc<Shared>, id: u128, version: &str) -> Scene {
        let mut scene = Scene::of(shared, id);
        scene.relay.listen(Arc::new(Silent));
        scene.connect(version);
        scene
    }

    /// What the shared connection has for it, and what that means.
    fn hear(&mut self) -> String {
        while self.relay.has_mail() {
            self.last = self.relay.hear(&mut self.written, self.now);
        }
        self.for_client()
    }
}

fn topics(change: impl FnOnce(&mut Settings)) -> Arc<Shared> {
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
