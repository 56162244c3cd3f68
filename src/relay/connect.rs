//! CONNECT on its way to the broker, and CONNECTED on its way back.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::passage::{head, Edit, Kept, Pending};
use super::{fault, Admission, Backoff, Edge, Fault, Lost, Open, Relay, Shared, State, Step, Up, UserSend, Wires};
use crate::stomp::headers::unescape;
use crate::stomp::{Command, Frame, HeartBeat, Liveness, Version};

/// What a client says of itself. Not shown by `Debug`: a log is no place for a passcode.
pub struct Credentials {
    /// The `login` header.
    pub login: Option<Box<str>>,
    /// The `passcode` header.
    pub passcode: Option<Box<str>>,
    /// The `host` header.
    pub host: Option<Box<str>>,
}

/// As whom a client connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The user; `None` for nobody.
    pub name: Option<String>,
    /// It may SEND to `/user/NAME/...` of any user.
    pub may_send_to_users: bool,
}

impl Relay {
    /// The client's first frame: it must be CONNECT, or STOMP.
    pub(super) fn connect(&mut self, frame: &Frame<'_>, now: u64) -> Result<Step, Fault> {
        if !frame.command.is_connect() || frame.command == Command::Connected {
            let detail = format!(
                "{} came before CONNECT; the first frame must be CONNECT or STOMP.",
                frame.command
            );
            return Err(Fault::new(fault::NOT_CONNECTED, detail));
        }
        let version = negotiate(frame)?;
        let client_beat = match frame.headers.get("heart-beat") {
            Some(value) => HeartBeat::parse(value.trim()).ok_or_else(|| {
                let detail = format!(
                    "The header \"heart-beat\" is \"{value}\"; allowed is two numbers of milliseconds, such as 10000,10000."
                );
                Fault::new(fault::BAD_HEADER, detail)
            })?,
            None => HeartBeat::default(),
        };
        let settings = &self.shared.settings;
        let user = self
            .edge
            .field(frame, "login", version)
            .filter(|login| !login.is_empty());
        if user.as_deref().is_some_and(|user| user.contains(['\n', '\r', '\0'])) {
            // With session.unescape_connect; neither CONNECT nor CONNECTED is escaped, and the name shall be one line there.
            let detail = "The header \"login\" is no name without line ends.";
            return Err(Fault::new(fault::BAD_HEADER, detail));
        }
        // The token is random already; its first half seeds what need only differ.
        let seed = u64::from_str_radix(self.token.get(..16).unwrap_or_default(), 16).unwrap_or(1);
        self.agreed = Some(version);
        self.state = State::Open(Box::new(Open {
            version,
            connect: Kept::of(frame),
            user: user.map(Cow::into_owned),
            admission: Admission::Open,
            user_send: self.edge.user_send,
            entry: None,
            client_beat,
            client: None,
            since: now,
            upstream: Up::Waiting(now),
            backoff: Backoff::new(settings.retry_first_ms, settings.retry_longest_ms, seed),
            epoch: 0,
            pending: Pending::default(),
            spread: None,
            subscriptions: BTreeMap::new(),
            kept_bytes: 0,
            next_serial: 0,
            most_subscriptions: self.edge.subscriptions,
            most_transactions: self.edge.transactions,
            transactions: BTreeSet::new(),
            lost_transactions: BTreeSet::new(),
            receipts: VecDeque::new(),
            status: BTreeSet::new(),
            back: None,
            told: 0,
            bell: self.bell.take(),
            member: None,
            leaving: None,
            stopping: false,
        }));
        match self.edge.authenticates {
            true => Ok(Step::Done),
            false => self.seek(),
        }
    }

    /// What the client says of itself, if it must be found out whether it may connect. Asked after each frame; `Some`
    /// once, and then comes [`Relay::admit`].
    pub fn asks(&mut self) -> Option<Credentials> {
        let State::Open(open) = &mut self.state else {
            return None;
        };
        if open.admission != Admission::Open {
            return None;
        }
        open.admission = Admission::Asked;
        let frame = open.connect.frame();
        let field = |name: &str| Some(self.edge.field(&frame, name, open.version)?.into());
        Some(Credentials {
            login: field("login"),
            passcode: field("passcode"),
            host: field("host"),
        })
    }

    /// The client may connect, as whom it says; or not.
    pub fn admit(&mut self, admitted: Option<Admitted>, wires: &mut impl Wires) -> Step {
        let State::Open(open) = &mut self.state else {
            return Step::Done;
        };
        let Some(Admitted {
            name,
            may_send_to_users,
        }) = admitted
        else {
            // The same words whatever was wrong: which names there are is nobody's business.
            let detail = "The headers \"login\" and \"passcode\" are not those of a user of this server ([[users]]).";
            return self.fail(Fault::new(fault::BAD_CREDENTIALS, detail), wires);
        };
        open.user = name;
        if may_send_to_users {
            open.user_send = UserSend::Any;
        }
        match self.seek() {
            Ok(step) => step,
            Err(fault) => self.fail(fault, wires),
        }
    }

    /// The client may have a connection to the broker.
    fn seek(&mut self) -> Result<Step, Fault> {
        let Shared {
            settings,
            counters,
            upstream,
            ..
        } = &*self.shared;
        if settings.keep_ms == 0 && !upstream.is_available() {
            counters.told.one();
            return Err(unavailable());
        }
        counters.connect.one();
        if let State::Open(open) = &mut self.state {
            open.admission = Admission::Given;
        }
        Ok(Step::Done)
    }

    /// The connection to the broker is there: CONNECT goes out on it.
    pub fn dialled(&mut self, wires: &mut impl Wires, now: u64) {
        let State::Open(open) = &mut self.state else { return };
        let settings = &self.shared.settings;
        open.upstream = Up::Asked(now + settings.connected_ms);
        let frame = open.asking(&self.shared, &self.edge);
        wires.upstream(&[&frame, &[0]]);
    }

    /// CONNECTED of the broker.
    pub(super) fn connected(&mut self, frame: &Frame<'_>, wires: &mut impl Wires, now: u64) -> Step {
        let State::Open(open) = &mut self.state else {
            return Step::Done;
        };
        let chosen = frame.headers.get("version");
        let version = match chosen.as_deref().map(str::trim) {
            None | Some("1.0") => Version::V1_0,
            Some("1.1") => Version::V1_1,
            Some("1.2") => Version::V1_2,
            Some(_) => {
                return self.lost(
                    Lost::Broken("CONNECTED has a version that nobody asked for".into()),
                    wires,
                    now,
                )
            }
        };
        let offered = open.connect.frame().headers.get("accept-version").map(Cow::into_owned);
        let is_offered = match offered {
            None => version == Version::V1_0,
            Some(list) => list.split(',').any(|entry| entry.trim() == version.as_str()),
        };
        if !is_offered || (open.client.is_some() && version != open.version) {
            return self.lost(
                Lost::Broken("CONNECTED has a version that nobody asked for".into()),
                wires,
                now,
            );
        }
        open.agree(frame, version, &self.shared, now);
        self.spoken = Some(version);
        if open.client.is_some() {
            self.shared.counters.resumed.one();
            return self.resume(wires, now);
        }
        self.agreed = Some(version);
        let edge = self.edge;
        open.pass_connected(frame, edge.heart_beat, wires);
        let beats = match version {
            // 1.0 knows no heart-beats.
            Version::V1_0 => HeartBeat::default(),
            Version::V1_1 | Version::V1_2 => edge.heart_beat,
        };
        open.client = Some(Liveness::agree(open.client_beat, beats, edge.tolerance, now));
        if let Some(user) = &open.user {
            open.entry = Some(self.shared.users.enter(user, &self.token));
        }
        self.shared.counters.connected.one();
        self.resume(wires, now)
    }
}

impl Open {
    /// CONNECT as the broker gets it: the client's, in order, with credentials, `host` and `heart-beat` of ours. When it
    /// is said again, only the version is offered that was agreed on.
    fn asking(&self, shared: &Shared, edge: &Edge) -> Vec<u8> {
        let settings = &shared.settings;
        let frame = self.connect.frame();
        let own = |name: &str| edge.field(&frame, name, self.version).unwrap_or_default();
        let (client_login, client_passcode) = (own("login"), own("passcode"));
        let filled = |template: &str| fill(template, &client_login, &client_passcode);
        let login = filled(&settings.client_login);
        let passcode = filled(&settings.client_passcode);
        let heart_beat = match self.version {
            Version::V1_0 => String::new(),
            Version::V1_1 | Version::V1_2 => settings.heart_beat.to_string(),
        };
        let again = self.client.is_some();
        let ours = [
            ("login", login.as_str()),
            ("passcode", &passcode),
            ("host", &settings.host),
            ("heart-beat", &heart_beat),
        ];
        let mut seen: Vec<&str> = Vec::new();
        let edit = |line: &crate::stomp::Line<'_>| {
            if again && line.name == "accept-version" {
                return Edit::Set(Cow::Borrowed(self.version.as_str()));
            }
            let Some((name, value)) = ours.iter().find(|(name, _)| *name == line.name) else {
                return Edit::Keep;
            };
            if value.is_empty() || seen.contains(name) {
                return Edit::Drop;
            }
            seen.push(name);
            Edit::Set(Cow::Borrowed(*value))
        };
        let added: Vec<(&str, &str)> = ours
            .into_iter()
            .filter(|(name, value)| !value.is_empty() && !frame.headers.has(name))
            .collect();
        head(&frame, self.version, edit, &added)
    }

    /// What CONNECTED says of the connection to the broker.
    fn agree(&mut self, frame: &Frame<'_>, version: Version, shared: &Shared, now: u64) {
        self.version = version;
        let theirs = frame.headers.get("heart-beat");
        let theirs = theirs
            .and_then(|value| HeartBeat::parse(value.trim()))
            .unwrap_or_default();
        let liveness = match version {
            Version::V1_0 => Liveness::none(now),
            Version::V1_1 | Version::V1_2 => {
                Liveness::agree(theirs, shared.settings.heart_beat, shared.settings.tolerance(), now)
            }
        };
        self.upstream = Up::Ready(liveness);
        self.backoff.reset();
    }

    /// CONNECTED as the client gets it: the broker's, with our heart-beat, and whose session this is.
    fn pass_connected(&self, frame: &Frame<'_>, ours: HeartBeat, wires: &mut impl Wires) {
        let beats = (self.version > Version::V1_0).then(|| ours.to_string());
        let edit = |line: &crate::stomp::Line<'_>| match (line.name, &beats) {
            ("heart-beat", Some(beats)) => Edit::Set(Cow::Borrowed(beats.as_str())),
            ("heart-beat", None) | ("user-name", _) => Edit::Drop,
            _ => Edit::Keep,
        };
        let mut added: Vec<(&str, &str)> = Vec::new();
        if let Some(beats) = beats.as_deref().filter(|_| !frame.headers.has("heart-beat")) {
            added.push(("heart-beat", beats));
        }
        if let Some(user) = &self.user {
            added.push(("user-name", user));
        }
        wires.client(&[&head(frame, self.version, edit, &added), &[0]], true);
    }
}

impl Edge {
    /// A header of CONNECT: taken as it stands but for a 1.0 client, whose blanks are not meant.
    fn field<'a>(&self, frame: &Frame<'a>, name: &str, version: Version) -> Option<Cow<'a, str>> {
        let value = frame.headers.get(name)?;
        match version {
            Version::V1_0 => Some(Cow::Owned(value.trim().to_owned())),
            _ if self.unescape_connect => Some(Cow::Owned(unescape(&value).into_owned())),
            _ => Some(value),
        }
    }
}

/// There is no broker now.
pub(super) fn unavailable() -> Fault {
    let detail = "The broker behind this relay cannot be reached now; connect again later.";
    Fault::new(fault::BROKER_UNAVAILABLE, detail)
}

/// `template` with the client's own credentials in their places.
fn fill(template: &str, login: &str, passcode: &str) -> String {
    // Piece by piece: what the client calls itself may look like a place too.
    let pieces = template
        .split("{login}")
        .map(|piece| piece.split("{passcode}").collect::<Vec<_>>().join(passcode));
    pieces.collect::<Vec<_>>().join(login)
}

fn negotiate(frame: &Frame<'_>) -> Result<Version, Fault> {
    let accepted = frame.headers.get("accept-version");
    Version::negotiate(accepted.as_deref()).ok_or_else(|| {
        let list = accepted.unwrap_or_default();
        let supported = Version::SUPPORTED;
        let detail = format!("The header \"accept-version\" is \"{list}\"; this server speaks {supported}.");
        let mut fault = Fault::new(fault::UNSUPPORTED_VERSION, detail);
        fault.headers.push(("version", supported.to_owned()));
        fault
    })
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn credentials_are_fixed_mapped_or_passed_through() {
        for (template, filled) in [
            ("guest", "guest"),
            ("", ""),
            ("{login}", "{passcode}"),
            ("web-{login}", "web-{passcode}"),
            ("{passcode}", "secret"),
            ("{login}:{passcode}", "{passcode}:secret"),
        ] {
            assert_eq!(fill(template, "{passcode}", "secret"), filled, "{template}");
        }
    }
}
