# Shell tests of the whole program. A test file sources this, defines functions, and calls `run_cases name ...` at its end:
#
#     . "$(dirname "$0")/../../scripts/testlib.sh"
#     an_empty_site_verifies() { run "$vitae" init "$work/s"; status_is 0; run "$vitae" verify "$work/s"; status_is 0; }
#     run_cases an_empty_site_verifies
#
# Each function prints one line, `[       OK ] name`, `[  FAILED  ] name` or `[  SKIPPED ] name` (see scripts/run-tests). A check
# that does not hold is printed and fails the case; the case goes on. Environment: BUILD (build), DATA (../shared/data), CI.
# `run` keeps a command's output in $work/out and $work/err and its exit status in $status; both are appended to $work/said.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
vitae=${BUILD:-build}/vitae
data=${DATA:-../shared/data}
[ -x "$vitae" ] || { echo "no program at $vitae"; exit 1; }
vitae=$(realpath "$vitae"); data=$(realpath -m "$data")
export VITAE_DATA=$PWD LC_ALL=C.UTF-8
work=$(mktemp -d "${TMPDIR:-/tmp}/vitae-test-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
status=0 bad=0 skipped='' any_failed=0
: > "$work/said"

fail() { bad=$((bad + 1)); printf '    %s: %s\n' "${BASH_SOURCE[-1]##*/}:${BASH_LINENO[-4]:-?}" "$*"; }
skip() { skipped=$1; }
# The data set of that name, unpacked under $work/NAME (only members that match the further arguments). Absent: skip, or fail under CI.
have_data() { [ -d "$data/$1" ] && return 0; if [ -n "${CI:-}" ]; then fail "the data set $1 is not in $data"; else skip "no data set $1"; fi; return 1; }
unpack() { local set=$1; shift; mkdir -p "$work/$set"; tar xJf "$data/$set"/*.tar.xz -C "$work/$set" --wildcards "$@"; }

run() { "$@" > "$work/out" 2> "$work/err" < /dev/null; status=$?; cat "$work/out" "$work/err" >> "$work/said"; return 0; }
status_is() { [ "$status" -eq "$1" ] || fail "exit status $status, not $1: $(head -c 400 "$work/err")"; }
# Any way of ending is right except by a signal, and except statuses that no row of the error table gives
no_crash() { case $status in 0|10|11|12|13|14|15|64|65|66|69|71|74|75|77|130) ;; *) fail "exit status $status is not in the error table: $* $(head -c 300 "$work/err")" ;; esac; }
out_has() { grep -qF -- "$1" "$work/out" || fail "standard output lacks: $1"; }
err_has() { grep -qF -- "$1" "$work/err" || fail "standard error lacks: $1 (it says: $(head -c 300 "$work/err"))"; }
nothing_says() { ! grep -qiF -- "$1" "$work/out" "$work/err" || fail "the output holds: $1"; }
same() { [ "$1" = "$2" ] || fail "${3:-values differ}: $1 and $2"; }
less() { [ "$1" -lt "$2" ] || fail "${3:-value}: $1 is not below $2"; }
# json EXPRESSION: the value of a Python expression over j, the JSON on the last command's standard output
json() { python3 -c 'import json,sys
try: j=json.load(open(sys.argv[1]))
except Exception as e: print("not JSON:",type(e).__name__); sys.exit()
print(eval(sys.argv[2]))' "$work/out" "$1" 2>/dev/null || echo "no such field"; }
is_json() { python3 -m json.tool "$work/out" > /dev/null 2>&1 || fail "standard output is not one JSON value: $(head -c 200 "$work/out")"; }
json_is() { local v; v=$(json "$1"); [ "$v" = "$2" ] || fail "$1 is $v, not $2"; }
sha() { sha256sum "$1" | cut -c1-64; }
# flip_byte FILE OFFSET: damage that is damage whatever stood there; a byte that is merely written is the old one once in 256 times
flip_byte() { python3 -c 'import sys
with open(sys.argv[1], "r+b") as f: f.seek(int(sys.argv[2])); b = f.read(1)[0]; f.seek(-1, 1); f.write(bytes([b ^ 1]))' "$1" "$2" || fail "$1 has no byte $2"; }
seconds() { date +%s.%N; }
# until_so COMMAND...: waits for what must come about, ten minutes if need be: no test may depend on the machine's speed
until_so() { local i; for i in $(seq 12000); do "$@" && return 0; sleep 0.05; done; return 1; }

run_cases() {
  local name
  for name in "$@"; do
    if [ -n "${ONLY:-}" ] && [ "$ONLY" != "$name" ]; then continue; fi
    bad=0 skipped=''
    "$name"
    if [ $bad -gt 0 ]; then any_failed=1; printf '[  FAILED  ] %s\n' "$name"
    elif [ -n "$skipped" ]; then printf '    %s\n[  SKIPPED ] %s\n' "$skipped" "$name"
    else printf '[       OK ] %s\n' "$name"; fi
  done
  exit $any_failed
}
