#!/usr/bin/env bash
# A policy that suppresses: nothing in the released store stands for fewer than k persons; what is held back comes out when an increment makes it
# common; the same input gives the same bytes; forgetting, verifying and the ways that must not mix.
. "$(dirname "$0")/../../scripts/testlib.sh"

# Forty persons p0 … with common codes; p0-p4 heart failure I50.22 and I50.23 and p5-p12 I50.9 (13 by I50); p0-p3 a rare laboratory test; p7 alone has a ZIP3.
make_source() { python3 - "$1" "$2" "$3" <<'P'
import json, sys
d, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def obs(p, code, day, v): return {"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/p{p}"}, "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
    "effectiveDateTime": f"2015-03-{day:02d}T08:00:00Z", "valueQuantity": {"value": v, "unit": "mg/dL"}}
def dx(p, code, day): return {"resourceType": "Condition", "subject": {"reference": f"Patient/p{p}"}, "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]}, "onsetDateTime": f"2015-04-{day:02d}"}
with open(d, "w") as f:
    for p in range(first, last):
        who = {"resourceType": "Patient", "id": f"p{p}", "gender": "female" if p % 2 else "male", "birthDate": f"19{50 + p % 3}-01-01"}
        if p == 7: who["address"] = [{"postalCode": "05901", "country": "US"}]
        out = [who] + [obs(p, "2160-0", 1 + k, 1 + k / 10) for k in range(5)]
        if p < 5: out += [dx(p, "I50.22", 1), dx(p, "I50.23", 1)]
        if 5 <= p < 13: out.append(dx(p, "I50.9", 2))
        if p < 4 or p >= 40: out.append(obs(p, "718-7", 9, 13))
        for r in out: f.write(json.dumps(r) + "\n")
P
}
codes() { python3 - "$1" "$vitae" <<'P'
import json, subprocess, sys
site, vitae = sys.argv[1:]
import re
out = subprocess.run([vitae, "show", site, "--limit", "1000"], capture_output=True, text=True).stdout
have = {}
for s in re.findall(r"^ *(\d{10,}) ", out, re.M):
    j = json.loads(subprocess.run([vitae, "show", site, s, "--json"], capture_output=True, text=True).stdout)
    for c in {e["code"] for e in j["events"]}: have.setdefault(c, set()).add(s)
print(json.dumps({c: len(p) for c, p in sorted(have.items())}))
P
}
count_of() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1])).get(sys.argv[2], 0))' "$work/codes" "$1"; }

nothing_stands_for_fewer_than_k() {
  local s=$work/s
  make_source "$work/a.ndjson" 0 40
  run "$vitae" init "$s" --policy expert-k11; status_is 0
  run "$vitae" ingest "$s" "$work/a.ndjson" --from fhir --json; status_is 0; cp "$work/out" "$work/report"
  json_is "(j['suppression']['k'], j['suppression']['codes_broader'], j['risk']['rare_codes']['rare_codes'], j['risk_before']['rare_codes']['rare_codes'] > 0)" "(11, 3, 0, True)"
  codes "$s" > "$work/codes"
  same "$(count_of ICD10CM//I50)" 13 "persons with heart failure"; same "$(count_of ICD10CM//I50.22)" 0 "rare code"; same "$(count_of ICD10CM//I50.9)" 0 "code that went up with it"
  same "$(count_of LOINC//718-7)" 0 "a test of four persons"; same "$(count_of LOINC//2160-0)" 40 "a common test"
  same "$("$vitae" show "$s" "$("$vitae" vault "$s" lookup --source fhir --person p0 --json | python3 -c "import json,sys; print(json.load(sys.stdin)['subject'])")" --json | grep -o "ICD10CM//I50" | wc -l)" 1 "two codes that became one, at one instant"
  same "$(grep -c ZIP3 "$work/codes")" 0 "one person's ZIP3"
  same "$(python3 -c 'import json,sys; print(min(n for c, n in json.load(open(sys.argv[1])).items() if not c.startswith("MEDS_")) >= 11)' "$work/codes")" True "every code is of eleven"
  grep -q "What the policy held back" "$s"/reports/wall-gen-000001.html || fail "the page does not say it"
  ! grep -rqa "718-7" "$s/timelines" || fail "the code stands in the released store"
  same "$(stat -c %a "$s/base")" 700 "mode of the base store"
  run "$vitae" verify "$s"; status_is 0; out_has "base store"
  run "$vitae" audit "$s"; status_is 0
}

an_increment_is_weighed_with_what_was_held_back() {
  local s=$work/s
  make_source "$work/b.ndjson" 40 48
  run "$vitae" ingest "$s" "$work/b.ndjson" --from fhir; status_is 0
  codes "$s" > "$work/codes"
  same "$(count_of LOINC//718-7)" 12 "four from before and eight"
  # the same bytes as both at once, in another order
  cp -r "$s" "$work/again"; rm -rf "$work/again/timelines" "$work/again/base"; mkdir "$work/again/timelines"
  run "$vitae" ingest "$work/again" "$work/b.ndjson" --from fhir; status_is 0
  run "$vitae" ingest "$work/again" "$work/a.ndjson" --from fhir; status_is 0
  codes "$work/again" > "$work/codes2"; same "$(cat "$work/codes2")" "$(cat "$work/codes")" "codes in another order of ingest"
  run "$vitae" ingest "$s" "$work/b.ndjson" --from fhir; status_is 0
  same "$(sha "$s/timelines/gen-000003/shard-000")" "$(sha "$s/timelines/gen-000002/shard-000")" "the same again"
  run "$vitae" verify "$s"; status_is 0
}

whoever_is_forgotten_goes_from_both() {
  local s=$work/s q
  run "$vitae" vault "$s" lookup --source fhir --person p3 --json; q=$(json "j['subject']")
  run "$vitae" forget "$s" --subject "$q" --json; status_is 0; json_is "(j['verified'], j['store'])" "(True, True)"
  run "$vitae" verify "$s"; status_is 0
  python3 - "$s" "$q" <<'P' || fail "the subject's number is in a store"
import os, struct, sys
raw = struct.pack("<q", int(sys.argv[2]))
sys.exit(any(raw in open(os.path.join(r, f), "rb").read() for d in ("base", "timelines") for r, _, fs in os.walk(f"{sys.argv[1]}/{d}") for f in fs))
P
}

the_two_ways_do_not_mix() {
  run "$vitae" ingest "$work/s" "$work/a.ndjson" --from fhir --policy expert; [ $status -ne 0 ] || fail "taken without suppression"
  run "$vitae" init "$work/plain"; run "$vitae" ingest "$work/plain" "$work/a.ndjson" --from fhir; status_is 0
  run "$vitae" ingest "$work/plain" "$work/a.ndjson" --from fhir --policy expert-k11; [ $status -ne 0 ] || fail "taken with suppression"
  err_has "a site of its own"
}

# Real dates beside shifted ones are the shift: what other settings let pass is refused, other names and larger tables are not.
one_site_one_policy() {
  local s=$work/one p
  make_source "$work/few.ndjson" 0 3; mkdir -p "$work/same"; cp policy/*.json "$work/same/"; cp -r policy/lists policy/text-en* "$work/same/" 2> /dev/null
  sed -i 's/"name": "expert"/"name": "ours"/; s/"shift_days_max": 365/"shift_days_max": 300/' "$work/same/expert.json"
  run "$vitae" init "$s"; run "$vitae" ingest "$s" "$work/few.ndjson" --from fhir --policy expert; status_is 0
  run "$vitae" ingest "$s" "$work/few.ndjson" --from fhir --policy "$work/same/expert.json"; status_is 0
  sed -i 's/"age_cap": 89/"age_cap": 0/' "$work/same/expert.json"
  for p in limited safe-harbor "$work/same/expert.json"; do
    run "$vitae" ingest "$s" "$work/few.ndjson" --from fhir --policy "$p"; [ $status -ne 0 ] || fail "taken under $p"
    err_has "a site of its own"
  done
  run "$vitae" forget "$s" --source fhir --person p0; status_is 0
  run "$vitae" ingest "$s" "$work/few.ndjson" --from fhir --policy limited; [ $status -ne 0 ] || fail "taken after somebody was forgotten"
  run "$vitae" ingest "$s" "$work/few.ndjson" --from fhir --policy expert; status_is 0
  run "$vitae" verify "$s"; status_is 0
  run "$vitae" ingest "$work/s" "$work/a.ndjson" --from fhir --policy expert-k11-pairs; status_is 0
}

classes_within_the_store() {
  mkdir -p "$work/pol"; cp policy/*.json "$work/pol/"; cp -r policy/lists policy/text-en* "$work/pol/" 2> /dev/null
  sed -i 's/"classes": false/"classes": true/' "$work/pol/expert-k11.json"
  run "$vitae" init "$work/c" --policy "$work/pol/expert-k11.json"; status_is 0
  run "$vitae" ingest "$work/c" "$work/a.ndjson" --from fhir --json; status_is 0
  json_is "(j['risk']['classes'][0]['k_under_11'], j['risk']['classes'][1]['k_under_11'])" "(0, 0)"
  sed -i 's/"classes"/"klasses"/' "$work/pol/expert-k11.json"; run "$vitae" init "$work/d" --policy "$work/pol/expert-k11.json"; [ $status -ne 0 ] || fail "a setting that does not exist was taken"
}
# p0-p15 a test, p8-p27 another, both common enough; eight persons have both.
two_codes_together() {
  local s=$work/two
  make_source "$work/c.ndjson" 0 40
  python3 - >> "$work/c.ndjson" <<'P'
import json
for p in range(28):
    for code in ["1742-6"] * (p < 16) + ["1920-8"] * (p >= 8):
        print(json.dumps({"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/p{p}"}, "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "effectiveDateTime": "2015-03-08T08:00:00Z", "valueQuantity": {"value": 30, "unit": "U/L"}}))
P
  run "$vitae" init "$s-1" --policy expert-k11; run "$vitae" ingest "$s-1" "$work/c.ndjson" --from fhir --json; status_is 0
  json_is "(j['risk']['known_codes']['one_code']['persons_with_fewer_than_k'], j['risk']['known_codes']['two_codes']['persons_with_fewer_than_k'] == 0)" "(0, False)"
  run "$vitae" init "$s" --policy expert-k11-pairs; run "$vitae" ingest "$s" "$work/c.ndjson" --from fhir --json; status_is 0
  json_is "[j['risk']['known_codes'][x]['persons_with_fewer_than_k'] for x in ('one_code', 'two_codes')]" "[0, 0]"
  json_is "(j['suppression']['codes_known'], j['suppression']['codes_left_out_of_single_lives'] != 0, j['risk_before']['known_codes']['two_codes']['persons_with_fewer_than_k'] != 0)" "(2, True, True)"
  codes "$s" > "$work/codes"
  same "$(count_of LOINC//1920-8)" 20 "the commoner of the two"; same "$(count_of LOINC//1742-6)" 0 "the rarer one: eight lost it for the pair, eight are too few"
  grep -q "left out of single lives" "$s"/reports/wall-gen-000001.html || fail "the page does not say it"
  run "$vitae" verify "$s"; status_is 0
}
run_cases two_codes_together nothing_stands_for_fewer_than_k an_increment_is_weighed_with_what_was_held_back whoever_is_forgotten_goes_from_both the_two_ways_do_not_mix one_site_one_policy classes_within_the_store
