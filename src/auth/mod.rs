//! The users that are configured, and the check of their passwords.
//!
//! | what | where |
//! |---|---|
//! | one password as it is kept | `password` |
//! | who may connect; the threads that find out | [`Users`] |
//! | `hoofbeat passwd` | `passwd` |
//!
//! What is not here: STOMP, sockets, and what a user may do, which is in the session's `Principal`.

mod passwd;
pub mod password;
#[cfg(test)]
mod tests;
mod users;

use crate::session::Principal;
pub use passwd::run as passwd;
pub use password::Password;
pub use users::{Users, KEY};

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What its clients say as `login`.
    pub name: String,
    /// Its password, as it is kept.
    pub password: Password,
    /// It may SEND to `/user/NAME/…` of any user.
    pub may_send_to_users: bool,
    /// What it may work for: `/app/orders`, `/app/**`.
    pub worker: Vec<String>,
}

impl User {
    /// Whether that can stand in [`User::worker`].
    pub fn may_have(worker: &str) -> bool {
        Principal::work(worker).is_some()
    }
}
