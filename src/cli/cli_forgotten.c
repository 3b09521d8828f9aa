#include "cli/cli_forgotten.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "deid/deid.h"
#include "govern/site.h"
#include "timeline/timeline.h"

enum { FORMAT = 1 };

int forgotten_read(const struct site *s, struct arena *a, struct forgotten *out, struct error *e) {
  char path[4096];
  struct json root = {0}, item;
  int64_t format = FORMAT;
  *out = (struct forgotten){0};
  TRY(site_path(s, path, "forgotten.json", NULL));
  if (file_exists(path)) {
    TRY(json_load(a, path, &root, e));
    if (!json_i64(json_get(root, "format"), &format) || format < 1) return error_set(e, E_CORRUPT, "forgotten.json is damaged");
    if (format > FORMAT) return error_set(e, E_VERSION, "forgotten.json is of a newer format (%lld)", (long long)format);
  }
  struct json list = json_get(root, "forgotten");
  size_t n = json_count(list) + 1;
  out->subject = arena_array(a, int64_t, n);
  out->done = arena_array(a, bool, n);
  out->may_return = arena_array(a, bool, n);
  out->at = arena_alloc_array(a, sizeof *out->at, n, 1);
  if (!out->subject || !out->done || !out->may_return || !out->at) return error_set(e, E_NOMEM, "out of memory");
  for (struct json_iter it = json_items(list); json_next(&it, &item); out->n++) {
    if (str_to_i64(json_str(json_get(item, "subject")), &out->subject[out->n]) < 0 ||
        !json_bool(json_get(item, "done"), &out->done[out->n]))
      return error_set(e, E_CORRUPT, "forgotten.json is damaged");
    if (!json_bool(json_get(item, "may_return"), &out->may_return[out->n])) out->may_return[out->n] = false;
    snprintf(out->at[out->n], 32, "%.*s", STR_ARG(json_str(json_get(item, "at"))));
  }
  return OK;
}

/* Temporary files that a crash left: they hold the pseudonym. */
static void sweep(const struct site *s) {
  static const char prefix[] = ".forgotten.json.tmp-";
  char path[4096];
  DIR *d = opendir(s->path);
  for (struct dirent *f; d && (f = readdir(d));)
    if (strncmp(f->d_name, prefix, sizeof prefix - 1) == 0 && site_path(s, path, f->d_name, NULL) == OK) unlink(path);
  if (d) closedir(d);
}

int forgotten_write(const struct site *s, const struct forgotten *f, struct error *e) {
  char path[4096], number[32];
  struct buf b = {0};
  struct json_out o;
  TRY(site_path(s, path, "forgotten.json", NULL));
  sweep(s);
  json_out_init(&o, &b, true);
  json_out_object(&o);
  json_kv_i64(&o, "format", FORMAT);
  json_out_key(&o, "forgotten");
  json_out_array(&o);
  for (uint32_t i = 0; i < f->n; i++) {
    json_out_object(&o);
    snprintf(number, sizeof number, "%lld", (long long)f->subject[i]);
    json_kv_c(&o, "subject", number);
    json_kv_c(&o, "at", f->at[i]);
    json_kv_bool(&o, "done", f->done[i]);
    if (f->may_return[i]) json_kv_bool(&o, "may_return", true);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
  buf_putc(&b, '\n');
  int rc = buf_check(&b, e);
  if (rc == OK) rc = file_write_atomic(path, b.p, b.n, 0644, e);
  buf_release(&b);
  return rc;
}

static bool was_forgotten(const struct forgotten *f, int64_t subject) {
  uint32_t i = 0;
  while (i < f->n && f->subject[i] != subject) i++;
  return i < f->n;
}

struct fit {
  const struct vault *vault;
  struct forgotten list;
  uint64_t strangers, returned;
  int64_t first, but;
  bool but_is_one;
};

static int fit_store(struct fit *f, const struct site *s, const char *which, struct error *e) {
  char dir[4096];
  struct timeline *t;
  struct error why = {0};
  TRY(site_path(s, dir, which, NULL));
  int rc = timeline_open(dir, &t, &why);
  if (rc == E_NOTFOUND) return OK; /* nothing was ingested yet */
  if (rc < 0) return *e = why, rc;
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    int64_t subject = timeline_view(t, i).subject;
    if (vault_emitted(f->vault, subject) || was_forgotten(&f->list, subject)) continue;
    if (!f->strangers++) f->first = subject;
    f->but_is_one |= subject == f->but;
  }
  timeline_close(t);
  return OK;
}

static int fit_words(const struct fit *f, struct error *e) {
  static const char out[] = "put the newer vault back, or see docs/operations.md, \"An older vault\"";
  if (f->but_is_one) return OK;
  if (f->strangers)
    return error_set(e, E_MISMATCH,
                     "the timelines hold %llu persons whom the vault does not know (one is subject %lld): it is an older one; %s",
                     (unsigned long long)f->strangers, (long long)f->first, out);
  if (f->returned)
    return error_set(e, E_MISMATCH, "the vault knows %llu persons who were forgotten (one is subject %lld): it is an older one; %s",
                     (unsigned long long)f->returned, (long long)f->first, out);
  return OK;
}

int forgotten_vault_fits(const struct site *s, const struct vault *v, int64_t but, struct error *e) {
  struct arena a;
  struct fit f = {.vault = v, .but = but};
  arena_init(&a, 64 << 20, 0);
  int rc = forgotten_read(s, &a, &f.list, e);
  if (rc == OK) rc = fit_store(&f, s, "timelines", e);
  if (rc == OK) rc = fit_store(&f, s, "base", e);
  for (uint32_t i = 0; rc == OK && i < f.list.n; i++) {
    if (!f.list.done[i] || !vault_emitted(v, f.list.subject[i])) continue;
    if (!f.returned++ && !f.strangers) f.first = f.list.subject[i];
    f.but_is_one |= f.list.subject[i] == but;
  }
  if (rc == OK) rc = fit_words(&f, e);
  arena_free(&a);
  return rc;
}

/* Whoever verifies need not be allowed into the vault; a vault in use is looked at by whoever uses it. */
static int vault_beside(const struct site *s, void (*finding)(void *ctx, const char *what), void *ctx, struct error *e) {
  char dir[4096];
  struct vault *v;
  struct error why = {0};
  TRY(site_path(s, dir, "vault", NULL));
  if (vault_uses_passphrase(dir) || vault_open(dir, NULL, &v, &why) < 0) return OK;
  int rc = forgotten_vault_fits(s, v, 0, &why);
  vault_close(v);
  if (rc == E_MISMATCH) return finding(ctx, why.message), OK;
  if (rc < 0) *e = why;
  return rc;
}

struct search {
  void (*finding)(void *ctx, const char *what);
  void *ctx;
};

static void held(void *ctx, const char *generation, int64_t subject) {
  struct search *x = ctx;
  char line[160];
  snprintf(line, sizeof line, "%s: holds subject %lld, who was forgotten", generation, (long long)subject);
  x->finding(x->ctx, line);
}

int forgotten_verify(const struct site *s, void (*finding)(void *ctx, const char *what), void *ctx, struct error *e) {
  struct arena a;
  struct forgotten f;
  struct search x = {finding, ctx};
  char dir[4096];
  arena_init(&a, 64 << 20, 0);
  int rc = forgotten_read(s, &a, &f, e);
  if (rc == OK) rc = site_path(s, dir, "timelines", NULL);
  if (rc == OK) rc = timeline_search(dir, f.subject, f.n, held, &x, e);
  if (rc == OK) rc = site_path(s, dir, "base", NULL);
  if (rc == OK) rc = timeline_search(dir, f.subject, f.n, held, &x, e);
  if (rc == OK) rc = vault_beside(s, finding, ctx, e);
  for (uint32_t i = 0; rc == OK && i < f.n; i++)
    if (!f.done[i]) finding(ctx, "forgotten.json: an erasure was interrupted; finish it with: vitae forget SITE --resume");
  arena_free(&a);
  return rc;
}

int forgotten_unfinished(const struct site *s, struct error *e) {
  struct arena a;
  struct forgotten f;
  arena_init(&a, 64 << 20, 0);
  int rc = forgotten_read(s, &a, &f, e);
  for (uint32_t i = 0; rc == OK && i < f.n; i++)
    if (!f.done[i])
      rc = error_set(e, E_MISMATCH, "forgetting a person was interrupted here; finish it first with: vitae forget %s --resume", s->path);
  arena_free(&a);
  return rc;
}

int forgotten_since(const struct site *s, const struct timeline *t, const char *run, struct error *e) {
  struct arena a;
  struct forgotten f;
  struct error none = {0};
  uint32_t at;
  arena_init(&a, 64 << 20, 0);
  int rc = forgotten_read(s, &a, &f, e);
  for (uint32_t i = 0; rc == OK && i < f.n; i++)
    if (timeline_find(t, f.subject[i], &at, &none) == OK && timeline_view(t, at).split != SPLIT_HELD_OUT)
      rc = error_set(e, E_MISMATCH,
                     "a person of the training or tuning split was forgotten meanwhile: no version is made. Remove %s, which learned "
                     "from them, and train anew",
                     run);
  arena_free(&a);
  return rc;
}

/* ---- who was trained on: "VITAESEE", u64 count, i64 subjects in rising order ---- */

static const char magic[8] = "VITAESEE";

static int by_number(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static int seen_path(const struct site *s, const char *store_hash, char path[4096], struct error *e) {
  char name[80];
  snprintf(name, sizeof name, "%.64s.subjects", store_hash);
  return site_path(s, path, "models", "seen", name, NULL) < 0 ? error_set(e, E_LIMIT, "path too long") : OK;
}

int seen_write(const struct site *s, const struct timeline *t, struct error *e) {
  char path[4096], dir[4096];
  struct file_writer w;
  TRY(site_path(s, dir, "models", "seen", NULL));
  TRY(file_mkdirs(dir, 0755, e));
  TRY(seen_path(s, timeline_hash(t), path, e));
  uint64_t n = 0;
  int64_t *subject = mem_alloc(((size_t)timeline_subjects(t) + 1) * sizeof *subject);
  if (!subject) return error_set(e, E_NOMEM, "no memory for the list of who is trained on");
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    if (v.split != SPLIT_HELD_OUT) subject[n++] = v.subject;
  }
  qsort(subject, n, sizeof *subject, by_number);
  int rc = file_writer_open(&w, path, e);
  if (rc == OK) {
    file_writer_put(&w, magic, sizeof magic);
    file_writer_put(&w, &n, sizeof n);
    file_writer_put(&w, subject, n * sizeof *subject);
    rc = file_writer_commit(&w, e);
  }
  mem_free(subject);
  return rc;
}

int seen_had(const struct site *s, const char *store_hash, int64_t subject) {
  char path[4096];
  struct file_map m;
  struct error ignored = {0};
  if (seen_path(s, store_hash, path, &ignored) < 0 || !file_exists(path) || file_map_open(path, &m, &ignored) < 0) return -1;
  uint64_t n = 0;
  int had = -1;
  if (m.n >= 16 && memcmp(m.p, magic, sizeof magic) == 0) {
    memcpy(&n, m.p + 8, sizeof n);
    if (n == (m.n - 16) / sizeof subject) had = bsearch(&subject, m.p + 16, n, sizeof subject, by_number) != NULL;
  }
  file_map_close(&m);
  return had;
}
