/* SMART App Launch: logins under way and open sessions, in memory (serve_smart.c). */
#ifndef SERVE_SMART_H
#define SERVE_SMART_H
#include "base/error.h"

struct smart;
int smart_open(struct smart **out, struct error *e) MUST_CHECK;
void smart_close(struct smart *m); /* NULL too; wipes */
#endif
