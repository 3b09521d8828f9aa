/* The header of a VCF. */
#include "base/map.h"
#include "record/vcf.h"

static int bad(struct error *e, const struct vcf_source *s, const char *what) {
  error_set(e, E_INPUT, "%s", what);
  error_where(e, NULL, (int64_t)vcf_source_row(s), "header");
  return E_INPUT;
}

uint32_t vcf_columns(struct str line, struct str *col, uint32_t n, struct str *rest) {
  uint32_t k = 0;
  *rest = line;
  while (k < n && rest->p) col[k++] = str_cut(rest, '\t');
  return k;
}

bool vcf_structured(struct str value, struct str *inside) {
  if (value.n < 2 || value.p[0] != '<' || value.p[value.n - 1] != '>') return false;
  *inside = (struct str){value.p + 1, value.n - 2};
  return true;
}

bool vcf_member(struct str *in, struct str *key, struct str *value) {
  size_t i = 0, n = in->n;
  while (i < n && in->p[i] != '=' && in->p[i] != ',') i++;
  if (i == 0 || i == n || in->p[i] != '=') return false;
  *key = (struct str){in->p, i};
  bool quoted = ++i < n && in->p[i] == '"';
  size_t from = quoted ? ++i : i;
  while (i < n && in->p[i] != (quoted ? '"' : ',')) i += quoted && in->p[i] == '\\' && i + 1 < n ? 2 : 1;
  if (quoted && i >= n) return false;
  *value = (struct str){in->p + from, i - from};
  if (quoted) i++;
  if (i < n && in->p[i] != ',') return false;
  *in = i < n ? (struct str){in->p + i + 1, n - i - 1} : STR_NONE;
  return true;
}

struct str vcf_get(struct str value, const char *key) {
  struct str inside, k, v;
  if (vcf_structured(value, &inside))
    while (vcf_member(&inside, &k, &v))
      if (str_eqc(k, key)) return v;
  return STR_NONE;
}

static int take_version(struct vcf_header *h, struct str value, struct arena *a) {
  if (!str_starts(value, STR("VCFv4.")) || value.n != 7 || value.p[6] < '0' || value.p[6] > '5') return E_INPUT;
  h->version = str_copy(a, (struct str){value.p + 4, 3});
  return h->version.p ? OK : E_NOMEM;
}

static int take_meta(struct vcf_header *h, struct str line, uint64_t row, size_t *cap, struct arena *a, struct error *e) {
  if (h->metas == *cap) {
    struct vcf_meta *more = arena_array(a, struct vcf_meta, *cap ? *cap * 2 : 128);
    if (!more) return error_set(e, E_LIMIT, "header longer than the limit");
    if (h->metas) memcpy(more, h->meta, h->metas * sizeof *more);
    h->meta = more;
    *cap = *cap ? *cap * 2 : 128;
  }
  struct str copy = str_copy(a, (struct str){line.p + 2, line.n - 2});
  if (line.n > 2 && !copy.p) return error_set(e, E_LIMIT, "header longer than the limit");
  struct vcf_meta *m = &h->meta[h->metas++];
  m->row = row;
  m->key = str_cut(&copy, '=');
  m->value = copy;
  return OK;
}

static int take_samples(const struct vcf_source *s, struct vcf_header *h, struct str names, struct arena *a, struct error *e) {
  struct map seen;
  uint32_t n = 1;
  bool is_new = true;
  for (size_t i = 0; i < names.n; i++) n += names.p[i] == '\t';
  if (n > VCF_SAMPLES) return bad(e, s, "more samples than 1,048,576");
  h->sample = arena_array(a, struct str, n);
  if (!h->sample) return error_set(e, E_LIMIT, "header longer than the limit");
  map_init(&seen, 0);
  int rc = OK;
  while (names.p && rc == OK) {
    struct str name = str_cut(&names, '\t');
    char *copy = name.n ? arena_strndup(a, name.p, name.n) : NULL;
    if (name.n == 0)
      rc = bad(e, s, "a sample without a name");
    else if (!copy || !map_put(&seen, name, &is_new))
      rc = error_set(e, E_LIMIT, "header longer than the limit");
    else if (!is_new)
      rc = bad(e, s, "two samples of one name");
    else
      h->sample[h->samples++] = (struct str){copy, name.n};
  }
  map_release(&seen);
  return rc;
}

static int take_columns(const struct vcf_source *s, struct vcf_header *h, struct str line, struct arena *a, struct error *e) {
  static const char *const names[VCF_FIXED] = {"#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"};
  struct str col[VCF_FIXED], rest;
  uint32_t n = vcf_columns(line, col, VCF_FIXED, &rest);
  for (uint32_t i = 0; i < n; i++)
    if (!str_eqc(col[i], names[i])) return bad(e, s, "columns are not those of a VCF");
  if (n < 8) return bad(e, s, "columns are missing");
  if (rest.p) TRY(take_samples(s, h, rest, a, e));
  h->columns = rest.p ? VCF_FIXED + h->samples : n;
  return OK;
}

int vcf_header_read(struct vcf_source *s, struct arena *a, struct vcf_header *h, struct error *e) {
  struct str line;
  size_t cap = 0;
  uint64_t bytes = 0;
  *h = (struct vcf_header){0};
  for (;;) {
    int rc = vcf_source_line(s, &line, e);
    if (rc == E_END) return bad(e, s, "ends before #CHROM");
    TRY(rc);
    if ((bytes += line.n) > VCF_HEADER_LIMIT) return error_set(e, E_LIMIT, "header longer than 64 MiB");
    if (!h->version.p) {
      struct str value = line;
      if (!str_eqc(str_cut(&value, '='), "##fileformat") || take_version(h, str_trim(value), a) < 0)
        return bad(e, s, "does not begin with ##fileformat=VCFv4.x");
    } else if (str_starts(line, STR("##"))) {
      TRY(take_meta(h, line, vcf_source_row(s), &cap, a, e));
    } else {
      return take_columns(s, h, line, a, e);
    }
  }
}

/* ---- the assembly ---- */

static bool contains_nocase(struct str s, struct str word) {
  for (size_t i = 0; i + word.n <= s.n; i++)
    if (str_eq_nocase((struct str){s.p + i, word.n}, word)) return true;
  return false;
}

/* 1: it is told and agrees with what was told before; 0: not told; -1: contradiction. */
static int agree(struct str name, char out[16]) {
  if (name.n == 0 || name.n > 15) return 0;
  if (out[0]) return str_eqc(name, out) ? 1 : -1;
  memcpy(out, name.p, name.n);
  out[name.n] = 0;
  return 1;
}

static int by_word(struct json fields, struct str text, char out[16]) {
  struct json words, word;
  struct str name;
  if (text.n == 0) return 0;
  for (struct json_iter it = json_members(json_get(fields, "assemblies")); json_next_member(&it, &name, &words);)
    for (struct json_iter each = json_items(words); json_next(&each, &word);)
      if (contains_nocase(text, json_str(word))) return agree(name, out);
  return 0;
}

bool vcf_assembly(struct json fields, const struct vcf_header *h, char out[16]) {
  struct json lengths = json_get(fields, "assembly_by_length_of_1");
  out[0] = 0;
  for (size_t i = 0; i < h->metas; i++) {
    struct str key = h->meta[i].key, value = h->meta[i].value, id;
    int told = 0;
    char length[16] = "";
    if (str_eqc(key, "reference") || str_eqc(key, "assembly")) {
      told = by_word(fields, value, out);
    } else if (str_eqc(key, "contig")) {
      id = vcf_get(value, "ID");
      struct str n = vcf_get(value, "length");
      told = by_word(fields, vcf_get(value, "assembly"), out);
      if (n.n && n.n < sizeof length) memcpy(length, n.p, n.n);
      if (told >= 0 && n.n && (str_eqc(id, "1") || str_eqc(id, "chr1"))) told = agree(json_str(json_get(lengths, length)), out);
    }
    if (told < 0) return out[0] = 0, false;
  }
  return out[0] != 0;
}
