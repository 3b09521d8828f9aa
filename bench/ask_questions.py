"""Questions with known answers over a site: asks `vitae ask`, compares with answers computed here from the timeline as JSON.

ask_questions.py VITAE SITE N SEED  ->  one JSON line: asked, exact, cited, cited_right, and the questions that went wrong (codes only).
An answer is exact if its number (or yes/no, or day) is the one computed here. A citation is right if the event with that place in the timeline
has the code, day and value that the answer's JSON claims, and is one of those that the computed answer rests on.
"""
import json
import random
import subprocess
import sys

vitae, site, n, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)


def run(*args):
    r = subprocess.run([vitae, *args, "--json"], capture_output=True, text=True)
    if r.returncode:
        raise SystemExit(f"{args[0]} failed: {r.stderr}")
    return json.loads(r.stdout)


def cohort():
    text = subprocess.run([vitae, "show", site, "--limit", "100000"], capture_output=True, text=True).stdout
    return [int(w[0]) for w in (line.split() for line in text.splitlines()) if w and w[0].lstrip("-").isdigit() and len(w[0]) > 5]


def day(us):
    from datetime import datetime, timedelta
    return (datetime(1970, 1, 1) + timedelta(microseconds=us)).strftime("%Y-%m-%d")


def bare(name):
    for tag in (" (disorder)", " (finding)", " (procedure)", " (situation)"):
        if name.endswith(tag):
            return name[: -len(tag)]
    return name


def records(events, name):
    """Places of what has this name: of a medicine and an allergy of one name the medicine; that it is resolved is no further record."""
    mine = [i for i, e in enumerate(events) if e.get("t") is not None and (e.get("display") or e["code"]) == name]
    for end in ("//ALLERGY", "//RESOLVED"):
        mine = [i for i in mine if not events[i]["code"].endswith(end)] or mine
    return mine


lives, subjects = {}, cohort()
names = {}
store_names = set()


def life(s):
    if s not in lives:
        lives[s] = run("show", site, str(s), "--limit", "10000000")["events"]
        store_names.update(e.get("display") or e["code"] for e in lives[s])
    return lives[s]


for s in rng.sample(subjects, min(60, len(subjects))):
    life(s)
pool = list(lives)
asked = exact = cited = right = 0
wrong = []
while asked < n:
    s = rng.choice(pool)
    events = lives[s]
    timed = [i for i, e in enumerate(events) if e.get("t") is not None]
    if len(timed) < 5:
        continue
    key = lambda e: (e.get("display") or e["code"])
    kind = rng.choice(["latest", "first", "highest", "lowest", "mean", "count", "above", "since", "first day", "last day", "whether", "whether not", "age", "sex", "death"])
    valued = [i for i in timed if events[i].get("value") is not None]
    want, rests, question = None, None, None
    if kind in ("latest", "first", "highest", "lowest", "mean", "above"):
        if not valued:
            continue
        name = key(events[rng.choice(valued)])
        mine = records(events, name)
        with_value = [i for i in mine if events[i].get("value") is not None]
        if len({events[i].get("unit") for i in with_value}) > 1 or len(mine) != len(with_value):
            continue
        values = [events[i]["value"] for i in with_value]
        if kind == "latest":
            last = max(events[i]["t"] for i in mine)
            rests = [i for i in mine if events[i]["t"] == last]
            if len({events[i]["value"] for i in rests}) > 1:
                continue
            question, want = f'What was the latest "{name}"?', events[rests[0]]["value"]
        elif kind == "first":
            at = min(events[i]["t"] for i in mine)
            rests = [i for i in mine if events[i]["t"] == at]
            if len({events[i]["value"] for i in rests}) > 1:
                continue
            question, want = f'What was the first "{name}"?', events[rests[0]]["value"]
        elif kind in ("highest", "lowest"):
            want = (max if kind == "highest" else min)(values)
            rests = [i for i in with_value if events[i]["value"] == want]
            question = f'What was the {kind} "{name}" ever?'
        elif kind == "mean":
            want, rests, question = sum(values) / len(values), with_value, f'What is the mean "{name}"?'
        else:
            limit = round(rng.choice(values), 3)
            rests = [i for i in with_value if events[i]["value"] > limit]
            want, question = len(rests), f'How many "{name}" values are above {limit}?'
    elif kind in ("count", "since", "first day", "last day", "whether"):
        name = key(events[rng.choice(timed)])
        mine = records(events, name)
        if kind == "count":
            want, rests, question = len(mine), mine, f'How many times is "{name}" recorded?'
        elif kind == "since":
            year = int(day(events[rng.choice(mine)]["t"])[:4])
            rests = [i for i in mine if int(day(events[i]["t"])[:4]) >= year]
            want, question = len(rests), f'How many "{name}" since {year}?'
        elif kind == "whether":
            allergy = events[mine[0]]["code"].endswith("//ALLERGY") and "allerg" not in name.lower()
            want = f"{name} (allergy) is recorded" if allergy else "Yes"
            rests = [i for i in timed if key(events[i]) == name and events[i]["code"].endswith("//ALLERGY") == events[mine[0]]["code"].endswith("//ALLERGY")]
            question = f'Does the patient have "{name}"?'
        else:
            at = (min if kind == "first day" else max)(events[i]["t"] for i in mine)
            rests = [i for i in mine if events[i]["t"] == at]
            want, question = day(at), f'When was "{name}" {"first" if kind == "first day" else "last"} recorded?'
    elif kind == "whether not":
        have = {key(e) for e in events} | {bare(key(e)) for e in events}
        others = [x for x in store_names if x not in have and bare(x) not in have and '"' not in x]
        if not others:
            continue
        want, rests, question = "holds no", [], f'Has the patient ever had "{rng.choice(sorted(others))}"?'
    elif kind == "age":
        birth = [i for i in timed if events[i]["code"] == "MEDS_BIRTH"]
        rest = [i for i in timed if events[i]["code"] != "MEDS_BIRTH"]
        if not birth or not rest:
            continue
        deaths = [i for i in rest if events[i]["code"].startswith("MEDS_DEATH")]
        until = (deaths or rest)[-1]
        born, then = day(events[birth[0]]["t"]), day(events[until]["t"])
        want = int(then[:4]) - int(born[:4]) - (then[5:] < born[5:])
        rests, question = birth + [i for i in deaths or rest if events[i]["t"] == events[until]["t"]], "How old is the patient?"
    elif kind == "sex":
        sexes = [i for i, e in enumerate(events) if e["code"].upper().startswith(("GENDER//", "SEX//"))]
        if not sexes:
            continue
        want = {"F": "female", "M": "male"}[events[sexes[0]]["code"].split("//")[1][:1].upper()]
        rests, question = sexes, "What is the patient's sex?"
    else:
        deaths = [i for i in timed if events[i]["code"].startswith("MEDS_DEATH")]
        want = "Died on " + day(events[deaths[-1]]["t"]) if deaths else "no death"
        rests, question = deaths or timed, "Did the patient die?"
    if '"' in question and question.count('"') != 2:
        continue
    asked += 1
    r = run("ask", site, "--subject", str(s), question)
    text = " ".join(x["text"] for x in r["sentences"])
    if isinstance(want, (int, float)) and kind not in ("first day", "last day"):
        got = r.get("value", 0 if "holds no" in text else None)
        ok = got is not None and abs(got - want) <= 1e-5 * max(1.0, abs(want))
    else:
        ok = want in text
    exact += ok
    claims = [e for x in r["sentences"] for e in x["events"]]
    for c in claims:
        i = int(c["id"][1:])
        cited += 1
        e = events[i] if i < len(events) else {}
        same = e.get("code") == c["code"] and e.get("value") == c.get("value") and (e.get("t") is None or c["time"].startswith(day(e["t"])))
        right += same and i in rests
    if not ok or (rests and not claims):
        wrong.append({"kind": kind, "question": question, "text": text[:200], "why": r.get("why")})
print(json.dumps({"asked": asked, "exact": exact, "cited": cited, "right": right, "wrong": wrong}))
