//! Which web pages may connect.
//!
//! A browser lets any page open a WebSocket to any address, loopback included, and says in `Origin` (RFC 6454) whose page
//! it is. Clients that are no browsers send none and could send any: they are not what this rule is for.

use std::net::IpAddr;

use super::Error;

/// The origins an operator admits, besides a page's own host and this machine's.
#[derive(Debug)]
pub(crate) struct Origins {
    any: bool,
    listed: Vec<Origin>,
}

/// Scheme, host and port, normalised.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origins {
    /// # Errors
    /// An entry of `listed` is neither `*` nor an origin.
    pub(crate) fn new(listed: &[String]) -> Result<Origins, Error> {
        let mut origins = Origins {
            any: false,
            listed: Vec::new(),
        };
        for entry in listed {
            if entry == "*" {
                origins.any = true;
                continue;
            }
            let origin = Origin::parse(entry).ok_or_else(|| Error::Setting {
                option: "server.allowed_origins",
                reason: format!(
                    "{entry:?} is not an origin, which is scheme://host or scheme://host:port and nothing behind, or *"
                ),
            })?;
            origins.listed.push(origin);
        }
        Ok(origins)
    }

    /// Whether a page of `origin` may connect to the server that it calls `host`.
    pub(super) fn admit(&self, origin: &str, host: Option<&str>) -> bool {
        if self.any {
            return true;
        }
        let Some(origin) = Origin::parse(origin) else {
            return false;
        };
        let same = host.and_then(|host| Origin::of_host(&origin.scheme, host));
        same.is_some_and(|same| same == origin) || origin.is_local_page() || self.listed.contains(&origin)
    }
}

impl Origin {
    /// `scheme://host[:port]` and nothing else; `null` is no origin.
    fn parse(text: &str) -> Option<Origin> {
        let (scheme, host) = text.split_once("://")?;
        let known = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'-' | b'.');
        if scheme.is_empty() || !scheme.bytes().all(known) {
            return None;
        }
        Origin::of_host(&scheme.to_ascii_lowercase(), host)
    }

    /// The origin of a page that `host[:port]` serves by `scheme`.
    fn of_host(scheme: &str, host: &str) -> Option<Origin> {
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (
                    host.get(..address.len() + 2)?,
                    port.strip_prefix(':').or(port.is_empty().then_some("")),
                )
            }
            None => match host.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, Some("")),
            },
        };
        let port = match port? {
            "" if host.ends_with(':') => return None,
            "" => None,
            digits if digits.bytes().all(|octet| octet.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        let odd = |octet: u8| {
            matches!(octet, b'/' | b'@' | b'?' | b'#' | b'*' | b'\\' | b'%') || octet <= b' ' || octet >= 0x7f
        };
        if name.is_empty() || name.bytes().any(odd) {
            return None;
        }
        let port = port.or(match scheme {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        });
        Some(Origin {
            scheme: scheme.to_owned(),
            host: name.to_ascii_lowercase(),
            port,
        })
    }

    /// A page that a web server on the browser's own machine gave it.
    fn is_local_page(&self) -> bool {
        let address = self
            .host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        let local = self.host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        local && matches!(self.scheme.as_str(), "http" | "https")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_admitted_by_origin() {
        let listed = [
            "https://app.example",
            "https://other.example:8443",
            "capacitor://localhost",
        ]
        .map(String::from);
        let origins = Origins::new(&listed).unwrap();
        for (origin, host, admitted) in [
            // The same host.
            ("http://broker.example:15674", "broker.example:15674", true),
            ("http://BROKER.example:15674", "broker.EXAMPLE:15674", true),
            ("https://broker.example", "broker.example", true),
            ("https://broker.example", "broker.example:443", true),
            ("http://broker.example", "broker.example:15674", false),
            ("http://broker.example:8080", "broker.example:15674", false),
            ("http://[2001:db8::1]:15674", "[2001:db8::1]:15674", true),
            // This machine.
            ("http://localhost", "broker.example", true),
            ("http://localhost:3000", "127.0.0.1:15674", true),
            ("https://127.0.0.1:8443", "broker.example", true),
            ("http://127.8.9.1", "broker.example", true),
            ("http://[::1]:5173", "broker.example", true),
            // The list.
            ("https://app.example", "broker.example", true),
            ("https://app.example:443", "broker.example", true),
            ("HTTPS://APP.example", "broker.example", true),
            ("capacitor://localhost", "broker.example", true),
            ("https://other.example:8443", "broker.example", true),
            ("http://app.example", "broker.example", false),
            ("https://app.example:8443", "broker.example", false),
            ("https://other.example", "broker.example", false),
            // Look-alikes.
            ("null", "broker.example", false),
            ("", "broker.example", false),
            ("https://evil.example", "broker.example", false),
            ("https://app.example.evil.example", "broker.example", false),
            ("https://evil-app.example", "broker.example", false),
            ("https://app.example@evil.example", "broker.example", false),
            ("https://app.example/", "broker.example", false),
            ("https://app.example ", "broker.example", false),
            ("https://app.example:", "broker.example", false),
            ("https://app.example:443:443", "broker.example", false),
            ("https://app.example:+443", "broker.example", false),
            ("http://localhost.evil.example", "broker.example", false),
            ("http://127.0.0.1.evil.example", "broker.example", false),
            ("http://localhost:80@evil.example", "broker.example", false),
            ("http://127.0.0.1.", "broker.example", false),
            ("http://[::1].evil.example", "broker.example", false),
            ("http://[::2]", "broker.example", false),
            ("ftp://localhost", "broker.example", false),
            ("file://", "broker.example", false),
            ("localhost", "broker.example", false),
        ] {
            assert_eq!(origins.admit(origin, Some(host)), admitted, "{origin} at {host}");
        }
        assert!(!origins.admit("https://broker.example", None));
    }

    #[test]
    fn a_star_admits_every_page() {
        let origins = Origins::new(&["*".to_owned()]).unwrap();
        assert!(origins.admit("https://evil.example", None));
        assert!(origins.admit("null", None));
    }

    #[test]
    fn an_entry_that_is_no_origin_is_the_operators_error() {
        for entry in [
            "app.example",
            "https://",
            "https://app.example/",
            "https://*.example/x",
            "null",
            "",
        ] {
            let error = Origins::new(&[entry.to_owned()]).unwrap_err();
            assert!(error.to_string().starts_with("server.allowed_origins: "), "{error}");
        }
    }
}
