#!/usr/bin/env bash
# vitae differential from files: what --evaluate and --test leave out of the knowledge, and what is told of input that cannot be used.
. "$(dirname "$0")/../../scripts/testlib.sh"

made() { # 42 cases of 10 diseases: 8 have five cases each, 2 are told of by one case alone
  [ -s "$work/named" ] && return 0
  python3 - "$work" <<'P'
import json, sys
named, plain = [], []
for i in range(42):
    k = i % 8 if i < 40 else i - 32
    c = {"id": f"c{i}", "hpo": [f"HP:{k}", f"HP:{20 + i % 3}"], "disease": {"id": f"OMIM:{k}", "label": f"D{k}"}}
    plain.append(json.dumps(c))
    named.append(json.dumps({**c, "pmid": f"PMID:{i}"}))
open(sys.argv[1] + "/named", "w").write("\n".join(named) + "\n")
open(sys.argv[1] + "/plain", "w").write("\n".join(plain) + "\n")
P
  printf '[Term]\nid: HP:%s\nname: Finding %s\n\n' $(for i in $(seq 0 29); do echo "$i $i"; done) > "$work/hp.obo"
}

no_case_is_ranked_by_itself() {
  made
  for f in named plain; do
    run "$vitae" differential --ontology "$work/hp.obo" --cases "$work/$f" --evaluate --json; status_is 0
    json_is 'j["cases"]' 42; json_is 'j["reachable"]' 40
    if [ $f = named ]; then json_is '"its publication (42 cases)" in j["protocol"]' True
    else json_is '"its publication (0 cases), what bears its id where it names no publication (42), nothing (0)" in j["protocol"]' True; fi
    run "$vitae" differential --ontology "$work/hp.obo" --cases "$work/$f" --test "$work/$f" --json; status_is 0
    json_is 'j["reachable"]' 40
  done
}

what_cannot_be_used_is_told() {
  made
  { cat "$work/named"; echo '{"id":"x","hpo":["HP:1"]}'; } > "$work/some"
  known=("$vitae" differential --ontology "$work/hp.obo" --cases "$work/some")
  run "${known[@]}" HP:1; status_is 0; err_has "1 of --cases name no disease"
  run "${known[@]}" --test "$work/some" --json; status_is 0; json_is 'j["cases"], j["skipped"]' "(42, 1)"
  run "${known[@]}" --evaluate --json; status_is 0; json_is 'j["skipped"]' 1
  echo '{"id":"x","hpo":["HP:1"]}' > "$work/none"
  run "$vitae" differential --ontology "$work/hp.obo" --cases "$work/none" HP:1; status_is 65; err_has "1 cases name no disease"
  echo '{"hpo":["HP:1"],"genes":["NOSUCH"]}' > "$work/case"
  run "${known[@]}" --case "$work/case"; status_is 0; out_has "1 genes are known for none of these diseases"
  run "${known[@]}" --case "$work/case" --no-genes --json; status_is 0; json_is 'j["genes_unknown"]' 0
  echo '{"hpo":["HP:1"],"excluded":["HP:2"]}' > "$work/wrong"
  run "${known[@]}" --case "$work/wrong"; status_is 65; err_has "unknown member"
}

nothing_beside_a_file_is_passed_over() {
  made; echo '{"hpo":["HP:1"]}' > "$work/case"
  known=("$vitae" differential --ontology "$work/hp.obo" --cases "$work/named")
  for file in "--case $work/case" "--test $work/named" --evaluate "--fit $work/weights"; do
    for words in HP:2 no:HP:2 "--sex male" "--age 3"; do
      run "${known[@]}" $file $words; status_is 64; err_has "nothing beside it"
    done
  done
  run "${known[@]}" HP:2 no:HP:3 --sex male --age 3; status_is 0
  run "${known[@]}" HP:2 --top 1000; status_is 0
  run "${known[@]}" HP:2 --top 1001; status_is 64
}

run_cases no_case_is_ranked_by_itself what_cannot_be_used_is_told nothing_beside_a_file_is_passed_over
