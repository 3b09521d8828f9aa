/* BPE: merges by rank inside the pieces that the patterns cut. */
#include <utf8proc.h>

#include "token/subword_internal.h"

uint32_t subword_byte_char(unsigned b) {
  if ((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174) return b;
  /* the others follow from U+0100 on, in their order: 0..32, 127..160, 173 */
  return 256 + (b <= 32 ? b : b <= 160 ? b - 127 + 33 : 67);
}

static int add_merge(struct subword *w, struct str text, uint64_t rank, struct error *e) {
  const char *blank = text.n > 1 ? memchr(text.p + 1, ' ', text.n - 1) : NULL;
  if (!blank) return error_set(e, E_CORRUPT, "a merge that is not two tokens");
  struct str left = {text.p, (size_t)(blank - text.p)}, right = {blank + 1, text.n - left.n - 1};
  char joined[2048];
  uint64_t l, r, m;
  if (left.n + right.n > sizeof joined) return error_set(e, E_LIMIT, "a merge of more than %zu bytes", sizeof joined);
  memcpy(joined, left.p, left.n);
  memcpy(joined + left.n, right.p, right.n);
  /* a merge of or into what is no token can never be taken */
  if (!map_get(&w->by_name, left, &l) || !map_get(&w->by_name, right, &r) ||
      !map_get(&w->by_name, (struct str){joined, left.n + right.n}, &m))
    return OK;
  bool is_new;
  uint64_t *v = map64_put(&w->merges, (int64_t)(l << 32 | r), &is_new);
  if (!v) return error_set(e, E_NOMEM, "no memory for the merges");
  if (is_new) *v = rank << 32 | m;
  return OK;
}

int subword_bpe_prepare(struct subword *w, const struct subword_spec *spec, struct error *e) {
  if (spec->n_merges > UINT32_MAX) return error_set(e, E_LIMIT, "too many merges");
  for (size_t i = 0; i < spec->n_merges; i++) TRY(add_merge(w, spec->merges[i], i, e));
  for (unsigned b = 0; b < 256; b++) {
    char name[8];
    size_t n = w->byte_level ? subword_utf8_put(subword_byte_char(b), name) : (size_t)snprintf(name, sizeof name, "<0x%02X>", b);
    uint64_t id;
    w->byte_id[b] = map_get(&w->by_name, (struct str){name, n}, &id) ? (uint32_t)id : SUBWORD_NONE;
  }
  return OK;
}

struct work {
  const struct subword *w;
  struct subword_merge merge;
  struct subword_ids *out;
  struct buf mapped;
};

static bool offer(const void *ctx, const struct subword_symbol *l, const struct subword_symbol *r, uint64_t *key, uint32_t *merged) {
  const struct subword *w = ctx;
  uint64_t v;
  if (l->id == SUBWORD_NONE || r->id == SUBWORD_NONE || !map64_get(&w->merges, (int64_t)((uint64_t)l->id << 32 | r->id), &v)) return false;
  *key = v >> 32;
  *merged = (uint32_t)v;
  return true;
}

static int put_bytes(const struct subword *w, struct str s, struct subword_ids *out, struct error *e) {
  for (size_t i = 0; i < s.n; i++) {
    uint32_t id = w->byte_id[(unsigned char)s.p[i]];
    if (id == SUBWORD_NONE) id = w->unknown;
    if (id != SUBWORD_NONE) TRY(subword_ids_put(out, id, e));
  }
  return OK;
}

static int whole_piece(struct work *k, struct str piece, bool *done, struct error *e) {
  uint64_t id;
  buf_clear(&k->mapped);
  for (size_t i = 0; i < piece.n; i++) {
    char c[4];
    buf_put(&k->mapped, c, subword_utf8_put(subword_byte_char((unsigned char)piece.p[i]), c));
  }
  TRY(buf_check(&k->mapped, e));
  *done = map_get(&k->w->by_name, (struct str){k->mapped.p, k->mapped.n}, &id);
  return *done ? subword_ids_put(k->out, (uint32_t)id, e) : OK;
}

static int encode_piece(void *ctx, struct str piece, struct error *e) {
  struct work *k = ctx;
  const struct subword *w = k->w;
  bool done = false;
  if (piece.n > INT32_MAX / 2) return error_set(e, E_LIMIT, "text of more than a gigabyte");
  if (w->whole_first && w->byte_level) TRY(whole_piece(k, piece, &done, e));
  if (done) return OK;
  k->merge.symbols = 0;
  for (size_t i = 0; i < piece.n;) {
    size_t n = 1;
    uint64_t id = w->byte_id[(unsigned char)piece.p[i]];
    if (!w->byte_level) {
      n = str_utf8_next((struct str){piece.p + i, piece.n - i});
      if (!map_get(&w->by_name, (struct str){piece.p + i, n}, &id)) id = SUBWORD_NONE;
    }
    TRY(subword_merge_symbol(&k->merge, (uint32_t)id, (uint32_t)i, (uint32_t)n, e));
    i += n;
  }
  TRY(subword_merge_run(&k->merge, offer, w, e));
  for (int32_t i = k->merge.symbols ? 0 : -1; i >= 0; i = k->merge.symbol[i].after) {
    const struct subword_symbol *s = &k->merge.symbol[i];
    if (s->id != SUBWORD_NONE)
      TRY(subword_ids_put(k->out, s->id, e));
    else
      TRY(put_bytes(w, (struct str){piece.p + s->at, s->n}, k->out, e));
  }
  return OK;
}

int subword_bpe_encode(const struct subword *w, struct str text, struct subword_ids *out, struct error *e) {
  struct work k = {.w = w, .out = out};
  utf8proc_uint8_t *normal = NULL;
  if (w->nfc) {
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text.p, (utf8proc_ssize_t)text.n, &normal, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) return error_set(e, E_NOMEM, "the text cannot be normalised");
    text = (struct str){(const char *)normal, (size_t)n};
  }
  int rc = subword_split(w, text, encode_piece, &k, e);
  subword_merge_release(&k.merge);
  buf_release(&k.mapped);
  free(normal);
  return rc;
}
