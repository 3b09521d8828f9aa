#include "predict/predict_estimate.h"

#include <math.h>

#include "base/arena.h"
#include "predict/predict_law.h"

int watch_make(const struct law_shape *s, const uint8_t *target, const uint8_t *rival, double gap, double horizon, struct arena *a,
               struct watch *out, struct error *e) {
  uint32_t *code = arena_array(a, uint32_t, (size_t)s->codes + 1), *end = arena_array(a, uint32_t, (size_t)s->codes + 1);
  if (!code || !end) return error_set(e, E_NOMEM, "no memory for a question");
  *out = (struct watch){.target = target, .rival = rival, .code = code, .end = end, .gap = gap, .horizon = horizon};
  for (uint32_t c = 0; c < s->codes; c++) {
    if (s->open[c] == 0) continue;
    if (target[c])
      code[out->codes++] = c;
    else if ((rival && rival[c]) || (c == s->death && s->death))
      end[out->ends++] = c;
  }
  return OK;
}

int watch_one(const struct law_shape *s, uint32_t code, double horizon, struct arena *a, struct watch *out, struct error *e) {
  uint32_t *list = arena_array(a, uint32_t, 2);
  if (!list) return error_set(e, E_NOMEM, "no memory for a question");
  list[0] = code;
  list[1] = s->death;
  *out =
      (struct watch){.code = list, .codes = s->open[code] > 0, .end = list + 1, .ends = s->death && s->death != code, .horizon = horizon};
  return OK;
}

static bool is_target(const struct watch *w, uint32_t code) { return w->target ? w->target[code] != 0 : w->code[0] == code; }

void watch_chances(const struct watch *w, const struct law *law, double *target, double *end) {
  *target = *end = 0;
  for (uint32_t i = 0; i < w->codes; i++) *target += (double)law->rate[w->code[i]];
  for (uint32_t i = 0; i < w->ends; i++) *end += (double)law->rate[w->end[i]];
}

void watch_pass(const struct watch *w, struct watch_state *s, const struct law_shape *shape, const struct law *law, double from,
                double to) {
  double begin = fmax(from, w->gap), stop = fmin(to, w->horizon), target, end;
  if (!s->open || stop <= begin || !(law->total > 0)) return;
  watch_chances(w, law, &target, &end);
  s->value += law->total * law->scale * law_hit(target / law->total, end / law->total, shape->extra) * (stop - begin);
}

void watch_code(const struct watch *w, struct watch_state *s, uint32_t death, uint32_t code, double at) {
  if (!s->open) return;
  if (at > w->horizon)
    s->open = false;
  else if (is_target(w, code) && at >= w->gap)
    s->met = true, s->open = false;
  else if ((w->rival && w->rival[code] && !is_target(w, code)) || (code == death && death))
    s->open = false;
}

struct estimate estimate_of(const double *value, int n, int stride) {
  double mean = 0, square = 0;
  for (int i = 0; i < n; i++) mean += value[(size_t)i * (size_t)stride];
  mean /= n;
  for (int i = 0; i < n; i++) square += (value[(size_t)i * (size_t)stride] - mean) * (value[(size_t)i * (size_t)stride] - mean);
  return (struct estimate){mean, n > 1 ? sqrt(square / (n - 1) / n) : NAN};
}
