/* Documents as data: knowledge/drafts.json, read and checked (docs/drafting.md). */
#include "base/file.h"
#include "base/json.h"
#include "reason/draft_private.h"
#include "timeline/timeline.h"

enum { NAMES_MOST = 100, DOCUMENTS_MOST = 32, SECTIONS_MOST = 40, PARTS_MOST = 10, PATTERN_MOST = 300, ENTRIES_MOST = 200 };
const char *const draft_line_name[LINES] = {"sex",  "age",  "death", "once", "many", "changed", "same",
                                            "none", "from", "to",    "open", "risk", "not",     "warning"};
const char *const draft_field_name[FIELDS] = {"name", "value",     "first",    "last",      "day",   "n",
                                              "from", "direction", "interval", "agreement", "reason"};
static const char *const part_name[PARTS_OF] = {"person", "list", "results", "stay", "risks", "blank"};
static const char *const window_name[WINDOWS] = {"all", "visit", "stay", "before-stay"};
static const char *const state_name[STATES] = {"any", "active", "past"};
static const char *const kind_name[] = {"encounter", "condition", "medicine", "procedure", "measurement", "allergy", "other"};

static int bad(struct error *e, const char *field, const char *what) {
  (void)error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}
static int one_of(struct json j, const char *key, const char *const *name, int n, int otherwise, struct error *e) {
  struct str s = json_str(json_get(j, key));
  if (!s.p && otherwise >= 0) return otherwise;
  for (int i = 0; i < n; i++)
    if (str_eqc(s, name[i])) return i;
  return bad(e, key, "not one of the words that may stand here");
}
static int text(struct json j, const char *key, struct arena *a, struct str *out, struct error *e) {
  struct str s;
  TRY(json_want_str(j, key, &s, e));
  if (s.n == 0 || s.n > PATTERN_MOST) return bad(e, key, "expected a text of 1 to 300 bytes");
  *out = str_copy(a, s);
  return out->p ? OK : error_set(e, E_NOMEM, "no memory for documents");
}
static int names(struct json j, const char *key, struct arena *a, struct names *out, struct error *e) {
  struct json list = json_get(j, key), item;
  size_t n = json_count(list);
  if (json_kind(list) == JSON_NONE) return OK;
  if (json_kind(list) != JSON_ARRAY || n > NAMES_MOST) return bad(e, key, "expected a list of at most 100 texts");
  out->name = arena_array(a, struct str, n + 1);
  if (!out->name) return error_set(e, E_NOMEM, "no memory for documents");
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    struct str s = json_str(item);
    if (s.n == 0) return bad(e, key, "expected texts");
    out->name[out->n] = str_copy(a, s);
    if (!out->name[out->n++].p) return error_set(e, E_NOMEM, "no memory for documents");
  }
  return OK;
}

/* The field that a pattern names at `at` ("{name}"), its length with braces in *n; -1 = none there, -2 = an unknown one */
static int field_at(struct str pattern, size_t at, size_t *n) {
  if (pattern.p[at] != '{') return -1;
  const char *close = memchr(pattern.p + at, '}', pattern.n - at);
  if (!close) return -2;
  struct str name = {pattern.p + at + 1, (size_t)(close - pattern.p) - at - 1};
  *n = name.n + 2;
  for (int i = 0; i < FIELDS; i++)
    if (str_eqc(name, draft_field_name[i])) return i;
  return -2;
}
void draft_fill(struct str pattern, const struct str field[FIELDS], struct buf *out) {
  for (size_t i = 0; i < pattern.n;) {
    size_t n = 1;
    int f = field_at(pattern, i, &n);
    if (f >= 0)
      buf_str(out, field[f]);
    else
      buf_putc(out, pattern.p[i]);
    i += n;
  }
}

static int read_lines(struct json j, struct part *p, struct arena *a, struct error *e) {
  for (int i = 0; i < LINES; i++) {
    if (json_kind(json_get(j, draft_line_name[i])) == JSON_NONE) continue;
    TRY(text(j, draft_line_name[i], a, &p->line[i], e));
    for (size_t k = 0, n; k < p->line[i].n; k++)
      if (field_at(p->line[i], k, &n) == -2) return bad(e, draft_line_name[i], "a pattern names a field that there is not");
  }
  static const struct {
    enum part_of of;
    enum line line;
  } needed[] = {{PART_LIST, LINE_ONCE},    {PART_LIST, LINE_MANY}, {PART_RESULTS, LINE_ONCE}, {PART_RESULTS, LINE_CHANGED},
                {PART_RESULTS, LINE_SAME}, {PART_STAY, LINE_FROM}, {PART_STAY, LINE_TO},      {PART_RISKS, LINE_RISK}};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
    if (p->of == needed[i].of && !p->line[needed[i].line].n)
      return bad(e, draft_line_name[needed[i].line], "this part needs such a pattern");
  return OK;
}

static int read_part(struct json j, struct part *p, struct arena *a, struct error *e) {
  struct json item;
  int64_t most = 10;
  int of = one_of(j, "of", part_name, PARTS_OF, -1, e), window = one_of(j, "window", window_name, WINDOWS, WINDOW_ALL, e),
      state = one_of(j, "state", state_name, STATES, STATE_ANY, e);
  TRY(of);
  TRY(window);
  TRY(state);
  *p = (struct part){.of = (enum part_of)of, .window = (enum window)window, .state = (enum state)state};
  for (struct json_iter it = json_items(json_get(j, "kinds")); json_next(&it, &item);) {
    int k = 0;
    while (k <= KIND_OTHER && !str_eqc(json_str(item), kind_name[k])) k++;
    if (k > KIND_OTHER) return bad(e, "kinds", "not one of the words that may stand here");
    p->kinds |= 1U << k;
  }
  if (p->of == PART_LIST && !p->kinds) return bad(e, "kinds", "a list needs the kinds of what it lists");
  (void)json_f64(json_get(j, "days"), &p->days);
  (void)json_f64(json_get(j, "before_days"), &p->before_days);
  (void)json_bool(json_get(j, "within"), &p->within);
  (void)json_bool(json_get(j, "living"), &p->living);
  if (json_i64(json_get(j, "most"), &most) && (most < 1 || most > ENTRIES_MOST)) return bad(e, "most", "expected 1 to 200");
  if (!(p->days >= 0 && p->days <= 73000 && p->before_days >= 0 && p->before_days <= 73000))
    return bad(e, "days", "expected days from 0 to 73,000");
  p->most = (int)most;
  TRY(names(j, "skip", a, &p->skip, e));
  return read_lines(j, p, a, e);
}

static int read_section(struct json j, struct section *s, struct arena *a, struct error *e) {
  struct json parts = json_get(j, "parts"), item;
  size_t n = json_count(parts);
  TRY(text(j, "key", a, &s->key, e));
  TRY(text(j, "title", a, &s->title, e));
  if (s->key.n > 40) return bad(e, "key", "expected at most 40 bytes");
  if (json_kind(parts) != JSON_ARRAY || n == 0 || n > PARTS_MOST) return bad(e, "parts", "expected 1 to 10 parts");
  s->part = arena_array(a, struct part, n);
  if (!s->part) return error_set(e, E_NOMEM, "no memory for documents");
  for (struct json_iter it = json_items(parts); json_next(&it, &item);) TRY(read_part(item, &s->part[s->parts++], a, e));
  return OK;
}

static int read_document(struct json j, struct document *d, struct arena *a, struct error *e) {
  struct json sections = json_get(j, "sections"), item;
  size_t n = json_count(sections);
  int64_t events, sentences;
  TRY(text(j, "kind", a, &d->kind, e));
  TRY(text(j, "title", a, &d->title, e));
  TRY(json_want_i64(j, "least_events", &events, e));
  TRY(json_want_i64(j, "least_sentences", &sentences, e));
  if (events < 1 || events > 1000000 || sentences < 1 || sentences > 1000) return bad(e, "least_events", "out of range");
  d->least_events = (uint32_t)events;
  d->least_sentences = (int)sentences;
  d->needs_stay = str_eqc(json_str(json_get(j, "needs")), "stay");
  if (json_kind(sections) != JSON_ARRAY || n == 0 || n > SECTIONS_MOST) return bad(e, "sections", "expected 1 to 40 sections");
  d->section = arena_array(a, struct section, n);
  if (!d->section) return error_set(e, E_NOMEM, "no memory for documents");
  for (struct json_iter it = json_items(sections); json_next(&it, &item);) TRY(read_section(item, &d->section[d->sections++], a, e));
  return OK;
}

static int read_called(struct json j, struct drafter *d, struct error *e) {
  struct json item;
  struct str key;
  size_t n = json_count(j);
  if (n > NAMES_MOST) return bad(e, "names", "expected at most 100 names");
  d->named.name = arena_array(&d->a, struct str, n + 1);
  d->called.name = arena_array(&d->a, struct str, n + 1);
  if (!d->named.name || !d->called.name) return error_set(e, E_NOMEM, "no memory for documents");
  for (struct json_iter it = json_members(j); json_next_member(&it, &key, &item);) {
    if (json_str(item).n == 0 || json_str(item).n > PATTERN_MOST) return bad(e, "names", "expected texts");
    d->named.name[d->named.n++] = str_copy(&d->a, key);
    d->called.name[d->called.n++] = str_copy(&d->a, json_str(item));
  }
  return OK;
}

int draft_documents(struct json root, struct drafter *d, struct error *e) {
  struct json list = json_get(root, "documents"), item;
  size_t n = json_count(list);
  TRY(names(root, "resolved", &d->a, &d->resolved, e));
  TRY(names(root, "visit_from", &d->a, &d->visit_from, e));
  TRY(names(root, "stay_from", &d->a, &d->stay_from, e));
  TRY(names(root, "stay_to", &d->a, &d->stay_to, e));
  TRY(names(root, "kindless", &d->a, &d->kindless, e));
  TRY(read_called(json_get(root, "names"), d, e));
  if (json_kind(list) != JSON_ARRAY || n == 0 || n > DOCUMENTS_MOST) return bad(e, "documents", "expected 1 to 32 documents");
  d->document = arena_array(&d->a, struct document, n);
  if (!d->document) return error_set(e, E_NOMEM, "no memory for documents");
  for (struct json_iter it = json_items(list); json_next(&it, &item);) TRY(read_document(item, &d->document[d->documents++], &d->a, e));
  return OK;
}

int drafter_new(const struct asker *k, const char *path, struct drafter **out, struct error *e) {
  struct json root;
  char shipped[4096];
  struct drafter *d = mem_alloc(sizeof *d);
  if (!d) return error_set(e, E_NOMEM, "no memory for documents");
  *d = (struct drafter){.k = k};
  arena_init(&d->a, 16 << 20, 0);
  int rc = path ? OK : file_join(shipped, sizeof shipped, file_data_dir(), "knowledge/drafts.json", e);
  if (rc == OK) rc = json_load(&d->a, path ? path : shipped, &root, e);
  if (rc == OK && (rc = draft_documents(root, d, e)) < 0) error_where(e, path ? path : "knowledge/drafts.json", 0, NULL);
  if (rc < 0) {
    drafter_free(d);
    return rc;
  }
  *out = d;
  return OK;
}
void drafter_free(struct drafter *d) {
  if (!d) return;
  arena_free(&d->a);
  mem_free(d);
}
int drafter_kinds(const struct drafter *d) { return d->documents; }
struct str drafter_kind(const struct drafter *d, int i) {
  return d->document[i].kind;
}
struct str drafter_title(const struct drafter *d, int i) {
  return d->document[i].title;
}
