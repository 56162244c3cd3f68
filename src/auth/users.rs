//! Who may connect, and the threads that check passwords.
//!
//! A check takes some 20 ms of a core and 19 MiB, so it is never done by a runtime thread, and only by as many threads as
//! leave most of the machine to those who are connected. Checks wait in the order in which they came, one for each pair of
//! login and passcode however many connections brought it; there are never more than connections, and those whose
//! session has given up are skipped. What has been verified once is known again by a keyed hash: Spring's relay opens ten
//! thousand connections with the same login, and a client that was let in before gets in during a flood of wrong ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use blake2::digest::consts::U32;
use blake2::digest::{KeyInit, Mac};
use blake2::Blake2bMac;

use super::password::{self, Memory, Password};
use super::User;
use crate::session::{Answer, Authenticator, Credentials, Principal};

/// Threads that check passwords: one for each four cores, and no more than this.
const MOST_THREADS: usize = 4;

/// Octets of the key of the hashes.
pub const KEY: usize = 64;

/// The configured users. Dropping it ends its threads.
pub struct Users(Arc<Shared>);

struct Shared {
    people: BTreeMap<Box<str>, Person>,
    /// Of this process alone.
    key: [u8; KEY],
    /// Locked alone.
    desk: Mutex<Desk>,
    /// Told of a check that waits, or of the end.
    work: Condvar,
}

struct Person {
    password: Password,
    principal: Principal,
}

/// A keyed hash of a login and a passcode.
type Seal = [u8; 32];

#[derive(Default)]
struct Desk {
    /// Checks that wait or are being made.
    checks: BTreeMap<Seal, Check>,
    /// Of these, those that wait, in the order in which they came.
    waiting: VecDeque<Seal>,
    /// What each user was last let in with.
    known: BTreeMap<Box<str>, Seal>,
    closed: bool,
}

struct Check {
    login: Box<str>,
    passcode: Box<str>,
    /// Of those who wait for it.
    answers: Vec<Answer>,
}

impl Users {
    /// Starts the threads. `key` is random.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn new(users: &[User], key: [u8; KEY]) -> std::io::Result<Users> {
        let person = |user: &User| {
            let principal = Principal {
                may_send_to_users: user.may_send_to_users,
                works_for: user.worker.iter().filter_map(|work| Principal::work(work)).collect(),
                ..Principal::named(&user.name)
            };
            let password = user.password.clone();
            (user.name.as_str().into(), Person { password, principal })
        };
        let users = Users(Arc::new(Shared {
            people: users.iter().map(person).collect(),
            key,
            desk: Mutex::default(),
            work: Condvar::new(),
        }));
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        for _ in 0..(cores / 4).clamp(1, MOST_THREADS) {
            let shared = Arc::clone(&users.0);
            thread::Builder::new()
                .name("hoofbeat-passwords".to_owned())
                .spawn(move || shared.serve())?;
        }
        Ok(users)
    }
}

impl Authenticator for Users {
    fn authenticate(&self, credentials: Credentials, answer: Answer) {
        let (Some(login), Some(passcode)) = (credentials.login, credentials.passcode) else {
            return answer.refuse();
        };
        if login.len() > password::LONGEST || passcode.len() > password::LONGEST {
            return answer.refuse();
        }
        let seal = self.0.seal(&login, &passcode);
        let mut desk = self.0.lock();
        if desk.known.get(&login) == Some(&seal) {
            drop(desk);
            return self.0.give(vec![answer], &login, true);
        }
        if let Some(check) = desk.checks.get_mut(&seal) {
            return check.answers.push(answer);
        }
        let check = Check {
            login,
            passcode,
            answers: vec![answer],
        };
        desk.checks.insert(seal, check);
        desk.waiting.push_back(seal);
        drop(desk);
        self.0.work.notify_one();
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of a thread: checks what waits until the end.
    fn serve(&self) {
        let mut memory = Memory::default();
        while let Some((seal, login, passcode)) = self.next() {
            let right = self.is_right(&login, &passcode, &mut memory);
            let mut desk = self.lock();
            let answers = desk.checks.remove(&seal).map(|check| check.answers);
            if right {
                desk.known.insert(login.clone(), seal);
            }
            drop(desk);
            self.give(answers.unwrap_or_default(), &login, right);
        }
    }

    /// The next check that somebody still waits for; `None` at the end.
    fn next(&self) -> Option<(Seal, Box<str>, Box<str>)> {
        let mut desk = self.lock();
        loop {
            if desk.closed {
                return None;
            }
            let Some(seal) = desk.waiting.pop_front() else {
                desk = self.work.wait(desk).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            match desk.checks.get(&seal) {
                Some(check) if check.answers.iter().any(Answer::is_awaited) => {
                    return Some((seal, check.login.clone(), check.passcode.clone()));
                }
                _ => desk.checks.remove(&seal),
            };
        }
    }

    /// Whether a login has the passcode. One that is unknown takes the time of one that is known.
    fn is_right(&self, login: &str, passcode: &str, memory: &mut Memory) -> bool {
        match self.people.get(login) {
            Some(person) => person.password.is(passcode, memory),
            None => {
                if let Some(somebody) = self.people.values().next() {
                    somebody.password.is(passcode, memory);
                }
                false
            }
        }
    }

    fn give(&self, answers: Vec<Answer>, login: &str, right: bool) {
        let principal = self.people.get(login).filter(|_| right).map(|person| &person.principal);
        for answer in answers {
            match principal {
                Some(principal) => answer.accept(principal.clone()),
                None => answer.refuse(),
            }
        }
    }

    fn seal(&self, login: &str, passcode: &str) -> Seal {
        // The length comes first: "ab" and "c" are not "a" and "bc".
        let length = (login.len() as u64).to_le_bytes();
        let parts: [&[u8]; 3] = [&length, login.as_bytes(), passcode.as_bytes()];
        let keyed = <Blake2bMac<U32> as KeyInit>::new(&self.key.into());
        let sealed = parts.iter().fold(keyed, |mac, part| mac.chain_update(part));
        sealed.finalize().into_bytes().into()
    }
}
