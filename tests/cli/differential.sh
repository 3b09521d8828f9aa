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

run_cases no_case_is_ranked_by_itself
