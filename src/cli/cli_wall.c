#include "cli/cli_wall.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/time.h"
#include "cli/cli_page.h"
#include "cli/cli_site.h"
#include "govern/site.h"
#include "govern/wall_chain.h"
#include "timeline/timeline.h"
#include "validate/risk.h"

/* What a suppressing policy held back; before = NULL: nothing was to be. */
struct held {
  struct risk_suppressed did;
  struct risk *before;
};

void wall_rejected(struct wall_summary *sum, const char *reason) {
  const int last = WALL_REASONS - 1;
  int k = 0;
  while (k < sum->reasons && strncmp(sum->reason[k].text, reason, sizeof sum->reason[k].text - 1) != 0) k++;
  if (k >= last) k = last, reason = "other reasons";
  if (k >= sum->reasons) {
    snprintf(sum->reason[k].text, sizeof sum->reason[k].text, "%s", reason);
    sum->reasons = k + 1;
  }
  sum->reason[k].n++;
}

static int by_falling_count(const void *x, const void *y) {
  const struct wall_reason *a = x, *b = y;
  return a->n != b->n ? (a->n < b->n ? 1 : -1) : strcmp(a->text, b->text);
}

static void reasons_html(const struct wall_summary *sum, struct buf *b) {
  if (!sum->reasons) return;
  buf_puts(b, "<h2>Why records were rejected</h2><table>");
  for (int k = 0; k < sum->reasons; k++) {
    buf_puts(b, "<tr><td>");
    buf_html(b, str_c(sum->reason[k].text));
    buf_puts(b, "<td class=n>");
    page_count(b, sum->reason[k].n);
  }
  buf_puts(b, "</table><p><small>Each is listed (file, row, field, reason) in the vault's quarantine.</small></p>");
}

static void html_page(const struct deid_policy *policy, const struct wall_summary *sum, const char *generation, const struct risk *risk,
                      const struct held *held, struct buf *b) {
  const struct deid_counts *n = &sum->counts;
  uint64_t most = 1;
  page_begin(b, "What the wall took out");
  buf_puts(b, "<p>Source <b>");
  buf_html(b, str_c(sum->source));
  buf_printf(b, "</b>, store generation <b>%s</b>. Policy <b>%s</b> (%.16s…): %s</p><p>", generation, policy->name, policy->hash,
             policy->statement);
  page_count(b, n->records), buf_puts(b, " records read, ");
  page_count(b, n->events), buf_puts(b, " events passed, ");
  page_count(b, n->persons), buf_puts(b, " persons, ");
  page_count(b, sum->stats.rejected);
  buf_puts(b, " records rejected.</p>");
  if (sum->left_out) {
    buf_puts(b, "<p>"), page_count(b, sum->left_out);
    buf_puts(b, " links and other entries that are no regular files were left out.</p>");
  }
  reasons_html(sum, b);
  buf_puts(b, "<h2>Identifiers removed, by kind (45 CFR 164.514(b)(2))</h2><table><tr><th>kind<th class=n>removed<th>");
  for (int k = 0; k < IDENTIFIER_KINDS; k++) most = n->removed[k] > most ? n->removed[k] : most;
  for (int k = 0; k < IDENTIFIER_KINDS; k++) {
    buf_printf(b, "<tr><td>%s<td class=n>", deid_identifier_name(k));
    page_count(b, n->removed[k]);
    page_bar(b, (double)n->removed[k] / (double)most);
  }
  buf_puts(b, "</table>");
  buf_printf(b,
             "<h2>Changed on the way</h2><table><tr><td>dates changed<td class=n>%llu<tr><td>ages over the cap<td "
             "class=n>%llu<tr><td>3-digit ZIP kept<td class=n>%llu"
             "<tr><td>ZIP set to 000<td class=n>%llu<tr><td>free texts dropped<td class=n>%llu<tr><td>unknown or unwanted elements "
             "dropped<td class=n>%llu</table>",
             (unsigned long long)n->dates_changed, (unsigned long long)n->ages_capped, (unsigned long long)n->zips_kept,
             (unsigned long long)n->zips_cleared, (unsigned long long)n->text_dropped, (unsigned long long)n->elements_dropped);
  if (held->before) risk_suppressed_html(&held->did, held->before, risk, b);
  buf_puts(b,
           "<h1>What remains at risk</h1><p>Codes, values and intervals remain: a rare combination of them can single a person out for "
           "somebody who knows "
           "it already. Shifted dates are not Safe Harbor: they need an expert's determination (164.514(b)(1)) or a data use "
           "agreement.</p>");
  if (n->genomes) buf_printf(b, "<p><b>%llu genomes passed.</b> %s</p>", (unsigned long long)n->genomes, deid_genome_statement());
  risk_html(risk, b);
  page_end(b);
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
  if (sum->left_out) ROW("left out: links, no regular files", sum->left_out);
  ROW("records read", n->records);
  ROW("events passed", n->events);
  ROW("persons", n->persons);
  if (n->linked) ROW("keys linked to a known person", n->linked);
  if (n->link_conflicts) ROW("links refused (see linking in the report)", n->link_conflicts);
  for (int k = 0; k < IDENTIFIER_KINDS; k++)
    if (n->removed[k]) {
      char label[64];
      snprintf(label, sizeof label, "removed: %s", deid_identifier_name(k));
      ROW(label, n->removed[k]);
    }
  if (n->objects) ROW("images and genomes passed", n->objects);
  if (n->genome_records) ROW("genome records dropped", n->genome_records);
  if (n->genome_fields) ROW("genome fields dropped", n->genome_fields);
  ROW("dates changed", n->dates_changed);
  if (n->ages_capped) ROW("ages capped", n->ages_capped);
  ROW("elements dropped", n->elements_dropped);
  ROW("records rejected", sum->stats.rejected);
  for (int k = 0; k < sum->reasons; k++) {
    char label[128];
    snprintf(label, sizeof label, "  %s", sum->reason[k].text);
    ROW(label, sum->reason[k].n);
  }
#undef ROW
  table_print(&t, stdout);
  table_release(&t);
  if (n->genomes) printf("%llu genomes passed. %s\n", (unsigned long long)n->genomes, deid_genome_statement());
  printf("The store's generation %s holds %llu persons and %llu events.\n", generation, (unsigned long long)persons,
         (unsigned long long)events);
  if (sum->quarantine[0]) printf("Rejected records are listed (file, row, field, reason) in %s\n", sum->quarantine);
}

static void print_held(const struct held *h) {
  if (!h->before) return;
  const struct risk_suppressed *d = &h->did;
  char broader[32], out[32];
  human_thousands((int64_t)d->events_broader, broader), human_thousands((int64_t)d->events_left_out, out);
  printf(
      "Held back so that nothing stands for fewer than %u persons: %llu codes became broader ones (%s events), %llu were left out (%s "
      "events).\n",
      d->k, (unsigned long long)d->codes_broader, broader, (unsigned long long)d->codes_left_out, out);
  if (d->codes < 2 && !d->with_attributes) return;
  printf("For combinations of %s%s, %llu codes were left out of single lives.\n", d->with_attributes ? "attributes with " : "",
         d->codes >= 2 ? "two codes" : "a code", (unsigned long long)d->held);
}

/* What is true of the generation: read from the store itself. */
struct wall_store {
  char generation[32], hash[65];
  uint64_t persons, events;
  struct risk *risk;
};
enum { RISK_WORK = 50000000 }; /* an ingest does not wait for more; vitae audit --risk does */

static int look(const struct site *s, struct wall_store *out, struct error *e) {
  struct timeline *t;
  struct risk_options o;
  char path[4096];
  TRY(site_find(s, "policy", "risk", path, e));
  TRY(risk_options_load(path, &o, e));
  int rc = cli_store(s, &t, e);
  if (rc == OK) {
    snprintf(out->generation, sizeof out->generation, "%s", timeline_generation(t));
    snprintf(out->hash, sizeof out->hash, "%s", timeline_hash(t));
    out->persons = timeline_subjects(t), out->events = timeline_events(t);
    o.work = RISK_WORK;
    rc = risk_compute(t, &o, &out->risk, e);
    timeline_close(t);
  }
  risk_options_free(&o);
  return rc;
}

/* Hashes of the source files and of their names: what went in, without saying what it is called. */
static void inputs(struct wall_summary *sum, struct json_out *o) {
  char hex[65];
  struct buf list = {0};
  hash_hex(sum->inputs_hash, 32, hex);
  json_kv_i64(o, "input_files", (int64_t)sum->inputs_n);
  json_kv_c(o, "inputs_sha256", hex);
  buf_printf(&list, "[%s]", buf_cstr(&sum->inputs));
  json_out_key(o, "inputs");
  json_out_raw(o, (struct str){list.p, list.n});
  o->to->failed = o->to->failed || list.failed || sum->inputs.failed;
  buf_release(&list);
}

static void statement_head(const struct wall_store *store, const struct wall_link *link, const char *source, struct json_out *o) {
  char now[32];
  json_out_object(o);
  json_kv_i64(o, "format", WALL_CHAIN_FORMAT);
  json_kv_c(o, "source", source);
  json_kv_c(o, "generation", store->generation);
  json_kv_c(o, "store", store->hash);
  json_kv_c(o, "previous", link->previous);
  json_kv_c(o, "signer", link->signer);
  time_format(time_now() / TIME_SECOND * TIME_SECOND, now);
  json_kv_c(o, "time", now);
  json_kv_c(o, "program", VITAE_VERSION);
  json_kv_c(o, "commit", cli_commit());
}

int wall_statement(const struct site *s, const char *what, struct error *e) {
  struct wall_store store = {0};
  struct wall_link link;
  struct timeline *t;
  struct buf b = {0};
  struct json_out o;
  TRY(cli_store(s, &t, e));
  snprintf(store.generation, sizeof store.generation, "%s", timeline_generation(t));
  snprintf(store.hash, sizeof store.hash, "%s", timeline_hash(t));
  timeline_close(t);
  TRY(wall_chain_head(s->path, &link, e));
  json_out_init(&o, &b, false);
  statement_head(&store, &link, what, &o);
  json_out_end(&o);
  int rc = buf_check(&b, e);
  if (rc == OK) rc = wall_chain_add(s->path, store.generation, (struct str){b.p, b.n}, e);
  buf_release(&b);
  return rc;
}

static void statement(const struct wall_store *store, const struct wall_link *link, struct wall_summary *sum, const struct held *held,
                      const struct buf *page, struct json_out *o) {
  uint8_t digest[32];
  char hex[65];
  statement_head(store, link, sum->source, o);
  inputs(sum, o);
  json_kv_i64(o, "files", (int64_t)sum->stats.files);
  json_kv_i64(o, "files_left_out", (int64_t)sum->left_out);
  json_kv_i64(o, "bytes", (int64_t)sum->stats.bytes);
  json_kv_i64(o, "rejected", (int64_t)sum->stats.rejected);
  json_out_key(o, "rejected_for");
  json_out_object(o);
  for (int k = 0; k < sum->reasons; k++) json_kv_i64(o, sum->reason[k].text, (int64_t)sum->reason[k].n);
  json_out_end(o);
  json_kv_f64(o, "seconds", sum->seconds);
  json_kv_i64(o, "store_persons", (int64_t)store->persons);
  json_kv_i64(o, "store_events", (int64_t)store->events);
  json_out_key(o, "wall");
  json_out_raw(o, (struct str){sum->manifest.p, sum->manifest.n});
  if (held->before) {
    json_out_key(o, "suppression");
    risk_suppressed_json(&held->did, o);
    json_out_key(o, "risk_before");
    risk_json(held->before, o);
  }
  json_out_key(o, "risk");
  risk_json(store->risk, o);
  sha256_of(page->p, page->n, digest);
  hash_hex(digest, 32, hex);
  json_kv_c(o, "page", hex);
  json_out_end(o);
}

int wall_release(const struct site *s, const struct deid_policy *policy, struct risk_suppressed *did, struct risk **before,
                 struct error *e) {
  char base[4096], dir[4096];
  struct risk_options o;
  struct timeline *t = NULL;
  struct timeline_suppression plan;
  struct arena a;
  struct buf extra = {0};
  struct json_out out;
  *before = NULL;
  TRY(site_path(s, base, "base", NULL));
  TRY(site_path(s, dir, "timelines", NULL));
  TRY(risk_options_load(policy->risk_path, &o, e));
  arena_init(&a, 0, 0);
  int rc = timeline_open(base, &t, e);
  if (rc == OK)
    rc = risk_suppress(t, &o,
                       &(struct risk_suppress_options){.k = (uint32_t)policy->suppress_k,
                                                       .classes = policy->suppress_classes,
                                                       .codes = policy->suppress_codes,
                                                       .with_attributes = policy->suppress_with_attributes},
                       &a, &plan, did, e);
  json_out_init(&out, &extra, false);
  json_out_object(&out);
  json_out_key(&out, "suppression");
  risk_suppressed_json(did, &out);
  json_out_end(&out);
  if (rc == OK) rc = buf_check(&extra, e);
  if (rc == OK) rc = timeline_release(base, dir, &plan, (struct str){extra.p, extra.n}, e);
  o.work = RISK_WORK;
  if (rc == OK) rc = risk_compute(t, &o, before, e);
  if (t) timeline_close(t);
  buf_release(&extra);
  arena_free(&a);
  risk_options_free(&o);
  return rc;
}

int wall_report(struct cli *c, const struct site *s, const struct deid_policy *policy, struct wall_summary *sum, struct error *e) {
  struct wall_store store = {0};
  struct wall_link link;
  char file[4096], name[64];
  struct buf html = {0}, json = {0};
  struct json_out o;
  struct held held = {.before = NULL};
  int rc;
  qsort(sum->reason, (size_t)sum->reasons, sizeof *sum->reason, by_falling_count);
  if (policy->suppress) TRY_OUT(wall_release(s, policy, &held.did, &held.before, e));
  TRY_OUT(look(s, &store, e));
  TRY_OUT(wall_chain_head(s->path, &link, e));
  html_page(policy, sum, store.generation, store.risk, &held, &html);
  TRY_OUT(buf_check(&html, e));
  json_out_init(&o, &json, false);
  statement(&store, &link, sum, &held, &html, &o);
  TRY_OUT(buf_check(&json, e));
  snprintf(name, sizeof name, "wall-%s.html", store.generation);
  TRY_OUT(site_path(s, file, "reports", name, NULL));
  TRY_OUT(file_write_atomic(file, html.p, html.n, 0644, e));
  TRY_OUT(wall_chain_add(s->path, store.generation, (struct str){json.p, json.n}, e));
  if (c->json)
    rc = cli_print_json(&json, e);
  else
    print_table(policy, sum, store.generation, store.persons, store.events), print_held(&held), printf("Report: %s\n", file);
out:
  risk_free(store.risk);
  risk_free(held.before);
  buf_release(&html);
  buf_release(&json);
  return rc;
}
