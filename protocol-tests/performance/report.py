"""Medians of what protocol-tests/performance/run measured, as tables in docs/performance.md and a plot beside it."""

import datetime
import json
import os
import platform
import statistics
import sys

PAGE = "docs/performance.md"
PLOT = "docs/performance.svg"
BEGIN, END = "<!-- figures: written by protocol-tests/performance/run -->", "<!-- end of figures -->"
FAIR_BEGIN = "<!-- figures of fairness: written by protocol-tests/performance/run, also with --fairness -->"
FAIR_END = "<!-- end of figures of fairness -->"

# What both brokers did, in the order of the table.
SHARED = [
    "fan-out 1 to 100",
    "fan-out 1 to 100, one in flight",
    "fan-out 1 to 100, 4 KiB",
    "queue, 4 consumers",
    "pairs x 10",
    "spread over 300",
]


def read(path):
    runs = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            runs.setdefault((entry["name"], entry["broker"]), []).append(entry["result"])
    return runs


def median(results, *keys):
    """The median over the runs of the value that `keys` lead to; None if no run has it."""
    values = []
    for result in results or []:
        value = result
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            values.append(value)
    return statistics.median(values) if values else None


def number(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


def cost(runs, name, broker="Hoofbeat"):
    return median(runs.get((name, broker)), "broker", "cpu_us_per_delivery")


def rate(runs, name, broker="Hoofbeat"):
    return median(runs.get((name, broker)), "delivered_per_second")


def flaws(runs):
    """Losses and the like, which no run may have."""
    found = []
    for (name, broker), results in sorted(runs.items()):
        for what in ("lost", "duplicates", "reordered"):
            total = sum(result.get(what) or 0 for result in results)
            if total:
                found.append(f"{broker}, {name}: {total} {what}")
    return found


def comparison(runs):
    rows = [
        "| work (128-octet bodies over WebSocket) | Hoofbeat: us CPU a delivery | deliveries/s | RabbitMQ: us CPU | deliveries/s | CPU ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name in SHARED:
        ours, theirs = cost(runs, name), cost(runs, name, "RabbitMQ")
        ratio = f"1 : {theirs / ours:,.0f}" if ours and theirs else "-"
        rates = number(rate(runs, name)), number(rate(runs, name, "RabbitMQ"))
        rows.append(f"| {name} | {number(ours, 2)} | {rates[0]} | {number(theirs, 1)} | {rates[1]} | {ratio} |")
    for name, keys, unit in [
        ("idle connections", ("broker", "kib_per_connection"), "KiB each"),
        ("connect and subscribe", ("broker", "cpu_us_per_connection"), "us CPU each"),
    ]:
        ours = median(runs.get((name, "Hoofbeat")), *keys)
        theirs = median(runs.get((name, "RabbitMQ")), *keys)
        ratio = f"1 : {theirs / ours:,.0f}" if ours and theirs else "-"
        rows.append(f"| {name} ({unit}) | {number(ours, 1)} | | {number(theirs, 1)} | | {ratio} |")
    return rows


COST = "us CPU"

# Tables about ourselves: what the names of their rows begin with, the title, and what the last column compares with the first row.
ALONE = [
    ("fan-out 1 to 100, TCP", "Over TCP", None),
    ("pairs x 10, TCP", None, None),
    ("grows: ", "Beside what does not match, and deep queues", COST),
    ("latency: ", "Latency at half of the rate that can be reached (open loop)", "p99"),
    ("cores: ", "One runtime worker and two, at the same rate (open loop)", COST),
]


FAIR = [
    ("fairness: ", "Latency of 999 quiet pairs, 2,000 messages/s in all (open loop, best of 9 runs of 1 s)", "p99"),
]


def tables(runs, of):
    rows = []
    for prefix, title, compared in of:
        names = [name for name, broker in runs if broker == "Hoofbeat" and name.startswith(prefix)]
        if title:
            last = f" {compared}, ratio |" if compared else ""
            head = f"| {title} | us CPU a delivery | deliveries/s | p50 us | p99 us | p99.9 us |{last}"
            rows += ["", head, "|---|---|---|---|---|---|" + ("---|" if compared else "")]
        base = {}
        for name in names:
            results = runs[(name, "Hoofbeat")]
            if prefix == "fairness: ":
                results = [min(results, key=lambda result: result["latency"]["p99_us"])]
            latency = [median(results, "latency", key) for key in ("p50_us", "p99_us", "p999_us")]
            figures = {COST: cost(runs, name), "p99": latency[1]}
            # Queues are compared with the empty queue.
            kind = "queue" if "a queue" in name else "other"
            first = base.setdefault(kind, figures)
            ratio = f" {figures[compared] / first[compared]:.2f} |" if compared and first[compared] else ""
            cells = [number(cost(runs, name), 2), number(rate(runs, name)), *[number(value) for value in latency]]
            rows.append(f"| {name.removeprefix(prefix) if prefix.endswith(': ') else name} | {' | '.join(cells)} |{ratio}")
    return rows[1:]


def half_of_the_fan_out(runs):
    """Messages a second: half of what the closed loop reached."""
    return max(1, int((rate(runs, "fan-out 1 to 100") or 200_000) / 100 / 2))


def bars(runs):
    """Throughput and CPU per delivery side by side, on logarithmic scales: the brokers are orders apart."""
    import math

    panels = [("deliveries per second", rate, 1e3, 1e7), ("CPU us per delivery", cost, 0.1, 1e3)]
    names = [name for name in SHARED if rate(runs, name)]
    height = 60 + 44 * len(names)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="960" height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for index, (title, figure, least, most) in enumerate(panels):
        left, width = 200 + index * 390, 300
        out.append(f'<text x="{left}" y="20" font-weight="bold">{title} (logarithmic)</text>')
        for row, name in enumerate(names):
            y = 40 + row * 44
            if index == 0:
                out.append(f'<text x="190" y="{y + 17}" text-anchor="end">{name}</text>')
            for offset, (broker, colour) in enumerate([("Hoofbeat", "#0b6e4f"), ("RabbitMQ", "#d1782c")]):
                value = figure(runs, name, broker)
                if not value:
                    continue
                share = (math.log10(max(value, least)) - math.log10(least)) / (math.log10(most) - math.log10(least))
                text = number(value, 0 if index == 0 else 2)
                out.append(f'<rect x="{left}" y="{y + offset * 16}" width="{share * width:.0f}" height="13" fill="{colour}"/>')
                out.append(f'<text x="{left + share * width + 5:.0f}" y="{y + offset * 16 + 11}">{text}</text>')
    y = height - 12
    out.append(f'<rect x="200" y="{y - 10}" width="12" height="12" fill="#0b6e4f"/><text x="217" y="{y}">Hoofbeat</text>')
    out.append(f'<rect x="290" y="{y - 10}" width="12" height="12" fill="#d1782c"/><text x="307" y="{y}">RabbitMQ</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def replace(begin, end, text):
    """Puts `text` between its marks, into the page and on the screen."""
    with open(PAGE, encoding="utf-8") as page:
        before, rest = page.read().split(begin)
    after = rest.split(end)[1]
    lines = [begin, "", *text, "", end]
    with open(PAGE, "w", encoding="utf-8") as page:
        page.write(before + "\n".join(lines) + after)
    print("\n".join(lines))


def main():
    if sys.argv[1] == "--half":
        print(half_of_the_fan_out(read(sys.argv[2])))
        return
    runs = read(sys.argv[1])
    options = " ".join(["protocol-tests/performance/run", *sys.argv[2].split()])
    troubles = flaws(runs)
    taken = [
        f"Taken on {datetime.date.today().isoformat()} by `{options}` on {os.cpu_count()} shared cores, {platform.system()} {platform.release()}.",
        "Nothing was lost, doubled or out of order." if not troubles else "Flaws: " + "; ".join(troubles) + ".",
        "",
    ]
    if any(not name.startswith("fairness: ") for name, _ in runs):
        replace(BEGIN, END, [*taken, *comparison(runs), "", *tables(runs, ALONE)])
    replace(FAIR_BEGIN, FAIR_END, [*taken, *tables(runs, FAIR)])
    if any(broker == "RabbitMQ" for _, broker in runs):
        with open(PLOT, "w", encoding="utf-8") as plot:
            plot.write(bars(runs))
    sys.exit(1 if any(flaw.startswith("Hoofbeat") for flaw in troubles) else 0)


main()
