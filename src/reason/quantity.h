/* Units of measure: enough of UCUM (unitsofmeasure.org, 2.1) to turn one clinical unit into another, or to refuse.
 *
 *     struct quantity_unit have, want;
 *     TRY(quantity_unit_parse(STR("umol/L"), &have, e));  TRY(quantity_unit_parse(STR("mg/dL"), &want, e));
 *     double x = 88.4;
 *     TRY(quantity_convert(&x, &have, &want, 113.12, 0, e));          // molar mass g/mol: creatinine, 1.0 mg/dL
 *
 * A unit is a factor over base units (g, mol, m, s, K, international unit) and, for temperatures, an offset. Mass and amount convert into
 * each other only where a molar mass is given, milliequivalents only where a valence is. Everything else that differs in dimension is
 * E_MISMATCH: a wrong unit is refused, never guessed. Everyday spellings ("lbs", "mmHg", "bpm", "F") are in one table. Pure.
 */
#ifndef REASON_QUANTITY_H
#define REASON_QUANTITY_H
#include "base/str.h"

enum { DIM_MASS, DIM_AMOUNT, DIM_LENGTH, DIM_TIME, DIM_TEMPERATURE, DIM_UNIT, DIM_EQUIVALENT, DIMENSIONS };
struct quantity_unit {
  double factor, offset; /* base = (x + offset) * factor */
  int8_t power[DIMENSIONS];
};
int quantity_unit_parse(struct str unit, struct quantity_unit *out, struct error *e) MUST_CHECK; /* E_INPUT: no unit known here */
/* molar g/mol, 0 = none; valence, 0 = none */
int quantity_convert(double *x, const struct quantity_unit *from, const struct quantity_unit *to, double molar, double valence,
                     struct error *e) MUST_CHECK;
/* "72.5 kg" or "72.5" (then unit is STR_NONE) */
int quantity_split(struct str text, double *value, struct str *unit, struct error *e) MUST_CHECK;
#endif
