/* Ways in which a person's own name is written wrongly: letters wrong or read wrongly by a scanner, digits, titles, initials or another
 * name glued to it. All on folded words (text_fold). A word of the language is never asked about: the caller has ruled it out. */
#include "deid/text_internal.h"

enum { NEAR_LEAST = 5, SMALL_LEAST = 6, FAR_LEAST = 9, GLUED_LEAST = 4, LONG = 7, MOST = 40 };

static bool digit(char c) { return c >= '0' && c <= '9'; }

/* One letter wrong, missing, too many, or two neighbours changed over. */
static bool one_edit(const char *a, size_t n, const char *b, size_t m) {
  if ((n > m ? n - m : m - n) > 1) return false;
  size_t i = 0, tail = 0, least = n < m ? n : m;
  while (i < least && a[i] == b[i]) i++;
  while (tail < least - i && a[n - 1 - tail] == b[m - 1 - tail]) tail++;
  size_t x = n - i - tail, y = m - i - tail;
  if (x <= 1 && y <= 1) return true;
  return x == 2 && y == 2 && a[i] == b[i + 1] && a[i + 1] == b[i];
}

/* At most two edits, by the table of distances (Damerau 1964) with only the rows that are needed. */
static bool two_edits(const char *a, size_t n, const char *b, size_t m) {
  uint8_t row[3][MOST + 1];
  if ((n > m ? n - m : m - n) > 2 || n > MOST || m > MOST) return false;
  for (size_t j = 0; j <= m; j++) row[0][j] = (uint8_t)j;
  for (size_t i = 1; i <= n; i++) {
    uint8_t *now = row[i % 3], *last = row[(i - 1) % 3], *older = row[(i + 1) % 3], least = now[0] = (uint8_t)i;
    for (size_t j = 1; j <= m; j++) {
      uint8_t d = (uint8_t)(last[j - 1] + (a[i - 1] != b[j - 1]));
      if (last[j] + 1 < d) d = (uint8_t)(last[j] + 1);
      if (now[j - 1] + 1 < d) d = (uint8_t)(now[j - 1] + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && older[j - 2] + 1 < d) d = (uint8_t)(older[j - 2] + 1);
      now[j] = d;
      if (d < least) least = d;
    }
    if (least > 2) return false;
  }
  return row[n % 3][m] <= 2;
}

bool text_name_near(struct str word, bool capital, struct str name) {
  const char *a = word.p, *b = name.p;
  size_t n = word.n, m = name.n;
  if (!n || !m) return false;
  if (n == 4 && m == 4 && capital)
    return a[0] == b[0] && memcmp(a, b, 4) != 0 && one_edit(a, n, b, m) && a[1] + a[2] + a[3] == b[1] + b[2] + b[3];
  size_t least = capital ? NEAR_LEAST : SMALL_LEAST;
  if (n < least || m < least) return false;
  if (one_edit(a, n, b, m)) return true;
  return capital && n >= FAR_LEAST && m >= FAR_LEAST && two_edits(a, n, b, m);
}

/* Characters that scanners take for each other become one. */
static size_t looks(struct str s, char out[MOST]) {
  static const char *const alike[] = {"o0", "li1", "s5", "b86", "z2", "gq9", "e3", "a4"};
  size_t n = 0;
  for (size_t i = 0; i < s.n && n < MOST; i++) {
    char c = s.p[i], d = i + 1 < s.n ? s.p[i + 1] : 0;
    if ((c == 'r' && d == 'n') || (c == 'v' && d == 'v') || (c == 'c' && d == 'l')) {
      out[n++] = c == 'r' ? 'm' : c == 'v' ? 'w' : 'd';
      i++;
      continue;
    }
    for (size_t k = 0; k < sizeof alike / sizeof *alike; k++)
      if (strchr(alike[k], c)) c = alike[k][0];
    out[n++] = c;
  }
  return n;
}

bool text_name_scanned(struct str word, struct str name) {
  char a[MOST], b[MOST];
  if (name.n < GLUED_LEAST || word.n > MOST || name.n > MOST) return false;
  size_t n = looks(word, a), m = looks(name, b);
  return n == m && n >= 3 && memcmp(a, b, n) == 0;
}

struct str text_name_bare(struct str word) {
  while (word.n && digit(word.p[0])) word.p++, word.n--;
  while (word.n && digit(word.p[word.n - 1])) word.n--;
  return word;
}

bool text_name_glued(struct str word, struct str written, struct str name, text_glue *known, const void *ctx) {
  if (name.n < GLUED_LEAST || word.n <= name.n) return false;
  for (int end = 0; end < 2; end++) {
    size_t cut = end ? word.n - name.n : name.n;
    if (memcmp(end ? word.p + cut : word.p, name.p, name.n) != 0) continue;
    struct str rest = end ? (struct str){word.p, cut} : (struct str){word.p + cut, word.n - cut};
    bool hump =
        written.n == word.n && written.p[cut] >= 'A' && written.p[cut] <= 'Z' && written.p[cut - 1] >= 'a' && written.p[cut - 1] <= 'z';
    if (hump || name.n >= LONG || known(ctx, rest)) return true;
    if (!end && name.n >= NEAR_LEAST && rest.n == 1 && rest.p[0] == 's') return true; /* the Okonkwos */
  }
  return false;
}
