//! A client of the WebSocket transport that is no STOMP session: it sends each message back as it came.
//!
//! It exists so that WebSocket conformance suites, which need an echo server, try the very code that carries STOMP.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::session::Close;

use super::roster::{Seat, Stage};
use super::transport::{Ended, Input, Transport};
use super::websocket::WebSocket;

/// How long the client has to close after us.
const LINGER: Duration = Duration::from_secs(2);

/// Where and how large messages are echoed.
#[derive(Clone, Debug)]
pub(super) struct Echo {
    pub(super) path: String,
    /// Largest message that is taken.
    pub(super) message_octets: usize,
}

pub(super) async fn run(mut websocket: WebSocket, message_octets: usize, seat: Seat) {
    websocket.agree(message_octets);
    poll_fn(|cx| poll(&mut websocket, &seat, cx)).await;
    let parted = poll_fn(|cx| poll_part(&mut websocket, cx));
    let _ = tokio::time::timeout(LINGER, parted).await;
}

/// Echoes until the client or a fault of it ends that.
fn poll(websocket: &mut WebSocket, seat: &Seat, cx: &mut Context<'_>) -> Poll<()> {
    if seat.poll_stage(cx) != Stage::Serving {
        return Poll::Ready(());
    }
    loop {
        match websocket.poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
        match websocket.poll_input(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Input::Octets) => websocket.echo(),
            Poll::Ready(Input::Beat) => {}
            Poll::Ready(Input::Ended(ended)) => {
                let close = match ended {
                    Ended::Faulty(close) => close,
                    Ended::TooLong => Close {
                        code: 1009,
                        reason: "the message is too long",
                    },
                    Ended::Closed | Ended::HalfClosed | Ended::Broken => return Poll::Ready(()),
                };
                websocket.close(&close);
                return Poll::Ready(());
            }
        }
    }
}

fn poll_part(websocket: &mut WebSocket, cx: &mut Context<'_>) -> Poll<()> {
    let flushed = websocket.poll_flush(cx).is_ready();
    if flushed && websocket.poll_shutdown(cx).is_ready() {
        return websocket.poll_discard(cx);
    }
    Poll::Pending
}
