package hoofbeat;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import java.util.stream.Stream;
import org.apache.activemq.broker.BrokerService;
import org.apache.activemq.broker.TransportConnector;
import org.apache.activemq.broker.region.policy.PolicyEntry;
import org.apache.activemq.broker.region.policy.PolicyMap;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * The same script on Spring's simple broker, on Spring's relay before ActiveMQ, on us and on our relay before ActiveMQ. What differs from us stands in
 * differences.md with its reason; what does not stand there, or stands there and does not differ, fails.
 */
class DifferentialTest {
    private static final String US = "Hoofbeat";
    private static final String SPRINGS_RELAY = "Spring's relay, ActiveMQ";
    private static final String OUR_RELAY = "our relay, ActiveMQ";
    private static final String BESIDE_OURS = "Spring's relay beside ours, ActiveMQ";
    private static final List<AutoCloseable> running = new ArrayList<>();
    /** By the broker's name: where a user's page connects. */
    private static final Map<String, Function<String, URI>> brokers = new LinkedHashMap<>();

    @BeforeAll
    static void start() throws Exception {
        // Ten seconds, which are the default, tell no more.
        Broker ours = Broker.start("--set", "app.patience=500ms");
        running.add(ours);
        running.add(new Desk(ours));
        brokers.put(US, user -> ours.url());
        App simple = App.alone();
        running.add(simple);
        brokers.put("Spring's simple broker", simple::url);
        // What is stopped last stands behind what is stopped first.
        App springs = App.before(activemq());
        running.add(springs);
        brokers.put(SPRINGS_RELAY, springs::url);
        Broker relay = Broker.start("--set", "server.mode=relay", "--set", "relay.upstream=127.0.0.1:" + activemq());
        running.add(relay);
        brokers.put(OUR_RELAY, user -> relay.url());
    }

    @AfterAll
    static void stop() throws Exception {
        for (int n = running.size(); n > 0; n--) {
            running.get(n - 1).close();
        }
    }

    @TestFactory
    Stream<DynamicTest> s32_sameScript() throws IOException {
        Differences differences = Differences.listed();
        Stream<DynamicTest> acts = Script.ACTS.stream()
                .map(act -> DynamicTest.dynamicTest("32 the same with other brokers: " + act.name(), () -> {
                    Map<String, List<Told>> told = play(act);
                    List<Told> ours = told.remove(US);
                    told.forEach((broker, theirs) -> differences.compare(act.name(), broker, theirs, ours));
                    if (!act.asks()) {
                        differences.compare(act.name(), BESIDE_OURS, told.get(SPRINGS_RELAY), told.get(OUR_RELAY));
                    }
                    assertThat(differences.unlistedOf(act.name())).as("differences without a reason in differences.md").isEmpty();
                }));
        Stream<DynamicTest> whole = Stream.of(DynamicTest.dynamicTest("32 headers of frames, and no difference listed that is none", () -> {
            Path found = Path.of(System.getProperty("hoofbeat.output", "target"), "differences.md");
            Files.writeString(found, differences.found());
            assertThat(differences.unlisted()).as("headers without a reason in differences.md; all are in " + found).isEmpty();
            assertThat(differences.stale()).as("listed in differences.md, and no difference").isEmpty();
        }));
        return Stream.concat(acts, whole);
    }

    /** Plays an act with all brokers at once; what the pages were told, by broker. */
    private static Map<String, List<Told>> play(Script.Act act) {
        Map<String, CompletableFuture<List<Told>>> playing = new LinkedHashMap<>();
        brokers.forEach((name, url) -> {
            if (act.asks() && name.equals(OUR_RELAY)) {
                return;
            }
            playing.put(name, CompletableFuture.supplyAsync(() -> {
                List<Told> heard = play(act, url);
                for (int again = 0; again < 5 && name.startsWith("Spring's") && withoutError(heard); again++) {
                    heard = play(act, url);
                }
                return heard;
            }, task -> new Thread(task, name).start()));
        });
        Map<String, List<Told>> told = new LinkedHashMap<>();
        playing.forEach((name, play) -> told.put(name, play.join()));
        return told;
    }

    private static List<Told> play(Script.Act act, Function<String, URI> url) {
        try (Stage stage = new Stage(url)) {
            act.play().accept(stage);
            return stage.told();
        }
    }

    /** Whether a page was closed with 1002 and not told why: what Spring has for it at times stays in its own queue, see {@link BootAppTest#s31_error}. */
    private static boolean withoutError(List<Told> told) {
        List<String> all = told.stream().map(Told::what).toList();
        return all.stream().filter(what -> what.endsWith(": closed 1002")).anyMatch(what -> !all.contains(what.replace("closed 1002", "ERROR")));
    }

    /** The port of a broker that is started for one relay. */
    private static int activemq() throws Exception {
        BrokerService broker = new BrokerService();
        broker.setPersistent(false);
        broker.setUseJmx(false);
        broker.setAdvisorySupport(false);
        broker.setUseShutdownHook(false);
        PolicyEntry all = new PolicyEntry();
        // Messages of queues are on their way before the frame is done with, so that a marker behind it comes behind them.
        all.setOptimizedDispatch(true);
        PolicyMap policies = new PolicyMap();
        policies.setDefaultEntry(all);
        broker.setDestinationPolicy(policies);
        TransportConnector connector = broker.addConnector("stomp://127.0.0.1:0");
        broker.start();
        broker.waitUntilStarted();
        running.add(broker::stop);
        return connector.getConnectUri().getPort();
    }
}
