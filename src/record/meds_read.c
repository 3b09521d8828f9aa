#include <math.h>

#include "base/duckdb.h"
#include "base/file.h"
#include "base/thread.h"
#include "record/meds_internal.h"

enum { MEDS_CODE = 1024, MEDS_WORDS = 4096 };

void meds_reject(struct meds_reader *m, uint64_t row, const char *field, const char *reason) {
  m->stats->rejected++;
  if (!m->sink->reject) return;
  struct record_reject r = {.file = m->file, .row = row, .field = field, .reason = reason};
  m->sink->reject(m->sink->ctx, &r);
}

int meds_unused(struct meds_reader *m, struct error *e) {
  struct record r = {.kind = RECORD_DROPPED,
                     .time.us = TIME_STATIC,
                     .value = NAN,
                     .path = "MEDS.(column that is not part of MEDS)",
                     .file = m->file_index,
                     .row = 1};
  m->stats->dropped++;
  return m->sink->record(m->sink->ctx, &r, e);
}

int meds_describe(struct meds_reader *m, struct str code, struct str description, struct error *e) {
  bool is_new;
  if (code.n == 0 || description.n == 0) return OK;
  if (description.n > MEDS_WORDS) description.n = MEDS_WORDS;
  uint64_t *slot = map_put(&m->description, code, &is_new);
  if (!slot) return error_set(e, E_LIMIT, "MEDS codes: too many to hold in memory");
  if (!is_new) return OK;
  *slot = m->words.n;
  buf_str(&m->words, description);
  buf_putc(&m->words, 0);
  return buf_check(&m->words, e);
}

static bool code_usable(struct str s) {
  if (s.n == 0 || s.n > MEDS_CODE || !str_utf8_valid(s)) return false;
  for (size_t i = 0; i < s.n; i++)
    if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F) return false;
  return true;
}

int meds_take(struct meds_reader *m, const struct meds_event *ev, struct error *e) {
  if (ev->person.n == 0) return meds_reject(m, ev->row, "MEDS.subject_id", "no subject"), OK;
  if (!code_usable(ev->code)) return meds_reject(m, ev->row, "MEDS.code", "no usable code"), OK;
  if (isfinite(ev->value) && !record_number(ev->value)) return meds_reject(m, ev->row, "MEDS.numeric_value", "bad number"), OK;
  struct record r = {.kind = RECORD_EVENT,
                     .person = ev->person,
                     .code = ev->code,
                     .text = ev->text,
                     .unit = ev->unit,
                     .value = isfinite(ev->value) ? ev->value : NAN,
                     .time = {.us = ev->us, .precision = ev->precision},
                     .path = "MEDS",
                     .file = m->file_index,
                     .row = ev->row};
  bool birth = str_eqc(ev->code, "MEDS_BIRTH"), death = str_eqc(ev->code, "MEDS_DEATH");
  if (birth || death) {
    if (birth && ev->us == TIME_STATIC) return meds_reject(m, ev->row, "MEDS.time", "a birth without a time"), OK;
    r.kind = birth ? RECORD_BIRTH : RECORD_DEATH;
  }
  uint64_t at;
  if (map_get(&m->description, ev->code, &at)) r.display = str_c(m->words.p + at);
  m->stats->records++;
  m->stats->resources++;
  if (m->stats->resources % 65536 == 0) {
    if (m->sink->progress) m->sink->progress(m->sink->ctx, m->bytes_done, m->bytes_total);
    if (cancel_requested()) return error_set(e, E_CANCELLED, "interrupted");
  }
  return m->sink->record(m->sink->ctx, &r, e);
}

/* ---- which files ---- */
static bool ends(struct str s, const char *suffix) {
  size_t n = strlen(suffix);
  return s.n >= n && str_eq_nocase((struct str){s.p + s.n - n, n}, str_c(suffix));
}
static bool is_parquet(struct str s) { return ends(s, ".parquet"); }
static bool is_csv(struct str s) { return ends(s, ".csv") || ends(s, ".csv.gz"); }

struct sources {
  struct str *path;
  size_t n;
};

static int list(struct arena *a, const char *path, struct sources *s, struct error *e) {
  char data[4096];
  struct str *all;
  size_t n;
  bool whole = file_is_dir(path), has_data = false;
  if (whole) {
    TRY(file_join(data, sizeof data, path, "data", e));
    has_data = file_is_dir(data);
  }
  TRY(file_list(a, has_data ? data : path, &all, &n, e));
  size_t skip = whole ? strlen(path) : 0;
  bool parquet = false;
  for (size_t i = 0; i < n; i++) parquet |= is_parquet(all[i]);
  for (size_t i = 0; i < n; i++) {
    bool metadata = whole && strstr(all[i].p + skip, "metadata/") != NULL;
    if (!metadata && (parquet ? is_parquet(all[i]) : is_csv(all[i]))) all[s->n++] = all[i];
  }
  s->path = all;
  return s->n ? OK : error_where((error_set(e, E_NOTFOUND, "no .parquet or .csv file of MEDS events here"), e), path, 0, NULL);
}

static int read_codes(struct meds_reader *m, struct duck *d, const char *path, struct error *e) {
  static const char *const names[] = {"metadata/codes.parquet", "metadata/codes.csv", "metadata/codes.csv.gz", "codes.parquet",
                                      "codes.csv"};
  if (!file_is_dir(path)) return OK;
  for (int i = 0; i < 5; i++) {
    char codes[4096];
    TRY(file_join(codes, sizeof codes, path, names[i], e));
    bool parquet = is_parquet(str_c(codes));
    if (!file_exists(codes) || (parquet && !d)) continue;
    m->file = codes;
    int rc = parquet ? meds_parquet_codes(m, d, codes, e) : meds_csv_codes(m, codes, e);
    m->file = NULL;
    return rc < 0 ? error_where(e, codes, 0, NULL) : OK;
  }
  return OK;
}

static int read_all(struct meds_reader *m, struct duck *d, const struct sources *s, struct error *e) {
  for (size_t i = 0; i < s->n; i++) m->bytes_total += (uint64_t)file_size(s->path[i].p);
  for (size_t i = 0; i < s->n; i++) {
    uint64_t size = (uint64_t)file_size(s->path[i].p);
    m->file = s->path[i].p;
    m->file_index = (uint32_t)m->stats->files++;
    m->stats->bytes += size;
    if (m->sink->file) m->sink->file(m->sink->ctx, m->file_index, m->file);
    int rc = is_parquet(s->path[i]) ? meds_parquet_file(m, d, m->file, e) : meds_csv_file(m, m->file, e);
    if (rc < 0) return error_where(e, m->file, 0, NULL);
    m->bytes_done += size;
    if (m->sink->progress) m->sink->progress(m->sink->ctx, m->bytes_done, m->bytes_total);
  }
  return OK;
}

static int run(struct meds_reader *m, struct arena *a, const char *path, struct error *e) {
  struct sources s = {0};
  struct duck *d = NULL;
  TRY(list(a, path, &s, e));
  bool parquet = is_parquet(s.path[0]);
  if (parquet) {
    char dir[4096];
    if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir) return error_set(e, E_LIMIT, "path too long");
    if (!file_is_dir(path)) {
      char *slash = strrchr(dir, '/');
      if (slash)
        slash[slash == dir] = 0;
      else
        memcpy(dir, ".", 2);
    }
    TRY(duck_open(dir, &d, e));
  }
  int rc = read_codes(m, d, path, e);
  if (rc >= 0) rc = read_all(m, d, &s, e);
  duck_close(d);
  return rc;
}

int meds_read(const char *path, const struct record_sink *sink, struct record_stats *stats, struct error *e) {
  struct record_stats own = {0};
  struct meds_reader m = {.sink = sink, .stats = stats ? stats : &own};
  struct arena a;
  arena_init(&a, 0, 0);
  map_init(&m.description, 1 << 30);
  int rc = run(&m, &a, path, e);
  map_release(&m.description);
  buf_release(&m.words);
  arena_free(&a);
  return rc;
}
