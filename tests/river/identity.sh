#!/usr/bin/env bash
# One identity through the whole program: the same persons in FHIR, OMOP and MEDS; re-runs; the vault's actions; forgetting, also when it is
# cut off after any of its steps.
. "$(dirname "$0")/../../scripts/testlib.sh"

# Three exports of the same four persons (numbers 70001 …), each source with keys of its own. Observations stand before the Patients.
make_sources() { python3 - "$1" <<'P'
import json, os, sys
d = sys.argv[1]
for s in ("fhir", "omop", "meds"): os.makedirs(f"{d}/{s}", exist_ok=True)
with open(f"{d}/fhir/Observation.ndjson", "w") as f:
    for p in range(1, 5):
        for k in range(30): f.write(json.dumps({"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/p{p}"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "2160-0" if k else "718-7"}]},
            "effectiveDateTime": f"20{10 + k // 3}-0{1 + k % 9}-1{p}T07:08:09Z", "valueQuantity": {"value": p + k / 10, "unit": "mg/dL"}}) + "\n")
with open(f"{d}/fhir/Patient.ndjson", "w") as f:
    for p in range(1, 5): f.write(json.dumps({"resourceType": "Patient", "id": f"p{p}", "gender": "female", "birthDate": f"195{p}-03-04",
        "name": [{"family": f"Quetzalcoatl{p}"}], "identifier": [{"system": "urn:oid:1.2.3", "value": f"7000{p}"}]}) + "\n")
with open(f"{d}/omop/person.csv", "w") as f:
    f.write("person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth,birth_datetime,race_concept_id,ethnicity_concept_id,person_source_value,gender_source_value,race_source_value,ethnicity_source_value\n")
    for p in range(1, 5): f.write(f"{900 + p},8532,195{p},3,4,,0,0,7000{p},F,,\n")
with open(f"{d}/omop/visit_occurrence.csv", "w") as f:
    f.write("visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_start_datetime,visit_end_date,visit_end_datetime,visit_type_concept_id,visit_source_value\n")
    for p in range(1, 5): f.write(f"{p},{900 + p},9201,2010-01-1{p},2010-01-1{p} 07:08:10,2010-01-2{p},2010-01-2{p} 00:00:00,0,\n")
with open(f"{d}/meds/data.csv", "w") as f:
    f.write("subject_id,time,code,numeric_value\n")
    for p in range(1, 5): f.write(f"7000{p},2010-01-1{p} 07:08:12,LOINC//8480-6,12{p}\n")
P
}
trust() { python3 - "$1" <<'P'
import json, sys
p = sys.argv[1] + "/identity.json"; j = json.load(open(p))
j["namespaces"] = ["urn:oid:1.2.3"]; j["aliases"] = {"omop54/person_source_value": "urn:oid:1.2.3", "meds": "urn:oid:1.2.3"}
json.dump(j, open(p, "w"))
P
}
site_of_three() { # SITE ORDER...
  local s=$1; shift
  run "$vitae" init "$s"; status_is 0; trust "$s"
  for k in "$@"; do run "$vitae" ingest "$s" "$work/src/$k" --from "$k"; status_is 0; done
}
subject_of() { run "$vitae" vault "$1" lookup --source "$2" --person "$3" --json; status_is 0; json "j['subject']"; }

three_sources_become_one_life() {
  local s order n=0 p q
  make_sources "$work/src"
  for order in "fhir omop meds" "meds omop fhir" "omop fhir meds"; do
    n=$((n + 1)); s=$work/three$n
    site_of_three "$s" $order
    run "$vitae" show "$s" --json; json_is "j['subjects']" 4
    for p in 1 2 3 4; do
      q=$(subject_of "$s" fhir p$p)
      same "$(subject_of "$s" omop54 90$p)" "$q" "pseudonym in OMOP"; same "$(subject_of "$s" meds 7000$p)" "$q" "pseudonym in MEDS"
      run "$vitae" show "$s" "$q" --json; status_is 0
      # one second and three seconds apart, whatever the source; the shift is a whole number of days, and not none
      json_is "[e['t'] for e in j['events'] if e['code'] == 'LOINC//8480-6'][0] - [e['t'] for e in j['events'] if e['code'] == 'LOINC//718-7'][0]" 3000000
      json_is "1000000 in [e['t'] - [x['t'] for x in j['events'] if x['code'] == 'LOINC//718-7'][0] for e in j['events'] if e['t'] is not None]" True
      json_is "(lambda d: d != 0 and d % 86400000000 == 0)([e['t'] for e in j['events'] if e['code'] == 'LOINC//718-7'][0] - (1263193689 + 86400 * $((p - 1))) * 1000000)" True
    done
    run "$vitae" verify "$s"; status_is 0
  done
}

untrusted_numbers_link_nobody() {
  run "$vitae" init "$work/apart"; for k in fhir omop; do run "$vitae" ingest "$work/apart" "$work/src/$k" --from $k; status_is 0; done
  run "$vitae" show "$work/apart" --json; json_is "j['subjects']" 8
  trust "$work/apart" # too late for those who are there: counted, not merged
  run "$vitae" ingest "$work/apart" "$work/src/meds" --from meds --json; status_is 0; json_is "(j['wall']['linking']['linked'], j['wall']['linking']['conflicts'])" "(0, 4)"
  json_is "(j['wall']['linking']['conflict_list'][0]['source'], j['wall']['linking']['conflict_list'][0]['why'])" "('meds', 'several-carry-it')"
  run "$vitae" show "$work/apart" --json; json_is "j['subjects']" 12
  echo '{"namespaces": [], "aliasses": {}}' > "$work/apart/identity.json"
  run "$vitae" ingest "$work/apart" "$work/src/meds" --from meds; [ $status -ne 0 ] || fail "a setting that does not exist was taken"
}

the_same_again_gives_the_same_bytes() {
  local s=$work/again f
  site_of_three "$s" fhir omop
  cp -r "$s" "$work/again-copy"
  run "$vitae" ingest "$s" "$work/src/fhir" --from fhir; status_is 0
  for f in shard-000 codes; do same "$(sha "$s/timelines/gen-000003/$f")" "$(sha "$s/timelines/gen-000002/$f")" "$f after the same input again"; done
  # the same vault, an empty store
  rm -rf "$work/again-copy/timelines"; mkdir "$work/again-copy/timelines"
  run "$vitae" ingest "$work/again-copy" "$work/src/fhir" --from fhir; run "$vitae" ingest "$work/again-copy" "$work/src/omop" --from omop; status_is 0
  for f in shard-000 codes; do same "$(sha "$work/again-copy/timelines/gen-000002/$f")" "$(sha "$s/timelines/gen-000002/$f")" "$f in a new store"; done
}

an_increment_joins_the_same_persons() {
  local s=$work/inc before
  site_of_three "$s" fhir
  before=$(subject_of "$s" fhir p2)
  mkdir -p "$work/inc-src"
  sed 's/p2"/p2"/; s/"20[0-9][0-9]-/"2031-/' "$work/src/fhir/Observation.ndjson" | grep 'Patient/p2' > "$work/inc-src/Observation.ndjson"
  run "$vitae" ingest "$s" "$work/inc-src" --from fhir; status_is 0
  same "$(subject_of "$s" fhir p2)" "$before" "pseudonym after an increment"
  run "$vitae" show "$s" --json; json_is "j['subjects']" 4
  run "$vitae" show "$s" "$before" --json; json_is "(max(e['t'] for e in j['events'] if e['t'] is not None) - [e['t'] for e in j['events'] if e['code'] == 'LOINC//718-7'][0]) > 20 * 365 * 86400 * 10**6" True
}

the_vault_can_be_asked_and_leaves_a_row() {
  local s=$work/three1 q; q=$(subject_of "$s" fhir p1)
  run "$vitae" vault "$s" lookup --pseudonym "$q"; status_is 0; out_has p1; out_has 70001; out_has 901
  run "$vitae" vault "$s" lookup --pseudonym 12345; status_is 66
  run "$vitae" vault "$s" lookup --source fhir --person nobody; status_is 66; nothing_says "nobody"
  run "$vitae" vault "$s" lookup; status_is 64
  run "$vitae" vault "$s" stats --json; status_is 0; json_is "(j['persons'], j['keys'], j['persons_of_several_keys'])" "(4, 12, 4)"
  run "$vitae" vault "$s" sing; status_is 64
  echo "for the broker only" > "$work/phrase"
  run "$vitae" vault "$s" export --to "$work/list" --passphrase-file "$work/phrase"; status_is 0
  ! grep -qa 70001 "$work/list" || fail "the exported list can be read"
  same "$(stat -c %a "$work/list")" 600 "mode of the list"
  run "$vitae" vault "$work/list" read --passphrase-file "$work/phrase"; status_is 0; same "$(wc -l < "$work/out")" 13 "rows"; out_has "\"fhir\",\"p1\",$q,"
  echo "for somebody else" > "$work/wrong"; run "$vitae" vault "$work/list" read --passphrase-file "$work/wrong"; status_is 77
  run "$vitae" vault "$s" rotate; status_is 0; same "$(subject_of "$s" fhir p1)" "$q" "pseudonym after a rotation"
  run "$vitae" vault "$s" rotate --new-passphrase-file "$work/phrase"; status_is 0; [ ! -e "$s/vault/key" ] || fail "the old key is there"
  run "$vitae" vault "$s" stats; [ $status -ne 0 ] || fail "opened without the passphrase"
  run "$vitae" vault "$s" lookup --source fhir --person p1 --passphrase-file "$work/phrase" --json; status_is 0; json_is "j['subject']" "$q"
  run "$vitae" vault "$s" rotate --passphrase-file "$work/phrase"; status_is 0; same "$(subject_of "$s" fhir p1)" "$q" "pseudonym with a key file again"
  run "$vitae" verify "$s"; status_is 0
  same "$(python3 -c 'import sqlite3,sys; print([r[0] for r in sqlite3.connect(sys.argv[1]).execute("select count(*) from audit where route = ?", ("vault lookup",))][0] >= 15)' "$s/vitae.db")" True "rows of lookups"
  python3 -c 'import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); print([r for r in c.execute("select * from audit")])' "$s/vitae.db" > "$work/rows"
  ! grep -qE 'p1|70001|nobody' "$work/rows" || fail "the audit holds what was asked"
}

an_identity_table_links() {
  local s=$work/table
  run "$vitae" init "$s"
  printf 'source,person,source2,person2\nfhir,p1,omop54,901\nfhir,p2,omop54,902\n' > "$work/table.csv"
  run "$vitae" vault "$s" link "$work/table.csv"; status_is 0; out_has "2 rows"
  for k in fhir omop; do run "$vitae" ingest "$s" "$work/src/$k" --from $k; status_is 0; done
  run "$vitae" show "$s" --json; json_is "j['subjects']" 6
  printf 'source,person,source2,person2\nfhir,p3,omop54,903\n' > "$work/table.csv"
  run "$vitae" vault "$s" link "$work/table.csv" --json; status_is 0; json_is "(j['linked'], j['conflicts'])" "(0, 1)"
  printf 'source,person\nfhir,p3\n' > "$work/table.csv"; run "$vitae" vault "$s" link "$work/table.csv"; status_is 65
  printf 'source,person,source2,person2,person\nfhir,p3,omop54,903,904\n' > "$work/table.csv"; run "$vitae" vault "$s" link "$work/table.csv"; status_is 65
}

# SITE SUBJECT: no file of the site but the vault's list and the list of who was trained on holds the number
holds_nothing_of() { python3 - "$1" "$2" <<'P'
import os, struct, sys
n = int(sys.argv[2]); raw = struct.pack("<q", n); text = sys.argv[2].encode(); bad = []
for root, _, files in os.walk(sys.argv[1]):
    for f in files:
        p = os.path.join(root, f)
        if f in ("forgotten.json",) or p.endswith(".subjects"): continue
        b = open(p, "rb").read()
        if raw in b or text in b or b"Quetzalcoatl1" in b: bad.append(p)
print(bad)
P
}

a_person_is_forgotten_everywhere() {
  local s=$work/forget q other
  site_of_three "$s" fhir omop meds
  q=$(subject_of "$s" fhir p1); other=$(subject_of "$s" fhir p2)
  mkdir -p "$s/inbox/drafts/$q" && printf '{"subject": "%s", "final": "Mr Quetzalcoatl1"}' "$q" > "$s/inbox/drafts/$q/1.json"
  echo '1,note,1,"Mr Quetzalcoatl1",0,,,,,' > "$s/vault/review-gen-000003.csv"
  run "$vitae" forget "$s"; status_is 64
  run "$vitae" forget "$s" --source fhir --person nobody; status_is 66
  run "$vitae" forget "$s" --subject 77; status_is 66
  run "$vitae" forget "$s" --source meds --person 70001 --json; status_is 0; json_is "(j['subject'], j['vault'], j['store'], j['verified'], j['versions'])" "('$q', True, True, True, [])"; json_is "j['review_sheets_removed']" 1
  run "$vitae" verify "$s"; status_is 0
  same "$(holds_nothing_of "$s" "$q")" "[]" "files that hold the subject"
  same "$(ls -d "$s"/timelines/gen-* | wc -l)" 1 "generations"
  run "$vitae" show "$s" --json; json_is "j['subjects']" 3
  run "$vitae" show "$s" "$q"; status_is 66
  same "$(subject_of "$s" omop54 902)" "$other" "somebody else"
  run "$vitae" forget "$s" --subject "$q"; status_is 66; err_has "forgotten already"
  for k in fhir omop; do run "$vitae" ingest "$s" "$work/src/$k" --from $k --json; status_is 0; json_is "j['wall']['dropped']['forgotten-person'] > 0" True; done
  run "$vitae" show "$s" --json; json_is "j['subjects']" 3
  run "$vitae" forget "$s" --subject "$other" --may-return; status_is 0
  run "$vitae" ingest "$s" "$work/src/fhir" --from fhir; run "$vitae" show "$s" --json; json_is "j['subjects']" 3
  [ "$(subject_of "$s" fhir p2)" != "$other" ] || fail "the old pseudonym came back"
  # verify looks by itself: a generation that holds a forgotten person is found
  cp "$s/forgotten.json" "$work/kept.json"; q=$(subject_of "$s" fhir p3)
  python3 - "$s/forgotten.json" "$q" <<'P'
import json, sys
j = json.load(open(sys.argv[1])); j["forgotten"].append({"subject": sys.argv[2], "at": "2026-01-01T00:00:00", "done": True}); json.dump(j, open(sys.argv[1], "w"))
P
  run "$vitae" verify "$s"; [ $status -ne 0 ] || fail "verify did not look for the forgotten"; out_has "who was forgotten"
  cp "$work/kept.json" "$s/forgotten.json"
}

a_forgotten_person_stays_away_under_another_key() {
  local s=$work/away k
  [ -d "$work/src" ] || make_sources "$work/src"
  mkdir -p "$work/src/again"; sed 's/"p1"/"q1"/; s/Patient\/p1"/Patient\/q1"/' "$work/src/fhir/Observation.ndjson" | grep q1 > "$work/src/again/Observation.ndjson"
  grep '"p1"' "$work/src/fhir/Patient.ndjson" | sed 's/"p1"/"q1"/' > "$work/src/again/Patient.ndjson"
  site_of_three "$s" fhir
  run "$vitae" forget "$s" --source fhir --person p1; status_is 0
  for k in omop meds; do
    run "$vitae" ingest "$s" "$work/src/$k" --from $k --json; status_is 0; json_is "j['wall']['dropped']['forgotten-person'] > 0" True
    run "$vitae" show "$s" --json; json_is "j['subjects']" 3
  done
  run "$vitae" ingest "$s" "$work/src/again" --from fhir; [ $status -ne 0 ] || fail "events of somebody who was forgotten were stored"
  run "$vitae" show "$s" --json; json_is "j['subjects']" 3
  run "$vitae" verify "$s"; status_is 0
}

seen_site() { # 60 persons, all of them to be trained on
  mkdir -p "$work/seen-src"; python3 - "$work/seen-src/p.ndjson" <<'P'
import json, random, sys
r = random.Random(7)
with open(sys.argv[1], "w") as f:
    for p in range(60):
        f.write(json.dumps({"resourceType": "Patient", "id": f"p{p}", "gender": "male", "birthDate": "1950-01-11"}) + "\n")
        for k in range(25): f.write(json.dumps({"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/p{p}"},
            "code": {"coding": [{"system": "http://loinc.org", "code": r.choice(["2160-0", "8480-6", "718-7"])}]}, "effectiveDateTime": f"20{10 + k // 3}-0{1 + k % 9}-11",
            "valueQuantity": {"value": round(r.gauss(5, 2), 2), "unit": "mg/dL"}}) + "\n")
P
  run "$vitae" init "$1"; run "$vitae" ingest "$1" "$work/seen-src" --from fhir --split train; status_is 0
}

models_that_saw_the_person_are_named() {
  local s=$work/seen v
  seen_site "$s"
  run "$vitae" train "$s" --size tiny --epochs 0.1 --threads 1 --json; status_is 0; v=$(json "j['version']")
  run "$vitae" forget "$s" --source fhir --person p7 --json; status_is 0; json_is "[(x['version'], x['certain']) for x in j['versions']]" "[('$v', True)]"
  printf '{"resourceType":"Patient","id":"late","gender":"male","birthDate":"1950-01-01"}\n' > "$work/late.ndjson"
  run "$vitae" ingest "$s" "$work/late.ndjson" --from fhir; status_is 0
  run "$vitae" forget "$s" --source fhir --person late --json; status_is 0; json_is "j['versions']" "[]"
  run "$vitae" verify "$s"; status_is 0
}

# Whom an older vault does not know it would make once more: twice in the store, and one of the two forgotten in name only
an_older_vault_is_refused() {
  local s=$work/older q p
  [ -d "$work/src" ] || make_sources "$work/src"
  mkdir -p "$work/half"; for p in Patient Observation; do grep -E '(Patient/|"id": ")p[12]"' "$work/src/fhir/$p.ndjson" > "$work/half/$p.ndjson"; done
  run "$vitae" init "$s"; run "$vitae" ingest "$s" "$work/half" --from fhir; status_is 0; cp -r "$s/vault" "$work/older-vault"
  run "$vitae" ingest "$s" "$work/src/fhir" --from fhir; status_is 0; run "$vitae" verify "$s"; status_is 0
  mv "$s/vault" "$work/newer-vault"; cp -r "$work/older-vault" "$s/vault"
  run "$vitae" verify "$s"; status_is 14; out_has "2 persons whom the vault does not know"
  run "$vitae" ingest "$s" "$work/src/fhir" --from fhir; status_is 15; err_has "An older vault"
  run "$vitae" forget "$s" --source fhir --person p1; status_is 15; run "$vitae" show "$s" --json; json_is "j['subjects']" 4
  cp -r "$s" "$work/older-lost"
  rm -rf "$s/vault"; mv "$work/newer-vault" "$s/vault"; run "$vitae" verify "$s"; status_is 0 # way out 1
  for p in 1 2; do # way out 2
    run "$vitae" ingest "$work/older-lost" "$work/src/fhir" --from fhir; status_is 15; q=$(grep -oE 'subject [0-9]+' "$work/err" | cut -d' ' -f2)
    run "$vitae" forget "$work/older-lost" --subject "$q"; status_is 0
  done
  run "$vitae" ingest "$work/older-lost" "$work/src/fhir" --from fhir; status_is 0; run "$vitae" show "$work/older-lost" --json; json_is "j['subjects']" 4
  run "$vitae" verify "$work/older-lost"; status_is 0
  # older than a forgetting: it knows whom it must not
  q=$(subject_of "$s" fhir p1); run "$vitae" forget "$s" --source fhir --person p1; status_is 0
  rm -rf "$s/vault"; cp -r "$work/older-vault" "$s/vault"
  for p in p3 p4; do run "$vitae" ingest "$s" "$work/half" --from fhir; status_is 15; run "$vitae" forget "$s" --subject "$(grep -oE 'subject [0-9]+' "$work/err" | cut -d' ' -f2)"; status_is 0; done
  run "$vitae" ingest "$s" "$work/half" --from fhir; status_is 15; err_has "knows 1 persons who were forgotten"; err_has "$q"
  run "$vitae" forget "$s" --subject "$q"; status_is 0
  run "$vitae" ingest "$s" "$work/half" --from fhir; status_is 0; run "$vitae" show "$s" --json; json_is "j['subjects']" 1; run "$vitae" verify "$s"; status_is 0
}

a_run_stays_in_its_place() {
  local s=$work/place name
  seen_site "$s"; cat "$s/vault/identities" "$s/vault/key" > "$work/before"; mkdir "$s/models/runs/mine"; echo x > "$s/models/runs/mine/notes"
  for name in ../../vault ../../tasks .. . "" .x a/b; do
    run "$vitae" train "$s" --size tiny --epochs 0.1 --threads 1 --no-task --name "$name" --force; status_is 64; err_has "--name"
  done
  run "$vitae" train "$s" --size tiny --epochs 0.1 --threads 1 --no-task --name mine --force; status_is 64; err_has "no run"
  cat "$s/vault/identities" "$s/vault/key" | cmp -s - "$work/before" || fail "the vault changed"; same "$(cat "$s/models/runs/mine/notes")" x "a file beside the runs"
  for name in 1 2; do run "$vitae" train "$s" --size tiny --epochs 0.1 --threads 1 --no-task --name a --force; status_is 0; done
}

# A program that dies at its n-th rename or unlink, or stops after a rename to STOP_AT
make_die() {
  cat > "$work/die.c" <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int left = -1;
static void step(void) {
  if (left < 0) { const char *s = getenv("DIE_AT"); left = s ? atoi(s) : 0; }
  if (left && --left == 0) _exit(42);
}
int rename(const char *a, const char *b) {
  step();
  int rc = renameat(AT_FDCWD, a, AT_FDCWD, b);
  const char *s = getenv("STOP_AT");
  if (s && strcmp(s, b) == 0) raise(SIGSTOP);
  return rc;
}
int unlink(const char *p) { step(); return unlinkat(AT_FDCWD, p, 0); }
C
  case ${BUILD:-build} in *asan*|*tsan*) skip "a preloaded library and a sanitizer do not go together"; return 1;; esac
  cc -shared -fPIC -o "$work/die.so" "$work/die.c" || { skip "no compiler"; return 1; }
}

stopped() { grep -q '^State:.T' "/proc/$1/status"; }

# Somebody is forgotten while a training holds the first checkpoint that learned from them: of a held-out person it may end as ever
a_training_under_way_makes_no_version_of_the_forgotten() {
  make_die || return 0
  local s=$work/under pid who
  seen_site "$s"; printf '{"resourceType":"Patient","id":"apart","gender":"male","birthDate":"1950-01-01"}\n' > "$work/apart.ndjson"
  run "$vitae" ingest "$s" "$work/apart.ndjson" --from fhir --split held_out; status_is 0
  for who in apart p9; do
    STOP_AT=$s/models/runs/$who LD_PRELOAD=$work/die.so "$vitae" train "$s" --size tiny --epochs 0.1 --threads 1 --no-task --name $who > "$work/trained" 2>&1 & pid=$!
    until_so stopped $pid || { fail "the training did not come to its checkpoint"; return; }
    run "$vitae" forget "$s" --source fhir --person $who --json; status_is 0; json_is "(j['training'], [v['certain'] for v in j['versions']])" "(True, $([ $who = p9 ] && echo "[True]" || echo "[]"))"
    json_is "sorted((v['run'], v['certain']) for v in j['runs'])" "$([ $who = p9 ] && echo "[('apart', True), ('p9', True)]" || echo "[]")"
    kill -CONT $pid; wait $pid; status=$?
    if [ $who = p9 ]; then status_is 15; grep -q "forgotten meanwhile" "$work/trained" || fail "it is not said why: $(tail -2 "$work/trained")"
    else status_is 0; fi
    run "$vitae" versions "$s" --json; json_is "len(j)" 1
  done
  run "$vitae" forget "$s" --source fhir --person p8; status_is 0; out_has "runs/p9"; run "$vitae" verify "$s"; status_is 0
}

may_return_outlives_an_interruption() {
  make_die || return 0
  local s=$work/may
  [ -d "$work/src" ] || make_sources "$work/src"
  site_of_three "$s" fhir
  run env DIE_AT=2 LD_PRELOAD="$work/die.so" "$vitae" forget "$s" --source fhir --person p1 --may-return; status_is 42
  run "$vitae" forget "$s" --resume --may-return; status_is 64
  run "$vitae" forget "$s" --resume; status_is 0; run "$vitae" show "$s" --json; json_is "j['subjects']" 3
  run "$vitae" ingest "$s" "$work/src/fhir" --from fhir; status_is 0; run "$vitae" show "$s" --json; json_is "j['subjects']" 4
}

# The steps of an erasure, one after the other
cut_off_at_any_step_it_is_before_or_can_be_finished() {
  make_die || return 0
  local s=$work/cut q n subjects finished=0
  site_of_three "$work/cut-site" fhir omop
  q=$(subject_of "$work/cut-site" fhir p1)
  for n in $(seq 60); do
    rm -rf "$s"; cp -r "$work/cut-site" "$s"
    run env DIE_AT=$n LD_PRELOAD="$work/die.so" "$vitae" forget "$s" --source fhir --person p1
    if [ $status -ne 42 ]; then status_is 0; finished=1; break; fi
    run "$vitae" show "$s" --json
    if [ $status -eq 0 ]; then # before anything was done, or all but the last tidying
      subjects=$(json "j['subjects']"); [ "$subjects" = 4 ] || [ "$subjects" = 3 ] || fail "step $n: $subjects subjects"
      [ "$subjects" = 3 ] || { run "$vitae" verify "$s"; status_is 0; run "$vitae" forget "$s" --source fhir --person p1; status_is 0; }
    else
      out_has "--resume"
      run "$vitae" ingest "$s" "$work/src/meds" --from meds; [ $status -ne 0 ] || fail "step $n: ingest went on over a half-done erasure"
      run "$vitae" verify "$s"; [ $status -ne 0 ] || fail "step $n: verify is content with a half-done erasure"
      run "$vitae" forget "$s" --resume; status_is 0
    fi
    run "$vitae" verify "$s"; [ $status -eq 0 ] || fail "step $n: verify says $status: $(head -c 300 "$work/out" "$work/err")"
    run "$vitae" show "$s" --json; json_is "j['subjects']" 3
    same "$(holds_nothing_of "$s" "$q")" "[]" "step $n: files that hold the subject"
  done
  same $finished 1 "the erasure ended"; less 5 "$n" "steps"
}
run_cases three_sources_become_one_life untrusted_numbers_link_nobody the_same_again_gives_the_same_bytes an_increment_joins_the_same_persons \
  the_vault_can_be_asked_and_leaves_a_row an_identity_table_links a_person_is_forgotten_everywhere a_forgotten_person_stays_away_under_another_key an_older_vault_is_refused a_run_stays_in_its_place models_that_saw_the_person_are_named \
  a_training_under_way_makes_no_version_of_the_forgotten may_return_outlives_an_interruption \
  cut_off_at_any_step_it_is_before_or_can_be_finished
