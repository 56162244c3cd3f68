package hoofbeat;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.springframework.messaging.simp.stomp.BufferingStompDecoder;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompDecoder;

/** A client that is not Spring, over a bare socket: it may write anything. What it reads goes through Spring's decoder. */
final class Peer implements Closeable {
    private final Socket socket = new Socket();
    final Inbox inbox = new Inbox("the bare socket");
    private volatile boolean ended;

    Peer(Broker broker) {
        this(broker, true);
    }

    private Peer(Broker broker, boolean reads) {
        try {
            if (!reads) {
                socket.setReceiveBufferSize(4096);
            }
            socket.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), broker.tcp()));
            socket.setTcpNoDelay(true);
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
        if (reads) {
            Thread reader = new Thread(this::read);
            reader.setDaemon(true);
            reader.start();
        }
    }

    /** One that never reads. */
    static Peer deaf(Broker broker) {
        return new Peer(broker, false);
    }

    static Peer connected(Broker broker) {
        return connected(broker, "1.2");
    }

    static Peer connected(Broker broker, String version) {
        Peer peer = new Peer(broker);
        peer.frame("CONNECT", "accept-version:" + version, "host:localhost");
        peer.inbox.next(StompCommand.CONNECTED);
        return peer;
    }

    void frame(String command, String... headers) {
        write(Frame.octets(command, headers));
    }

    void send(String destination, byte[] body, String... headers) {
        String[] all = Arrays.copyOf(headers, headers.length + 1);
        all[headers.length] = "destination:" + destination;
        write(Frame.octets(body, "SEND", all));
    }

    /** Octets as they are; `\0` in the text is the NUL. */
    void raw(String text) {
        write(text.getBytes(StandardCharsets.UTF_8));
    }

    void write(byte[] octets) {
        write(octets, 0, octets.length);
    }

    void write(byte[] octets, int from, int to) {
        try {
            socket.getOutputStream().write(octets, from, to - from);
            socket.getOutputStream().flush();
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    /** Waits until the broker has closed the connection. */
    void awaitEnd() {
        Wait.until("the broker closes the connection", () -> ended);
    }

    @Override
    public void close() {
        try {
            socket.close();
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    private void read() {
        BufferingStompDecoder decoder = new BufferingStompDecoder(new StompDecoder(), 1 << 24);
        byte[] octets = new byte[65536];
        try {
            InputStream in = socket.getInputStream();
            for (int count = in.read(octets); count >= 0; count = in.read(octets)) {
                decoder.decode(ByteBuffer.wrap(octets, 0, count)).forEach(message -> inbox.put(Frame.of(message)));
            }
        } catch (IOException cut) {
            // A reset is an end too.
        } finally {
            ended = true;
        }
    }
}
