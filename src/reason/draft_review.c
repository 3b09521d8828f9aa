#include "reason/draft_review.h"

#include <stdio.h>

#include "base/hash.h"

enum { SENTENCES_MOST = 500, TEXT_MOST = 2000, RULE_MOST = 64, NAME_MOST = 64 };
const char *const draft_outcome_name[DRAFT_OUTCOMES] = {"kept", "changed", "deleted", "added"};

int draft_name_begin(const struct draft_name *n, struct sha256 *s, struct error *e) {
  char subject[32];
  TRY(sha256_init(s, e));
  snprintf(subject, sizeof subject, "%lld", (long long)n->subject);
  draft_name_add(s, n->kind, str_c(subject));
  draft_name_add(s, n->generation, n->version);
  return OK;
}
void draft_name_add(struct sha256 *s, struct str id, struct str text) {
  uint64_t n[2] = {id.n, text.n}; /* lengths first: no two drafts have the same bytes */
  sha256_add(s, n, sizeof n);
  if (id.n) sha256_add(s, id.p, id.n);
  if (text.n) sha256_add(s, text.p, text.n);
}
void draft_name_end(struct sha256 *s, char out[DRAFT_ID + 1]) {
  uint8_t digest[32];
  sha256_end(s, digest);
  hash_hex(digest, DRAFT_ID / 2, out);
}

static uint32_t *characters_of(struct str s, struct arena *a, uint32_t *n) {
  uint32_t *c = arena_array(a, uint32_t, s.n + 1);
  *n = 0;
  for (size_t i = 0; c && i < s.n;) {
    size_t step = str_utf8_next((struct str){s.p + i, s.n - i});
    if (step == 0) step = 1;
    uint32_t x = 0;
    for (size_t k = 0; k < step; k++) x = x << 8 | (unsigned char)s.p[i + k];
    c[(*n)++] = x;
    i += step;
  }
  return c;
}

int edit_distance(struct str a, struct str b, struct arena *arena, uint32_t *out, struct error *e) {
  struct arena_mark mark = arena_mark(arena);
  uint32_t n, m;
  uint32_t *x = characters_of(a, arena, &n), *y = characters_of(b, arena, &m), *row = arena_array(arena, uint32_t, b.n + 1);
  if (!x || !y || !row) return error_set(e, E_NOMEM, "no memory for comparing texts");
  for (uint32_t j = 0; j <= m; j++) row[j] = j;
  for (uint32_t i = 1; i <= n; i++) {
    uint32_t diagonal = row[0];
    row[0] = i;
    for (uint32_t j = 1; j <= m; j++) {
      uint32_t best = diagonal + (x[i - 1] != y[j - 1]);
      diagonal = row[j];
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  *out = row[m];
  arena_rewind(arena, mark);
  return OK;
}

static int text_of(struct json j, const char *key, size_t most, struct str *out, struct error *e) {
  *out = json_str(json_get(j, key));
  if (!out->p || out->n > most) {
    (void)error_set(e, E_INPUT, "expected a text of at most %zu bytes", most);
    return error_where(e, NULL, 0, key);
  }
  return OK;
}

static int judge(struct draft_review *r, struct draft_edit *x, struct arena *a, struct error *e) {
  x->after = str_trim(x->after);
  TRY(edit_distance(x->before, x->after, a, &x->distance, e));
  x->outcome = x->before.n == 0 ? DRAFT_ADDED : x->after.n == 0 ? DRAFT_DELETED : x->distance ? DRAFT_CHANGED : DRAFT_KEPT;
  uint32_t n = 0;
  TRY(edit_distance(x->before, STR_NONE, a, &n, e));
  r->count[x->outcome]++;
  r->distance += x->distance;
  r->characters += n;
  return OK;
}

static int read_sentence(struct json s, struct draft_review *r, struct arena *a, struct sha256 *hash, struct error *e) {
  struct draft_edit *x = &r->edit[r->edits++];
  struct json last = json_get(s, "final");
  *x = (struct draft_edit){.events = json_get(s, "events")};
  TRY(text_of(s, "id", 8, &x->id, e));
  TRY(text_of(s, "rule", RULE_MOST, &x->rule, e));
  TRY(text_of(s, "text", TEXT_MOST, &x->before, e));
  if (json_kind(last) != JSON_NULL) TRY(text_of(s, "final", TEXT_MOST, &x->after, e));
  draft_name_add(hash, x->id, x->before);
  if (x->before.n == 0) { /* a blank of the draft: what stands there now was added */
    x->after = str_trim(x->after);
    if (x->after.n == 0) r->edits--;
    if (x->after.n == 0) return OK;
  }
  return judge(r, x, a, e);
}

static int read_all(struct json j, struct draft_review *r, struct arena *a, struct sha256 *hash, struct error *e) {
  struct json s, list = json_get(j, "sentences"), added = json_get(j, "added");
  for (struct json_iter it = json_items(list); json_next(&it, &s);) TRY(read_sentence(s, r, a, hash, e));
  for (struct json_iter it = json_items(added); json_next(&it, &s);) {
    struct draft_edit *x = &r->edit[r->edits++];
    *x = (struct draft_edit){0};
    TRY(text_of(s, "after", 8, &x->id, e));
    TRY(text_of(s, "text", TEXT_MOST, &x->after, e));
    if (str_trim(x->after).n == 0)
      r->edits--;
    else
      TRY(judge(r, x, a, e));
  }
  return OK;
}

int draft_review_read(struct json j, int64_t subject, struct arena *a, struct draft_review *r, struct error *e) {
  struct sha256 hash;
  char name[DRAFT_ID + 1];
  size_t n = json_count(json_get(j, "sentences")), added = json_count(json_get(j, "added"));
  *r = (struct draft_review){.subject = subject};
  if (json_kind(j) != JSON_OBJECT) return error_set(e, E_INPUT, "expected an object");
  if (json_kind(json_get(j, "sentences")) != JSON_ARRAY || n == 0 || n > SENTENCES_MOST || added > SENTENCES_MOST)
    return error_set(e, E_INPUT, "expected 1 to %d sentences, and at most as many added ones", SENTENCES_MOST);
  TRY(text_of(j, "draft", DRAFT_ID, &r->draft, e));
  TRY(text_of(j, "kind", NAME_MOST, &r->kind, e));
  TRY(text_of(j, "generation", NAME_MOST, &r->generation, e));
  TRY(text_of(j, "version", 2 * NAME_MOST, &r->version, e));
  r->edit = arena_array(a, struct draft_edit, n + added + 1);
  if (!r->edit) return error_set(e, E_NOMEM, "no memory for a review");
  TRY(draft_name_begin(&(struct draft_name){r->kind, r->generation, r->version, subject}, &hash, e));
  int rc = read_all(j, r, a, &hash, e);
  draft_name_end(&hash, name);
  if (rc == OK && !str_eqc(r->draft, name)) {
    rc = error_set(e, E_MISMATCH, "these are not the sentences of that draft");
    (void)error_where(e, NULL, 0, "draft");
  }
  return rc;
}

static void edit_json(const struct draft_edit *x, bool whole, struct json_out *o) {
  struct json event;
  json_out_object(o);
  json_kv_str(o, x->outcome == DRAFT_ADDED ? "after" : "id", x->id);
  json_kv_c(o, "outcome", draft_outcome_name[x->outcome]);
  json_kv_i64(o, "distance", x->distance);
  if (whole) {
    if (x->rule.n) json_kv_str(o, "rule", x->rule);
    json_kv_str(o, "draft", x->before);
    json_kv_str(o, "final", x->after);
    json_out_key(o, "events");
    json_out_array(o);
    for (struct json_iter it = json_items(x->events); json_next(&it, &event);)
      if (json_str(event).n && json_str(event).n < 16) json_out_str(o, json_str(event));
    json_out_end(o);
  }
  json_out_end(o);
}

void draft_review_json(const struct draft_review *r, bool whole, struct json_out *o) {
  json_kv_str(o, "draft", r->draft);
  if (whole) {
    char subject[32];
    snprintf(subject, sizeof subject, "%lld", (long long)r->subject);
    json_kv_c(o, "subject", subject);
    json_kv_str(o, "kind", r->kind);
    json_kv_str(o, "generation", r->generation);
    json_kv_str(o, "version", r->version);
  }
  for (int i = 0; i < DRAFT_OUTCOMES; i++) json_kv_i64(o, draft_outcome_name[i], r->count[i]);
  json_kv_i64(o, "distance", (int64_t)r->distance);
  json_kv_i64(o, "characters", (int64_t)r->characters);
  json_out_key(o, "sentences");
  json_out_array(o);
  for (int i = 0; i < r->edits; i++) edit_json(&r->edit[i], whole, o);
  json_out_end(o);
}
