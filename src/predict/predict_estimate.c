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
    else if ((rival && rival[c]) || s->death[c])
      end[out->ends++] = c;
  }
  return OK;
}

int watch_one(const struct law_shape *s, uint32_t code, double horizon, struct arena *a, struct watch *out, struct error *e) {
  uint32_t ends = 0, n = 1;
  for (uint32_t c = 0; c < s->codes; c++) ends += s->death[c];
  uint32_t *list = arena_array(a, uint32_t, ends + 1);
  if (!list) return error_set(e, E_NOMEM, "no memory for a question");
  list[0] = code;
  for (uint32_t c = 0; c < s->codes; c++)
    if (s->death[c] && c != code) list[n++] = c;
  *out = (struct watch){.code = list, .codes = s->open[code] > 0, .end = list + 1, .ends = n - 1, .horizon = horizon};
  return OK;
}

static bool is_target(const struct watch *w, uint32_t code) { return w->target ? w->target[code] != 0 : w->code[0] == code; }

struct law_meeting watch_meet(const struct watch *w, const struct law *law, const struct law_shape *s, double *outside) {
  return law_meet(law, s, w->code, w->codes, w->end, w->ends, outside);
}

void watch_pass(const struct watch *w, struct watch_state *s, const struct law_shape *shape, const struct law *law, double from,
                double to) {
  double begin = fmax(from, w->gap), stop = fmin(to, w->horizon), outside;
  if (!s->open || stop <= begin || !(law->all > 0)) return;
  s->value += law->all * law->scale * watch_meet(w, law, shape, &outside).target * (stop - begin);
}

void watch_set(const struct watch *w, struct watch_state *s, const struct law_shape *shape, const uint32_t *code, int n, double at) {
  bool target = false, end = at > w->horizon;
  if (!s->open) return;
  for (int i = 0; i < n; i++) {
    bool mine = is_target(w, code[i]);
    target |= mine && at <= w->horizon;
    end |= !mine && (shape->death[code[i]] || (w->rival && w->rival[code[i]]));
  }
  s->met = !target ? NOT_MET : at < w->gap ? MET_INSIDE_GAP : MET;
  s->open = !target && !end;
}

struct estimate estimate_integrated(const double *value, const uint8_t *met, int n, int stride) {
  double mean = 0, square = 0;
  int left = 0;
  for (int i = 0; i < n; i++)
    if (met[(size_t)i * (size_t)stride] != MET_INSIDE_GAP) mean += value[(size_t)i * (size_t)stride], left++;
  mean = left ? mean / left : NAN;
  for (int i = 0; i < n; i++) {
    double by = value[(size_t)i * (size_t)stride] - mean;
    if (met[(size_t)i * (size_t)stride] != MET_INSIDE_GAP) square += by * by;
  }
  return (struct estimate){mean, left > 1 ? sqrt(square / (left - 1) / left) : NAN};
}

struct estimate estimate_share(const uint8_t *met, int n, int stride) {
  int left = 0, with = 0;
  for (int i = 0; i < n; i++) {
    left += met[(size_t)i * (size_t)stride] != MET_INSIDE_GAP;
    with += met[(size_t)i * (size_t)stride] == MET;
  }
  double share = left ? (double)with / left : NAN;
  return (struct estimate){share, left > 1 ? sqrt(share * (1 - share) / left) : NAN};
}

/* Standard error of a ratio from what is left of each value when the ratio is taken out (Cochran 1977, linearised). */
struct estimate estimate_anticipated(const double *value, const double *inside, int n) {
  double above = 0, below = 0, square = 0;
  for (int i = 0; i < n; i++) above += value[i] / n, below += (1 - inside[i]) / n;
  if (!(below > 0)) return (struct estimate){NAN, NAN};
  double ratio = above / below;
  for (int i = 0; i < n; i++) square += (value[i] - ratio * (1 - inside[i])) * (value[i] - ratio * (1 - inside[i]));
  return (struct estimate){ratio, n > 1 ? sqrt(square / (n - 1) / n) / below : NAN};
}
