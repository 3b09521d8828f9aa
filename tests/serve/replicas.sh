#!/usr/bin/env bash
# Two servers on one PostgreSQL behind nginx: one is killed under load, then the database is, after it has stood still. No wrong answer, no lost or doubled audit row, one
# quota, one set of keys. Needs PostgreSQL, nginx and root (to become the database's user).
. "$(dirname "$0")/site.bash"
if ! command -v nginx >/dev/null; then
  [ -n "${CI:-}" ] && { bad replicas_need_nginx; exit 1; }
  skip replicas_need_nginx; exit 0
fi
. "$(dirname "$0")/postgres.bash"
front=$(free_port)
make_site || { bad replicas_start; exit 1; }
echo "$pg_url" >"$site/database" # from here on every command of the site means this database
chmod 600 "$site/database"

"$vitae" serve "$site" --database postgres://u:secret@127.0.0.1/x >"$work/answer" 2>&1; [ $? -eq 64 ] && ! grep -q secret "$work/answer" && ok a_password_on_the_command_line_is_refused || bad a_password_on_the_command_line_is_refused
key=$("$vitae" key "$site" --role clinician) admin=$("$vitae" key "$site" --role admin) && devkey=$("$vitae" key "$site" --role developer --tenant acme) &&
  tiny=$("$vitae" key "$site" --role developer --requests-per-minute 10) && ok keys_are_made_in_the_database || bad keys_are_made_in_the_database
start_replica() { # N
  "$vitae" serve "$site" --model "$site/models/runs/run" --listen 127.0.0.1:0 --developer-listen 127.0.0.1:0 --queue 200 >"$work/out$1" 2>"$work/err$1" &
  replica[$1]=$!
  until_so replica_says_where "$1" && [ -n "${at[$1]}" ] || { cat "$work/err$1"; return 1; }
}
replica_says_where() {
  at[$1]=$(sed -nE 's/^Developers: http:\/\/([^/]+)\/.*/\1/p' "$work/out$1")
  hospital[$1]=$(sed -nE 's/^Vitae serves ([^ ]+)\/ .*/\1/p' "$work/out$1")
  [ -n "${at[$1]}" ] || ! kill -0 "${replica[$1]}" 2>/dev/null
}
at=() hospital=()
start_replica 1 && start_replica 2 || { bad replicas_start; exit 1; }
cat >"$work/nginx.conf" <<CONF
pid $work/nginx.pid; error_log $work/nginx.log; daemon on; worker_processes 1; user root;
events { worker_connections 512; }
http {
  access_log off; client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3; uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  upstream vitae { server ${at[1]} max_fails=1 fail_timeout=2s; server ${at[2]} max_fails=1 fail_timeout=2s; keepalive 16; }
  server { listen 127.0.0.1:$front; location / { proxy_pass http://vitae; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    proxy_next_upstream error timeout non_idempotent http_503; proxy_next_upstream_tries 2; client_max_body_size 8m; } }
}
CONF
nginx -c "$work/nginx.conf" 2>"$work/nginx.err" || { cat "$work/nginx.err"; bad nginx_starts; exit 1; }

# eight clients; one replica goes while they ask. What is answered must be right, and its audit row must be there afterwards.
cat >"$work/load.py" <<'PY'
import http.client, json, os, sys, threading
port, key, until, out = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
patients = [json.dumps({"birth": "1950-02-01", "task": "death-soon", "events": [{"time": f"2019-0{m}-11T08:00:00", "code": "LOINC//2160-0", "value": 1.0 + m / 10, "unit": "mg/dL"} for m in range(1, 2 + n)]}) for n in range(6)]
rows, answers, wrong, refused, lock = [], {}, [], [0], threading.Lock()
def client(i):
    c = None
    n = i
    while not os.path.exists(until):
        n += 1
        body = json.dumps({"model": "vitae", "messages": [{"role": "user", "content": patients[n % 6]}]})
        try:
            c = c or http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            c.request("POST", "/openai/v1/chat/completions", body, {"api-key": key, "Content-Type": "application/json"})
            r = c.getresponse()
            text = r.read()
        except OSError:
            c = None
            with lock: refused[0] += 1
            continue
        with lock:
            if r.status != 200:
                refused[0] += 1
                continue
            d = json.loads(json.loads(text)["choices"][0]["message"]["content"])
            rows.append(int(r.headers["Vitae-Audit"]))
            said = (d["probability"], d["events"], d["applies"])
            if answers.setdefault(n % 6, said) != said: wrong.append(said)
threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
json.dump({"rows": rows, "wrong": len(wrong), "refused": refused[0]}, open(out, "w"))
PY
python3 "$work/load.py" "$front" "$devkey" "$work/stop" "$work/load.json" &
load=$!
rows_are() { [ "$(sql "SELECT count(*) FROM audit WHERE status = 200")" -ge "$1" ]; }
until_so rows_are 50
kill -9 "${replica[1]}"; wait "${replica[1]}" 2>/dev/null
until_so rows_are $(($(sql "SELECT count(*) FROM audit WHERE status = 200") + 50))
touch "$work/stop"
wait $load
sql "SELECT seq FROM audit WHERE status = 200" >"$work/seqs"
python3 - "$work/load.json" "$work/seqs" <<'PY' && ok a_killed_replica_loses_nothing || bad a_killed_replica_loses_nothing
import json, sys
load, have = json.load(open(sys.argv[1])), {int(x) for x in open(sys.argv[2])}
rows = load["rows"]
print(f"    {len(rows)} answers, {load['refused']} refused, {load['wrong']} wrong, {len(set(rows) - have)} rows missing")
sys.exit(not (len(rows) > 50 and load["wrong"] == 0 and len(set(rows)) == len(rows) and set(rows) <= have))
PY
"$vitae" verify "$site" >"$work/answer" 2>&1 && ok the_shared_chain_holds || { tail -5 "$work/answer"; bad the_shared_chain_holds; }

# one quota for both, and both know a key that was made after they had started
start_replica 1 || bad a_replica_comes_back
good=0 began=$SECONDS
for i in $(seq 24); do [ "$(curl -s -o /dev/null -w '%{http_code}' -H "api-key: $tiny" "http://${at[$((i % 2 + 1))]}/v1/models")" = 200 ] && good=$((good + 1)); done
[ $good -ge 10 ] && [ $good -le $((10 * ((SECONDS - began) / 60 + 2))) ] && ok replicas_share_a_quota || { echo "$good of 24 passed"; bad replicas_share_a_quota; } # more than 10: the minute has turned
counted=$("$vitae" key "$site" --role developer --tokens-per-minute 1000000) id=${counted#vitae_} id=${id%%_*}
for i in 1 2 1 2; do # what was reserved is settled to what it took, in the row of its minute
  curl -s -o /dev/null -H "api-key: $counted" -H "Content-Type: application/json" "http://${at[$i]}/v1/chat/completions" -d '{"model": "vitae", "messages": [{"role": "user", "content": "{\"events\": [{\"time\": \"2020-01-01\", \"code\": \"LOINC//2160-0\", \"value\": 1.2}]}"}]}'
done
said="$(sql "SELECT sum(tokens) FROM quotas WHERE key = '$id'") $(sql "SELECT sum(tokens_in + tokens_out) FROM audit WHERE key = '$id'")"
[ -n "${said% *}" ] && [ "${said% *}" = "${said#* }" ] && [ "${said% *}" -gt 4 ] && ok replicas_settle_a_quota || { echo "$said"; bad replicas_settle_a_quota; }
late=$("$vitae" key "$site" --role viewer)
[ "$(curl -s -o /dev/null -w '%{http_code}' -H "api-key: $late" "${hospital[1]}/v1/model")$(curl -s -o /dev/null -w '%{http_code}' -H "api-key: $late" "${hospital[2]}/v1/model")" = 200200 ] &&
  ok replicas_share_keys || bad replicas_share_keys

# somebody keeps the chain's lock; then the whole database stands still. No answer and no waiting for ever: 503, not ready, and the process is alive
says() { status=$(curl -s -m 300 -o /dev/null -w '%{http_code}' -H "api-key: $late" "${hospital[2]}/v1/model"); [ "$status" = "$1" ]; }
probe_says() { status=$(curl -s -m 300 -o /dev/null -w '%{http_code}' "${hospital[2]}/$1"); [ "$status" = "$2" ]; }
sql "BEGIN; SELECT pg_advisory_xact_lock(7302118390014); SELECT pg_sleep(36000)" >/dev/null 2>&1 &
holder="FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
is_held() { [ "$(sql "SELECT count(*) $holder")" = 1 ]; }
until_so is_held
says 503 && probe_says readyz 503 && ok a_lock_that_is_kept_is_503 || { echo "status $status"; bad a_lock_that_is_kept_is_503; }
sql "SELECT pg_terminate_backend(pid) $holder" >/dev/null
until_so says 200 && until_so probe_says readyz 200 && ok a_lock_that_was_kept_is_survived || { echo "status $status"; bad a_lock_that_was_kept_is_survived; }
master=$(head -1 "$work/pg/data/postmaster.pid") frozen="$master $(pgrep -P "$master")"
kill -STOP $frozen
curl -s -m 300 -o /dev/null -H "api-key: ${late%??}aa" "${hospital[2]}/v1/model" & # a key that nobody knows has to be asked for
stranger=$!
says 503 && probe_says readyz 503 && probe_says livez 200 && ok a_frozen_database_is_503 || { echo "status $status"; bad a_frozen_database_is_503; }
kill -CONT $frozen
wait $stranger
until_so says 200 && until_so probe_says readyz 200 && ok a_frozen_database_is_survived || { echo "status $status"; bad a_frozen_database_is_survived; }

# the database dies: answers are withheld while it is away, and come again
kill_postgres # what it had begun to serve may end a moment later
until_so says 503 && ok no_answer_without_its_row || { echo "status $status"; bad no_answer_without_its_row; }
revive_postgres
until_so says 200 && "$vitae" verify "$site" >"$work/answer" 2>&1 && ok a_killed_database_is_survived || { echo "status $status"; tail -3 "$work/answer"; bad a_killed_database_is_survived; }
for i in 1 2; do kill "${replica[$i]}"; wait "${replica[$i]}" || bad replica_ends_well; done
replica=()
grep -qi "quetzal\|$key\|$devkey" "$work"/err? "$work"/out? && bad nothing_secret_in_the_logs || ok nothing_secret_in_the_logs
[ $failures -eq 0 ]
