/* What a patient's sex and age say of a disease, and how many patients its annotations were counted on: a proxy of how common it is. */
#include <math.h>

#include "reason/differential_private.h"

#define SEX_WEIGHT 3.0F /* the mode of inheritance, or anybody's shares, count like so many cases */
#define AGE_WEIGHT 3.0F
#define BEFORE_ONSET 0.15F /* share of those who are seen younger than an annotated onset */
#define NEAR 0.3F          /* a case also counts this much in the next band of age */

int differential_age_band(float years) {
  static const float until[AGES - 1] = {0.1F, 0.5F, 1.5F, 4, 10, 18, 40};
  int k = 0;
  if (!(years >= 0)) return -1;
  while (k < AGES - 1 && years >= until[k]) k++;
  return k;
}

static void normalise(float *v, int n) {
  float sum = 0;
  for (int i = 0; i < n; i++) sum += v[i];
  for (int i = 0; i < n; i++) v[i] /= sum;
}
void differential_people(struct differential *d) {
  for (int i = 0; i < 2; i++) d->sex[i] = 1;
  for (int i = 0; i < AGES; i++) d->age[i] = 1;
  for (int i = 0; i < d->cases; i++) {
    int band = differential_age_band(d->known[i].c.age);
    if (d->known[i].c.sex) d->sex[d->known[i].c.sex - 1] += 1;
    if (band >= 0) d->age[band] += 1;
  }
  normalise(d->sex, 2);
  normalise(d->age, AGES);
}

/* Males expected with a mode of inheritance; 0 = it says nothing */
static float males(struct str mode) {
  static const struct {
    const char *id;
    float share;
  } modes[] = {{"HP:0001419", 0.93F}, {"HP:0001417", 0.8F}, {"HP:0001423", 0.35F}, {"HP:0001450", 0.98F}};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
    if (str_eqc(mode, modes[i].id)) return modes[i].share;
  return 0;
}
/* The first band of age of an onset, -1 = it says nothing */
static int onset_band(struct str onset) {
  static const struct {
    const char *id;
    int band;
  } onsets[] = {{"HP:0030674", 0}, {"HP:0011461", 0}, {"HP:0034197", 0}, {"HP:0034198", 0}, {"HP:0003577", 0}, {"HP:0003623", 0},
                {"HP:0003593", 1}, {"HP:0011463", 3}, {"HP:0003621", 4}, {"HP:0011462", 6}, {"HP:0025708", 6}, {"HP:0025709", 6},
                {"HP:0025710", 6}, {"HP:0003581", 6}, {"HP:0003596", 7}, {"HP:0003584", 7}};
  for (size_t i = 0; i < sizeof onsets / sizeof *onsets; i++)
    if (str_eqc(onset, onsets[i].id)) return onsets[i].band;
  return -1;
}
static void expected(const struct differential *d, const struct disease *x, int without, float sex[2], float age[AGES]) {
  float male = 0, modes = 0, onsets = 0, seen[AGES] = {0};
  for (int i = 0; i < x->annotations; i++) {
    const struct annotation *a = &x->annotation[i];
    if (a->aspect == 'P' || a->negated || differential_cites(d, a, without)) continue;
    float m = a->aspect == 'I' ? males(ontology_id(d->o, a->term)) : 0;
    int from = a->aspect == 'C' ? onset_band(ontology_id(d->o, a->term)) : -1;
    if (m > 0) male += m, modes += 1;
    if (from < 0) continue;
    float one[AGES];
    for (int k = 0; k < AGES; k++) one[k] = d->age[k] * (k < from ? BEFORE_ONSET : 1);
    normalise(one, AGES);
    for (int k = 0; k < AGES; k++) seen[k] += one[k];
    onsets += 1;
  }
  sex[0] = modes > 0 ? male / modes : d->sex[0];
  sex[1] = 1 - sex[0];
  for (int k = 0; k < AGES; k++) age[k] = onsets > 0 ? seen[k] / onsets : d->age[k];
}
/* Each reference's greatest number of patients */
static float literature(const struct differential *d, const struct disease *x, int without) {
  float sum = 0;
  for (int i = 0; i < x->annotations; i++) {
    const struct annotation *a = &x->annotation[i];
    bool greatest = a->aspect == 'P' && a->patients > 0 && !differential_cites(d, a, without);
    for (int k = 0; k < x->annotations && greatest; k++) {
      const struct annotation *b = &x->annotation[k];
      if (b->aspect != 'P' || d->cited[b->reference] != d->cited[a->reference]) continue;
      greatest = b->patients < a->patients || (b->patients == a->patients && k >= i);
    }
    if (greatest) sum += a->patients;
  }
  return sum;
}

void differential_person(const struct differential *d, const struct disease *x, int without, struct vector *out) {
  float sex[2] = {0}, age[AGES] = {0}, sexes = 0, ages = 0, sex_before[2], age_before[AGES];
  expected(d, x, without, sex_before, age_before);
  for (int i = 0; i < x->n_at; i++) {
    const struct known_case *k = &d->known[x->at[i]];
    int same = 0, band = differential_age_band(k->c.age);
    if (k->publication == without) continue;
    for (int j = 0; j < x->n_at; j++) same += d->known[x->at[j]].publication == k->publication;
    float w = differential_case_weight(same);
    if (k->c.sex) sex[k->c.sex - 1] += w, sexes += w;
    if (band < 0) continue;
    float spread = 1 + NEAR * ((band > 0) + (band < AGES - 1));
    for (int b = band > 0 ? band - 1 : 0; b <= band + 1 && b < AGES; b++) age[b] += w * (b == band ? 1 : NEAR) / spread;
    ages += w;
  }
  for (int i = 0; i < 2; i++) out->sex[i] = logf((sex[i] + SEX_WEIGHT * sex_before[i]) / (sexes + SEX_WEIGHT) / d->sex[i]);
  for (int i = 0; i < AGES; i++) out->age[i] = logf((age[i] + AGE_WEIGHT * age_before[i]) / (ages + AGE_WEIGHT) / d->age[i]);
  out->literature = literature(d, x, without);
}
