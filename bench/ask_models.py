"""How many sentences of a language model are not supported by the record: asks `vitae ask --model` about patients of a site.

ask_models.py VITAE SITE MODEL N SEED  ->  one JSON line: asked, proposed, unsupported, kept, answered, findings. Half of the questions are understood without a
model, half are not. Nothing is scored here but what the checker found; what it keeps is held against the record once more by `vitae ask --check`.
"""
import collections
import json
import random
import subprocess
import sys

vitae, site, model, n, seed = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
rng = random.Random(seed)
understood = ["What was the latest glucose?", "How old is the patient?", "What was the highest creatinine?", "When was the first encounter?", "What conditions are there?", "Is the patient dead?"]
open_ = ["Any trouble with the kidneys?", "Tell me about the blood pressure.", "How is the heart doing?", "Should anything be followed up?", "Why was the patient seen last?", "Describe the infections so far."]


def run(*args, good=(0,)):
    r = subprocess.run([vitae, *args], capture_output=True, text=True)
    if r.returncode not in good:
        raise SystemExit(f"{args[0]} failed: {r.stderr}")
    return r.stdout


subjects = [w[0] for w in (line.split() for line in run("show", site, "--limit", "100000").splitlines()) if w and w[0].lstrip("-").isdigit() and len(w[0]) > 5]
out = collections.Counter()
findings = collections.Counter()
for i in range(n):
    s, q = rng.choice(subjects), (understood, open_)[i % 2][i // 2 % 6]
    a = json.loads(run("ask", site, "--subject", s, "--model", model, "--show-unsupported", q, "--json"))
    out["asked"] += 1
    out["proposed"] += a["proposed"]
    out["unsupported"] += a["unsupported"]
    out["answered"] += a["status"] == "answered"
    for x in a["sentences"]:
        if x["source"] == "chart":
            continue
        if x["status"] == "unsupported":
            findings[x["finding"]] += 1
        else:
            out["kept"] += 1
            run("ask", site, "--subject", s, "--check", x["text"])
print(json.dumps({**out, "findings": findings.most_common()}))
