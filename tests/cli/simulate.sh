#!/usr/bin/env bash
# Made-up patients through the ordinary commands: simulate, ingest, train, --score, validate with two versions and at another site.
. "$(dirname "$0")/../../scripts/testlib.sh"

made() { # a site of made-up patients, once
  [ -d "$work/site" ] && return 0
  "$vitae" simulate "$work/made" --scenario constant --n 900 --seed 3 --quiet > "$work/simulated" 2>&1 || { fail "simulate failed"; return 1; }
  for s in site other; do
    "$vitae" init "$work/$s" > /dev/null
    "$vitae" ingest "$work/$s" "$work/made/meds" --from meds --quiet > /dev/null 2>&1 || fail "ingest failed"
    mkdir -p "$work/$s/tasks"; cp "$work/made/tasks/sim-stroke-365d.json" "$work/$s/tasks/"
  done
  for n in index time; do
    "$vitae" train "$work/site" --size tiny --position $n --epochs 1 --batch 512 --task sim-stroke-365d --name $n --threads 1 --quiet > "$work/trained" 2>&1 || fail "train failed"
  done
}

the_truth_stands_beside_the_records() {
  made || return 0
  [ "$(head -1 "$work/made/truth.csv" | cut -d, -f1-6)" = subject_id,index,outcome,days,risk,risk_full ] || fail "the truth's header"
  same "$(wc -l < "$work/made/truth.csv")" $((1 + 900 * 3 * 5)) "rows of truth"
  run "$vitae" simulate "$work/made" --n 3; status_is 64
  run "$vitae" simulate "$work/else" --scenario no-such; status_is 66
}

a_model_is_held_against_the_truth() {
  made || return 0
  for n in index time; do grep -q "\"position\": *\"rope_$n\"" "$work/site/models/runs/$n/config.json" || fail "positions of $n"; done
  run "$vitae" train "$work/site" --position sideways; status_is 64; err_has "--position wants index or time"
  run "$vitae" simulate "$work/made" --score "$work/site" --json; status_is 0
  less 80 "$(json 'j["n"]')" "held-out persons"
  # who is held out is drawn anew: of so few a model may seem better than the truth by chance, by a little
  same "$(json 'all(h["auroc_model"] <= h["auroc_ceiling"] + .05 and .5 < h["auroc_ceiling"] < 1 for o in j["outcomes"] for h in o["horizons"])')" True "nobody beats the truth"
}

# Of the law that they are drawn from nothing but chance may keep them away; the hazard head is learned apart, and one short epoch teaches little.
futures_are_held_against_their_law() {
  made || return 0
  run "$vitae" simulate "$work/made" --score "$work/site" --futures 200 --persons 60 --json; status_is 0
  same "$(json 'sorted(j["sampled_against"])')" "['closed_form', 'own_law', 'truth']" "what they are held against"
  same "$(json 'j["sampled_against"]["own_law"]["pairs"]')" 180 "pairs"
  less 162 "$(json 'j["sampled_against"]["own_law"]["within_error"]')" "pairs within error"
  run "$vitae" simulate "$work/made" --score "$work/site" --futures 20 --persons 5; status_is 0
  grep -q 'of the law that they are drawn from' "$work/out" || fail "the comparison is not printed"
}

two_versions_and_another_site() {
  made || return 0
  run "$vitae" validate "$work/site" --task sim-stroke-365d --model "$work/site/models/runs/time" --against "$work/site/models/runs/index" --bootstrap 30 --threads 1 --json; status_is 0
  same "$(json 'j[0]["comparison"]["delong_difference"] is not None')" True "a comparison"
  same "$(json 'j[0]["external"]')" False "inside"
  run "$vitae" validate "$work/other" --task sim-stroke-365d --model "$work/site/models/runs/time" --bootstrap 30 --threads 1 --json; status_is 0
  same "$(json 'j[0]["external"]')" True "outside"
  report=$(json 'j[0]["report"]')/report.json
  python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); assert "recalibrated" in r["predictors"] and len(r["tripod_ai"]["items"]) == 27 and r["sureness"]["measured"]' "$report" || fail "the report"
}

# Versions by their ids: read from the registry one after the other while nobody but the report's writer locks it.
two_versions_by_their_ids() {
  made || return 0
  local ids first second
  ids=$("$vitae" versions "$work/site" --json | python3 -c 'import json,sys; print(*[v["version"] for v in json.load(sys.stdin)][:2])')
  first=${ids% *} second=${ids#* }
  run timeout 300 "$vitae" validate "$work/site" --task sim-stroke-365d --model "$first" --against "${second:0:12}" --reference "$second" --bootstrap 30 --threads 1 --quiet --json; status_is 0
  json_is 'j[0]["comparison"]["against"]' "$second"
  run "$vitae" versions "$work/site" --json; same "$(json '[v["reports"] for v in j if v["version"] == "'"$first"'"]')" "[1]" "reports of the first"
  same "$(json '[v["reports"] for v in j if v["version"] == "'"$second"'"]')" "[0]" "reports of the second"
}

# A score that is not resampled says so, on the screen, in the answer and in the report.
no_interval_without_a_reason() {
  made || return 0
  local task="$work/site/tasks/sim-stroke-365d.json" kept="$work/task-kept.json"
  cp "$task" "$kept"
  python3 -c 'import json,sys; j=json.load(open(sys.argv[1])); j["scores"] = ["h", "concordance"]; json.dump(j, open(sys.argv[1], "w"))' "$task"
  run "$vitae" validate "$work/site" --task sim-stroke-365d --model "$work/site/models/runs/time" --bootstrap 30 --threads 1 --quiet; status_is 0
  nothing_says "nan"; out_has "(no interval: not resampled"; grep -q 'h [0-9.]* \[[0-9.]*, [0-9.]*\]; xgboost' "$work/out" || fail "no interval of H"
  run "$vitae" validate "$work/site" --task sim-stroke-365d --model "$work/site/models/runs/time" --bootstrap 30 --threads 1 --quiet --json; status_is 0
  same "$(json '["no_interval" in j[0]["scores"][k] for k in ("h", "concordance")]')" "[False, True]" "reasons"
  grep -q '"no_interval":' "$(json 'j[0]["report"]')/report.json" || fail "the report gives no reason"
  cp "$kept" "$task"
}

futures_have_a_horizon() {
  made || return 0
  local who model="$work/site/models/runs/time"
  who=$("$vitae" show "$work/site" | grep -oE -m1 '^ *[0-9]{10,} ' | tr -d ' ')
  run "$vitae" predict "$work/site" --subject "$who" --model "$model" --futures 5 --horizon 0d; status_is 64; err_has "a span of time to come"
  run "$vitae" predict "$work/site" --subject "$who" --model "$model" --futures 5 --horizon 30d; status_is 0
}

nobody_to_calibrate_on_is_said() {
  made || return 0
  local u="$work/uncalibrated" who
  "$vitae" init "$u" > /dev/null; "$vitae" ingest "$u" "$work/made/meds" --from meds --split train --quiet > /dev/null 2>&1 || fail "ingest failed"
  mkdir -p "$u/tasks"; cp "$work/made/tasks/sim-stroke-365d.json" "$u/tasks/"
  run "$vitae" train "$u" --size tiny --epochs 1 --batch 512 --task sim-stroke-365d --threads 1 --quiet; status_is 0
  err_has "sim-stroke-365d: not calibrated: no tuning patient has an example of the task"
  for who in $("$vitae" show "$u" --limit 60 | grep -oE '^ *[0-9]{10,} '); do
    run "$vitae" predict "$u" --subject "$who" --task sim-stroke-365d --explain 0 --outcomes 0; status_is 0
    grep -q 'task head' "$work/out" && break
  done
  out_has "task head, not calibrated: no tuning patients"
  ! grep -q "not calibrated" "$work/trained" || fail "a calibrated head is said not to be"
}

a_version_without_the_head_is_no_other() {
  made || return 0
  "$vitae" train "$work/site" --size tiny --epochs 1 --batch 512 --task death-1y --name headless --threads 1 --quiet > "$work/trained" 2>&1 || fail "train failed"
  run timeout 300 "$vitae" validate "$work/site" --task sim-stroke-365d --model "$work/site/models/runs/time" --against "$work/site/models/runs/headless" --bootstrap 30 --threads 1 --quiet
  status_is 15; err_has "the other checkpoint has no head for the task sim-stroke-365d"
}

# A version is proved on the question that it serves: its head's own, whatever the task file says since.
only_its_own_question_is_proved() {
  made || return 0
  local task="$work/site/tasks/sim-stroke-365d.json" kept="$work/task-kept.json" id
  id=$("$vitae" versions "$work/site" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["version"])')
  cp "$task" "$kept"
  change() { python3 -c 'import json,sys; j=json.load(open(sys.argv[1])); exec(sys.argv[3]); json.dump(j, open(sys.argv[2], "w"), indent=3)' "$kept" "$task" "$1"; }
  change 'j["horizon"] = "730d"'
  run "$vitae" validate "$work/site" --task sim-stroke-365d --model "$id" --bootstrap 30 --threads 1 --quiet; status_is 15
  err_has "the task sim-stroke-365d is not what the model's head was trained on"
  run "$vitae" validate "$work/site" --model "$id" --bootstrap 30 --threads 1 --quiet; status_is 65; err_has "not what the model's head was trained on"
  run "$vitae" versions "$work/site" --json; same "$(json '[v["reports"] for v in j if v["version"] == "'"$id"'"]')" "[0]" "no report is attached"
  change 'j["title"] = "In other words"; j["gap"] = ["0d", "30d"]'
  run "$vitae" validate "$work/site" --task sim-stroke-365d --model "$id" --bootstrap 30 --threads 1 --quiet; status_is 0
  run "$vitae" versions "$work/site" --json; same "$(json '[v["reports"] for v in j if v["version"] == "'"$id"'"]')" "[1]" "the report is attached"
  cp "$kept" "$task"
}

run_cases the_truth_stands_beside_the_records a_model_is_held_against_the_truth futures_are_held_against_their_law two_versions_and_another_site no_interval_without_a_reason futures_have_a_horizon nobody_to_calibrate_on_is_said only_its_own_question_is_proved two_versions_by_their_ids a_version_without_the_head_is_no_other
