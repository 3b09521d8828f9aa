/* vitae tagger train | apply | score: the learned finder of identifiers in text */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "deid/tagger_data.h"

static const struct cli_option options[] = {
    {"format", CLI_TEXT, "FORMAT", "of IN: brat (a directory), jsonl, presidio, or recipe (train only)"},
    {"out", CLI_TEXT, "FILE", "train: the tagger to write; apply: the labelled lines (default: standard output)"},
    {"part", CLI_TEXT, "NAME", "brat: the folder of IN to take (default: train to learn; dev, else test, to score)"},
    {"data", CLI_TEXT, "DIR", "recipe: where its data sets lie (default: $DATA)"},
    {"lists", CLI_TEXT, "PATH", "word lists as features: a file or a directory of *.txt and *.json"},
    {"labels", CLI_TEXT, "FILE", "JSON object: the data set's label -> our label"},
    {"merge", CLI_FLAG, NULL, "learn our labels instead of the data set's"},
    {"only-hash", CLI_TEXT, "K/N", "of N parts of the examples, by a hash of their ids, only part K"},
    {"not-hash", CLI_TEXT, "K/N", "all parts but K"},
    {"swap", CLI_INTEGER, "N:0..20", "learn from N copies too in which entities change places with others of their label (0)"},
    {"epochs", CLI_INTEGER, "N:1..100000", "passes over the examples (12)"},
    {"runs", CLI_INTEGER, "N:1..1000", "learn N times in other orders and keep the mean (1)"},
    {"seed", CLI_INTEGER, "N", "order of the examples (1)"},
    {"scheme", CLI_INTEGER, "N:2..4", "4 = begin, inside, end, single (default); 2 = begin, inside: faster"},
    {"min-count", CLI_INTEGER, "N:1..1000000000", "features seen less often are left out (2)"},
    {"decay", CLI_NUMBER, "X:>0..", "L2 (0.1)"},
    {"rate", CLI_NUMBER, "X:>0..", "first step (0.2)"},
    {"dropout", CLI_NUMBER, "X:0..1", "share of features hidden from each step (0.3)"},
    {"lean", CLI_NUMBER, "X:-100..100", "taken from the score of no entity: finds more, and more wrongly (0.6)"},
    {"least", CLI_NUMBER, "X:>0..", "weights nearer to zero are not written (0.01)"},
    {"templates", CLI_TEXT, "HEX", "feature templates, a bit each, up to 32 digits (default: the first 64)"},
    {0}};

static int choice_of(const struct cli *c, struct tagger_choice *out, struct error *e) {
  const char *only = cli_text(c, "only-hash", NULL), *not = cli_text(c, "not-hash", NULL), *s = only ? only : not ;
  struct str n = str_c(s), k;
  int64_t part, of;
  *out = (struct tagger_choice){.without = !only && not };
  if (!s) return OK;
  k = str_cut(&n, '/');
  if ((only && not ) || str_to_i64(k, &part) < 0 || !n.p || str_to_i64(n, &of) < 0 || of < 1 || of > 1000 || part < 0 || part >= of)
    return error_set(e, E_USAGE, "--only-hash or --not-hash wants K/N with 0 <= K < N <= 1000");
  out->k = (uint32_t)part, out->n = (uint32_t)of;
  return OK;
}

/* A brat corpus is a directory with folders train, dev, test, or one folder. */
static int examples_of(const struct cli *c, const char *in, bool learning, struct tagger_set *s, struct error *e) {
  static const char *const to_learn[] = {"train", NULL}, *const to_score[] = {"dev", "test", NULL};
  const char *format = cli_text(c, "format", "jsonl"), *part = cli_text(c, "part", NULL);
  const char *const *names = learning ? to_learn : to_score;
  struct tagger_choice choice;
  char path[4096];
  TRY(choice_of(c, &choice, e));
  snprintf(path, sizeof path, "%s", in);
  if (strcmp(format, "brat") == 0 && part) TRY(file_join(path, sizeof path, in, part, e));
  for (int i = 0; strcmp(format, "brat") == 0 && !part && names[i]; i++) {
    char folder[4096];
    TRY(file_join(folder, sizeof folder, in, names[i], e));
    if (!file_is_dir(folder)) continue;
    snprintf(path, sizeof path, "%s", folder);
    break;
  }
  TRY(tagger_set_add(s, format, path, &choice, e));
  if (s->n) return OK;
  error_set(e, E_INPUT, "no examples there");
  return error_where(e, path, 0, NULL);
}

static int print_report(const struct cli *c, const struct tagger_report *r, uint32_t texts, struct error *e) {
  if (!c->json) {
    printf("%u texts, %llu tokens, %llu features, %llu spans whose edges lie inside a word\n", texts, (unsigned long long)r->tokens,
           (unsigned long long)r->features, (unsigned long long)r->crossing);
    printf("likelihood of the right tag at the end: %.5f\n", r->accuracy);
    return OK;
  }
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_i64(&o, "texts", texts);
  json_kv_i64(&o, "tokens", (int64_t)r->tokens);
  json_kv_i64(&o, "features", (int64_t)r->features);
  json_kv_i64(&o, "crossing", (int64_t)r->crossing);
  json_kv_f64(&o, "accuracy", r->accuracy);
  json_out_end(&o);
  return cli_print_json(&b, e);
}

static int run_train(struct cli *c, struct error *e) {
  const char *out = cli_text(c, "out", NULL), *labels = cli_text(c, "labels", NULL), *hex = cli_text(c, "templates", NULL);
  if (!out) return error_set(e, E_USAGE, "--out names the file to write");
  struct tagger_report report;
  if (strcmp(cli_text(c, "format", "jsonl"), "recipe") == 0) {
    struct tagger_choice choice;
    TRY(choice_of(c, &choice, e));
    TRY(tagger_recipe(c->arg[1], cli_text(c, "data", env_get("DATA")), &choice, out, &report, e));
    return print_report(c, &report, 0, e);
  }
  struct tagger_options o = {
      .epochs = (int)cli_integer(c, "epochs", 12),
      .seed = (uint64_t)cli_integer(c, "seed", 1),
      .runs = (uint32_t)cli_integer(c, "runs", 1),
      .lists = cli_text(c, "lists", NULL),
      .merge = cli_flag(c, "merge"),
      .scheme = (uint32_t)cli_integer(c, "scheme", 0),
      .min_count = (uint32_t)cli_integer(c, "min-count", 0),
      .decay = cli_number(c, "decay", 0),
      .rate = cli_number(c, "rate", 0),
      .dropout = cli_number(c, "dropout", 0.3),
      .lean = cli_number(c, "lean", 0.6),
      .least = cli_number(c, "least", 0),
  };
  if (hex) tagger_templates(hex, o.templates);
  struct tagger_set s;
  TRY(tagger_set_open(&s, e));
  int rc = examples_of(c, c->arg[1], true, &s, e);
  int64_t swap = cli_integer(c, "swap", 0);
  if (rc == OK) rc = tagger_set_swap(&s, (uint32_t)swap, o.seed, e);
  if (rc == OK && labels) rc = file_read(&s.memory, labels, 1 << 20, &o.labels_map, e);
  if (rc == OK) rc = tagger_train(s.examples, s.n, &o, out, &report, e);
  if (rc == OK) rc = print_report(c, &report, s.n, e);
  tagger_set_close(&s);
  return rc;
}

static double share(uint64_t a, uint64_t b) { return b ? (double)a / (double)b : 0; }

static int score_json(const struct tagger_score *s, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_i64(&o, "texts", (int64_t)s->texts);
  json_kv_i64(&o, "entities", (int64_t)s->gold);
  json_kv_f64(&o, "precision", tagger_precision(s));
  json_kv_f64(&o, "recall", tagger_recall(s));
  json_kv_f64(&o, "f1", tagger_f1(s));
  json_kv_f64(&o, "covered", share(s->covered, s->gold));
  json_kv_f64(&o, "character_recall", share(s->hit_bytes, s->gold_bytes));
  json_kv_f64(&o, "over_redaction", share(s->over_bytes, s->bytes - s->gold_bytes));
  json_kv_f64(&o, "near_precision", share(s->near_found, s->found));
  json_kv_f64(&o, "near_recall", share(s->near_gold, s->gold));
  json_kv_i64(&o, "clean_texts", (int64_t)s->clean_texts);
  json_kv_i64(&o, "clean_touched", (int64_t)s->clean_touched);
  json_kv_f64(&o, "mb_per_second", (double)s->bytes / 1e6 / (s->seconds > 0 ? s->seconds : 1e-9));
  json_out_key(&o, "labels");
  json_out_object(&o);
  for (uint32_t i = 0; i < s->labels; i++) {
    const struct tagger_score_label *l = &s->label[i];
    json_out_key(&o, l->name);
    json_out_object(&o);
    json_kv_i64(&o, "entities", (int64_t)l->gold), json_kv_i64(&o, "found", (int64_t)l->found);
    json_kv_i64(&o, "strict", (int64_t)l->strict), json_kv_i64(&o, "covered", (int64_t)l->covered);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
  return cli_print_json(&b, e);
}

static void score_print(const struct tagger_score *s) {
  struct table t;
  char gold[32], found[32], f1[32], covered[32];
  table_init(&t, 5, "label", "entities", "found", "strict F1", "covered");
  for (uint32_t i = 0; i < s->labels; i++) {
    const struct tagger_score_label *l = &s->label[i];
    snprintf(gold, sizeof gold, "%llu", (unsigned long long)l->gold), snprintf(found, sizeof found, "%llu", (unsigned long long)l->found);
    snprintf(f1, sizeof f1, "%.4f", share(2 * l->strict, l->gold + l->found));
    snprintf(covered, sizeof covered, "%.4f", share(l->covered, l->gold));
    table_row(&t, l->name, gold, found, f1, covered);
  }
  table_print(&t, stdout);
  table_release(&t);
  printf("%llu texts, %llu entities\n", (unsigned long long)s->texts, (unsigned long long)s->gold);
  printf("strict: precision %.4f recall %.4f F1 %.4f\n", tagger_precision(s), tagger_recall(s), tagger_f1(s));
  printf("covered entities %.4f, character recall %.4f, over-redaction %.5f of the characters outside entities\n",
         share(s->covered, s->gold), share(s->hit_bytes, s->gold_bytes), share(s->over_bytes, s->bytes - s->gold_bytes));
  printf("overlap of .7, any label: precision %.4f recall %.4f\n", share(s->near_found, s->found), share(s->near_gold, s->gold));
  printf("texts without an identifier: %llu, touched %llu\n", (unsigned long long)s->clean_texts, (unsigned long long)s->clean_touched);
  printf("speed: %.2f MB/s\n", (double)s->bytes / 1e6 / (s->seconds > 0 ? s->seconds : 1e-9));
}

static int run_score(struct cli *c, struct error *e) {
  if (c->args < 3) return error_set(e, E_USAGE, "vitae tagger score TAGGER IN --format FORMAT");
  struct tagger *t;
  struct tagger_set s;
  struct tagger_score figures;
  TRY(tagger_load(c->arg[1], &t, e));
  int rc = tagger_set_open(&s, e);
  if (rc == OK) rc = examples_of(c, c->arg[2], false, &s, e);
  if (rc == OK) rc = tagger_score(t, s.examples, s.n, &figures, e);
  if (rc == OK && c->json) rc = score_json(&figures, e);
  if (rc == OK && !c->json) score_print(&figures);
  tagger_set_close(&s);
  tagger_free(t);
  return rc;
}

/* Offsets go out as they came in: in code points. */
static size_t points_between(struct str text, uint32_t from, uint32_t to) {
  size_t n = 0;
  for (uint32_t i = from; i < to; i++) n += ((uint8_t)text.p[i] & 0xC0) != 0x80;
  return n;
}

static int apply_line(const struct tagger *t, struct json root, struct text_spans *f, struct buf *b, struct error *e) {
  struct str text = json_str(json_get(root, "text"));
  struct json_out o;
  if (!text.p) return error_set(e, E_INPUT, "a line without text");
  f->n = 0;
  TRY(tagger_find_own(t, NULL, text, f, e));
  buf_clear(b);
  json_out_init(&o, b, false);
  json_out_object(&o);
  json_kv_str(&o, "id", json_str(json_get(root, "id")));
  json_kv_str(&o, "text", text);
  json_out_key(&o, "spans");
  json_out_array(&o);
  size_t points = 0;
  for (uint32_t i = 0, at = 0; i < f->n; at = f->at[i++].start) {
    points += points_between(text, at, f->at[i].start);
    json_out_object(&o);
    json_kv_i64(&o, "start", (int64_t)points);
    json_kv_i64(&o, "end", (int64_t)(points + points_between(text, f->at[i].start, f->at[i].end)));
    json_kv_c(&o, "type", tagger_label(t, f->at[i].label));
    json_kv_c(&o, "label", text_label_name(tagger_label_kind(t, f->at[i].label)));
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
  buf_putc(b, '\n');
  return buf_check(b, e);
}

static int apply_all(const struct tagger *t, struct stream *in, struct file_writer *w, struct error *e) {
  struct json_parser *jp;
  struct json root;
  struct str line;
  struct text_spans f = {0};
  struct buf b = {0};
  int rc = json_parser_new(&jp, e);
  while (rc == OK && (rc = stream_line(in, &line, e)) == OK) {
    if (!str_trim(line).n) continue;
    rc = json_parse(jp, line.p, line.n, line.n + STREAM_PAD, &root, e);
    if (rc == OK) rc = apply_line(t, root, &f, &b, e);
    if (rc < 0) error_where(e, in->path, (int64_t)in->line, NULL);
    if (rc == OK && w) file_writer_put(w, b.p, b.n);
    if (rc == OK && !w && fwrite(b.p, 1, b.n, stdout) != b.n) rc = error_set(e, E_IO, "standard output cannot be written");
  }
  text_spans_release(&f);
  buf_release(&b);
  json_parser_free(jp);
  return rc == E_END ? OK : rc;
}

static int run_apply(struct cli *c, struct error *e) {
  const char *out = cli_text(c, "out", NULL);
  struct tagger *t;
  struct stream in;
  struct file_writer w;
  if (c->args < 3) return error_set(e, E_USAGE, "vitae tagger apply TAGGER IN [--out OUT]");
  TRY(tagger_load(c->arg[1], &t, e));
  int rc = stream_open(&in, c->arg[2], e);
  if (rc == OK) {
    if (out) rc = file_writer_open(&w, out, e);
    if (rc == OK) {
      rc = apply_all(t, &in, out ? &w : NULL, e);
      if (out && rc == OK) rc = file_writer_commit(&w, e);
      if (out && rc < 0) file_writer_abort(&w);
    }
    stream_close(&in);
  }
  tagger_free(t);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  if (strcmp(c->arg[0], "train") == 0) return run_train(c, e);
  if (strcmp(c->arg[0], "score") == 0) return run_score(c, e);
  if (strcmp(c->arg[0], "apply") == 0) return run_apply(c, e);
  return error_set(e, E_USAGE, "tagger does: train, score, apply");
}

const struct command command_tagger = {"tagger",
                                       "train IN --out FILE | score TAGGER IN | apply TAGGER IN",
                                       "learn, measure and run the finder of identifiers in text",
                                       options,
                                       2,
                                       3,
                                       run};
