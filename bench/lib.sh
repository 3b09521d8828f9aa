# Shared by bench/run-*: places, paired runs, the last line, and the row in bench/results.csv.
#
#     . "$(dirname "$0")/lib.sh"
#     bench_end ingest 410 "MB/s" "Python 3.11" 28 14.6 14.1 15.0 10 ok
#
# Environment: BUILD (build), DATA (../shared/data). The row: date, commit, machine, name, value, unit, peer, ratio, lo, hi, bar, verdict.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${BUILD:-build} data=${DATA:-../shared/data} results=${RESULTS:-bench/results.csv}
vitae=$(realpath "$build/vitae"); data=$(realpath -m "$data")
[ -x "$vitae" ] || { echo "no program at $build/vitae: make first" >&2; exit 1; }
export VITAE_DATA=$PWD LC_ALL=C.UTF-8
machine() { echo "$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: *//; s/,/ /g') x$(nproc)"; }
core() { taskset -c "${CORE:-$(($(nproc) - 1))}" "$@"; } # on one core
need_data() { [ -d "$data/$1" ] || { echo "no data set $1 in $data (DATA names the directory)" >&2; exit 1; }; }
# measured FILE COMMAND...: runs it; FILE receives "seconds peak-resident-KB cpu-seconds"
measured() { local to=$1; shift; python3 - "$to" "$@" <<'P'
import os, resource, subprocess, sys, time
began = time.monotonic()
rc = subprocess.call(sys.argv[2:], stdin=subprocess.DEVNULL)
seconds = time.monotonic() - began
u = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as f:
    f.write(f"{seconds:.3f} {u.ru_maxrss} {u.ru_utime + u.ru_stime:.3f}\n")
sys.exit(rc)
P
}
# spread: numbers on standard input, one a line; prints "median least most"
spread() { sort -g | awk '{v[NR]=$1} END {m = NR % 2 ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2; printf "%.4g %.4g %.4g\n", m, v[1], v[NR]}'; }
calc() { awk "BEGIN{printf \"%.4g\", $1}"; }
at_least() { awk "BEGIN{exit !($1 >= $2)}"; }
python_with() { local p; for p in python3 /usr/bin/python3; do if "$p" -c "import $1" 2> /dev/null; then echo "$p"; return; fi; done; echo "no Python with $1 here: scripts/install-packages bench" >&2; exit 1; }
bench_row() { # name value unit peer ratio lo hi bar verdict
  [ -s "$results" ] || echo "date,commit,machine,name,value,unit,peer,ratio,lo,hi,bar,verdict" > "$results"
  local commit; commit=$(git rev-parse --short=12 HEAD 2> /dev/null || echo unknown)
  git diff --quiet HEAD -- src 2> /dev/null || commit=$commit+
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ),$commit,$(machine),$1,$2,$3,$4,$5,$6,$7,$8,$9" >> "$results"
}
# name value unit peer-name peer-value ratio lo hi bar verdict: the last line, the row, the exit status
bench_end() {
  bench_row "$1" "$2" "$3" "$4 $5" "$6" "$7" "$8" "$9" "${10}"
  echo "bench $1: $2 $3; peer $5; ratio $6 [$7, $8]; bar $9: ${10}"
  [ "${10}" = ok ]
}
