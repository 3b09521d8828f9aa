/* vitae deid --from text: texts by themselves. IN: JSON lines {"id", "text", "person"?}, plain text, a directory of .txt, or "-".
 * OUT ("-" = standard output): JSON lines {"id", "text", "spans": [{"start", "end", "label", "by"}]}, spans in the original text. */
#include <sodium.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli_deid.h"
#include "deid/deid.h"
#include "deid/text.h"
#include "govern/site.h"

enum { PLAIN_LIMIT = 64 << 20, KNOWN_MOST = 512, SHIFT_DAYS = 365 };

struct run {
  struct text_scrubber *scrubber;
  struct text_work *work;
  struct vault *vault; /* NULL: nobody's identifiers are known */
  struct json_parser *json;
  struct buf out;
  FILE *to;
  uint8_t key[32]; /* of this run */
  enum text_mode mode;
  enum deid_dates dates;
  bool spans_only, bytes;
  struct arena person; /* identifiers of one person; wiped */
  struct text_known known[KNOWN_MOST];
  int shift_days_max; /* of the policy */
  bool drawn;         /* a shift that the vault has to keep */
  uint64_t texts, dropped, left, labels[TEXT_LABELS], in_bytes;
};

/* ---- the person ---- */

static int person_of(struct run *r, struct json root, struct text_person *who, struct error *e) {
  struct str person = json_str(json_get(root, "person")), source = json_str(json_get(root, "source"));
  int64_t pseudonym;
  char name[64] = "fhir";
  *who = (struct text_person){.dates = r->dates, .language = json_str(json_get(root, "language"))};
  bool day_first = false;
  if (json_bool(json_get(root, "day_first"), &day_first)) who->day_first = day_first;
  crypto_generichash(who->seed, sizeof who->seed, (const uint8_t *)person.p, person.n, r->key, sizeof r->key);
  who->shift_days = (int32_t)((who->seed[0] | (uint32_t)who->seed[1] << 8) % (2 * SHIFT_DAYS)) - SHIFT_DAYS;
  if (who->shift_days >= 0) who->shift_days++;
  arena_reset(&r->person);
  if (!r->vault || !person.n) return OK;
  if (source.n && source.n < sizeof name) memcpy(name, source.p, source.n), name[source.n] = 0;
  TRY(vault_find(r->vault, name, person, &pseudonym, e));
  bool drawn;
  TRY(text_person_of(r->vault, pseudonym, r->shift_days_max, &r->person, r->known, KNOWN_MOST, who, &drawn, e));
  r->drawn |= drawn;
  return OK;
}

/* ---- writing ---- */

/* Bytes to code points, going forward only. */
struct counter {
  size_t at, points;
};
static size_t offset(const struct run *r, struct counter *c, struct str text, size_t byte) {
  if (r->bytes) return byte;
  if (byte > text.n) byte = text.n;
  const uint64_t ones = UINT64_C(0x0101010101010101);
  for (uint64_t v; c->at + 8 <= byte; c->at += 8) { /* eight bytes, less those that go on with a character: 10xxxxxx */
    memcpy(&v, text.p + c->at, 8);
    c->points += 8 - ((v >> 7 & ~(v >> 6) & ones) * ones >> 56);
  }
  for (; c->at < byte; c->at++) c->points += ((uint8_t)text.p[c->at] & 0xC0) != 0x80;
  return c->points;
}

static void write_finders(struct json_out *o, int by) {
  static const char *const names[] = {"known", "rule", "list", "tagger", "repeat"};
  json_out_key(o, "by");
  json_out_array(o);
  for (int i = 0; i < 5; i++)
    if (by >> i & 1) json_out_c(o, names[i]);
  json_out_end(o);
}

static void write_spans(const struct run *r, struct json_out *o, struct str text, const struct text_result *res) {
  struct counter c = {0};
  json_out_key(o, "spans");
  json_out_array(o);
  for (uint32_t i = 0; i < res->spans.n; i++) {
    const struct text_span *s = &res->spans.at[i];
    json_out_object(o);
    json_kv_i64(o, "start", (int64_t)offset(r, &c, text, s->start));
    json_kv_i64(o, "end", (int64_t)offset(r, &c, text, s->end));
    json_kv_c(o, "label", text_label_name(s->label));
    write_finders(o, s->by);
    json_out_end(o);
  }
  json_out_end(o);
}

static void write_id(struct json_out *o, struct json id, struct str name) {
  int64_t n;
  if (json_kind(id) == JSON_STRING)
    json_kv_str(o, "id", json_str(id));
  else if (json_i64(id, &n))
    json_kv_i64(o, "id", n);
  else
    json_kv_str(o, "id", name);
}

static int one_text(struct run *r, struct str text, struct json root, struct str name, struct error *e) {
  struct text_person who;
  struct text_result res;
  struct json_out o;
  TRY(person_of(r, root, &who, e));
  int rc = text_scrub(r->work, text, &who, r->mode, &res, e);
  if (rc < 0 && rc != E_LIMIT) return rc;
  buf_clear(&r->out);
  json_out_init(&o, &r->out, false);
  json_out_object(&o);
  write_id(&o, json_get(root, "id"), name);
  if (rc < 0 || (res.residual && !r->spans_only)) {
    json_kv_c(&o, "dropped", rc < 0 ? "limit" : "residual");
    r->dropped++;
  } else if (!r->spans_only)
    json_kv_str(&o, "text", res.text);
  if (rc == OK) write_spans(r, &o, text, &res);
  if (rc == OK && res.residual) json_kv_i64(&o, "residual", res.residual);
  json_out_end(&o);
  buf_putc(&r->out, '\n');
  TRY(buf_check(&r->out, e));
  r->texts++;
  r->in_bytes += text.n;
  for (int i = 0; rc == OK && i < TEXT_LABELS; i++) r->labels[i] += res.label_n[i];
  if (e) *e = (struct error){0};
  return fwrite(r->out.p, 1, r->out.n, r->to) == r->out.n ? OK : error_set(e, E_IO, "cannot write the output");
}

/* ---- reading ---- */

static int one_line(struct run *r, const struct stream *s, struct str line, struct error *e) {
  struct json root;
  if (str_trim(line).n == 0) return OK;
  TRY(json_parse(r->json, line.p, line.n, line.n + STREAM_PAD, &root, e));
  struct json text = json_get(root, "text");
  if (json_kind(text) != JSON_STRING) return error_set(e, E_INPUT, "expected an object with \"text\"");
  (void)s;
  return one_text(r, json_str(text), root, STR_NONE, e);
}

static int json_lines(struct run *r, struct stream *s, struct str line, struct error *e) {
  int rc = OK;
  while (rc == OK) {
    rc = s->overlong ? error_set(e, E_LIMIT, "a line is too long") : one_line(r, s, line, e);
    if (rc < 0) return error_where(e, s->path, (int64_t)s->line, NULL), rc;
    rc = stream_line(s, &line, e);
  }
  return rc == E_END ? OK : rc;
}

/* Everything of a stream whose first line was taken already. */
static int plain(struct run *r, struct stream *s, struct str first, const char *name, struct error *e) {
  struct buf all = {0};
  struct str line = first;
  struct json none = {0};
  int rc = OK;
  while (rc == OK) {
    buf_str(&all, line);
    buf_putc(&all, '\n');
    if (all.n > PLAIN_LIMIT || s->overlong) rc = error_set(e, E_LIMIT, "a text is too long");
    if (rc == OK) rc = stream_line(s, &line, e);
  }
  if (rc == E_END) rc = buf_check(&all, e);
  if (rc == OK) rc = one_text(r, (struct str){all.p, all.n}, none, str_c(name), e);
  if (all.p) mem_wipe(all.p, all.cap);
  buf_release(&all);
  return rc;
}

static int one_file(struct run *r, const char *path, bool always_plain, struct error *e) {
  struct stream s;
  struct str line;
  const char *slash = strrchr(path, '/');
  TRY(stream_open(&s, strcmp(path, "-") == 0 ? "/dev/stdin" : path, e));
  int rc = stream_line(&s, &line, e);
  if (rc == OK) {
    struct str t = str_trim(line);
    rc = !always_plain && t.n && t.p[0] == '{' ? json_lines(r, &s, line, e) : plain(r, &s, line, slash ? slash + 1 : path, e);
  }
  stream_close(&s);
  return rc == E_END ? OK : rc;
}

static int all_files(struct run *r, const char *path, struct error *e) {
  struct arena a;
  struct str *files;
  size_t n;
  if (strcmp(path, "-") == 0 || !file_is_dir(path)) return one_file(r, path, false, e);
  arena_init(&a, 256 << 20, 0);
  int rc = file_list(&a, path, &files, &n, e);
  for (size_t i = 0; rc == OK && i < n; i++)
    if (str_ends(files[i], STR(".txt"))) rc = one_file(r, files[i].p, true, e);
  arena_free(&a);
  return rc;
}

/* ---- the command ---- */

static int set_up(struct run *r, struct cli *c, struct deid_policy *policy, struct error *e) {
  const char *mode = cli_text(c, "mode", NULL), *name = cli_text(c, "policy", NULL), *config = cli_text(c, "text-config", NULL);
  const char *offsets = cli_text(c, "offsets", "codepoints");
  char path[4096];
  r->dates = DEID_DATES_YEAR;
  if (name) {
    TRY(site_find(NULL, "policy", name, path, e));
    TRY(deid_policy_load(path, policy, e));
    r->dates = policy->dates, r->shift_days_max = policy->shift_days_max;
    if (!mode) mode = policy->text == DEID_TEXT_SURROGATE ? "surrogate" : "tag";
    if (!config && policy->text_path[0]) config = policy->text_path;
  }
  if (!mode) mode = "tag";
  r->spans_only = strcmp(mode, "spans") == 0;
  r->mode = strcmp(mode, "surrogate") == 0 ? TEXT_SURROGATE : TEXT_TAG;
  if (!r->spans_only && r->mode == TEXT_TAG && strcmp(mode, "tag") != 0) return error_set(e, E_USAGE, "--mode is tag, surrogate or spans");
  r->bytes = strcmp(offsets, "bytes") == 0;
  if (!r->bytes && strcmp(offsets, "codepoints") != 0) return error_set(e, E_USAGE, "--offsets is bytes or codepoints");
  if (!config) {
    TRY(file_join(path, sizeof path, file_data_dir(), "policy/text.json", e));
    config = path;
  }
  TRY(text_scrubber_open(config, &r->scrubber, e));
  return text_work_new(r->scrubber, &r->work, e);
}

static int open_vault(struct run *r, struct cli *c, struct error *e) {
  const char *dir = cli_text(c, "vault", NULL), *file = cli_text(c, "passphrase-file", NULL);
  struct str secret = {0};
  struct arena a;
  if (!dir) return OK;
  arena_init(&a, 1 << 16, ARENA_WIPE);
  int rc = file ? file_read(&a, file, 4096, &secret, e) : OK;
  if (rc == OK && file) {
    char *word = arena_strndup(&a, str_trim(secret).p, str_trim(secret).n);
    rc = word ? vault_open(dir, word, &r->vault, e) : error_set(e, E_NOMEM, "no memory");
  } else if (rc == OK)
    rc = vault_open(dir, NULL, &r->vault, e);
  arena_free(&a);
  return rc;
}

static void say(const struct run *r, const struct cli *c) {
  struct buf b = {0};
  struct json_out o;
  if (c->quiet) return;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_i64(&o, "texts", (int64_t)r->texts);
  json_kv_i64(&o, "bytes", (int64_t)r->in_bytes);
  json_kv_i64(&o, "dropped", (int64_t)r->dropped);
  json_kv_c(&o, "text_hash", text_scrubber_hash(r->scrubber));
  json_out_key(&o, "spans");
  json_out_object(&o);
  for (int i = 0; i < TEXT_LABELS; i++)
    if (r->labels[i]) json_kv_i64(&o, text_label_name(i), (int64_t)r->labels[i]);
  json_out_end(&o);
  json_out_end(&o);
  fprintf(stderr, "%s\n", buf_cstr(&b));
  buf_release(&b);
}

static int open_out(struct run *r, const char *path, struct error *e) {
  r->to = strcmp(path, "-") == 0 ? stdout : fopen(path, "wb");
  return r->to ? OK : error_set(e, E_IO, "cannot open %s for writing", path);
}

/* Shifts drawn now go into the vault, also when a later line was bad: what is written already was moved by them. */
static bool keep_shifts(struct run *r, int *rc, struct error *e) {
  struct error why = {0};
  if (!r->drawn || vault_commit(r->vault, &why) == OK) return true;
  *rc = why.code;
  if (e) *e = why;
  return false;
}

int cli_deid_text(struct cli *c, struct error *e) {
  struct deid_policy *policy = mem_alloc(sizeof *policy);
  struct run *r = mem_alloc(sizeof *r);
  int rc = policy && r && sodium_init() >= 0 ? OK : error_set(e, E_NOMEM, "no memory for texts");
  if (r) memset(r, 0, sizeof *r);
  if (rc == OK) {
    arena_init(&r->person, 4 << 20, ARENA_WIPE);
    randombytes_buf(r->key, sizeof r->key);
    rc = set_up(r, c, policy, e);
    if (rc == OK) rc = json_parser_new(&r->json, e);
    if (rc == OK) rc = open_vault(r, c, e);
    if (rc == OK) rc = open_out(r, c->arg[1], e);
    if (rc == OK) rc = all_files(r, c->arg[0], e);
    bool kept = keep_shifts(r, &rc, e);
    if (r->to && r->to != stdout && fclose(r->to) != 0 && rc == OK) rc = error_set(e, E_IO, "cannot write the output");
    if (!kept && r->to && r->to != stdout) (void)remove(c->arg[1]); /* its dates were moved by shifts that nobody knows */
    if (r->to == stdout && fflush(stdout) != 0 && rc == OK) rc = error_set(e, E_IO, "cannot write the output");
    if (rc == OK) say(r, c);
    text_work_free(r->work);
    text_scrubber_close(r->scrubber);
    vault_close(r->vault);
    json_parser_free(r->json);
    buf_release(&r->out);
    arena_free(&r->person);
    mem_wipe(r, sizeof *r);
  }
  mem_free(r);
  mem_free(policy);
  return rc;
}
