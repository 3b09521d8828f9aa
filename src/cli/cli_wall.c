#include "cli/cli_wall.h"

#include "base/file.h"
#include "base/plot.h"
#include "base/progress.h"
#include "cli/cli_site.h"
#include "govern/site.h"
#include "timeline/timeline.h"

static void html_page(const struct deid_policy *policy, const struct wall_summary *sum, const char *generation, struct buf *b) {
  const struct deid_counts *n = &sum->counts;
  double x[IDENTIFIER_KINDS], y[IDENTIFIER_KINDS];
  buf_puts(
      b,
      "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>The wall</title><style>"
      "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}"
      "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid "
      "#ddd}td.n{text-align:right;font-variant-numeric:tabular-nums}"
      "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#15181c}td,th{border-color:#444}}</style><h1>What the wall took "
      "out</h1>");
  buf_printf(b, "<p>Source <b>%s</b>, store generation <b>%s</b>. Policy <b>%s</b> (%.16s…): %s</p>", sum->source, generation, policy->name,
             policy->hash, policy->statement);
  buf_printf(b,
             "<p>%llu records read, %llu events passed, %llu persons, %llu records rejected.</p><h2>Identifiers removed, by kind (45 CFR "
             "164.514(b)(2))</h2><table><tr><th>kind<th>removed",
             (unsigned long long)n->records, (unsigned long long)n->events, (unsigned long long)n->persons,
             (unsigned long long)sum->stats.rejected);
  for (int k = 0; k < IDENTIFIER_KINDS; k++) {
    buf_printf(b, "<tr><td>%s<td class=n>%llu", deid_identifier_name(k), (unsigned long long)n->removed[k]);
    x[k] = k + 1, y[k] = (double)n->removed[k];
  }
  buf_puts(b, "</table>");
  struct plot p;
  plot_init(&p, "Identifiers removed, by row of the table above", "row", "removed");
  plot_add(&p, PLOT_BARS, "", x, y, NULL, IDENTIFIER_KINDS);
  plot_svg(&p, 640, 280, b);
  plot_release(&p);
  buf_printf(b,
             "<h2>Changed on the way</h2><table><tr><td>dates changed<td class=n>%llu<tr><td>ages over the cap<td "
             "class=n>%llu<tr><td>3-digit ZIP kept<td class=n>%llu"
             "<tr><td>ZIP set to 000<td class=n>%llu<tr><td>free texts dropped<td class=n>%llu<tr><td>unknown or unwanted elements "
             "dropped<td class=n>%llu</table>",
             (unsigned long long)n->dates_changed, (unsigned long long)n->ages_capped, (unsigned long long)n->zips_kept,
             (unsigned long long)n->zips_cleared, (unsigned long long)n->text_dropped, (unsigned long long)n->elements_dropped);
  buf_puts(b,
           "<h2>What remains at risk</h2><p>Codes, values and intervals remain: a rare combination of them can single a person out for "
           "somebody who knows "
           "it already. Shifted dates are not Safe Harbor: they need an expert's determination (164.514(b)(1)) or a data use "
           "agreement.</p></html>\n");
}

static void print_table(const struct deid_policy *policy, const struct wall_summary *sum, const char *generation, uint64_t persons,
                        uint64_t events) {
  const struct deid_counts *n = &sum->counts;
  char bytes[32], number[32];
  human_bytes(sum->stats.bytes, bytes);
  printf("\nThe wall, %s, policy %s: %s in %.1f s (%.0f MB/s)\n", sum->source, policy->name, bytes, sum->seconds,
         sum->seconds > 0 ? (double)sum->stats.bytes / 1e6 / sum->seconds : 0);
  struct table t;
  table_init(&t, 2, "what", "count");
#define ROW(label, value) (human_thousands((int64_t)(value), number), table_row(&t, label, number))
  ROW("files", sum->stats.files);
  ROW("records read", n->records);
  ROW("events passed", n->events);
  ROW("persons", n->persons);
  for (int k = 0; k < IDENTIFIER_KINDS; k++)
    if (n->removed[k]) {
      char label[64];
      snprintf(label, sizeof label, "removed: %s", deid_identifier_name(k));
      ROW(label, n->removed[k]);
    }
  ROW("dates changed", n->dates_changed);
  if (n->ages_capped) ROW("ages capped", n->ages_capped);
  ROW("elements dropped", n->elements_dropped);
  ROW("records rejected", sum->stats.rejected);
#undef ROW
  table_print(&t, stdout);
  table_release(&t);
  printf("The store's generation %s holds %llu persons and %llu events.\n", generation, (unsigned long long)persons,
         (unsigned long long)events);
  if (sum->quarantine[0]) printf("Rejected records are listed (file, row, field, reason) in %s\n", sum->quarantine);
}

int wall_report(struct cli *c, const struct site *s, const struct deid_policy *policy, const struct wall_summary *sum, struct error *e) {
  struct timeline *t;
  TRY(cli_store(s, &t, e));
  char generation[32], file[4096], name[64];
  snprintf(generation, sizeof generation, "%s", timeline_generation(t));
  uint64_t persons = timeline_subjects(t), events = timeline_events(t);
  timeline_close(t);
  struct buf html = {0}, json = {0};
  struct json_out o;
  int rc;
  json_out_init(&o, &json, false);
  json_out_object(&o);
  json_kv_c(&o, "source", sum->source);
  json_kv_c(&o, "generation", generation);
  json_kv_i64(&o, "files", (int64_t)sum->stats.files);
  json_kv_i64(&o, "bytes", (int64_t)sum->stats.bytes);
  json_kv_i64(&o, "rejected", (int64_t)sum->stats.rejected);
  json_kv_f64(&o, "seconds", sum->seconds);
  json_kv_i64(&o, "store_persons", (int64_t)persons);
  json_kv_i64(&o, "store_events", (int64_t)events);
  json_out_key(&o, "wall");
  json_out_raw(&o, (struct str){sum->manifest.p, sum->manifest.n});
  json_out_end(&o);
  html_page(policy, sum, generation, &html);
  TRY_OUT(buf_check(&json, e));
  TRY_OUT(buf_check(&html, e));
  snprintf(name, sizeof name, "wall-%s.json", generation);
  TRY_OUT(site_path(s, file, "reports", name, NULL));
  TRY_OUT(file_write_atomic(file, json.p, json.n, 0644, e));
  snprintf(name, sizeof name, "wall-%s.html", generation);
  TRY_OUT(site_path(s, file, "reports", name, NULL));
  TRY_OUT(file_write_atomic(file, html.p, html.n, 0644, e));
  if (c->json)
    rc = cli_print_json(&json, e);
  else
    print_table(policy, sum, generation, persons, events), printf("Report: %s\n", file);
out:
  buf_release(&html);
  buf_release(&json);
  return rc;
}
