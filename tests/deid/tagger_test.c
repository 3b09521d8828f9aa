/* The tagger: tokens on raw bytes, labels that fit together, the file, the trainer's promise of equal bytes, and a corpus in small. */
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "deid/tagger_data.h"
#include "deid/tagger_grammar.h"
#include "deid/tagger_private.h"
#include "deid/deid_helper.h"

static char folder[64];
static const char *in_folder(const char *name) {
  static char path[4][256];
  static int turn;
  snprintf(path[turn = (turn + 1) & 3], sizeof path[0], "%s/%s", folder, name);
  return path[turn];
}

static const char *data_dir(void) {
  const char *d = getenv("DATA");
  return d ? d : "../shared/data";
}

/* ---- tokens */
struct tokens {
  struct tagger_token t[300];
  uint32_t scratch[2048], n;
};
static void tokens_of(struct str text, struct tokens *k) {
  assert_true(tagger_token_count(text) < 280);
  k->n = tagger_tokens(text, k->t);
  assert_int_equal(k->n, tagger_token_count(text));
  assert_true(tagger_scratch(k->n) <= 2048);
  tagger_context(k->t, k->n, NULL, 0, NULL, k->scratch);
}
static void expect_token(const struct tokens *k, uint32_t i, struct str text, const char *word) {
  const struct tagger_token *t = &k->t[TAGGER_EDGE + i];
  assert_int_equal(t->end - t->start, strlen(word));
  assert_memory_equal(text.p + t->start, word, strlen(word));
}

static void tokens_keep_bytes(void **state) {
  (void)state;
  struct tokens k;
  struct str text = STR("Apellidos: Núñez-Gómez.\nNHC:368503 ÁvilaMadrid 2º");
  static const char *const want[] = {"Apellidos", ":", "Núñez", "-", "Gómez", ".", "NHC", ":", "368503", "Ávila", "Madrid", "2", "º"};
  tokens_of(text, &k);
  assert_int_equal(k.n, sizeof want / sizeof *want);
  for (uint32_t i = 0; i < k.n; i++) expect_token(&k, i, text, want[i]);
  const struct tagger_token *t = k.t + TAGGER_EDGE;
  assert_int_equal(t[2].shape, SHAPE_TITLE);
  assert_int_equal(t[6].shape, SHAPE_CAPITALS);
  assert_int_equal(t[6].space, SPACE_LINE);
  assert_int_equal(t[8].space, SPACE_NONE);
  assert_int_equal(t[2].plain, tagger_word_hash(STR("nunez")));
  assert_int_equal(t[2].field, t[4].field); /* what stands behind a colon knows the word before it */
  assert_int_not_equal(t[2].field, t[8].field);
}

static void bytes_that_are_no_text_are_tokens_too(void **state) {
  (void)state;
  struct tokens k;
  struct str text = {"a\xff\xc3(\xe2\x82 b\xf0\x9f\x98\x80\0c", 14};
  tokens_of(text, &k);
  uint32_t last = 0;
  for (uint32_t i = 0; i < k.n; i++) {
    const struct tagger_token *t = &k.t[TAGGER_EDGE + i];
    assert_true(t->start >= last && t->end > t->start && t->end <= text.n);
    last = t->end;
  }
  tokens_of(STR(""), &k);
  assert_int_equal(k.n, 0);
}

/* A word of ASCII is read by a shorter way than others; a word that ends in another letter goes the longer one. */
static void words_read_either_way(void **state) {
  (void)state;
  static const char *const words[] = {"a", "Of", "the", "Mary", "KIDNEY", "McDonald", "Kowalczyk", "Electrocardiographically"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    char text[64];
    struct tokens k, other;
    size_t n = strlen(words[i]);
    tokens_of(str_c(words[i]), &k);
    snprintf(text, sizeof text, "%s\xc3\xa9", words[i]); /* as plain as with an e behind it */
    tokens_of(str_c(text), &other);
    const struct tagger_token *t = &k.t[TAGGER_EDGE + k.n - 1], *longer = &other.t[TAGGER_EDGE + other.n - 1];
    const char *last = words[i] + t->start;
    uint32_t head = 0, tail = 0;
    for (size_t c = 0; last[c]; c++) {
      if (c < 4) head |= (uint32_t)(last[c] | 32) << 8 * c;
      tail = tail << 8 | (uint32_t)(last[c] | 32);
    }
    assert_int_equal(t->end, n);
    assert_int_equal(t->word, tagger_word_hash(str_c(last)));
    assert_int_equal(t->plain, t->word);
    assert_int_equal(t->prefix4, head), assert_int_equal(t->suffix4, tail);
    assert_int_equal(t->prefix2, head & 0xFFFF), assert_int_equal(t->suffix3, tail & 0xFFFFFF);
    if (strlen(last) >= 4) assert_int_equal(t->prefix4, longer->prefix4);
    if (strlen(last) >= 2)
      assert_int_equal(t->shape, longer->shape == SHAPE_MIXED && t->shape == SHAPE_CAPITALS ? t->shape : longer->shape);
    snprintf(text, sizeof text, "%se", last);
    assert_int_equal(longer->plain, tagger_word_hash(str_c(text)));
  }
}

/* What stands beside a run of capitals is known by its kind: "said" and "asked" are one, whichever name is between. */
static void kinds_of_neighbours(void **state) {
  (void)state;
  struct tagger_list lists[3];
  struct arena a;
  struct error e = {0};
  uint32_t n = 0;
  FILE *f = fopen(in_folder("plain.txt"), "w");
  fputs("mary\n", f), fclose(f);
  f = fopen(in_folder("kind-saying.txt"), "w");
  fputs("said\nasked\n", f), fclose(f);
  arena_init(&a, 1 << 20, 0);
  assert_int_equal(tagger_lists_read(&a, in_folder("plain.txt"), lists, &n, &e), OK);
  assert_int_equal(tagger_lists_read(&a, in_folder("kind-saying.txt"), lists, &n, &e), OK);
  assert_int_equal(tagger_lists_plain(lists, n), 1);
  static const char *const texts[] = {"so Mary-Ann J. Roe asked them", "so O'Neil said them"};
  uint32_t left[2], right[2], right2[2];
  for (int i = 0; i < 2; i++) {
    struct tokens k;
    k.n = tagger_tokens(str_c(texts[i]), k.t);
    tagger_context(k.t, k.n, lists, n, NULL, k.scratch);
    tagger_kinds(k.t, k.n);
    const struct tagger_token *first = &k.t[TAGGER_EDGE + 1], *last = &k.t[TAGGER_EDGE + k.n - 3];
    assert_int_equal(first->left, last->left); /* one run, over hyphen, initial and apostrophe */
    assert_int_equal(first->right, last->right);
    left[i] = last->left, right[i] = last->right, right2[i] = last->right2;
  }
  assert_true(left[0] == left[1] && right[0] == right[1] && right2[0] == right2[1]);
  struct tokens other;
  other.n = tagger_tokens(STR("so Mary ran them"), other.t);
  tagger_context(other.t, other.n, lists, n, NULL, other.scratch);
  tagger_kinds(other.t, other.n);
  assert_int_equal(other.t[TAGGER_EDGE + 1].lists, 1); /* a list of kinds is no list of names */
  assert_true(other.t[TAGGER_EDGE + 1].right != right[0] && other.t[TAGGER_EDGE + 1].left == left[0]);
  arena_free(&a);
}

static void tags_that_may_follow(void **state) {
  (void)state;
  assert_true(tagger_follows(2, 0, 1) && !tagger_follows(2, 0, 2) && tagger_follows(2, 1, 2) && tagger_follows(2, 2, 2));
  assert_true(!tagger_follows(2, 1, 4) && tagger_follows(2, 2, 3));
  assert_true(tagger_follows(4, 0, 1) && tagger_follows(4, 0, 4) && !tagger_follows(4, 0, 2) && !tagger_follows(4, 0, 3));
  assert_true(tagger_follows(4, 1, 2) && tagger_follows(4, 1, 3) && !tagger_follows(4, 1, 0) && !tagger_follows(4, 1, 4));
  assert_true(tagger_follows(4, 3, 0) && tagger_follows(4, 4, 5) && !tagger_follows(4, 3, 2) && !tagger_follows(4, 2, 7));
}

/* ---- learning */
static const char small_templates[] =
    "= line\n"
    "Seen by Dr. [NAME {who}] on [DATE {1-12}/{10-28}/{1990-2020}].\n"
    "The patient [NAME {who} {who}] has a fever of {37-41}.\n"
    "No complaint since {2-9} days. Take {1-4} pills.\n"
    "= who\nMiller\nBaker\nSmith\nCruz\nWong\n";

static void make_set(struct tagger_set *s, int n, uint64_t seed) {
  struct tagger_grammar *g;
  struct tagger_spans spans = {0};
  struct buf text = {0};
  struct rng r;
  rng_init(&r, seed, 0);
  assert_int_equal(tagger_set_open(s, NULL), OK);
  assert_int_equal(tagger_grammar_new(&g, NULL), OK);
  assert_int_equal(tagger_grammar_read(g, str_c(small_templates), NULL), OK);
  for (int i = 0; i < n; i++) {
    buf_clear(&text), spans.n = 0;
    assert_int_equal(tagger_grammar_make(g, STR("line"), &r, &text, &spans, NULL), OK);
    struct tagger_span *own = arena_array(&s->memory, struct tagger_span, spans.n + 1);
    assert_non_null(own);
    for (uint32_t k = 0; k < spans.n; k++) {
      own[k] = spans.at[k];
      own[k].label = str_copy(&s->memory, own[k].label);
    }
    assert_int_equal(tagger_set_put(s, STR("x"), str_copy(&s->memory, (struct str){text.p, text.n}), own, spans.n, NULL), OK);
  }
  mem_free(spans.at);
  buf_release(&text);
  tagger_grammar_free(g);
}

static void train_small(const char *path, uint64_t seed, uint32_t scheme, double dropout) {
  struct tagger_set s;
  struct error e = {0};
  make_set(&s, 300, 5);
  struct tagger_options o = {.epochs = 4,
                             .seed = seed,
                             .scheme = scheme,
                             .dropout = dropout,
                             .runs = scheme == 4 ? 2 : 1,
                             .labels_map = STR("{\"NAME\":\"NAME\",\"DATE\":\"DATE\"}")};
  struct tagger_report r;
  if (tagger_train(s.examples, s.n, &o, path, &r, &e) < 0) fail_msg("%s", e.message);
  assert_true(r.accuracy > 0.9 && r.crossing == 0 && r.features > 100);
  tagger_set_close(&s);
}

static void same_seed_same_bytes(void **state) {
  (void)state;
  uint8_t a[32], b[32], c[32];
  train_small(in_folder("a"), 1, 4, 0.2);
  train_small(in_folder("b"), 1, 4, 0.2);
  train_small(in_folder("c"), 2, 4, 0.2);
  assert_int_equal(sha256_file(in_folder("a"), a, NULL), OK);
  assert_int_equal(sha256_file(in_folder("b"), b, NULL), OK);
  assert_int_equal(sha256_file(in_folder("c"), c, NULL), OK);
  assert_memory_equal(a, b, 32);
  assert_memory_not_equal(a, c, 32);
}

static void finds_what_it_learned(void **state) {
  (void)state;
  for (uint32_t scheme = 2; scheme <= 4; scheme += 2) {
    struct tagger *t;
    struct tagger_set s;
    struct tagger_score f;
    train_small(in_folder("m"), 3, scheme, 0);
    assert_int_equal(tagger_load(in_folder("m"), &t, NULL), OK);
    make_set(&s, 100, 77);
    assert_int_equal(tagger_score(t, s.examples, s.n, &f, NULL), OK);
    assert_true(tagger_f1(&f) > 0.97);
    assert_true(f.clean_texts > 10 && f.clean_touched == 0 && f.over_bytes * 100 < f.bytes);
    tagger_set_close(&s);
    struct text_spans spans = {0};
    struct str text = STR("Seen by Dr. Wong on 3/12/2004.");
    assert_int_equal(tagger_find(t, NULL, text, &spans, NULL), OK);
    assert_int_equal(spans.n, 2);
    assert_int_equal(spans.at[0].label, TEXT_NAME);
    assert_int_equal(spans.at[0].start, 12), assert_int_equal(spans.at[0].end, 16);
    assert_int_equal(spans.at[1].label, TEXT_DATE);
    assert_int_equal(spans.at[1].start, 20), assert_int_equal(spans.at[1].end, 29);
    assert_int_equal(spans.at[1].by, TEXT_BY_TAGGER);
    text_spans_release(&spans);
    tagger_free(t);
  }
}

/* A long text is cut into parts: nothing may be lost or doubled at the cuts. */
static void long_texts_are_cut(void **state) {
  (void)state;
  struct tagger *t;
  struct text_spans spans = {0};
  struct buf b = {0};
  train_small(in_folder("m"), 3, 2, 0);
  assert_int_equal(tagger_load(in_folder("m"), &t, NULL), OK);
  for (int i = 0; i < 4000; i++) buf_puts(&b, "Seen by Dr. Wong on 3/12/2004.\n");
  assert_int_equal(tagger_find(t, NULL, (struct str){b.p, b.n}, &spans, NULL), OK);
  assert_int_equal(spans.n, 8000);
  for (uint32_t i = 0; i < spans.n; i++) {
    assert_int_equal(spans.at[i].start % 31, i % 2 ? 20 : 12);
    assert_int_equal(spans.at[i].end - spans.at[i].start, i % 2 ? 9 : 4);
  }
  spans.n = 0;
  buf_clear(&b);
  for (int i = 0; i < 200000; i++) buf_puts(&b, "é"); /* no white space anywhere: cut before a character */
  assert_int_equal(tagger_find(t, NULL, (struct str){b.p, b.n}, &spans, NULL), OK);
  text_spans_release(&spans);
  buf_release(&b);
  tagger_free(t);
}

static void damaged_files_are_refused(void **state) {
  (void)state;
  struct arena a;
  struct str file;
  struct tagger *t;
  arena_init(&a, 0, 0);
  train_small(in_folder("m"), 3, 4, 0);
  assert_int_equal(file_read(&a, in_folder("m"), 1 << 24, &file, NULL), OK);
  uint8_t *p = (uint8_t *)file.p;
  for (size_t n = 0; n < file.n; n += 1 + n / 7) assert_true(tagger_load_bytes(p, n, &t, NULL) < 0);
  for (size_t i = 0; i < file.n; i += 1 + file.n / 97) {
    p[i] ^= 0x40;
    assert_true(tagger_load_bytes(p, file.n, &t, NULL) < 0);
    p[i] ^= 0x40;
  }
  p[8] = 99; /* a newer version is named before anything else is looked at */
  assert_int_equal(tagger_load_bytes(p, file.n, &t, NULL), E_VERSION);
  p[8] = 1;
  for (long n = 1; n < 40; n++) {
    arena_fail_at(n);
    int rc = tagger_load_bytes(p, file.n, &t, NULL);
    bool reached = !arena_fail_pending();
    arena_fail_at(0);
    if (rc == OK) tagger_free(t);
    if (!reached) break;
    assert_int_equal(rc, E_NOMEM);
  }
  arena_free(&a);
}

/* ---- data sets */
static void write_file(const char *name, const char *text) {
  assert_int_equal(file_write_atomic(in_folder(name), text, strlen(text), 0600, NULL), OK);
}

static void values_are_found_in_their_text(void **state) {
  (void)state;
  struct tagger_set s;
  write_file(
      "x.jsonl",
      "{\"id\":\"1\",\"text\":\"Ann saw Ann Lee in Annapolis\",\"phi\":[{\"type\":\"N\",\"value\":\"Ann\"},{\"type\":\"N\",\"value\":\"Ann "
      "Lee\"},"
      "{\"type\":\"L\",\"value\":\"Annapolis\"},{\"type\":\"N\",\"value\":\"Bob\"}]}\n"
      "{\"id\":\"2\",\"text\":\"\\u00e9 X\",\"spans\":[{\"start\":2,\"end\":3,\"type\":\"N\"},{\"start\":2,\"end\":9,\"type\":\"N\"}]}\n");
  assert_int_equal(tagger_set_open(&s, NULL), OK);
  assert_int_equal(tagger_set_add(&s, "jsonl", in_folder("x.jsonl"), NULL, NULL), OK);
  assert_int_equal(s.n, 2);
  assert_int_equal(s.lost, 2);
  assert_int_equal(s.examples[0].n, 3);
  assert_int_equal(s.examples[0].spans[0].start, 0), assert_int_equal(s.examples[0].spans[0].end, 3);
  assert_int_equal(s.examples[0].spans[1].start, 8), assert_int_equal(s.examples[0].spans[1].end, 15);
  assert_int_equal(s.examples[0].spans[2].start, 19);
  assert_int_equal(s.examples[1].n, 1);
  assert_int_equal(s.examples[1].spans[0].start, 3), assert_int_equal(s.examples[1].spans[0].end, 4);
  tagger_set_close(&s);
}

static void swapped_entities_keep_their_labels(void **state) {
  (void)state;
  struct tagger_set s;
  write_file("y.jsonl",
             "{\"id\":\"1\",\"text\":\"Ann met Bob on "
             "1/2\",\"spans\":[{\"start\":0,\"end\":3,\"type\":\"N\"},{\"start\":8,\"end\":11,\"type\":\"N\"},"
             "{\"start\":15,\"end\":18,\"type\":\"D\"}]}\n"
             "{\"id\":\"2\",\"text\":\"See Christopher in "
             "May\",\"spans\":[{\"start\":4,\"end\":15,\"type\":\"N\"},{\"start\":19,\"end\":22,\"type\":\"D\"}]}\n");
  assert_int_equal(tagger_set_open(&s, NULL), OK);
  assert_int_equal(tagger_set_add(&s, "jsonl", in_folder("y.jsonl"), NULL, NULL), OK);
  assert_int_equal(tagger_set_swap(&s, 10, 3, NULL), OK);
  assert_int_equal(s.n, 22);
  uint32_t changed = 0;
  for (uint32_t i = 2; i < s.n; i++) {
    const struct tagger_example *x = &s.examples[i], *from = &s.examples[i % 2];
    assert_int_equal(x->n, from->n);
    for (uint32_t k = 0; k < x->n; k++) {
      struct str word = {x->text.p + x->spans[k].start, x->spans[k].end - x->spans[k].start};
      assert_true(str_eq(x->spans[k].label, from->spans[k].label));
      if (str_eqc(x->spans[k].label, "N")) assert_true(str_eqc(word, "Ann") || str_eqc(word, "Bob") || str_eqc(word, "Christopher"));
      if (str_eqc(x->spans[k].label, "D")) assert_true(str_eqc(word, i % 2 ? "May" : "1/2")); /* a number does not become a word */
    }
    changed += !str_eq(x->text, from->text);
  }
  assert_true(changed > 5);
  tagger_set_close(&s);
}

static void parts_by_hash_are_a_partition(void **state) {
  (void)state;
  for (int i = 0; i < 100; i++) {
    char id[16];
    int in = 0, out = 0;
    snprintf(id, sizeof id, "doc-%d", i);
    for (uint32_t k = 0; k < 3; k++) {
      in += tagger_chosen(&(struct tagger_choice){.k = k, .n = 3}, str_c(id));
      out += tagger_chosen(&(struct tagger_choice){.k = k, .n = 3, .without = true}, str_c(id));
    }
    assert_true(in == 1 && out == 2);
  }
}

static void templates_that_never_end_are_refused(void **state) {
  (void)state;
  struct tagger_grammar *g;
  struct tagger_spans spans = {0};
  struct buf text = {0};
  struct rng r;
  rng_init(&r, 1, 1);
  assert_int_equal(tagger_grammar_new(&g, NULL), OK);
  assert_int_equal(tagger_grammar_read(g, STR("= again\nx{again}\n= b\n[N {c}\n= d\n{nothing}\n= e\n[N a [M b] c] {01-01} \\{\n"), NULL),
                   OK);
  assert_int_equal(tagger_grammar_make(g, STR("again"), &r, &text, &spans, NULL), E_LIMIT);
  assert_int_equal(tagger_grammar_make(g, STR("b"), &r, &text, &spans, NULL), E_INPUT);
  assert_int_equal(tagger_grammar_make(g, STR("d"), &r, &text, &spans, NULL), E_INPUT);
  buf_clear(&text), spans.n = 0;
  assert_int_equal(tagger_grammar_make(g, STR("e"), &r, &text, &spans, NULL), OK);
  assert_string_equal(buf_cstr(&text), "a b c 01 {");
  assert_int_equal(spans.n, 1);
  assert_true(str_eqc(spans.at[0].label, "N") && spans.at[0].start == 0 && spans.at[0].end == 5);
  mem_free(spans.at);
  buf_release(&text);
  tagger_grammar_free(g);
}

/* ---- MEDDOCAN in small: 20 cases learned, 10 others tagged */
static void a_corpus_in_small(void **state) {
  (void)state;
  char command[1024], path[512];
  snprintf(path, sizeof path, "%s/deid-meddocan", data_dir());
  if (!file_is_dir(path)) {
    if (getenv("CI")) fail_msg("no data set deid-meddocan");
    skip();
  }
  snprintf(command, sizeof command, "mkdir -p %s && cat %s/*.tar.xz | tar xJf - -C %s", in_folder("brat"), path, folder);
  assert_int_equal(system(command), 0);
  struct tagger_set all, learn = {0};
  struct tagger *t;
  struct tagger_score f;
  struct error e = {0};
  assert_int_equal(tagger_set_open(&all, &e), OK);
  if (tagger_set_add(&all, "brat", folder, NULL, &e) < 0) fail_msg("%s", e.message);
  assert_true(all.n > 30 && all.lost == 0);
  learn.examples = all.examples, learn.n = 20;
  struct tagger_options o = {.epochs = 4, .seed = 1};
  if (tagger_train(learn.examples, learn.n, &o, in_folder("es"), NULL, &e) < 0) fail_msg("%s", e.message);
  assert_int_equal(tagger_load(in_folder("es"), &t, NULL), OK);
  assert_int_equal(tagger_score(t, all.examples + 20, 10, &f, NULL), OK);
  assert_true(f.gold > 100);
  if (tagger_f1(&f) < 0.75) fail_msg("strict F1 %.3f", tagger_f1(&f));
  assert_true(f.hit_bytes * 100 >= f.gold_bytes * 80);
  tagger_free(t);
  tagger_set_close(&all);
}

/* The model that is shipped: loads, finds the plain things, leaves medicine alone. */
static void the_shipped_tagger(void **state) {
  (void)state;
  struct tagger *t;
  struct text_spans spans = {0};
  struct error e = {0};
  if (tagger_load("policy/text-en.tagger", &t, &e) < 0) fail_msg("%s", e.message);
  assert_true(file_size("policy/text-en.tagger") < 1 << 20);
  struct str text = STR("Maria Gonzalez was admitted to Lakeview Hospital on March 3, 2021 with pneumonia.");
  assert_int_equal(tagger_find(t, NULL, text, &spans, NULL), OK);
  bool name = false, place = false, day = false;
  for (uint32_t i = 0; i < spans.n; i++) {
    name |= spans.at[i].label == TEXT_NAME && spans.at[i].start == 0 && spans.at[i].end == 14;
    place |= spans.at[i].label == TEXT_ORGANISATION && spans.at[i].start <= 31 && spans.at[i].end >= 48;
    day |= spans.at[i].label == TEXT_DATE && spans.at[i].start <= 52 && spans.at[i].end >= 65;
  }
  assert_true(name && place && day);
  static const char *const clean[] = {"Parkinson's disease, stable on levodopa 100 mg three times daily.",
                                      "Strength 5/5 in all extremities, Babinski sign negative.",
                                      "ALT 45, ALBUMIN 3.2, hemoglobin 12.1. Continue metformin and lisinopril."};
  for (size_t i = 0; i < sizeof clean / sizeof *clean; i++) {
    spans.n = 0;
    assert_int_equal(tagger_find(t, NULL, str_c(clean[i]), &spans, NULL), OK);
    for (uint32_t k = 0; k < spans.n; k++) assert_true(spans.at[k].label == TEXT_OTHER || spans.at[k].label == TEXT_AGE);
  }
  /* a work that has seen other texts finds the same */
  struct tagger_work *w;
  static const char *const texts[] = {"Seen by Maria Gonzalez, MARIA and maria, in Lakeview.",
                                      "Lakeview Hospital, Gonzalez Maria 12 Oak Street", "maria oak LAKEVIEW Street", ""};
  assert_int_equal(tagger_work_new(t, &w, NULL), OK);
  for (int i = 0; i < 12; i++) {
    struct text_spans again = {0};
    spans.n = 0;
    assert_int_equal(tagger_find(t, NULL, str_c(texts[i % 4]), &spans, NULL), OK);
    assert_int_equal(tagger_find(t, w, str_c(texts[i % 4]), &again, NULL), OK);
    assert_int_equal(again.n, spans.n);
    for (uint32_t k = 0; k < spans.n; k++) {
      assert_int_equal(again.at[k].start, spans.at[k].start), assert_int_equal(again.at[k].end, spans.at[k].end);
      assert_int_equal(again.at[k].label, spans.at[k].label);
    }
    text_spans_release(&again);
  }
  tagger_work_free(w);
  text_spans_release(&spans);
  tagger_free(t);
}

static int setup(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/tagger_test_XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}
static int teardown(void **state) {
  (void)state;
  return file_remove_tree(folder, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tokens_keep_bytes),
      cmocka_unit_test(bytes_that_are_no_text_are_tokens_too),
      cmocka_unit_test(words_read_either_way),
      cmocka_unit_test(kinds_of_neighbours),
      cmocka_unit_test(tags_that_may_follow),
      cmocka_unit_test(same_seed_same_bytes),
      cmocka_unit_test(finds_what_it_learned),
      cmocka_unit_test(long_texts_are_cut),
      cmocka_unit_test(damaged_files_are_refused),
      cmocka_unit_test(values_are_found_in_their_text),
      cmocka_unit_test(swapped_entities_keep_their_labels),
      cmocka_unit_test(parts_by_hash_are_a_partition),
      cmocka_unit_test(templates_that_never_end_are_refused),
      cmocka_unit_test(a_corpus_in_small),
      cmocka_unit_test(the_shipped_tagger),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
