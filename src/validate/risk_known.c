/* How few persons share one or two codes, with or without age band, sex and ZIP3: counted, and held back. No set of two items may be had by fewer
 * than k persons (k^m-anonymity: Terrovitis, Mamoulis and Kalnis 2008), here by leaving items out of single lives. */
#include "validate/risk_known.h"

#include <stdlib.h>

#include "base/hash.h"
#include "timeline/timeline.h"

/* ---- items ---- */

struct pick {
  uint32_t name, has;
};
static int commonest_first(const void *a, const void *b) {
  const struct pick *x = a, *y = b;
  if (x->has != y->has) return x->has > y->has ? -1 : 1;
  return x->name < y->name ? -1 : x->name > y->name;
}
static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

struct gather { /* on the way to the items */
  const struct risk_items_of *of;
  uint32_t *name; /* by code; UINT32_MAX = no item */
  uint32_t *last; /* by name: the person in whom it was met last, and one */
  uint32_t *rank; /* by name */
};

/* The names of one person, each once: their ranks go to `out` (NULL: they are counted in `has`). */
static uint32_t names_of(struct gather *g, uint32_t person, uint32_t *has, uint32_t *out) {
  struct timeline_view v = timeline_view(g->of->t, person);
  uint32_t n = 0;
  if (g->of->without && g->of->without[person] == TIMELINE_LEFT_OUT) return 0;
  for (uint32_t k = 0; k < v.n; k++) {
    uint32_t name = g->name[v.code[k]];
    if (name == UINT32_MAX || g->last[name] == person + 1) continue;
    g->last[name] = person + 1;
    if (has) has[name]++;
    if (has || g->rank[name] == UINT32_MAX) continue;
    if (out) out[n] = g->rank[name];
    n++;
  }
  return n;
}

static int gather_new(const struct risk_items_of *of, struct arena *a, struct gather *g, struct error *e) {
  uint32_t codes = timeline_codes(of->t);
  *g = (struct gather){of, arena_array(a, uint32_t, codes + 1), arena_array(a, uint32_t, of->names + 1),
                       arena_array(a, uint32_t, of->names + 1)};
  if (!g->name || !g->last || !g->rank) return error_set(e, E_NOMEM, "no memory for combinations of codes");
  for (uint32_t c = 0; c < codes; c++) {
    bool none = of->w->attribute[c] || c == of->w->birth || risk_kept(of->w->o, timeline_code_name(of->t, c));
    g->name[c] = none ? UINT32_MAX : of->to ? of->to[c] : c;
  }
  return OK;
}

static int ranks(struct gather *g, struct arena *a, struct risk_items *x, struct error *e) {
  uint32_t names = g->of->names, *has = arena_array(a, uint32_t, names + 1);
  struct pick *sorted = arena_array(a, struct pick, names + 1);
  x->order = arena_array(a, uint32_t, names + 1);
  if (!has || !sorted || !x->order) return error_set(e, E_NOMEM, "no memory for combinations of codes");
  for (uint32_t i = 0; i < x->persons; i++) (void)names_of(g, i, has, NULL);
  for (uint32_t c = 0; c < names; c++) {
    g->rank[c] = UINT32_MAX, g->last[c] = 0;
    if (has[c] && has[c] < g->of->w->o->common) sorted[x->names++] = (struct pick){c, has[c]};
  }
  if (x->names) qsort(sorted, x->names, sizeof *sorted, commonest_first);
  for (uint32_t r = 0; r < x->names; r++) x->order[r] = sorted[r].name, g->rank[sorted[r].name] = r;
  return OK;
}

/* Of `n` items in ascending order those beyond the most count as held back. */
static void put_person(struct risk_items *x, uint32_t person, uint32_t n) {
  uint32_t first = x->from[person];
  if (n) qsort(x->item + first, n, sizeof *x->item, ascending);
  for (uint32_t k = 0; k < n; k++) {
    x->owner[first + k] = person;
    x->held[first + k] = k >= RISK_ITEMS_MOST;
    x->cut += k >= RISK_ITEMS_MOST;
    x->who_from[x->item[first + k] + 1]++;
  }
}

int risk_items(const struct risk_items_of *of, struct arena *a, struct risk_items *x, struct error *e) {
  struct gather g;
  uint64_t total = 0;
  *x = (struct risk_items){.persons = timeline_subjects(of->t)};
  TRY(gather_new(of, a, &g, e));
  TRY(ranks(&g, a, x, e));
  x->from = arena_array(a, uint32_t, (size_t)x->persons + 2), x->class_of = arena_array(a, uint64_t, (size_t)x->persons + 1);
  x->who_from = arena_array(a, uint32_t, (size_t)x->names + 2), x->seen = arena_array(a, uint32_t, (size_t)x->names + 1);
  if (!x->from || !x->class_of || !x->who_from || !x->seen) return error_set(e, E_NOMEM, "no memory for combinations of codes");
  for (uint32_t i = 0; i < x->persons; i++) {
    total += names_of(&g, i, NULL, NULL);
    if (total >= UINT32_MAX) return error_set(e, E_LIMIT, "too many rare codes to weigh their combinations");
    x->from[i + 1] = (uint32_t)total;
  }
  x->item = arena_array(a, uint32_t, total + 1), x->owner = arena_array(a, uint32_t, total + 1);
  x->who = arena_array(a, uint32_t, total + 1), x->held = arena_array(a, bool, total + 1);
  uint32_t *fill = arena_array(a, uint32_t, (size_t)x->names + 1);
  if (!x->item || !x->owner || !x->who || !x->held || !fill) return error_set(e, E_NOMEM, "no memory for combinations of codes");
  memset(g.last, 0, of->names * sizeof *g.last);
  for (uint32_t i = 0; i < x->persons; i++) put_person(x, i, names_of(&g, i, NULL, x->item + x->from[i]));
  for (uint32_t r = 0; r < x->names; r++) x->who_from[r + 1] += x->who_from[r];
  for (uint32_t at = 0; at < total; at++) x->who[x->who_from[x->item[at]] + fill[x->item[at]]++] = at;
  risk_items_classes(x, of->person);
  return OK;
}

void risk_items_classes(struct risk_items *x, const struct risk_person *p) {
  for (uint32_t i = 0; i < x->persons; i++) {
    struct {
      uint32_t age, sex;
      int32_t zip3;
    } key = {p[i].age, p[i].sex, p[i].zip3};
    x->class_of[i] = hash64(&key, sizeof key, 2);
  }
}

/* ---- the persons of one item, in groups that share the attributes ---- */

struct member {
  uint64_t class;
  uint32_t at; /* in `item` */
};
static int by_class(const void *a, const void *b) {
  const struct member *x = a, *y = b;
  if (x->class != y->class) return x->class < y->class ? -1 : 1;
  return x->at < y->at ? -1 : x->at > y->at;
}
static uint32_t members_of(const struct risk_items *x, uint32_t item, bool attributes, struct member *m) {
  uint32_t n = 0;
  for (uint32_t i = x->who_from[item]; i < x->who_from[item + 1]; i++) {
    uint32_t at = x->who[i];
    if (!x->held[at]) m[n++] = (struct member){attributes ? x->class_of[x->owner[at]] : 0, at};
  }
  if (attributes && n) qsort(m, n, sizeof *m, by_class);
  return n;
}
static uint32_t group_of(const struct member *m, uint32_t from, uint32_t n) {
  uint32_t to = from + 1;
  while (to < n && m[to].class == m[from].class) to++;
  return to - from;
}

/* Of each commoner item that is not held back: how many of the group have it. `by` = 0 clears. */
static void tally(struct risk_items *x, const struct member *m, uint32_t n, uint32_t by) {
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t at = x->from[x->owner[m[i].at]]; at < m[i].at; at++)
      if (!x->held[at]) x->seen[x->item[at]] = by ? x->seen[x->item[at]] + by : 0;
}
static bool pairs_rarely(const struct risk_items *x, const struct member *m, uint32_t k) {
  for (uint32_t at = x->from[x->owner[m->at]]; at < m->at; at++)
    if (!x->held[at] && x->seen[x->item[at]] < k) return true;
  return false;
}

static uint32_t most_members(const struct risk_items *x) {
  uint32_t most = 0;
  for (uint32_t r = 0; r < x->names; r++)
    if (x->who_from[r + 1] - x->who_from[r] > most) most = x->who_from[r + 1] - x->who_from[r];
  return most;
}

/* ---- counting ---- */

static void count_group(struct risk_items *x, const struct member *m, uint32_t n, int codes, uint32_t k, bool *few,
                        struct risk_known *out) {
  if (n < k) out->combinations++;
  for (uint32_t i = 0; n < k && i < n; i++) few[x->owner[m[i].at]] = true;
  if (codes < 2) return;
  tally(x, m, n, 1);
  for (uint32_t i = 0; i < n; i++) few[x->owner[m[i].at]] |= pairs_rarely(x, &m[i], k);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t at = x->from[x->owner[m[i].at]]; at < m[i].at; at++) {
      uint32_t *seen = &x->seen[x->item[at]];
      out->combinations += !x->held[at] && *seen && *seen < k;
      *seen = 0;
    }
}

int risk_known(struct risk_items *x, struct risk_attack attack, uint32_t k, struct risk_known *out, struct error *e) {
  struct member *m = mem_alloc(((size_t)most_members(x) + 1) * sizeof *m);
  bool *few = mem_alloc((size_t)x->persons + 1);
  int rc = m && few ? OK : error_set(e, E_NOMEM, "no memory for combinations of codes");
  *out = (struct risk_known){0};
  if (few) memset(few, 0, (size_t)x->persons + 1);
  for (uint32_t r = 0; rc == OK && r < x->names; r++) {
    uint32_t n = members_of(x, r, attack.attributes, m), size;
    for (uint32_t from = 0; from < n; from += size) {
      size = group_of(m, from, n);
      count_group(x, m + from, size, attack.codes, k, few, out);
    }
  }
  for (uint32_t i = 0; rc == OK && i < x->persons; i++) out->persons += few[i];
  mem_free(m), mem_free(few);
  return rc;
}

/* ---- holding back ---- */

static uint32_t still(const struct risk_items *x, struct member *m, uint32_t n) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < n; i++)
    if (!x->held[m[i].at]) m[kept++] = m[i];
  return kept;
}

static bool settle(struct risk_items *x, struct member *m, uint32_t n, int codes, uint32_t k) {
  uint32_t began = n;
  while (n) {
    uint32_t before = n;
    if (codes >= 2 && n >= k) tally(x, m, n, 1);
    for (uint32_t i = 0; i < n; i++) x->held[m[i].at] = n < k || (codes >= 2 && pairs_rarely(x, &m[i], k));
    if (codes >= 2 && n >= k) tally(x, m, n, 0);
    n = still(x, m, n);
    if (n == before) break;
  }
  return n < began;
}

int risk_hold(struct risk_items *x, struct risk_attack attack, uint32_t k, bool *more, struct error *e) {
  struct member *m = mem_alloc(((size_t)most_members(x) + 1) * sizeof *m);
  *more = false;
  if (!m) return error_set(e, E_NOMEM, "no memory for combinations of codes");
  for (uint32_t r = 0; r < x->names; r++) {
    uint32_t n = members_of(x, r, attack.attributes, m), size;
    for (uint32_t from = 0; from < n; from += size) {
      size = group_of(m, from, n);
      *more |= settle(x, m + from, size, attack.codes, k);
    }
  }
  mem_free(m);
  return OK;
}
