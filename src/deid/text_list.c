/* Lists of words and phrases in two open hash tables: 32 bits of the hash as a mark, 32 bits of classes. A word that is in no list is
 * taken for one that is with a chance of about one in 10^9. */
#include <stdlib.h>

#include "deid/text_internal.h"

enum { LINE_MOST = 120 };

static const char *const class_names[] = {"first-name",    "surname",       "word",        "common",     "city",       "large-city",
                                          "state",         "state-code",    "country",     "title",      "credential", "facility",
                                          "facility-head", "facility-tail", "generic",     "company",    "eponym",     "thing",
                                          "cue",           "weak-cue",      "care",        "place-word", "month",      "particle",
                                          "area",          "saint",         "name-suffix", "doing",      "dotted"};

uint32_t text_class_named(struct str name) {
  for (uint32_t i = 0; i < sizeof class_names / sizeof *class_names; i++)
    if (str_eqc(name, class_names[i])) return 1u << i;
  return 0;
}

static uint32_t look(const struct text_list_slot *slots, uint32_t mask, uint64_t h) {
  if (!slots) return 0;
  uint32_t mark = (uint32_t)(h >> 32) | 1;
  for (uint32_t i = (uint32_t)h & mask;; i = (i + 1) & mask) {
    if (slots[i].mark == mark) return slots[i].in;
    if (slots[i].mark == 0) return 0;
  }
}

uint32_t text_lists_word(const struct text_lists *l, uint64_t hash) { return look(l->words, l->word_mask, hash); }
void text_lists_ahead(const struct text_lists *l, uint64_t hash) {
  if (l->words) __builtin_prefetch(&l->words[(uint32_t)hash & l->word_mask]);
}
uint32_t text_lists_phrase(const struct text_lists *l, uint64_t hash) { return look(l->phrases, l->phrase_mask, hash); }

/* ---- building ---- */

static void put(struct text_list_slot *slots, uint32_t mask, uint64_t h, uint32_t in, uint32_t *n) {
  uint32_t mark = (uint32_t)(h >> 32) | 1;
  for (uint32_t i = (uint32_t)h & mask;; i = (i + 1) & mask) {
    if (slots[i].mark == 0) {
      slots[i] = (struct text_list_slot){mark, in};
      ++*n;
      return;
    }
    if (slots[i].mark == mark) {
      slots[i].in |= in;
      return;
    }
  }
}

/* A slot remembers only the upper half of its hash, so the table is made large enough at once: by the bytes of a list. */
static int room(struct text_list_slot **slots, uint32_t *mask, uint32_t cap, struct error *e) {
  if (*slots) return OK;
  *slots = mem_alloc_aligned(cap * sizeof **slots); /* zeros; in large pages, for a word lies anywhere */
  if (!*slots) return error_set(e, E_NOMEM, "no memory for word lists");
  *mask = cap - 1;
  return OK;
}

struct words {
  uint64_t hash[8];
  uint32_t n;
};

static bool word_byte(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (uint8_t)c >= 0x80; }

/* Splits as text_token.c does: an apostrophe inside a word joins, but for a possessive s. */
static void split(struct str folded, struct words *out) {
  size_t i = 0;
  out->n = 0;
  while (i < folded.n && out->n < 8) {
    while (i < folded.n && !word_byte(folded.p[i])) i++;
    size_t from = i;
    while (i < folded.n && (word_byte(folded.p[i]) || (folded.p[i] == '\'' && i > from))) i++;
    size_t to = i;
    if (to - from >= 2 && folded.p[to - 1] == 's' && folded.p[to - 2] == '\'') to -= 2;
    while (to > from && folded.p[to - 1] == '\'') to--;
    if (to > from) out->hash[out->n++] = text_hash((struct str){folded.p + from, to - from});
  }
}

static int add_word(struct text_lists *l, uint64_t hash, uint32_t in, struct error *e) {
  if (l->word_n / 3 > l->word_mask / 4 || l->phrase_n / 3 > l->phrase_mask / 4) return error_set(e, E_LIMIT, "word lists are too large");
  return put(l->words, l->word_mask, hash, in, &l->word_n), OK;
}

static int add_words(struct text_lists *l, struct str folded, uint32_t in, struct error *e) {
  struct words x;
  split(folded, &x);
  if (x.n == 0) return OK;
  TRY(add_word(l, x.hash[0], x.n > 1 ? IN_PHRASE : in, e));
  if (x.n == 1) return OK;
  if (x.n > 6) return error_set(e, E_INPUT, "a phrase of a word list has more than 6 words");
  TRY(add_word(l, x.hash[1], IN_PHRASE_ON, e));
  uint64_t h = x.hash[0];
  for (uint32_t i = 1; i < x.n; i++) { /* what a phrase begins with is there too: who looks stops where nothing goes on */
    h = text_hash_join(h, x.hash[i]);
    put(l->phrases, l->phrase_mask, h, i + 1 == x.n ? in : IN_PHRASE, &l->phrase_n);
  }
  return OK;
}

/* Words on their way into the table: a slot lies anywhere in megabytes, so it is asked for some words before it is needed. */
enum { AHEAD = 16 };
struct coming {
  uint64_t hash[AHEAD];
  uint32_t n; /* in all; those from the last AHEAD on are not in the table yet */
};

static int add_coming(struct text_lists *l, struct coming *c, uint64_t hash, uint32_t in, struct error *e) {
  uint64_t *place = &c->hash[c->n % AHEAD];
  int rc = c->n >= AHEAD ? add_word(l, *place, in, e) : OK;
  *place = hash;
  c->n++;
  __builtin_prefetch(&l->words[(uint32_t)hash & l->word_mask], 1);
  return rc;
}

static int add_rest(struct text_lists *l, struct coming *c, uint32_t in, struct error *e) {
  for (uint32_t i = c->n < AHEAD ? 0 : c->n - AHEAD; i < c->n; i++) TRY(add_word(l, c->hash[i % AHEAD], in, e));
  c->n = 0;
  return OK;
}

int text_lists_add(struct text_lists *l, struct str file, uint32_t in, struct error *e) {
  char folded[LINE_MOST * 2 + 8];
  TRY(room(&l->words, &l->word_mask, 1u << 20, e));
  TRY(room(&l->phrases, &l->phrase_mask, 1u << 16, e));
  struct str rest = file;
  struct coming coming = {.n = 0};
  while (rest.p) {
    size_t letters = 0; /* nearly all lines are one word in lower case: folded and split already */
    while (letters < rest.n && rest.p[letters] >= 'a' && rest.p[letters] <= 'z') letters++;
    if (letters && letters <= LINE_MOST && letters < rest.n && rest.p[letters] == '\n') {
      TRY(add_coming(l, &coming, text_hash((struct str){rest.p, letters}), in, e));
      rest = (struct str){rest.p + letters + 1, rest.n - letters - 1};
      continue;
    }
    struct str line = str_trim(str_cut(&rest, '\n'));
    if (line.n == 0 || line.p[0] == '#') continue;
    if (line.n > LINE_MOST) return error_set(e, E_INPUT, "a line of a word list is too long");
    size_t n = text_fold(line, folded, sizeof folded);
    TRY(add_rest(l, &coming, in, e));
    TRY(add_words(l, (struct str){folded, n}, in, e));
  }
  return add_rest(l, &coming, in, e);
}

/* ---- what replaces ---- */

int text_lists_add_surrogates(struct text_lists *l, struct str file, struct str kind, struct error *e) {
  struct str *to = str_eqc(kind, "first") ? l->first : str_eqc(kind, "last") ? l->last : str_eqc(kind, "town") ? l->towns : l->facilities;
  uint32_t most = str_eqc(kind, "first") || str_eqc(kind, "last") ? 512 : str_eqc(kind, "town") ? 256 : 64, n = 0;
  for (struct str rest = file; rest.p;) {
    struct str line = str_trim(str_cut(&rest, '\n'));
    if (line.n == 0 || line.p[0] == '#' || n == most) continue;
    to[n] = str_copy(&l->arena, line);
    if (!to[n++].p) return error_set(e, E_NOMEM, "no memory for word lists");
  }
  if (n == 0) return error_set(e, E_INPUT, "an empty list of surrogates");
  *(to == l->first ? &l->first_n : to == l->last ? &l->last_n : to == l->towns ? &l->town_n : &l->facility_n) = n;
  return OK;
}

static int nick_order(const void *a, const void *b) {
  const struct text_nick *x = a, *y = b;
  if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
  return x->group < y->group ? -1 : x->group > y->group;
}

int text_lists_add_nicknames(struct text_lists *l, struct str file, struct error *e) {
  char folded[LINE_MOST * 2 + 8];
  uint32_t group = 0;
  for (struct str rest = file; rest.p;) {
    struct str line = str_trim(str_cut(&rest, '\n'));
    struct words x;
    if (line.n == 0 || line.p[0] == '#') continue;
    if (line.n > LINE_MOST) return error_set(e, E_INPUT, "a line of a word list is too long");
    size_t n = text_fold(line, folded, sizeof folded);
    split((struct str){folded, n}, &x);
    group++;
    for (uint32_t i = 0; i < x.n; i++) {
      if (l->nick_n == l->nick_cap) {
        uint32_t cap = l->nick_cap ? l->nick_cap * 2 : 256;
        struct text_nick *more = mem_realloc(l->nick, cap * sizeof *more);
        if (!more) return error_set(e, E_NOMEM, "no memory for word lists");
        l->nick = more;
        l->nick_cap = cap;
      }
      l->nick[l->nick_n++] = (struct text_nick){x.hash[i], group};
    }
  }
  qsort(l->nick, l->nick_n, sizeof *l->nick, nick_order);
  return OK;
}

uint32_t text_lists_nicknames(const struct text_lists *l, uint64_t hash, uint64_t *out, uint32_t most) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < l->nick_n; i++) {
    if (l->nick[i].hash != hash) continue;
    for (uint32_t j = 0; j < l->nick_n && n < most; j++)
      if (l->nick[j].group == l->nick[i].group && l->nick[j].hash != hash) out[n++] = l->nick[j].hash;
  }
  return n;
}

void text_lists_free(struct text_lists *l) {
  mem_free_aligned(l->words, (l->word_mask + (size_t)1) * sizeof *l->words);
  mem_free_aligned(l->phrases, (l->phrase_mask + (size_t)1) * sizeof *l->phrases);
  mem_free(l->nick);
  arena_free(&l->arena);
  *l = (struct text_lists){0};
}
