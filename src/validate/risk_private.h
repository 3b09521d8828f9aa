/* Private to the risk report: what its passes over the store share. */
#ifndef VALIDATE_RISK_PRIVATE_H
#define VALIDATE_RISK_PRIVATE_H
#include "validate/risk.h"

struct risk_person { /* 0, or -1 for ZIP3 = not known */
  uint32_t race, ethnicity;
  int16_t zip3, first, last;
  uint8_t age, sex, events;
};
struct risk_work {
  const struct timeline *t;
  const struct risk_options *o;
  uint8_t *attribute;       /* by code: 1 + enum risk_attribute, 0 = none */
  uint32_t *persons, *last; /* by code: how many persons have it */
  uint32_t birth;           /* code of MEDS_BIRTH */
};
void risk_attributes(struct risk_work *w); /* fills `attribute` and `birth` */
struct timeline_view;
void risk_person(struct risk_work *w, const struct timeline_view *v, struct risk_person *p);
uint8_t risk_age_band(int64_t birth, int64_t last);                            /* 0 = not known, 1 = under five, ... */
bool risk_kept(const struct risk_options *o, struct str name);                 /* a code that is never held back */
double risk_people(const struct risk_options *o, const struct risk_person *p); /* of the population, with these attributes */
int risk_patterns(struct risk_work *w, struct risk *r, struct error *e) MUST_CHECK;
#endif
