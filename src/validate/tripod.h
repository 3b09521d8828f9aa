/* The TRIPOD+AI checklist (Collins et al., BMJ 2024;385:e078378), each item answered from live numbers where the program knows, and from the hospital's own
 * statements (SITE/policy/tripod.json: {"17": "Approved by …"}) where only people know. What nobody stated is said to be missing. */
#ifndef VALIDATE_TRIPOD_H
#define VALIDATE_TRIPOD_H
#include "base/json.h"
#include "validate/validate.h"

int tripod_statements_load(const char *path, struct arena *a, struct tripod *out, struct error *e) MUST_CHECK;
int tripod_answered(const struct validation *v); /* of TRIPOD_ITEMS */
void tripod_json(const struct validation *v, struct json_out *o);
void tripod_html(const struct validation *v, struct buf *b);
#endif
