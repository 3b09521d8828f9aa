/* Private to deid/: rules for FHIR documents, read from a file: ours (policy/fhir-rules.json) or a configuration of Microsoft's FHIR anonymizer.
 *
 *     struct fhir_rules *r;  TRY(fhir_rules_load("config.json", types, &r, e));
 *     for (uint32_t i = 0; i < r->n; i++) … r->rule[i].path, r->rule[i].method
 *     fhir_rules_free(r);
 *
 * Rules are tried in order; the first that finds an element decides what becomes of it. `drop_others`: what no rule finds goes (ours);
 * otherwise it stays (theirs). A rule that cannot be read is refused, with its number and the place in its path.
 */
#ifndef DEID_FHIR_RULES_H
#define DEID_FHIR_RULES_H
#include "base/map.h"
#include "deid/fhirpath.h"

enum fhir_method {
  METHOD_KEEP,
  METHOD_REDACT,
  METHOD_REMOVE,
  METHOD_DATE_SHIFT,
  METHOD_HASH,
  METHOD_ENCRYPT,
  METHOD_PERTURB,
  METHOD_GENERALIZE,
  METHOD_SUBSTITUTE,
  /* ours */
  METHOD_DATE,
  METHOD_BIRTH,
  METHOD_ID,
  METHOD_REFERENCE,
  METHOD_FULL_URL,
  METHOD_URL,
  METHOD_CODE,
  METHOD_CODING,
  METHOD_QUANTITY,
  METHOD_AGE,
  METHOD_NUMBER,
  METHOD_ZIP3,
  METHOD_STATE,
  METHOD_COUNTRY,
  METHOD_EXTENSION,
  METHOD_TEXT,
  METHOD_ANNOTATION,
  METHOD_ATTACHMENT,
  METHOD_NARRATIVE,
  METHOD_UID,
  METHODS
};
struct fhir_case {
  const struct fhirpath *when, *give;
};
struct fhir_rule {
  const struct fhirpath *path;
  enum fhir_method method;
  double span;
  bool proportional, other_keep;
  int round_to;
  const struct fhir_case *cases;
  uint32_t case_n;
  struct str replace; /* JSON */
};
struct fhir_rules {
  struct arena a;
  struct fhir_rule *rule;
  uint32_t n;
  bool drop_others, skip_errors, stu3;
  bool partial_ages, partial_dates, partial_zips;
  bool has_offset;
  int fixed_offset;   /* dateShiftFixedOffsetInDays */
  struct map systems; /* ours: "URL|code" of small vocabularies of the standard */
  struct str states;  /* ours: "AL|AK|…" */
  struct str shift_key, hash_key, encrypt_key;
  char (*zip3)[4]; /* restrictedZipCodeTabulationAreas */
  uint32_t zip3_n;
  char hash[65]; /* SHA-256 of the file */
};
/* True if the file is a configuration of that form ("fhirPathRules"); false for policies and everything else. */
bool fhir_rules_is_config(const char *path);
/* Only the release that the file asks for: types must be chosen before its paths can be read. */
int fhir_rules_release(const char *path, bool *stu3, struct error *e) MUST_CHECK;
int fhir_rules_load(const char *path, const struct fhir_types *types, struct fhir_rules **out, struct error *e) MUST_CHECK;
void fhir_rules_free(struct fhir_rules *r);
bool fhir_rules_code(const struct fhir_rules *r, struct str system, struct str code);
#endif
