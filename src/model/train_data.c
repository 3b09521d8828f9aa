/* What training reads, and in which order. */
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/random.h"
#include "base/thread.h"
#include "model/train_internal.h"

int train_items_add(struct train_items *l, const struct train_item *item, struct error *e) {
  if (l->n == l->cap) {
    size_t cap = l->cap ? 2 * l->cap : 256;
    struct train_item *p = mem_realloc(l->at, cap * sizeof *p);
    if (!p) return error_set(e, E_NOMEM, "no memory for the training order");
    l->at = p;
    l->cap = cap;
  }
  l->at[l->n++] = *item;
  return OK;
}

/* Positions that a prefix needs: one for each instant (or event), and one for the static facts. */
static int32_t count_positions(const struct train_data *d, const struct timeline_view *v, uint32_t events) {
  int64_t n = 1;
  for (uint32_t k = v->statics; k < events; k++) n += d->pack.pack == PACK_EVENT || k == v->statics || v->time[k] != v->time[k - 1];
  return (int32_t)(n < d->pack.context ? n : d->pack.context);
}

/* Windows of a life, the last one first: each takes the context's length back from its end, instants whole. */
static int add_windows(const struct train_data *d, const struct timeline_view *v, uint32_t subject, struct train_items *out,
                       struct error *e) {
  uint32_t end = v->n;
  while (end > v->statics) {
    struct train_item item = {.subject = subject, .events = end, .now = INT64_MIN, .task = -1};
    int room = d->pack.context - 1;
    uint32_t k = end;
    while (k > v->statics && room > 0) {
      uint32_t from = k - 1;
      while (d->pack.pack == PACK_INSTANT && from > v->statics && v->time[from - 1] == v->time[k - 1]) from--;
      k = from;
      room--;
    }
    item.positions = d->pack.context - room;
    TRY(train_items_add(out, &item, e));
    end = k;
  }
  return OK;
}

struct timeline_view train_view(const struct train_data *d, uint32_t subject) {
  uint32_t n = timeline_subjects(d->store);
  return subject < n ? timeline_view(d->store, subject) : d->canaries.view[subject - n];
}

int train_lives(const struct train_data *d, enum split split, struct train_items *out, struct error *e) {
  uint32_t n = timeline_subjects(d->store);
  for (uint32_t i = 0; i < n; i++) {
    struct timeline_view v = timeline_view(d->store, i);
    if (v.split == split) TRY(add_windows(d, &v, i, out, e));
  }
  for (int i = 0; split == SPLIT_TRAIN && i < d->canaries.n; i++)
    for (int k = 0; k < d->canaries.repeats[i]; k++) TRY(add_windows(d, &d->canaries.view[i], n + (uint32_t)i, out, e));
  return OK;
}

static int by_place(const void *x, const void *y) {
  const struct train_item *a = x, *b = y;
  if (a->subject != b->subject) return a->subject < b->subject ? -1 : 1;
  if (a->now != b->now) return a->now < b->now ? -1 : 1;
  return a->events < b->events ? -1 : a->events > b->events;
}

static int add_examples(struct train_data *d, const struct task *task, int index, struct error *e) {
  struct task_binding *binding;
  struct task_examples found;
  struct arena a;
  TRY(task_bind(task, d->store, &binding, e));
  arena_init(&a, 0, 0);
  int rc = task_label_all(binding, d->store, SPLIT_TRAIN, 0, &a, &found, e);
  for (uint32_t i = 0; rc >= 0 && i < found.n; i++) {
    const struct task_example *x = &found.at[i];
    if (x->label == LABEL_CENSORED) continue;
    struct timeline_view v = timeline_view(d->store, x->subject_index);
    struct train_item item = {
        .subject = x->subject_index, .events = x->events, .now = x->time, .task = (int16_t)index, .yes = x->label == LABEL_YES};
    item.positions = count_positions(d, &v, x->events) + 1;
    if (item.positions > d->pack.context)
      item.positions = d->pack.context; /* the oldest are cut off: no earlier moment's prefix lies in this one's */
    else if (x->events > v.statics && v.time[x->events - 1] == x->time && (x->events == v.n || v.time[x->events] > x->time))
      item.whole = true;
    rc = train_items_add(&d->examples[index], &item, e);
  }
  arena_free(&a);
  task_binding_free(binding);
  qsort(d->examples[index].at, d->examples[index].n, sizeof *d->examples[index].at, by_place);
  return rc;
}

/* How many of each label an item stands for. */
static void alike(const struct train_data *d, const struct train_item *item, uint32_t of[2]) {
  const struct train_item *x = item->labels ? d->examples[item->task].at + item->first : item;
  of[0] = of[1] = 0;
  for (uint32_t i = 0; i < (item->labels ? item->labels : 1); i++) of[x[i].yes]++;
}

/* What an example of a person weighs who has so many of its label. */
static float example_weight(uint32_t of) { return of > TRAIN_PER_PERSON ? (float)TRAIN_PER_PERSON / (float)of : 1; }

static double weight_of(const struct train_data *d, const struct train_item *item) {
  uint32_t of[2];
  if (item->task < 0) return 0;
  alike(d, item, of);
  return fmin(TRAIN_PER_PERSON, of[0]) + fmin(TRAIN_PER_PERSON, of[1]);
}

int train_labels(const struct train_data *d, const struct train_item *item, const struct token_batch *b, struct sequence_label *out) {
  int sequence = b->sequences - 1, from = b->seq_start[sequence], length = b->seq_start[sequence + 1] - from, n = 0;
  uint32_t of[2];
  if (item->labels == 0) {
    *out = (struct sequence_label){sequence, item->task, length, 1, item->yes};
    return 1;
  }
  alike(d, item, of);
  const struct train_item *x = d->examples[item->task].at + item->first, *end = x + item->labels;
  for (int p = 1; p < length; p++) { /* both rise */
    while (x < end && x->now < b->time[from + p]) x++;
    if (x < end && x->now == b->time[from + p])
      out[n++] = (struct sequence_label){sequence, item->task, p + 1, example_weight(of[x->yes]), x->yes};
  }
  return n;
}

int train_data_open(const struct train_options *o, const struct model *m, const struct timeline *store, uint64_t seed, struct train_data *d,
                    struct error *e) {
  *d = (struct train_data){.store = store, .vocabulary = m->vocabulary, .seed = seed, .epoch_number = -1, .tasks = o->n_tasks};
  d->pack = (struct token_options){.pack = (enum token_pack_mode)m->config.pack, .context = m->config.context, .want_targets = true};
  TRY(token_map_new(m->vocabulary, store, &d->map, e));
  if (o->canaries) TRY(train_canaries_make(d, o->canaries, e));
  TRY(train_lives(d, SPLIT_TRAIN, &d->lives, e));
  if (d->lives.n == 0) return error_set(e, E_INPUT, "no training subject has a timed event");
  d->examples = mem_alloc(((size_t)o->n_tasks + 1) * sizeof *d->examples);
  if (!d->examples) return error_set(e, E_NOMEM, "no memory for the training order");
  memset(d->examples, 0, ((size_t)o->n_tasks + 1) * sizeof *d->examples);
  for (int t = 0; t < o->n_tasks; t++) TRY(add_examples(d, o->tasks[t], t, e));
  TRY(train_data_epoch(d, 0, e));
  double positions = 0, examples = 0;
  for (size_t i = 0; i < d->epoch.n; i++) positions += d->epoch.at[i].positions, examples += weight_of(d, &d->epoch.at[i]);
  d->positions_per_epoch = positions;
  d->examples_per_position = examples / positions;
  return OK;
}

void train_data_close(struct train_data *d) {
  token_map_free(d->map);
  mem_free(d->lives.at);
  mem_free(d->epoch.at);
  for (int t = 0; d->examples && t < d->tasks; t++) mem_free(d->examples[t].at);
  mem_free(d->examples);
  train_canaries_free(&d->canaries);
  *d = (struct train_data){0};
}

static void soon(const void *from, size_t bytes) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)from & ~(page - 1);
  madvise((void *)start, (uintptr_t)from + bytes - start, MADV_WILLNEED); /* advice: whatever it answers */
}

void train_data_ahead(const struct train_data *d, int64_t index, size_t n) {
  for (int64_t i = index; i < index + (int64_t)n && i < (int64_t)d->epoch.n; i++) {
    const struct train_item *item = &d->epoch.at[i];
    if (item->subject >= timeline_subjects(d->store)) continue; /* a canary: not in the store */
    struct timeline_view v = timeline_view(d->store, item->subject);
    soon(v.time, item->events * sizeof *v.time);
    soon(v.code, item->events * sizeof *v.code);
    soon(v.value, item->events * sizeof *v.value);
  }
}

static void shuffle(struct train_item *at, size_t n, uint64_t seed, uint64_t stream) {
  struct rng r;
  rng_init(&r, seed, stream);
  for (size_t i = n; i > 1; i--) {
    size_t k = rng_below(&r, (uint32_t)i);
    struct train_item keep = at[i - 1];
    at[i - 1] = at[k];
    at[k] = keep;
  }
}

static void cover(const struct train_data *d, const struct train_item *item, uint8_t *covered) {
  if ((double)item->events >= 0.8 * (double)timeline_view(d->store, item->subject).n) covered[item->subject] = 1;
}

/* Persons with many examples, all of whose moments lie in the last one's sequence; they are marked in count. */
static int choose_whole(struct train_data *d, int task, uint8_t *covered, uint8_t *count, struct error *e) {
  const struct train_items *x = &d->examples[task];
  for (size_t i = 0, k; i < x->n; i = k) {
    size_t of[2] = {0};
    bool whole = true;
    for (k = i; k < x->n && x->at[k].subject == x->at[i].subject; k++) of[x->at[k].yes]++, whole &= x->at[k].whole;
    if (!whole || (of[0] <= TRAIN_PER_PERSON && of[1] <= TRAIN_PER_PERSON)) continue;
    struct train_item item = x->at[k - 1];
    item.first = (uint32_t)i, item.labels = (uint32_t)(k - i);
    memset(count + 2 * (size_t)item.subject, TRAIN_PER_PERSON, 2);
    cover(d, &item, covered);
    TRY(train_items_add(&d->epoch, &item, e));
  }
  return OK;
}

static int choose_examples(struct train_data *d, int task, int64_t epoch, uint8_t *covered, uint8_t *count, struct error *e) {
  const struct train_items *x = &d->examples[task];
  memset(count, 0, 2 * (size_t)timeline_subjects(d->store));
  TRY(choose_whole(d, task, covered, count, e));
  struct train_item *drawn = mem_alloc((x->n + 1) * sizeof *drawn);
  if (!drawn) return error_set(e, E_NOMEM, "no memory for the training order");
  memcpy(drawn, x->at, x->n * sizeof *drawn);
  shuffle(drawn, x->n, d->seed ^ 0x74617362u, (uint64_t)epoch * 64 + (uint64_t)task);
  int rc = OK;
  for (size_t i = 0; i < x->n && rc == OK; i++) {
    uint8_t *seen = &count[2 * (size_t)drawn[i].subject + drawn[i].yes];
    if (*seen >= TRAIN_PER_PERSON) continue;
    ++*seen;
    rc = train_items_add(&d->epoch, &drawn[i], e);
    cover(d, &drawn[i], covered);
  }
  mem_free(drawn);
  return rc;
}

int train_data_epoch(struct train_data *d, int64_t epoch, struct error *e) {
  if (d->epoch_number == epoch) return OK;
  uint32_t subjects = timeline_subjects(d->store);
  uint8_t *covered = mem_alloc(3 * (size_t)subjects + 1);
  if (!covered) return error_set(e, E_NOMEM, "no memory for the training order");
  memset(covered, 0, subjects);
  d->epoch.n = 0;
  int rc = OK;
  for (int t = 0; rc >= 0 && t < d->tasks; t++) rc = choose_examples(d, t, epoch, covered, covered + subjects, e);
  for (size_t i = 0; rc >= 0 && i < d->lives.n; i++) { /* an example that is nearly the whole life teaches what the life would */
    const struct train_item *l = &d->lives.at[i];
    if (l->subject >= subjects || !covered[l->subject] || l->events < timeline_view(d->store, l->subject).n)
      rc = train_items_add(&d->epoch, l, e);
  }
  mem_free(covered);
  TRY(rc);
  shuffle(d->epoch.at, d->epoch.n, d->seed, (uint64_t)epoch);
  d->epoch_number = epoch;
  return OK;
}

int train_pack(const struct train_data *d, const struct train_item *item, struct token_batch *b, struct error *e) {
  struct timeline_view v = train_view(d, item->subject);
  return token_pack(d->vocabulary, d->map, &v, item->subject, item->events, item->now, &d->pack, b, e);
}
