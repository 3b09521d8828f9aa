/* The language-model engine on small models with random weights, one of each family, written here as GGUF files: reading at once is the same as step
 * by step, together the same as alone, a cached prefix the same as none; every kernel column the same as the reference; stops, seeds, limits. That
 * the families compute what their authors meant is shown on real weights by tests/oracle/lm_oracle.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "kernel/quant.h"
#include "model/gguf.h"
#include "model/lm_internal.h"
#include "token/subword.h"

enum { WIDTH = 64, HEADS = 4, KV = 2, HEAD = 32, FF = 96, LAYERS = 3, VOCABULARY = 300 };
static char dir[64];

static void put_u(struct buf *b, unsigned n, uint64_t v) {
  for (unsigned i = 0; i < n; i++) buf_putc(b, (char)(v >> 8 * i));
}
static void put_text(struct buf *b, const char *s) {
  put_u(b, 8, strlen(s));
  buf_puts(b, s);
}
static int pairs;
static void put_key(struct buf *b, const char *key, uint32_t kind) {
  put_text(b, key), put_u(b, 4, kind);
  pairs++;
}
static void put_count(struct buf *b, const char *family, const char *key, uint32_t v) {
  char full[96];
  snprintf(full, sizeof full, "%s.%s", family, key);
  put_key(b, full, GGUF_U32), put_u(b, 4, v);
}
static void put_real(struct buf *b, const char *family, const char *key, float v) {
  char full[96];
  uint32_t u;
  memcpy(&u, &v, 4);
  snprintf(full, sizeof full, "%s.%s", family, key);
  put_key(b, full, GGUF_F32), put_u(b, 4, u);
}

static void put_vocabulary(struct buf *b) {
  put_key(b, "tokenizer.ggml.model", GGUF_STRING), put_text(b, "llama");
  put_key(b, "tokenizer.ggml.tokens", GGUF_ARRAY), put_u(b, 4, GGUF_STRING), put_u(b, 8, VOCABULARY);
  for (int i = 0; i < VOCABULARY; i++) {
    char name[16];
    snprintf(name, sizeof name, i < 3 ? "<s%d>" : i < 259 ? "<0x%02X>" : "w%d", i < 3 ? i : i < 259 ? i - 3 : i);
    put_text(b, name);
  }
  put_key(b, "tokenizer.ggml.scores", GGUF_ARRAY), put_u(b, 4, GGUF_F32), put_u(b, 8, VOCABULARY);
  for (int i = 0; i < VOCABULARY; i++) put_u(b, 4, 0);
  put_key(b, "tokenizer.ggml.token_type", GGUF_ARRAY), put_u(b, 4, GGUF_I32), put_u(b, 8, VOCABULARY);
  for (int i = 0; i < VOCABULARY; i++) put_u(b, 4, i < 3 ? SUBWORD_CONTROL : i < 259 ? SUBWORD_BYTE : SUBWORD_NORMAL);
  put_key(b, "tokenizer.ggml.bos_token_id", GGUF_U32), put_u(b, 4, 1);
  put_key(b, "tokenizer.ggml.eos_token_id", GGUF_U32), put_u(b, 4, 2);
}

struct writing {
  struct buf info, data;
  struct rng rng;
  int tensors;
};

static struct { /* a tensor written otherwise than the family wants it */
  const char *name;
  int columns, rows;
  uint32_t type;
} odd;
enum { I32 = 26 };

static void put_tensor(struct writing *w, const char *name, int layer, uint32_t type, int columns, int rows, float size, float centre) {
  char full[96];
  snprintf(full, sizeof full, name, layer);
  if (odd.name && strcmp(full, odd.name) == 0) columns = odd.columns, rows = odd.rows, type = odd.type;
  put_text(&w->info, full), put_u(&w->info, 4, rows > 1 ? 2 : 1), put_u(&w->info, 8, (uint64_t)columns);
  if (rows > 1) put_u(&w->info, 8, (uint64_t)rows);
  put_u(&w->info, 4, type), put_u(&w->info, 8, w->data.n);
  for (int i = 0; i < rows * columns; i++) {
    if (type == QUANT_Q8_0 || type == QUANT_Q4_1) {
      if (i % 32) continue;
      put_u(&w->data, 2, quant_to_half(size / (type == QUANT_Q8_0 ? 70.0f : 5.0f)));
      if (type == QUANT_Q4_1) put_u(&w->data, 2, quant_to_half(-size * 1.5f));
      for (int k = 0; k < (type == QUANT_Q8_0 ? 32 : 16); k++) buf_putc(&w->data, (char)rng_u32(&w->rng));
      continue;
    }
    float v = centre + size * (float)rng_normal(&w->rng);
    uint32_t u;
    memcpy(&u, &v, 4);
    if (type == QUANT_F32 || type == I32)
      put_u(&w->data, 4, u);
    else
      put_u(&w->data, 2, type == QUANT_F16 ? quant_to_half(v) : u >> 16);
  }
  while (w->data.n % 32) buf_putc(&w->data, 0);
  w->tensors++;
}

static void put_layer(struct writing *w, int l, bool floats, bool norms, bool posts, bool biases) {
  static const uint32_t types[2][5] = {{QUANT_Q4_1, QUANT_Q8_0, QUANT_F32, QUANT_F16, QUANT_BF16},
                                       {QUANT_F32, QUANT_BF16, QUANT_F32, QUANT_F16, QUANT_BF16}};
  const uint32_t *type = types[floats];
  put_tensor(w, "blk.%d.attn_q.weight", l, type[l % 5], WIDTH, HEADS * HEAD, 0.3f, 0);
  put_tensor(w, "blk.%d.attn_k.weight", l, type[(l + 1) % 5], WIDTH, KV * HEAD, 0.3f, 0);
  put_tensor(w, "blk.%d.attn_v.weight", l, type[(l + 2) % 5], WIDTH, KV * HEAD, 0.3f, 0);
  put_tensor(w, "blk.%d.attn_output.weight", l, type[(l + 3) % 5], HEADS * HEAD, WIDTH, 0.3f, 0);
  put_tensor(w, "blk.%d.ffn_gate.weight", l, type[(l + 4) % 5], WIDTH, FF, 0.3f, 0);
  put_tensor(w, "blk.%d.ffn_up.weight", l, type[l % 5], WIDTH, FF, 0.3f, 0);
  put_tensor(w, "blk.%d.ffn_down.weight", l, type[(l + 1) % 5], FF, WIDTH, 0.3f, 0);
  put_tensor(w, "blk.%d.attn_norm.weight", l, QUANT_F32, WIDTH, 1, 0.1f, 1);
  put_tensor(w, "blk.%d.ffn_norm.weight", l, QUANT_F32, WIDTH, 1, 0.1f, 1);
  if (norms) put_tensor(w, "blk.%d.attn_q_norm.weight", l, QUANT_F32, HEAD, 1, 0.1f, 1);
  if (norms) put_tensor(w, "blk.%d.attn_k_norm.weight", l, QUANT_F32, HEAD, 1, 0.1f, 1);
  if (posts) put_tensor(w, "blk.%d.post_attention_norm.weight", l, QUANT_F32, WIDTH, 1, 0.1f, 1);
  if (posts) put_tensor(w, "blk.%d.post_ffw_norm.weight", l, QUANT_F32, WIDTH, 1, 0.1f, 1);
  if (biases) put_tensor(w, "blk.%d.attn_q.bias", l, QUANT_F32, HEADS * HEAD, 1, 0.1f, 0);
  if (biases) put_tensor(w, "blk.%d.attn_k.bias", l, QUANT_F32, KV * HEAD, 1, 0.1f, 0);
  if (biases) put_tensor(w, "blk.%d.attn_v.bias", l, QUANT_F32, KV * HEAD, 1, 0.1f, 0);
}

/* "gemma3", or "gemma3 floats": no matrix is quantised */
static const char *write_model(const char *name) {
  static char path[128];
  char family[16];
  bool floats = strchr(name, ' ') != NULL;
  snprintf(family, sizeof family, "%.*s", (int)strcspn(name, " "), name);
  struct buf head = {0}, all = {0};
  struct writing w = {.tensors = 0};
  bool gemma = strncmp(family, "gemma", 5) == 0, three = strcmp(family, "gemma3") == 0 || strcmp(family, "qwen3") == 0;
  pairs = 0;
  put_key(&head, "general.architecture", GGUF_STRING), put_text(&head, family);
  put_count(&head, family, "block_count", LAYERS), put_count(&head, family, "embedding_length", WIDTH);
  put_count(&head, family, "attention.head_count", HEADS), put_count(&head, family, "attention.head_count_kv", KV);
  put_count(&head, family, "attention.key_length", HEAD), put_count(&head, family, "feed_forward_length", FF);
  put_count(&head, family, "context_length", 2048);
  put_real(&head, family, "attention.layer_norm_rms_epsilon", 1e-5f);
  if (gemma) put_count(&head, family, "attention.sliding_window", 24);
  put_vocabulary(&head);
  rng_init(&w.rng, 99, 0);
  put_tensor(&w, "token_embd.weight", 0, floats ? QUANT_BF16 : QUANT_Q8_0, WIDTH, VOCABULARY, 0.3f, 0);
  put_tensor(&w, "output_norm.weight", 0, QUANT_F32, WIDTH, 1, 0.1f, 1);
  for (int l = 0; l < LAYERS; l++) put_layer(&w, l, floats, three, gemma, strcmp(family, "qwen2") == 0);
  buf_puts(&all, "GGUF"), put_u(&all, 4, 3), put_u(&all, 8, (uint64_t)w.tensors), put_u(&all, 8, (uint64_t)pairs);
  buf_put(&all, head.p, head.n), buf_put(&all, w.info.p, w.info.n);
  while (all.n % 32) buf_putc(&all, 0);
  buf_put(&all, w.data.p, w.data.n);
  snprintf(path, sizeof path, "%s/%s.gguf", dir, name);
  assert_int_equal(file_write_atomic(path, all.p, all.n, 0600, NULL), OK);
  buf_release(&head), buf_release(&all), buf_release(&w.info), buf_release(&w.data);
  return path;
}

static struct lm *open_model(const char *path, int threads, int streams, const char *column) {
  struct lm *m;
  struct error e = {0};
  if (lm_open(path, &(struct lm_options){.threads = threads, .streams = streams, .context = 1024, .column = column}, &m, &e) < 0)
    fail_msg("%s", e.message);
  return m;
}

static void make_tokens(uint32_t *t, int n, uint64_t seed) {
  struct rng r;
  rng_init(&r, seed, 0);
  for (int i = 0; i < n; i++) t[i] = 3 + rng_below(&r, VOCABULARY - 3);
}

struct heard {
  uint32_t token[256];
  int n, cached, calls, give_up; /* give_up: stop after so many calls */
  enum lm_end end;
  struct buf text;
  double logprob;
};
static int hear(void *ctx, const struct lm_piece *p) {
  struct heard *h = ctx;
  assert_int_equal(h->end, LM_GOES_ON); /* nothing comes after the end */
  if (p->end != LM_END_CANCELLED) h->token[h->n++] = p->token;
  buf_str(&h->text, p->text);
  h->end = p->end, h->cached = p->cached, h->logprob += (double)p->logprob;
  return ++h->calls == h->give_up;
}

static int submit(struct lm *m, const uint32_t *t, int n, uint64_t tenant, struct heard *h, struct lm_request r) {
  int id;
  struct error e = {0};
  *h = (struct heard){.give_up = h->give_up};
  r.token = t, r.n = (size_t)n, r.tenant = tenant, r.piece = hear, r.ctx = h, r.ignore_end = true;
  if (!r.most) r.most = 20;
  int rc = lm_submit(m, &r, &id, &e);
  return rc < 0 ? rc : id;
}
static void run_all(struct lm *m) {
  int rc;
  while ((rc = lm_step(m, NULL)) > 0) {}
  assert_int_equal(rc, 0);
}

static const char *const families[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "gemma3 floats"};
enum { FAMILIES = 6 };

static void test_columns(void **state) {
  (void)state;
  const struct quant_kernel *all[4];
  int columns = quant_all(all);
  enum { N = 90 };
  uint32_t t[N];
  float *want = malloc(N * VOCABULARY * 4), *got = malloc(N * VOCABULARY * 4);
  make_tokens(t, N, 1);
  for (int f = 0; f < FAMILIES; f++) {
    const char *path = write_model(families[f]);
    for (int c = 0; c < columns; c++) {
      struct lm *m = open_model(path, 1 + c % 2, 1, all[c]->name);
      assert_int_equal(lm_logits(m, t, N, c ? got : want, NULL), OK);
      double worst = 0, size = 0;
      for (int i = 0; c && i < N * VOCABULARY; i++)
        worst = fmax(worst, fabs((double)(got[i] - want[i]))), size = fmax(size, fabs((double)want[i]));
      /* a last bit that falls differently can change one quantised activation by one step; floats are rounded nowhere, their keys and values neither */
      if (c && !(worst < (strchr(families[f], ' ') ? 1e-5 : 0.03) * size))
        fail_msg("%s: %s differs from the reference by %g of %g", families[f], all[c]->name, worst, size);
      lm_close(m);
    }
  }
  free(want), free(got);
}

/* Logits of a prompt read at once: the last row of each prefix read alone; so the cache, the windows and the rotation fit together. */
static void test_step_by_step(void **state) {
  (void)state;
  enum { N = 70 };
  uint32_t t[N + 40];
  make_tokens(t, N, 2);
  for (int f = 0; f < FAMILIES; f++) {
    struct lm *m = open_model(write_model(families[f]), 2, 1, NULL);
    struct heard a = {0};
    assert_true(submit(m, t, N, 0, &a, (struct lm_request){.most = 40, .logprobs = 0}) > 0);
    run_all(m);
    assert_true(a.n == 40 && a.end == LM_END_LENGTH);
    /* the same text read at once gives each token the same probability */
    float *logits = malloc((N + 40) * VOCABULARY * 4);
    memcpy(t + N, a.token, 40 * 4);
    assert_int_equal(lm_logits(m, t, N + 40, logits, NULL), OK);
    double sum = 0;
    for (int i = 0; i < 40; i++) {
      const float *x = logits + (size_t)(N - 1 + i) * VOCABULARY;
      double total = 0;
      for (int k = 0; k < VOCABULARY; k++) total += exp((double)x[k]);
      sum += (double)x[a.token[i]] - log(total);
    }
    if (fabs(sum - a.logprob) > (strchr(families[f], ' ') ? 1e-3 : 0.02 * fabs(sum) + 0.05))
      fail_msg("%s: %g at once, %g step by step", families[f], sum, a.logprob);
    free(logits);
    buf_release(&a.text);
    lm_close(m);
  }
}

static void test_together_and_cached(void **state) {
  (void)state;
  enum { STREAMS = 5 };
  uint32_t t[STREAMS][700];
  int n[STREAMS] = {3, 40, 700, 17, 300};
  struct heard alone[STREAMS] = {{.n = 0}}, together[STREAMS] = {{.n = 0}}, again = {.n = 0};
  struct lm *m = open_model(write_model("llama"), 2, STREAMS, NULL);
  for (int i = 0; i < STREAMS; i++) {
    make_tokens(t[i], n[i], 20 + (uint64_t)i);
    submit(m, t[i], n[i], 100 + (uint64_t)i, &alone[i], (struct lm_request){.most = 12, .logprobs = 0});
    run_all(m);
    assert_true(alone[i].n == 12 && alone[i].cached == 0);
  }
  for (int i = 0; i < STREAMS; i++) submit(m, t[i], n[i], 200 + (uint64_t)i, &together[i], (struct lm_request){.most = 12, .logprobs = 0});
  assert_int_equal(submit(m, t[0], 3, 1, &again, (struct lm_request){.most = 1}), E_BUSY);
  run_all(m);
  for (int i = 0; i < STREAMS; i++) {
    assert_true(together[i].n == 12 && together[i].cached == 0);
    assert_memory_equal(alone[i].token, together[i].token, 12 * 4);
  }
  /* the same tenant: all but the last token comes from the cache; another tenant: nothing does */
  submit(m, t[2], n[2], 202, &again, (struct lm_request){.most = 12, .logprobs = 0});
  run_all(m);
  assert_int_equal(again.cached, n[2] - 1);
  assert_memory_equal(alone[2].token, again.token, 12 * 4);
  buf_release(&again.text);
  submit(m, t[2], n[2], 999, &again, (struct lm_request){.most = 12, .logprobs = 0});
  run_all(m);
  assert_int_equal(again.cached, 0);
  assert_memory_equal(alone[2].token, again.token, 12 * 4);
  buf_release(&again.text);
  for (int i = 0; i < STREAMS; i++) buf_release(&alone[i].text), buf_release(&together[i].text);
  lm_close(m);
}

/* A first value as the cache holds it, against W norm(x) in double: floats are kept whole where no weight is quantised, in half the bytes where one is. */
static void test_kept_whole(void **state) {
  (void)state;
  struct lm *m = open_model(write_model("llama floats"), 1, 1, NULL), *mixed = open_model(write_model("llama"), 1, 1, NULL);
  struct lm_rows *rows = calloc(1, sizeof *rows);
  struct lm_buffers *b;
  struct lm_cache cache;
  size_t bytes, other;
  assert_int_equal(lm_buffers_new(m, &b, NULL), OK);
  assert_int_equal(lm_cache_new(m, 100, &cache, &bytes, NULL), OK);
  rows->rows = 1, rows->token[0] = 7, rows->cache[0] = &cache;
  lm_pass(m, b, rows);
  float x[WIDTH];
  double square = 0;
  quant_dequantise(m->embedding.type, m->embedding.data + 7 * quant_bytes(m->embedding.type, WIDTH), WIDTH, x);
  for (int i = 0; i < WIDTH; i++) square += (double)x[i] * (double)x[i] / WIDTH;
  for (int i = 0; i < KV * HEAD; i++) {
    float w[WIDTH];
    double want = 0, got = (double)((float *)(void *)cache.v)[(size_t)(i / HEAD * cache.capacity * HEAD + i % HEAD)];
    memcpy(w, m->layer[0].v.plain.data + (size_t)i * sizeof w, sizeof w);
    for (int j = 0; j < WIDTH; j++) want += (double)w[j] * (double)x[j] * (double)m->layer[0].attention_norm[j] / sqrt(square + 1e-5);
    if (!(fabs(got - want) < 1e-5)) fail_msg("value %d is kept as %.9g, not %.9g", i, got, want);
  }
  munmap(cache.k, bytes);
  assert_int_equal(lm_cache_new(mixed, 100, &cache, &other, NULL), OK);
  munmap(cache.k, other);
  assert_true(bytes == 2 * other && m->layer[0].v.plain.type == QUANT_F32);
  lm_buffers_free(b), free(rows);
  lm_close(m), lm_close(mixed);
}

/* While one stream of a tenant runs, another that begins alike takes a copy of what is there. */
static void test_prefix_of_a_running_stream(void **state) {
  (void)state;
  uint32_t t[300], u[300];
  make_tokens(t, 300, 5);
  memcpy(u, t, sizeof u);
  make_tokens(u + 250, 50, 6);
  for (int f = FAMILIES - 2; f < FAMILIES; f++) {
    struct heard a = {.n = 0}, b = {.n = 0}, c = {.n = 0};
    struct lm *m = open_model(write_model(families[f]), 2, 3, NULL);
    submit(m, t, 300, 7, &a, (struct lm_request){.most = 30});
    for (int i = 0; i < 2; i++) assert_true(lm_step(m, NULL) > 0);
    submit(m, u, 300, 7, &b, (struct lm_request){.most = 10});
    submit(m, u, 300, 8, &c, (struct lm_request){.most = 10});
    run_all(m);
    assert_true(b.cached >= 240 && c.cached == 0);
    assert_memory_equal(b.token, c.token, 10 * 4);
    buf_release(&a.text), buf_release(&b.text), buf_release(&c.text);
    lm_close(m);
  }
}

static void test_sampling(void **state) {
  (void)state;
  uint32_t t[10];
  struct heard a = {.n = 0}, b = {.n = 0}, c = {.n = 0};
  struct lm *m = open_model(write_model("llama"), 1, 1, NULL);
  make_tokens(t, 10, 8);
  submit(m, t, 10, 0, &a, (struct lm_request){.temperature = 1.5f, .top_p = 0.95f, .seed = 4}), run_all(m);
  submit(m, t, 10, 0, &b, (struct lm_request){.temperature = 1.5f, .top_p = 0.95f, .seed = 4}), run_all(m);
  submit(m, t, 10, 0, &c, (struct lm_request){.temperature = 1.5f, .top_p = 0.95f, .seed = 5}), run_all(m);
  assert_memory_equal(a.token, b.token, 20 * 4);
  assert_true(memcmp(a.token, c.token, 20 * 4) != 0);
  buf_release(&b.text), buf_release(&c.text);
  /* one candidate: greedy, whatever the seed */
  submit(m, t, 10, 0, &b, (struct lm_request){.temperature = 2, .top_k = 1, .seed = 6}), run_all(m);
  submit(m, t, 10, 0, &c, (struct lm_request){.temperature = 0}), run_all(m);
  assert_memory_equal(b.token, c.token, 20 * 4);
  buf_release(&a.text), buf_release(&b.text);
  /* text ends before a stop string that spans tokens; nothing of it comes out */
  assert_true(c.text.n > 12);
  char middle[8];
  memcpy(middle, c.text.p + 6, 5);
  struct str stop = {middle, 5};
  const char *at = memmem(c.text.p, c.text.n, middle, 5);
  submit(m, t, 10, 0, &b, (struct lm_request){.stop = &stop, .stops = 1}), run_all(m);
  assert_true(b.end == LM_END_STOP && b.text.n == (size_t)(at - c.text.p) && memcmp(b.text.p, c.text.p, b.text.n) == 0);
  buf_release(&b.text), buf_release(&c.text);
  b.give_up = 3;
  submit(m, t, 10, 0, &b, (struct lm_request){.most = 20}), run_all(m);
  assert_int_equal(b.n, 3);
  buf_release(&b.text);
  b.give_up = 0;
  int id = submit(m, t, 10, 0, &b, (struct lm_request){.most = 20});
  assert_true(lm_step(m, NULL) > 0);
  lm_cancel(m, id), run_all(m);
  assert_true(b.end == LM_END_CANCELLED && b.n == 1);
  buf_release(&b.text);
  lm_close(m);
}

/* Logits of a broken model: some token of the vocabulary comes, whatever is asked */
static void test_no_numbers(void **state) {
  (void)state;
  struct lm_chooser c;
  struct lm_piece p = {.tops = 0};
  struct lm_alternative top[LM_TOPS];
  struct rng rng;
  rng_init(&rng, 1, 0);
  assert_int_equal(lm_chooser_init(&c, VOCABULARY, NULL), OK);
  static const float first[] = {NAN, INFINITY, -INFINITY, 0}, others[] = {NAN, INFINITY, -INFINITY, 0};
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 4; k++)
      for (int top_k = 0; top_k < 600; top_k += 290)
        for (int hot = 0; hot < 2; hot++) {
          float x[VOCABULARY];
          x[0] = first[i];
          for (int j = 1; j < VOCABULARY; j++) x[j] = others[k];
          struct lm_request r = {.temperature = hot ? 0.7f : 0, .top_k = top_k, .top_p = 0.9f, .logprobs = 3};
          assert_true(lm_choose(&c, &r, &rng, NULL, x, &p, top) < VOCABULARY);
        }
  lm_chooser_release(&c);
}

/* What loading refuses, also of a file that nobody has verified: with the tensor's name; and what it takes, as biases of 16 bits */
static void test_odd_tensors(void **state) {
  (void)state;
  static const struct {
    const char *family, *name;
    int columns, rows;
    uint32_t type;
    int rc;
  } odds[] = {{"qwen2", "blk.0.attn_q.bias", HEADS * HEAD, 1, QUANT_BF16, OK},
              {"qwen2", "blk.0.attn_q.bias", HEADS * HEAD - 1, 1, QUANT_F32, E_CORRUPT},
              {"qwen2", "blk.2.attn_v.bias", KV * HEAD, 1, I32, E_INPUT},
              {"llama", "blk.1.attn_k.weight", WIDTH, KV * HEAD, I32, E_INPUT},
              {"llama", "blk.1.ffn_up.weight", WIDTH, FF - 1, QUANT_F32, E_CORRUPT},
              {"llama", "blk.2.ffn_norm.weight", WIDTH - 1, 1, QUANT_F32, E_CORRUPT},
              {"gemma2", "blk.2.post_ffw_norm.weight", WIDTH, 2, QUANT_F32, E_CORRUPT},
              {"llama", "token_embd.weight", WIDTH, VOCABULARY, I32, E_INPUT},
              {"llama", "token_embd.weight", WIDTH, VOCABULARY - 1, QUANT_F16, E_MISMATCH},
              {"qwen3", "blk.0.attn_k_norm.weight", HEAD / 2, 1, QUANT_F32, E_CORRUPT}};
  for (size_t i = 0; i < sizeof odds / sizeof *odds; i++) {
    struct lm *m = NULL;
    struct error e = {0};
    odd.name = odds[i].name, odd.columns = odds[i].columns, odd.rows = odds[i].rows, odd.type = odds[i].type;
    const char *path = write_model(odds[i].family);
    odd.name = NULL;
    int rc = lm_open(path, &(struct lm_options){.threads = 1}, &m, &e);
    if (rc != odds[i].rc) fail_msg("%s of %s: %d %s", odds[i].name, odds[i].family, rc, e.message);
    if (rc == E_CORRUPT || rc == E_INPUT) assert_non_null(strstr(e.message, odds[i].name));
    assert_int_equal(lm_verify(path, NULL), rc);
    lm_close(m);
  }
}

static void test_refusals(void **state) {
  (void)state;
  uint32_t t[1100];
  struct heard h = {.n = 0};
  struct lm *m = open_model(write_model("llama"), 1, 1, NULL);
  make_tokens(t, 1100, 8);
  assert_int_equal(submit(m, t, 1024, 0, &h, (struct lm_request){.most = 1}), E_INPUT);
  assert_int_equal(submit(m, t, 0, 0, &h, (struct lm_request){.most = 1}), E_INPUT);
  assert_int_equal(submit(m, t, 5, 0, &h, (struct lm_request){.temperature = -1}), E_INPUT);
  t[3] = VOCABULARY;
  assert_int_equal(submit(m, t, 5, 0, &h, (struct lm_request){.most = 1}), E_INPUT);
  assert_int_equal(lm_logits(m, t, 5, (float[5 * VOCABULARY]){0}, NULL), E_INPUT);
  struct str text = STR("x");
  float out[WIDTH];
  assert_int_equal(lm_embed(m, &text, 1, out, NULL), E_USAGE);
  struct subword_ids ids = {0};
  assert_int_equal(lm_chat_tokens(m, &(struct lm_message){"user", text}, 1, &ids, NULL), E_INPUT);
  subword_ids_release(&ids);
  lm_close(m);
  /* a context that fills up ends the text */
  m = open_model(write_model("llama"), 1, 1, NULL);
  t[3] = 5;
  submit(m, t, 1020, 0, &h, (struct lm_request){.most = 100}), run_all(m);
  assert_true(h.end == LM_END_LENGTH && h.n == 4);
  buf_release(&h.text);
  lm_close(m);
  assert_int_equal(lm_verify(write_model("gemma2"), NULL), OK);
  const char *path = write_model("qwen3");
  struct arena a;
  struct str bytes;
  arena_init(&a, 0, 0);
  assert_int_equal(file_read(&a, path, 1 << 26, &bytes, NULL), OK);
  char *at = memmem(bytes.p, bytes.n, "blk.1.attn_q_norm", 17); /* a tensor that the family needs, under another name */
  assert_non_null(at);
  at[4] = '9';
  assert_int_equal(file_write_atomic(path, bytes.p, bytes.n, 0600, NULL), OK);
  assert_int_equal(lm_verify(path, NULL), E_CORRUPT);
  assert_int_equal(lm_open(path, &(struct lm_options){.threads = 1}, &m, NULL), E_CORRUPT);
  arena_free(&a);
}

static int setup(void **state) {
  (void)state;
  strcpy(dir, "/tmp/vitae-lm-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}
static int teardown(void **state) {
  (void)state;
  return file_remove_tree(dir, NULL);
}

/* Texts as vectors of a decoder: length 1; the last token's and the mean are what they are called; alone as among others; no effect on who generates. */
static void test_states(void **state) {
  (void)state;
  static const struct str texts[] = {{"a", 1}, {"heart failure", 13}, {"heart failure with fluid", 24}, {"heart failure", 13}};
  enum { TEXTS = 4, LONG = 2000 };
  for (int f = 0; f < FAMILIES; f++) {
    struct lm *m = open_model(write_model(families[f]), 2, 2, NULL);
    float mean[TEXTS][WIDTH], last[TEXTS][WIDTH], one[WIDTH], start[WIDTH], again[WIDTH];
    struct error e = {0};
    assert_int_equal(lm_width(m), WIDTH);
    assert_int_equal(lm_states(m, texts, TEXTS, false, mean[0], &e), OK);
    assert_int_equal(lm_states(m, texts, TEXTS, true, last[0], &e), OK);
    for (int t = 0; t < TEXTS; t++) {
      double a = 0, b = 0, apart = 0;
      for (int i = 0; i < WIDTH; i++) {
        a += (double)mean[t][i] * (double)mean[t][i], b += (double)last[t][i] * (double)last[t][i];
        apart += fabs((double)(mean[t][i] - last[t][i]));
      }
      assert_true(fabs(a - 1) < 1e-4 && fabs(b - 1) < 1e-4 && apart > 0.1);
    }
    assert_memory_equal(mean[1], mean[3], sizeof mean[1]);
    assert_int_equal(lm_states(m, &texts[2], 1, true, one, &e), OK);
    for (int i = 0; i < WIDTH; i++) assert_true(fabs((double)(one[i] - last[2][i])) < 2e-3);
    /* of nothing but the mark at the beginning they are the same */
    assert_int_equal(lm_states(m, &(struct str){"", 0}, 1, true, start, &e), OK);
    assert_int_equal(lm_states(m, &(struct str){"", 0}, 1, false, one, &e), OK);
    assert_memory_equal(one, start, sizeof one);
    /* a stream that runs goes on as it would have */
    uint32_t t[40];
    struct heard a = {0}, b = {0};
    make_tokens(t, 40, 5);
    assert_true(submit(m, t, 40, 0, &a, (struct lm_request){.most = 20, .logprobs = -1}) > 0);
    run_all(m);
    assert_true(submit(m, t, 40, 0, &b, (struct lm_request){.most = 20, .logprobs = -1}) > 0);
    assert_true(lm_step(m, &e) >= 0);
    assert_int_equal(lm_states(m, texts, TEXTS, false, mean[0], &e), OK);
    run_all(m);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.token, b.token, (size_t)a.n * sizeof *a.token);
    buf_release(&a.text), buf_release(&b.text);
    /* what is beyond the first tokens does not count */
    char *text = malloc(LONG + 1);
    memset(text, 'x', LONG + 1);
    assert_int_equal(lm_states(m, &(struct str){text, LONG}, 1, false, one, &e), OK);
    assert_int_equal(lm_states(m, &(struct str){text, LONG + 1}, 1, false, again, &e), OK);
    assert_memory_equal(one, again, sizeof one);
    free(text);
    lm_close(m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_columns),
                                     cmocka_unit_test(test_step_by_step),
                                     cmocka_unit_test(test_together_and_cached),
                                     cmocka_unit_test(test_kept_whole),
                                     cmocka_unit_test(test_prefix_of_a_running_stream),
                                     cmocka_unit_test(test_sampling),
                                     cmocka_unit_test(test_states),
                                     cmocka_unit_test(test_no_numbers),
                                     cmocka_unit_test(test_odd_tensors),
                                     cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
