# SPDX-License-Identifier: Apache-2.0
"""Medians, bootstrap intervals, Markdown and the chart."""
import json
import os
import random
import statistics


def interval(values, seed=1, draws=2000):
    """Median and its 95 % bootstrap interval."""
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[int(draws * 0.025)], medians[int(draws * 0.975)]


def ratio(rounds, a, b):
    """Median of the per-round ratios of two workloads' CPU per request."""
    values = [r[a] / r[b] for r in rounds if a in r and b in r]
    return interval(values) + (len(values),) if len(values) >= 3 else None


def verdict(value, limit):
    return "met" if value <= limit else "missed"


def row_of(what, measured, limit, note=""):
    middle, low, high, n = measured
    return {"what": what, "median": middle, "low": low, "high": high, "rounds": n, "limit": limit,
            "verdict": verdict(middle, limit) if limit is not None else "recorded", "note": note}


def markdown(result):
    m, lines = result["machine"], []
    lines += ["# Benchmark results", "",
              f"{m['date']}, commit {m['commit']}, {m['cpu']}, {m['cpus']} CPUs, Linux {m['kernel']}.",
              f"{m['versions']}.",
              f"{result['rounds_kept']} of {result['rounds_run']} rounds kept: the first two are dropped, and "
              f"{result['rounds_foreign']} in which something else used the machine. Slices of "
              f"{result['slice_s']} s in fresh random order per round; the server on one CPU, the client on the "
              "other; every body checked. Figures come from `make bench`; nothing is compared across runs.", "",
              "## CPU per request", "", "| workload | server CPU, µs | 95 % interval | rounds |", "|---|---|---|---|"]
    for name, (middle, low, high, n) in result["cpu_us"].items():
        lines.append(f"| {name} | {middle:.2f} | {low:.2f} – {high:.2f} | {n} |")
    lines += ["", "## Ratios", "", "| work | ratio | 95 % interval | at most | |", "|---|---|---|---|---|"]
    for r in result["ratios"]:
        limit = f"{r['limit']:.3g}" if r["limit"] is not None else ""
        lines.append(f"| {r['what']} | {r['median']:.4g} | {r['low']:.4g} – {r['high']:.4g} | {limit} | {r['verdict']} |")
    lines += ["", "## Latency, open loop", "", "From the time a request was due. p99 and p99.9 in µs.", "",
              "| server | work | requests/s | p50 | p99 | p99.9 | max | unanswered |", "|---|---|---|---|---|---|---|---|"]
    for l in result["latency"]:
        q = l["latency_us"]
        lines.append(f"| {l['server']} | {l['work']} | {l['rate']:.0f} | {q['p50']:.0f} | {q['p99']:.0f} | "
                     f"{q['p99.9']:.0f} | {q['max']:.0f} | {l['unanswered']} |")
    lines += ["", "## Also", "", "| what | measured | at most | |", "|---|---|---|---|"]
    for r in result["also"]:
        limit = r["limit_text"] or ""
        lines.append(f"| {r['what']} | {r['text']} | {limit} | {r['verdict']} |")
    return "\n".join(lines) + "\n"


def svg(result):
    """Horizontal bars of CPU per request on a logarithmic axis."""
    import math
    items = list(result["cpu_us"].items())
    left, width, step, top = 300, 560, 24, 56
    height = top + step * len(items) + 40
    largest = max(v[0] for _, v in items)
    decades = math.ceil(math.log10(largest))

    def x(us):
        return left + width * max(0.0, math.log10(max(us, 1)) / decades)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{height}" '
           'font-family="sans-serif" font-size="13">',
           f'<rect width="100%" height="100%" fill="white"/>',
           '<text x="16" y="24" font-size="16" font-weight="bold">Server CPU per request, µs (median, 95 % interval; '
           'logarithmic)</text>']
    for d in range(decades + 1):
        out.append(f'<line x1="{x(10 ** d):.1f}" y1="{top - 8}" x2="{x(10 ** d):.1f}" y2="{height - 32}" stroke="#ddd"/>'
                   f'<text x="{x(10 ** d):.1f}" y="{height - 14}" text-anchor="middle" fill="#555">{10 ** d}</text>')
    for i, (name, (middle, low, high, _)) in enumerate(items):
        y = top + i * step
        color = "#1f6feb" if name.startswith("offloader") else "#9aa4af"
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{name}</text>'
                   f'<rect x="{left}" y="{y + 2}" width="{x(middle) - left:.1f}" height="15" fill="{color}"/>'
                   f'<line x1="{x(low):.1f}" y1="{y + 9.5}" x2="{x(high):.1f}" y2="{y + 9.5}" stroke="#111" stroke-width="2"/>'
                   f'<text x="{x(high) + 6:.1f}" y="{y + 14}">{middle:,.1f}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def write(directory, result):
    os.makedirs(directory, exist_ok=True)
    for name, text in (("results.json", json.dumps(result, indent=1) + "\n"), ("results.md", markdown(result)),
                       ("results.svg", svg(result))):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
            f.write(text)
