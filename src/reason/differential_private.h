/* Shared by differential*.c only. */
#ifndef REASON_DIFFERENTIAL_PRIVATE_H
#define REASON_DIFFERENTIAL_PRIVATE_H
#include "base/map.h"
#include "reason/differential.h"
#include "reason/ontology.h"

enum { F_EVIDENCE, F_ABSENT, F_NEAREST, F_LOG_CASES, F_LOG_PUBLICATIONS, F_ANNOTATED, F_BASE };
enum { F_SEEN = F_BASE, FEATURES = F_BASE + 1 + F_LOG_CASES }; /* the first F_LOG_CASES ones again, for diseases with cases */

struct annotation {
  int term;
  int reference, cited; /* `cited` ids of d->references in d->cited, from `reference` */
  float weight, share;  /* frequency as counts: share of weight */
  bool negated;
};
struct entry { /* one term of one disease */
  int term;
  float annotated, cases; /* frequency, weighed count */
  float u, absent;        /* log ratios: above the floor of the disease; of the term's absence */
};
struct disease {
  struct str id, name;
  struct annotation *annotation;
  int annotations, annotation_cap;
  int *at; /* its cases */
  int n_at, cap_at;
  float cases, publications;
  bool annotated;
};
struct vector { /* a disease as seen without one publication */
  struct entry *entry;
  int n;
  float cases, publications, floor;
  bool annotated;
};
struct posting {
  int disease;
  float u, absent;
};
struct known_case {
  struct finding_case c;
  int disease, publication; /* publication: id in d->references */
  int *closure;
  int n_closure;
  float information;
};
struct differential {
  struct arena arena;
  struct ontology *o;
  struct intern ids, references;
  int *cited;
  int cites, cited_cap;
  struct disease *disease;
  int diseases, disease_cap;
  struct known_case *known;
  int cases, case_cap;
  float *background, *information; /* (terms) */
  int *tree;                       /* (terms) the broader term that a term is counted under; -1 = none */
  int *posting_start;
  struct posting *posting;
  int *case_start, *case_at; /* term -> cases whose closure has it */
  struct intern gene_ids;
  struct edge_list {
    int gene, disease;
  } * gene_edge;
  int gene_edges, gene_edge_cap;
  double weight[FEATURES], mean[FEATURES], scale[FEATURES], none, gene_log_ratio;
};
int differential_read(struct differential *d, const struct differential_files *f, struct error *e);
bool differential_cites(const struct differential *d, const struct annotation *a, int reference);
int differential_vector(const struct differential *d, int disease, int without, struct arena *a, struct vector *out, struct error *e);
/* Closure of terms: sorted, unique. mark: (terms) zeroed, left zeroed. */
int differential_closure(const struct differential *d, const int *term, int n, struct arena *a, int **out, struct error *e);

struct scores {
  float (*feature)[F_BASE]; /* (diseases) */
  uint8_t *candidate;       /* (diseases) */
  int n;
};
int differential_features(const struct differential *d, const struct finding_case *c, int without, struct arena *a, struct scores *out,
                          struct error *e);
void differential_expand(const float base[F_BASE], double out[FEATURES]);
double differential_score(const struct differential *d, const float base[F_BASE]);
#endif
