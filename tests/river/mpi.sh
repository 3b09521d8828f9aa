#!/usr/bin/env bash
# Training over several processes: 1, 2 and 4 ranks write the same bits for the same lanes; a rank that is killed ends the run with a message, and it
# goes on from its last checkpoint on another number of ranks to the bits of a run that nobody disturbed. Ranks on GPUs: over emulated ones
# (kernel/cuda_emulated.h) and an NCCL over MPI (kernel/nccl_emulated.c), for what chooses the device and the way of gradients, and for the tree of sums.
. "$(dirname "$0")/../../scripts/testlib.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_base_warn_component_unused=0
unset CUDA_VISIBLE_DEVICES
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

# a program beside which the emulated devices lie, and a training of such a shape
devices() {
  mpi || return 1
  local built; built=$(dirname "$vitae")/tests
  if [ ! -f "$built/vitae-cuda-emulated.so" ] || [ ! -f "$built/nccl/libnccl.so.2" ]; then
    if [ -n "${CI:-}" ]; then fail "no emulated devices: make tests"; else skip "no emulated devices: make tests"; fi
    return 1
  fi
  mkdir -p "$work/bin"; cp "$vitae" "$(dirname "$vitae")/vitae-mpi.so" "$work/bin"; cp "$built/vitae-cuda-emulated.so" "$work/bin/vitae-cuda.so"
  nccl=$built/nccl
  gpu=("$work/bin/vitae" train "$work/s" --shape "$1" --no-task --batch 64 --micro 64 --lanes 4 --threads 1 --column cuda --epochs 0.01)
  [ -d "$work/s" ] || make_site
}
# of 4 ranks each gets the sum once, and three gradients travel; a gradient is about as long as the file of the weights
moved() { python3 - "$work/moved" "$1" <<'P'
import sys
rows = [line.split() for line in open(sys.argv[1])]
sent, received = (sum(int(r[i]) for r in rows) for i in (3, 5))
each = {int(r[7]) for r in rows}
print("gradients" if len(rows) == 4 and len(each) == 1 and sent == received == 3 * max(each) and abs(int(sys.argv[2]) / max(each) - 1) < .01 else (rows, sys.argv[2]))
P
}

gradients_by_nccl() {
  devices 1,448,7,64 || return # 1.2 million weights: a gradient is longer than the pieces that travel
  run "${gpu[@]}" --name g1; status_is 0
  run ranks 4 -x LD_LIBRARY_PATH="$nccl" -x VITAE_EMULATED_NCCL_LOG="$work/moved" "${gpu[@]}" --name g4; status_is 0
  err_has "gradients travel by NCCL"
  same "$(weights g4)" "$(weights g1)" "weights of 4 ranks by NCCL"
  same "$(moved "$(stat -c %s "$work/s/models/runs/g4/model.safetensors")")" gradients "what went by NCCL in one step"
}

nccl_that_cannot_be() {
  devices 1,16,1,16 || return
  mkdir -p "$work/broken"; : > "$work/broken/libnccl.so.2" # also where there is one
  run ranks 2 -x LD_LIBRARY_PATH="$work/broken" "${gpu[@]}" --name n1; status_is 0
  err_has "gradients travel by MPI, not NCCL: rank 0: NCCL, opening: libnccl.so.2 cannot be opened"
  run ranks 2 -x LD_LIBRARY_PATH="$nccl" -x VITAE_EMULATED_NCCL_LOG="$work/none" "${gpu[@]}" --name n0 --transport mpi; status_is 0
  nothing_says "NCCL"; [ ! -e "$work/none" ] || fail "--transport mpi went by NCCL"
  same "$(weights n0)" "$(weights n1)" "weights of 2 ranks by MPI"
  run ranks 2 -x LD_LIBRARY_PATH="$work/broken" "${gpu[@]}" --name n2 --transport nccl; status_is 69
  err_has "NCCL cannot be used: rank 0: NCCL, opening: libnccl.so.2 cannot be opened"
  run ranks 2 -x LD_LIBRARY_PATH="$nccl" -x CUDA_VISIBLE_DEVICES=5 "${gpu[@]}" --name n3; status_is 0
  err_has "gradients travel by MPI, not NCCL: ranks 0 and 1 have the same GPU"
  run "$vitae" "${shape[@]}" --transport nccl --name n5; status_is 64
  err_has "NCCL sends between GPUs only"
  run ranks 2 -x LD_LIBRARY_PATH="$nccl" -x VITAE_EMULATED_NCCL_FAILS=1 "${gpu[@]}" --name n4
  [ "$status" -ne 0 ] || fail "the run went on without NCCL"
  err_has "NCCL, sending: unhandled system error; the run can be resumed"
}
run_cases any_number_of_ranks ranks_that_do_not_fit a_killed_rank gradients_by_nccl nccl_that_cannot_be
