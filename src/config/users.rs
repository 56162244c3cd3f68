//! `[[users]]`: who may connect.

use super::file::{convert, Item, Key, Reader, UserEntry};
use super::kind::{quoted, Value};
use crate::auth::{Password, User};

/// Keys of an entry.
const KEYS: [&str; 4] = ["name", "password", "may_send_to_users", "worker"];

/// What to do about an entry that lacks something.
const REMEDY: &str = "`hoofbeat passwd NAME` prints a whole entry";

impl Reader {
    pub(super) fn users(&mut self, key: Key<'_, '_>, item: Item<'_, '_>) -> Vec<UserEntry> {
        let mut users: Vec<UserEntry> = Vec::new();
        for (table, mut spot) in self.tables(key, item) {
            let (mut name, mut password, mut may_send_to_users) = (None, None, false);
            let mut worker = Vec::new();
            for (key, item) in table {
                match key.get_ref().as_ref() {
                    "name" => {
                        spot = self.spot(item.span());
                        name = self.name(item);
                    }
                    "password" => password = self.password(item),
                    "may_send_to_users" => may_send_to_users = self.flag(key, item),
                    "worker" => worker = self.works(item),
                    _ => self.unknown(key, "[[users]]", &KEYS),
                }
            }
            for wanted in ["name", "password"] {
                if !table.iter().any(|(key, _)| key.get_ref() == wanted) {
                    self.problem(spot.clone(), format!("a user without `{wanted}`"), REMEDY);
                }
            }
            let (Some(name), Some(password)) = (name, password) else {
                continue;
            };
            if users.iter().any(|known| known.user.name == name) {
                let what = format!("a second user called {}", quoted(&name));
                self.problem(spot.clone(), what, "each user has one entry");
            }
            let user = User {
                name,
                password,
                may_send_to_users,
                worker,
            };
            users.push(UserEntry { user, spot });
        }
        users
    }

    fn name(&mut self, item: Item<'_, '_>) -> Option<String> {
        match convert(item.get_ref()) {
            Value::Text(name) if !name.is_empty() && !name.chars().any(char::is_control) => Some(name),
            value => {
                let what = format!("name = {}", value.show());
                self.problem(
                    self.spot(item.span()),
                    what,
                    "allowed: a string that is not empty and has no control characters",
                );
                None
            }
        }
    }

    fn works(&mut self, item: Item<'_, '_>) -> Vec<String> {
        match convert(item.get_ref()) {
            Value::List(works) if works.iter().all(|work| User::may_have(work)) => works,
            value => {
                let what = format!("worker = {}", value.show());
                let note = "allowed: a list of application destinations and patterns of them: [\"/app/orders\"], [\"/app/**\"]";
                self.problem(self.spot(item.span()), what, note);
                Vec::new()
            }
        }
    }

    /// Its value is nobody's business, so the problem does not repeat the line.
    fn password(&mut self, item: Item<'_, '_>) -> Option<Password> {
        let read = match convert(item.get_ref()) {
            Value::Text(text) => Password::parse(&text),
            _ => Err("no string".to_owned()),
        };
        match read {
            Ok(password) => Some(password),
            Err(why) => {
                let spot = self.spot(item.span()).secret();
                let what = format!("password: {why}");
                let note = "allowed: an argon2 hash in the PHC string format, as `hoofbeat passwd NAME` prints it";
                self.problem(spot, what, note);
                None
            }
        }
    }

    fn flag(&mut self, key: Key<'_, '_>, item: Item<'_, '_>) -> bool {
        match convert(item.get_ref()) {
            Value::Flag(flag) => flag,
            value => {
                let what = format!("{} = {}", key.get_ref(), value.show());
                self.problem(self.spot(item.span()), what, "allowed: true, false");
                false
            }
        }
    }
}
