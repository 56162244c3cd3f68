//! What names a place: addresses, paths, origins, folders.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::kind::{quoted, Value};
use crate::broker::pattern::{is_wildcard, pieces};
use crate::broker::settings::Separator;
use crate::server::origin::Origins;

/// Names are not resolved: what is listened on must not depend on a name server.
pub(super) fn address(value: &Value) -> Result<Option<SocketAddr>, String> {
    let loopback = |port| Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let text = match value {
        Value::Integer(port) => {
            let port = u16::try_from(*port).map_err(|_| "not a port (0 to 65535)")?;
            return Ok(loopback(port));
        }
        Value::Text(text) | Value::Written(text) => text.trim(),
        _ => return Err("not an address".to_string()),
    };
    if text == "off" {
        return Ok(None);
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let port = text.parse().map_err(|_| "not a port (0 to 65535)")?;
        return Ok(loopback(port));
    }
    if let Some(Ok(port)) = text.strip_prefix("localhost:").map(str::parse) {
        return Ok(loopback(port));
    }
    match text.parse() {
        Ok(address) => Ok(Some(address)),
        Err(_) if text.starts_with(':') => Err(format!("no host; all addresses are \"0.0.0.0{text}\"")),
        Err(_) => Err("not an address (an IP address and a port; names are not resolved)".to_string()),
    }
}

/// A path that can be compared with the one of a request.
pub(super) fn path(item: &str) -> Result<String, String> {
    if !item.starts_with('/') {
        return Err(format!("{} does not begin with a slash", quoted(item)));
    }
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
    if !item.chars().all(plain) {
        return Err(format!("{} has characters that no path has", quoted(item)));
    }
    Ok(item.to_string())
}

/// An entry of the list of origins. The server says what is one; the likely mistakes are told apart here.
pub(super) fn origin(item: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("{} {why}", quoted(item)));
    match item.split_once("://") {
        None if item != "*" => return bad("has no scheme: https://app.example"),
        Some((_, host)) if host.contains('/') => {
            return bad("has a path or a slash at the end; an origin ends with host or port");
        }
        Some((_, host)) if host.contains('*') => return bad("has a wildcard; list each origin, or \"*\" for any"),
        _ => {}
    }
    match Origins::new(&[item.to_string()]) {
        Ok(_) => Ok(item.to_string()),
        Err(_) => bad("is not an origin"),
    }
}

/// Where to keep something, or nowhere.
pub(super) fn folder(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "" => Err("empty".to_string()),
        "off" => Ok(None),
        path if path.contains('\0') => Err("has a character that no folder has".to_string()),
        path => Ok(Some(PathBuf::from(path))),
    }
}

/// A topic, or none.
pub(super) fn topic(name: &str) -> Result<Option<String>, String> {
    let local = name.strip_prefix("/topic/").unwrap_or_default();
    match name {
        "off" => Ok(None),
        _ if local.is_empty() => Err("neither \"off\" nor a name that begins with /topic/".to_string()),
        _ if pieces(local, Separator::Both).any(is_wildcard) => Err("a pattern, not a topic".to_string()),
        _ => Ok(Some(name.to_string())),
    }
}
