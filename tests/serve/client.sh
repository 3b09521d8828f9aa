#!/usr/bin/env bash
# The example client and the examples of docs/api.md against a real server; TLS; two clients at once.
. "$(dirname "$0")/site.bash"
make_site && start_server || { bad client_starts; exit 1; }
client=tests/client/predict_client.py

VITAE_KEY=$key python3 $client "$url" --bundle "$work/export/7.json" --task death-soon --futures 20 >"$work/answer" 2>&1 && grep -q '^death-soon: 0\.' "$work/answer" &&
  ! grep -q Quetzal "$work/answer" && ok client_predicts_for_a_bundle || { cat "$work/answer"; bad client_predicts_for_a_bundle; }
VITAE_KEY=$key python3 $client "$url" --task death-soon --futures 20 >"$work/answer" 2>&1 && grep -q '^version ' "$work/answer" && ok client_predicts_for_a_subject || { cat "$work/answer"; bad client_predicts_for_a_subject; }
VITAE_KEY=vitae_wrong python3 $client "$url" >"$work/answer" 2>&1; [ $? -eq 1 ] && grep -q '^401 unauthorized' "$work/answer" && ok client_is_told_of_a_bad_key || bad client_is_told_of_a_bad_key

(VITAE_KEY=$key python3 $client "$url" --bundle "$work/export/1.json" --futures 200 >"$work/a" 2>&1; echo $? >"$work/ra") &
one=$!
VITAE_KEY=$admin python3 $client "$url" --bundle "$work/export/2.json" --futures 200 >"$work/b" 2>&1; rb=$?
wait $one
[ "$(cat "$work/ra")" -eq 0 ] && [ $rb -eq 0 ] && ok two_clients_at_once || bad two_clients_at_once

# every curl line of the document, as written, must succeed
python3 - docs/api.md "$url" "$key" "$admin" "$work" <<'PY' && ok the_documents_examples_work || bad the_documents_examples_work
import re, subprocess, sys
text, url, key, admin, work = open(sys.argv[1]).read(), *sys.argv[2:]
count = 0
text = text.replace("death-1y", "death-soon")  # the small site's own question
for block in re.findall(r"```sh\n(.*?)```", text, re.S):
    if "curl" not in block or "curl" not in block.split("\n")[0]:
        continue
    count += 1
    r = subprocess.run(["bash", "-c", f"cd {work}; URL={url}; KEY={key}; ADMIN={admin}; SUBJECT=$(curl -s -H \"Authorization: Bearer $KEY\" $URL/v1/cohort?limit=1 | sed -E 's/.*\"subject\":\"([0-9]+)\".*/\\1/'); cp export/7.json patient.json; curl() {{ command curl --fail-with-body -sS \"$@\"; }}; set -e\n{block}"], capture_output=True, text=True)
    if r.returncode:
        print("FAILS:", block, r.stdout[-500:], r.stderr[-500:])
        sys.exit(1)
sys.exit(0 if count >= 6 else 1)
PY

stop_server && ok server_ends_well || bad server_ends_well
grep -qi "quetzal\|$key" "$work/err" "$work/out" && bad nothing_identified_in_the_log || ok nothing_identified_in_the_log
"$vitae" verify "$site" >"$work/answer" 2>&1 && ok the_site_verifies || { tail -5 "$work/answer"; bad the_site_verifies; }

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout "$work/tls.key" -out "$work/tls.crt" 2>/dev/null
if start_server --tls-cert "$work/tls.crt" --tls-key "$work/tls.key" && curl -sS --cacert "$work/tls.crt" -D "$work/head" -H "api-key: $key" "$url/v1/model" >"$work/answer" 2>&1 &&
  grep -q '"version"' "$work/answer" && grep -qi '^strict-transport-security' "$work/head" && ! curl -s --tls-max 1.1 --cacert "$work/tls.crt" "$url/livez" >/dev/null 2>&1; then ok tls; else cat "$work/err" "$work/answer"; bad tls; fi
stop_server || bad server_ends_well_with_tls
[ $failures -eq 0 ]
