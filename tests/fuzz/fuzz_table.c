/* The table reader. Input: a mapping and a CSV with one NUL byte between them. The mapping's paths are replaced by the CSV's own, and
 * a mapping that does not parse is replaced by a fixed one, so that rows are reached either way. Every record must keep its promises. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "input.h"
#include "record/table_run.h"

static const char fixed[] =
    "{\"name\":\"fuzz\",\"epoch\":\"2000-01-01\",\"missing\":[\"NA\",\"-1\"],\"dictionaries\":{\"d\":{\"path\":\"t.csv\",\"key\":[\"id\","
    "\"a\"],\"columns\":[\"b\"],"
    "\"rank_within\":\"a\",\"optional\":true}},\"plausible\":{\"W//"
    "c\":[-1,1e9]},\"tables\":[{\"table\":\"t\",\"path\":\"*.csv\",\"subject\":[\"{id}\",\"{:row}\",\"{:stem}"
    "\"],"
    "\"subject_row\":{\"when\":{\"a\":\"ID\"},\"value\":\"{b}\"},\"optional_columns\":[\"c\",\"d\"],\"join\":{\"j\":{\"dictionary\":\"d\","
    "\"key\":\"{id}|{a}\"}},"
    "\"allow\":{\"a\":\"code\",\"b\":{\"max_distinct\":3},\"c\":\"icd\"},\"events\":["
    "{\"code\":[\"A//{a:dot3}//{c}\",\"B//"
    "{b}\"],\"value\":\"{b}\",\"values\":{\"x\":1},\"text\":\"{d}\",\"time\":[\"{a}\",{\"offset\":\"{b}\",\"unit\":\"HH:MM\"},"
    "{\"offset\":[{\"of\":\"{j.rank}\",\"unit\":\"days\"},{\"of\":\"{b}\",\"unit\":\"years\",\"scale\":-1}]}]},"
    "{\"kind\":\"death\",\"time\":{\"at\":\"{d}\",\"format\":\"DD-MON-YYYY "
    "hh:mm\"}},{\"kind\":\"identifier\",\"identifier\":\"mrn\",\"text\":\"{a:upper}{b:first}\"},"
    "{\"code\":\"W//{:name}\",\"value\":\"{:cell}\",\"columns\":\"*\",\"except\":[\"id\"],\"time\":null}]}]}";

static int take(void *ctx, const struct record *r, struct error *e) {
  const struct table_mapping *m = ctx;
  (void)e;
  if (r->kind == RECORD_DROPPED) return OK;
  BUG_IF(r->person.n == 0 || !r->person.p);
  BUG_IF(r->kind == RECORD_EVENT && (r->code.n == 0 || r->code.n > TABLE_CODE || !str_utf8_valid(r->code)));
  BUG_IF(r->text.p && (!str_utf8_valid(r->text) || memchr(r->text.p, 0, r->text.n)));
  BUG_IF(isinf(r->value));
  uint64_t at;
  if (r->kind == RECORD_EVENT && m->range_n && map_get(&m->plausible, r->code, &at))
    BUG_IF(r->value < m->range[at].least || r->value > m->range[at].most);
  BUG_IF(!r->path || r->row == 0);
  int64_t year = r->time.us == TIME_STATIC ? 2000 : r->time.us / TIME_DAY / 366 + 1970;
  BUG_IF(year < 0 || year > 10100);
  return OK;
}
static void refuse(void *ctx, const struct record_reject *r) {
  (void)ctx;
  BUG_IF(!r->field || !r->reason || !r->file);
}

static char dir[64];
static void work_remove(void) {
  if (file_remove_tree(dir, NULL) < 0) perror(dir);
}
static const char *work_dir(void) {
  if (!dir[0]) {
    strcpy(dir, "/dev/shm/fuzz-table-XXXXXX");
    if (!mkdtemp(dir) || atexit(work_remove) != 0) abort();
  }
  return dir;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
  if (!nul || size > 1 << 16) return 0;
  char path[128];
  snprintf(path, sizeof path, "%s/t.csv", work_dir());
  FILE *f = fopen(path, "wb");
  size_t rest = (size_t)(data + size - nul) - 1;
  if (!f || (rest && fwrite(nul + 1, 1, rest, f) != rest) || fclose(f) != 0) abort();
  struct table_mapping *m = NULL;
  if (table_mapping_parse((const char *)data, (size_t)(nul - data), "fuzz.json", &m, NULL) < 0 &&
      table_mapping_parse(fixed, sizeof fixed - 1, "fuzz.json", &m, NULL) < 0)
    abort();
  static const struct str own = {"t.csv", 5}; /* a fuzzed pattern must not wander through the machine */
  for (int i = 0; i < m->table_n; i++) {
    m->table[i].path = (struct str *)(uintptr_t)&own;
    m->table[i].path_n = 1;
  }
  for (int i = 0; i < m->dictionary_n; i++) {
    m->dictionary[i].path = (struct str *)(uintptr_t)&own;
    m->dictionary[i].path_n = m->dictionary[i].is_inline ? 0 : 1;
  }
  m->root_n = 0;
  struct record_sink sink = {.ctx = m, .record = take, .reject = refuse};
  struct record_stats stats = {0};
  struct error e = {0};
  int rc = table_read(m, work_dir(), &sink, &stats, &e);
  BUG_IF(rc < 0 && e.message[0] == 0);
  table_mapping_free(m);
  return 0;
}
