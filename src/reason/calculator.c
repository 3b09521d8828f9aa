#include "reason/calculator.h"

#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "base/json.h"
#include "base/time.h"
#include "reason/formula.h"
#include "reason/quantity.h"

struct band {
  double below; /* the band ends before this value */
  const char *name;
};
struct calculator {
  struct arena arena;
  const char *name, *title, *source, *note, *unit;
  struct calculator_input input[CALCULATOR_INPUTS];
  struct quantity_unit in_unit[CALCULATOR_INPUTS];
  int inputs;
  struct formula step[CALCULATOR_STEPS]; /* named intermediate values, in order */
  int steps;
  struct formula value;
  int digits;
  struct band band[CALCULATOR_BANDS];
  int bands;
  struct formula banded; /* whether the bands hold for these inputs; no step: they do */
};

static int wrong(struct error *e, const char *field, const char *what) {
  error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}
static int text_of(struct calculator *c, struct json j, const char *key, bool must, const char **out, struct error *e) {
  struct str s = json_str(json_get(j, key));
  if (!s.p && !must && json_kind(json_get(j, key)) == JSON_NONE) return OK;
  if (!s.p || s.n == 0 || s.n > FORMULA_TEXT || memchr(s.p, 0, s.n)) return wrong(e, key, "expected a text");
  *out = arena_strndup(&c->arena, s.p, s.n);
  return *out ? OK : error_set(e, E_NOMEM, "no memory for a calculator");
}
static bool plain_name(struct str s) {
  if (s.n == 0 || s.n > 48 || (s.p[0] >= '0' && s.p[0] <= '9')) return false;
  for (size_t i = 0; i < s.n; i++)
    if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_')) return false;
  return true;
}
static int only(struct json object, const char *where, const char *const *names, struct error *e) {
  struct json_iter it = json_members(object);
  struct str key;
  struct json v;
  if (json_kind(object) != JSON_OBJECT) return wrong(e, where, "expected an object");
  while (json_next_member(&it, &key, &v)) {
    int i = 0;
    while (names[i] && !str_eqc(key, names[i])) i++;
    if (!names[i]) return wrong(e, where, "unknown field");
  }
  return OK;
}

static int read_choices(struct calculator *c, struct calculator_input *in, struct json choices, struct error *e) {
  size_t n = json_count(choices);
  if (json_kind(choices) != JSON_OBJECT || n == 0 || n > CALCULATOR_CHOICES) return wrong(e, in->name, "choices: expected 1 to 24 of them");
  const char **name = arena_array(&c->arena, const char *, n);
  double *value = arena_array(&c->arena, double, n);
  struct json_iter it = json_members(choices);
  struct str key;
  struct json v;
  if (!name || !value) return error_set(e, E_NOMEM, "no memory for a calculator");
  for (int i = 0; json_next_member(&it, &key, &v); i++) {
    value[i] = NAN;
    if (json_kind(v) != JSON_NULL && !json_f64(v, &value[i])) return wrong(e, in->name, "choices: expected numbers");
    name[i] = arena_strndup(&c->arena, key.p, key.n);
    if (!name[i]) return error_set(e, E_NOMEM, "no memory for a calculator");
  }
  in->kind = CALCULATOR_CHOICE;
  in->choice = name;
  in->choice_value = value;
  in->choices = (int)n;
  return OK;
}

static int read_codes(struct calculator *c, struct calculator_input *in, struct json codes, struct error *e) {
  size_t n = json_count(codes);
  if (json_kind(codes) == JSON_NONE) return OK;
  if (json_kind(codes) != JSON_ARRAY) return wrong(e, in->name, "codes: expected a list of texts");
  struct str *code = arena_array(&c->arena, struct str, n ? n : 1);
  if (!code) return error_set(e, E_NOMEM, "no memory for a calculator");
  struct json_iter it = json_items(codes);
  for (struct json v; json_next(&it, &v);) {
    struct str s = json_str(v);
    if (!s.p || s.n == 0) return wrong(e, in->name, "codes: expected texts");
    code[in->codes] = str_copy(&c->arena, s);
    if (!code[in->codes++].p) return error_set(e, E_NOMEM, "no memory for a calculator");
  }
  in->code = code;
  return OK;
}

static int number_of(struct json j, const char *key, const char *input, double *out, struct error *e) {
  struct json v = json_get(j, key);
  if (json_kind(v) == JSON_NONE || json_f64(v, out)) return OK;
  return wrong(e, input, "min, max, molar and valence: expected numbers");
}
static int flag_of(struct json j, const char *key, const char *input, bool *out, struct error *e) {
  struct json v = json_get(j, key);
  if (json_kind(v) == JSON_NONE || json_bool(v, out)) return OK;
  return wrong(e, input, "optional, fact and day: expected true or false");
}
static bool has_input(const struct calculator *c, struct str name) {
  for (int i = 0; i < c->inputs; i++)
    if (str_eqc(name, c->input[i].name)) return true;
  return false;
}
static int read_input(struct calculator *c, struct str name, struct json j, struct error *e) {
  static const char *const names[] = {"title",    "unit",    "molar", "valence", "min",   "max",
                                      "optional", "choices", "fact",  "day",     "codes", NULL};
  bool fact = false, day = false;
  if (!plain_name(name)) return wrong(e, "inputs", "a name is lower-case letters, digits and _");
  if (has_input(c, name)) return wrong(e, "inputs", "two have the same name");
  if (c->inputs == CALCULATOR_INPUTS) return wrong(e, "inputs", "too many inputs");
  struct calculator_input *in = &c->input[c->inputs];
  in->name = arena_strndup(&c->arena, name.p, name.n);
  if (!in->name) return error_set(e, E_NOMEM, "no memory for a calculator");
  TRY(only(j, in->name, names, e));
  in->title = in->name;
  TRY(text_of(c, j, "title", false, &in->title, e));
  in->least = -INFINITY;
  in->most = INFINITY;
  TRY(number_of(j, "min", in->name, &in->least, e));
  TRY(number_of(j, "max", in->name, &in->most, e));
  if (in->least > in->most) return wrong(e, in->name, "min is over max");
  TRY(number_of(j, "molar", in->name, &in->molar, e));
  TRY(number_of(j, "valence", in->name, &in->valence, e));
  TRY(flag_of(j, "optional", in->name, &in->optional, e));
  TRY(flag_of(j, "fact", in->name, &fact, e));
  TRY(flag_of(j, "day", in->name, &day, e));
  TRY(read_codes(c, in, json_get(j, "codes"), e));
  if (json_kind(json_get(j, "choices")) != JSON_NONE) {
    TRY(read_choices(c, in, json_get(j, "choices"), e));
  } else if (fact) {
    in->kind = CALCULATOR_FACT;
  } else if (day) {
    in->kind = CALCULATOR_DAY;
  } else {
    TRY(text_of(c, j, "unit", true, &in->unit, e));
    if (quantity_unit_parse(str_c(in->unit), &c->in_unit[c->inputs], e) < 0) return error_where(e, NULL, 0, in->name);
  }
  c->inputs++;
  return OK;
}

/* "value" and "bands_if", over the inputs and the steps of "let" */
static int read_value(struct calculator *c, struct json root, struct error *e) {
  const char *names[CALCULATOR_INPUTS + CALCULATOR_STEPS];
  int n = 0;
  for (; n < c->inputs; n++) names[n] = c->input[n].name;
  struct json let = json_get(root, "let");
  struct json_iter it = json_members(let);
  struct str key;
  struct json v;
  if (json_kind(let) != JSON_NONE && json_kind(let) != JSON_OBJECT) return wrong(e, "let", "expected an object");
  while (json_next_member(&it, &key, &v)) {
    if (c->steps == CALCULATOR_STEPS) return wrong(e, "let", "too many steps");
    if (!plain_name(key)) return wrong(e, "let", "a name is lower-case letters, digits and _");
    for (int i = 0; i < n; i++)
      if (str_eqc(key, names[i])) return wrong(e, "let", "a step is named like an input or an earlier step");
    if (!json_str(v).p) return wrong(e, "let", "expected formulas");
    if (formula_parse(json_str(v), names, n, &c->arena, &c->step[c->steps], e) < 0) return error_where(e, NULL, 0, "let");
    names[n] = arena_strndup(&c->arena, key.p, key.n);
    if (!names[n++]) return error_set(e, E_NOMEM, "no memory for a calculator");
    c->steps++;
  }
  if (!json_str(json_get(root, "value")).p) return wrong(e, "value", "expected a formula");
  if (formula_parse(json_str(json_get(root, "value")), names, n, &c->arena, &c->value, e) < 0) return error_where(e, NULL, 0, "value");
  if (json_kind(json_get(root, "bands_if")) == JSON_NONE) return OK;
  if (!json_str(json_get(root, "bands_if")).p) return wrong(e, "bands_if", "expected a formula");
  if (formula_parse(json_str(json_get(root, "bands_if")), names, n, &c->arena, &c->banded, e) < 0)
    return error_where(e, NULL, 0, "bands_if");
  return OK;
}

/* "bands": [[1, "low"], [2, "moderate"], [null, "high"]]: each ends before its number */
static int read_bands(struct calculator *c, struct json bands, struct error *e) {
  struct json_iter it = json_items(bands);
  double last = -INFINITY;
  if (json_kind(bands) == JSON_NONE) return OK;
  if (json_kind(bands) != JSON_ARRAY) return wrong(e, "bands", "expected a list of [number or null, text]");
  for (struct json v; json_next(&it, &v);) {
    if (c->bands == CALCULATOR_BANDS) return wrong(e, "bands", "too many bands");
    struct band *b = &c->band[c->bands++];
    struct str s = json_str(json_at(v, 1));
    b->below = INFINITY;
    if (json_kind(json_at(v, 0)) != JSON_NULL && !json_f64(json_at(v, 0), &b->below))
      return wrong(e, "bands", "expected [number or null, text]");
    if (!s.p || b->below <= last) return wrong(e, "bands", "expected rising numbers, each with a text");
    last = b->below;
    b->name = arena_strndup(&c->arena, s.p, s.n);
    if (!b->name) return error_set(e, E_NOMEM, "no memory for a calculator");
  }
  return OK;
}

static int read_all(struct calculator *c, struct str name, struct json root, struct error *e) {
  static const char *const names[] = {"title", "source", "note", "inputs", "let", "value", "unit", "digits", "bands", "bands_if", NULL};
  int64_t digits = 2;
  TRY(only(root, "calculator", names, e));
  c->name = arena_strndup(&c->arena, name.p, name.n);
  if (!c->name) return error_set(e, E_NOMEM, "no memory for a calculator");
  TRY(text_of(c, root, "title", true, &c->title, e));
  TRY(text_of(c, root, "source", true, &c->source, e));
  TRY(text_of(c, root, "note", false, &c->note, e));
  TRY(text_of(c, root, "unit", true, &c->unit, e));
  struct json inputs = json_get(root, "inputs"), v;
  struct json_iter it = json_members(inputs);
  struct str key;
  if (json_kind(inputs) != JSON_OBJECT || json_count(inputs) == 0) return wrong(e, "inputs", "expected at least one");
  while (json_next_member(&it, &key, &v)) TRY(read_input(c, key, v, e));
  TRY(read_value(c, root, e));
  if (json_kind(json_get(root, "digits")) != JSON_NONE && (!json_i64(json_get(root, "digits"), &digits) || digits < 0 || digits > 9))
    return wrong(e, "digits", "expected 0 to 9");
  c->digits = (int)digits;
  return read_bands(c, json_get(root, "bands"), e);
}

int calculator_parse(struct str name, const char *bytes, size_t n, size_t cap, struct calculator **out, struct error *e) {
  struct json_parser *jp;
  struct json root;
  TRY(json_parser_new(&jp, e));
  struct calculator *c = mem_alloc(sizeof *c);
  if (!c) {
    json_parser_free(jp);
    return error_set(e, E_NOMEM, "no memory for a calculator");
  }
  memset(c, 0, sizeof *c);
  arena_init(&c->arena, 8 << 20, 0);
  int rc = json_parse(jp, bytes, n, cap, &root, e);
  if (rc == OK) rc = read_all(c, name, root, e);
  json_parser_free(jp);
  if (rc < 0) {
    calculator_free(c);
    return rc;
  }
  *out = c;
  return OK;
}

int calculator_load(const char *path, struct calculator **out, struct error *e) {
  struct arena a;
  struct str text;
  const char *base = strrchr(path, '/');
  struct str name = str_c(base ? base + 1 : path);
  if (str_ends(name, STR(".json"))) name.n -= 5;
  arena_init(&a, 2 << 20, 0);
  int rc = file_read(&a, path, 1 << 20, &text, e);
  if (rc == OK) rc = calculator_parse(name, text.p, text.n, text.n, out, e);
  if (rc < 0) error_where(e, path, 0, NULL);
  arena_free(&a);
  return rc;
}
void calculator_free(struct calculator *c) {
  if (!c) return;
  arena_free(&c->arena);
  mem_free(c);
}
const char *calculator_name(const struct calculator *c) { return c->name; }
const char *calculator_title(const struct calculator *c) { return c->title; }
const char *calculator_source(const struct calculator *c) { return c->source; }
const char *calculator_note(const struct calculator *c) { return c->note; }
int calculator_inputs(const struct calculator *c) { return c->inputs; }
const struct calculator_input *calculator_input(const struct calculator *c, int i) { return &c->input[i]; }
void calculator_none(const struct calculator *c, struct calculator_value *in) {
  for (int i = 0; i < c->inputs; i++) in[i].x = NAN;
}

static int in_range(const struct calculator_input *in, double x, struct error *e) {
  if (x >= in->least && x <= in->most) return OK;
  error_set(e, E_INPUT, "out of range: expected %g to %g %s", in->least, in->most, in->unit ? in->unit : "");
  return error_where(e, NULL, 0, in->name);
}

int calculator_set_measured(const struct calculator *c, struct calculator_value *in, int i, double x, struct str unit, struct error *e) {
  const struct calculator_input *of = &c->input[i];
  struct quantity_unit have;
  if (of->kind != CALCULATOR_NUMBER) return wrong(e, of->name, "is no measurement");
  if (!unit.p && strcmp(of->unit, "1") != 0) return wrong(e, of->name, "a unit is needed");
  if (quantity_unit_parse(unit.p ? unit : STR("1"), &have, e) < 0 ||
      quantity_convert(&x, &have, &c->in_unit[i], of->molar, of->valence, e) < 0) {
    error_set(e, E_MISMATCH, "wrong unit: expected %s or what can be turned into it", of->unit);
    return error_where(e, NULL, 0, of->name);
  }
  TRY(in_range(of, x, e));
  in[i].x = x;
  return OK;
}

static int set_number(const struct calculator *c, struct calculator_value *in, int i, struct str text, struct error *e) {
  double x;
  struct str unit;
  if (quantity_split(text, &x, &unit, NULL) < 0) return wrong(e, c->input[i].name, "expected a number, with or without a unit");
  return calculator_set_measured(c, in, i, x, unit.p ? unit : str_c(c->input[i].unit), e);
}

int calculator_set(const struct calculator *c, struct calculator_value *in, struct str name, struct str text, struct error *e) {
  int i = 0, best = -1;
  unsigned nearest = 4;
  for (; i < c->inputs && !str_eqc(name, c->input[i].name); i++) {
    unsigned d = str_distance(name, str_c(c->input[i].name), 3);
    if (d >= nearest) continue;
    nearest = d;
    best = i;
  }
  if (i == c->inputs)
    return best >= 0 ? error_set(e, E_INPUT, "unknown input; did you mean \"%s\"?", c->input[best].name)
                     : error_set(e, E_INPUT, "unknown input");
  const struct calculator_input *of = &c->input[i];
  text = str_trim(text);
  if (!isnan(in[i].x)) return wrong(e, of->name, "is given twice");
  if (of->kind == CALCULATOR_NUMBER) return set_number(c, in, i, text, e);
  if (of->kind == CALCULATOR_FACT) {
    bool yes = str_eq_nocase(text, STR("yes")) || str_eq_nocase(text, STR("true")) || str_eqc(text, "1");
    if (!yes && !str_eq_nocase(text, STR("no")) && !str_eq_nocase(text, STR("false")) && !str_eqc(text, "0"))
      return wrong(e, of->name, "expected yes or no");
    in[i].x = yes;
    return OK;
  }
  if (of->kind == CALCULATOR_DAY) {
    struct time_parts parts;
    int64_t t;
    if (text.n != 10 || time_parse(text, &parts, &t, NULL) < 0) return wrong(e, of->name, "expected a day such as 2024-05-01");
    in[i].x = floor((double)t / (double)TIME_DAY);
    return OK;
  }
  for (int k = 0; k < of->choices; k++) {
    if (!str_eq_nocase(text, str_c(of->choice[k]))) continue;
    if (isnan(of->choice_value[k])) return wrong(e, of->name, "with this choice there is no value of the whole");
    in[i].x = of->choice_value[k];
    return OK;
  }
  return wrong(e, of->name, "not one of the choices");
}

int calculator_run(const struct calculator *c, const struct calculator_value *in, struct calculator_answer *out, struct error *e) {
  double x[CALCULATOR_INPUTS + CALCULATOR_STEPS];
  *out = (struct calculator_answer){.unit = c->unit};
  for (int i = 0; i < c->inputs; i++) {
    const struct calculator_input *of = &c->input[i];
    x[i] = in[i].x;
    if (!isnan(x[i])) continue;
    if (of->kind == CALCULATOR_FACT) {
      x[i] = 0;
      out->assumed[out->n_assumed++] = of;
    } else if (!of->optional) {
      return wrong(e, of->name, "is needed");
    }
  }
  for (int i = 0; i < c->steps; i++) x[c->inputs + i] = formula_run(&c->step[i], x);
  double v = formula_run(&c->value, x), scale = pow(10, c->digits);
  if (!isfinite(v)) {
    for (int i = 0; i < c->inputs; i++) /* the first optional input that is missing, for the message */
      if (isnan(in[i].x) && c->input[i].optional) return wrong(e, c->input[i].name, "is needed with these inputs");
    return error_set(e, E_INPUT, "the formula gives no number for these inputs");
  }
  out->value = round(v * scale) / scale;
  double banded = c->banded.n ? formula_run(&c->banded, x) : 1;
  if (isnan(banded) || banded == 0) return OK;
  for (int i = 0; i < c->bands && !out->band; i++)
    if (out->value < c->band[i].below) out->band = c->band[i].name;
  return OK;
}
