#!/usr/bin/env python3
"""Fits loss = E + A / N^a + B / D^b (Hoffmann et al. 2022) to bench/run-scaling's table and writes docs/scaling.md and its picture.

    scaling_fit.py losses.csv docs

N: parameters of the trunk that multiply; D: training positions, each seen once. a and b by a grid, E, A, B by least squares with none below
zero; the largest model is left out of one fit, which then says what it would have lost: that is the law's own test. Plain Python.
"""
import csv
import math
import sys

table, docs = sys.argv[1:]
rows = [(float(r["parameters"]), float(r["positions"]), float(r["loss"])) for r in csv.DictReader(open(table, encoding="utf-8"))]


def solve(m, y):  # normal equations, Gauss
    n = len(m[0])
    a = [[sum(r[i] * r[j] for r in m) for j in range(n)] + [sum(r[i] * v for r, v in zip(m, y))] for i in range(n)]
    for i in range(n):
        p = max(range(i, n), key=lambda k: abs(a[k][i]))
        a[i], a[p] = a[p], a[i]
        if abs(a[i][i]) < 1e-300:
            return None
        for k in range(n):
            if k != i:
                f = a[k][i] / a[i][i]
                a[k] = [u - f * v for u, v in zip(a[k], a[i])]
    return [a[i][n] / a[i][i] for i in range(n)]


def fit(points):
    best = None
    y = [l for _, _, l in points]
    for i in range(1, 41):
        for j in range(1, 41):
            a, b = i * 0.04, j * 0.04
            terms = [[1.0, (n / 1e6) ** -a, (d / 1e5) ** -b] for n, d, _ in points]
            for use in ([0, 1, 2], [0, 2], [0, 1]):
                c = solve([[t[k] for k in use] for t in terms], y)
                if c is None or min(c) < 0:
                    continue
                full = [0.0, 0.0, 0.0]
                for k, v in zip(use, c):
                    full[k] = v
                r = sum((sum(u * v for u, v in zip(full, t)) - l) ** 2 for t, l in zip(terms, y))
                if best is None or r < best[0]:
                    best = (r, full, a, b)
                break
    return best


def predict(f, n, d):
    return f[1][0] + f[1][1] * (n / 1e6) ** -f[2] + f[1][2] * (d / 1e5) ** -f[3]


law = fit(rows)
sizes, shares = sorted({n for n, _, _ in rows}), sorted({d for _, d, _ in rows})
rest = fit([r for r in rows if r[0] < sizes[-1]])
held = [(n, d, l, predict(rest, n, d)) for n, d, l in rows if n == sizes[-1]]
rms = math.sqrt(law[0] / len(rows))

W, H, L, B = 640, 400, 70, 50
xs, ys = [math.log(d) for _, d, _ in rows], [l for _, _, l in rows]
lo, hi = min(ys) - 0.02 * (max(ys) - min(ys)), max(ys) + 0.05 * (max(ys) - min(ys))
X = lambda d: L + (math.log(d) - min(xs)) / (max(xs) - min(xs)) * (W - L - 120)
Y = lambda l: H - B - (l - lo) / (hi - lo) * (H - B - 30)
colour = ["#1b6ca8", "#2a9d8f", "#e9a23b", "#d1495b", "#6a4c93", "#555"]
svg = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{W}" height="{H}" font-family="sans-serif" font-size="12"><rect width="{W}" height="{H}" fill="#fff"/>',
       f'<text x="{W / 2}" y="18" text-anchor="middle" font-size="14">Loss on unseen patients by training positions and model size</text>',
       f'<path d="M{L} 30V{H - B}H{W - 110}" fill="none" stroke="#333"/>', f'<text x="{(W - 50) / 2}" y="{H - 10}" text-anchor="middle">training positions, seen once</text>']
for i in range(5):
    l = lo + (hi - lo) * i / 4
    svg.append(f'<text x="{L - 6}" y="{Y(l) + 4:.1f}" text-anchor="end">{l:.2f}</text><path d="M{L - 3} {Y(l):.1f}h3" stroke="#333"/>')
for k in range(4):
    d = math.exp(min(xs) + (max(xs) - min(xs)) * k / 3)
    svg.append(f'<text x="{X(d):.1f}" y="{H - B + 16}" text-anchor="middle">{d / 1000:.0f} k</text>')
for i, n in enumerate(sizes):
    c = colour[i % len(colour)]
    path = "".join(f'{"ML"[k > 0]}{X(d):.1f} {Y(predict(law, n, d)):.1f}' for k, d in enumerate(math.exp(min(xs) + (max(xs) - min(xs)) * t / 40) for t in range(41)))
    svg.append(f'<path d="{path}" fill="none" stroke="{c}"/>' + "".join(f'<circle cx="{X(d):.1f}" cy="{Y(l):.1f}" r="3.5" fill="{c}"/>' for m, d, l in rows if m == n))
    svg.append(f'<text x="{W - 105}" y="{60 + 18 * i}" fill="{c}">{n / 1e6:.3g} M</text>')
open(docs + "/images/scaling.svg", "w", encoding="utf-8").write("\n".join(svg) + "\n</svg>\n")

with open(docs + "/scaling.md", "w", encoding="utf-8") as f:
    f.write(f"""# Scaling law

`make scaling` trains {len(sizes)} sizes on {len({round(d, -3) for d in shares})} shares of Delphi's synthetic lives (each life seen at most once), through the ordinary commands, and
fits the loss on patients that none of the models has seen (the other file of that data set). Written by `bench/scaling_fit.py`; do not edit.

loss = E + A / (N / 1 M)^a + B / (D / 100 k)^b, N the trunk's multiplying parameters, D training positions:

| E | A | a | B | b | root mean square residual |
|---|---|---|---|---|---|
| {law[1][0]:.3f} | {law[1][1]:.3f} | {law[2]:.2f} | {law[1][2]:.3f} | {law[3]:.2f} | {rms:.4f} |

![Loss by training positions and size: points measured, lines fitted](images/scaling.svg)

| parameters | positions | loss | fitted |
|---|---|---|---|
""")
    for n, d, l in sorted(rows):
        f.write(f"| {n / 1e6:.3f} M | {d:,.0f} | {l:.4f} | {predict(law, n, d):.4f} |\n")
    if min(law[2], law[3]) <= 0.04:
        f.write("\nAn exponent lies at the least value tried (0.04): over this range the loss falls by nearly the same amount with every doubling, no floor is in sight, and E "
                "and the factor beside that exponent cannot be told apart. Read the law as a curve through this range, not its E as a limit.\n")
    f.write("\n## Its own test\n\nFitted without the largest model, the law says what that model would lose:\n\n| positions | predicted | measured | off by |\n|---|---|---|---|\n")
    for n, d, l, p in sorted(held):
        f.write(f"| {d:,.0f} | {p:.4f} | {l:.4f} | {100 * (p / l - 1):+.2f} % |\n")
    f.write("""
## What it says and what it does not

It says how the loss (cross-entropy of the next code, waiting time and hazards, in the proportions of training) falls with size and data of
this kind, at one pass and with one schedule for all. It does not say how good any clinical prediction is (that is what `vitae validate` measures on
its own patients), nothing beyond a few times the largest size and share here, and nothing about real records: these lives are synthetic and their
codes follow simple rules, so E is a property of the generator. One seed a point: differences of the size of the residual mean nothing.
""")
print(f"loss = {law[1][0]:.3f} + {law[1][1]:.3f} / (N/1M)^{law[2]:.2f} + {law[1][2]:.3f} / (D/100k)^{law[3]:.2f}; residual {rms:.4f}; largest model predicted within "
      f"{max(abs(p / l - 1) for _, _, l, p in held) * 100:.2f} %")
