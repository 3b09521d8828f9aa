/* Identifier shapes in a text that is said to be clean: addresses of mail and web, telephone and social security numbers, numbers of ten digits
 * and more, and, where asked, whole dates. The rules of the wall's second look (text_residual.c): no lists, no patterns' engine, no names.
 *
 *     struct text_shape s[32];
 *     uint32_t n = text_shapes(text, false, s, 32);           // sorted, without overlap; 32: there may be more
 *
 * For whoever lets text out that the wall has not made (serve's output filter). Pure; bytes; never fails.
 */
#ifndef DEID_SHAPE_H
#define DEID_SHAPE_H
#include "base/str.h"

struct text_shape {
  uint32_t start, end; /* bytes, half open */
  int label;           /* enum text_label (deid/text.h) */
};
uint32_t text_shapes(struct str text, bool dates, struct text_shape *out, uint32_t room);
#endif
