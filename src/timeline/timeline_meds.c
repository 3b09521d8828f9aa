#include <math.h>
#include <stdio.h>

#include "base/duckdb.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "timeline/timeline.h"

/* One walk over the store at a time: the events of a split, the splits of all subjects, or the codes. */
struct walk {
  const struct timeline *t;
  enum split split;
  uint32_t subject, event; /* the next to be written */
};

static const char *const split_names[SPLITS] = {"train", "tuning", "held_out"};

static void put_event(const struct walk *w, const struct timeline_view *v, struct duck_out *out, size_t row) {
  uint32_t k = w->event;
  ((int64_t *)out->data[0])[row] = v->subject;
  if (v->time[k] == TIME_STATIC)
    duck_put_null(out, 1, row);
  else
    ((int64_t *)out->data[1])[row] = v->time[k];
  duck_put_text(out, 2, row, timeline_code_name(w->t, v->code[k]));
  if (isnan(v->value[k]))
    duck_put_null(out, 3, row);
  else
    ((float *)out->data[3])[row] = v->value[k];
  duck_put_text(out, 4, row, timeline_text(w->t, w->subject, k));
  char blob[65];
  if (timeline_blobs(w->t)) duck_put_text(out, 6, row, timeline_blob(w->t, w->subject, k, blob) ? (struct str){blob, 64} : STR_NONE);
  duck_put_text(out, 5, row, v->unit[k] == UNIT_NONE ? STR_NONE : timeline_unit_name(w->t, v->unit[k]));
}

static int fill_events(void *ctx, struct duck_out *out, size_t *rows, struct error *e) {
  struct walk *w = ctx;
  (void)e;
  *rows = 0;
  for (uint32_t subjects = timeline_subjects(w->t); w->subject < subjects; w->subject++, w->event = 0) {
    struct timeline_view v = timeline_view(w->t, w->subject);
    if (v.split != w->split) continue;
    for (; w->event < v.n + v.labels; w->event++) {
      if (*rows == out->cap) return OK;
      put_event(w, &v, out, (*rows)++);
    }
  }
  return OK;
}

static int fill_splits(void *ctx, struct duck_out *out, size_t *rows, struct error *e) {
  struct walk *w = ctx;
  (void)e;
  for (*rows = 0; *rows < out->cap && w->subject < timeline_subjects(w->t); w->subject++, ++*rows) {
    struct timeline_view v = timeline_view(w->t, w->subject);
    ((int64_t *)out->data[0])[*rows] = v.subject;
    duck_put_text(out, 1, *rows, str_c(split_names[v.split]));
  }
  return OK;
}

static int fill_codes(void *ctx, struct duck_out *out, size_t *rows, struct error *e) {
  struct walk *w = ctx;
  (void)e;
  for (*rows = 0; *rows < out->cap && w->event < timeline_codes(w->t); w->event++, ++*rows) {
    struct str display = timeline_code_display(w->t, w->event);
    duck_put_text(out, 0, *rows, timeline_code_name(w->t, w->event));
    duck_put_text(out, 1, *rows, display.n ? display : STR_NONE);
  }
  return OK;
}

static int copy(struct duck *d, const char *select, const char *dir, const char *name, struct error *e) {
  char path[4096];
  struct buf sql = {0};
  TRY(file_join(path, sizeof path, dir, name, e));
  buf_printf(&sql, "COPY (%s) TO ", select);
  duck_quote(&sql, str_c(path));
  buf_puts(&sql, " (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)");
  int rc = buf_check(&sql, e);
  if (rc == OK) rc = duck_run(d, buf_cstr(&sql), e);
  buf_release(&sql);
  return rc < 0 ? error_where(e, path, 0, NULL) : OK;
}

static int write_dataset(const char *dir, const struct timeline *t, struct error *e) {
  char path[4096], now[32];
  struct buf text = {0};
  struct json_out o;
  TRY(file_join(path, sizeof path, dir, "metadata/dataset.json", e));
  time_format(time_now() / TIME_SECOND * TIME_SECOND, now);
  json_out_init(&o, &text, true);
  json_out_object(&o);
  json_kv_c(&o, "dataset_name", "vitae");
  json_kv_c(&o, "dataset_version", timeline_hash(t));
  json_kv_c(&o, "etl_name", "vitae export");
  json_kv_c(&o, "etl_version", VITAE_VERSION);
  json_kv_c(&o, "meds_version", "0.4.0");
  json_kv_c(&o, "created_at", now);
  json_out_key(&o, "other_extension_columns");
  json_out_array(&o);
  json_out_c(&o, "unit");
  if (timeline_blobs(t)) json_out_c(&o, "blob");
  json_out_end(&o);
  json_out_end(&o);
  buf_putc(&text, '\n');
  int rc = buf_check(&text, e);
  if (rc == OK) rc = file_write_atomic(path, text.p, text.n, 0644, e);
  buf_release(&text);
  return rc;
}

static int write_events(const struct timeline *t, struct duck *d, const char *dir, struct error *e) {
  static const struct duck_column columns[] = {{"subject_id", DUCK_I64},    {"time", DUCK_TIMESTAMP},  {"code", DUCK_TEXT},
                                               {"numeric_value", DUCK_F32}, {"text_value", DUCK_TEXT}, {"unit", DUCK_TEXT},
                                               {"blob", DUCK_TEXT}};
  struct walk w = {.t = t};
  TRY(duck_register(d, "vitae_events", columns, timeline_blobs(t) ? 7 : 6, fill_events, &w, e));
  for (int s = 0; s < SPLITS; s++) {
    char name[64], path[4096];
    w = (struct walk){.t = t, .split = (enum split)s};
    snprintf(name, sizeof name, "data/%s", split_names[s]);
    TRY(file_join(path, sizeof path, dir, name, e));
    TRY(file_mkdirs(path, 0755, e));
    snprintf(name, sizeof name, "data/%s/0.parquet", split_names[s]);
    TRY(copy(d, "SELECT * FROM vitae_events()", dir, name, e));
  }
  return OK;
}

static int write_metadata(const struct timeline *t, struct duck *d, const char *dir, struct error *e) {
  static const struct duck_column splits[] = {{"subject_id", DUCK_I64}, {"split", DUCK_TEXT}},
                                  codes[] = {{"code", DUCK_TEXT}, {"description", DUCK_TEXT}};
  char path[4096];
  struct walk of_splits = {.t = t}, of_codes = {.t = t};
  TRY(file_join(path, sizeof path, dir, "metadata", e));
  TRY(file_mkdirs(path, 0755, e));
  TRY(duck_register(d, "vitae_splits", splits, 2, fill_splits, &of_splits, e));
  TRY(duck_register(d, "vitae_codes", codes, 2, fill_codes, &of_codes, e));
  TRY(copy(d, "SELECT * FROM vitae_splits()", dir, "metadata/subject_splits.parquet", e));
  TRY(copy(d, "SELECT code, description, CAST(NULL AS VARCHAR[]) AS parent_codes FROM vitae_codes()", dir, "metadata/codes.parquet", e));
  return write_dataset(dir, t, e);
}

/* Everything goes to DIR.partial, which takes the place of DIR when it is whole. */
int timeline_export_meds(const struct timeline *t, const char *dir, struct error *e) {
  char partial[4096];
  struct duck *d = NULL;
  size_t n = strlen(dir);
  while (n > 1 && dir[n - 1] == '/') n--;
  if (n + 9 >= sizeof partial) return error_set(e, E_LIMIT, "path too long");
  TRY(duck_available(e));
  snprintf(partial, sizeof partial, "%.*s.partial", (int)n, dir);
  if (file_exists(dir) || file_is_dir(dir))
    return error_where((error_set(e, E_USAGE, "the directory to export to exists already"), e), dir, 0, NULL);
  TRY(file_remove_tree(partial, e));
  TRY(file_mkdirs(partial, 0755, e));
  int rc = duck_open(partial, &d, e);
  if (rc == OK) rc = write_events(t, d, partial, e);
  if (rc == OK) rc = write_metadata(t, d, partial, e);
  duck_close(d);
  if (rc == OK) rc = file_rename(partial, dir, e);
  if (rc < 0 && file_remove_tree(partial, NULL) < 0) log_line(LOG_WARN, "the unfinished export could not be removed");
  return rc;
}
