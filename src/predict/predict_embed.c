/* A life as a vector: the trunk's hidden state at its last position, or the mean over its positions. */
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "token/token.h"
#include "predict/predict_internal.h"

int predict_embed(struct predictor *p, uint32_t subject_index, int64_t time, bool mean, float *out, uint32_t *events, struct error *e) {
  struct timeline_view view = timeline_view(p->store, subject_index);
  size_t d = (size_t)model_config(p->m)->d;
  uint32_t n = predict_prefix(&view, time);
  *events = n;
  token_batch_clear(&p->batch);
  TRY(token_pack(p->v, p->map, &view, subject_index, n, time == INT64_MAX ? INT64_MIN : time, &p->pack, &p->batch, e));
  int rc = model_forward(p->m, p->w, &p->batch, NULL, e);
  int from = p->batch.seq_start[0], rows = p->batch.seq_start[1] - from;
  token_batch_clear(&p->batch);
  TRY(rc);
  const float *h = model_hidden(p->w) + (size_t)from * d;
  for (size_t k = 0; k < d; k++) {
    double sum = 0;
    for (int r = mean ? 0 : rows - 1; r < rows; r++) sum += (double)h[(size_t)r * d + k];
    out[k] = (float)(mean ? sum / rows : sum);
  }
  return OK;
}
