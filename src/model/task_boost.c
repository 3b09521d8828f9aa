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

struct slope { /* first and second derivative of the loss */
  float g, h;
};
struct sums { /* of some rows, by target */
  double g[BOOST_TARGETS], h[BOOST_TARGETS];
};
struct leaf { /* of the tree that grows: rows[from, to) */
  uint32_t from, to, depth;
  struct sums all;
};
struct grown { /* as tree_node, and the bin of its split */
  struct tree_node node;
  uint8_t bin;
};
struct boosting {
  const struct binned *b;
  struct boost_labels l;
  int targets, lanes; /* lanes: 1, or targets filled up to an even number */
  const uint32_t *rows;
  uint32_t n_rows;
  struct boost_settings s;
  struct rng rng;
  float *margin;            /* (targets, b.n), the own one first */
  float *value;             /* (nodes of this tree, targets): of leaves */
  struct slope *slope;      /* (b.n, lanes) */
  struct slope *histogram;  /* (2, b.bins, lanes) */
  uint32_t *drawn, *column; /* rows of this tree; (columns) shuffled */
  uint32_t columns;         /* that it may draw */
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
  mem_free(m->margin);
  mem_free(m->value);
  mem_free(m->slope);
  mem_free(m->histogram);
  mem_free(m->drawn);
  mem_free(m->column);
  mem_free(m->leaf);
  mem_free(m->node);
  mem_free(m->root);
  mem_free(m->own_time);
  mem_free(m->own_y);
  mem_free(m->order);
  mem_free(m->z);
  mem_free(m);
}

static bool cox_room(struct boosting *m) {
  size_t n = (size_t)m->n_rows + 1;
  if (!m->l.time) return true;
  m->own_time = mem_alloc(n * sizeof *m->own_time);
  m->own_y = mem_alloc(n);
  m->order = mem_alloc(n * sizeof *m->order);
  m->z = mem_alloc(3 * n * sizeof *m->z);
  if (!m->own_time || !m->own_y || !m->order || !m->z) return false;
  m->dz = m->z + n, m->ddz = m->dz + n;
  for (uint32_t i = 0; i < m->n_rows; i++) m->own_time[i] = m->l.time[m->rows[i]], m->own_y[i] = m->l.y[m->rows[i]];
  return cox_order(m->own_time, NULL, 0, true, m->n_rows, m->order) == m->n_rows;
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
  size_t lanes = (size_t)m->lanes, targets = (size_t)m->targets;
  m->margin = mem_alloc(((size_t)b->n + 1) * targets * sizeof *m->margin);
  m->value = mem_alloc(((size_t)2 << s->depth) * targets * sizeof *m->value);
  m->slope = mem_alloc(((size_t)b->n + 1) * lanes * sizeof *m->slope);
  m->histogram = mem_alloc(2 * b->bins * lanes * sizeof *m->histogram);
  m->drawn = mem_alloc(((size_t)n_rows + 1) * sizeof *m->drawn);
  m->column = mem_alloc(((size_t)b->columns + 1) * sizeof *m->column);
  m->leaf = mem_alloc(((size_t)2 << s->depth) * sizeof *m->leaf);
  if (!m->margin || !m->value || !m->slope || !m->histogram || !m->drawn || !m->column || !m->leaf || !cox_room(m)) {
    boosting_free(m);
    return error_set(e, E_NOMEM, "no memory for the trees");
  }
  memset(m->slope, 0, ((size_t)b->n + 1) * lanes * sizeof *m->slope); /* lanes of no target stay so */
  margins_begin(m, bias);
  m->columns = s->drawn ? b->columns : b->differ;
  if (!s->drawn) m->s.drawn = b->differ < 12 ? 3 : b->differ / 4;
  for (uint32_t c = 0; c < m->columns; c++) m->column[c] = s->drawn ? c : b->different[c];
  *out = m;
  return OK;
}

static void slopes(struct boosting *m) {
  for (int t = 0; t < m->targets && !m->l.time; t++) {
    const uint8_t *y = labels_of(m, t);
    const float *margin = m->margin + (size_t)t * m->b->n;
    for (uint32_t k = 0; k < m->n_rows; k++) {
      uint32_t i = m->rows[k];
      float p = 1 / (1 + expf(-margin[i]));
      m->slope[(size_t)i * m->lanes + t] = (struct slope){p - (y[i] ? 1.0f : 0.0f), fmaxf(p * (1 - p), 1e-6f)};
    }
  }
  if (!m->l.time) return;
  for (uint32_t k = 0; k < m->n_rows; k++) m->z[k] = (double)m->margin[m->rows[k]];
  (void)cox_loss(m->z, m->own_time, m->own_y, m->order, m->n_rows, m->dz, m->ddz);
  for (uint32_t k = 0; k < m->n_rows; k++) m->slope[m->rows[k]] = (struct slope){(float)m->dz[k], fmaxf((float)m->ddz[k], 1e-6f)};
}

struct split {
  double gain;
  uint32_t column;
  uint8_t bin; /* up to and with this one to the left */
  bool missing_left;
};

static double worth(const struct boosting *m, double g, double h) { return g * g / (h + m->s.lambda); }

/* Sums by bin. Rows go into two histograms by turns: in one alone a bin that comes twice running would wait for itself. bin: of the column. */
static void fill_one(const struct boosting *m, const struct leaf *l, const uint8_t *bin, struct slope *one, struct slope *two) {
  uint32_t i = l->from;
  for (; i + 1 < l->to; i += 2) {
    uint32_t r = m->drawn[i], q = m->drawn[i + 1];
    struct slope *a = &one[bin[r]], *b = &two[bin[q]];
    a->g += m->slope[r].g, a->h += m->slope[r].h;
    b->g += m->slope[q].g, b->h += m->slope[q].h;
  }
  if (i < l->to) one[bin[m->drawn[i]]].g += m->slope[m->drawn[i]].g, one[bin[m->drawn[i]]].h += m->slope[m->drawn[i]].h;
}

static void fill_several(const struct boosting *m, const struct leaf *l, const uint8_t *bin, struct slope *one, struct slope *two) {
  size_t lanes = (size_t)m->lanes;
  for (uint32_t i = l->from; i < l->to; i++) {
    uint32_t r = m->drawn[i];
    const struct slope *restrict from = m->slope + r * lanes;
    struct slope *restrict to = (i & 1 ? two : one) + bin[r] * lanes;
    for (size_t k = 0; k < lanes; k += 2)
      for (size_t j = k; j < k + 2; j++) to[j].g += from[j].g, to[j].h += from[j].h;
  }
}

static double gain_of(const struct boosting *m, const struct leaf *l, const struct sums *left) {
  double gain = 0;
  for (int t = 0; t < m->targets; t++)
    gain += worth(m, left->g[t], left->h[t]) + worth(m, l->all.g[t] - left->g[t], l->all.h[t] - left->h[t]);
  return gain;
}

static void add_bin(const struct boosting *m, const struct slope *one, const struct slope *two, uint32_t bin, struct sums *to) {
  size_t at = bin * (size_t)m->lanes;
  for (int t = 0; t < m->targets; t++, at++) {
    to->g[t] += (double)one[at].g + (double)two[at].g;
    to->h[t] += (double)one[at].h + (double)two[at].h;
  }
}

static void try_column(const struct boosting *m, const struct leaf *l, uint32_t c, struct split *best) {
  const uint8_t *bin = m->b->bin + (size_t)c * m->b->n;
  uint32_t cuts = m->b->cuts[c];
  size_t lanes = (size_t)m->lanes;
  struct slope *one = m->histogram, *two = one + m->b->bins * lanes;
  struct sums left[2] = {0}; /* without those that miss the value, with them */
  double whole = 0;
  if (!cuts) return;
  memset(one, 0, (cuts + 2) * lanes * sizeof *one);
  memset(two, 0, (cuts + 2) * lanes * sizeof *two);
  (lanes == 1 ? fill_one : fill_several)(m, l, bin, one, two);
  for (int t = 0; t < m->targets; t++) whole += worth(m, l->all.g[t], l->all.h[t]);
  add_bin(m, one, two, 0, &left[1]);
  bool missing = left[1].h[0] > 0;
  for (uint32_t k = 1; k <= cuts; k++) {
    for (int side = 0; side < (missing ? 2 : 1); side++) {
      struct sums *s = &left[side];
      add_bin(m, one, two, k, s);
      if (s->h[0] < m->s.least_weight || l->all.h[0] - s->h[0] < m->s.least_weight) continue;
      double gain = gain_of(m, l, s) - whole;
      if (gain > best->gain) *best = (struct split){gain, c, (uint8_t)k, side != 0};
    }
  }
}

static void sum_up(const struct boosting *m, struct leaf *l) {
  l->all = (struct sums){0};
  for (uint32_t i = l->from; i < l->to; i++) {
    const struct slope *s = m->slope + (size_t)m->drawn[i] * m->lanes;
    for (int t = 0; t < m->targets; t++) l->all.g[t] += (double)s[t].g, l->all.h[t] += (double)s[t].h;
  }
}

static bool goes_left(uint8_t bin, const struct grown *n) { return bin ? bin <= n->bin : n->node.missing_left; }

static uint32_t divide(const struct boosting *m, const struct leaf *l, const struct grown *n) {
  const uint8_t *bin = m->b->bin + (size_t)n->node.feature * m->b->n;
  uint32_t from = l->from, to = l->to;
  while (from < to) {
    if (goes_left(bin[m->drawn[from]], n)) {
      from++;
    } else {
      uint32_t r = m->drawn[--to];
      m->drawn[to] = m->drawn[from], m->drawn[from] = r;
    }
  }
  return from;
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

static void draw(struct boosting *m, uint32_t *rows, uint32_t *columns) {
  uint32_t n = 0, all = m->columns;
  for (uint32_t k = 0; k < m->n_rows; k++)
    if ((double)rng_uniformf(&m->rng) < m->s.subsample) m->drawn[n++] = m->rows[k];
  *rows = n;
  *columns = m->s.drawn < all ? m->s.drawn : all;
  for (uint32_t k = 0; k < *columns; k++) {
    uint32_t other = k + rng_below(&m->rng, all - k), c = m->column[other];
    m->column[other] = m->column[k], m->column[k] = c;
  }
}

/* Breadth first, so that children lie behind their parent and beside each other. */
static void grow(struct boosting *m, uint32_t rows, uint32_t columns) {
  uint32_t base = m->nodes, count = 1;
  m->leaf[0] = (struct leaf){.to = rows};
  sum_up(m, &m->leaf[0]);
  m->root[m->trees++] = base;
  for (uint32_t at = 0; at < count; at++) {
    struct leaf *l = &m->leaf[at];
    struct grown *n = &m->node[base + at];
    struct split best = {.gain = 1e-9, .column = LEAF};
    if (l->depth < (uint32_t)m->s.depth && l->all.h[0] >= 2 * m->s.least_weight)
      for (uint32_t k = 0; k < columns; k++) try_column(m, l, m->column[k], &best);
    float *value = m->value + at * m->targets;
    for (int t = 0; t < m->targets; t++) value[t] = (float)(-m->s.eta * l->all.g[t] / (l->all.h[t] + m->s.lambda));
    *n = (struct grown){.node = {.feature = best.column, .split = value[0]}};
    if (best.column == LEAF) continue;
    n->node.left = count, n->node.missing_left = best.missing_left, n->bin = best.bin;
    n->node.split = m->b->cut[(size_t)best.column * m->b->bins + best.bin - 1];
    uint32_t middle = divide(m, l, n);
    m->leaf[count] = (struct leaf){.from = l->from, .to = middle, .depth = l->depth + 1};
    m->leaf[count + 1] = (struct leaf){.from = middle, .to = l->to, .depth = l->depth + 1};
    sum_up(m, &m->leaf[count]);
    sum_up(m, &m->leaf[count + 1]);
    count += 2;
  }
  m->nodes += count;
}

int boost_once(struct boosting *m, struct error *e) {
  uint32_t rows, columns, n = m->b->n;
  if (cancel_requested()) return error_set(e, E_CANCELLED, "stopped");
  TRY(tree_room(m, e));
  slopes(m);
  draw(m, &rows, &columns);
  grow(m, rows, columns);
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
