#include <ctype.h>
#include <string.h>

#include "record/table_run.h"

static bool code_byte(char b) {
  return (b >= '0' && b <= '9') || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') || b == '.' || b == '_' || b == '+' || b == '/' ||
         b == '%' || b == '-';
}

struct str table_cell(struct table_reader *r, int column) {
  struct table_cell *c = &r->cell[column];
  if (c->stamp == r->stamp) return c->s;
  c->stamp = r->stamp;
  c->s = STR_NONE;
  int at = r->position[column];
  if (at < 0 || (size_t)at >= r->cells.n) return c->s;
  struct str s = str_trim(r->cells.field[at]);
  const struct table_column *col = &r->t->column[column];
  if (table_is_missing(s, r->t->missing, r->t->missing_n)) return c->s;
  if (col->missing_n && table_is_missing(s, col->missing, col->missing_n)) return c->s;
  return c->s = s;
}

static const char *joined(struct table_reader *r, int join) {
  struct table_joined *j = &r->joined[join];
  if (j->stamp == r->stamp) return j->row;
  const struct table_join *spec = &r->t->join[join];
  size_t mark = r->scratch_n;
  j->stamp = r->stamp;
  j->row = table_dictionary_find(r, spec->dictionary, table_template_get(r, &spec->key));
  r->scratch_n = mark;
  return j->row;
}

/* "I509" with dot3 -> "I50.9"; a code that has its dot, or nothing behind it, stays. */
static size_t dotted(struct str s, size_t at, char *out) {
  if (s.n <= at || memchr(s.p, '.', s.n)) {
    memcpy(out, s.p, s.n);
    return s.n;
  }
  memcpy(out, s.p, at);
  out[at] = '.';
  memcpy(out + at + 1, s.p + at, s.n - at);
  return s.n + 1;
}

static struct str transformed(struct table_reader *r, struct str s, enum table_transform how) {
  if (!s.p || how == TRANSFORM_NONE) return s;
  if (how == TRANSFORM_FIRST) return str_trim(str_cut(&s, ','));
  if (s.n + 2 > TABLE_SCRATCH - r->scratch_n) return STR_NONE;
  char *out = r->scratch + r->scratch_n;
  size_t n = s.n;
  switch (how) {
    case TRANSFORM_UPPER:
      for (size_t i = 0; i < s.n; i++) out[i] = s.p[i] >= 'a' && s.p[i] <= 'z' ? (char)(s.p[i] - 32) : s.p[i];
      break;
    case TRANSFORM_LOWER:
      for (size_t i = 0; i < s.n; i++) out[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] + 32) : s.p[i];
      break;
    case TRANSFORM_PAD2:
      n = 0;
      if (s.n == 1) out[n++] = '0';
      memcpy(out + n, s.p, s.n);
      n += s.n;
      break;
    default: n = dotted(s, how == TRANSFORM_DOT2 ? 2 : how == TRANSFORM_DOT3 ? 3 : 4, out);
  }
  r->scratch_n += n;
  return (struct str){out, n};
}

struct str table_part_get(struct table_reader *r, const struct table_part *p) {
  struct str s = STR_NONE;
  switch (p->kind) {
    case PART_LITERAL: return p->literal;
    case PART_COLUMN: s = table_cell(r, p->column); break;
    case PART_JOIN: s = table_dictionary_cell(joined(r, p->join), p->join_column); break;
    case PART_NAME: s = r->wide_name; break;
    case PART_CELL: s = r->wide_cell; break;
    case PART_STEM: s = r->stem; break;
    case PART_FIRST: s = r->first ? STR("1") : STR_NONE; break;
    case PART_ROW: s = r->subject_row_n ? (struct str){r->subject_row, r->subject_row_n} : STR_NONE; break;
  }
  return transformed(r, s, p->transform);
}

struct str table_template_get(struct table_reader *r, const struct table_template *t) {
  if (t->n == 0) return STR_NONE;
  if (t->n == 1) return table_part_get(r, &t->part[0]);
  struct str part[64];
  size_t n = 0;
  for (int i = 0; i < t->n; i++) {
    part[i] = table_part_get(r, &t->part[i]);
    if (!part[i].p) return STR_NONE;
    n += part[i].n;
  }
  if (n > TABLE_SCRATCH - r->scratch_n) return STR_NONE;
  char *out = r->scratch + r->scratch_n;
  n = 0;
  for (int i = 0; i < t->n; i++) {
    memcpy(out + n, part[i].p, part[i].n);
    n += part[i].n;
  }
  r->scratch_n += n;
  return (struct str){out, n};
}

struct str table_choice_get(struct table_reader *r, const struct table_choice *c) {
  for (int i = 0; i < c->n; i++) {
    struct str s = table_template_get(r, &c->t[i]);
    if (s.p) return s;
  }
  return STR_NONE;
}

const char *table_template_path(const struct table_reader *r, const struct table_template *t, const char *otherwise) {
  for (int i = 0; i < t->n; i++)
    if (t->part[i].kind == PART_COLUMN) return r->t->column[t->part[i].column].path;
  return otherwise;
}

/* ---- what may stand in a code ---- */
static bool plain(struct str s, char *out, size_t *n) {
  if (s.n == 0 || s.n > TABLE_PART) return false;
  for (size_t i = 0; i < s.n; i++) {
    if (!code_byte(s.p[i])) return false;
    out[i] = s.p[i];
  }
  *n = s.n;
  return true;
}

static void spelled(struct str s, char *out, size_t *n) {
  *n = s.n > TABLE_WORD ? TABLE_WORD : s.n;
  for (size_t i = 0; i < *n; i++) out[i] = code_byte(s.p[i]) ? s.p[i] : '_';
}

static bool shape(enum table_rule_kind kind, struct str s) {
  size_t digits = 0, dots = 0, upper = 0, dashes = 0;
  for (size_t i = 0; i < s.n; i++) {
    char b = s.p[i];
    digits += b >= '0' && b <= '9';
    upper += b >= 'A' && b <= 'Z';
    dots += b == '.';
    dashes += b == '-';
  }
  switch (kind) {
    case RULE_INTEGER: return digits >= 1 && digits <= 10 && (digits == s.n || (digits + 1 == s.n && s.p[0] == '-'));
    case RULE_ICD: return s.n <= 8 && digits >= 1 && dots <= 1 && digits + upper + dots == s.n;
    case RULE_NDC: return digits >= 4 && digits <= 11 && dashes <= 2 && digits + dashes == s.n;
    default: return true;
  }
}

bool table_rule_allows(struct table_reader *r, const struct table_rule *rule, struct str cell, char out[TABLE_WORD + 1], size_t *n) {
  uint64_t at;
  switch (rule->kind) {
    case RULE_CATEGORIES:
      if (!map_get(&rule->categories, cell, &at)) return false;
      *n = rule->spelling[at].n;
      memcpy(out, rule->spelling[at].p, *n);
      return true;
    case RULE_DISTINCT:
      if (!r->distinct || r->distinct[rule->distinct].over || cell.n > TABLE_WORD ||
          !map_get(&r->distinct[rule->distinct].seen, cell, &at) || (at & UINT32_MAX) < rule->min_persons)
        return false;
      spelled(cell, out, n);
      return true;
    default: return plain(cell, out, n) && shape(rule->kind, cell);
  }
}

enum { PART_FITS, PART_MISSING, PART_REFUSED };
static int code_part(struct table_reader *r, const struct table_part *p, char *out, size_t *n) {
  struct str s = table_part_get(r, p);
  if (!s.p || s.n == 0) return PART_MISSING;
  const struct table_rule *rule = p->kind == PART_CELL ? r->wide_rule : p->rule;
  if (p->kind == PART_LITERAL) {
    memcpy(out, s.p, s.n);
    *n = s.n;
    return PART_FITS;
  }
  if (p->kind == PART_NAME) {
    spelled(s, out, n);
    return PART_FITS;
  }
  bool fit = p->kind == PART_JOIN ? plain(s, out, n) : rule && table_rule_allows(r, rule, s, out, n);
  return fit ? PART_FITS : PART_REFUSED;
}

static size_t code_build(struct table_reader *r, const struct table_template *t, bool last, char out[TABLE_CODE]) {
  size_t n = 0, k;
  for (int i = 0; i < t->n; i++) {
    size_t mark = r->scratch_n;
    int how = code_part(r, &t->part[i], out + n, &k);
    r->scratch_n = mark;
    if (how == PART_MISSING || (how == PART_REFUSED && !last)) return 0;
    if (how == PART_REFUSED) {
      memcpy(out + n, "OTHER", 5);
      k = 5;
    }
    n += k; /* the mapping was refused if this could pass TABLE_CODE */
  }
  return n;
}

size_t table_code_get(struct table_reader *r, const struct table_choice *c, char out[TABLE_CODE]) {
  for (int i = 0; i < c->n; i++) {
    size_t n = code_build(r, &c->t[i], i + 1 == c->n, out);
    if (n) return n;
  }
  return 0;
}

/* ---- conditions ---- */
static bool holds(struct table_reader *r, const struct table_when *w) {
  size_t mark = r->scratch_n;
  struct str s = w->part.kind == PART_COLUMN && !w->part.transform ? table_cell(r, w->part.column) : table_part_get(r, &w->part);
  r->scratch_n = mark;
  if (w->present >= 0 && (s.p != NULL) != (w->present == 1)) return false;
  if (w->range) {
    double v;
    if (!s.p || table_number(s, &v) < 0 || v < w->min || v > w->max) return false;
  }
  if (w->n == 0) return true;
  bool found = false;
  for (int i = 0; i < w->n && !found; i++) {
    struct str v = w->value[i];
    bool first = v.n && s.n >= v.n && s.p[0] == v.p[0]; /* most comparisons end here */
    if (!first && v.n) continue;
    found = w->starts ? str_starts(s, v) : str_eq(s, v);
  }
  return found != w->negate;
}

bool table_when_holds(struct table_reader *r, const struct table_when *w, int n) {
  for (int i = 0; i < n; i++)
    if (!holds(r, &w[i])) return false;
  return true;
}

/* Up to 15 digits and 22 decimals are exact in double arithmetic with one division (Clinger 1990); the rest goes the slow way. */
int table_number(struct str s, double *out) {
  static const double ten[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  size_t i = 0, digits = 0, decimals = 0;
  bool minus = s.n && s.p[0] == '-';
  uint64_t v = 0;
  for (i = minus; i < s.n && digits < 16 && s.p[i] >= '0' && s.p[i] <= '9'; i++, digits++) v = v * 10 + (uint64_t)(s.p[i] - '0');
  if (digits && i < s.n && s.p[i] == '.')
    for (i++; i < s.n && digits < 16 && s.p[i] >= '0' && s.p[i] <= '9'; i++, digits++, decimals++) v = v * 10 + (uint64_t)(s.p[i] - '0');
  if (i != s.n || digits == 0 || digits > 15) return str_to_f64(s, out);
  double d = (double)v / ten[decimals];
  *out = minus ? -d : d;
  return OK;
}
