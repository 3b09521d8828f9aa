#!/usr/bin/env bash
# FHIR R4 out: HL7's own validator reads everything that the routes answer; fhir-kit-client and fhirclient drive them.
. "$(dirname "$0")/site.bash"
build=${BUILD:-build}
case $build in /*) ;; *) build=$PWD/$build ;; esac
make_site && start_server || { bad server_starts; exit 1; }
get() { curl -sS -H "Authorization: Bearer $1" "${@:3}" "$url/fhir/$2"; }
post() { get "$key" "$1" -H 'Content-Type: application/fhir+json' --data-binary "@$2"; }
out=$work/fhir
mkdir "$out"
subject=$(curl -sS -H "Authorization: Bearer $key" "$url/v1/cohort?limit=160" | python3 -c 'import json,sys; print(next(r["subject"] for r in json.load(sys.stdin)["rows"] if not r["died"]))')
python3 - "$work/export" "$work/parameters.json" <<'PY'
import json, sys
record = json.load(open(f"{sys.argv[1]}/8.json"))
json.dump({"resourceType": "Parameters", "parameter": [{"name": "patient", "resource": record}, {"name": "task", "valueString": "death-soon"}, {"name": "explain", "valueInteger": 5}]}, open(sys.argv[2], "w"))
PY
get "$key" metadata >"$out/metadata.json"
get "$key" OperationDefinition/predict >"$out/operation.json"
post '$predict?explain=4&outcomes=5' "$work/export/7.json" >"$out/alive.json"
post '$predict' "$work/export/3.json" >"$out/dead.json"
post '$predict' "$work/parameters.json" >"$out/parameters.json"
get "$key" "RiskAssessment?patient=$subject&explain=2" >"$out/risk.json"
get "$key" Device >"$out/devices.json"
get "$admin" 'AuditEvent?_count=20' >"$out/audit.json"
get "$admin" 'AuditEvent?before=1' >"$out/none.json"
get "$key" AuditEvent >"$out/denied.json"
get "$key" 'RiskAssessment?patient=x' >"$out/bad.json"
"$vitae" auditlog "$site" >"$out/chain.ndjson"
python3 - "$out" <<'PY' && ok answers_are_what_was_asked || bad answers_are_what_was_asked
import json, sys
load = lambda n: json.load(open(f"{sys.argv[1]}/{n}.json"))
kinds = [e["resource"]["resourceType"] for e in load("alive")["entry"]]
assert kinds == ["RiskAssessment", "RiskAssessment", "GuidanceResponse", "Device", "Provenance"], kinds
dead = load("dead")["entry"]
assert [e["resource"]["resourceType"] for e in dead] == ["GuidanceResponse", "Device", "Provenance"]
assert any(c["resourceType"] == "OperationOutcome" for c in dead[0]["resource"]["contained"])
assert load("risk")["entry"] and load("denied")["issue"][0]["code"] == "forbidden" and "entry" not in load("none")
PY
if ! scripts/fetch-fhir-validator "$build" >"$work/fetch" 2>&1; then
  if [ -n "${CI:-}" ]; then cat "$work/fetch"; bad the_validator_is_there; else sed 's/^/    /' "$work/fetch"; skip every_answer_is_valid_r4; skip the_validator_finds_what_is_wrong; fi
else
  java -cp "$build/fhir-validator/lib/*" tests/oracle/FhirValidate.java "$out"/*.json "$out"/*.ndjson >"$work/findings" 2>&1 && grep -q ': 0 errors' "$work/findings" &&
    ok every_answer_is_valid_r4 || { grep -v '^warning' "$work/findings" | head; bad every_answer_is_valid_r4; }
  tail -1 "$work/findings" | sed 's/^/    /'
  python3 - "$out" "$work/wrong.json" <<'PY' # the oracle itself: without a status, and beyond a probability of 100
import json, sys
b = json.load(open(f"{sys.argv[1]}/alive.json"))
del b["entry"][0]["resource"]["status"]
b["entry"][1]["resource"]["prediction"][0]["probabilityDecimal"] = 101
json.dump(b, open(sys.argv[2], "w"))
PY
  java -cp "$build/fhir-validator/lib/*" tests/oracle/FhirValidate.java "$work/wrong.json" >"$work/findings" 2>&1
  [ $? -eq 1 ] && grep -q 'RiskAssessment.status' "$work/findings" && grep -q 'ras-2' "$work/findings" && ok the_validator_finds_what_is_wrong || { tail -3 "$work/findings"; bad the_validator_finds_what_is_wrong; }
fi
if ! scripts/fetch-clients "$build" >"$work/fetch" 2>&1; then
  if [ -n "${CI:-}" ]; then cat "$work/fetch"; bad clients_are_there; else sed 's/^/    /' "$work/fetch"; skip fhir_clients; fi
else
  cp tests/client/fhir.mjs tests/client/transparency.mjs "$build/clients/npm/" && KEY=$key ADMIN=$admin node "$build/clients/npm/fhir.mjs" "$url/fhir" "$work/export/7.json" "$subject" >"$work/said" 2>&1
  rc=$?
  cat "$work/said"
  [ $rc -eq 0 ] && ok fhir_clients || bad fhir_clients
fi
stop_server && ok server_ends_well || bad server_ends_well
grep -qi 'quetzal' "$out"/* "$work/err" && bad nothing_identified_comes_back || ok nothing_identified_comes_back
[ $failures -eq 0 ]
