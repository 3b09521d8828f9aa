#!/usr/bin/env bash
# Language models of a site by the real clients: words, streams, tools, schemas, embeddings, tenants, leaving, backpressure, audit.
. "$(dirname "$0")/site.bash"
BUILD=${BUILD:-build}
case $BUILD in /*) built=$BUILD ;; *) built=$PWD/$BUILD ;; esac
{ scripts/fetch-clients "$BUILD" && scripts/fetch-lm "$BUILD" smollm2 minilm; } >"$work/fetch" 2>&1 ||
  { if [ -n "${CI:-}" ]; then cat "$work/fetch"; bad the_clients_and_weights_are_here; exit 1; fi; skip the_registry_cannot_be_reached_so_no_language_model_ran; exit 0; }
make_site || { bad words_site; exit 1; }
"$vitae" import "$built/lm/smollm2-135m.gguf" --site "$site" --name smol --link >"$work/log" 2>&1 && "$vitae" import "$built/lm/minilm" --site "$site" --name mini >>"$work/log" 2>&1 &&
  start_server --developer-listen 127.0.0.1:0 || { cat "$work/log"; bad words_start; exit 1; }
developer() { "$vitae" key "$site" --role developer "$@"; }
dev_url() { sed -nE 's/^Developers: ([^ ]+)\/openai\/v1\/$/\1/p' "$work/out"; }
devkey=$(developer --tenant acme) other=$(developer --tenant elsewhere) narrow=$(developer --tenant narrow --models vitae)
dev=$(dev_url)
status() { curl -s -o "$work/answer" -w '%{http_code}' -H "api-key: $1" -H 'Content-Type: application/json' "$dev/v1/chat/completions" -d "$2"; }

node tests/client/words.mjs "$built/clients" "$dev" "$devkey" "$other" smol mini "$url" "$admin" || failures=$((failures + 1))
"$built/clients/python/bin/python" tests/client/words.py "$dev" "$devkey" smol mini || failures=$((failures + 1))

# a question about a patient: what the record says comes first, what the model adds stands or is away, its prompt is nobody else's beginning
subject=$(curl -s -H "api-key: $key" "$url/v1/cohort?limit=1" | sed -E 's/.*"subject":"([0-9]+)".*/\1/')
"$vitae" knowledge add "$site" docs/clinical-limits.md --encoder mini >"$work/log" 2>&1 && ok documents_are_added || { cat "$work/log"; bad documents_are_added; }
ask() { curl -s -H "api-key: $key" -H 'Content-Type: application/json' "$url/v1/ask" -d "{\"subject\":\"$subject\",\"model\":\"smol\",$1}" >"$work/answer"; }
ask '"question":"How old is this patient?","encoder":"mini"'
python3 - "$work/answer" <<'PY' && ok ask_with_a_language_model || { cat "$work/answer"; bad ask_with_a_language_model; }
import json, sys
a = json.load(open(sys.argv[1]))
assert a["model"] == "smol" and a["status"] == "answered" and a["sentences"][0]["source"] == "chart" and a["proposed"] >= a["unsupported"] >= 0
assert all(s["status"] == "supported" and (s["source"] == "chart" or s["events"]) for s in a["sentences"])
PY
ask '"question":"What should be known about small language models?","unsupported":true'
python3 - "$work/answer" <<'PY' && ok ask_quotes_documents_as_untrusted || { cat "$work/answer"; bad ask_quotes_documents_as_untrusted; }
import json, sys
a = json.load(open(sys.argv[1]))
assert a["quotes"] and all(q["untrusted"] and q["source"] == "clinical-limits.md" for q in a["quotes"])
assert sum(s["status"] == "unsupported" for s in a["sentences"]) == a["unsupported"]
PY
ask '"question":"age","rounds":9'; grep -q '"field":"rounds"' "$work/answer" && ok ask_refuses_by_name || bad ask_refuses_by_name
curl -s -H "api-key: $admin" "$url/v1/audit?limit=5" | grep -q '"route":"/v1/ask","version":"smol@' && ok ask_is_in_the_audit || bad ask_is_in_the_audit
[ -x "$built/tests/reason/ask_model_test" ] || make -s BUILD="$BUILD" "$BUILD/tests/reason/ask_model_test" >"$work/log" 2>&1
LM=$built/lm/smollm2-135m.gguf CASES=3 "$built/tests/reason/ask_model_test" >"$work/answer" 2>&1 && ok injections_with_real_weights || { tail -5 "$work/answer"; bad injections_with_real_weights; }

hello='{"model":"smol","max_tokens":2,"messages":[{"role":"user","content":"Hello"}]}'
[ "$(status "$narrow" "$hello")" = 404 ] && grep -q DeploymentNotFound "$work/answer" && ok a_key_for_other_models_sees_none || bad a_key_for_other_models_sees_none
# this server's model behind another Vitae: the same words, functions, schemas and checks, over the wire and with a key from a file
first=$server first_url=$url first_site=$site
cp -r "$site" "$work/second" && rm -rf "$work/second/models/language" && printf '%s\n' "$devkey" >"$work/upstream.key" && chmod 600 "$work/upstream.key"
"$vitae" import "$dev/v1" --site "$work/second" --name big --served-model smol --context 2048 --key-file "$work/upstream.key" >"$work/log" 2>&1 || { cat "$work/log"; bad an_upstream_is_registered; }
cp "$work/out" "$work/out1"; cp "$work/err" "$work/err1"; site=$work/second
start_server --developer-listen 127.0.0.1:0 || bad second_server_starts
second=$(dev_url)
"$built/clients/python/bin/python" tests/client/upstream.py "$dev" "$second" "$devkey" smol big || failures=$((failures + 1))
curl -s -H "api-key: $key" -H 'Content-Type: application/json' "$url/v1/ask" -d "{\"subject\":\"$subject\",\"model\":\"big\",\"question\":\"Any trouble?\",\"unsupported\":true}" >"$work/answer"
grep -q '"model":"big"' "$work/answer" && ! grep -q '"proposed":0' "$work/answer" && ok ask_with_an_upstream || { cat "$work/answer"; bad ask_with_an_upstream; }
echo wrong >"$work/upstream.key"
curl -s -o "$work/answer" -w '%{http_code}' -H "api-key: $devkey" -H 'Content-Type: application/json' "$second/v1/chat/completions" -d '{"model":"big","messages":[{"role":"user","content":"Hello"}]}' >"$work/status"
[ "$(cat "$work/status")" = 503 ] && ! grep -q 127.0.0.1 "$work/answer" && ok an_upstream_that_refuses_is_503 || { cat "$work/status" "$work/answer"; bad an_upstream_that_refuses_is_503; }
"$vitae" verify "$site" >"$work/answer" 2>&1 && ok a_site_with_an_upstream_verifies || { tail -5 "$work/answer"; bad a_site_with_an_upstream_verifies; }
stop_server && ok second_server_ends_well || bad second_server_ends_well
server=$first url=$first_url site=$first_site
cp "$work/err1" "$work/err"

grep -qi 'capital\|river\|weather' "$work/err" && bad what_was_said_is_not_logged || ok what_was_said_is_not_logged
stop_server && ok words_server_ends_well || bad words_server_ends_well

# a model whose description is damaged is left out and said in the log; the others answer
mkdir "$site/models/language/torn" && echo '{' >"$site/models/language/torn/description.json"
# one stream, one that may wait: of many some are told to come again, and none is lost
start_server --developer-listen 127.0.0.1:0 --streams 1 --queue 1 || { bad words_start_narrow; exit 1; }
dev=$(dev_url)
long='{"model":"smol","max_tokens":60,"messages":[{"role":"user","content":"Write about rivers."}]}'
for _ in $(seq 100); do # a fast machine may have answered all of them before the last has come: again
  pids=
  for i in 1 2 3 4 5 6 7 8; do (curl -s -o /dev/null -D "$work/head$i" -H "api-key: $devkey" -H 'Content-Type: application/json' "$dev/v1/chat/completions" -d "$long") & pids="$pids $!"; done
  wait $pids
  good=$(grep -l '^HTTP/1.1 200' "$work"/head? | wc -l) busy=$(grep -l '^HTTP/1.1 429' "$work"/head? | wc -l) again=$(grep -li '^retry-after:' "$work"/head? | wc -l)
  [ "$busy" -ge 1 ] && break
done
[ "$good" -ge 1 ] && [ "$busy" -ge 1 ] && [ $((good + busy)) -eq 8 ] && [ "$again" -eq "$busy" ] && ok words_backpressure || { echo "$good answered, $busy refused, $again told when"; bad words_backpressure; }
# a server that stops while something is said ends it and goes
curl -s -N -o "$work/cut" -H "api-key: $devkey" -H 'Content-Type: application/json' "$dev/v1/chat/completions" -d "${long/60/100000}" & curl_=$!
speaks() { [ -s "$work/cut" ] || [ "$(curl -s -H "api-key: $admin" "$url/v1/live" | grep -c chat)" -gt 0 ]; }
until_so speaks
stop_server && ok words_server_stops_while_speaking || bad words_server_stops_while_speaking
wait $curl_
grep -q 'torn/description.json' "$work/err" && ok a_damaged_description_takes_no_others_away || bad a_damaged_description_takes_no_others_away
rm -r "$site/models/language/torn"
"$vitae" verify "$site" >"$work/answer" 2>&1 && ok words_site_verifies || { tail -5 "$work/answer"; bad words_site_verifies; }
[ $failures -eq 0 ]
