# Sourced by the shell tests here: a small trained site through the program itself, and a server on it.
# Afterwards: $vitae $work $site $url $key (clinician) $admin, and ok/bad/skip, which print what scripts/run-tests counts.
# Nothing here may depend on the machine's speed: `until_so` waits for what must come about, ten minutes if need be.
set -u
export LC_ALL=C.UTF-8
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
vitae=$PWD/${BUILD:-build}/vitae failures=0
case ${BUILD:-build} in /*) vitae=$BUILD/vitae ;; esac
work=$(mktemp -d) server=
finish() { [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; rm -rf "$work"; }
trap finish EXIT
ok() { printf '[       OK ] %s\n' "$1"; }
bad() { printf '[  FAILED  ] %s\n' "$1"; failures=$((failures + 1)); }
skip() { printf '[  SKIPPED ] %s\n' "$1"; }
until_so() { local i; for i in $(seq 6000); do "$@" && return 0; sleep 0.1; done; return 1; } # COMMAND...
# For whoever must know its port before it listens: one outside the range from which the kernel gives ports to others.
free_port() { python3 -c 'import random, socket
low, high = (int(x) for x in open("/proc/sys/net/ipv4/ip_local_port_range").read().split())
while True:
    port = random.SystemRandom().randrange(10000, 65000)
    with socket.socket() as s:
        try:
            if not low <= port <= high:
                s.bind(("127.0.0.1", port))
                break
        except OSError: pass
print(port)'; }

make_site() {
  site=$work/site
  python3 - "$work/export" <<'PY' || return 1
import json, os, sys
os.makedirs(sys.argv[1])
for i in range(160):
    entry = [{"resource": {"resourceType": "Patient", "id": f"p{i}", "gender": "female" if i % 2 else "male", "birthDate": f"19{30 + i % 60}-03-0{1 + i % 9}",
                           "name": [{"family": f"Quetzalcoatlusson{i}"}], **({"deceasedDateTime": f"2020-{4 + i % 9:02d}-11T10:00:00Z"} if i % 3 == 0 else {})}}]
    for k in range(12):
        entry.append({"resource": {"resourceType": "Observation", "id": f"o{i}-{k}", "status": "final", "subject": {"reference": f"Patient/p{i}"},
                                   "code": {"coding": [{"system": "http://loinc.org", "code": ("2160-0", "8480-6", "2345-7")[k % 3]}]},
                                   "effectiveDateTime": f"2019-{1 + k:02d}-1{i % 10}T08:00:00Z",
                                   "valueQuantity": {"value": 1 + (i * 7 + k * 3) % 9 + k / 10, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"}}})
    json.dump({"resourceType": "Bundle", "type": "collection", "entry": entry}, open(f"{sys.argv[1]}/{i}.json", "w"))
PY
  "$vitae" init "$site" --name ward >"$work/log" 2>&1 && cat >"$site/tasks/death-soon.json" <<'JSON' &&
{"name": "death-soon", "title": "Death within two years of the first measurement", "trigger": {"code": ["LOINC//2160-0"], "which": "first"},
 "target": {"any": ["MEDS_DEATH"]}, "horizon": "2y", "gap": ["0d"], "censor": "negative"}
JSON
    "$vitae" ingest "$site" "$work/export" --from fhir >>"$work/log" 2>&1 &&
    "$vitae" train "$site" --size tiny --name run --task death-soon --epochs 20 --threads 2 >>"$work/log" 2>&1 && "$vitae" key "$site" --role clinician --label test >"$work/key" &&
    "$vitae" key "$site" --role admin --label test >"$work/admin" || { cat "$work/log"; return 1; }
  key=$(cat "$work/key") admin=$(cat "$work/admin")
}

start_server() { # options of serve
  : >"$work/out" # else the address of an earlier one is read
  "$vitae" serve "$site" --model "$site/models/runs/run" --listen 127.0.0.1:0 "$@" >"$work/out" 2>"$work/err" &
  server=$!
  until_so says_where || return 1
  [ -n "$url" ] || { cat "$work/err"; return 1; }
}
says_where() { url=$(sed -nE 's/^Vitae serves ([^ ]+)\/ .*/\1/p' "$work/out"); [ -n "$url" ] || ! kill -0 "$server" 2>/dev/null; }
stop_server() { kill "$server"; wait "$server"; local rc=$?; server=; return $rc; }
