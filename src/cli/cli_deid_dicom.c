/* vitae deid --from dicom IN OUT: one file into one file, or a directory's images into OUT/UID.dcm, with OUT/manifest.json beside them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/time.h"
#include "cli/cli_deid.h"
#include "cli/cli_site.h"
#include "deid/deid.h"
#include "deid/event.h"
#include "govern/site.h"
#include "record/dicom.h"
#include "record/record.h"

#define HEADER_MEMORY ((size_t)1 << 30)

struct images {
  const char *in, *out;
  char scratch[4096], source[4096]; /* source: the file being read */
  struct deid *wall;
  bool single, keep_names;
  uint64_t written, rejected;
  int failed;
  struct error *file_error;
};

/* The instance UID of a cleaned file: its name. */
static int uid_of(const char *path, char uid[80], struct error *e) {
  struct file_map m;
  struct arena a;
  struct dicom_file f;
  TRY(file_map_open(path, &m, e));
  arena_init(&a, HEADER_MEMORY, 0);
  int rc = dicom_parse(&a, m.p, m.n, NULL, &f, e);
  struct str s = rc == OK ? dicom_text(&f.meta, DICOM_TAG(2, 3)) : STR_NONE;
  if (rc == OK && (s.n == 0 || s.n >= 80)) rc = error_set(e, E_CORRUPT, "a cleaned image has no UID");
  if (rc == OK) snprintf(uid, 80, "%.*s", STR_ARG(s));
  arena_free(&a);
  file_map_close(&m);
  return rc;
}

static int target_of(struct images *g, const char *temporary, char path[4096], struct error *e) {
  char uid[80], name[128];
  if (g->single) return snprintf(path, 4096, "%s", g->out) < 4096 ? OK : error_set(e, E_LIMIT, "path too long");
  if (g->keep_names) {
    size_t skip = strlen(g->in);
    while (g->source[skip] == '/') skip++;
    TRY(file_join(path, 4096, g->out, g->source + skip, e));
    char dir[4096], *slash;
    snprintf(dir, sizeof dir, "%s", path);
    if ((slash = strrchr(dir, '/'))) *slash = 0;
    return file_mkdirs(dir, 0700, e);
  }
  TRY(uid_of(temporary, uid, e));
  for (int i = 1;; i++) { /* the same instance may have come in several encodings */
    if (i == 1)
      snprintf(name, sizeof name, "%s.dcm", uid);
    else
      snprintf(name, sizeof name, "%s-%d.dcm", uid, i);
    TRY(file_join(path, 4096, g->out, name, e));
    if (!file_exists(path)) return OK;
  }
}

static int take_blob(void *ctx, const char *temporary, char hex[65], struct error *e) {
  struct images *g = ctx;
  char path[4096];
  memset(hex, '0', 64); /* nobody asks for the hash here: the event goes nowhere */
  hex[64] = 0;
  TRY(target_of(g, temporary, path, e));
  /* synced once, at the end: a disk's seek for each image would be most of the time */
  if (rename(temporary, path) < 0) return error_set(e, E_IO, "a cleaned image cannot be put in its place: %s", strerror(errno));
  g->written++;
  return OK;
}

static int take_event(void *ctx UNUSED, const struct event *ev UNUSED, struct error *e UNUSED) { return OK; }

static void refuse(struct images *g, const char *reason) {
  g->rejected++;
  fprintf(stderr, "refused: file %llu: %s\n", (unsigned long long)(g->written + g->rejected), reason);
}

/* Without its time: an image is cleaned also when the wall would not place it on a timeline. */
static int take_record(void *ctx, const struct record *r, struct error *e) {
  struct images *g = ctx;
  struct record copy = *r;
  if (g->failed < 0) return g->failed;
  if (!r->object) return r->kind == RECORD_EVENT ? OK : deid_take(g->wall, r, e);
  uint64_t before = g->written;
  copy.time = (struct record_time){.us = TIME_STATIC};
  TRY(deid_take(g->wall, &copy, e));
  if (g->written == before)
    refuse(g,
           "it cannot be cleaned: pixels that cannot be decoded, or a policy that lets no such image out (volumes of heads; see the "
           "manifest)");
  return OK;
}

static void take_reject(void *ctx, const struct record_reject *r) { refuse(ctx, r->reason); }

static void take_file(void *ctx, uint32_t index UNUSED, const char *path) {
  struct images *g = ctx;
  if (snprintf(g->source, sizeof g->source, "%s", path) >= (int)sizeof g->source)
    g->failed = error_set(g->file_error, E_LIMIT, "path too long");
}

static int write_manifest(struct images *g, const struct record_stats *stats, struct buf *out, struct error *e) {
  char path[4096];
  struct json_out o;
  json_out_init(&o, out, false);
  json_out_object(&o);
  json_kv_i64(&o, "files", (int64_t)stats->files);
  json_kv_i64(&o, "written", (int64_t)g->written);
  json_kv_i64(&o, "refused", (int64_t)g->rejected);
  json_out_key(&o, "wall");
  deid_manifest(g->wall, &o);
  json_out_end(&o);
  TRY(buf_check(out, e));
  if (g->single) return OK;
  TRY(file_join(path, sizeof path, g->out, "manifest.json", e));
  return file_write_atomic(path, out->p, out->n, 0644, e);
}

static int sync_all(const struct images *g, struct error *e) {
  int fd = open(g->scratch, O_RDONLY | O_CLOEXEC);
  bool good = fd >= 0 && syncfs(fd) == 0;
  if (fd >= 0) close(fd);
  return good ? OK : error_set(e, E_IO, "the cleaned images cannot be synced to disk");
}

static int run_wall(struct images *g, struct cli *c, const struct deid_policy *policy, struct vault *vault, struct error *e) {
  struct record_stats stats = {0};
  struct buf manifest = {0};
  struct event_sink out = {.ctx = g, .event = take_event, .blob = take_blob, .blob_dir = g->scratch};
  struct record_sink sink = {.ctx = g, .record = take_record, .reject = take_reject, .file = take_file};
  double began = time_monotonic();
  int rc = deid_open(policy, vault, "dicom", &out, &g->wall, e);
  if (rc == OK) rc = dicom_read(g->in, &sink, &stats, e);
  if (rc == OK) rc = g->failed;
  if (rc == OK) rc = deid_finish(g->wall, e);
  if (rc == OK && g->written == 0) rc = error_set(e, policy->dicom_path[0] ? E_INPUT : E_DENIED, "nothing there became a cleaned image");
  if (rc == OK) rc = sync_all(g, e);
  if (rc == OK && cli_text(c, "vault", NULL)) rc = vault_commit(vault, e);
  if (rc == OK) rc = write_manifest(g, &stats, &manifest, e);
  if (rc == OK && c->json) rc = cli_print_json(&manifest, e);
  if (rc == OK && !c->json)
    printf("%llu images in %s, %llu files refused, policy %s, %.1f s\n", (unsigned long long)g->written, g->out,
           (unsigned long long)g->rejected, policy->name, time_monotonic() - began);
  if (g->wall) deid_close(g->wall);
  buf_release(&manifest);
  return rc;
}

static int places(struct images *g, struct cli *c, struct error *e) {
  const char *how = cli_text(c, "names", "uid");
  g->in = c->arg[0];
  g->out = c->arg[1];
  g->single = !file_is_dir(g->in);
  g->keep_names = strcmp(how, "keep") == 0;
  if (!g->keep_names && strcmp(how, "uid") != 0) return error_set(e, E_USAGE, "--names is uid or keep");
  if (strcmp(g->in, "-") == 0) return error_set(e, E_USAGE, "images are read from files, not from standard input");
  if (file_exists(g->out)) return error_set(e, E_USAGE, "OUT is there already");
  int n = snprintf(g->scratch, sizeof g->scratch, g->single ? "%s.writing" : "%s/.writing", g->out);
  return n < (int)sizeof g->scratch ? OK : error_set(e, E_LIMIT, "path too long");
}

int cli_deid_dicom(struct cli *c, struct error *e) {
  struct images g = {.file_error = e};
  struct deid_policy policy;
  struct vault *vault = NULL;
  struct arena a;
  char *phrase;
  char policy_file[4096];
  const char *dir = cli_text(c, "vault", NULL);
  TRY(places(&g, c, e));
  TRY(site_find(NULL, "policy", cli_text(c, "policy", "expert"), policy_file, e));
  TRY(deid_policy_load(policy_file, &policy, e));
  arena_init(&a, 1 << 20, ARENA_WIPE);
  int rc = cli_passphrase(c, &a, &phrase, e);
  if (rc == OK) rc = dir ? vault_open(dir, phrase, &vault, e) : vault_open_memory(&vault, e);
  if (rc == OK) rc = file_mkdirs(g.scratch, 0700, e);
  if (rc == OK) rc = run_wall(&g, c, &policy, vault, e);
  struct error ignored = {0};
  if (file_remove_tree(rc == OK || g.single ? g.scratch : g.out, &ignored) < 0 && rc == OK)
    rc = error_set(e, ignored.code, "%s", ignored.message);
  if (vault) vault_close(vault);
  arena_free(&a);
  return rc;
}
