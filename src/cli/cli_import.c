/* vitae import: an open-weight language model into a site, as it is. The files are copied (or linked) under models/language/NAME with their hashes
 * in description.json; nothing is converted. Without a site the file is looked at only. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "cli/cli_site.h"
#include "govern/site.h"
#include "model/lm.h"

static const struct cli_option options[] = {
    {"site", CLI_TEXT, "SITE", "put the model into this site, under models/language/NAME"},
    {"name", CLI_TEXT, "NAME", "what it is called there (default: from the file's name)"},
    {"link", CLI_FLAG, NULL, "link to the files instead of copying them; they must stay where they are, unchanged"},
    {"served-model", CLI_TEXT, "MODEL", "with an address: what the other server calls the model"},
    {"key-file", CLI_TEXT, "FILE", "with an address: the file that holds the other server's key; read at each request, never copied"},
    {"ca", CLI_TEXT, "FILE", "with an address: PEM authority of its certificate, instead of the system's"},
    {"context", CLI_INTEGER, "TOKENS:1..100000000", "with an address: what the model takes, prompt and answer together (8192)"},
    {0}};

/* The files of a model that is a directory; whichever are there are taken. */
static const char *const beside[] = {"config.json",
                                     "tokenizer.json",
                                     "tokenizer_config.json",
                                     "chat_template.jinja",
                                     "generation_config.json",
                                     "1_Pooling/config.json",
                                     "modules.json",
                                     "sentence_bert_config.json",
                                     NULL};

struct import {
  const char *from; /* file or directory */
  char to[4096];    /* finished directory */
  char temp[4200];  /* the one being filled */
  bool link;
  struct json_out out;
  struct buf text;
};

static int name_of(const char *path, const char *wish, char out[128], struct error *e) {
  const char *base = strrchr(path, '/');
  size_t n = 0;
  if (!wish && base && !strcmp(base, "/")) return error_set(e, E_USAGE, "the model's name cannot be told from its path: give --name");
  const char *s = wish ? wish : base ? base + 1 : path;
  if (wish) TRY(cli_name(wish, e));
  for (; n < 127 && s[n]; n++) out[n] = cli_name_letter(s, n) ? s[n] : '-';
  out[n] = 0;
  if (!wish && n > 5 && strcmp(out + n - 5, ".gguf") == 0) out[n - 5] = 0;
  return out[0] ? OK : error_set(e, E_USAGE, "the model needs a name: --name");
}

static int copy(const char *from, const char *to, struct error *e) {
  struct file_map m;
  struct file_writer w;
  TRY(file_map_open(from, &m, e));
  int rc = file_writer_open(&w, to, e);
  if (rc == OK) {
    for (size_t at = 0; at < m.n; at += 1 << 20) file_writer_put(&w, m.p + at, m.n - at < 1 << 20 ? m.n - at : 1 << 20);
    rc = file_writer_commit(&w, e);
  }
  file_map_close(&m);
  return rc;
}

static int take_file(struct import *im, const char *from, const char *name, struct error *e) {
  char to[8400], full[4096], hex[65];
  uint8_t hash[32];
  snprintf(to, sizeof to, "%s/%s", im->temp, name);
  char *slash = strrchr(to, '/');
  *slash = 0;
  TRY(file_mkdirs(to, 0755, e));
  *slash = '/';
  if (im->link) {
    if (!realpath(from, full)) return error_set(e, E_IO, "%s cannot be found", from);
    if (symlink(full, to) != 0) return error_set(e, E_IO, "%s cannot be linked", name);
  } else {
    TRY(copy(from, to, e));
  }
  TRY(sha256_file(to, hash, e));
  hash_hex(hash, 32, hex);
  json_out_object(&im->out);
  json_kv_c(&im->out, "file", name);
  json_kv_i64(&im->out, "bytes", file_size(to));
  json_kv_c(&im->out, "sha256", hex);
  json_out_end(&im->out);
  return OK;
}

static int take_directory(struct import *im, struct error *e) {
  struct arena a;
  struct str *files;
  size_t n = 0, prefix = strlen(im->from) + 1;
  char path[4096];
  arena_init(&a, 0, 0);
  int rc = file_list(&a, im->from, &files, &n, e);
  for (size_t i = 0; i < n && rc == OK; i++)
    if (str_ends(files[i], STR(".safetensors")) && !strchr(files[i].p + prefix, '/'))
      rc = take_file(im, files[i].p, files[i].p + prefix, e);
  arena_free(&a);
  for (int i = 0; beside[i] && rc == OK; i++) {
    rc = file_join(path, sizeof path, im->from, beside[i], e);
    if (rc == OK && file_exists(path)) rc = take_file(im, path, beside[i], e);
  }
  return rc;
}

static void describe(struct json_out *o, const struct lm_facts *f) {
  json_kv_c(o, "format", f->format);
  json_kv_c(o, "family", f->family);
  json_kv_c(o, "title", f->name);
  json_kv_c(o, "licence", f->licence);
  json_kv_c(o, "types", f->types);
  json_kv_i64(o, "layers", f->layers);
  json_kv_i64(o, "width", f->width);
  json_kv_i64(o, "context", f->context);
  json_kv_i64(o, "vocabulary", f->vocabulary);
  json_kv_i64(o, "parameters", (int64_t)f->parameters);
  json_kv_i64(o, "tensor_bytes", (int64_t)f->bytes);
}

static int fill(struct import *im, const struct lm_facts *f, const char *name, struct error *e) {
  char path[4300];
  json_out_init(&im->out, &im->text, true);
  json_out_object(&im->out);
  json_kv_i64(&im->out, "version", 1);
  json_kv_c(&im->out, "name", name);
  describe(&im->out, f);
  json_out_key(&im->out, "files");
  json_out_array(&im->out);
  TRY(file_is_dir(im->from) ? take_directory(im, e) : take_file(im, im->from, "model.gguf", e));
  json_out_end(&im->out);
  json_out_end(&im->out);
  TRY(buf_check(&im->text, e));
  snprintf(path, sizeof path, "%s/description.json", im->temp);
  TRY(file_write_atomic(path, im->text.p, im->text.n, 0644, e));
  TRY(lm_verify(im->temp, e)); /* what lies there now, not what was given */
  return file_rename(im->temp, im->to, e);
}

static int into_site(struct cli *c, const struct lm_facts *f, char to[4096], struct error *e) {
  struct import im = {.from = c->arg[0], .link = cli_flag(c, "link")};
  struct site s;
  char name[128], dir[4096], directory[4096];
  TRY(site_open(cli_text(c, "site", NULL), &s, e));
  TRY(name_of(im.from, cli_text(c, "name", NULL), name, e));
  if (!file_is_dir(im.from) && str_ends(str_c(im.from), STR(".safetensors"))) { /* a model is its directory */
    const char *slash = strrchr(im.from, '/');
    snprintf(directory, sizeof directory, "%.*s", slash ? (int)(slash - im.from) : 1, slash ? im.from : ".");
    im.from = directory;
  }
  TRY(site_path(&s, dir, "models", "language", NULL));
  TRY(file_mkdirs(dir, 0755, e));
  TRY(file_join(im.to, sizeof im.to, dir, name, e));
  if (file_exists(im.to)) return error_set(e, E_USAGE, "the site has a language model of that name already");
  snprintf(im.temp, sizeof im.temp, "%s/.%s.%ld", dir, name, (long)getpid());
  int rc = fill(&im, f, name, e);
  if (rc < 0 && file_exists(im.temp)) (void)!file_remove_tree(im.temp, NULL);
  buf_release(&im.text);
  memcpy(to, im.to, sizeof im.to);
  return rc;
}

static int full_path(struct json_out *o, const char *key, const char *path, struct error *e) {
  char full[4096];
  if (!path) return OK;
  if (!realpath(path, full)) return error_set(e, E_NOTFOUND, "%s is not there", path);
  json_kv_c(o, key, full);
  return OK;
}

/* A model that another server runs: its address instead of files. */
static int upstream(struct cli *c, struct error *e) {
  struct site s;
  struct json_out o;
  struct buf b = {0};
  char name[128], path[4096], file[4200];
  const char *model = cli_text(c, "served-model", NULL);
  if (!cli_text(c, "site", NULL) || !cli_text(c, "name", NULL) || !model || cli_flag(c, "link"))
    return error_set(e, E_USAGE, "an address wants --site, --name and --served-model");
  TRY(site_open(cli_text(c, "site", NULL), &s, e));
  TRY(name_of("", cli_text(c, "name", NULL), name, e));
  TRY(site_path(&s, path, "models", "language", name, NULL));
  if (file_exists(path)) return error_set(e, E_USAGE, "the site has a language model of that name already");
  json_out_init(&o, &b, true);
  json_out_object(&o);
  json_kv_i64(&o, "version", 1);
  json_kv_c(&o, "name", name);
  json_kv_c(&o, "family", "upstream");
  json_out_key(&o, "files");
  json_out_raw(&o, STR("[]"));
  json_out_key(&o, "upstream");
  json_out_object(&o);
  json_kv_c(&o, "url", c->arg[0]);
  json_kv_c(&o, "model", model);
  int rc = full_path(&o, "key_file", cli_text(c, "key-file", NULL), e);
  if (rc == OK) rc = full_path(&o, "ca", cli_text(c, "ca", NULL), e);
  json_kv_i64(&o, "context", cli_integer(c, "context", 8192));
  json_out_end(&o);
  json_out_end(&o);
  if (rc == OK) rc = buf_check(&b, e);
  if (rc == OK) rc = file_mkdirs(path, 0755, e);
  snprintf(file, sizeof file, "%s/description.json", path);
  if (rc == OK) rc = file_write_atomic(file, b.p, b.n, 0644, e);
  buf_release(&b);
  if (rc == OK) printf(c->json ? "{\"wrote\":\"%s\"}\n" : "Wrote %s\n", path);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  struct lm_facts f;
  char text[2000], to[4096] = "";
  struct str from = str_c(c->arg[0]);
  if (str_starts(from, STR("https://")) || str_starts(from, STR("http://"))) return upstream(c, e);
  if (cli_text(c, "served-model", NULL) || cli_text(c, "key-file", NULL) || cli_text(c, "ca", NULL))
    return error_set(e, E_USAGE, "--served-model, --key-file and --ca go with the address of another server");
  TRY(lm_inspect(c->arg[0], &f, e));
  TRY(lm_verify(c->arg[0], e));
  if (cli_text(c, "site", NULL))
    TRY(into_site(c, &f, to, e));
  else if (cli_text(c, "name", NULL) || cli_flag(c, "link"))
    return error_set(e, E_USAGE, "--name and --link want --site");
  if (c->json) {
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b, false);
    json_out_object(&o);
    describe(&o, &f);
    if (to[0]) json_kv_c(&o, "wrote", to);
    json_out_end(&o);
    int rc = cli_print_json(&b, e);
    buf_release(&b);
    return rc;
  }
  lm_facts_format(&f, text, sizeof text);
  fputs(text, stdout);
  if (to[0]) printf("Wrote %s\n", to);
  return OK;
}

const struct command command_import = {"import",
                                       "MODEL.gguf|DIRECTORY|https://… [--site SITE]",
                                       "look at an open-weight language model, and put it into a site as it is",
                                       options,
                                       1,
                                       1,
                                       run};
