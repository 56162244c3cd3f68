package hoofbeat;

import java.lang.reflect.Type;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompFrameHandler;
import org.springframework.messaging.simp.stomp.StompHeaders;
import org.springframework.messaging.simp.stomp.StompSession;
import org.springframework.messaging.simp.stomp.StompSessionHandlerAdapter;

/** A session of Spring's STOMP client, over whichever transport, and what it was told. */
final class Talk extends StompSessionHandlerAdapter {
    /** A message as the client's handler got it. */
    record Got(StompHeaders headers, byte[] body) {
        String text() {
            return new String(body, StandardCharsets.UTF_8);
        }
    }

    private final List<StompHeaders> errors = new CopyOnWriteArrayList<>();
    private final List<Throwable> failures = new CopyOnWriteArrayList<>();
    private final LinkedBlockingQueue<Got> messages = new LinkedBlockingQueue<>();
    private StompSession session;
    volatile StompHeaders connected;

    /** Takes the session that a client's {@code connectAsync} promised to this handler. */
    Talk opened(CompletableFuture<StompSession> promised) {
        try {
            session = promised.get(Wait.PATIENCE.toSeconds(), TimeUnit.SECONDS);
            // Spring keeps the promise before it tells the handler.
            Wait.until("CONNECTED", () -> connected != null);
            return this;
        } catch (InterruptedException | TimeoutException failed) {
            throw new AssertionError("no session", failed);
        } catch (ExecutionException failed) {
            throw new AssertionError("no session", failed.getCause());
        }
    }

    StompSession session() {
        return session;
    }

    /** ERROR frames of ours. */
    List<StompHeaders> errors() {
        return errors;
    }

    /** What Spring's client complained of: a lost connection, a handler that threw. */
    List<Throwable> failures() {
        return failures;
    }

    StompSession.Subscription subscribe(String destination, String ack) {
        StompHeaders headers = new StompHeaders();
        headers.setDestination(destination);
        if (ack != null) {
            headers.setAck(ack);
        }
        return session.subscribe(headers, new StompFrameHandler() {
            @Override
            public Type getPayloadType(StompHeaders frame) {
                return byte[].class;
            }

            @Override
            public void handleFrame(StompHeaders frame, Object payload) {
                messages.add(new Got(frame, payload == null ? new byte[0] : (byte[]) payload));
            }
        });
    }

    /** Subscribes and waits for the RECEIPT; the session asks for receipts of its own accord. */
    StompSession.Subscription subscribed(String destination, String ack) {
        StompSession.Subscription subscription = subscribe(destination, ack);
        receipt(subscription);
        return subscription;
    }

    Got message() {
        try {
            Got got = messages.poll(Wait.PATIENCE.toSeconds(), TimeUnit.SECONDS);
            if (got == null) {
                throw new AssertionError("no message; errors " + errors + ", failures " + failures);
            }
            return got;
        } catch (InterruptedException interrupted) {
            throw new AssertionError(interrupted);
        }
    }

    int waiting() {
        return messages.size();
    }

    /** Waits for the RECEIPT, which must come before Spring gives it up. */
    static void receipt(StompSession.Receiptable asked) {
        CompletableFuture<Void> came = new CompletableFuture<>();
        asked.addReceiptTask(() -> came.complete(null));
        asked.addReceiptLostTask(() -> came.completeExceptionally(new AssertionError("the RECEIPT is lost")));
        came.orTimeout(Wait.PATIENCE.toSeconds(), TimeUnit.SECONDS).join();
    }

    @Override
    public void afterConnected(StompSession opened, StompHeaders headers) {
        connected = headers;
    }

    /** Octets, because Spring's default converter makes no text of them and would drop the ERROR. */
    @Override
    public Type getPayloadType(StompHeaders headers) {
        return byte[].class;
    }

    @Override
    public void handleFrame(StompHeaders headers, Object payload) {
        errors.add(headers);
    }

    @Override
    public void handleException(
            StompSession where, StompCommand command, StompHeaders headers, byte[] payload, Throwable failure) {
        failures.add(failure);
    }

    @Override
    public void handleTransportError(StompSession where, Throwable failure) {
        failures.add(failure);
    }
}
