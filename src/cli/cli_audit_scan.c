/* vitae audit: every place of a site that lies behind the wall is read again. */
#include <dirent.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/thread.h"
#include "base/time.h"
#include "cli/cli_audit.h"
#include "record/record.h"
#include "timeline/timeline.h"

enum { DEPTH = 24, TEXTS_HELD = 256 << 20, SPOTS_MAX = 100000 };

const char *audit_part_name(enum audit_part part) {
  static const char *const names[AUDIT_PARTS] = {"codes",  "values",   "texts", "blobs",       "store files", "reports",
                                                 "models", "database", "vault", "other files", "file names"};
  return names[part];
}

/* ---- noting ---- */

static int spot_new(struct audit_run *a, struct audit_spot **out, struct error *e) {
  if (a->spots == SPOTS_MAX) return *out = NULL, OK;
  if (a->spots == a->cap) {
    uint32_t cap = a->cap ? a->cap * 2 : 64;
    struct audit_spot *more = mem_realloc(a->spot, cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for the list of places");
    a->spot = more;
    a->cap = cap;
  }
  *out = &a->spot[a->spots++];
  return OK;
}

int audit_hit_note(struct audit_run *a, const struct audit_hit *h, struct error *e) {
  bool strong = h->weight == AUDIT_STRONG, is_new;
  if (strong)
    a->strong++, a->read[a->part].strong++;
  else
    a->weak++, a->read[a->part].weak++;
  struct buf key = {0};
  buf_printf(&key, "%d %d %d %d %d %s\n%s", a->part, h->weight, h->own, h->kind, h->form, a->file, a->column);
  uint64_t *slot = key.failed ? NULL : map_put(&a->index, (struct str){key.p, key.n}, &is_new);
  buf_release(&key);
  if (!slot) return error_set(e, E_NOMEM, "no memory for the list of places");
  if (!is_new) {
    if (*slot) a->spot[*slot - 1].count++;
    return OK;
  }
  struct audit_spot *s = NULL;
  int rc = spot_new(a, &s, e);
  if (rc < 0 || !s) return rc; /* a full list goes on counting */
  *slot = a->spots;
  *s = (struct audit_spot){.file = arena_strndup(&a->arena, a->file, strlen(a->file)),
                           .column = a->column,
                           .part = a->part,
                           .weight = h->weight,
                           .own = h->own,
                           .kind = h->kind,
                           .form = h->form,
                           .count = 1,
                           .row = a->row,
                           .offset = a->base + h->offset,
                           .person = h->person,
                           .persons = h->persons};
  return s->file ? OK : error_set(e, E_NOMEM, "no memory for the list of places");
}

/* ---- the store ---- */

static int words(struct audit_run *a, struct str text, enum audit_where where, const char *column, uint64_t row, struct error *e) {
  struct audit_place at = {.where = where};
  if (!text.n) return OK;
  a->column = column;
  a->row = row;
  a->read[PART_CODES].items++;
  a->read[PART_CODES].bytes += text.n;
  return audit_bytes(a, text, 0, text.n, &at, e);
}

struct life {
  struct audit_run *run;
  struct timeline *t;
  uint8_t *numbered; /* codes whose name holds somebody's number: by code, 1 */
  struct audit_hit *numbered_at;
  uint32_t numbered_n;
  uint32_t birth;
  struct map *blobs;
  uint16_t units;
  uint64_t held;
};

struct code_hit {
  struct life *l;
  uint32_t code;
};
/* Numbers in the names of codes are kept for later: see a_code_of_its_holder. */
static int code_hit(void *ctx, const struct audit_hit *h, struct error *e) {
  struct code_hit *c = ctx;
  if (h->weight == AUDIT_STRONG) return audit_hit_note(c->l->run, h, e);
  c->l->numbered[c->code] = 1;
  return OK;
}

static int dictionary(struct life *l, struct error *e) {
  struct audit_run *a = l->run;
  uint32_t n = timeline_codes(l->t);
  a->part = PART_CODES;
  for (uint32_t i = 0; i < n; i++) {
    struct str name = timeline_code_name(l->t, i);
    struct code_hit ctx = {l, i};
    struct audit_place at = {.where = AUDIT_CODE};
    a->column = "code", a->row = i;
    a->read[PART_CODES].items++, a->read[PART_CODES].bytes += name.n;
    TRY(audit_search_scan(a->search, name, &at, code_hit, &ctx, e));
    TRY(words(a, timeline_code_display(l->t, i), AUDIT_WORDS, "description", i, e));
  }
  return OK;
}

static int strong_value(struct audit_run *a, const char *column, const struct audit_hit *h, struct error *e) {
  a->part = PART_VALUES;
  a->column = column;
  return audit_hit_note(a, h, e);
}

struct holder {
  struct audit_run *run;
  struct str code;
  int64_t subject;
};
static int holder_hit(void *ctx, const struct audit_hit *h, struct error *e) {
  struct holder *c = ctx;
  if (!audit_search_owner(c->run->search, c->code, h, c->subject)) return OK;
  struct audit_hit own = *h;
  own.weight = AUDIT_STRONG, own.own = true, own.person = c->subject;
  return audit_hit_note(c->run, &own, e);
}

/* A number in a code is an identifier if the person whose number it is has that code; else it is a code. */
static int a_code_of_its_holder(struct life *l, const struct timeline_view *v, uint32_t k, struct error *e) {
  struct holder ctx = {l->run, timeline_code_name(l->t, v->code[k]), v->subject};
  struct audit_place at = {.where = AUDIT_CODE};
  l->run->part = PART_CODES;
  l->run->column = "code", l->run->row = v->code[k];
  return audit_search_scan(l->run->search, ctx.code, &at, holder_hit, &ctx, e);
}

static int one_event(struct life *l, const struct timeline_view *v, uint32_t k, struct error *e) {
  struct audit_run *a = l->run;
  struct audit_hit h;
  if (v->unit[k] > l->units) l->units = v->unit[k];
  if (l->numbered[v->code[k]]) TRY(a_code_of_its_holder(l, v, k, e));
  if (v->value[k] >= 10000 && audit_search_number(a->search, v->subject, v->value[k], &h)) TRY(strong_value(a, "value", &h, e));
  if (v->time[k] == TIME_STATIC) return OK;
  int64_t day = time_day(v->time[k]);
  h = (struct audit_hit){
      .kind = IDENTIFIER_DATE, .form = AUDIT_BIRTH_DAY, .weight = AUDIT_STRONG, .own = true, .person = v->subject, .persons = 1};
  if (a->dates_shifted && v->code[k] == l->birth && day == audit_search_birth(a->search, v->subject)) TRY(strong_value(a, "time", &h, e));
  if (!a->dates_year) return OK;
  int y, m, d;
  time_to_civil(day, &y, &m, &d);
  h.form = AUDIT_EVENT_DAY;
  return v->time[k] % TIME_DAY || m != 1 || d != 1 ? strong_value(a, "time", &h, e) : OK;
}

static int one_text(struct life *l, const struct timeline_view *v, uint32_t i, uint32_t k, struct error *e) {
  struct audit_run *a = l->run;
  struct str text = timeline_text(l->t, i, k);
  struct audit_place at = {.where = AUDIT_TEXT, .subject = v->subject, .dates_kept = a->dates_kept, .surrogates = a->surrogates};
  if (!text.n) return OK;
  a->part = PART_TEXTS, a->column = "text";
  a->read[PART_TEXTS].items++, a->read[PART_TEXTS].bytes += text.n;
  l->held += text.n;
  return audit_bytes(a, text, 0, text.n, &at, e);
}

static int one_blob(struct life *l, const struct timeline_view *v, uint32_t i, uint32_t k, struct error *e) {
  struct audit_run *a = l->run;
  char hex[65], path[4096];
  bool is_new;
  struct audit_place at = {.where = AUDIT_BLOB, .subject = v->subject, .dates_kept = a->dates_kept};
  if (!timeline_blob(l->t, i, k, hex)) return OK;
  uint64_t *slot = map_put(l->blobs, str_c(hex), &is_new);
  if (!slot) return error_set(e, E_NOMEM, "no memory for the list of blobs");
  if (!is_new && *slot == (uint64_t)v->subject) return OK;
  *slot = (uint64_t)v->subject;
  TRY(timeline_blob_path(l->t, hex, path, e));
  if (!file_exists(path)) return OK; /* vitae verify says so */
  const char *file = a->file;
  char name[96];
  snprintf(name, sizeof name, "timelines/blobs/%.2s/%s", hex, hex);
  a->part = PART_BLOBS, a->column = "bytes", a->file = name;
  int rc = audit_file_bytes(a, path, &at, e);
  a->file = file;
  return rc;
}

/* Unpacked texts stay in memory until the store is closed: it is opened anew from time to time. */
static int fresh(struct life *l, const char *dir, struct error *e) {
  if (l->held < TEXTS_HELD) return OK;
  timeline_close(l->t);
  l->t = NULL;
  l->held = 0;
  return timeline_open(dir, &l->t, e);
}

static int lives(struct life *l, const char *dir, struct progress *bar, struct error *e) {
  struct audit_run *a = l->run;
  uint32_t n = timeline_subjects(l->t);
  bool blobs = timeline_blobs(l->t) > 0;
  for (uint32_t i = 0; i < n; i++) {
    TRY(fresh(l, dir, e));
    struct timeline_view v = timeline_view(l->t, i);
    a->row = i;
    uint32_t events = v.n + v.labels;
    a->read[PART_VALUES].items += events;
    a->read[PART_VALUES].bytes += (uint64_t)events * (sizeof *v.time + sizeof *v.value);
    for (uint32_t k = 0; k < events; k++) {
      a->row = i;
      TRY(one_event(l, &v, k, e));
      a->row = i;
      TRY(one_text(l, &v, i, k, e));
      if (blobs) TRY(one_blob(l, &v, i, k, e));
    }
    if (i % 64 == 0) progress_update(bar, i, NULL);
    if (cancel_requested()) return error_set(e, E_CANCELLED, "interrupted");
  }
  if (timeline_damaged(l->t)) return error_set(e, E_CORRUPT, "the store is damaged; see: vitae verify");
  a->part = PART_CODES;
  for (uint32_t u = 1; u <= l->units; u++) TRY(words(a, timeline_unit_name(l->t, (uint16_t)u), AUDIT_WORDS, "unit", u, e));
  return OK;
}

static int generation(struct audit_run *a, const char *dir, const char *file, struct map *blobs, struct error *e) {
  struct life l = {.run = a, .blobs = blobs};
  struct progress bar;
  TRY(timeline_open(dir, &l.t, e));
  a->file = file;
  l.numbered = mem_alloc((size_t)timeline_codes(l.t) + 1);
  int rc = l.numbered ? OK : error_set(e, E_NOMEM, "no memory for the audit of the store");
  if (rc == OK) {
    memset(l.numbered, 0, (size_t)timeline_codes(l.t) + 1);
    if (!timeline_code_find(l.t, STR("MEDS_BIRTH"), &l.birth)) l.birth = UINT32_MAX;
    progress_start(&bar, "audit", timeline_subjects(l.t), PROGRESS_COUNT);
    rc = dictionary(&l, e);
    if (rc == OK) rc = lives(&l, dir, &bar, e);
    progress_end(&bar, rc == OK ? "store read" : "stopped");
  }
  mem_free(l.numbered);
  if (l.t) timeline_close(l.t);
  return rc;
}

/* What the runs of the store say of themselves: how dates and texts were treated. */
static int store_facts(struct audit_run *a, const char *dir, struct error *e) {
  struct arena arena;
  struct str text;
  struct json_parser *jp;
  struct json root, run;
  int years = 0, shifts = 0, runs = 0;
  arena_init(&arena, 512u << 20, 0);
  int rc = timeline_manifest(dir, &arena, &text, e);
  if (rc == OK) rc = json_parser_new(&jp, e);
  if (rc == OK) {
    rc = json_parse(jp, text.p, text.n, text.n, &root, e);
    for (struct json_iter it = json_items(json_get(root, "runs")); rc == OK && json_next(&it, &run); runs++) {
      struct json wall = json_get(run, "wall");
      struct str dates = json_str(json_get(wall, "dates")), treatment = json_str(json_get(json_get(wall, "texts"), "treatment"));
      years += str_eqc(dates, "year"), shifts += str_eqc(dates, "shift");
      if (str_eqc(dates, "keep")) a->dates_kept = true;
      if (str_eqc(treatment, "surrogate")) a->surrogates = true;
    }
    json_parser_free(jp);
  }
  a->dates_year = runs > 0 && years == runs;
  a->dates_shifted = runs > 0 && shifts == runs;
  arena_free(&arena);
  return rc;
}

/* ---- rows of the database ---- */

static int table_rows(struct audit_run *a, sqlite3 *db, const char *table, struct error *e) {
  sqlite3_stmt *s;
  struct buf sql = {0};
  struct audit_place at = {.where = AUDIT_FILE};
  buf_puts(&sql, "SELECT * FROM \"");
  for (const char *p = table; *p; p++) buf_printf(&sql, *p == '"' ? "\"\"" : "%c", *p);
  buf_puts(&sql, "\"");
  int ok = sqlite3_prepare_v2(db, buf_cstr(&sql), -1, &s, NULL);
  buf_release(&sql);
  if (ok != SQLITE_OK) return OK; /* its bytes are read all the same */
  int rc = OK;
  for (uint64_t row = 1; rc == OK && sqlite3_step(s) == SQLITE_ROW; row++)
    for (int c = 0; rc == OK && c < sqlite3_column_count(s); c++) {
      struct str v = {(const char *)sqlite3_column_blob(s, c), (size_t)sqlite3_column_bytes(s, c)};
      if (!v.n || !v.p) continue;
      a->row = row, a->base = 0;
      a->column = arena_strndup(&a->arena, sqlite3_column_name(s, c), strlen(sqlite3_column_name(s, c)));
      if (!a->column) a->column = "column";
      a->read[PART_DATABASE].items++, a->read[PART_DATABASE].bytes += v.n;
      rc = audit_bytes(a, v, 0, v.n, &at, e);
    }
  sqlite3_finalize(s);
  return rc;
}

static int database_rows(struct audit_run *a, const char *path, struct error *e) {
  sqlite3 *db;
  sqlite3_stmt *s = NULL;
  int rc = OK;
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
      sqlite3_prepare_v2(db, "SELECT name FROM sqlite_master WHERE type = 'table'", -1, &s, NULL) == SQLITE_OK)
    while (rc == OK && sqlite3_step(s) == SQLITE_ROW) {
      const char *table = (const char *)sqlite3_column_text(s, 0);
      if (table) rc = table_rows(a, db, table, e);
    }
  sqlite3_finalize(s);
  sqlite3_close(db);
  return rc;
}

/* ---- files ---- */

static enum audit_part part_of(const char *below) {
  static const struct {
    const char *prefix;
    enum audit_part part;
  } parts[] = {{"timelines/blobs/", PART_BLOBS}, {"timelines/", PART_STORE}, {"base/blobs/", PART_BLOBS}, {"base/", PART_STORE},
               {"reports/", PART_REPORTS},       {"models/", PART_MODELS},   {"vault/", PART_VAULT},      {"vitae.db", PART_DATABASE}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (str_starts(str_c(below), str_c(parts[i].prefix))) return parts[i].part;
  return PART_OTHER;
}

/* Columns of shards are read as columns; the identified side of the wall is not read: the vault's lists of rejected files and review sheets, and
 * what waits in the inbox. */
static bool left_out(const char *below) {
  const char *base = strrchr(below, '/');
  base = base ? base + 1 : below;
  bool generation = strncmp(below, "timelines/gen-", 14) == 0 || strncmp(below, "base/gen-", 9) == 0;
  if (generation && (strncmp(base, "shard-", 6) == 0 || strcmp(base, "codes") == 0)) return true;
  return strncmp(below, "inbox", 5) == 0 || strncmp(below, "vault/quarantine", 16) == 0 || strncmp(below, "vault/review-", 13) == 0;
}

struct name_hits {
  struct audit_run *run;
  bool any;
};
static int name_hit(void *ctx, const struct audit_hit *h, struct error *e) {
  struct name_hits *n = ctx;
  n->any = true;
  return audit_hit_note(n->run, h, e);
}

/* The name of a file that says something itself is not said: its directory at the top of the site is, and a number. */
static int safe_name(struct audit_run *a, const char *below, char out[4096], struct error *e) {
  struct name_hits hits = {.run = a};
  struct audit_place at = {.where = AUDIT_NAME};
  const char *slash = strchr(below, '/');
  char top[64] = "site";
  if (slash && part_of(below) != PART_OTHER) snprintf(top, sizeof top, "%.*s", (int)(slash - below), below);
  a->names++;
  snprintf(out, 4096, "%s/(entry %llu)", top, (unsigned long long)a->names);
  a->part = PART_NAMES, a->file = out, a->column = "name", a->row = 0, a->base = 0;
  a->read[PART_NAMES].items++, a->read[PART_NAMES].bytes += strlen(below);
  TRY(audit_search_scan(a->search, str_c(below), &at, name_hit, &hits, e));
  if (!hits.any) snprintf(out, 4096, "%s", below);
  return OK;
}

static int one_file(struct audit_run *a, const char *path, const char *below, struct map *blobs, struct error *e) {
  char name[4096];
  struct audit_place at = {.where = AUDIT_FILE};
  const char *base = strrchr(below, '/');
  uint64_t seen;
  TRY(safe_name(a, below, name, e));
  if (left_out(below)) return OK;
  a->part = part_of(below);
  if (a->part == PART_BLOBS) {
    if (base && map_get(blobs, str_c(base + 1), &seen)) return OK;
    at.where = AUDIT_BLOB;
  }
  a->file = name, a->column = "bytes";
  TRY(audit_file_bytes(a, path, &at, e));
  if (strcmp(below, "vitae.db") == 0) TRY(database_rows(a, path, e));
  return OK;
}

static int by_name(const struct dirent **x, const struct dirent **y) { return strcmp((*x)->d_name, (*y)->d_name); }

static int walk(struct audit_run *a, const char *below, int depth, struct map *blobs, struct error *e) {
  char dir[4096];
  struct dirent **list;
  if (depth > DEPTH) return error_set(e, E_LIMIT, "directories of the site lie more than %d deep", DEPTH);
  if (site_path(a->site, dir, below[0] ? below : NULL, NULL) < 0) return error_set(e, E_LIMIT, "a path in the site is too long");
  int n = scandir(dir, &list, NULL, by_name), rc = OK;
  if (n < 0) return errno == ENOENT ? OK : error_set(e, E_IO, "a directory of the site cannot be read: %s", strerror(errno));
  for (int i = 0; i < n; i++) {
    char path[4096], rest[4096];
    struct stat st;
    const char *name = list[i]->d_name;
    if (rc == OK && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
      rc = file_join(path, sizeof path, dir, name, e);
      if (rc == OK && (size_t)snprintf(rest, sizeof rest, "%s%s%s", below, below[0] ? "/" : "", name) >= sizeof rest)
        rc = error_set(e, E_LIMIT, "a path in the site is too long");
      if (rc == OK && lstat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode)) rc = left_out(rest) ? OK : walk(a, rest, depth + 1, blobs, e);
        if (S_ISREG(st.st_mode)) rc = one_file(a, path, rest, blobs, e);
      }
    }
    free(list[i]);
  }
  free(list);
  return rc;
}

/* `which`: "timelines", or "base", where a suppressing policy keeps what it does not release. */
static int generations(struct audit_run *a, const char *which, struct map *blobs, struct error *e) {
  char dir[4096], path[4096], file[300];
  struct dirent **list;
  struct timeline *t;
  bool base = strcmp(which, "base") == 0;
  TRY(site_path(a->site, dir, which, NULL));
  TRY(file_join(path, sizeof path, dir, "CURRENT", e));
  if (!base) snprintf(a->generation, sizeof a->generation, "none");
  if (!file_exists(path)) return OK;
  TRY(timeline_open(dir, &t, e));
  if (!base) snprintf(a->generation, sizeof a->generation, "%s", timeline_generation(t));
  if (!base) snprintf(a->store_hash, sizeof a->store_hash, "%s", timeline_hash(t));
  timeline_close(t);
  int n = scandir(dir, &list, NULL, by_name), rc = n < 0 ? error_set(e, E_IO, "the store cannot be read: %s", strerror(errno)) : OK;
  for (int i = 0; i < n; i++) {
    if (rc == OK && strncmp(list[i]->d_name, "gen-", 4) == 0) {
      rc = file_join(path, sizeof path, dir, list[i]->d_name, e);
      if (rc == OK) rc = store_facts(a, path, e);
      snprintf(file, sizeof file, "%s/%s", which, list[i]->d_name);
      if (rc == OK) rc = generation(a, path, file, blobs, e);
    }
    free(list[i]);
  }
  if (n >= 0) free(list);
  return rc;
}

int audit_site(struct audit_run *a, struct error *e) {
  struct map blobs;
  double began = time_monotonic();
  map_init(&blobs, 0);
  int rc = generations(a, "timelines", &blobs, e);
  if (rc == OK) rc = generations(a, "base", &blobs, e);
  if (rc == OK) rc = walk(a, "", 0, &blobs, e);
  map_release(&blobs);
  a->seconds = time_monotonic() - began;
  return rc;
}
