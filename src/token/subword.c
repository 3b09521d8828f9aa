#include "token/subword.h"

#include <stdio.h>

#include "token/subword_internal.h"

size_t subword_utf8_put(uint32_t c, char out[4]) {
  if (c < 0x80) return out[0] = (char)c, 1;
  if (c < 0x800) return out[0] = (char)(0xC0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
  if (c < 0x10000) return out[0] = (char)(0xE0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)), out[2] = (char)(0x80 | (c & 63)), 3;
  return out[0] = (char)(0xF0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63)), out[2] = (char)(0x80 | (c >> 6 & 63)),
         out[3] = (char)(0x80 | (c & 63)), 4;
}

int subword_ids_put(struct subword_ids *ids, uint32_t id, struct error *e) {
  if (ids->n == ids->cap) {
    size_t cap = ids->cap ? 2 * ids->cap : 256;
    uint32_t *p = mem_realloc(ids->id, cap * sizeof *p);
    if (!p) return error_set(e, E_NOMEM, "no memory for the tokens of a text");
    ids->id = p;
    ids->cap = cap;
  }
  ids->id[ids->n++] = id;
  return OK;
}

void subword_ids_release(struct subword_ids *ids) {
  mem_free(ids->id);
  *ids = (struct subword_ids){0};
}

/* ---- bytes of a token ---- */

static unsigned char_byte(uint32_t c) {
  if (c < 256) return subword_byte_char(c) == c ? c : 256;
  for (unsigned b = 0; c < 324 && b < 256; b++)
    if (subword_byte_char(b) == c) return b;
  return 256;
}

static uint32_t next_char(struct str s, size_t *n) {
  const unsigned char *p = (const unsigned char *)s.p;
  *n = str_utf8_next(s);
  switch (*n) {
    case 1: return p[0];
    case 2: return (p[0] & 31u) << 6 | (p[1] & 63u);
    case 3: return (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
    case 4: return (p[0] & 7u) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63u);
    default: *n = 1; return p[0];
  }
}

/* GPT-2's alphabet back to bytes, the blank mark back to a blank; never longer than the name */
static struct str bytes_of(struct subword *w, struct str name) {
  char *to = arena_alloc(&w->arena, name.n + 1, 1);
  size_t m = 0;
  if (!to) return STR_NONE;
  for (size_t i = 0, n; i < name.n; i += n) {
    uint32_t c = next_char((struct str){name.p + i, name.n - i}, &n);
    unsigned b = w->byte_level ? char_byte(c) : 256;
    if (w->byte_level && b < 256)
      to[m++] = (char)b;
    else if (!w->byte_level && c == 0x2581)
      to[m++] = ' ';
    else
      memcpy(to + m, name.p + i, n), m += n;
  }
  return (struct str){to, m};
}

static struct str piece_of(struct subword *w, uint32_t id) {
  struct str name = w->name[id];
  unsigned b;
  char one;
  if (w->type[id] == SUBWORD_CONTROL) return STR("");
  if (w->type[id] == SUBWORD_USER) return name;
  if (!w->byte_level && name.n == 6 && memcmp(name.p, "<0x", 3) == 0 && sscanf(name.p + 3, "%2x>", &b) == 1) {
    one = (char)b;
    return str_copy(&w->arena, (struct str){&one, 1});
  }
  if (w->kind == SUBWORD_WORDPIECE && !w->phantom) {
    if (str_starts(name, STR("##"))) return (struct str){name.p + 2, name.n - 2};
    char *p = arena_alloc(&w->arena, name.n + 2, 1);
    if (!p) return STR_NONE;
    p[0] = ' ';
    memcpy(p + 1, name.p, name.n);
    return (struct str){p, name.n + 1};
  }
  return bytes_of(w, name);
}

/* ---- making ---- */

static int add_special(struct subword *w, uint32_t id, struct error *e) {
  struct str name = w->name[id];
  bool is_new;
  if (!name.n || name.n >= 1 << 16) return OK;
  uint64_t *v = map_put(&w->specials, name, &is_new);
  if (!v) return error_set(e, E_NOMEM, "no memory for the special tokens");
  if (is_new) *v = id;
  w->special_lengths[(unsigned char)name.p[0]] |= (uint64_t)1 << (name.n < 64 ? name.n : 0);
  return OK;
}

static int take_tokens(struct subword *w, const struct subword_spec *spec, struct error *e) {
  w->name = arena_array(&w->arena, struct str, (size_t)w->n + 1);
  w->piece = arena_array(&w->arena, struct str, (size_t)w->n + 1);
  w->type = arena_array(&w->arena, uint8_t, (size_t)w->n + 1);
  w->score = arena_array(&w->arena, float, (size_t)w->n + 1);
  if (!w->name || !w->piece || !w->type || !w->score) return error_set(e, E_NOMEM, "no memory for a vocabulary");
  for (uint32_t i = 0; i < w->n; i++) {
    bool is_new;
    w->name[i] = str_copy(&w->arena, spec->tokens[i]);
    w->type[i] = spec->types ? spec->types[i] : SUBWORD_NORMAL;
    w->score[i] = spec->scores ? spec->scores[i] : 0;
    uint64_t *v = map_put(&w->by_name, spec->tokens[i], &is_new);
    if (!v || (spec->tokens[i].n && !w->name[i].p)) return error_set(e, E_NOMEM, "no memory for a vocabulary");
    if (is_new) *v = i;
    if (w->type[i] == SUBWORD_CONTROL || w->type[i] == SUBWORD_USER || w->type[i] == SUBWORD_UNKNOWN) TRY(add_special(w, i, e));
    w->piece[i] = piece_of(w, i);
    if (w->name[i].n && !w->piece[i].p) return error_set(e, E_NOMEM, "no memory for a vocabulary");
  }
  return OK;
}

static int make(struct subword *w, const struct subword_spec *spec, struct error *e) {
  if (!spec->n || spec->n > 1 << 22) return error_set(e, E_CORRUPT, "vocabulary without tokens, or with too many");
  if (spec->kind == SUBWORD_SPM && !spec->scores) return error_set(e, E_CORRUPT, "vocabulary without scores");
  if (spec->kind == SUBWORD_BPE && !spec->merges) return error_set(e, E_CORRUPT, "vocabulary without merges");
  const uint32_t edge[] = {spec->bos, spec->eos, spec->unknown};
  for (int i = 0; i < 3; i++)
    if (edge[i] != SUBWORD_NONE && edge[i] >= spec->n) return error_set(e, E_CORRUPT, "special token outside the vocabulary");
  TRY(take_tokens(w, spec, e));
  TRY(subword_patterns_compile(w, spec, e));
  return subword_bpe_prepare(w, spec, e);
}

int subword_new(const struct subword_spec *spec, struct subword **out, struct error *e) {
  *out = NULL;
  struct subword *w = mem_alloc(sizeof *w);
  if (!w) return error_set(e, E_NOMEM, "no memory for a vocabulary");
  *w = (struct subword){.kind = spec->kind, .n = spec->n};
  w->byte_level = spec->kind == SUBWORD_BPE && spec->byte_level;
  w->whole_first = spec->whole_first, w->nfc = spec->nfc, w->phantom = spec->phantom, w->lower = spec->lower;
  w->space_mark = spec->space_mark, w->space_prefix = spec->space_prefix;
  w->add_bos = spec->add_bos, w->add_eos = spec->add_eos;
  w->bos = spec->bos, w->eos = spec->eos, w->unknown = spec->unknown;
  arena_init(&w->arena, 0, 0);
  map_init(&w->by_name, 0);
  map_init(&w->specials, 0);
  map64_init(&w->merges);
  int rc = make(w, spec, e);
  if (rc < 0)
    subword_free(w);
  else
    *out = w;
  return rc;
}

void subword_free(struct subword *w) {
  if (!w) return;
  for (int i = 0; i < w->n_patterns; i++) pcre2_code_free(w->pattern[i]);
  map_release(&w->by_name);
  map_release(&w->specials);
  map64_release(&w->merges);
  arena_free(&w->arena);
  mem_free(w);
}

/* ---- encoding ---- */

/* The longest special token that begins here; 0 if none. */
static size_t special_at(const struct subword *w, struct str s, unsigned flags, uint32_t *id) {
  uint64_t lengths = w->special_lengths[(unsigned char)s.p[0]], v;
  if (!lengths) return 0;
  size_t most = lengths & 1 ? 1 << 12 : 63; /* some of this letter are long: rare, tried one by one */
  for (size_t n = s.n < most ? s.n : most; n > 0; n--) {
    if (n < 64 && !(lengths >> n & 1)) continue;
    if (!map_get(&w->specials, (struct str){s.p, n}, &v)) continue;
    if (w->type[v] != SUBWORD_USER && !(flags & SUBWORD_SPECIAL)) continue;
    return *id = (uint32_t)v, n;
  }
  return 0;
}

static int encode_plain(const struct subword *w, struct str s, bool first, struct subword_ids *out, struct error *e) {
  if (!s.n) return OK;
  if (w->kind == SUBWORD_WORDPIECE) return subword_wordpiece_encode(w, s, out, e);
  if (w->kind == SUBWORD_SPM || w->space_mark) return subword_spm_encode(w, s, first, out, e);
  return subword_bpe_encode(w, s, out, e);
}

static int encode_valid(const struct subword *w, struct str text, unsigned flags, struct subword_ids *out, struct error *e) {
  size_t from = 0;
  bool first = true; /* SentencePiece puts its blank at the beginning and after each special token */
  for (size_t at = 0; at < text.n;) {
    uint32_t id = 0;
    size_t n = special_at(w, (struct str){text.p + at, text.n - at}, flags, &id);
    if (!n) {
      at++;
      continue;
    }
    TRY(encode_plain(w, (struct str){text.p + from, at - from}, first, out, e));
    TRY(subword_ids_put(out, id, e));
    first = true;
    from = at += n;
  }
  return encode_plain(w, (struct str){text.p + from, text.n - from}, first, out, e);
}

int subword_encode(const struct subword *w, struct str text, unsigned flags, struct subword_ids *out, struct error *e) {
  struct buf valid = {0};
  int rc = OK;
  if (text.n && !str_utf8_valid(text)) {
    for (size_t i = 0, n; i < text.n; i += n ? n : 1) {
      n = str_utf8_next((struct str){text.p + i, text.n - i});
      if (n)
        buf_put(&valid, text.p + i, n);
      else
        buf_puts(&valid, "\xEF\xBF\xBD");
    }
    rc = buf_check(&valid, e);
    text = (struct str){valid.p, valid.n};
  }
  if (rc == OK && (flags & SUBWORD_EDGES) && w->add_bos && w->bos != SUBWORD_NONE) rc = subword_ids_put(out, w->bos, e);
  if (rc == OK) rc = encode_valid(w, text, flags, out, e);
  if (rc == OK && (flags & SUBWORD_EDGES) && w->add_eos && w->eos != SUBWORD_NONE) rc = subword_ids_put(out, w->eos, e);
  buf_release(&valid);
  return rc;
}

uint32_t subword_count(const struct subword *w) { return w->n; }
struct str subword_piece(const struct subword *w, uint32_t id) {
  return id < w->n ? w->piece[id] : STR("");
}
struct str subword_name(const struct subword *w, uint32_t id) {
  return id < w->n ? w->name[id] : STR("");
}
uint32_t subword_bos(const struct subword *w) { return w->bos; }
uint32_t subword_eos(const struct subword *w) { return w->eos; }
bool subword_is_control(const struct subword *w, uint32_t id) { return id < w->n && w->type[id] == SUBWORD_CONTROL; }

uint32_t subword_find(const struct subword *w, struct str name) {
  uint64_t id;
  return map_get(&w->by_name, name, &id) ? (uint32_t)id : SUBWORD_NONE;
}
