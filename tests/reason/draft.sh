#!/usr/bin/env bash
# Documents of synthetic patients from end to end, held against the timelines by somebody who shares no code with the checker.
. "$(dirname "$0")/../../scripts/testlib.sh"

site_of_demo() {
  [ -d "$work/site/timelines" ] && return 0
  mkdir -p "$work/fhir" && tar xJf demo/synthea-fhir-r4.tar.xz -C "$work/fhir" || { fail "demo/synthea-fhir-r4.tar.xz"; return 1; }
  run "$vitae" init "$work/site" --name ward --policy expert; status_is 0
  run "$vitae" ingest "$work/site" "$work/fhir" --from fhir; status_is 0
}

# Every figure and day of every sentence of the record is one of the events that it cites, read from `vitae show --json`
every_figure_is_a_cited_events() { # SITE PATIENTS LEAST-CITED
  python3 - "$vitae" "$@" <<'PY' || fail "a document does not agree with the record"
import json, re, subprocess, sys
from datetime import date, datetime, timezone
vitae, site, patients, least = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def run(*a):
    return subprocess.run([vitae, *a], check=True, capture_output=True, text=True).stdout
subjects = re.findall(r"^\s*(\d{6,})\s", run("show", site, "--limit", "200"), re.M)[:patients]
assert len(subjects) == patients, len(subjects)
count = {"documents": 0, "abstained": 0, "sentences": 0, "cited": 0, "withheld": 0, "wrong": 0}
for subject in subjects:
    life = json.loads(run("show", site, subject, "--json", "--limit", "1000000"))
    events = life["events"]
    for kind in ("visit", "referral", "discharge"):
        d = json.loads(run("draft", site, "--subject", subject, "--kind", kind, "--json"))
        count["documents"] += 1
        count["abstained"] += d["abstained"]
        count["withheld"] += d["withheld"]
        assert d["abstained"] == (not d["sections"]), "sections of an abstention"
        for s in (s for section in d["sections"] for s in section["sentences"]):
            count["sentences"] += 1
            assert (s["basis"] == "record") == bool(s["events"]), "a sentence of the record cites, no other does"
            cited = [events[int(e["id"][1:])] for e in s["events"]]
            for e, c in zip(s["events"], cited):
                assert e["code"] == c["code"], "the event is another"
            if not cited:
                continue
            count["cited"] += 1
            text = s["text"]
            days = [datetime.fromtimestamp(c["t"] / 1e6, timezone.utc).date() if c.get("t") is not None else None for c in cited]
            for day in re.findall(r"\d{4}-\d\d-\d\d", text):
                if date.fromisoformat(day) not in days:
                    count["wrong"] += 1
                    print(kind, s["rule"], "a day that is no cited event's")
            names = " ".join(f"{c['code']} {c.get('display', '')} {c.get('unit', '')}" for c in cited)
            plain = re.sub(r"\d{4}-\d\d-\d\d", " ", text)
            for figure in re.findall(r"(?<![\w.-])-?\d+(?:\.\d+)?(?![\w])", plain):
                x, digits = float(figure), len(figure.partition(".")[2])
                value = any(c.get("value") is not None and abs(c["value"] - x) <= 0.5 * 10**-digits + 1e-5 * abs(x) for c in cited)
                age = s["rule"] == "person.age" and days[0] and x == days[1].year - days[0].year - ((days[1].month, days[1].day) < (days[0].month, days[0].day))
                if not (value or age or figure in names):
                    count["wrong"] += 1
                    print(kind, s["rule"], "a figure that is no cited event's")
print(count)
assert count["wrong"] == 0 and count["withheld"] == 0, count
assert count["documents"] == 3 * patients and count["abstained"] < count["documents"] / 2 and count["cited"] > least, count
PY
}

synthetic_lives() { site_of_demo && every_figure_is_a_cited_events "$work/site" 30 1000; }
real_lives() { # intensive care: long lives, codes without names
  have_data mimic-iv-demo-meds || return
  xz -dkc "$data/mimic-iv-demo-meds/events.csv.xz" > "$work/events.csv"
  run "$vitae" init "$work/mimic" --name icu --policy expert; status_is 0
  run "$vitae" ingest "$work/mimic" "$work/events.csv" --from meds --policy expert; status_is 0
  every_figure_is_a_cited_events "$work/mimic" 6 300
}

a_document_prints_and_refuses() {
  site_of_demo || return
  local subject
  subject=$("$vitae" show "$work/site" --limit 1 | grep -oE '^ *[0-9]{6,} ' | tr -d ' ')
  run "$vitae" draft "$work/site" --subject "$subject" --kind referral; status_is 0; out_has "Referral letter"; out_has "(to be written)"; out_has " [e"
  run "$vitae" draft "$work/site" --subject "$subject" --kind poem; status_is 66; err_has "no document of that kind"
  run "$vitae" draft "$work/site" --kind visit; status_is 64
  echo '{"documents": [{"kind": "x"}]}' > "$work/own.json"
  run "$vitae" draft "$work/site" --subject "$subject" --documents "$work/own.json"; status_is 65; err_has "own.json"
}

reviews_are_counted_by_pattern() {
  run "$vitae" init "$work/reviewed" --name ward; status_is 0
  run "$vitae" draft "$work/reviewed" --reviews --json; status_is 0; same "$(json "(j['documents'], j['patterns'])")" "(0, [])"
  mkdir -p "$work/reviewed/inbox/drafts/7"
  local one='{"rule": "person.age", "outcome": "kept", "distance": 0, "draft": "Größe", "final": "Größe"}'
  local two='{"rule": "person.age", "outcome": "changed", "distance": 3, "draft": "12345", "final": "Mr Quetzalcoatl"}'
  local more='{"after": "s1", "outcome": "added", "distance": 4, "draft": "", "final": "text"}'
  echo "{\"format\": \"vitae-draft-feedback-1\", \"sentences\": [$one, $two, $more]}" > "$work/reviewed/inbox/drafts/7/1.json"
  echo '{"format": "vitae-draft-feedback-1", "sentences": [{"outcome": "eaten", "distance": 0}]}' > "$work/reviewed/inbox/drafts/7/2.json"
  echo 'no JSON' > "$work/reviewed/inbox/drafts/7/3.json"
  run "$vitae" draft "$work/reviewed" --reviews --json; status_is 0
  same "$(json "(j['documents'], j['unreadable'])")" "(1, 2)"
  same "$(json "[(p['rule'], p['kept'], p['changed'], p['added'], p['distance'], p['characters']) for p in j['patterns']]")" "[('person.age', 1, 1, 0, 3, 10), ('(added)', 0, 0, 1, 4, 0)]"
  run "$vitae" draft "$work/reviewed" --reviews; status_is 0; out_has "person.age"; nothing_says Quetzalcoatl
}

run_cases synthetic_lives real_lives a_document_prints_and_refuses reviews_are_counted_by_pattern
