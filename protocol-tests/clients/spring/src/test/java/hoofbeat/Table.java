package hoofbeat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.TestPlan;

/** Writes one line for each scenario, with tabs, to the file that the property {@code hoofbeat.table} names. */
public final class Table implements TestExecutionListener {
    private final Map<String, Long> starts = new ConcurrentHashMap<>();
    private PrintWriter lines;

    @Override
    public void testPlanExecutionStarted(TestPlan plan) {
        String file = System.getProperty("hoofbeat.table");
        if (file == null) {
            return;
        }
        try {
            lines = new PrintWriter(Files.newBufferedWriter(Path.of(file)), true);
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    @Override
    public void executionStarted(TestIdentifier test) {
        starts.put(test.getUniqueId(), System.nanoTime());
    }

    @Override
    public void executionSkipped(TestIdentifier test, String reason) {
        line(test, "skipped", reason);
    }

    @Override
    public void executionFinished(TestIdentifier test, TestExecutionResult result) {
        boolean passed = result.getStatus() == TestExecutionResult.Status.SUCCESSFUL;
        String why = result.getThrowable().map(Throwable::toString).orElse("");
        // A suite that cannot start has no scenarios to blame.
        if (test.isTest() || !passed) {
            line(test, passed ? "passed" : "FAILED", why);
        }
    }

    private synchronized void line(TestIdentifier test, String result, String why) {
        if (lines == null) {
            return;
        }
        String suite = test.getSource()
                .filter(MethodSource.class::isInstance)
                .map(source -> simple(((MethodSource) source).getClassName()))
                .orElse("");
        long nanoseconds = System.nanoTime() - starts.getOrDefault(test.getUniqueId(), System.nanoTime());
        String detail = why.lines().map(String::strip).filter(line -> !line.isEmpty()).reduce((a, b) -> a + " " + b).orElse("");
        lines.printf("%s\t%s\t%s\t%.1f\t%s%n", suite, test.getDisplayName(), result, nanoseconds / 1e9, detail);
    }

    private static String simple(String name) {
        return name.substring(name.lastIndexOf('.') + 1).replaceFirst("Test$", "");
    }
}
