#include "deid/code_rules.h"

#include "base/file.h"
#include "base/json.h"
#include "base/map.h"

enum { SHAPE_ITEMS = 24, RULES_LIMIT = 32 << 20 };

struct shape_item {
  uint64_t set[2]; /* ASCII bit set */
  uint8_t min, max;
};
enum check { CHECK_NONE, CHECK_LUHN, CHECK_SCTID };
struct code_shape {
  struct shape_item item[SHAPE_ITEMS];
  int n;
  enum check check;
};
struct code_system {
  const struct code_shape **shape;
  size_t n;
  struct map values; /* a closed list instead of shapes */
};
struct code_rules {
  struct arena memory;
  struct map systems, words, atoms, ages, open;
  struct code_system **system;
  size_t system_n;
};

/* ---- shapes ---- */

static void set_add(struct shape_item *it, unsigned char c) { it->set[c >> 6] |= UINT64_C(1) << (c & 63); }

static bool number(struct str p, size_t *at, uint8_t *out) {
  unsigned v = 0;
  size_t from = *at;
  while (*at < p.n && p.p[*at] >= '0' && p.p[*at] <= '9' && v < 100) v = v * 10 + (unsigned)(p.p[(*at)++] - '0');
  *out = (uint8_t)v;
  return *at > from && v < 100;
}

static bool parse_class(struct str p, size_t *at, struct shape_item *it) {
  size_t from = *at;
  while (*at < p.n && p.p[*at] != ']') {
    unsigned char lo = (unsigned char)p.p[(*at)++], hi = lo;
    if (*at + 1 < p.n && p.p[*at] == '-' && p.p[*at + 1] != ']') {
      hi = (unsigned char)p.p[*at + 1];
      *at += 2;
    }
    if (hi < lo || hi > 126 || lo < 32) return false;
    for (unsigned c = lo; c <= hi; c++) set_add(it, (unsigned char)c);
  }
  if (*at == p.n || *at == from) return false;
  ++*at;
  return true;
}

static bool parse_repeat(struct str p, size_t *at, struct shape_item *it) {
  it->min = it->max = 1;
  if (*at == p.n) return true;
  if (p.p[*at] == '?') {
    it->min = 0;
    ++*at;
    return true;
  }
  if (p.p[*at] != '{') return true;
  ++*at;
  if (!number(p, at, &it->min)) return false;
  it->max = it->min;
  if (*at < p.n && p.p[*at] == ',') {
    ++*at;
    if (!number(p, at, &it->max)) return false;
  }
  if (*at == p.n || p.p[*at] != '}' || it->max < it->min || it->max == 0) return false;
  ++*at;
  return true;
}

int code_shape_parse(struct arena *a, struct str p, const struct code_shape **out, struct error *e) {
  struct code_shape *s = arena_new(a, struct code_shape);
  if (!s) return error_set(e, E_NOMEM, "no memory for code shapes");
  for (size_t at = 0; at < p.n;) {
    if (s->n == SHAPE_ITEMS) return error_set(e, E_INPUT, "a shape has more than %d items", SHAPE_ITEMS);
    struct shape_item *it = &s->item[s->n++];
    unsigned char c = (unsigned char)p.p[at++];
    bool ok = c >= 32 && c <= 126 && !strchr("(){}|*+?^$\\", c);
    if (ok && c == '[')
      ok = parse_class(p, &at, it);
    else if (ok)
      set_add(it, c);
    if (!ok || !parse_repeat(p, &at, it)) return error_set(e, E_INPUT, "shape not understood at character %zu", at);
  }
  if (s->n == 0) return error_set(e, E_INPUT, "empty shape");
  *out = s;
  return OK;
}

/* All reachable positions at once, one bit each: linear whatever the shape. */
static bool items_match(const struct code_shape *s, struct str t) {
  typedef unsigned __int128 mask;
  if (t.n > CODE_PART_LIMIT) return false;
  mask here = 1;
  for (int i = 0; i < s->n && here; i++) {
    const struct shape_item *it = &s->item[i];
    mask fits = 0;
    for (size_t k = 0; k < t.n; k++) {
      unsigned char c = (unsigned char)t.p[k];
      if (c < 128 && it->set[c >> 6] >> (c & 63) & 1) fits |= (mask)1 << k;
    }
    mask next = it->min == 0 ? here : 0, step = here;
    for (int k = 1; k <= it->max && step; k++) {
      step = (step & fits) << 1;
      if (k >= it->min) next |= step;
    }
    here = next;
  }
  return here >> t.n & 1;
}

bool code_shape_match(const struct code_shape *s, struct str t) {
  if (!items_match(s, t)) return false;
  if (s->check == CHECK_LUHN) return code_check_luhn(t);
  if (s->check == CHECK_SCTID) return code_check_sctid(t);
  return true;
}

bool code_check_luhn(struct str t) {
  if (t.n < 3 || t.p[t.n - 2] != '-') return false;
  int sum = 0, twice = 1;
  for (size_t i = t.n - 2; i-- > 0; twice ^= 1) {
    if (t.p[i] < '0' || t.p[i] > '9') return false;
    int d = (t.p[i] - '0') << twice;
    sum += d > 9 ? d - 9 : d;
  }
  return t.p[t.n - 1] - '0' == (10 - sum % 10) % 10;
}

/* Verhoeff 1969: multiplication in the dihedral group D5, and the permutation (1 5 8 9 4 2 7 0)(3 6) iterated by position. */
bool code_check_sctid(struct str t) {
  static const uint8_t permute[10] = {1, 5, 7, 6, 2, 8, 3, 0, 9, 4};
  if (t.n < 6 || t.n > 18 || t.p[0] == '0') return false;
  int c = 0;
  for (size_t i = 0; i < t.n; i++) {
    char ch = t.p[t.n - 1 - i];
    if (ch < '0' || ch > '9') return false;
    int d = ch - '0';
    for (size_t k = 0; k < i % 8; k++) d = permute[d];
    int a = c % 5, b = d % 5; /* rotations 0..4, reflections 5..9 */
    if (c < 5)
      c = d < 5 ? (a + b) % 5 : 5 + (a + b) % 5;
    else
      c = d < 5 ? 5 + (a + 5 - b) % 5 : (a + 5 - b) % 5;
  }
  char partition = t.p[t.n - 3];
  return c == 0 && t.p[t.n - 2] == '0' && (partition == '0' || partition == '1');
}

/* ---- loading ---- */

static int bad(struct error *e, const char *field, const char *what) {
  error_set(e, E_INPUT, "%s", what);
  error_where(e, NULL, 0, field);
  return E_INPUT;
}

static int word_set(struct json list, const char *field, struct map *m, struct error *e) {
  struct json v;
  if (json_kind(list) != JSON_ARRAY) return bad(e, field, "expected a list of words");
  for (struct json_iter it = json_items(list); json_next(&it, &v);) {
    struct str s = json_str(v);
    if (s.n == 0 || s.n > CODE_LIMIT) return bad(e, field, "expected short words");
    if (!map_put(m, s, NULL)) return error_set(e, E_NOMEM, "no memory for code rules");
  }
  return OK;
}

static int shape_of(struct code_rules *r, struct json v, const struct code_shape **out, struct error *e) {
  struct str pattern = json_str(v), check = STR_NONE;
  if (json_kind(v) == JSON_OBJECT) {
    pattern = json_str(json_get(v, "shape"));
    check = json_str(json_get(v, "check"));
    if (!check.p) return bad(e, "systems", "expected shape and check");
  }
  TRY(code_shape_parse(&r->memory, pattern, out, e));
  struct code_shape *s = (struct code_shape *)*out;
  if (str_eqc(check, "luhn"))
    s->check = CHECK_LUHN;
  else if (str_eqc(check, "sctid"))
    s->check = CHECK_SCTID;
  else if (check.n)
    return bad(e, "systems", "check must be luhn or sctid");
  return OK;
}

static int system_of(struct code_rules *r, struct json v, struct code_system **out, struct error *e) {
  struct code_system *s = arena_new(&r->memory, struct code_system);
  if (!s) return error_set(e, E_NOMEM, "no memory for code rules");
  map_init(&s->values, RULES_LIMIT);
  *out = s;
  struct json list = v, item;
  if (json_kind(v) == JSON_OBJECT) {
    TRY(word_set(json_get(v, "values"), "systems", &s->values, e));
    list = json_get(v, "shapes");
    if (json_kind(list) == JSON_NONE) return OK;
  }
  if (json_kind(list) != JSON_ARRAY) return bad(e, "systems", "expected a list of shapes");
  s->shape = arena_array(&r->memory, const struct code_shape *, json_count(list) + 1);
  if (!s->shape) return error_set(e, E_NOMEM, "no memory for code rules");
  for (struct json_iter it = json_items(list); json_next(&it, &item);) TRY(shape_of(r, item, &s->shape[s->n++], e));
  return OK;
}

static int systems(struct code_rules *r, struct json object, struct error *e) {
  struct str key;
  struct json v;
  if (json_kind(object) != JSON_OBJECT) return bad(e, "systems", "expected an object");
  r->system = arena_array(&r->memory, struct code_system *, json_count(object) + 1);
  if (!r->system) return error_set(e, E_NOMEM, "no memory for code rules");
  for (struct json_iter it = json_members(object); json_next_member(&it, &key, &v);) {
    struct code_system *s = NULL;
    int rc = system_of(r, v, &s, e);
    if (s) r->system[r->system_n++] = s; /* also a half-made one: code_rules_free releases it */
    TRY(rc);
    uint64_t *at = map_put(&r->systems, key, NULL);
    if (!at) return error_set(e, E_NOMEM, "no memory for code rules");
    *at = r->system_n - 1;
  }
  return OK;
}

static int load(struct code_rules *r, const char *path, struct error *e) {
  struct arena a;
  struct json root;
  int rc;
  arena_init(&a, RULES_LIMIT, 0);
  TRY_OUT(json_load(&a, path, &root, e));
  TRY_OUT(systems(r, json_get(root, "systems"), e));
  TRY_OUT(word_set(json_get(root, "words"), "words", &r->words, e));
  TRY_OUT(word_set(json_get(root, "unit_atoms"), "unit_atoms", &r->atoms, e));
  TRY_OUT(word_set(json_get(root, "ages"), "ages", &r->ages, e));
  TRY_OUT(word_set(json_get(root, "open_sources"), "open_sources", &r->open, e));
out:
  arena_free(&a);
  if (rc < 0) error_where(e, path, 0, NULL);
  return rc < 0 ? rc : OK;
}

int code_rules_load(const char *path, struct code_rules **out, struct error *e) {
  struct code_rules *r = mem_alloc(sizeof *r);
  *out = NULL;
  if (!r) return error_set(e, E_NOMEM, "no memory for code rules");
  *r = (struct code_rules){0};
  arena_init(&r->memory, RULES_LIMIT, 0);
  struct map *maps[] = {&r->systems, &r->words, &r->atoms, &r->ages, &r->open};
  for (int i = 0; i < 5; i++) map_init(maps[i], RULES_LIMIT);
  int rc = load(r, path, e);
  if (rc < 0) {
    code_rules_free(r);
    return rc;
  }
  *out = r;
  return OK;
}

void code_rules_free(struct code_rules *r) {
  if (!r) return;
  for (size_t i = 0; i < r->system_n; i++) map_release(&r->system[i]->values);
  struct map *maps[] = {&r->systems, &r->words, &r->atoms, &r->ages, &r->open};
  for (int i = 0; i < 5; i++) map_release(maps[i]);
  arena_free(&r->memory);
  mem_free(r);
}

/* ---- asking ---- */

bool code_rules_open_source(const struct code_rules *r, struct str source) { return map_get(&r->open, source, NULL); }

struct str code_part(struct str *rest) {
  for (size_t i = 0; i + 1 < rest->n; i++) {
    if (rest->p[i] != '/' || rest->p[i + 1] != '/') continue;
    struct str part = {rest->p, i};
    *rest = (struct str){rest->p + i + 2, rest->n - i - 2};
    return part;
  }
  struct str part = *rest;
  *rest = STR_NONE;
  return part;
}

static bool in_system(const struct code_rules *r, uint64_t id, struct str part) {
  const struct code_system *s = r->system[id];
  if (map_get(&s->values, part, NULL)) return true;
  for (size_t i = 0; i < s->n; i++)
    if (code_shape_match(s->shape[i], part)) return true;
  return false;
}

/* SYSTEM//CODE pairs and listed words, in any order; at least one of them. */
static enum code_verdict check_open(const struct code_rules *r, struct str code) {
  uint64_t id;
  while (code.p) {
    struct str part = code_part(&code);
    if (map_get(&r->systems, part, &id)) {
      if (!code.p) return CODE_SHAPE_WRONG;
      if (!in_system(r, id, code_part(&code))) return CODE_SHAPE_WRONG;
    } else if (!map_get(&r->words, part, NULL)) {
      return CODE_SYSTEM_UNKNOWN;
    }
  }
  return CODE_PASSES;
}

static bool digit(struct str s, size_t i) { return i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; }
static size_t digits(struct str s, size_t i) {
  size_t n = 0;
  while (digit(s, i + n)) n++;
  return n;
}

/* Digit runs of 7 and more, dddd-dd-dd, dd/dd/dddd, ddd-dd-dddd, ddd-ddd-dddd, ddd-dddd: numbers of people and days of lives. */
static bool numbers_of_people(struct str s) {
  for (size_t i = 0; i < s.n; i += digits(s, i) + 1) {
    size_t a = digits(s, i);
    if (a >= 7) return true;
    if (a == 0 || i + a >= s.n) continue;
    char sep = s.p[i + a];
    if (sep != '-' && sep != '/' && sep != '.' && sep != ' ') continue;
    size_t b = digits(s, i + a + 1), at = i + a + 1 + b;
    size_t c = at < s.n && s.p[at] == sep ? digits(s, at + 1) : 0;
    bool date = (a == 4 && b >= 1 && b <= 2 && c >= 1 && c <= 2) || (a <= 2 && b >= 1 && b <= 2 && c == 4);
    bool phone = a == 3 && ((b == 2 && c == 4) || (b == 3 && c == 4) || (b == 4 && sep == '-'));
    if (date || phone) return true;
  }
  return false;
}

static bool holds(struct str s, const char *what) { return memmem(s.p, s.n, what, strlen(what)) != NULL; }
static bool address(struct str s) { return memchr(s.p, '@', s.n) || holds(s, "://") || holds(s, "www."); }

static bool declared_part(struct str s) {
  if (s.n == 0 || s.n > CODE_PART_LIMIT) return false;
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i] < 32 || s.p[i] > 126) return false;
  return !numbers_of_people(s) && !address(s);
}

static enum code_verdict check_declared(const struct code_rules *r, struct str code) {
  uint64_t id;
  bool any = false;
  while (code.p) {
    struct str part = code_part(&code), rest = code;
    if (map_get(&r->systems, part, &id) && rest.p && in_system(r, id, code_part(&rest))) {
      code = rest;
      any = true;
    } else if (part.n == 0) {
      continue; /* an absent part, as in "LAB//50912//" */
    } else if (!declared_part(part)) {
      return CODE_SHAPE_WRONG;
    } else {
      any = true;
    }
  }
  return any ? CODE_PASSES : CODE_SHAPE_WRONG;
}

enum code_verdict code_rules_check(const struct code_rules *r, struct str code, bool open) {
  if (code.n == 0 || code.n > CODE_LIMIT) return CODE_SHAPE_WRONG;
  enum code_verdict v = check_open(r, code);
  if (v == CODE_PASSES || open) return v;
  return address(code) ? CODE_SHAPE_WRONG : check_declared(r, code); /* before "//" is taken for a separator */
}

static bool letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

/* Words of letters must be atoms; digits stand alone (10*3, 1.73) in runs of at most 4. */
static bool known_unit(const struct code_rules *r, struct str s) {
  for (size_t i = 0; i < s.n;) {
    size_t n = 0;
    while (i + n < s.n && (letter(s.p[i + n]) || (n && s.p[i + n] == '_'))) n++;
    if (n && !map_get(&r->atoms, (struct str){s.p + i, n}, NULL)) return false;
    if (n == 0) {
      size_t d = digits(s, i);
      if (d > 4 || (d == 0 && !strchr("%/*.^-+[](){}'\"#: _", s.p[i]))) return false;
      n = d ? d : 1;
    }
    i += n;
  }
  return !numbers_of_people(s);
}

bool code_rules_unit(const struct code_rules *r, struct str unit, bool open) {
  if (unit.n == 0 || unit.n > UNIT_LIMIT) return false;
  for (size_t i = 0; i < unit.n; i++)
    if (unit.p[i] < 32 || unit.p[i] > 126) return false;
  if (known_unit(r, unit)) return true;
  return !open && declared_part(unit);
}

struct str code_rules_unit_spelled(struct str unit, char out[UNIT_LIMIT]) {
  size_t n = 0;
  bool changed = false;
  if (unit.n > 2 * UNIT_LIMIT) return unit;
  for (size_t i = 0; i < unit.n;) {
    struct str rest = {unit.p + i, unit.n - i};
    bool micro = rest.n > 2 && (str_starts(rest, STR("\xC2\xB5")) || str_starts(rest, STR("\xCE\xBC"))) && letter(rest.p[2]);
    if (n == UNIT_LIMIT) return unit;
    out[n++] = micro ? 'u' : unit.p[i];
    i += micro ? 2 : 1;
    changed |= micro;
  }
  return changed ? (struct str){out, n} : unit;
}

bool code_rules_age(const struct code_rules *r, struct str code) {
  if (map_get(&r->ages, code, NULL)) return true;
  struct str last = STR_NONE;
  while (code.p) last = code_part(&code);
  return str_eq_nocase(last, STR("age"));
}

double code_rules_per_year(struct str unit) {
  static const struct {
    const char *unit;
    double n;
  } table[] = {{"mo", 12},    {"month", 12},   {"months", 12},   {"wk", 365.25 / 7}, {"week", 365.25 / 7},   {"weeks", 365.25 / 7},
               {"d", 365.25}, {"day", 365.25}, {"days", 365.25}, {"h", 365.25 * 24}, {"hours", 365.25 * 24}, {"min", 365.25 * 1440}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (str_eq_nocase(unit, str_c(table[i].unit))) return table[i].n;
  return 1;
}

bool code_rules_display(struct str s) {
  if (s.n == 0 || s.n > DISPLAY_LIMIT || !str_utf8_valid(s)) return false;
  for (size_t i = 0; i < s.n; i++)
    if ((unsigned char)s.p[i] < 32 || s.p[i] == 127) return false;
  return !numbers_of_people(s) && !address(s);
}
