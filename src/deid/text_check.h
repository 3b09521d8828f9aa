/* Private to deid/text*: what a value must be beyond its shape. Named in the rules' file ("verify"). */
#ifndef DEID_TEXT_CHECK_H
#define DEID_TEXT_CHECK_H
#include "base/str.h"

struct text_check_place {
  struct str text;
  uint32_t start, end; /* the value */
};
typedef bool (*text_check_fn)(const struct text_check_place *p);
text_check_fn text_check_named(struct str name); /* NULL: no such verifier */
bool text_check_luhn(const char *digits, size_t n);
int text_label_named(struct str name); /* -1: no such label */
/* 1..12, 0 = none: English, Spanish and German months, whole or short, also some that are often misspelt */
int text_month(struct str word);
#endif
