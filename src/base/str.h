/* Text as pointer + length, and a growable byte buffer.
 *
 *     struct str s = STR("abc");   printf("%.*s", STR_ARG(s));
 *     struct buf b = {0};  buf_printf(&b, "%d rows\n", n);  ...  buf_release(&b);
 *
 * A struct str never owns; its header says until when it is valid. A struct buf owns its bytes; errors are sticky:
 * after a failed growth `failed` is set and later appends do nothing, so a caller checks once at the end.
 */
#ifndef BASE_STR_H
#define BASE_STR_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"

struct str {
  const char *p; /* not NUL-terminated; NULL = absent */
  size_t n;
};
#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
#define STR_ARG(s) (int)(s).n, (s).p
static inline struct str str_c(const char *s) { return (struct str){s, s ? strlen(s) : 0}; }
static inline bool str_eq(struct str a, struct str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool str_eqc(struct str a, const char *b) { return str_eq(a, str_c(b)); }
int str_cmp(struct str a, struct str b); /* bytewise, shorter first */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
struct str str_trim(struct str s);                     /* ASCII space */
struct str str_cut(struct str *rest, char at);         /* the part before `at`; *rest becomes what follows, or STR_NONE */
bool str_eq_nocase(struct str a, struct str b);        /* ASCII */
struct str str_copy(struct arena *a, struct str s);    /* STR_NONE when out of memory and s.n > 0 */
int str_to_i64(struct str s, int64_t *out) MUST_CHECK; /* whole string, E_INPUT otherwise */
int str_to_f64(struct str s, double *out) MUST_CHECK;  /* whole string, C locale, finite; E_INPUT otherwise */
bool str_utf8_valid(struct str s);
size_t str_utf8_next(struct str s); /* bytes of the well-formed character that s begins with; 0 if malformed or empty */
/* Levenshtein in bytes, for "did you mean"; limit + 1 stands for anything more than limit (and for texts over 512 bytes). */
unsigned str_distance(struct str a, struct str b, unsigned limit);

struct buf {
  char *p;
  size_t n, cap;
  bool failed;
};
void buf_release(struct buf *b);
void buf_clear(struct buf *b); /* keeps the memory */
bool buf_reserve(struct buf *b, size_t more);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_str(struct buf *b, struct str s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF(2, 0);
void buf_html(struct buf *b, struct str s);                     /* escaped for text and attributes */
const char *buf_cstr(struct buf *b);                            /* NUL-terminated view; "" if empty or failed */
int buf_check(const struct buf *b, struct error *e) MUST_CHECK; /* E_NOMEM if any append failed */
#endif
