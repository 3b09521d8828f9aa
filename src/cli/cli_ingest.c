/* vitae ingest SITE --from fhir|hl7v2|csv|omop|meds|vcf|dicom PATH: reader -> wall -> store. The only place where the three meet on disk. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/hash_pieces.h"
#include "base/progress.h"
#include "base/thread.h"
#include "base/time.h"
#include "cli/cli_commands.h"
#include "cli/cli_forgotten.h"
#include "cli/cli_identity.h"
#include "cli/cli_site.h"
#include "cli/cli_wall.h"
#include "deid/deid.h"
#include "deid/event.h"
#include "govern/site.h"
#include "record/dicom.h"
#include "record/hl7v2.h"
#include "record/record.h"
#include "timeline/timeline.h"

static const struct cli_option options[] = {
    {"from", CLI_TEXT, "KIND", "fhir, hl7v2, csv (with --mapping), omop, meds, vcf, or dicom"},
    {"mapping", CLI_TEXT, "MAPPING",
     "mapping of a CSV set: physionet2012, mimic4, eicu, omop54, diabetes130 …, or a file; with hl7v2: other tables (docs/hl7v2.md)"},
    {"source", CLI_TEXT, "NAME",
     "name of the source in the vault (default: the kind or the mapping's name); persons of one source share keys"},
    {"policy", CLI_TEXT, "POLICY", "policy other than the site's own"},
    {"split", CLI_TEXT, "RULE", "for new persons: auto (70/15/15 by hash), train, tuning, held_out, train+tuning (85/15)"},
    {"passphrase-file", CLI_TEXT, "FILE", "opens a vault that is protected by a passphrase"},
    {0}};

struct ingest {
  struct deid *wall;
  struct timeline_writer *writer;
  struct progress bar;
  FILE *quarantine;
  const struct deid_policy *policy;
  struct error *file_error;
  struct wall_summary *sum;
  uint64_t rejected, next_note;
  int failed; /* of the file callback, which cannot return one */
};

static int take_record(void *ctx, const struct record *r, struct error *e) {
  struct ingest *in = ctx;
  if (in->failed < 0) return in->failed;
  return deid_take(in->wall, r, e);
}

/* The list names source files, which may carry a patient's name: it lies in the vault's own directory. */
static void take_reject(void *ctx, const struct record_reject *r) {
  struct ingest *in = ctx;
  in->rejected++;
  wall_rejected(in->sum, r->reason);
  if (!in->quarantine) return;
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "file", r->file ? r->file : "");
  json_kv_i64(&o, "row", (int64_t)r->row);
  json_kv_c(&o, "field", r->field ? r->field : "");
  json_kv_c(&o, "reason", r->reason);
  json_out_end(&o);
  fprintf(in->quarantine, "%s\n", buf_cstr(&b));
  buf_release(&b);
}

static void take_progress(void *ctx, uint64_t done, uint64_t total) {
  struct ingest *in = ctx;
  in->bar.total = total;
  if (done < in->next_note) return;
  in->next_note = done + (1 << 18);
  struct deid_counts n;
  deid_counts(in->wall, &n);
  char events[32], note[96];
  human_count(n.events, events);
  snprintf(note, sizeof note, "%s events through the wall", events);
  progress_update(&in->bar, done, note);
  if (cancel_requested()) in->failed = error_set(in->file_error, E_CANCELLED, "interrupted; the earlier generation stands as it was");
}

/* What went in, for the statement. `name`: SHA-256 of the base name. */
static void take_input(struct wall_summary *sum, const uint8_t name[32], const uint8_t bytes[32], bool pieces) {
  uint8_t all[96];
  char hex[2][65];
  memcpy(all, sum->inputs_hash, 32);
  memcpy(all + 32, bytes, 32);
  memcpy(all + 64, name, 32);
  sha256_of(all, sizeof all, sum->inputs_hash);
  if (sum->inputs_n++ >= WALL_INPUTS) return;
  hash_hex(name, 32, hex[0]);
  hash_hex(bytes, 32, hex[1]);
  buf_printf(&sum->inputs, "%s{\"name_sha256\":\"%s\",\"%s\":\"%s\"", sum->inputs_n > 1 ? "," : "", hex[0],
             pieces ? "sha256_pieces" : "sha256", hex[1]);
  if (pieces) buf_printf(&sum->inputs, ",\"piece_bytes\":%d", SHA256_PIECE);
  buf_putc(&sum->inputs, '}');
}

/* Lineage: the file's own hash, and a hash of its name (names can identify). */
static void take_file(void *ctx, uint32_t index, const char *path) {
  struct ingest *in = ctx;
  if (in->failed < 0) return;
  uint8_t bytes[32], digest[32];
  char hex[65], name[65];
  const char *slash = strrchr(path, '/');
  bool pieces;
  int rc = sha256_source(path, bytes, &pieces, in->file_error);
  if (rc == OK) {
    hash_hex(bytes, 32, hex);
    const char *base = slash ? slash + 1 : path;
    sha256_of(base, strlen(base), digest);
    hash_hex(digest, 8, name);
    rc = timeline_writer_source(in->writer, index, name, hex, pieces, in->file_error);
    take_input(in->sum, digest, bytes, pieces);
  }
  if (rc < 0) in->failed = rc;
}

struct source { /* what --from and --mapping come to */
  const char *kind;
  struct table_mapping *table; /* csv, omop */
  struct hl7v2_tables *hl7v2;
};

static int read_source(const struct source *from, const char *path, const struct record_sink *sink, struct record_stats *stats,
                       struct error *e) {
  const char *kind = from->kind;
  if (from->hl7v2) return hl7v2_read(&(struct hl7v2_options){.tables = from->hl7v2}, path, sink, stats, e);
  if (strcmp(kind, "fhir") == 0) return fhir_read(&(struct fhir_options){0}, path, sink, stats, e);
  if (strcmp(kind, "meds") == 0) return meds_read(path, sink, stats, e);
  if (strcmp(kind, "dicom") == 0) return dicom_read(path, sink, stats, e);
  if (strcmp(kind, "vcf") == 0) {
    char fields[4096];
    TRY(file_join(fields, sizeof fields, file_data_dir(), "policy/vcf-fields.json", e));
    return genome_read(path, fields, sink, stats, e);
  }
  return table_read(from->table, path, sink, stats, e);
}

/* The pass before: who the persons are, so that a link or a name is known before the first event that it concerns. */
static void no_reject(void *ctx UNUSED, const struct record_reject *r UNUSED) {}

static int learn_source(struct ingest *in, const struct source *from, const char *path, struct error *e) {
  struct record_sink sink = {in->wall, deid_learn, no_reject, NULL, NULL};
  struct record_stats stats = {0};
  if (strcmp(from->kind, "fhir") == 0) return fhir_read(&(struct fhir_options){.identities = true}, path, &sink, &stats, e);
  if (from->hl7v2) return hl7v2_read(&(struct hl7v2_options){.tables = from->hl7v2, .identities = true}, path, &sink, &stats, e);
  if (from->table && table_mapping_identifies(from->table)) return table_read_identities(from->table, path, &sink, &stats, e);
  return OK;
}

static int split_rule(const char *name, enum split_rule *out, struct error *e) {
  static const struct {
    const char *name;
    enum split_rule rule;
  } rules[] = {{"auto", SPLIT_AUTO},
               {"train", SPLIT_ALL_TRAIN},
               {"tuning", SPLIT_ALL_TUNING},
               {"held_out", SPLIT_ALL_HELD_OUT},
               {"train+tuning", SPLIT_TRAIN_TUNING}};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (strcmp(name, rules[i].name) == 0) return *out = rules[i].rule, OK;
  return error_set(e, E_USAGE, "--split is auto, train, tuning, held_out or train+tuning");
}

static void writing(void *ctx, uint64_t done, uint64_t total) {
  struct progress *bar = ctx;
  bar->total = total;
  progress_update(bar, done, NULL);
}

/* One life under two policies tells what each of them hides: real dates beside shifted ones are the person's shift. */
static int same_settings(const char *dir, const struct deid_policy *policy, struct error *e) {
  struct arena a;
  struct str text;
  struct json_parser *jp = NULL;
  struct json root;
  arena_init(&a, 0, 0);
  int rc;
  TRY_OUT(timeline_manifest(dir, &a, &text, e));
  TRY_OUT(json_parser_new(&jp, e));
  TRY_OUT(json_parse(jp, text.p, text.n, text.n, &root, e));
  struct json made = json_get(root, "policy");
  struct str settings = json_str(json_get(made, "settings"));
  if (settings.n ? !str_eqc(settings, policy->settings) : !str_eqc(json_str(json_get(made, "name")), policy->name))
    rc = error_set(e, E_MISMATCH,
                   "this site's timelines were made with policy %.*s; another one, with other settings, needs a site of its own",
                   STR_ARG(json_str(json_get(made, "name"))));
out:
  json_parser_free(jp);
  arena_free(&a);
  return rc;
}

/* Where events are laid down: a policy that holds things back keeps all of them in a base store, of which the timelines are what is
 * released. The two ways do not mix in one site: the one would undo the other. */
static int store_dir(const struct site *s, const struct deid_policy *policy, char dir[4096], struct error *e) {
  char base[4096];
  TRY(site_path(s, dir, "timelines", NULL));
  TRY(site_path(s, base, "base", "CURRENT", NULL));
  bool has_base = file_exists(base), has_store = false;
  struct timeline *t;
  struct error none = {0};
  if (timeline_open(dir, &t, &none) == OK) has_store = true, timeline_close(t);
  if (policy->suppress && has_store && !has_base)
    return error_set(e, E_MISMATCH,
                     "this site's timelines were made without suppression; a policy that suppresses needs a site of its own");
  if (!policy->suppress && has_base)
    return error_set(e, E_MISMATCH, "this site's timelines are released with suppression; a policy without it needs a site of its own");
  if (policy->suppress) TRY(site_path(s, dir, "base", NULL));
  if (policy->suppress ? has_base : has_store) TRY(same_settings(dir, policy, e));
  return policy->suppress ? file_mkdirs(dir, 0700, e) : OK;
}

/* Everything after the vault is open. */
static int run_through(struct cli *c, const struct site *s, const struct source *from, const struct deid_policy *policy,
                       struct vault *vault, struct wall_summary *sum, struct error *e) {
  char dir[4096], list[4096];
  struct ingest in = {.policy = policy, .file_error = e, .sum = sum};
  struct timeline_options to = {.policy_name = str_c(policy->name),
                                .policy_hash = str_c(policy->hash),
                                .policy_settings = str_c(policy->settings),
                                .split_seed = 20120101};
  TRY(split_rule(cli_text(c, "split", "auto"), &to.split, e));
  const char *source = cli_text(c, "source", from->table ? table_mapping_name(from->table) : from->kind);
  to.source = str_c(source);
  TRY(store_dir(s, policy, dir, e));
  int rc = timeline_writer_open(dir, &to, &in.writer, e);
  if (rc < 0) return rc;
  struct buf manifest = {0};
  bool finished = false;
  struct event_sink out = {.ctx = in.writer,
                           .event = timeline_append,
                           .take_back = timeline_take_back,
                           .blob = timeline_writer_blob,
                           .blob_dir = timeline_writer_blob_dir(in.writer)};
  TRY_OUT(deid_open(policy, vault, source, &out, &in.wall, e));
  char stamp[32];
  snprintf(stamp, sizeof stamp, "%lld.jsonl", (long long)(time_now() / 1000));
  TRY_OUT(site_path(s, list, "vault", "quarantine", stamp, NULL));
  int fd = open(list, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600); /* it names source files: for the vault's owner alone */
  in.quarantine = fd < 0 ? NULL : fdopen(fd, "w");
  if (!in.quarantine) {
    rc = error_set(e, E_IO, "the quarantine list cannot be written: %s", strerror(errno));
    goto out;
  }
  struct record_sink sink = {&in, take_record, take_reject, take_progress, take_file};
  double began = time_monotonic();
  progress_start(&in.bar, "ingest", 0, PROGRESS_BYTES);
  TRY_OUT(learn_source(&in, from, c->arg[1], e));
  TRY_OUT(read_source(from, c->arg[1], &sink, &sum->stats, e));
  TRY_OUT(in.failed);
  TRY_OUT(deid_finish(in.wall, e));
  progress_end(&in.bar, "read");
  deid_counts(in.wall, &sum->counts);
  if (sum->counts.events == 0 && sum->counts.objects_refused) {
    rc = error_set(e, E_DENIED, "policy %s lets no genome out: a genome identifies its person (docs/deid.md); nothing was stored",
                   policy->name);
    goto out;
  }
  if (sum->counts.events == 0 && sum->counts.taken_back == 0) {
    rc = error_set(e, E_INPUT, "nothing in that path became an event (%llu records rejected, see the quarantine list); nothing was stored",
                   (unsigned long long)in.rejected);
    goto out;
  }
  struct json_out o;
  json_out_init(&o, &manifest, false);
  deid_manifest(in.wall, &o);
  TRY_OUT(buf_check(&manifest, e));
  TRY_OUT(vault_commit(vault, e));
  struct progress bar;
  progress_start(&bar, "store", 1, PROGRESS_COUNT);
  TRY_OUT(timeline_writer_finish(in.writer, (struct str){manifest.p, manifest.n}, writing, &bar, e));
  in.writer = NULL; /* gone once it has succeeded */
  progress_end(&bar, "stored");
  finished = true;
  sum->seconds = time_monotonic() - began;
  sum->manifest = manifest;
  snprintf(sum->source, sizeof sum->source, "%s", source);
  manifest = (struct buf){0};
out:
  if (in.bar.active) progress_end(&in.bar, "stopped");
  if (in.quarantine) {
    fclose(in.quarantine);
    if (in.rejected == 0) remove(list);
    if (in.rejected && finished) snprintf(sum->quarantine, sizeof sum->quarantine, "%s", list);
  }
  if (in.wall) deid_close(in.wall);
  if (in.writer) timeline_writer_abort(in.writer);
  buf_release(&manifest);
  return rc;
}

static bool under(const char *path, const char *dir) {
  size_t n = strlen(dir);
  return strncmp(path, dir, n) == 0 && (path[n] == '/' || (n && dir[n - 1] == '/'));
}

/* Names of files inside the input's directory may carry a patient's name: the path that was typed is said instead. */
static void mask(const struct site *s, const char *input, struct error *e) {
  bool own = (under(e->file, s->path) || under(e->file, file_data_dir())) && !under(e->file, input);
  if (e->file[0] && file_is_dir(input) && !own) error_where(e, input, 0, NULL);
}

static void say_left_out(uint64_t n, struct error *e) {
  size_t at = strlen(e->message);
  snprintf(e->message + at, sizeof e->message - at, "; left out: %llu links and other entries that are no regular files",
           (unsigned long long)n);
}

static int run(struct cli *c, struct error *e) {
  struct site s;
  TRY(site_open(c->arg[0], &s, e));
  const char *kind = cli_text(c, "from", NULL), *name = cli_text(c, "mapping", NULL);
  if (!kind) return error_set(e, E_USAGE, "--from says what the files are: fhir, hl7v2, csv, omop, meds, vcf or dicom");
  bool omop = strcmp(kind, "omop") == 0, csv = omop || strcmp(kind, "csv") == 0;
  static const char *const others[] = {"fhir", "hl7v2", "meds", "vcf", "dicom"};
  bool known = csv;
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) known = known || strcmp(kind, others[i]) == 0;
  if (!known) return error_set(e, E_USAGE, "--from is fhir, hl7v2, csv, omop, meds, vcf or dicom");
  if (csv && !omop && !name)
    return error_set(e, E_USAGE, "--from csv wants --mapping: physionet2012, mimic4, eicu, omop54, diabetes130 or a file");
  if (!file_exists(c->arg[1])) return error_set(e, E_NOTFOUND, "there is nothing at %s", c->arg[1]);
  if (!file_is_dir(c->arg[1]) && !file_is_regular(c->arg[1])) return error_set(e, E_INPUT, "%s is no regular file", c->arg[1]);
  char file[4096];
  struct deid_policy policy;
  struct source from = {.kind = kind};
  struct vault *vault = NULL;
  struct arena a;
  char *phrase;
  struct wall_summary sum = {0};
  TRY(site_find(&s, "policy", cli_text(c, "policy", s.policy), file, e));
  TRY(deid_policy_load(file, &policy, e));
  arena_init(&a, 1 << 20, ARENA_WIPE);
  int rc = OK;
  if (csv) {
    TRY_OUT(site_find(&s, "mapping", name ? name : "omop54", file, e));
    TRY_OUT(table_mapping_load(file, &from.table, e));
  } else if (strcmp(kind, "hl7v2") == 0) {
    TRY_OUT(site_find(&s, "mapping", name ? name : "hl7v2", file, e));
    TRY_OUT(hl7v2_tables_load(file, &from.hl7v2, e));
  }
  TRY_OUT(forgotten_unfinished(&s, e));
  TRY_OUT(cli_passphrase(c, &a, &phrase, e));
  TRY_OUT(site_path(&s, file, "vault", NULL));
  TRY_OUT(vault_open(file, phrase, &vault, e));
  TRY_OUT(cli_identity(&s, vault, e));
  TRY_OUT(forgotten_vault_fits(&s, vault, 0, e));
  sum.left_out = file_left_out(c->arg[1], from.table != NULL);
  rc = run_through(c, &s, &from, &policy, vault, &sum, e);
  if (rc < 0) mask(&s, c->arg[1], e);
  if ((rc == E_INPUT || rc == E_NOTFOUND) && sum.left_out && !sum.stats.records) say_left_out(sum.left_out, e);
  if (rc < 0) goto out;
  TRY_OUT(wall_report(c, &s, &policy, &sum, e));
out:
  if (vault) vault_close(vault);
  table_mapping_free(from.table);
  hl7v2_tables_free(from.hl7v2);
  buf_release(&sum.manifest);
  buf_release(&sum.inputs);
  arena_free(&a);
  return rc;
}

const struct command command_ingest = {
    "ingest", "SITE PATH --from KIND", "take records in: read, de-identify, lay down as timelines", options, 2, 2, run};
