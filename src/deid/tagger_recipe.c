/* The recipe of a tagger: public examples, the same with fresh values, and sentences from templates. */
#include <stdlib.h>

#include "base/file.h"
#include "deid/tagger_grammar.h"
#include "deid/tagger_private.h"

struct kitchen {
  struct arena memory;
  struct json root;
  char folder[4096]; /* of the recipe: its own files are named from there */
  const char *data;
  const struct tagger_choice *choice; /* of public examples */
  struct tagger_grammar *grammar;
  struct tagger_set set;
  struct rng rng;
  struct tagger_spans spans;
};

static int own_path(const struct kitchen *k, struct str name, bool data, char *out, size_t size, struct error *e) {
  char text[2048];
  if (!name.n || name.n >= sizeof text) return error_set(e, E_INPUT, "a path of the recipe is empty or too long");
  snprintf(text, sizeof text, "%.*s", STR_ARG(name));
  if (data && !k->data) return error_set(e, E_USAGE, "--data or $DATA names the directory of the recipe's data sets");
  return file_join(out, size, data ? k->data : k->folder, text, e);
}

/* A text and its spans into the set, now and then in small letters or capitals throughout. */
static int put(struct kitchen *k, const struct buf *text, struct str id, struct error *e) {
  struct str own = str_copy(&k->set.memory, (struct str){text->p, text->n});
  struct tagger_span *spans = arena_array(&k->set.memory, struct tagger_span, k->spans.n + 1);
  if (!own.p || !spans) return error_set(e, E_NOMEM, "no memory for examples");
  uint32_t dice = rng_below(&k->rng, 100);
  for (size_t i = 0; dice < 5 && i < own.n; i++) {
    char *c = (char *)own.p + i;
    if (dice < 3 && *c >= 'A' && *c <= 'Z') *c = (char)(*c + 32);
    if (dice >= 3 && *c >= 'a' && *c <= 'z') *c = (char)(*c - 32);
  }
  for (uint32_t i = 0; i < k->spans.n; i++) {
    spans[i] = k->spans.at[i];
    spans[i].label = str_copy(&k->set.memory, spans[i].label);
    if (!spans[i].label.p) return error_set(e, E_NOMEM, "no memory for examples");
  }
  return tagger_set_put(&k->set, id, own, spans, k->spans.n, e);
}

static int make_sentences(struct kitchen *k, struct error *e) {
  struct json_iter it = json_members(json_get(k->root, "make"));
  struct json value;
  struct str symbol;
  struct buf text = {0};
  int rc = OK;
  while (rc == OK && json_next_member(&it, &symbol, &value)) {
    int64_t n = 0;
    if (!json_i64(value, &n) || n < 0 || n > 1000000)
      rc = error_set(e, E_INPUT, "a number of texts to make"), error_where(e, NULL, 0, "make");
    for (int64_t i = 0; rc == OK && i < n; i++) {
      buf_clear(&text);
      k->spans.n = 0;
      rc = tagger_grammar_make(k->grammar, symbol, &k->rng, &text, &k->spans, e);
      if (rc == OK) rc = put(k, &text, STR("made"), e);
    }
  }
  buf_release(&text);
  return rc;
}

/* A public example again, with fresh values where the templates have a symbol "fill-LABEL". */
static int refill(struct kitchen *k, const struct tagger_example *x, struct str id, struct buf *text, struct error *e) {
  uint32_t at = 0, kept = 0;
  buf_clear(text);
  k->spans.n = 0;
  for (uint32_t i = 0; i < x->n; i++) {
    const struct tagger_span *s = &x->spans[i];
    char symbol[96];
    snprintf(symbol, sizeof symbol, "fill-%.*s", STR_ARG(s->label));
    buf_put(text, x->text.p + at, s->start - at);
    struct tagger_span now = {(uint32_t)text->n, 0, s->label};
    if (tagger_grammar_has(k->grammar, str_c(symbol)))
      TRY(tagger_grammar_make(k->grammar, str_c(symbol), &k->rng, text, &k->spans, e));
    else
      buf_put(text, x->text.p + s->start, s->end - s->start);
    now.end = (uint32_t)text->n;
    if (k->spans.n == kept) { /* a symbol without labelled parts stands for the whole entity */
      struct tagger_span *more = mem_realloc(k->spans.at, (k->spans.n + 64) * sizeof *more);
      if (!more) return error_set(e, E_NOMEM, "no memory for examples");
      k->spans.at = more, k->spans.cap = k->spans.n + 64;
      k->spans.at[k->spans.n++] = now;
    }
    kept = k->spans.n;
    at = s->end;
  }
  buf_put(text, x->text.p + at, x->text.n - at);
  TRY(buf_check(text, e));
  return put(k, text, id, e);
}

/* Spans of one label may take another: [from, to, "bare" | "long"]. "bare"
 * is a year or a weekday by itself, which names nobody; "long" has more than six bytes (a job among titles). */
static void relabel(struct kitchen *k, uint32_t first, struct json rule) {
  struct str from = json_str(json_at(rule, 0)), to = json_str(json_at(rule, 1));
  bool bare = str_eqc(json_str(json_at(rule, 2)), "bare");
  for (uint32_t i = first; to.n && i < k->set.n; i++) {
    const struct tagger_example *x = &k->set.examples[i];
    for (uint32_t j = 0; j < x->n; j++) {
      struct tagger_span *s = (struct tagger_span *)&x->spans[j];
      uint32_t digits = 0, n = s->end - s->start;
      for (uint32_t b = s->start; b < s->end; b++) digits += x->text.p[b] >= '0' && x->text.p[b] <= '9';
      if (str_eq(s->label, from) && (bare ? (n == 4 && digits == 4) || !digits : n > 6)) s->label = to;
    }
  }
}

static int add_examples(struct kitchen *k, struct json item, struct error *e) {
  struct str format, path;
  int64_t times = 0, repeat = 1;
  char name[32], file[4096];
  TRY(json_want_str(item, "format", &format, e));
  TRY(json_want_str(item, "path", &path, e));
  (void)json_i64(json_get(item, "refill"), &times), (void)json_i64(json_get(item, "repeat"), &repeat);
  if (times < 0 || times > 100 || repeat < 0 || repeat > 100) return error_set(e, E_INPUT, "refill and repeat are 0 to 100");
  snprintf(name, sizeof name, "%.*s", STR_ARG(format));
  TRY(own_path(k, path, true, file, sizeof file, e));
  uint32_t first = k->set.n;
  bool whole = false;
  (void)json_bool(json_get(item, "whole"), &whole);
  for (int64_t i = 0; i < (repeat ? repeat : 1); i++) TRY(tagger_set_add(&k->set, name, file, whole ? NULL : k->choice, e));
  struct json rule;
  for (struct json_iter it = json_items(json_get(item, "relabel")); json_next(&it, &rule);) relabel(k, first, rule);
  uint32_t n = (k->set.n - first) / (uint32_t)(repeat ? repeat : 1);
  struct buf text = {0};
  int rc = OK;
  for (int64_t t = 0; t < times; t++)
    for (uint32_t i = first; rc == OK && i < first + n; i++) {
      struct tagger_example x = k->set.examples[i]; /* the array may move */
      rc = refill(k, &x, k->set.ids[i], &text, e);
    }
  buf_release(&text);
  return rc;
}

static int read_templates(struct kitchen *k, struct str name, struct error *e) {
  struct str text;
  char path[4096];
  TRY(own_path(k, name, false, path, sizeof path, e));
  TRY(tagger_text_read(&k->memory, path, &text, e));
  return tagger_grammar_read(k->grammar, text, e) < 0 ? error_where(e, path, 0, NULL) : OK;
}

static int read_grammar(struct kitchen *k, struct error *e) {
  struct str key;
  struct json value, templates = json_get(k->root, "templates");
  char path[4096];
  TRY(tagger_grammar_new(&k->grammar, e));
  if (json_str(templates).p) TRY(read_templates(k, json_str(templates), e));
  for (struct json_iter i = json_items(templates); json_next(&i, &value);) TRY(read_templates(k, json_str(value), e));
  struct json_iter it = json_members(json_get(k->root, "words"));
  while (json_next_member(&it, &key, &value)) {
    char symbol[64];
    snprintf(symbol, sizeof symbol, "%.*s", STR_ARG(key));
    TRY(own_path(k, json_str(value), false, path, sizeof path, e));
    TRY(tagger_grammar_words(k->grammar, symbol, path, e));
  }
  return OK;
}

void tagger_templates(const char *hex, uint64_t out[2]) {
  char high[24];
  size_t n = strlen(hex), more = n > 16 ? n - 16 : 0;
  snprintf(high, sizeof high, "%.*s", (int)(more < 16 ? more : 16), hex);
  out[0] = strtoull(hex + more, NULL, 16), out[1] = strtoull(high, NULL, 16);
}

static double real(struct json j, const char *key, double otherwise) {
  double v;
  return json_f64(json_get(j, key), &v) ? v : otherwise;
}

static int options_of(struct kitchen *k, struct tagger_options *o, struct error *e) {
  struct json j = json_get(k->root, "options"), item;
  struct str map = json_str(json_get(k->root, "labels_file")), hex = json_str(json_get(j, "templates"));
  char path[4096];
  *o = (struct tagger_options){.epochs = (int)real(j, "epochs", 10), .seed = (uint64_t)real(j, "seed", 1), .merge = true};
  o->scheme = (uint32_t)real(j, "scheme", 2), o->min_count = (uint32_t)real(j, "min_count", 2);
  o->decay = real(j, "decay", 0), o->rate = real(j, "rate", 0), o->least = real(j, "least", 0), o->dropout = real(j, "dropout", 0),
  o->lean = real(j, "lean", 0), o->runs = (uint32_t)real(j, "runs", 1);
  if (hex.n) {
    char text[40];
    snprintf(text, sizeof text, "%.*s", STR_ARG(hex));
    tagger_templates(text, o->templates);
  }
  TRY(own_path(k, map, false, path, sizeof path, e));
  TRY(file_read(&k->memory, path, 1u << 20, &o->labels_map, e));
  struct json_iter it = json_items(json_get(k->root, "lists"));
  const char **lists = arena_array(&k->memory, const char *, TAGGER_LISTS + 1);
  if (!lists) return error_set(e, E_NOMEM, "no memory for the recipe");
  for (uint32_t n = 0; json_next(&it, &item); n++) {
    if (n == TAGGER_LISTS) return error_set(e, E_LIMIT, "more than %d word lists", TAGGER_LISTS);
    TRY(own_path(k, json_str(item), false, path, sizeof path, e));
    if (!(lists[n] = arena_strndup(&k->memory, path, strlen(path)))) return error_set(e, E_NOMEM, "no memory for the recipe");
  }
  o->list_files = lists;
  return OK;
}

static int cook(struct kitchen *k, const char *path, const char *out, struct tagger_report *report, struct error *e) {
  struct tagger_options o;
  struct json item;
  snprintf(k->folder, sizeof k->folder, "%s", path);
  char *slash = strrchr(k->folder, '/');
  snprintf(slash ? slash : k->folder, 2, "%s", slash ? "" : ".");
  TRY(json_load(&k->memory, path, &k->root, e));
  TRY(options_of(k, &o, e));
  rng_init(&k->rng, o.seed, 0x72656369);
  TRY(tagger_set_open(&k->set, e));
  TRY(read_grammar(k, e));
  struct json_iter it = json_items(json_get(k->root, "examples"));
  while (json_next(&it, &item)) TRY(add_examples(k, item, e));
  TRY(make_sentences(k, e));
  return tagger_train(k->set.examples, k->set.n, &o, out, report, e);
}

int tagger_recipe(const char *path, const char *data, const struct tagger_choice *choice, const char *out, struct tagger_report *report,
                  struct error *e) {
  struct kitchen k = {.data = data, .choice = choice};
  arena_init(&k.memory, 256u << 20, 0);
  int rc = cook(&k, path, out, report, e);
  tagger_set_close(&k.set);
  tagger_grammar_free(k.grammar);
  mem_free(k.spans.at);
  arena_free(&k.memory);
  return rc;
}
