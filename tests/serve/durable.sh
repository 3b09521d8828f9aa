#!/usr/bin/env bash
# Two servers on one PostgreSQL: what one took the other knows (tokens of CDS clients, SMART logins, HL7 v2 messages), and PostgreSQL is killed under
# load: whoever was answered has their row. A result that a killed server had not delivered is delivered by the other one.
. "$(dirname "$0")/site.bash"
. "$(dirname "$0")/postgres.bash"
make_site || { bad durable_site; exit 1; }
echo "$pg_url" >"$site/database"
chmod 600 "$site/database"
key=$("$vitae" key "$site" --role clinician) || { bad keys; exit 1; }
mkdir "$work/living"
for f in "$work"/export/*.json; do grep -q deceased "$f" || cp "$f" "$work/living"; done
python3 tests/client/ehr.py "$work/living" >"$work/ehr.port" & ehr_pid=$!
place_pid=
trap 'kill $ehr_pid $place_pid 2>/dev/null; finish' EXIT
until_so test -s "$work/ehr.port"
ehr=http://127.0.0.1:$(cat "$work/ehr.port")
b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
openssl genrsa -out "$work/rsa.pem" 2048 2>/dev/null
printf '{"keys":[{"kty":"RSA","kid":"k","alg":"RS384","use":"sig","e":"AQAB","n":"%s"}]}' \
  "$(openssl rsa -in "$work/rsa.pem" -noout -modulus 2>/dev/null | sed 's/Modulus=//' | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))' | b64)" >"$site/ehr-keys.json"
at=(x "127.0.0.1:$(free_port)" "127.0.0.1:$(free_port)") hl7=()
token() { # JTI: for GET /cds-services
  local now body
  now=$(date +%s)
  body=$(printf '{"alg":"RS384","kid":"k","typ":"JWT"}' | b64).$(printf '{"iss":"https://ehr.example","aud":"http://%s/cds-services","iat":%d,"exp":%d,"jti":"%s"}' "${at[1]}" "$now" $((now + 300)) "$1" | b64)
  printf '%s.%s' "$body" "$(printf '%s' "$body" | openssl dgst -sha384 -sign "$work/rsa.pem" -binary | b64)"
}
cat >"$site/ehr.json" <<JSON
{"base": "http://${at[1]}", "fhir": ["$ehr/fhir"], "cds": {"clients": [{"issuer": "https://ehr.example", "jwks": "ehr-keys.json"}]},
 "smart": {"client_id": "vitae", "authorization": ["$ehr"]}}
JSON
place=$(free_port)
(umask 077 && openssl rand -hex 32 >"$work/out.key")
echo "{\"store\": true, \"results\": {\"to\": \"127.0.0.1:$place\", \"key\": \"$work/out.key\", \"after\": [\"R01\"], \"tries\": 1000}}" >"$site/mllp.json"
start_replica() { # N
  "$vitae" serve "$site" --model "$site/models/runs/run" --listen "${at[$1]}" --mllp 127.0.0.1:0 --queue 200 >"$work/out$1" 2>"$work/err$1" &
  replica[$1]=$!
  until_so replica_is_ready "$1" && [ -n "${hl7[$1]}" ] || { cat "$work/err$1"; return 1; }
}
replica_is_ready() {
  kill -0 "${replica[$1]}" 2>/dev/null || { hl7[$1]=; return 0; }
  hl7[$1]=$(sed -nE 's/^HL7 v2 \(MLLP\): .*:([0-9]+)$/\1/p' "$work/out$1" 2>/dev/null)
  [ -n "${hl7[$1]}" ] && curl -sf "http://${at[$1]}/readyz" >/dev/null
}
start_replica 1 && start_replica 2 || { bad replicas_start; exit 1; }
code() { curl -s -o /dev/null -w '%{http_code}' "$@"; }
services() { code -H "Authorization: Bearer $2" "http://${at[$1]}/cds-services"; } # REPLICA TOKEN

one=$(token jti-one) two=$(token jti-two)
said="$(services 1 "$one") $(services 2 "$one") $(services 1 "$one") $(services 2 "$two") $(services 1 "$two") $(services 2 "$(token jti-three)")"
[ "$said" = "200 401 401 200 401 200" ] && ok a_token_taken_by_one_is_refused_by_the_other || { echo "$said"; bad a_token_taken_by_one_is_refused_by_the_other; }

where() { tr -d '\r' | sed -n 's/^[Ll]ocation: //p'; }
encoded=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], ""))' "$ehr/fhir")
begin() { curl -s -D - -o /dev/null "$(curl -s -D - -c "$work/jar" -o /dev/null "http://${at[1]}/smart/launch?iss=$encoded" | where)" | where; } # begun at the first
back=$(begin)
said="$(code -b "$work/jar" -c "$work/jar" "${back/${at[1]}/${at[2]}}") $(code -b "$work/jar" "http://${at[1]}/v1/launch") $(code -b "$work/jar" "http://${at[2]}/v1/launch/patient?task=death-soon")"
said="$said $(code -b "$work/jar" "$back") $(code "http://${at[1]}/v1/launch")" # a state is good once, by whomever; and only with the cookie
[ "$said" = "302 200 200 403 401" ] && ok a_login_begun_at_one_ends_at_the_other || { echo "$said"; bad a_login_begun_at_one_ends_at_the_other; }
[ "$(sql "SELECT count(*) FROM logins")" = 1 ] && ! sql "SELECT id, encode(sealed, 'escape') FROM logins" | grep -q 'access-\|fhir' && ok a_session_lies_sealed || bad a_session_lies_sealed

# every message to both at once: one of them takes it, the other knows it
cat >"$work/mllp.py" <<'PY'
import socket
PID = "PID|1||70001^^^HOSP^MR||QUETZALCOATLUSSON^EVE||19500615|F\rPV1|1|I\r"
def message(control):
    return f"MSH|^~\\&|ADT1|GOOD|VITAE|SITE|2019||ADT^A08|{control}|P|2.5.1\rEVN|A08|2019\r{PID}"
def result(control):
    return f"MSH|^~\\&|LAB|GOOD|VITAE|SITE|2019||ORU^R01|{control}|P|2.5.1\r{PID}OBR|1|||24323-8^CMP^LN|||201903050708\rOBX|1|NM|2160-0^Crea^LN||1.9|mg/dL|||||F\r"
class Peer:
    def __init__(self, port): self.port, self.s = port, None
    def ask(self, text):  # (code, control), or None when the connection is lost
        try:
            self.s = self.s or socket.create_connection(("127.0.0.1", self.port), 600)
            self.s.sendall(b"\x0b" + text.encode() + b"\x1c\r")
            got = b""
            while not got.endswith(b"\x1c\r"):
                piece = self.s.recv(4096)
                if not piece: raise OSError
                got += piece
            msa = next(s for s in got.decode().strip("\x0b\x1c\r").split("\r") if s.startswith("MSA|")).split("|")
            return msa[1], msa[2]
        except OSError:
            self.s = None
PY
cat >"$work/both.py" <<'PY'
import sys, threading
sys.path.insert(0, sys.argv[1])
from mllp import Peer, message
ports, N = [int(p) for p in sys.argv[2:]], 40
gate, said = threading.Barrier(2), {p: [] for p in ports}
def client(p):
    peer = Peer(p)
    for i in range(N):
        gate.wait(600)
        said[p].append(peer.ask(message(f"both-{i}")))
t = [threading.Thread(target=client, args=(p,)) for p in ports]
[x.start() for x in t]; [x.join() for x in t]
assert said[ports[0]] == said[ports[1]] == [("AA", f"both-{i}") for i in range(N)], said
PY
python3 "$work/both.py" "$work" "${hl7[1]}" "${hl7[2]}" && said=$(sql "SELECT status, count(*) FROM audit WHERE method = 'MLLP' GROUP BY status ORDER BY status" | tr '\n' ' ')
said="$said$(sql "SELECT count(*) FROM hl7_seen") $(cat "$site"/inbox/hl7v2/*.hl7 | grep -ao 'MSH|' | wc -l)"
[ "$said" = "200|40 208|40 40 40" ] && ok a_message_to_both_is_taken_once || { echo "$said"; bad a_message_to_both_is_taken_once; }

# PostgreSQL is killed under load
cat >"$work/load.py" <<'PY'
import hashlib, http.client, json, os, sys, threading, time
sys.path.insert(0, sys.argv[1])
from mllp import Peer, message
work, key, until, hosts, ports = sys.argv[1], sys.argv[2], sys.argv[1] + "/stop", sys.argv[3].split(","), sys.argv[4].split(",")
patient = json.dumps({"birth": "1950-02-01", "task": "death-soon", "events": [{"time": "2019-01-11T08:00:00", "code": "LOINC//2160-0", "value": 1.5, "unit": "mg/dL"}]})
rows, taken, said, lock = [], [], {"200": 0, "503": 0, "other": 0, "lost": 0, "AA": 0, "AE": 0}, threading.Lock()
def note(what, n=1):
    with lock: said[what] = said.get(what, 0) + n
def asks(host, predict):
    c = None
    while not os.path.exists(until):
        try:
            c = c or http.client.HTTPConnection(host, timeout=600)
            c.request(*(("POST", "/v1/predict", patient, {"api-key": key, "Content-Type": "application/json"}) if predict else ("GET", "/v1/model", None, {"api-key": key})))
            r = c.getresponse()
            r.read()
        except OSError:
            c = None
            note("lost")
            continue
        note(str(r.status) if r.status in (200, 503) else "other")
        if r.status == 503: open(work + "/refused", "w").close()
        if r.status == 200:
            with lock: rows.append(int(r.headers["Vitae-Audit"]))
        else: time.sleep(0.01)
def sends(port, name):
    peer, i = Peer(int(port)), 0
    while not os.path.exists(until):
        got = peer.ask(message(f"{name}-{i}"))
        note(got[0] if got else "lost")
        if got and got[0] == "AA":  # else the same again, as a sender does
            with lock: taken.append(f"{name}-{i}")
            i += 1
        else: time.sleep(0.01)
t = [threading.Thread(target=asks, args=(h, p)) for h in hosts for p in (True, False)] + [threading.Thread(target=sends, args=(p, f"load{p}")) for p in ports]
[x.start() for x in t]; [x.join() for x in t]
hashed = [hashlib.sha256(c.encode()).digest()[:16].hex() for c in taken]
json.dump({"rows": rows, "taken": hashed, "said": said}, open(work + "/load.json", "w"))
PY
python3 "$work/load.py" "$work" "$key" "${at[1]},${at[2]}" "${hl7[1]},${hl7[2]}" & load=$!
rows_are() { [ "$(sql "SELECT count(*) FROM audit")" -ge "$1" ]; }
until_so rows_are $(($(sql "SELECT count(*) FROM audit") + 100))
kill_postgres
readiness() { unready="$(code "http://${at[1]}/readyz") $(code "http://${at[2]}/readyz")"; [ "$unready" = "$1" ]; }
until_so readiness "503 503"
away=$unready
until_so test -e "$work/refused"
revive_postgres || bad postgresql_comes_back
until_so readiness "200 200"
revived=$(sql "SELECT count(*) FROM audit")
until_so rows_are $((revived + 100))
touch "$work/stop"
wait $load
again="$(code -H "api-key: $key" "http://${at[1]}/v1/model") $(code -H "api-key: $key" "http://${at[2]}/v1/model")"
sql "SELECT seq FROM audit WHERE status = 200" >"$work/seqs"
sql "SELECT control FROM hl7_seen" >"$work/controls"
python3 - "$work" "$revived" "$away" "$again" <<'PY' && ok who_was_answered_has_a_row || bad who_was_answered_has_a_row
import json, sys
d = json.load(open(sys.argv[1] + "/load.json"))
have, seen = {int(x) for x in open(sys.argv[1] + "/seqs")}, set(open(sys.argv[1] + "/controls").read().split())
print(f"    {d['said']}, not ready while it was away: {sys.argv[3]}")
missing, forgotten = set(d["rows"]) - have, set(d["taken"]) - seen
assert not missing and not forgotten, (len(missing), len(forgotten))
assert len(set(d["rows"])) == len(d["rows"]) and d["said"]["other"] == 0, d["said"]
assert d["said"]["503"] > 0 and sys.argv[3] == "503 503"  # it was really away, and said so
assert max(d["rows"]) > int(sys.argv[2]) and sys.argv[4] == "200 200", sys.argv  # and both went on afterwards
PY
"$vitae" verify "$site" >"$work/answer" 2>&1 && ok the_chain_holds || { tail -5 "$work/answer"; bad the_chain_holds; }
stored=$(cat "$site"/inbox/hl7v2/*.hl7 | grep -ao 'ADT^A08|[^|]*' | sort -u | wc -l) seen=$(sql "SELECT count(*) FROM hl7_seen")
[ "$stored" -ge "$seen" ] && ok what_was_acknowledged_is_stored || { echo "$stored of $seen"; bad what_was_acknowledged_is_stored; }

# a destination that keeps silent until the first server is dead: the other delivers the same result
cat >"$work/place.py" <<'PY'
import os, socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
first = None
while True:
    c, _ = s.accept()
    got = b""
    while not got.endswith(b"\x1c\r"):
        piece = c.recv(4096)
        if not piece: break
        got += piece
    if not got.endswith(b"\x1c\r"): continue
    control = got.decode().split("\r")[0].split("|")[9]
    first = first or control
    if os.path.exists(sys.argv[2] + "/dead"):
        c.sendall(f"\x0bMSH|^~\\&|LIS|LAB|VITAE||2019||ACK|x|P|2.5.1\rMSA|AA|{control}\r\x1c\r".encode())
        with open(sys.argv[2] + "/delivering", "w") as f: f.write(f"{first} {control} {b'QUETZALCOATLUSSON' in got}\n")
        os.rename(sys.argv[2] + "/delivering", sys.argv[2] + "/delivered")
    else:
        open(sys.argv[2] + "/seen", "w").write(control)
    c.close()
PY
python3 "$work/place.py" "$place" "$work" & place_pid=$!
python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); from mllp import *; print(Peer(int(sys.argv[2])).ask(result("lab-1")))' "$work" "${hl7[1]}" >"$work/answer"
until_so test -s "$work/seen"
kill -9 "${replica[1]}"; wait "${replica[1]}" 2>/dev/null
touch "$work/dead"
sql "SELECT encode(sealed, 'escape') FROM hl7_out" >"$work/sealed"
until_so test -s "$work/delivered"
first='' second='' named=''
[ -s "$work/delivered" ] && read -r first second named <"$work/delivered"
[ -n "$first" ] && [ "$first" = "$second" ] && [ "$named" = True ] && [ -s "$work/sealed" ] && ! grep -qi quetzal "$work/sealed" && ok the_other_delivers_a_dead_ones_result ||
  { cat "$work/answer" "$work/err2"; echo "$first $second $named"; bad the_other_delivers_a_dead_ones_result; }
told() { [ "$(sql "SELECT (SELECT count(*) FROM hl7_out), count(*) FROM audit WHERE method = 'ORU' AND status = 200 AND request = '$first'")" = "0|1" ]; }
until_so told
[ "$(sql "SELECT count(*) FROM audit WHERE method = 'ORU' AND status = 200 AND request = '$first'")" = 1 ] && ok and_says_so_once || bad and_says_so_once

# a restart forgets no token
start_replica 1 && [ "$(services 1 "$one") $(services 1 "$two")" = "401 401" ] && ok a_restart_forgets_no_token || bad a_restart_forgets_no_token
for i in 1 2; do kill "${replica[$i]}"; wait "${replica[$i]}" || bad replica_ends_well; done
replica=()
grep -qi "quetzal\|$key" "$work"/err? "$work"/out? && bad nothing_secret_in_the_logs || ok nothing_secret_in_the_logs
[ $failures -eq 0 ]
