//! Who a session is.

use std::sync::Arc;

/// Whose session it is: fixed when its CONNECT is accepted, and for its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The user's name; `None` for nobody. While nothing authenticates clients it is their `login`.
    pub name: Option<Arc<str>>,
    /// It may SEND to `/user/NAME/…` of any user, whatever [`UserSend`](super::settings::UserSend) says.
    pub may_send_to_users: bool,
}

impl Principal {
    /// The user called `name`; nobody if that is empty.
    pub fn named(name: &str) -> Principal {
        Principal {
            name: (!name.is_empty()).then(|| name.into()),
            may_send_to_users: false,
        }
    }
}
