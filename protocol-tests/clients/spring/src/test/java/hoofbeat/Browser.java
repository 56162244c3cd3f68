package hoofbeat;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import org.springframework.messaging.simp.stomp.BufferingStompDecoder;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompDecoder;

/** A WebSocket as a browser has one, scripted: it sends what it is told and keeps what it gets. */
final class Browser implements WebSocket.Listener {
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    final Inbox inbox;
    private final BufferingStompDecoder decoder = new BufferingStompDecoder(new StompDecoder(), 1 << 24);
    private final CompletableFuture<Integer> closed = new CompletableFuture<>();
    private final WebSocket socket;
    private volatile boolean reading = true;
    private volatile boolean binary;
    private int receipts;

    Browser(URI url, String... subprotocols) {
        inbox = new Inbox("the browser at " + url);
        WebSocket.Builder builder = HTTP.newWebSocketBuilder();
        if (subprotocols.length > 0) {
            builder.subprotocols(subprotocols[0], Arrays.copyOfRange(subprotocols, 1, subprotocols.length));
        }
        socket = builder.buildAsync(url, this).orTimeout(Wait.PATIENCE.toSeconds(), TimeUnit.SECONDS).join();
    }

    /** One that is connected, as stompjs does it. */
    static Browser connected(URI url) {
        Browser browser = new Browser(url, "v12.stomp", "v11.stomp", "v10.stomp");
        browser.send("CONNECT", "accept-version:1.2,1.1,1.0", "heart-beat:0,0");
        browser.inbox.next(StompCommand.CONNECTED);
        return browser;
    }

    /** One that is connected as this user, whose passcode is his name. */
    static Browser as(String user, URI url) {
        Browser browser = new Browser(url, "v12.stomp");
        browser.send("CONNECT", "accept-version:1.2", "heart-beat:0,0", "login:" + user, "passcode:" + user);
        browser.inbox.next(StompCommand.CONNECTED);
        return browser;
    }

    String subprotocol() {
        return socket.getSubprotocol();
    }

    /** The latest message came as a binary one. */
    boolean binary() {
        return binary;
    }

    void send(String command, String... headers) {
        send(new byte[0], command, headers);
    }

    void send(byte[] body, String command, String... headers) {
        text(new String(Frame.octets(body, command, headers), StandardCharsets.UTF_8));
    }

    /** Sends a frame as stompjs does where it was told to split: in messages of 8 Ki characters. */
    void split(String body, String command, String... headers) {
        String frame = new String(Frame.octets(body.getBytes(StandardCharsets.UTF_8), command, headers), StandardCharsets.UTF_8);
        for (int from = 0; from < frame.length(); from += 8192) {
            text(frame.substring(from, Math.min(from + 8192, frame.length())));
        }
    }

    void text(String message) {
        socket.sendText(message, true).orTimeout(Wait.PATIENCE.toSeconds(), TimeUnit.SECONDS).join();
    }

    void octets(byte[] message) {
        socket.sendBinary(ByteBuffer.wrap(message), true).orTimeout(Wait.PATIENCE.toSeconds(), TimeUnit.SECONDS).join();
    }

    /** Sends a frame with a receipt and waits for it. */
    void acknowledged(String command, String... headers) {
        receipts += 1;
        String[] all = Arrays.copyOf(headers, headers.length + 1);
        all[headers.length] = "receipt:r" + receipts;
        send(command, all);
        inbox.receipt("r" + receipts);
    }

    /** Stops to read: what comes stays in the kernel, and then with the sender. */
    void doze() {
        reading = false;
    }

    /** Ends the connection as a crash does. */
    void drop() {
        socket.abort();
    }

    /** Closes as a page does, and waits until the other side has. */
    void close() {
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "");
        closeCode();
    }

    /** The code with which the other side closed. */
    int closeCode() {
        return closed.orTimeout(Wait.PATIENCE.toSeconds(), TimeUnit.SECONDS).join();
    }

    boolean open() {
        return !closed.isDone();
    }

    @Override
    public CompletionStage<?> onText(WebSocket from, CharSequence message, boolean last) {
        binary = false;
        return take(from, ByteBuffer.wrap(message.toString().getBytes(StandardCharsets.UTF_8)));
    }

    @Override
    public CompletionStage<?> onBinary(WebSocket from, ByteBuffer message, boolean last) {
        binary = true;
        // The buffer is used again.
        ByteBuffer copy = ByteBuffer.allocate(message.remaining());
        copy.put(message).flip();
        return take(from, copy);
    }

    @Override
    public CompletionStage<?> onClose(WebSocket from, int code, String reason) {
        closed.complete(code);
        return null;
    }

    @Override
    public void onError(WebSocket from, Throwable failure) {
        closed.completeExceptionally(failure);
    }

    private CompletionStage<?> take(WebSocket from, ByteBuffer octets) {
        decoder.decode(octets).forEach(message -> inbox.put(Frame.of(message)));
        if (reading) {
            from.request(1);
        }
        return null;
    }
}
