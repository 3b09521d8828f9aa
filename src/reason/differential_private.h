/* Shared by differential*.c only. */
#ifndef REASON_DIFFERENTIAL_PRIVATE_H
#define REASON_DIFFERENTIAL_PRIVATE_H
#include "base/json.h"
#include "base/map.h"
#include "reason/differential.h"
#include "reason/ontology.h"

/* What is known of a candidate and a set of findings. Sums over terms count a term given its broader one (see `tree`) where it says so. */
enum {
  F_EVIDENCE, /* log ratios of the findings, along the tree */
  F_ABSENT,   /* log ratios of the absent findings */
  F_NEAREST,  /* likeness (shared information over all) to the nearest case, the second, the third */
  F_NEAREST_2,
  F_NEAREST_3,
  F_CUBES,     /* mean of the cubes of all likenesses */
  F_CONTAINED, /* share of the findings' information that one case has */
  F_LOG_CASES,
  F_LOG_PUBLICATIONS,
  F_ANNOTATED,
  F_TERMS,              /* log of how many terms are annotated */
  F_ANNOTATED_EVIDENCE, /* along the tree, of the annotations and of the cases alone */
  F_CASE_EVIDENCE,
  F_FLAT,          /* log ratios of the findings themselves, each on its own */
  F_COVERED,       /* share of the findings' information that the disease has at all */
  F_PROFILE_SHARE, /* share of what is typical of the disease that the findings have, and how much is typical */
  F_PROFILE,
  F_UNMENTIONED, /* log ratios of typical terms that nobody spoke of */
  F_BEST,        /* information of the most special term that a finding and the disease share, mean; as a share of the finding's own */
  F_BEST_SHARE,
  F_HITS,            /* share of the findings that are typical of the disease */
  F_BEST_WEIGHTED,   /* like F_BEST, by the frequency of what is shared */
  F_MISMATCH,        /* typical terms that were not said where a broader one was */
  F_EVIDENCE_MARGIN, /* less the best candidate's */
  F_NEAREST_MARGIN,
  F_BEST_MARGIN,
  F_FINDINGS, /* of the case: log of their number and information */
  F_INFORMATION,
  F_SEX, /* log ratios of the patient's sex and age in the disease; 0 where not told */
  F_AGE,
  F_LITERATURE, /* log of how many patients the annotations were counted on */
  F_LINKED,     /* how surely Orphanet's rows are of the same disease, and what they alone say */
  F_LINKED_EVIDENCE,
  F_GENES, /* log of how many genes are known for it */
  FEATURES
};
#define HIDDEN 16 /* units of the network */
#define NETWORKS_MOST 8
#define AGES 8 /* bands of age */
#define NONE 3 /* weights of "none of these": constant, F_FINDINGS, F_INFORMATION */

struct annotation {
  int term;
  int reference, cited; /* `cited` ids of d->references in d->cited, from `reference` */
  float weight, share;  /* frequency as counts: share of weight */
  float patients;       /* stated number of them; 0 = none stated */
  float linked;         /* 0: a row of the disease itself; else how surely its Orphanet namesake or relative by gene is the same, up to 1 */
  char aspect;          /* P: a finding; I: a mode of inheritance; C: an onset */
  bool negated;
};
struct entry { /* one term of one disease */
  int term;
  float annotated, linked, cases;                    /* frequency in its own rows and in Orphanet's; weighed count */
  float u, absent;                                   /* log ratios: above the floor of the disease; of the term's absence */
  float p, from_annotation, from_linked, from_cases; /* frequency; log ratios of each alone */
};
struct disease {
  struct str id, name;
  struct annotation *annotation;
  int annotations, annotation_cap;
  int *at; /* its cases */
  int n_at, cap_at;
  float cases, publications;
  int genes;
  bool annotated;
};
struct orphanet { /* an entry of Orphanet */
  struct str name;
  struct annotation *row;
  int rows, cap;
};
struct vector { /* a disease as seen without one publication */
  struct entry *entry;
  int n;
  float cases, publications, floor;
  float sex[2], age[AGES]; /* log ratios against anybody: male, female */
  float linked;            /* how surely, 0 = not at all */
  bool told;               /* it has rows or cases of its own: else it is no candidate */
  float literature;        /* patients that the annotations were counted on */
  bool annotated;
};
/* What is known without one publication (-1 = nothing is left out): its cases are no part of the background either */
struct view {
  int without;
  const float *background, *information; /* (terms) */
  const int *changed;                    /* terms whose background differs from d->background */
  int n_changed;
};
struct posting {
  int disease;
  float u, absent;
  bool typical; /* at least twice as frequent as in anybody */
};
struct known_case {
  struct finding_case c;
  int disease, publication; /* publication: id in d->references */
  int *closure;
  int n_closure;
  float information;
};
struct
    network { /* score = direct x + second relu(first x + bias), x standardised; F_ABSENT only in direct, where it counts for something */
  float mean[FEATURES], scale[FEATURES], inverse[FEATURES]; /* of scale */
  float direct[FEATURES], first[FEATURES][HIDDEN], bias[HIDDEN], second[HIDDEN], none[NONE];
};
struct differential {
  struct arena arena;
  struct ontology *o;
  struct intern ids, references;
  int *cited;
  int cites, cited_cap;
  bool rows_stay;
  int *touched_start, *touched; /* reference -> diseases that it says something of */
  struct disease *disease;
  int diseases, disease_cap;
  struct known_case *known;
  int cases, case_cap, skipped;
  float *background, *information; /* (terms) */
  float share_of_cases;            /* in the background */
  int *tree;                       /* (terms) the broader term that a term is counted under; -1 = none */
  int *posting_start;
  struct posting *posting;
  int *case_start, *case_at; /* term -> cases whose closure has it */
  float sex[2], age[AGES];   /* shares among the known cases */
  struct intern gene_ids;
  struct edge_list {
    int gene, disease;
  } * gene_edge;
  int gene_edges, gene_edge_cap;
  struct intern entry_ids; /* Orphanet's */
  struct orphanet *orphanet;
  int entries, entry_cap;
  struct edge_list *entry_edge; /* its `disease` is an entry of Orphanet */
  int entry_edges, entry_edge_cap;
  struct vector *vector;             /* (diseases) with all publications; entries by term */
  struct network net[NETWORKS_MOST]; /* the score is their mean */
  int nets;
  double gene_log_ratio;
};
int differential_read(struct differential *d, const struct differential_files *f, struct error *e);
int differential_link(struct differential *d, struct error *e); /* rows of Orphanet to the diseases that they are of */
/* Shares of sex and age among all known cases; then what they are in one disease without one publication, and `literature` */
void differential_people(struct differential *d);
void differential_person(const struct differential *d, const struct disease *x, int without, struct vector *out);
float differential_case_weight(int same); /* of one of `same` cases of one publication */
int differential_age_band(float years);   /* -1 = not known */
bool differential_cites(const struct differential *d, const struct annotation *a, int reference);
int differential_view(const struct differential *d, int without, struct arena *a, struct view *out, struct error *e);
int differential_vector(const struct differential *d, int disease, const struct view *w, struct arena *a, struct vector *out,
                        struct error *e);
/* One term's numbers from how often it is annotated and the weight of the cases that have it, over a background */
struct entry differential_entry(const struct vector *v, int term, float annotated, float linked, float cases, float background);
struct json finding_case_disease(struct json j); /* with id and label; JSON_NONE = it names none */
/* Closure of terms: sorted, unique. mark: (terms) zeroed, left zeroed. */
int differential_closure(const struct differential *d, const int *term, int n, struct arena *a, int **out, struct error *e);

struct shortlist { /* the candidates that are looked at closely */
  int n, *disease;
  float (*x)[FEATURES];
  uint8_t *candidate; /* (diseases) */
  float *best;        /* (diseases) F_BEST, for the order of all others */
};
int differential_shortlist(const struct differential *d, const struct finding_case *c, int without, struct arena *a, struct shortlist *out,
                           struct error *e);
/* The mean score of the networks less the mean of "none of these" */
float differential_score(const struct differential *d, const float x[FEATURES]);
float network_score(const struct network *net, const float x[FEATURES], float hidden[HIDDEN]);
float network_none(const struct network *net, const float x[FEATURES]);
int network_read(struct json j, struct network *net, struct error *e);
void network_write(const struct network *net, struct json_out *o);
#endif
