#include "model/task_boost.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/thread.h"
#include "model/task_cox.h"

#define SAMPLE 16384
#define DEPTH_MOST 8
#define LEAF UINT32_MAX
#define NO_SLOT UINT32_MAX
/* Leaves of less depth keep their histograms until they are split; deeper ones, of few rows, are counted when their turn comes. */
#define KEPT_DEPTH 4
#define LANES_MOST (BOOST_TARGETS + 1)
#define BLOCK 256 /* rows that are sorted out together */

/* ---- bins ---- */

struct binned {
  uint32_t n, columns, bins; /* the first bin is that of missing values */
  uint8_t *bin;              /* (columns, n) */
  float *cut;                /* (columns, bins) rising: a value below cut[k] lies in bin k + 1 or before */
  uint8_t *cuts;
  uint32_t *different, differ; /* columns with a cut that are not the same as an earlier one */
};

void binned_free(struct binned *b) {
  if (!b) return;
  mem_free(b->bin);
  mem_free(b->cut);
  mem_free(b->cuts);
  mem_free(b->different);
  mem_free(b);
}

static int by_value(const void *x, const void *y) {
  float a = *(const float *)x, b = *(const float *)y;
  return a < b ? -1 : a > b;
}

static float between(float low, float high) {
  float middle = low + 0.5f * (high - low);
  return middle > low && middle <= high ? middle : high;
}

/* Between all different values where they are few, else between quantiles. v: (n) sorted. */
static uint8_t choose_cuts(const float *v, uint32_t n, uint32_t bins, float *cut) {
  uint32_t different = n > 0, cuts = 0, most = bins - 2;
  for (uint32_t i = 1; i < n && different <= most + 1; i++) different += v[i] > v[i - 1];
  if (different <= most + 1) {
    for (uint32_t i = 1; i < n; i++)
      if (v[i] > v[i - 1]) cut[cuts++] = between(v[i - 1], v[i]);
    return (uint8_t)cuts;
  }
  for (uint32_t k = 1; k <= most; k++) {
    uint32_t i = (uint32_t)((uint64_t)n * k / (most + 1));
    while (i < n && !(v[i] > v[i ? i - 1 : 0])) i++; /* forward to the end of a run of equal values */
    if (i >= n) break;
    float c = between(v[i - 1], v[i]);
    if (!cuts || c > cut[cuts - 1]) cut[cuts++] = c;
  }
  return (uint8_t)cuts;
}

static float tame(float x) { return fmaxf(fminf(x, FLT_MAX / 4), -FLT_MAX / 4); }

static uint8_t bin_of(const float *cut, uint32_t cuts, float x) {
  uint32_t low = 0, high = cuts; /* how many cuts are not above x */
  if (isnan(x)) return 0;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (x < cut[middle])
      high = middle;
    else
      low = middle + 1;
  }
  return (uint8_t)(1 + low);
}

/* A fact without a time is its own first, last, least, greatest and mean value: five columns that are one. hash: (columns) */
static void find_different(struct binned *b, uint64_t *hash) {
  for (uint32_t c = 0; c < b->columns; c++) {
    const uint8_t *bin = b->bin + (size_t)c * b->n;
    bool again = b->cuts[c] == 0;
    hash[c] = hash64(bin, b->n, b->cuts[c]);
    for (uint32_t k = 0; k < b->differ && !again; k++) {
      uint32_t d = b->different[k];
      again = hash[c] == hash[d] && memcmp(bin, b->bin + (size_t)d * b->n, b->n) == 0;
    }
    if (!again) b->different[b->differ++] = c;
  }
}

int binned_new(const float *x, uint32_t n, uint32_t columns, uint32_t bins, struct binned **out, struct error *e) {
  BUG_IF(bins < 3 || bins > BOOST_BINS);
  struct binned *b = mem_alloc(sizeof *b);
  float *v = mem_alloc(((size_t)SAMPLE + 1) * sizeof *v);
  uint64_t *hash = mem_alloc(((size_t)columns + 1) * sizeof *hash);
  uint32_t every = (n + SAMPLE - 1) / SAMPLE;
  if (b) {
    *b = (struct binned){.n = n, .columns = columns, .bins = bins};
    b->bin = mem_alloc((size_t)n * columns + 1);
    b->cut = mem_alloc(((size_t)columns + 1) * bins * sizeof *b->cut);
    b->cuts = mem_alloc((size_t)columns + 1);
    b->different = mem_alloc(((size_t)columns + 1) * sizeof *b->different);
  }
  if (!b || !v || !hash || !b->bin || !b->cut || !b->cuts || !b->different) {
    mem_free(v);
    mem_free(hash);
    binned_free(b);
    return error_set(e, E_NOMEM, "no memory for the trees");
  }
  for (uint32_t c = 0; c < columns; c++) {
    float *cut = b->cut + (size_t)c * bins;
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i += every)
      if (!isnan(x[(size_t)i * columns + c])) v[m++] = tame(x[(size_t)i * columns + c]);
    qsort(v, m, sizeof *v, by_value);
    b->cuts[c] = choose_cuts(v, m, bins, cut);
    for (uint32_t i = 0; i < n; i++) b->bin[(size_t)c * n + i] = bin_of(cut, b->cuts[c], x[(size_t)i * columns + c]);
  }
  find_different(b, hash);
  mem_free(v);
  mem_free(hash);
  *out = b;
  return OK;
}

/* ---- one tree ---- */

/* First and second derivative of the loss, of a row or of many: whole multiples of a unit, the first in the upper half (signed), the second in the
 * lower, so that one addition adds both. Whole sums do not hang on their order, and what remains of one when a part is taken away is exact: histograms of a
 * leaf's larger child, and of rows that miss a value, are differences (as LightGBM makes them; Ke et al. 2017). */
typedef uint64_t slope;
struct sums { /* of some rows, in units, by target */
  double g[LANES_MOST], h[LANES_MOST];
};
struct leaf {                     /* of the tree that grows: rows[from, to) */
  uint32_t from, to, depth, slot; /* slot: of its histograms; NO_SLOT: not counted */
  slope all[LANES_MOST];
};
struct grown { /* as tree_node, and the bin of its split */
  struct tree_node node;
  uint8_t bin;
};
struct boosting {
  struct arena memory; /* of all but node and root, which grow */
  const struct binned *b;
  struct boost_labels l;
  int targets, lanes; /* lanes: 1, or targets filled up to an even number */
  const uint32_t *rows;
  uint32_t n_rows;
  struct boost_settings s;
  struct rng rng;
  float *margin;          /* (targets, b.n), the own one first */
  float *value;           /* (nodes of this tree, targets): of leaves */
  float *first, *second;  /* (n_rows) derivatives of one target */
  slope *slope;           /* (b.n, lanes) */
  slope *histogram;       /* (slots, bins of the drawn columns one behind another, lanes) */
  uint32_t *offset;       /* (drawn columns + 1) where each begins in its slot, in bins */
  uint32_t *free_slot;    /* those that no leaf has */
  uint32_t *drawn, *away; /* rows of this tree; room to part them */
  uint32_t *column;       /* (columns) shuffled */
  uint32_t columns, free_slots;
  double unit_g[LANES_MOST], unit_h[LANES_MOST]; /* of this tree, by target */
  double lambda[LANES_MOST], weight[LANES_MOST]; /* lambda in units of h; what a gain in units is worth, 0 in a lane of no target */
  struct leaf *leaf;
  struct grown *node; /* all trees so far */
  uint32_t *root, nodes, trees, node_room, tree_room;
  float *own_time; /* Cox only, by place in rows */
  uint8_t *own_y;
  uint32_t *order;
  double *z, *dz, *ddz;
};

void boosting_free(struct boosting *m) {
  if (!m) return;
  arena_free(&m->memory);
  mem_free(m->node);
  mem_free(m->root);
  mem_free(m);
}

static bool cox_room(struct boosting *m) {
  struct arena *a = &m->memory;
  size_t n = (size_t)m->n_rows + 1;
  if (!m->l.time) return true;
  m->own_time = arena_array(a, float, n), m->own_y = arena_array(a, uint8_t, n), m->order = arena_array(a, uint32_t, n);
  m->z = arena_array(a, double, n), m->dz = arena_array(a, double, n), m->ddz = arena_array(a, double, n);
  if (!m->own_time || !m->own_y || !m->order || !m->z || !m->dz || !m->ddz) return false;
  for (uint32_t i = 0; i < m->n_rows; i++) m->own_time[i] = m->l.time[m->rows[i]], m->own_y[i] = m->l.y[m->rows[i]];
  return cox_order(m->own_time, NULL, 0, true, m->n_rows, m->order) == m->n_rows;
}

static bool boosting_room(struct boosting *m) {
  struct arena *a = &m->memory;
  size_t lanes = (size_t)m->lanes, targets = (size_t)m->targets, rows = (size_t)m->n_rows + 1, all = (size_t)m->b->n + 1;
  size_t slots = (size_t)1 << ((m->s.depth < KEPT_DEPTH ? m->s.depth : KEPT_DEPTH) - 1), nodes = (size_t)2 << m->s.depth;
  m->margin = arena_array(a, float, all *targets), m->value = arena_array(a, float, nodes *targets);
  m->first = arena_array(a, float, rows), m->second = arena_array(a, float, rows);
  m->slope = arena_array(a, slope, all * lanes), m->histogram = arena_array(a, slope, slots * m->s.drawn * m->b->bins * lanes + 1);
  m->offset = arena_array(a, uint32_t, m->s.drawn + 1), m->free_slot = arena_array(a, uint32_t, slots);
  m->drawn = arena_array(a, uint32_t, rows), m->away = arena_array(a, uint32_t, rows);
  m->column = arena_array(a, uint32_t, m->b->columns + 1), m->leaf = arena_array(a, struct leaf, nodes);
  for (; m->free_slot && m->free_slots < slots; m->free_slots++) m->free_slot[m->free_slots] = m->free_slots;
  return m->margin && m->value && m->first && m->second && m->slope && m->histogram && m->offset && m->free_slot && m->drawn && m->away &&
         m->column && m->leaf && cox_room(m);
}

static const uint8_t *labels_of(const struct boosting *m, int target) {
  return target ? m->l.other + (size_t)(target - 1) * m->b->n : m->l.y;
}

/* Everybody begins at the own bias, and at the share of each other target. */
static void margins_begin(struct boosting *m, double bias) {
  for (int k = 0; k < m->targets; k++) {
    const uint8_t *y = labels_of(m, k);
    double yes = 0.5, at = bias;
    for (uint32_t i = 0; i < m->n_rows; i++) yes += y[m->rows[i]];
    if (k) at = log(yes / (m->n_rows + 1 - yes));
    for (uint32_t i = 0; i < m->b->n; i++) m->margin[(size_t)k * m->b->n + i] = (float)at;
  }
}

int boosting_new(const struct binned *b, const struct boost_labels *l, const uint32_t *rows, uint32_t n_rows,
                 const struct boost_settings *s, uint64_t seed, double bias, struct boosting **out, struct error *e) {
  struct boosting *m = mem_alloc(sizeof *m);
  BUG_IF(s->depth < 1 || s->depth > DEPTH_MOST || l->others < 0 || l->others >= BOOST_TARGETS || (l->time && l->others));
  *out = NULL;
  if (!m) return error_set(e, E_NOMEM, "no memory for the trees");
  *m = (struct boosting){.b = b, .l = *l, .targets = 1 + l->others, .rows = rows, .n_rows = n_rows, .s = *s};
  m->lanes = l->others ? (m->targets + 1) / 2 * 2 : 1;
  rng_init(&m->rng, seed, 0x74726565);
  arena_init(&m->memory, 0, 0);
  m->columns = s->drawn ? b->columns : b->differ;
  if (!s->drawn) m->s.drawn = b->differ < 12 ? 3 : b->differ / 4;
  if (m->s.drawn > m->columns) m->s.drawn = m->columns;
  if (!boosting_room(m)) {
    boosting_free(m);
    return error_set(e, E_NOMEM, "no memory for the trees");
  }
  margins_begin(m, bias);
  for (uint32_t c = 0; c < m->columns; c++) m->column[c] = s->drawn ? c : b->different[c];
  *out = m;
  return OK;
}

/* The least power of two of which `sum` holds fewer than 2^30. */
static double unit_of(double sum) {
  int exponent = 0;
  (void)frexp(sum, &exponent);
  return ldexp(1, exponent - 30);
}

static slope slope_of(double g, double h) { return ((uint64_t)llrint(g) << 32) + (uint64_t)llrint(h); }

/* Of target t, from first and second. */
static void cut_into_units(struct boosting *m, int t) {
  double g = 0, h = 0;
  for (uint32_t k = 0; k < m->n_rows; k++) g += fabs((double)m->first[k]), h += (double)m->second[k];
  m->unit_g[t] = unit_of(g), m->unit_h[t] = unit_of(h), m->lambda[t] = m->s.lambda / m->unit_h[t];
  m->weight[t] = m->unit_g[t] * m->unit_g[t] / m->unit_h[t];
  for (uint32_t k = 0; k < m->n_rows; k++)
    m->slope[(size_t)m->rows[k] * m->lanes + t] = slope_of((double)m->first[k] / m->unit_g[t], (double)m->second[k] / m->unit_h[t]);
}

static void slopes(struct boosting *m) {
  for (int t = m->targets; t < m->lanes; t++) m->lambda[t] = 1, m->weight[t] = 0;
  for (int t = 0; t < m->targets && !m->l.time; t++) {
    const uint8_t *y = labels_of(m, t);
    const float *margin = m->margin + (size_t)t * m->b->n;
    for (uint32_t k = 0; k < m->n_rows; k++) {
      uint32_t i = m->rows[k];
      float p = 1 / (1 + expf(-margin[i]));
      m->first[k] = p - (y[i] ? 1.0f : 0.0f), m->second[k] = fmaxf(p * (1 - p), 1e-6f);
    }
    cut_into_units(m, t);
  }
  if (!m->l.time) return;
  for (uint32_t k = 0; k < m->n_rows; k++) m->z[k] = (double)m->margin[m->rows[k]];
  (void)cox_loss(m->z, m->own_time, m->own_y, m->order, m->n_rows, m->dz, m->ddz);
  for (uint32_t k = 0; k < m->n_rows; k++) m->first[k] = (float)m->dz[k], m->second[k] = fmaxf((float)m->ddz[k], 1e-6f);
  cut_into_units(m, 0);
}

/* ---- histograms ---- */

static slope *histogram(const struct boosting *m, uint32_t slot) {
  return m->histogram + (size_t)slot * m->s.drawn * m->b->bins * (size_t)m->lanes;
}

static void add_row(const slope *restrict from, slope *restrict to, size_t lanes) {
  for (size_t k = 0; k < lanes; k++) to[k] += from[k];
}

static void add_rows(const struct boosting *m, const uint32_t *row, uint32_t n, const uint8_t *bin, slope *to) {
  size_t lanes = (size_t)m->lanes;
  if (lanes == 1)
    for (uint32_t i = 0; i < n; i++) to[bin[row[i]]] += m->slope[row[i]];
  else if (lanes == 8)
    for (uint32_t i = 0; i < n; i++) add_row(m->slope + (size_t)row[i] * 8, to + (size_t)bin[row[i]] * 8, 8);
  else
    for (uint32_t i = 0; i < n; i++) add_row(m->slope + row[i] * lanes, to + bin[row[i]] * lanes, lanes);
}

/* Sums by bin of a column. Rows that miss the value, often most, are what the others leave of the leaf's sum. */
static void fill_column(const struct boosting *m, const struct leaf *l, uint32_t c, slope *to) {
  const uint8_t *bin = m->b->bin + (size_t)c * m->b->n;
  size_t lanes = (size_t)m->lanes, end = (m->b->cuts[c] + (size_t)2) * lanes;
  uint32_t there[BLOCK];
  memset(to, 0, end * sizeof *to);
  for (uint32_t from = l->from; from < l->to; from += BLOCK) {
    uint32_t n = 0, until = l->to - from < BLOCK ? l->to : from + BLOCK;
    for (uint32_t i = from; i < until; i++) there[n] = m->drawn[i], n += bin[m->drawn[i]] != 0;
    add_rows(m, there, n, bin, to);
  }
  for (size_t k = 0; k < lanes; k++) to[k] = l->all[k];
  for (size_t at = lanes; at < end; at += lanes)
    for (size_t k = 0; k < lanes; k++) to[k] -= to[at + k];
}

static void fill(struct boosting *m, struct leaf *l, uint32_t slot) {
  l->slot = slot;
  for (uint32_t k = 0; k < m->s.drawn; k++) fill_column(m, l, m->column[k], histogram(m, slot) + (size_t)m->offset[k] * (size_t)m->lanes);
}

static uint32_t slot_take(struct boosting *m) { return m->free_slot[--m->free_slots]; }
static void slot_give(struct boosting *m, uint32_t slot) { m->free_slot[m->free_slots++] = slot; }

static double g_of(slope s) { return (double)(int32_t)(s >> 32); }
static double h_of(slope s) { return (double)(uint32_t)s; }

static bool is_kept(const struct leaf *l) { return l->depth < KEPT_DEPTH; }

static bool can_split(const struct boosting *m, const struct leaf *l) {
  return l->depth < (uint32_t)m->s.depth && h_of(l->all[0]) * m->unit_h[0] >= 2 * m->s.least_weight;
}

/* Of two leaves that part the rows of a third, whose slot this is: the smaller one's histograms are counted, the larger one's are what is left, for
 * those that keep them. */
static void fill_children(struct boosting *m, uint32_t slot, struct leaf *small, struct leaf *large) {
  bool want = is_kept(small) && can_split(m, small);
  small->slot = large->slot = NO_SLOT;
  if (is_kept(large) && can_split(m, large)) {
    uint32_t other = slot_take(m);
    slope *from = histogram(m, slot), *part = histogram(m, other);
    size_t n = (size_t)m->offset[m->s.drawn] * (size_t)m->lanes;
    fill(m, small, other);
    for (size_t i = 0; i < n; i++) from[i] -= part[i];
    large->slot = slot;
    if (want) return;
    small->slot = NO_SLOT;
    slot_give(m, other);
  } else if (want) {
    fill(m, small, slot);
  } else {
    slot_give(m, slot);
  }
}

/* ---- splits ---- */

struct split {
  double gain;
  uint32_t column;
  uint8_t bin; /* up to and with this one to the left; 0: of those that have a value none */
  bool missing_left;
};

static inline void sums_of(const slope *s, int lanes, struct sums *out) {
  for (int t = 0; t < lanes; t++) out->g[t] = g_of(s[t]), out->h[t] = h_of(s[t]);
}

/* Of all targets together, before what the leaf is worth undivided is taken off. One division for both sides. */
static inline double gain_of(const struct boosting *m, const struct sums *all, const struct sums *left, int lanes) {
  double part[LANES_MOST], gain = 0;
  for (int t = 0; t < lanes; t++) {
    double g = left->g[t], h = left->h[t] + m->lambda[t], other_g = all->g[t] - g, other_h = all->h[t] - left->h[t] + m->lambda[t];
    part[t] = (g * g * other_h + other_g * other_g * h) / (h * other_h) * m->weight[t];
  }
  for (int t = 0; t < lanes; t++) gain += part[t];
  return gain;
}

struct trial { /* of one column in one leaf */
  const struct boosting *m;
  const struct sums *all;
  double least, undivided;
  uint32_t column;
  struct split *best;
};

static inline void try_split(const struct trial *t, const struct sums *left, uint32_t bin, bool missing_left, int lanes) {
  if (left->h[0] < t->least || t->all->h[0] - left->h[0] < t->least) return;
  double gain = gain_of(t->m, t->all, left, lanes) - t->undivided;
  if (gain > t->best->gain) *t->best = (struct split){gain, t->column, (uint8_t)bin, missing_left};
}

/* After each bin that holds anything: with those that miss the value to the right, to the left; and before all bins, these alone to the left. */
static inline void try_bins(const struct trial *t, const slope *bins, int lanes) {
  struct sums without = {0}, with, here;
  sums_of(bins, lanes, &with);
  bool missing = with.h[0] > 0;
  if (missing) try_split(t, &with, 0, true, lanes);
  for (uint32_t k = 1; k <= t->m->b->cuts[t->column]; k++) {
    slope any = 0;
    bins += lanes;
    for (int i = 0; i < lanes; i++) any |= bins[i];
    if (!any) continue;
    sums_of(bins, lanes, &here);
    for (int i = 0; i < lanes; i++) without.g[i] += here.g[i], without.h[i] += here.h[i];
    try_split(t, &without, k, false, lanes);
    for (int i = 0; i < lanes; i++) with.g[i] += here.g[i], with.h[i] += here.h[i];
    if (missing) try_split(t, &with, k, true, lanes);
  }
}

static void try_column(const struct trial *t, const slope *bins) {
  switch (t->m->lanes) { /* loops of a known length */
    case 1: try_bins(t, bins, 1); return;
    case 2: try_bins(t, bins, 2); return;
    case 8: try_bins(t, bins, 8); return;
    default: try_bins(t, bins, t->m->lanes);
  }
}

static void sum_up(const struct boosting *m, struct leaf *l) {
  memset(l->all, 0, sizeof l->all);
  for (uint32_t i = l->from; i < l->to; i++) add_row(m->slope + (size_t)m->drawn[i] * (size_t)m->lanes, l->all, (size_t)m->lanes);
}

static bool goes_left(uint8_t bin, const struct grown *n) { return bin ? bin <= n->bin : n->node.missing_left; }

/* Both sides stay in the order of rows: what is read one after another lies one behind another. */
static uint32_t divide(const struct boosting *m, const struct leaf *l, const struct grown *n) {
  const uint8_t *bin = m->b->bin + (size_t)n->node.feature * m->b->n;
  uint32_t to = l->from, away = 0; /* away: rows that go right */
  for (uint32_t i = l->from; i < l->to; i++) {
    uint32_t r = m->drawn[i];
    bool left = goes_left(bin[r], n);
    m->drawn[to] = m->away[away] = r;
    to += left, away += !left;
  }
  if (away) memcpy(m->drawn + to, m->away, away * sizeof *m->drawn);
  return to;
}

static int tree_room(struct boosting *m, struct error *e) {
  uint32_t most = 2u << m->s.depth;
  if (m->nodes + most > m->node_room) {
    uint32_t room = 2 * (m->node_room + most);
    struct grown *more = mem_realloc(m->node, room * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for the trees");
    m->node = more, m->node_room = room;
  }
  if (m->trees == m->tree_room) {
    uint32_t room = 2 * m->tree_room + 64;
    uint32_t *more = mem_realloc(m->root, room * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "no memory for the trees");
    m->root = more, m->tree_room = room;
  }
  return OK;
}

static uint32_t draw(struct boosting *m) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < m->n_rows; k++)
    if ((double)rng_uniformf(&m->rng) < m->s.subsample) m->drawn[n++] = m->rows[k];
  m->offset[0] = 0;
  for (uint32_t k = 0; k < m->s.drawn; k++) {
    uint32_t other = k + rng_below(&m->rng, m->columns - k), c = m->column[other];
    m->column[other] = m->column[k], m->column[k] = c;
    m->offset[k + 1] = m->offset[k] + m->b->cuts[c] + 2;
  }
  return n;
}

static struct split best_split(struct boosting *m, struct leaf *l) {
  struct split best = {.gain = 1e-9, .column = LEAF};
  struct sums all = {0};
  if (!can_split(m, l)) return best;
  if (l->slot == NO_SLOT) fill(m, l, slot_take(m));
  sums_of(l->all, m->lanes, &all);
  struct trial t = {.m = m, .all = &all, .least = m->s.least_weight / m->unit_h[0], .best = &best};
  for (int k = 0; k < m->targets; k++) t.undivided += all.g[k] * all.g[k] / (all.h[k] + m->lambda[k]) * m->weight[k];
  for (uint32_t k = 0; k < m->s.drawn; k++) {
    t.column = m->column[k];
    try_column(&t, histogram(m, l->slot) + (size_t)m->offset[k] * (size_t)m->lanes);
  }
  return best;
}

/* Breadth first, so that children lie behind their parent and beside each other. */
static void grow(struct boosting *m, uint32_t rows) {
  uint32_t base = m->nodes, count = 1;
  m->leaf[0] = (struct leaf){.to = rows, .slot = NO_SLOT};
  sum_up(m, &m->leaf[0]);
  m->root[m->trees++] = base;
  for (uint32_t at = 0; at < count; at++) {
    struct leaf *l = &m->leaf[at], *child = &m->leaf[count];
    struct grown *n = &m->node[base + at];
    struct split best = best_split(m, l);
    float *value = m->value + at * m->targets;
    for (int t = 0; t < m->targets; t++)
      value[t] = (float)(-m->s.eta * g_of(l->all[t]) * m->unit_g[t] / (h_of(l->all[t]) * m->unit_h[t] + m->s.lambda));
    *n = (struct grown){.node = {.feature = best.column, .split = value[0]}};
    if (best.column == LEAF) {
      if (l->slot != NO_SLOT) slot_give(m, l->slot);
      continue;
    }
    n->node.left = count, n->node.missing_left = best.missing_left, n->bin = best.bin;
    n->node.split = best.bin ? m->b->cut[(size_t)best.column * m->b->bins + best.bin - 1] : -FLT_MAX;
    uint32_t middle = divide(m, l, n);
    child[0] = (struct leaf){.from = l->from, .to = middle, .depth = l->depth + 1};
    child[1] = (struct leaf){.from = middle, .to = l->to, .depth = l->depth + 1};
    int small = l->to - middle < middle - l->from;
    sum_up(m, &child[small]);
    for (int t = 0; t < m->lanes; t++) child[!small].all[t] = l->all[t] - child[small].all[t];
    fill_children(m, l->slot, &child[small], &child[!small]);
    count += 2;
  }
  m->nodes += count;
}

int boost_once(struct boosting *m, struct error *e) {
  uint32_t n = m->b->n;
  if (cancel_requested()) return error_set(e, E_CANCELLED, "stopped");
  TRY(tree_room(m, e));
  slopes(m);
  grow(m, draw(m));
  const struct grown *tree = m->node + m->root[m->trees - 1];
  for (uint32_t i = 0; i < n; i++) {
    const struct grown *at = tree;
    while (at->node.feature != LEAF) at = tree + at->node.left + !goes_left(m->b->bin[(size_t)at->node.feature * n + i], at);
    const float *value = m->value + (size_t)(at - tree) * m->targets;
    for (int t = 0; t < m->targets; t++) m->margin[(size_t)t * n + i] += value[t];
  }
  return OK;
}

const float *boosting_margin(const struct boosting *m) { return m->margin; }
uint32_t boosting_nodes(const struct boosting *m) { return m->nodes; }
uint32_t boosting_trees(const struct boosting *m) { return m->trees; }

void boosting_write(const struct boosting *m, struct tree_node *node, uint32_t at, uint32_t *root) {
  for (uint32_t t = 0; t < m->trees; t++) {
    uint32_t from = m->root[t], to = t + 1 < m->trees ? m->root[t + 1] : m->nodes;
    root[t] = at + from;
    for (uint32_t i = from; i < to; i++) {
      node[at + i] = m->node[i].node;
      node[at + i].left = m->node[i].node.feature == LEAF ? 0 : at + from + m->node[i].node.left;
    }
  }
}
