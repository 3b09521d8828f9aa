/* The knowledge of sequential diagnosis: diseases and actions from their files, and how text becomes words. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json_lines.h"
#include "reason/sequential_private.h"
#include "reason/words.h"

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for diagnosis"); }
static void *grow(void *p, int n, int *cap, size_t size) {
  if (n < *cap) return p;
  int more = *cap ? 2 * *cap : 256;
  void *q = mem_realloc(p, (size_t)more * size);
  if (q) *cap = more;
  return q;
}

/* ---- words ---- */

static bool one_of(const char *w, const char *const *list) {
  for (; *list; list++)
    if (strcmp(w, *list) == 0) return true;
  return false;
}
/* What follows is denied until the sentence ends; what is around is denied within its own part of the sentence */
static bool denies_after(const char *w) {
  static const char *const list[] = {"no", "not", "denie", "deny", "denied", "without", "never", "absence", "non", NULL};
  return one_of(w, list);
}
static bool denies_around(const char *w) {
  static const char *const list[] = {"negative", "normal", "absent", "none", "unremarkable", "sterile", NULL};
  return one_of(w, list);
}
static bool hollow(const char *w) { /* words that records and textbooks are full of */
  static const char *const list[] = {"year", "old",   "finding", "history", "report", "noted", "present",     "show", "week", "month",
                                     "day",  "hour",  "feel",    "become",  "appear", "left",  "right",       "both", "side", "one",
                                     "two",  "three", "often",   "after",   "before", "until", "significant", "due",  "over", "since",
                                     "into", "more",  "than",    "like",    "but",    "may",   "can",         NULL};
  return one_of(w, list);
}
static void stem(char *w) {
  static const char *const ends[] = {"ations", "ation", "ness", "ing", "ies", "ed", "es", "ic", "al", "ous", "ia", "y", "e", "s"};
  size_t n = strlen(w);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    size_t k = strlen(ends[i]);
    if (n >= k + 4 && strcmp(w + n - k, ends[i]) == 0) {
      w[n - k] = 0;
      return;
    }
  }
}
/* The next run of letters and digits of a part, folded as in words_cut and without stop words; word by word, as a second "no" counts too */
static bool next_of_part(struct str *part, struct words *out) {
  while (part->n) {
    size_t n = 0;
    while (n < part->n && (isalnum((unsigned char)part->p[n]) || (unsigned char)part->p[n] >= 0x80)) n++;
    words_cut((struct str){part->p, n}, out);
    n += n < part->n;
    *part = (struct str){part->p + n, part->n - n};
    if (out->n) return true;
  }
  return false;
}
/* Up to the next mark of punctuation; what is denied by a part's "negative" is all of that part */
static void next_part(struct seq_cutter *c) {
  struct str *rest = &c->rest;
  size_t n = 0;
  if (c->sentence) c->denied = false;
  while (n < rest->n && !strchr(".;,:!?\n", rest->p[n])) n++;
  c->sentence =
      n < rest->n && strchr(".;!?\n", rest->p[n]) && !(rest->p[n] == '.' && n + 1 < rest->n && isdigit((unsigned char)rest->p[n + 1]));
  c->part = (struct str){rest->p, n};
  n += n < rest->n;
  *rest = (struct str){rest->p + n, rest->n - n};
  c->around = false;
  for (struct str part = c->part; next_of_part(&part, &c->found);)
    for (int i = 0; i < c->found.n; i++) c->around |= denies_around(c->found.word[i]);
  c->found.n = c->at = 0;
}
static bool says(struct seq_cutter *c, const char *w) {
  if (denies_after(w)) return c->denied = true, false;
  if (strcmp(w, "but") == 0 || strcmp(w, "however") == 0) return c->denied = false, false;
  return !denies_around(w) && !hollow(w) && strlen(w) > 2 && !isdigit((unsigned char)w[0]);
}
bool sequential_word(struct seq_cutter *c, struct str *out) {
  for (;;) {
    while (c->at == c->found.n) {
      c->at = c->found.n = 0;
      if (next_of_part(&c->part, &c->found)) continue;
      if (!c->rest.n) return false;
      next_part(c);
    }
    char *w = c->found.word[c->at++];
    if (!says(c, w)) continue;
    stem(w);
    snprintf(c->word, sizeof c->word, "%s%s", c->denied || c->around ? "-" : "", w);
    *out = str_c(c->word);
    return true;
  }
}
/* letters and digits in lower case, single spaces; what is in brackets and a possessive's s are left out */
int sequential_fold(struct str name, char out[128]) {
  int n = 0, depth = 0;
  for (size_t i = 0; i < name.n && n < 126; i++) {
    unsigned char c = (unsigned char)name.p[i];
    if (c == '(') depth++;
    if (c == ')' && depth) {
      depth--;
      continue;
    }
    if (depth) continue;
    bool quote = c == '\'' || (c == 0xE2 && i + 2 < name.n && (unsigned char)name.p[i + 1] == 0x80 && (unsigned char)name.p[i + 2] == 0x99);
    if (quote) {
      i += c == '\'' ? 0 : 2;
      if (i + 1 < name.n && (name.p[i + 1] == 's' || name.p[i + 1] == 'S')) i++;
      continue;
    }
    if (isalnum(c) || c >= 0x80)
      out[n++] = (char)tolower(c);
    else if (n && out[n - 1] != ' ')
      out[n++] = ' ';
  }
  while (n && out[n - 1] == ' ') n--;
  out[n] = 0;
  return n;
}

/* ---- actions ---- */

static int read_action(struct sequential *k, struct json j, struct error *e) {
  static const char *const kinds[] = {"question", "examination", "test"};
  struct str kind;
  if (k->actions == SEQUENTIAL_ACTIONS) return error_set(e, E_LIMIT, "more than %d actions", SEQUENTIAL_ACTIONS);
  struct sequential_action *x = &k->action[k->actions];
  TRY(json_want_str(j, "id", &x->id, e));
  TRY(json_want_str(j, "name", &x->name, e));
  TRY(json_want_str(j, "kind", &kind, e));
  TRY(json_want_f64(j, "cost", &x->cost, e));
  json_bool(json_get(j, "generic"), &x->generic);
  struct str like = json_str(json_get(j, "like"));
  x->like = like.p ? sequential_action_find(k, like) : -1;
  if (like.p && x->like < 0) return error_set(e, E_INPUT, "field like: no earlier action has this id");
  int at = 0;
  while (at < 3 && !str_eqc(kind, kinds[at])) at++;
  if (at == 3) return error_set(e, E_INPUT, "field kind: expected question, examination or test");
  if (!(x->cost >= 0) || x->cost > 1e6) return error_set(e, E_INPUT, "field cost: expected 0 to 1,000,000");
  if (sequential_action_find(k, x->id) >= 0) return error_set(e, E_INPUT, "field id: two actions have it");
  x->kind = (enum sequential_kind)at;
  x->id = str_copy(&k->arena, x->id);
  x->name = str_copy(&k->arena, x->name);
  struct json keys = json_get(j, "keys");
  struct str *key = arena_array(&k->arena, struct str, json_count(keys) + 1);
  if (!key || !x->id.p || !x->name.p) return no_memory(e);
  struct json_iter it = json_items(keys);
  for (struct json v; json_next(&it, &v);) {
    char folded[128];
    int n = sequential_fold(json_str(v), folded);
    if (n == 0) return error_set(e, E_INPUT, "field keys: expected words");
    key[x->keys] = str_copy(&k->arena, (struct str){folded, (size_t)n});
    if (!key[x->keys++].p) return no_memory(e);
  }
  x->key = key;
  k->actions++;
  return OK;
}
static int read_actions(struct sequential *k, const char *path, struct error *e) {
  struct arena a;
  struct json root;
  struct str currency;
  uint8_t sum[32];
  arena_init(&a, 16 << 20, 0);
  int rc = json_load(&a, path, &root, e);
  if (rc == OK) rc = json_want_str(root, "currency", &currency, e);
  if (rc == OK) k->currency = str_copy(&k->arena, currency);
  struct json_iter it = json_items(json_get(root, "actions"));
  int row = 0;
  for (struct json j; rc == OK && json_next(&it, &j); row++) {
    rc = read_action(k, j, e);
    if (rc < 0) error_where(e, path, row + 1, NULL);
  }
  if (rc == OK && k->actions == 0) rc = error_set(e, E_INPUT, "no actions in this file");
  if (rc == OK) rc = sha256_file(path, sum, e);
  if (rc == OK) hash_hex(sum, 32, k->hash[1]);
  arena_free(&a);
  return rc;
}

/* ---- diseases ---- */

static int compare_ints(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  return (x > y) - (x < y);
}
static int sort_unique(int *v, int n) {
  int m = 0;
  if (n == 0) return 0;
  qsort(v, (size_t)n, sizeof *v, compare_ints);
  for (int i = 0; i < n; i++)
    if (m == 0 || v[m - 1] != v[i]) v[m++] = v[i];
  return m;
}
static int push(struct sequential *k, int word, struct error *e) {
  int *more = grow(k->list, k->lists, &k->list_cap, sizeof *more);
  if (!more) return no_memory(e);
  k->list = more;
  k->list[k->lists++] = word;
  return OK;
}
static int push_words(struct sequential *k, struct str text, struct error *e) {
  struct seq_cutter c = {.rest = text};
  for (struct str w; sequential_word(&c, &w);) {
    uint32_t id;
    TRY(intern_put(&k->words, w, &id, e));
    TRY(push(k, (int)id, e));
  }
  return OK;
}
static int name_put(struct sequential *k, struct str name, struct error *e) {
  char folded[128];
  uint32_t at;
  int n = sequential_fold(name, folded);
  if (n == 0) return error_set(e, E_INPUT, "a disease's name is empty");
  if (intern_find(&k->names, (struct str){folded, (size_t)n}, &at))
    return k->name_of[at] == k->diseases ? OK : error_set(e, E_INPUT, "two diseases have the same name");
  TRY(intern_put(&k->names, (struct str){folded, (size_t)n}, &at, e));
  int *more = grow(k->name_of, (int)at, &k->names_cap, sizeof *more);
  if (!more) return no_memory(e);
  k->name_of = more;
  k->name_of[at] = k->diseases;
  return OK;
}
static int read_finding(struct sequential *k, struct str id, struct str text, struct error *e) {
  bool opening = str_eqc(id, "age");
  int action = opening ? -1 : sequential_action_find(k, id);
  if (!opening && action < 0) return error_set(e, E_INPUT, "findings: no action has this id");
  struct finding *more = grow(k->finding, k->findings, &k->finding_cap, sizeof *more);
  if (!more) return no_memory(e);
  k->finding = more;
  struct finding *f = &k->finding[k->findings++];
  *f = (struct finding){.action = action, .first = k->lists};
  TRY(push_words(k, text, e));
  f->n = sort_unique(k->list + f->first, k->lists - f->first);
  k->lists = f->first + f->n;
  return OK;
}
static int read_disease(struct sequential *k, struct json j, struct error *e) {
  struct str name, key;
  struct json v;
  if (k->diseases == SEQUENTIAL_DISEASES) return error_set(e, E_LIMIT, "more than %d diseases", SEQUENTIAL_DISEASES);
  struct seq_disease *more = grow(k->disease, k->diseases, &k->disease_cap, sizeof *more);
  if (!more) return no_memory(e);
  k->disease = more;
  struct seq_disease *x = &k->disease[k->diseases];
  *x = (struct seq_disease){.finding = k->findings};
  TRY(json_want_str(j, "name", &name, e));
  x->name = str_copy(&k->arena, name);
  if (!x->name.p) return no_memory(e);
  TRY(name_put(k, name, e));
  struct json_iter it = json_items(json_get(j, "also"));
  while (json_next(&it, &v)) TRY(name_put(k, json_str(v), e));
  it = json_members(json_get(j, "findings"));
  while (json_next_member(&it, &key, &v)) TRY(read_finding(k, key, json_str(v), e));
  x->findings = k->findings - x->finding;
  if (x->findings == 0) return error_set(e, E_INPUT, "a disease without findings");
  x->first = k->lists;
  TRY(push_words(k, name, e)); /* a record may say the name itself */
  for (int i = 0; i < x->findings; i++)
    for (int w = 0; w < k->finding[x->finding + i].n; w++) TRY(push(k, k->list[k->finding[x->finding + i].first + w], e));
  x->n = sort_unique(k->list + x->first, k->lists - x->first);
  k->lists = x->first + x->n;
  k->diseases++;
  return OK;
}
static int read_diseases(struct sequential *k, const char *path, struct error *e) {
  struct json_lines l;
  struct json root;
  uint8_t sum[32];
  int rc;
  TRY(json_lines_open(&l, path, e));
  while ((rc = json_lines_next(&l, &root, e)) == OK)
    if ((rc = read_disease(k, root, e)) < 0) break;
  TRY(json_lines_close(&l, rc, e));
  if (k->diseases < 2) return error_set(e, E_INPUT, "%s: expected at least two diseases", path);
  TRY(sha256_file(path, sum, e));
  hash_hex(sum, 32, k->hash[0]);
  return OK;
}

/* ---- how common words are ---- */

int sequential_count(const struct sequential *k, const struct str *text, int n, double echo, double scale, struct buf *json,
                     struct error *e) {
  int words = (int)k->words.count, *count = mem_alloc(((size_t)words + 1) * sizeof *count),
      *last = mem_alloc(((size_t)words + 1) * sizeof *last);
  struct json_out o;
  int rc = count && last ? OK : no_memory(e);
  for (int i = 0; i < words && rc == OK; i++) count[i] = 0, last[i] = -1;
  for (int i = 0; i < n && rc == OK; i++) {
    struct seq_cutter c = {.rest = text[i]};
    for (struct str w; sequential_word(&c, &w);) {
      uint32_t id;
      if (!intern_find(&k->words, w, &id) || last[id] == i) continue;
      last[id] = i;
      count[id]++;
    }
  }
  if (rc == OK) {
    json_out_init(&o, json, false);
    json_out_object(&o);
    json_kv_i64(&o, "documents", n);
    json_kv_f64(&o, "echo", echo);
    json_kv_f64(&o, "scale", scale);
    json_out_key(&o, "words");
    json_out_object(&o);
    for (int i = 0; i < words; i++)
      if (count[i]) {
        json_out_key_str(&o, intern_str(&k->words, (uint32_t)i));
        json_out_i64(&o, count[i]);
      }
    json_out_end(&o);
    json_out_end(&o);
    rc = buf_check(json, e);
  }
  mem_free(count);
  mem_free(last);
  return rc;
}

#define PRIOR 4.0 /* documents that the share of diseases with the word counts for */
static void weigh(struct sequential *k, double documents, const double *count) {
  int words = (int)k->words.count;
  for (int w = 0; w < words; w++) {
    double of_diseases = k->having_start[w + 1] - k->having_start[w];
    double b = (count[w] + PRIOR * of_diseases / k->diseases) / (documents + PRIOR);
    b = fmin(b, k->echo); /* common in all cases: tells nothing */
    k->gain[w] = (float)log(k->echo / b);
    k->loss[w] = (float)log((1 - b) / (1 - k->echo));
  }
}
int sequential_use(struct sequential *k, const char *json, size_t n, struct error *e) {
  struct json_parser *jp;
  struct json root, v;
  struct str key;
  uint8_t sum[32];
  double documents, *count = mem_alloc(((size_t)k->words.count + 1) * sizeof *count);
  if (!count) return no_memory(e);
  memset(count, 0, ((size_t)k->words.count + 1) * sizeof *count);
  int rc = json_parser_new(&jp, e);
  if (rc < 0) {
    mem_free(count);
    return rc;
  }
  rc = json_parse(jp, json, n, n, &root, e);
  if (rc == OK) rc = json_want_f64(root, "documents", &documents, e);
  if (rc == OK) rc = json_want_f64(root, "echo", &k->echo, e);
  if (rc == OK) rc = json_want_f64(root, "scale", &k->scale, e);
  if (rc == OK && !(documents >= 0 && k->scale > 0 && k->echo > 0 && k->echo < 1))
    rc = error_set(e, E_INPUT, "fields documents, scale and echo: expected 0 or more, above 0, between 0 and 1");
  struct json_iter it = json_members(json_get(root, "words"));
  while (rc == OK && json_next_member(&it, &key, &v)) {
    uint32_t id;
    double x;
    if (!json_f64(v, &x) || x < 0 || x > documents) rc = error_set(e, E_INPUT, "field words: expected counts of documents");
    if (rc == OK && intern_find(&k->words, key, &id)) count[id] = x;
  }
  json_parser_free(jp);
  if (rc == OK) {
    weigh(k, documents, count);
    sha256_of(json, n, sum);
    hash_hex(sum, 32, k->hash[2]);
  }
  mem_free(count);
  return rc;
}
/* Which word denies which, and who has a word */
static int index_words(struct sequential *k, struct error *e) {
  int words = (int)k->words.count, all = 0;
  k->gain = arena_array(&k->arena, float, (size_t)words + 1);
  k->loss = arena_array(&k->arena, float, (size_t)words + 1);
  k->against = arena_array(&k->arena, int, (size_t)words + 1);
  k->having_start = arena_array(&k->arena, int, (size_t)words + 2);
  if (!k->gain || !k->loss || !k->against || !k->having_start) return no_memory(e);
  for (int w = 0; w < words; w++) {
    struct str s = intern_str(&k->words, (uint32_t)w);
    char other[64];
    uint32_t id;
    bool denied = s.p[0] == '-';
    snprintf(other, sizeof other, "%s%.*s", denied ? "" : "-", (int)s.n - denied, s.p + denied);
    k->against[w] = intern_find(&k->words, str_c(other), &id) ? (int)id : -1;
  }
  for (int d = 0; d < k->diseases; d++)
    for (int i = 0; i < k->disease[d].n; i++, all++) k->having_start[k->list[k->disease[d].first + i] + 1]++;
  for (int w = 0; w < words; w++) k->having_start[w + 1] += k->having_start[w];
  k->having = arena_array(&k->arena, int, (size_t)all + 1);
  int *fill = mem_alloc(((size_t)words + 1) * sizeof *fill);
  if (!k->having || !fill) {
    mem_free(fill);
    return no_memory(e);
  }
  memcpy(fill, k->having_start, ((size_t)words + 1) * sizeof *fill);
  for (int d = 0; d < k->diseases; d++)
    for (int i = 0; i < k->disease[d].n; i++) k->having[fill[k->list[k->disease[d].first + i]]++] = d;
  mem_free(fill);
  return OK;
}
static int use_file(struct sequential *k, const char *path, struct error *e) {
  struct arena a;
  struct str text;
  TRY(index_words(k, e));
  arena_init(&a, 16 << 20, 0);
  int rc = file_read(&a, path, 8 << 20, &text, e);
  if (rc == OK && (rc = sequential_use(k, text.p, text.n, e)) < 0) error_where(e, path, 0, NULL);
  arena_free(&a);
  return rc;
}

int sequential_open(const struct sequential_files *f, struct sequential **out, struct error *e) {
  static const char *const shipped[] = {"knowledge/actions.json", "knowledge/diagnoses.jsonl", "knowledge/words.json"};
  static int (*const read[])(struct sequential *, const char *, struct error *) = {read_actions, read_diseases, use_file};
  const char *given[] = {f->actions, f->diagnoses, f->words};
  char path[3][4096];
  struct sequential *k = mem_alloc(sizeof *k);
  int rc = OK;
  if (!k) return no_memory(e);
  *k = (struct sequential){0};
  arena_init(&k->arena, 256 << 20, 0);
  intern_init(&k->words, 0);
  intern_init(&k->names, 0);
  for (int i = 0; i < 3 && rc == OK; i++) {
    if (!given[i]) rc = file_join(path[i], sizeof path[i], file_data_dir(), shipped[i], e);
    if (rc == OK) rc = read[i](k, given[i] ? given[i] : path[i], e);
  }
  if (rc < 0) {
    sequential_free(k);
    return rc;
  }
  *out = k;
  return OK;
}
void sequential_free(struct sequential *k) {
  if (!k) return;
  intern_release(&k->words);
  intern_release(&k->names);
  mem_free(k->name_of);
  mem_free(k->disease);
  mem_free(k->finding);
  mem_free(k->list);
  arena_free(&k->arena);
  mem_free(k);
}
