/* The frame of the pages that commands write: one style for light and dark, no script, nothing loaded from elsewhere.
 *
 *     page_begin(&b, "The audit");  …  page_bar(&b, 0.42);  …  page_end(&b);
 */
#ifndef CLI_PAGE_H
#define CLI_PAGE_H
#include "base/str.h"

void page_begin(struct buf *b, const char *title);
void page_end(struct buf *b);
/* A cell with a bar whose length is `share` (0..1) of the column's width. */
void page_bar(struct buf *b, double share);
/* "1,234,567" */
void page_count(struct buf *b, uint64_t n);
#endif
