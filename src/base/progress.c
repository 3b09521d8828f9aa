#include "base/progress.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/time.h"

/* ---- terminal facts ---- */

const char *env_get(const char *name) {
  const char *v = getenv(name);
  return v && *v ? v : NULL;
}

bool term_is_tty(int fd) { return isatty(fd) == 1; }

bool term_colour(int fd) {
  const char *term = env_get("TERM");
  return term_is_tty(fd) && !env_get("NO_COLOR") && !(term && strcmp(term, "dumb") == 0);
}

int term_width(int fd) {
  struct winsize size;
  int64_t named;
  const char *columns = env_get("COLUMNS");
  if (columns && str_to_i64(str_c(columns), &named) == OK && named >= 20 && named <= 1000) return (int)named;
  if (term_is_tty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return 80;
}

/* ---- human numbers ---- */

static void scaled(double v, const char *const units[], int n, char out[32]) {
  int i = 0;
  while (i + 1 < n && v >= 999.5) {
    v /= 1000;
    i++;
  }
  const char *format = i == 0 ? "%.0f%s" : v < 9.995 ? "%.2f %s" : v < 99.95 ? "%.1f %s" : "%.0f %s";
  snprintf(out, 32, format, v, units[i]);
}

void human_count(uint64_t n, char out[32]) {
  static const char *const UNITS[] = {"", "k", "M", "G", "T", "P", "E"};
  scaled((double)n, UNITS, 7, out);
}

void human_bytes(uint64_t n, char out[32]) {
  static const char *const UNITS[] = {" B", "kB", "MB", "GB", "TB", "PB", "EB"};
  scaled((double)n, UNITS, 7, out);
}

void human_thousands(int64_t n, char out[32]) {
  char text[24];
  uint64_t u = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
  int length = snprintf(text, sizeof text, "%llu", (unsigned long long)u), to = 0;
  if (n < 0) out[to++] = '-';
  for (int i = 0; i < length; i++) {
    if (i && (length - i) % 3 == 0) out[to++] = ',';
    out[to++] = text[i];
  }
  out[to] = 0;
}

/* ---- progress ---- */

static atomic_int quiet;
void progress_mode(enum progress_mode m) { atomic_store(&quiet, m == PROGRESS_QUIET); }

static const double EVERY_TERMINAL = 0.1, EVERY_PLAIN = 5;

static void amount(const struct progress *p, uint64_t n, char out[32]) {
  if (p->unit == PROGRESS_BYTES)
    human_bytes(n, out);
  else
    human_count(n, out);
}

static void seconds_text(double s, char out[32]) {
  if (s < 100)
    snprintf(out, 32, "%.0f s", s);
  else if (s < 6000)
    snprintf(out, 32, "%d:%02d min", (int)s / 60, (int)s % 60);
  else if (s < 1e8)
    snprintf(out, 32, "%d:%02d h", (int)(s / 3600), (int)(s / 60) % 60);
  else
    strcpy(out, "long");
}

static void bar(struct buf *b, double part, int width) {
  static const char *const EIGHTHS[] = {"", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a", "\u2589"};
  int eighths = (int)(part * width * 8);
  for (int i = 0; i < eighths / 8; i++) buf_puts(b, "\u2588");
  buf_puts(b, EIGHTHS[eighths % 8]);
  for (int i = eighths / 8 + (eighths % 8 != 0); i < width; i++) buf_putc(b, ' ');
}

static void show(struct progress *p, const char *note) {
  struct buf b = {0};
  char done[32], rate[32], left[32];
  double spent = p->shown - p->started, speed = spent > 0 ? (double)p->done / spent : 0;
  amount(p, p->done, done);
  amount(p, (uint64_t)speed, rate);
  buf_printf(&b, p->terminal ? "\r\x1b[K%s " : "%s: ", p->label);
  if (p->total) {
    double part = (double)p->done / (double)p->total;
    if (part > 1) part = 1;
    if (p->terminal && term_width(STDERR_FILENO) >= 70) bar(&b, part, 20);
    buf_printf(&b, p->terminal ? " %3d %%" : "%d %%", (int)(part * 100));
    if (part > 0.01 && part < 1 && spent > 1) {
      seconds_text(spent * (1 - part) / part, left);
      buf_printf(&b, ", %s left", left);
    }
    buf_puts(&b, ", ");
  }
  buf_printf(&b, "%s, %s/s", done, rate);
  if (note) buf_printf(&b, ", %s", note);
  if (!p->terminal) buf_putc(&b, '\n');
  fputs(buf_cstr(&b), stderr);
  fflush(stderr);
  buf_release(&b);
}

void progress_start(struct progress *p, const char *label, uint64_t total, enum progress_unit unit) {
  *p = (struct progress){.total = total, .unit = unit, .active = !atomic_load(&quiet)};
  snprintf(p->label, sizeof p->label, "%s", label);
  p->terminal = term_is_tty(STDERR_FILENO);
  p->started = p->shown = time_monotonic();
}

void progress_update(struct progress *p, uint64_t done, const char *note) {
  p->done = done;
  if (!p->active) return;
  double now = time_monotonic();
  if (now - p->shown < (p->terminal ? EVERY_TERMINAL : EVERY_PLAIN)) return;
  p->shown = now;
  show(p, note);
}

void progress_end(struct progress *p, const char *result) {
  if (!p->active) return;
  char spent[32];
  seconds_text(time_monotonic() - p->started, spent);
  fprintf(stderr, "%s%s: %s (%s)\n", p->terminal ? "\r\x1b[K" : "", p->label, result ? result : "done", spent);
  fflush(stderr);
  p->active = false;
}

void progress_note(const char *line) {
  if (!atomic_load(&quiet)) fprintf(stderr, "%s\n", line);
}

/* ---- tables ---- */

void table_init(struct table *t, int columns, ...) {
  *t = (struct table){.columns = columns};
  arena_init(&t->a, 0, 0);
  va_list ap;
  va_start(ap, columns);
  table_row_v(t, ap);
  va_end(ap);
}

void table_row(struct table *t, ...) {
  va_list ap;
  va_start(ap, t);
  table_row_v(t, ap);
  va_end(ap);
}

/* A row that finds no memory is left out: a table is for looking at. */
void table_row_v(struct table *t, va_list ap) {
  if (t->n == t->cap) {
    int cap = t->cap ? t->cap * 2 : 16;
    const char ***rows = mem_realloc(t->rows, (size_t)cap * sizeof *rows);
    if (!rows) return;
    t->rows = rows;
    t->cap = cap;
  }
  const char **row = arena_array(&t->a, const char *, (size_t)t->columns);
  if (!row) return;
  for (int i = 0; i < t->columns; i++) {
    const char *cell = va_arg(ap, const char *);
    row[i] = cell ? arena_strndup(&t->a, cell, strlen(cell)) : "";
    if (!row[i]) return;
  }
  t->rows[t->n++] = row;
}

/* Characters, not bytes; wide East Asian characters do not occur in our tables. */
static int columns_of(const char *s) {
  int n = 0;
  for (; *s; s++) n += ((unsigned char)*s & 0xC0) != 0x80;
  return n;
}

static bool numeric(const char *s) {
  if (!*s || strcmp(s, "-") == 0) return true;
  if (*s == '+' || *s == '-') s++;
  return *s >= '0' && *s <= '9';
}

static void print_cell(FILE *to, const char *cell, int width, bool right, bool last) {
  int gap = width - columns_of(cell);
  if (right) fprintf(to, "%*s", gap, "");
  fputs(cell, to);
  if (!right && !last) fprintf(to, "%*s", gap, "");
  if (!last) fputs("  ", to);
}

void table_print(const struct table *t, FILE *to) {
  enum { MOST = 64 };
  int width[MOST] = {0};
  bool right[MOST];
  int columns = t->columns < MOST ? t->columns : MOST;
  for (int c = 0; c < columns; c++) {
    right[c] = t->n > 1;
    for (int r = 0; r < t->n; r++) {
      int w = columns_of(t->rows[r][c]);
      if (w > width[c]) width[c] = w;
      if (r && !numeric(t->rows[r][c])) right[c] = false;
    }
  }
  for (int r = 0; r < t->n; r++) {
    for (int c = 0; c < columns; c++) print_cell(to, t->rows[r][c], width[c], right[c], c == columns - 1);
    fputc('\n', to);
    if (r) continue;
    for (int c = 0; c < columns; c++) {
      for (int i = 0; i < width[c]; i++) fputs("\u2500", to);
      fputs(c == columns - 1 ? "\n" : "  ", to);
    }
  }
}

void table_release(struct table *t) {
  mem_free(t->rows);
  arena_free(&t->a);
  *t = (struct table){0};
}
