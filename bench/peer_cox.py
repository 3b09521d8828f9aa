"""Cox regression (Newton, Breslow's ties) on the same folds as run-survival, in plain Python.

usage: peer_cox.py DIRECTORY      with f0/*.csv .. f4/*.csv (id, covariates, time, event); prints the mean concordance over the folds, least, most
"""
import csv, glob, math, sys


def read(path):
    rows = [r for f in sorted(glob.glob(path)) for r in csv.DictReader(open(f))]
    names = [k for k in rows[0] if k not in ("id", "time", "event")]
    return [[float(r[k] or "nan") for k in names] for r in rows], [float(r["time"]) for r in rows], [int(float(r["event"])) for r in rows]


def solve(a, b):
    n = len(b)
    m = [row[:] + [v] for row, v in zip(a, b)]
    for i in range(n):
        k = max(range(i, n), key=lambda r: abs(m[r][i]))
        m[i], m[k] = m[k], m[i]
        for r in range(n):
            if r != i:
                q = m[r][i] / m[i][i]
                m[r] = [x - q * y for x, y in zip(m[r], m[i])]
    return [m[i][n] / m[i][i] for i in range(n)]


def fit(x, time, event):
    p, order, w = len(x[0]), sorted(range(len(x)), key=lambda i: -time[i]), [0.0] * len(x[0])
    for _ in range(8):
        g, h = [1e-4 * v for v in w], [[1e-4 if a == b else 0.0 for b in range(p)] for a in range(p)]
        s0, s1, s2, i = 0.0, [0.0] * p, [[0.0] * p for _ in range(p)], 0
        while i < len(order):
            j, events = i, []
            while j < len(order) and time[order[j]] == time[order[i]]:
                row = x[order[j]]
                e = math.exp(sum(a * b for a, b in zip(w, row)))
                s0 += e
                for a in range(p):
                    s1[a] += e * row[a]
                    ea, s2a = e * row[a], s2[a]
                    for b in range(a + 1):
                        s2a[b] += ea * row[b]
                if event[order[j]]:
                    events.append(row)
                j += 1
            for row in events:
                for a in range(p):
                    g[a] += s1[a] / s0 - row[a]
            if events:
                for a in range(p):
                    for b in range(a + 1):
                        h[a][b] += len(events) * (s2[a][b] / s0 - s1[a] * s1[b] / s0 / s0)
            i = j
        for a in range(p):
            for b in range(a):
                h[b][a] = h[a][b]
        w = [a - b for a, b in zip(w, solve(h, g))]
    return w


def concordance(z, time, event):
    pairs = alike = 0.0
    for i in range(len(z)):
        if event[i]:
            for k in range(len(z)):
                if time[k] > time[i] or (time[k] == time[i] and not event[k] and k != i):
                    pairs += 1
                    alike += 1 if z[i] > z[k] else 0.5 if z[i] == z[k] else 0
    return alike / pairs


folds, out = [read(f"{sys.argv[1]}/f{k}/*.csv") for k in range(5)], []
for k in range(5):
    x, time, event = ([v for f in range(5) if f != k for v in folds[f][c]] for c in range(3))
    p = len(x[0])
    known = [[r[a] for r in x if r[a] == r[a]] for a in range(p)]
    mean = [sum(v) / len(v) for v in known]
    sd = [math.sqrt(sum((q - m) ** 2 for q in v) / len(v)) or 1 for v, m in zip(known, mean)]
    scale = lambda rows: [[0.0 if v != v else (v - m) / s for v, m, s in zip(r, mean, sd)] for r in rows]
    w = fit(scale(x), time, event)
    out.append(concordance([sum(a * b for a, b in zip(w, r)) for r in scale(folds[k][0])], folds[k][1], folds[k][2]))
print(f"{sum(out) / 5:.4f} {min(out):.4f} {max(out):.4f}")
