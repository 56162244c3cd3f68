//! `hoofbeat passwd`: a password in, the lines for the configuration file out.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{tcgetattr, tcsetattr, LocalModes, OptionalActions, Termios};

use super::password::SALT;
use super::Password;

/// Reads a password, twice from the terminal without showing it or once from a line of stdin, and returns the
/// `[[users]]` entry of `name`.
///
/// # Errors
/// Why there is none: for people.
pub fn run(name: &str, from_stdin: bool) -> Result<String, String> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("the name is empty or has control characters".to_owned());
    }
    let password = match from_stdin {
        true => line_of(&mut io::stdin().lock()).map_err(|error| format!("cannot read the password: {error}"))?,
        false => ask_twice(name)?,
    };
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(|error| format!("no random octets from the operating system: {error}"))?;
    let password = Password::of(&password, salt)?;
    let (name, password) = (quoted(name), quoted(password.as_str()));
    Ok(format!("[[users]]\nname = {name}\npassword = {password}\n"))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn line_of(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(line)
}

fn ask_twice(name: &str) -> Result<String, String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err("stdin is no terminal; --stdin reads the password from its first line".to_owned());
    }
    let unreadable = |error: io::Error| format!("cannot read the password: {error}");
    let first = ask(&format!("Password of {name}: ")).map_err(unreadable)?;
    let again = ask("Again: ").map_err(unreadable)?;
    match first == again {
        true => Ok(first),
        false => Err("the two are not the same".to_owned()),
    }
}

/// Reads a line that is not shown. Signals are off meanwhile, so that none leaves the terminal mute.
fn ask(prompt: &str) -> io::Result<String> {
    let mut terminal = io::stderr().lock();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let typed = {
        let _muted = Muted::new()?;
        typed(&mut io::stdin().lock())
    };
    terminal.write_all(b"\n")?;
    typed
}

/// What was typed up to the end of the line.
fn typed(input: &mut impl Read) -> io::Result<String> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const BACKSPACE: [u8; 2] = [8, 127];
    let mut line = Vec::new();
    let mut read = [0];
    // Octet by octet: the line ends with a key, not with the end of the input.
    while input.read(&mut read)? > 0 {
        let [octet] = read;
        match octet {
            INTERRUPT => return Err(io::Error::from(io::ErrorKind::Interrupted)),
            b'\n' | b'\r' | END => break,
            octet if BACKSPACE.contains(&octet) => {
                // The octets of the last character, which its first one begins.
                while line.pop().is_some_and(|octet: u8| octet & 0xc0 == 0x80) {}
            }
            octet => line.push(octet),
        }
    }
    String::from_utf8(line).map_err(|_| io::Error::other("not UTF-8"))
}

/// The terminal shows nothing and sends no signals until this is dropped.
struct Muted(Termios);

impl Muted {
    fn new() -> io::Result<Muted> {
        let before = tcgetattr(io::stdin())?;
        let mut muted = before.clone();
        muted
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &muted)?;
        Ok(Muted(before))
    }
}

impl Drop for Muted {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_can_be_taken_back() {
        assert_eq!(
            typed(&mut &b"pa\x7fass\xc3\xa9\x08!\nrest"[..]).ok().as_deref(),
            Some("pass!")
        );
        assert_eq!(typed(&mut &b"pass\x04"[..]).ok().as_deref(), Some("pass"));
        assert!(typed(&mut &b"pass\x03\n"[..]).is_err());
        assert!(typed(&mut &b"\xff\n"[..]).is_err());
    }

    #[test]
    fn a_line_of_stdin_is_taken_without_its_end() {
        assert_eq!(
            line_of(&mut &b"pass word \r\nrest"[..]).ok().as_deref(),
            Some("pass word ")
        );
    }
}
