#include "reason/words.h"

#include <math.h>
#include <stdlib.h>

#include "base/map.h"
#include "timeline/timeline.h"

/* What everybody says otherwise than the code systems do: said, meant. Both sides are folded words. */
static const struct {
  const char *said, *meant;
} same[] = {{"bp", "blood pressure"},
            {"a1c", "hemoglobin a1c"},
            {"hba1c", "hemoglobin a1c"},
            {"haemoglobin", "hemoglobin"},
            {"hgb", "hemoglobin"},
            {"wbc", "leukocyte"},
            {"bmi", "body mass index"},
            {"hr", "heart rate"},
            {"pulse", "heart rate"},
            {"egfr", "glomerular filtration rate"},
            {"ldl", "low density lipoprotein"},
            {"hdl", "high density lipoprotein"},
            {"bun", "urea nitrogen"},
            {"alt", "alanine aminotransferase"},
            {"ast", "aspartate aminotransferase"},
            {"allergic", "allergy"},
            {"allergie", "allergy"},
            {"height", "body height"},
            {"weight", "body weight"}};
static const char stops[] =
    " a all an and any are at be been by chart condition diagnosed diagnosis did do does ever for from give had has have he her him his "
    "how i in is it "
    "list many me of on or patient please reading record recorded result s she show some tell test that the their them there they this to "
    "value was "
    "were what when which who with level measurement ";

static bool is_stop(const char *w) {
  char key[WORD_BYTES + 2];
  snprintf(key, sizeof key, " %s ", w);
  return strstr(stops, key) != NULL;
}
static bool word_char(unsigned char c) { return c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

static void fold(struct str s, char out[WORD_BYTES]) {
  size_t n = s.n < WORD_BYTES - 1 ? s.n : WORD_BYTES - 1;
  for (size_t i = 0; i < n; i++) out[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] + 32) : s.p[i];
  if (n > 4 && out[n - 1] == 's' && out[n - 2] != 's' && out[n - 2] != 'i' && out[n - 2] != 'u') n--;
  out[n] = 0;
}
/* The next word of *rest, folded; false at the end. A decimal point stays inside a number. */
static bool next_word(struct str *rest, char out[WORD_BYTES]) {
  while (rest->n && !word_char((unsigned char)rest->p[0])) rest->p++, rest->n--;
  if (rest->n == 0) return false;
  size_t n = 0;
  while (n < rest->n && (word_char((unsigned char)rest->p[n]) || (rest->p[n] == '.' && n > 0 && n + 1 < rest->n && rest->p[n - 1] >= '0' &&
                                                                  rest->p[n - 1] <= '9' && rest->p[n + 1] >= '0' && rest->p[n + 1] <= '9')))
    n++;
  fold((struct str){rest->p, n}, out);
  rest->p += n;
  rest->n -= n;
  return true;
}

static void add(struct words *w, const char *word) {
  for (int i = 0; i < w->n; i++)
    if (strcmp(w->word[i], word) == 0) return;
  if (w->n < WORDS_MOST)
    strcpy(w->word[w->n++], word);
  else
    w->more = true;
}

void words_cut(struct str text, struct words *out) {
  char w[WORD_BYTES];
  out->n = 0;
  out->more = false;
  while (next_word(&text, w)) {
    if (is_stop(w)) continue;
    size_t i = 0;
    while (i < sizeof same / sizeof *same && strcmp(w, same[i].said) != 0) i++;
    if (i == sizeof same / sizeof *same) {
      add(out, w);
      continue;
    }
    struct str meant = str_c(same[i].meant);
    while (next_word(&meant, w)) add(out, w);
  }
}

struct name {
  uint32_t code, first, words; /* ids of its words: ix->word[first, first + words) */
};
struct word_index {
  const struct timeline *t;
  struct intern words;
  uint32_t *count; /* names that have the word */
  uint32_t *word;
  size_t n_word, cap_word;
  struct name *name;
  uint32_t names;
};

size_t words_legible(struct str code, char *out) {
  size_t n = 0;
  for (size_t i = 0; i < code.n; i++) {
    bool slashes = code.p[i] == '/' && i + 1 < code.n && code.p[i + 1] == '/';
    out[n++] = slashes || code.p[i] == '_' ? ' ' : code.p[i];
    i += slashes;
  }
  return n;
}
struct str words_untagged(struct str d) {
  static const char *const tags[] = {"(disorder)",          "(finding)", "(procedure)",      "(situation)",
                                     "(observable entity)", "(event)",   "(regime/therapy)", "(morphologic abnormality)"};
  for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
    if (str_ends(d, str_c(tags[i]))) return str_trim((struct str){d.p, d.n - strlen(tags[i])});
  return d;
}
static struct str text_of(const struct timeline *t, uint32_t code) {
  struct str d = timeline_code_display(t, code), c = timeline_code_name(t, code);
  if (d.n) return words_untagged(d);
  for (size_t i = 0; i + 1 < c.n; i++)
    if (c.p[i] == '/' && c.p[i + 1] == '/') return (struct str){c.p + i + 2, c.n - i - 2};
  return c;
}

static int index_name(struct word_index *ix, uint32_t code, struct error *e) {
  struct name *n = &ix->name[ix->names];
  struct words w;
  words_cut(text_of(ix->t, code), &w);
  if (str_ends(timeline_code_name(ix->t, code), STR(TIMELINE_ALLERGY))) add(&w, "allergy");
  *n = (struct name){.code = code, .first = (uint32_t)ix->n_word};
  for (int i = 0; i < w.n; i++) {
    uint32_t id;
    if (ix->n_word == ix->cap_word) {
      size_t cap = ix->cap_word ? 2 * ix->cap_word : 4096;
      uint32_t *more = mem_realloc(ix->word, cap * sizeof *more);
      if (!more) return error_set(e, E_NOMEM, "no memory for an index of names");
      ix->word = more;
      ix->cap_word = cap;
    }
    TRY(intern_put(&ix->words, str_c(w.word[i]), &id, e));
    ix->word[ix->n_word++] = id;
    n->words++;
  }
  ix->names++;
  return OK;
}

int word_index_new(const struct timeline *t, struct word_index **out, struct error *e) {
  uint32_t codes = timeline_codes(t);
  struct word_index *ix = mem_alloc(sizeof *ix);
  if (!ix) return error_set(e, E_NOMEM, "no memory for an index of names");
  *ix = (struct word_index){.t = t};
  intern_init(&ix->words, 0);
  int rc = OK;
  ix->name = mem_alloc((codes + 1) * sizeof *ix->name);
  if (!ix->name) rc = error_set(e, E_NOMEM, "no memory for an index of names");
  for (uint32_t c = 0; c < codes && rc == OK; c++) rc = index_name(ix, c, e);
  if (rc == OK) {
    ix->count = mem_alloc((ix->words.count + 1) * sizeof *ix->count);
    if (!ix->count) rc = error_set(e, E_NOMEM, "no memory for an index of names");
  }
  if (rc < 0) {
    word_index_free(ix);
    return rc;
  }
  memset(ix->count, 0, (ix->words.count + 1) * sizeof *ix->count);
  for (size_t i = 0; i < ix->n_word; i++) ix->count[ix->word[i]]++;
  *out = ix;
  return OK;
}
void word_index_free(struct word_index *ix) {
  if (!ix) return;
  intern_release(&ix->words);
  mem_free(ix->count);
  mem_free(ix->word);
  mem_free(ix->name);
  mem_free(ix);
}

static int by_score(const struct word_match *x, const struct word_match *y) {
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  if (x->words != y->words) return x->words < y->words ? -1 : 1;
  return (x->code > y->code) - (x->code < y->code);
}

int word_index_find(const struct word_index *ix, const struct words *w, struct str exact, const uint8_t *among, struct word_match *out,
                    int most) {
  uint32_t id[WORDS_MOST];
  double weight[WORDS_MOST], all = 0;
  bool known[WORDS_MOST];
  struct word_match best[64];
  int n = 0, keep = most < 64 ? most : 64;
  for (int i = 0; i < w->n; i++) {
    known[i] = intern_find(&ix->words, str_c(w->word[i]), &id[i]);
    weight[i] = log(1 + (double)ix->names / (known[i] ? ix->count[id[i]] : 1));
    all += weight[i];
  }
  exact = str_trim(exact);
  for (uint32_t k = 0; k < ix->names; k++) {
    const struct name *name = &ix->name[k];
    double score = 0;
    if (among && !among[name->code]) continue;
    for (int i = 0; i < w->n; i++)
      for (uint32_t j = 0; known[i] && j < name->words; j++)
        if (ix->word[name->first + j] == id[i]) {
          score += weight[i];
          break;
        }
    score = all > 0 ? score / all : 0;
    if (exact.n && (str_eq_nocase(exact, str_trim(timeline_code_display(ix->t, name->code))) ||
                    str_eq_nocase(exact, str_trim(timeline_code_name(ix->t, name->code)))))
      score = 2;
    if (score <= 0) continue;
    struct word_match f = {name->code, score, false, name->words};
    if (n == keep && by_score(&f, &best[n - 1]) >= 0) continue;
    int at = n < keep ? n++ : n - 1;
    while (at > 0 && by_score(&f, &best[at - 1]) < 0) best[at] = best[at - 1], at--;
    best[at] = f;
  }
  for (int i = 0; i < n; i++) {
    out[i] = best[i];
    out[i].whole = best[i].score >= 0.999 && (best[i].score > 1.5 || (int)best[i].words == w->n);
  }
  return n;
}
