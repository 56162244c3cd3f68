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
}
