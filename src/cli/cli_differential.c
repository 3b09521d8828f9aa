/* vitae differential: findings to ranked diseases; --test and --evaluate measure it on known cases */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/json_lines.h"
#include "base/progress.h"
#include "base/time.h"
#include "cli/cli_commands.h"
#include "reason/differential.h"
#include "reason/ontology.h"
#include "validate/metrics.h"
#include "validate/validate.h"

static const struct cli_option options[] = {
    {"ontology", CLI_TEXT, "FILE", "hp.obo; without it every term stands alone"},
    {"annotations", CLI_TEXT, "FILE", "phenotype.hpoa"},
    {"cases", CLI_TEXT, "FILE", "known cases, JSON lines"},
    {"genes", CLI_TEXT, "FILE", "genes of diseases: tab-separated, columns symbol and disease_id"},
    {"weights", CLI_TEXT, "FILE", "instead of the shipped ones"},
    {"case", CLI_TEXT, "FILE", "the patient: a phenopacket, or {\"hpo\": […], \"hpo_excluded\": […], \"genes\": […]}"},
    {"sex", CLI_TEXT, "SEX", "of the patient whose findings are given as words: male or female"},
    {"age", CLI_NUMBER, "YEARS:0..130", "and the age"},
    {"top", CLI_INTEGER, "N:1..1000", "diseases shown (10)"},
    {"test", CLI_TEXT, "FILE", "rank the cases of this file, whose diseases are known, and count"},
    {"evaluate", CLI_FLAG, NULL, "the same on --cases, each without its publication (else its id), weights learned on other folds"},
    {"rows-stay", CLI_FLAG, NULL, "with --evaluate and --test: annotations that cite a case's publication stay, as in a release"},
    {"no-genes", CLI_FLAG, NULL, "leave the cases' genes out of account"},
    {"fit", CLI_TEXT, "FILE", "learn the weights from --cases and write them"},
    {0}};

static int case_of_file(const struct differential *d, const char *path, struct arena *a, struct finding_case *out, struct error *e) {
  struct json root;
  TRY(json_load(a, path, &root, e));
  int rc = finding_case_parse(d, root, a, out, e);
  return rc < 0 ? (error_where(e, path, 0, NULL), rc) : rc;
}
/* HP:0001631 … no:HP:0000365 */
static int case_of_arguments(const struct cli *c, const struct differential *d, struct arena *a, struct finding_case *out,
                             struct error *e) {
  int *yes = arena_array(a, int, CLI_ARGS), *no = arena_array(a, int, CLI_ARGS);
  if (!yes || !no) return error_set(e, E_NOMEM, "no memory for findings");
  *out = (struct finding_case){.observed = yes, .excluded = no, .age = (float)cli_number(c, "age", NAN)};
  const char *sex = cli_text(c, "sex", NULL);
  if (sex && strcmp(sex, "male") != 0 && strcmp(sex, "female") != 0) return error_set(e, E_USAGE, "--sex is male or female");
  if (sex) out->sex = sex[0] == 'm' ? 1 : 2;
  for (int i = 0; i < c->args; i++) {
    bool absent = strncmp(c->arg[i], "no:", 3) == 0;
    int t = ontology_find(differential_ontology(d), str_c(c->arg[i] + (absent ? 3 : 0)));
    if (t < 0) return error_set(e, E_INPUT, "argument %d is no term of the ontology", i + 1);
    if (absent)
      finding_add(no, &out->n_excluded, t);
    else
      finding_add(yes, &out->n_observed, t);
  }
  return OK;
}

static struct str term_name(const struct differential *d, int t) {
  struct str name = ontology_name(differential_ontology(d), t);
  return name.n ? name : ontology_id(differential_ontology(d), t);
}

static void print_answer(const struct differential *d, const struct differential_answer *r) {
  struct table t;
  table_init(&t, 5, "", "disease", "probability", "for", "against");
  for (int i = 0; i < r->diseases; i++) {
    const struct differential_disease *x = &r->disease[i];
    struct buf name = {0}, pro = {0}, con = {0};
    char rank[8], p[16];
    int n_pro = 0, n_con = 0;
    snprintf(rank, sizeof rank, "%d", i + 1);
    snprintf(p, sizeof p, "%.1f %%", 100 * x->probability);
    buf_printf(&name, "%.*s (%.*s)%s", STR_ARG(x->name), STR_ARG(x->id), x->gene ? ", gene" : "");
    for (int k = 0; k < x->evidences; k++) {
      const struct differential_evidence *v = &x->evidence[k];
      bool speaks_for = v->log_ratio > 0;
      int *n = speaks_for ? &n_pro : &n_con;
      if (fabsf(v->log_ratio) < 0.2F || ++*n > 2) continue;
      buf_printf(speaks_for ? &pro : &con, "%s%s%.*s", *n > 1 ? ", " : "", v->absent ? "no " : "", STR_ARG(term_name(d, v->term)));
    }
    table_row(&t, rank, buf_cstr(&name), p, buf_cstr(&pro), buf_cstr(&con));
    buf_release(&name);
    buf_release(&pro);
    buf_release(&con);
  }
  table_print(&t, stdout);
  table_release(&t);
  printf("none of the %d diseases known here: %.1f %%\n", differential_diseases(d), 100 * r->none);
  for (int i = 0; i < r->asks; i++)
    printf("%s%.*s (%.2f bits)", i ? ", " : "look for next: ", STR_ARG(term_name(d, r->ask[i].term)), r->ask[i].bits);
  if (r->asks) printf("\n");
}

static void say_skipped(FILE *to, int n, const char *of) {
  fprintf(to, "%d of %s name no disease, or no finding that the ontology knows, and were not used\n", n, of);
}

static int answer(struct cli *c, const struct differential *d, struct error *e) {
  struct finding_case f;
  struct differential_answer r;
  struct arena a;
  struct buf b = {0};
  struct json_out o;
  arena_init(&a, 1 << 30, 0);
  int rc = cli_text(c, "case", NULL) ? case_of_file(d, cli_text(c, "case", NULL), &a, &f, e) : case_of_arguments(c, d, &a, &f, e);
  if (rc == OK && cli_flag(c, "no-genes")) f.genes = 0;
  if (rc == OK) rc = differential_rank(d, &f, (int)cli_integer(c, "top", 10), NULL, &a, &r, e);
  if (rc == OK && c->json) {
    json_out_init(&o, &b, false);
    differential_json(d, &f, &r, &o);
    rc = cli_print_json(&b, e);
  } else if (rc == OK) {
    print_answer(d, &r);
    if (f.unknown) printf("%d findings are not in this ontology and were not used\n", f.unknown);
    if (r.genes_unknown) printf("%d genes are known for none of these diseases and were not used\n", r.genes_unknown);
  }
  buf_release(&b);
  arena_free(&a);
  return rc;
}

/* ---- measuring ---- */

struct tally {
  uint32_t n, skipped, reached, top[3]; /* top 1, 3, 10 */
  uint32_t by_publication, by_id;       /* what was left out with them; of the others nothing */
  double *first;                        /* probability of the disease ranked first, and whether it was right */
  uint8_t *right;
  double seconds;
};
static int tally_init(struct tally *t, int most, struct error *e) {
  *t = (struct tally){0};
  t->first = mem_alloc(((size_t)most + 1) * sizeof *t->first);
  t->right = mem_alloc((size_t)most + 1);
  return t->first && t->right ? OK : error_set(e, E_NOMEM, "no memory for counting");
}
static void tally_release(struct tally *t) {
  mem_free(t->first);
  mem_free(t->right);
}
static int tally_case(struct tally *t, const struct differential *d, const struct finding_case *c, bool genes, struct arena *a,
                      struct error *e) {
  struct finding_case f = *c;
  struct differential_place p;
  struct str without = finding_case_source(c);
  if (!genes) f.genes = 0;
  double from = time_cpu();
  TRY(differential_place(d, &f, f.disease, without.n ? &without : NULL, a, &p, e));
  t->seconds += time_cpu() - from;
  t->first[t->n] = p.first;
  t->right[t->n++] = p.rank == 1;
  t->reached += p.rank > 0;
  t->by_publication += c->publication.n > 0;
  t->by_id += !c->publication.n && c->id.n;
  t->top[0] += p.rank == 1;
  t->top[1] += p.rank >= 1 && p.rank <= 3;
  t->top[2] += p.rank >= 1 && p.rank <= 10;
  return OK;
}
/* Wilson's interval */
static void wilson(uint32_t k, uint32_t n, double *lo, double *hi) {
  const double z = 1.959964;
  double p = (double)k / n, m = 1 + z * z / n, c = p + z * z / (2.0 * n), h = z * sqrt(p * (1 - p) / n + z * z / (4.0 * n * n));
  *lo = (c - h) / m;
  *hi = (c + h) / m;
}
static int tally_print(struct cli *c, const struct differential *d, const struct tally *t, const char *weights, struct error *e) {
  static const int tops[] = {1, 3, 10};
  double intercept = NAN, slope = NAN;
  struct buf b = {0};
  struct json_out o;
  char protocol[320];
  snprintf(protocol, sizeof protocol,
           "%s; left out for each case: its publication (%u cases), what bears its id where it names no publication (%u), nothing (%u)%s",
           cli_flag(c, "no-genes") ? "findings alone" : "findings, and genes where given", t->by_publication, t->by_id,
           t->n - t->by_publication - t->by_id, weights);
  if (t->n == 0) return error_set(e, E_INPUT, "no case with a disease and findings");
  if (metric_recalibration(t->first, t->right, t->n, &intercept, &slope) < 0) intercept = slope = NAN;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "protocol", protocol);
  json_kv_i64(&o, "cases", t->n);
  json_kv_i64(&o, "skipped", t->skipped);
  json_kv_i64(&o, "reachable", t->reached);
  json_kv_i64(&o, "candidates", differential_diseases(d));
  if (!c->json) printf("%s\n%u cases, %u of a disease among the %d candidates\n", protocol, t->n, t->reached, differential_diseases(d));
  for (int i = 0; i < 3; i++) {
    double lo, hi;
    char key[16];
    wilson(t->top[i], t->n, &lo, &hi);
    snprintf(key, sizeof key, "top_%d", tops[i]);
    json_out_key(&o, key);
    json_out_array(&o);
    json_out_f64(&o, (double)t->top[i] / t->n);
    json_out_f64(&o, lo);
    json_out_f64(&o, hi);
    json_out_end(&o);
    if (!c->json)
      printf("top-%-3d %5.1f %% [%.1f, %.1f]   of the reachable %5.1f %%\n", tops[i], 100.0 * t->top[i] / t->n, 100 * lo, 100 * hi,
             100.0 * t->top[i] / (t->reached ? t->reached : 1));
  }
  json_kv_f64(&o, "calibration_slope", slope);
  json_kv_f64(&o, "calibration_intercept", intercept);
  json_kv_f64(&o, "milliseconds", 1e3 * t->seconds / t->n);
  json_out_end(&o);
  if (!c->json)
    printf("calibration of the first disease's probability: slope %.3f, intercept %+.3f; %.1f ms of processor time a case\n", slope,
           intercept, 1e3 * t->seconds / t->n);
  int rc = c->json ? cli_print_json(&b, e) : OK;
  buf_release(&b);
  return rc;
}

static int test_file(struct cli *c, const struct differential *d, const char *path, struct error *e) {
  struct json_lines l;
  struct json root;
  struct arena a;
  struct tally t;
  int rc, most = 200000;
  TRY(tally_init(&t, most, e));
  arena_init(&a, 1 << 30, 0);
  rc = json_lines_open(&l, path, e);
  if (rc == OK) {
    while ((rc = json_lines_next(&l, &root, e)) == OK) {
      struct finding_case f;
      rc = finding_case_parse(d, root, &a, &f, e);
      bool usable = rc == OK && f.disease.n && f.n_observed > 0;
      t.skipped += rc == OK && !usable;
      if (usable && (int)t.n < most) rc = tally_case(&t, d, &f, !cli_flag(c, "no-genes"), &a, e);
      arena_reset(&a);
      if (rc < 0) break;
    }
    rc = json_lines_close(&l, rc, e);
  }
  if (rc == OK && t.skipped && !c->json) say_skipped(stdout, (int)t.skipped, "the cases");
  if (rc == OK) rc = tally_print(c, d, &t, "", e);
  arena_free(&a);
  tally_release(&t);
  return rc;
}

static int evaluate(struct cli *c, struct differential *d, struct error *e) {
  enum { FOLDS = 5 };
  struct differential_lesson *lesson = NULL;
  struct arena a;
  struct tally t;
  TRY(tally_init(&t, differential_cases(d), e));
  arena_init(&a, 1 << 30, 0);
  int rc = differential_lesson_new(d, &lesson, e);
  t.skipped = (uint32_t)differential_skipped(d);
  for (int fold = 0; fold < FOLDS && rc == OK; fold++) {
    struct buf weights = {0};
    rc = differential_fit(d, lesson, FOLDS, fold, &weights, e);
    buf_release(&weights);
    for (int i = 0; i < differential_cases(d) && rc == OK; i++) {
      const struct finding_case *f = differential_case(d, i);
      if (differential_fold(f, FOLDS) != fold) continue;
      rc = tally_case(&t, d, f, !cli_flag(c, "no-genes"), &a, e);
      arena_reset(&a);
    }
  }
  if (rc == OK) rc = tally_print(c, d, &t, "; weights from other folds of publications", e);
  differential_lesson_free(lesson);
  arena_free(&a);
  tally_release(&t);
  return rc;
}

/* Findings given as words, and what goes with them, stand alone: beside a file they would say nothing */
static int one_patient(const struct cli *c, struct error *e) {
  bool words = c->args > 0, person = cli_text(c, "sex", NULL) || !isnan(cli_number(c, "age", NAN));
  bool file = cli_text(c, "case", NULL) || cli_text(c, "test", NULL) || cli_text(c, "fit", NULL) || cli_flag(c, "evaluate");
  if (file && (words || person))
    return error_set(e, E_USAGE, "a file (--case, --test, --fit) or --evaluate brings the findings, sex and age: nothing beside it");
  return OK;
}

static int run(struct cli *c, struct error *e) {
  struct differential *d;
  const char *test = cli_text(c, "test", NULL), *fit = cli_text(c, "fit", NULL);
  struct differential_files f = {cli_text(c, "ontology", NULL), cli_text(c, "annotations", NULL), cli_text(c, "cases", NULL),
                                 cli_text(c, "genes", NULL),    cli_text(c, "weights", NULL),     cli_flag(c, "rows-stay")};
  if (!f.annotations && !f.cases) return error_set(e, E_USAGE, "--annotations or --cases is needed: what is known of diseases");
  if (!test && !fit && !cli_flag(c, "evaluate") && !cli_text(c, "case", NULL) && c->args == 0)
    return error_set(e, E_USAGE, "expected findings (HP:0001631 no:HP:0000365 …), --case, --test or --evaluate");
  TRY(one_patient(c, e));
  TRY(differential_open(&f, &d, e));
  if (differential_skipped(d) && !c->quiet) say_skipped(stderr, differential_skipped(d), "--cases");
  struct buf weights = {0};
  int rc = OK;
  if (fit) {
    struct differential_lesson *lesson = NULL;
    rc = differential_lesson_new(d, &lesson, e);
    if (rc == OK) rc = differential_fit(d, lesson, 1, -1, &weights, e);
    differential_lesson_free(lesson);
    if (rc == OK) rc = file_write_atomic(fit, weights.p, weights.n, 0644, e);
  } else {
    rc = test ? test_file(c, d, test, e) : cli_flag(c, "evaluate") ? evaluate(c, d, e) : answer(c, d, e);
  }
  buf_release(&weights);
  differential_free(d);
  return rc;
}

const struct command command_differential = {"differential",
                                             "[TERM | no:TERM ...]",
                                             "findings to ranked diseases: odds, evidence, what to look for next",
                                             options,
                                             0,
                                             CLI_ARGS,
                                             run};
