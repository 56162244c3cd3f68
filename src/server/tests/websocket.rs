use super::client::{announce, frame, BINARY, CLOSE, PING, PONG, TEXT};
use super::*;

#[tokio::test]
async fn each_breach_has_its_close_code() {
    let server = start(settings()).await;
    let mut unmasked = frame(TEXT, b"x");
    unmasked[1] &= 0x7f;
    let mut reserved = frame(TEXT, b"x");
    reserved[0] |= 0x40;
    let continued = frame(0, b"x");
    let long_ping = frame(PING, &[0; 126]);
    for (octets, code) in [
        (unmasked, 1002),
        (reserved, 1002),
        (continued, 1002),
        (long_ping, 1002),
        (frame(3, b"x"), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (announce(BINARY, 1 << 20), 1009),
        (announce(BINARY, usize::MAX), 1009),
        (frame(CLOSE, &[3]), 1002),
        (frame(CLOSE, &1005_u16.to_be_bytes()), 1002),
        (frame(CLOSE, &[0x03, 0xe8, 0xff]), 1007),
        (frame(BINARY, &[b'x'; 100_000]), 1009),
    ] {
        let mut websocket = connect(&server).await.upgrade("/echo", "").await;
        websocket.http.write(&octets).await;
        let (closed, reason) = websocket.closed().await;
        assert_eq!(closed, code, "{:x?}: {reason}", &octets[..4]);
        assert!(!reason.is_empty());
        websocket.send(CLOSE, &code.to_be_bytes()).await;
        websocket.http.rest().await;
    }
    server.shared.roster.all_gone().await;
}

#[tokio::test]
async fn a_close_frame_is_answered_and_the_connection_ended_by_the_server() {
    let server = start(settings()).await;
    let mut websocket = connect(&server).await.upgrade("/echo", "").await;
    websocket.send(CLOSE, &[0x0f, 0xa0, b'b', b'y', b'e']).await;
    assert_eq!(websocket.closed().await, (4000, "bye".to_owned()));
    assert_eq!(websocket.http.rest().await, b"");
}

#[tokio::test]
async fn a_ping_between_fragments_is_answered_before_the_message() {
    let server = start(settings()).await;
    let mut websocket = connect(&server).await.upgrade("/echo", "").await;
    let mut first = frame(TEXT, b"one ");
    first[0] &= 0x7f;
    websocket.http.write(&first).await;
    websocket.send(PING, b"there?").await;
    let pong = websocket.receive().await;
    assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, &b"there?"[..]));
    websocket.send(0, b"two").await;
    assert_eq!(websocket.receive().await.payload, b"one two");
}
