/* FHIR in, FHIR out, through the wall: `vitae deid --from fhir`.
 *
 *     struct fhir_deid_config c = {.policy = "policy/expert.json", .tables = "policy", .vault = v, .source = "fhir"};
 *     struct fhir_deid *f;  TRY(fhir_deid_open(&c, &f, e));
 *     TRY(fhir_deid_learn(f, "export/", e));                  // the pass before: persons, births, last events, identifiers
 *     TRY(fhir_deid_files(f, "export/", "out/", NULL, e));    // same layout; out/manifest.json
 *     fhir_deid_close(f);
 *
 * A policy is one of ours (policy/NAME.json with policy/fhir-rules.json beside it) or a configuration of Microsoft's FHIR anonymizer
 * (`rules`; `policy` then only gives tables and sentinels). Under ours, what no rule names is dropped. docs/deid-fhir.md says what becomes
 * of each element, and where we differ from Microsoft's engine and why. The same vault and the same input give the same bytes.
 */
#ifndef DEID_FHIR_DEID_H
#define DEID_FHIR_DEID_H
#include "base/error.h"
#include "base/str.h"

struct vault;
struct json_out;
struct fhir_deid_config {
  const char *policy; /* path of one of our policies */
  const char *rules;  /* path of a configuration of theirs, or NULL */
  const char *tables; /* directory with fhir-types-*.json and fhir-rules.json */
  struct vault *vault;
  const char *source; /* of the persons in the vault; NULL = "fhir" */
  bool no_text;       /* drop every text, whatever the policy says of texts */
  bool keep_vault;    /* the vault outlives the run: its shifts and secrets go before the keys in a configuration */
};
struct fhir_deid_counts {
  uint64_t files, documents, resources, rejected, bytes_in, bytes_out;
  uint64_t redacted, dates, sentinels, ages, codes_dropped, references, references_dropped, absent, persons;
  uint64_t texts, texts_dropped; /* texts that went out scrubbed; that were dropped */
};
struct fhir_deid;
int fhir_deid_open(const struct fhir_deid_config *c, struct fhir_deid **out, struct error *e) MUST_CHECK;
void fhir_deid_close(struct fhir_deid *f);
int fhir_deid_learn(struct fhir_deid *f, const char *path, struct error *e) MUST_CHECK;
/* One document (a resource or a Bundle) in memory, appended to out. 0; 1 = not taken, *why is one of our sentences; < 0 stops. */
int fhir_deid_document(struct fhir_deid *f, struct str text, struct buf *out, const char **why, struct error *e) MUST_CHECK;
/* A file to a file, or a directory to a directory (made if absent): NDJSON, documents, each plain or gzip. Names of files that are not
 * those of a bulk export are replaced. `progress` may be NULL. Writes OUT/manifest.json, or OUT.manifest.json beside a file. */
int fhir_deid_files(struct fhir_deid *f, const char *in, const char *out, void (*progress)(uint64_t done, uint64_t total),
                    struct error *e) MUST_CHECK;
void fhir_deid_manifest(const struct fhir_deid *f, struct json_out *o);
void fhir_deid_counts(const struct fhir_deid *f, struct fhir_deid_counts *out);
const char *fhir_deid_hash(const struct fhir_deid *f); /* SHA-256 over policy, rules and types: 64 hexadecimal digits */
#endif
