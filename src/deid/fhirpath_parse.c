/* Recursive descent over the grammar of FHIRPath 2.0, lowest binding first. */
#include "deid/fhirpath.h"

struct parser {
  struct arena *a;
  const struct fhir_types *types;
  const char *from, *p, *end;
  struct error *e;
  int depth;
};

static int fail(struct parser *r, const char *what) {
  return error_set(r->e, E_INPUT, "FHIRPath: %s at character %d", what, (int)(r->p - r->from) + 1);
}

static void space(struct parser *r) {
  while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r')) r->p++;
}

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }

static struct fhirpath *make(struct parser *r, enum fhirpath_op op, const struct fhirpath *left, const struct fhirpath *right) {
  struct fhirpath *p = arena_new(r->a, struct fhirpath);
  if (p) *p = (struct fhirpath){.op = op, .left = left, .right = right};
  return p;
}

static bool punct(struct parser *r, const char *s) {
  space(r);
  size_t n = strlen(s);
  if ((size_t)(r->end - r->p) < n || memcmp(r->p, s, n) != 0) return false;
  r->p += n;
  return true;
}

static bool keyword(struct parser *r, const char *s) {
  space(r);
  size_t n = strlen(s);
  if ((size_t)(r->end - r->p) < n || memcmp(r->p, s, n) != 0) return false;
  if (r->p + n < r->end && (letter(r->p[n]) || digit(r->p[n]))) return false;
  r->p += n;
  return true;
}

static int expression(struct parser *r, struct fhirpath **out);

static int identifier(struct parser *r, struct str *out) {
  space(r);
  if (r->p < r->end && *r->p == '`') {
    const char *from = ++r->p;
    while (r->p < r->end && *r->p != '`') r->p++;
    if (r->p >= r->end) return fail(r, "a name that does not end");
    *out = (struct str){from, (size_t)(r->p++ - from)};
    return OK;
  }
  const char *from = r->p;
  if (r->p >= r->end || !letter(*r->p)) return fail(r, "expected a name");
  while (r->p < r->end && (letter(*r->p) || digit(*r->p))) r->p++;
  *out = (struct str){from, (size_t)(r->p - from)};
  return OK;
}

/* FHIR.Patient, System.String and plain names */
static int type_name(struct parser *r, struct str *out) {
  TRY(identifier(r, out));
  if ((str_eqc(*out, "FHIR") || str_eqc(*out, "System")) && punct(r, ".")) TRY(identifier(r, out));
  return OK;
}

static int quoted(struct parser *r, struct str *out) {
  char *to = arena_alloc(r->a, (size_t)(r->end - r->p), 1);
  size_t n = 0;
  if (!to) return error_set(r->e, E_NOMEM, "no memory for a rule");
  for (r->p++; r->p < r->end && *r->p != '\''; r->p++) {
    char c = *r->p;
    if (c == '\\') {
      if (++r->p >= r->end) break;
      const char *is = memchr("nrtf'\"`\\/", *r->p, 9);
      if (!is) return fail(r, "an unknown escape");

      switch (*r->p) {
        case 'n': c = '\n'; break;
        case 'r': c = '\r'; break;
        case 't': c = '\t'; break;
        case 'f': c = '\f'; break;
        default: c = *r->p;
      }
    }
    to[n++] = c;
  }
  if (r->p >= r->end) return fail(r, "a text that does not end");
  r->p++;
  *out = (struct str){to, n};
  return OK;
}

static int date_literal(struct parser *r, struct fhirpath *to) {
  const char *from = ++r->p;
  struct time_parts parts;
  while (r->p < r->end && (digit(*r->p) || memchr("T:.+-Z", *r->p, 6))) r->p++;
  struct str s = {from, (size_t)(r->p - from)};
  if (s.n && s.p[s.n - 1] == 'T') s.n--;
  if (time_parse(s, &parts, &to->date.us, NULL) < 0) return fail(r, "no date before here");
  to->date.precision = parts.precision;
  to->date.has_offset = parts.has_offset;
  if (parts.has_offset) to->date.us -= parts.offset_minutes * TIME_MINUTE;
  to->text = (struct str){from, s.n};
  return OK;
}

static const struct {
  const char *name;
  enum fhirpath_fn fn;
  int least, most; /* arguments */
  char kind;       /* 't' a type name or its text, 's' a text, 'e' an expression, 0 none */
} functions[] = {{"nodesByType", F_BY_TYPE, 1, 1, 't'},
                 {"nodesByName", F_BY_NAME, 1, 1, 's'},
                 {"children", F_CHILDREN, 0, 0, 0},
                 {"descendants", F_DESCENDANTS, 0, 0, 0},
                 {"where", F_WHERE, 1, 1, 'e'},
                 {"exists", F_EXISTS, 0, 1, 'e'},
                 {"all", F_ALL, 1, 1, 'e'},
                 {"select", F_SELECT, 1, 1, 'e'},
                 {"empty", F_EMPTY, 0, 0, 0},
                 {"not", F_NOT, 0, 0, 0},
                 {"hasValue", F_HAS_VALUE, 0, 0, 0},
                 {"count", F_COUNT, 0, 0, 0},
                 {"first", F_FIRST, 0, 0, 0},
                 {"last", F_LAST, 0, 0, 0},
                 {"tail", F_TAIL, 0, 0, 0},
                 {"ofType", F_OF_TYPE, 1, 1, 't'},
                 {"is", F_IS, 1, 1, 't'},
                 {"as", F_AS, 1, 1, 't'},
                 {"extension", F_EXTENSION, 1, 1, 's'},
                 {"startsWith", F_STARTS, 1, 1, 'e'},
                 {"endsWith", F_ENDS, 1, 1, 'e'},
                 {"contains", F_CONTAINS, 1, 1, 'e'},
                 {"substring", F_SUBSTRING, 1, 2, 'e'},
                 {"length", F_LENGTH, 0, 0, 0},
                 {"upper", F_UPPER, 0, 0, 0},
                 {"lower", F_LOWER, 0, 0, 0},
                 {"toString", F_TO_STRING, 0, 0, 0}};

static int arguments(struct parser *r, struct fhirpath *to, char kind, int *n) {
  *n = 0;
  if (punct(r, ")")) return OK;
  if (kind == 't' || kind == 's') {
    space(r);
    if (r->p < r->end && *r->p == '\'') {
      TRY(quoted(r, &to->text));
    } else if (kind == 't') {
      TRY(type_name(r, &to->text));
    } else {
      return fail(r, "expected a text");
    }
    *n = 1;
  } else {
    do {
      struct fhirpath *arg;
      if (*n == 2) return fail(r, "too many arguments");
      TRY(expression(r, &arg));
      if ((*n)++ == 0)
        to->left = arg;
      else
        to->right = arg;
    } while (punct(r, ","));
  }
  return punct(r, ")") ? OK : fail(r, "expected )");
}

static int call(struct parser *r, struct str name, struct fhirpath **out) {
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    if (!str_eqc(name, functions[i].name)) continue;
    int n = 0;
    struct fhirpath *p = make(r, P_CALL, NULL, NULL);
    if (!p) return error_set(r->e, E_NOMEM, "no memory for a rule");
    p->fn = functions[i].fn;
    TRY(arguments(r, p, functions[i].kind, &n));
    if (n < functions[i].least || n > functions[i].most) return fail(r, "wrong number of arguments");
    p->type = fhir_type_id(r->types, p->text);
    p->name = fhir_types_name(r->types, p->text);
    *out = p;
    return OK;
  }
  return fail(r, "a function that is not supported");
}

/* A name or a call: what may stand after a dot. */
static int invocation(struct parser *r, struct fhirpath **out) {
  space(r);
  if (keyword(r, "$this")) {
    *out = make(r, P_THIS, NULL, NULL);
    return *out ? OK : error_set(r->e, E_NOMEM, "no memory for a rule");
  }
  struct str name;
  TRY(identifier(r, &name));
  if (punct(r, "(")) return call(r, name, out);
  struct fhirpath *p = make(r, P_NAME, NULL, NULL);
  if (!p) return error_set(r->e, E_NOMEM, "no memory for a rule");
  p->text = name;
  p->name = fhir_types_name(r->types, name);
  p->type = fhir_type_id(r->types, name);
  *out = p;
  return OK;
}

static int number_literal(struct parser *r, struct fhirpath **out) {
  const char *from = r->p;
  while (r->p < r->end && digit(*r->p)) r->p++;
  if (r->end - r->p > 1 && *r->p == '.' && digit(r->p[1])) {
    r->p++;
    while (r->p < r->end && digit(*r->p)) r->p++;
  }
  struct fhirpath *p = make(r, P_NUMBER, NULL, NULL);
  if (!p) return error_set(r->e, E_NOMEM, "no memory for a rule");
  p->text = (struct str){from, (size_t)(r->p - from)};
  if (str_to_f64(p->text, &p->number) < 0) return fail(r, "no number before here");
  *out = p;
  return OK;
}

static int term(struct parser *r, struct fhirpath **out) {
  space(r);
  if (r->p >= r->end) return fail(r, "expected an expression");
  if (punct(r, "(")) {
    TRY(expression(r, out));
    return punct(r, ")") ? OK : fail(r, "expected )");
  }
  char c = *r->p;
  if (digit(c)) return number_literal(r, out);
  bool yes = keyword(r, "true");
  enum fhirpath_op op = c == '\'' ? P_STRING : c == '@' ? P_DATE : c == '{' ? P_EMPTY : P_BOOL;
  if (op == P_BOOL && !yes && !keyword(r, "false")) return invocation(r, out);
  struct fhirpath *p = make(r, op, NULL, NULL);
  if (!p) return error_set(r->e, E_NOMEM, "no memory for a rule");
  p->number = yes;
  *out = p;
  if (op == P_STRING) return quoted(r, &p->text);
  if (op == P_DATE) return date_literal(r, p);
  if (op == P_EMPTY) {
    r->p++;
    return punct(r, "}") ? OK : fail(r, "expected }");
  }
  return OK;
}

static int postfix(struct parser *r, struct fhirpath **out) {
  TRY(term(r, out));
  for (;;) {
    struct fhirpath *step = NULL;
    enum fhirpath_op op = P_DOT;
    if (punct(r, ".")) {
      TRY(invocation(r, &step));
    } else if (punct(r, "[")) {
      TRY(expression(r, &step));
      if (!punct(r, "]")) return fail(r, "expected ]");
      op = P_INDEX;
    } else {
      return OK;
    }
    *out = make(r, op, *out, step);
    if (!*out) return error_set(r->e, E_NOMEM, "no memory for a rule");
  }
}

static int unary(struct parser *r, struct fhirpath **out) {
  if (!punct(r, "-")) return (void)punct(r, "+"), postfix(r, out);
  TRY(postfix(r, out));
  *out = make(r, P_NEG, *out, NULL);
  return *out ? OK : error_set(r->e, E_NOMEM, "no memory for a rule");
}

/* Binary operators from the one that binds least to the one that binds most; in a level the longer spelling first. */
enum { LEVELS = 10, IS_AS = 7 };
static const struct {
  const char *text;
  enum fhirpath_op op;
} levels[LEVELS][5] = {{{"implies", P_IMPLIES}},
                       {{"or", P_OR}, {"xor", P_XOR}},
                       {{"and", P_AND}},
                       {{"in", P_IN}, {"contains", P_CONTAINS}},
                       {{"!=", P_NE}, {"=", P_EQ}},
                       {{"<=", P_LE}, {">=", P_GE}, {"<", P_LT}, {">", P_GT}},
                       {{"|", P_UNION}},
                       {{"is", P_IS}, {"as", P_AS}},
                       {{"+", P_ADD}, {"-", P_SUB}, {"&", P_CAT}},
                       {{"*", P_MUL}, {"/", P_DIV}}};

static int level(struct parser *r, int at, struct fhirpath **out) {
  if (at == LEVELS) return unary(r, out);
  TRY(level(r, at + 1, out));
  for (;;) {
    int found = -1;
    for (int i = 0; i < 5 && levels[at][i].text && found < 0; i++)
      if (letter(*levels[at][i].text) ? keyword(r, levels[at][i].text) : punct(r, levels[at][i].text)) found = i;
    if (found < 0) return OK;
    struct fhirpath *right = NULL, *p = make(r, levels[at][found].op, *out, NULL);
    if (!p) return error_set(r->e, E_NOMEM, "no memory for a rule");
    if (at == IS_AS) {
      TRY(type_name(r, &p->text));
      p->type = fhir_type_id(r->types, p->text);
    } else {
      TRY(level(r, at + 1, &right));
      p->right = right;
    }
    *out = p;
  }
}

static int expression(struct parser *r, struct fhirpath **out) {
  if (++r->depth > FHIRPATH_DEPTH) return fail(r, "nested too deeply");
  TRY(level(r, 0, out));
  r->depth--;
  return OK;
}

int fhirpath_parse(struct arena *a, const struct fhir_types *types, struct str text, const struct fhirpath **out, struct error *e) {
  struct fhirpath *p = NULL;
  *out = NULL;
  if (text.n > FHIRPATH_LIMIT) return error_set(e, E_LIMIT, "FHIRPath: longer than %d characters", FHIRPATH_LIMIT);
  text = str_copy(a, text); /* names and texts point into it */
  if (!text.p) return error_set(e, E_INPUT, "FHIRPath: empty");
  struct parser r = {.a = a, .types = types, .from = text.p, .p = text.p, .end = text.p + text.n, .e = e};
  TRY(expression(&r, &p));
  space(&r);
  if (r.p != r.end) return fail(&r, "something that does not belong here");
  *out = p;
  return OK;
}
