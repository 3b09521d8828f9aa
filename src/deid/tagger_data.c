#include "deid/tagger_data.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json_lines.h"
#include "base/random.h"
#include "base/time.h"

int tagger_set_open(struct tagger_set *s, struct error *e) {
  (void)e;
  *s = (struct tagger_set){0};
  arena_init(&s->memory, 2048u << 20, 0);
  return OK;
}
void tagger_set_close(struct tagger_set *s) {
  mem_free(s->examples), mem_free(s->ids);
  arena_free(&s->memory);
}

bool tagger_chosen(const struct tagger_choice *c, struct str id) {
  if (!c || !c->n) return true;
  return (hash64(id.p, id.n, 0x7461676765720A) % c->n == c->k) != c->without;
}

static int by_start(const void *a, const void *b) {
  const struct tagger_span *x = a, *y = b;
  if (x->start != y->start) return x->start < y->start ? -1 : 1;
  return x->end > y->end ? -1 : x->end < y->end;
}

static int reserve(struct tagger_set *s, struct error *e) {
  if (s->n < s->cap) return OK;
  uint32_t cap = s->cap ? 2 * s->cap : 256;
  struct tagger_example *x = mem_realloc(s->examples, cap * sizeof *x);
  if (x) s->examples = x;
  struct str *ids = x ? mem_realloc(s->ids, cap * sizeof *ids) : NULL;
  if (!ids) return error_set(e, E_NOMEM, "no memory for examples");
  s->ids = ids, s->cap = cap;
  return OK;
}

int tagger_set_put(struct tagger_set *s, struct str id, struct str text, struct tagger_span *spans, uint32_t n, struct error *e) {
  uint32_t kept = 0;
  TRY(reserve(s, e));
  qsort(spans, n, sizeof *spans, by_start);
  for (uint32_t i = 0; i < n; i++) {
    if (spans[i].start >= spans[i].end || spans[i].end > text.n) continue;
    if (!kept || spans[i].start >= spans[kept - 1].end)
      spans[kept++] = spans[i];
    else if (spans[i].end - spans[i].start > spans[kept - 1].end - spans[kept - 1].start)
      spans[kept - 1] = spans[i];
  }
  s->lost += n - kept;
  s->examples[s->n] = (struct tagger_example){text, spans, kept};
  s->ids[s->n++] = id;
  return OK;
}

/* ---- entities swapped between examples */
struct mention {
  struct str label, words;
  uint32_t first; /* of its kind in the sorted array */
  uint32_t n, order;
};
static int begins(struct str s) {
  if (s.p[0] >= '0' && s.p[0] <= '9') return 0;
  return s.p[0] >= 'a' && s.p[0] <= 'z' ? 1 : 2;
}
static int by_kind(const void *a, const void *b) {
  const struct mention *x = a, *y = b;
  int c = str_cmp(x->label, y->label);
  if (!c) c = begins(x->words) - begins(y->words);
  return c ? c : x->order < y->order ? -1 : x->order > y->order;
}
static int by_order(const void *a, const void *b) {
  const struct mention *x = a, *y = b;
  return x->order < y->order ? -1 : x->order > y->order;
}

static int swap_one(struct tagger_set *s, uint32_t i, const struct mention *own, const struct mention *sorted, struct rng *r,
                    struct error *e) {
  struct tagger_example x = s->examples[i];
  struct tagger_span *spans = arena_array(&s->memory, struct tagger_span, x.n + 1);
  struct buf b = {0};
  uint32_t at = 0;
  if (!spans) return error_set(e, E_NOMEM, "no memory for examples");
  for (uint32_t k = 0; k < x.n; k++) {
    struct str words = own[k].words;
    if (rng_below(r, 2)) words = sorted[own[k].first + rng_below(r, own[k].n)].words;
    buf_put(&b, x.text.p + at, x.spans[k].start - at);
    spans[k] = (struct tagger_span){(uint32_t)b.n, (uint32_t)(b.n + words.n), x.spans[k].label};
    buf_str(&b, words);
    at = x.spans[k].end;
  }
  buf_put(&b, x.text.p + at, x.text.n - at);
  int rc = buf_check(&b, e);
  struct str text = rc == OK ? str_copy(&s->memory, (struct str){b.p, b.n}) : STR_NONE;
  if (rc == OK && !text.p) rc = error_set(e, E_NOMEM, "no memory for examples");
  if (rc == OK) rc = tagger_set_put(s, s->ids[i], text, spans, x.n, e);
  buf_release(&b);
  return rc;
}

int tagger_set_swap(struct tagger_set *s, uint32_t times, uint64_t seed, struct error *e) {
  uint32_t n = s->n, mentions = 0, m = 0;
  struct rng r;
  for (uint32_t i = 0; i < n; i++) mentions += s->examples[i].n;
  struct mention *own = arena_array(&s->memory, struct mention, mentions + 1),
                 *sorted = arena_array(&s->memory, struct mention, mentions + 1);
  if (!own || !sorted) return error_set(e, E_NOMEM, "no memory for examples");
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < s->examples[i].n; k++, m++) {
      const struct tagger_span *p = &s->examples[i].spans[k];
      own[m] = (struct mention){.label = p->label, .words = {s->examples[i].text.p + p->start, p->end - p->start}, .order = m};
    }
  qsort(own, m, sizeof *own, by_kind);
  memcpy(sorted, own, m * sizeof *own);
  for (uint32_t from = 0, to; from < m; from = to) {
    for (to = from; to < m && str_eq(own[to].label, own[from].label) && begins(own[to].words) == begins(own[from].words); to++) {}
    for (uint32_t k = from; k < to; k++) own[k].first = from, own[k].n = to - from;
  }
  qsort(own, m, sizeof *own, by_order);
  rng_init(&r, seed, 0x73776170);
  for (uint32_t t = 0; t < times; t++)
    for (uint32_t i = 0, at = 0; i < n; at += s->examples[i++].n) TRY(swap_one(s, i, own + at, sorted, &r, e));
  return OK;
}

/* ---- places in code points into places in bytes */
struct points {
  struct str text;
  uint64_t point;
  size_t byte;
};
static uint32_t byte_of(struct points *p, int64_t point) {
  if (point < 0) return UINT32_MAX;
  if ((uint64_t)point < p->point) p->point = 0, p->byte = 0;
  while (p->point < (uint64_t)point && p->byte < p->text.n) {
    size_t n = str_utf8_next((struct str){p->text.p + p->byte, p->text.n - p->byte});
    p->byte += n ? n : 1;
    p->point++;
  }
  return p->point == (uint64_t)point ? (uint32_t)p->byte : UINT32_MAX;
}

struct spans {
  struct tagger_span *at;
  uint32_t n;
};
static int spans_new(struct tagger_set *s, size_t most, struct spans *out, struct error *e) {
  out->n = 0;
  out->at = arena_array(&s->memory, struct tagger_span, most + 1);
  return out->at ? OK : error_set(e, E_NOMEM, "no memory for examples");
}
static int spans_put(struct tagger_set *s, struct spans *to, struct points *p, int64_t start, int64_t end, struct str label,
                     struct error *e) {
  uint32_t a = byte_of(p, start), b = byte_of(p, end);
  if (a >= b || b == UINT32_MAX) return s->lost++, OK;
  struct str own = str_copy(&s->memory, label);
  if (label.n && !own.p) return error_set(e, E_NOMEM, "no memory for examples");
  to->at[to->n++] = (struct tagger_span){a, b, own};
  return OK;
}

/* ---- brat */
static int brat_line(struct tagger_set *s, struct str line, struct points *p, struct spans *to, struct error *e) {
  if (!line.n || line.p[0] != 'T') return OK;
  (void)str_cut(&line, '\t');
  struct str middle = str_cut(&line, '\t'), label = str_cut(&middle, ' '), start = str_cut(&middle, ' ');
  for (size_t i = 0; i < middle.n; i++) /* pieces "1 5;9 12" count as one span */
    if (middle.p[i] == ' ') middle = (struct str){middle.p + i + 1, middle.n - i - 1}, i = 0;
  int64_t a, b;
  TRY(str_to_i64(start, &a));
  TRY(str_to_i64(middle, &b));
  return spans_put(s, to, p, a, b, label, e);
}

static int brat_one(struct tagger_set *s, const char *path, struct str id, struct error *e) {
  struct str text, ann, line;
  char other[4096];
  snprintf(other, sizeof other, "%.*s.ann", (int)strlen(path) - 4, path);
  TRY(file_read(&s->memory, path, 64u << 20, &text, e));
  TRY(file_read(&s->memory, other, 64u << 20, &ann, e));
  size_t lines = 1;
  for (size_t i = 0; i < ann.n; i++) lines += ann.p[i] == '\n';
  struct spans spans;
  struct points p = {.text = text};
  TRY(spans_new(s, lines, &spans, e));
  for (int64_t row = 1; ann.p && ann.n; row++) {
    line = str_cut(&ann, '\n');
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    if (brat_line(s, line, &p, &spans, e) < 0) {
      error_set(e, E_INPUT, "a line of annotations is not \"T1<TAB>TYPE start end<TAB>text\"");
      return error_where(e, other, row, NULL);
    }
  }
  return tagger_set_put(s, id, text, spans.at, spans.n, e);
}

static int add_brat(struct tagger_set *s, const char *path, const struct tagger_choice *only, struct error *e) {
  struct str *file;
  size_t n;
  TRY(file_list(&s->memory, path, &file, &n, e));
  for (size_t i = 0; i < n; i++) {
    if (!str_ends(file[i], STR(".txt"))) continue;
    const char *name = arena_strndup(&s->memory, file[i].p, file[i].n);
    if (!name) return error_set(e, E_NOMEM, "no memory for examples");
    const char *base = strrchr(name, '/');
    struct str id = str_c(base ? base + 1 : name);
    id.n -= 4;
    char other[4096];
    snprintf(other, sizeof other, "%.*s.ann", (int)strlen(name) - 4, name);
    if (file_exists(other) && tagger_chosen(only, id)) TRY(brat_one(s, name, id, e));
  }
  return OK;
}

/* ---- JSON lines */
static int json_spans(struct tagger_set *s, struct json list, struct points *p, struct spans *to, struct error *e) {
  struct json_iter it = json_items(list);
  struct json x;
  while (json_next(&it, &x)) {
    int64_t a = -1, b = -1;
    struct str label = json_str(json_get(x, "type"));
    if (!label.p) label = json_str(json_get(x, "label"));
    if (!json_i64(json_get(x, "start"), &a) || !json_i64(json_get(x, "end"), &b) || !label.n) {
      s->lost++;
      continue;
    }
    TRY(spans_put(s, to, p, a, b, label, e));
  }
  return OK;
}

static bool word_byte(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c & 0x80); }
static bool is_free(const struct spans *to, size_t a, size_t b) {
  for (uint32_t i = 0; i < to->n; i++)
    if (a < to->at[i].end && b > to->at[i].start) return false;
  return true;
}
/* First free place of a value: at word edges if there is one, anywhere otherwise. */
static bool place_value(struct str text, struct str value, const struct spans *to, size_t *at) {
  for (int edges = 1; edges >= 0; edges--)
    for (size_t i = 0; value.n && i + value.n <= text.n; i++) {
      if (text.p[i] != value.p[0] || memcmp(text.p + i, value.p, value.n) != 0) continue;
      size_t end = i + value.n;
      bool whole = !(i && word_byte(text.p[i - 1]) && word_byte(value.p[0])) &&
                   !(end < text.n && word_byte(text.p[end]) && word_byte(value.p[value.n - 1]));
      if ((!edges || whole) && is_free(to, i, end)) return *at = i, true;
    }
  return false;
}
struct valued {
  struct str type, value;
  uint32_t order;
};
static int longer_first(const void *a, const void *b) {
  const struct valued *x = a, *y = b;
  if (x->value.n != y->value.n) return x->value.n > y->value.n ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}
static int json_values(struct tagger_set *s, struct json list, struct str text, struct spans *to, struct error *e) {
  size_t n = json_count(list), k = 0, at;
  struct valued *v = arena_array(&s->memory, struct valued, n + 1);
  if (!v) return error_set(e, E_NOMEM, "no memory for examples");
  struct json_iter it = json_items(list);
  struct json x;
  while (k < n && json_next(&it, &x)) {
    v[k] = (struct valued){json_str(json_get(x, "type")), json_str(json_get(x, "value")), (uint32_t)k};
    k++;
  }
  qsort(v, k, sizeof *v, longer_first);
  for (size_t i = 0; i < k; i++) {
    if (!v[i].type.n || !v[i].value.n || !place_value(text, v[i].value, to, &at)) {
      s->lost++;
      continue;
    }
    struct str label = str_copy(&s->memory, v[i].type);
    if (!label.p) return error_set(e, E_NOMEM, "no memory for examples");
    to->at[to->n++] = (struct tagger_span){(uint32_t)at, (uint32_t)(at + v[i].value.n), label};
  }
  return OK;
}

static int json_line(struct tagger_set *s, struct json root, const struct tagger_choice *only, struct error *e) {
  struct str id = json_str(json_get(root, "id")), text = json_str(json_get(root, "text"));
  struct json list = json_get(root, "spans"), values = json_get(root, "phi");
  if (!text.p) return error_set(e, E_INPUT, "an example without text"), error_where(e, NULL, 0, "text");
  if (!tagger_chosen(only, id.p ? id : text)) return OK;
  id = str_copy(&s->memory, id), text = str_copy(&s->memory, text);
  if (!text.p) text = STR("");
  struct spans spans;
  struct points p = {.text = text};
  TRY(spans_new(s, json_count(list) + json_count(values), &spans, e));
  TRY(json_spans(s, list, &p, &spans, e));
  TRY(json_values(s, values, text, &spans, e));
  return tagger_set_put(s, id, text, spans.at, spans.n, e);
}

static int add_jsonl(struct tagger_set *s, const char *path, const struct tagger_choice *only, struct error *e) {
  struct json_lines l;
  struct json root;
  int rc;
  TRY(json_lines_open(&l, path, e));
  while ((rc = json_lines_next(&l, &root, e)) == OK)
    if ((rc = json_line(s, root, only, e)) < 0) break;
  return json_lines_close(&l, rc, e);
}

/* ---- presidio-research */
static int presidio_one(struct tagger_set *s, struct json x, const struct tagger_choice *only, struct error *e) {
  struct str text = json_str(json_get(x, "full_text")), id;
  struct json list = json_get(x, "spans"), span;
  int64_t template = -1;
  char name[32];
  if (!text.p) return error_set(e, E_INPUT, "an example without full_text");
  (void)json_i64(json_get(x, "template_id"), &template);
  snprintf(name, sizeof name, "%lld", (long long)template);
  if (!tagger_chosen(only, str_c(name))) return OK;
  id = str_copy(&s->memory, str_c(name)), text = str_copy(&s->memory, text);
  if (!id.p) return error_set(e, E_NOMEM, "no memory for examples");
  if (!text.p) text = STR("");
  struct spans spans;
  struct points p = {.text = text};
  TRY(spans_new(s, json_count(list), &spans, e));
  struct json_iter it = json_items(list);
  while (json_next(&it, &span)) {
    int64_t a = -1, b = -1;
    (void)json_i64(json_get(span, "start_position"), &a), (void)json_i64(json_get(span, "end_position"), &b);
    TRY(spans_put(s, &spans, &p, a, b, json_str(json_get(span, "entity_type")), e));
  }
  return tagger_set_put(s, id, text, spans.at, spans.n, e);
}

static int add_presidio(struct tagger_set *s, const char *path, const struct tagger_choice *only, struct error *e) {
  struct arena a;
  struct json root, x;
  arena_init(&a, 1024u << 20, 0);
  int rc = json_load(&a, path, &root, e);
  struct json_iter it = {0};
  if (rc == OK) it = json_items(root);
  for (int64_t row = 1; rc == OK && json_next(&it, &x); row++) {
    rc = presidio_one(s, x, only, e);
    if (rc < 0) error_where(e, path, row, NULL);
  }
  arena_free(&a);
  return rc;
}

int tagger_set_add(struct tagger_set *s, const char *format, const char *path, const struct tagger_choice *only, struct error *e) {
  if (strcmp(format, "brat") == 0) return add_brat(s, path, only, e);
  if (strcmp(format, "jsonl") == 0) return add_jsonl(s, path, only, e);
  if (strcmp(format, "presidio") == 0) return add_presidio(s, path, only, e);
  return error_set(e, E_USAGE, "the format is brat, jsonl or presidio");
}

/* ---- figures */
static struct tagger_score_label *label_of(struct tagger_score *s, const char *name, size_t n) {
  for (uint32_t i = 0; i < s->labels; i++)
    if (strlen(s->label[i].name) == n && memcmp(s->label[i].name, name, n) == 0) return &s->label[i];
  if (s->labels == TAGGER_SCORE_LABELS) return &s->label[TAGGER_SCORE_LABELS - 1];
  struct tagger_score_label *l = &s->label[s->labels++];
  snprintf(l->name, sizeof l->name, "%.*s", (int)n, name);
  return l;
}

/* White space and punctuation at an entity's edge carry nothing. */
static bool bare(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '.' || c == ','; }

static void score_bytes(const struct tagger_example *x, const struct text_spans *f, uint8_t *mark, struct tagger_score *s) {
  memset(mark, 0, x->text.n);
  for (uint32_t i = 0; i < x->n; i++) memset(mark + x->spans[i].start, 1, x->spans[i].end - x->spans[i].start);
  for (uint32_t i = 0; i < f->n; i++)
    for (uint32_t k = f->at[i].start; k < f->at[i].end; k++) mark[k] |= 2;
  for (size_t i = 0; i < x->text.n; i++) {
    bool blank = bare(x->text.p[i]);
    s->gold_bytes += !blank && (mark[i] & 1), s->found_bytes += !blank && (mark[i] & 2);
    s->hit_bytes += !blank && mark[i] == 3, s->over_bytes += !blank && mark[i] == 2;
  }
  s->bytes += x->text.n;
}

static bool near(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  uint32_t low = a > c ? a : c, high = b < d ? b : d;
  if (high <= low) return false;
  uint32_t both = high - low, either = (b - a) + (d - c) - both;
  return both * 10ull >= either * 7ull;
}

static void score_spans(const struct tagger *t, const struct tagger_example *x, const struct text_spans *f, const uint8_t *mark,
                        struct tagger_score *s) {
  for (uint32_t i = 0; i < f->n; i++) {
    const char *name = tagger_label(t, f->at[i].label);
    label_of(s, name, strlen(name))->found++;
    for (uint32_t k = 0; k < x->n; k++)
      if (near(f->at[i].start, f->at[i].end, x->spans[k].start, x->spans[k].end)) {
        s->near_found++;
        break;
      }
  }
  for (uint32_t k = 0; k < x->n; k++) {
    const struct tagger_span *g = &x->spans[k];
    struct tagger_score_label *l = label_of(s, g->label.p, g->label.n);
    bool covered = true, close = false;
    for (uint32_t b = g->start; b < g->end; b++) covered &= mark[b] == 3 || bare(x->text.p[b]);
    for (uint32_t i = 0; i < f->n; i++) {
      const char *name = tagger_label(t, f->at[i].label);
      bool same = f->at[i].start == g->start && f->at[i].end == g->end && str_eqc(g->label, name);
      l->strict += same, s->strict += same;
      close |= near(f->at[i].start, f->at[i].end, g->start, g->end);
    }
    l->gold++, l->covered += covered, s->covered += covered, s->near_gold += close;
  }
  s->gold += x->n, s->found += f->n;
}

int tagger_score(const struct tagger *t, const struct tagger_example *x, uint32_t n, struct tagger_score *out, struct error *e) {
  struct text_spans f = {0};
  int rc = OK;
  *out = (struct tagger_score){0};
  for (uint32_t i = 0; rc == OK && i < n; i++) {
    uint8_t *mark = mem_alloc(x[i].text.n + 1);
    f.n = 0;
    double began = time_monotonic();
    rc = mark ? tagger_find_own(t, NULL, x[i].text, &f, e) : error_set(e, E_NOMEM, "no memory to score");
    out->seconds += time_monotonic() - began;
    if (rc == OK) {
      score_bytes(&x[i], &f, mark, out);
      score_spans(t, &x[i], &f, mark, out);
      out->texts++, out->clean_texts += !x[i].n, out->clean_touched += !x[i].n && f.n;
    }
    mem_free(mark);
  }
  text_spans_release(&f);
  return rc;
}

double tagger_precision(const struct tagger_score *s) { return s->found ? (double)s->strict / (double)s->found : 0; }
double tagger_recall(const struct tagger_score *s) { return s->gold ? (double)s->strict / (double)s->gold : 0; }
double tagger_f1(const struct tagger_score *s) { return s->gold + s->found ? 2 * (double)s->strict / (double)(s->gold + s->found) : 0; }
