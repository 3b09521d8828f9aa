/* vitae deid --from vcf IN OUT: each person's genome as OUT/PSEUDONYM.vcf.gz, and OUT/manifest.json with what was taken out. */
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/progress.h"
#include "cli/cli_deid.h"
#include "cli/cli_site.h"
#include "deid/deid.h"
#include "deid/event.h"
#include "govern/site.h"
#include "record/record.h"

struct genomes {
  const char *out;
  char scratch[4096], finished[4096]; /* the cleaned file that the next event names */
  char digest[65];
  struct deid *wall;
  uint64_t rejected, written;
  struct buf files; /* JSON array */
  struct json_out json;
};

static int take_blob(void *ctx, const char *temporary, char hex[65], struct error *e) {
  struct genomes *g = ctx;
  uint8_t digest[32];
  TRY(sha256_file(temporary, digest, e));
  hash_hex(digest, sizeof digest, hex);
  memcpy(g->digest, hex, 65);
  snprintf(g->finished, sizeof g->finished, "%s", temporary);
  return OK;
}

/* One person may have several files: PSEUDONYM.vcf.gz, PSEUDONYM-2.vcf.gz … */
static int take_event(void *ctx, const struct event *ev, struct error *e) {
  struct genomes *g = ctx;
  char name[64], path[4096];
  long long who = (long long)event_subject(ev);
  if (event_blob(ev).n == 0) return OK;
  for (int i = 1;; i++) {
    if (i == 1)
      snprintf(name, sizeof name, "%lld.vcf.gz", who);
    else
      snprintf(name, sizeof name, "%lld-%d.vcf.gz", who, i);
    TRY(file_join(path, sizeof path, g->out, name, e));
    if (!file_exists(path)) break;
  }
  TRY(file_rename(g->finished, path, e));
  json_out_object(&g->json);
  json_kv_c(&g->json, "name", name);
  json_kv_str(&g->json, "code", event_code(ev));
  json_kv_c(&g->json, "sha256", g->digest);
  json_out_end(&g->json);
  g->written++;
  return OK;
}

static int take_record(void *ctx, const struct record *r, struct error *e) { return deid_take(((struct genomes *)ctx)->wall, r, e); }

static void take_reject(void *ctx, const struct record_reject *r) {
  ((struct genomes *)ctx)->rejected++;
  fprintf(stderr, "rejected: a file, line %llu: %s\n", (unsigned long long)r->row, r->reason);
}

static int write_manifest(struct genomes *g, struct buf *out, struct error *e) {
  char path[4096];
  struct json_out o;
  json_out_end(&g->json);
  json_out_init(&o, out, false);
  json_out_object(&o);
  json_kv_i64(&o, "genomes", (int64_t)g->written);
  json_kv_i64(&o, "rejected", (int64_t)g->rejected);
  json_kv_c(&o, "statement", deid_genome_statement());
  json_out_key(&o, "files");
  json_out_raw(&o, (struct str){g->files.p, g->files.n});
  json_out_key(&o, "wall");
  deid_manifest(g->wall, &o);
  json_out_end(&o);
  TRY(buf_check(&g->files, e));
  TRY(buf_check(out, e));
  TRY(file_join(path, sizeof path, g->out, "manifest.json", e));
  return file_write_atomic(path, out->p, out->n, 0644, e);
}

static int run_wall(struct genomes *g, struct cli *c, const struct deid_policy *policy, struct vault *vault, struct error *e) {
  char fields[4096];
  struct record_stats stats = {0};
  struct buf manifest = {0};
  struct event_sink out = {.ctx = g, .event = take_event, .blob = take_blob, .blob_dir = g->scratch};
  struct record_sink sink = {.ctx = g, .record = take_record, .reject = take_reject};
  TRY(file_join(fields, sizeof fields, file_data_dir(), "policy/vcf-fields.json", e));
  int rc = deid_open(policy, vault, "vcf", &out, &g->wall, e);
  if (rc == OK) rc = genome_read(c->arg[0], policy->genome_fields[0] ? policy->genome_fields : fields, &sink, &stats, e);
  if (rc == OK) rc = deid_finish(g->wall, e);
  if (rc == OK && g->written == 0)
    rc = policy->keep_genomes ? error_set(e, E_INPUT, "nothing there became a genome")
                              : error_set(e, E_DENIED, "this policy lets no genome out: a genome identifies its person (--policy expert)");
  if (rc == OK && cli_text(c, "vault", NULL)) rc = vault_commit(vault, e);
  if (rc == OK) rc = write_manifest(g, &manifest, e);
  if (rc == OK && c->json) rc = cli_print_json(&manifest, e);
  if (rc == OK && !c->json)
    printf("%llu genomes in %s, %llu files rejected. %s\n", (unsigned long long)g->written, g->out, (unsigned long long)g->rejected,
           deid_genome_statement());
  if (g->wall) deid_close(g->wall);
  buf_release(&manifest);
  return rc;
}

int cli_deid_vcf(struct cli *c, struct error *e) {
  struct genomes g = {.out = c->arg[1]};
  struct deid_policy policy;
  struct vault *vault = NULL;
  struct arena a;
  char *phrase;
  char policy_file[4096];
  const char *dir = cli_text(c, "vault", NULL);
  if (strcmp(c->arg[0], "-") == 0) return error_set(e, E_USAGE, "genomes are read from files, not from standard input");
  if (file_exists(c->arg[1])) return error_set(e, E_USAGE, "OUT is a new directory: it is there already");
  TRY(site_find(NULL, "policy", cli_text(c, "policy", "expert"), policy_file, e));
  TRY(deid_policy_load(policy_file, &policy, e));
  TRY(file_join(g.scratch, sizeof g.scratch, c->arg[1], ".writing", e));
  arena_init(&a, 1 << 20, ARENA_WIPE);
  json_out_init(&g.json, &g.files, false);
  json_out_array(&g.json);
  int rc = cli_passphrase(c, &a, &phrase, e);
  if (rc == OK) rc = dir ? vault_open(dir, phrase, &vault, e) : vault_open_memory(&vault, e);
  if (rc == OK) rc = file_mkdirs(g.scratch, 0700, e);
  if (rc == OK) rc = run_wall(&g, c, &policy, vault, e);
  struct error ignored = {0}; /* the scratch directory is hidden and empty but for a failure's rest */
  if (file_remove_tree(rc == OK ? g.scratch : c->arg[1], &ignored) < 0 && rc == OK) rc = error_set(e, ignored.code, "%s", ignored.message);
  if (vault) vault_close(vault);
  buf_release(&g.files);
  arena_free(&a);
  return rc;
}
