/* What decoding does to the law of the next instant: at the last positions of the lives of a store, the rates after decoding (keys and values in eight
 * bits; then the trunk as well) beside those of the whole forward pass in f32. One JSON line for each.
 *
 *     decode_bench CHECKPOINT STORE LIVES
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "model/model_internal.h"
#include "timeline/timeline.h"
#include "token/token.h"

enum { LAST = 8, LEAST = 12 }; /* positions decoded of a life; shortest life taken */

static void must(int rc, const struct error *e) {
  if (rc >= 0) return;
  fprintf(stderr, "decode_bench: %s\n", e->message);
  exit(1);
}

/* One position of a batch of one sequence as a batch of its own; arrays are shared. */
static struct token_batch position_of(const struct token_batch *b, int p) {
  static int32_t start[2] = {0, 1};
  struct token_batch one = *b;
  one.seq_start = start, one.positions = one.sequences = 1;
  one.time += p, one.entry_start += p, one.time_feature += p * TOKEN_TIME_FEATURES, one.rope_index += p, one.rope_time += p;
  return one;
}

struct distance {
  double divergence, worst, rate, n; /* nats, nats, |log of the ratio of summed rates| */
};

static void compare(const struct model *m, struct model_workspace *w, const float *want, const float *have, struct distance *d) {
  size_t codes = model_config(m)->codes;
  float *p = calloc(2 * codes, sizeof *p), *q = p + codes, shift[2];
  if (!p) exit(1);
  model_decode_rates(m, w, 1, want, p, shift);
  model_decode_rates(m, w, 1, have, q, shift + 1);
  double a = model_logsumexp(m, (uint32_t)codes, p), b = model_logsumexp(m, (uint32_t)codes, q), sum = 0;
  for (size_t i = 0; i < codes; i++) sum += exp((double)p[i] - a) * ((double)p[i] - a - (double)q[i] + b);
  d->divergence += sum, d->worst = fmax(d->worst, sum), d->n++;
  d->rate += fabs(a + (double)shift[0] - b - (double)shift[1]);
  free(p);
}

static void one_life(const struct model *m, struct model_workspace *full, struct model_workspace *w, const struct token_batch *b,
                     struct distance *d) {
  struct error e = {0};
  struct model_prefix *past;
  struct model_cache *cache;
  struct token_batch before = *b;
  int32_t start[2] = {0, b->positions - LAST};
  before.seq_start = start, before.positions = start[1];
  must(model_forward(m, full, b, NULL, &e), &e);
  must(model_prefix_new(m, start[1], &past, &e), &e);
  must(model_cache_new(m, 1, LAST, &cache, &e), &e);
  must(model_forward(m, w, &before, &past, &e), &e);
  must(model_cache_bind(cache, 0, past, &e), &e);
  for (int p = start[1]; p < b->positions; p++) {
    struct token_batch one = position_of(b, p);
    must(model_decode(m, w, cache, &one, &(int){0}, &e), &e);
    compare(m, w, model_hidden(full) + (ptrdiff_t)p * model_config(m)->d, model_hidden(w), d);
  }
  model_cache_free(cache);
  model_prefix_free(past);
}

int main(int argc, char **argv) {
  struct error e = {0};
  struct model *m;
  struct timeline *t;
  struct token_map *map;
  struct token_batch b;
  struct model_workspace *full, *w;
  if (argc < 4) return fprintf(stderr, "usage: decode_bench CHECKPOINT STORE LIVES\n"), 2;
  thread_fast_float();
  must(model_load(argv[1], &m, &e), &e);
  must(timeline_open(argv[2], &t, &e), &e);
  const struct model_config *c = model_config(m);
  struct token_options o = {.pack = (enum token_pack_mode)c->pack, .context = c->context};
  must(token_map_new(model_vocabulary(m), t, &map, &e), &e);
  must(token_batch_init(&b, 0, &e), &e);
  must(model_workspace_new(m, c->context, false, &full, &e), &e);
  must(model_workspace_new(m, c->context, false, &w, &e), &e);
  for (int int8 = 0; int8 < 2; int8++) {
    struct model_decoder *decoder;
    struct distance d = {0};
    int lives = 0;
    must(model_decoder_new(m, int8, &decoder, &e), &e);
    model_workspace_decode(w, decoder);
    for (uint32_t i = 0; i < timeline_subjects(t) && lives < atoi(argv[3]); i++) {
      struct timeline_view v = timeline_view(t, i);
      token_batch_clear(&b);
      must(token_pack(model_vocabulary(m), map, &v, i, v.n, INT64_MIN, &o, &b, &e), &e);
      if (b.positions < LEAST) continue;
      one_life(m, full, w, &b, &d);
      lives++;
    }
    printf("{\"trunk\": \"%s\", \"positions\": %.0f, \"divergence\": %.3g, \"worst\": %.3g, \"rate\": %.3g}\n", int8 ? "int8" : "f32", d.n,
           d.divergence / d.n, d.worst, d.rate / d.n);
    model_decoder_free(decoder);
  }
  model_workspace_free(w), model_workspace_free(full);
  token_batch_release(&b);
  token_map_free(map);
  timeline_close(t);
  model_free(m);
  return 0;
}
