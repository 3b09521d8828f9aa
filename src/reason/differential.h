/* From findings to ranked diseases with odds: what speaks for and against each, and what to look for next.
 *
 *     struct differential *d;
 *     TRY(differential_open(&(struct differential_files){.ontology = "hp.obo", .annotations = "phenotype.hpoa", .cases = "cases.jsonl"}, &d, e));
 *     struct finding_case c;  TRY(finding_case_parse(d, json, &arena, &c, e));
 *     struct differential_answer r;  TRY(differential_rank(d, &c, 10, NULL, &arena, &r, e));    // r.disease[0].probability …
 *
 * Each disease has a frequency for every term and everything broader: counts of its published cases over annotated frequencies as a prior, over a
 * background. From these and the findings come some thirty numbers a candidate (differential_private.h names them): evidence as sums of
 * log p(term | disease) / p(term | anybody), along a tree of the ontology so that related findings are not counted twice and term by term; how special
 * the terms are that findings and disease share; what is typical and was not said; likeness to the nearest known cases; how much is known of the disease.
 * A network of one hidden layer makes a score of them, learned leaving out the publication of the case at hand; exp(score) among the candidates and
 * "none of these" are the odds, sharpened on publications kept back from learning. Seven orders pick the candidates that are looked at so closely; the others
 * follow with next to no probability. Absent findings can only speak against a disease. After LIRICAL (Robinson et al. 2020) in aim, not in formula.
 * Orphanet's rows of the annotations count for the disease of OMIM that bears the same name or shares a gene, beside its own; they make no candidate.
 * Genes, where given, multiply the odds: see differential_files.genes.
 * A differential is immutable and may be shared by threads.
 */
#ifndef REASON_DIFFERENTIAL_H
#define REASON_DIFFERENTIAL_H
#include <stdbool.h>

#include "base/str.h"

struct differential;
struct ontology;
struct json;

struct differential_files { /* NULL = not there */
  const char *ontology;     /* hp.obo; without it every term stands alone */
  const char *annotations;  /* phenotype.hpoa: rows of OMIM, and of Orphanet */
  const char *cases;        /* JSON lines: phenopackets (v2), or the flat form of docs/differential.md */
  const char *genes;        /* tab-separated, with columns symbol and disease_id (OMIM:…, ORPHA:…) */
  const char *weights;      /* of the network; NULL = the shipped ones */
  bool rows_stay;           /* leaving out a publication leaves the annotations that cite it */
};
struct finding_case {
  const int *observed, *excluded; /* terms of the ontology, each once */
  int n_observed, n_excluded;
  int unknown;            /* terms that the ontology does not know: not used */
  const struct str *gene; /* symbols with a candidate variant, each once */
  int genes;
  int sex;                             /* 0 = not told, 1 male, 2 female */
  float age;                           /* years; NaN = not told */
  struct str disease, publication, id; /* of a known case; STR_NONE otherwise */
};
struct differential_evidence {
  int term;
  bool absent;
  float log_ratio; /* > 0 speaks for the disease */
};
struct differential_disease {
  struct str id, name;
  double probability; /* among the candidates and "none of these" */
  double log_odds;    /* the logit's score against "none of these" */
  float cases;        /* known of it, weighed by publication */
  bool annotated, gene;
  float orphanet; /* how surely an entry of Orphanet is the same disease: 1 by name, less by genes; 0 = none is */
  const struct differential_evidence *evidence; /* strongest first */
  int evidences;
};
struct differential_question { /* a finding that nobody has spoken of */
  int term;
  double bits; /* expected drop of the entropy over the ranked diseases */
};
struct differential_answer {
  struct differential_disease *disease;
  int diseases;
  double none;       /* probability of none of these */
  int genes_unknown; /* of the case's genes: no disease here is known for them */
  struct differential_question ask[5];
  int asks;
};

int differential_open(const struct differential_files *f, struct differential **out, struct error *e) MUST_CHECK;
void differential_free(struct differential *d);
const struct ontology *differential_ontology(const struct differential *d);
int differential_diseases(const struct differential *d);
int differential_cases(const struct differential *d);
int differential_skipped(const struct differential *d); /* cases of the file that name no disease or no finding: not used */
const struct finding_case *differential_case(const struct differential *d, int i);
/* What a known case is left out with: its publication, else its id (a known case without either gets one of its own); STR_NONE = nothing is told */
static inline struct str finding_case_source(const struct finding_case *c) { return c->publication.n ? c->publication : c->id; }
/* Adds a term to `n` of a list with room unless it is there: said twice is said once */
void finding_add(int *term, int *n, int add);
/* One JSON object: {"hpo": ["HP:…"], "hpo_excluded": […], "genes": […], "sex": "MALE", "age": "P3Y6M"}, of which wrong types and unknown members are
 * E_INPUT, or a phenopacket (what else it holds is passed over). Memory from the arena. */
int finding_case_parse(const struct differential *d, struct json j, struct arena *a, struct finding_case *out, struct error *e) MUST_CHECK;
/* `without`: a source (a publication as "PMID:1", a case's id) whose cases and annotations are not used, for evaluation; NULL = all are. */
int differential_rank(const struct differential *d, const struct finding_case *c, int most, const struct str *without, struct arena *a,
                      struct differential_answer *out, struct error *e) MUST_CHECK;
/* {"none_of_these", "candidates", "findings_unknown", "genes_unknown", "diseases": [{"id", "name", "probability", "log_odds", "known_cases", "annotated", "orphanet", "gene", "evidence":
 * [{"term", "name", "absent", "log_ratio"}]}], "ask_next": [{"term", "name", "bits"}]} */
struct json_out;
void differential_json(const struct differential *d, const struct finding_case *c, const struct differential_answer *r, struct json_out *o);
/* Rank of `disease` among all (1 = first; 0 = not among the candidates), with the probabilities of it and of the first. */
struct differential_place {
  int rank;
  double probability, first;
};
int differential_place(const struct differential *d, const struct finding_case *c, struct str disease, const struct str *without,
                       struct arena *a, struct differential_place *out, struct error *e) MUST_CHECK;
/* Learning the weights: a lesson holds what is known of every case without its own publication (160 MB for 6,000 cases); a fit leaves out the
 * publications of fold `out_fold` of `folds` (-1 = none), uses the weights from then on and writes them as JSON. */
struct differential_lesson;
int differential_lesson_new(const struct differential *d, struct differential_lesson **out, struct error *e) MUST_CHECK;
void differential_lesson_free(struct differential_lesson *l);
int differential_fit(struct differential *d, const struct differential_lesson *l, int folds, int out_fold, struct buf *json,
                     struct error *e) MUST_CHECK;
int differential_fold(const struct finding_case *c, int folds);                                       /* by the source's name */
int differential_use(struct differential *d, const char *json, size_t n, struct error *e) MUST_CHECK; /* such weights from now on */
#endif
