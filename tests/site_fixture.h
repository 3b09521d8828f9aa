/* A tiny site made through the real modules: FHIR resources written here, read, de-identified, stored; a small untrained model with a
 * task head; a registered version with a passing report, live. Shared by the tests of serve/ and of the whole river. */
#ifndef TESTS_SITE_FIXTURE_H
#define TESTS_SITE_FIXTURE_H
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "deid/deid.h"
#include "deid/event.h"
#include "govern/govern.h"
#include "govern/site.h"
#include "model/model_internal.h"
#include "record/record.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"

#define SITE_MUST(x)                \
  do {                              \
    struct error *site_e_ = &fx->e; \
    if ((x) < 0) {                  \
      error_print(stderr, site_e_); \
      fail_msg("%s", #x);           \
    }                               \
  } while (0)
#define SITE_TASK                                                                                                              \
  "{\"name\":\"death-1y\",\"title\":\"Death within a year\",\"trigger\":{\"end\":true},\"target\":{\"any\":[\"MEDS_DEATH\"]}," \
  "\"horizon\":\"1y\",\"gap\":[\"0d\"],\"censor\":\"negative\"}"
#define SITE_CANARY_NAME "Quetzalcoatlusson"
#define SITE_CANARY_MRN "MRN-77120934"

#ifndef SITE_CONDITION
#define SITE_CONDITION "44054006"
#endif
#ifndef SITE_UNDER
#define SITE_UNDER "/tmp"
#endif
struct site_fixture {
  char dir[64], path[96], version[65];
  struct error e;
};

/* One person's bundle, deterministic in i. */
static inline void site_bundle(int i, struct buf *b) {
  buf_printf(b,
             "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"p%d\","
             "\"gender\":\"%s\",",
             i, i % 2 ? "female" : "male");
  buf_printf(b,
             "\"name\":[{\"family\":\"" SITE_CANARY_NAME "%d\",\"given\":[\"Ada\"]}],\"identifier\":[{\"value\":\"" SITE_CANARY_MRN
             "%d\"}],\"birthDate\":\"19%02d-03-0%d\"",
             i, i, 30 + i % 60, 1 + i % 9);
  if (i % 3 == 0) buf_printf(b, ",\"deceasedDateTime\":\"2020-06-0%dT10:00:00Z\"", 1 + i % 9);
  buf_puts(b, "}}");
  for (int k = 0; k < 12; k++) {
    buf_printf(b,
               ",{\"resource\":{\"resourceType\":\"Observation\",\"id\":\"o%d-%d\",\"status\":\"final\",\"subject\":{\"reference\":"
               "\"Patient/p%d\"},",
               i, k, i);
    buf_printf(b, "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"%s\",\"display\":\"Measure\"}]},",
               k % 2 ? "2160-0" : "8480-6");
    buf_printf(b,
               "\"effectiveDateTime\":\"2019-%02d-1%dT08:00:00Z\",\"valueQuantity\":{\"value\":%d.%d,\"unit\":\"mg/dL\",\"code\":\"mg/"
               "dL\",\"system\":\"http://unitsofmeasure.org\"}}}",
               1 + k, i % 10, 1 + (i * 7 + k * 3) % 9, k);
  }
  buf_printf(b,
             ",{\"resource\":{\"resourceType\":\"Condition\",\"id\":\"c%d\",\"subject\":{\"reference\":\"Patient/"
             "p%d\"},\"code\":{\"coding\":[{\"system\":\"http://snomed.info/sct\",\"code\":\"" SITE_CONDITION
             "\"}]},\"onsetDateTime\":\"2018-05-05\"}}]}",
             i, i);
}

static inline void site_no_reject(void *ctx, const struct record_reject *r) { (void)ctx, (void)r; }

static inline void site_ingest(struct site_fixture *fx, int people) {
  char dir[128], policy[4096];
  struct site s;
  struct deid_policy pol;
  struct vault *vault;
  struct deid *wall;
  struct timeline_writer *w;
  struct json_parser *jp;
  struct record_stats stats = {0};
  SITE_MUST(site_open(fx->path, &s, &fx->e));
  SITE_MUST(site_find(&s, "policy", "expert", policy, &fx->e));
  SITE_MUST(deid_policy_load(policy, &pol, &fx->e));
  snprintf(dir, sizeof dir, "%s/vault", fx->path);
  SITE_MUST(vault_create(dir, NULL, &fx->e));
  SITE_MUST(vault_open(dir, NULL, &vault, &fx->e));
  snprintf(dir, sizeof dir, "%s/timelines", fx->path);
  SITE_MUST(timeline_writer_open(
      dir, &(struct timeline_options){.split = SPLIT_ALL_TRAIN, .policy_name = str_c(pol.name), .policy_hash = str_c(pol.hash)}, &w,
      &fx->e));
  SITE_MUST(deid_open(&pol, vault, "fhir", &(struct event_sink){.ctx = w, .event = timeline_append}, &wall, &fx->e));
  SITE_MUST(json_parser_new(&jp, &fx->e));
  struct record_sink sink = {wall, deid_take, site_no_reject, NULL, NULL};
  for (int i = 0; i < people; i++) {
    struct buf b = {0};
    site_bundle(i, &b);
    SITE_MUST(fhir_parse(jp, b.p, b.n, b.n, 0, (uint64_t)i + 1, "fixture", &sink, &stats, &fx->e));
    buf_release(&b);
  }
  json_parser_free(jp);
  SITE_MUST(deid_finish(wall, &fx->e));
  struct buf manifest = {0}, file = {0};
  struct json_out o;
  json_out_init(&o, &manifest, false);
  deid_manifest(wall, &o);
  buf_printf(&file, "{\"source\":\"fhir\",\"generation\":\"gen-000001\",\"files\":1,\"bytes\":1,\"rejected\":0,\"wall\":%s}",
             buf_cstr(&manifest));
  SITE_MUST(vault_commit(vault, &fx->e));
  SITE_MUST(timeline_writer_finish(w, (struct str){manifest.p, manifest.n}, NULL, NULL, &fx->e));
  snprintf(dir, sizeof dir, "%s/reports/wall-gen-000001.json", fx->path);
  SITE_MUST(file_write_atomic(dir, file.p, file.n, 0644, &fx->e));
  buf_release(&manifest), buf_release(&file);
  deid_close(wall);
  vault_close(vault);
}

/* A model with weights from a seed and a head for SITE_TASK that has a deep part only. */
static inline void site_model_as(struct site_fixture *fx, const char *run, uint64_t seed, enum version_state upto, char version[65]) {
  static const char name[1][MODEL_TASK_NAME] = {"death-1y"};
  char dir[128];
  struct timeline *t;
  struct vocabulary *v;
  struct model_config c;
  struct model *m;
  struct registry *r;
  struct version_info info = {.store_hash = "s", .policy_hash = "p", .commit = "c", .code_version = "0", .created = "2026-01-01T00:00:00"};
  snprintf(dir, sizeof dir, "%s/timelines", fx->path);
  SITE_MUST(timeline_open(dir, &t, &fx->e));
  SITE_MUST(vocabulary_build(t, &(struct vocabulary_options){.min_subjects = 2, .min_outcome_subjects = 2}, &v, &fx->e));
  SITE_MUST(model_preset("tiny", &c, &fx->e));
  c.layers = 2, c.d = 24, c.heads = c.kv_heads = 2, c.ff = 32, c.context = 64, c.hazard_rank = 4;
  SITE_MUST(model_build(&c, v, name, 1, 5, &m, &fx->e));
  struct rng random; /* a head of zeros would answer one half whatever it is told */
  rng_init(&random, seed, 0);
  for (size_t i = 0; i < m->floats; i++) m->weight[i] += 0.1f * (float)rng_normal(&random);
  m->task[0].text = mem_alloc(sizeof SITE_TASK);
  memcpy(m->task[0].text, SITE_TASK, sizeof SITE_TASK);
  m->task[0].blend_deep = 1;
  snprintf(dir, sizeof dir, "%s/models/runs/%s", fx->path, run);
  SITE_MUST(file_mkdirs(dir, 0755, &fx->e));
  SITE_MUST(model_save(m, dir, &fx->e));
  SITE_MUST(registry_open(fx->path, &r, &fx->e));
  SITE_MUST(registry_add(r, dir, &info, version, &fx->e));
  snprintf(dir, sizeof dir, "%s/reports/death-1y", fx->path);
  SITE_MUST(file_mkdirs(dir, 0755, &fx->e));
  char path[256];
  static const char report[] =
      "{\"format\":1,\"task\":\"death-1y\",\"title\":\"Death within a "
      "year\",\"n\":100,\"events\":20,\"gate\":{\"passes\":true,\"reasons\":\"\"},\"predictors\":{},\"subgroups\":[],\"gaps\":[],\"leaks\":"
      "[]}";
  snprintf(path, sizeof path, "%s/report.json", dir);
  SITE_MUST(file_write_atomic(path, report, sizeof report - 1, 0644, &fx->e));
  snprintf(path, sizeof path, "%s/report.html", dir);
  SITE_MUST(file_write_atomic(path, "<!doctype html>", 15, 0644, &fx->e));
  SITE_MUST(registry_attach_report(r, version, dir, &fx->e));
  for (int s = STATE_VALIDATED; s <= (int)upto; s++) SITE_MUST(registry_promote(r, version, (enum version_state)s, "test", &fx->e));
  registry_close(r);
  model_free(m);
  vocabulary_free(v);
  timeline_close(t);
}

static inline void site_model(struct site_fixture *fx) { site_model_as(fx, "one", 21, STATE_LIVE, fx->version); }

static inline void site_fixture_open(struct site_fixture *fx, int people) {
  *fx = (struct site_fixture){.dir = SITE_UNDER "/vitae-site-XXXXXX"};
  assert_non_null(mkdtemp(fx->dir));
  snprintf(fx->path, sizeof fx->path, "%s/site", fx->dir);
  SITE_MUST(site_init(fx->path, "ward", "expert", &fx->e));
  site_ingest(fx, people);
  site_model(fx);
}
static inline void site_fixture_close(struct site_fixture *fx) { assert_int_equal(file_remove_tree(fx->dir, NULL), OK); }
#endif
