//! The broker under test and how to reach it.

use crate::case::Transport;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// The broker under test.
#[derive(Clone, Debug)]
pub struct Target {
    /// WebSocket or TCP.
    pub transport: Transport,
    /// Where it listens.
    pub address: SocketAddr,
    /// `host:port` as in the URL, for the HTTP `Host` header.
    pub authority: String,
    /// The path of the WebSocket.
    pub path: String,
    /// `login` of CONNECT, none by default.
    pub login: Option<String>,
    /// `passcode` of CONNECT, none by default.
    pub passcode: Option<String>,
    /// `host` of CONNECT.
    pub vhost: String,
    /// What the name of a topic begins with.
    pub topic_prefix: String,
    /// What the name of a queue begins with.
    pub queue_prefix: String,
    /// How long an expected event may take.
    pub patience: Duration,
    /// How long "nothing" is waited for after the round trip of a receipt.
    pub quiet: Duration,
}

impl Target {
    /// Reads `ws://host:port/path`, `tcp://host:port` or `stomp://host:port`.
    pub fn parse(url: &str) -> Result<Target, String> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("{url:?} is not a URL"))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (transport, port) = match scheme {
            "ws" => (Transport::WebSocket, 80),
            "tcp" | "stomp" => (Transport::Tcp, 61613),
            _ => {
                return Err(format!(
                    "{scheme}:// is not known (known: ws, tcp, stomp; TLS is not spoken)"
                ))
            }
        };
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let full = if has_port {
            authority.to_string()
        } else {
            format!("{authority}:{port}")
        };
        let addresses = full.to_socket_addrs().map_err(|error| format!("{full}: {error}"))?;
        // A name such as localhost may stand for two addresses of which one listens.
        let address = addresses
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .max_by_key(|address| std::net::TcpStream::connect_timeout(address, Duration::from_secs(2)).is_ok())
            .ok_or_else(|| format!("{full} has no address"))?;
        Ok(Target {
            transport,
            address,
            authority: authority.into(),
            path: path.into(),
            login: None,
            passcode: None,
            vhost: "/".into(),
            topic_prefix: "/topic/".into(),
            queue_prefix: "/queue/".into(),
            patience: Duration::from_secs(4),
            quiet: Duration::from_millis(150),
        })
    }

    /// The header lines of CONNECT that log in, each with an LF before it; empty without a login.
    pub fn credentials(&self) -> String {
        let line = |name: &str, value: &Option<String>| {
            value
                .as_ref()
                .map(|value| format!("\n{name}:{value}"))
                .unwrap_or_default()
        };
        line("login", &self.login) + &line("passcode", &self.passcode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let target = Target::parse("ws://127.0.0.1:1/stomp").unwrap();
        assert_eq!(
            (target.transport, target.path.as_str(), target.address.port()),
            (Transport::WebSocket, "/stomp", 1)
        );
        assert_eq!(Target::parse("tcp://127.0.0.1").unwrap().address.port(), 61613);
        assert_eq!(Target::parse("stomp://[::1]:2").unwrap().address.port(), 2);
        assert!(Target::parse("wss://127.0.0.1/").is_err());
        assert!(Target::parse("127.0.0.1:80").is_err());
    }
}
