#include "reason/quantity.h"

#include <math.h>

/* Atoms by UCUM's names; `metric` ones take prefixes. */
static const struct atom {
  const char *name;
  double factor;
  int8_t power[DIMENSIONS];
  bool metric;
  double offset;
} atoms[] = {
    {"g", 1, {1}, true, 0},
    {"mol", 1, {0, 1}, true, 0},
    {"L", 1e-3, {0, 0, 3}, true, 0},
    {"l", 1e-3, {0, 0, 3}, true, 0},
    {"m", 1, {0, 0, 1}, true, 0},
    {"s", 1, {0, 0, 0, 1}, true, 0},
    {"min", 60, {0, 0, 0, 1}, false, 0},
    {"h", 3600, {0, 0, 0, 1}, false, 0},
    {"d", 86400, {0, 0, 0, 1}, false, 0},
    {"wk", 604800, {0, 0, 0, 1}, false, 0},
    {"mo", 2629800, {0, 0, 0, 1}, false, 0},
    {"a", 31557600, {0, 0, 0, 1}, false, 0},
    {"K", 1, {0, 0, 0, 0, 1}, false, 0},
    {"Cel", 1, {0, 0, 0, 0, 1}, false, 273.15},
    {"[degF]", 5.0 / 9, {0, 0, 0, 0, 1}, false, 459.67},
    {"Pa", 1000, {1, 0, -1, -2}, true, 0}, /* in grams */
    {"m[Hg]", 133322387.415, {1, 0, -1, -2}, true, 0},
    {"U", 1, {0, 0, 0, 0, 0, 1}, true, 0},
    {"[IU]", 1, {0, 0, 0, 0, 0, 1}, true, 0},
    {"[iU]", 1, {0, 0, 0, 0, 0, 1}, true, 0},
    {"osm", 1, {0, 1}, true, 0},
    {"eq", 1, {0, 0, 0, 0, 0, 0, 1}, true, 0},
    {"%", 0.01, {0}, false, 0},
    {"[lb_av]", 453.59237, {1}, false, 0},
    {"[oz_av]", 28.349523125, {1}, false, 0},
    {"[in_i]", 0.0254, {0, 0, 1}, false, 0},
    {"[ft_i]", 0.3048, {0, 0, 1}, false, 0},
};
static const struct {
  const char *name;
  double factor;
} prefixes[] = {{"da", 1e1}, {"T", 1e12}, {"G", 1e9},  {"M", 1e6},  {"k", 1e3},   {"h", 1e2},  {"d", 1e-1},
                {"c", 1e-2}, {"m", 1e-3}, {"u", 1e-6}, {"n", 1e-9}, {"p", 1e-12}, {"f", 1e-15}};
/* What people write, as UCUM */
static const struct {
  const char *said, *meant;
} spellings[] = {{"lb", "[lb_av]"},
                 {"lbs", "[lb_av]"},
                 {"pounds", "[lb_av]"},
                 {"oz", "[oz_av]"},
                 {"in", "[in_i]"},
                 {"inch", "[in_i]"},
                 {"inches", "[in_i]"},
                 {"ft", "[ft_i]"},
                 {"mmHg", "mm[Hg]"},
                 {"mm Hg", "mm[Hg]"},
                 {"cmHg", "cm[Hg]"},
                 {"C", "Cel"},
                 {"degC", "Cel"},
                 {"celsius", "Cel"},
                 {"F", "[degF]"},
                 {"degF", "[degF]"},
                 {"fahrenheit", "[degF]"},
                 {"bpm", "/min"},
                 {"beats/min", "/min"},
                 {"{beats}/min", "/min"},
                 {"breaths/min", "/min"},
                 {"{breaths}/min", "/min"},
                 {"year", "a"},
                 {"years", "a"},
                 {"yr", "a"},
                 {"y", "a"},
                 {"month", "mo"},
                 {"months", "mo"},
                 {"week", "wk"},
                 {"weeks", "wk"},
                 {"day", "d"},
                 {"days", "d"},
                 {"hour", "h"},
                 {"hours", "h"},
                 {"hr", "h"},
                 {"minutes", "min"},
                 {"sec", "s"},
                 {"msec", "ms"},
                 {"IU/L", "[IU]/L"},
                 {"uIU/mL", "u[IU]/mL"},
                 {"mIU/L", "m[IU]/L"},
                 {"mEq/L", "meq/L"},
                 {"mOsm/kg", "mosm/kg"},
                 {"mOsm/L", "mosm/L"},
                 {"cc", "mL"},
                 {"mcg", "ug"},
                 {"mcg/kg/min", "ug/kg/min"},
                 {"K/uL", "10*3/uL"},
                 {"k/uL", "10*3/uL"},
                 {"m2", "m2"},
                 {"kg/m^2", "kg/m2"},
                 {"percent", "%"},
                 {"\xc2\xb5mol/L", "umol/L"},
                 {"\xce\xbcmol/L", "umol/L"},
                 {"\xc2\xb5g", "ug"},
                 {"\xce\xbcg", "ug"},
                 {"\xc2\xb0"
                  "C",
                  "Cel"},
                 {"\xc2\xb0"
                  "F",
                  "[degF]"},
                 {"mL/min/1.73 m2", "mL/min/{1.73_m2}"},
                 {"mL/min/1.73m2", "mL/min/{1.73_m2}"}};

static bool digit(char c) { return c >= '0' && c <= '9'; }

/* One symbol without its exponent: an atom, with or without prefix. */
static bool symbol(struct str s, struct quantity_unit *u) {
  for (size_t k = 0; k <= sizeof prefixes / sizeof *prefixes; k++) { /* the last turn: no prefix, which is tried first */
    struct str rest = s;
    double f = 1;
    if (k > 0) {
      struct str p = str_c(prefixes[k - 1].name);
      if (!str_starts(s, p)) continue;
      rest = (struct str){s.p + p.n, s.n - p.n};
      f = prefixes[k - 1].factor;
    }
    for (size_t i = 0; i < sizeof atoms / sizeof *atoms; i++) {
      if (!str_eqc(rest, atoms[i].name) || (k > 0 && !atoms[i].metric)) continue;
      *u = (struct quantity_unit){.factor = f * atoms[i].factor, .offset = atoms[i].offset};
      memcpy(u->power, atoms[i].power, sizeof u->power);
      return true;
    }
  }
  return false;
}

/* symbol[exponent] | {note} | number | 10*3 */
static bool component(struct str s, struct quantity_unit *u) {
  size_t n = s.n;
  int exponent = 0, sign = 1;
  double x;
  *u = (struct quantity_unit){.factor = 1};
  while (s.n && s.p[s.n - 1] == '}') { /* an annotation says nothing about size: 10*9/L{cells} */
    size_t open = s.n;
    while (open > 0 && s.p[open - 1] != '{') open--;
    if (open == 0) return false;
    s.n = open - 1;
  }
  if (s.n == 0) return n > 0;
  if (s.n > 3 && memcmp(s.p, "10*", 3) == 0) {
    if (str_to_f64((struct str){s.p + 3, s.n - 3}, &x) < 0 || x != floor(x) || fabs(x) > 18) return false;
    u->factor = pow(10, x);
    return true;
  }
  if (str_to_f64(s, &x) == OK) return u->factor = x, x > 0;
  n = s.n;
  while (n > 0 && digit(s.p[n - 1])) n--;
  if (s.n - n > 1) return false;
  if (n < s.n) {
    exponent = s.p[n] - '0';
    if (n > 0 && s.p[n - 1] == '-') {
      sign = -1;
      n--;
    }
  }
  if (!symbol((struct str){s.p, n}, u)) return false;
  if (n == s.n) return true;
  exponent *= sign;
  u->factor = pow(u->factor, exponent);
  for (int i = 0; i < DIMENSIONS; i++) u->power[i] = (int8_t)(u->power[i] * exponent);
  return true;
}

int quantity_unit_parse(struct str unit, struct quantity_unit *out, struct error *e) {
  struct str s = str_trim(unit);
  for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
    if (str_eqc(s, spellings[i].said)) {
      s = str_c(spellings[i].meant);
      break;
    }
  *out = (struct quantity_unit){.factor = 1};
  if (s.n > 64) return error_set(e, E_INPUT, "a unit is too long");
  if (s.n == 0 || str_eqc(s, "1")) return OK;
  bool over = s.p[0] == '/';
  size_t at = over ? 1 : 0;
  int parts = 0;
  double offset = 0;
  while (at <= s.n) {
    size_t end = at, braces = 0;
    while (end < s.n && (braces || (s.p[end] != '/' && s.p[end] != '.'))) {
      braces += s.p[end] == '{';
      braces -= s.p[end] == '}' && braces;
      end++;
    }
    if (end < s.n && s.p[end] == '.' && end > at && digit(s.p[end - 1]) && end + 1 < s.n && digit(s.p[end + 1])) /* a decimal point */
      while (end < s.n && s.p[end] != '/') end++;
    struct quantity_unit u;
    if (!component((struct str){s.p + at, end - at}, &u)) return error_set(e, E_INPUT, "a unit is not known here");
    out->factor *= over ? 1 / u.factor : u.factor;
    offset = u.offset;
    for (int i = 0; i < DIMENSIONS; i++) out->power[i] = (int8_t)(out->power[i] + (over ? -u.power[i] : u.power[i]));
    parts++;
    if (end >= s.n) break;
    over = s.p[end] == '/';
    at = end + 1;
  }
  if (parts == 1 && !over) out->offset = offset; /* of a quotient only the interval counts */
  return OK;
}

int quantity_convert(double *x, const struct quantity_unit *from, const struct quantity_unit *to, double molar, double valence,
                     struct error *e) {
  int8_t d[DIMENSIONS];
  double base = (*x + from->offset) * from->factor;
  for (int i = 0; i < DIMENSIONS; i++) d[i] = (int8_t)(from->power[i] - to->power[i]);
  if (d[DIM_EQUIVALENT] && valence > 0) { /* equivalents into moles: n_mol = n_eq / valence */
    base *= pow(valence, -d[DIM_EQUIVALENT]);
    d[DIM_AMOUNT] = (int8_t)(d[DIM_AMOUNT] + d[DIM_EQUIVALENT]);
    d[DIM_EQUIVALENT] = 0;
  }
  if (molar > 0 && d[DIM_AMOUNT] == -d[DIM_MASS]) { /* moles into grams */
    base *= pow(molar, d[DIM_AMOUNT]);
    d[DIM_AMOUNT] = d[DIM_MASS] = 0;
  }
  for (int i = 0; i < DIMENSIONS; i++)
    if (d[i]) return error_set(e, E_MISMATCH, "the unit measures something else");
  *x = base / to->factor - to->offset;
  return OK;
}

int quantity_split(struct str text, double *value, struct str *unit, struct error *e) {
  struct str s = str_trim(text);
  size_t n = 0;
  while (n < s.n && (digit(s.p[n]) || strchr("+-.", s.p[n]) ||
                     ((s.p[n] == 'e' || s.p[n] == 'E') && n > 0 && n + 1 < s.n &&
                      (digit(s.p[n + 1]) || ((s.p[n + 1] == '-' || s.p[n + 1] == '+') && n + 2 < s.n && digit(s.p[n + 2]))))))
    n++;
  if (n == 0 || str_to_f64((struct str){s.p, n}, value) < 0) return error_set(e, E_INPUT, "expected a number");
  *unit = str_trim((struct str){s.p + n, s.n - n});
  if (unit->n == 0) *unit = STR_NONE;
  return OK;
}
