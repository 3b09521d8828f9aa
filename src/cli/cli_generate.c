/* vitae generate: try a language model on the command line; and measure its speed (bench/run-llm). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "model/lm.h"
#include "model/lm_schema.h"
#include "token/subword.h"

static const struct cli_option options[] = {
    {"raw", CLI_FLAG, NULL, "the prompt as it is, not as a user's turn in the model's chat template"},
    {"system", CLI_TEXT, "TEXT", "a system message before the prompt"},
    {"tokens", CLI_INTEGER, "N:1..1000000", "most tokens to generate (200)"},
    {"temperature", CLI_NUMBER, "T:0..100", "0 = always the likeliest token (0)"},
    {"top-p", CLI_NUMBER, "P:0..1", "from the likeliest tokens that together have probability P"},
    {"top-k", CLI_INTEGER, "K:0..1000000", "from the K likeliest tokens"},
    {"seed", CLI_INTEGER, "N", "of the random numbers (1)"},
    {"stop", CLI_MANY, "TEXT", "end before this text; may be given several times"},
    {"threads", CLI_INTEGER, "N:0..1024", "threads (0 = the cores of this process)"},
    {"column", CLI_TEXT, "NAME", "kernels: ref, avx2 or avx512 (default: the best here)"},
    {"prompts", CLI_TEXT, "FILE", "instead of PROMPT: one JSON string a line; answers come as one JSON object a line"},
    {"streams", CLI_INTEGER, "N:1..256", "prompts answered at a time (1)"},
    {"logits", CLI_TEXT, "FILE", "write the f32 logits after each of the prompt's tokens to FILE (rows of the vocabulary's size)"},
    {"ids", CLI_FLAG, NULL, "the prompt is a list of token ids"},
    {"schema", CLI_TEXT, "FILE", "the answer to PROMPT is JSON of the form of this JSON Schema"},
    {"embed", CLI_TEXT, "FILE", "with --prompts and an encoder: write their vectors to FILE as f32"},
    {"cpu-time", CLI_FLAG, NULL, "measure processor time instead of elapsed time (one thread: says something on a busy machine too)"},
    {"whole", CLI_FLAG, NULL, "do not end at the end token (for measuring)"},
    {0}};

struct job {
  struct subword_ids ids;
  struct subword_ids out;
  struct buf text;
  double first, last; /* seconds */
  int prompt, cached;
  enum lm_end end;
  bool print;
};

static clockid_t clock_of_times = CLOCK_MONOTONIC; /* set once, before anything is measured */

static double now(void) {
  struct timespec t;
  clock_gettime(clock_of_times, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int on_piece(void *ctx, const struct lm_piece *p) {
  struct job *j = ctx;
  if (j->print) fwrite(p->text.p, 1, p->text.n, stdout), fflush(stdout);
  buf_str(&j->text, p->text);
  j->last = now();
  if (!j->first) j->first = j->last;
  j->prompt = p->prompt, j->cached = p->cached, j->end = p->end;
  if (p->end != LM_END_CANCELLED && subword_ids_put(&j->out, p->token, NULL) < 0) return 1;
  return 0;
}

static int prompt_ids(struct cli *c, const struct lm *m, struct str text, struct job *j, struct error *e) {
  const struct subword *w = lm_vocabulary(m);
  if (cli_flag(c, "ids")) {
    for (struct str id; (id = str_cut(&text, ' ')).p;) {
      int64_t v = -1;
      if (!id.n) continue;
      if (str_to_i64(id, &v) < 0 || v < 0 || v >= subword_count(w))
        return error_set(e, E_INPUT, "with --ids, a prompt is token ids of the vocabulary and spaces");
      TRY(subword_ids_put(&j->ids, (uint32_t)v, e));
    }
    return OK;
  }
  const char *system = cli_text(c, "system", NULL);
  if (cli_flag(c, "raw") || !lm_chat(m)[0]) {
    if (system) return error_set(e, E_USAGE, "--system wants a model with a chat template, and no --raw");
    return subword_encode(w, text, SUBWORD_EDGES, &j->ids, e);
  }
  struct lm_message message[2] = {{"system", str_c(system)}, {"user", text}};
  return lm_chat_tokens(m, system ? message : message + 1, system ? 2 : 1, &j->ids, e);
}

static int submit(struct cli *c, struct lm *m, struct job *j, struct lm_schema *schema, struct error *e) {
  const struct cli_value *stops = cli_value(c, "stop");
  struct str stop[CLI_LIST];
  int id;
  for (int i = 0; i < stops->n; i++) stop[i] = str_c(stops->text[i]);
  struct lm_request r = {.token = j->ids.id,
                         .n = j->ids.n,
                         .most = (int)cli_integer(c, "tokens", 200),
                         .temperature = (float)cli_number(c, "temperature", 0),
                         .top_p = (float)cli_number(c, "top-p", 0),
                         .top_k = (int)cli_integer(c, "top-k", 0),
                         .seed = (uint64_t)cli_integer(c, "seed", 1),
                         .stop = stop,
                         .stops = stops->n,
                         .logprobs = -1,
                         .ignore_end = cli_flag(c, "whole"),
                         .schema = schema,
                         .piece = on_piece,
                         .ctx = j};
  return lm_submit(m, &r, &id, e);
}

static void job_release(struct job *j) {
  subword_ids_release(&j->ids);
  subword_ids_release(&j->out);
  buf_release(&j->text);
}

static const char *end_name(enum lm_end end) {
  static const char *const name[] = {"", "end", "stop", "length", "cancelled"};
  return name[end];
}

static void describe(struct json_out *o, const struct job *j, double begin) {
  json_out_object(o);
  json_kv_str(o, "text", (struct str){j->text.p ? j->text.p : "", j->text.n});
  json_kv_c(o, "end", end_name(j->end));
  json_kv_i64(o, "prompt_tokens", j->prompt);
  json_kv_i64(o, "cached_tokens", j->cached);
  json_kv_i64(o, "tokens", (int64_t)j->out.n);
  json_kv_f64(o, "prefill_seconds", j->first - begin);
  json_kv_f64(o, "decode_seconds", j->last - j->first);
  json_out_key(o, "ids");
  json_out_array(o);
  for (size_t i = 0; i < j->out.n; i++) json_out_i64(o, j->out.id[i]);
  json_out_end(o);
  json_out_end(o);
}

static int print_job(const struct job *j, double begin, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  describe(&o, j, begin);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}

static int read_schema(const char *path, struct lm_schema **out, struct error *e) {
  struct arena a;
  struct str text;
  arena_init(&a, 0, 0);
  int rc = file_read(&a, path, 1 << 20, &text, e);
  if (rc == OK) rc = lm_schema_new(text.p, text.n, out, e);
  if (rc < 0) error_where(e, path, 0, NULL);
  arena_free(&a);
  return rc;
}

/* A prompt of --prompts: one JSON string a line; valid until the next */
static int one_line(struct json_parser *parser, struct str line, struct str *out, struct error *e) {
  struct json root;
  TRY(json_parse(parser, line.p, line.n, line.n, &root, e));
  *out = json_str(root);
  return json_kind(root) == JSON_STRING ? OK : error_set(e, E_INPUT, "expected one JSON string a line");
}

/* Vectors of all texts of a file, in its order. */
static int embed_file(struct cli *c, struct lm *m, const char *path, const char *to, struct error *e) {
  struct arena a;
  struct str text, line, *texts;
  struct json_parser *parser = NULL;
  struct str prompt;
  size_t n = 0;
  arena_init(&a, 0, 0);
  int rc = file_read(&a, path, 256 << 20, &text, e);
  for (size_t i = 0; rc == OK && i < text.n; i++) n += text.p[i] == '\n';
  texts = rc == OK ? arena_array(&a, struct str, n + 1) : NULL;
  if (rc == OK && !texts) rc = error_set(e, E_NOMEM, "no memory for the texts");
  if (rc == OK) rc = json_parser_new(&parser, e);
  for (n = 0; rc == OK && text.p && (line = str_cut(&text, '\n')).p;) {
    if (!line.n) continue;
    rc = one_line(parser, line, &prompt, e);
    if (rc < 0) error_where(e, path, (int64_t)n + 1, NULL);
    if (rc == OK) texts[n++] = str_copy(&a, prompt);
  }
  size_t bytes = n * (size_t)lm_width(m) * sizeof(float);
  float *out = rc == OK ? mem_alloc_aligned(bytes + 1) : NULL;
  if (rc == OK && !out) rc = error_set(e, E_NOMEM, "no memory for the vectors");
  double begin = now();
  if (rc == OK) rc = lm_embed(m, texts, n, out, e);
  double seconds = now() - begin;
  if (rc == OK) rc = file_write_atomic(to, out, bytes, 0644, e);
  if (rc == OK && !c->quiet) fprintf(stderr, "%zu texts in %.3f s: %.1f texts/s\n", n, seconds, (double)n / seconds);
  if (out) mem_free_aligned(out, bytes + 1);
  json_parser_free(parser);
  arena_free(&a);
  return rc;
}

static int one_prompt(struct cli *c, struct lm *m, const char *prompt, struct error *e) {
  struct job j = {.print = !c->json};
  double begin = now();
  int rc = prompt_ids(c, m, str_c(prompt), &j, e);
  struct lm_schema *schema = NULL;
  if (rc == OK && cli_text(c, "schema", NULL)) rc = read_schema(cli_text(c, "schema", NULL), &schema, e);
  if (rc == OK) rc = submit(c, m, &j, schema, e);
  while (rc >= 0 && (rc = lm_step(m, e)) > 0) {}
  if (rc == OK && c->json) rc = print_job(&j, begin, e);
  if (rc == OK && !c->json) printf("\n");
  if (rc == OK && !c->json && !c->quiet && j.out.n > 1)
    fprintf(stderr, "%d tokens read at %.0f/s, %zu written at %.1f/s (%s kernels)\n", j.prompt, (j.prompt - j.cached) / (j.first - begin),
            j.out.n, (double)(j.out.n - 1) / (j.last - j.first), lm_column(m));
  job_release(&j);
  lm_schema_free(schema);
  return rc;
}

/* As many prompts at a time as there are streams; answers in the file's order. */
static int many_prompts(struct cli *c, struct lm *m, const char *path, struct error *e) {
  struct arena a;
  struct str text, line;
  struct json_parser *parser = NULL;
  struct str prompt;
  struct job *job = NULL;
  size_t n = 0, cap = 0, next = 0;
  arena_init(&a, 0, 0);
  int rc = file_read(&a, path, 64 << 20, &text, e);
  if (rc == OK) rc = json_parser_new(&parser, e);
  while (rc == OK && text.p && (line = str_cut(&text, '\n')).p) {
    if (!line.n) continue;
    if (n == cap) {
      cap = cap ? 2 * cap : 64;
      struct job *more = mem_realloc(job, cap * sizeof *job);
      if (!more) rc = error_set(e, E_NOMEM, "no memory for the prompts");
      if (rc < 0) break;
      job = more;
    }
    job[n] = (struct job){.print = false};
    rc = one_line(parser, line, &prompt, e);
    if (rc == OK) rc = prompt_ids(c, m, prompt, &job[n], e);
    if (rc < 0) error_where(e, path, (int64_t)n + 1, NULL);
    n++;
  }
  double begin = now();
  int busy = 1;
  while (rc == OK && (next < n || busy)) {
    while (rc == OK && next < n && (rc = submit(c, m, &job[next], NULL, e)) == OK) next++;
    if (rc == E_BUSY) rc = OK;
    if (rc == OK) busy = lm_step(m, e);
    if (busy < 0) rc = busy;
  }
  double seconds = now() - begin;
  size_t tokens = 0;
  for (size_t i = 0; i < n; i++) tokens += job[i].out.n;
  for (size_t i = 0; i < n && rc == OK; i++) rc = print_job(&job[i], begin, e);
  if (rc == OK && !c->quiet)
    fprintf(stderr, "%zu prompts, %zu tokens in %.3f s: %.1f tokens/s\n", n, tokens, seconds, (double)tokens / seconds);
  for (size_t i = 0; i < n; i++) job_release(&job[i]);
  mem_free(job);
  json_parser_free(parser);
  arena_free(&a);
  return rc;
}

static int write_logits(struct cli *c, struct lm *m, const char *prompt, const char *path, struct error *e) {
  struct job j = {.print = false};
  size_t vocabulary;
  TRY(prompt_ids(c, m, str_c(prompt), &j, e));
  struct lm_facts f;
  int rc = lm_inspect(c->arg[0], &f, e);
  vocabulary = f.vocabulary;
  float *out = rc == OK ? mem_alloc_aligned(j.ids.n * vocabulary * 4) : NULL;
  if (rc == OK && !out) rc = error_set(e, E_NOMEM, "no memory for the logits");
  if (rc == OK) rc = lm_logits(m, j.ids.id, (int)j.ids.n, out, e);
  if (rc == OK) rc = file_write_atomic(path, out, j.ids.n * vocabulary * 4, 0644, e);
  if (out) mem_free_aligned(out, j.ids.n * vocabulary * 4);
  job_release(&j);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  struct lm *m;
  struct lm_options o = {
      .threads = (int)cli_integer(c, "threads", 0), .streams = (int)cli_integer(c, "streams", 1), .column = cli_text(c, "column", NULL)};
  const char *file = cli_text(c, "prompts", NULL), *logits = cli_text(c, "logits", NULL);
  if (cli_flag(c, "cpu-time")) clock_of_times = CLOCK_PROCESS_CPUTIME_ID;
  if ((c->args == 2) == (file != NULL)) return error_set(e, E_USAGE, "give a prompt, or --prompts FILE");
  if (cli_text(c, "schema", NULL) && (file || logits)) return error_set(e, E_USAGE, "--schema is of one PROMPT's answer");
  TRY(lm_open(c->arg[0], &o, &m, e));
  int rc = file && cli_text(c, "embed", NULL) ? embed_file(c, m, file, cli_text(c, "embed", NULL), e)
           : logits && !file                  ? write_logits(c, m, c->arg[1], logits, e)
           : file                             ? many_prompts(c, m, file, e)
                                              : one_prompt(c, m, c->arg[1], e);
  lm_close(m);
  return rc;
}

const struct command command_generate = {"generate", "MODEL [PROMPT]", "let an open-weight language model write, to try it", options, 1, 2,
                                         run};
