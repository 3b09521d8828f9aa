#!/usr/bin/env bash
# The developers' plane by its real clients: openai and Azure's, in JavaScript and Python; tokens of an issuer; the examples of docs/foundry.md.
. "$(dirname "$0")/site.bash"
BUILD=${BUILD:-build}
clients=$PWD/$BUILD/clients
[ "${BUILD#/}" = "$BUILD" ] || clients=$BUILD/clients
scripts/fetch-clients "$BUILD" 2>"$work/fetch" && have=yes || have=
if [ -z "$have" ] && [ -n "${CI:-}" ]; then cat "$work/fetch"; bad the_clients_are_installed; exit 1; fi
mkdir -p "$work/issuer"
node tests/client/make_token.mjs "$work/issuer" >"$work/tokens" || { bad tokens_are_made; exit 1; }
# the second issuer is a real provider, which is not running yet
provider=http://127.0.0.1:$(free_port) provider_process=
provide() { # KEY_FILE
  node tests/client/issuer.mjs "$clients" "${provider##*:}" "$work/issuer/$1" https://cognitiveservices.azure.com >"$work/provider" 2>"$work/provider.err" &
  provider_process=$!
  until_so grep -q ready "$work/provider"
}
withdraw() { [ -z "$provider_process" ] || { kill "$provider_process"; wait "$provider_process"; } 2>/dev/null; provider_process=; }
trap 'withdraw; finish' EXIT
provided() { curl -s -u research:only-for-tests -d "grant_type=client_credentials&scope=vitae&resource=${1:-https://ml.azure.com}" "$provider/token" | sed -nE 's/.*"access_token":"([^"]+)".*/\1/p'; }
taken() { [ "$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $1" "$dev/openai/v1/models")" = 200 ]; }
refused() { ! taken "$1"; }
python3 - "$work/issuer/oidc.json" "$provider" <<'PY'
import json, sys
o = json.load(open(sys.argv[1]))
o["issuers"].append({**o["issuers"][0], "issuer": sys.argv[2], "jwks": sys.argv[2] + "/jwks", "algorithms": ["RS256"]})
json.dump(o, open(sys.argv[1], "w"))
PY
make_site && start_server --developer-listen 127.0.0.1:0 --oidc "$work/issuer/oidc.json" || { bad foundry_starts; exit 1; }
dev=$(sed -nE 's/^Developers: ([^ ]+)\/openai\/v1\/$/\1/p' "$work/out")
developer() { "$vitae" key "$site" --role developer "$@"; }
devkey=$(developer --tenant acme --label test) tiny=$(developer --tenant small --requests-per-minute 2 --tokens-per-minute 100000)
viewer=$("$vitae" key "$site" --role viewer)
for f in "$work"/export/*.json; do # somebody who lives
  grep -q deceased "$f" || { patient=$f; break; }
done

# tokens: each says in its name whether it should pass
wrong=
while read -r name token; do
  status=$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $token" "$dev/openai/v1/models")
  case $name in good*) want=200 ;; *) want=401 ;; esac
  [ "$status" = $want ] || wrong="$wrong $name:$status"
done <"$work/tokens"
[ -z "$wrong" ] && ok tokens_are_judged || { echo "wrong:$wrong"; bad tokens_are_judged; }
token=$(sed -n 's/^good //p' "$work/tokens")

# a provider that goes, comes, and changes its key (who has an unknown key is asked about once a minute at most: see below)
if [ -n "$have" ]; then
  provide first-key && first=$(provided) && withdraw
  [ -n "$first" ] && refused "$first" && provide first-key && until_so taken "$first" && refused "$(provided https://elsewhere.example)" && refused "${first%????}AAAA" &&
    ok a_live_issuer_is_believed_once_it_is_there || { cat "$work/provider.err"; bad a_live_issuer_is_believed_once_it_is_there; }
  withdraw
  taken "$first" && ok its_keys_are_remembered_while_it_is_away || bad its_keys_are_remembered_while_it_is_away
  provide second-key
fi

if [ -n "$have" ]; then
  node tests/client/foundry.mjs "$clients" "$dev" "$devkey" "$tiny" "$token" "$patient" "$url" "$viewer" death-soon || failures=$((failures + 1))
  "$clients/python/bin/python" tests/client/foundry.py "$dev" "$devkey" "$patient" death-soon || failures=$((failures + 1))
else
  skip the_registry_cannot_be_reached_so_no_real_client_ran
fi

# every example of the document, as written, must succeed
python3 - docs/foundry.md "$dev" "$devkey" "$work" "$patient" "$clients" "$have" <<'PY' && ok the_documents_examples_work || bad the_documents_examples_work
import os, re, subprocess, sys
text, dev, key, work, patient, clients, have = open(sys.argv[1]).read(), *sys.argv[2:]
text = text.replace("death-1y", "death-soon")  # the small site's own question
count = 0
env = dict(os.environ, URL=dev, KEY=key, NODE_PATH=f"{clients}/npm/node_modules")
subprocess.run(["cp", patient, f"{work}/patient.json"], check=True)
for language, block in re.findall(r"```(sh|js|python)\n(.*?)```", text, re.S):
    if language == "sh" and not block.startswith("curl"):
        continue
    if language != "sh" and not have:
        continue
    count += 1
    if language == "sh":
        command = ["bash", "-c", f"curl() {{ command curl --fail-with-body -sS \"$@\"; }}; set -e\n{block}"]
    elif language == "js":
        open(f"{work}/example.cjs", "w").write("(async () => {\n" + re.sub(r"^import (.*?) from (.*?);$", lambda m: f"const {m[1] if m[1].startswith('{') else '{default: ' + m[1] + '}'} = require({m[2]});", block, flags=re.M) + "\n})().catch((e) => { console.error(e); process.exit(1); });")
        command = ["node", "example.cjs"]
    else:
        command = [f"{clients}/python/bin/python", "-c", block]
    r = subprocess.run(command, capture_output=True, text=True, cwd=work, env=env)
    if r.returncode:
        print("FAILS:", block, r.stdout[-500:], r.stderr[-800:])
        sys.exit(1)
sys.exit(0 if count >= 5 else 1)
PY

if [ -n "$have" ]; then
  second=$(provided)
  [ -n "$second" ] && until_so taken "$second" && refused "$first" && ok a_live_issuer_changes_its_key || bad a_live_issuer_changes_its_key
fi

# the measures, by Prometheus' own checker; the deep probe
if command -v promtool >/dev/null; then
  curl -sf -H "api-key: $viewer" "$url/metrics" | promtool check metrics >"$work/answer" 2>&1 && ok promtool_finds_nothing || { cat "$work/answer"; bad promtool_finds_nothing; }
elif [ -n "${CI:-}" ]; then bad promtool_finds_nothing; else skip promtool_finds_nothing; fi
[ "$(curl -s "$url/healthz/generate")" = generates ] && ok the_deep_probe_generates || bad the_deep_probe_generates

stop_server && ok foundry_ends_well || bad foundry_ends_well
grep -qi "quetzal\|$devkey\|$token" "$work/err" "$work/out" && bad nothing_secret_in_the_log || ok nothing_secret_in_the_log
"$vitae" verify "$site" >"$work/answer" 2>&1 && ok the_audit_verifies || { tail -5 "$work/answer"; bad the_audit_verifies; }
"$vitae" auditlog "$site" >"$work/events.ndjson" && python3 - "$work/events.ndjson" <<'PY' && ok the_audit_exports_as_fhir || bad the_audit_exports_as_fhir
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
for i, r in enumerate(rows, 1):  # the elements that R4 asks for, and the order of the rows
    assert r["resourceType"] == "AuditEvent" and r["id"] == f"row-{i}"
    assert r["type"]["code"] and r["recorded"].endswith("Z") and r["agent"][0]["requestor"] in (True, False) and r["source"]["observer"]
    assert r["outcome"] in ("0", "4", "8", "12") and r["action"] in "CRUDE"
assert len(rows) > 30
PY

# mTLS: who shows no certificate of the authority, or one of another, is refused; and rights are given up after binding
for ca in ca other; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=$ca -keyout "$work/$ca.key" -out "$work/$ca.crt" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=client -keyout "$work/$ca-client.key" -out "$work/$ca-client.csr" 2>/dev/null
  openssl x509 -req -days 2 -in "$work/$ca-client.csr" -CA "$work/$ca.crt" -CAkey "$work/$ca.key" -CAcreateserial -out "$work/$ca-client.crt" 2>/dev/null
done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout "$work/tls.key" -out "$work/tls.crt" 2>/dev/null
user=()
[ "$(id -u)" -eq 0 ] && chmod 711 "$work" && chown -R nobody "$site" && user=(--user nobody)
tls_status() { curl -s -o /dev/null -w '%{http_code}' --cacert "$work/tls.crt" "$@" -H "api-key: $viewer" "$url/v1/model"; }
if start_server --tls-cert "$work/tls.crt" --tls-key "$work/tls.key" --tls-client-ca "$work/ca.crt" "${user[@]}"; then
  said="$(tls_status) $(tls_status --cert "$work/other-client.crt" --key "$work/other-client.key") $(tls_status --cert "$work/ca-client.crt" --key "$work/ca-client.key")"
  [ "$said" = "403 403 200" ] && ok mutual_tls || { echo "$said"; bad mutual_tls; }
  if [ ${#user[@]} -gt 0 ]; then
    [ "$(awk '/^Uid:/ {print $2, $3, $4}' /proc/$server/status)" = "$(id -u nobody) $(id -u nobody) $(id -u nobody)" ] && ! grep -q '^CapEff:.*[1-9a-f]' /proc/$server/status && ok rights_are_given_up || bad rights_are_given_up
  fi
  stop_server || bad ends_well_with_mutual_tls
else cat "$work/err"; bad mutual_tls; fi

# Azure's clients take a credential of tokens over TLS only
if [ -n "$have" ]; then
  [ "$(id -u)" -eq 0 ] && chown -R root "$site"
  if start_server --tls-cert "$work/tls.crt" --tls-key "$work/tls.key" --developer-listen 127.0.0.1:0 --oidc "$work/issuer/oidc.json"; then
    secure=$(sed -nE 's/^Developers: ([^ ]+)\/openai\/v1\/$/\1/p' "$work/out") refused=$(sed -n 's/^bad_audience //p' "$work/tokens")
    NODE_EXTRA_CA_CERTS=$work/tls.crt node tests/client/foundry_token.mjs "$clients" "$secure" "$token" "$refused" "$patient" death-soon "$provider/token" || failures=$((failures + 1))
    "$clients/python/bin/python" tests/client/foundry_token.py "$secure" "$token" "$refused" "$patient" death-soon "$work/tls.crt" || failures=$((failures + 1))
    stop_server || bad ends_well_with_tokens_over_tls
    withdraw
    grep -qF "$token" "$work/err" "$work/out" && bad no_token_in_the_log || ok no_token_in_the_log
  else cat "$work/err"; bad a_server_for_tokens_over_tls; fi
fi
[ $failures -eq 0 ]
