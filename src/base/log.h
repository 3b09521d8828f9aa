/* Log: one JSON object a line on stderr when stderr is no terminal or after log_json(true); plain words on a terminal.
 * Never a value from data: fields are counts, codes of our own, paths, durations. */
#ifndef BASE_LOG_H
#define BASE_LOG_H
#include "base/error.h"
#include <stdbool.h>
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_level(enum log_level l);
void log_json(bool on);
void log_line(enum log_level l, const char *fmt, ...) PRINTF(2, 3);
void log_failure(enum log_level l, const struct error *e);
#endif
