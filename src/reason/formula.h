/* Arithmetic of data files: a formula's text becomes a small program, run on a row of numbers.
 *
 *     struct formula f;
 *     TRY(formula_parse(STR("140 - age * if(female, 0.85, 1)"), names, 2, &arena, &f, e));      // names: "age", "female"
 *     double x = formula_run(&f, (double[]){72, 1});
 *
 * Operators, weakest first: ||  &&  == != < <= > >=  + -  * /  unary - and !  ^ (to the right). Functions: min max (2 or more), abs ln log10
 * exp sqrt floor ceil round (halves away from 0), if(c, a, b), given(x). Truth is 1 and 0; 0 is false. NaN stands for a number that is not
 * there and spreads, except where the answer does not hang on it: false && NaN = false, true || NaN = true, given(NaN) = false.
 * Pure; E_INPUT with the byte position of what is wrong. A formula borrows nothing; it lives as long as its arena.
 */
#ifndef REASON_FORMULA_H
#define REASON_FORMULA_H
#include "base/str.h"

#define FORMULA_STACK 64 /* deepest nesting */
#define FORMULA_TEXT 4096
struct formula_step;
struct formula {
  const struct formula_step *step;
  int n;
};
int formula_parse(struct str text, const char *const *names, int n, struct arena *a, struct formula *out, struct error *e) MUST_CHECK;
double formula_run(const struct formula *f, const double *value);
/* Whether the formula reads the value at `index` */
bool formula_uses(const struct formula *f, int index);
#endif
