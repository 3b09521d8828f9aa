/* Looking a term up by what it is called. */
#include "reason/ontology.h"

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
static bool letter(char c) { return (unsigned char)c >= 0x80 || (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9'); }
static bool starts_nocase(struct str s, struct str with) {
  if (with.n > s.n) return false;
  for (size_t i = 0; i < with.n; i++)
    if (lower(s.p[i]) != lower(with.p[i])) return false;
  return true;
}
static bool has_word(struct str name, struct str word) {
  for (size_t i = 0; i < name.n; i++)
    if ((i == 0 || !letter(name.p[i - 1])) && starts_nocase((struct str){name.p + i, name.n - i}, word)) return true;
  return false;
}

/* 0 = no match; smaller is better */
static size_t place(const struct ontology *o, int t, struct str text) {
  struct str name = ontology_name(o, t), rest = text;
  if (starts_nocase(ontology_id(o, t), text)) return 1;
  if (!name.n || ontology_obsolete(o, t)) return 0;
  while (rest.n) {
    struct str word = str_trim(str_cut(&rest, ' '));
    if (word.n && !has_word(name, word)) return 0;
  }
  if (str_eq_nocase(name, text)) return 1;
  return (starts_nocase(name, text) ? 2 : 1000) + name.n;
}

int ontology_search(const struct ontology *o, struct str text, int *out, int most) {
  enum { MOST = 100 };
  size_t rank[MOST];
  int n = 0;
  text = str_trim(text);
  if (most > MOST) most = MOST;
  for (int t = 0; text.n && t < ontology_terms(o); t++) {
    size_t at = place(o, t, text);
    if (!at || (n == most && at >= rank[n - 1])) continue;
    int k = n < most ? n++ : n - 1;
    while (k > 0 && rank[k - 1] > at) rank[k] = rank[k - 1], out[k] = out[k - 1], k--;
    rank[k] = at;
    out[k] = t;
  }
  return n;
}
