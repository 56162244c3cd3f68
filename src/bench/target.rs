//! Where the broker is.

use std::fmt;
use std::str::FromStr;

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// STOMP over WebSocket; over TCP if not.
    pub(super) websocket: bool,
    /// HOST:PORT.
    pub(super) authority: String,
    /// Of the WebSocket.
    pub(super) path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Target, String> {
        let (websocket, rest, port) = match (url.strip_prefix("ws://"), url.strip_prefix("tcp://")) {
            (Some(rest), _) => (true, rest, 80),
            (None, Some(rest)) => (false, rest, 61_613),
            (None, None) => return Err("must begin with ws:// or tcp:// (TLS is not spoken here)".to_string()),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.is_empty() {
            return Err("names no host".to_string());
        }
        // The last colon of `[::1]` is part of the address.
        let has_port = authority.rfind(':') > authority.rfind(']');
        Ok(Target {
            websocket,
            authority: match has_port {
                true => authority.to_string(),
                false => format!("{authority}:{port}"),
            },
            path: path.to_string(),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.websocket {
            true => write!(f, "ws://{}{}", self.authority, self.path),
            false => write!(f, "tcp://{}", self.authority),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown() {
        let shown = |url: &str| url.parse::<Target>().map(|target| target.to_string());
        assert_eq!(
            shown("ws://localhost:15674/ws").as_deref(),
            Ok("ws://localhost:15674/ws")
        );
        assert_eq!(shown("ws://broker").as_deref(), Ok("ws://broker:80/"));
        assert_eq!(shown("tcp://[::1]").as_deref(), Ok("tcp://[::1]:61613"));
        assert_eq!(shown("tcp://[::1]:7").as_deref(), Ok("tcp://[::1]:7"));
        assert!(shown("http://localhost").is_err());
        assert!(shown("ws:///ws").is_err());
    }
}
