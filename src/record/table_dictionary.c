#include <stdlib.h>

#include "base/file.h"
#include "record/table_run.h"

enum { KEY_MAX = 512 };

bool table_is_missing(struct str s, const struct str *missing, int n) {
  if (s.n == 0) return true;
  for (int i = 0; i < n; i++)
    if (missing[i].n == s.n && missing[i].p[0] == s.p[0] && memcmp(missing[i].p, s.p, s.n) == 0) return true;
  return false;
}

struct str table_dictionary_cell(const char *row, int column) {
  uint16_t n;
  if (!row) return STR_NONE;
  for (;; column--) {
    memcpy(&n, row, sizeof n);
    row += sizeof n;
    if (column == 0) return n ? (struct str){row, n} : STR_NONE;
    row += n;
  }
}

const char *table_dictionary_find(const struct table_reader *r, int index, struct str key) {
  uint64_t at;
  const struct table_dictionary_data *d = &r->dictionary[index];
  if (!key.p || !d->loaded || !map_get(&d->index, key, &at)) return NULL;
  return d->heap.p + at;
}

void table_dictionary_release(struct table_dictionary_data *d) {
  map_release(&d->index);
  buf_release(&d->heap);
}

/* One entry for a rank: rows of the same group are numbered in the order of their keys. */
struct ranked {
  struct str group, key;
  double number;
  uint64_t at; /* of the rank's slot in the heap */
};
struct load {
  struct table_reader *r;
  const struct table_dictionary *d;
  struct table_dictionary_data *data;
  int key[8], column[32], require[8], group;
  struct ranked *ranked;
  size_t ranked_n, ranked_cap;
  struct arena a;
};
enum { RANK_WIDTH = 10 };

static void heap_cell(struct buf *heap, struct str s) {
  uint16_t n = (uint16_t)s.n;
  buf_put(heap, &n, sizeof n);
  if (s.n) buf_put(heap, s.p, s.n);
}

static int over(const struct load *l, struct error *e) {
  return error_set(e, E_LIMIT, "dictionary %.*s: more than memory_limit_mb of the mapping", STR_ARG(l->d->name));
}

static int rank_note(struct load *l, struct str group, struct str key, uint64_t at, struct error *e) {
  if (l->ranked_n == l->ranked_cap) {
    size_t cap = l->ranked_cap ? 2 * l->ranked_cap : 1024;
    struct ranked *grown = mem_realloc(l->ranked, cap * sizeof *grown);
    if (!grown) return error_set(e, E_NOMEM, "dictionary: out of memory");
    l->ranked = grown;
    l->ranked_cap = cap;
  }
  struct ranked *k = &l->ranked[l->ranked_n++];
  *k = (struct ranked){.group = str_copy(&l->a, group), .key = str_copy(&l->a, key), .at = at};
  if ((group.n && !k->group.p) || !k->key.p) return over(l, e);
  if (table_number(key, &k->number) < 0) k->number = 0;
  return OK;
}

static struct str field(const struct csv_row *row, int at) { return at >= 0 && (size_t)at < row->n ? str_trim(row->field[at]) : STR_NONE; }

static int put_row(struct load *l, struct str key, const struct csv_row *row, struct error *e) {
  struct table_dictionary_data *data = l->data;
  const struct table_mapping *m = l->r->m;
  bool is_new;
  uint64_t *slot = map_put(&data->index, key, &is_new);
  if (!slot) return over(l, e);
  if (!is_new) return OK;
  *slot = data->heap.n;
  int plain = l->d->column_n - (l->d->rank_within.p ? 1 : 0);
  for (int i = 0; i < plain; i++) {
    struct str s = field(row, l->column[i]);
    if (s.n > UINT16_MAX || table_is_missing(s, m->missing, m->missing_n)) s = STR_NONE;
    heap_cell(&data->heap, s);
  }
  if (l->d->rank_within.p) {
    TRY(rank_note(l, field(row, l->group), key, data->heap.n, e));
    heap_cell(&data->heap, (struct str){"0000000000", RANK_WIDTH});
  }
  if (data->heap.failed) return error_set(e, E_NOMEM, "dictionary: out of memory");
  return data->heap.n > m->memory_limit ? over(l, e) : OK;
}

static int take_row(struct load *l, uint64_t number, const struct csv_row *row, struct error *e) {
  const struct table_mapping *m = l->r->m;
  char key[KEY_MAX];
  size_t n = 0;
  for (int i = 0; i < l->d->require_n; i++)
    if (table_is_missing(field(row, l->require[i]), m->missing, m->missing_n)) return OK;
  for (int i = 0; i < l->d->key_n; i++) {
    struct str s = field(row, l->key[i]);
    if (s.n == 0) return OK; /* a row without a key can never be looked up */
    if (n + s.n + 1 >= sizeof key) {
      table_reject(l->r, number, "", "dictionary key too long");
      return OK;
    }
    if (i) key[n++] = '|';
    memcpy(key + n, s.p, s.n);
    n += s.n;
  }
  return put_row(l, (struct str){key, n}, row, e);
}

static int locate(struct load *l, const struct csv_row *header, struct str name, int *at, struct error *e) {
  char text[160];
  snprintf(text, sizeof text, "%.*s", STR_ARG(name));
  *at = csv_column(header, text);
  bool twice = csv_column_twice(header, text);
  if (*at >= 0 && !twice) return OK;
  error_set(e, E_INPUT, "dictionary %.*s: the column is %s the header", STR_ARG(l->d->name), twice ? "twice in" : "missing from");
  return error_where(e, NULL, 0, text);
}

static int locate_all(struct load *l, const struct csv_row *header, struct error *e) {
  int plain = l->d->column_n - (l->d->rank_within.p ? 1 : 0);
  for (int i = 0; i < l->d->key_n; i++) TRY(locate(l, header, l->d->key[i], &l->key[i], e));
  for (int i = 0; i < plain; i++) TRY(locate(l, header, l->d->column[i], &l->column[i], e));
  for (int i = 0; i < l->d->require_n; i++) TRY(locate(l, header, l->d->require[i], &l->require[i], e));
  if (l->d->rank_within.p) TRY(locate(l, header, l->d->rank_within, &l->group, e));
  return OK;
}

static int load_rows(struct load *l, struct csv *c, struct error *e) {
  struct csv_row row;
  int rc = csv_row(c, &row, e);
  if (rc == E_END) return OK;
  if (rc < 0) return rc;
  size_t columns = row.n;
  TRY(locate_all(l, &row, e));
  for (;;) {
    struct error bad = {0};
    rc = csv_row(c, &row, &bad);
    if (rc == E_END) return OK;
    if (rc == E_INPUT || rc == E_LIMIT) {
      table_reject(l->r, c->row, "", rc == E_INPUT ? "malformed row" : "row too long");
      continue;
    }
    if (rc < 0) {
      if (e) *e = bad;
      return rc;
    }
    if (row.n == columns)
      TRY(take_row(l, c->row, &row, e));
    else if (row.n > 1 || row.field[0].n)
      table_reject(l->r, c->row, "", "wrong number of columns");
  }
}

static int by_rank(const void *x, const void *y) {
  const struct ranked *a = x, *b = y;
  int d = str_cmp(a->group, b->group);
  if (d) return d;
  if (a->number != b->number) return a->number < b->number ? -1 : 1;
  return str_cmp(a->key, b->key);
}

static void rank_write(struct load *l) {
  if (l->ranked_n) qsort(l->ranked, l->ranked_n, sizeof *l->ranked, by_rank);
  uint64_t rank = 0;
  for (size_t i = 0; i < l->ranked_n; i++) {
    rank = i && str_eq(l->ranked[i].group, l->ranked[i - 1].group) ? rank + 1 : 0;
    char text[24];
    uint16_t n = (uint16_t)snprintf(text, sizeof text, "%llu", (unsigned long long)rank);
    char *slot = l->data->heap.p + l->ranked[i].at; /* the last cell of its row: a shorter text leaves unused bytes behind it */
    memcpy(slot, &n, sizeof n);
    memcpy(slot + sizeof n, text, n);
  }
}

static int load_file(struct load *l, const char *path, struct error *e) {
  struct csv c;
  TRY(csv_open(&c, path, l->d->separator, e));
  const char *before = l->r->file;
  l->r->file = path;
  int rc = load_rows(l, &c, e);
  l->r->file = before;
  csv_close(&c);
  return rc < 0 ? error_where(e, path, 0, NULL) : OK;
}

static int load_inline(struct table_dictionary_data *data, const struct table_dictionary *d, struct error *e) {
  for (int i = 0; i < d->inline_n; i++) {
    bool is_new;
    uint64_t *slot = map_put(&data->index, d->inline_key[i], &is_new);
    if (!slot) return error_set(e, E_NOMEM, "dictionary: out of memory");
    *slot = data->heap.n;
    struct str s = d->inline_value[i];
    if (s.n > UINT16_MAX) s.n = UINT16_MAX;
    heap_cell(&data->heap, s);
  }
  return buf_check(&data->heap, e);
}

int table_dictionary_load(struct table_reader *r, int index, struct error *e) {
  const struct table_dictionary *d = &r->m->dictionary[index];
  struct table_dictionary_data *data = &r->dictionary[index];
  if (data->loaded) return OK;
  data->loaded = true;
  if (d->is_inline) return load_inline(data, d, e);
  struct str *paths;
  size_t n;
  TRY(table_glob_any(&r->a, r->root, d->path, d->path_n, &paths, &n, e));
  if (n == 0 && !d->optional) {
    return error_set(e, E_NOTFOUND, "dictionary %.*s: no file %.*s in the data set's directory", STR_ARG(d->name), STR_ARG(d->path[0]));
  }
  struct load l = {.r = r, .d = d, .data = data};
  arena_init(&l.a, r->m->memory_limit, ARENA_WIPE);
  int rc = OK;
  for (size_t i = 0; i < n && rc >= 0; i++) rc = load_file(&l, paths[i].p, e);
  if (rc >= 0) rank_write(&l);
  mem_free(l.ranked);
  arena_free(&l.a);
  return rc;
}
