/* A timeline in memory, for one request: the arrivals are kept as they came, sealing lays a sorted copy out as the columns
 * of one shard, so that timeline_view is the same code as for a store. Appending again and sealing again is allowed. */
#include <stdlib.h>

#include "deid/event.h"
#include "timeline/timeline_store.h"

enum { EVENTS_MAX = 16 << 20 };
struct arrival {
  int64_t subject;
  struct item item; /* code and unit are interned ids (unit + 1) until sealing */
};
struct memory {
  struct arena arena;
  struct intern codes, units;
  struct str *display;
  uint32_t display_cap;
  struct arrival *arrival;
  uint32_t n, cap;
  bool texts, blobs;
  void *columns;        /* one block behind all column pointers of the shard */
  struct str *text;     /* by event, if any event has text */
  const uint8_t **blob; /* likewise */
};

int timeline_memory_new(struct timeline **out, struct error *e) {
  *out = NULL;
  struct timeline *t = mem_alloc(sizeof *t);
  struct memory *m = mem_alloc(sizeof *m);
  struct shard *s = mem_alloc(sizeof *s);
  if (!t || !m || !s) {
    mem_free(t);
    mem_free(m);
    mem_free(s);
    return error_set(e, E_NOMEM, "no memory for a timeline");
  }
  memset(m, 0, sizeof *m);
  memset(s, 0, sizeof *s);
  memset(t, 0, sizeof *t);
  arena_init(&m->arena, 0, 0);
  intern_init(&m->codes, 0);
  intern_init(&m->units, 0);
  t->memory = m;
  t->shard = s;
  t->shards = 1;
  strcpy(t->generation, "memory");
  strcpy(t->hash, "memory");
  *out = t;
  return OK;
}

void memory_free(struct memory *m) {
  arena_free(&m->arena);
  intern_release(&m->codes);
  intern_release(&m->units);
  mem_free(m->display);
  mem_free(m->arrival);
  mem_free(m->columns);
  mem_free(m->text);
  mem_free(m->blob);
  mem_free(m);
}

struct str memory_code_name(const struct memory *m, uint32_t code) {
  return code < m->codes.count ? intern_str(&m->codes, code) : STR_NONE;
}
struct str memory_code_display(const struct memory *m, uint32_t code) {
  return code < m->display_cap ? m->display[code] : STR_NONE;
}
struct str memory_unit_name(const struct memory *m, uint32_t unit) {
  return unit && unit <= m->units.count ? intern_str(&m->units, unit - 1) : STR_NONE;
}
struct str memory_text(const struct memory *m, uint64_t event) {
  return m->text ? m->text[event] : STR_NONE;
}
const uint8_t *memory_blob(const struct memory *m, uint64_t event) { return m->blob ? m->blob[event] : NULL; }
uint32_t memory_codes(const struct memory *m) { return m->codes.count; }
bool memory_code_find(const struct memory *m, struct str name, uint32_t *code) { return intern_find(&m->codes, name, code); }

static int put_display(struct memory *m, uint32_t code, struct str display, struct error *e) {
  if (code >= m->display_cap) {
    uint32_t cap = m->display_cap ? m->display_cap * 2 : 64;
    while (cap <= code) cap *= 2;
    struct str *more = mem_realloc(m->display, cap * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for displays");
    memset(more + m->display_cap, 0, (cap - m->display_cap) * sizeof *more);
    m->display = more;
    m->display_cap = cap;
  }
  if (m->display[code].n && str_cmp(display, m->display[code]) >= 0) return OK;
  struct str copy = str_copy(&m->arena, display);
  if (!copy.p) return error_set(e, E_NOMEM, "no memory for displays");
  m->display[code] = copy;
  return OK;
}

static int put_text(struct memory *m, struct item *item, struct str text, struct str blob, struct error *e) {
  uint8_t *p = arena_alloc(&m->arena, text.n + BLOB_BYTES, 1);
  if (!p) return error_set(e, E_NOMEM, "no memory for texts");
  if (text.n) memcpy(p, text.p, text.n);
  if (blob.n && hash_unhex(blob, p + text.n, BLOB_BYTES, NULL) < 0) return error_set(e, E_INPUT, "name of a blob is no SHA-256");
  item->text = (const char *)p;
  item->text_n = (uint32_t)text.n;
  item->blob = blob.n > 0;
  m->texts |= text.n > 0;
  m->blobs |= blob.n > 0;
  return OK;
}

static struct arrival *grow(struct memory *m) {
  if (m->n == m->cap) {
    uint32_t cap = m->cap ? m->cap * 2 : 256;
    struct arrival *more = mem_realloc(m->arrival, cap * sizeof *more);
    if (!more) return NULL;
    m->arrival = more;
    m->cap = cap;
  }
  return &m->arrival[m->n];
}

int timeline_memory_append(void *timeline, const struct event *ev, struct error *e) {
  struct memory *m = ((struct timeline *)timeline)->memory;
  struct str code = event_code(ev), unit = event_unit(ev), text = event_text(ev), display = event_display(ev), blob = event_blob(ev);
  uint64_t row = event_origin_row(ev);
  BUG_IF(!m);
  if (event_subject(ev) <= 0) return error_set(e, E_INPUT, "event without a subject");
  if (code.n == 0 || code.n > NAME_MAX_BYTES) return error_set(e, E_INPUT, "code empty or longer than %d bytes", NAME_MAX_BYTES);
  if (unit.n > NAME_MAX_BYTES || text.n > TEXT_MAX) return error_set(e, E_INPUT, "unit or text too long");
  if (m->n >= EVENTS_MAX) return error_set(e, E_LIMIT, "more than %d events in one request", EVENTS_MAX);
  struct arrival *a = grow(m);
  if (!a) return error_set(e, E_NOMEM, "no memory for events");
  *a = (struct arrival){event_subject(ev),
                        {.time = event_time(ev),
                         .value_key = value_key(event_value(ev)),
                         .file = event_origin_file(ev),
                         .seq = m->n ? m->arrival[m->n - 1].item.seq + 1 : 0}};
  a->item.row = row < UINT32_MAX ? (uint32_t)row : UINT32_MAX;
  TRY(intern_put(&m->codes, code, &a->item.code, e));
  if (unit.n) {
    TRY(intern_put(&m->units, unit, &a->item.unit, e));
    if (++a->item.unit > UINT16_MAX) return error_set(e, E_LIMIT, "more than %d units", UINT16_MAX);
  }
  if (display.n) TRY(put_display(m, a->item.code, display, e));
  if (text.n || blob.n) TRY(put_text(m, &a->item, text, blob, e));
  m->n++;
  return OK;
}

int timeline_memory_take_back(void *timeline, const struct event *ev, struct error *e) {
  struct memory *m = ((struct timeline *)timeline)->memory;
  uint32_t code, kept = 0;
  BUG_IF(!m);
  (void)e;
  if (event_earlier(ev)) return OK;                              /* a request is one run */
  if (!intern_find(&m->codes, event_code(ev), &code)) return OK; /* never came */
  for (uint32_t i = 0; i < m->n; i++) {
    const struct arrival *a = &m->arrival[i];
    if (a->subject != event_subject(ev) || a->item.time != event_time(ev) || a->item.code != code) m->arrival[kept++] = *a;
  }
  m->n = kept;
  return OK;
}

/* ---- sealing ---- */

struct named {
  struct str name;
  uint32_t id;
};
static int by_name(const void *a, const void *b) { return str_cmp(((const struct named *)a)->name, ((const struct named *)b)->name); }

/* rank[id + shift] = place of the name in byte order, + shift; id_of is the inverse. */
static int rank_names(const struct intern *t, uint32_t shift, uint32_t **rank, uint32_t **id_of, struct error *e) {
  struct named *v = mem_alloc(t->count * sizeof *v);
  uint32_t n = t->count + shift;
  *rank = mem_alloc(2 * n * sizeof **rank);
  if (!v || !*rank) {
    mem_free(v);
    return error_set(e, E_NOMEM, "no memory to sort a timeline");
  }
  *id_of = *rank + n;
  for (uint32_t i = 0; i < t->count; i++) v[i] = (struct named){intern_str(t, i), i};
  if (t->count) qsort(v, t->count, sizeof *v, by_name);
  for (uint32_t i = 0; i < shift; i++) (*rank)[i] = (*id_of)[i] = i;
  for (uint32_t i = 0; i < t->count; i++) {
    (*rank)[v[i].id + shift] = i + shift;
    (*id_of)[i + shift] = v[i].id + shift;
  }
  mem_free(v);
  return OK;
}

struct key {
  uint64_t hash;
  uint32_t at;
};
static int by_hash(const void *a, const void *b) {
  const struct key *x = a, *y = b;
  return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : (x->at > y->at) - (x->at < y->at);
}

/* Order of the arrivals by subject, NULL with *one = true when there is one subject (every request but a few). */
static int by_subject(const struct memory *m, struct key **out, bool *one, struct error *e) {
  *out = NULL;
  *one = true;
  for (uint32_t i = 1; i < m->n && *one; i++) *one = m->arrival[i].subject == m->arrival[0].subject;
  if (*one) return OK;
  struct key *k = mem_alloc(m->n * sizeof *k);
  if (!k) return error_set(e, E_NOMEM, "no memory to sort a timeline");
  for (uint32_t i = 0; i < m->n; i++) k[i] = (struct key){subject_hash(m->arrival[i].subject), i};
  qsort(k, m->n, sizeof *k, by_hash);
  *out = k;
  return OK;
}

struct sealing {
  struct item *items; /* n, then n of scratch */
  struct key *order;
  uint32_t *code_rank, *code_id, *unit_rank, *unit_id;
  int64_t *time, *subject;
  uint64_t *start;
  uint32_t *statics, *code, *file, *row;
  float *value;
  uint16_t *unit;
  uint8_t *split, *block;
  struct str *text;
  const uint8_t **blob;
  uint32_t subjects, events;
};

static int lay_out(struct sealing *z, const struct memory *m, struct error *e) {
  size_t n = m->n;
  z->block = mem_alloc(n * (8 + 4 + 4 + 4 + 4 + 2 + 8 + 8 + 4 + 1) + 8);
  z->items = mem_alloc(2 * n * sizeof *z->items);
  z->text = m->texts ? mem_alloc(n * sizeof *z->text) : NULL;
  z->blob = m->blobs ? mem_alloc(n * sizeof *z->blob) : NULL;
  if (!z->block || !z->items || (m->texts && !z->text) || (m->blobs && !z->blob))
    return error_set(e, E_NOMEM, "no memory to sort a timeline");
  uint8_t *p = z->block;
  z->start = (uint64_t *)(void *)p, p += 8 * (n + 1);
  z->time = (int64_t *)(void *)p, p += 8 * n;
  z->subject = (int64_t *)(void *)p, p += 8 * n;
  z->statics = (uint32_t *)(void *)p, p += 4 * n;
  z->code = (uint32_t *)(void *)p, p += 4 * n;
  z->file = (uint32_t *)(void *)p, p += 4 * n;
  z->row = (uint32_t *)(void *)p, p += 4 * n;
  z->value = (float *)(void *)p, p += 4 * n;
  z->unit = (uint16_t *)(void *)p, p += 2 * n;
  z->split = p;
  z->start[0] = 0;
  return OK;
}

static void put_life(struct sealing *z, int64_t subject, uint32_t n, const struct special *special, struct item *scratch) {
  uint32_t at = z->events, statics = 0;
  n = items_order(z->items, n, scratch, special);
  for (uint32_t i = 0; i < n; i++) {
    const struct item *x = &z->items[i];
    statics += x->time == TIME_STATIC && !x->label;
    z->time[at + i] = x->time;
    z->code[at + i] = z->code_id[x->code];
    z->value[at + i] = value_of(x->value_key);
    z->unit[at + i] = (uint16_t)z->unit_id[x->unit];
    z->file[at + i] = x->file;
    z->row[at + i] = x->row;
    if (z->text) z->text[at + i] = x->text_n ? (struct str){x->text, x->text_n} : STR_NONE;
    if (z->blob) z->blob[at + i] = item_blob(x);
  }
  z->subject[z->subjects] = subject;
  z->statics[z->subjects] = statics;
  z->split[z->subjects] = SPLIT_HELD_OUT; /* nobody trains on a request */
  z->events += n;
  z->start[++z->subjects] = z->events;
}

static void put_lives(struct sealing *z, const struct memory *m) {
  struct special special = {.birth = UINT32_MAX};
  for (uint32_t i = 0; i < m->codes.count; i++) special_code(&special, i, intern_str(&m->codes, z->code_id[i]));
  for (uint32_t i = 0; i < m->n;) {
    int64_t subject = m->arrival[z->order ? z->order[i].at : i].subject;
    uint32_t n = 0;
    for (; i < m->n; i++, n++) {
      const struct arrival *a = &m->arrival[z->order ? z->order[i].at : i];
      if (a->subject != subject) break;
      z->items[n] = a->item;
      z->items[n].code = z->code_rank[a->item.code];
      z->items[n].unit = z->unit_rank[a->item.unit];
    }
    put_life(z, subject, n, &special, z->items + m->n);
  }
}

static void install(struct timeline *t, struct sealing *z) {
  struct memory *m = t->memory;
  struct shard *s = t->shard;
  mem_free(m->columns);
  mem_free(m->text);
  mem_free(m->blob);
  m->columns = z->block;
  m->text = z->text;
  m->blob = z->blob;
  *s = (struct shard){.subjects = z->subjects,
                      .events = z->events,
                      .subject = z->subject,
                      .time = z->time,
                      .start = z->start,
                      .statics = z->statics,
                      .code = z->code,
                      .file = z->file,
                      .row = z->row,
                      .split = z->split,
                      .value = z->value,
                      .unit = z->unit};
  t->subjects = z->subjects;
  t->events = z->events;
}

int timeline_memory_seal(struct timeline *t, struct error *e) {
  struct memory *m = t->memory;
  struct sealing z = {0};
  bool one;
  BUG_IF(!m);
  int rc = by_subject(m, &z.order, &one, e);
  if (rc == OK) rc = rank_names(&m->codes, 0, &z.code_rank, &z.code_id, e);
  if (rc == OK) rc = rank_names(&m->units, 1, &z.unit_rank, &z.unit_id, e);
  if (rc == OK) rc = lay_out(&z, m, e);
  if (rc == OK) {
    put_lives(&z, m);
    install(t, &z);
  } else {
    mem_free(z.block);
    mem_free(z.text);
    mem_free(z.blob);
  }
  mem_free(z.items);
  mem_free(z.order);
  mem_free(z.code_rank);
  mem_free(z.unit_rank);
  return rc;
}
