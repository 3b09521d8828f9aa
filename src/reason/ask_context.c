/* Which part of a life a language model is shown. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/time.h"
#include "predict/predict.h"
#include "reason/ask_model.h"
#include "reason/ask_private.h"
#include "timeline/timeline.h"

enum { NAMES_ENCODED = 256, HITS = 24, CONTRIBUTIONS = 12, OF_ONE_CODE = 3 };
#define BY_RETRIEVAL 3.0F
#define BY_SALIENCE 2.0F
#define BY_RECENCY 1.0F

/* The names of this life as passages of a knowledge base in memory: found by words, and by meaning where there is an encoder. */
static int retrieve(const struct ask_scope *s, struct str question, float *weight, struct arena *a, struct error *e) {
  const struct timeline *t = s->k->t;
  struct timeline_view v = timeline_view(t, s->index);
  uint8_t *seen = arena_array(a, uint8_t, timeline_codes(t) + 1);
  struct library *names;
  struct passage hit[HITS];
  int n = 0, passages, encoded = 0;
  if (!seen) return error_set(e, E_NOMEM, "no memory for retrieval");
  TRY(library_open(":memory:", true, &names, e));
  int rc = OK;
  for (uint32_t k = v.n; rc == OK && k-- > 0;) {
    char id[16];
    struct str text = timeline_text(t, s->index, k);
    if (text.n) {
      snprintf(id, sizeof id, "e%u", k);
      if (text.n > PASSAGE_BYTES) text.n = PASSAGE_BYTES;
      if (str_utf8_valid(text)) rc = library_add(names, str_c(id), text, NULL, &passages, e);
    }
    if (seen[v.code[k]] || rc < 0) continue;
    seen[v.code[k]] = 1;
    snprintf(id, sizeof id, "c%u", v.code[k]);
    if (str_utf8_valid(ask_name(s->k, v.code[k])))
      rc = library_add(names, str_c(id), ask_name(s->k, v.code[k]), encoded++ < NAMES_ENCODED ? s->encoder : NULL, &passages, e);
  }
  if (rc == OK) rc = library_find(names, question, s->encoder, a, hit, HITS, &n, e);
  for (int i = 0; rc == OK && i < n; i++) {
    int64_t id;
    float w = BY_RETRIEVAL * (float)(hit[i].score / hit[0].score);
    if (str_to_i64((struct str){hit[i].document.p + 1, hit[i].document.n - 1}, &id) < 0) continue;
    for (uint32_t k = 0; k < v.n; k++)
      if (hit[i].document.p[0] == 'e' ? k == (uint32_t)id : v.code[k] == (uint32_t)id) weight[k] += w;
  }
  library_close(names);
  return rc;
}

static int salience(const struct ask_scope *s, float *weight, struct arena *a, struct error *e) {
  struct timeline_view v = timeline_view(s->k->t, s->index);
  struct prediction r;
  struct predictor *p = s->predictor && s->task ? s->predictor(s->ctx, e) : NULL;
  if (!s->predictor || !s->task) return OK;
  if (!p) return e->code;
  TRY(predict(p, s->index,
              &(struct predict_options){.task = s->task,
                                        .time = INT64_MAX,
                                        .explain = CONTRIBUTIONS,
                                        .outcomes = 1,
                                        .seed = 1,
                                        .cancelled = s->cancelled,
                                        .cancel_ctx = s->ctx},
              a, &r, e));
  double most = 0;
  for (int i = 0; i < r.contributions; i++) most = fmax(most, fabs(r.contribution[i].delta));
  for (int i = 0; most > 0 && i < r.contributions; i++)
    for (uint32_t k = 0; k < v.n; k++)
      if (v.time[k] == r.contribution[i].time && str_eq(timeline_code_name(s->k->t, v.code[k]), r.contribution[i].code))
        weight[k] += BY_SALIENCE * (float)(fabs(r.contribution[i].delta) / most);
  return OK;
}

int ask_weigh(const struct ask_scope *s, struct str question, float *weight, struct arena *a, struct error *e) {
  struct timeline_view v = timeline_view(s->k->t, s->index);
  for (uint32_t k = 0; k < v.n; k++) weight[k] = BY_RECENCY * (float)(k + 1) / (float)v.n;
  TRY(retrieve(s, question, weight, a, e));
  return salience(s, weight, a, e);
}

struct line {
  uint32_t event;
  float weight;
};
static int heavier(const void *x, const void *y) {
  const struct line *a = x, *b = y;
  if (a->weight != b->weight) return a->weight < b->weight ? 1 : -1;
  return a->event < b->event ? 1 : -1;
}

static void put_plain(struct buf *b, struct str s) {
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i];
    buf_putc(b, c == '<' ? '(' : c == '>' ? ')' : (unsigned char)c < 32 ? ' ' : c);
  }
}
void ask_plain(struct buf *b, struct str s) { put_plain(b, s); }

static void put_line(const struct asker *asker, const struct timeline_view *v, uint32_t k, struct buf *b) {
  char day[16], value[64];
  buf_printf(b, "e%u %s ", k, v->time[k] == INT64_MIN ? "always" : ask_day(v->time[k], day));
  put_plain(b, ask_name(asker, v->code[k]));
  put_plain(b, str_c(ask_value(asker->t, v->value[k], v->unit[k], value)));
  buf_putc(b, '\n');
}

int ask_render(const struct asker *k, uint32_t index, const float *weight, size_t bytes, struct buf *out, uint8_t *shown, struct arena *a,
               struct error *e) {
  struct timeline_view v = timeline_view(k->t, index);
  struct line *line = arena_array(a, struct line, v.n + 1);
  uint8_t *of_code = arena_array(a, uint8_t, timeline_codes(k->t) + 1);
  struct buf one = {0};
  size_t used = 0;
  if (!line || !of_code) return error_set(e, E_NOMEM, "no memory for a context");
  for (uint32_t i = 0; i < v.n; i++) line[i] = (struct line){i, weight[i]};
  qsort(line, v.n, sizeof *line, heavier);
  for (uint32_t i = 0; i < v.n; i++) {
    uint32_t j = line[i].event;
    if (weight[j] < ASK_LED && of_code[v.code[j]] >= OF_ONE_CODE) continue;
    buf_clear(&one);
    put_line(k, &v, j, &one);
    if (used + one.n > bytes) break;
    used += one.n;
    if (of_code[v.code[j]] < OF_ONE_CODE) of_code[v.code[j]]++;
    shown[j] = 1;
  }
  buf_release(&one);
  for (uint32_t i = 0; i < v.n; i++)
    if (shown[i]) put_line(k, &v, i, out);
  return buf_check(out, e);
}
