/* vitae show SITE [SUBJECT]: the cohort, or one life. */
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "cli/cli_site.h"
#include "govern/site.h"
#include "timeline/timeline.h"

static const struct cli_option options[] = {
    {"limit", CLI_INTEGER, "N:1..4294967295", "events of a life (default 200), or subjects of the list (default 20)"}, {0}};

static const char *const split_names[SPLITS] = {"train", "tuning", "held_out"};

static int list(struct cli *c, const struct timeline *t, uint32_t limit, struct error *e) {
  uint32_t n = timeline_subjects(t), by_split[SPLITS] = {0};
  for (uint32_t i = 0; i < n; i++) by_split[timeline_view(t, i).split]++;
  if (c->json) {
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b, false);
    json_out_object(&o);
    json_kv_c(&o, "generation", timeline_generation(t));
    json_kv_c(&o, "hash", timeline_hash(t));
    json_kv_i64(&o, "subjects", n);
    json_kv_i64(&o, "events", (int64_t)timeline_events(t));
    json_kv_i64(&o, "codes", timeline_codes(t));
    for (int s = 0; s < SPLITS; s++) json_kv_i64(&o, split_names[s], by_split[s]);
    json_out_end(&o);
    int rc = cli_print_json(&b, e);
    buf_release(&b);
    return rc;
  }
  char subjects[32], events[32];
  human_thousands(n, subjects);
  human_thousands((int64_t)timeline_events(t), events);
  printf("%s: %s subjects, %s events, %u codes; train %u, tuning %u, held out %u\n\n", timeline_generation(t), subjects, events,
         timeline_codes(t), by_split[0], by_split[1], by_split[2]);
  struct table table;
  table_init(&table, 5, "subject", "events", "from", "to", "split");
  for (uint32_t i = 0; i < n && i < limit; i++) {
    struct timeline_view v = timeline_view(t, i);
    char id[32], count[32], from[32] = "", to[32] = "";
    snprintf(id, sizeof id, "%lld", (long long)v.subject);
    human_thousands(v.n, count);
    if (v.statics < v.n) time_format_date(v.time[v.statics], from), time_format_date(v.time[v.n - 1], to);
    table_row(&table, id, count, from, to, split_names[v.split]);
  }
  table_print(&table, stdout);
  table_release(&table);
  if (n > limit) printf("… and %u more (--limit)\n", n - limit);
  return OK;
}

static int life(struct cli *c, const struct timeline *t, uint32_t limit, struct error *e) {
  int64_t subject;
  uint32_t index;
  if (str_to_i64(str_c(c->arg[1]), &subject) < 0)
    return error_set(e, E_USAGE, "a subject is a number: its pseudonym, as in: vitae show %s", c->arg[0]);
  TRY(timeline_find(t, subject, &index, e));
  struct buf b = {0};
  int rc;
  if (c->json) {
    struct json_out o;
    json_out_init(&o, &b, false);
    timeline_json(t, index, limit, &o);
    rc = cli_print_json(&b, e);
  } else {
    timeline_print(t, index, term_width(1), term_colour(1), limit, &b);
    rc = buf_check(&b, e);
    if (rc == OK) fwrite(b.p, 1, b.n, stdout);
  }
  buf_release(&b);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  struct site s;
  struct timeline *t;
  TRY(site_open(c->arg[0], &s, e));
  TRY(cli_store(&s, &t, e));
  int64_t limit = cli_integer(c, "limit", c->args > 1 ? 200 : 20);
  int rc = c->args > 1 ? life(c, t, (uint32_t)limit, e) : list(c, t, (uint32_t)limit, e);
  timeline_close(t);
  return rc;
}

const struct command command_show = {"show", "SITE [SUBJECT]", "print the cohort, or a patient's life with a picture of it", options, 1, 2,
                                     run};
