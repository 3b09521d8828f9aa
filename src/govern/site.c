#include "govern/site.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/time.h"

static const struct {
  const char *name;
  unsigned mode;
} directories[] = {{"vault", 0700},           {"vault/quarantine", 0700}, {"timelines", 0755}, {"models", 0755}, {"models/runs", 0755},
                   {"models/versions", 0755}, {"reports", 0755},          {"inbox", 0700},     {"tasks", 0755}};

int site_path(const struct site *s, char out[4096], const char *first, ...) {
  size_t n = (size_t)snprintf(out, 4096, "%s", s->path);
  va_list ap;
  va_start(ap, first);
  for (const char *part = first; part; part = va_arg(ap, const char *)) {
    if (n >= 4096) break;
    n += (size_t)snprintf(out + n, 4096 - n, "/%s", part);
  }
  va_end(ap);
  return n < 4096 ? OK : E_LIMIT;
}

int site_prepare(const char *path, struct site *out, struct error *e) {
  char file[4096];
  *out = (struct site){.format = SITE_FORMAT};
  if (strlen(path) >= sizeof out->path) return error_set(e, E_LIMIT, "the path of the site is longer than %zu bytes", sizeof out->path - 1);
  snprintf(out->path, sizeof out->path, "%s", path);
  TRY(site_path(out, file, "vitae.json", NULL));
  if (file_exists(file)) return error_set(e, E_USAGE, "there is a site in this directory already");
  TRY(file_mkdirs(path, 0755, e));
  for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
    char dir[4096];
    TRY(site_path(out, dir, directories[i].name, NULL));
    TRY(file_mkdirs(dir, directories[i].mode, e));
    if (directories[i].mode == 0700 && chmod(dir, 0700) != 0) return error_set(e, E_IO, "cannot make a directory of the site private");
  }
  return OK;
}

int site_init(const char *path, const char *name, const char *policy, struct error *e) {
  struct site s;
  char file[4096], identity[4096];
  TRY(site_prepare(path, &s, e));
  TRY(site_path(&s, file, "vitae.json", NULL));
  TRY(site_path(&s, identity, "identity.json", NULL));
  struct buf b = {0};
  struct json_out o;
  char now[32];
  time_format(time_now(), now);
  json_out_init(&o, &b, true);
  json_out_object(&o);
  json_kv_i64(&o, "format", SITE_FORMAT);
  json_kv_c(&o, "name", name);
  json_kv_c(&o, "policy", policy);
  json_kv_c(&o, "created", now);
  json_kv_c(&o, "program", VITAE_VERSION);
  if (file_exists(identity)) json_kv_c(&o, "identity", "identity.json");
  json_out_end(&o);
  buf_putc(&b, '\n');
  int rc = buf_check(&b, e);
  if (rc == OK) rc = file_write_atomic(file, b.p, b.n, 0644, e);
  buf_release(&b);
  return rc;
}

int site_open(const char *path, struct site *out, struct error *e) {
  memset(out, 0, sizeof *out);
  if (strlen(path) >= sizeof out->path) return error_set(e, E_LIMIT, "the path of the site is longer than %zu bytes", sizeof out->path - 1);
  snprintf(out->path, sizeof out->path, "%s", path);
  char file[4096];
  TRY(site_path(out, file, "vitae.json", NULL));
  if (!file_exists(file))
    return error_set(e, E_NOTFOUND, "%s is not a site (it holds no vitae.json); make one with: vitae init %s", path, path);
  struct arena a;
  arena_init(&a, 1 << 20, 0);
  struct json root;
  int64_t format = 0;
  struct str name = STR_NONE, policy = STR_NONE;
  int rc = json_load(&a, file, &root, e);
  if (rc == OK) rc = json_want_i64(root, "format", &format, e);
  if (rc == OK && format > SITE_FORMAT)
    rc = error_set(e, E_VERSION, "this site has format %lld; this program (%s) reads formats up to %d: use a newer program",
                   (long long)format, VITAE_VERSION, SITE_FORMAT);
  if (rc == OK && format < 1) rc = error_set(e, E_CORRUPT, "vitae.json names an impossible format version");
  if (rc == OK) rc = json_want_str(root, "name", &name, e);
  if (rc == OK) rc = json_want_str(root, "policy", &policy, e);
  if (rc == OK) {
    out->format = (int)format;
    out->identity = json_str(json_get(root, "identity")).n > 0;
    snprintf(out->name, sizeof out->name, "%.*s", STR_ARG(name));
    if (policy.n < sizeof out->policy)
      snprintf(out->policy, sizeof out->policy, "%.*s", STR_ARG(policy));
    else
      rc = error_set(e, E_INPUT, "the policy's path is too long");
  }
  if (rc < 0) error_where(e, "vitae.json", 0, NULL);
  arena_free(&a);
  return rc;
}

/* The name in `dir` that is nearest to `name`, into best (empty if none is near). */
static void nearest(const char *dir, const char *name, char best[64]) {
  DIR *d = opendir(dir);
  if (!d) return;
  unsigned least = best[0] ? str_distance(str_c(best), str_c(name), 4) : 4;
  for (struct dirent *at; (at = readdir(d));) {
    struct str s = str_c(at->d_name);
    if (!str_ends(s, STR(".json")) || s.n >= 64) continue;
    s.n -= 5;
    unsigned distance = str_distance(s, str_c(name), 4);
    if (distance < least) least = distance, snprintf(best, 64, "%.*s", STR_ARG(s));
  }
  closedir(d);
}

int site_find(const struct site *s, const char *kind, const char *name, char out[4096], struct error *e) {
  if (strchr(name, '/') || str_ends(str_c(name), STR(".json"))) {
    snprintf(out, 4096, "%s", name);
    if (file_exists(out)) return OK;
  }
  char dir[4096], best[64] = "";
  const char *suffix = str_ends(str_c(name), STR(".json")) ? "" : ".json";
  for (int pass = 0; pass < 2; pass++) {
    if (pass == 0 && !s) continue;
    if (pass == 0)
      TRY(site_path(s, dir, kind, NULL));
    else
      TRY(file_join(dir, sizeof dir, file_data_dir(), kind, e));
    if ((size_t)snprintf(out, 4096, "%s/%s%s", dir, name, suffix) < 4096 && file_exists(out)) return OK;
    nearest(dir, name, best);
  }
  const char *one = strcmp(kind, "tasks") == 0 ? "task" : kind;
  if (best[0]) return error_set(e, E_NOTFOUND, "there is no %s \"%s\"; did you mean \"%s\"?", one, name, best);
  return error_set(e, E_NOTFOUND, "there is no %s \"%s\"", one, name);
}
