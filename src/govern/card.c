/* The model card: a page for the board, generated from the manifest, the checkpoint's configuration and the attached reports. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "govern/registry_private.h"

static void row(struct buf *b, const char *what, struct str value) {
  buf_printf(b, "<tr><th>%s<td>", what);
  buf_html(b, value);
}

static void number(struct buf *b, struct json interval) {
  double at, lo, hi;
  if (json_f64(json_get(interval, "at"), &at) && json_f64(json_get(interval, "lo"), &lo) && json_f64(json_get(interval, "hi"), &hi))
    buf_printf(b, "<td>%.3f [%.3f, %.3f]", at, lo, hi);
  else
    buf_puts(b, "<td>n/a");
}

static int report_rows(struct buf *b, struct arena *a, const char *dir, const struct manifest *m, struct error *e) {
  for (int i = 0; i < m->n_reports; i++) {
    char path[4096];
    struct json root;
    int64_t n = 0, events = 0;
    snprintf(path, sizeof path, "%s/reports/%s-report.json", dir, m->reports[i].task);
    TRY(json_load(a, path, &root, e));
    json_i64(json_get(root, "n"), &n);
    json_i64(json_get(root, "events"), &events);
    struct json model = json_get(json_get(json_get(root, "predictors"), "model"), "metrics"),
                base = json_get(json_get(json_get(root, "predictors"), "xgboost"), "metrics");
    buf_puts(b, "<tr><td>");
    buf_html(b, str_c(m->reports[i].task));
    buf_printf(b, "<td>%lld<td>%lld", (long long)n, (long long)events);
    number(b, json_get(model, "auroc"));
    number(b, json_get(base, "auroc"));
    number(b, json_get(model, "auprc"));
    number(b, json_get(model, "brier"));
    number(b, json_get(model, "slope"));
    buf_printf(b, "<td>%s", m->reports[i].passes ? "passes" : "does not pass");
  }
  return OK;
}

static void config_rows(struct buf *b, struct json config) {
  struct str key;
  struct json value;
  for (struct json_iter it = json_members(config); json_next_member(&it, &key, &value);) {
    double number_value;
    if (json_kind(value) == JSON_STRING) {
      buf_puts(b, "<tr><th>"), buf_html(b, key), buf_puts(b, "<td>"), buf_html(b, json_str(value));
    } else if (json_f64(value, &number_value)) {
      buf_puts(b, "<tr><th>"), buf_html(b, key), buf_printf(b, "<td>%.8g", number_value);
    }
  }
}

int model_card_write(struct registry *r, const char *id, const char *path, struct error *e) {
  struct arena a;
  struct manifest m;
  struct json config;
  struct buf b = {0};
  char dir[4096], file[4096];
  arena_init(&a, 256u << 20, 0);
  int rc;
  TRY_OUT(registry_manifest(r, id, &a, &m, e));
  TRY_OUT(registry_path(r, dir, "models", "versions", id, e));
  TRY_OUT(file_join(file, sizeof file, dir, "config.json", e));
  TRY_OUT(json_load(&a, file, &config, e));
  buf_puts(
      &b,
      "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Model card</title><style>"
      "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 "
      "1rem;color:#1b1f24;background:#fff}table{border-collapse:collapse}"
      "td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid "
      "#ddd}@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#15181c}td,th{border-color:#444}}"
      "</style><h1>Model card</h1><table>");
  row(&b, "Site", str_c(r->site.name));
  row(&b, "Version", str_c(id));
  row(&b, "Made", str_c(m.info.created));
  row(&b, "Program", str_c(m.info.code_version));
  row(&b, "Commit", str_c(m.info.commit));
  row(&b, "Data (hash of the store's manifest)", str_c(m.info.store_hash));
  row(&b, "De-identification policy (hash)", str_c(m.info.policy_hash));
  buf_puts(&b,
           "</table><h2>Figures on held-out patients</h2><p>95 % intervals by bootstrap over patients; the tabular baseline was trained on "
           "the same split.</p>"
           "<table><tr><th>task<th>n<th>events<th>AUROC<th>AUROC, XGBoost<th>AUPRC<th>Brier<th>calibration slope<th>gate");
  TRY_OUT(report_rows(&b, &a, dir, &m, e));
  buf_puts(&b,
           "</table><h2>What it is</h2><p>A transformer over de-identified patient timelines, trained at this site. Its answers are "
           "probabilities for "
           "clinicians to weigh, never orders. It has been validated only on the tasks above and on patients like those it was trained on; "
           "tasks without a "
           "passing report are not offered.</p><h2>Configuration</h2><table>");
  config_rows(&b, config);
  buf_puts(&b, "</table></html>\n");
  TRY_OUT(buf_check(&b, e));
  rc = file_write_atomic(path, b.p, b.n, 0644, e);
out:
  buf_release(&b);
  arena_free(&a);
  return rc;
}
