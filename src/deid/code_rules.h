/* Private to deid/: which codes, units and descriptions may pass. The second line of defence: a reader says "this is a code",
 * and the wall still asks whether it looks like one, because a sender can write a name or a record number into Coding.code.
 *
 *     struct code_rules *rules;  TRY(code_rules_load("policy/code-shapes.json", &rules, e));
 *     bool open = code_rules_open_source(rules, STR("fhir"));
 *     if (code_rules_check(rules, r->code, open) != CODE_PASSES) drop();
 *     code_rules_free(rules);
 *
 * Two kinds of source. *Open*: the code strings are the sender's (FHIR, requests): every system must be listed and every code
 * must have its system's shape and check digit. *Declared*: a mapping or MEDS file, whose systems the site has declared: a
 * part may also be any short printable text without long digit runs, dates, telephone or mail shapes.
 *
 * Shapes are a subset of regular expressions: literals, [a-z] classes, each with ?, {n} or {m,n}; no groups, no alternatives
 * (a system has a list of shapes). Matching is over the whole string and linear. Immutable after loading.
 */
#ifndef DEID_CODE_RULES_H
#define DEID_CODE_RULES_H
#include "base/str.h"

struct code_rules;
enum code_verdict { CODE_PASSES, CODE_SYSTEM_UNKNOWN, CODE_SHAPE_WRONG };
enum { CODE_LIMIT = 240, CODE_PART_LIMIT = 96, UNIT_LIMIT = 32, DISPLAY_LIMIT = 120 };

int code_rules_load(const char *path, struct code_rules **out, struct error *e) MUST_CHECK;
void code_rules_free(struct code_rules *r);
bool code_rules_open_source(const struct code_rules *r, struct str source);
enum code_verdict code_rules_check(const struct code_rules *r, struct str code, bool open);
/* Open sources: every word in the unit must be a known unit atom (UCUM and its common spellings). Declared: printable, short. */
bool code_rules_unit(const struct code_rules *r, struct str unit, bool open);
/* The code's value is the person's age. */
bool code_rules_age(const struct code_rules *r, struct str code);
/* The micro signs (U+00B5, U+03BC) before a letter as UCUM's u: µmol/L -> umol/L. Returns `unit`, or what it wrote. */
struct str code_rules_unit_spelled(struct str unit, char out[UNIT_LIMIT]);
/* How many of this unit make a year (1 for years and for no unit). */
double code_rules_per_year(struct str unit);
/* Printable UTF-8, at most DISPLAY_LIMIT bytes, no long digit run, no mail or web address. */
bool code_rules_display(struct str display);
/* The next part of a code: what is before "//". */
struct str code_part(struct str *rest);

/* One shape on its own (for tests). */
struct code_shape;
int code_shape_parse(struct arena *a, struct str pattern, const struct code_shape **out, struct error *e) MUST_CHECK;
bool code_shape_match(const struct code_shape *s, struct str text);
bool code_check_luhn(struct str text);  /* LOINC: digits-digit, modulus 10 */
bool code_check_sctid(struct str text); /* SNOMED CT identifier: Verhoeff digit, concept partition 00 or 10 */
#endif
