/* A person's life for people: header, picture, list; and as JSON for the workbench. */
#include <math.h>

#include "base/json.h"
#include "base/progress.h"
#include "timeline/timeline_store.h"

/* Lanes of the picture. A code belongs to the first lane one of whose systems it starts with. */
enum { LANES = KIND_OTHER + 1, SYSTEMS = 14 };
struct lane {
  const char *label, *colour;
  const char *systems[SYSTEMS];
};
static const struct lane lanes[LANES] = {
    {"encounters", "36", {"ENCOUNTER//", "VISIT", "HOSPITAL_", "ICU_", "ED_", "TRANSFER_", "ADMISSION", "DISCHARGE"}},
    {"conditions", "31", {"ICD10CM//", "ICD9CM//", "ICD10//", "ICD9//", "SNOMED//", "DIAGNOSIS//", "CONDITION//", "PHECODE//"}},
    {"medicines", "33", {"ATC//", "RXNORM//", "RxNorm//", "NDC//", "MEDICATION//", "CVX//", "INFUSION_", "DRUG//"}},
    {"procedures", "35", {"ICD10PCS//", "ICD9PCS//", "CPT//", "CPT4//", "HCPCS//", "PROCEDURE//", "CDT//"}},
    {"measurements", "32", {"LOINC//", "LAB//", "VITAL", "PHYSIONET2012//", "PHYSIONET2019//", "URINE", "SUBJECT_FLUID_OUTPUT//"}},
    {"allergies", "91", {NULL}},
    {"other", "37", {NULL}},
};

enum timeline_kind timeline_kind_of(struct str code, struct str display) {
  if (str_ends(code, STR(TIMELINE_ALLERGY))) return KIND_ALLERGY;
  if (str_starts(code, STR("SNOMED//")) && str_ends(display, STR("(procedure)"))) return KIND_PROCEDURE;
  for (int i = 0; i < KIND_ALLERGY; i++)
    for (int k = 0; k < SYSTEMS && lanes[i].systems[k]; k++)
      if (str_starts(code, str_c(lanes[i].systems[k]))) return (enum timeline_kind)i;
  return KIND_OTHER;
}

struct life {
  const struct timeline *t;
  struct timeline_view v;
  int64_t birth, first, last; /* birth INT64_MIN: unknown; first > last: no timed event but the birth */
  struct str sex;
};

static bool is_birth(const struct life *l, uint32_t k) { return str_eqc(timeline_code_name(l->t, l->v.code[k]), TIMELINE_BIRTH); }

static struct life life_of(const struct timeline *t, uint32_t index) {
  struct life l = {.t = t, .v = timeline_view(t, index), .birth = INT64_MIN, .first = INT64_MAX, .last = INT64_MIN};
  for (uint32_t k = 0; k < l.v.n; k++) {
    struct str sex = l.sex.p ? STR_NONE : timeline_sex_of(timeline_code_name(t, l.v.code[k]));
    if (sex.n) l.sex = sex;
    if (k < l.v.statics) continue;
    if (is_birth(&l, k)) {
      l.birth = l.v.time[k];
      continue;
    }
    if (l.first == INT64_MAX) l.first = l.v.time[k];
    l.last = l.v.time[k];
  }
  return l;
}

static const char *split_name(enum split s) { return s == SPLIT_TRAIN ? "train" : s == SPLIT_TUNING ? "tuning" : "held out"; }
static double years(int64_t from, int64_t to) { return ((double)to - (double)from) / (double)TIME_YEAR; }

static void paint(struct buf *out, bool colour, const char *code, const char *text) {
  if (colour) buf_printf(out, "\x1b[%sm", code);
  buf_puts(out, text);
  if (colour) buf_puts(out, "\x1b[0m");
}

/* Text from data onto a terminal: control characters would be commands there. */
static size_t put_clean(struct buf *out, struct str s, size_t columns) {
  size_t used = 0;
  while (s.n && used < columns) {
    size_t k = str_utf8_next(s);
    if (k == 0 || (k == 1 && ((uint8_t)*s.p < 32 || *s.p == 127)) || (k == 2 && (uint8_t)s.p[0] == 0xC2 && (uint8_t)s.p[1] < 0xA0)) {
      buf_putc(out, '?');
      k = k ? k : 1;
    } else {
      buf_put(out, s.p, k);
    }
    s = (struct str){s.p + k, s.n - k};
    used++;
  }
  return used;
}

static uint32_t days_of(const struct life *l) {
  uint32_t days = 0;
  int64_t last = INT64_MIN;
  for (uint32_t k = l->v.statics; k < l->v.n; k++) {
    int64_t d = time_day(l->v.time[k]);
    if (is_birth(l, k) || d == last) continue;
    last = d;
    days++;
  }
  return days;
}

static void header(const struct life *l, bool colour, struct buf *out) {
  char head[64], count[32], days[32];
  snprintf(head, sizeof head, "Subject %lld", (long long)l->v.subject);
  paint(out, colour, "1", head);
  if (l->sex.n) {
    buf_puts(out, "  sex ");
    put_clean(out, l->sex, 24);
  }
  bool timed = l->first <= l->last;
  if (timed && l->birth != INT64_MIN && years(l->first, l->last) < 0.1)
    buf_printf(out, "  age %.1f", years(l->birth, l->first));
  else if (timed && l->birth != INT64_MIN)
    buf_printf(out, "  age %.1f to %.1f", years(l->birth, l->first), years(l->birth, l->last));
  else if (timed)
    buf_printf(out, "  %.1f years of record", years(l->first, l->last));
  human_thousands(l->v.n, count);
  human_thousands(days_of(l), days);
  buf_printf(out, "  %s events on %s days  split %s\n", count, days, split_name(l->v.split));
}

/* ---- picture ---- */

enum { LABEL_COLUMNS = 13, PICTURE_MAX = 400, PICTURE_LEAST = 40 };

/* One braille character holds two bars of four dots, filled from the bottom. */
static void put_bars(struct buf *out, int left, int right) {
  static const uint8_t l[5] = {0, 0x40, 0x44, 0x46, 0x47}, r[5] = {0, 0x80, 0xA0, 0xB0, 0xB8};
  uint8_t dots = l[left] | r[right];
  char c[3] = {(char)0xE2, (char)(0xA0 | dots >> 6), (char)(0x80 | (dots & 0x3F))};
  buf_put(out, c, 3);
}

static int height(uint32_t n, double most) {
  if (n == 0) return 0;
  int h = 1 + (int)(3.0 * log1p(n) / log1p(most) + 0.25);
  return h > 4 ? 4 : h;
}

static void axis(const struct life *l, int columns, struct buf *out) {
  char from[48], to[48];
  if (l->birth != INT64_MIN && years(l->first, l->last) >= 2) { /* ages tell nothing of a stay of days */
    snprintf(from, sizeof from, "age %.1f", years(l->birth, l->first));
    snprintf(to, sizeof to, "age %.1f", years(l->birth, l->last));
  } else {
    time_format_date(l->first, from);
    time_format_date(l->last, to);
  }
  int gap = columns - (int)strlen(from) - (int)strlen(to);
  buf_printf(out, "%*s", LABEL_COLUMNS, "");
  for (int i = 0; i < columns; i++) buf_puts(out, i == 0 ? "├" : i == columns - 1 ? "┤" : i % 10 == 0 ? "┼" : "─");
  buf_printf(out, "\n%*s%s%*s%s\n", LABEL_COLUMNS, "", from, gap > 0 ? gap : 1, "", to);
}

static void picture(const struct life *l, int width, bool colour, struct buf *out) {
  if (l->first >= l->last || width < PICTURE_LEAST) return;
  int columns = width - LABEL_COLUMNS < PICTURE_MAX ? width - LABEL_COLUMNS : PICTURE_MAX;
  static const uint32_t none[2 * PICTURE_MAX];
  uint32_t bins[LANES][2 * PICTURE_MAX];
  memset(bins, 0, sizeof bins);
  double span = (double)l->last - (double)l->first, most = 1;
  for (uint32_t k = l->v.statics; k < l->v.n; k++) {
    if (is_birth(l, k)) continue;
    struct str code = timeline_code_name(l->t, l->v.code[k]), display = timeline_code_display(l->t, l->v.code[k]);
    double x = ((double)l->v.time[k] - (double)l->first) / span * 2 * columns;
    int bin = x < 0 ? 0 : x >= 2 * columns ? 2 * columns - 1 : (int)x;
    uint32_t n = ++bins[(int)timeline_kind_of(code, display)][bin];
    if (n > most) most = n;
  }
  for (int i = 0; i < LANES; i++) {
    if (memcmp(bins[i], none, sizeof bins[i]) == 0) continue;
    buf_printf(out, "%-*s", LABEL_COLUMNS, lanes[i].label);
    if (colour) buf_printf(out, "\x1b[%sm", lanes[i].colour);
    for (int x = 0; x < columns; x++) put_bars(out, height(bins[i][2 * x], most), height(bins[i][2 * x + 1], most));
    if (colour) buf_puts(out, "\x1b[0m");
    buf_putc(out, '\n');
  }
  axis(l, columns, out);
}

/* ---- list ---- */

static void put_value(const struct life *l, uint32_t k, struct buf *out) {
  float value = l->v.value[k];
  struct str unit = timeline_unit_name(l->t, l->v.unit[k]);
  if (value == value) buf_printf(out, "  %.6g", (double)value);
  if (value == value && unit.n) {
    buf_putc(out, ' ');
    put_clean(out, unit, 20);
  }
}

static void put_event(const struct life *l, uint32_t index, uint32_t k, int width, bool colour, struct buf *out) {
  struct str code = timeline_code_name(l->t, l->v.code[k]), display = timeline_code_display(l->t, l->v.code[k]),
             text = timeline_text(l->t, index, k);
  int lane = (int)timeline_kind_of(code, display);
  size_t room = width > 60 ? (size_t)width - 36 : 24;
  if (l->v.time[k] == TIME_STATIC) {
    buf_puts(out, "         ");
  } else {
    char when[32];
    time_format(l->v.time[k], when);
    buf_printf(out, "  %.5s  ", strlen(when) > 11 ? when + 11 : "");
  }
  if (colour) buf_printf(out, "\x1b[%sm", lanes[lane].colour);
  size_t used = put_clean(out, display.n ? display : code, room);
  if (colour) buf_puts(out, "\x1b[0m");
  put_value(l, k, out);
  if (display.n && used + 20 < (size_t)(width > 0 ? width : 80)) {
    buf_puts(out, colour ? "  \x1b[2m" : "  ");
    put_clean(out, code, 48);
    if (colour) buf_puts(out, "\x1b[0m");
  }
  char blob[65];
  if (timeline_blob(l->t, index, k, blob)) buf_printf(out, "  [blob %.12s]", blob);
  buf_putc(out, '\n');
  if (text.n) {
    buf_puts(out, "           | ");
    put_clean(out, text, room);
    buf_puts(out, text.n > room ? "...\n" : "\n");
  }
}

static void put_day(const struct life *l, uint32_t k, bool colour, struct buf *out) {
  char date[16], line[64];
  time_format_date(l->v.time[k], date);
  if (l->birth != INT64_MIN && l->v.time[k] >= l->birth)
    snprintf(line, sizeof line, "%s  age %.1f", date, years(l->birth, l->v.time[k]));
  else
    snprintf(line, sizeof line, "%s", date);
  paint(out, colour, "1", line);
  buf_putc(out, '\n');
}

/* First timed event to show: the latest `limit` of them. */
static uint32_t first_shown(const struct life *l, uint32_t limit) {
  uint32_t timed = l->v.n - l->v.statics;
  return limit == 0 || timed <= limit ? l->v.statics : l->v.n - limit;
}

void timeline_print(const struct timeline *t, uint32_t index, int width, bool colour, uint32_t limit, struct buf *out) {
  struct life l = life_of(t, index);
  uint32_t from = first_shown(&l, limit);
  header(&l, colour, out);
  buf_putc(out, '\n');
  picture(&l, width, colour, out);
  if (l.v.statics) paint(out, colour, "1", "without a time\n");
  for (uint32_t k = 0; k < l.v.statics; k++) put_event(&l, index, k, width, colour, out);
  if (from > l.v.statics) {
    char n[32];
    human_thousands(from - l.v.statics, n);
    buf_printf(out, "... %s earlier events\n", n);
  }
  for (uint32_t k = from; k < l.v.n; k++) {
    if (k == from || time_day(l.v.time[k]) != time_day(l.v.time[k - 1])) put_day(&l, k, colour, out);
    put_event(&l, index, k, width, colour, out);
  }
  if (l.v.labels) paint(out, colour, "1", "\nknown to tasks alone\n");
  for (uint32_t k = l.v.n; k < l.v.n + l.v.labels; k++) {
    if (l.v.time[k] != TIME_STATIC && (k == l.v.n || time_day(l.v.time[k]) != time_day(l.v.time[k - 1]))) put_day(&l, k, colour, out);
    put_event(&l, index, k, width, colour, out);
  }
}

static void json_event(const struct life *l, uint32_t index, uint32_t k, struct json_out *o) {
  char blob[65];
  struct str display = timeline_code_display(l->t, l->v.code[k]), unit = timeline_unit_name(l->t, l->v.unit[k]);
  json_out_object(o);
  json_out_key(o, "t");
  if (l->v.time[k] == TIME_STATIC)
    json_out_null(o);
  else
    json_out_i64(o, l->v.time[k]);
  json_kv_str(o, "code", timeline_code_name(l->t, l->v.code[k]));
  if (display.n) json_kv_str(o, "display", display);
  if (l->v.value[k] == l->v.value[k]) {
    json_out_key(o, "value");
    json_out_f32(o, l->v.value[k]);
  }
  if (unit.n) json_kv_str(o, "unit", unit);
  if (timeline_blob(l->t, index, k, blob)) json_kv_c(o, "blob", blob);
  json_out_end(o);
}

void timeline_json(const struct timeline *t, uint32_t index, uint32_t limit, struct json_out *o) {
  struct life l = life_of(t, index);
  uint32_t from = first_shown(&l, limit);
  char subject[32];
  snprintf(subject, sizeof subject, "%lld", (long long)l.v.subject);
  json_out_object(o);
  json_kv_c(o, "subject", subject);
  json_out_key(o, "birth");
  if (l.birth == INT64_MIN)
    json_out_null(o);
  else
    json_out_i64(o, l.birth);
  if (l.sex.n) json_kv_str(o, "sex", l.sex);
  json_kv_c(o, "split", l.v.split == SPLIT_HELD_OUT ? "held_out" : split_name(l.v.split));
  json_kv_i64(o, "n", l.v.n);
  json_kv_i64(o, "earlier", from - l.v.statics);
  json_out_key(o, "events");
  json_out_array(o);
  for (uint32_t k = 0; k < l.v.statics; k++) json_event(&l, index, k, o);
  for (uint32_t k = from; k < l.v.n; k++) json_event(&l, index, k, o);
  json_out_end(o);
  if (l.v.labels) {
    json_out_key(o, "labels");
    json_out_array(o);
    for (uint32_t k = l.v.n; k < l.v.n + l.v.labels; k++) json_event(&l, index, k, o);
    json_out_end(o);
  }
  json_out_end(o);
}
