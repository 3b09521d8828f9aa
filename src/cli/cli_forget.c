/* vitae forget SITE --source S --person K | --subject N: takes one person out of vault, store and blobs, and says which models had seen them.
 *
 * The order makes an interruption harmless: forgotten.json says who is going (and train, show and ingest wait until it is finished); then
 * the vault, where the person's keys and identifiers are overwritten; then the store; then forgotten.json says that it is done. Each step
 * is atomic by itself and may be repeated. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/progress.h"
#include "base/time.h"
#include "cli/cli_commands.h"
#include "cli/cli_forgotten.h"
#include "cli/cli_identity.h"
#include "cli/cli_site.h"
#include "cli/cli_wall.h"
#include "deid/deid.h"
#include "govern/govern.h"
#include "govern/site.h"
#include "serve/serve.h"
#include "timeline/timeline.h"

static const struct cli_option options[] = {
    {"source", CLI_TEXT, "NAME", "with --person: the source that knows the person by this key"},
    {"person", CLI_TEXT, "KEY", "the source's own key of the person"},
    {"subject", CLI_INTEGER, "N:1..", "or the pseudonym, as vitae show prints it"},
    {"may-return", CLI_FLAG, NULL, "a later ingest may bring the person back, as somebody new (default: their keys are refused)"},
    {"resume", CLI_FLAG, NULL, "finish an erasure that was interrupted"},
    {"passphrase-file", CLI_TEXT, "FILE", "opens a vault that is protected by a passphrase"},
    {0}};

struct forgetting {
  struct site site;
  struct arena a;
  struct vault *vault;
  struct forgotten list;
  struct timeline_forgotten store;
  int64_t *gone; /* whom this is about: what was left, and the one who is named */
  bool in_vault, training;
  uint32_t persons, gone_n, sheets;
};

static int remember(struct forgetting *f, int64_t subject, bool may_return, struct error *e) {
  struct forgotten *l = &f->list;
  uint32_t i = 0;
  while (i < l->n && l->subject[i] != subject) i++;
  if (i == l->n) l->n++;
  l->subject[i] = subject;
  l->done[i] = false;
  l->may_return[i] = may_return;
  time_format(time_now(), l->at[i]);
  return forgotten_write(&f->site, l, e);
}

/* What clinicians wrote about the person: a folder of the inbox (serve_draft.c). */
static int forget_drafts(const struct forgetting *f, int64_t subject, struct error *e) {
  char dir[4096], name[32];
  snprintf(name, sizeof name, "%lld", (long long)subject);
  TRY(site_path(&f->site, dir, "inbox", "drafts", name, NULL));
  return file_is_dir(dir) ? file_remove_tree(dir, e) : OK;
}

/* Review sheets (cli_sheet.c) hold texts and do not say whose: all of them go. */
static int forget_sheets(struct forgetting *f, struct error *e) {
  char dir[4096], path[4096];
  struct dirent *d;
  int rc = OK;
  TRY(site_path(&f->site, dir, "vault", NULL));
  DIR *list = opendir(dir);
  if (!list) return error_set(e, E_IO, "cannot list the vault's directory");
  while (rc == OK && (d = readdir(list))) {
    if (strncmp(d->d_name, "review-", 7) != 0) continue;
    rc = file_join(path, sizeof path, dir, d->d_name, e);
    if (rc == OK && unlink(path) != 0) rc = error_set(e, E_IO, "a review sheet in the vault cannot be removed");
    f->sheets += rc == OK;
  }
  closedir(list);
  return rc;
}

/* Everything that forgotten.json says is still to do. */
static int finish(struct forgetting *f, struct error *e) {
  struct error none = {0};
  char dir[4096];
  bool changed = false;
  for (uint32_t i = 0; i < f->list.n; i++) {
    if (f->list.done[i]) continue;
    int rc = vault_forget(f->vault, f->list.subject[i], f->list.may_return[i], &none);
    if (rc < 0 && rc != E_NOTFOUND) return *e = none, rc;
    changed |= rc == OK;
    f->persons++;
    TRY(forget_drafts(f, f->list.subject[i], e));
  }
  f->in_vault |= changed;
  if (changed) TRY(vault_commit(f->vault, e));
  if (f->persons) TRY(forget_sheets(f, e));
  TRY(site_path(&f->site, dir, "timelines", NULL));
  if (f->persons) TRY(timeline_forget(dir, f->list.subject, f->list.n, &f->store, e));
  TRY(site_path(&f->site, dir, "base", NULL));
  struct timeline_forgotten base;
  if (f->persons) TRY(timeline_forget(dir, f->list.subject, f->list.n, &base, e));
  for (uint32_t i = 0; i < f->list.n; i++) f->list.done[i] = true;
  return f->persons ? forgotten_write(&f->site, &f->list, e) : OK;
}

static int who(struct cli *c, const struct forgetting *f, int64_t *subject, struct error *e) {
  const char *source = cli_text(c, "source", NULL), *person = cli_text(c, "person", NULL);
  *subject = cli_integer(c, "subject", 0);
  bool by_key = source && person, by_number = *subject > 0;
  if (by_key == by_number || (!source) != (!person))
    return error_set(e, E_USAGE, "say who: --source NAME --person KEY, or --subject N (or --resume)");
  if (by_key) return vault_find(f->vault, source, str_c(person), subject, e);
  struct timeline *t;
  uint32_t at;
  struct error none = {0};
  uint8_t secret[32];
  if (vault_secret(f->vault, *subject, "exists", secret, &none) == OK) return OK;
  mem_wipe(secret, sizeof secret);
  for (uint32_t i = 0; i < f->list.n; i++)
    if (f->list.subject[i] == *subject) return error_set(e, E_NOTFOUND, "this person was forgotten already, on %s", f->list.at[i]);
  TRY(cli_store(&f->site, &t, e));
  int rc = timeline_find(t, *subject, &at, e);
  timeline_close(t);
  return rc;
}

/* Of one person of these certainly (1), of none (0), or not known (-1) */
static int any_had(const struct forgetting *f, const char *store_hash) {
  int had = 0;
  for (uint32_t i = 0; i < f->gone_n && had <= 0; i++) {
    int one = seen_had(&f->site, store_hash, f->gone[i]);
    if (one) had = one;
  }
  return had;
}

static const char *how(int had) {
  return had > 0 ? "trained on a store with this person in its training split" : "not known: trained before this was written down";
}

/* Versions that had the person among those they learned from, by what was written down when they were trained. */
static int versions(struct forgetting *f, struct registry *r, struct table *t, struct json_out *o, int *n, struct error *e) {
  struct version *v;
  int count;
  TRY(registry_list(r, &f->a, &v, &count, e));
  for (int i = 0; i < count; i++) {
    int had = any_had(f, v[i].store_hash);
    if (had == 0) continue;
    char id[16];
    snprintf(id, sizeof id, "%.12s", v[i].id);
    table_row(t, id, version_state_name[v[i].state], v[i].created, how(had));
    json_out_object(o);
    json_kv_c(o, "version", v[i].id);
    json_kv_c(o, "state", version_state_name[v[i].state]);
    json_kv_bool(o, "certain", had > 0);
    json_out_end(o);
    ++*n;
  }
  return OK;
}

static void one_run(struct forgetting *f, const char *name, struct table *t, struct json_out *o, int *n) {
  char path[4096], hash[65], title[300];
  struct json root;
  if (site_path(&f->site, path, "models", "runs", name, "config.json", NULL) < 0 || !file_exists(path)) return;
  snprintf(hash, sizeof hash, "?"); /* what cannot be read may have learned from anybody */
  if (json_load(&f->a, path, &root, NULL) == OK)
    snprintf(hash, sizeof hash, "%.*s", STR_ARG(json_str(json_get(json_get(root, "run"), "timelines"))));
  int had = any_had(f, hash);
  if (had == 0) return;
  snprintf(title, sizeof title, "runs/%s", name);
  table_row(t, title, "run", "", how(had));
  json_out_object(o);
  json_kv_c(o, "run", name);
  json_kv_bool(o, "certain", had > 0);
  json_out_end(o);
  ++*n;
}

/* A run's checkpoint has learned from them whether a version was made of it or it was interrupted. */
static void runs(struct forgetting *f, struct table *t, struct json_out *o, int *n) {
  char dir[4096];
  struct dirent *d;
  DIR *list = site_path(&f->site, dir, "models", "runs", NULL) == OK ? opendir(dir) : NULL;
  while (list && (d = readdir(list)))
    if (d->d_name[0] != '.') one_run(f, d->d_name, t, o, n);
  if (list) closedir(list);
}

/* Held by whoever trains: that one may learn from the person as long as it runs, and makes no version then (cli_train.c). */
static bool under_training(const struct forgetting *f) {
  char path[4096];
  struct error busy = {0};
  int fd;
  if (site_path(&f->site, path, "models", "train.lock", NULL) < 0) return false;
  int rc = file_lock_shared(path, &fd, &busy);
  file_unlock(fd);
  return rc == E_BUSY;
}

/* Under the registry's lock what learned from the person is listed and forgotten.json written: a training that ends meanwhile is listed, or
 * finds the entry. */
static int list_and_remember(struct cli *c, struct forgetting *f, int64_t subject, struct table *t, struct json_out *o, int *n,
                             struct error *e) {
  struct registry *r;
  TRY(registry_read(f->site.path, &r, e));
  json_out_key(o, "versions");
  json_out_array(o);
  int rc = versions(f, r, t, o, n, e);
  json_out_end(o);
  json_out_key(o, "runs");
  json_out_array(o);
  runs(f, t, o, n);
  json_out_end(o);
  f->training = under_training(f);
  json_kv_bool(o, "training", f->training);
  if (rc == OK && subject) rc = remember(f, subject, cli_flag(c, "may-return"), e);
  registry_close(r);
  return rc;
}

static int note(const struct forgetting *f, int64_t subject, struct error *e) {
  char text[32], hex[65];
  uint8_t digest[32];
  int n = snprintf(text, sizeof text, "%lld", (long long)subject);
  sha256_of(text, (size_t)n, digest);
  hash_hex(digest, 32, hex);
  return audit_note(f->site.path, "forget", "", subject ? hex : "", 200, e);
}

struct proof {
  uint32_t found;
};
static void holds(void *ctx, const char *what UNUSED) { ((struct proof *)ctx)->found++; }

static int report(struct cli *c, struct forgetting *f, int64_t subject, struct table *t, struct buf *b, struct json_out *o, int n,
                  struct error *e) {
  struct proof p = {0};
  TRY(forgotten_verify(&f->site, holds, &p, e));
  if (p.found) return error_set(e, E_CORRUPT, "a generation still holds the person: run vitae verify");
  if (f->store.found) TRY(wall_statement(&f->site, "forget", e));
  json_kv_bool(o, "vault", f->in_vault);
  json_kv_bool(o, "store", f->store.found > 0);
  json_kv_c(o, "generation", f->store.generation);
  json_kv_i64(o, "generations_removed", f->store.generations);
  json_kv_i64(o, "blobs_removed", (int64_t)f->store.blobs);
  json_kv_i64(o, "review_sheets_removed", f->sheets);
  json_kv_bool(o, "verified", true);
  json_out_end(o);
  if (c->json) return cli_print_json(b, e);
  if (!f->persons) return printf("Nothing was left to finish.\n"), OK;
  if (subject) printf("Forgotten: subject %lld\n", (long long)subject);
  printf("  vault: %s\n", f->in_vault ? "keys, identifiers, dates and shift overwritten" : "did not know the person (any more)");
  if (f->store.found)
    printf("  store: generation %s is without them; %u earlier ones removed\n", f->store.generation, f->store.generations);
  else
    printf("  store: held nothing of them; %u earlier generations removed\n", f->store.generations);
  printf("  blobs: %llu that nobody names any more removed\n", (unsigned long long)f->store.blobs);
  if (f->sheets)
    printf("  review sheets: %u removed, which do not say whose their texts are (vitae audit --sheet draws anew)\n", f->sheets);
  printf("  proof: no generation on disk holds them (vitae verify looks again each time)\n");
  if (n) {
    printf("\nModels that have, or may have, learned from them. What a model learned is not undone by this; retire it, or train anew:\n");
    table_print(t, stdout);
  } else {
    printf("  models: none was trained on them\n");
  }
  if (f->training)
    printf(
        "\nA training is under way. If it learns from them, stop it: it makes no version when it ends, but what it writes under "
        "models/runs "
        "stays.\n");
  printf("\nNot reached from here: copies that were exported, backups, a running `vitae serve` (restart it), and the source files.\n");
  return OK;
}

static int forget(struct cli *c, struct forgetting *f, struct error *e) {
  struct table t;
  struct buf b = {0};
  struct json_out o;
  char number[32];
  int64_t subject = 0;
  int n = 0, rc;
  table_init(&t, 4, "version", "state", "created", "why");
  json_out_init(&o, &b, false);
  json_out_object(&o);
  TRY_OUT(forgotten_read(&f->site, &f->a, &f->list, e));
  f->gone = arena_array(&f->a, int64_t, (size_t)f->list.n + 1);
  if (!f->gone) TRY_OUT(error_set(e, E_NOMEM, "out of memory"));
  for (uint32_t i = 0; i < f->list.n; i++)
    if (!f->list.done[i]) f->gone[f->gone_n++] = f->list.subject[i];
  TRY_OUT(finish(f, e)); /* what an interrupted run left */
  if (!cli_flag(c, "resume")) {
    TRY_OUT(who(c, f, &subject, e));
    TRY_OUT(forgotten_vault_fits(&f->site, f->vault, subject, e)); /* the person may be there once more, under a number that nobody knows */
    snprintf(number, sizeof number, "%lld", (long long)subject);
    json_kv_c(&o, "subject", number);
    f->gone[f->gone_n++] = subject;
    f->in_vault = false;
  }
  TRY_OUT(list_and_remember(c, f, subject, &t, &o, &n, e));
  if (subject) TRY_OUT(finish(f, e));
  if (f->persons) TRY_OUT(note(f, subject, e));
  rc = report(c, f, subject, &t, &b, &o, n, e);
out:
  table_release(&t);
  buf_release(&b);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  struct forgetting f = {0};
  if (cli_flag(c, "resume") && cli_flag(c, "may-return")) return error_set(e, E_USAGE, "--resume finishes an erasure as it was begun");
  TRY(site_open(c->arg[0], &f.site, e));
  TRY(cli_vault(c, &f.site, &f.vault, e));
  arena_init(&f.a, 256u << 20, 0);
  int rc = forget(c, &f, e);
  arena_free(&f.a);
  vault_close(f.vault);
  return rc;
}

const struct command command_forget = {
    "forget", "SITE --source S --person K | --subject N", "erase one person from vault and timelines, and prove it", options, 1, 1, run};
