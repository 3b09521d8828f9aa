#!/usr/bin/env bash
# vitae audit and vitae verify: an identifier that stands anywhere behind the wall is found, wherever it was put; a clean site has none; a changed
# byte of a statement is found. Nothing that the audit says or writes repeats a value.
. "$(dirname "$0")/../../scripts/testlib.sh"

B=${BUILD:-build} flags=()
if nm "$B/lib/libbase.a" 2> /dev/null | grep -q __asan; then flags+=(-fsanitize=address,undefined); fi
if nm "$B/lib/libbase.a" 2> /dev/null | grep -q gcov; then flags+=(--coverage); fi
if ! "${CC:-cc}" -std=c11 -D_GNU_SOURCE -DVITAE_VERSION='"test"' "${flags[@]}" -Isrc tests/cli/audit_plant.c -Wl,--start-group "$B"/lib/lib{timeline,deid,record,base}.a -Wl,--end-group \
  $(pkg-config --libs simdjson zlib libisal libzstd libcrypto libsodium sqlite3 libhs libpcre2-8 htslib libopenjp2 libseccomp) \
  -ldcmjpeg -ldcmjpls -ldcmdata -loflog -lofstd -lijg8 -lijg12 -lijg16 -ltesseract -lm -ldl -lpthread -lstdc++ -o "$work/plant"; then echo "[  FAILED  ] the_planter_compiles"; exit 1; fi

# forty persons; p0 is the one whose identifiers are planted
python3 - > "$work/in.ndjson" <<'P'
import json, random
r = random.Random(11)
names = ["Ashdown", "Birchfield", "Calloway", "Dunmore", "Eastlake", "Fairbrook", "Greaves", "Holloway"]
for p in range(40):
    who = {"resourceType": "Patient", "id": f"p-{p:03d}-{77120 + p}", "gender": r.choice(["male", "female"]), "birthDate": f"19{40 + p}-03-1{p % 9}",
           "name": [{"family": names[p % 8] + "ov" * (p // 8), "given": [r.choice(["Ann", "Mark", "Lee", "Grace", "May"])]}],
           "identifier": [{"type": {"coding": [{"code": "MR"}]}, "system": "urn:ward", "value": f"MRN-{88000000 + 137 * p}"}],
           "telecom": [{"system": "phone", "value": f"617-555-{1000 + p}"}, {"system": "email", "value": f"person{p}@mail.example"}],
           "address": [{"line": [f"{p + 10} Harbour Street"], "city": "Watertown", "postalCode": "02139", "country": "US"}]}
    if p == 0:
        who["name"] = [{"family": "Quetzalcoatlusson", "given": ["Adamina"]}]
        who["identifier"].append({"type": {"coding": [{"code": "SS"}]}, "system": "http://hl7.org/fhir/sid/us-ssn", "value": "219-09-9417"})
        who["birthDate"] = "1951-07-23"
    print(json.dumps(who))
    for k in range(r.randint(20, 40)):
        code = "2160-0" if p else ["2160-0", "8302-2"][k % 2]
        print(json.dumps({"resourceType": "Observation", "id": f"o{p}-{k}", "status": "final", "subject": {"reference": "Patient/" + who["id"]},
                          "code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "effectiveDateTime": f"{2000 + k // 2}-0{1 + k % 9}-1{k % 9}",
                          "valueQuantity": {"value": round(r.gauss(5, 2), 2), "unit": "mg/dL"}}))
P
values="Quetzalcoatlusson Adamina MRN-88000000 88000000 219-09-9417 617-555-1000 person0@mail.example p-000-77120 1951-07-23 Harbour"
run "$vitae" init "$work/calm" --policy expert; run "$vitae" ingest "$work/calm" "$work/in.ndjson" --from fhir
run "$vitae" train "$work/calm" --size tiny --epochs 1 --threads 2
run "$vitae" show "$work/calm" --json
for s in $("$vitae" show "$work/calm" --limit 1000 | grep -oE '^ *[0-9]{10,} ' | tr -d ' '); do "$vitae" show "$work/calm" "$s" --json | grep -q 8302-2 && subject=$s; done

site() { rm -rf "$work/s"; cp -a "$work/calm" "$work/s"; }
no_values() { local v; for v in $values; do ! grep -qiF -- "$v" "$work/out" "$work/err" "$work"/s/reports/audit-* || fail "the audit repeats a value"; done; }
# found PART [FILE]: the audit finds something strong there
found() {
  run "$vitae" audit "$work/s" --json; status_is 77; is_json; no_values
  json_is "j['verdict']" found
  [ "$(json "any(p['weight'] == 'strong' and p['part'] == '$1' and '${2:-}' in p['file'] for p in j['places'])")" = True ] || fail "not found in $1 ${2:-}: $(json "j['places']" | head -c 300)"
}
plant() { "$work/plant" "$work/s/timelines" "$subject" "$@" || fail "planting $1"; }

a_clean_site_has_nothing() {
  site; [ -n "${subject:-}" ] || fail "no subject"
  run "$vitae" audit "$work/s"; status_is 0; out_has "No identifier was found"; no_values
  run "$vitae" audit "$work/s" --json; status_is 0; is_json; json_is "(j['verdict'], j['strong'], j['persons'])" "('clean', 0, 40)"
  json_is "min(p['items'] for p in j['read'] if p['part'] in ('codes', 'values', 'models', 'reports', 'vault', 'file names')) > 0" True
  [ -s "$work"/s/reports/audit-gen-000001.html ] || fail "no page"
  run "$vitae" verify "$work/s"; status_is 0; out_has "statements 1 of the wall"; out_has "versions   1"
}
everything_planted_in_the_store_is_found() {
  local s
  site; plant code "LOCAL//Quetzalcoatlusson Adamina"; found codes
  site; plant description "seen with Adamina QUETZALCOATLUSSON"; found codes
  site; plant description "call 617 555 1000"; found codes
  site; plant unit "88000000"; found codes
  site; plant text "Dear Adamina, please come."; found texts
  site; plant text "born on July 23rd, 1951"; found texts
  site; plant text "record 88000000."; found texts
  site; plant text "lives in Watertown"; found texts
  site; plant text "my neighbour is reached at someone.else@home.example"; found texts # a shape: not in the vault
  site; plant value 88000000; found values
  site; plant birth 1951-07-23; found values
  site; plant blob "$(printf 'DICM\001\002PN\014\017Quetzalcoatlusson^Adamina\001LO')"; found blobs
  site; plant code "RXNORM//88000000"; found codes # a number in a code of the very person
}
everything_planted_in_files_is_found() {
  local f
  site; echo '{"step":1,"note":"219-09-9417"}' >> "$(find "$work/s/models/runs" -name training.jsonl | head -1)"; found models
  site; f=$(find "$work/s/models/versions" -name vocabulary.json | head -1); printf '{"x":"p-000-77120"}' >> "$f"; found models
  site; printf '<p>Quetzalcoatlusson, Adamina</p>' > "$work/s/reports/extra.html"; found reports
  site; printf 'MRN-88000000' | gzip > "$work/s/reports/extra.gz"; found reports
  site; printf 'person0@mail.example and more' | base64 -w0 > "$work/s/reports/extra.txt"; found reports
  site; printf 'Adamina Quetzalcoatlusson' | iconv -t UTF-16LE > "$work/s/reports/wide"; found reports
  site; printf 'log of 10 Harbour Street' > "$work/s/.hidden.log"; found "other files"
  site; mkdir "$work/s/reports/Quetzalcoatlusson_Adamina"; : > "$work/s/reports/Quetzalcoatlusson_Adamina/x"; found "file names"
  site; printf 'plain: 219-09-9417' > "$work/s/vault/left-over"; found vault
  site; python3 - "$work/s/vitae.db" <<'P'
import sqlite3, sys
d = sqlite3.connect(sys.argv[1]); d.execute("create table if not exists note(t)"); d.execute("insert into note values('by 617-555-1000')"); d.commit()
P
  found database; json_is "any(p['column'] == 't' for p in j['places'])" True
  site; printf '219-09-9417' > "$work/s/vault/quarantine/list"; mkdir -p "$work/s/inbox"; printf '219-09-9417' > "$work/s/inbox/new"; run "$vitae" audit "$work/s"; status_is 0 # the identified side
}
a_changed_statement_is_found() {
  local f i size
  site; run "$vitae" ingest "$work/s" "$work/in.ndjson" --from fhir; status_is 0; run "$vitae" verify "$work/s"; status_is 0; out_has "statements 2 of the wall"
  f=$work/s/reports/wall-gen-000001.json size=$(stat -c %s "$work/s/reports/wall-gen-000001.json")
  for i in 0 17 $((size / 2)) $((size - 3)); do
    cp "$f" "$work/kept"; flip_byte "$f" "$i"
    run "$vitae" verify "$work/s"; [ $status -ne 0 ] || fail "a changed byte at $i passes"; cp "$work/kept" "$f"
  done
  sed -i 's/"names":[0-9]*/"names":1/' "$f"; run "$vitae" verify "$work/s"; status_is 14; out_has "the signature does not hold"; out_has "does not follow"; cp "$work/kept" "$f"
  rm "$work/s/reports/wall-gen-000001.sig"; run "$vitae" verify "$work/s"; status_is 14; out_has "signature"
  site; run "$vitae" ingest "$work/s" "$work/in.ndjson" --from fhir; rm "$work/s/reports/wall-gen-000001.json"; run "$vitae" verify "$work/s"; status_is 14; out_has "does not follow"
  site; printf x >> "$work/s/reports/wall-gen-000001.html"; run "$vitae" verify "$work/s"; status_is 14; out_has "page"
  site; rm "$work/s/reports/wall-gen-000001.json"; run "$vitae" verify "$work/s"; status_is 0; out_has "note: gen-000001"
}
a_statement_says_what_went_in_and_no_name() {
  site; f=$work/s/reports/wall-gen-000001.json
  ! grep -qF "in.ndjson" "$f" || fail "the statement names a file"
  cp "$f" "$work/out"; json_is "(j['format'], j['generation'], j['previous'], j['input_files'], len(j['inputs']))" "(1, 'gen-000001', '', 1, 1)"
  json_is "j['inputs'][0]['sha256']" "$(sha "$work/in.ndjson")"
  json_is "j['store']" "$(sha "$work/s/timelines/gen-000001/manifest.json")"
  json_is "j['wall']['removed']['names'] > 30 and len(j['wall']['policy_hash']) == 64 and len(j['commit']) > 5" True
}
# the command is that of src/timeline/FORMAT.md; what is appended are blank lines
a_long_file_is_named_by_its_pieces() {
  local command digest
  site; { cat "$work/in.ndjson"; head -c 17000000 /dev/zero | tr '\0' ' ' | fold -w 4000; } > "$work/long.ndjson"
  command=$(grep -o 'split -b 1M [^`]*' src/timeline/FORMAT.md | sed 's/\\|/|/g'); digest=$(FILE=$work/long.ndjson bash -c "${command/FILE/\"\$FILE\"}" | cut -c1-64)
  run "$vitae" ingest "$work/s" "$work/long.ndjson" --from fhir --json; status_is 0; is_json; json_is "list(j['inputs'][0].items())[1:]" "[('sha256_pieces', '$digest'), ('piece_bytes', 1048576)]"
  run "$vitae" ingest "$work/s" "$work/long.ndjson" --from fhir; status_is 0; run "$vitae" verify "$work/s"; status_is 0
  cp "$work/s/timelines/gen-000003/manifest.json" "$work/out"
  json_is "[(s['sha256'], s.get('sha256_pieces'), s.get('piece_bytes')) for s in j['sources']]" "[('$(sha "$work/in.ndjson")', None, None), ('', '$digest', 1048576)]"
  json_is "[r['sources_added'] for r in j['runs']]" "[1, 1, 0]"
  sed -i 's/1048576/1048577/' "$work/s/timelines/gen-000003/manifest.json"; run "$vitae" show "$work/s"; status_is 14; err_has "piece_bytes"
}
the_risk_report_masks_small_counts() {
  site; run "$vitae" audit "$work/s" --risk --json; status_is 0; is_json
  json_is "j['risk']['persons']" 40
  json_is "j['risk']['longitudinal'][0]['persons_tried'] > 0" True
  # no count from 1 to 10 where persons are counted
  json_is "[x for c in j['risk']['classes'] for x in list(c['persons_by_class_size'].values()) + [c['unique'], c['k_under_5'], c['k_under_11']] if isinstance(x, int) and 0 < x < 11]" "[]"
  run "$vitae" audit "$work/s" --risk; status_is 0; out_has "alone by the codes"
  [ -s "$work/s/reports/risk-gen-000001.html" ] || fail "no page"
}
a_review_sheet_is_drawn_and_counted() {
  local i
  site; run "$vitae" audit "$work/s" --sheet 5; status_is 66; err_has "no texts"
  for i in 1 2 3 4; do plant text "Seen [NAME] on [DATE], note $i, \"quoted\", comma"; done
  run "$vitae" audit "$work/s" --sheet 3; status_is 0; same "$(stat -c %a "$work"/s/vault/review-gen-000005.csv)" 600
  python3 - "$work/s/vault/review-gen-000005.csv" "$work/sheet.csv" <<'P' || fail "the sheet cannot be read"
import csv, sys
r = list(csv.reader(open(sys.argv[1], newline="")))
assert len(r) == 4 and all(x[2] == "2" and '"quoted", comma' in x[3] for x in r[1:]), r
r[1][4], r[1][6], r[2][4], r[2][6], r[3][8], r[3][9] = "0", "1", "0", "0", "0", "10"
csv.writer(open(sys.argv[2], "w", newline="")).writerows(r)
P
  cp "$work/sheet.csv" "$work/s/vault/review-gen-000005.csv"; run "$vitae" audit "$work/s" --sheet 3; status_is 64; err_has "there is a sheet"
  cmp -s "$work/sheet.csv" "$work/s/vault/review-gen-000005.csv" || fail "a sheet that was filled in was drawn anew"
  run "$vitae" audit "$work/s" --score "$work/sheet.csv" --json; status_is 0; is_json
  json_is "(j['read'], j['identifiers'], j['missed'], j['read_by_both'], j['reviewers_agree'])" "(3, 15, 1, 2, 1)"
  json_is "round(j['recall_lower_95'], 4)" 0.7206
  printf 'x,y\n1,2\n' > "$work/bad.csv"; run "$vitae" audit "$work/s" --score "$work/bad.csv"; [ $status -ne 0 ] || fail "a file that is no sheet is counted"
  run "$vitae" audit "$work/s" --sheet 0; status_is 64
}
run_cases a_clean_site_has_nothing everything_planted_in_the_store_is_found everything_planted_in_files_is_found a_changed_statement_is_found \
  a_statement_says_what_went_in_and_no_name a_long_file_is_named_by_its_pieces the_risk_report_masks_small_counts a_review_sheet_is_drawn_and_counted
