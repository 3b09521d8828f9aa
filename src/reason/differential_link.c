/* Orphanet describes many of OMIM's diseases in rows of its own (ORPHA:… in phenotype.hpoa, with frequencies, citing no publication). Which of its entries is
 * which disease is told by the name, or by a gene that both are known for. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "reason/differential_private.h"

#define LINK_LEAST 0.15F /* a weaker link is none: an entry that some dozens of genes lead to */

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for links to Orphanet"); }

enum { NAME_MOST = 256 };
/* Letters and digits of a name in lower case, one blank between words. `stem`: up to the first comma, without words that hold a digit, are one or two letters,
 * or "type": "Noonan syndrome 6" -> "noonan syndrome". */
static struct str plain(struct str name, bool stem, char to[NAME_MOST]) {
  size_t n = 0, i = 0;
  while (i < name.n && !(stem && name.p[i] == ',')) {
    size_t from = i;
    bool digit = false;
    for (; i < name.n && (isalnum((unsigned char)name.p[i]) || (unsigned char)name.p[i] >= 128); i++)
      digit |= isdigit((unsigned char)name.p[i]) != 0;
    struct str word = {name.p + from, i - from};
    if (word.n == 0) i++;
    if (word.n == 0 || n + word.n + 1 > NAME_MOST || (stem && (digit || word.n < 3 || str_eq_nocase(word, STR("type"))))) continue;
    if (n) to[n++] = ' ';
    for (size_t k = 0; k < word.n; k++) to[n++] = (char)tolower((unsigned char)word.p[k]);
  }
  return (struct str){to, n};
}
static bool same_stem(struct str a, struct str b) {
  char x[NAME_MOST], y[NAME_MOST];
  struct str s = plain(a, true, x);
  return s.n && str_eq(s, plain(b, true, y));
}

struct link {
  int disease, entry;
  float how;
};
static int by_disease(const void *a, const void *b) {
  const struct link *x = a, *y = b;
  if (x->disease != y->disease) return x->disease < y->disease ? -1 : 1;
  if (x->entry != y->entry) return x->entry < y->entry ? -1 : 1;
  return (x->how < y->how) - (x->how > y->how); /* the surest first */
}
/* Entries of the same name: sure. */
static int links_by_name(const struct differential *d, struct link *out, int *n, struct arena *a, struct error *e) {
  struct intern names;
  char text[NAME_MOST];
  uint32_t at;
  int *entry = arena_array(a, int, (size_t)d->entries + 1), rc = entry ? OK : no_memory(e);
  intern_init(&names, 0);
  for (int i = 0; i < d->entries && rc == OK; i++) {
    uint32_t before = names.count;
    rc = intern_put(&names, plain(d->orphanet[i].name, false, text), &at, e);
    if (rc == OK && names.count > before) entry[at] = i;
  }
  for (int i = 0; i < d->diseases && rc == OK; i++) {
    struct str name = plain(d->disease[i].name, false, text);
    if (name.n && intern_find(&names, name, &at)) out[(*n)++] = (struct link){i, entry[at], 1};
  }
  intern_release(&names);
  return rc;
}
/* A shared gene: sure where the names have one stem; else the less, the more genes lead to the entry and the more entries the gene leads to. With `out` NULL
 * they are counted. */
static int links_by_gene(const struct differential *d, const int *start, const int *at, const int *genes, struct link *out) {
  int n = 0;
  for (int k = 0; k < d->gene_edges; k++) {
    int gene = d->gene_edge[k].gene, disease = d->gene_edge[k].disease;
    for (int j = start[gene]; j < start[gene + 1]; j++, n++) {
      float shared = (float)genes[at[j]] * (float)(start[gene + 1] - start[gene]);
      if (out) out[n] = (struct link){disease, at[j], same_stem(d->disease[disease].name, d->orphanet[at[j]].name) ? 1 : 1 / sqrtf(shared)};
    }
  }
  return n;
}
static int add_rows(struct disease *x, const struct orphanet *o, float how, struct error *e) {
  int most = x->annotations + o->rows;
  struct annotation *more = mem_realloc(x->annotation, ((size_t)most + 1) * sizeof *more);
  if (!more) return no_memory(e);
  x->annotation = more;
  x->annotation_cap = most + 1;
  for (int i = 0; i < o->rows; i++) {
    more[x->annotations] = o->row[i];
    more[x->annotations++].linked = how;
  }
  return OK;
}

int differential_link(struct differential *d, struct error *e) {
  struct arena a;
  arena_init(&a, 0, 0);
  size_t gene_ids = d->gene_ids.count;
  int *start = arena_array(&a, int, gene_ids + 2), *at = arena_array(&a, int, (size_t)d->entry_edges + 1);
  int *fill = arena_array(&a, int, gene_ids + 1), *genes = arena_array(&a, int, (size_t)d->entries + 1), n = 0;
  int rc = start && at && fill && genes ? OK : no_memory(e);
  for (int k = 0; k < d->gene_edges; k++) d->disease[d->gene_edge[k].disease].genes++;
  for (int k = 0; k < d->entry_edges && rc == OK; k++) start[d->entry_edge[k].gene + 1]++, genes[d->entry_edge[k].disease]++;
  for (size_t g = 0; g < gene_ids && rc == OK; g++) fill[g] = start[g], start[g + 1] += start[g];
  for (int k = 0; k < d->entry_edges && rc == OK; k++) at[fill[d->entry_edge[k].gene]++] = d->entry_edge[k].disease;
  size_t most = rc == OK ? (size_t)links_by_gene(d, start, at, genes, NULL) + (size_t)d->diseases : 0;
  struct link *link = arena_array(&a, struct link, most + 1);
  if (!link) rc = no_memory(e);
  if (rc == OK) n = links_by_gene(d, start, at, genes, link);
  if (rc == OK) rc = links_by_name(d, link, &n, &a, e);
  if (rc == OK) qsort(link, (size_t)n, sizeof *link, by_disease);
  for (int i = 0; i < n && rc == OK; i++) {
    if (link[i].how < LINK_LEAST || (i && link[i].disease == link[i - 1].disease && link[i].entry == link[i - 1].entry)) continue;
    rc = add_rows(&d->disease[link[i].disease], &d->orphanet[link[i].entry], link[i].how, e);
  }
  arena_free(&a);
  return rc;
}
