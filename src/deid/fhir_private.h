/* Private to deid/fhir_*.c: the state of a run over FHIR documents. Files: fhir_anonymise.c applies rules and closes documents,
 * fhir_methods.c changes values as Microsoft's configurations ask, fhir_clean.c as our policies ask, fhir_person.c says who a resource is
 * about, fhir_files.c reads and writes files. */
#ifndef DEID_FHIR_PRIVATE_H
#define DEID_FHIR_PRIVATE_H
#include "base/map.h"
#include "deid/code_rules.h"
#include "deid/deid.h"
#include "deid/fhir_deid.h"
#include "deid/fhir_rules.h"
#include "deid/vault_rows.h"

enum {
  LABEL_REDACTED = 1,
  LABEL_ABSTRED = 2,
  LABEL_HASH = 4,
  LABEL_MASKED = 8,
  LABEL_PERTURBED = 16,
  LABEL_SUBSTITUTED = 32,
  LABEL_GENERALIZED = 64
};
enum {
  FHIR_NOBODY = UINT32_MAX,
  FHIR_REJECTS_KEPT = 1000,
  OWN_SHORTEST = 5,
  FHIR_SAFE_IDS = 1024,
  THEIR_SHIFT_MAX = 50,
  FHIR_LINE_LIMIT = 64 << 20
};

struct fhir_root {       /* one resource of a document */
  uint32_t node, person; /* person: row of the vault, FHIR_NOBODY = none */
  uint32_t outer;        /* the resource around it, UINT32_MAX = none */
  uint8_t labels;
  bool contained, refused;
};
struct fhir_reject {
  uint32_t file;
  uint64_t row;
  const char *why;
};
struct fhir_out_file {
  char *name; /* as written */
  uint64_t resources, rejected;
};
struct deid_known;
struct fhir_deid {
  struct fhir_types *types;
  struct fhir_rules *rules;
  struct deid_policy policy;
  struct code_rules *codes;
  struct vault *vault;
  uint16_t source;
  bool ours, keep_vault;
  uint8_t secret[32]; /* ids, file names; the vault's own */
  char hash[65], meta[512];
  struct fhir_doc doc;
  struct arena scratch;
  struct fhir_root *roots;
  uint32_t root_n, root_cap, current; /* current: index into roots */
  struct map alias;                   /* id of a fullUrl -> person row, of this document */
  bool has_alias;
  struct deid_known *known; /* opened at the first text that may pass */
  bool no_text;             /* texts are dropped whatever the policy says */
  uint8_t uid_key[32];      /* that DICOM files of this vault are given new UIDs by */
  struct map shown;         /* hash of code and description -> how many persons had it, from the pass before */
  const char *why;          /* why the current document is refused */
  struct fhir_reject rejects[FHIR_REJECTS_KEPT];
  uint32_t reject_n;
  struct fhir_out_file *files;
  uint32_t file_n, file_cap;
  struct fhir_deid_counts n;
  struct { /* ids that were replaced, by their hash: most references repeat one of the lines before; wiped with the rest */
    uint8_t n;
    char id[64], safe[48];
  } safe[FHIR_SAFE_IDS];
};

/* fhir_anonymise.c */
void fhir_null(struct fhir_deid *f, uint32_t i);       /* the value goes, extensions stay for the rules that follow */
void fhir_redact_all(struct fhir_deid *f, uint32_t i); /* whatever no rule has taken yet, in the whole element */
void fhir_done_all(struct fhir_deid *f, uint32_t i);   /* the whole element stays as it is */
static inline void fhir_label(struct fhir_deid *f, uint8_t bits) { f->roots[f->current].labels |= bits; }

/* fhir_methods.c: one primitive value. < 0 is an error of processing (E_INPUT) or of memory. */
int fhir_their_value(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t i, struct error *e) MUST_CHECK;
int fhir_substitute(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t i, struct error *e) MUST_CHECK;
struct fhir_date {               /* a date as written: its calendar part, and the rest of the text */
  int64_t day;                   /* first day of its span, since 1970 */
  enum time_precision precision; /* at most TIME_PRECISION_DAY: the calendar part's own */
  struct str rest;               /* "T…" if it has a well-formed time, else empty */
};
bool fhir_date_split(struct str s, struct fhir_date *out);
/* The date moved by the person's shift, written as before. 1 = done, 0 = it may not stay, < 0 failure */
int fhir_date_shift(struct fhir_deid *f, uint32_t i, const struct fhir_date *d, int32_t days, struct error *e) MUST_CHECK;

/* fhir_clean.c */
int fhir_our_value(struct fhir_deid *f, const struct fhir_rule *rule, uint32_t i, struct error *e) MUST_CHECK;
bool fhir_our_method(enum fhir_method m);

/* fhir_text.c */
int fhir_text_string(struct fhir_deid *f, uint32_t i, struct error *e) MUST_CHECK;
int fhir_text_annotation(struct fhir_deid *f, uint32_t i, struct error *e) MUST_CHECK;
int fhir_text_attachment(struct fhir_deid *f, uint32_t i, struct error *e) MUST_CHECK;
int fhir_text_narrative(struct fhir_deid *f, uint32_t i, struct error *e) MUST_CHECK;

/* fhir_person.c */
int fhir_find_persons(struct fhir_deid *f, struct error *e) MUST_CHECK; /* before the rules: aliases of the document */
int fhir_person_of(struct fhir_deid *f, uint32_t root, struct error *e) MUST_CHECK;
/* The row of the person with this id (made if new); FHIR_NOBODY if it cannot be. */
int fhir_row(struct fhir_deid *f, struct str id, uint32_t *row, struct error *e) MUST_CHECK;
struct fhir_ref { /* a literal reference, taken apart */
  enum { REF_NONE, REF_LOCAL, REF_URN, REF_TYPED } form;
  struct str type, id;
};
struct fhir_ref fhir_ref_of(const struct fhir_deid *f, struct str s);
/* The person that a reference means, if it means a Patient. */
bool fhir_ref_person(struct fhir_deid *f, const struct fhir_ref *r, uint32_t *row);
/* Whether the person of the current resource was over the cap on that day; and on the day of the last event known. */
bool fhir_over_cap(const struct fhir_deid *f, int64_t day);
struct identity *fhir_identity(const struct fhir_deid *f);
uint32_t fhir_shown(const struct fhir_deid *f, struct str code, struct str display);
#endif
