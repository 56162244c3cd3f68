package hoofbeat;

import java.time.Duration;
import java.util.concurrent.Callable;

/** Waits for what happens on other threads or in the broker. */
final class Wait {
    /** How long anything may take that should happen at once; a slow machine is no failure. */
    static final Duration PATIENCE = Duration.ofSeconds(20);

    private Wait() {}

    static void until(String what, Callable<Boolean> holds) {
        until(what, PATIENCE, holds);
    }

    static void until(String what, Duration patience, Callable<Boolean> holds) {
        long end = System.nanoTime() + patience.toNanos();
        try {
            while (!holds.call()) {
                if (System.nanoTime() > end) {
                    throw new AssertionError("not within " + patience.toSeconds() + " s: " + what);
                }
                Thread.sleep(20);
            }
        } catch (RuntimeException | Error failed) {
            throw failed;
        } catch (Exception failed) {
            throw new AssertionError(what, failed);
        }
    }

    /** Lets time pass in which something must not happen. */
    static void pause(Duration time) {
        try {
            Thread.sleep(time.toMillis());
        } catch (InterruptedException interrupted) {
            throw new AssertionError(interrupted);
        }
    }
}
