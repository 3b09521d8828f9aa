/* vitae draft SITE --reviews: what clinicians made of drafts, by pattern: which sentences they keep, change, delete. Counts only: the words
 * stay in the inbox. */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "base/progress.h"
#include "cli/cli_draft.h"
#include "govern/site.h"
#include "reason/draft_review.h"

enum { REVIEW_BYTES = 8 << 20 };
struct tally {
  int64_t count[DRAFT_OUTCOMES];
  int64_t distance, characters;
};
struct reviews {
  struct intern rules;
  struct tally *tally;
  uint32_t cap, unreadable;
  int64_t documents;
};

static int count_sentence(struct reviews *r, struct json s, struct error *e) {
  struct str outcome = json_str(json_get(s, "outcome")), rule = json_str(json_get(s, "rule"));
  int64_t distance = 0;
  uint32_t at;
  int o = 0;
  while (o < DRAFT_OUTCOMES && !str_eqc(outcome, draft_outcome_name[o])) o++;
  if (o == DRAFT_OUTCOMES || !json_i64(json_get(s, "distance"), &distance) || distance < 0 || distance > INT32_MAX) return E_INPUT;
  TRY(intern_put(&r->rules, rule.n && rule.n < 64 ? rule : STR("(added)"), &at, e));
  if (at >= r->cap) {
    uint32_t cap = r->cap ? 2 * r->cap : 64;
    struct tally *more = mem_realloc(r->tally, cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for reviews");
    memset(more + r->cap, 0, (cap - r->cap) * sizeof *more);
    r->tally = more;
    r->cap = cap;
  }
  struct tally *t = &r->tally[at];
  t->count[o]++;
  t->distance += distance;
  struct str draft = json_str(json_get(s, "draft"));
  for (size_t i = 0; i < draft.n; i++) t->characters += ((unsigned char)draft.p[i] & 0xC0) != 0x80;
  return OK;
}

static int count_file(struct reviews *r, const char *path, struct arena *a, struct error *e) {
  struct arena_mark mark = arena_mark(a);
  struct error none = {0};
  struct json root, s;
  bool good = file_size(path) <= REVIEW_BYTES && json_load(a, path, &root, &none) == OK &&
              str_starts(json_str(json_get(root, "format")), STR("vitae-draft-feedback-"));
  for (struct json_iter it = good ? json_items(json_get(root, "sentences")) : (struct json_iter){0}; good && json_next(&it, &s);) {
    int rc = count_sentence(r, s, e);
    if (rc == E_NOMEM) return rc;
    good = rc == OK;
  }
  r->documents += good;
  r->unreadable += !good;
  arena_rewind(a, mark);
  return OK;
}

static void print_reviews(const struct reviews *r) {
  struct table t;
  char cell[DRAFT_OUTCOMES][24], share[24];
  table_init(&t, 6, "pattern", "kept", "changed", "deleted", "added", "distance/character");
  for (uint32_t i = 0; i < r->rules.count; i++) {
    const struct tally *x = &r->tally[i];
    for (int o = 0; o < DRAFT_OUTCOMES; o++) snprintf(cell[o], sizeof cell[o], "%lld", (long long)x->count[o]);
    snprintf(share, sizeof share, x->characters ? "%.2f" : "-", (double)x->distance / (double)(x->characters ? x->characters : 1));
    char rule[64];
    snprintf(rule, sizeof rule, "%.*s", STR_ARG(intern_str(&r->rules, i)));
    table_row(&t, rule, cell[DRAFT_KEPT], cell[DRAFT_CHANGED], cell[DRAFT_DELETED], cell[DRAFT_ADDED], share);
  }
  table_print(&t, stdout);
  table_release(&t);
  printf("%lld reviewed documents%s\n", (long long)r->documents, r->unreadable ? "; some files could not be read" : "");
}

static int json_reviews(const struct reviews *r, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_i64(&o, "documents", r->documents);
  json_kv_i64(&o, "unreadable", r->unreadable);
  json_out_key(&o, "patterns");
  json_out_array(&o);
  for (uint32_t i = 0; i < r->rules.count; i++) {
    json_out_object(&o);
    json_kv_str(&o, "rule", intern_str(&r->rules, i));
    for (int k = 0; k < DRAFT_OUTCOMES; k++) json_kv_i64(&o, draft_outcome_name[k], r->tally[i].count[k]);
    json_kv_i64(&o, "distance", r->tally[i].distance);
    json_kv_i64(&o, "characters", r->tally[i].characters);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

int cli_draft_reviews(struct cli *c, const struct site *s, struct error *e) {
  struct reviews r = {0};
  struct arena a;
  struct str *path = NULL;
  char dir[4096];
  size_t n = 0;
  TRY(site_path(s, dir, "inbox", "drafts", NULL));
  arena_init(&a, 256 << 20, ARENA_WIPE);
  intern_init(&r.rules, 0);
  int rc = file_is_dir(dir) ? file_list(&a, dir, &path, &n, e) : OK;
  for (size_t i = 0; rc == OK && i < n; i++) rc = count_file(&r, path[i].p, &a, e);
  if (rc == OK && c->json) rc = json_reviews(&r, e);
  if (rc == OK && !c->json) print_reviews(&r);
  intern_release(&r.rules);
  mem_free(r.tally);
  arena_free(&a);
  return rc;
}
