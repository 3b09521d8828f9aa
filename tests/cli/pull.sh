#!/usr/bin/env bash
# vitae pull against a small bulk server that says no wherever it may: tokens by signed assertions, busy, cut transfers, what changed, what
# was deleted, and runs that are broken off. Records: a real bulk export of synthetic patients.
. "$(dirname "$0")/../../scripts/testlib.sh"
peers=() made=0
trap 'for p in "${peers[@]}"; do kill "$p" 2>/dev/null; done; rm -rf "$work"' EXIT
have_node() { command -v node >/dev/null && return 0; skip "no node"; return 1; }

export_ready() { # $work/export: the data; since/: one observation-like resource more, deletions, an error
  people=$(grep -c . "$work/export/Patient.000.ndjson" 2>/dev/null) && [ -d "$work/export/since" ] && return 0
  have_data fhir-bulk-ndjson-10p || return 1
  mkdir -p "$work/export" && tar xJf "$data"/fhir-bulk-ndjson-10p/*.tar.xz -C "$work/export" && rm -f "$work/export/log.ndjson"
  people=$(grep -c . "$work/export/Patient.000.ndjson")
  python3 - "$work/export" <<'PY'
import json, os, sys
d = sys.argv[1]
ids = [json.loads(l)["id"] for l in open(f"{d}/Patient.000.ndjson")]
os.makedirs(f"{d}/since/deleted"), os.makedirs(f"{d}/since/error")
new = {"resourceType": "Observation", "id": "new-1", "status": "final", "subject": {"reference": f"Patient/{ids[1]}"}, "effectiveDateTime": "2026-01-20T08:00:00Z",
       "code": {"coding": [{"system": "http://loinc.org", "code": "2160-0"}]}, "valueQuantity": {"value": 1.3, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"}}
open(f"{d}/since/Observation.000.ndjson", "w").write(json.dumps(new) + "\n")
gone = lambda url: {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": {"method": "DELETE", "url": url}}]}
open(f"{d}/since/deleted/Bundle.000.ndjson", "w").write("".join(json.dumps(gone(u)) + "\n" for u in (f"Patient/{ids[0]}", "Patient/never-here", "Condition/c9")))
open(f"{d}/since/error/OperationOutcome.000.ndjson", "w").write(json.dumps({"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "processing"}]}) + "\n")
open(f"{d}/../names", "w").write("\n".join(n["family"] for l in open(f"{d}/Patient.000.ndjson") for n in json.loads(l)["name"]) + "\n" + ids[0] + "\n")
PY
}
serve() { # jwks options…: $url, $log
  made=$((made + 1)) log=$work/log-$made
  node "$(dirname "$0")/../client/bulk_server.mjs" "$work/export" "$1" "$log" "${@:2}" >"$log.port" 2>"$log.err" &
  peer=$!; peers+=($peer)
  until_so test -s "$log.port"
  url=http://127.0.0.1:$(head -1 "$log.port")/fhir; : >>"$log"
}
new_site() { made=$((made + 1)) site=$work/site-$made; run "$vitae" init "$site" --name ward; status_is 0; }
subjects() { run "$vitae" show "$site" --json; json 'j["subjects"]'; }
asked() { grep -c "$1" "$log"; }
nobody_is_named() { while read -r n; do [ -z "$n" ] || nothing_says "$n"; done <"$work/names"; }

pulls_what_an_ingest_of_the_same_files_gives() {
  have_node && export_ready || return
  serve - cut; new_site
  run "$vitae" pull "$site" "$url/"; status_is 0; nobody_is_named
  err_has "as of the server's 2026-01-02T03:04:05.678Z"
  [ "$(asked '"range":"bytes=')" -ge 10 ] || fail "no cut transfer was taken up again"
  same "$(asked '"method":"DELETE"')" 1 "the server is told once that it may forget"
  same "$(find "$site/inbox" -name '*.ndjson*' | wc -l)" 0 "files left"
  local n; n=$(subjects)
  run "$vitae" show "$site" --json; local pulled; pulled=$(json '(j["subjects"], j["events"], j["codes"])')
  rm -rf "$work/plain"; mkdir "$work/plain"; cp "$work/export"/*.ndjson "$work/plain"
  new_site; run "$vitae" ingest "$site" "$work/plain" --from fhir; status_is 0
  run "$vitae" show "$site" --json; same "$(json '(j["subjects"], j["events"], j["codes"])')" "$pulled" "subjects, events, codes"
  same "$n" "$people"
}

what_changed_and_what_was_deleted() {
  have_node && export_ready || return
  serve -; new_site
  run "$vitae" pull "$site" "$url"; status_is 0
  run "$vitae" pull "$site" "$url"; status_is 0; nobody_is_named
  [ "$(grep -c '_since=2026-01-02T03%3A04%3A05.678Z' "$log")" -eq 1 ] || fail "the second run does not ask for what changed since the first"
  err_has "Deleted at the server: Patient 2, Condition 1"
  err_has "Left out by the server, which says: warning 1"
  err_has "stays in the store"
  same "$(subjects)" "$people"
  run "$vitae" pull "$site" "$url" --since 2026-01-02T00:00:00Z --forget-deleted; status_is 0; nobody_is_named
  err_has "1 deleted patients are forgotten here too"
  same "$(subjects)" $((people - 1))
  run "$vitae" pull "$site" "$url" --types Patient,Observation --group g1; status_is 0
  [ "$(grep -c '"path":"/fhir/Group/g1/$export"' "$log")" -eq 1 ] && [ "$(grep -c '_type=Patient%2CObservation' "$log")" -eq 1 ] || fail "group or types were not asked for"
  ! grep -q 'Group/g1.*_since' "$log" || fail "another kind of pull has a memory of its own"
}

a_deletion_is_not_done_until_the_vault_was_asked() {
  have_node && export_ready || return
  serve -; made=$((made + 1)) site=$work/site-$made
  echo "a phrase that is long enough" >"$work/phrase"; run "$vitae" init "$site" --name ward --passphrase-file "$work/phrase"; status_is 0
  run "$vitae" pull "$site" "$url" --passphrase-file "$work/phrase"; status_is 0
  mkdir -p "$work/aside" && mv "$work/export/since"/*.ndjson "$work/aside"
  run "$vitae" pull "$site" "$url" --forget-deleted --passphrase-file "$work/none"; status_is 66; same "$(subjects)" "$people"
  run "$vitae" pull "$site" "$url" --forget-deleted --passphrase-file "$work/phrase"; status_is 0; err_has "1 deleted patients are forgotten here too"
  mv "$work/aside"/*.ndjson "$work/export/since"
  same "$(subjects)" $((people - 1))
}

goes_on_where_it_was_broken_off() {
  have_node && export_ready || return
  serve - slow; new_site
  "$vitae" pull "$site" "$url" >"$work/out" 2>"$work/err" </dev/null &
  local p=$!
  part_is_there() { [ -n "$(find "$site/inbox" -name '.*.part' -size +0 2>/dev/null)" ]; }
  until_so part_is_there
  kill -9 $p; wait $p 2>/dev/null
  local before; before=$(grep -c '$export' "$log")
  kill $peer; wait $peer 2>/dev/null
  local port=${url#http://127.0.0.1:}; port=${port%/fhir}
  [ -n "$(find "$site/inbox" -name 'manifest.json')" ] || fail "the manifest was not kept"
  same "$before" 1 "kick-offs"
  # the same server again is another port; the files' addresses in the manifest are moved there
  local old=$port; serve -
  local new=${url#http://127.0.0.1:}; new=${new%/fhir}
  local kept; kept=$(dirname "$(find "$site/inbox" -name manifest.json)")
  sed -i "s/:$old/:$new/g" "$kept/manifest.json" "$kept/job.json"
  mv "$kept" "$work/kept"
  "$vitae" pull "$site" "$url" --no-ingest --keep >/dev/null 2>&1 # makes the directory of this address
  local there; there=$(find "$site/inbox/bulk" -mindepth 1 -maxdepth 1 -type d | head -1); rm -rf "$there"; mv "$work/kept" "$there"; : >"$log"
  run "$vitae" pull "$site" "$url"; status_is 0
  [ "$(asked '"range":"bytes=')" -ge 1 ] || fail "the part that was there was fetched again"
  same "$(asked '[$]export')" 0 "no second export"
  same "$(subjects)" "$people"
}

a_client_shows_its_key() {
  have_node && export_ready || return
  local algorithm
  for algorithm in ES384 RS384; do
    new_site
    run "$vitae" smartkey "$site" --algorithm $algorithm; status_is 0; cp "$work/out" "$work/jwks"
    json_is 'j["keys"][0]["alg"]' $algorithm
    json_is '"d" in j["keys"][0] or "p" in j["keys"][0]' False
    same "$(stat -c %a "$site/vault/smart.jwk")" 600
    run "$vitae" smartkey "$site"; cmp -s "$work/out" "$work/jwks" || fail "the key changes"
    run "$vitae" smartkey "$site" --algorithm RS384; status_is 64
    serve "$work/jwks"
    echo '{"client_id":"vitae-test"}' >"$work/client.json"
    local began=$SECONDS
    run "$vitae" pull "$site" "$url" --client "$work/client.json"; status_is 0
    same "$(subjects)" "$people"
    [ "$(asked '"/token"')" -ge 1 ] && [ "$(asked '"/token"')" -le $((3 + (SECONDS - began) / 5)) ] || fail "$(asked '"/token"') tokens for one pull"
    same "$(grep '"path":"/files/' "$log" | grep -vc '"bearer":true')" 0 "files without the token"
    run "$vitae" pull "$site" "$url"; status_is 77 # without a client: refused
  done
  cp "$site/vault/smart.jwk" "$work/right"; rm "$site/vault/smart.jwk"
  run "$vitae" smartkey "$site"; run "$vitae" pull "$site" "$url" --client "$work/client.json"; status_is 77; err_has "gives this client no token"
  run "$vitae" pull "$site" "$url" --client "$work/none.json"; status_is 66
}

servers_that_differ() {
  have_node && export_ready || return
  serve - post; new_site
  run "$vitae" pull "$site" "$url" --types Patient; status_is 0; same "$(subjects)" "$people"
  same "$(asked '"method":"POST","path":"/fhir/Patient/[$]export"')" 1
  serve - elsewhere; new_site
  run "$vitae" pull "$site" "$url"; status_is 77; err_has "not among those that may be asked"
  local port=${url#http://127.0.0.1:}; echo "{\"client_id\":\"vitae-test\",\"allow\":[\"http://localhost:${port%/fhir}\"]}" >"$work/client.json"
  run "$vitae" smartkey "$site"; run "$vitae" pull "$site" "$url" --client "$work/client.json"; no_crash
  serve - miscount; new_site
  run "$vitae" pull "$site" "$url"; err_has "another number of resources"; no_crash
  serve - lost; new_site
  run "$vitae" pull "$site" "$url"; status_is 0; same "$(asked '/[$]export')" 2 "a job that the server has lost is asked for again"
  serve - chunked; new_site
  run "$vitae" pull "$site" "$url" --keep; status_is 0
  same "$(find "$site/inbox/bulk" -path '*kept-*/files/*.ndjson' | wc -l)" "$(ls "$work/export"/*.ndjson | wc -l)" "kept files"
  same "$(stat -c %a "$site/inbox/bulk"/*)" 700
  run "$vitae" pull "$site" http://fhir.example/r4; status_is 64
  run "$vitae" pull "$site" "$url" --group ../x; status_is 64
  run "$vitae" pull "$site" "$url" --no-ingest; status_is 64
}

a_bad_job_is_left() {
  have_node && export_ready || return
  serve - page; new_site
  run "$vitae" pull "$site" "$url"; status_is 65
  run "$vitae" pull "$site" "$url"; status_is 0; same "$(subjects)" "$people"; same "$(asked '[$]export')" 1 "the job itself was sound"
  serve - expired; new_site
  run "$vitae" pull "$site" "$url"; status_is 77; err_has "no longer (403)"
  run "$vitae" pull "$site" "$url"; status_is 0; same "$(subjects)" "$people"; same "$(asked '[$]export')" 2 "kick-offs"
  serve - elsewhere; new_site
  run "$vitae" pull "$site" "$url" --since 2026-01-01T00:00:00Z; status_is 77
  run "$vitae" pull "$site" "$url" --since 2026-01-01T00:00:00Z; status_is 77; same "$(asked '[$]export')" 1 "the same job goes on"
  run "$vitae" pull "$site" "$url" --full; status_is 77
  same "$(asked '[$]export')" 2 "another pull is another job"; same "$(grep '[$]export' "$log" | grep -c _since)" 1 "of everything"
  run "$vitae" pull "$site" "$url" --since "2026-01-01T00:00:00.$(printf '0%.0s' $(seq 60))Z"; status_is 64
  run "$vitae" pull "$site" "$url" --since yesterday; status_is 64
}

run_cases pulls_what_an_ingest_of_the_same_files_gives what_changed_and_what_was_deleted a_deletion_is_not_done_until_the_vault_was_asked goes_on_where_it_was_broken_off a_client_shows_its_key servers_that_differ a_bad_job_is_left
