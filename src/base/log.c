#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/json.h"
#include "base/progress.h"
#include "base/time.h"

static const char *const NAMES[] = {"error", "warn", "info", "debug"};
static atomic_int level = LOG_INFO;
static atomic_int as_json = -1; /* -1: ask whether stderr is a terminal */

void log_level(enum log_level l) { atomic_store(&level, (int)l); }
void log_json(bool on) { atomic_store(&as_json, on ? 1 : 0); }

static bool wants(enum log_level l) { return (int)l <= atomic_load(&level); }

static bool json(void) {
  int v = atomic_load(&as_json);
  return v < 0 ? !term_is_tty(STDERR_FILENO) : v != 0;
}

/* One write per line: lines of several threads do not mix. */
static void emit(struct buf *b) {
  buf_putc(b, '\n');
  if (!b->failed) {
    ssize_t ignored = write(STDERR_FILENO, b->p, b->n);
    (void)ignored;
  }
  buf_release(b);
}

static void line_begin(struct json_out *o, struct buf *b, enum log_level l) {
  char when[40];
  int64_t now = time_now();
  time_format(now - now % 1000, when); /* milliseconds */
  size_t n = strlen(when);
  if (n > 23) n = 23;
  strcpy(when + n, "Z");
  json_out_init(o, b, false);
  json_out_object(o);
  json_kv_c(o, "time", when);
  json_kv_c(o, "level", NAMES[l]);
}

static void plain_begin(struct buf *b, enum log_level l) {
  static const char *const COLOURS[] = {"\x1b[31m", "\x1b[33m", "", "\x1b[2m"};
  bool colour = term_colour(STDERR_FILENO) && l != LOG_INFO;
  if (l != LOG_INFO) buf_printf(b, "%s%s:%s ", colour ? COLOURS[l] : "", NAMES[l], colour ? "\x1b[0m" : "");
}

void log_line(enum log_level l, const char *fmt, ...) {
  if (!wants(l)) return;
  struct buf text = {0}, out = {0};
  va_list ap;
  va_start(ap, fmt);
  buf_vprintf(&text, fmt, ap);
  va_end(ap);
  if (json()) {
    struct json_out o;
    line_begin(&o, &out, l);
    json_kv_str(&o, "message", (struct str){buf_cstr(&text), text.n});
    json_out_end(&o);
  } else {
    plain_begin(&out, l);
    buf_str(&out, (struct str){text.p, text.n});
  }
  emit(&out);
  buf_release(&text);
}

void log_failure(enum log_level l, const struct error *e) {
  if (!wants(l)) return;
  struct buf out = {0};
  if (json()) {
    struct json_out o;
    line_begin(&o, &out, l);
    json_kv_c(&o, "message", e->message);
    json_kv_c(&o, "code", error_name(e->code));
    if (e->file[0]) json_kv_c(&o, "file", e->file);
    if (e->row) json_kv_i64(&o, "row", e->row);
    if (e->field[0]) json_kv_c(&o, "field", e->field);
    if (e->source) json_kv_c(&o, "source", e->source);
    if (e->source) json_kv_i64(&o, "line", e->line);
    json_out_end(&o);
  } else {
    char line[sizeof e->file + sizeof e->field + sizeof e->message + 96];
    error_format(e, line, sizeof line);
    plain_begin(&out, l);
    buf_puts(&out, line);
  }
  emit(&out);
}
