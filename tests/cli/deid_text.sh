#!/usr/bin/env bash
# `vitae deid --from text --vault`: a person's notes move by the shift that the vault holds, whatever source and command drew it first.
. "$(dirname "$0")/../../scripts/testlib.sh"

days() { # the days between a date of the first text of FILE and 2019-06-15
  python3 - "$1" <<'P'
import datetime, json, re, sys
row = json.loads(open(sys.argv[1]).readline())
d = re.search(r"(\d\d)/(\d\d)/(\d{4})", row["text"])
print((datetime.date(int(d[3]), int(d[1]), int(d[2])) - datetime.date(2019, 6, 15)).days)
P
}
scrub() { run "$vitae" deid --from text "$work/notes.jsonl" "$1" --policy expert --vault "$work/s/vault"; status_is 0; }

a_note_moves_as_the_events_do() {
  printf '%s\n' '{"resourceType":"Patient","id":"p1","birthDate":"1950-02-03","name":[{"family":"Quillfeather","given":["Oda"]}]}' \
    '{"resourceType":"Observation","id":"o1","status":"final","subject":{"reference":"Patient/p1"},"code":{"coding":[{"system":"http://loinc.org","code":"718-7"}]},"effectiveDateTime":"2019-06-15T00:00:00Z","valueQuantity":{"value":1}}' > "$work/p.ndjson"
  printf '%s\n' '{"id":1,"person":"p1","text":"Oda Quillfeather was seen on 06/15/2019. Born 1950-02-03."}' > "$work/notes.jsonl"
  run "$vitae" init "$work/s" --policy expert; status_is 0
  run "$vitae" ingest "$work/s" "$work/p.ndjson" --from fhir; status_is 0
  run "$vitae" vault "$work/s" lookup --source fhir --person p1 --json; status_is 0
  run "$vitae" show "$work/s" "$(json "j['subject']")" --json; status_is 0
  local events; events=$(json "([e['t'] for e in j['events'] if e['code'] == 'LOINC//718-7'][0] - 1560556800000000) // 86400000000")
  scrub "$work/1.jsonl"; same "$(days "$work/1.jsonl")" "$events" "shift of the note"
  ! grep -qi quillfeather "$work/1.jsonl" || fail "the person's name is still there"
  scrub "$work/2.jsonl"; cmp -s "$work/1.jsonl" "$work/2.jsonl" || fail "the same notes came out otherwise the second time"
}

a_shift_drawn_for_a_note_is_kept() {
  rm -rf "$work/s"; run "$vitae" init "$work/s" --policy safe-harbor; status_is 0 # years only: nobody has a shift
  run "$vitae" ingest "$work/s" "$work/p.ndjson" --from fhir; status_is 0
  scrub "$work/3.jsonl"; scrub "$work/4.jsonl"
  [ "$(days "$work/3.jsonl")" -ne 0 ] || fail "the date was not moved"
  cmp -s "$work/3.jsonl" "$work/4.jsonl" || fail "the second run drew another shift"
  printf '%s\n' '{"id":2,"person":"p1","text":"seen 06/15/2019"}' 'no JSON' > "$work/notes.jsonl" # what was written before the bad line has its shift kept too
  run "$vitae" deid --from text "$work/notes.jsonl" "$work/5.jsonl" --policy expert --vault "$work/s/vault"; status_is 65
  same "$(days "$work/5.jsonl")" "$(days "$work/3.jsonl")" "shift"
}

run_cases a_note_moves_as_the_events_do a_shift_drawn_for_a_note_is_kept
