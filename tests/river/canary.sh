#!/usr/bin/env bash
# Canaries: distinct words planted in every element of FHIR bundles, in bad entries and in file names. The whole river runs over them,
# under every policy; then every byte of the site outside the vault, and every word that a command said, is searched for them.
. "$(dirname "$0")/../../scripts/testlib.sh"
search() { python3 tests/river/canary_search.py "$@" > "$work/finds" || fail "$(wc -l < "$work/finds") finds: $(sort "$work/finds" | head -5 | tr '\n' ';')"; }

# the bundles, by tests/canary.h
lib=${BUILD:-build}/lib/libbase.a flags=()
if nm "$lib" 2> /dev/null | grep -q __asan; then flags+=(-fsanitize=address,undefined); fi
if nm "$lib" 2> /dev/null | grep -q gcov; then flags+=(--coverage); fi
if ! "${CC:-cc}" -std=c11 -D_GNU_SOURCE -DVITAE_VERSION='"test"' "${flags[@]}" -Isrc -Itests tests/river/canary_write.c "$lib" $(pkg-config --libs simdjson zlib libisal libzstd libcrypto) \
  -lm -ldl -lpthread -lstdc++ -o "$work/canary_write"; then echo "[  FAILED  ] the_canary_bundles_compile"; exit 1; fi
mkdir "$work/in" "$work/others"
words=$(ASAN_OPTIONS=detect_leaks=0 "$work/canary_write" "$work/in") || { echo "[  FAILED  ] the_canary_bundles_are_written"; exit 1; }

# bad ones: what no reader can take, and a bundle cut off in its middle
first=$(find "$work/in" -name '*.json' | LC_ALL=C sort | head -1)
head -c 30000 "$first" > "$work/in/Qzvkxj-torn.json"
printf '%s\n' '{"resourceType":"Observation","id":"Qzvkxj90001","status":"final","subject":{"reference":"Patient/Qzvkxj90002"},"effectiveDateTime":"Qzvkxj90003","code":{"coding":[{"system":"http://loinc.org","code":"2160-0"}]}}' \
  '{"resourceType":"Observation","subject":{"reference":"Qzvkxj90004"},"code":"Qzvkxj90005"}' '{"resourceType":"Qzvkxj90006"}' 'Qzvkxj90007' '{"Qzvkxj90008":' \
  '{"resourceType":"Patient","id":"Qzvkxj90009","birthDate":"Qzvkxj90010","Qzvkxj90011":"Qzvkxj90012"}' > "$work/in/Qzvkxj-bad.ndjson"

# other persons, so that there is something to learn from
python3 - > "$work/others/persons.ndjson" <<'P'
import json, random
r = random.Random(3)
for p in range(150):
    print(json.dumps({"resourceType": "Patient", "id": f"p{p}", "gender": r.choice(["male", "female"]), "birthDate": f"19{r.randint(30, 80)}-03-11"}))
    for k in range(r.randint(10, 30)):
        print(json.dumps({"resourceType": "Observation", "id": f"o{p}-{k}", "status": "final", "subject": {"reference": f"Patient/p{p}"},
                          "code": {"coding": [{"system": "http://loinc.org", "code": r.choice(["2160-0", "8480-6", "718-7"])}]},
                          "effectiveDateTime": f"{2000 + k}-01-{r.randint(1, 28):02d}", "valueQuantity": {"value": round(r.gauss(5, 2), 2), "unit": "mg/dL"}}))
P

the_search_finds_what_it_should() {
  mkdir -p "$work/control"; local w=Xq17Qzvkxj00042y f
  printf 'so %s it is' "$w" > "$work/control/plain"; printf '%s' "${w^^}" > "$work/control/upper"
  printf '%s' "$w" | iconv -t UTF-16LE > "$work/control/utf16"; printf '%s' "$w" | iconv -t UTF-32BE > "$work/control/utf32"
  for f in "" a ab; do printf '%s%s more words' "$f" "$w" | base64 -w0 > "$work/control/base64$f"; done
  printf '%s' "$w" | xxd -p > "$work/control/hex" 2> /dev/null || python3 -c 'import sys; print(sys.argv[1].encode().hex())' "$w" > "$work/control/hex"
  { head -c 777 /dev/urandom; printf 'some words %s and more words of the same kind' "$w" | zstd -q; head -c 99 /dev/urandom; } > "$work/control/zstd"
  printf 'some words %s' "$w" | gzip > "$work/control/gzip"; : > "$work/control/name-qzvkxj"
  for f in "$work"/control/*; do ! python3 tests/river/canary_search.py "$f" > /dev/null || fail "the search misses ${f##*/}"; done
  mkdir -p "$work/clean"; head -c 20000 "$work/others/persons.ndjson" > "$work/clean/a"; zstd -q "$work/clean/a"; search "$work/clean"
  less 20000 "$words" "planted words"
  same "$(python3 tests/river/canary_search.py "$work/in" | grep -c ': its name')" "$(find "$work/in" -type f | wc -l)" "files whose name holds a canary"
}

river() { # policy: init, ingest, show, train, predict, validate, export; then the search
  local s=$work/$1 p subjects version
  : > "$work/said"
  run "$vitae" init "$s" --policy "$1" --json; status_is 0
  run "$vitae" ingest "$s" "$work/others" --from fhir; status_is 0
  run "$vitae" ingest "$s" "$work/in" --from fhir; status_is 0
  out_has "records rejected"; out_has quarantine
  run "$vitae" ingest "$s" "$work/in" --from fhir --json; status_is 0; is_json; json_is "j['rejected'] > 3" True; json_is "sum(j['rejected_for'].values()) == j['rejected'] and len(j['rejected_for']) > 1" True
  json_is "j['store_persons'] >= 150 + 12" True
  run "$vitae" ingest "$s" "$work/in/Qzvkxj-torn.json" --from fhir --json; cp "$work/out" "$work/torn"; : > "$work/out"
  run "$vitae" show "$s" --limit 100000; status_is 0
  subjects=$(grep -oE '^ *[0-9]{10,} ' "$work/out" | tr -d ' ')
  for p in $subjects; do run "$vitae" show "$s" "$p" --limit 100000 --json; grep -q 'SNOMED//44054006' "$work/out" && { cp "$work/out" "$work/life"; subject=$p; }; done
  [ -s "$work/life" ] || { fail "no life holds what the canary bundles say in codes"; return; }
  for fact in LOINC//2160-0 SNOMED//73761001 RXNORM//314076 CVX//140; do grep -q "$fact" "$work/life" || fail "$fact is lost"; done
  run "$vitae" show "$s" "$subject"; status_is 0
  run "$vitae" tasks "$s"; status_is 0
  run "$vitae" train "$s" --size tiny --epochs 1 --threads 2; status_is 0
  run "$vitae" predict "$s" --subject "$subject" --futures 5 --explain 50 --outcomes 200; status_is 0
  run "$vitae" predict "$s" --subject "$subject" --futures 5 --outcomes 200 --json; status_is 0
  run "$vitae" validate "$s" --task death-1y; no_crash
  run "$vitae" export "$s" --format safetensors --to "$s/weights"; status_is 0
  run "$vitae" export "$s" --format meds --to "$s/meds"; no_crash
  run "$vitae" verify "$s"; status_is 0
  run "$vitae" audit "$s"; status_is 0; out_has "No identifier was found"
  cp "$first" "$s/reports/leak.json"; run "$vitae" audit "$s"; status_is 77; rm "$s/reports/leak.json"; run "$vitae" audit "$s"; status_is 0
  run "$vitae" versions "$s" --json; version=$(json "j[0]['version']")
  [ "$1" = expert ] && served "$s" "$version"
  # the path that was typed may be said again (it is not in the records); nothing else
  sed 's|'"$work"'/in/Qzvkxj-torn.json||g' "$work/said" "$work/torn" > "$work/said-clean"
  search "$work/said-clean"
  for part in "$s"/*; do [ "${part##*/}" = vault ] || [ -d "$part" -a -z "$(find "$part" -type f)" ] || search "$part"; done
  search $(find "$s/vault" -type f -not -path '*/quarantine/*')
  search --strip-names "$s"/vault/quarantine
  [ -z "$(find "$s/vault" -perm /077)" ] || fail "the vault can be read by others: $(find "$s/vault" -perm /077 | head -2)"
  rm -rf "$s"
}

served() { # site version: the canary bundle asked over HTTP; the answer, the audit and the log are searched with the rest
  command -v curl > /dev/null || return 0
  run "$vitae" key "$1" --role admin --label ward; status_is 0; local key pid port f answered=0; key=$(cat "$work/out")
  "$vitae" serve "$1" --model "$2" --listen 127.0.0.1:0 > "$work/serve.out" 2> "$work/serve.err" & pid=$!
  until_so grep -q 'serves http' "$work/serve.out"
  port=$(grep -oE ':[0-9]+/' "$work/serve.out" | head -1 | tr -d ':/')
  for f in "$work"/in/*; do
    run curl -sS -m 600 "http://127.0.0.1:$port/v1/predict" -H "Authorization: Bearer $key" -H 'Content-Type: application/json' --data-binary "@$f"; status_is 0
    if [ "$(json "j['prediction']['events'] > 5")" = True ]; then answered=$((answered + 1)); fi
  done
  less 3 "$answered" "canary bundles that were answered"
  for f in "/v1/predict/Qzvkxj90020" "/v1/subjects/Qzvkxj90021" "/v1/reports/Qzvkxj90022" "/v1/audit?limit=100" /metrics "/v1/cohort?find=Qzvkxj90023"; do
    run curl -sS -m 600 "http://127.0.0.1:$port$f" -H "Authorization: Bearer $key"; status_is 0
  done
  run curl -sS -m 600 "http://127.0.0.1:$port/v1/model" -H "Authorization: Bearer Qzvkxj90024"; status_is 0
  kill -TERM $pid; wait $pid; same $? 0 "exit status of serve"
  cat "$work/serve.out" "$work/serve.err" >> "$work/said"
}
no_canary_under_expert() { river expert; }
no_canary_under_safe_harbor() { river safe-harbor; }
no_canary_under_limited() { river limited; }
run_cases the_search_finds_what_it_should no_canary_under_expert no_canary_under_safe_harbor no_canary_under_limited
