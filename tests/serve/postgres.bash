# Sourced after site.bash by tests that need a PostgreSQL of their own: it must be killed without harm to anybody. Skips the test (with CI set: fails it)
# where there is no PostgreSQL, or no right to become its user. Afterwards: $pg_url, db start|stop, sql TEXT, kill_postgres; `finish` ends it.
pg=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
name=$(basename "$0" .sh)
if [ -z "$pg" ] || [ "$(id -u)" -ne 0 ]; then
  [ -n "${CI:-}" ] && { bad "${name}_needs_postgresql_and_root"; exit 1; }
  skip "${name}_needs_postgresql_and_root"; exit 0
fi
chmod 711 "$work"
mkdir -m 700 "$work/pg" && chown postgres "$work/pg"
pg_port=$(free_port) pg_url=
db() { runuser -u postgres -- "$pg/pg_ctl" -D "$work/pg/data" -o "-p $pg_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$work/pg -c max_connections=80" -l "$work/pg/log" -w -t 600 -s "$@" >/dev/null; }
sql() { runuser -u postgres -- psql -h "$work/pg" -p "$pg_port" -U vitae -At -c "$1" vitae; }
runuser -u postgres -- "$pg/initdb" -D "$work/pg/data" -A trust -U vitae --no-sync >"$work/initdb" 2>&1 && db start &&
  runuser -u postgres -- "$pg/createdb" -h "$work/pg" -p "$pg_port" -U vitae vitae || { cat "$work/initdb" "$work/pg/log"; bad postgresql_starts; exit 1; }
pg_url=postgres://vitae@127.0.0.1:$pg_port/vitae
kill_postgres() { kill -9 "$(head -1 "$work/pg/data/postmaster.pid")"; }
# What a killed one left must be away before the next may start.
revive_postgres() {
  rm -f "$work/pg/data/postmaster.pid"
  until_so db start 2>/dev/null
}
replica=()
finish() {
  for p in "${replica[@]}" "$server"; do [ -n "$p" ] && kill "$p" 2>/dev/null; done
  [ -f "$work/nginx.pid" ] && kill "$(cat "$work/nginx.pid")" 2>/dev/null
  db stop -m immediate 2>/dev/null
  wait 2>/dev/null
  rm -rf "$work"
}
