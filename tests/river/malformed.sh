#!/usr/bin/env bash
# Malformed inputs of every kind through `vitae ingest`: an exit status of the error table, no crash, the bad counted, the good kept,
# the store whole, and no word of a bad value in any message, report or store.
. "$(dirname "$0")/../../scripts/testlib.sh"
python3 tests/river/malformed_inputs.py "$work/in" || exit 1

stored() { [ "$(cat "$work/site/timelines/CURRENT" 2>/dev/null || echo none)" != none ]; }
number() { [[ $(< "$work/out") =~ \"$1\":([0-9]+) ]] && echo "${BASH_REMATCH[1]}"; }
one() { # name kind mapping path must kept
  local site=$work/site rejected kept
  rm -rf "$site"; cp -r "$work/blank" "$site"
  local more=(); [ "$3" = - ] || more=(--mapping "$3")
  run timeout -s KILL 600 "$vitae" ingest "$site" "$work/in/$4" --from "$2" "${more[@]}" --json
  [ $status -ne 137 ] || fail "$1: more than ten minutes"
  no_crash "$1"; nothing_says Mrkzq777; cat "$work/out" >> "$work/lines"
  if grep -rqi Mrkzq777 "$site" --exclude-dir=vault; then fail "$1: a bad value is in the site: $(grep -rli Mrkzq777 "$site" --exclude-dir=vault | head -3)"; fi
  if grep -rqi Mrkzq777 "$site/vault/quarantine"; then fail "$1: a bad value is in the quarantine list"; fi
  case $5 in
    refuse) [ $status -ne 0 ] || fail "$1: accepted"; ! stored || fail "$1: something was stored";;
    reject) [ $status -eq 0 ] || fail "$1: exit status $status: $(head -c 300 "$work/out")"
      rejected=$(number rejected); [ "${rejected:-0}" -gt 0 ] 2>/dev/null || fail "$1: nothing counted as rejected"
      [ "$(cat "$site"/vault/quarantine/*.jsonl 2>/dev/null | wc -l)" = "$rejected" ] || fail "$1: the quarantine list and the count differ";;
  esac
  if [ $status -eq 0 ]; then
    kept=$(number store_persons); [ "$kept" -ge "$6" ] 2>/dev/null || fail "$1: $kept persons kept, not $6"
    run "$vitae" verify "$site"; status_is 0
  elif [ "$5" != refuse ]; then
    # refused as a whole: said in words, and nothing half-done
    grep -qE '"message":"[^"]{10}' "$work/out" || fail "$1: a refusal without words"
    ! stored || fail "$1: refused, and yet stored"
  fi
}
all_of() { while IFS=$'\t' read -r n k m p w c; do one "$n" "$k" "$m" "$p" "$w" "$c"; seen=$((seen + 1)); done < <(grep -P "^$1" "$work/in/cases.tsv"); }
of_kind() {
  seen=0; : > "$work/lines"; all_of "$1"; [ $seen -ge "$2" ] || fail "only $seen cases"
  python3 -c 'import json,sys; [json.loads(l) for l in open(sys.argv[1])]' "$work/lines" 2> /dev/null || fail "what --json prints is not one JSON object a line"
  same "$(wc -l < "$work/lines")" $seen "lines of --json"
}
run "$vitae" init "$work/blank"; [ $status -eq 0 ] || exit 1
fhir_malformed() { of_kind fhir 50; }
physionet_malformed() { of_kind icu 20; }
omop_malformed() { of_kind omop 12; }
mimic_malformed() { of_kind mimic 5; }
meds_malformed() { of_kind meds 8; }
# The same file twice gives the same list of rejects, and a bad file never spoils an earlier generation
a_bad_ingest_leaves_the_old_generation() {
  rm -rf "$work/site"; cp -r "$work/blank" "$work/site"
  run "$vitae" ingest "$work/site" "$work/in/fhir_crlf" --from fhir; status_is 0
  run "$vitae" show "$work/site" --json; local before; before=$(json "(j['generation'],j['hash'])")
  for n in fhir_only_empty fhir_noise meds_parquet_only; do
    run "$vitae" ingest "$work/site" "$work/in/$n" --from "${n%%_*}"; [ $status -ne 0 ] || fail "$n was accepted"
    run "$vitae" show "$work/site" --json; same "$(json "(j['generation'],j['hash'])")" "$before" "generation after $n"
  done
  run "$vitae" verify "$work/site"; status_is 0
}
run_cases fhir_malformed physionet_malformed omop_malformed mimic_malformed meds_malformed a_bad_ingest_leaves_the_old_generation
