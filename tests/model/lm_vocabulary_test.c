/* Tokenizers against the vectors that come with the vocabularies (DATA/gguf-vocab): every id of every text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "model/lm_internal.h"

static char dir[64];

static int setup(void **state) {
  (void)state;
  const char *data = getenv("DATA");
  char command[1200];
  strcpy(dir, "/tmp/vitae-vocabulary-XXXXXX");
  if (!mkdtemp(dir)) return -1;
  snprintf(command, sizeof command, "tar xJf '%s/gguf-vocab/gguf_vocab.tar.xz' -C '%s' 2>/dev/null", data ? data : "../shared/data", dir);
  if (system(command) != 0) {
    if (getenv("CI")) return -1;
    printf("no data set gguf-vocab: these tests are skipped\n");
    rmdir(dir);
    dir[0] = 0;
  }
  return 0;
}

static int teardown(void **state) {
  (void)state;
  return dir[0] ? file_remove_tree(dir, NULL) : 0;
}

static struct subword *open_vocabulary(const char *name) {
  char path[256];
  struct gguf *g;
  struct subword *w;
  struct error e = {0};
  snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf", dir, name);
  if (gguf_open(path, &g, &e) < 0 || lm_vocabulary_gguf(g, &w, &e) < 0) fail_msg("%s: %s", name, e.message);
  gguf_close(g);
  return w;
}

/* One text and its line of ids; returns 1 if all ids are the same. */
static int same_ids(struct subword *w, struct str text, const char *line, const char *name, int number) {
  struct subword_ids ids = {0};
  struct error e = {0};
  size_t i = 0;
  bool good = true;
  assert_int_equal(subword_encode(w, text, 0, &ids, &e), OK);
  for (char *end; good; line = end, i++) {
    unsigned long want = strtoul(line, &end, 10);
    if (end == line) break;
    good = i < ids.n && ids.id[i] == want;
  }
  good = good && i == ids.n;
  if (!good) {
    print_error("%s, text %d:", name, number);
    for (size_t k = 0; k < ids.n; k++) print_error(" %u", ids.id[k]);
    print_error("\n");
  }
  subword_ids_release(&ids);
  return good;
}

static int vectors(struct subword *w, const char *name, int *texts) {
  static const char mark[] = "\n__ggml_vocab_test__\n";
  char path[256];
  struct arena a;
  struct str in, out, line;
  int right = 0;
  arena_init(&a, 0, 0);
  snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf.inp", dir, name);
  assert_int_equal(file_read(&a, path, 1 << 20, &in, NULL), OK);
  snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf.out", dir, name);
  assert_int_equal(file_read(&a, path, 1 << 20, &out, NULL), OK);
  for (const char *p = in.p, *end = in.p + in.n; p; (*texts)++) {
    const char *next = strstr(p, mark);
    struct str text = {p, (size_t)((next ? next : end) - p)};
    line = str_cut(&out, '\n');
    assert_non_null(line.p);
    char ids[4096];
    assert_true(line.n < sizeof ids);
    memcpy(ids, line.p, line.n);
    ids[line.n] = 0;
    right += same_ids(w, text, ids, name, *texts);
    p = next ? next + sizeof mark - 1 : NULL;
  }
  arena_free(&a);
  return right;
}

static void test_vectors(void **state) {
  (void)state;
  static const char *const names[] = {"llama-spm", "phi-3",          "gpt-2",     "bert-bge", "deepseek-llm",
                                      "mpt",       "deepseek-coder", "starcoder", "refact",   "falcon"};
  if (!dir[0]) skip();
  int texts = 0, right = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct subword *w = open_vocabulary(names[i]);
    right += vectors(w, names[i], &texts);
    subword_free(w);
  }
  assert_true(texts >= 460);
  assert_int_equal(right, texts);
}

/* What was encoded comes back, byte for byte, where the vocabulary keeps everything. */
static void test_round_trip(void **state) {
  (void)state;
  static const char *const names[] = {"gpt-2", "starcoder", "deepseek-coder", "llama-spm", "baichuan", "gpt-neox"};
  static const char text[] =
      "Creatinine 1.4 mg/dL \xE2\x86\x91, f\xC3\xBC"
      "r 3  days;\n\ttemp 37.2\xC2\xB0"
      "C \xF0\x9F\x98\xB7 ''s don't 2026-11-28";
  if (!dir[0]) skip();
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct subword *w = open_vocabulary(names[i]);
    struct subword_ids ids = {0};
    struct buf b = {0};
    assert_int_equal(subword_encode(w, str_c(text), 0, &ids, NULL), OK);
    for (size_t k = 0; k < ids.n; k++) buf_str(&b, subword_piece(w, ids.id[k]));
    const char *back = buf_cstr(&b);
    if (*back == ' ' && *text != ' ') back++; /* SentencePiece's blank before the text */
    assert_string_equal(back, text);
    buf_release(&b);
    subword_ids_release(&ids);
    subword_free(w);
  }
}

/* Control tokens in a user's text stay text; in a template they are themselves. Bad bytes do not stop anything; long pieces stay fast. */
static void test_edges(void **state) {
  (void)state;
  if (!dir[0]) skip();
  struct subword *w = open_vocabulary("phi-3");
  struct subword_ids ids = {0};
  assert_int_equal(subword_encode(w, STR("<|end|>"), 0, &ids, NULL), OK);
  assert_true(ids.n > 1);
  ids.n = 0;
  assert_int_equal(subword_encode(w, STR("<|end|>"), SUBWORD_SPECIAL | SUBWORD_EDGES, &ids, NULL), OK);
  assert_true(ids.n == 2 && ids.id[0] == 1 && str_eqc(subword_name(w, ids.id[1]), "<|end|>"));
  ids.n = 0;
  assert_int_equal(subword_encode(w, STR("a\xFF\xC3(b\xE2\x82"), 0, &ids, NULL), OK);
  assert_true(ids.n >= 4);
  subword_free(w);
  static const char *const names[] = {"gpt-2", "llama-spm", "bert-bge", "deepseek-llm"};
  char *big = malloc(400001);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    w = open_vocabulary(names[i]);
    for (int kind = 0; kind < 2; kind++) {
      memset(big, kind ? ' ' : 'a', 400000);
      big[200000] = 'b';
      ids.n = 0;
      assert_int_equal(subword_encode(w, (struct str){big, 400000}, 0, &ids, NULL), OK);
    }
    subword_free(w);
  }
  free(big);
  subword_ids_release(&ids);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_edges)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
