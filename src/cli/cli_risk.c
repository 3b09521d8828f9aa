#include "cli/cli_risk.h"

#include "base/file.h"
#include "base/progress.h"
#include "base/time.h"
#include "cli/cli_page.h"
#include "cli/cli_site.h"
#include "govern/site.h"
#include "timeline/timeline.h"
#include "validate/risk.h"

static void share(uint64_t n, uint64_t total, char out[32]) {
  bool few = n >= 1 && n <= RISK_SMALL, all_but_few = n < total && total - n <= RISK_SMALL;
  if (!total)
    snprintf(out, 32, "-");
  else if (few)
    snprintf(out, 32, "under %.2g %%", 100.0 * (RISK_SMALL + 1) / (double)total);
  else if (all_but_few)
    snprintf(out, 32, "over %.2g %%", 100.0 * ((double)total - RISK_SMALL - 1) / (double)total);
  else
    snprintf(out, 32, "%.1f %%", 100.0 * (double)n / (double)total);
}

static void print_tables(const struct risk *r) {
  struct table t;
  char unique[32], five[32], eleven[32], mean[32];
  table_init(&t, 5, "what an outsider knows", "alone (k = 1)", "k < 5", "k < 11", "mean risk");
  for (int s = 0; s < RISK_SETS; s++) {
    share(r->set[s].unique, r->persons, unique), share(r->set[s].under5, r->persons, five), share(r->set[s].under11, r->persons, eleven);
    share(r->set[s].classes, r->persons, mean);
    table_row(&t, r->set[s].name, unique, five, eleven, mean);
  }
  table_print(&t, stdout);
  table_release(&t);
  printf("\n");
  table_init(&t, 4, "codes known", "persons tried", "alone by the codes", "by codes and days between");
  for (int i = 0; i < RISK_PATTERNS; i++) {
    const struct risk_pattern *p = &r->pattern[i];
    char codes[32], tried[32];
    snprintf(codes, sizeof codes, "%d", p->codes);
    human_thousands((int64_t)p->tried, tried);
    share(p->by_codes, p->tried, five), share(p->by_gaps, p->tried, eleven);
    table_row(&t, codes, tried, five, eleven);
  }
  table_print(&t, stdout);
  table_release(&t);
}

static int write_pages(struct cli *c, const struct site *s, const char *generation, const char *hash, const struct risk *r,
                       struct error *e) {
  struct buf json = {0}, html = {0};
  struct json_out o;
  char file[4096], name[64], now[32];
  int rc;
  time_format(time_now() / TIME_SECOND * TIME_SECOND, now);
  json_out_init(&o, &json, false);
  json_out_object(&o);
  json_kv_i64(&o, "format", 1);
  json_kv_c(&o, "generation", generation);
  json_kv_c(&o, "store", hash);
  json_kv_c(&o, "time", now);
  json_kv_c(&o, "program", VITAE_VERSION);
  json_kv_c(&o, "commit", cli_commit());
  json_out_key(&o, "risk");
  risk_json(r, &o);
  json_out_end(&o);
  page_begin(&html, "What remains at risk");
  buf_printf(&html, "<p class=soft>Store generation <b>%s</b>, %s, vitae %s (%s).</p>", generation, now, VITAE_VERSION, cli_commit());
  risk_html(r, &html);
  page_end(&html);
  TRY_OUT(buf_check(&json, e));
  TRY_OUT(buf_check(&html, e));
  snprintf(name, sizeof name, "risk-%s.json", generation);
  TRY_OUT(site_path(s, file, "reports", name, NULL));
  TRY_OUT(file_write_atomic(file, json.p, json.n, 0644, e));
  snprintf(name, sizeof name, "risk-%s.html", generation);
  TRY_OUT(site_path(s, file, "reports", name, NULL));
  TRY_OUT(file_write_atomic(file, html.p, html.n, 0644, e));
  if (c->json)
    rc = cli_print_json(&json, e);
  else
    print_tables(r), printf("Report: %s\n", file);
out:
  buf_release(&json);
  buf_release(&html);
  return rc;
}

int cli_risk(struct cli *c, const struct site *s, struct error *e) {
  struct risk_options o;
  struct timeline *t = NULL;
  struct risk *r = NULL;
  char path[4096];
  TRY(site_find(s, "policy", "risk", path, e));
  TRY(risk_options_load(path, &o, e));
  int rc = cli_store(s, &t, e);
  if (rc == OK) rc = risk_compute(t, &o, &r, e);
  if (rc == OK) rc = write_pages(c, s, timeline_generation(t), timeline_hash(t), r, e);
  risk_free(r);
  if (t) timeline_close(t);
  risk_options_free(&o);
  return rc;
}
