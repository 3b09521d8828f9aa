/* A patient's messages in memory -> the wall -> the model -> an ORU^R01. */
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/thread.h"
#include "base/time.h"
#include "predict/predict.h"
#include "predict/uncertainty.h"
#include "serve/engine.h"
#include "serve/serve_mllp.h"
#include "timeline/task.h"
#include "vitae.h"

#define PATIENT_MEMORY (64u << 20)

/* ---- writing HL7 v2 with the sender's own separators: what is repeated of his needs no translation ---- */

struct pen {
  struct buf *to;
  char field, component, repetition, escape, sub;
};

static struct pen pen_of(struct buf *to, struct str message) {
  struct pen p = {to, '|', '^', '~', '\\', '&'};
  if (message.n > 4) p.field = message.p[3];
  struct str marks = hl7v2_raw(message, "MSH", 2);
  char *const into[] = {&p.component, &p.repetition, &p.escape, &p.sub};
  for (size_t i = 0; i < 4 && i < marks.n; i++) *into[i] = marks.p[i];
  return p;
}

/* Our own words: ASCII, whatever the sender's character set is. */
static void words(const struct pen *p, struct str s) {
  const struct { char mark, name; } marks[] = {{p->field, 'F'}, {p->component, 'S'}, {p->repetition, 'R'}, {p->escape, 'E'}, {p->sub, 'T'}};
  for (size_t i = 0; i < s.n; i++) {
    unsigned char c = (unsigned char)s.p[i];
    size_t k = 0;
    while (k < 5 && marks[k].mark != (char)c) k++;
    if (k < 5)
      buf_printf(p->to, "%c%c%c", p->escape, marks[k].name, p->escape);
    else if (c >= ' ' && c < 0x7f)
      buf_putc(p->to, (char)c);
    else if (c < 0x80 || c >= 0xC0)
      buf_putc(p->to, '?');
  }
}

static void raw(const struct pen *p, struct str s) { buf_str(p->to, s); }
static void next(const struct pen *p, int fields) {
  while (fields-- > 0) buf_putc(p->to, p->field);
}

static void stamp(const struct pen *p, int64_t now) {
  int y, m, d;
  int64_t s = now % TIME_DAY / TIME_SECOND;
  time_to_civil(now / TIME_DAY, &y, &m, &d);
  buf_printf(p->to, "%04d%02d%02d%02d%02d%02d+0000", y, m, d, (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
}

struct telling {
  const struct mllp *m;
  struct pen pen;
  struct str message; /* the patient's own, whose PID and PV1 are repeated */
  const char *version, *control;
  int64_t now;
  int obx, nte;
};

static void head(struct telling *t) {
  const struct pen *p = &t->pen;
  struct str charset = hl7v2_raw(t->message, "MSH", 18), version = hl7v2_raw(t->message, "MSH", 12);
  struct str processing = hl7v2_raw(t->message, "MSH", 11);
  buf_printf(p->to, "MSH%c%c%c%c%c%cVITAE%c", p->field, p->component, p->repetition, p->escape, p->sub, p->field, p->field);
  next(p, 1);
  words(p, str_c(t->m->set.application)), next(p, 1);
  words(p, str_c(t->m->set.facility)), next(p, 1);
  stamp(p, t->now);
  next(p, 2);
  buf_printf(p->to, "ORU%cR01%cORU_R01%c%s%c", p->component, p->component, p->field, t->control, p->field);
  raw(p, processing.n ? processing : STR("P")), next(p, 1);
  raw(p, version.n ? version : STR("2.5.1"));
  if (charset.n) next(p, 6), raw(p, charset);
  buf_putc(p->to, '\r');
}

/* Who it is about, as the sender said it: number, name, birth, sex; the visit. Nothing else of the message. */
static void patient(struct telling *t) {
  const struct pen *p = &t->pen;
  static const int pid[] = {3, 5, 7, 8};
  int at = 1;
  buf_printf(p->to, "PID%c1", p->field);
  for (size_t i = 0; i < sizeof pid / sizeof *pid; i++) {
    next(p, pid[i] - at), at = pid[i];
    raw(p, hl7v2_raw(t->message, "PID", pid[i]));
  }
  buf_putc(p->to, '\r');
  struct str class = hl7v2_raw(t->message, "PV1", 2), visit = hl7v2_raw(t->message, "PV1", 19);
  if (!class.n) return;
  buf_printf(p->to, "PV1%c1%c", p->field, p->field);
  raw(p, class);
  if (visit.n) next(p, 17), raw(p, visit);
  buf_putc(p->to, '\r');
}

static void order(struct telling *t) {
  const struct pen *p = &t->pen;
  buf_printf(p->to, "ORC%cRE%c%c%s%cVITAE\r", p->field, p->field, p->field, t->control, p->component);
  buf_printf(p->to, "OBR%c1%c%c%s%cVITAE%cRISK%cForecast of risks%c99VITAE%c%c%c", p->field, p->field, p->field, t->control, p->component,
             p->field, p->component, p->component, p->field, p->field, p->field);
  stamp(p, t->now);
  next(p, 15);
  stamp(p, t->now);
  next(p, 3);
  buf_printf(p->to, "P\r"); /* preliminary: nobody has looked at it */
}

static void observation(struct telling *t, const char *type, const struct task *k, const char *suffix, const char *value) {
  const struct pen *p = &t->pen;
  buf_printf(p->to, "OBX%c%d%c%s%c", p->field, ++t->obx, p->field, type, p->field);
  words(p, str_c(task_name(k))), words(p, str_c(suffix));
  buf_putc(p->to, p->component);
  words(p, str_c(task_title(k)));
  buf_printf(p->to, "%c99VITAE%c%c%s%c1%c%cUCUM", p->component, p->field, p->field, value, p->field, p->component, p->component);
  next(p, 5);
  buf_printf(p->to, "P%c%c%c", p->field, p->field, p->field);
  stamp(p, t->now);
  next(p, 3);
  buf_printf(p->to, "%.12s%cVitae version%c99VITAE%cVITAE%c%c%.12s\r", t->version, p->component, p->component, p->field, p->component,
             p->component, t->version);
}

static void note(struct telling *t, const char *text) {
  const struct pen *p = &t->pen;
  buf_printf(p->to, "NTE%c%d%cL%c", p->field, ++t->nte, p->field, p->field);
  words(p, str_c(text));
  buf_putc(p->to, '\r');
}

static void tell(struct telling *t, const struct task *k, const struct prediction *r) {
  char value[64];
  snprintf(value, sizeof value, "%.4f", r->probability);
  observation(t, "NM", k, "", value);
  t->nte = 0;
  if (isnan(r->deep)) note(t, "Closed-form hazard: this version has no head for the task.");
  if (!isnan(r->lo) && ((r->set & 3) == 0 || (r->set & 3) == (SET_YES | SET_NO)))
    note(t, "The model cannot tell either way for this patient at its stated coverage.");
  for (int i = 0; i < r->warnings; i++) note(t, r->warning[i]);
  if (isnan(r->lo)) return;
  snprintf(value, sizeof value, "%c%.4f%c-%c%.4f", t->pen.component, r->lo, t->pen.component, t->pen.component, r->hi);
  observation(t, "SN", k, "-range", value);
}

/* ---- one patient ---- */

static bool wanted(const struct mllp *m, const struct task *k) {
  for (int i = 0; i < m->set.tasks; i++)
    if (strcmp(m->set.task[i], task_name(k)) == 0) return true;
  return m->set.tasks == 0;
}

static int predict_all(const struct vitae_engine *en, struct vitae_session *s, struct telling *t, struct error *e) {
  struct arena a;
  int told = 0, rc = OK;
  arena_init(&a, PATIENT_MEMORY, ARENA_WIPE);
  for (int i = 0; rc == OK && i < engine_tasks(en); i++) {
    const struct task *k = engine_task_at(en, i);
    struct prediction r;
    if (!wanted(t->m, k)) continue;
    rc = session_predict(s, &(struct session_query){.task = k, .seed = 1}, &a, &r, e);
    if (rc == OK && !r.refusal && !isnan(r.probability)) tell(t, k, &r), told++;
    arena_reset(&a);
  }
  arena_free(&a);
  return rc < 0 ? rc : told;
}

/* > 0: a result was made */
static int result_of(struct mllp *m, const struct hl7_wish *w, struct hl7_result *r, struct error *e) {
  struct served *live = fleet_live(m->server->fleet);
  const struct vitae_engine *en = served_engine(live);
  struct vitae_session *s = NULL;
  struct vitae_error ve = {0};
  struct arena a;
  struct str *message;
  size_t n;
  arena_init(&a, PATIENT_MEMORY, ARENA_WIPE);
  struct telling t = {
      .m = m, .message = {w->message.p, w->message.n}, .version = served_id(live), .control = r->control, .now = time_now()};
  t.pen = pen_of(&r->message, t.message);
  head(&t), patient(&t), order(&t);
  int rc = live ? hl7_recall(m, w->person, &a, &message, &n, e) : error_set(e, E_UNAVAILABLE, NO_VERSION);
  if (rc == OK && vitae_session_open(en, &s, &ve) < 0) rc = error_set(e, ve.code, "a session cannot be opened");
  if (rc == OK) rc = session_hl7v2(s, &m->options, message, n, e);
  if (rc == OK) rc = predict_all(en, s, &t, e);
  if (rc > 0 && buf_check(&r->message, e) < 0) rc = E_NOMEM;
  vitae_session_close(s);
  arena_free(&a);
  served_release(live);
  return rc;
}

static void wish_free(struct hl7_wish *w) {
  if (w->message.p) mem_wipe(w->message.p, w->message.cap);
  buf_release(&w->message);
  mem_free(w);
}

static void grant(struct mllp *m, struct hl7_wish *w) {
  struct error e = {0};
  struct hl7_result *r = mem_alloc(sizeof *r);
  if (!r) return;
  *r = (struct hl7_result){0};
  uint64_t id = atomic_fetch_add(&m->clerk.ids, 1);
  snprintf(r->control, sizeof r->control, "R%016llx", (unsigned long long)hash64_u64(m->server->request_seed ^ ~id));
  int rc = result_of(m, w, r, &e);
  if (rc > 0) {
    atomic_fetch_add(&m->n.results, 1);
    if (hl7_keep(m, r, &e) < 0) log_failure(LOG_WARN, &e); /* delivered all the same, if the process lives */
    if (hl7_send(m, r)) return;
    hl7_drop(m, r);
    rc = OK;
  }
  if (rc < 0 && e.code != E_INPUT) log_failure(LOG_WARN, &e); /* E_INPUT: nothing usable came of this patient yet */
  hl7_result_free(r);
}

static void *risk_main(void *ctx) {
  struct mllp *m = ctx;
  thread_fast_float();
  pthread_mutex_lock(&m->risk.mutex);
  for (;;) {
    while (!m->risk.first && !m->risk.closed) pthread_cond_wait(&m->risk.work, &m->risk.mutex);
    struct hl7_wish *w = m->risk.first;
    if (!w) break;
    m->risk.first = w->next;
    m->risk.n--;
    pthread_mutex_unlock(&m->risk.mutex);
    grant(m, w);
    wish_free(w);
    pthread_mutex_lock(&m->risk.mutex);
  }
  pthread_mutex_unlock(&m->risk.mutex);
  return NULL;
}

/* A patient who waits already waits once, with the later message. */
void hl7_wish(struct mllp *m, const struct hl7_item *it) {
  struct hl7_wish *w = mem_alloc(sizeof *w);
  if (!w) return;
  *w = (struct hl7_wish){.person = it->person};
  buf_str(&w->message, it->message);
  pthread_mutex_lock(&m->risk.mutex);
  struct hl7_wish **at = &m->risk.first;
  while (*at && (*at)->person != w->person) at = &(*at)->next;
  struct hl7_wish *old = *at;
  bool room = old || m->risk.n < HL7_WISHES;
  if (room && !w->message.failed) {
    w->next = old ? old->next : NULL;
    *at = w;
    m->risk.n += !old;
    pthread_cond_signal(&m->risk.work);
    w = old;
  } else {
    atomic_fetch_add(&m->n.wishes_dropped, 1);
  }
  pthread_mutex_unlock(&m->risk.mutex);
  if (w) wish_free(w);
}

int hl7_risk_start(struct mllp *m, struct error *e) {
  if (pthread_create(&m->risk.thread, NULL, risk_main, m) != 0) return error_set(e, E_NOMEM, "a thread cannot be started");
  m->risk.started = true;
  return OK;
}

/* Those who wait still get their result: a few seconds' work at most (HL7_WISHES). */
void hl7_risk_stop(struct mllp *m) {
  pthread_mutex_lock(&m->risk.mutex);
  m->risk.closed = true;
  pthread_cond_broadcast(&m->risk.work);
  pthread_mutex_unlock(&m->risk.mutex);
  if (m->risk.started) pthread_join(m->risk.thread, NULL);
}
