/* What `vitae audit` keeps while it reads a site again: places, counts, what was read. Never a value, never a name of a file that
 * itself says something.
 *
 *     cli_audit_scan.c    reads: store, blobs, reports, models, database, names        cli_audit_bytes.c   files, packed or not
 *     cli_audit_report.c  reports/audit-GENERATION.{json,html} and the table on the terminal
 */
#ifndef CLI_AUDIT_H
#define CLI_AUDIT_H
#include "base/map.h"
#include "cli/cli.h"
#include "deid/audit_search.h"
#include "govern/site.h"

enum audit_part {
  PART_CODES,  /* names, descriptions and units of the dictionary */
  PART_VALUES, /* numbers and times of events */
  PART_TEXTS,  /* texts, unpacked */
  PART_BLOBS,  /* images and genomes */
  PART_STORE,  /* manifests and what else lies in timelines/ */
  PART_REPORTS,
  PART_MODELS,
  PART_DATABASE, /* rows, and the file's bytes with what was deleted */
  PART_VAULT,    /* must be ciphertext; quarantine lists are left out */
  PART_OTHER,
  PART_NAMES, /* names of files and directories */
  AUDIT_PARTS
};
struct audit_spot {          /* places of one sort */
  const char *file, *column; /* in the run's arena; file is relative to the site */
  enum audit_part part;
  enum audit_weight weight;
  bool own;
  int kind;
  enum audit_form form;
  uint64_t count, row, offset; /* of the first */
  int64_t person;              /* of the first; 0 for shapes */
  uint32_t persons;
};
struct audit_read {
  uint64_t items, bytes, strong, weak;
};
struct audit_run {
  const struct site *site;
  struct audit_search *search;
  struct arena arena;
  struct map index; /* what makes a spot -> its place in `spot` */
  struct audit_spot *spot;
  uint32_t spots, cap;
  struct audit_read read[AUDIT_PARTS];
  uint64_t strong, weak, persons, variants, names;
  size_t memory;
  double seconds;
  char generation[32], store_hash[65], *policy;
  bool dates_kept, dates_year, dates_shifted, surrogates;
  /* of the thing being read */
  enum audit_part part;
  const char *file, *column;
  uint64_t row, base; /* base: added to offsets */
  bool count_shapes;
};

int audit_site(struct audit_run *a, struct error *e) MUST_CHECK; /* reads everything */
/* One file: plain or gzip, in windows; UTF-16, base64 and hexadecimal runs are unpacked. `at` says whose it is. */
int audit_file_bytes(struct audit_run *a, const char *path, const struct audit_place *at, struct error *e) MUST_CHECK;
/* Bytes in memory: identifiers and shapes. */
int audit_bytes(struct audit_run *a, struct str bytes, size_t from, size_t to, const struct audit_place *at, struct error *e) MUST_CHECK;
int audit_hit_note(struct audit_run *a, const struct audit_hit *h, struct error *e) MUST_CHECK;
const char *audit_part_name(enum audit_part part);

int audit_report(struct cli *c, struct audit_run *a, struct error *e) MUST_CHECK;
#endif
