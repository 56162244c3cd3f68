//! The public port: HTTP/1.1, and from there WebSocket.

use std::convert::Infallible;
use std::future::{poll_fn, ready, Ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{header, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::handshake::{self, Accepted, Refusal};
use super::intake::Intake;
use super::roster::{Seat, Stage};
use super::websocket::{Agreed, WebSocket};
use super::Shared;

/// The least that hyper takes as the size of its buffer.
const SMALLEST_HEAD: usize = 8 << 10;
/// Header lines of a request.
const HEADER_LINES: usize = 100;
/// How long one connection may ask for pages; what comes later connects again.
const LIFETIME: Duration = Duration::from_secs(60);
/// How many connections beyond the cap are told so at a time; the others are just closed.
const TOLD_FULL: usize = 32;

const PAGE: &str = include_str!("page.html");

/// The page runs what stands in it and speaks to us; it loads nothing.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                           connect-src 'self' ws: wss:; img-src data:";

type Answer = Response<Full<Bytes>>;

/// What an upgrade leads to.
enum Upgrade {
    Stomp(Agreed),
    /// Every message goes back as it came: for conformance tests of the transport.
    Echo {
        message_octets: usize,
    },
}

/// Answers the requests of one connection.
struct Routes {
    shared: Arc<Shared>,
    /// Set by the request that was answered with 101.
    upgrade: Mutex<Option<Upgrade>>,
}

impl Service<Request<Incoming>> for Routes {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.shared.counters.request();
        ready(Ok(self.answer(&request)))
    }
}

/// Takes a new connection to the public port.
pub(super) fn serve(shared: &Arc<Shared>, socket: TcpStream, seat: Seat) {
    tokio::spawn(converse(shared.clone(), socket, seat));
}

/// Answers requests until the client goes, time is up, or the connection becomes a WebSocket.
async fn converse(shared: Arc<Shared>, socket: TcpStream, seat: Seat) {
    let settings = &shared.settings;
    let routes = Routes {
        shared: shared.clone(),
        upgrade: Mutex::new(None),
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(settings.http_head_ms))
        .max_buf_size(settings.http_head_bytes.max(SMALLEST_HEAD))
        .max_headers(HEADER_LINES)
        .serve_connection(TokioIo::new(socket), routes);

    let mut drive = |cx: &mut Context<'_>| match seat.poll_stage(cx) {
        Stage::Ended => Poll::Ready(Err(None)),
        _ => connection.poll_without_shutdown(cx).map_err(Some),
    };
    let mut outcome = timeout(LIFETIME, poll_fn(&mut drive)).await;
    if outcome.is_err() {
        Pin::new(&mut connection).graceful_shutdown();
        let patience = Duration::from_millis(settings.write_ms);
        outcome = timeout(
            patience,
            poll_fn(|cx| connection.poll_without_shutdown(cx).map_err(Some)),
        )
        .await;
    }

    let parts = connection.into_parts();
    let socket = parts.io.into_inner();
    let upgrade = parts
        .service
        .upgrade
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match (outcome, upgrade) {
        (Ok(Ok(())), Some(upgrade)) => begin(&shared, socket, parts.read_buf, upgrade, seat),
        // Nothing was said that a reset could eat.
        (Err(_) | Ok(Err(None)), _) => {}
        (Ok(Err(Some(error))), _) if error.is_timeout() => shared.counters.refused("http-head-timeout"),
        (Ok(_), _) => part(socket, settings.linger_ms).await,
    }
}

/// Lets the client read the last answer: closes our half and waits a little for its.
async fn part(mut socket: TcpStream, linger_ms: u64) {
    if socket.shutdown().await.is_ok() {
        let mut dropped = Intake::default();
        let gone = poll_fn(|cx| dropped.poll_drop(&mut socket, cx));
        let _ = timeout(Duration::from_millis(linger_ms), gone).await;
    }
}

/// Begins what was agreed, in a task of its own: this one holds all that hyper needs.
fn begin(shared: &Arc<Shared>, socket: TcpStream, early: Bytes, upgrade: Upgrade, seat: Seat) {
    match upgrade {
        Upgrade::Stomp(agreed) => {
            let frame = shared.settings.session.before_connect.frame;
            super::begin(shared, WebSocket::new(socket, &early, agreed, frame), seat);
        }
        Upgrade::Echo { message_octets } => {
            let transport = WebSocket::new(socket, &early, Agreed::new(false, false, None), message_octets);
            tokio::spawn(super::echo::run(transport, message_octets, seat));
        }
    }
}

/// Tells a connection for which there is no seat.
pub(super) fn refuse(shared: &Arc<Shared>, mut socket: TcpStream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Length: 59\r\n\r\n\
        All connections that server.connections allows are in use.\n";
    let Ok(permit) = shared.refusals.clone().try_acquire_owned() else {
        return;
    };
    let linger_ms = shared.settings.linger_ms;
    tokio::spawn(async move {
        let _permit = permit;
        if socket.write_all(FULL).await.is_ok() {
            part(socket, linger_ms).await;
        }
    });
}

/// As many as [`refuse`] may be busy with.
pub(super) fn refusals() -> Arc<tokio::sync::Semaphore> {
    Arc::new(tokio::sync::Semaphore::new(TOLD_FULL))
}

impl Routes {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let readable = matches!(*request.method(), Method::GET | Method::HEAD);
        let upgrades = handshake::is_wanted(request.headers());
        let is_echo = self.shared.echo.as_ref().is_some_and(|echo| echo.path == path);
        let is_websocket = is_echo || self.shared.settings.paths.iter().any(|known| known == path);
        match path {
            "/" if readable && !upgrades => page(),
            _ if is_websocket => self.upgrade(request),
            "/" | "/health" | "/ready" | "/stats" if !readable => with(
                text(StatusCode::METHOD_NOT_ALLOWED, "This path takes GET and HEAD."),
                header::ALLOW,
                "GET, HEAD",
            ),
            "/health" => self.health(),
            "/ready" => self.ready(),
            "/stats" => json(StatusCode::OK, self.shared.stats_json()),
            _ => text(StatusCode::NOT_FOUND, &self.not_here(path)),
        }
    }

    fn not_here(&self, path: &str) -> String {
        let websocket = self.shared.settings.paths.join(", ");
        format!("There is no {path} here. WebSocket: {websocket}. Pages: /, /health, /ready, /stats.")
    }

    fn health(&self) -> Answer {
        match self.shared.roster.stage() {
            Stage::Serving => match self.shared.keeping.unwell() {
                None => json(StatusCode::OK, self.well()),
                // Everything but persistent SENDs goes on: a balancer that took us away for it would make it worse.
                Some(why) => {
                    let unwell = serde_json::json!({ "status": "unwell", "store": &*why });
                    json(StatusCode::OK, unwell.to_string())
                }
            },
            Stage::Draining | Stage::Halted | Stage::Leaving | Stage::Ended => {
                json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#.to_owned())
            }
        }
    }

    /// A relay lives without its broker; whether it serves is for `/ready`.
    fn well(&self) -> String {
        match &self.shared.behind {
            None => r#"{"status":"ok"}"#.to_owned(),
            Some(behind) if behind.is_available() => r#"{"status":"ok","broker":"available"}"#.to_owned(),
            Some(_) => r#"{"status":"ok","broker":"not available"}"#.to_owned(),
        }
    }

    /// Whether new clients are welcome and can be served.
    fn ready(&self) -> Answer {
        let away = self.shared.behind.as_ref().is_some_and(|behind| !behind.is_available());
        match self.shared.roster.stage() {
            Stage::Serving if away => json(
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"status":"broker not available"}"#.to_owned(),
            ),
            Stage::Serving => json(StatusCode::OK, r#"{"status":"ready"}"#.to_owned()),
            Stage::Draining | Stage::Halted | Stage::Leaving | Stage::Ended => {
                json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#.to_owned())
            }
        }
    }

    fn upgrade(&self, request: &Request<Incoming>) -> Answer {
        if self.shared.roster.stage() != Stage::Serving {
            self.shared.counters.refused("shutdown");
            return text(StatusCode::SERVICE_UNAVAILABLE, "The server is stopping.");
        }
        let limit = self.shared.settings.outbound_message_bytes;
        let examined = handshake::examine(
            request.method(),
            request.version(),
            request.headers(),
            &self.shared.origins,
            limit,
        );
        match examined {
            Ok(accepted) => self.switch(request.uri().path(), accepted),
            Err(refusal) => {
                self.shared.counters.refused(refusal.reason);
                tracing::debug!(reason = refusal.reason, "refused a WebSocket handshake");
                refused(&refusal)
            }
        }
    }

    fn switch(&self, path: &str, accepted: Accepted) -> Answer {
        let Ok(key) = HeaderValue::from_str(&accepted.key) else {
            return text(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key cannot be answered.");
        };
        let upgrade = match &self.shared.echo {
            Some(echo) if echo.path == path => Upgrade::Echo {
                message_octets: echo.message_octets,
            },
            _ => Upgrade::Stomp(accepted.agreed),
        };
        *self.upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
        if let Some(subprotocol) = accepted.subprotocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
        }
        answer
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let answer = text(refusal.status, &refusal.text);
    match refusal.status {
        StatusCode::UPGRADE_REQUIRED => with(
            with(answer, header::SEC_WEBSOCKET_VERSION, "13"),
            header::UPGRADE,
            "websocket",
        ),
        StatusCode::METHOD_NOT_ALLOWED => with(answer, header::ALLOW, "GET"),
        _ => answer,
    }
}

fn page() -> Answer {
    let answer = body(StatusCode::OK, "text/html; charset=utf-8", PAGE.into());
    with(answer, header::CONTENT_SECURITY_POLICY, PAGE_POLICY)
}

fn text(status: StatusCode, line: &str) -> Answer {
    body(status, "text/plain; charset=utf-8", format!("{line}\n").into())
}

fn json(status: StatusCode, object: String) -> Answer {
    body(status, "application/json", object.into())
}

fn body(status: StatusCode, kind: &'static str, octets: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(octets));
    *answer.status_mut() = status;
    let answer = with(answer, header::CONTENT_TYPE, kind);
    let answer = with(answer, header::CACHE_CONTROL, "no-store");
    with(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
