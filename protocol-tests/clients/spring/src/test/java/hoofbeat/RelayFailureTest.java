package hoofbeat;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.IntStream;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;

/** The relay when we are away, stuck, stopped or hear nothing: each with a broker of its own. */
class RelayFailureTest {

    @Test
    @DisplayName("2 virtualHost: the host that is configured is honoured")
    void s02_virtualHost() {
        try (Broker broker = Broker.configured("[hosts.prod]\n[hosts.test]\n");
                Relay prod = new Relay(broker, settings -> settings.setVirtualHost("prod"));
                Relay test = new Relay(broker, settings -> settings.setVirtualHost("test"))) {
            prod.awaitAvailable();
            test.awaitAvailable();
            assertThat(prod.wire().sent().get(0)).contains("\nhost:prod\n");
            Relay.Client ann = prod.connect("ann");
            Relay.Client bob = test.connect("bob");
            ann.subscribe("0", "/topic/a");
            bob.subscribe("0", "/topic/a");
            test.sendAsApplication("/topic/a", "test".getBytes(UTF_8));
            assertThat(bob.inbox.message().text()).isEqualTo("test");
            prod.sendAsApplication("/topic/a", "prod".getBytes(UTF_8));
            assertThat(ann.inbox.message().text()).isEqualTo("prod");
            assertThat(bob.inbox.rest()).isEmpty();
        }
    }

    @Test
    @DisplayName("2 virtualHost: an unknown one is an ERROR that names it, with session.strict_host")
    void s02_unknownHost() {
        try (Broker broker = Broker.start("--set", "session.strict_host=true");
                Relay relay = new Relay(broker, settings -> settings.setVirtualHost("/nowhere"))) {
            Wait.until("the ERROR", () -> !relay.wire().received().isEmpty());
            Frame error = relay.wire().received().get(0);
            assertThat(error.command()).isEqualTo(StompCommand.ERROR);
            assertThat(error.text()).contains("/nowhere");
            assertThat(relay.availability()).isEmpty();
        }
    }

    @Test
    @DisplayName("16 heart-beats of 1 s: an idle relay stays; when we freeze it gives up, and comes back")
    void s16_heartBeats() {
        try (Broker broker = Broker.start();
                Relay relay = new Relay(broker, settings -> {
                    settings.setSystemHeartbeatSendInterval(1000);
                    settings.setSystemHeartbeatReceiveInterval(1000);
                })) {
            relay.awaitAvailable();
            // Ours is at least 10 s by default, and the greater value holds: 30 s until the relay gives up.
            assertThat(relay.wire().received().get(0).header("heart-beat")).isEqualTo("10000,10000");
        }
        try (Broker broker = Broker.start("--set", "session.heart_beat=1s");
                Relay relay = new Relay(broker, settings -> {
                    settings.setSystemHeartbeatSendInterval(1000);
                    settings.setSystemHeartbeatReceiveInterval(1000);
                })) {
            relay.awaitAvailable();
            // Both sides give up after three seconds without a beat.
            Wait.pause(Duration.ofSeconds(5));
            assertThat(relay.availability()).containsExactly(true);
            assertThat(broker.size("sessions")).isEqualTo(1);
            broker.freeze();
            relay.awaitUnavailable();
            broker.thaw();
            relay.awaitAvailable();
            assertThat(relay.availability()).containsExactly(true, false, true);
        }
    }

    /**
     * Spring resets its count of what it forwarded every 5 s, whatever the interval, so anything shorter cannot work.
     * A real browser has 10 s.
     */
    @Test
    @DisplayName("17 a browser that sends to /app only: stays with the relay's TaskScheduler, without it ERROR \"No heart-beat\"")
    void s17_applicationTraffic() {
        ThreadPoolTaskScheduler scheduler = new ThreadPoolTaskScheduler();
        scheduler.setDaemon(true);
        scheduler.initialize();
        try (Broker broker = Broker.start(
                        "--set", "session.heart_beat=10s,5500ms",
                        "--set", "session.heart_beat_tolerance=1.3",
                        "--set", "session.heart_beat_extra=0s");
                Relay with = new Relay(broker, settings -> settings.setTaskScheduler(scheduler));
                Relay without = new Relay(broker, settings -> {})) {
            with.awaitAvailable();
            without.awaitAvailable();
            Relay.Client stays = with.browser("stays");
            Relay.Client falls = without.browser("falls");
            for (Relay.Client client : List.of(stays, falls)) {
                client.send("CONNECT", "accept-version:1.2", "heart-beat:5500,0");
                assertThat(client.inbox.next(StompCommand.CONNECTED).header("heart-beat")).endsWith(",5500");
            }
            for (int n = 0; n < 34; n++) {
                Wait.pause(Duration.ofMillis(500));
                stays.send("SEND", "destination:/app/x");
                falls.send("SEND", "destination:/app/x");
            }
            Frame error = falls.inbox.next(StompCommand.ERROR);
            assertThat(error.header("message")).containsIgnoringCase("no heart-beat");
            assertThat(stays.inbox.rest()).isEmpty();
            stays.subscribe("0", "/topic/a");
        }
        scheduler.shutdown();
    }

    @Test
    @DisplayName("19 killed and started again under load: an ERROR for every browser, and the relay comes back")
    void s19_restart() {
        try (Broker broker = Broker.start(); Relay relay = Relay.to(broker)) {
            List<Relay.Client> browsers = IntStream.range(0, 50).mapToObj(n -> relay.connect("b" + n)).toList();
            browsers.forEach(browser -> browser.subscribe("0", "/topic/load"));
            AtomicBoolean loaded = new AtomicBoolean(true);
            Thread load = new Thread(() -> {
                while (loaded.get()) {
                    for (Relay.Client browser : browsers.subList(0, 5)) {
                        browser.send("/topic/load", new byte[1000]);
                    }
                }
            });
            load.start();
            browsers.get(49).inbox.messages(100);
            broker.kill();
            relay.awaitUnavailable();
            loaded.set(false);
            for (Relay.Client browser : browsers) {
                Wait.until("an ERROR", () -> browser.inbox.rest().stream().anyMatch(frame -> frame.command() == StompCommand.ERROR));
            }
            broker.restart();
            relay.awaitAvailable();
            assertThat(relay.availability()).containsExactly(true, false, true);
            Relay.Client again = relay.connect("again");
            again.subscribe("0", "/topic/load");
            relay.sendAsApplication("/topic/load", "back".getBytes(UTF_8));
            assertThat(again.inbox.message().text()).isEqualTo("back");
        }
    }

    @Test
    @DisplayName("20 stopped gracefully: ERROR \"shutdown\", and what had its RECEIPT was delivered or is there after the restart")
    void s20_drain(@TempDir Path folder) throws InterruptedException {
        try (Broker broker = Broker.start("--data", folder.toString()); Relay relay = Relay.to(broker)) {
            Relay.Client reader = relay.connect("reader");
            Relay.Client writer = relay.connect("writer");
            reader.subscribe("0", "/queue/load");
            AtomicBoolean loaded = new AtomicBoolean(true);
            Thread load = new Thread(() -> {
                for (int n = 0; loaded.get(); n++) {
                    writer.send(Integer.toString(n).getBytes(UTF_8), "SEND", "destination:/queue/load", "persistent:true", "receipt:" + n);
                }
            });
            load.start();
            Wait.until("messages flow", () -> reader.inbox.rest().size() > 200);
            broker.stop();
            relay.awaitUnavailable();
            loaded.set(false);
            load.join();
            List<String> errors = new ArrayList<>();
            Set<String> delivered = new HashSet<>();
            Set<String> receipted = new HashSet<>();
            for (Relay.Client client : List.of(reader, writer)) {
                Wait.until("an ERROR", () -> client.inbox.rest().stream().anyMatch(frame -> frame.command() == StompCommand.ERROR));
                for (Frame frame : client.inbox.rest()) {
                    switch (frame.command()) {
                        case MESSAGE -> delivered.add(frame.text());
                        case RECEIPT -> receipted.add(frame.header("receipt-id"));
                        default -> errors.add(frame.header("code"));
                    }
                }
            }
            assertThat(errors).contains("shutdown");
            assertThat(receipted).isNotEmpty();
            // The reader's session may end before the writer's: what is sent between waits in the queue.
            broker.restart();
            try (Peer rest = Peer.connected(broker)) {
                rest.frame("SUBSCRIBE", "id:0", "destination:/queue/load");
                while (!delivered.containsAll(receipted)) {
                    delivered.add(rest.inbox.message().text());
                }
            }
        }
    }
}
