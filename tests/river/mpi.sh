#!/usr/bin/env bash
# Training over several processes: 1, 2 and 4 ranks write the same bits for the same lanes; a rank that is killed ends the run with a message, and it
# goes on from its last checkpoint on another number of ranks to the bits of a run that nobody disturbed.
. "$(dirname "$0")/../../scripts/testlib.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_base_warn_component_unused=0
mpi() { command -v mpirun > /dev/null && [ -f "$(dirname "$vitae")/vitae-mpi.so" ] && return 0; if [ -n "${CI:-}" ]; then fail "no MPI, or no vitae-mpi.so"; else skip "no MPI here"; fi; return 1; }
ranks() { local n=$1; shift; mpirun -n "$n" --oversubscribe --bind-to none "$@"; }

# persons and lives made here: training needs no data set
make_site() {
  python3 - "$work/persons.ndjson" <<'P'
import json, random, sys
r = random.Random(7)
with open(sys.argv[1], "w") as f:
    def out(o): f.write(json.dumps(o) + "\n")
    for p in range(60):
        out({"resourceType": "Patient", "id": f"p{p}", "gender": r.choice(["male", "female"]), "birthDate": f"{r.randint(1930, 1990)}-0{r.randint(1, 9)}-11"})
        for k in range(r.randint(20, 40)):
            out({"resourceType": "Observation", "id": f"o{p}-{k}", "status": "final", "subject": {"reference": f"Patient/p{p}"},
                 "code": {"coding": [{"system": "http://loinc.org", "code": r.choice(["2160-0", "8480-6", "8462-4", "718-7", "2345-7"])}]},
                 "effectiveDateTime": f"{2000 + k // 4}-{1 + k % 12:02d}-{r.randint(1, 28)}", "valueQuantity": {"value": round(r.gauss(5, 2), 2), "unit": "mg/dL"}})
P
  run "$vitae" init "$work/s"; run "$vitae" ingest "$work/s" "$work/persons.ndjson" --from fhir; status_is 0
}
weights() { sha256sum < "$work/s/models/runs/$1/model.safetensors"; }
shape=(train "$work/s" --size tiny --no-task --batch 512 --lanes 4 --threads 1)

any_number_of_ranks() {
  mpi || return
  make_site
  run "$vitae" "${shape[@]}" --epochs 3 --name one --json; status_is 0
  local loss; loss=$(json "j['loss']")
  for n in 2 4; do
    run ranks $n "$vitae" "${shape[@]}" --epochs 3 --name "r$n" --json; status_is 0
    same "$(json "j['loss']")" "$loss" "loss of $n ranks"
    same "$(weights "r$n")" "$(weights one)" "weights of $n ranks"
    same "$(grep -c '"step"' "$work/s/models/runs/r$n/training.jsonl")" "$(grep -c '"step"' "$work/s/models/runs/one/training.jsonl")" "lines of the log"
  done
  run "$vitae" verify "$work/s"; status_is 0
}

ranks_that_do_not_fit() {
  mpi || return
  run ranks 3 "$vitae" "${shape[@]}" --name three; [ "$status" -ne 0 ] || fail "3 ranks took 4 lanes"
  err_has "4 lanes do not go round 3 ranks"
  [ ! -e "$work/s/models/runs/three/config.json" ] || fail "a refused run left a checkpoint"
}

a_killed_rank() {
  mpi || return
  local long=("$vitae" "${shape[@]}" --epochs 20 --save-every 0.05) victim= launcher try
  run "${long[@]}" --name calm; status_is 0
  saved() { [ -e "$work/s/models/runs/killed/config.json" ] || ! kill -0 "$launcher" 2> /dev/null; }
  for try in $(seq 50); do # a fast machine may be at the end before the kill: again
    rm -rf "$work/s/models/runs/killed"
    mpirun -n 2 --oversubscribe --bind-to none "${long[@]}" --name killed > "$work/out" 2> "$work/err" < /dev/null & launcher=$!
    until_so saved
    victim=$(ps -o pid= --ppid "$launcher" | tail -1 | tr -d ' ')
    [ -n "$victim" ] && kill -KILL "$victim" 2> /dev/null
    wait "$launcher"; status=$?
    [ "$status" -ne 0 ] && break
  done
  [ "$status" -ne 0 ] || fail "the run went on without a rank"
  grep -qiE 'exited on signal 9|killed' "$work/err" || fail "no message: $(head -c 300 "$work/err")"
  run "$vitae" verify "$work/s/models/runs/killed"; status_is 0
  run ranks 4 "${long[@]}" --name killed --resume; status_is 0
  same "$(weights killed)" "$(weights calm)" "weights after a kill and a resume on 4 ranks"
}
run_cases any_number_of_ranks ranks_that_do_not_fit a_killed_rank
