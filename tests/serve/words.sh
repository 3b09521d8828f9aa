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

hello='{"model":"smol","max_tokens":2,"messages":[{"role":"user","content":"Hello"}]}'
[ "$(status "$narrow" "$hello")" = 404 ] && grep -q DeploymentNotFound "$work/answer" && ok a_key_for_other_models_sees_none || bad a_key_for_other_models_sees_none
grep -qi 'capital\|river\|weather' "$work/err" && bad what_was_said_is_not_logged || ok what_was_said_is_not_logged
stop_server && ok words_server_ends_well || bad words_server_ends_well

# one stream, one that may wait: of many some are told to come again, and none is lost
start_server --developer-listen 127.0.0.1:0 --streams 1 --queue 1 || { bad words_start_narrow; exit 1; }
dev=$(dev_url)
long='{"model":"smol","max_tokens":60,"messages":[{"role":"user","content":"Write about rivers."}]}'
for i in 1 2 3 4 5 6 7 8; do (curl -s -o /dev/null -D "$work/head$i" -H "api-key: $devkey" -H 'Content-Type: application/json' "$dev/v1/chat/completions" -d "$long") & pids="${pids:-} $!"; done
wait $pids
good=$(grep -l '^HTTP/1.1 200' "$work"/head? | wc -l) busy=$(grep -l '^HTTP/1.1 429' "$work"/head? | wc -l) again=$(grep -li '^retry-after:' "$work"/head? | wc -l)
[ "$good" -ge 1 ] && [ "$busy" -ge 1 ] && [ $((good + busy)) -eq 8 ] && [ "$again" -eq "$busy" ] && ok words_backpressure || { echo "$good answered, $busy refused, $again told when"; bad words_backpressure; }
# a server that stops while something is said ends it and goes
curl -s -N -o "$work/cut" -H "api-key: $devkey" -H 'Content-Type: application/json' "$dev/v1/chat/completions" -d "${long/60/100000}" & curl_=$!
for _ in $(seq 100); do [ -s "$work/cut" ] && break; sleep 0.05; [ "$(curl -s -H "api-key: $admin" "$url/v1/live" | grep -c chat)" -gt 0 ] && break; done
stop_server && ok words_server_stops_while_speaking || bad words_server_stops_while_speaking
wait $curl_
"$vitae" verify "$site" >"$work/answer" 2>&1 && ok words_site_verifies || { tail -5 "$work/answer"; bad words_site_verifies; }
[ $failures -eq 0 ]
