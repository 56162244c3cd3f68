package hoofbeat;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.springframework.messaging.simp.stomp.ReactorNettyTcpStompClient;
import org.springframework.messaging.simp.stomp.StompHeaders;
import org.springframework.messaging.simp.stomp.StompSession;

/** ReactorNettyTcpStompClient straight to our TCP port. */
class TcpClientTest extends ClientContract {
    private final List<Wire> wires = new ArrayList<>();

    /** Reactor's threads take two seconds to end, for which nobody waits. */
    @AfterEach
    void release() {
        List<Wire> used = List.copyOf(wires);
        wires.clear();
        used.forEach(Wire::shutdownAsync);
    }

    @Override
    Talk open(StompHeaders connect) {
        Wire wire = new Wire(broker);
        wires.add(wire);
        ReactorNettyTcpStompClient client = new ReactorNettyTcpStompClient(wire);
        client.setTaskScheduler(scheduler);
        Talk talk = new Talk();
        CompletableFuture<StompSession> promised = client.connectAsync(connect, talk);
        return talk.opened(promised);
    }

    @Override
    void cut() {
        latest().cut();
    }

    @Override
    void write(String command, String... headers) {
        latest().write(command, headers);
    }

    private Wire latest() {
        return wires.get(wires.size() - 1);
    }

    @Test
    @DisplayName("8 body of 1 MB")
    void s08_megabyte() {
        Talk talk = open();
        talk.subscribed(topic, null);
        byte[] body = Frame.everyOctet(1 << 20);
        Talk.receipt(talk.session().send(topic, body));
        assertThat(talk.message().body()).isEqualTo(body);
        talk.session().disconnect();
    }
}
