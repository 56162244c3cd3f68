//! The steps of a case: what each named connection does, sends and expects.

use crate::expression::Expression;
use crate::notation::Template;

/// One step and where it stands.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its line in the file.
    pub line: usize,
    /// What is done.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// `a: open`: the transport alone, with the WebSocket handshake if there is one.
    Open(String, Opening),
    /// `a: connect`: the transport, CONNECT and CONNECTED. Holds the version, if not the one played, and more headers.
    Connect(String, Opening, Option<String>, Vec<Template>),
    /// `a: subscribe ID DESTINATION`: SUBSCRIBE with the headers below, and its RECEIPT.
    Subscribe(String, Template, Template, Vec<Template>),
    /// `a: send DESTINATION BODY`: SEND with the headers below, and its RECEIPT.
    Publish(String, Template, Template, Vec<Template>),
    /// `a: disconnect`: DISCONNECT, its RECEIPT, and the transport closed by the client.
    Disconnect(String),
    /// `a: close`: the client closes the transport without a word of STOMP.
    Close(String),
    /// `a: reset`: the connection is torn (RST).
    Reset(String),
    /// `a: stop reading`
    StopReading(String),
    /// `a: go on reading`
    GoOnReading(String),
    /// `a> ...`
    Send(String, Sending, Template),
    /// `a< ...`
    Expect(String, Expecting),
    /// `wait 300`
    Wait(Expression),
    /// `let x = $y * 2`
    Let(String, Expression),
    /// `check $x >= 10`
    CheckNumbers(Expression, Comparison, Expression),
    /// `check $x is not $y`
    CheckText(Template, TextComparison, Template),
    /// `repeat 10` up to `end`; `$i` counts from 1, and what a turn captures is forgotten in the next.
    Repeat(Expression, Vec<Step>),
}

/// How a transport is opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// The kind of WebSocket message this connection sends frames in.
    pub kind: Option<Kind>,
    /// Does not answer pings.
    pub mute: bool,
    /// HTTP headers to send (`> Name: value`), replacing those of the same name; without a value (`> !Name`) not to send.
    pub sent: Vec<(String, Option<Template>)>,
    /// The HTTP status expected (`< 403`), 101 if none is given.
    pub status: Option<u16>,
    /// HTTP headers expected (`< Name: value`); without a value (`< !Name`) expected to be absent.
    pub expected: Vec<(String, Option<Template>)>,
}

/// The two kinds of WebSocket messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8
    Text,
    /// Any octets
    Binary,
}

/// The opcode to send with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opcode {
    /// The connection's kind; binary when the octets are not UTF-8.
    #[default]
    Usual,
    /// 1
    Text,
    /// 2
    Binary,
    /// 0
    Continuation,
    /// 8
    Close,
    /// 9
    Ping,
    /// 10
    Pong,
}

/// How octets are sent.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// WebSocket opcode.
    pub opcode: Opcode,
    /// More fragments follow (FIN is 0).
    pub more: bool,
    /// Without the mask that every client must use.
    pub unmasked: bool,
    /// How they are cut into writes (WebSocket: into messages).
    pub cut: Cut,
    /// Between the pieces.
    pub pause: Option<Expression>,
}

/// How octets are cut.
#[derive(Clone, Debug, Default)]
pub enum Cut {
    /// Not at all.
    #[default]
    Whole,
    /// After so many octets.
    At(Expression),
    /// After every octet.
    EveryOctet,
    /// One WebSocket message in so many fragments.
    Fragments(Expression),
}

/// What is expected of a connection.
#[derive(Clone, Debug)]
pub struct Expecting {
    /// What.
    pub what: What,
    /// The deadline, if not the usual one.
    pub within: Option<Expression>,
}

/// What is expected.
#[derive(Clone, Debug)]
pub enum What {
    /// A frame.
    Frame(Pattern),
    /// An EOL between frames; `true`: alone in its WebSocket message, and exactly LF.
    EndOfLine(bool),
    /// A WebSocket ping.
    Ping,
    /// A WebSocket pong with this payload.
    Pong(Template),
    /// No frame: after a receipt's round trip and a short quiet time, or for the time given.
    Nothing(Option<Expression>),
    /// No octet at all for this time.
    Silence(Expression),
    /// The end of the connection, with nothing unread before it; one of these close codes if any are given.
    /// `true`: with a reason in the close frame.
    Closed(Vec<u16>, bool),
    /// The end of the connection, whatever came before it.
    Gone,
}

/// What a frame must look like. Headers that are not named do not matter.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    /// The command.
    pub command: String,
    /// The lines about headers, in order.
    pub headers: Vec<HeaderPattern>,
    /// The body, if it matters.
    pub body: Option<Template>,
    /// Texts that the body must contain, upper or lower case.
    pub body_contains: Vec<Template>,
    /// The kind of its WebSocket message.
    pub kind: Option<Kind>,
    /// It must be the one frame of one WebSocket message (EOLs behind it are allowed).
    pub alone: bool,
    /// It must be the very next frame.
    pub next: bool,
    /// Frames of the same command that do not fit are skipped.
    pub skip: bool,
}

/// One line about a header.
#[derive(Clone, Debug)]
pub enum HeaderPattern {
    /// `name:value`; repeated, the n-th line is the n-th header of this name.
    Is(Template, Template),
    /// `name~text`: the first header of this name contains the text, upper or lower case.
    Contains(Template, Template),
    /// `!name`: there is none (or none beyond those named before).
    Absent(Template),
}

/// A comparison of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    Different,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `<`
    Less,
    /// `>`
    More,
}

/// A comparison of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextComparison {
    /// `is`
    Is,
    /// `is not`
    IsNot,
    /// `contains`
    Contains,
}
