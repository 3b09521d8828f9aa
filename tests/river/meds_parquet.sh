#!/usr/bin/env bash
# MEDS as Parquet: a store with values, units, texts and blobs goes out, is read by DuckDB itself, and comes in again with nothing lost but the
# blobs' bytes. Needs the optional DuckDB library (make duckdb).
. "$(dirname "$0")/../../scripts/testlib.sh"
lib=$(dirname "$vitae")/duckdb/libduckdb.so

have_duckdb() { [ -f "$lib" ] && return 0; if [ -n "${CI:-}" ]; then fail "no $lib: make duckdb"; else skip "no DuckDB library (make duckdb)"; fi; return 1; }
sql() { python3 - "$lib" "$1" <<'P'
import ctypes as C, sys
d = C.CDLL(sys.argv[1]); db, con, res = C.c_void_p(), C.c_void_p(), (C.c_char * 128)()
d.duckdb_value_varchar.restype = C.c_char_p; d.duckdb_value_varchar.argtypes = [C.c_void_p, C.c_uint64, C.c_uint64]
d.duckdb_row_count.restype = C.c_uint64; d.duckdb_row_count.argtypes = [C.c_void_p]; d.duckdb_column_count.restype = C.c_uint64; d.duckdb_column_count.argtypes = [C.c_void_p]
assert d.duckdb_open(None, C.byref(db)) == 0 and d.duckdb_connect(db, C.byref(con)) == 0
if d.duckdb_query(con, sys.argv[2].encode(), C.byref(res)) != 0: sys.exit("the query failed")
n, m = d.duckdb_row_count(C.byref(res)), d.duckdb_column_count(C.byref(res))
for i in range(n): print("|".join((d.duckdb_value_varchar(C.byref(res), c, i) or b"").decode() for c in range(m)))
P
}

make_site() {
  [ -d "$work/s" ] && return 0
  mkdir -p "$work/src" "$work/vcf"
  python3 - "$work" <<'P'
import json, sys
w = sys.argv[1]
with open(f"{w}/src/x.ndjson", "w") as f:
    for p in range(30):
        f.write(json.dumps({"resourceType": "Patient", "id": f"p{p}", "gender": "male", "birthDate": f"19{40 + p}-03-04", "name": [{"family": "Quetzalcoatl"}]}) + "\n")
        for k in range(5): f.write(json.dumps({"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/p{p}"}, "code": {"coding": [{"system": "http://loinc.org", "code": "2160-0"}]},
            "effectiveDateTime": f"2015-0{1 + k}-11T07:08:0{k}.5Z", "valueQuantity": {"value": p + k / 8, "unit": "mg/dL"}}) + "\n")
        f.write(json.dumps({"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/p{p}"}, "code": {"coding": [{"system": "http://loinc.org", "code": "11506-3"}]},
            "effectiveDateTime": "2015-09-01", "valueString": "Mr. Quetzalcoatl, \"quoted\",\nsecond line"}) + "\n")
names = "\t".join(f"p{p}" for p in range(4))
with open(f"{w}/vcf/x.vcf", "w") as f:
    f.write("##fileformat=VCFv4.2\n##contig=<ID=1,length=248956422>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n")
    f.write(f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{names}\n1\t1000\trs1\tA\tG\t50\tPASS\t.\tGT\t0/1\t1/1\t0/0\t0/1\n")
P
  run "$vitae" init "$work/s"; run "$vitae" ingest "$work/s" "$work/src" --from fhir; status_is 0
  run "$vitae" ingest "$work/s" "$work/vcf" --from vcf; status_is 0
}

duckdb_reads_what_was_written() {
  have_duckdb || return 0
  make_site
  run "$vitae" export "$work/s" --format meds --to "$work/meds1"; status_is 0
  local from="read_parquet('$work/meds1/data/*/*.parquet')"
  run "$vitae" show "$work/s" --json; json_is "j['events']" "$(sql "select count(*) from $from")"
  same "$(sql "describe select * from $from" | cut -d'|' -f1,2 | tr '\n' ' ')" "subject_id|BIGINT time|TIMESTAMP code|VARCHAR numeric_value|FLOAT text_value|VARCHAR unit|VARCHAR blob|VARCHAR " "columns"
  same "$(sql "select count(*), count(distinct blob), min(length(blob)) from $from where blob is not null and code like 'GENOME%' and time is null")" "4|4|64" "blobs"
  for b in $(sql "select blob from $from where blob is not null"); do [ -f "$work/s/timelines/blobs/${b:0:2}/$b" ] || fail "no blob of that name"; done
  same "$(sql "select count(*), count(distinct subject_id) from $from where code = 'LOINC//2160-0' and unit = 'mg/dL'")" "150|30" "values with units"
  same "$(sql "select count(*) from $from where text_value like '%second line' and text_value not like '%uetzal%'")" 30 "texts"
  same "$(sql "select count(*) from read_parquet('$work/meds1/metadata/subject_splits.parquet')")" "$(sql "select count(distinct subject_id) from $from")" "splits"
  same "$(sql "select count(*) from $from a anti join read_parquet('$work/meds1/metadata/codes.parquet') c on a.code = c.code")" 0 "codes without a row"
  run python3 -m json.tool "$work/meds1/metadata/dataset.json"; status_is 0; out_has '"blob"'
}

it_comes_in_again_as_it_was() {
  have_duckdb || return 0
  make_site; [ -d "$work/meds1" ] || run "$vitae" export "$work/s" --format meds --to "$work/meds1"
  run "$vitae" init "$work/again" --policy limited; run "$vitae" ingest "$work/again" "$work/meds1" --from meds --json; status_is 0
  json_is "j['wall']['dropped_by_path'].get('MEDS.?', {'unknown-element': 0}) != None" True
  run "$vitae" export "$work/again" --format meds --to "$work/meds2"; status_is 0
  local a="read_parquet('$work/meds1/data/*/*.parquet')" b="read_parquet('$work/meds2/data/*/*.parquet')" what="code, numeric_value, unit, time"
  # pseudonyms are new: lives are compared by their contents. The limited policy keeps dates, so times are the same to the microsecond
  same "$(sql "select count(*) from (select $what, count(*) n from $a where code not like 'GENOME%' and text_value is null group by all except select $what, count(*) n from $b where text_value is null group by all)")" 0 "events lost or changed"
  same "$(sql "select count(*) from (select list(row(code, time, numeric_value) order by code, time, numeric_value) life from $a where code not like 'GENOME%' and text_value is null group by subject_id except select list(row(code, time, numeric_value) order by code, time, numeric_value) from $b where text_value is null group by subject_id)")" 0 "lives that differ"
  same "$(sql "select count(*) from $b where text_value is not null")" 30 "texts"
}
run_cases duckdb_reads_what_was_written it_comes_in_again_as_it_was
