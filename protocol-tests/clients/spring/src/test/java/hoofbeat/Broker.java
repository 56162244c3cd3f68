package hoofbeat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Our binary as a process of its own, on free ports of the loopback and with nothing on disk. */
final class Broker implements AutoCloseable {
    private static final Path BINARY = Path.of(System.getProperty("hoofbeat.bin", "hoofbeat"));
    private static final Pattern LISTENING = Pattern.compile("listening on (ws|tcp)://127\\.0\\.0\\.1:(\\d+)");
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final AtomicInteger COUNT = new AtomicInteger();

    private final List<String> flags;
    private final Path folder;
    private Process process;
    private int tcp;
    private int webSocket;

    private Broker(List<String> flags) throws IOException {
        this.flags = flags;
        folder = Files.createDirectories(Path.of(System.getProperty("hoofbeat.logs", "target/brokers")))
                .toAbsolutePath()
                .resolve("broker-" + COUNT.incrementAndGet());
        Files.createDirectories(folder);
        launch();
    }

    /** Starts it with these flags besides the addresses; with nothing on disk unless {@code --data} is among them. */
    static Broker start(String... flags) {
        try {
            List<String> all = new ArrayList<>(List.of(flags));
            if (help().contains("--ephemeral") && !all.contains("--data")) {
                all.add("--ephemeral");
            }
            return new Broker(all);
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    /** Starts it with this configuration file. */
    static Broker configured(String toml) {
        try {
            Path file = Files.createTempFile("hoofbeat", ".toml");
            file.toFile().deleteOnExit();
            Files.writeString(file, toml);
            return start("--config", file.toString());
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    /** Lines of a configuration file: these users, each with his name as his passcode. */
    static String users(String... names) {
        StringBuilder lines = new StringBuilder();
        try {
            for (String name : names) {
                Process asked = new ProcessBuilder(BINARY.toString(), "passwd", name, "--stdin").start();
                asked.getOutputStream().write((name + "\n").getBytes());
                asked.getOutputStream().close();
                lines.append(new String(asked.getInputStream().readAllBytes())).append('\n');
            }
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
        return lines.toString();
    }

    int tcp() {
        return tcp;
    }

    URI url() {
        return URI.create("ws://127.0.0.1:" + webSocket + "/ws");
    }

    /** Ends it without warning. */
    void kill() {
        process.destroyForcibly();
        ended();
    }

    /** Asks it to stop, and waits until it has. */
    void stop() {
        process.destroy();
        ended();
    }

    /** Starts it again on the same ports. */
    void restart() {
        try {
            launch();
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    /** Stops its clock: it neither reads nor writes until {@link #thaw}. */
    void freeze() {
        signal("STOP");
    }

    void thaw() {
        signal("CONT");
    }

    /** A number of {@code broker.sizes} in /stats: sessions, queues, topics, subscriptions, queued_messages. */
    long size(String name) {
        return number("\"sizes\":\\{[^}]*\"" + name + "\":(\\d+)");
    }

    /** A number of {@code broker.counters} in /stats. */
    long counter(String name) {
        return number("\"counters\":\\{[^}]*\"" + name + "\":(\\d+)");
    }

    /** Everything that was counted under this name, or 0 where the name does not occur yet. */
    private long number(String pattern) {
        Matcher found = Pattern.compile(pattern).matcher(stats());
        return found.find() ? Long.parseLong(found.group(1)) : 0;
    }

    String stats() {
        URI page = URI.create("http://127.0.0.1:" + webSocket + "/stats");
        try {
            return HTTP.send(HttpRequest.newBuilder(page).build(), HttpResponse.BodyHandlers.ofString()).body();
        } catch (IOException | InterruptedException failed) {
            throw new AssertionError(page.toString(), failed);
        }
    }

    /** What it has written to its standard error so far. */
    String log() {
        try {
            return Files.readString(folder.resolve("stderr"));
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    @Override
    public void close() {
        if (process.isAlive()) {
            thaw();
            process.destroy();
            ended();
        }
    }

    private void launch() throws IOException {
        List<String> command = new ArrayList<>(List.of(BINARY.toString()));
        command.addAll(List.of("--tcp", "127.0.0.1:" + tcp, "--websocket", "127.0.0.1:" + webSocket));
        command.addAll(flags);
        process = new ProcessBuilder(command)
                .directory(folder.toFile())
                .redirectError(ProcessBuilder.Redirect.appendTo(folder.resolve("stderr").toFile()))
                .start();
        // Whatever ends the tests ends the broker too.
        Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
        BufferedReader lines = process.inputReader();
        int known = 0;
        for (String line = lines.readLine(); line != null && known < 2; line = known < 2 ? lines.readLine() : line) {
            Matcher found = LISTENING.matcher(line);
            if (!found.find()) {
                continue;
            }
            known += 1;
            int port = Integer.parseInt(found.group(2));
            if (found.group(1).equals("tcp")) {
                tcp = port;
            } else {
                webSocket = port;
            }
        }
        if (known < 2) {
            throw new IOException("the broker did not start: " + log());
        }
        Thread drain = new Thread(() -> lines.lines().forEach(line -> {}));
        drain.setDaemon(true);
        drain.start();
    }

    private void ended() {
        try {
            if (!process.waitFor(Wait.PATIENCE.toSeconds(), TimeUnit.SECONDS)) {
                process.destroyForcibly();
                throw new AssertionError("the broker does not end");
            }
        } catch (InterruptedException interrupted) {
            throw new AssertionError(interrupted);
        }
    }

    private void signal(String name) {
        try {
            new ProcessBuilder("kill", "-" + name, Long.toString(process.pid())).start().waitFor();
        } catch (IOException | InterruptedException failed) {
            throw new AssertionError(failed);
        }
    }

    private static String help() throws IOException {
        Process asked = new ProcessBuilder(BINARY.toString(), "--help").redirectErrorStream(true).start();
        return new String(asked.getInputStream().readAllBytes());
    }
}
