package hoofbeat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;

/** What differs between other brokers and us, and the table of it with the reasons. */
final class Differences {
    /** One row of differences.md: its cells but the last, and the last, which is the reason. */
    private final Map<List<String>, String> listed = new TreeMap<>(Differences::order);
    private final TreeSet<List<String>> found = new TreeSet<>(Differences::order);

    /** The differences that differences.md lists. */
    static Differences listed() throws IOException {
        Differences differences = new Differences();
        for (String line : Files.readAllLines(Path.of("differences.md"))) {
            if (!line.startsWith("| ") || line.endsWith("| why |") || line.startsWith("| ---")) {
                continue;
            }
            List<String> cells = Arrays.stream(line.substring(1, line.length() - 1).split("(?<!\\\\)\\|")).map(String::strip).toList();
            String reason = cells.get(cells.size() - 1);
            if (reason.isEmpty()) {
                throw new AssertionError("differences.md gives no reason: " + line);
            }
            differences.listed.put(cells.subList(0, cells.size() - 1), reason);
        }
        return differences;
    }

    /** Notes in what {@code theirs} differs from {@code ours} in this act. */
    void compare(String act, String broker, List<Told> theirs, List<Told> ours) {
        List<Told> missing = new ArrayList<>(ours);
        List<String> only = new ArrayList<>();
        for (Told told : theirs) {
            Told same = missing.stream().filter(our -> our.what().equals(told.what())).findFirst().orElse(null);
            if (same == null) {
                only.add(told.what());
                continue;
            }
            missing.remove(same);
            headers(broker, told, same);
        }
        if (!only.isEmpty() || !missing.isEmpty()) {
            found.add(List.of(act, broker, cell(only), cell(missing.stream().map(Told::what).toList())));
        }
    }

    /** Differences of this act that are not listed. */
    List<String> unlistedOf(String act) {
        return unlisted().stream().filter(row -> row.startsWith("| " + act + " |")).toList();
    }

    /** All differences that are not listed. */
    List<String> unlisted() {
        return found.stream().filter(row -> !listed.containsKey(row)).map(row -> row(row, "")).toList();
    }

    /** What is listed and was not found, but for what two threads of another broker race for. */
    List<String> stale() {
        return listed.keySet().stream()
                .filter(row -> !found.contains(row) && !listed.get(row).startsWith("at times: "))
                .map(row -> row(row, listed.get(row))).toList();
    }

    /** All that was found, with the reasons that are listed. */
    String found() {
        return found.stream().map(row -> row(row, listed.getOrDefault(row, "")) + "\n").collect(Collectors.joining());
    }

    private void headers(String broker, Told theirs, Told ours) {
        TreeSet<String> names = new TreeSet<>(theirs.headers().keySet());
        names.addAll(ours.headers().keySet());
        for (String name : names) {
            String there = theirs.headers().get(name);
            String here = ours.headers().get(name);
            // An ERROR's words are everybody's own.
            boolean words = ours.command().equals("ERROR") && !name.equals("receipt-id");
            if (there == null || here == null) {
                found.add(List.of(ours.command() + " `" + name + "`", broker, there == null ? "no" : "yes", here == null ? "no" : "yes"));
            } else if (!there.equals(here) && !words) {
                found.add(List.of(ours.command() + " `" + name + "`", broker, code(there), code(here)));
            }
        }
    }

    private static String cell(List<String> what) {
        return what.stream().sorted().map(Differences::code).collect(Collectors.joining("<br>"));
    }

    private static String code(String text) {
        return "`" + text.replace("\n", "⏎").replace("|", "\\|") + "`";
    }

    private static String row(List<String> cells, String reason) {
        return "| " + String.join(" | ", cells) + " | " + reason + " |";
    }

    private static int order(List<String> one, List<String> other) {
        return String.join("|", one).compareTo(String.join("|", other));
    }
}
