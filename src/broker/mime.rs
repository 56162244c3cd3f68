//! What a `content-type` has to be for decoders that read it, of which Spring's is the strictest.

/// Octets of a token in a MIME type: printable ASCII but for separators.
const TOKEN: [bool; 128] = {
    let mut table = [false; 128];
    let mut octet = b'!';
    while octet <= b'~' {
        table[octet as usize] = !matches!(
            octet,
            b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'\\' | b'"' | b'/' | b'[' | b']' | b'?' | b'='
        );
        octet += 1;
    }
    table
};

/// Charsets that every Java has. Spring's decoder asks Java for the one that is named, and ends the session if there is none.
const CHARSETS: [&str; 35] = [
    "utf-8",
    "utf8",
    "utf-16",
    "utf-16be",
    "utf-16le",
    "utf-32",
    "us-ascii",
    "ascii",
    "iso-8859-1",
    "latin1",
    "iso-8859-2",
    "iso-8859-3",
    "iso-8859-4",
    "iso-8859-5",
    "iso-8859-6",
    "iso-8859-7",
    "iso-8859-8",
    "iso-8859-9",
    "iso-8859-13",
    "iso-8859-15",
    "iso-8859-16",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1257",
    "koi8-r",
    "koi8-u",
    "euc-kr",
    "ks_c_5601-1987",
    "euc-jp",
    "shift_jis",
    "gb2312",
    "gbk",
    "gb18030",
    "big5",
];

/// What most messages are, so that they need not be taken apart.
const USUAL: [&str; 5] = [
    "text/plain",
    "application/json",
    "application/octet-stream",
    "text/plain;charset=UTF-8",
    "application/json;charset=UTF-8",
];

/// `type/subtype`, both tokens, with or without parameters, of which `charset` must name a known one.
pub(super) fn is_readable(value: &str) -> bool {
    USUAL.contains(&value) || is_read(value)
}

fn is_read(value: &str) -> bool {
    let (full, parameters) = value.split_once(';').unwrap_or((value, ""));
    let Some((kind, subtype)) = full.trim().split_once('/') else {
        return false;
    };
    is_token(kind)
        && is_token(subtype)
        && (kind != "*" || subtype == "*")
        && parameters
            .split(';')
            .map(str::trim)
            .all(|one| one.is_empty() || is_parameter(one))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| TOKEN.get(usize::from(octet)) == Some(&true))
}

fn is_parameter(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else {
        return false;
    };
    let (name, value) = (name.trim(), value.trim());
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let known = || {
        let charset = quoted.unwrap_or(value);
        CHARSETS.iter().any(|known| known.eq_ignore_ascii_case(charset))
    };
    is_token(name) && (quoted.is_some() || is_token(value)) && (!name.eq_ignore_ascii_case("charset") || known())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mime_types_are_told_apart() {
        for usual in USUAL {
            assert!(is_read(usual), "{usual}");
        }
        for good in [
            "text/plain",
            "text/plain;charset=UTF-8",
            "text/plain; Charset=\"euc-kr\"",
            "application/vnd.x+json; a=\"b c\"",
            "*/*",
            "a/b;",
        ] {
            assert!(is_readable(good), "{good}");
        }
        for bad in [
            "",
            "json",
            "text/",
            "/x",
            "a b/c",
            "text/plain;charset",
            "*/json",
            "text/plain;charset=",
            "text/plain;charset=nonsense",
            "text/plain;charset=\"nonsense\"",
            "text/plain;charset=utf-8;charset=nonsense",
            "a/b;c=\"",
        ] {
            assert!(!is_readable(bad), "{bad}");
        }
    }
}
