/* How far what remains still singles persons out: uniqueness after de-identification, measured on the store.
 *
 *     struct risk_options o;  TRY(risk_options_load("policy/risk.json", &o, e));     // attributes, thresholds, population table
 *     struct risk *r;  TRY(risk_compute(store, &o, &r, e));
 *     risk_json(r, &out);  risk_html(r, &page);                                     // a section of a page, with pictures
 *     risk_free(r);  risk_options_free(&o);
 *
 * Quasi-identifiers are what an outsider may know: age band at the last event, sex, ZIP3, race, ethnicity, first and last year, how many
 * events. Persons with the same values form a class; k is its size. Prosecutor risk (the attacker knows that the person is in the store)
 * is 1/k; the mean over persons is classes/persons (El Emam 2013). The k-map asks the same of the population: how many people of the
 * country have these values, from a census table, age, sex and ZIP3 taken as independent (Sweeney 2002). Longitudinal uniqueness: an
 * attacker knows 2, 3 or 5 random codes of a person and the days between them, no dates; the share of persons whom that singles out.
 *
 * Small cells: no count from 1 to 10 leaves this file. It becomes "<11", and where one masked count could be computed from a total, a
 * second one is masked ("masked").
 */
#ifndef VALIDATE_RISK_H
#define VALIDATE_RISK_H
#include "base/error.h"
#include "base/str.h"

struct timeline;
struct json_out;

enum {
  RISK_SETS = 4,
  RISK_BANDS = 7,
  RISK_PATTERNS = 3,
  RISK_SYSTEMS = 12,
  RISK_AGES = 19,
  RISK_PREFIXES = 16,
  RISK_SMALL = 10,
  RISK_LENGTHS = 7,
  RISK_BROADER = 32,
  RISK_SUPPRESS_K = 64
};
enum { RISK_ATTACKS = 4 };
enum risk_attribute { RISK_SEX, RISK_ZIP3, RISK_RACE, RISK_ETHNICITY, RISK_ATTRIBUTES };

struct risk_broader { /* of a code system: its broader code is the code's first so many characters, longest first */
  struct str system;
  uint8_t length[RISK_LENGTHS];
  int lengths;
};
struct risk_options {
  uint32_t k, rare; /* classes and codes of fewer persons than this are small, are rare */
  uint32_t common;  /* a code that so many persons have is taken to single nobody out, not even with others; default 100 */
  uint32_t sample;  /* persons of whom patterns are drawn */
  uint64_t work;    /* events looked at for patterns, at most; 0 = 300 million */
  uint64_t seed;
  struct str prefix[RISK_ATTRIBUTES][RISK_PREFIXES], male[RISK_PREFIXES], female[RISK_PREFIXES];
  int prefix_n[RISK_ATTRIBUTES], male_n, female_n;
  double total, sex[2], age[RISK_AGES], ages,
      restricted;    /* people; total 0 = no table; ages: sum; restricted: of prefixes that become 000 */
  double zip3[1000]; /* 0 = not listed */
  char source[200];
  int year;
  struct risk_broader broader[RISK_BROADER];
  struct str keep[RISK_PREFIXES]; /* codes that begin so are never held back */
  int broader_n, keep_n;
  struct arena arena;
};
int risk_options_load(const char *path, struct risk_options *o, struct error *e) MUST_CHECK;
void risk_options_free(struct risk_options *o);

struct risk_set { /* one choice of attributes */
  const char *name;
  uint64_t classes, smallest;
  uint64_t persons[RISK_BANDS]; /* by class size: 1, 2-4, 5-10, 11-20, 21-50, 51-100, 101 and more */
  uint64_t under5, under11, unique;
  double max, mean; /* prosecutor risk */
};
struct risk_pattern {
  int codes;
  uint64_t tried, by_codes, by_gaps; /* persons tried; singled out by the codes; by the codes and the days between */
};
struct risk_known { /* what an attacker may know: combinations of codes that fewer than `common` persons have, and attributes */
  uint64_t persons, combinations; /* persons who share one with fewer than k; combinations that so few have */
};
struct risk_system {
  char name[48];
  uint64_t codes, rare;
};
struct risk {
  uint64_t persons, events;
  uint32_t k, rare_limit;
  struct risk_set set[RISK_SETS];
  uint64_t known[RISK_ATTRIBUTES], birth_known; /* persons of whom the attribute is known */
  uint64_t small_values[RISK_ATTRIBUTES], values[RISK_ATTRIBUTES];
  uint64_t codes, rare_codes, rare_persons, rare_events; /* codes other than the attributes above */
  struct risk_system system[RISK_SYSTEMS];
  int systems;
  bool population;
  uint64_t map_persons, map_under5, map_under11, map_under100,
      map_zip; /* k-map: persons whose population class is that small; with a ZIP3 */
  double map_least;
  char population_source[200];
  int population_year;
  struct risk_pattern pattern[RISK_PATTERNS];
  uint32_t common;
  struct risk_known known_codes[RISK_ATTACKS]; /* a code; two; age band, sex, ZIP3 and a code; and two */
};
int risk_compute(const struct timeline *t, const struct risk_options *o, struct risk **out, struct error *e) MUST_CHECK;
void risk_free(struct risk *r);
void risk_json(const struct risk *r, struct json_out *o); /* one object */
void risk_html(const struct risk *r, struct buf *b);      /* headings, tables, SVG: no <html> of its own */
extern const char *const risk_band_name[RISK_BANDS];

/* What a policy holds back (docs/deid.md, "Suppression"): decisions on a base store, for timeline_release. Everything lies in the arena.
 *
 *     TRY(risk_suppress(base, &o, &(struct risk_suppress_options){.k = 11}, &arena, &plan, &did, e));
 *     TRY(timeline_release("site/base", "site/timelines", &plan, extra, e));
 *
 * Afterwards no code but the exempt ones is had by fewer than k persons, and no person's age band, sex and ZIP3 are those of fewer than k people
 * of the population; with `classes`, of fewer than k persons of the store, race and ethnicity included. The same base gives the same plan. */
/* With codes = 2, or with_attributes, no combination of two codes that fewer than `common` persons have, or of one (two) of them with age band,
 * sex and ZIP3, is had by fewer than k persons either: single persons lose the rarest of the codes. */
struct risk_suppress_options {
  uint32_t k; /* 2 to RISK_SUPPRESS_K */
  bool classes;
  int codes; /* that somebody may know of a person: 0 or 1, or 2 */
  bool with_attributes;
};
struct risk_suppressed {
  uint32_t k, common;
  bool classes, with_attributes;
  int codes;
  uint64_t held, held_persons, held_events; /* code of a person, persons, events: left out of single lives for a combination */
  uint64_t codes_broader, codes_left_out, events_broader, events_left_out, zip3, sex, race, persons, touched; /* persons: left out */
};
struct timeline_suppression;
int risk_suppress(const struct timeline *base, const struct risk_options *o, const struct risk_suppress_options *want, struct arena *a,
                  struct timeline_suppression *out, struct risk_suppressed *did, struct error *e) MUST_CHECK;
void risk_suppressed_json(const struct risk_suppressed *d, struct json_out *o); /* one object; counts of 1 to 10 are masked */
void risk_suppressed_html(const struct risk_suppressed *d, const struct risk *before, const struct risk *after, struct buf *b);

/* Masks what is 1 to 10; and, if that is one figure of a table whose total is known, the next smallest too. flag: 0 shown, 1 "<11",
 * 2 "masked". Pure. */
void risk_mask(const uint64_t *count, uint8_t *flag, int n);
#endif
