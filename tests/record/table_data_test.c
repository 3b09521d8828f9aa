/* The shipped mappings on the real data sets, against counts that awk makes of the same files. */
#include "base/map.h"
#include "table_help.h"

/* Millions of records: counted, not kept. */
struct tally {
  struct intern codes;
  uint64_t n[8192], kinds[8], rejects, early;
  double sum[8192];
  struct map persons;
  struct record_stats stats;
  int64_t not_before; /* outcomes before this are counted in `early` */
};
static struct tally *tally;

static int tally_take(void *ctx, const struct record *r, struct error *e) {
  struct tally *t = ctx;
  uint32_t id;
  bool is_new;
  t->kinds[r->kind]++;
  if (r->kind == RECORD_DROPPED) return OK;
  if (!map_put(&t->persons, r->person, &is_new)) return error_set(e, E_NOMEM, "persons");
  bool outcome = r->kind == RECORD_DEATH || str_starts(r->code, STR("HOSPITAL_DISCHARGE"));
  if (outcome && r->time.us <= t->not_before) t->early++;
  if (r->kind != RECORD_EVENT) return OK;
  TRY(intern_put(&t->codes, r->code, &id, e));
  assert_true(id < 8192);
  t->n[id]++;
  if (!isnan(r->value)) t->sum[id] += r->value;
  return OK;
}
static void tally_refuse(void *ctx, const struct record_reject *r) {
  struct tally *t = ctx;
  if (t->rejects++ < 5) print_error("reject %s:%lu %s: %s\n", r->file, (unsigned long)r->row, r->field, r->reason);
}
static void tally_free(void) {
  if (!tally) return;
  intern_release(&tally->codes);
  map_release(&tally->persons);
  free(tally);
  tally = NULL;
}
static void run_tally(const char *mapping, const char *path) {
  tally_free();
  tally = calloc(1, sizeof *tally);
  assert_non_null(tally);
  intern_init(&tally->codes, 0);
  map_init(&tally->persons, 0);
  tally->not_before = (time_from_civil(2000, 1, 1) + 2) * TIME_DAY;
  struct record_sink sink = {.ctx = tally, .record = tally_take, .reject = tally_refuse};
  struct table_mapping *m = mapping_shipped(mapping);
  struct error e = {0};
  if (table_read(m, path, &sink, &tally->stats, &e) < 0) {
    error_print(stderr, &e);
    fail_msg("the run failed");
  }
  table_mapping_free(m);
  assert_int_equal(tally->stats.rejected, tally->rejects);
}
static uint64_t n_of(const char *code) {
  uint32_t id;
  return intern_find(&tally->codes, str_c(code), &id) ? tally->n[id] : 0;
}
static double sum_of(const char *code) {
  uint32_t id;
  return intern_find(&tally->codes, str_c(code), &id) ? tally->sum[id] : 0;
}
/* The first number that a shell command prints: the independent count. */
static double counted(const char *fmt, ...) {
  char command[2048];
  double v = NAN;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(command, sizeof command, fmt, ap);
  va_end(ap);
  FILE *p = popen(command, "r");
  assert_non_null(p);
  if (fscanf(p, "%lf", &v) != 1) fail_msg("no number from: %s", command);
  assert_int_equal(pclose(p), 0);
  return v;
}
static void want_n(const char *code, double n) {
  if ((double)n_of(code) != n) fail_msg("%s: %.0f events, counted %.0f", code, (double)n_of(code), n);
}

/* Rows of the series whose value cannot be, counted by awk from the mapping's limits, stated here once more. */
static double implausible(const char *which) {
  return counted(
      "cat %s/set-?/*.txt | awk -F, 'BEGIN{n=split(\"pH 6.5 8 Temp 25 44 HR 10 300 SysABP 30 300 DiasABP 10 200 MAP 15 250 NISysABP 30 "
      "300 NIDiasABP 10 200 NIMAP 15 250 RespRate 1 90 SaO2 30 101 PaO2 15 700 PaCO2 5 200 K 1 12 Urine 0 3000 Weight 25 350 Height 100 "
      "250\",w,\" \");for(i=1;i<n;i+=3){least[w[i]]=w[i+1];most[w[i]]=w[i+2]}}"
      "$2~/%s/&&($2 in least)&&$3!=-1&&($3+0<least[$2]+0||$3+0>most[$2]+0){bad++}END{print bad+0}'",
      temp_dir, which);
}

TEST(physionet2012) {
  const char *data = data_set("physionet2012");
  shell("tar xJf %s/*.tar.xz -C %s", data, temp_dir);
  run_tally("physionet2012", temp_dir);
  double outside = implausible("."), heights = implausible("Height");
  assert_true(outside > 4000 && heights > 10);
  assert_int_equal(tally->rejects, outside);
  assert_int_equal(tally->persons.count, counted("ls %s/set-?/*.txt | wc -l", temp_dir));
  assert_int_equal(tally->stats.resources,
                   counted("cat %s/set-?/*.txt %s/Outcomes-?.txt | grep -v Time,Para | grep -v RecordID,S | wc -l", temp_dir, temp_dir));
  /* every series at once: rows that are no statics and not -1, by number and by sum of values */
  double series = counted(
      "cat %s/set-?/*.txt | awk -F, '$2!=\"\" && $2!=\"Parameter\" && $2!~/^(RecordID|Age|Gender|Height|ICUType)$/ && $3!=-1{n++}END{print "
      "n}'",
      temp_dir);
  uint64_t events = 0;
  for (uint32_t i = 0; i < tally->codes.count; i++) {
    struct str s = intern_str(&tally->codes, i);
    bool plain = str_starts(s, STR("PHYSIONET2012//")) && !str_starts(s, STR("PHYSIONET2012//ICU")) &&
                 !str_eqc(s, "PHYSIONET2012//ADMISSION") && !str_eqc(s, "PHYSIONET2012//Height");
    if (plain) events += tally->n[i];
  }
  assert_int_equal(events, series - (outside - heights));
  want_n("PHYSIONET2012//OTHER", 0);
  assert_float_equal(sum_of("PHYSIONET2012//HR"),
                     counted("cat %s/set-?/*.txt | awk -F, '$2==\"HR\" && $3>=10 && $3<=300{s+=$3}END{printf \"%%.10g\", s}'", temp_dir),
                     1e-3);
  want_n("PHYSIONET2012//Weight", counted("cat %s/set-?/*.txt | awk -F, '$2==\"Weight\" && $3>=25 && $3<=350{n++}END{print n}'", temp_dir));
  want_n("PHYSIONET2012//Height",
         counted("cat %s/set-?/*.txt | awk -F, '$2==\"Height\" && $3>=100 && $3<=250{n++}END{print n}'", temp_dir));
  want_n("GENDER//F", counted("cat %s/set-?/*.txt | grep -c '^00:00,Gender,0'", temp_dir));
  want_n("GENDER//M", counted("cat %s/set-?/*.txt | grep -c '^00:00,Gender,1'", temp_dir));
  want_n("PHYSIONET2012//ICUType//2", counted("cat %s/set-?/*.txt | grep -c '^00:00,ICUType,2'", temp_dir));
  want_n("PHYSIONET2012//ADMISSION", (double)tally->persons.count);
  assert_int_equal(tally->kinds[RECORD_BIRTH], tally->persons.count);
  double deaths = counted("awk -F, '$6==1{n++}END{print n}' %s/Outcomes-?.txt", temp_dir);
  assert_int_equal(tally->kinds[RECORD_DEATH], deaths);
  want_n("HOSPITAL_DISCHARGE//ALIVE", (double)tally->persons.count - deaths);
  assert_int_equal(tally->early, 0); /* no outcome at or before hour 48 */
  char set_a[128];
  snprintf(set_a, sizeof set_a, "%s/set-a", temp_dir);
  run_tally("physionet2012", set_a);
  assert_int_equal(tally->persons.count, counted("ls %s/*.txt | wc -l", set_a));
  assert_int_equal(tally->kinds[RECORD_DEATH], counted("awk -F, '$6==1{n++}END{print n}' %s/Outcomes-a.txt", temp_dir));
  tally_free();
}

TEST(physionet2012_awkward_rows) {
  temp_text("set-a/1.txt",
            "Time,Parameter,Value\n00:00,RecordID,1\n00:00,Age,54\n00:00,Gender,-1\n00:00,Height,-1\n00:00,ICUType,4\n00:00,Weight,-1\n"
            "00:07,,12\n47:59,HR,80\n47:59,HR,81\n48:00,pH,-1\n48:00,pH,735\n01:00,Secret Words,5\n");
  temp_text("set-a/2.txt", "Time,Parameter,Value\n00:00,RecordID,2\n00:00,Age,30\n");
  temp_text("set-a/3.txt", "Time,Parameter,Value\n00:00,RecordID,3\n00:00,Age,30\n");
  temp_text("Outcomes-a.txt",
            "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n1,6,1,5,1,1\n2,6,1,-1,400,0\n3,1,1,1,-1,0\n999,1,1,5,4,1\n");
  run_shipped("physionet2012", temp_path("set-a"));
  assert_int_equal(count("PHYSIONET2012//HR"), 2);
  want_at("PHYSIONET2012//HR", 0, "2000-01-02T23:59:00", 80);
  assert_int_equal(count("PHYSIONET2012//Weight") + count("PHYSIONET2012//Height") + count("GENDER//M") + count("GENDER//F") +
                       count("PHYSIONET2012//pH"),
                   0);
  assert_int_equal(count("PHYSIONET2012//OTHER"), 1);
  assert_string_equal(kind_nth(RECORD_DROPPED, 0)->path, "series.Parameter"); /* the empty name is counted */
  assert_int_equal(got.rejects, 1);
  assert_true(refused("series.Value", 12)); /* a slipped decimal point */
  want_at("PHYSIONET2012//ADMISSION", 0, "2000-01-01T00:00:00", NAN);
  assert_string_equal(nth("PHYSIONET2012//ICUType//4", 0)->display, "Surgical ICU");
  assert_string_equal(kind_nth(RECORD_BIRTH, 0)->time, "1946-01-01T00:00:00");
  assert_int_equal(got.kinds[RECORD_DEATH], 1);
  assert_string_equal(kind_nth(RECORD_DEATH, 0)->time, "2000-01-03T00:01:00"); /* one day of survival: moved behind hour 48 */
  want_at("HOSPITAL_DISCHARGE//ALIVE", 0, "2000-01-03T00:01:00", NAN);         /* length of stay unknown */
  want_at("HOSPITAL_DISCHARGE//ALIVE", 1, "2000-01-03T00:01:00", NAN);         /* too short */
}

TEST(physionet2019) {
  const char *data = data_set("physionet2019");
  shell("tar xJf %s/*.tar.xz -C %s", data, temp_dir);
  run_tally("physionet2019", temp_dir);
  assert_int_equal(tally->rejects, 0);
  assert_int_equal(tally->persons.count, counted("find %s -name '*.psv' | wc -l", temp_dir));
  want_n("PHYSIONET2019//ICU_HOUR", (double)tally->stats.resources);
  want_n("PHYSIONET2019//HR",
         counted("find %s -name '*.psv' | xargs cat | awk -F'|' '$1!=\"HR\" && $1!=\"NaN\"{n++}END{print n}'", temp_dir));
  want_n("PHYSIONET2019//Lactate",
         counted("find %s -name '*.psv' | xargs cat | awk -F'|' '$23!=\"Lactate\" && $23!=\"NaN\"{n++}END{print n}'", temp_dir));
  want_n("PHYSIONET2019//SEPSIS", counted("find %s -name '*.psv' | xargs cat | awk -F'|' '$41==\"1\"{n++}END{print n}'", temp_dir));
  assert_int_equal(tally->kinds[RECORD_BIRTH], tally->persons.count);
  tally_free();
}

TEST(diabetes130) {
  const char *data = data_set("uci-diabetes130");
  shell("xz -dc %s/diabetic_data_train.csv.xz > %s/diabetic_data_train.csv", data, temp_dir);
  const char *csv = "diabetic_data_train.csv";
  run_tally("diabetes130", temp_dir);
  assert_int_equal(tally->rejects, 0);
  assert_int_equal(tally->persons.count, counted("cut -d, -f2 %s/%s | tail -n +2 | sort -u | wc -l", temp_dir, csv));
  assert_int_equal(tally->kinds[RECORD_BIRTH], tally->persons.count);
  want_n("UCI130//ADMISSION", counted("tail -n +2 %s/%s | wc -l", temp_dir, csv));
  const char *kept = "awk -F, '$8!=11&&$8!=13&&$8!=14&&$8!=19&&$8!=20&&$8!=21&&$50~/^%s/{n++}END{print n}' %s/%s";
  want_n("UCI130//READMITTED//LT30", counted(kept, "<30", temp_dir, csv));
  want_n("UCI130//READMITTED//GT30", counted(kept, ">30", temp_dir, csv));
  want_n("UCI130//READMITTED//NO", counted(kept, "NO", temp_dir, csv));
  want_n("UCI130//insulin//Up", counted("awk -F, '$42==\"Up\"{n++}END{print n}' %s/%s", temp_dir, csv));
  want_n("ICD9CM//250.83",
         counted("awk -F, '{n+=($19==\"250.83\")+($20==\"250.83\")+($21==\"250.83\")}END{print n}' %s/%s", temp_dir, csv));
  want_n("ICD9CM//OTHER", 0);
  assert_int_equal(tally->kinds[RECORD_DEATH], counted("awk -F, '$8==11||$8==19||$8==20||$8==21{n++}END{print n}' %s/%s", temp_dir, csv));
  tally_free();
}

TEST(diabetes130_order_of_encounters) {
  const char *data = data_set("uci-diabetes130");
  shell("xz -dc %s/diabetic_data_train.csv.xz | head -1 > %s/diabetic_data.csv", data, temp_dir);
  char row[4000] = "", line[1000];
  static const char *const encounter[] = {"200,7", "30,7", "90000005,9"};
  for (int i = 0; i < 3; i++) {
    snprintf(line, sizeof line, "%s,Caucasian,Female,[70-80),?,1,1,7,3,?,?,1,0,5,0,0,0,428,V27,E888,3,None,>8", encounter[i]);
    for (int k = 0; k < 23; k++) strcat(line, k == 17 ? ",Up" : ",No");
    strcat(line, i ? ",Ch,Yes,<30\n" : ",No,Yes,NO\n");
    strcat(row, line);
  }
  FILE *f = fopen(temp_path("diabetic_data.csv"), "a");
  assert_non_null(f);
  fputs(row, f);
  fclose(f);
  run_shipped("diabetes130", temp_dir);
  want_at("UCI130//ADMISSION", 0, "2000-04-30T00:00:00", NAN); /* encounter 200 comes after 30 */
  want_at("UCI130//ADMISSION", 1, "2000-01-01T00:00:00", NAN);
  want_at("UCI130//PERIOD", 0, "2000-04-30T00:00:00", 0);
  want_at("UCI130//PERIOD", 2, "2000-01-01T00:00:00", 2); /* of the number no more than its tenth */
  want_at("UCI130//READMITTED//NO", 0, "2000-06-17T00:00:00", NAN);
  want_at("UCI130//READMITTED//LT30", 0, "2000-01-19T00:00:00", NAN);
  want_at("UCI130//insulin//Up", 1, "2000-01-04T00:00:00", NAN);
  want_at("ICD9CM//E888", 1, "2000-01-04T00:00:00", NAN);
  assert_int_equal(got.kinds[RECORD_BIRTH], 2);
  assert_int_equal(count("UCI130//A1Cresult//GT8"), 3);
  assert_int_equal(count("UCI130//max_glu_serum//NONE"), 0);
}

TEST(omop_with_vocabulary) {
  const char *data = data_set("synthea-omop-27nj");
  shell("tar xJf %s/*.tar.xz -C %s --transform 's,.*/,,'", data, temp_dir);
  run_tally("omop54", temp_dir);
  assert_int_equal(tally->rejects, 0);
  assert_int_equal(tally->persons.count, 28);
  assert_int_equal(tally->kinds[RECORD_BIRTH], 28);
  assert_int_equal(tally->kinds[RECORD_DEATH], counted("tail -n +2 %s/DEATH.csv | wc -l", temp_dir));
  uint64_t snomed = 0, loinc = 0, rxnorm = 0, bare = 0;
  double visits = (double)(n_of("VISIT_START//Visit//OP") + n_of("VISIT_START//Visit//ER") + n_of("VISIT_START//Visit//IP"));
  for (uint32_t i = 0; i < tally->codes.count; i++) {
    struct str s = intern_str(&tally->codes, i);
    snomed += str_starts(s, STR("SNOMED//")) ? tally->n[i] : 0;
    loinc += str_starts(s, STR("LOINC//")) ? tally->n[i] : 0;
    rxnorm += str_starts(s, STR("RxNorm//")) ? tally->n[i] : 0;
    bare += str_starts(s, STR("OMOP//")) ? tally->n[i] : 0;
  }
  assert_int_equal(visits, counted("tail -n +2 %s/VISIT_OCCURRENCE.csv | wc -l", temp_dir));
  assert_true(snomed > 1500 && loinc > 10000 && rxnorm > 500);
  double all = counted(
      "cd %s && for t in CONDITION_OCCURRENCE DRUG_EXPOSURE PROCEDURE_OCCURRENCE DEVICE_EXPOSURE MEASUREMENT OBSERVATION; do tail -n +2 "
      "$t.csv; done | wc -l",
      temp_dir);
  assert_true((double)bare < 0.05 * all); /* the vocabulary is found */
  tally_free();
}

TEST(omop_without_vocabulary) {
  const char *data = data_set("mimic-iv-demo-omop");
  shell("tar xJf %s/*.tar.xz -C %s --transform 's,.*/,,' 2>/dev/null; test -f %s/person.csv", data, temp_dir, temp_dir);
  run_tally("omop54", temp_dir);
  assert_int_equal(tally->rejects, 0);
  assert_int_equal(tally->persons.count, 100);
  assert_int_equal(tally->kinds[RECORD_BIRTH], 100);
  assert_int_equal(tally->kinds[RECORD_DEATH], counted("tail -n +2 %s/death.csv | wc -l", temp_dir));
  assert_int_equal(tally->kinds[RECORD_EVENT] - n_of("GENDER//M") - n_of("GENDER//F"),
                   counted("cd %s && { for t in condition_occurrence drug_exposure procedure_occurrence device_exposure visit_occurrence "
                           "visit_occurrence; do tail -n +2 $t.csv; done; "
                           "awk -F, 'FNR>1 && $7!=0 && $7!=\"\"' person.csv; awk -F, 'FNR>1 && $8!=0 && $8!=\"\"' person.csv; awk -F, "
                           "'FNR>1 && $5!=0 && $5!=\"\"' death.csv; } | wc -l",
                           temp_dir));
  want_n("OMOP//436659", counted("awk -F, '$3==436659{n++}END{print n}' %s/condition_occurrence.csv", temp_dir));
  tally_free();
}

#define T(f) cmocka_unit_test_setup_teardown(f, temp_make, temp_remove)
int main(void) {
  const struct CMUnitTest tests[] = {
      T(physionet2012),        T(physionet2012_awkward_rows), T(physionet2019), T(diabetes130), T(diabetes130_order_of_encounters),
      T(omop_with_vocabulary), T(omop_without_vocabulary)};
  return cmocka_run_group_tests_name("table_data", tests, NULL, NULL);
}
