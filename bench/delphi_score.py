#!/usr/bin/env python3
"""Delphi's protocol on lives that ended by death or at 80: who is asked what, and how good the answers are. The same for every model.

    delphi_score.py ask LIVES.csv DIR                        writes DIR/codes, DIR/queries, DIR/plan.npz
    delphi_score.py score DIR NAME=OUT:COLUMN0:COLUMN1 ...   the first two are compared; COLUMN0 and COLUMN1 rank without and with a gap;
                                                             OUT "history": the number of events so far

Asked is at instants of the record at 40 to 80 years (5-year bands), where everything up to that day is known:
- cases of a code: the last instant before its day (gap 0), or at least 365.25 days before it;
- controls: of each person and band one instant at random, for every code that the person never gets;
- calibration: the same random instants with a year to go before 80 years; codes that the person does not have yet. An instant was drawn with the
  chance one in as many as its band holds, and how many it holds depends on what came after it: so each counts that many times (Horvitz and Thompson 1952).
  As drawn, instants that little follows are too many, and the truth itself would foretell too much: where rates are constant in a person and known
  (mean of .4 a year), 1.39 times what comes; weighed, 1.00.
AUC: per code, sex and band, ties half; the mean over the bands that have cases and controls is a (code, sex) figure, the mean of these the result. A (code,
sex) pair counts if it has at least 25 cases. Intervals: what each person contributes to the error of the mean, as case and as control in all strata
(DeLong et al. 1988, clustered after Obuchowski 1997), which is what resampling persons comes to.
Calibration: logistic recalibration, log odds of happening = intercept + slope log odds of the answer, over all (instant, code); once with one intercept,
once with one for each code (then codes that are frequent do not help), once as drawn (unweighed). Intervals: sandwich over persons.
Answers: rows of four float32 (log rate, risk in 30 days, in a year, another), one for each code or for the code asked.
"""
import csv
import json
import os
import sys

import numpy as np

YEAR, LEAST, BANDS, END = 365.25, 25, [40 + 5 * i for i in range(9)], 80 * 365.25
GAPS = (0.1, YEAR)
COLUMNS = 4


def read(path):
    lives = {}
    for r in csv.DictReader(open(path, encoding="utf-8")):
        lives.setdefault(int(r["person"]), []).append((int(r["day"]), r["code"]))
    return lives


def plan(path, directory):
    rng = np.random.default_rng(1)
    lives = read(path)
    people = sorted(lives)
    codes = sorted({c for life in lives.values() for _, c in life if not c.startswith(("GENDER", "FOLLOW_UP"))})
    number = {c: i for i, c in enumerate(codes)}
    sex, onset = np.zeros(len(people), int), np.full((len(people), len(codes)), np.inf, "f4")
    whole, cases = [], [[], []]  # (person, day, band); per gap (person, day, band, code)
    band = lambda day: int(np.searchsorted(BANDS, day / YEAR, "right")) - 1
    for i, person in enumerate(people):
        life = lives[person]
        sex[i] = any(c == "GENDER//F" for _, c in life)
        death = min((d for d, c in life if c == "MEDS_DEATH"), default=np.inf)
        instants = np.array(sorted({d for d, c in life if d < death}))
        for d, c in life:
            if c in number:
                onset[i, number[c]] = min(onset[i, number[c]], d)
        for b in range(len(BANDS) - 1):
            inside = [d for d in instants if band(d) == b]
            if inside:
                whole.append((i, int(rng.choice(inside)), b, len(inside)))
        for c in np.flatnonzero(np.isfinite(onset[i])):
            for g, gap in enumerate(GAPS):
                before = instants[instants <= onset[i, c] - gap]
                if len(before) and 0 <= band(before[-1]) < len(BANDS) - 1:
                    cases[g].append((i, int(before[-1]), band(before[-1]), c))
    cases = [np.array(x) for x in cases]
    enough = np.zeros((2, len(codes)), bool)
    for s in (0, 1):
        mine = cases[0][sex[cases[0][:, 0]] == s]
        enough[s] = np.bincount(mine[:, 3], minlength=len(codes)) >= LEAST
    keep = np.flatnonzero(enough.any(0))
    new = np.full(len(codes), -1)
    new[keep] = range(len(keep))
    cases = [np.c_[x[:, :3], new[x[:, 3]]][new[x[:, 3]] >= 0] for x in cases]
    whole = np.array(whole)
    whole, of = whole[:, :3], whole[:, 3]
    ask = [np.c_[whole[:, :2], np.full(len(whole), -1), np.full(len(whole), 0), np.arange(len(whole))]]
    ask += [np.c_[x[:, [0, 1, 3]], np.full(len(x), g + 1), np.arange(len(x))] for g, x in enumerate(cases)]
    ask = np.concatenate(ask)
    ask = ask[np.lexsort((ask[:, 1], ask[:, 0]))]
    os.makedirs(directory, exist_ok=True)
    with open(directory + "/codes", "w") as f:
        f.write("".join(codes[k] + "\n" for k in keep))
    query = ask[:, :3].astype("<i4")
    query[:, 0] = np.array(people, dtype="i4")[query[:, 0]]
    query.tofile(directory + "/queries")
    history = np.array([sum(d <= day for d, _ in lives[people[i]]) for i, day in ask[:, :2]], "f4")
    np.savez(directory + "/plan.npz", sex=sex, onset=onset[:, keep], whole=whole, of=of, case0=cases[0], case1=cases[1], ask=ask, enough=enough[:, keep],
             history=history, instants=sum(len({d for d, _ in x}) for x in lives.values()))
    print(json.dumps({"persons": len(people), "codes": len(keep), "queries": len(query)}))


def answers(p, path, columns):
    """Scores of the random instants (n, codes) per gap, their risks (n, codes, 2), scores of the cases per gap."""
    n, codes = len(p["whole"]), p["onset"].shape[1]
    size = np.where(p["ask"][:, 2] < 0, codes, 1)
    start = np.r_[0, np.cumsum(size)]
    which, row = p["ask"][:, 3], p["ask"][:, 4]
    if path == "history":
        whole = np.zeros((n, codes, COLUMNS), "f4")
        whole[row[which == 0]] = p["history"][which == 0][:, None, None]
        case = [p["history"][which == g][np.argsort(row[which == g])] for g in (1, 2)]
        return [whole[:, :, 0]] * 2, None, case
    out = np.fromfile(path, "<f4").reshape(-1, COLUMNS)
    assert len(out) == start[-1], "answers and queries differ in number"
    out[:, 0] = np.where(np.isnan(out[:, 0]), -50, out[:, 0])  # a code that a model does not know
    out[np.isnan(out)] = 0
    whole = np.zeros((n, codes, COLUMNS), "f4")
    at = np.flatnonzero(which == 0)
    whole[row[at]] = out[start[at][:, None] + np.arange(codes)]
    case = []
    for g in (1, 2):
        at = np.flatnonzero(which == g)
        x = np.zeros(len(at), "f4")
        x[row[at]] = out[start[at], columns[g - 1]]
        case.append(x)
    return [whole[:, :, k] for k in columns], whole[:, :, 1:3], case


def aucs(p, models):
    """(gap, model, code-sex pair): mean over bands; and what each person contributes to the error of the mean of all, (gap, model, persons)."""
    sex, onset, whole = p["sex"], p["onset"], p["whole"]
    bands = len(BANDS) - 1
    pairs = [(c, s) for s in (0, 1) for c in np.flatnonzero(p["enough"][s])]
    out = np.full((2, len(models), len(pairs)), np.nan)
    error = np.zeros((2, len(models), len(sex)))
    strata = np.zeros(2, int)
    rows = [[np.flatnonzero((sex[whole[:, 0]] == s) & (whole[:, 2] == b)) for b in range(bands)] for s in (0, 1)]
    never = ~np.isfinite(onset)
    for g in (0, 1):
        case = p["case%d" % g]
        order = np.lexsort((case[:, 2], sex[case[:, 0]], case[:, 3]))
        key = (case[order, 3] * 2 + sex[case[order, 0]]) * bands + case[order, 2]
        for j, (c, s) in enumerate(pairs):
            limits = np.searchsorted(key, (c * 2 + s) * bands + np.arange(bands + 1))
            some = [b for b in range(bands) if limits[b] < limits[b + 1] and len(rows[s][b]) > 0]
            auc = np.zeros((len(models), len(some)))
            for i, b in enumerate(some):
                r = rows[s][b]
                r = r[never[whole[r, 0], c]]
                at = order[limits[b]:limits[b + 1]]
                strata[g] += 1
                for k, (scores, _, of_cases) in enumerate(models):
                    x, y = np.sort(scores[g][r, c]), np.sort(of_cases[g][at])
                    v = (np.searchsorted(x, of_cases[g][at], "left") + np.searchsorted(x, of_cases[g][at], "right")) / (2 * len(x))
                    u = 1 - (np.searchsorted(y, scores[g][r, c], "left") + np.searchsorted(y, scores[g][r, c], "right")) / (2 * len(y))
                    auc[k, i] = v.mean()
                    error[g, k, case[at, 0]] += (v - auc[k, i]) / len(v) / len(some)
                    error[g, k, whole[r, 0]] += (u - auc[k, i]) / len(u) / len(some)
            if some:
                out[g, :, j] = auc.mean(1)
        error[g] /= np.isfinite(out[g, 0]).sum()
    return out, error, pairs, strata


def recalibrate(x, y, code, person, weight, codes, own):
    """Slope of logit(y) on x with one intercept, or one for each code; its sandwich standard error over persons. Newton on the slope and the intercepts."""
    group = code if own else np.zeros(len(code), code.dtype)
    n = codes if own else 1
    a, b = np.zeros(n), 1.0
    some = np.bincount(group, y, n) > 0  # a code that never happened says nothing of the slope
    use = some[group]
    x, y, group, person, weight = x[use].astype("f8"), y[use], group[use], person[use], weight[use]
    for _ in range(30):
        mu = 1 / (1 + np.exp(-(a[group] + b * x)))
        w, r = weight * mu * (1 - mu), weight * (y - mu)
        h_aa, h_ab, g_a = np.bincount(group, w, n) + 1e-12, np.bincount(group, w * x, n), np.bincount(group, r, n)
        h_bb = (w * x * x).sum() - (h_ab**2 / h_aa).sum()
        step = ((r * x).sum() - (h_ab * g_a / h_aa).sum()) / h_bb
        step = min(max(step, -0.3), 0.3)  # far from the end Newton would overshoot
        b += step
        a += np.clip((g_a - h_ab * step) / h_aa, -2, 2)
        if abs(step) < 1e-4:
            break
    score = np.bincount(person, r * (x - (h_ab / h_aa)[group]))
    return b, np.sqrt((score**2).sum()) / h_bb


def calibration(p, models, names):
    whole, onset = p["whole"], p["onset"]
    day, person = whole[:, 1].astype("f4"), whole[:, 0]
    result = {}
    for h, days in enumerate((30, YEAR)):
        rows = np.flatnonzero(day + YEAR <= END)
        at_risk = onset[person[rows]] > day[rows, None]
        i, c = np.nonzero(at_risk)
        y = (onset[person[rows[i]], c] <= day[rows[i]] + days).astype("f8")
        of = p["of"][rows[i]].astype("f8")
        for name, (_, risk, _) in zip(names, models):
            if risk is None:
                continue
            q = np.clip(risk[rows[i], c, h].astype("f8"), 1e-9, 1 - 1e-9)
            x = np.log(q / (1 - q))
            pooled, se = recalibrate(x, y, c, person[rows[i]], of, onset.shape[1], False)
            own, own_se = recalibrate(x, y, c, person[rows[i]], of, onset.shape[1], True)
            drawn, drawn_se = recalibrate(x, y, c, person[rows[i]], np.ones(len(y)), onset.shape[1], False)
            # tenths of the answers, by answers: what was foretold, what came
            cut = np.quantile(q, np.linspace(0, 1, 11)[1:-1])
            tenth = np.searchsorted(cut, q)
            mean = lambda v, k: float(np.average(v[tenth == k], weights=of[tenth == k]))
            result[name, h] = {"pairs": len(y), "events": int(y.sum()), "slope": pooled, "slope_se": se, "own": own, "own_se": own_se, "drawn": drawn, "drawn_se": drawn_se,
                               "expected": (of * q).sum() / (of * y).sum(), "expected_drawn": q.sum() / y.sum(),
                               "tenths": [(mean(q, k), mean(y, k)) for k in range(10)]}
    return result


def score(directory, wanted):
    p = dict(np.load(directory + "/plan.npz"))
    names, models, known = [], [], set()
    for w in wanted:
        name, at = w.split("=")
        path, *columns = at.split(":")
        names.append(name)
        ranked, risk, case = answers(p, path, [int(x) for x in columns])
        models.append((ranked, None if path in known else risk, case))
        known.add(path)
    persons = len(p["sex"])
    auc, error, pairs, strata = aucs(p, models)
    mean = np.nanmean(auc, 2)

    def interval(value, errors):
        half = 1.96 * float(np.sqrt((errors**2).sum()))
        return float(value), float(value) - half, float(value) + half

    print(f"{persons} persons, {int((p['sex'] == 1).sum())} women; {p['onset'].shape[1]} codes, {len(pairs)} (code, sex) pairs with at least {LEAST} cases; "
          f"controls: {len(p['whole'])} random instants")
    print(f"{'mean AUC [95 %]':28} gap 0 ({len(p['case0'])} cases, {strata[0]} strata)    gap 1 year ({len(p['case1'])}, {strata[1]})")
    for k, name in enumerate(names):
        print(f"  {name:26} " + "      ".join("%.4f [%.4f, %.4f]" % interval(mean[g, k], error[g, k]) for g in (0, 1)))
    difference = [interval(mean[g, 0] - mean[g, 1], error[g, 0] - error[g, 1]) for g in (0, 1)]
    print(f"  {names[0] + ' - ' + names[1]:26} " + "      ".join("%+.4f [%+.4f, %+.4f]" % d for d in difference))
    cases = np.array([(p["onset"][p["sex"] == s, c] < np.inf).sum() for c, s in pairs])
    for low, high in ((0, 100), (100, 500), (500, 10**9)):
        some = (cases >= low) & (cases < high)
        if not some.any():
            continue
        print(f"  pairs of {low} to {high - 1} persons ({some.sum()}): ".replace("999999999", "all") +
              "; ".join(f"{name} " + " / ".join("%.4f" % np.nanmean(auc[g, k, some]) for g in (0, 1)) for k, name in enumerate(names)))
    found = calibration(p, models, names)
    print(f"{'calibration':28} {'slope [95 %]':26} {'with an intercept a code':26} {'as drawn':26} foretold / came, as drawn")
    for (name, h), r in found.items():
        print(f"  {name + (', 30 days', ', 1 year')[h]:26} " +
              "".join("%.3f [%.3f, %.3f]       " % (r[k], r[k] - 1.96 * r[k + "_se"], r[k] + 1.96 * r[k + "_se"]) for k in ("slope", "own", "drawn")) +
              f"{r['expected']:.3f}, {r['expected_drawn']:.3f} ({r['events']} events of {r['pairs']} pairs)")
    for (name, h), r in found.items():
        print(f"  {name + (', 30 days', ', 1 year')[h]}, tenths, foretold/came in 1e-4: " + " ".join("%.2f/%.2f" % (1e4 * a, 1e4 * b) for a, b in r["tenths"]))
    ours = [found[names[0], h]["slope"] for h in (0, 1)]
    calibrated = all(0.95 <= s <= 1.05 for s in ours)
    ok = all(mean[g, 0] >= mean[g, 1] for g in (0, 1)) and calibrated
    word = {True: "ok", False: "short"}
    with open(directory + "/verdict", "w") as f:
        for g in (0, 1):
            f.write("%.4f %.4f %+.4f %+.4f %+.4f\n" % (mean[g, 0], mean[g, 1], *difference[g]))
        f.write("%.3f %.3f %s %s\n" % (*ours, word[calibrated], word[ok]))


if sys.argv[1] == "ask":
    plan(*sys.argv[2:4])
else:
    score(sys.argv[2], sys.argv[3:])
