//! The `hoofbeat` binary: arguments and configuration in, a serving broker and an exit code out.
//!
//! stdout has what was asked for, or where the broker listens; stderr has errors and logs.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use hoofbeat::auth::{self, User};
use hoofbeat::config::{self, Arguments, ConfigVerb, Loaded, StoreVerb, Verb};
use hoofbeat::error::Error;
use hoofbeat::server::{Kept, Mode, Server};
use hoofbeat::session::Authentication;
use tokio::signal::unix::{signal, Signal, SignalKind};
use tracing_subscriber::EnvFilter;

/// Something failed that was not the operator's choice.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong; clap uses it too.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let verb = arguments.verb.unwrap_or(Verb::Serve);
    let printed = match verb {
        Verb::Config {
            verb: ConfigVerb::Default,
        } => Some(config::defaults()),
        Verb::Config { verb: ConfigVerb::Doc } => Some(config::documentation()),
        _ => None,
    };
    // Neither depends on what is configured, so neither fails when that is wrong.
    if let Some(text) = printed {
        print(&text);
        return ExitCode::SUCCESS;
    }
    // What is configured here is nothing to a broker elsewhere.
    if let Verb::Bench(arguments) = &verb {
        return hoofbeat::bench::run(arguments);
    }
    if let Verb::Store {
        verb: StoreVerb::Check { folder },
    } = &verb
    {
        return check_store(folder);
    }
    if let Verb::Passwd { name, stdin } = &verb {
        return passwd(name, *stdin);
    }
    let options = &arguments.options;
    let loaded = match config::load(options.config.as_deref(), std::env::vars_os(), &options.flags()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(WRONG);
        }
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    match verb {
        Verb::Serve => serve(&loaded),
        Verb::Check => check(&loaded),
        Verb::Config { .. } => print(&loaded.show()),
        Verb::Store {
            verb: StoreVerb::Check { folder },
        } => check_store(&folder),
        Verb::Bench(arguments) => hoofbeat::bench::run(&arguments),
        Verb::Passwd { name, stdin } => passwd(&name, stdin),
    }
}

fn passwd(name: &str, from_stdin: bool) -> ExitCode {
    match hoofbeat::auth::passwd(name, from_stdin) {
        Ok(entry) => print(&entry),
        Err(why) => fail(&why),
    }
}

/// Writes to stdout. Who reads it may have had enough (`| head`); that is no failure.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

fn check_store(folder: &Path) -> ExitCode {
    match hoofbeat::store::check::check(folder) {
        Ok(checked) => match (print(&checked.text), checked.damaged) {
            (_, true) => ExitCode::from(FAILED),
            (printed, false) => printed,
        },
        Err(error) => fail(&error.to_string()),
    }
}

fn check(loaded: &Loaded) -> ExitCode {
    let settings = &loaded.config.settings;
    let mut text = format!("{}\n", sources(loaded));
    let listeners = [("ws", settings.websocket), ("tcp", settings.tcp)];
    for (scheme, address) in listeners
        .into_iter()
        .filter_map(|(scheme, address)| Some((scheme, address?)))
    {
        text += &format!("would listen on {}\n", url(loaded, scheme, address));
    }
    text += &match &settings.data {
        _ if settings.mode == Mode::Relay => format!("would relay to {}\n", settings.relay.upstream.join(", ")),
        Some(folder) => format!("would keep persistent messages in {}\n", folder.display()),
        None => "would keep persistent messages in memory\n".to_string(),
    };
    text += match loaded.warnings.len() {
        0 => "nothing wrong\n",
        _ => "nothing wrong, but see the warnings\n",
    };
    print(&text)
}

/// What was read, and how much each source sets.
fn sources(loaded: &Loaded) -> String {
    let (file, environment, flags) = loaded.counts();
    let name = match &loaded.file {
        Some(name) => format!("file {name}: {}", counted(file, "option")),
        None => format!("file {}: not there, and not needed", config::FILE),
    };
    format!(
        "{name}; environment: {}; flags: {}",
        counted(environment, "option"),
        counted(flags, "option")
    )
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn serve(loaded: &Loaded) -> ExitCode {
    start_log(&loaded.config.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    runtime.block_on(run(loaded))
}

/// Logs to stderr, one line a thing. Without a subscriber nothing is logged, which is no reason not to serve.
///
/// What libraries write by way of the `log` crate is not taken (`try_init` would): at `trace`, tungstenite writes whole
/// messages, passcodes and all.
fn start_log(filter: &str) {
    // The configuration has been checked, so the filter is one.
    let filter = EnvFilter::try_new(filter).unwrap_or_default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

async fn run(loaded: &Loaded) -> ExitCode {
    let mut stop = match Stop::new() {
        Ok(stop) => stop,
        Err(error) => return fail(&format!("cannot listen for signals: {error}")),
    };
    let mut settings = loaded.config.settings.clone();
    settings.session.authentication = match authentication(&loaded.config.users) {
        Ok(authentication) => authentication,
        Err(why) => return fail(&why),
    };
    let server = match Server::start(settings).await {
        Ok(server) => server,
        Err(error) => return refused(loaded, &error),
    };
    for kept in server.kept() {
        report(kept);
    }
    let addresses = (server.websocket_address(), server.tcp_address());
    print(&welcome(loaded, addresses, server.kept()));

    stop.asked().await;
    tracing::info!("stopping; a second signal ends at once");
    tokio::select! {
        () = server.stop() => ExitCode::SUCCESS,
        signal = stop.asked() => {
            tracing::warn!("ended by a second signal; sessions were cut");
            // Not through `main`: dropping the runtime would wait for what is to be cut.
            std::process::exit(128 + signal)
        }
    }
}

/// Who may connect: the configured users, or everybody if there are none.
fn authentication(users: &[User]) -> Result<Option<Authentication>, String> {
    if users.is_empty() {
        return Ok(None);
    }
    let mut key = [0; auth::KEY];
    getrandom::fill(&mut key).map_err(|error| format!("no random octets from the operating system: {error}"))?;
    let users = auth::Users::new(users, key).map_err(|error| format!("cannot check passwords: {error}"))?;
    Ok(Some(Authentication::by(users)))
}

/// The signals that ask to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one, and says its number.
    async fn asked(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

fn fail(what: &str) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::from(FAILED)
}

/// Why the server did not start, where that was configured, and what to do.
fn refused(loaded: &Loaded, error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    match error {
        Error::Listen { option, source, .. } => {
            eprintln!("  = {option} is from: {}", loaded.origin(option));
            if source.kind() == std::io::ErrorKind::AddrInUse {
                let flag = option.trim_start_matches("server.");
                eprintln!("  = something else listens there, perhaps another hoofbeat; another port: --{flag} PORT");
            }
            ExitCode::from(FAILED)
        }
        Error::Store(source) => {
            eprintln!("  = store.folder is from: {}", loaded.origin("store.folder"));
            if matches!(source, hoofbeat::store::Error::Locked(_)) {
                eprintln!("  = perhaps another hoofbeat serves it; another folder: --data FOLDER, none: --ephemeral");
            }
            ExitCode::from(FAILED)
        }
        Error::Open { .. } | Error::Setting { .. } => ExitCode::from(WRONG),
        _ => ExitCode::from(FAILED),
    }
}

/// What the start prints: where it listens, the page, where limits are set, who can reach it.
fn welcome(loaded: &Loaded, (websocket, tcp): (Option<SocketAddr>, Option<SocketAddr>), kept: &[Kept]) -> String {
    let mut text = format!("hoofbeat {}\n", env!("CARGO_PKG_VERSION"));
    for (scheme, address) in [("ws", websocket), ("tcp", tcp)] {
        if let Some(address) = address {
            text += &format!("listening on {}\n", url(loaded, scheme, address));
        }
    }
    if let Some(address) = websocket {
        text += &format!("page to try it: http://{}/\n", near(address));
    }
    for kept in kept {
        text += &recovered(kept);
    }
    let settings = &loaded.config.settings;
    if settings.mode == Mode::Relay {
        let upstream = settings.relay.upstream.join(", ");
        text += &format!("relaying to {upstream}; whether that is there: /ready\n");
    } else if kept.is_empty() {
        text += "persistent messages in memory only: they end with the process\n";
    }
    let file = match &loaded.file {
        Some(name) => format!("file {name}"),
        None => format!("file {} (none read)", config::FILE),
    };
    text += &format!("limits and everything else: hoofbeat config show; {file}\n");
    let open = [websocket, tcp]
        .into_iter()
        .flatten()
        .any(|address| !address.ip().is_loopback());
    let users = &loaded.config.users;
    text += match (open, users.len()) {
        (true, 1..) => "open to other machines, for the users of the file; passcodes and messages are not encrypted\n",
        (false, 1..) => "loopback only: no other machine can connect; the users of the file may\n",
        (true, 0) => {
            "open to other machines, and nothing authenticates clients: whoever connects may publish and subscribe\n"
        }
        (false, 0) => {
            "loopback only: no other machine can connect; to open it, without authentication: \
             hoofbeat --websocket 0.0.0.0:15674 --tcp 0.0.0.0:61613 --insecure-open\n"
        }
    };
    text
}

/// Where a virtual host's persistent messages are, and what was there.
fn recovered(kept: &Kept) -> String {
    let host = match &kept.host {
        Some(host) => format!(" of host {host}"),
        None => String::new(),
    };
    let (folder, found) = (kept.folder.display(), &kept.found);
    let contents = match found.queues {
        0 => "nothing was in it".to_string(),
        queues => format!(
            "{} of {} recovered",
            counted(found.messages, "message"),
            counted(queues, "queue")
        ),
    };
    let damage = match (kept.loss, kept.damage.len()) {
        (true, places) => format!(
            "; DAMAGED in {}, see the log; the rest is served",
            counted(places, "place")
        ),
        (false, _) => String::new(),
    };
    format!("persistent messages{host} in {folder}: {contents}{damage}\n")
}

/// What is wrong with a store is for the log, loudly.
fn report(kept: &Kept) {
    let folder = kept.folder.display();
    for damage in &kept.damage {
        match kept.loss {
            true => tracing::error!("{folder}: {damage}"),
            false => tracing::warn!("{folder}: {damage}"),
        }
    }
}

fn url(loaded: &Loaded, scheme: &str, address: SocketAddr) -> String {
    let paths = &loaded.config.settings.paths;
    let usual = paths.iter().find(|path| *path == "/ws").or(paths.first());
    match (scheme, usual) {
        ("ws", Some(path)) => format!("ws://{address}{path}"),
        _ => format!("{scheme}://{address}"),
    }
}

/// The address at which a browser on this machine finds a listener.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
