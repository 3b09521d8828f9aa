/* What the site brought beside its records: SITE/knowledge/{hp.obo, phenotype.hpoa, cases.jsonl, genes.tsv, drafts.json}; and the shipped
 * calculators. Each is read when it is first asked for, once; a file that is put there later is seen after a restart. */
#include "base/file.h"
#include "reason/calculator.h"
#include "reason/differential.h"
#include "reason/draft.h"
#include "serve/serve_private.h"

struct knowledge {
  pthread_mutex_t mutex;
  char dir[4096];
  struct differential *differential;
  struct drafter *drafter;
  struct calculator **calculator;
  int calculators;
  bool looked, listed; /* for the differential's files; for the calculators */
};

int knowledge_open(const char *site, struct knowledge **out, struct error *e) {
  struct knowledge *k = mem_alloc(sizeof *k);
  if (!k) return error_set(e, E_NOMEM, "no memory for the site's knowledge");
  *k = (struct knowledge){0};
  pthread_mutex_init(&k->mutex, NULL);
  int rc = file_join(k->dir, sizeof k->dir, site, "knowledge", e);
  if (rc < 0)
    knowledge_close(k);
  else
    *out = k;
  return rc;
}
void knowledge_close(struct knowledge *k) {
  if (!k) return;
  if (k->differential) differential_free(k->differential);
  drafter_free(k->drafter);
  for (int i = 0; i < k->calculators; i++) calculator_free(k->calculator[i]);
  mem_free(k->calculator);
  pthread_mutex_destroy(&k->mutex);
  mem_free(k);
}

static const char *there(const struct knowledge *k, const char *name, char path[4096]) {
  return file_join(path, 4096, k->dir, name, NULL) == OK && file_exists(path) ? path : NULL;
}
bool knowledge_has(const struct knowledge *k, const char *file) {
  char path[4096];
  return there(k, file, path) != NULL;
}

int knowledge_differential(struct knowledge *k, const struct differential **out, struct error *e) {
  char path[4][4096];
  struct differential_files f = {.ontology = there(k, "hp.obo", path[0]),
                                 .annotations = there(k, "phenotype.hpoa", path[1]),
                                 .cases = there(k, "cases.jsonl", path[2]),
                                 .genes = there(k, "genes.tsv", path[3])};
  int rc = OK;
  pthread_mutex_lock(&k->mutex);
  if (!k->looked && (f.annotations || f.cases)) rc = differential_open(&f, &k->differential, e);
  k->looked |= rc == OK;
  *out = k->differential;
  pthread_mutex_unlock(&k->mutex);
  return rc;
}

int knowledge_drafter(struct knowledge *k, const struct asker *a, const struct drafter **out, struct error *e) {
  char path[4096];
  int rc = OK;
  pthread_mutex_lock(&k->mutex);
  if (!k->drafter) rc = drafter_new(a, there(k, "drafts.json", path), &k->drafter, e);
  *out = k->drafter;
  pthread_mutex_unlock(&k->mutex);
  return rc;
}

static int load_calculators(struct knowledge *k, struct error *e) {
  struct arena a;
  struct str *path;
  char dir[4096];
  size_t n;
  arena_init(&a, 16 << 20, 0);
  int rc = file_join(dir, sizeof dir, file_data_dir(), "calculators", e);
  if (rc == OK) rc = file_list(&a, dir, &path, &n, e);
  if (rc == OK && !(k->calculator = mem_alloc((n + 1) * sizeof *k->calculator))) rc = error_set(e, E_NOMEM, "no memory for calculators");
  for (size_t i = 0; rc == OK && i < n; i++) {
    rc = calculator_load(path[i].p, &k->calculator[k->calculators], e);
    k->calculators += rc == OK;
  }
  arena_free(&a);
  if (rc == OK) return OK;
  for (int i = 0; i < k->calculators; i++) calculator_free(k->calculator[i]);
  mem_free(k->calculator);
  k->calculator = NULL, k->calculators = 0;
  return rc;
}
int knowledge_calculators(struct knowledge *k, struct calculator *const **out, int *n, struct error *e) {
  int rc = OK;
  pthread_mutex_lock(&k->mutex);
  if (!k->listed) rc = load_calculators(k, e);
  k->listed |= rc == OK;
  *out = k->calculator;
  *n = k->calculators;
  pthread_mutex_unlock(&k->mutex);
  return rc;
}
