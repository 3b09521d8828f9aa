/* vitae verify PATH: a site, a store or a generation, or a checkpoint: whatever the path holds is re-read and re-checked, one line each. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "cli/cli_forgotten.h"
#include "govern/govern.h"
#include "govern/site.h"
#include "govern/wall_chain.h"
#include "model/lm.h"
#include "model/model.h"
#include "reason/library.h"
#include "serve/serve.h"
#include "timeline/blob.h"
#include "timeline/timeline.h"

static const struct cli_option no_options[] = {{0}};

struct findings {
  uint64_t n;
  FILE *to; /* standard error under --json, where standard output holds one object */
  bool quiet;
};

static void finding(void *ctx, const char *what) {
  struct findings *f = ctx;
  f->n += strncmp(what, "note: ", 6) != 0; /* a note tells of something that is no failure */
  fprintf(f->to, "  %s\n", what);
}

/* A part that is damaged is a finding, and the next part is looked at all the same; a failure of another kind ends it. */
static int part(struct findings *f, int rc, uint64_t before, struct error *e) {
  if (rc != E_CORRUPT) return rc;
  if (f->n == before) { /* not told yet */
    char line[600];
    error_format(e, line, sizeof line);
    finding(f, line);
  }
  *e = (struct error){0};
  return OK;
}

static void PRINTF(4, 5) line(const struct findings *f, const char *name, uint64_t before, const char *fmt, ...) {
  va_list ap;
  if (f->quiet) return;
  printf("%-10s ", name);
  va_start(ap, fmt);
  vprintf(fmt, ap);
  va_end(ap);
  printf(": %s\n", f->n == before ? "sound" : "NOT SOUND");
}

struct blob_sum {
  uint64_t n, bytes;
};
static int add_blob(void *ctx, const char *hex, const char *path, struct error *e UNUSED) {
  struct blob_sum *sum = ctx;
  int64_t size = file_size(path);
  if (hex && size > 0) sum->n++, sum->bytes += (uint64_t)size;
  return OK;
}

/* A store and the blobs that its events name: timeline_verify reads every byte of both. `base`: what a suppressing policy holds back lies there. */
static int verify_store(const struct site *s, const char *which, struct findings *f, struct error *e) {
  char dir[4096], at[4096], bytes[32], label[32];
  struct timeline *t;
  struct blob_sum sum = {0};
  uint64_t before = f->n;
  bool base = strcmp(which, "base") == 0;
  TRY(site_path(s, at, which, "CURRENT", NULL));
  if (!file_exists(at)) return OK;
  TRY(site_path(s, dir, which, NULL));
  TRY(part(f, timeline_verify(dir, finding, f, e), before, e));
  snprintf(label, sizeof label, "%s", base ? "base store" : "store");
  if (timeline_open(dir, &t, NULL) == OK) {
    line(f, label, before, "%s, %u persons, %llu events", timeline_generation(t), timeline_subjects(t),
         (unsigned long long)timeline_events(t));
    timeline_close(t);
  } else {
    line(f, label, before, "cannot be opened");
  }
  TRY(file_join(at, sizeof at, dir, "blobs", e));
  if (!file_is_dir(at)) return OK;
  TRY(blob_each(dir, add_blob, &sum, e));
  human_bytes(sum.bytes, bytes);
  line(f, base ? "base blobs" : "blobs", before, "%llu, %s", (unsigned long long)sum.n, bytes);
  return OK;
}

static int verify_statements(const struct site *s, struct findings *f, struct error *e) {
  struct wall_chain_counts counts;
  uint64_t before = f->n;
  TRY(part(f, wall_chain_verify(s->path, finding, f, &counts, e), before, e));
  line(f, "statements", before, "%llu of the wall, %llu without a signature", (unsigned long long)counts.statements,
       (unsigned long long)counts.unsigned_n);
  return OK;
}

static int verify_versions(const struct site *s, struct findings *f, struct error *e) {
  struct registry *r;
  struct arena a;
  struct version *versions;
  int n = 0;
  uint64_t before = f->n;
  TRY(part(f, registry_verify(s->path, finding, f, e), before, e));
  arena_init(&a, 64 << 20, 0);
  if (registry_read(s->path, &r, NULL) == OK) {
    if (registry_list(r, &a, &versions, &n, NULL) < 0) n = 0;
    registry_close(r);
  }
  arena_free(&a);
  line(f, "versions", before, "%d, with their signatures", n);
  return OK;
}

/* Another server's model has no files here. */
static int is_upstream(const char *dir, bool *out, struct error *e) {
  char path[4200];
  struct arena a;
  struct json root;
  *out = false;
  snprintf(path, sizeof path, "%s/description.json", dir);
  if (!file_exists(path)) return OK;
  arena_init(&a, 1 << 20, 0);
  int rc = json_load(&a, path, &root, e);
  if (rc == OK) *out = str_eqc(json_str(json_get(root, "family")), "upstream");
  arena_free(&a);
  return rc;
}

static int verify_language(const struct site *s, struct findings *f, struct error *e) {
  char dir[4096], at[4096];
  struct dirent *d;
  int n = 0;
  uint64_t before = f->n;
  TRY(site_path(s, dir, "models", "language", NULL));
  DIR *list = opendir(dir);
  if (!list) return OK;
  int rc = OK;
  while (rc == OK && (d = readdir(list))) {
    if (d->d_name[0] == '.') continue;
    uint64_t one = f->n;
    n++;
    rc = file_join(at, sizeof at, dir, d->d_name, e);
    bool elsewhere = false;
    if (rc == OK) rc = is_upstream(at, &elsewhere, e);
    if (rc == OK && !elsewhere) rc = part(f, lm_verify(at, e), one, e);
  }
  closedir(list);
  if (n) line(f, "language", before, "%d models, with their hashes", n);
  return rc;
}

static int verify_library(const struct site *s, struct findings *f, struct error *e) {
  char at[4096];
  int64_t passages = 0;
  uint64_t before = f->n;
  TRY(site_path(s, at, "knowledge.db", NULL));
  if (!file_exists(at)) return OK;
  TRY(part(f, library_verify(at, &passages, e), before, e));
  line(f, "knowledge", before, "%lld passages and their words", (long long)passages);
  return OK;
}

static int verify_audit(const struct site *s, struct findings *f, struct error *e) {
  char at[4096];
  uint64_t rows = 0, before = f->n;
  TRY(site_path(s, at, "database", NULL)); /* a site may name a database of its own (serve_db.h) */
  if (!file_exists(at)) {
    TRY(site_path(s, at, "vitae.db", NULL));
    if (!file_exists(at)) return OK;
  }
  TRY(part(f, audit_verify(s->path, NULL, &rows, e), before, e));
  line(f, "audit", before, "%llu rows, chained", (unsigned long long)rows);
  return OK;
}

/* The vault itself is read only with its key; a copy of a site that serves has none. */
static int verify_parts(const struct site *s, struct findings *f) {
  char vault[4096], at[4096];
  TRY(site_path(s, vault, "vault", NULL));
  if (!file_is_dir(vault)) return OK;
  TRY(site_path(s, at, "vault", "identities", NULL));
  if (!file_exists(at) && errno == ENOENT) finding(f, "vault/identities is missing: who is who is lost, or init was broken off");
  TRY(site_path(s, at, "identity.json", NULL));
  if (s->identity && !file_exists(at) && errno == ENOENT)
    finding(f, "identity.json is missing: nothing links the persons of several sources");
  return OK;
}

static int verify_site(const char *path, struct findings *f, struct error *e) {
  struct site s;
  TRY(site_open(path, &s, e));
  TRY(verify_parts(&s, f));
  TRY(verify_store(&s, "timelines", f, e));
  TRY(verify_store(&s, "base", f, e));
  uint64_t before = f->n;
  TRY(part(f, forgotten_verify(&s, finding, f, e), before, e));
  line(f, "forgotten", before, "persons are in no generation");
  TRY(verify_statements(&s, f, e));
  TRY(verify_versions(&s, f, e));
  TRY(verify_language(&s, f, e));
  TRY(verify_library(&s, f, e));
  return verify_audit(&s, f, e);
}

/* Whether config.json is that of an open-weight model's directory, not of a checkpoint of ours */
static bool is_published(const char *config) {
  struct arena a;
  struct json root;
  arena_init(&a, 0, 0);
  bool yes = json_load(&a, config, &root, NULL) == OK && json_kind(json_get(root, "model_type")) == JSON_STRING;
  arena_free(&a);
  return yes;
}

static int verify_path(const char *path, struct findings *f, struct error *e) {
  char at[4096];
  int rc;
  TRY(file_join(at, sizeof at, path, "vitae.json", e));
  if (file_exists(at)) return verify_site(path, f, e);
  TRY(file_join(at, sizeof at, path, "description.json", e));
  if (file_exists(at) || str_ends(str_c(path), STR(".gguf")) || str_ends(str_c(path), STR(".safetensors")))
    return part(f, lm_verify(path, e), 0, e);
  TRY(file_join(at, sizeof at, path, "config.json", e));
  if (file_exists(at) && is_published(at)) return part(f, lm_verify(path, e), 0, e);
  rc = file_exists(at) ? model_verify(path, finding, f, e) : timeline_verify(path, finding, f, e);
  return part(f, rc, 0, e);
}

static int run(struct cli *c, struct error *e) {
  const char *path = c->arg[0];
  struct findings found = {0, c->json ? stderr : stdout, c->json};
  TRY(verify_path(path, &found, e));
  if (found.n)
    return error_set(e, E_CORRUPT, "%llu findings, listed%s", (unsigned long long)found.n, c->json ? " on standard error" : " above");
  if (!c->json) return printf("%s: every byte, hash and signature is as it should be\n", path), OK;
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "verified", path);
  json_out_end(&o);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

const struct command command_verify = {
    "verify", "PATH", "re-read a site, store, checkpoint or language model and check every byte", no_options, 1, 1, run};
