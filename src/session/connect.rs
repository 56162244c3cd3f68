//! CONNECT: from an opened connection to a session ("Connecting", "Protocol Negotiation", "Heart-beating").

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::app::Requests;
use super::authenticate::{Credentials, Verdict};
use super::receipts::Receipts;
use super::{fault, Connected, Fault, Link, Principal, Session, State, Step};
use crate::broker::{Broker, Now};
use crate::stomp::headers::unescape;
use crate::stomp::heartbeat::{HeartBeat, Liveness, Tolerance};
use crate::stomp::{encode, Command, Frame, Version};

/// What CONNECTED's `server` header says.
const SERVER: &str = concat!("Hoofbeat/", env!("CARGO_PKG_VERSION"));

/// A client whose CONNECT could be read, and is admitted or not.
#[derive(Debug)]
pub(super) struct Joining {
    version: Version,
    broker: Arc<Broker>,
    /// The client's and ours.
    heart_beat: (HeartBeat, HeartBeat),
    client_id: Option<Box<str>>,
    /// Where the decision comes.
    verdict: Option<Verdict>,
}

impl Session {
    /// The first frame: it must be CONNECT, or STOMP.
    pub(super) fn connect(&mut self, frame: &Frame<'_>, now: Now) -> Result<(), Fault> {
        if !matches!(frame.command, Command::Connect | Command::Stomp) {
            let detail = format!(
                "{} came before CONNECT; the first frame must be CONNECT or STOMP.",
                frame.command
            );
            return Err(Fault::new(fault::NOT_CONNECTED, detail));
        }
        self.hosts.default.counters().connect.one();
        let version = negotiate(frame)?;
        let broker = self.host(frame, version)?;
        let client = match self.field(frame, "heart-beat", version) {
            Some(value) => HeartBeat::parse(&value).ok_or_else(|| {
                Fault::bad_header("heart-beat", &value, "two numbers of milliseconds, such as 10000,10000")
            })?,
            None => HeartBeat::default(),
        };
        let server = match version {
            // 1.0 knows no heart-beats.
            Version::V1_0 => HeartBeat::default(),
            Version::V1_1 | Version::V1_2 => HeartBeat {
                send: self.settings.heart_beat_send_ms,
                receive: self.settings.heart_beat_receive_ms,
            },
        };
        let login = self.field(frame, "login", version).filter(|login| !login.is_empty());
        if login.as_deref().is_some_and(|login| login.contains(['\n', '\r', '\0'])) {
            // With session.unescape_connect; CONNECTED is not escaped, and the name shall be one line there.
            return Err(Fault::bad_header("login", "…", "a name without line ends"));
        }
        let joining = Joining {
            version,
            broker,
            heart_beat: (client, server),
            client_id: self.field(frame, "client-id", version).map(|id| id.into()),
            verdict: None,
        };
        // Nothing is read before CONNECTED, so the decoder may know at once.
        self.agreed = Some((version, self.settings.connected, self.settings.strict));
        let Some(authentication) = &self.settings.authentication else {
            let principal = Principal::named(login.as_deref().unwrap_or_default());
            self.admit(joining, principal, now);
            return Ok(());
        };
        let credentials = Credentials {
            login: login.map(Cow::into),
            passcode: self.field(frame, "passcode", version).map(Cow::into),
            host: self.field(frame, "host", version).map(Cow::into),
        };
        let verdict = authentication.ask(credentials, &self.outbound);
        self.state = State::Joining(Box::new(Joining {
            verdict: Some(verdict),
            ..joining
        }));
        Ok(())
    }

    /// Goes on with a CONNECT that has been decided on; nothing if it has not.
    pub(super) fn join(&mut self, now: Now) -> Step {
        let State::Joining(joining) = &mut self.state else {
            return Step::Done;
        };
        let Some(decided) = joining.verdict.as_ref().and_then(Verdict::take) else {
            return Step::Done;
        };
        match (decided, std::mem::replace(&mut self.state, State::Connecting)) {
            (Some(principal), State::Joining(joining)) => {
                self.admit(*joining, principal, now);
                Step::Done
            }
            _ => {
                self.hosts.default.counters().bad_credentials.one();
                // The same words whatever was wrong: which names there are is nobody's business.
                let detail =
                    "The headers \"login\" and \"passcode\" are not those of a user of this server ([[users]]).";
                self.fail(Fault::new(fault::BAD_CREDENTIALS, detail))
            }
        }
    }

    fn admit(&mut self, joining: Joining, principal: Principal, now: Now) {
        let Joining {
            version,
            broker,
            heart_beat: (client, server),
            client_id,
            verdict: _,
        } = joining;
        let session = format!("{:032x}", self.id);
        let heart_beat = server.to_string();
        let mut headers = vec![
            ("version", version.as_str()),
            ("heart-beat", heart_beat.as_str()),
            ("session", session.as_str()),
            ("server", SERVER),
        ];
        if let Some(name) = &principal.name {
            headers.push(("user-name", name));
        }
        self.outbound.control(encode::connected(&headers));
        broker.counters().connected.one();
        let presence = broker.greet(principal.name.clone(), broker.token(self.id).into());
        self.state = State::Connected(Box::new(Connected {
            version,
            client_id,
            principal,
            number: presence.number,
            temporary: broker.temporary_token(self.id).into(),
            presence,
            liveness: Liveness::agree(client, server, self.tolerance(), now.mono),
            broker,
            settings: Arc::clone(&self.settings),
            link: self.link,
            outbound: Arc::clone(&self.outbound),
            subscriptions: BTreeMap::new(),
            requests: Requests::default(),
            ids: BTreeMap::new(),
            used: (BTreeSet::new(), VecDeque::new()),
            next_serial: 0,
            transactions: BTreeMap::new(),
            owned: BTreeSet::new(),
            receipts: Receipts::default(),
            blocked: None,
            replaying: false,
            last_target: None,
            marks: VecDeque::new(),
            paused: None,
            unfinished: 0,
            unfinished_since: None,
            leaving: None,
        }));
    }

    /// A header of CONNECT: taken as it stands but for a 1.0 client, whose blanks are not meant.
    fn field<'a>(&self, frame: &Frame<'a>, name: &str, version: Version) -> Option<Cow<'a, str>> {
        let value = frame.headers.get(name)?;
        if version == Version::V1_0 {
            return Some(Cow::Owned(value.trim().to_owned()));
        }
        match self.settings.unescape_connect {
            true => Some(Cow::Owned(unescape(&value).into_owned())),
            false => Some(value),
        }
    }

    fn host(&self, frame: &Frame<'_>, version: Version) -> Result<Arc<Broker>, Fault> {
        let Some(name) = self.field(frame, "host", version) else {
            return Ok(Arc::clone(&self.hosts.default));
        };
        match self.hosts.named.get(name.as_ref()) {
            Some(broker) => Ok(Arc::clone(broker)),
            None if self.settings.strict_host => Err(Fault::new(
                fault::UNKNOWN_HOST,
                format!("The header \"host\" is \"{name}\", which is no configured virtual host ([hosts]; session.strict_host)."),
            )),
            // stomp.py and go-stomp send the peer's address here.
            None => Ok(Arc::clone(&self.hosts.default)),
        }
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance {
            permille: self.settings.heart_beat_tolerance_permille,
            extra_ms: self.settings.heart_beat_extra_ms,
            probe_ms: self.settings.probe_ms,
            idle_probe_ms: self.settings.idle_probe_ms,
            can_probe: self.link != Link::Tcp,
        }
    }
}

fn negotiate(frame: &Frame<'_>) -> Result<Version, Fault> {
    let accepted = frame.headers.get("accept-version");
    Version::negotiate(accepted.as_deref()).ok_or_else(|| {
        let list = accepted.unwrap_or_default();
        let supported = Version::SUPPORTED;
        let detail = format!("The header \"accept-version\" is \"{list}\"; this server speaks {supported}.");
        Fault::new(fault::UNSUPPORTED_VERSION, detail).about("version", supported)
    })
}
