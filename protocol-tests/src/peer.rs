//! One connection of a case: it sends what the case says and records what arrives, with the time.

use crate::case::Transport;
use crate::frame::{Decoder, Frame, Item};
use crate::notation::show;
use crate::step::Kind;
use crate::target::Target;
use crate::websocket::{self, Answer, Message};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a write may wait for a server that does not read.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);

/// How often the reading thread looks whether the case is over.
const GLANCE: Duration = Duration::from_millis(40);

/// Something that arrived.
#[derive(Clone, Debug)]
pub enum Event {
    /// A frame.
    Frame(Arrival),
    /// An EOL between frames; `true`: exactly one LF, alone in its WebSocket message.
    EndOfLine(bool),
    /// A WebSocket ping (answered, unless the connection is mute).
    Ping,
    /// A WebSocket pong.
    Pong(Vec<u8>),
    /// The server broke STOMP or RFC 6455.
    Violation(String),
    /// The connection ended. Nothing follows.
    Ended(Ending),
}

/// A frame and how it came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The frame.
    pub frame: Frame,
    /// The kind of its WebSocket message; none on TCP.
    pub kind: Option<Kind>,
    /// It was the only frame of its WebSocket message, and whole in it.
    pub alone: bool,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A WebSocket close frame: code (none if it had none) and reason.
    Close(Option<u16>, String),
    /// The end of the stream, without a close frame.
    EndOfStream,
    /// A reset or another error of the socket.
    Broken(String),
}

/// One connection.
pub struct Peer {
    stream: Arc<Mutex<TcpStream>>,
    /// What carries the octets.
    pub transport: Transport,
    /// The kind of message that frames are sent in.
    pub kind: Kind,
    events: Receiver<Event>,
    /// What arrived and was not asked for yet.
    pub unread: VecDeque<Event>,
    ended: bool,
    octets: Arc<AtomicU64>,
    paused: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    torn: bool,
    ears: Option<JoinHandle<()>>,
}

/// How a connection is opened.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// HTTP headers of the WebSocket handshake, all but `Sec-WebSocket-Key`.
    pub headers: Vec<(String, String)>,
    /// The kind of message that frames are sent in.
    pub kind: Kind,
    /// Does not answer pings.
    pub mute: bool,
}

impl Peer {
    /// Opens the transport. A handshake that was refused gives the answer and no connection.
    pub fn open(target: &Target, greeting: &Greeting) -> io::Result<(Option<Peer>, Option<Answer>)> {
        let mut stream = TcpStream::connect_timeout(&target.address, target.patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(target.patience))?;
        stream.set_write_timeout(Some(WRITE_DEADLINE))?;
        let answer = match target.transport {
            Transport::WebSocket => Some(websocket::handshake(
                &mut stream,
                &target.path,
                &greeting.headers,
                *b"a nonce of a day",
            )?),
            Transport::Tcp => None,
        };
        if answer.as_ref().is_some_and(|answer| answer.status != 101) {
            return Ok((None, answer));
        }
        stream.set_read_timeout(Some(GLANCE))?;
        let (sender, events) = mpsc::channel();
        let octets = Arc::new(AtomicU64::new(0));
        let (paused, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let writer = Arc::new(Mutex::new(stream.try_clone()?));
        let ears = Ears {
            stream,
            writer: (!greeting.mute).then(|| writer.clone()),
            sender,
            octets: octets.clone(),
            paused: paused.clone(),
            stop: stop.clone(),
            decoder: Decoder::default(),
        };
        let transport = target.transport;
        let ears = Some(std::thread::spawn(move || ears.listen(transport)));
        let kind = greeting.kind;
        let unread = VecDeque::new();
        let peer = Peer {
            stream: writer,
            transport,
            kind,
            events,
            unread,
            ended: false,
            octets,
            paused,
            stop,
            torn: false,
            ears,
        };
        Ok((Some(peer), answer))
    }

    /// Sends octets: on WebSocket one message in the connection's kind, or binary if they are not UTF-8.
    pub fn send(&self, octets: &[u8]) -> io::Result<()> {
        match self.transport {
            Transport::Tcp => self.write(octets),
            Transport::WebSocket => self.send_frame(self.opcode(octets), true, octets, true),
        }
    }

    /// The opcode for octets that are sent as usual.
    pub fn opcode(&self, octets: &[u8]) -> u8 {
        match self.kind {
            Kind::Text if std::str::from_utf8(octets).is_ok() => websocket::TEXT,
            _ => websocket::BINARY,
        }
    }

    /// Sends one WebSocket frame.
    pub fn send_frame(&self, opcode: u8, last: bool, payload: &[u8], masked: bool) -> io::Result<()> {
        self.write(&websocket::frame(
            opcode,
            last,
            payload,
            masked.then_some([0x5A, 0x3C, 0x96, 0x0F]),
        ))
    }

    fn write(&self, octets: &[u8]) -> io::Result<()> {
        lock(&self.stream).write_all(octets)
    }

    /// Stops or resumes reading; what the server sends in between fills the socket.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    /// How many octets have come so far.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::SeqCst)
    }

    /// Waits for one more event and puts it behind the unread ones. `false`: none came, or none can come any more.
    pub fn gather(&mut self, deadline: Instant) -> bool {
        if self.ended {
            return false;
        }
        match self
            .events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(event) => {
                self.ended = matches!(event, Event::Ended(_));
                self.unread.push_back(event);
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                false
            }
        }
    }

    /// Gathers what has come already, without waiting.
    pub fn gather_arrived(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.ended |= matches!(event, Event::Ended(_));
            self.unread.push_back(event);
        }
    }

    /// Closes as a client does: a close frame on WebSocket, FIN on TCP. What the server still sends is read.
    pub fn close(&self) {
        // The server may have gone first; there is nothing left to tell it then.
        let _ = match self.transport {
            Transport::WebSocket => self.send_frame(websocket::CLOSE, true, &1000u16.to_be_bytes(), true),
            Transport::Tcp => lock(&self.stream).shutdown(Shutdown::Write),
        };
    }

    /// Tears the connection: the server sees a reset.
    pub fn reset(mut self) -> io::Result<()> {
        socket2::SockRef::from(&*lock(&self.stream)).set_linger(Some(Duration::ZERO))?;
        self.torn = true;
        self.stop.store(true, Ordering::SeqCst);
        // The reset goes out when the last descriptor of the socket closes: the reading thread has one.
        if let Some(ears) = self.ears.take() {
            ears.join().map_err(|_| io::Error::other("the reading thread failed"))?;
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if !self.torn {
            // An already closed socket is fine.
            let _ = lock(&self.stream).shutdown(Shutdown::Both);
        }
    }
}

fn lock(stream: &Mutex<TcpStream>) -> std::sync::MutexGuard<'_, TcpStream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reading half, on its own thread so that times are true.
struct Ears {
    stream: TcpStream,
    writer: Option<Arc<Mutex<TcpStream>>>,
    sender: Sender<Event>,
    octets: Arc<AtomicU64>,
    paused: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    decoder: Decoder,
}

impl Ears {
    fn listen(mut self, transport: Transport) {
        let mut buffer = vec![0; 65_536];
        let mut frames = websocket::Reader::default();
        let ending = loop {
            while self.paused.load(Ordering::SeqCst) && !self.stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let length = match self.stream.read(&mut buffer) {
                Ok(0) => break Ending::EndOfStream,
                Ok(length) => length,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) =>
                {
                    continue
                }
                Err(error) => break Ending::Broken(error.kind().to_string()),
            };
            self.octets.fetch_add(length as u64, Ordering::SeqCst);
            let heard = match transport {
                Transport::Tcp => self.stomp(&buffer[..length], None).map(|()| None),
                Transport::WebSocket => {
                    frames.feed(&buffer[..length]);
                    self.messages(&mut frames)
                }
            };
            match heard {
                Ok(None) => {}
                Ok(Some(ending)) => break ending,
                Err(violation) => {
                    let _ = self.sender.send(Event::Violation(violation));
                    return;
                }
            }
        };
        // Nobody listens when the case is over.
        let _ = self.sender.send(Event::Ended(ending));
    }

    fn messages(&mut self, frames: &mut websocket::Reader) -> Result<Option<Ending>, String> {
        while let Some(Message { opcode, payload }) = frames.take()? {
            match opcode {
                websocket::PING => {
                    if let Some(writer) = &self.writer {
                        let _ = lock(writer).write_all(&websocket::frame(
                            websocket::PONG,
                            true,
                            &payload,
                            Some([1, 2, 3, 4]),
                        ));
                    }
                    let _ = self.sender.send(Event::Ping);
                }
                websocket::PONG => {
                    let _ = self.sender.send(Event::Pong(payload));
                }
                websocket::CLOSE => {
                    if let Some(writer) = &self.writer {
                        let code = payload.get(..2).unwrap_or_default();
                        let _ =
                            lock(writer).write_all(&websocket::frame(websocket::CLOSE, true, code, Some([1, 2, 3, 4])));
                    }
                    return Ok(Some(match payload.as_slice() {
                        [a, b, reason @ ..] => Ending::Close(
                            Some(u16::from_be_bytes([*a, *b])),
                            String::from_utf8_lossy(reason).into_owned(),
                        ),
                        _ => Ending::Close(None, String::new()),
                    }));
                }
                websocket::TEXT => self.stomp(&payload, Some(Kind::Text))?,
                _ => self.stomp(&payload, Some(Kind::Binary))?,
            }
        }
        Ok(None)
    }

    fn stomp(&mut self, octets: &[u8], kind: Option<Kind>) -> Result<(), String> {
        let whole = self.decoder.is_idle();
        let mut items = Vec::new();
        let fed = self.decoder.feed(octets, &mut items);
        let frames = items.iter().filter(|item| matches!(item, Item::Frame(_))).count();
        let alone = kind.is_some() && whole && self.decoder.is_idle() && frames == 1;
        let mut behind_frame = false;
        for item in items {
            let event = match item {
                // A server may put EOLs behind each frame: they belong to it and are no heart-beat.
                Item::EndOfLine if behind_frame => continue,
                Item::EndOfLine => Event::EndOfLine(kind.is_some() && octets == b"\n"),
                Item::Frame(frame) => {
                    behind_frame = true;
                    Event::Frame(Arrival { frame, kind, alone })
                }
            };
            let _ = self.sender.send(event);
        }
        fed
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Frame(arrival) => f.write_str(&arrival.frame.show()),
            Event::EndOfLine(_) => f.write_str("an EOL"),
            Event::Ping => f.write_str("a ping"),
            Event::Pong(payload) => write!(f, "a pong {}", show(payload, 40)),
            Event::Violation(violation) => f.write_str(violation),
            Event::Ended(ending) => ending.fmt(f),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Close(Some(code), reason) => write!(f, "closed with {code} {reason:?}"),
            Ending::Close(None, _) => f.write_str("closed without a code"),
            Ending::EndOfStream => f.write_str("the end of the stream"),
            Ending::Broken(error) => write!(f, "the connection broke: {error}"),
        }
    }
}
