/* Clinical calculators as data: one JSON file each (calculators/, docs/calculators.md), so that a hospital adds its own without a compiler.
 *
 *     struct calculator *c;  TRY(calculator_load("calculators/ckd-epi-2021.json", &c, e));
 *     struct calculator_value in[CALCULATOR_INPUTS];  calculator_none(c, in);
 *     TRY(calculator_set(c, in, STR("creatinine"), STR("88 umol/L"), e));   // wrong unit, out of range, unknown name, twice: refused
 *     struct calculator_answer r;  TRY(calculator_run(c, in, &r, e));       // r.value 71 mL/min/{1.73_m2}
 *
 * Inputs are numbers with a unit (converted by quantity.h), choices, yes/no facts, or days. A number that is needed and missing is E_INPUT; a
 * fact that nobody stated counts as absent, and the answer names each such fact. The formulas are the published ones; `source` names the paper.
 * A calculator is immutable and may be shared by threads.
 */
#ifndef REASON_CALCULATOR_H
#define REASON_CALCULATOR_H
#include "base/str.h"

#define CALCULATOR_INPUTS 40
#define CALCULATOR_STEPS 24
#define CALCULATOR_CHOICES 24
#define CALCULATOR_BANDS 12
enum calculator_kind { CALCULATOR_NUMBER, CALCULATOR_CHOICE, CALCULATOR_FACT, CALCULATOR_DAY };
struct calculator;
struct calculator_input { /* borrowed from the calculator */
  const char *name, *title;
  enum calculator_kind kind;
  const char *unit;      /* numbers: the unit that the formula wants */
  double molar, valence; /* 0 = none */
  double least, most;    /* in that unit */
  bool optional;         /* numbers and choices that may be missing */
  int choices;           /* CALCULATOR_CHOICE */
  const char *const *choice;
  const double *choice_value; /* NaN: with it there is no value of the whole */
  const struct str *code;     /* codes of the timeline that give this value, best first */
  int codes;
};
struct calculator_value {
  double x; /* in the input's unit; NaN = not given */
};
struct calculator_answer {
  double value; /* rounded to the calculator's digits; days since 1970 when the unit is "date" */
  const char *unit;
  const char *band;                                          /* what the value is called, NULL if the file says nothing of it */
  const struct calculator_input *assumed[CALCULATOR_INPUTS]; /* facts that nobody stated: taken as absent */
  int n_assumed;
};

int calculator_load(const char *path, struct calculator **out, struct error *e) MUST_CHECK;
int calculator_parse(struct str name, const char *bytes, size_t n, size_t cap, struct calculator **out, struct error *e) MUST_CHECK;
void calculator_free(struct calculator *c);
const char *calculator_name(const struct calculator *c);
const char *calculator_title(const struct calculator *c);
const char *calculator_source(const struct calculator *c);
const char *calculator_note(const struct calculator *c); /* limits of use; NULL if none */
int calculator_inputs(const struct calculator *c);
const struct calculator_input *calculator_input(const struct calculator *c, int i);
void calculator_none(const struct calculator *c, struct calculator_value *in); /* nothing given */
/* text: "88 umol/L", "female", "yes", "2024-05-01". A number without a unit is in the input's own. */
int calculator_set(const struct calculator *c, struct calculator_value *in, struct str name, struct str text, struct error *e) MUST_CHECK;
/* The same from a chart: unit STR_NONE is refused where the input has one */
int calculator_set_measured(const struct calculator *c, struct calculator_value *in, int i, double x, struct str unit,
                            struct error *e) MUST_CHECK;
int calculator_run(const struct calculator *c, const struct calculator_value *in, struct calculator_answer *out,
                   struct error *e) MUST_CHECK;
#endif
