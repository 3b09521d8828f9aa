/* What an ingest says afterwards: the wall report (reports/wall-GENERATION.{json,html}) and a table of counts. */
#ifndef CLI_WALL_H
#define CLI_WALL_H
#include "cli/cli.h"
#include "deid/deid.h"
#include "record/record.h"

struct site;
struct wall_summary {
  struct record_stats stats;
  struct deid_counts counts;
  struct buf manifest; /* JSON object by deid_manifest */
  double seconds;
  char source[64], quarantine[4096];
};
int wall_report(struct cli *c, const struct site *s, const struct deid_policy *policy, const struct wall_summary *sum,
                struct error *e) MUST_CHECK;
#endif
