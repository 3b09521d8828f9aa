/* Merging of neighbouring symbols, best pair first: shared by BPE (key = rank) and SentencePiece (key = falling score). */
#include "token/subword_internal.h"

int subword_merge_symbol(struct subword_merge *m, uint32_t id, uint32_t at, uint32_t n, struct error *e) {
  if (m->symbols == m->cap) {
    size_t cap = m->cap ? 2 * m->cap : 64;
    struct subword_symbol *p = mem_realloc(m->symbol, cap * sizeof *p);
    if (!p) return error_set(e, E_NOMEM, "no memory for a text's symbols");
    m->symbol = p;
    m->cap = cap;
  }
  int32_t i = (int32_t)m->symbols++;
  m->symbol[i] = (struct subword_symbol){i - 1, -1, id, at, n};
  if (i > 0) m->symbol[i - 1].after = i;
  return OK;
}

static bool better(const struct subword_pair *a, const struct subword_pair *b) {
  return a->key != b->key ? a->key < b->key : a->left < b->left;
}

static int push(struct subword_merge *m, struct subword_pair p, struct error *e) {
  if (m->pairs == m->heap_cap) {
    size_t cap = m->heap_cap ? 2 * m->heap_cap : 64;
    struct subword_pair *h = mem_realloc(m->heap, cap * sizeof *h);
    if (!h) return error_set(e, E_NOMEM, "no memory for a text's pairs");
    m->heap = h;
    m->heap_cap = cap;
  }
  size_t i = m->pairs++;
  for (; i > 0 && better(&p, &m->heap[(i - 1) / 2]); i = (i - 1) / 2) m->heap[i] = m->heap[(i - 1) / 2];
  m->heap[i] = p;
  return OK;
}

static struct subword_pair pop(struct subword_merge *m) {
  struct subword_pair top = m->heap[0], last = m->heap[--m->pairs];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= m->pairs) break;
    if (child + 1 < m->pairs && better(&m->heap[child + 1], &m->heap[child])) child++;
    if (!better(&m->heap[child], &last)) break;
    m->heap[i] = m->heap[child];
    i = child;
  }
  m->heap[i] = last;
  return top;
}

static int offer_pair(struct subword_merge *m, int32_t left, subword_offer *offer, const void *ctx, struct error *e) {
  if (left < 0 || m->symbol[left].after < 0) return OK;
  int32_t right = m->symbol[left].after;
  struct subword_pair p = {
      .left = (uint32_t)left, .right = (uint32_t)right, .left_id = m->symbol[left].id, .right_id = m->symbol[right].id};
  return offer(ctx, &m->symbol[left], &m->symbol[right], &p.key, &p.merged) ? push(m, p, e) : OK;
}

int subword_merge_run(struct subword_merge *m, subword_offer *offer, const void *ctx, struct error *e) {
  m->pairs = 0;
  for (size_t i = 0; i + 1 < m->symbols; i++) TRY(offer_pair(m, (int32_t)i, offer, ctx, e));
  while (m->pairs) {
    struct subword_pair p = pop(m);
    struct subword_symbol *l = &m->symbol[p.left], *r = &m->symbol[p.right];
    /* stale: one of the two has merged with somebody else meanwhile */
    if (l->after != (int32_t)p.right || r->after == -2 || l->id != p.left_id || r->id != p.right_id) continue;
    l->id = p.merged;
    l->n += r->n;
    l->after = r->after;
    if (r->after >= 0) m->symbol[r->after].before = (int32_t)p.left;
    r->after = -2;
    TRY(offer_pair(m, l->before, offer, ctx, e));
    TRY(offer_pair(m, (int32_t)p.left, offer, ctx, e));
  }
  return OK;
}

void subword_merge_release(struct subword_merge *m) {
  mem_free(m->symbol);
  mem_free(m->heap);
  *m = (struct subword_merge){0};
}
