/* Bytes -> segments, fields, parts; escapes; times; MLLP frames. Pure. */
#include "base/map.h"
#include "record/hl7v2_message.h"

static bool alnum(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
static bool digit(char c) { return c >= '0' && c <= '9'; }

/* ---- separators ---- */

static const char *separators(struct str text, struct hl7v2_message *m) {
  char all[5];
  if (text.n < 8 || memcmp(text.p, "MSH", 3) != 0) return "does not begin with MSH";
  m->field = all[0] = text.p[3];
  size_t n = 0;
  const char *marks = text.p + 4;
  while (4 + n < text.n && marks[n] != m->field) n++;
  if (n < 2 || n > 5) return "MSH-2 does not name the separators";
  m->component = all[1] = marks[0];
  m->repetition = all[2] = marks[1];
  m->escape = all[3] = n > 2 ? marks[2] : 0;
  m->sub = all[4] = n > 3 ? marks[3] : 0;
  for (int i = 0; i < 5; i++) {
    if (!all[i] && i >= 3) continue;
    if (all[i] <= ' ' || all[i] >= 0x7f || alnum(all[i])) return "separators that are none";
    for (int k = 0; k < i; k++)
      if (all[k] == all[i]) return "two separators that are the same";
  }
  return NULL;
}

/* ---- segments ---- */

static bool segment_name(struct str s, char separator) {
  if (s.n < 3 || s.p[0] < 'A' || s.p[0] > 'Z' || (s.n > 3 && s.p[3] != separator)) return false;
  for (int i = 1; i < 3; i++)
    if (!digit(s.p[i]) && (s.p[i] < 'A' || s.p[i] > 'Z')) return false;
  return true;
}

static struct str next_line(struct str *rest) {
  size_t n = 0;
  while (n < rest->n && rest->p[n] != '\r' && rest->p[n] != '\n') n++;
  struct str line = {rest->p, n};
  *rest = n < rest->n ? (struct str){rest->p + n + 1, rest->n - n - 1} : STR_NONE;
  return line;
}

const char *hl7v2_split(struct arena *a, struct str bytes, struct hl7v2_message *m) {
  struct str rest = bytes, line;
  uint32_t n = 0;
  m->segment = NULL;
  m->n = 0;
  const char *why = separators(bytes, m);
  if (why) return why;
  while (rest.p) n += next_line(&rest).n > 0;
  if (n > HL7V2_SEGMENTS) return "more segments than 100,000";
  m->segment = arena_array(a, struct hl7v2_segment, n + 1);
  if (!m->segment) return "larger than the memory for one message";
  for (rest = bytes; rest.p;) {
    line = next_line(&rest);
    if (!line.n) continue;
    struct hl7v2_segment *s = &m->segment[m->n++];
    s->text = line;
    if (segment_name(line, m->field)) memcpy(s->name, line.p, 3);
  }
  return NULL;
}

bool hl7v2_is_null(struct str s) { return s.n == 0 || (s.n == 2 && s.p[0] == '"' && s.p[1] == '"'); }

void hl7v2_cut(const struct hl7v2_message *m, const struct hl7v2_segment *s, struct hl7v2_row *row) {
  struct str rest = s->text;
  *row = (struct hl7v2_row){.name = s->name};
  row->field[row->n++] = str_cut(&rest, m->field);
  if (memcmp(s->name, "MSH", 4) == 0) row->field[row->n++] = (struct str){&m->field, 1};
  while (rest.p && row->n < HL7V2_FIELDS) {
    struct str f = str_cut(&rest, m->field);
    row->field[row->n++] = hl7v2_is_null(f) ? STR_NONE : f;
  }
  row->more = rest.p != NULL;
}

/* ---- parts ---- */

struct str hl7v2_repetition(const struct hl7v2_message *m, struct str *rest) {
  return str_cut(rest, m->repetition);
}

static struct str nth(struct str s, char at, int n) {
  struct str part = STR_NONE;
  if (!at) return n == 1 ? s : STR_NONE;
  for (int i = 0; i < n && s.p; i++) {
    part = str_cut(&s, at);
    if (i + 1 < n) part = STR_NONE;
  }
  return hl7v2_is_null(part) ? STR_NONE : part;
}

struct str hl7v2_component(const struct hl7v2_message *m, struct str repetition, int component) {
  return nth(repetition, m->component, component);
}

struct str hl7v2_part(const struct hl7v2_message *m, struct str repetition, int component, int sub) {
  return nth(nth(repetition, m->component, component), m->sub, sub);
}

/* ---- escapes ---- */

static int hex(char c) { return digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

/* What stands between two escape characters; bytes written, at most as many as the sequence had. */
static size_t escaped(const struct hl7v2_message *m, struct str s, char *out) {
  if (s.n == 1) {
    static const char names[] = "FSRET";
    const char marks[] = {m->field, m->component, m->repetition, m->escape, m->sub};
    const char *at = memchr(names, s.p[0], 5);
    if (at && marks[at - names]) return *out = marks[at - names], 1;
    return 0; /* \H\ and \N\: highlighting; \P\ truncation */
  }
  if (s.p[0] == 'X' && s.n % 2 == 1) {
    size_t n = 0;
    for (size_t i = 1; i < s.n; i += 2) {
      int high = hex(s.p[i]), low = hex(s.p[i + 1]);
      if (high < 0 || low < 0) return 0;
      int c = high << 4 | low;
      out[n++] = c == '\r' ? '\n' : c == 0 ? ' ' : (char)c;
    }
    bool text = str_utf8_valid((struct str){out, n});
    for (size_t i = 0; i < n && !text; i++)
      if (out[i] & 0x80) out[i] = '?';
    return n;
  }
  if (s.p[0] == '.' && (str_starts(s, STR(".br")) || str_starts(s, STR(".sp")) || str_starts(s, STR(".ce")))) return *out = '\n', 1;
  return 0; /* other formatting, character sets, local sequences */
}

struct str hl7v2_decode(const struct hl7v2_message *m, struct arena *a, struct str s) {
  if (!s.n || !m->escape || !memchr(s.p, m->escape, s.n)) return s;
  char *out = arena_alloc(a, s.n + 1, 1);
  size_t n = 0;
  if (!out) return STR_NONE;
  for (size_t i = 0; i < s.n; i++) {
    const char *end = s.p[i] == m->escape ? memchr(s.p + i + 1, m->escape, s.n - i - 1) : NULL;
    if (!end || end == s.p + i + 1) {
      out[n++] = s.p[i];
      continue;
    }
    n += escaped(m, (struct str){s.p + i + 1, (size_t)(end - s.p) - i - 1}, out + n);
    i = (size_t)(end - s.p);
  }
  return (struct str){out, n};
}

/* ---- times ---- */

bool hl7v2_time(struct str s, struct record_time *out) {
  char text[48];
  struct time_parts p;
  size_t digits = 0, n = 0;
  s = str_trim(s);
  while (digits < s.n && digit(s.p[digits])) digits++;
  struct str tail = {s.p + digits, s.n - digits};
  bool even = digits >= 4 && digits <= 14 && digits % 2 == 0;
  if (!even || tail.n > 16 || (tail.n && digits < 10)) return false;
  memcpy(text, s.p, 4), n = 4;
  if (digits >= 6) text[n++] = '-', memcpy(text + n, s.p + 4, 2), n += 2;
  if (digits >= 8) text[n++] = '-', memcpy(text + n, s.p + 6, 2), n += 2;
  if (digits >= 10) {
    text[n++] = 'T', memcpy(text + n, s.p + 8, 2), n += 2, text[n++] = ':';
    memcpy(text + n, digits >= 12 ? s.p + 10 : "00", 2), n += 2;
  }
  if (digits >= 14) text[n++] = ':', memcpy(text + n, s.p + 12, 2), n += 2;
  memcpy(text + n, tail.p, tail.n);
  if (time_parse((struct str){text, n + tail.n}, &p, &out->us, NULL) < 0) return false;
  out->precision = p.precision;
  out->has_offset = p.has_offset;
  out->offset_minutes = p.has_offset ? p.offset_minutes : 0;
  return true;
}

/* ---- MLLP ---- */

enum { BLOCK_START = 0x0B, BLOCK_END = 0x1C };

enum hl7v2_frame hl7v2_frame_next(struct str bytes, struct str *message, size_t *used) {
  const char *start = bytes.n ? memchr(bytes.p, BLOCK_START, bytes.n) : NULL;
  *message = STR_NONE;
  *used = start ? (size_t)(start - bytes.p) : bytes.n;
  if (!start) return HL7V2_FRAME_MORE;
  struct str in = {start + 1, bytes.n - *used - 1};
  const char *end = in.n ? memchr(in.p, BLOCK_END, in.n) : NULL, *again = in.n ? memchr(in.p, BLOCK_START, in.n) : NULL;
  if (again && (!end || again < end)) return *used = (size_t)(again - bytes.p), HL7V2_FRAME_WRONG;
  if (!end) return HL7V2_FRAME_MORE;
  if (end + 1 == bytes.p + bytes.n) return HL7V2_FRAME_MORE; /* the CR is still to come */
  *message = (struct str){in.p, (size_t)(end - in.p)};
  *used = (size_t)(end - bytes.p) + 1 + (end[1] == '\r');
  return HL7V2_FRAME_WHOLE;
}

void hl7v2_frame_put(struct buf *out, struct str message) {
  buf_putc(out, BLOCK_START);
  buf_str(out, message);
  buf_putc(out, BLOCK_END);
  buf_putc(out, '\r');
}
