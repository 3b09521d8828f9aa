/* Speed of the numerical operations, one core, every column that runs here: GFLOP/s of matrix products and attention, and
 * nanoseconds per element of the rest. Data are dense and random: products of zeros run faster and say nothing.
 * Each figure is the best of several short bursts, so that another process on the core does not count.
 *
 *     kernel_bench [column]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "kernel/kernel.h"
#include "kernel/quant.h"

enum { BURSTS = 12 };
static struct rng source;

static float *dense(size_t n) {
  float *p = aligned_alloc(64, (n * sizeof(float) + 127) / 64 * 64);
  if (!p) abort();
  for (size_t i = 0; i < n; i++) p[i] = (float)rng_normal(&source);
  return p;
}

/* seconds per call: bursts of about 4 ms, the fastest counts */
static double seconds(void (*f)(void *), void *ctx) {
  double best = 1e9, t0 = time_monotonic();
  f(ctx);
  double once = time_monotonic() - t0;
  int calls = once > 4e-3 ? 1 : (int)(4e-3 / (once + 1e-7)) + 1;
  for (int b = 0; b < (once > 0.05 ? 2 : BURSTS); b++) {
    t0 = time_monotonic();
    for (int c = 0; c < calls; c++) f(ctx);
    double s = (time_monotonic() - t0) / calls;
    if (s < best) best = s;
  }
  return best;
}

struct job {
  const struct kernel *k;
  struct gemm gemm;
  struct attention_back attention;
  struct attention_decode decode;
  float *x, *y, *z, *w;
  int rows, c;
};

static void run_gemm(void *p) {
  struct job *j = p;
  j->k->gemm(&j->gemm);
}

static void bench_gemm(const struct kernel *const *all, int n) {
  static const int shape[][3] = {{512, 128, 128},  {512, 128, 384},  {512, 128, 512}, {512, 512, 128}, {512, 256, 256}, {128, 512, 384},
                                 {512, 384, 1152}, {512, 128, 8192}, {64, 128, 512},  {12, 128, 512},  {1, 128, 512}};
  static const char *const name[4] = {"A B", "A'B", "A B'", "A'B'"};
  printf("\ngemm, GFLOP/s\n%-6s %5s %5s %5s", "case", "M", "K", "N");
  for (int i = 0; i < n; i++) printf(" %11s", all[i]->name);
  printf("\n");
  for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
    int m = shape[s][0], k = shape[s][1], nn = shape[s][2];
    for (int t = 0; t < 4; t++) {
      bool ta = t & 1, tb = t & 2;
      struct job j = {.x = dense((size_t)m * (size_t)k), .y = dense((size_t)k * (size_t)nn), .z = dense((size_t)m * (size_t)nn)};
      printf("%-6s %5d %5d %5d", name[t], m, k, nn);
      for (int i = 0; i < n; i++) {
        j.k = all[i], j.w = dense(all[i]->gemm_scratch);
        j.gemm = (struct gemm){.m = m,
                               .n = nn,
                               .k = k,
                               .ta = ta,
                               .tb = tb,
                               .a = j.x,
                               .lda = ta ? m : k,
                               .b = j.y,
                               .ldb = tb ? k : nn,
                               .c = j.z,
                               .ldc = nn,
                               .scratch = j.w};
        printf(" %11.1f", 2e-9 * m * nn * k / seconds(run_gemm, &j));
        fflush(stdout);
        free(j.w);
      }
      printf("\n");
      free(j.x), free(j.y), free(j.z);
    }
  }
}

static void run_forward(void *p) {
  struct job *j = p;
  j->k->attention_forward(&j->attention.f);
}
static void run_backward(void *p) {
  struct job *j = p;
  j->k->attention_backward(&j->attention);
}
static void run_decode(void *p) {
  struct job *j = p;
  j->k->attention_decode(&j->decode);
}

/* About 1024 rows in sequences of t rows each, causal; FLOPs counted for the visible half only: 4 d forward, 10 d backward per pair */
static void bench_attention_shape(const struct kernel *const *all, int n, int t, int heads, int d) {
  int sequences = t > 1024 ? 1 : 1024 / t, rows = sequences * t, stride = 3 * heads * d;
  size_t wide = (size_t)rows * (size_t)stride, out = (size_t)rows * (size_t)(heads * d);
  int32_t *start = calloc((size_t)sequences + 1, sizeof *start);
  for (int s = 0; s < sequences; s++) start[s + 1] = start[s] + t;
  struct job j = {.x = dense(wide), .y = dense(out), .z = dense(out), .w = dense(wide)};
  float *lse = dense((size_t)rows * (size_t)heads), *scratch = dense(kernel_attention_scratch(t, d));
  struct attention a = {.sequences = sequences,
                        .start = start,
                        .heads = heads,
                        .kv_heads = heads,
                        .d = d,
                        .scale = 1 / sqrtf((float)d),
                        .q = j.x,
                        .k = j.x + heads * d,
                        .v = j.x + 2 * heads * d,
                        .q_stride = stride,
                        .k_stride = stride,
                        .v_stride = stride,
                        .out = j.y,
                        .out_stride = heads * d,
                        .lse = lse,
                        .scratch = scratch};
  double pairs = 0.5 * t * (t + 1.0) * sequences * heads;
  j.attention = (struct attention_back){a, j.z, j.w, j.w + heads * d, j.w + 2 * heads * d};
  for (int back = 0; back < 2; back++) {
    printf("%-8s T=%-5d H=%-2d d=%-4d", back ? "backward" : "forward", t, heads, d);
    for (int i = 0; i < n; i++) {
      j.k = all[i];
      run_forward(&j);
      memset(j.w, 0, wide * sizeof(float));
      printf(" %11.1f", 1e-9 * pairs * d * (back ? 10 : 4) / seconds(back ? run_backward : run_forward, &j));
      fflush(stdout);
    }
    printf("\n");
  }
  free(j.x), free(j.y), free(j.z), free(j.w), free(lse), free(scratch), free(start);
}

static void bench_attention(const struct kernel *const *all, int n) {
  static const int shape[][3] = {{20, 4, 32},  {64, 4, 32},  {29, 12, 10}, {128, 12, 10}, {1000, 12, 10},
                                 {128, 4, 32}, {256, 4, 32}, {512, 4, 64}, {512, 1, 128}, {2000, 4, 32}};
  printf("\nattention, causal, GFLOP/s of the visible half\n%-27s", "");
  for (int i = 0; i < n; i++) printf(" %11s", all[i]->name);
  printf("\n");
  for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) bench_attention_shape(all, n, shape[s][0], shape[s][1], shape[s][2]);
}

/* 64 streams over one shared prefix of 208 rows and 48 rows of their own each: 4 d per key and head */
static void bench_decode(const struct kernel *const *all, int n) {
  enum { STREAMS = 64, PREFIX = 208, OWN = 48, H = 4, D = 32, ROW = H * D, SHARED = PREFIX / DECODE_ROWS, MINE = OWN / DECODE_ROWS };
  struct job j = {.x = dense(STREAMS * ROW), .w = dense(STREAMS * ROW)};
  const size_t block = decode_layer(H, D) + DECODE_BEYOND;
  int8_t *cache = calloc(SHARED + (size_t)STREAMS * MINE, block);
  if (!cache) exit(1);
  float *keep = dense((int)kernel_keep_scratch(D));
  for (size_t i = 0; i < SHARED + (size_t)STREAMS * MINE; i++)
    for (int r = 0; r < DECODE_ROWS; r++)
      all[0]->decode_keep(&(struct decode_keep){1, H, D, j.x + (i + (size_t)r) % (STREAMS - 1) * ROW, 0, false,
                                                &(struct decode_place){cache + i * block, r}, keep});
  const int8_t *shared[SHARED], *mine[STREAMS * MINE];
  struct decode_rows prefix[STREAMS], own[STREAMS];
  float *scratch = dense((int)kernel_decode_scratch(PREFIX, OWN, D));
  for (int i = 0; i < SHARED; i++) shared[i] = cache + (size_t)i * block;
  for (int i = 0; i < STREAMS * MINE; i++) mine[i] = cache + (size_t)(SHARED + i) * block;
  for (int s = 0; s < STREAMS; s++) {
    prefix[s] = (struct decode_rows){shared, 0, PREFIX, 0, 0};
    own[s] = (struct decode_rows){mine + (ptrdiff_t)s * MINE, 0, OWN, 0, 0};
  }
  j.decode = (struct attention_decode){.streams = STREAMS,
                                       .heads = H,
                                       .kv_heads = H,
                                       .d = D,
                                       .scale = 0.2f,
                                       .q = j.x,
                                       .q_stride = ROW,
                                       .prefix = prefix,
                                       .own = own,
                                       .out = j.w,
                                       .out_stride = ROW,
                                       .scratch = scratch};
  printf("%-27s", "decode 64 x (208+48) d=32");
  for (int i = 0; i < n; i++) {
    j.k = all[i];
    printf(" %11.1f", 4e-9 * STREAMS * H * (PREFIX + OWN) * D / seconds(run_decode, &j));
  }
  printf("\n");
  free(j.x), free(j.w), free(scratch), free(keep), free(cache);
}

static void run_swiglu(void *p) {
  struct job *j = p;
  j->k->swiglu_forward(j->rows, j->c, j->x, j->y);
}
static void run_swiglu_back(void *p) {
  struct job *j = p;
  j->k->swiglu_backward(j->rows, j->c, j->x, j->y, j->z);
}
static void run_gelu(void *p) {
  struct job *j = p;
  j->k->gelu_forward((size_t)j->rows * (size_t)j->c, j->x, j->y);
}
static void run_norm(void *p) {
  struct job *j = p;
  j->k->norm_forward(&(struct norm){NORM_RMS, j->rows, j->c, 1e-5f, j->x, j->w, NULL, j->y, j->z, j->z});
}
static void run_exp(void *p) {
  struct job *j = p;
  j->k->exp_scaled((size_t)j->rows * (size_t)j->c, 1, 0, j->x, j->y);
}
static void run_logsumexp(void *p) {
  struct job *j = p;
  volatile float sink = j->k->logsumexp((size_t)j->rows * (size_t)j->c, j->x);
  (void)sink;
}
static void run_dropout(void *p) {
  struct job *j = p;
  j->k->dropout((size_t)j->rows * (size_t)j->c, 1e-6f, 1, 2, j->y);
}
static void run_adamw(void *p) {
  struct job *j = p;
  size_t n = (size_t)j->rows * (size_t)j->c / 4;
  j->k->adamw(&(struct adamw){4 * n, j->x, j->y, j->z, j->w, 1e-6f, 0.9f, 0.95f, 1e-8f, 0.1f, 1, 0.1f, 0.05f});
}
static void run_rope(void *p) {
  struct job *j = p;
  j->k->rope(&(struct rope){.rows = j->rows, .heads = j->c / 32, .d = 32, .stride = j->c, .position = j->w, .base = 10000, .x = j->x});
}

static void bench_elements(const struct kernel *const *all, int n) {
  static const struct {
    const char *name;
    void (*f)(void *);
  } op[] = {{"swiglu forward", run_swiglu}, {"swiglu backward", run_swiglu_back}, {"gelu forward", run_gelu}, {"rmsnorm forward", run_norm},
            {"exp_scaled", run_exp},        {"logsumexp", run_logsumexp},         {"dropout", run_dropout},   {"adamw", run_adamw},
            {"rope, d=32", run_rope}};
  enum { ROWS = 256, C = 128 };
  printf("\nthe rest, ns per element (256 rows of 128)\n%-27s", "");
  for (int i = 0; i < n; i++) printf(" %11s", all[i]->name);
  printf("\n");
  for (size_t o = 0; o < sizeof op / sizeof *op; o++) {
    printf("%-27s", op[o].name);
    for (int i = 0; i < n; i++) {
      struct job j = {.k = all[i],
                      .x = dense(2 * ROWS * C),
                      .y = dense(ROWS * C),
                      .z = dense(2 * ROWS * C),
                      .w = dense(ROWS * C),
                      .rows = ROWS,
                      .c = C};
      for (int e = 0; e < 2 * ROWS * C; e++) j.z[e] = fabsf(j.z[e]); /* second moments */
      printf(" %11.3f", 1e9 * seconds(op[o].f, &j) / (ROWS * C));
      free(j.x), free(j.y), free(j.z), free(j.w);
    }
    printf("\n");
  }
}

int main(int argc, char **argv) {
  const struct kernel *all[8];
  int n = kernel_all(all), kept = 0;
  thread_fast_float();
  rng_init(&source, 1, 1);
  for (int i = 0; i < n; i++) {
    if (argc < 2 ? i > 0 : !strcmp(argv[1], all[i]->name)) all[kept++] = all[i]; /* the reference only when asked for */
  }
  if (kept == 0) {
    fprintf(stderr, "kernel_bench: no such column on this machine (%s)\n", kernel_describe());
    return 1;
  }
  printf("best column: %s\n", kernel_describe());
  bench_gemm(all, kept);
  bench_attention(all, kept);
  bench_decode(all, kept);
  bench_elements(all, kept);
  return 0;
}
