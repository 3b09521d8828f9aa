/* Private to deid/: what may be kept of a postal code (45 CFR 164.514(b)(2)(i)(B)).
 *
 *     char prefix[4];
 *     switch (zip3_of(pol, r->postcode, r->country, prefix)) { case ZIP3_KEPT: case ZIP3_CLEARED: emit(prefix); … }
 */
#ifndef DEID_ZIP3_H
#define DEID_ZIP3_H
#include "deid/deid.h"

enum zip3 {
  ZIP3_NONE,   /* no postal code, or no US address (an address without a country is not taken for one): nothing is kept */
  ZIP3_KEPT,   /* the prefix */
  ZIP3_CLEARED /* "000": restricted, unlisted, or not written as a whole ZIP code (leading zeros lost by a spreadsheet) */
};
enum zip3 zip3_of(const struct deid_policy *p, struct str postcode, struct str country, char out[4]);
#endif
