package hoofbeat;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import org.springframework.messaging.Message;
import org.springframework.messaging.simp.stomp.StompEncoder;
import org.springframework.messaging.simp.stomp.StompReactorNettyCodec;
import org.springframework.messaging.tcp.ReconnectStrategy;
import org.springframework.messaging.tcp.TcpConnection;
import org.springframework.messaging.tcp.TcpConnectionHandler;
import org.springframework.messaging.tcp.TcpOperations;
import org.springframework.messaging.tcp.reactor.ReactorNettyTcpClient;

/** Spring's TCP client on Reactor Netty, with an ear on it. */
final class Wire implements TcpOperations<byte[]> {
    private final ReactorNettyTcpClient<byte[]> client;
    private final List<String> sent = new CopyOnWriteArrayList<>();
    private final List<Frame> received = new CopyOnWriteArrayList<>();
    private volatile TcpConnection<byte[]> latest;

    Wire(Broker broker) {
        client = new ReactorNettyTcpClient<>("127.0.0.1", broker.tcp(), new StompReactorNettyCodec());
    }

    /** Frames that Spring wrote, as they were on the wire, NUL left out. */
    List<String> sent() {
        return sent;
    }

    /** Frames that Spring read, on all connections. */
    List<Frame> received() {
        return received;
    }

    /** Writes a frame that Spring's own session has no method for, on the connection that was opened last. */
    void write(String command, String... headers) {
        latest.sendAsync(Frame.decode(Frame.octets(command, headers)).get(0));
    }

    /** Cuts the connection that was opened last. */
    void cut() {
        latest.close();
    }

    @Override
    public CompletableFuture<Void> connectAsync(TcpConnectionHandler<byte[]> handler) {
        return client.connectAsync(new Tapped(handler));
    }

    @Override
    public CompletableFuture<Void> connectAsync(TcpConnectionHandler<byte[]> handler, ReconnectStrategy strategy) {
        return client.connectAsync(new Tapped(handler), strategy);
    }

    @Override
    public CompletableFuture<Void> shutdownAsync() {
        return client.shutdownAsync();
    }

    private final class Tapped implements TcpConnectionHandler<byte[]> {
        private final TcpConnectionHandler<byte[]> inner;

        Tapped(TcpConnectionHandler<byte[]> inner) {
            this.inner = inner;
        }

        @Override
        public void afterConnected(TcpConnection<byte[]> connection) {
            TcpConnection<byte[]> tapped = new TappedConnection(connection);
            latest = tapped;
            inner.afterConnected(tapped);
        }

        @Override
        public void afterConnectFailure(Throwable failure) {
            inner.afterConnectFailure(failure);
        }

        @Override
        public void handleMessage(Message<byte[]> message) {
            received.add(Frame.of(message));
            inner.handleMessage(message);
        }

        @Override
        public void handleFailure(Throwable failure) {
            inner.handleFailure(failure);
        }

        @Override
        public void afterConnectionClosed() {
            inner.afterConnectionClosed();
        }
    }

    private final class TappedConnection implements TcpConnection<byte[]> {
        private final TcpConnection<byte[]> inner;
        private final StompEncoder encoder = new StompEncoder();

        TappedConnection(TcpConnection<byte[]> inner) {
            this.inner = inner;
        }

        @Override
        public CompletableFuture<Void> sendAsync(Message<byte[]> message) {
            byte[] octets = encoder.encode(message);
            sent.add(new String(octets, 0, octets.length - 1, StandardCharsets.UTF_8));
            return inner.sendAsync(message);
        }

        @Override
        public void onReadInactivity(Runnable task, long milliseconds) {
            inner.onReadInactivity(task, milliseconds);
        }

        @Override
        public void onWriteInactivity(Runnable task, long milliseconds) {
            inner.onWriteInactivity(task, milliseconds);
        }

        @Override
        public void close() {
            inner.close();
        }
    }
}
