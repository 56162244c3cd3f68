//! Who a session is.

use std::sync::Arc;

use crate::broker::destination::WORKER;
use crate::broker::pattern::Pattern;
use crate::broker::settings::Separator;

/// Whose session it is: fixed when its CONNECT is accepted, and for its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The user's name; `None` for nobody. While nothing authenticates clients it is their `login`.
    pub name: Option<Arc<str>>,
    /// It may SEND to `/user/NAME/…` of any user, whatever [`UserSend`](super::settings::UserSend) says.
    pub may_send_to_users: bool,
    /// The application destinations that it may work for, as [`Principal::work`] reads them.
    pub works_for: Arc<[Pattern]>,
}

impl Principal {
    /// The user called `name`; nobody if that is empty.
    pub fn named(name: &str) -> Principal {
        Principal {
            name: (!name.is_empty()).then(|| name.into()),
            may_send_to_users: false,
            works_for: Arc::default(),
        }
    }

    /// An application destination, or a pattern of them such as `/app/orders/**`, to work for; `None` if it is neither.
    pub fn work(destination: &str) -> Option<Pattern> {
        let local = destination.strip_prefix("/app/").filter(|local| !local.is_empty())?;
        Pattern::parse(&format!("{WORKER}{local}"), Separator::Both)
    }

    /// Whether it may work for all that `asked`, such as `/worker/orders/*`, stands for.
    pub(super) fn may_work(&self, asked: &str) -> bool {
        let asked = Pattern::parse(asked, Separator::Both);
        asked.is_some_and(|asked| self.works_for.iter().any(|works| works.covers(&asked)))
    }
}
