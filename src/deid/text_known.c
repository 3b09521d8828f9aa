/* The person's own identifiers, wherever a source wrote them, with the variants that notes hold: parts, initials, possessives, capitals,
 * nicknames, one letter wrong (5 letters and more); numbers and addresses with any separators. */
#include "base/hash.h"
#include "deid/text_check.h"
#include "deid/text_internal.h"
#include "record/record.h"

enum { NAMES_MOST = 256, CODES_MOST = 512, CODE_BYTES = 96, CODE_LEAST = 4, FUZZY_LEAST = 5, SET_MEMORY = 1 << 20 };

struct known_name {
  uint64_t hash;
  char word[40]; /* folded; empty for a nickname, of which only the hash is known */
  uint8_t n;
  uint8_t role; /* enum text_role */
};
struct known_code {
  char text[CODE_BYTES]; /* lower case, letters and digits only */
  uint8_t n, label;
  bool words; /* letters only: a place's name */
};
struct known_set {
  uint64_t of; /* what it was built from */
  struct known_name name[NAMES_MOST];
  struct known_code code[CODES_MOST];
  uint32_t name_n, code_n;
  uint8_t begins[256]; /* some code begins with this byte */
};

static int label_of(int kind) {
  static const uint8_t labels[] = {TEXT_NAME,   TEXT_LOCATION, TEXT_DATE,        TEXT_PHONE,   TEXT_FAX,     TEXT_EMAIL,
                                   TEXT_SSN,    TEXT_MRN,      TEXT_HEALTH_PLAN, TEXT_ACCOUNT, TEXT_LICENCE, TEXT_VEHICLE,
                                   TEXT_DEVICE, TEXT_URL,      TEXT_IP,          TEXT_ID,      TEXT_ID,      TEXT_ID};
  return kind >= 0 && kind < (int)sizeof labels ? labels[kind] : TEXT_ID;
}

/* ---- building ---- */

static void add_word(const struct text_work *w, struct known_set *k, struct str s, int role) {
  char folded[64];
  if (k->name_n == NAMES_MOST || s.n < 2 || s.n > 38) return;
  struct str f = {folded, text_fold(s, folded, sizeof folded)};
  uint64_t h = text_hash(f);
  if (f.n < 2 || f.n > 38 || text_lists_word(&w->s->lists, h) & (IN_TITLE | IN_CREDENTIAL | IN_PARTICLE | IN_SUFFIX)) return;
  for (uint32_t i = 0; i < k->name_n; i++)
    if (k->name[i].hash == h) {
      if (!k->name[i].role) k->name[i].role = (uint8_t)role;
      return;
    }
  struct known_name *n = &k->name[k->name_n++];
  *n = (struct known_name){.hash = h, .n = (uint8_t)f.n, .role = (uint8_t)role};
  memcpy(n->word, f.p, f.n);
}

static bool name_byte(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (uint8_t)c >= 0x80 || c == '\''; }

static void add_name(const struct text_work *w, struct known_set *k, struct str s) {
  struct str words[12];
  int n = 0, comma = -1;
  for (size_t i = 0; i < s.n && n < 12;) {
    if (!name_byte(s.p[i])) {
      if (s.p[i] == ',' && comma < 0) comma = n;
      i++;
      continue;
    }
    size_t j = i;
    while (j < s.n && name_byte(s.p[j])) j++;
    words[n++] = (struct str){s.p + i, j - i};
    i = j;
  }
  for (int i = 0; i < n; i++) {
    bool family = comma >= 0 ? i < comma : i + 1 == n;
    add_word(w, k, words[i], n == 1 ? TEXT_ROLE_ANY : family ? TEXT_ROLE_FAMILY : TEXT_ROLE_GIVEN);
  }
}

static size_t normal(struct str s, char *out, size_t size) {
  char folded[CODE_BYTES * 4];
  size_t m = text_fold((struct str){s.p, s.n < CODE_BYTES * 2 ? s.n : CODE_BYTES * 2}, folded, sizeof folded), n = 0;
  for (size_t i = 0; i < m && n < size; i++)
    if ((folded[i] >= 'a' && folded[i] <= 'z') || (folded[i] >= '0' && folded[i] <= '9')) out[n++] = folded[i];
  return n;
}

static void add_code(struct known_set *k, struct str code, int label) {
  if (k->code_n == CODES_MOST || code.n < CODE_LEAST || code.n > CODE_BYTES) return;
  for (uint32_t i = 0; i < k->code_n; i++)
    if (k->code[i].n == code.n && memcmp(k->code[i].text, code.p, code.n) == 0) return;
  struct known_code *c = &k->code[k->code_n++];
  c->n = (uint8_t)code.n;
  c->label = (uint8_t)label;
  memcpy(c->text, code.p, code.n);
  c->words = true;
  for (size_t i = 0; i < code.n; i++) c->words = c->words && !(code.p[i] >= '0' && code.p[i] <= '9');
  k->begins[(uint8_t)code.p[0]] = 1;
}

static void add_number(struct known_set *k, int kind, struct str value) {
  char s[CODE_BYTES];
  size_t n = normal(value, s, sizeof s), zeros = 0, digits = 0;
  int label = label_of(kind);
  for (size_t i = 0; i < n; i++) digits += s[i] >= '0' && s[i] <= '9';
  if (!digits && kind != IDENTIFIER_EMAIL && kind != IDENTIFIER_URL) return;
  add_code(k, (struct str){s, n}, label);
  while (zeros < n && s[zeros] == '0') zeros++;
  if (zeros && n - zeros >= 5) add_code(k, (struct str){s + zeros, n - zeros}, label);
  if ((kind == IDENTIFIER_PHONE || kind == IDENTIFIER_FAX) && digits == n && n >= 10) {
    add_code(k, (struct str){s + n - 10, 10}, label);
    add_code(k, (struct str){s + n - 7, 7}, label);
  }
}

/* "123 Main St", "Springfield", "62701"; states and countries alone stay. */
static void add_place(const struct text_work *w, struct known_set *k, struct str value) {
  struct str rest = value;
  while (rest.p) {
    char s[CODE_BYTES], folded[128];
    struct str part = str_trim(str_cut(&rest, ',')), f = {folded, text_fold(part, folded, sizeof folded)};
    if (text_lists_word(&w->s->lists, text_hash(f)) & (IN_STATE | IN_COUNTRY | IN_STATE_CODE)) continue;
    size_t n = normal(part, s, sizeof s), digits = 0, spaces = 0;
    for (size_t i = 0; i < f.n; i++) digits += f.p[i] >= '0' && f.p[i] <= '9', spaces += f.p[i] == ' ';
    add_code(k, (struct str){s, n}, TEXT_LOCATION);
    if (digits && spaces >= 2) { /* without the last word: Street for St */
      size_t cut = part.n;
      while (cut && part.p[cut - 1] != ' ') cut--;
      n = normal((struct str){part.p, cut}, s, sizeof s);
      add_code(k, (struct str){s, n}, TEXT_LOCATION);
    }
  }
}

static void add_date(struct known_set *k, struct str value) {
  char d[8], s[8];
  size_t n = 0;
  for (size_t i = 0; i < value.n && n < 8; i++)
    if (value.p[i] >= '0' && value.p[i] <= '9') d[n++] = value.p[i];
  if (n < 8) return;
  add_code(k, (struct str){d, 8}, TEXT_DATE);
  memcpy(s, d + 4, 4), memcpy(s + 4, d, 4);
  add_code(k, (struct str){s, 8}, TEXT_DATE);
  memcpy(s, d + 6, 2), memcpy(s + 2, d + 4, 2);
  add_code(k, (struct str){s, 8}, TEXT_DATE);
}

static void nicknames(const struct text_work *w, struct known_set *k) {
  uint32_t n = k->name_n;
  for (uint32_t i = 0; i < n; i++) {
    if (!k->name[i].n) continue;
    uint64_t also[16];
    uint32_t m = text_lists_nicknames(&w->s->lists, k->name[i].hash, also, 16);
    for (uint32_t j = 0; j < m && k->name_n < NAMES_MOST; j++)
      k->name[k->name_n++] = (struct known_name){.hash = also[j], .role = TEXT_ROLE_GIVEN};
  }
}

int text_known_set(struct text_work *w, const struct text_person *who, struct error *e) {
  if (!w->known) {
    w->known = mem_alloc(sizeof *w->known);
    if (!w->known) return error_set(e, E_NOMEM, "no memory for a person's identifiers");
    memset(w->known, 0, sizeof *w->known);
  }
  struct known_set *k = w->known;
  uint64_t of = 1;
  for (uint32_t i = 0; who && i < who->known_n; i++)
    of = hash64(who->known[i].value.p, who->known[i].value.n, of + (uint64_t)who->known[i].kind);
  if (k->of == of) return OK;
  mem_wipe(k, sizeof *k);
  memset(k, 0, sizeof *k);
  k->of = of;
  for (uint32_t i = 0; who && i < who->known_n; i++) {
    const struct text_known *x = &who->known[i];
    switch (x->kind) {
      case IDENTIFIER_NAME: add_name(w, k, x->value); break;
      case IDENTIFIER_GEOGRAPHY: add_place(w, k, x->value); break;
      case IDENTIFIER_DATE: add_date(k, x->value); break;
      default: add_number(k, x->kind, x->value);
    }
  }
  nicknames(w, k);
  return OK;
}

void text_known_free(struct known_set *k) {
  if (!k) return;
  mem_wipe(k, sizeof *k);
  mem_free(k);
}

int text_known_role(const struct text_work *w, uint64_t hash) {
  for (uint32_t i = 0; w->known && i < w->known->name_n; i++)
    if (w->known->name[i].hash == hash) return w->known->name[i].role;
  return TEXT_ROLE_ANY;
}

bool text_known_word(const struct text_work *w, uint64_t hash) {
  for (uint32_t i = 0; w->known && i < w->known->name_n; i++)
    if (w->known->name[i].hash == hash) return true;
  return false;
}

/* ---- finding names ---- */

static bool nearly(const char *a, size_t n, const char *b, size_t m);

struct str text_known_spelling(const struct text_work *w, struct str word) {
  char folded[160];
  if (word.n > 38 || !w->known) return word;
  struct str f = {folded, text_fold(word, folded, sizeof folded)};
  uint64_t h = text_hash(f);
  if (text_known_word(w, h)) return word;
  for (uint32_t i = 0; i < w->known->name_n; i++) {
    const struct known_name *n = &w->known->name[i];
    if (nearly(f.p, f.n, n->word, n->n)) return (struct str){n->word, n->n};
  }
  return word;
}

/* One letter wrong, missing, too many, or two neighbours changed over. */
static bool nearly(const char *a, size_t n, const char *b, size_t m) {
  if (n < FUZZY_LEAST || m < FUZZY_LEAST || (n > m ? n - m : m - n) > 1) return false;
  size_t i = 0, tail = 0, least = n < m ? n : m;
  while (i < least && a[i] == b[i]) i++;
  while (tail < least - i && a[n - 1 - tail] == b[m - 1 - tail]) tail++;
  size_t x = n - i - tail, y = m - i - tail;
  if (x <= 1 && y <= 1) return true;
  return x == 2 && y == 2 && a[i] == b[i + 1] && a[i + 1] == b[i];
}

static bool name_word(const struct text_work *w, const struct token *t, bool *ordinary) {
  const struct known_set *k = w->known;
  uint32_t in = t->in;
  *ordinary = (in & (IN_WORD | IN_COMMON | IN_EPONYM)) != 0;
  for (uint32_t i = 0; i < k->name_n; i++)
    if (k->name[i].hash == t->hash) return true;
  if (!token_capital(t) || *ordinary || t->end - t->start < FUZZY_LEAST || t->end - t->start > 38) return false;
  char folded[64];
  size_t n = text_fold(token_str(w, t), folded, sizeof folded);
  for (uint32_t i = 0; i < k->name_n; i++)
    if (nearly(folded, n, k->name[i].word, k->name[i].n)) return true;
  return false;
}

static int find_names(struct text_work *w, struct error *e) {
  bool before = false;
  for (uint32_t i = 0; i < w->token_n; i++) {
    const struct token *t = &w->tokens[i];
    bool ordinary, is = t->end - t->start >= 2 && t->shape != SHAPE_DIGITS && name_word(w, t, &ordinary), next = false, o;
    if (is && ordinary && i + 1 < w->token_n) next = token_capital(&w->tokens[i + 1]) && name_word(w, &w->tokens[i + 1], &o);
    /* "White may continue aspirin": an ordinary word that begins a sentence, and is the person's own name, is taken for it when it does something */
    bool doing = is && ordinary && i + 1 < w->token_n && w->tokens[i + 1].in & IN_DOING && w->tokens[i + 1].shape == SHAPE_LOWER;
    if (is && ordinary && !(token_capital(t) && (!t->sentence || before || next || doing))) is = false;
    bool beside = before;
    before = is;
    if (!is) continue;
    uint32_t a = i, b = i;
    while (a > 0 && w->tokens[a - 1].shape == SHAPE_INITIAL && !(w->tokens[a].gap & ~(unsigned)(GAP_SPACE | GAP_STOP))) a--;
    if (b + 1 < w->token_n && w->tokens[b + 1].shape == SHAPE_INITIAL && !(w->tokens[b + 1].gap & ~(unsigned)(GAP_SPACE | GAP_COMMA))) b++;
    uint32_t start = w->tokens[a].start;
    if (beside && i > 0 && !(t->gap & ~(unsigned)(GAP_SPACE | GAP_COMMA | GAP_STOP | GAP_HYPHEN))) start = w->tokens[i - 1].start;
    TRY(text_spans_add(&w->found, start, w->tokens[b].end, TEXT_NAME, TEXT_BY_KNOWN, e));
  }
  return OK;
}

/* ---- finding numbers and addresses ---- */

static bool separator(char c) { return c && strchr(" -./()+:#_@,\t\n'", c) != NULL; }

/* The end of `code` written from text[at], with up to two separators between its characters; 0 = it is not there. */
static size_t written(struct str text, size_t at, const char *code, size_t n) {
  size_t i = at, k = 0, gap = 0;
  while (k < n && i < text.n) {
    char c = text.p[i];
    if (c >= 'A' && c <= 'Z') c = (char)(c + 32);
    if (c == code[k]) {
      k++, i++, gap = 0;
      continue;
    }
    if (k == 0 || !separator(c) || ++gap > 2) return 0;
    i++;
  }
  if (k < n) return 0;
  char next = i < text.n ? text.p[i] : ' ';
  bool goes_on = (next >= '0' && next <= '9') || (next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z');
  return goes_on ? 0 : i;
}

static bool alnum(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* The next code at or after *at; its place in *at..*end. */
static const struct known_code *next_code(const struct known_set *k, struct str text, size_t *at, size_t *end) {
  for (size_t i = *at; i < text.n; i++) {
    char c = text.p[i];
    char low = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    if (!k->begins[(uint8_t)low] || (i > 0 && alnum(text.p[i - 1]))) continue;
    for (uint32_t j = 0; j < k->code_n; j++) {
      if (k->code[j].text[0] != low || (k->code[j].words && c == low)) continue;
      size_t to = written(text, i, k->code[j].text, k->code[j].n);
      if (!to) continue;
      *at = i, *end = to;
      return &k->code[j];
    }
  }
  return NULL;
}

int text_known_find(struct text_work *w, struct error *e) {
  const struct known_set *k = w->known;
  const struct known_code *c;
  if (k->name_n) TRY(find_names(w, e));
  if (!k->code_n) return OK;
  for (size_t at = 0, end = 0; (c = next_code(k, work_text(w), &at, &end)); at = end)
    TRY(text_spans_add(&w->found, (uint32_t)at, (uint32_t)end, c->label, TEXT_BY_KNOWN, e));
  return OK;
}

/* ---- counting what is left ---- */

uint32_t text_known_count(const struct text_work *w, struct str text, const struct text_spans *kept) {
  const struct known_set *k = w->known;
  uint32_t n = 0, span = 0;
  if (!k) return 0;
  for (size_t i = 0; k->name_n && i < text.n;) {
    if (!name_byte(text.p[i])) {
      i++;
      continue;
    }
    size_t j = i;
    while (j < text.n && name_byte(text.p[j])) j++;
    struct str word = {text.p + i, j - i};
    if (word.n > 2 && word.p[word.n - 2] == '\'' && (word.p[word.n - 1] | 32) == 's') word.n -= 2;
    char folded[64];
    uint64_t h = word.n <= 38 ? text_hash((struct str){folded, text_fold(word, folded, sizeof folded)}) : 0;
    bool ordinary = (text_lists_word(&w->s->lists, h) & (IN_WORD | IN_COMMON | IN_EPONYM)) != 0;
    if (word.n >= 3 && !ordinary && text_known_word(w, h)) n++;
    i = j;
  }
  for (size_t at = 0, end = 0; k->code_n && next_code(k, text, &at, &end); at = end) {
    while (kept && span < kept->n && kept->at[span].end <= at) span++;
    if (!(kept && span < kept->n && kept->at[span].start <= at)) n++; /* a date that the policy keeps is no leak */
  }
  return n;
}
