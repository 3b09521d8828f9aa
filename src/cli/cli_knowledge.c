/* vitae knowledge: a site's own documents, for `ask` to quote */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "govern/site.h"
#include "model/lm.h"
#include "reason/library.h"

static const struct cli_option options[] = {
    {"encoder", CLI_TEXT, "MODEL", "an encoder of the site or a path: find by meaning as well as by words"},
    {"limit", CLI_INTEGER, "N:1..50", "passages that `find` shows (5)"},
    {0}};

struct own_encoder {
  struct lm *m;
  struct encoder face;
};
static int embed(void *ctx, const struct str *texts, size_t n, float *out, struct error *e) { return lm_embed(ctx, texts, n, out, e); }

static int open_encoder(struct cli *c, const struct site *s, struct own_encoder *x, struct error *e) {
  const char *name = cli_text(c, "encoder", NULL);
  char path[4096];
  *x = (struct own_encoder){0};
  if (!name) return OK;
  TRY(site_path(s, path, "models", "language", name, NULL));
  TRY(lm_open(file_exists(path) ? path : name, &(struct lm_options){.streams = 1}, &x->m, e));
  const char *slash = strrchr(name, '/');
  x->face = (struct encoder){slash ? slash + 1 : name, lm_width(x->m), embed, x->m};
  return OK;
}

static int add_file(struct library *k, const char *path, const char *name, const struct encoder *enc, struct error *e) {
  struct arena a;
  struct str text;
  int passages = 0;
  arena_init(&a, DOCUMENT_BYTES + (1 << 20), 0);
  int rc = file_read(&a, path, DOCUMENT_BYTES, &text, e);
  if (rc == OK) rc = library_add(k, str_c(name), text, enc, &passages, e);
  arena_free(&a);
  if (rc < 0) return error_where(e, path, 0, NULL), rc;
  printf("%s: %d passages\n", name, passages);
  return OK;
}

/* A file, or every .md and .txt of a directory. */
static int add(struct cli *c, struct library *k, const struct encoder *enc, struct error *e) {
  if (c->args < 3) return error_set(e, E_USAGE, "knowledge add SITE PATH");
  const char *path = c->arg[2], *slash = strrchr(path, '/');
  if (!file_is_dir(path)) return add_file(k, path, slash ? slash + 1 : path, enc, e);
  struct arena a;
  struct str *files;
  size_t n = 0;
  arena_init(&a, 64 << 20, 0);
  int rc = file_list(&a, path, &files, &n, e);
  for (size_t i = 0; rc == OK && i < n; i++)
    if (str_ends(files[i], STR(".md")) || str_ends(files[i], STR(".txt")))
      rc = add_file(k, files[i].p, files[i].p + strlen(path) + 1, enc, e);
  arena_free(&a);
  return rc;
}

static int list(struct cli *c, struct library *k, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, !c->json);
  int rc = library_list(k, &o, e);
  if (rc == OK) rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

static int find(struct cli *c, struct library *k, const struct encoder *enc, struct error *e) {
  enum { MOST = 50 }; /* as --limit allows */
  struct passage p[MOST];
  struct arena a;
  struct buf b = {0};
  struct json_out o;
  int n = 0, most = (int)cli_integer(c, "limit", 5);
  if (c->args < 3) return error_set(e, E_USAGE, "knowledge find SITE \"WORDS\"");
  arena_init(&a, 64 << 20, 0);
  int rc = library_find(k, str_c(c->arg[2]), enc, &a, p, most, &n, e);
  json_out_init(&o, &b, false);
  json_out_array(&o);
  for (int i = 0; rc == OK && i < n; i++) {
    json_out_object(&o);
    json_kv_str(&o, "document", p[i].document);
    json_kv_str(&o, "text", p[i].text);
    json_out_end(&o);
    if (!c->json) printf("%s%.*s:\n%.*s\n", i ? "\n" : "", STR_ARG(p[i].document), STR_ARG(p[i].text));
  }
  json_out_end(&o);
  if (rc == OK && c->json) rc = cli_print_json(&b, e);
  buf_release(&b);
  arena_free(&a);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  const char *what = c->arg[0];
  bool adds = strcmp(what, "add") == 0, removes = strcmp(what, "remove") == 0, finds = strcmp(what, "find") == 0;
  char path[4096];
  struct site s;
  struct library *k = NULL;
  struct own_encoder x = {0};
  if (!adds && !removes && !finds && strcmp(what, "list") != 0) return error_set(e, E_USAGE, "knowledge add, list, find or remove");
  if (removes && c->args < 3) return error_set(e, E_USAGE, "knowledge remove SITE DOCUMENT");
  TRY(site_open(c->arg[1], &s, e));
  TRY(site_path(&s, path, "knowledge.db", NULL));
  TRY(open_encoder(c, &s, &x, e));
  int rc = library_open(path, adds || removes, &k, e);
  const struct encoder *enc = x.m ? &x.face : NULL;
  if (rc == OK)
    rc = adds ? add(c, k, enc, e) : removes ? library_remove(k, str_c(c->arg[2]), e) : finds ? find(c, k, enc, e) : list(c, k, e);
  library_close(k);
  lm_close(x.m);
  return rc;
}

const struct command command_knowledge = {
    "knowledge", "add|list|find|remove SITE [PATH|WORDS|DOCUMENT]", "a site's own documents, for `ask` to quote", options, 2, 3, run};
