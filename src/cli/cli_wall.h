/* What an ingest says afterwards: a signed statement (reports/wall-GENERATION.{json,sig}, see govern/wall_chain.h), its page with the
 * risk that remains (.html), and a table of counts. */
#ifndef CLI_WALL_H
#define CLI_WALL_H
#include "base/hash.h"
#include "cli/cli.h"
#include "deid/deid.h"
#include "record/record.h"

struct site;
enum { WALL_INPUTS = 2000, WALL_REASONS = 12 };
struct wall_reason { /* why records were rejected; in the last place of a full list all others */
  char text[96];
  uint64_t n;
};
struct wall_summary {
  struct record_stats stats;
  struct deid_counts counts;
  struct buf manifest; /* JSON object by deid_manifest */
  struct buf inputs;   /* JSON objects of the first WALL_INPUTS source files: SHA-256 of the name and of the bytes, with commas between */
  uint8_t
      inputs_hash[32]; /* over all source files: h = SHA-256(h, SHA-256 of the bytes, SHA-256 of the name), hashes as bytes; h = 0 before */
  uint64_t inputs_n, left_out; /* left_out: links and other entries under the input path that are no regular files */
  double seconds;
  struct wall_reason reason[WALL_REASONS];
  int reasons;
  char source[64], quarantine[4096];
};
void wall_rejected(struct wall_summary *sum, const char *reason); /* counts one; reasons never hold a patient's value (record.h) */
/* A signed statement for a generation that no ingest made: `what` did ("forget"). The chain stays whole. */
int wall_statement(const struct site *s, const char *what, struct error *e) MUST_CHECK;
/* With a policy that suppresses: SITE/base -> SITE/timelines. `did`, `before` (the base's risk; the caller frees) for the report. */
struct risk;
struct risk_suppressed;
int wall_release(const struct site *s, const struct deid_policy *policy, struct risk_suppressed *did, struct risk **before,
                 struct error *e) MUST_CHECK;
int wall_report(struct cli *c, const struct site *s, const struct deid_policy *policy, struct wall_summary *sum,
                struct error *e) MUST_CHECK;
#endif
