#!/usr/bin/env bash
# HL7 v2 over MLLP with clients of others: python-hl7 (and its mllp_send) speaks and listens, hl7apy judges strictly what this program
# writes; TLS with client certificates; what is laid into the inbox goes through the wall.
. "$(dirname "$0")/site.bash"
build=${BUILD:-build}
case $build in /*) ;; *) build=$PWD/$build ;; esac
if ! scripts/fetch-clients "$build" >"$work/fetch" 2>&1; then
  if [ -n "${CI:-}" ]; then cat "$work/fetch"; bad clients_are_there; exit 1; fi
  sed 's/^/    /' "$work/fetch"; skip hl7_clients; exit 0
fi
python=$build/clients/python/bin/python
make_site || { bad site; exit 1; }
with_mllp() { start_server --mllp 127.0.0.1:0 "$@" && port=$(sed -nE 's/^HL7 v2 \(MLLP\): .*:([0-9]+)$/\1/p' "$work/out") && [ -n "$port" ]; }

with_mllp && "$python" tests/client/hl7v2.py exchange "$port" >"$work/said" 2>&1 && ok python_hl7_is_answered || { tail -5 "$work/said"; bad python_hl7_is_answered; }
cat "$work/said"
printf 'MSH|^~\\&|LAB|GOOD|VITAE|SITE|2019||ORU^R01^ORU_R01|CLI1|P|2.5.1\rPID|1||70002^^^HOSP^MR||X^Y||1950|M\rOBR|1|||24323-8^CMP^LN|||2019\rOBX|1|NM|2160-0^Crea^LN||1.1|mg/dL|||||F\r' >"$work/message"
"$build/clients/python/bin/mllp_send" --loose --file "$work/message" --port "$port" 127.0.0.1 >"$work/said" 2>&1; grep -qa 'MSA|AA|CLI1' "$work/said" && ok mllp_send_is_answered || { cat "$work/said"; bad mllp_send_is_answered; }
curl -sS -H "Authorization: Bearer $admin" "$url/metrics" | grep -q 'vitae_hl7_messages_total{code="AA"} 5' && ok messages_are_counted || bad messages_are_counted
stop_server && ok server_ends_well || bad server_ends_well

place=$(free_port)
echo "{\"store\": true, \"results\": {\"to\": \"127.0.0.1:$place\", \"after\": [\"A08\"], \"application\": \"LIS\", \"facility\": \"LAB\"}}" >"$site/mllp.json"
with_mllp || bad settings_of_the_site
"$python" tests/client/hl7v2.py place 0 "$place" >"$work/said" 2>&1 &
listener=$!
"$python" tests/client/hl7v2.py send "$port" R >"$work/sent" 2>&1 || { cat "$work/sent"; bad results_are_delivered; }
wait $listener && ok results_are_delivered || { tail -5 "$work/said"; bad results_are_delivered; }
cat "$work/said"
stop_server || bad server_ends_well_with_results
"$vitae" ingest "$site" "$site/inbox/hl7v2" --from hl7v2 >"$work/said" 2>&1 && grep -qi 'events' "$work/said" && ok the_inbox_goes_through_the_wall || { tail -5 "$work/said"; bad the_inbox_goes_through_the_wall; }
grep -qi quetzal "$work/said" "$work/err" "$work/out" && bad nothing_identified_is_said || ok nothing_identified_is_said
"$vitae" verify "$site" >"$work/said" 2>&1 && ok the_site_verifies || { tail -5 "$work/said"; bad the_site_verifies; }
rm "$site/mllp.json"

cd "$work" && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt 2>/dev/null &&
  for who in localhost client; do
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$who" -keyout $who.key -out $who.csr 2>/dev/null
    printf 'subjectAltName=DNS:%s\n' $who >$who.ext
    openssl x509 -req -in $who.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile $who.ext -out $who.crt 2>/dev/null
  done
cd "$OLDPWD" || exit 1
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout "$work/other.key" -out "$work/other.crt" 2>/dev/null
if with_mllp --tls-cert "$work/localhost.crt" --tls-key "$work/localhost.key" --tls-client-ca "$work/ca.crt"; then
  "$python" tests/client/hl7v2.py tls "$port" "$work/ca.crt" "$work/client.crt" "$work/client.key" >"$work/said" 2>&1 && ok tls_with_a_client_certificate || { tail -3 "$work/said"; bad tls_with_a_client_certificate; }
  cat "$work/said"
  "$python" tests/client/hl7v2.py tls "$port" "$work/ca.crt" >"$work/said" 2>&1 && bad no_certificate_is_refused || ok no_certificate_is_refused
  "$python" tests/client/hl7v2.py tls "$port" "$work/ca.crt" "$work/other.crt" "$work/other.key" >"$work/said" 2>&1 && bad another_certificate_is_refused || ok another_certificate_is_refused
  timeout 600 "$python" tests/client/hl7v2.py exchange "$port" >"$work/said" 2>&1 && bad plain_text_is_refused || ok plain_text_is_refused
  openssl s_client -connect "127.0.0.1:$port" -tls1_1 </dev/null >"$work/said" 2>&1; grep -q 'Cipher is (NONE)\|no protocols available' "$work/said" && ok old_tls_is_refused || bad old_tls_is_refused
else bad tls_listener; fi
stop_server || bad server_ends_well_with_tls
[ $failures -eq 0 ]
