//! The opening handshake of WebSocket (RFC 6455 section 4.2), and who may make it.

use hyper::header::{
    HeaderMap, HeaderName, HeaderValue, CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use hyper::{Method, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::origin::Origins;
use super::websocket::Agreed;

/// A handshake that succeeded.
#[derive(Debug)]
pub(super) struct Accepted {
    /// For `Sec-WebSocket-Accept`.
    pub(super) key: String,
    /// For `Sec-WebSocket-Protocol`.
    pub(super) subprotocol: Option<&'static str>,
    pub(super) agreed: Agreed,
}

/// Why a handshake failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// For the counters.
    pub(super) reason: &'static str,
    /// For whoever reads the answer.
    pub(super) text: String,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str, text: impl Into<String>) -> Refusal {
        Refusal {
            status,
            reason,
            text: text.into(),
        }
    }
}

/// Whether the request asks for WebSocket at all.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    lists(headers, UPGRADE, "websocket")
}

/// Examines a request to a WebSocket path.
pub(super) fn examine(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    origins: &Origins,
    limit: Option<usize>,
) -> Result<Accepted, Refusal> {
    if method != Method::GET {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            format!("A WebSocket handshake is a GET, not a {method}."),
        ));
    }
    if !is_wanted(headers) {
        return Err(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            "not-websocket",
            "This path speaks WebSocket: connect to it with ws:// and a STOMP client, or open / in a browser.",
        ));
    }
    if version < Version::HTTP_11 || !lists(headers, CONNECTION, "upgrade") {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "connection-header",
            "A WebSocket handshake needs HTTP/1.1 and \"Connection: Upgrade\"; a proxy in between may have removed it.",
        ));
    }
    if the_only(headers, SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            "websocket-version",
            "Only version 13 of WebSocket is spoken here (Sec-WebSocket-Version: 13).",
        ));
    }
    let key = the_only(headers, SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let Some(key) = key else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "websocket-key",
            "Sec-WebSocket-Key must be there once: 16 octets in base64, 24 characters.",
        ));
    };
    check_origin(headers, origins)?;
    let subprotocol = choose_subprotocol(headers);
    let springs = ![SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_EXTENSIONS, ORIGIN, USER_AGENT]
        .iter()
        .any(|name| headers.contains_key(name));
    Ok(Accepted {
        key: derive_accept_key(key.as_bytes()),
        subprotocol,
        agreed: Agreed::new(subprotocol.is_some(), springs, limit),
    })
}

fn check_origin(headers: &HeaderMap, origins: &Origins) -> Result<(), Refusal> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let text = |name| the_only(headers, name).and_then(|value| value.to_str().ok());
    let (origin, host) = (text(ORIGIN), text(HOST));
    if origin.is_some_and(|origin| origins.admit(origin, host)) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "origin",
        format!(
            "Pages of the origin {} may not connect. To admit them, list it in server.allowed_origins.",
            origin.unwrap_or("given")
        ),
    ))
}

/// The highest STOMP subprotocol that is offered, whatever the order and the number of header lines.
fn choose_subprotocol(headers: &HeaderMap) -> Option<&'static str> {
    ["v12.stomp", "v11.stomp", "v10.stomp"]
        .into_iter()
        .find(|known| offers(headers, known))
}

fn offers(headers: &HeaderMap, subprotocol: &str) -> bool {
    entries(headers, SEC_WEBSOCKET_PROTOCOL).any(|entry| entry == subprotocol.as_bytes())
}

/// Whether the list in the header `name` has `token`, in any case.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    entries(headers, name).any(|entry| entry.eq_ignore_ascii_case(token.as_bytes()))
}

/// The comma-separated entries of all lines of a header, which need not be ASCII.
fn entries(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&octet| octet == b','))
        .map(<[u8]>::trim_ascii)
}

/// The value of a header that must not be repeated.
fn the_only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Base64 of 16 octets: 22 characters and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    let base64 = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'+' || *octet == b'/';
    key.strip_suffix(b"==")
        .is_some_and(|digits| digits.len() == 22 && digits.iter().all(base64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handshake as browsers make it, with `changes`: a header set, or removed by an empty value.
    fn examined(method: Method, changes: &[(&'static str, &[u8])]) -> Result<Accepted, (u16, &'static str)> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "broker.example:15674"),
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for &(name, value) in changes {
            headers.remove(name);
            if !value.is_empty() {
                headers.insert(name, HeaderValue::from_bytes(value).unwrap());
            }
        }
        let origins = Origins::new(&["https://app.example".to_owned()]).unwrap();
        examine(&method, Version::HTTP_11, &headers, &origins, None).map_err(|refusal| {
            assert!(!refusal.text.is_empty());
            (refusal.status.as_u16(), refusal.reason)
        })
    }

    #[test]
    fn the_sample_of_the_rfc_is_accepted() {
        let accepted = examined(Method::GET, &[]).unwrap();
        assert_eq!(accepted.key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accepted.subprotocol, None);
    }

    #[test]
    fn each_wrong_handshake_is_refused_with_its_status() {
        for (name, value, status) in [
            ("upgrade", &b""[..], 426),
            ("upgrade", b"h2c", 426),
            ("connection", b"", 400),
            ("connection", b"keep-alive", 400),
            ("sec-websocket-version", b"8", 426),
            ("sec-websocket-version", b"", 426),
            ("sec-websocket-key", b"", 400),
            ("sec-websocket-key", b"abc", 400),
            ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=A", 400),
            ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZ===", 400),
            ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25j\xff\xff==", 400),
            ("origin", b"null", 403),
            ("origin", b"https://evil.example", 403),
            ("origin", b"\xff\xfe", 403),
        ] {
            let refused = examined(Method::GET, &[(name, value)]).map(|_| ()).unwrap_err();
            assert_eq!(refused.0, status, "{name}: {value:?}");
        }
        assert_eq!(examined(Method::POST, &[]).map(|_| ()), Err((405, "method")));
    }

    #[test]
    fn the_highest_offered_subprotocol_is_echoed() {
        for (offered, chosen) in [
            (&b"v12.stomp"[..], Some("v12.stomp")),
            (b"v10.stomp, v11.stomp, v12.stomp", Some("v12.stomp")),
            (b"v10.stomp,v11.stomp", Some("v11.stomp")),
            (b"\tv10.stomp ", Some("v10.stomp")),
            (b"mqtt, v11.stomp", Some("v11.stomp")),
            (b"mqtt", None),
            (b"V12.STOMP", None),
            (b"v12.stomp.evil", None),
            (b"v\xe9\xff, \xed\x95\x9c", None),
            (b"v\xe9\xff,v10.stomp", Some("v10.stomp")),
        ] {
            let accepted = examined(Method::GET, &[("sec-websocket-protocol", offered)]).unwrap();
            assert_eq!(accepted.subprotocol, chosen, "{offered:?}");
        }
    }

    #[test]
    fn subprotocols_in_several_header_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("v10.stomp"));
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("v11.stomp"));
        assert_eq!(choose_subprotocol(&headers), Some("v11.stomp"));
    }
}
