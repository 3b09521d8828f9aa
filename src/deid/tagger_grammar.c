#include "deid/tagger_grammar.h"

#include "base/file.h"
#include "deid/tagger_private.h"

#define DEPTH 24
#define TEXT_MOST (1u << 16)

struct symbol {
  struct str *choices;
  uint32_t n, cap;
  bool words; /* entries of a list: taken as they are, with capitals */
};
struct tagger_grammar {
  struct arena memory;
  struct intern names;
  struct symbol *symbols;
  uint32_t cap;
};

int tagger_grammar_new(struct tagger_grammar **out, struct error *e) {
  struct tagger_grammar *g = mem_alloc(sizeof *g);
  if (!(*out = g)) return error_set(e, E_NOMEM, "no memory for templates");
  memset(g, 0, sizeof *g);
  arena_init(&g->memory, 512u << 20, 0);
  intern_init(&g->names, 0);
  return OK;
}
void tagger_grammar_free(struct tagger_grammar *g) {
  if (!g) return;
  for (uint32_t i = 0; i < g->names.count && i < g->cap; i++) mem_free(g->symbols[i].choices);
  mem_free(g->symbols);
  intern_release(&g->names);
  arena_free(&g->memory);
  mem_free(g);
}

static int symbol_of(struct tagger_grammar *g, struct str name, struct symbol **out, struct error *e) {
  uint32_t id;
  TRY(intern_put(&g->names, name, &id, e));
  if (id >= g->cap) {
    uint32_t cap = g->cap ? 2 * g->cap : 64;
    struct symbol *more = mem_realloc(g->symbols, cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for templates");
    memset(more + g->cap, 0, (cap - g->cap) * sizeof *more);
    g->symbols = more, g->cap = cap;
  }
  *out = &g->symbols[id];
  return OK;
}

static int choice_add(struct symbol *s, struct str choice, struct error *e) {
  if (s->n == s->cap) {
    uint32_t cap = s->cap ? 2 * s->cap : 16;
    struct str *more = mem_realloc(s->choices, cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for templates");
    s->choices = more, s->cap = cap;
  }
  s->choices[s->n++] = choice;
  return OK;
}

int tagger_grammar_read(struct tagger_grammar *g, struct str file, struct error *e) {
  struct symbol *now = NULL;
  struct str rest = str_copy(&g->memory, file);
  if (!rest.p) return error_set(e, E_NOMEM, "no memory for templates");
  for (int64_t row = 1; rest.p && rest.n; row++) {
    struct str line = str_cut(&rest, '\n');
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    if (!line.n || line.p[0] == '#') continue;
    if (str_starts(line, STR("= "))) {
      TRY(symbol_of(g, str_trim((struct str){line.p + 2, line.n - 2}), &now, e));
      continue;
    }
    if (!now) {
      error_set(e, E_INPUT, "a template before the first symbol");
      return error_where(e, NULL, row, NULL);
    }
    TRY(choice_add(now, line, e));
  }
  return OK;
}

int tagger_grammar_words(struct tagger_grammar *g, const char *name, const char *path, struct error *e) {
  struct symbol *s;
  struct str rest;
  TRY(tagger_text_read(&g->memory, path, &rest, e));
  TRY(symbol_of(g, str_c(name), &s, e));
  s->words = true;
  while (rest.p && rest.n) {
    struct str word = str_trim(str_cut(&rest, '\n'));
    if (word.n && word.p[0] != '#') TRY(choice_add(s, word, e));
  }
  return s->n ? OK : error_set(e, E_INPUT, "a word list without words");
}

bool tagger_grammar_has(const struct tagger_grammar *g, struct str symbol) {
  uint32_t id;
  return intern_find(&g->names, symbol, &id) && g->symbols[id].n;
}

/* ---- making */
enum { CASE_KEEP, CASE_UPPER, CASE_LOWER };
struct making {
  const struct tagger_grammar *g;
  struct rng *r;
  struct buf *text;
  struct tagger_spans *spans;
  int depth, letters;
  bool inside; /* an entity is open: entities within are part of it */
};

static void put_char(struct making *m, char c) {
  if (m->letters == CASE_UPPER && c >= 'a' && c <= 'z') c = (char)(c - 32);
  if (m->letters == CASE_LOWER && c >= 'A' && c <= 'Z') c = (char)(c + 32);
  buf_putc(m->text, c);
}

static void put_words(struct making *m, struct str s) {
  char before = ' ';
  for (size_t i = 0; i < s.n; before = s.p[i++]) {
    bool first = before == ' ' || before == '-' || before == '\'';
    put_char(m, first && s.p[i] >= 'a' && s.p[i] <= 'z' ? (char)(s.p[i] - 32) : s.p[i]);
  }
}

static bool number(struct making *m, struct str s) {
  struct str high = s, low = str_cut(&high, '-');
  int64_t a, b;
  char out[32];
  if (!low.n || !high.n || str_to_i64(low, &a) < 0 || str_to_i64(high, &b) < 0 || a < 0 || b < a || b - a >= UINT32_MAX) return false;
  int width = low.p[0] == '0' && high.n > 1 ? (int)high.n : 1;
  snprintf(out, sizeof out, "%0*lld", width > 12 ? 12 : width, (long long)a + rng_below(m->r, (uint32_t)(b - a) + 1));
  for (const char *p = out; *p; p++) put_char(m, *p);
  return true;
}

static int expand(struct making *m, struct str t, struct error *e);

static int put_symbol(struct making *m, struct str name, struct error *e) {
  int letters = m->letters;
  uint32_t id;
  if (name.n > 1 && (name.p[0] == '^' || name.p[0] == '~')) {
    m->letters = name.p[0] == '^' ? CASE_UPPER : CASE_LOWER;
    name.p++, name.n--;
  }
  int rc = OK;
  if (str_eqc(name, "9"))
    put_char(m, (char)('0' + rng_below(m->r, 10)));
  else if (str_eqc(name, "A") || str_eqc(name, "a"))
    put_char(m, (char)(name.p[0] + rng_below(m->r, 26)));
  else if (!number(m, name)) {
    if (!intern_find(&m->g->names, name, &id) || !m->g->symbols[id].n)
      rc = error_set(e, E_INPUT, "a template uses a symbol that has no alternatives"), error_where(e, NULL, 0, "templates");
    else {
      const struct symbol *s = &m->g->symbols[id];
      struct str choice = s->choices[rng_below(m->r, s->n)];
      if (s->words)
        put_words(m, choice);
      else
        rc = expand(m, choice, e);
    }
  }
  m->letters = letters;
  return rc;
}

static int put_span(struct making *m, uint32_t start, struct str label, struct error *e) {
  struct tagger_spans *s = m->spans;
  if (s->n == s->cap) {
    uint32_t cap = s->cap ? 2 * s->cap : 16;
    struct tagger_span *more = mem_realloc(s->at, cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for templates");
    s->at = more, s->cap = cap;
  }
  if (m->text->n > start) s->at[s->n++] = (struct tagger_span){start, (uint32_t)m->text->n, label};
  return OK;
}

/* The end of an entity that begins at t.p[i] == '[': the bracket that matches. */
static size_t closing(struct str t, size_t i) {
  for (int open = 0; i < t.n; i++) {
    if (t.p[i] == '\\')
      i++;
    else if (t.p[i] == '[')
      open++;
    else if (t.p[i] == ']' && --open == 0)
      return i;
  }
  return t.n;
}

static int put_entity(struct making *m, struct str inner, struct error *e) {
  struct str label = str_cut(&inner, ' ');
  if (!label.n || !inner.n) return error_set(e, E_INPUT, "a template's entity is not [LABEL text]");
  bool outer = m->inside;
  uint32_t start = (uint32_t)m->text->n;
  m->inside = true;
  TRY(expand(m, inner, e));
  m->inside = outer;
  return outer ? OK : put_span(m, start, label, e);
}

static int expand(struct making *m, struct str t, struct error *e) {
  if (++m->depth > DEPTH) return error_set(e, E_LIMIT, "templates refer to themselves too deeply");
  for (size_t i = 0; i < t.n; i++) {
    if (m->text->n > TEXT_MOST) return error_set(e, E_LIMIT, "a template makes too long a text");
    size_t to = i;
    if (t.p[i] == '\\' && i + 1 < t.n) {
      i++;
      buf_putc(m->text, t.p[i] == 'n' ? '\n' : t.p[i]);
    } else if (t.p[i] == '{') {
      while (to < t.n && t.p[to] != '}') to++;
      TRY(put_symbol(m, (struct str){t.p + i + 1, to - i - 1}, e));
      i = to;
    } else if (t.p[i] == '[') {
      to = closing(t, i);
      if (to == t.n) return error_set(e, E_INPUT, "a template's entity has no end");
      TRY(put_entity(m, (struct str){t.p + i + 1, to - i - 1}, e));
      i = to;
    } else
      put_char(m, t.p[i]);
  }
  m->depth--;
  return OK;
}

int tagger_grammar_make(const struct tagger_grammar *g, struct str symbol, struct rng *r, struct buf *text, struct tagger_spans *spans,
                        struct error *e) {
  struct making m = {.g = g, .r = r, .text = text, .spans = spans};
  TRY(put_symbol(&m, symbol, e));
  return buf_check(text, e);
}
