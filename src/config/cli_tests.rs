//! The binary as an operator meets it: what it prints, where, and with which exit code.

// Helpers of tests, not only tests, fail by it here.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{kill_process, Pid, Signal};

/// The binary in a directory of its own, with the given file as `hoofbeat.toml` and none of our variables.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(file: Option<&str>) -> Place {
        let directory = tempfile::tempdir().unwrap();
        if let Some(text) = file {
            std::fs::write(directory.path().join("hoofbeat.toml"), text).unwrap();
        }
        Place { directory }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hoofbeat"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOOFBEAT") {
                command.env_remove(name);
            }
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Serves on free ports, and reads what the start prints.
    fn serve(&self, arguments: &[&str]) -> Serving {
        let ports = ["--websocket", "0", "--tcp", "0"];
        let mut child = self
            .command(&[&ports, arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = Vec::new();
        while !printed
            .last()
            .is_some_and(|line: &String| line.starts_with("loopback only"))
        {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let ran = Ran::of(child.wait_with_output().unwrap());
                panic!("did not start: {printed:?} {}", ran.stderr);
            }
            printed.push(line.trim_end().to_string());
        }
        Serving {
            child,
            printed,
            _stdout: stdout,
        }
    }
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A broker that runs until it is stopped, or the test fails.
struct Serving {
    child: Child,
    printed: Vec<String>,
    _stdout: BufReader<ChildStdout>,
}

impl Serving {
    fn line(&self, start: &str) -> &str {
        let line = self.printed.iter().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("no line `{start}…` in {:?}", self.printed))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// A connected client, and what it reads from there on.
    fn connect(&self) -> (TcpStream, BufReader<TcpStream>) {
        let mut stream = TcpStream::connect(self.line("listening on tcp://")).unwrap();
        // A guard against hanging for ever, not a measure.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
            .write_all(b"CONNECT\naccept-version:1.2\nhost:localhost\n\n\0")
            .unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut answer = Vec::new();
        reader.read_until(0, &mut answer).unwrap();
        assert!(
            answer.starts_with(b"CONNECTED\n"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        (stream, reader)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may be gone already, as it should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn version() {
    let ran = Place::new(None).run(&["--version"]);
    assert_eq!(ran.stdout, format!("hoofbeat {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(ran.code, Some(0));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Place::new(None);
    for arguments in [
        &["--nonsense"][..],
        &["chekc"],
        &["check", "--set", "limits.frame"],
        &["--config"],
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}");
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
}

#[test]
fn check_without_a_file() {
    let ran = Place::new(None).run(&["check"]);
    assert_eq!(
        ran.stdout,
        "file hoofbeat.toml: not there, and not needed; environment: 0 options; flags: 0 options\n\
         would listen on ws://127.0.0.1:15674/ws\n\
         would listen on tcp://127.0.0.1:61613\n\
             would keep persistent messages in hoofbeat-data\n\
         nothing wrong\n"
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn check_counts_what_it_read() {
    let place = Place::new(Some("[server]\nwebsocket = 7001\n[topic]\nkey = \"k\"\n"));
    let output = place
        .command(&["--tcp", "7002", "check"])
        .env("HOOFBEAT__LIMITS__FRAME", "8MiB")
        .output();
    let ran = Ran::of(output.unwrap());
    assert_eq!(
        ran.stdout,
        "file hoofbeat.toml: 2 options; environment: 1 option; flags: 1 option\n\
         would listen on ws://127.0.0.1:7001/ws\n\
         would listen on tcp://127.0.0.1:7002\n\
             would keep persistent messages in hoofbeat-data\n\
         nothing wrong, but see the warnings\n"
    );
    assert!(
        ran.stderr
            .starts_with("warning: hoofbeat.toml:4:7: `key` has no effect"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.code, Some(0));
}

#[test]
fn check_finds_what_is_wrong() {
    let place = Place::new(Some("[limits]\nfrmae = 1\n"));
    let ran = place.run(&["check"]);
    assert_eq!(
        ran.stderr,
        "error: hoofbeat.toml:2:1: unknown key `frmae` in [limits]\n  2 | frmae = 1\n    | ^^^^^\n  \
         = did you mean `frame`?\n"
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    // So does serving, before it opens anything.
    assert_eq!(place.run(&[]).code, Some(2));
}

#[test]
fn check_refuses_an_open_listener_unless_it_is_meant() {
    let place = Place::new(None);
    let ran = place.run(&["check", "--tcp", "0.0.0.0:61613"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr
            .starts_with("error: --tcp: server.tcp = \"0.0.0.0:61613\" can be reached from other machines"),
        "{}",
        ran.stderr
    );
    let ran = place.run(&["check", "--tcp", "0.0.0.0:61613", "--insecure-open"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr
            .starts_with("warning: --tcp: server.tcp = \"0.0.0.0:61613\" is open to everyone"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_named_file_must_be_there() {
    let ran = Place::new(None).run(&["check", "--config", "other.toml"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.starts_with("error: --config: cannot read other.toml: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn config_default_is_a_file_that_changes_nothing() {
    let printed = Place::new(None).run(&["config", "default"]);
    assert_eq!(printed.code, Some(0));
    let ran = Place::new(Some(&printed.stdout)).run(&["check"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    // It helps who has a file that is wrong, too.
    assert_eq!(
        Place::new(Some("nonsense")).run(&["config", "default"]).stdout,
        printed.stdout
    );
}

#[test]
fn config_show_names_the_winner() {
    let place = Place::new(Some("[limits]\nframe = \"8MiB\"\nhead = \"16KiB\"\n"));
    let output = place
        .command(&["config", "show", "--log", "warn"])
        .env("HOOFBEAT__LIMITS__HEAD", "20KiB")
        .output();
    let ran = Ran::of(output.unwrap());
    let origin = |start: &str| {
        let line = ran.stdout.lines().find(|line| line.starts_with(start));
        line.and_then(|line| line.split_once('#'))
            .map(|(_, origin)| origin.trim())
    };
    assert_eq!(origin("frame = \"8MiB\""), Some("hoofbeat.toml:2"));
    assert_eq!(
        origin("head = \"20KiB\""),
        Some("environment variable HOOFBEAT__LIMITS__HEAD")
    );
    assert_eq!(origin("filter = \"warn\""), Some("flag --log"));
    assert_eq!(origin("header_lines = 64"), Some("default"));
    assert_eq!(ran.code, Some(0));
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let mut child = Place::new(None)
        .command(&["config", "default"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn serve_prints_where_it_listens() {
    let serving = Place::new(None).serve(&[]);
    assert_eq!(serving.printed[0], format!("hoofbeat {}", env!("CARGO_PKG_VERSION")));
    let websocket = serving
        .line("listening on ws://127.0.0.1:")
        .strip_suffix("/ws")
        .unwrap();
    assert_eq!(
        serving.line("page to try it: http://127.0.0.1:"),
        format!("{websocket}/")
    );
    assert_eq!(
        serving.line("limits and everything else: "),
        "hoofbeat config show; file hoofbeat.toml (none read)"
    );
    serving.connect();
}

#[test]
fn persistent_messages_outlive_the_process_and_nobody_shares_their_folder() {
    let place = Place::new(None);
    let mut serving = place.serve(&[]);
    assert_eq!(
        serving.line("persistent messages in "),
        "hoofbeat-data/default: nothing was in it"
    );
    let (mut stream, mut reader) = serving.connect();
    let mut answer = Vec::new();
    for (body, persistent) in [(1, true), (2, false), (3, true)] {
        let send = format!("SEND\ndestination:/queue/q\npersistent:{persistent}\nreceipt:{body}\n\n{body}\0");
        stream.write_all(send.as_bytes()).unwrap();
        answer.clear();
        reader.read_until(0, &mut answer).unwrap();
        assert!(answer.trim_ascii_start().starts_with(b"RECEIPT\n"));
    }
    let ran = place.run(&["--websocket", "off", "--tcp", "0"]);
    assert_eq!(ran.code, Some(1));
    for said in [
        "in use by another process",
        "= store.folder is from: default",
        "--ephemeral",
    ] {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    serving.signal(Signal::KILL);
    serving.code();
    let mut serving = place.serve(&[]);
    let found = "hoofbeat-data/default: 2 messages of 1 queue recovered";
    assert_eq!(serving.line("persistent messages in "), found);
    let (mut stream, mut reader) = serving.connect();
    stream
        .write_all(b"SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n\0")
        .unwrap();
    for body in ["1", "3"] {
        answer.clear();
        reader.read_until(0, &mut answer).unwrap();
        let frame = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            frame.contains("\nredelivered:false\n") && frame.ends_with(&format!("\n\n{body}\0")),
            "{frame}"
        );
    }
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(), Some(0));
    drop((stream, reader));
    let serving = place.serve(&[]);
    assert_eq!(
        serving.line("persistent messages in "),
        found,
        "nothing was acknowledged"
    );
}

#[test]
fn without_a_folder_nothing_is_written() {
    let place = Place::new(None);
    let serving = place.serve(&["--ephemeral"]);
    assert_eq!(
        serving.line("persistent messages in "),
        "memory only: they end with the process"
    );
    assert!(!place.directory.path().join("hoofbeat-data").exists());
    let elsewhere = place.serve(&["--data", "else/where"]);
    assert_eq!(
        elsewhere.line("persistent messages in "),
        "else/where/default: nothing was in it"
    );
    assert!(place.directory.path().join("else/where/default").is_dir());
}

#[test]
fn a_port_in_use_is_named_with_its_option() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ran = Place::new(None).run(&["--websocket", "off", "--set", &format!("server.tcp={address}")]);
    assert!(
        ran.stderr
            .contains(&format!("error: cannot listen on {address} (server.tcp): ")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("= server.tcp is from: flag --set server.tcp\n"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("another port: --tcp PORT"), "{}", ran.stderr);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
}

#[test]
fn a_signal_stops_it_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut serving = Place::new(None).serve(&[]);
        let (stream, mut reader) = serving.connect();
        serving.signal(signal);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("ERROR\n") && rest.contains("code:shutdown\n"), "{rest:?}");
        drop((stream, reader));
        assert_eq!(serving.code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        // Left alone it would wait a day for the client, which stays.
        let mut serving = Place::new(None).serve(&["--set", "server.linger=1d", "--set", "server.drain=1d"]);
        let (_stream, mut reader) = serving.connect();
        serving.signal(signal);
        let mut told = Vec::new();
        reader.read_until(0, &mut told).unwrap();
        serving.signal(signal);
        assert_eq!(serving.code(), Some(code));
    }
}

#[test]
fn what_does_not_finish_is_cut_at_the_end_of_the_drain_time() {
    let mut serving = Place::new(None).serve(&["--set", "server.linger=1d", "--set", "server.drain=50ms"]);
    let _stays = serving.connect();
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(), Some(0));
}

#[test]
fn a_passcode_is_not_logged_however_much_is() {
    const CONNECT: &[u8] = b"CONNECT\naccept-version:1.2\nhost:h\nlogin:ann\npasscode:s3cr3t\n\n\0";
    let mut serving = Place::new(None).serve(&["--log", "trace"]);

    let mut tcp = TcpStream::connect(serving.line("listening on tcp://")).unwrap();
    tcp.write_all(CONNECT).unwrap();
    let mut answer = Vec::new();
    BufReader::new(&tcp).read_until(0, &mut answer).unwrap();
    assert!(answer.starts_with(b"CONNECTED\n"));

    let address = serving.line("listening on ws://").strip_suffix("/ws").unwrap();
    let mut websocket = TcpStream::connect(address).unwrap();
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    websocket.write_all(handshake.as_bytes()).unwrap();
    // One text message, masked with zeros.
    let length = u8::try_from(CONNECT.len()).unwrap();
    assert!(length < 126);
    let message = [&[0x81, 0x80 | length, 0, 0, 0, 0], CONNECT].concat();
    websocket.write_all(&message).unwrap();
    let mut answer = Vec::new();
    BufReader::new(&websocket).read_until(0, &mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("CONNECTED\n"));

    drop((tcp, websocket));
    serving.signal(Signal::TERM);
    let mut log = String::new();
    serving.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains(" INFO hoofbeat: stopping"), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
}

#[test]
fn passwd_prints_a_user_who_may_connect_and_then_nobody_else_may() {
    let place = Place::new(None);
    let mut passwd = place
        .command(&["passwd", "joe", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    passwd.stdin.take().unwrap().write_all(b"open sesame\n").unwrap();
    let ran = Ran::of(passwd.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stdout
            .starts_with("[[users]]\nname = \"joe\"\npassword = \"$argon2id$"),
        "{}",
        ran.stdout
    );

    let place = Place::new(Some(&ran.stdout));
    let serving = place.serve(&["--ephemeral"]);
    for (passcode, answer) in [("open sesame", "CONNECTED"), ("open", "ERROR")] {
        let mut stream = TcpStream::connect(serving.line("listening on tcp://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let connect = format!("CONNECT\naccept-version:1.2\nlogin:joe\npasscode:{passcode}\n\n\0");
        stream.write_all(connect.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), answer);
    }
}

#[test]
fn passwd_needs_a_terminal_or_is_told_to_do_without() {
    let ran = Place::new(None).run(&["passwd", "joe"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("--stdin") && ran.stdout.is_empty(),
        "{}",
        ran.stderr
    );
}

#[test]
fn bench_loads_a_broker_by_its_url_and_needs_no_configuration() {
    let serving = Place::new(None).serve(&[]);
    let wrong = Place::new(Some("nonsense"));
    let url = format!("tcp://{}", serving.line("listening on tcp://"));
    let little = ["--subscribers", "3", "--messages", "20", "--warm-up", "0s", "--json"];
    let ran = wrong.run(&[&["bench", "fanout", "--url", &url], &little[..]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains(r#""delivered":60,"#), "{}", ran.stdout);
    assert!(ran.stdout.contains(r#""lost":0,"#), "{}", ran.stdout);

    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = wrong.run(&["bench", "--url", &format!("tcp://{unused}")]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("Start one in another terminal"), "{}", ran.stderr);
}

#[test]
fn store_check_says_what_is_in_a_folder_and_its_exit_code_whether_it_is_whole() {
    use hoofbeat::broker::journal::{Journal, Record};
    use hoofbeat::store::{Settings, Store};

    // What is configured is nothing to it.
    let place = Place::new(Some("nonsense"));
    let folder = place.directory.path().join("kept");
    let check = || place.run(&["store", "check", "kept"]);
    let missing = check();
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("kept"), "{}", missing.stderr);

    let opened = Store::open(&folder, Settings::default()).unwrap();
    let (name, terms) = ("/queue/q", &[1; 100][..]);
    opened.store.write(Record::Declare { queue: 1, name, terms }, None);
    let ran = check();
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("is in use by another process"), "{}", ran.stderr);
    opened.store.close();
    drop(opened);
    let ran = check();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.contains("/queue/q: 0 messages"), "{}", ran.stdout);

    let segment = folder.join("00000001.log");
    let mut octets = std::fs::read(&segment).unwrap();
    octets[150] ^= 1;
    std::fs::write(&segment, octets).unwrap();
    let ran = check();
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stdout.contains("/queue/q: 0 messages"),
        "it was written twice: {}",
        ran.stdout
    );
    assert!(ran.stdout.contains("DAMAGED: segment 00000001"), "{}", ran.stdout);
}
