#!/usr/bin/env bash
# The hospital's plane by real clients: CDS Hooks with signed tokens and prefetch, SMART App Launch from an EHR and from a card, in curl and in a browser.
. "$(dirname "$0")/site.bash"
BUILD=${BUILD:-build}
clients=$PWD/$BUILD/clients
[ "${BUILD#/}" = "$BUILD" ] || clients=$BUILD/clients
scripts/fetch-clients "$BUILD" 2>"$work/fetch" && have=yes || have=
if [ -z "$have" ] && [ -n "${CI:-}" ]; then cat "$work/fetch"; bad the_clients_are_installed; exit 1; fi
make_site || { bad hospital_site; exit 1; }
mkdir "$work/living"
for f in "$work"/export/*.json; do grep -q deceased "$f" || cp "$f" "$work/living"; done
python3 tests/client/ehr.py "$work/living" >"$work/ehr.port" & ehr_pid=$!
trap 'kill $ehr_pid 2>/dev/null; finish' EXIT
until_so test -s "$work/ehr.port"
ehr=http://127.0.0.1:$(cat "$work/ehr.port")
patient=$(ls "$work/living" | sed 's/\.json//;s/^/p/' | sort | head -1) # the standalone launch's, and the backend token's
bundle=$work/living/${patient#p}.json
port=$(free_port)
url=http://127.0.0.1:$port
echo '{"keys":[]}' >"$site/ehr-keys.json"
if [ -n "$have" ]; then node tests/client/hospital.mjs keys "$clients" "$work" && cp "$work/jwks.json" "$site/ehr-keys.json" || { bad keys_are_made; exit 1; }; fi
cat >"$site/ehr.json" <<JSON
{"base": "$url", "fhir": ["$ehr/fhir"], "origins": ["https://ehr.example"],
 "cds": {"clients": [{"issuer": "https://ehr.example", "jwks": "ehr-keys.json"}]},
 "smart": {"client_id": "vitae", "authorization": ["$ehr"]}}
JSON
mkdir -p "$site/policy"
python3 - policy/cds-services.json >"$site/policy/cds-services.json" <<'PY'
import json, sys
d = json.load(open(sys.argv[1]))
d["budget_ms"] = 60000
for s in d["services"]:
    for c in s["cards"]:
        c["info"] = 0  # every answer is shown
print(json.dumps(d))
PY
"$vitae" serve "$site" --model "$site/models/runs/run" --listen "127.0.0.1:$port" >"$work/out" 2>"$work/err" & server=$!
is_ready() { curl -sf "$url/readyz" >/dev/null || ! kill -0 $server 2>/dev/null; }
until_so is_ready
ehrkey=$("$vitae" key "$site" --role ehr)
uuid=d1577c69-dfbe-44ad-ba6d-3e05e953b2ea

# ---- CDS Hooks ----
hook() { # prefetch or "", more members
  printf '{"hook":"patient-view","hookInstance":"%s","context":{"userId":"Practitioner/1","patientId":"%s"}%s%s}' $uuid "$patient" "${1:+,\"prefetch\":$1}" "${2:-}"
}
cds() { curl -s -H "Authorization: Bearer ${2:-$ehrkey}" -H 'Content-Type: application/json' --data-binary @- "$url/cds-services/$1"; }
python3 - "$bundle" >"$work/prefetch" <<'PY'
import json, sys
e = [x["resource"] for x in json.load(open(sys.argv[1]))["entry"]]
print(json.dumps({"patient": e[0], "observations": {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in e[1:]]}, "conditions": None,
                  "encounters": None, "medications": None, "procedures": None}))
PY
hook "$(cat "$work/prefetch")" | cds vitae-risk >"$work/cards"
hook "" ",\"fhirServer\":\"$ehr/fhir\",\"fhirAuthorization\":{\"access_token\":\"backend-access\",\"token_type\":\"Bearer\",\"expires_in\":300,\"scope\":\"patient/*.rs\",\"subject\":\"x\"}" | cds vitae-risk >"$work/fetched"
curl -s -H "api-key: $key" -H 'Content-Type: application/fhir+json' --data-binary "@$bundle" "$url/v1/predict?task=death-soon" >"$work/predicted"
curl -s -H "api-key: $ehrkey" "$url/cds-services" >"$work/services"
python3 - "$work" "$url" <<'PY' && ok cards_say_what_predict_says || bad cards_say_what_predict_says
import json, re, sys
work, url = sys.argv[1:]
load = lambda name: json.load(open(f"{work}/{name}"))
def whole(x, path="$"):  # CDS Hooks: no null, "", [], {} for optional members
    assert x not in (None, "", [], {}), path
    for k, v in x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ():
        whole(v, f"{path}.{k}")
p = load("predicted")["prediction"]["task"]["probability"]
for name in ("cards", "fetched"):  # given, and read from the EHR in pages: the same patient, the same number
    (card,) = load(name)["cards"]
    whole(card)
    percent = f"{100 * p:.1f} %" if p < 0.1 else f"{100 * p:.0f} %"
    assert percent in card["summary"] and len(card["summary"]) < 140, (percent, card["summary"])
    assert card["indicator"] in ("info", "warning", "critical") and card["source"]["label"] and card["source"]["topic"]["code"] == "death-soon"
    assert "weighs most" in card["detail"] and "How sure" in card["detail"] and "within 2 years" in card["detail"]
    (link,) = card["links"]
    assert link["type"] == "smart" and link["url"] == f"{url}/smart/launch" and json.loads(link["appContext"])["task"] == "death-soon"
    assert "Quetzal" not in json.dumps(card)
assert "Not to be had" not in load("fetched")["cards"][0]["detail"]
s = load("services")["services"]
assert {x["hook"] for x in s} == {"patient-view", "order-select", "order-sign"} and all(x["prefetch"]["patient"] == "Patient/{{context.patientId}}" for x in s)
open(f"{work}/context", "w").write(load("cards")["cards"][0]["links"][0]["appContext"])
PY
if [ -n "$have" ]; then
  wrong=
  node tests/client/hospital.mjs tokens "$clients" "$work" "$url/cds-services/vitae-risk" >"$work/tokens"
  while read -r name token; do
    status=$(hook "$(cat "$work/prefetch")" | curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $token" -H 'Content-Type: application/json' --data-binary @- "$url/cds-services/vitae-risk")
    case $name in good*) want=200 ;; *) want=401 ;; esac
    [ "$status" = $want ] || wrong="$wrong $name:$status"
  done <"$work/tokens"
  [ -z "$wrong" ] && [ "$(wc -l <"$work/tokens")" -eq 17 ] && ok client_tokens_are_judged || { echo "wrong:$wrong"; bad client_tokens_are_judged; }
  good=$(sed -n 's/^good_es384 //p' "$work/tokens")
  again=$(hook "$(cat "$work/prefetch")" | curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $good" -H 'Content-Type: application/json' --data-binary @- "$url/cds-services/vitae-risk")
  [ "$again" = 401 ] && ok a_token_is_taken_once || bad a_token_is_taken_once
  fresh=$(node tests/client/hospital.mjs tokens "$clients" "$work" "$url/cds-services" | sed -n 's/^good_rs384 //p')
  said="$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $fresh" "$url/cds-services") $(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $(node tests/client/hospital.mjs tokens "$clients" "$work" "$url/v1/cohort" | sed -n 's/^good_es384 //p')" "$url/v1/cohort")"
  [ "$said" = "200 401" ] && ok a_clients_token_opens_the_services_alone || { echo "$said"; bad a_clients_token_opens_the_services_alone; }
else
  skip the_registry_cannot_be_reached_so_no_token_was_signed
fi
said=$(echo "{\"feedback\":[{\"card\":\"$uuid\",\"outcome\":\"overridden\",\"overrideReason\":{\"userComment\":\"Quetzalcoatlusson is fine\"},\"outcomeTimestamp\":\"2026-11-28T20:05:31Z\"}]}" | cds vitae-risk/feedback)
[ "$(ls "$site/inbox" | grep -c cds-feedback)" = 1 ] && ! grep -rq Quetzal "$site/inbox" && ok feedback_is_a_file || { echo "$said"; bad feedback_is_a_file; }

# ---- SMART App Launch ----
open_app() { curl -s -H 'Content-Type: application/json' -d "$(python3 -c 'import json, sys; print(json.dumps({"patient": sys.argv[1], "appContext": open(sys.argv[2]).read()}))' "$patient" "$work/context")" "$ehr/open" | python3 -c 'import json, sys; print(json.load(sys.stdin)["launch"])'; }
mode() { curl -s -o /dev/null -d "$1" "$ehr/mode"; }
where() { tr -d '\r' | sed -n 's/^[Ll]ocation: //p'; }
encoded=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], ""))' "$ehr/fhir")
if [ -n "$have" ]; then node tests/client/hospital.mjs smart "$clients" "$ehr" "$patient" "$(open_app)" && ok fhirclient_takes_the_ehr_for_one || bad fhirclient_takes_the_ehr_for_one; fi
curl -s -D "$work/h1" -c "$work/jar" -o /dev/null "$url/smart/launch?iss=$encoded&launch=$(open_app)"
to=$(where <"$work/h1")
back=$(curl -s -D - -o /dev/null "$to" | where)
curl -s -D "$work/h2" -b "$work/jar" -c "$work/jar" -o "$work/b2" "$back"
[ "$(where <"$work/h2")" = "/#/launch" ] && grep -qi '^set-cookie: vitae_launch=.*HttpOnly; SameSite=Strict' "$work/h2" && grep -qi '^set-cookie: vitae_login=.*HttpOnly; SameSite=Lax' "$work/h1" &&
  [[ $to == *code_challenge_method=S256* && $to == *"&launch="* && $to == *aud=$encoded* ]] && ok an_ehr_opens_the_app || { cat "$work/h1" "$work/h2" "$work/b2"; bad an_ehr_opens_the_app; }
curl -s -b "$work/jar" "$url/v1/launch" >"$work/launch"
curl -s -b "$work/jar" "$url/v1/launch/patient?task=death-soon&explain=3" >"$work/launched"
python3 - "$work" <<'PY' && ok the_launched_patient_is_the_one || bad the_launched_patient_is_the_one
import json, sys
load = lambda name: json.load(open(f"{sys.argv[1]}/{name}"))
l, p = load("launch"), load("launched")
assert l["task"] == "death-soon" and [t["name"] for t in l["tasks"]] == ["death-soon"] and 0 < l["seconds"] <= 600
assert abs(p["prediction"]["task"]["probability"] - load("predicted")["prediction"]["task"]["probability"]) < 1e-6
assert p["life"]["n"] == p["prediction"]["events"] or p["life"]["n"] > 12
assert p["prediction"]["contributions"] and "Quetzal" not in json.dumps(p) and "absent" not in p and p["cut"] is False
PY
status() { curl -s -o "$work/body" -w '%{http_code}' "$@"; }
start() { curl -s -D - -c "$work/jar2" -o /dev/null "$url/smart/launch?iss=$encoded${1:-}" | where; }
standalone=$(start)
[[ $standalone == *launch%2Fpatient* && $standalone != *"&launch="* ]] && [ "$(status -b "$work/jar2" -c "$work/jar2" "$(curl -s -D - -o /dev/null "$standalone" | where)") $(status -b "$work/jar2" "$url/v1/launch")" = "302 200" ] &&
  ok standalone_too || bad standalone_too
r1=$(status -b "$work/jar" "$back")                                                              # a state is good once
r2=$(status -b "$work/jar" "$(curl -s -D - -o /dev/null "$(start)" | where)")                     # begun in another browser
r3=$(status "$url/smart/launch?iss=https%3A%2F%2Fevil.example%2Ffhir")                            # no server of ours
r4=$(status "$url/v1/launch") r5=$(status -H "api-key: $admin" "$url/v1/launch/patient")           # no cookie
r6=$(status -b "vitae_launch=0000" "$url/v1/launch")
mode '{"pkce": false}'; r7=$(status "$url/smart/launch?iss=$encoded")
mode '{"deny": true}'; r8=$(status -b "$work/jar2" "$(curl -s -D - -o /dev/null "$(start)" | where)")
mode '{}'; to=$(start); r9=$(status -b "$work/jar2" "$(curl -s -D - -o /dev/null "$to" | where | sed 's/code=[^&]*/code=secret-code/')")
grep -q secret-code "$work/body" && r9=echoed
[ "$r1 $r2 $r3 $r4 $r5 $r6 $r7 $r8 $r9" = "403 403 403 401 403 401 502 403 403" ] && ok wrong_logins_are_refused || { echo "$r1 $r2 $r3 $r4 $r5 $r6 $r7 $r8 $r9"; bad wrong_logins_are_refused; }
if command -v chromium >/dev/null && curl -s "$url/" | grep -q 'id="app"'; then
  python3 - "$url/smart/launch?iss=$encoded&launch=$(open_app)" "${SHOTS:-}" <<'PY' && ok a_browser_opens_on_the_patient || bad a_browser_opens_on_the_patient
import sys
sys.path.insert(0, "tests/client")
from browser import Browser
for width, height, dark in ((1280, 900, False), (390, 844, True)):
    with Browser(width=width, height=height, dark=dark) as b:
        b.open(sys.argv[1]) if width > 1000 else b.open(sys.argv[1].split("&launch=")[0])
        b.wait("location.hash === '#/launch' && document.querySelector('.big b') && document.querySelector('canvas') && document.querySelectorAll('.why li').length > 0")
        text = b.evaluate("document.body.textContent")
        assert "opened from the EHR" in text and "%" in text and "Quetzal" not in text
        assert b.evaluate("document.cookie === '' && sessionStorage.length === 0 && localStorage.length === 0")
        assert b.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if sys.argv[2]:
            b.screenshot(f"{sys.argv[2]}/launch-{width}.png")
PY
elif [ -n "${CI:-}" ]; then bad a_browser_opens_on_the_patient; else skip a_browser_opens_on_the_patient; fi

# ---- what is left ----
kill $server; wait $server; rc=$?; server=
[ $rc -eq 0 ] && ok hospital_ends_well || { cat "$work/err"; bad hospital_ends_well; }
grep -rqaE "Quetzal|access-|backend-access|secret-code|dr-someone|$ehrkey" "$site" "$work/err" "$work/out" && bad nothing_identified_is_stored || ok nothing_identified_is_stored
"$vitae" verify "$site" >"$work/answer" 2>&1 && ok the_audit_verifies || { tail -5 "$work/answer"; bad the_audit_verifies; }
[ $failures -eq 0 ]
