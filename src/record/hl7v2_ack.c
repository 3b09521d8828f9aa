/* Acknowledgements: HL7 v2.5.1, 2.9.2 (original mode) and 2.15 (MSA, ERR). */
#include <stdio.h>

#include "base/str.h"
#include "base/time.h"
#include "record/hl7v2.h"

enum { ECHO_MOST = 227 };

/* What the sender wrote of itself, back as it came: it holds no segment end. */
static void echo(struct buf *out, const struct hl7v2_answer *a, struct str s) {
  for (size_t i = 0; i < s.n && i < ECHO_MOST; i++)
    if ((unsigned char)s.p[i] >= ' ' && s.p[i] != a->field) buf_putc(out, s.p[i]);
}

static void stamp(struct buf *out, int64_t now) {
  int y, m, d;
  int64_t days = now / TIME_DAY, s = now % TIME_DAY / TIME_SECOND;
  time_to_civil(days, &y, &m, &d);
  buf_printf(out, "%04d%02d%02d%02d%02d%02d", y, m, d, (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
}

void hl7v2_problem_add(struct hl7v2_answer *a, const char *code, const char *segment, int field, const char *reason, int condition) {
  a->code = code;
  if (a->problems < HL7V2_PROBLEMS) a->problem[a->problems++] = (struct hl7v2_problem){segment, field, reason, condition};
}

static void problem(const struct hl7v2_answer *a, const struct hl7v2_problem *p, struct buf *out) {
  char f = a->field, c = a->marks[0];
  buf_printf(out, "ERR%c%c", f, f);
  if (p->segment[0]) buf_printf(out, "%s%c1", p->segment, c);
  if (p->segment[0] && p->field) buf_printf(out, "%c%d", c, p->field);
  buf_printf(out, "%c%d%c%cHL70357%c%c%c%c%c%c%s\r", f, p->condition, c, c, f, strcmp(a->code, "AA") == 0 ? 'W' : 'E', f, f, f, f,
             p->reason);
}

void hl7v2_acknowledge(const struct hl7v2_answer *a, struct str id, int64_t now, struct buf *out) {
  char f = a->field, c = a->marks[0];
  buf_printf(out, "MSH%c%s%c", f, a->marks, f);
  echo(out, a, a->to_application), buf_putc(out, f);
  echo(out, a, a->to_facility), buf_putc(out, f);
  echo(out, a, a->application), buf_putc(out, f);
  echo(out, a, a->facility), buf_putc(out, f);
  stamp(out, now);
  buf_printf(out, "%c%cACK", f, f);
  if (a->trigger.n) buf_putc(out, c), echo(out, a, a->trigger), buf_printf(out, "%cACK", c);
  buf_putc(out, f), echo(out, a, id), buf_putc(out, f);
  echo(out, a, a->processing.n ? a->processing : STR("P")), buf_putc(out, f);
  echo(out, a, a->version.n ? a->version : STR("2.5.1"));
  buf_printf(out, "\rMSA%c%s%c", f, a->code, f);
  echo(out, a, a->control);
  buf_putc(out, '\r');
  for (int i = 0; i < a->problems; i++) problem(a, &a->problem[i], out);
}
