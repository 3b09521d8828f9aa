/* vitae deid --from fhir IN OUT: FHIR R4 through the wall, written again as FHIR; by one of our policies or a configuration of
 * Microsoft's FHIR anonymizer. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/time.h"
#include "cli/cli_deid.h"
#include "cli/cli_site.h"
#include "deid/deid.h"
#include "deid/fhir_deid.h"

static struct progress bar;

static void show(uint64_t done, uint64_t total) {
  bar.total = total;
  progress_update(&bar, done, NULL);
}

/* A name of ours, a path of ours, or a path of theirs: then ours gives the tables only. */
static int find_policy(const char *name, char policy[4096], const char **rules, char tables[4096], struct error *e) {
  TRY(file_join(tables, 4096, file_data_dir(), "policy", e));
  *rules = NULL;
  if (!strchr(name, '/') && !strchr(name, '.')) {
    char file[256];
    int n = snprintf(file, sizeof file, "%s.json", name);
    if (n < 0 || (size_t)n >= sizeof file) return error_set(e, E_USAGE, "--policy: the name is too long");
    TRY(file_join(policy, 4096, tables, file, e));
    return file_exists(policy) ? OK : error_set(e, E_NOTFOUND, "--policy is safe-harbor, expert, limited, or a file");
  }
  if (!file_exists(name)) return error_set(e, E_NOTFOUND, "there is no policy at %s", name);
  struct deid_policy test;
  if (deid_policy_load(name, &test, NULL) == OK) {
    int n = snprintf(policy, 4096, "%s", name);
    return n < 4096 ? OK : error_set(e, E_LIMIT, "path too long");
  }
  *rules = name;
  return file_join(policy, 4096, tables, "safe-harbor.json", e);
}

static int print(struct cli *c, const struct fhir_deid *f, double seconds, struct error *e) {
  struct fhir_deid_counts n;
  fhir_deid_counts(f, &n);
  if (!c->json) {
    if (c->quiet) return OK;
    char bytes[32];
    human_bytes(n.bytes_in, bytes);
    printf("%s in %llu files, %.1f s (%.0f MB/s): %llu resources written, %llu refused. Policy hash %.16s.\n", bytes,
           (unsigned long long)n.files, seconds, seconds > 0 ? (double)n.bytes_in / 1e6 / seconds : 0, (unsigned long long)n.resources,
           (unsigned long long)n.rejected, fhir_deid_hash(f));
    if (n.rejected) printf("What was refused is listed in the manifest (file, row, reason).\n");
    return OK;
  }
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_f64(&o, "seconds", seconds);
  json_kv_i64(&o, "bytes_in", (int64_t)n.bytes_in);
  json_kv_i64(&o, "bytes_out", (int64_t)n.bytes_out);
  json_out_key(&o, "manifest");
  fhir_deid_manifest(f, &o);
  json_out_end(&o);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

int cli_deid_fhir(struct cli *c, struct error *e) {
  char policy[4096], tables[4096], *phrase = NULL;
  const char *rules, *dir = cli_text(c, "vault", NULL), *name = cli_text(c, "policy", "safe-harbor");
  struct vault *vault = NULL;
  struct fhir_deid *f = NULL;
  struct arena a;
  if (strcmp(c->arg[0], "-") == 0 || strcmp(c->arg[1], "-") == 0) return error_set(e, E_USAGE, "--from fhir wants files or directories");
  TRY(find_policy(name, policy, &rules, tables, e));
  arena_init(&a, 1 << 20, ARENA_WIPE);
  int rc;
  if (dir) {
    TRY_OUT(cli_passphrase(c, &a, &phrase, e));
    TRY_OUT(vault_open(dir, phrase, &vault, e));
  } else {
    TRY_OUT(vault_open_memory(&vault, e));
  }
  struct fhir_deid_config config = {
      .policy = policy, .rules = rules, .tables = tables, .vault = vault, .no_text = cli_flag(c, "no-text"), .keep_vault = dir != NULL};
  double began = time_monotonic();
  TRY_OUT(fhir_deid_open(&config, &f, e));
  TRY_OUT(fhir_deid_learn(f, c->arg[0], e));
  if (dir) TRY_OUT(vault_commit(vault, e)); /* before anything is written that only the vault can explain */
  progress_start(&bar, "deid", 0, PROGRESS_BYTES);
  rc = fhir_deid_files(f, c->arg[0], c->arg[1], show, e);
  progress_end(&bar, rc < 0 ? "stopped" : "done");
  if (rc < 0) goto out;
  if (dir) TRY_OUT(vault_commit(vault, e));
  TRY_OUT(print(c, f, time_monotonic() - began, e));
  struct fhir_deid_counts n;
  fhir_deid_counts(f, &n);
  if (!n.resources) rc = error_set(e, E_INPUT, "nothing there was a FHIR resource");
out:
  fhir_deid_close(f);
  if (vault) vault_close(vault);
  arena_free(&a);
  return rc;
}
