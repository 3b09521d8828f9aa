#include "deid/zip3.h"

static bool us(const struct deid_policy *p, struct str country) {
  for (int i = 0; i < p->zip3_country_n; i++)
    if (str_eq_nocase(country, str_c(p->zip3_country[i]))) return true;
  return false;
}

/* 12345, 123456789 or 12345-6789 */
static bool whole(struct str s) {
  if (s.n == 10 && s.p[5] != '-') return false;
  if (s.n != 5 && s.n != 9 && s.n != 10) return false;
  for (size_t i = 0; i < s.n; i++)
    if ((s.p[i] < '0' || s.p[i] > '9') && !(s.n == 10 && i == 5)) return false;
  return true;
}

enum zip3 zip3_of(const struct deid_policy *p, struct str postcode, struct str country, char out[4]) {
  postcode = str_trim(postcode);
  if (postcode.n == 0 || !us(p, str_trim(country))) return ZIP3_NONE;
  memcpy(out, "000", 4);
  if (p->zip3_n == 0 || !whole(postcode)) return ZIP3_CLEARED; /* without a list nothing is known to be safe */
  for (int i = 0; i < p->zip3_n; i++)
    if (memcmp(p->zip3[i], postcode.p, 3) == 0) return ZIP3_CLEARED;
  memcpy(out, postcode.p, 3);
  return ZIP3_KEPT;
}
