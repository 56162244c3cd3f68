package hoofbeat;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;
import org.springframework.context.ApplicationEvent;
import org.springframework.context.ApplicationEventPublisher;
import org.springframework.messaging.Message;
import org.springframework.messaging.simp.broker.BrokerAvailabilityEvent;
import org.springframework.messaging.simp.stomp.StompBrokerRelayMessageHandler;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompHeaderAccessor;
import org.springframework.messaging.support.ExecutorSubscribableChannel;
import org.springframework.messaging.support.MessageBuilder;
import org.springframework.messaging.support.MessageHeaderAccessor;

/** Spring's broker relay with nothing around it: what browsers send goes in by a channel, what they get comes out by one. */
final class Relay implements AutoCloseable {
    private final ExecutorSubscribableChannel inbound = new ExecutorSubscribableChannel();
    private final ExecutorSubscribableChannel outbound = new ExecutorSubscribableChannel();
    private final ExecutorSubscribableChannel server = new ExecutorSubscribableChannel();
    private final Map<String, Client> clients = new ConcurrentHashMap<>();
    private final List<Boolean> availability = new CopyOnWriteArrayList<>();
    private final StompBrokerRelayMessageHandler handler;
    private final Wire wire;

    /** Starts a relay before this broker, and does not wait for it. */
    Relay(Broker broker, Consumer<StompBrokerRelayMessageHandler> settings) {
        handler = new StompBrokerRelayMessageHandler(inbound, outbound, server, List.of("/topic", "/queue"));
        wire = new Wire(broker);
        handler.setTcpClient(wire);
        handler.setApplicationEventPublisher(new Publisher());
        outbound.subscribe(message -> {
            StompHeaderAccessor accessor = MessageHeaderAccessor.getAccessor(message, StompHeaderAccessor.class);
            Client client = clients.get(accessor.getSessionId());
            if (client != null) {
                client.inbox.put(Frame.of(message));
            }
        });
        settings.accept(handler);
        handler.start();
    }

    /** A relay with Spring's defaults, connected. */
    static Relay to(Broker broker) {
        Relay relay = new Relay(broker, settings -> {});
        relay.awaitAvailable();
        return relay;
    }

    Wire wire() {
        return wire;
    }

    /** What Spring published about the broker, from its start: true is there, false is gone. */
    List<Boolean> availability() {
        return availability;
    }

    void awaitAvailable() {
        Wait.until("the relay has its system connection", handler::isBrokerAvailable);
    }

    void awaitUnavailable() {
        Wait.until("the relay knows that the broker is gone", () -> !handler.isBrokerAvailable());
    }

    /** Connections of the relay, its own and those of its sessions. */
    int connections() {
        return handler.getConnectionCount();
    }

    /** A browser's session that has said nothing yet. */
    Client browser(String session) {
        return clients.computeIfAbsent(session, Client::new);
    }

    /** A browser's session that is connected with these versions to choose from. */
    Client connect(String session, String versions) {
        Client client = browser(session);
        client.send("CONNECT", "accept-version:" + versions, "heart-beat:0,0");
        client.connected = client.inbox.next(StompCommand.CONNECTED);
        return client;
    }

    Client connect(String session) {
        return connect(session, "1.1,1.2");
    }

    /** Begins to stop it: the connections end soon, but Reactor's threads take two seconds over it. */
    @Override
    public void close() {
        new Thread(handler::stop).start();
    }

    /** One browser's session, as the relay sees it. */
    final class Client {
        final Inbox inbox;
        Frame connected;
        private final String session;
        private int receipts;

        Client(String session) {
            this.session = session;
            this.inbox = new Inbox(session);
        }

        void send(String command, String... headers) {
            send(new byte[0], command, headers);
        }

        /** Hands the relay a frame as Spring's WebSocket side would: decoded, unchangeable, with the session's id. */
        void send(byte[] body, String command, String... headers) {
            Message<byte[]> message = Frame.decode(Frame.octets(body, command, headers)).get(0);
            StompHeaderAccessor accessor = MessageHeaderAccessor.getAccessor(message, StompHeaderAccessor.class);
            accessor.setSessionId(session);
            accessor.setImmutable();
            inbound.send(message);
        }

        void send(String destination, byte[] body) {
            send(body, "SEND", "destination:" + destination);
        }

        /** Subscribes and waits for the RECEIPT. */
        void subscribe(String id, String destination, String... headers) {
            String[] all = Arrays.copyOf(headers, headers.length + 2);
            all[headers.length] = "id:" + id;
            all[headers.length + 1] = "destination:" + destination;
            acknowledged("SUBSCRIBE", all);
        }

        /** Sends a frame with a receipt and waits for it. */
        void acknowledged(String command, String... headers) {
            acknowledged(new byte[0], command, headers);
        }

        void acknowledged(byte[] body, String command, String... headers) {
            receipts += 1;
            String receipt = session + "-" + receipts;
            String[] all = Arrays.copyOf(headers, headers.length + 1);
            all[headers.length] = "receipt:" + receipt;
            send(body, command, all);
            inbox.receipt(receipt);
        }

        /** What Spring sends when a browser's WebSocket has ended, whoever ended it. */
        void vanish() {
            StompHeaderAccessor accessor = StompHeaderAccessor.create(StompCommand.DISCONNECT);
            accessor.setSessionId(session);
            inbound.send(MessageBuilder.createMessage(new byte[0], accessor.getMessageHeaders()));
        }
    }

    /** What an application sends on the relay's own connection. */
    void sendAsApplication(String destination, byte[] body, String... headers) {
        String[] all = Arrays.copyOf(headers, headers.length + 1);
        all[headers.length] = "destination:" + destination;
        Message<byte[]> message = Frame.decode(Frame.octets(body, "SEND", all)).get(0);
        server.send(message);
    }

    private final class Publisher implements ApplicationEventPublisher {
        @Override
        public void publishEvent(ApplicationEvent event) {
            publishEvent((Object) event);
        }

        @Override
        public void publishEvent(Object event) {
            if (event instanceof BrokerAvailabilityEvent availabilityEvent) {
                availability.add(availabilityEvent.isBrokerAvailable());
            }
        }
    }
}
