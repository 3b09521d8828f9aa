/* SentencePiece: characters merge, best-scored token first, leftmost on ties; what no token covers becomes byte tokens. */
#include "token/subword_internal.h"

struct ctx {
  const struct subword *w;
  const char *p;
};

/* floats in falling order as an unsigned that rises */
static uint64_t falling(float f) {
  union {
    float f;
    uint32_t u;
  } v = {f};
  uint32_t rising = v.u & 0x80000000u ? ~v.u : v.u | 0x80000000u;
  return ~rising;
}

static bool offer(const void *ctx, const struct subword_symbol *l, const struct subword_symbol *r, uint64_t *key, uint32_t *merged) {
  const struct ctx *c = ctx;
  uint64_t id;
  if (!map_get(&c->w->by_name, (struct str){c->p + l->at, (size_t)l->n + r->n}, &id)) return false;
  *key = falling(c->w->score[id]);
  *merged = (uint32_t)id;
  return true;
}

static int put_symbol(const struct subword *w, const char *p, const struct subword_symbol *s, struct subword_ids *out, struct error *e) {
  uint64_t id;
  if (s->id != SUBWORD_NONE || map_get(&w->by_name, (struct str){p + s->at, s->n}, &id))
    return subword_ids_put(out, s->id != SUBWORD_NONE ? s->id : (uint32_t)id, e);
  for (uint32_t i = 0; i < s->n; i++) {
    uint32_t byte = w->byte_id[(unsigned char)p[s->at + i]];
    if (byte == SUBWORD_NONE) return w->unknown == SUBWORD_NONE ? OK : subword_ids_put(out, w->unknown, e);
    TRY(subword_ids_put(out, byte, e));
  }
  return OK;
}

static int run(const struct subword *w, struct str text, struct subword_merge *m, struct subword_ids *out, struct error *e) {
  struct ctx c = {w, text.p};
  if (text.n > INT32_MAX / 2) return error_set(e, E_LIMIT, "text of more than a gigabyte");
  for (size_t i = 0; i < text.n;) {
    size_t n = str_utf8_next((struct str){text.p + i, text.n - i});
    uint64_t id;
    if (!map_get(&w->by_name, (struct str){text.p + i, n}, &id)) id = SUBWORD_NONE;
    TRY(subword_merge_symbol(m, (uint32_t)id, (uint32_t)i, (uint32_t)n, e));
    i += n;
  }
  TRY(subword_merge_run(m, offer, &c, e));
  for (int32_t i = m->symbols ? 0 : -1; i >= 0; i = m->symbol[i].after) TRY(put_symbol(w, text.p, &m->symbol[i], out, e));
  return OK;
}

int subword_spm_encode(const struct subword *w, struct str text, bool first, struct subword_ids *out, struct error *e) {
  struct subword_merge m = {0};
  struct buf b = {0};
  if (first && w->space_prefix) buf_puts(&b, "\xE2\x96\x81");
  for (size_t i = 0; i < text.n; i++)
    if (text.p[i] == ' ' && w->space_mark)
      buf_puts(&b, "\xE2\x96\x81");
    else
      buf_putc(&b, text.p[i]);
  int rc = buf_check(&b, e);
  if (rc == OK && w->kind == SUBWORD_SPM) rc = run(w, (struct str){b.p, b.n}, &m, out, e);
  if (rc == OK && w->kind == SUBWORD_BPE) rc = subword_bpe_encode(w, (struct str){b.p, b.n}, out, e);
  subword_merge_release(&m);
  buf_release(&b);
  return rc;
}
