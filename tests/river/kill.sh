#!/usr/bin/env bash
# kill -9 at random moments of ingest, train and promote. After each: `vitae verify` passes, and the next run works. Training that
# was killed again and again and resumed ends with the same bits as a run that nobody disturbed.
. "$(dirname "$0")/../../scripts/testlib.sh"
KILLS=${KILLS:-20}
seed=${SEED:-$$} RANDOM=${SEED:-$$}; echo "    SEED=$seed KILLS=$KILLS"

# persons and lives made here: training needs no data set
make_persons() { python3 - "$1" "$2" <<'P'
import json, random, sys
r = random.Random(7)
with open(sys.argv[2], "w") as f:
    def out(o): f.write(json.dumps(o) + "\n")
    for p in range(int(sys.argv[1])):
        out({"resourceType": "Patient", "id": f"p{p}", "gender": r.choice(["male", "female"]), "birthDate": f"{r.randint(1930, 1990)}-0{r.randint(1, 9)}-11"})
        for k in range(r.randint(20, 60)):
            y = 2000 + k // 4
            out({"resourceType": "Observation", "id": f"o{p}-{k}", "status": "final", "subject": {"reference": f"Patient/p{p}"},
                 "code": {"coding": [{"system": "http://loinc.org", "code": r.choice(["2160-0", "8480-6", "8462-4", "718-7", "2345-7"])}]},
                 "effectiveDateTime": f"{y}-{1 + k % 12:02d}-{r.randint(1, 28)}", "valueQuantity": {"value": round(r.gauss(5, 2), 2), "unit": "mg/dL"}})
P
}
# killed LEAST MOST command...: runs it and kills it after LEAST to MOST milliseconds; 0 if the kill came in time
killed() {
  local ms=$(($1 + RANDOM % ($2 - $1 + 1))) pid; shift 2
  "$@" > "$work/out" 2> "$work/err" < /dev/null & pid=$!
  sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
  kill -KILL $pid 2> /dev/null; wait $pid 2> /dev/null; status=$?
  [ $status -eq 137 ]
}
took() { local a b; a=$(date +%s%3N); "$@" > "$work/out" 2> "$work/err" < /dev/null; status=$?; b=$(date +%s%3N); ms=$((b - a)); }
verified() { run "$vitae" verify "$1"; [ $status -eq 0 ] || fail "after a kill: verify says $status: $(head -c 300 "$work/out" "$work/err")"; }
counts() { run "$vitae" show "$1" --json; json "(j['subjects'],j['events'],j['codes'])"; }

ingest_survives_kills() {
  local hits=0 i before now
  make_persons 1500 "$work/all.ndjson"; make_persons 40 "$work/few.ndjson"
  run "$vitae" init "$work/calm"; took "$vitae" ingest "$work/calm" "$work/all.ndjson" --from fhir; status_is 0
  local whole=$ms; local right; right=$(counts "$work/calm")
  run "$vitae" init "$work/s"; run "$vitae" ingest "$work/s" "$work/few.ndjson" --from fhir; status_is 0
  before=$(counts "$work/s")
  for i in $(seq $((KILLS * 5))); do
    [ $i -le "$KILLS" ] || [ $hits -le $((KILLS / 3)) ] || break
    # too late: the machine has become faster than it was
    if killed 1 $((whole + 20)) "$vitae" ingest "$work/s" "$work/all.ndjson" --from fhir; then hits=$((hits + 1)); else whole=$((whole * 4 / 5)); fi
    verified "$work/s"
    now=$(counts "$work/s")
    [ "$now" = "$before" ] || [ "$now" = "$right" ] || fail "kill $i: neither the old store nor the new one: $now"
    if [ "$now" = "$right" ]; then # it had been stored: begin again from the small store
      rm -rf "$work/s"; run "$vitae" init "$work/s"; run "$vitae" ingest "$work/s" "$work/few.ndjson" --from fhir
    fi
  done
  less $((KILLS / 3)) $hits "kills in time"
  run "$vitae" ingest "$work/s" "$work/all.ndjson" --from fhir; status_is 0
  same "$(counts "$work/s")" "$right" "store after all"
  verified "$work/s"
  same "$(find "$work/s" -path "$work/s/vault" -prune -o \( -name '*.tmp*' -o -name '*.new*' -o -name '.*' \) -type f -print | wc -l)" 0 "files left over"
}

# one site, ingested once; a run without kills and one with as many as asked, at 1 and at 2 threads
train_resumes_bit_for_bit() {
  local threads hits i
  begun() { [ ! -d "$work/t/models/runs/$1" ] || echo --resume; } # killed before its first checkpoint, it is begun again
  make_persons 400 "$work/t.ndjson"
  run "$vitae" init "$work/t"; run "$vitae" ingest "$work/t" "$work/t.ndjson" --from fhir; status_is 0
  for threads in 1 2; do
    local args=(train "$work/t" --size tiny --epochs 4 --seed 5 --threads $threads --save-every 0.05)
    took "$vitae" "${args[@]}" --name calm$threads; status_is 0; local whole=$ms
    local right; right=$(sha "$work/t/models/runs/calm$threads/model.safetensors")
    hits=0
    for i in $(seq $((KILLS * 5))); do
      [ $hits -lt $(((KILLS + 1) / 2)) ] || break
      if killed 1 $((whole / 7 + 20)) "$vitae" "${args[@]}" --name torn$threads $(begun torn$threads); then hits=$((hits + 1)); elif [ $status -ne 0 ]; then fail "kill $i: status $status: $(head -c 200 "$work/err")"
      elif [ $hits -gt $((KILLS / 4)) ]; then break
      else rm -rf "$work/t/models/runs/torn$threads"; whole=$((whole * 4 / 5)); fi # at the end already: from the beginning, with less time for each
      verified "$work/t"
      if [ -e "$work/t/models/runs/torn$threads/config.json" ]; then verified "$work/t/models/runs/torn$threads"; fi
    done
    less $((KILLS / 4)) $hits "kills in time at $threads threads"
    run "$vitae" "${args[@]}" --name torn$threads $(begun torn$threads); status_is 0
    same "$(sha "$work/t/models/runs/torn$threads/model.safetensors")" "$right" "model after kills, $threads threads"
    verified "$work/t"
  done
}

# SIGTERM is not a kill: the run saves itself, says so, and goes on where it was
train_stops_when_asked() {
  local args=(train "$work/t" --size tiny --epochs 4 --seed 5 --threads 1 --name asked) pid i
  for i in $(seq 0 49); do # it must hear while it trains, on whatever machine: 30 ms, and each time a fifth later
    rm -rf "$work/t/models/runs/asked"
    "$vitae" "${args[@]}" > "$work/out" 2> "$work/err" & pid=$!
    sleep "$(awk "BEGIN { print 0.03 * 1.2 ^ $i }")"
    kill -TERM $pid 2> /dev/null; wait $pid; status=$?
    ! grep -q "the run can be resumed" "$work/err" || break
  done
  status_is 130; err_has "the run can be resumed"
  run "$vitae" "${args[@]}" --resume; status_is 0
  same "$(sha "$work/t/models/runs/asked/model.safetensors")" "$(sha "$work/t/models/runs/calm1/model.safetensors")" "model after a stop"
}

# what is given with --resume is what the run was begun with, or is refused by name; a run that is not there is not begun
resume_takes_no_other_run() {
  local s=$work/r given
  make_persons 60 "$work/r.ndjson"
  run "$vitae" init "$s"; run "$vitae" ingest "$s" "$work/r.ndjson" --from fhir; status_is 0
  local args=(train "$s" --threads 1 --no-task)
  run "$vitae" "${args[@]}" --resume; status_is 66; err_has "no run to go on with"
  local begun=(--size tiny --epochs 0.5 --seed 5 --lr 0.001 --batch 256)
  run "$vitae" "${args[@]}" "${begun[@]}" --name one; status_is 0
  run "$vitae" "${args[@]}" "${begun[@]}" --name eno --resume; status_is 66; err_has "no run of this name"; [ ! -e "$s/models/runs/eno" ] || fail "a run was begun"
  for given in "--size small" "--shape 3,96,3,128" "--position time" "--epochs 0.6" "--seed 6" "--lr 0.002" "--batch 512" "--micro 99" "--lanes 2" "--decay 0.1" \
    "--hazard-weight 2" "--dropout 0.3" "--canaries 3"; do
    run "$vitae" "${args[@]}" --name one --resume $given; status_is 15; err_has "another ${given%% *}"
  done
  local whole; whole=$(sha "$s/models/runs/one/model.safetensors")
  run "$vitae" "${args[@]}" "${begun[@]}" --name one --resume; status_is 0
  run "$vitae" "${args[@]}" --name one --resume; status_is 0
  same "$(sha "$s/models/runs/one/model.safetensors")" "$whole" "a run that was done, gone on with"
}

promote_survives_kills() {
  local hits=0 i id before now
  run "$vitae" versions "$work/t" --json; id=$(json "j[-1]['version']")
  for i in $(seq "$KILLS"); do
    run "$vitae" versions "$work/t" --json; before=$(json "j[-1]['state']")
    # draft and retired are the states that every version may move between without a report
    killed 0 $((i > 1 ? 12 : 0)) "$vitae" promote "$work/t" "$id" --to retired && hits=$((hits + 1))
    verified "$work/t"
    run "$vitae" versions "$work/t" --json; status_is 0; now=$(json "[v['state'] for v in j if v['version']=='$id'][0]")
    [ "$now" = draft ] || [ "$now" = retired ] || fail "kill $i: state $now after $before"
    if [ "$now" = retired ]; then
      run "$vitae" train "$work/t" --size tiny --epochs 0.01 --seed $((100 + i)) --threads 1 --name p --force; status_is 0
      run "$vitae" versions "$work/t" --json; id=$(json "[v['version'] for v in j if v['state']=='draft'][0]")
    fi
  done
  less 0 $hits "kills in time"
  run "$vitae" promote "$work/t" "$id" --to retired; status_is 0
  verified "$work/t"
}
run_cases ingest_survives_kills train_resumes_bit_for_bit train_stops_when_asked resume_takes_no_other_run promote_survives_kills
