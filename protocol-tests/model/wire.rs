//! Frames as bytes, read and written by code of its own: a bug shared with the broker would hide.

/// A frame, unescaped.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub command: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Frame {
    pub fn new(command: &str) -> Frame {
        Frame {
            command: command.to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Frame {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn body(mut self, body: impl ToString) -> Frame {
        self.body = body.to_string();
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    /// Its header lines as a client of 1.`version` writes them.
    pub fn lines(&self, version: u8) -> Vec<(String, String)> {
        let escape = |text: &str| match version {
            _ if matches!(self.command.as_str(), "CONNECT" | "STOMP") => text.to_owned(),
            0 => text.to_owned(),
            _ => text.replace('\\', "\\\\").replace('\n', "\\n").replace(':', "\\c"),
        };
        let headers = self.headers.iter();
        headers.map(|(name, value)| (escape(name), escape(value))).collect()
    }

    /// As a client of 1.`version` writes it.
    pub fn encode(&self, version: u8) -> Vec<u8> {
        let mut text = format!("{}\n", self.command);
        for (name, value) in self.lines(version) {
            text += &format!("{name}:{value}\n");
        }
        text += &format!("\n{}\0", self.body);
        text.into_bytes()
    }

    /// Reads what a server wrote in one go: exactly one frame.
    pub fn decode(bytes: &[u8], version: u8) -> Result<Frame, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| format!("no UTF-8: {e}"))?;
        let text = text
            .strip_suffix('\0')
            .ok_or_else(|| format!("no NUL at the end of {text:?}"))?;
        let (head, body) = text
            .split_once("\n\n")
            .ok_or_else(|| format!("no blank line in {text:?}"))?;
        let mut lines = head.split('\n');
        let mut frame = Frame::new(lines.next().unwrap_or_default()).body(body);
        let raw = version == 0 || frame.command == "CONNECTED";
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
            let plain = |text: &str| match raw {
                true => text.to_owned(),
                false => unescape(text),
            };
            frame.headers.push((plain(name), plain(value)));
        }
        match frame.get("content-length").map(str::parse::<usize>) {
            Some(length) if length != Ok(body.len()) => Err(format!("wrong content-length: {frame:?}")),
            None if body.contains('\0') => Err(format!("two frames: {frame:?}")),
            _ => Ok(frame),
        }
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => '\n',
                Some('c') => ':',
                Some('r') => '\r',
                _ => '\\',
            },
            (c, false) => c,
        });
    }
    plain
}
