/* Versions on disk: content-addressed copies of checkpoints, signed manifests, one small state file. */
#include <dirent.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/time.h"
#include "govern/govern.h"
#include "govern/registry_private.h"
#include "govern/site.h"

const char *const version_state_name[STATES] = {"draft", "validated", "shadow", "live", "retired"};
#define SIGNED_BYTES (1u << 20)

int version_state_parse(struct str name, enum version_state *out, struct error *e) {
  for (int i = 0; i < STATES; i++)
    if (str_eqc(name, version_state_name[i])) return *out = (enum version_state)i, OK;
  return error_set(e, E_USAGE, "a version's state is draft, validated, shadow, live or retired");
}

int registry_path(const struct registry *r, char out[4096], const char *a, const char *b, const char *c, struct error *e) {
  if (site_path(&r->site, out, a, b, c, NULL) < 0) return error_set(e, E_LIMIT, "a path in the site is too long");
  return OK;
}

/* ---- the signing key ---- */

static int make_key(struct registry *r, const char *secret_path, const char *public_path, struct error *e) {
  char hex[2 * crypto_sign_PUBLICKEYBYTES + 2];
  crypto_sign_keypair(r->public_key, r->secret_key);
  TRY(file_write_atomic(secret_path, r->secret_key, sizeof r->secret_key, 0600, e));
  hash_hex(r->public_key, sizeof r->public_key, hex);
  strcat(hex, "\n");
  return file_write_atomic(public_path, hex, strlen(hex), 0644, e);
}

/* Who may not look into the vault still reads. Without a key there is nothing signed. */
static int load_public(struct registry *r, const char *path, struct error *e) {
  struct arena a;
  struct str hex;
  if (!file_exists(path)) return OK;
  arena_init(&a, 1 << 16, 0);
  int rc = file_read(&a, path, 1024, &hex, e);
  if (rc == OK) rc = hash_unhex(str_trim(hex), r->public_key, sizeof r->public_key, e);
  arena_free(&a);
  return rc;
}

static bool holds(const struct registry *r, const char *folder, const char *below, const char *end) {
  char path[4096];
  struct dirent *d;
  bool found = false;
  DIR *list = registry_path(r, path, folder, below, NULL, NULL) == OK ? opendir(path) : NULL;
  while (list && !found && (d = readdir(list))) found = d->d_name[0] != '.' && str_ends(str_c(d->d_name), str_c(end));
  if (list) closedir(list);
  return found;
}

/* Whether the site has had a key: a new one would disown all that the old one signed. */
static bool signed_before(const struct registry *r, const char *public_path) {
  return file_exists(public_path) || holds(r, "models", "versions", "") || holds(r, "reports", NULL, ".sig");
}

static int load_key(struct registry *r, struct error *e) {
  char secret[4096], public_path[4096];
  struct arena a;
  struct str bytes;
  TRY(registry_path(r, secret, "vault", "signing.key", NULL, e));
  TRY(registry_path(r, public_path, "models", "signing.pub", NULL, e));
  if (r->reading && access(secret, R_OK) != 0) return load_public(r, public_path, e);
  if (!file_exists(secret) && signed_before(r, public_path))
    return error_set(e, E_NOTFOUND, "vault/signing.key is missing, and the site holds what it signed: bring it back from a backup");
  if (!file_exists(secret)) return make_key(r, secret, public_path, e);
  arena_init(&a, 1 << 16, ARENA_WIPE);
  int rc = file_read(&a, secret, 1024, &bytes, e);
  if (rc == OK && bytes.n != sizeof r->secret_key) rc = error_set(e, E_CORRUPT, "the signing key has the wrong length");
  if (rc == OK) {
    memcpy(r->secret_key, bytes.p, sizeof r->secret_key);
    crypto_sign_ed25519_sk_to_pk(r->public_key, r->secret_key);
  }
  arena_free(&a);
  return rc;
}

static int open_as(const char *site, bool reading, struct registry **out, struct error *e) {
  if (sodium_init() < 0) return error_set(e, E_UNAVAILABLE, "libsodium cannot start");
  struct registry *r = mem_alloc(sizeof *r);
  if (!r) return error_set(e, E_NOMEM, "out of memory");
  memset(r, 0, sizeof *r);
  r->lock = -1;
  r->reading = reading;
  char path[4096];
  int rc = site_open(site, &r->site, e);
  if (rc == OK) rc = registry_path(r, path, "models", "registry.lock", NULL, e);
  /* another program's step takes milliseconds: wait for it rather than fail */
  for (int i = 0, got = E_BUSY; rc == OK && got == E_BUSY; i++) {
    struct error busy = {0};
    got = reading ? file_lock_shared(path, &r->lock, &busy) : file_lock(path, &r->lock, &busy);
    if (got == E_BUSY && i < 200)
      nanosleep(&(struct timespec){0, 50000000}, NULL);
    else
      rc = got;
    if (rc < 0 && e) *e = busy;
  }
  if (rc == OK) rc = load_key(r, e);
  if (rc < 0) return registry_close(r), rc;
  *out = r;
  return OK;
}

int registry_open(const char *site, struct registry **out, struct error *e) { return open_as(site, false, out, e); }
int registry_read(const char *site, struct registry **out, struct error *e) { return open_as(site, true, out, e); }

void registry_close(struct registry *r) {
  if (!r) return;
  if (r->lock >= 0) file_unlock(r->lock);
  mem_wipe(r, sizeof *r);
  mem_free(r);
}

/* ---- states.json: [{"version", "state", "history": [{"to", "by", "at"}]}], newest first ---- */

static int read_states(struct registry *r, struct arena *a, struct state_row **rows, int *n, struct error *e) {
  char path[4096];
  struct json root, item;
  *n = 0;
  *rows = NULL;
  TRY(registry_path(r, path, "models", "states.json", NULL, e));
  if (!file_exists(path)) return OK;
  TRY(json_load(a, path, &root, e));
  struct json list = json_get(root, "versions");
  *rows = arena_array(a, struct state_row, json_count(list) + 1);
  if (!*rows) return error_set(e, E_NOMEM, "out of memory");
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    struct str id = json_str(json_get(item, "version")), state = json_str(json_get(item, "state"));
    struct state_row *row = &(*rows)[*n];
    if (id.n != 64) return error_set(e, E_CORRUPT, "models/states.json names a version that is none");
    memcpy(row->id, id.p, 64);
    TRY(version_state_parse(state, &row->state, e));
    row->history = json_get(item, "history");
    (*n)++;
  }
  return OK;
}

static void history(struct json_out *o, const struct state_row *row, const char *actor, bool changed) {
  struct json step;
  char now[32];
  json_out_key(o, "history");
  json_out_array(o);
  for (struct json_iter it = json_items(row->history); json_next(&it, &step);) {
    json_out_object(o);
    json_kv_str(o, "to", json_str(json_get(step, "to")));
    json_kv_str(o, "by", json_str(json_get(step, "by")));
    json_kv_str(o, "at", json_str(json_get(step, "at")));
    json_out_end(o);
  }
  if (changed) {
    time_format(time_now(), now);
    json_out_object(o);
    json_kv_c(o, "to", version_state_name[row->state]);
    json_kv_c(o, "by", actor);
    json_kv_c(o, "at", now);
    json_out_end(o);
  }
  json_out_end(o);
}

static int write_states(struct registry *r, const struct state_row *rows, int n, const bool *changed, const char *actor, struct error *e) {
  char path[4096];
  struct buf b = {0};
  struct json_out o;
  TRY(registry_path(r, path, "models", "states.json", NULL, e));
  json_out_init(&o, &b, true);
  json_out_object(&o);
  json_kv_i64(&o, "format", REGISTRY_FORMAT);
  json_out_key(&o, "versions");
  json_out_array(&o);
  for (int i = 0; i < n; i++) {
    json_out_object(&o);
    json_kv_c(&o, "version", rows[i].id);
    json_kv_c(&o, "state", version_state_name[rows[i].state]);
    history(&o, &rows[i], actor, changed[i]);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
  int rc = buf_check(&b, e);
  if (rc == OK) rc = file_write_atomic(path, b.p, b.n, 0644, e);
  buf_release(&b);
  return rc;
}

/* ---- manifests ---- */

/* Everything of a version but its own manifest and signature, sorted by name, each with its hash. */
static int list_files(struct arena *a, const char *dir, struct file_row **rows, int *n, struct error *e) {
  struct str *files;
  size_t count, skip = strlen(dir) + 1;
  TRY(file_list(a, dir, &files, &count, e));
  *n = 0;
  *rows = arena_array(a, struct file_row, count + 1);
  if (!*rows) return error_set(e, E_NOMEM, "out of memory");
  for (size_t i = 0; i < count; i++) {
    struct str name = {files[i].p + skip, files[i].n - skip};
    if (str_eq(name, STR("manifest.json")) || str_eq(name, STR("manifest.sig")) || str_eq(name, STR("optimizer.safetensors")) ||
        str_starts(name, STR("reports/")))
      continue;
    struct file_row *row = &(*rows)[(*n)++];
    uint8_t digest[32];
    row->name = name;
    row->path = files[i].p;
    TRY(sha256_file(files[i].p, digest, e));
    hash_hex(digest, 32, row->hash);
  }
  return *n ? OK : error_set(e, E_INPUT, "the checkpoint directory is empty");
}

static void content_id(const struct file_row *rows, int n, char id[65], struct buf *scratch) {
  uint8_t digest[32];
  buf_clear(scratch);
  for (int i = 0; i < n; i++) buf_printf(scratch, "%.*s %s\n", STR_ARG(rows[i].name), rows[i].hash);
  sha256_of(scratch->p, scratch->n, digest);
  hash_hex(digest, 32, id);
}

static int sign_and_write(const struct registry *r, const char *dir, const struct buf *manifest, struct error *e) {
  uint8_t signature[crypto_sign_BYTES];
  char path[4096], hex[2 * crypto_sign_BYTES + 1];
  struct arena a;
  struct buf text = {0};
  struct str old = STR_NONE;
  crypto_sign_detached(signature, NULL, (const uint8_t *)manifest->p, manifest->n, r->secret_key);
  hash_hex(signature, sizeof signature, hex);
  buf_printf(&text, "ed25519 %s\n", hex);
  /* The file keeps the signature before as its second line: whichever manifest a crash leaves, one line signs it. */
  TRY(file_join(path, sizeof path, dir, "manifest.sig", e));
  arena_init(&a, 1 << 16, 0);
  int rc = file_exists(path) ? file_read(&a, path, 4096, &old, e) : OK;
  if (rc == OK && old.n) buf_str(&text, str_cut(&old, '\n')), buf_putc(&text, '\n');
  if (rc == OK) rc = buf_check(&text, e);
  if (rc == OK) rc = file_write_atomic(path, text.p, text.n, 0644, e);
  buf_release(&text);
  arena_free(&a);
  TRY(rc);
  TRY(file_join(path, sizeof path, dir, "manifest.json", e));
  return file_write_atomic(path, manifest->p, manifest->n, 0644, e);
}

static void manifest_text(const struct registry *r, const char *id, const struct version_info *info, const struct file_row *rows, int n,
                          const struct report_row *reports, int n_reports, struct buf *out) {
  struct json_out o;
  char signer[2 * crypto_sign_PUBLICKEYBYTES + 1];
  hash_hex(r->public_key, sizeof r->public_key, signer);
  json_out_init(&o, out, true);
  json_out_object(&o);
  json_kv_i64(&o, "format", REGISTRY_FORMAT);
  json_kv_c(&o, "version", id);
  json_kv_c(&o, "created", info->created);
  json_kv_c(&o, "program", info->code_version);
  json_kv_c(&o, "commit", info->commit);
  json_kv_c(&o, "data_manifest", info->store_hash);
  json_kv_c(&o, "policy", info->policy_hash);
  json_kv_c(&o, "signer", signer);
  json_out_key(&o, "files");
  json_out_object(&o);
  for (int i = 0; i < n; i++) json_out_key_str(&o, rows[i].name), json_out_c(&o, rows[i].hash);
  json_out_end(&o);
  json_out_key(&o, "reports");
  json_out_array(&o);
  for (int i = 0; i < n_reports; i++) {
    json_out_object(&o);
    json_kv_c(&o, "task", reports[i].task);
    json_kv_c(&o, "hash", reports[i].hash);
    json_kv_bool(&o, "passes", reports[i].passes);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
  buf_putc(out, '\n');
}

static void take(char *out, size_t size, struct json root, const char *key) {
  struct str s = json_str(json_get(root, key));
  snprintf(out, size, "%.*s", STR_ARG(s));
}

int registry_manifest(struct registry *r, const char *id, struct arena *a, struct manifest *out, struct error *e) {
  char dir[4096], path[4096];
  struct str text, sig;
  uint8_t signature[crypto_sign_BYTES];
  memset(out, 0, sizeof *out);
  TRY(registry_path(r, dir, "models", "versions", id, e));
  TRY(file_join(path, sizeof path, dir, "manifest.json", e));
  TRY(file_read(a, path, SIGNED_BYTES, &text, e));
  TRY(file_join(path, sizeof path, dir, "manifest.sig", e));
  TRY(file_read(a, path, 4096, &sig, e));
  bool good = false;
  while (sig.n && !good) {
    struct str line = str_trim(str_cut(&sig, '\n'));
    if (!str_starts(line, STR("ed25519 ")))
      return error_set(e, E_CORRUPT, "the signature of version %.12s names no algorithm that this program knows", id);
    line.p += 8, line.n -= 8;
    TRY(hash_unhex(line, signature, sizeof signature, e));
    good = crypto_sign_verify_detached(signature, (const uint8_t *)text.p, text.n, r->public_key) == 0;
  }
  if (!good) return error_set(e, E_CORRUPT, "the manifest of version %.12s does not carry this site's signature", id);
  TRY(json_load(a, file_join(path, sizeof path, dir, "manifest.json", e) == OK ? path : "", &out->root, e));
  int64_t format = 0;
  if (!json_i64(json_get(out->root, "format"), &format) || format > REGISTRY_FORMAT)
    return error_set(e, E_VERSION, "the manifest of version %.12s is of a newer format", id);
  take(out->info.created, sizeof out->info.created, out->root, "created");
  take(out->info.code_version, sizeof out->info.code_version, out->root, "program");
  take(out->info.commit, sizeof out->info.commit, out->root, "commit");
  take(out->info.store_hash, sizeof out->info.store_hash, out->root, "data_manifest");
  take(out->info.policy_hash, sizeof out->info.policy_hash, out->root, "policy");
  struct json reports = json_get(out->root, "reports"), item;
  out->reports = arena_array(a, struct report_row, json_count(reports) + 2);
  if (!out->reports) return error_set(e, E_NOMEM, "out of memory");
  for (struct json_iter it = json_items(reports); json_next(&it, &item); out->n_reports++) {
    struct report_row *row = &out->reports[out->n_reports];
    take(row->task, sizeof row->task, item, "task");
    take(row->hash, sizeof row->hash, item, "hash");
    json_bool(json_get(item, "passes"), &row->passes);
  }
  return OK;
}

/* ---- adding ---- */

static int copy_file(const char *from, const char *to, struct error *e) {
  struct file_map m;
  struct file_writer w;
  char dir[4096];
  snprintf(dir, sizeof dir, "%s", to);
  *strrchr(dir, '/') = 0;
  TRY(file_mkdirs(dir, 0755, e));
  TRY(file_map_open(from, &m, e));
  int rc = file_writer_open(&w, to, e);
  if (rc == OK) {
    file_writer_put(&w, m.p, m.n);
    rc = file_writer_commit(&w, e);
  }
  file_map_close(&m);
  return rc;
}

static int place(struct registry *r, struct arena *a, const char *source, const struct version_info *info, char id[65], struct error *e) {
  struct file_row *rows;
  int n;
  char dir[4096], temp[4096], to[4096];
  struct buf scratch = {0};
  TRY(list_files(a, source, &rows, &n, e));
  content_id(rows, n, id, &scratch);
  int rc = buf_check(&scratch, e);
  if (rc < 0) goto out;
  TRY_OUT(registry_path(r, dir, "models", "versions", id, e));
  if (file_is_dir(dir)) goto out;
  if ((size_t)snprintf(temp, sizeof temp, "%s.new", dir) >= sizeof temp) BUG("path");
  TRY_OUT(file_remove_tree(temp, e));
  TRY_OUT(file_mkdirs(temp, 0755, e));
  for (int i = 0; i < n; i++) {
    struct str name = rows[i].name;
    snprintf(to, sizeof to, "%s/%.*s", temp, STR_ARG(name));
    TRY_OUT(copy_file(rows[i].path, to, e));
  }
  buf_clear(&scratch);
  manifest_text(r, id, info, rows, n, NULL, 0, &scratch);
  TRY_OUT(buf_check(&scratch, e));
  TRY_OUT(sign_and_write(r, temp, &scratch, e));
  rc = file_rename(temp, dir, e);
out:
  buf_release(&scratch);
  return rc;
}

int registry_add(struct registry *r, const char *checkpoint_dir, const struct version_info *info, char id[65], struct error *e) {
  struct arena a;
  struct state_row *rows;
  int n;
  arena_init(&a, 64 << 20, 0);
  int rc = place(r, &a, checkpoint_dir, info, id, e);
  if (rc == OK) rc = read_states(r, &a, &rows, &n, e);
  if (rc == OK) {
    bool known = false;
    for (int i = 0; i < n; i++) known |= strcmp(rows[i].id, id) == 0;
    struct state_row *all = arena_array(&a, struct state_row, (size_t)n + 1);
    bool *changed = arena_array(&a, bool, (size_t)n + 1);
    if (!all || !changed) {
      rc = error_set(e, E_NOMEM, "out of memory");
    } else if (!known) {
      if (n) memcpy(all + 1, rows, (size_t)n * sizeof *rows);
      memcpy(all[0].id, id, 65);
      all[0].state = STATE_DRAFT;
      changed[0] = true;
      rc = write_states(r, all, n + 1, changed, "train", e);
    }
  }
  arena_free(&a);
  return rc;
}

/* ---- listing, reports, promotion ---- */

static int passing(const struct manifest *m) {
  int n = 0;
  for (int i = 0; i < m->n_reports; i++) n += m->reports[i].passes;
  return n;
}

int registry_list(struct registry *r, struct arena *a, struct version **out, int *n, struct error *e) {
  struct state_row *rows;
  TRY(read_states(r, a, &rows, n, e));
  *out = arena_array(a, struct version, (size_t)*n + 1);
  if (!*out) return error_set(e, E_NOMEM, "out of memory");
  for (int i = 0; i < *n; i++) {
    struct version *v = &(*out)[i];
    struct manifest m;
    TRY(registry_manifest(r, rows[i].id, a, &m, e));
    memcpy(v->id, rows[i].id, 65);
    v->state = rows[i].state;
    snprintf(v->created, sizeof v->created, "%s", m.info.created);
    snprintf(v->store_hash, sizeof v->store_hash, "%s", m.info.store_hash);
    v->tasks = m.n_reports;
    v->passing = passing(&m);
    if (m.n_reports) snprintf(v->report_hash, sizeof v->report_hash, "%s", m.reports[0].hash);
  }
  return OK;
}

static int read_report(struct arena *a, const char *dir, struct report_row *row, struct error *e) {
  char path[4096];
  uint8_t digest[32];
  struct json root;
  TRY(file_join(path, sizeof path, dir, "report.json", e));
  TRY(sha256_file(path, digest, e));
  hash_hex(digest, 32, row->hash);
  TRY(json_load(a, path, &root, e));
  take(row->task, sizeof row->task, root, "task");
  if (!row->task[0] || !json_bool(json_get(json_get(root, "gate"), "passes"), &row->passes))
    return error_set(e, E_INPUT, "the report names no task or no gate verdict");
  return OK;
}

int registry_attach_report(struct registry *r, const char *id, const char *report_dir, struct error *e) {
  struct arena a;
  struct manifest m;
  struct report_row row = {0};
  struct file_row *files;
  int n;
  char dir[4096], from[4096], to[4096];
  struct buf text = {0};
  arena_init(&a, 256u << 20, 0);
  int rc;
  TRY_OUT(registry_manifest(r, id, &a, &m, e));
  TRY_OUT(read_report(&a, report_dir, &row, e));
  TRY_OUT(registry_path(r, dir, "models", "versions", id, e));
  TRY_OUT(list_files(&a, dir, &files, &n, e));
  static const char *const parts[] = {"report.json", "report.html"};
  for (int i = 0; i < 2; i++) {
    TRY_OUT(file_join(from, sizeof from, report_dir, parts[i], e));
    snprintf(to, sizeof to, "%s/reports/%s-%s", dir, row.task, parts[i]);
    if (file_exists(from)) TRY_OUT(copy_file(from, to, e));
  }
  int at = 0;
  while (at < m.n_reports && strcmp(m.reports[at].task, row.task) != 0) at++;
  if (at == m.n_reports) m.n_reports++;
  m.reports[at] = row;
  manifest_text(r, id, &m.info, files, n, m.reports, m.n_reports, &text);
  TRY_OUT(buf_check(&text, e));
  rc = sign_and_write(r, dir, &text, e);
out:
  buf_release(&text);
  arena_free(&a);
  return rc;
}

/* What the reports say against the version, in their own words (figures and our sentences; no data). */
static void refusals(struct registry *r, const char *id, const struct manifest *m, struct buf *out) {
  for (int i = 0; i < m->n_reports; i++) {
    char dir[4096], path[4200];
    struct arena a;
    struct json root;
    arena_init(&a, 256u << 20, 0);
    if (registry_path(r, dir, "models", "versions", id, NULL) == OK &&
        (size_t)snprintf(path, sizeof path, "%s/reports/%s-report.json", dir, m->reports[i].task) < sizeof path &&
        json_load(&a, path, &root, NULL) == OK) {
      struct str why = json_str(json_get(json_get(root, "gate"), "reasons"));
      if (why.n) buf_printf(out, "%s%s: %.*s", out->n ? " | " : "", m->reports[i].task, STR_ARG(why));
    }
    arena_free(&a);
  }
}

static int no_pass(struct registry *r, const char *id, const struct manifest *m, struct error *e) {
  struct buf why = {0};
  refusals(r, id, m, &why);
  (void)!error_set(e, E_DENIED, "no report of this version passes its gate%s%.240s", why.n ? ": " : " (see the reports for the reasons)",
                   buf_cstr(&why));
  buf_release(&why);
  return E_DENIED;
}

static int may_move(struct registry *r, const char *id, const struct manifest *m, enum version_state from, enum version_state to,
                    struct error *e) {
  if (to == STATE_RETIRED) return from == STATE_RETIRED ? error_set(e, E_USAGE, "the version is retired already") : OK;
  if (from == STATE_RETIRED) return error_set(e, E_DENIED, "a retired version stays retired");
  if (to != from + 1 && !(from == STATE_LIVE && to == STATE_SHADOW))
    return error_set(e, E_DENIED, "a version moves one step at a time: it is %s, so the next is %s", version_state_name[from],
                     from == STATE_LIVE ? "shadow or retired" : version_state_name[from + 1]);
  if (from == STATE_LIVE && to == STATE_SHADOW) return OK; /* a step down needs no pass */
  if (m->n_reports == 0) return error_set(e, E_DENIED, "the version has no report; make one with: vitae validate");
  return passing(m) == 0 ? no_pass(r, id, m, e) : OK;
}

int registry_check(struct registry *r, const char *id, struct error *e) {
  struct arena a;
  struct file_row *rows;
  char dir[4096], found[65];
  int n;
  struct buf scratch = {0};
  arena_init(&a, 64 << 20, 0);
  int rc = registry_path(r, dir, "models", "versions", id, e);
  if (rc == OK) rc = list_files(&a, dir, &rows, &n, e);
  if (rc == OK) content_id(rows, n, found, &scratch);
  if (rc == OK) rc = buf_check(&scratch, e);
  if (rc == OK && strcmp(found, id) != 0) rc = error_set(e, E_CORRUPT, "version %.12s: its files are not those that were signed", id);
  buf_release(&scratch);
  arena_free(&a);
  return rc;
}

int registry_passes(struct registry *r, const char *id, const char *task, bool *out, struct error *e) {
  struct arena a;
  struct manifest m;
  *out = false;
  arena_init(&a, 64 << 20, 0);
  int rc = registry_manifest(r, id, &a, &m, e);
  for (int i = 0; rc == OK && i < m.n_reports; i++)
    if (strcmp(m.reports[i].task, task) == 0) *out = m.reports[i].passes;
  arena_free(&a);
  return rc;
}

int registry_promote(struct registry *r, const char *id, enum version_state to, const char *actor, struct error *e) {
  struct arena a;
  struct state_row *rows;
  struct manifest m;
  int n, at = 0;
  arena_init(&a, 64 << 20, 0);
  int rc = registry_manifest(r, id, &a, &m, e);
  if (rc == OK) rc = read_states(r, &a, &rows, &n, e);
  while (rc == OK && at < n && strcmp(rows[at].id, id) != 0) at++;
  if (rc == OK && at == n) rc = error_set(e, E_NOTFOUND, "the version is not in the registry");
  if (rc == OK) rc = may_move(r, id, &m, rows[at].state, to, e);
  if (rc == OK && (to == STATE_SHADOW || to == STATE_LIVE)) rc = registry_check(r, id, e); /* what will answer is what was validated */
  bool *changed = rc == OK ? arena_array(&a, bool, (size_t)n) : NULL;
  if (rc == OK && !changed) rc = error_set(e, E_NOMEM, "out of memory");
  if (rc == OK) {
    /* exactly one live version: the one before goes back to shadow, ready for a rollback */
    for (int i = 0; i < n && to == STATE_LIVE; i++)
      if (rows[i].state == STATE_LIVE) rows[i].state = STATE_SHADOW, changed[i] = true;
    rows[at].state = to;
    changed[at] = true;
    rc = write_states(r, rows, n, changed, actor, e);
  }
  arena_free(&a);
  return rc;
}

int registry_resolve(struct registry *r, const char *name, char *dir, size_t size, char id[65], struct error *e) {
  struct arena a;
  struct state_row *rows;
  int n, found = -1, many = 0;
  enum version_state state;
  bool by_state = version_state_parse(str_c(name), &state, NULL) == OK;
  arena_init(&a, 64 << 20, 0);
  int rc = read_states(r, &a, &rows, &n, e);
  if (rc == OK && !by_state && strlen(name) < 6) rc = error_set(e, E_USAGE, "name a version by its state or by at least 6 of its letters");
  for (int i = 0; rc == OK && i < n; i++)
    if (by_state ? rows[i].state == state : strncmp(rows[i].id, name, strlen(name)) == 0) {
      if (found < 0) found = i;
      many++;
    }
  if (rc == OK && found < 0)
    rc = error_set(e, E_NOTFOUND, by_state ? "no version is %s" : "no version's name begins with these letters%.0s", name);
  if (rc == OK && !by_state && many > 1) rc = error_set(e, E_USAGE, "%d versions begin with these letters; give more of them", many);
  if (rc == OK) {
    memcpy(id, rows[found].id, 65);
    char path[4096];
    rc = registry_path(r, path, "models", "versions", id, e);
    if (rc == OK && (size_t)snprintf(dir, size, "%s", path) >= size) rc = error_set(e, E_LIMIT, "the path is too long");
  }
  arena_free(&a);
  return rc;
}

/* The vault itself may be closed, and a copy of a site that serves has none: neither is a finding. */
static int verify_key(const struct registry *r, void (*finding)(void *, const char *), void *ctx, struct error *e) {
  char vault[4096], secret[4096], public_path[4096];
  TRY(registry_path(r, vault, "vault", NULL, NULL, e));
  TRY(registry_path(r, secret, "vault", "signing.key", NULL, e));
  TRY(registry_path(r, public_path, "models", "signing.pub", NULL, e));
  if (file_is_dir(vault) && access(secret, F_OK) != 0 && errno == ENOENT && signed_before(r, public_path))
    finding(ctx, "vault/signing.key is missing: nothing can be signed; bring it back from a backup");
  return OK;
}

static void tell(const struct error *e, void (*finding)(void *, const char *), void *ctx) {
  char line[512];
  error_format(e, line, sizeof line);
  finding(ctx, line);
}

static int check_report(const struct registry *r, const char *id, const struct report_row *row, struct error *e) {
  char dir[4096], name[128], path[4096], hash[65];
  uint8_t digest[32];
  TRY(registry_path(r, dir, "models", "versions", id, e));
  snprintf(name, sizeof name, "reports/%s-report.json", row->task);
  TRY(file_join(path, sizeof path, dir, name, e));
  TRY(sha256_file(path, digest, e));
  hash_hex(digest, 32, hash);
  return strcmp(hash, row->hash) == 0 ? OK : error_set(e, E_CORRUPT, "version %.12s: %s is not the one that was signed", id, name);
}

static void verify_one(struct registry *r, const char *id, struct arena *a, void (*finding)(void *, const char *), void *ctx) {
  struct error e = {0};
  struct manifest m;
  if (registry_manifest(r, id, a, &m, &e) < 0) {
    tell(&e, finding, ctx);
    return;
  }
  if (registry_check(r, id, &e) < 0) tell(&e, finding, ctx);
  for (int i = 0; i < m.n_reports; i++) {
    e = (struct error){0};
    if (check_report(r, id, &m.reports[i], &e) < 0) tell(&e, finding, ctx);
  }
}

/* A registration that was broken off leaves a version without reports that no list names, which is a note; one with reports was listed. */
static int verify_unlisted(struct registry *r, const struct state_row *rows, int n, struct arena *a, void (*finding)(void *, const char *),
                           void *ctx, struct error *e) {
  char path[4096], line[200];
  struct dirent *d;
  TRY(registry_path(r, path, "models", "versions", NULL, e));
  DIR *list = opendir(path);
  while (list && (d = readdir(list))) {
    struct manifest m;
    int at = 0;
    if (strlen(d->d_name) != 64) continue;
    while (at < n && strcmp(rows[at].id, d->d_name) != 0) at++;
    if (at < n) continue;
    bool lost = registry_manifest(r, d->d_name, a, &m, NULL) < 0 || m.n_reports > 0;
    snprintf(line, sizeof line, "%sversion %.12s is not in models/states.json", lost ? "" : "note: ", d->d_name);
    finding(ctx, line);
  }
  if (list) closedir(list);
  return OK;
}

int registry_verify(const char *site, void (*finding)(void *, const char *), void *ctx, struct error *e) {
  struct registry *r;
  struct arena a;
  struct state_row *rows;
  int n, live = 0;
  TRY(registry_read(site, &r, e));
  arena_init(&a, 256u << 20, 0);
  int rc = verify_key(r, finding, ctx, e);
  if (rc == OK) rc = read_states(r, &a, &rows, &n, e);
  for (int i = 0; rc == OK && i < n; i++) {
    live += rows[i].state == STATE_LIVE;
    verify_one(r, rows[i].id, &a, finding, ctx);
  }
  if (rc == OK) rc = verify_unlisted(r, rows, n, &a, finding, ctx, e);
  if (live > 1) finding(ctx, "more than one version is live");
  arena_free(&a);
  registry_close(r);
  return rc;
}
