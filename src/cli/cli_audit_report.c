/* reports/audit-GENERATION.{json,html} and the lines on the terminal. No value, no text: places, kinds and counts. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/time.h"
#include "cli/cli_audit.h"
#include "cli/cli_page.h"
#include "deid/deid.h"
#include "record/record.h"

enum { SHOWN = 400, PRINTED = 30 };

static const char not_read[] =
    "vault/quarantine, vault/review-* and inbox/ (they lie on the identified side of the wall), weights of models (only the headers of "
    "weight files), "
    "packed or encrypted content other than gzip, zstd blocks of the store, UTF-16, UTF-32, base64 and hexadecimal";

static int by_weight(const void *x, const void *y) {
  const struct audit_spot *a = x, *b = y;
  if (a->weight != b->weight) return a->weight > b->weight ? -1 : 1;
  if (a->part != b->part) return (int)a->part - (int)b->part;
  int c = strcmp(a->file, b->file);
  if (c == 0) c = strcmp(a->column, b->column);
  if (c == 0) c = a->kind - b->kind;
  return c ? c : (int)a->form - (int)b->form;
}

static const char *weight_name(const struct audit_spot *s) { return s->weight == AUDIT_STRONG ? "strong" : "weak"; }

static void spot_json(const struct audit_spot *s, struct json_out *o) {
  char person[24];
  json_out_object(o);
  json_kv_c(o, "weight", weight_name(s));
  json_kv_c(o, "part", audit_part_name(s->part));
  json_kv_c(o, "file", s->file);
  json_kv_c(o, "column", s->column);
  json_kv_c(o, "kind", deid_identifier_name(s->kind));
  json_kv_c(o, "form", audit_form_name(s->form));
  json_kv_i64(o, "count", (int64_t)s->count);
  json_kv_i64(o, "first_row", (int64_t)s->row);
  json_kv_i64(o, "first_offset", (int64_t)s->offset);
  json_kv_bool(o, "own", s->own);
  snprintf(person, sizeof person, "%lld", (long long)s->person);
  if (s->person) json_kv_c(o, "first_person", person); /* a string: 64 bits do not fit a JavaScript number */
  json_kv_i64(o, "persons", s->persons);
  json_out_end(o);
}

static void report_json(struct audit_run *a, const char *now, struct json_out *o) {
  json_out_object(o);
  json_kv_i64(o, "format", 1);
  json_kv_c(o, "verdict", a->strong ? "found" : "clean");
  json_kv_c(o, "generation", a->generation);
  json_kv_c(o, "store", a->store_hash);
  json_kv_c(o, "time", now);
  json_kv_c(o, "program", VITAE_VERSION);
  json_kv_c(o, "commit", cli_commit());
  json_kv_i64(o, "persons", (int64_t)a->persons);
  json_kv_i64(o, "variants", (int64_t)a->variants);
  json_kv_i64(o, "memory", (int64_t)a->memory);
  json_kv_f64(o, "seconds", a->seconds);
  json_kv_i64(o, "strong", (int64_t)a->strong);
  json_kv_i64(o, "weak", (int64_t)a->weak);
  json_out_key(o, "read");
  json_out_array(o);
  for (int p = 0; p < AUDIT_PARTS; p++) {
    const struct audit_read *r = &a->read[p];
    json_out_object(o);
    json_kv_c(o, "part", audit_part_name((enum audit_part)p));
    json_kv_i64(o, "items", (int64_t)r->items);
    json_kv_i64(o, "bytes", (int64_t)r->bytes);
    json_kv_i64(o, "strong", (int64_t)r->strong);
    json_kv_i64(o, "weak", (int64_t)r->weak);
    json_out_end(o);
  }
  json_out_end(o);
  json_kv_c(o, "not_read", not_read);
  json_out_key(o, "places");
  json_out_array(o);
  for (uint32_t i = 0; i < a->spots; i++) spot_json(&a->spot[i], o);
  json_out_end(o);
  json_out_end(o);
}

static void html_places(const struct audit_run *a, enum audit_weight weight, struct buf *b) {
  uint32_t shown = 0;
  buf_puts(b,
           "<div class=wide><table><tr><th>place<th>column<th>kind<th>found as<th class=n>times<th class=n>first row<th "
           "class=n>offset<th>person");
  for (uint32_t i = 0; i < a->spots && shown < SHOWN; i++) {
    const struct audit_spot *s = &a->spot[i];
    if (s->weight != weight) continue;
    shown++;
    buf_puts(b, "<tr><td><code>");
    buf_html(b, str_c(s->file));
    buf_puts(b, "</code><td>");
    buf_html(b, str_c(s->column));
    buf_printf(b, "<td>%s<td>%s%s<td class=n>", deid_identifier_name(s->kind), audit_form_name(s->form),
               s->own ? ", the person's own" : "");
    page_count(b, s->count);
    buf_printf(b, "<td class=n>%llu<td class=n>%llu<td>", (unsigned long long)s->row, (unsigned long long)s->offset);
    if (s->person)
      buf_printf(b, "<code style=\"white-space:nowrap\">%lld</code>%s", (long long)s->person, s->persons > 1 ? " and others" : "");
  }
  buf_puts(b, "</table></div>");
}

static void html_read(const struct audit_run *a, struct buf *b) {
  uint64_t most = 1;
  for (int p = 0; p < AUDIT_PARTS; p++)
    if (a->read[p].bytes > most) most = a->read[p].bytes;
  buf_puts(b, "<h2>What was read</h2><table><tr><th>part<th class=n>items<th class=n>bytes<th>share<th class=n>strong<th class=n>weak");
  for (int p = 0; p < AUDIT_PARTS; p++) {
    const struct audit_read *r = &a->read[p];
    char bytes[32];
    human_bytes(r->bytes, bytes);
    buf_printf(b, "<tr><td>%s<td class=n>", audit_part_name((enum audit_part)p));
    page_count(b, r->items);
    buf_printf(b, "<td class=n>%s", bytes);
    page_bar(b, (double)r->bytes / (double)most);
    buf_printf(b, "<td class='n%s'>", r->strong ? " bad" : "");
    page_count(b, r->strong);
    buf_puts(b, "<td class=n>");
    page_count(b, r->weak);
  }
  buf_printf(b, "</table><p class=soft>Not read: %s.</p>", not_read);
}

static void card(struct buf *b, const char *label, uint64_t n, const char *class) {
  buf_printf(b, "<div><b class='%s'>", class);
  page_count(b, n);
  buf_printf(b, "</b>%s</div>", label);
}

static void report_html(const struct audit_run *a, const char *now, struct buf *b) {
  page_begin(b, "The audit: is anybody's identifier left?");
  buf_printf(
      b,
      "<p class=soft>Store generation <b>%s</b>, %s, vitae %s (%s). Every identifier that the vault holds, in its variants, was looked for "
      "in everything that the site holds behind the wall.</p>",
      a->generation, now, VITAE_VERSION, cli_commit());
  if (a->strong)
    buf_puts(b, "<p class=bad><b>Identifiers were found.</b> The places are below; the values are not repeated here.</p>");
  else
    buf_puts(b, "<p class=good><b>None found.</b></p>");
  buf_puts(b, "<div class=cards>");
  card(b, "strong", a->strong, a->strong ? "bad" : "good");
  card(b, "weak", a->weak, "");
  card(b, "persons", a->persons, "");
  card(b, "identifiers and variants", a->variants, "");
  buf_puts(b, "</div>");
  if (a->strong) buf_puts(b, "<h2>Strong: an identifier stands there</h2>"), html_places(a, AUDIT_STRONG, b);
  if (a->weak) {
    buf_puts(
        b,
        "<h2>Weak: the characters are there, but may be something else</h2><p class=soft>Common names in descriptions, short numbers among "
        "figures, values that many share, shapes that our own files may have.</p>");
    html_places(a, AUDIT_WEAK, b);
  }
  html_read(a, b);
  buf_puts(b,
           "<p class=soft>What is not found: a name glued to other letters, misspellings, what somebody knows who is not in the vault. "
           "What remains may still single a person out: see the risk report.</p>");
  page_end(b);
}

static void print_summary(const struct audit_run *a, const char *file) {
  char n[32], m[32], size[32];
  human_thousands((int64_t)a->persons, n);
  human_thousands((int64_t)a->variants, m);
  human_bytes(a->memory, size);
  printf("\nLooked for %s identifiers and variants of %s persons (%s of memory) in everything behind the wall, %.1f s\n", m, n, size,
         a->seconds);
  struct table t;
  table_init(&t, 5, "read", "items", "bytes", "strong", "weak");
  for (int p = 0; p < AUDIT_PARTS; p++) {
    const struct audit_read *r = &a->read[p];
    char items[32], bytes[32], strong[32], weak[32];
    if (!r->items) continue;
    human_thousands((int64_t)r->items, items);
    human_bytes(r->bytes, bytes);
    human_thousands((int64_t)r->strong, strong);
    human_thousands((int64_t)r->weak, weak);
    table_row(&t, audit_part_name((enum audit_part)p), items, bytes, strong, weak);
  }
  table_print(&t, stdout);
  table_release(&t);
  for (uint32_t i = 0, shown = 0; i < a->spots && shown < PRINTED; i++) {
    const struct audit_spot *s = &a->spot[i];
    if (s->weight != AUDIT_STRONG) continue;
    if (!shown++) printf("\n");
    printf("  %s: %s: %s (%s), %llu times, first at row %llu, byte %llu", s->file, s->column, deid_identifier_name(s->kind),
           audit_form_name(s->form), (unsigned long long)s->count, (unsigned long long)s->row, (unsigned long long)s->offset);
    if (s->person) printf(", person %lld", (long long)s->person);
    printf("\n");
  }
  if (!a->strong) printf("No identifier was found.\n");
  printf("Report: %s\n", file);
}

int audit_report(struct cli *c, struct audit_run *a, struct error *e) {
  char file[4096], name[64], now[32];
  struct buf json = {0}, html = {0};
  struct json_out o;
  int rc;
  if (a->spots) qsort(a->spot, a->spots, sizeof *a->spot, by_weight);
  time_format(time_now() / TIME_SECOND * TIME_SECOND, now);
  json_out_init(&o, &json, false);
  report_json(a, now, &o);
  report_html(a, now, &html);
  TRY_OUT(buf_check(&json, e));
  TRY_OUT(buf_check(&html, e));
  snprintf(name, sizeof name, "audit-%s.json", a->generation);
  TRY_OUT(site_path(a->site, file, "reports", name, NULL));
  TRY_OUT(file_write_atomic(file, json.p, json.n, 0644, e));
  snprintf(name, sizeof name, "audit-%s.html", a->generation);
  TRY_OUT(site_path(a->site, file, "reports", name, NULL));
  TRY_OUT(file_write_atomic(file, html.p, html.n, 0644, e));
  if (c->json)
    rc = cli_print_json(&json, e);
  else
    print_summary(a, file);
out:
  buf_release(&json);
  buf_release(&html);
  return rc;
}
