/* A question's words into what is wanted of what, within which limits. Rules in a table; the first that fits wins. */
#include <math.h>
#include <stdio.h>

#include "base/time.h"
#include "reason/ask_private.h"
#include "timeline/timeline.h"

const char *const ask_intent_name[ASK_INTENTS] = {"unknown", "latest",     "first",     "highest", "lowest",    "mean",
                                                  "count",   "when first", "when last", "whether", "trend",     "list",
                                                  "age",     "sex",        "death",     "summary", "calculate", "cohort"};

/* Words in the order given, other words may stand between, none before a word with '+'; longest rules first. ' ' separates, '|' gives choices. */
static const struct rule {
  const char *pattern;
  enum ask_intent intent;
  int kind;
} rules[] = {
    {"how many|number patients|people|persons|subjects", ASK_COHORT, 0},
    {"count patients|people|persons|subjects", ASK_COHORT, 0},
    {"when highest|maximum|max|peak|greatest", ASK_HIGHEST, 0},
    {"when lowest|minimum|min|nadir|smallest", ASK_LOWEST, 0},
    {"when last|latest|recent", ASK_WHEN_LAST, 0},
    {"when", ASK_WHEN_FIRST, 0},
    {"how old", ASK_AGE, 0},
    {"how many|often", ASK_COUNT, 0},
    {"number times", ASK_COUNT, 0},
    {"number of", ASK_COUNT, 0},
    {"+count", ASK_COUNT, 0},
    {"the +count +of values|records|times|measurements|readings", ASK_COUNT, 0},
    {"summary|summarise|summarize|overview", ASK_SUMMARY, 0},
    {"latest|last|recent|current", ASK_LATEST, 0},
    {"highest|maximum|max|peak|greatest", ASK_HIGHEST, 0},
    {"lowest|minimum|min|nadir|smallest", ASK_LOWEST, 0},
    {"average|mean", ASK_MEAN, 0},
    {"first|earliest|initial", ASK_FIRST, 0},
    {"trend|trends", ASK_TREND, 0},
    {"over time", ASK_TREND, 0},
    {"history values of", ASK_TREND, 0},
    {"what|which|list|any|known|does|has|have allergies|intolerances", ASK_LIST, KIND_ALLERGY},
    {"what|which|list allergic", ASK_LIST, KIND_ALLERGY},
    {"what|which|list conditions|diagnoses|problems|diseases", ASK_LIST, KIND_CONDITION},
    {"what|which|list medications|medicines|drugs|prescriptions|vaccines", ASK_LIST, KIND_MEDICINE},
    {"what|which|list procedures|operations", ASK_LIST, KIND_PROCEDURE},
    {"what|which|list encounters|visits|admissions|stays", ASK_LIST, KIND_ENCOUNTER},
    {"what|which|list measurements|labs|observations", ASK_LIST, KIND_MEASUREMENT},
    {"is|what|how age", ASK_AGE, 0},
    {"is|what sex|gender", ASK_SEX, 0},
    {"is|what male|female", ASK_SEX, 0},
    {"is|has|did alive|dead|died|die|deceased|living", ASK_DEATH, 0},
    {"what is|was|were|are", ASK_LATEST, 0},
    {"does|did|has|had|have|is|was|any|ever|are", ASK_EXISTS, 0},
};
/* Words that the rules and limits are made of: no part of what is asked about. */
static const char used[] =
    " how many number count counts patients patient people persons subjects when last latest recent most old often times time of "
    "over trend trends highest maximum max peak greatest lowest minimum min nadir smallest average mean first earliest initial current "
    "since before after between above below over under than more less greater values history "
    "vaccine vaccination vaccinated immunisation immunization shot dose doses taking both also ";

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool number_at(struct str s, size_t at) {
  return at < s.n && (digit(s.p[at]) || (s.p[at] == '.' && at + 1 < s.n && digit(s.p[at + 1])));
}
/* Bytes of a minus sign before a number, '-' or U+2212 */
static size_t minus(struct str s) {
  size_t n = str_starts(s, STR("-")) ? 1 : str_starts(s, STR("\xE2\x88\x92")) ? 3 : 0;
  return n && number_at(s, n) ? n : 0;
}

/* The next run of letters, digits, '.' and '-' in lower case; a number with its sign */
static bool token(struct str *rest, char out[WORD_BYTES], struct str *where) {
  size_t n = 0, w = 0;
  while (rest->n && !letter(rest->p[0]) && !number_at(*rest, 0) && !minus(*rest)) rest->p++, rest->n--;
  size_t sign = minus(*rest);
  rest->p += sign, rest->n -= sign;
  while (n < rest->n && (letter(rest->p[n]) || digit(rest->p[n]) ||
                         ((rest->p[n] == '.' || rest->p[n] == '-') && n + 1 < rest->n && digit(rest->p[n + 1]))))
    n++;
  if (n == 0) return false;
  *where = (struct str){rest->p, n};
  if (sign) out[w++] = '-';
  for (size_t i = 0; i < n && w < WORD_BYTES - 1; i++)
    out[w++] = rest->p[i] >= 'A' && rest->p[i] <= 'Z' ? (char)(rest->p[i] + 32) : rest->p[i];
  out[w] = 0;
  rest->p += n;
  rest->n -= n;
  return true;
}

#define TOKENS 64
struct tokens {
  int n;
  char word[TOKENS][WORD_BYTES];
  struct str at[TOKENS];
  bool taken[TOKENS]; /* by a limit */
};

static bool one_of(const char *word, struct str choices) {
  while (choices.p) {
    struct str c = str_cut(&choices, '|');
    if (str_eqc(c, word)) return true;
  }
  return false;
}
static bool fits(const struct tokens *k, const char *pattern) {
  struct str rest = str_c(pattern);
  int at = 0;
  while (rest.p) {
    struct str choices = str_cut(&rest, ' ');
    bool next = str_starts(choices, STR("+"));
    if (next) choices = (struct str){choices.p + 1, choices.n - 1};
    while (!next && at < k->n && !one_of(k->word[at], choices)) at++;
    if (next && at < k->n && !one_of(k->word[at], choices)) return false;
    if (at++ >= k->n) return false;
  }
  return true;
}

/* "2019", "2019-06", "2019-06-03": the first moment of it and of what follows it */
static bool period(const char *s, int64_t *from, int64_t *to) {
  int y = 0, m = 0, d = 0, used_ = 0;
  int parts = sscanf(s, "%4d-%2d-%2d%n", &y, &m, &d, &used_);
  if (parts < 3) {
    d = 0;
    parts = sscanf(s, "%4d-%2d%n", &y, &m, &used_);
    if (parts < 2) {
      m = 0;
      if (sscanf(s, "%4d%n", &y, &used_) != 1) return false;
    }
  }
  if (s[used_] || y < 1800 || y > 2300 || m < 0 || m > 12 || d < 0 || d > 31) return false;
  *from = time_from_civil(y, m ? m : 1, d ? d : 1) * TIME_DAY;
  if (d)
    *to = *from + TIME_DAY;
  else if (m)
    *to = time_from_civil(m == 12 ? y + 1 : y, m == 12 ? 1 : m + 1, 1) * TIME_DAY;
  else
    *to = time_from_civil(y + 1, 1, 1) * TIME_DAY;
  return true;
}
static bool is(const struct tokens *k, int i, const char *choices) { return i >= 0 && i < k->n && one_of(k->word[i], str_c(choices)); }
static void take(struct tokens *k, int from, int to) {
  for (int i = from; i <= to; i++) k->taken[i] = true;
}

static void limits(struct tokens *k, struct ask_question *q) {
  for (int i = 0; i < k->n; i++) {
    int64_t a, b, c, d;
    double x;
    if (k->taken[i]) continue;
    if (is(k, i, "between|from") && i + 3 < k->n && is(k, i + 2, "and|to") && period(k->word[i + 1], &a, &b) &&
        period(k->word[i + 3], &c, &d)) {
      q->from = a;
      q->to = d;
      take(k, i, i + 3);
    } else if (is(k, i, "in|during|on") && i + 1 < k->n && period(k->word[i + 1], &a, &b)) {
      q->from = a;
      q->to = b;
      take(k, i, i + 1);
    } else if (is(k, i, "since") && i + 1 < k->n && period(k->word[i + 1], &a, &b)) {
      q->from = a;
      take(k, i, i + 1);
    } else if (is(k, i, "after") && i + 1 < k->n && period(k->word[i + 1], &a, &b)) {
      q->from = b;
      take(k, i, i + 1);
    } else if (is(k, i, "before|until") && i + 1 < k->n && period(k->word[i + 1], &a, &b)) {
      q->to = a;
      take(k, i, i + 1);
    } else if (is(k, i, "above|over|below|under|than") && i + 1 < k->n && str_to_f64(str_c(k->word[i + 1]), &x) == OK) {
      bool up = is(k, i, "above|over") || (is(k, i, "than") && is(k, i - 1, "more|greater|higher"));
      bool down = is(k, i, "below|under") || (is(k, i, "than") && is(k, i - 1, "less|lower|fewer"));
      if (!up && !down) continue;
      *(up ? &q->above : &q->below) = x;
      take(k, is(k, i, "than") ? i - 1 : i, i + 1);
    }
  }
}

static bool is_used(const char *w) {
  char key[WORD_BYTES + 2];
  snprintf(key, sizeof key, " %s ", w);
  return strstr(used, key) != NULL;
}

void ask_parse(struct str text, struct ask_question *out) {
  struct tokens k = {0};
  struct str rest = text, before = text;
  const char *open = memchr(text.p, '"', text.n), *close = open ? memchr(open + 1, '"', text.n - (size_t)(open + 1 - text.p)) : NULL;
  *out = (struct ask_question){.from = INT64_MIN, .to = INT64_MAX, .above = -INFINITY, .below = INFINITY};
  if (close) out->exact = (struct str){open + 1, (size_t)(close - open - 1)};
  while (k.n < TOKENS && token(&rest, k.word[k.n], &k.at[k.n])) {
    /* what is quoted is no part of the grammar */
    if (close && k.at[k.n].p > open && k.at[k.n].p < close) continue;
    k.n++;
  }
  limits(&k, out);
  for (size_t i = 0; i < sizeof rules / sizeof *rules && out->intent == ASK_UNKNOWN; i++)
    if (fits(&k, rules[i].pattern)) {
      out->intent = rules[i].intent;
      out->kind = rules[i].kind;
    }
  if (close) {
    words_cut(out->exact, &out->words);
    out->term = out->exact;
    return;
  }
  char left[1024];
  size_t n = 0;
  for (int i = 0; i < k.n; i++) {
    size_t w = strlen(k.word[i]);
    if (k.taken[i] || is_used(k.word[i]) || n + w + 2 > sizeof left) continue;
    memcpy(left + n, k.word[i], w);
    n += w;
    left[n++] = ' ';
  }
  words_cut((struct str){left, n}, &out->words);
  out->term = before;
}

static bool in_quotes(struct str text, const char *at) {
  size_t n = 0, from = (size_t)(at - text.p);
  for (size_t i = 0; i < from; i++) n += text.p[i] == '"';
  return n % 2 && memchr(at, '"', text.n - from);
}
int ask_parts(struct str text, struct str *part, int most, const char **why) {
  struct str rest = text, at;
  const char *from = text.p;
  char word[WORD_BYTES], last[WORD_BYTES] = "", before[WORD_BYTES] = "";
  int n = 0;
  int64_t a, b;
  *why = NULL;
  while (token(&rest, word, &at)) {
    if (in_quotes(text, at.p)) continue;
    if (one_of(word, STR("or|not|no|without|never|neither|nor|except|don|doesn|didn|haven|hasn")))
      *why = "\"or\" and \"not\" are not understood of many patients";
    if (strcmp(word, "and") == 0 && !(one_of(before, STR("between|from")) && period(last, &a, &b))) {
      if (n + 1 == most) *why = "these are more conditions than are understood at once";
      if (*why) return 0;
      part[n++] = (struct str){from, (size_t)(at.p - from)};
      from = at.p + at.n;
    }
    strcpy(before, last);
    strcpy(last, word);
  }
  part[n++] = (struct str){from, (size_t)(text.p + text.n - from)};
  return *why ? 0 : n;
}
