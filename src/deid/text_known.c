/* The person's own identifiers, wherever a source wrote them, with the variants that notes hold: parts, initials, possessives, capitals,
 * nicknames, one letter wrong (5 letters and more); numbers and addresses with any separators. */
#include "base/hash.h"
#include "deid/text_check.h"
#include "deid/text_internal.h"
#include "record/record.h"

enum {
  NAMES_MOST = 256,
  CODES_MOST = 512,
  CODE_BYTES = 96,
  CODE_LEAST = 4,
  FUZZY_LEAST = 5,
  LETTERS_LEAST = 4,
  BROKEN_MOST = 64,
  UNSPACED_MOST = 6,
  SET_MEMORY = 1 << 20
};

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
  struct known_code broken[BROKEN_MOST]; /* bytes of a name that are searched in words too: read in a wrong encoding, or without spaces */
  uint32_t name_n, code_n, broken_n;
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
  char without[64];
  size_t less = 0;
  for (size_t i = 0; i < f.n; i++)
    if (f.p[i] != '\'') without[less++] = f.p[i];
  if (less < f.n) add_word(w, k, (struct str){without, less}, role); /* OBrien */
  if (k->name_n == NAMES_MOST) return;
  struct known_name *n = &k->name[k->name_n++];
  *n = (struct known_name){.hash = h, .n = (uint8_t)f.n, .role = (uint8_t)role};
  memcpy(n->word, f.p, f.n);
}

/* "M\xc3\xbcller" as "M\xc3\x83\xc2\xbcller" (UTF-8 read as Latin-1), "M?ller", "M??ller", "M\xef\xbf\xbdller". */
static void add_broken(struct known_set *k, struct str s) {
  static const char *const lost[] = {NULL, "?", "??", "\xef\xbf\xbd"};
  size_t plain = 0;
  for (size_t i = 0; i < s.n; i++) plain += (uint8_t)s.p[i] < 0x80;
  if (plain == s.n || s.n > 30) return;
  for (size_t way = 0; way < (plain ? sizeof lost / sizeof *lost : 1) && k->broken_n < BROKEN_MOST; way++) {
    struct known_code *b = &k->broken[k->broken_n];
    *b = (struct known_code){.label = TEXT_NAME};
    for (size_t i = 0; i < s.n && b->n + 4u < CODE_BYTES; i++) {
      uint8_t c = (uint8_t)s.p[i];
      size_t more = lost[way] && (c & 0xC0) != 0x80 ? strlen(lost[way]) : 0;
      if (c < 0x80)
        b->text[b->n++] = (char)c;
      else if (!lost[way])
        b->text[b->n++] = (char)(0xC0 | c >> 6), b->text[b->n++] = (char)(0x80 | (c & 63));
      else
        memcpy(b->text + b->n, lost[way], more), b->n = (uint8_t)(b->n + more);
    }
    if (b->n >= LETTERS_LEAST) k->broken_n++;
  }
}

/* Of a script without spaces, where a text has it among other words: two characters and more. */
static void add_unspaced(struct known_set *k, struct str a, struct str b) {
  struct known_code c = {.label = TEXT_NAME, .n = (uint8_t)(a.n + b.n)};
  if (k->broken_n == BROKEN_MOST || a.n + b.n > CODE_BYTES) return;
  memcpy(c.text, a.p, a.n);
  if (b.n) memcpy(c.text + a.n, b.p, b.n);
  for (uint32_t i = 0; i < k->broken_n; i++)
    if (k->broken[i].n == c.n && memcmp(k->broken[i].text, c.text, c.n) == 0) return;
  if (text_unspaced((struct str){c.text, c.n}) < c.n) k->broken[k->broken_n++] = c;
}

/* Given and family name may come apart, and be written as one in either order. */
static void add_unspaced_names(struct known_set *k, const struct text_person *who) {
  struct str part[UNSPACED_MOST];
  uint32_t n = 0;
  for (uint32_t w = 0; who && w < who->known_n; w++) {
    struct str s = who->known[w].value;
    for (size_t i = 0; i < s.n && n < UNSPACED_MOST && who->known[w].kind == IDENTIFIER_NAME; i++) {
      size_t more;
      part[n] = (struct str){s.p + i, 0};
      while ((more = text_unspaced((struct str){s.p + i, s.n - i}))) part[n].n += more, i += more;
      if (part[n].n) add_unspaced(k, part[n], STR_NONE), n++;
    }
  }
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < n; j++)
      if (i != j) add_unspaced(k, part[i], part[j]);
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
    add_broken(k, words[i]);
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
  add_unspaced_names(k, who);
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

struct str text_known_spelling(const struct text_work *w, struct str word) {
  char folded[160];
  if (word.n > 38 || !w->known) return word;
  struct str f = {folded, text_fold(word, folded, sizeof folded)};
  uint64_t h = text_hash(f);
  if (text_known_word(w, h)) return word;
  for (uint32_t i = 0; i < w->known->name_n; i++) {
    const struct known_name *n = &w->known->name[i];
    if (text_name_near(f, true, (struct str){n->word, n->n}) || text_name_scanned(f, (struct str){n->word, n->n}))
      return (struct str){n->word, n->n};
  }
  return word;
}

/* What may be glued to a name: an initial or another name of the person, a title, a particle, "pt", "dob". */
struct glue {
  const struct text_work *w;
  const struct known_set *k;
};
static bool may_be_glued(const void *ctx, struct str rest) {
  const struct glue *g = ctx;
  uint64_t h = text_hash(rest);
  if (rest.n == 1) {
    for (uint32_t i = 0; i < g->k->name_n; i++)
      if (g->k->name[i].n && g->k->name[i].word[0] == rest.p[0]) return true;
    return false;
  }
  if (text_known_word(g->w, h)) return true;
  return (text_lists_word(&g->w->s->lists, h) & (IN_TITLE | IN_CREDENTIAL | IN_PARTICLE | IN_SUFFIX | IN_CUE | IN_WEAK_CUE)) != 0;
}

static bool written_wrongly(const struct text_work *w, const struct token *t, const struct known_set *k) {
  char folded[64];
  struct str written = token_str(w, t), f = {folded, text_fold(written, folded, sizeof folded)}, bare = text_name_bare(f);
  bool capital = token_capital(t) || (written.p[0] >= 'A' && written.p[0] <= 'Z'), digits = t->shape == SHAPE_ALNUM;
  struct glue g = {w, k};
  for (uint32_t i = 0; i < k->name_n; i++) {
    struct str name = {k->name[i].word, k->name[i].n};
    if (!name.n) continue;
    if (bare.n < f.n && bare.n >= LETTERS_LEAST && (str_eq(bare, name) || text_name_near(bare, capital, name))) return true;
    if ((digits || capital) && text_name_scanned(f, name)) return true;
    if (!digits && text_name_near(f, capital, name)) return true;
    if (text_name_glued(bare, bare.n == f.n ? written : STR_NONE, name, may_be_glued, &g)) return true;
  }
  return false;
}

static bool name_word(const struct text_work *w, const struct token *t, bool *ordinary) {
  const struct known_set *k = w->known;
  *ordinary = (t->in & (IN_WORD | IN_COMMON | IN_EPONYM)) != 0;
  for (uint32_t i = 0; i < k->name_n; i++)
    if (k->name[i].hash == t->hash) return true;
  uint32_t n = t->end - t->start;
  return !*ordinary && n >= LETTERS_LEAST && n <= 38 && t->shape != SHAPE_OTHER && !text_unspaced(token_str(w, t)) &&
         written_wrongly(w, t, k);
}

/* "O Brien", "Okon-\nkwo", "O K O N K W O": the words from i on that are a name in pieces; the last of them, i if there are none. */
static uint32_t in_pieces(const struct text_work *w, uint32_t i) {
  char all[64];
  size_t n = 0;
  uint32_t last = i;
  for (uint32_t k = i; k < w->token_n && k < i + 16; k++) {
    const struct token *t = &w->tokens[k];
    bool hyphen = k > i && t->gap & GAP_HYPHEN, letter = t->shape == SHAPE_INITIAL;
    if (k > i && t->gap & ~(unsigned)(GAP_SPACE | GAP_HYPHEN | (hyphen ? GAP_LINE : 0))) break;
    if (!(token_capital(t) || letter || hyphen) || t->end - t->start + n > 38) break;
    n += text_fold(token_str(w, t), all + n, sizeof all - n);
    if (k > i && n >= FUZZY_LEAST && text_known_word(w, text_hash((struct str){all, n}))) last = k;
    if (!letter && k > i) break;
  }
  return last;
}

/* "M.O.": initials of a given and a family name, in either order, each with its point, unless that is an abbreviation. */
static bool own_initials(const struct text_work *w, uint32_t i) {
  const struct token *a = &w->tokens[i], *b = a + 1;
  if (i + 1 >= w->token_n || a->shape != SHAPE_INITIAL || b->shape != SHAPE_INITIAL || b->gap & ~(unsigned)(GAP_STOP | GAP_SPACE) ||
      !(b->gap & GAP_STOP) || b->end >= w->copy_n || w->copy[b->end] != '.')
    return false;
  char x = (char)(w->copy[a->start] | 32), y = (char)(w->copy[b->start] | 32), both[2] = {x, y};
  if (text_lists_word(&w->s->lists, text_hash((struct str){both, 2})) & IN_DOTTED) return false;
  bool found[2][3] = {{false}};
  for (uint32_t k = 0; k < w->known->name_n; k++) {
    const struct known_name *name = &w->known->name[k];
    if (!name->n) continue;
    if (name->word[0] == x) found[0][name->role] = true;
    if (name->word[0] == y) found[1][name->role] = true;
  }
  return (found[0][TEXT_ROLE_GIVEN] && found[1][TEXT_ROLE_FAMILY]) || (found[0][TEXT_ROLE_FAMILY] && found[1][TEXT_ROLE_GIVEN]);
}

/* Two own names, of which one may be a word in small letters, beside each other: not both given or both the family's, and none the
 * other's nickname. A word that is also a verb ("will") does not end a name. */
static bool beside(const struct text_work *w, uint64_t first, uint64_t second) {
  uint64_t also[16];
  int a = text_known_role(w, first), b = text_known_role(w, second);
  if (first == second || (a && a == b) || text_lists_word(&w->s->lists, second) & IN_DOING) return false;
  uint32_t n = text_lists_nicknames(&w->s->lists, first, also, 16);
  for (uint32_t i = 0; i < n; i++)
    if (also[i] == second) return false;
  return text_known_word(w, first) && text_known_word(w, second);
}

static bool titled(const struct text_work *w, uint32_t i) {
  enum { ENDS = GAP_STOP | GAP_COLON | GAP_END | GAP_LINE };
  const struct token *t = &w->tokens[i], *next = i + 1 < w->token_n ? t + 1 : NULL;
  if (i == 0 || t->gap & ~(unsigned)(GAP_SPACE | GAP_STOP) || (next && next->gap & GAP_HYPHEN)) return false;
  struct str before = token_str(w, t - 1);
  bool title = t[-1].in & IN_TITLE, point = t->gap & GAP_STOP,
       patient = str_eq_nocase(before, STR("pt")) || str_eq_nocase(before, STR("patient"));
  bool does = next && next->in & IN_DOING && next->shape == SHAPE_LOWER;
  if (title && point && t[-1].in & IN_COMMON) return false; /* "Yes, sir. long day" */
  if (t->in & IN_DOING) return title && does;               /* "the patient will also" */
  return (title && (point || t[-1].shape == SHAPE_CAP)) || ((title || patient) && (does || !next || next->gap & ENDS));
}

/* In small letters an own name that is a word counts behind a title and beside another own name: "mrs. grant", "pt rose grant". */
static bool named_small(const struct text_work *w, uint32_t i) {
  const struct token *t = &w->tokens[i], *next = i + 1 < w->token_n ? t + 1 : NULL;
  enum { JOINS = GAP_SPACE | GAP_COMMA };
  if (next && !t->tail && next->gap & GAP_SPACE && !(next->gap & ~(unsigned)JOINS) && beside(w, t->hash, next->hash)) return true;
  if (i && !t[-1].tail && t->gap & GAP_SPACE && !(t->gap & ~(unsigned)JOINS) && beside(w, t[-1].hash, t->hash)) return true;
  return titled(w, i);
}

/* An own name that is a word of the language, at the start of a sentence, where every word has a capital: what is around it decides.
 * "White may continue aspirin", "White's pain", "Patient: White", "White, Hope", "White H.". */
static bool named_here(const struct text_work *w, uint32_t i, bool before) {
  const struct token *t = &w->tokens[i], *next = i + 1 < w->token_n ? t + 1 : NULL;
  bool o;
  if (!token_capital(t)) return named_small(w, i);
  if (!t->sentence || before || t->tail) return true;
  if (i > 0 && t->gap & GAP_COLON && !(t->gap & (GAP_LINE | GAP_END)) && t[-1].in & (IN_CUE | IN_WEAK_CUE | IN_TITLE)) return true;
  if (!next) return false;
  if (next->in & IN_DOING && next->shape == SHAPE_LOWER) return true;
  if (next->shape == SHAPE_INITIAL && !(next->gap & ~(unsigned)(GAP_SPACE | GAP_COMMA))) {
    struct glue g = {w, w->known};
    char initial = (char)(w->copy[next->start] | 32);
    return may_be_glued(&g, (struct str){&initial, 1});
  }
  return (token_capital(next) && name_word(w, next, &o)) || named_small(w, i);
}

static int find_broken(struct text_work *w, struct error *e) {
  const struct known_set *k = w->known;
  for (uint32_t i = 0; i < k->broken_n; i++)
    for (char *at = w->copy, *hit; (hit = memmem(at, (size_t)(w->copy + w->copy_n - at), k->broken[i].text, k->broken[i].n)); at = hit + 1)
      TRY(text_spans_add(&w->found, (uint32_t)(hit - w->copy), (uint32_t)(hit - w->copy) + k->broken[i].n, TEXT_NAME, TEXT_BY_KNOWN, e));
  return OK;
}

static int find_names(struct text_work *w, struct error *e) {
  bool before = false;
  for (uint32_t i = 0; i < w->token_n; i++) {
    const struct token *t = &w->tokens[i];
    bool ordinary = false, is = t->end - t->start >= 2 && t->shape != SHAPE_DIGITS && name_word(w, t, &ordinary), beside = before;
    if (is && ordinary) is = named_here(w, i, before);
    uint32_t a = i, b = is ? i : in_pieces(w, i);
    if (!is && own_initials(w, i)) b = i + 1;
    before = is || b > i;
    if (!before) continue;
    while (a > 0 && w->tokens[a - 1].shape == SHAPE_INITIAL && !(w->tokens[a].gap & ~(unsigned)(GAP_SPACE | GAP_STOP))) a--;
    if (b + 1 < w->token_n && w->tokens[b + 1].shape == SHAPE_INITIAL && !(w->tokens[b + 1].gap & ~(unsigned)(GAP_SPACE | GAP_COMMA))) b++;
    uint32_t start = w->tokens[a].start;
    if (beside && i > 0 && !(t->gap & ~(unsigned)(GAP_SPACE | GAP_COMMA | GAP_STOP | GAP_HYPHEN))) start = w->tokens[i - 1].start;
    TRY(text_spans_add(&w->found, start, w->tokens[b].end, TEXT_NAME, TEXT_BY_KNOWN, e));
    if (b > i) i = b;
  }
  return find_broken(w, e);
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

/* Own names among the words; those that are words of the language where two stand beside each other. */
static uint32_t count_names(const struct text_work *w, struct str text) {
  uint64_t last = 0;
  uint32_t n = 0;
  for (size_t i = 0, end = 0; i < text.n;) {
    if (!name_byte(text.p[i])) {
      i++;
      continue;
    }
    size_t j = i;
    while (j < text.n && name_byte(text.p[j])) j++;
    struct str word = {text.p + i, j - i};
    bool owner = word.n > 2 && word.p[word.n - 2] == '\'' && (word.p[word.n - 1] | 32) == 's';
    bool whole = !(i && alnum(text.p[i - 1])) && !(j < text.n && alnum(text.p[j])), next = last && i == end + 1 && text.p[end] == ' ';
    if (owner) word.n -= 2;
    char folded[64];
    uint64_t h = word.n <= 38 ? text_hash((struct str){folded, text_fold(word, folded, sizeof folded)}) : 0;
    bool ordinary = (text_lists_word(&w->s->lists, h) & (IN_WORD | IN_COMMON | IN_EPONYM)) != 0;
    if (word.n >= 3 && !ordinary && text_known_word(w, h))
      n++;
    else if (next && whole && beside(w, last, h))
      n++;
    last = whole && !owner ? h : 0;
    i = end = j;
  }
  return n;
}

uint32_t text_known_count(const struct text_work *w, struct str text, const struct text_spans *kept) {
  const struct known_set *k = w->known;
  uint32_t n = 0, span = 0;
  if (!k) return 0;
  if (k->name_n) n = count_names(w, text);
  for (uint32_t i = 0; i < k->broken_n; i++)
    n += text_unspaced((struct str){k->broken[i].text, k->broken[i].n}) && memmem(text.p, text.n, k->broken[i].text, k->broken[i].n);
  for (size_t at = 0, end = 0; k->code_n && next_code(k, text, &at, &end); at = end) {
    while (kept && span < kept->n && kept->at[span].end <= at) span++;
    if (!(kept && span < kept->n && kept->at[span].start <= at)) n++; /* a date that the policy keeps is no leak */
  }
  return n;
}
