//! Passwords of little cost, and sessions that wait for them.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;

use argon2::Params;

use super::password::{Memory, SALT};
use super::users::KEY;
use super::{Password, User, Users};
use crate::broker::{self, Broker, FrameSink, Now, Volatile};
use crate::session::{Authentication, Hosts, Link, Session, Settings};
use crate::stomp::Decoder;

/// Of "password", from the reference implementation's known answers.
const KNOWN: [&str; 3] = [
    "$argon2i$v=16$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
    "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
    "$argon2i$v=16$m=256,t=2,p=2$c29tZXNhbHQ$tsEVYKap1h6scGt5ovl9aLRGOqOth+AMB+KwHpDFZPs",
];

fn cheap(password: &str) -> Password {
    Password::with(Params::new(8, 1, 1, None).unwrap(), password, [7; SALT]).unwrap()
}

fn settings(users: &[(&str, &str)]) -> Arc<Settings> {
    let user = |(name, password): &(&str, &str)| User {
        name: (*name).to_owned(),
        password: cheap(password),
        may_send_to_users: *name == "server",
        worker: Vec::new(),
    };
    let users: Vec<User> = users.iter().map(user).collect();
    let users = Users::new(&users, [9; KEY]).unwrap();
    Arc::new(Settings {
        authentication: Some(Authentication::by(users)),
        ..Settings::default()
    })
}

#[derive(Default)]
struct Text(String);

impl FrameSink for Text {
    fn frame(&mut self, parts: &[&[u8]], _utf8: bool) {
        self.0 += &String::from_utf8_lossy(&parts.concat());
    }

    fn position(&self) -> u64 {
        self.0.len() as u64
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What a CONNECT with these header lines is answered, and who the session is then.
fn connect(settings: &Arc<Settings>, lines: &str) -> (String, Option<String>) {
    let hosts = Hosts {
        default: Arc::new(Broker::new(broker::Settings::default(), 1, Arc::new(Volatile))),
        named: Default::default(),
    };
    let now = Now::default();
    let mut session = Session::new(Arc::new(hosts), Arc::clone(settings), Link::Tcp, 1, now);
    let octets = format!("CONNECT\naccept-version:1.2\n{lines}\n\0");
    let mut decoder = Decoder::new(settings.before_connect);
    let frame = decoder.decode(&mut octets.as_bytes()).unwrap().unwrap();
    session.receive(frame, now);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    while !session.outbound().poll_work(&waker) {
        std::thread::park();
    }
    session.wake(now);
    let mut text = Text::default();
    session.drain(&mut text, now);
    let name = session
        .principal()
        .and_then(|who| who.name.as_deref().map(str::to_owned));
    (text.0, name)
}

#[test]
fn the_right_passcode_makes_the_user_the_principal() {
    let settings = settings(&[("joe", "secret"), ("server", "other")]);
    for turn in ["checked", "known again"] {
        let (answer, name) = connect(&settings, "login:joe\npasscode:secret\n");
        assert!(
            answer.starts_with("CONNECTED\n") && answer.contains("\nuser-name:joe\n"),
            "{turn}: {answer}"
        );
        assert_eq!(name.as_deref(), Some("joe"), "{turn}");
    }
}

#[test]
fn whatever_is_wrong_is_answered_alike() {
    let settings = settings(&[("joe", "secret"), ("server", "other")]);
    let right = connect(&settings, "login:joe\npasscode:secret\n");
    assert!(right.0.starts_with("CONNECTED\n"), "{right:?}");
    let wrong = [
        "",
        "login:joe\n",
        "passcode:secret\n",
        "login:joe\npasscode:\n",
        "login:joe\npasscode:other\n",
        "login:joe\npasscode:secret \n",
        "login:joes\npasscode:ecret\n",
        "login:ann\npasscode:secret\n",
        &format!("login:joe\npasscode:{}\n", "x".repeat(2_000)),
    ]
    .map(|lines| connect(&settings, lines));
    for (answer, name) in &wrong {
        assert!(
            answer.starts_with("ERROR\nmessage:Wrong login or passcode\ncode:bad-credentials\n"),
            "{answer}"
        );
        assert_eq!((answer, name), (&wrong[0].0, &None));
    }
}

#[test]
fn many_at_once_are_one_check_and_wrong_ones_do_not_hold_up_the_rest() {
    let settings = settings(&[("guest", "guest")]);
    std::thread::scope(|scope| {
        let guests: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| connect(&settings, "login:guest\npasscode:guest\n")))
            .collect();
        let settings = &settings;
        let wrong: Vec<_> = (0..20)
            .map(|turn| scope.spawn(move || connect(settings, &format!("login:guest\npasscode:{turn}\n"))))
            .collect();
        assert!(guests
            .into_iter()
            .all(|guest| guest.join().unwrap().1.as_deref() == Some("guest")));
        assert!(wrong.into_iter().all(|wrong| wrong.join().unwrap().1.is_none()));
    });
}

#[test]
fn a_password_is_kept_as_argon2_and_nothing_else() {
    let password = cheap("secret");
    assert!(
        password.as_str().starts_with("$argon2id$v=19$m=8,t=1,p=1$"),
        "{}",
        password.as_str()
    );
    assert_eq!(Password::parse(password.as_str()), Ok(password.clone()));
    let mut memory = Memory::default();
    let mut is = |kept: &Password, text: &str| kept.is(text, &mut memory);
    assert!(is(&password, "secret") && !is(&password, "secret ") && !is(&password, ""));
    // Made by others: argon2i, an older version, one that is not named, two lanes.
    for kept in KNOWN {
        let kept = Password::parse(kept).unwrap();
        assert!(is(&kept, "password") && !is(&kept, "Password"), "{}", kept.as_str());
    }
    assert!(!format!("{password:?}").contains("argon2id"));
    let huge = password.as_str().replace("m=8", "m=2000000");
    for wrong in [
        "",
        "secret",
        "$2b$10$abcdefghijklmnopqrstuv",
        "$argon2id$v=19$m=8,t=1,p=1",
        &huge,
    ] {
        assert!(Password::parse(wrong).is_err(), "{wrong}");
    }
    assert!(Password::of("", [0; SALT]).is_err());
    assert!(Password::of(&"x".repeat(1_025), [0; SALT]).is_err());
}
