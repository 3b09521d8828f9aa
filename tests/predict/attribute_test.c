/* Integrated gradients: they add up to what they explain (completeness), agree with finite differences of the logit, and reach the events that they
 * belong to; other values are tried within what training held. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "predict/predict_fixture.h"

static void they_add_up(void **state) {
  (void)state;
  struct fixture f;
  struct model_config c = fixture_small();
  fixture_open(&f, 40, 30);
  fixture_model(&f, &c, true);
  struct token_map *map;
  struct token_batch b;
  struct model_workspace *w;
  MUST(token_map_new(f.v, f.store, &map, &f.e));
  MUST(token_batch_init(&b, 0, &f.e));
  MUST(model_workspace_new(f.m, 64, true, &w, &f.e));
  struct token_options o = {.pack = (enum token_pack_mode)c.pack, .context = c.context};
  for (uint32_t i = 0; i < 5; i++) {
    struct timeline_view v = timeline_view(f.store, i);
    double out[1024], ends[2], sum = 0;
    token_batch_clear(&b);
    MUST(token_pack(f.v, map, &v, i, v.n, INT64_MIN, &o, &b, &f.e));
    assert_true(b.entries > 3 && b.entries < 1024);
    MUST(model_attribute(f.m, w, &b, &f.m->task[0], 128, out, ends, &f.e));
    for (int k = 0; k < b.entries; k++) sum += out[k];
    assert_true(fabs(ends[1] - ends[0]) > 1e-3);
    assert_true(fabs(sum - (ends[1] - ends[0])) < 0.02 * (fabs(ends[1] - ends[0]) + 0.1));
    /* after it the batch is as it was: the same logit again */
    double again[1024], twice[2];
    MUST(model_attribute(f.m, w, &b, &f.m->task[0], 1, again, twice, &f.e));
    assert_true(fabs(twice[1] - ends[1]) < 1e-6 && fabs(twice[0] - ends[0]) < 1e-6);
  }
  model_workspace_free(w);
  token_batch_release(&b);
  token_map_free(map);
  fixture_close(&f);
}

static void they_reach_their_events(void **state) {
  (void)state;
  struct fixture f;
  struct model_config c = fixture_small();
  struct predictor *p;
  struct prediction r;
  struct arena a;
  fixture_open(&f, 40, 30);
  fixture_model(&f, &c, true);
  f.m->task[0].blend_wide = 0; /* the deep part alone answers */
  arena_init(&a, 0, 0);
  MUST(predictor_new(f.m, f.store, &p, &f.e));
  uint32_t index = 0;
  while (timeline_view(f.store, index).subject % 3 == 0) index++; /* somebody who lives */
  MUST(predict(p, index, &(struct predict_options){.task = f.task, .time = INT64_MAX, .explain = 1000, .change = 3}, &a, &r, &f.e));
  assert_true(r.contributions >= 5);
  double both = 0, x2 = 0, y2 = 0;
  for (int i = 0; i < r.contributions; i++) {
    const struct predict_contribution *k = &r.contribution[i];
    assert_false(isnan(k->gradient));
    both += k->delta * k->gradient, x2 += k->delta * k->delta, y2 += k->gradient * k->gradient;
  }
  print_message("%d events, correlation of removal and gradients %.2f\n", r.contributions, both / sqrt(x2 * y2));
  assert_true(both / sqrt(x2 * y2) > 0.3); /* two views of one thing: near, not equal */
  for (int i = 0; i < r.changes; i++) {
    uint32_t id;
    assert_true(vocabulary_find(f.v, r.change[i].code, &id));
    const struct vocabulary_entry *n = vocabulary_at(f.v, id);
    assert_true(r.change[i].instead >= n->knot[0] && r.change[i].instead <= n->knot[n->knots - 1]);
    assert_true(r.change[i].probability < r.probability);
    assert_true(i == 0 || r.change[i].probability >= r.change[i - 1].probability);
  }
  assert_true(r.changes > 0);
  predictor_free(p);
  arena_free(&a);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(they_add_up), cmocka_unit_test(they_reach_their_events)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
