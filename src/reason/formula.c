/* Recursive descent into reverse Polish steps. */
#include "reason/formula.h"

#include <math.h>

enum op {
  OP_NUMBER,
  OP_VALUE,
  OP_OR,
  OP_AND,
  OP_EQ,
  OP_NE,
  OP_LT,
  OP_LE,
  OP_GT,
  OP_GE,
  OP_ADD,
  OP_SUB,
  OP_MUL,
  OP_DIV,
  OP_POW,
  OP_NEG,
  OP_NOT,
  OP_MIN,
  OP_MAX,
  OP_ABS,
  OP_LN,
  OP_LOG10,
  OP_EXP,
  OP_SQRT,
  OP_FLOOR,
  OP_CEIL,
  OP_ROUND,
  OP_IF,
  OP_GIVEN
};
struct formula_step {
  enum op op;
  int index; /* OP_VALUE */
  double number;
};

struct parser {
  const char *text;
  size_t n, at;
  const char *const *names;
  int n_names, depth, stack; /* stack: values on it after the steps so far */
  struct formula_step *step;
  int steps;
  struct error *e;
};

static int wrong(struct parser *p, const char *what) { return error_set(p->e, E_INPUT, "formula, byte %zu: %s", p->at + 1, what); }

static void space(struct parser *p) {
  while (p->at < p->n && (p->text[p->at] == ' ' || p->text[p->at] == '\n' || p->text[p->at] == '\t')) p->at++;
}
static bool take(struct parser *p, const char *what) {
  size_t n = strlen(what);
  space(p);
  if (p->n - p->at < n || memcmp(p->text + p->at, what, n) != 0) return false;
  p->at += n;
  return true;
}
/* Every step takes at least one byte of text, so the array of FORMULA_TEXT + 1 steps suffices. */
static int put(struct parser *p, struct formula_step s, int takes) {
  p->step[p->steps++] = s;
  p->stack += 1 - takes;
  return p->stack > FORMULA_STACK ? wrong(p, "nested too deep") : OK;
}
static int put_op(struct parser *p, enum op op, int takes) { return put(p, (struct formula_step){.op = op}, takes); }

static int parse_or(struct parser *p);

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }

static const struct {
  const char *name;
  enum op op;
  int least, most; /* arguments; most 0 = any number, folded in twos */
} functions[] = {{"min", OP_MIN, 2, 0},     {"max", OP_MAX, 2, 0},     {"abs", OP_ABS, 1, 1},   {"ln", OP_LN, 1, 1},
                 {"log10", OP_LOG10, 1, 1}, {"exp", OP_EXP, 1, 1},     {"sqrt", OP_SQRT, 1, 1}, {"floor", OP_FLOOR, 1, 1},
                 {"ceil", OP_CEIL, 1, 1},   {"round", OP_ROUND, 1, 1}, {"if", OP_IF, 3, 3},     {"given", OP_GIVEN, 1, 1}};

static int call(struct parser *p, struct str name) {
  for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
    if (!str_eqc(name, functions[f].name)) continue;
    int n = 0;
    do {
      TRY(parse_or(p));
      if (++n > 1 && functions[f].most == 0) TRY(put_op(p, functions[f].op, 2));
    } while (take(p, ","));
    if (!take(p, ")")) return wrong(p, "expected , or )");
    if (n < functions[f].least || (functions[f].most && n > functions[f].most)) return wrong(p, "wrong number of arguments");
    return functions[f].most ? put_op(p, functions[f].op, n) : OK;
  }
  return wrong(p, "unknown function");
}

static int number(struct parser *p) {
  size_t from = p->at;
  double x;
  while (p->at < p->n && (digit(p->text[p->at]) || p->text[p->at] == '.')) p->at++;
  if (p->at < p->n && (p->text[p->at] == 'e' || p->text[p->at] == 'E')) {
    size_t back = p->at++;
    if (p->at < p->n && (p->text[p->at] == '-' || p->text[p->at] == '+')) p->at++;
    if (p->at >= p->n || !digit(p->text[p->at])) p->at = back;
    while (p->at < p->n && digit(p->text[p->at])) p->at++;
  }
  if (str_to_f64((struct str){p->text + from, p->at - from}, &x) < 0) return wrong(p, "expected a number");
  return put(p, (struct formula_step){.op = OP_NUMBER, .number = x}, 0);
}

static int primary(struct parser *p) {
  space(p);
  if (p->at >= p->n) return wrong(p, "ends too early");
  if (++p->depth > FORMULA_STACK) return wrong(p, "nested too deep");
  char c = p->text[p->at];
  int rc = OK;
  if (take(p, "(")) {
    TRY(parse_or(p));
    if (!take(p, ")")) return wrong(p, "expected )");
  } else if (digit(c) || c == '.') {
    rc = number(p);
  } else if (letter(c)) {
    size_t from = p->at;
    while (p->at < p->n && (letter(p->text[p->at]) || digit(p->text[p->at]))) p->at++;
    struct str name = {p->text + from, p->at - from};
    if (take(p, "(")) {
      TRY(call(p, name));
    } else {
      int i = 0;
      while (i < p->n_names && !str_eqc(name, p->names[i])) i++;
      if (i == p->n_names) return wrong(p, "unknown name");
      rc = put(p, (struct formula_step){.op = OP_VALUE, .index = i}, 0);
    }
  } else {
    return wrong(p, "expected a number, a name or (");
  }
  p->depth--;
  return rc;
}

/* A sign binds weaker than a power, as on paper: -x^2 is -(x^2); and an exponent may have one: 2^-3 */
static int signed_power(struct parser *p) {
  enum op op = OP_POW;
  space(p);
  if (p->at < p->n && p->text[p->at] == '-') op = OP_NEG;
  if (p->at < p->n && p->text[p->at] == '!' && !(p->at + 1 < p->n && p->text[p->at + 1] == '=')) op = OP_NOT;
  if (op == OP_POW) {
    TRY(primary(p));
    if (!take(p, "^")) return OK;
  } else {
    p->at++;
  }
  if (++p->depth > FORMULA_STACK) return wrong(p, "nested too deep");
  TRY(signed_power(p));
  p->depth--;
  return put_op(p, op, op == OP_POW ? 2 : 1);
}
static int product(struct parser *p) {
  TRY(signed_power(p));
  for (;;) {
    enum op op = take(p, "*") ? OP_MUL : take(p, "/") ? OP_DIV : OP_NUMBER;
    if (op == OP_NUMBER) return OK;
    TRY(signed_power(p));
    TRY(put_op(p, op, 2));
  }
}
static int sum(struct parser *p) {
  TRY(product(p));
  for (;;) {
    enum op op = take(p, "+") ? OP_ADD : take(p, "-") ? OP_SUB : OP_NUMBER;
    if (op == OP_NUMBER) return OK;
    TRY(product(p));
    TRY(put_op(p, op, 2));
  }
}
static int comparison(struct parser *p) {
  TRY(sum(p));
  enum op op = take(p, "==")   ? OP_EQ
               : take(p, "!=") ? OP_NE
               : take(p, "<=") ? OP_LE
               : take(p, ">=") ? OP_GE
               : take(p, "<")  ? OP_LT
               : take(p, ">")  ? OP_GT
                               : OP_NUMBER;
  if (op == OP_NUMBER) return OK;
  TRY(sum(p));
  return put_op(p, op, 2);
}
static int parse_and(struct parser *p) {
  TRY(comparison(p));
  while (take(p, "&&")) {
    TRY(comparison(p));
    TRY(put_op(p, OP_AND, 2));
  }
  return OK;
}
static int parse_or(struct parser *p) {
  if (++p->depth > FORMULA_STACK) return wrong(p, "nested too deep");
  TRY(parse_and(p));
  while (take(p, "||")) {
    TRY(parse_and(p));
    TRY(put_op(p, OP_OR, 2));
  }
  p->depth--;
  return OK;
}

int formula_parse(struct str text, const char *const *names, int n, struct arena *a, struct formula *out, struct error *e) {
  struct parser p = {.text = text.p, .n = text.n, .names = names, .n_names = n, .e = e};
  if (text.n == 0 || text.n > FORMULA_TEXT) return error_set(e, E_INPUT, "formula: expected 1 to %d bytes", FORMULA_TEXT);
  p.step = arena_array(a, struct formula_step, text.n + 1);
  if (!p.step) return error_set(e, E_NOMEM, "no memory for a formula");
  TRY(parse_or(&p));
  space(&p);
  if (p.at < p.n) return wrong(&p, "expected an operator");
  *out = (struct formula){p.step, p.steps};
  return OK;
}

static double truth(bool b) { return b ? 1 : 0; }

static double binary(enum op op, double a, double b) {
  if (op == OP_AND) return a == 0 || b == 0 ? 0 : isnan(a) || isnan(b) ? NAN : 1;
  if (op == OP_OR) return (!isnan(a) && a != 0) || (!isnan(b) && b != 0) ? 1 : isnan(a) || isnan(b) ? NAN : 0;
  if (isnan(a) || isnan(b)) return NAN;
  switch (op) {
    case OP_EQ: return truth(a == b);
    case OP_NE: return truth(a != b);
    case OP_LT: return truth(a < b);
    case OP_LE: return truth(a <= b);
    case OP_GT: return truth(a > b);
    case OP_GE: return truth(a >= b);
    case OP_ADD: return a + b;
    case OP_SUB: return a - b;
    case OP_MUL: return a * b;
    case OP_DIV: return b == 0 ? NAN : a / b;
    case OP_POW: return pow(a, b);
    case OP_MIN: return a < b ? a : b;
    case OP_MAX: return a > b ? a : b;
    default: BUG("no binary operator");
  }
}
static double unary(enum op op, double x) {
  switch (op) {
    case OP_NEG: return -x;
    case OP_NOT: return isnan(x) ? NAN : truth(x == 0);
    case OP_ABS: return fabs(x);
    case OP_LN: return x > 0 ? log(x) : NAN;
    case OP_LOG10: return x > 0 ? log10(x) : NAN;
    case OP_EXP: return exp(x);
    case OP_SQRT: return x >= 0 ? sqrt(x) : NAN;
    case OP_FLOOR: return floor(x);
    case OP_CEIL: return ceil(x);
    case OP_ROUND: return round(x);
    case OP_GIVEN: return truth(!isnan(x));
    default: BUG("no unary operator");
  }
}

double formula_run(const struct formula *f, const double *value) {
  double stack[FORMULA_STACK + 1];
  int n = 0;
  for (int i = 0; i < f->n; i++) {
    const struct formula_step *s = &f->step[i];
    if (s->op == OP_NUMBER) {
      stack[n++] = s->number;
    } else if (s->op == OP_VALUE) {
      stack[n++] = value[s->index];
    } else if (s->op == OP_IF) {
      n -= 2;
      stack[n - 1] = isnan(stack[n - 1]) ? NAN : stack[n - 1] != 0 ? stack[n] : stack[n + 1];
    } else if ((s->op >= OP_OR && s->op <= OP_POW) || s->op == OP_MIN || s->op == OP_MAX) {
      n--;
      stack[n - 1] = binary(s->op, stack[n - 1], stack[n]);
    } else {
      stack[n - 1] = unary(s->op, stack[n - 1]);
    }
  }
  return n == 1 ? stack[0] : NAN;
}

bool formula_uses(const struct formula *f, int index) {
  for (int i = 0; i < f->n; i++)
    if (f->step[i].op == OP_VALUE && f->step[i].index == index) return true;
  return false;
}
