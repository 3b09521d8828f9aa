/* A model's thread: takes what is asked, steps all that runs, hands each piece to whoever waits for it. */
#include "serve/serve_voice.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/time.h"
#include "model/lm_schema.h"
#include "serve/serve_upstream.h"
#include "token/subword.h"

enum { VOICES_MOST = 16, STREAMS = 8, STREAMS_MOST = 64, NAME_BYTES = 64, LOOK_MS = 40 };

struct heard { /* one step's piece: `text` bytes of the job's buffer */
  size_t text;
  uint32_t token;
  float logprob;
  int tops;
  struct lm_alternative top[LM_TOPS];
};
struct job { /* on the asker's stack until `done` */
  struct job *next;
  pthread_cond_t more;
  const struct lm_request *request; /* of an answer */
  const struct str *texts;          /* of an embedding */
  size_t n;
  bool last; /* token instead of the mean */
  float *vectors;
  struct buf text; /* not yet taken by the asker */
  struct heard *heard;
  int pieces, room, logprobs;
  bool done;
  atomic_bool cancel;
  int id, rc;
  enum lm_end end;
  int prompt, cached, generated;
  struct error e;
  struct voice *v;
};
struct voice {
  char name[NAME_BYTES], id[NAME_BYTES + 16], path[4096];
  bool encoder;
  struct upstream *upstream; /* NULL: a model of our own */
  int64_t created;
  int streams, threads;
  pthread_t thread;
  bool hired;
  pthread_mutex_t mutex; /* of what follows, and of the jobs */
  pthread_cond_t wake, woken;
  bool closed, awake, tried;
  struct error trouble;          /* why it did not wake */
  struct job *first, *last;      /* waiting */
  struct job *run[STREAMS_MOST]; /* in the model; changed by its thread only */
  int running;
  struct lm *m; /* changed by its thread only, before `awake` */
};
struct voices {
  struct voice *voice[VOICES_MOST];
  int n;
};

/* ---- the model's thread ---- */

static void job_done(struct job *j, int rc) { /* with the lock; afterwards the job is its asker's again */
  j->rc = rc;
  j->done = true;
  pthread_cond_signal(&j->more);
}

static void leave(struct voice *v, const struct job *j) {
  for (int i = 0; i < v->running; i++)
    if (v->run[i] == j) {
      v->run[i] = v->run[--v->running];
      return;
    }
}

static bool keep_piece(struct job *j, const struct lm_piece *p) {
  if (j->pieces == j->room) {
    int room = j->room ? 2 * j->room : 32;
    struct heard *more = mem_realloc(j->heard, (size_t)room * sizeof *more);
    if (!more) return false;
    j->heard = more, j->room = room;
  }
  struct heard *h = &j->heard[j->pieces++];
  h->token = p->token, h->logprob = p->logprob, h->tops = p->tops, h->text = p->text.n;
  if (p->tops) memcpy(h->top, p->top, (size_t)p->tops * sizeof *p->top);
  buf_str(&j->text, p->text);
  return !j->text.failed;
}

/* Called inside lm_step, without the lock. */
static int on_piece(void *ctx, const struct lm_piece *p) {
  struct job *j = ctx;
  struct voice *v = j->v;
  pthread_mutex_lock(&v->mutex);
  j->prompt = p->prompt, j->cached = p->cached, j->generated = p->generated;
  bool kept = p->end == LM_END_CANCELLED || keep_piece(j, p), stop = !kept || atomic_load(&j->cancel);
  if (p->end != LM_GOES_ON || stop) {
    j->end = stop ? LM_END_CANCELLED : p->end;
    leave(v, j);
    job_done(j, kept ? OK : error_set(&j->e, E_NOMEM, "no memory for an answer"));
  } else {
    pthread_cond_signal(&j->more);
  }
  pthread_mutex_unlock(&v->mutex);
  return stop;
}

static bool wake_up(struct voice *v) {
  struct lm *m = NULL;
  struct error e = {0};
  struct lm_options o = {.threads = v->threads, .streams = v->encoder ? 1 : v->streams, .own_cancel = true};
  int rc = lm_open(v->path, &o, &m, &e);
  if (rc < 0) log_failure(LOG_ERROR, &e);
  if (rc == OK) log_line(LOG_INFO, "the language model %s is loaded (%s kernels)", v->name, lm_column(m));
  pthread_mutex_lock(&v->mutex);
  v->m = m, v->awake = rc == OK, v->tried = true;
  v->trouble = e;
  pthread_cond_broadcast(&v->woken);
  pthread_mutex_unlock(&v->mutex);
  return rc == OK;
}

static struct job *take(struct voice *v) {
  struct job *j = v->first;
  if (!j) return NULL;
  v->first = j->next;
  if (!v->first) v->last = NULL;
  j->next = NULL;
  return j;
}

/* Waits for something to do: a job to begin, or (NULL) a step of those that run. false: closed, and nothing runs. */
static bool next(struct voice *v, struct job **out) {
  struct job *j;
  *out = NULL;
  pthread_mutex_lock(&v->mutex);
  while (!v->first && !v->running && !v->closed) pthread_cond_wait(&v->wake, &v->mutex);
  while (v->closed && (j = take(v))) job_done(j, error_set(&j->e, E_UNAVAILABLE, "the server is about to stop"));
  if (v->running < v->streams) *out = take(v);
  for (int i = 0; !*out && i < v->running; i++)
    if (v->closed || atomic_load(&v->run[i]->cancel)) lm_cancel(v->m, v->run[i]->id);
  bool on = *out || v->running;
  pthread_mutex_unlock(&v->mutex);
  return on;
}

/* What waits is begun before the next step: it goes into the same pass. */
static void begin(struct voice *v, struct job *j) {
  int rc = !j->texts    ? lm_submit(v->m, j->request, &j->id, &j->e)
           : v->encoder ? lm_embed(v->m, j->texts, j->n, j->vectors, &j->e)
                        : lm_states(v->m, j->texts, j->n, j->last, j->vectors, &j->e);
  pthread_mutex_lock(&v->mutex);
  if (rc == OK && !j->texts)
    v->run[v->running++] = j;
  else
    job_done(j, rc);
  pthread_mutex_unlock(&v->mutex);
}

static void *voice_main(void *arg) {
  struct voice *v = arg;
  struct error e = {0};
  struct job *j;
  thread_fast_float();
  if (!wake_up(v)) return NULL;
  while (next(v, &j)) {
    if (j) {
      begin(v, j);
    } else if (lm_step(v->m, &e) < 0) {
      log_failure(LOG_ERROR, &e);
      for (int i = 0; i < v->running; i++) lm_cancel(v->m, v->run[i]->id);
    }
  }
  return NULL;
}

/* ---- asking ---- */

int voice_wake(struct voice *v, struct error *e) {
  if (v->upstream) return OK;
  pthread_mutex_lock(&v->mutex);
  int rc = OK;
  if (!v->hired && !v->closed) {
    v->hired = pthread_create(&v->thread, NULL, voice_main, v) == 0;
    if (!v->hired) rc = error_set(e, E_NOMEM, "a thread cannot be started");
  }
  while (rc == OK && v->hired && !v->tried) pthread_cond_wait(&v->woken, &v->mutex);
  if (rc == OK && !v->awake)
    rc = v->hired ? error_set(e, v->trouble.code, "the language model cannot be loaded: %s", v->trouble.message)
                  : error_set(e, E_UNAVAILABLE, "the server is about to stop");
  pthread_mutex_unlock(&v->mutex);
  return rc;
}

static int put_job(struct voice *v, struct job *j, struct error *e) {
  pthread_condattr_t steady;
  pthread_condattr_init(&steady);
  pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
  pthread_cond_init(&j->more, &steady);
  pthread_condattr_destroy(&steady);
  j->v = v;
  pthread_mutex_lock(&v->mutex);
  bool closed = v->closed;
  if (!closed) {
    if (v->last)
      v->last->next = j;
    else
      v->first = j;
    v->last = j;
    pthread_cond_signal(&v->wake);
  }
  pthread_mutex_unlock(&v->mutex);
  if (!closed) return OK;
  pthread_cond_destroy(&j->more);
  return error_set(e, E_UNAVAILABLE, "the server is about to stop");
}

struct taken { /* pieces that the asker has taken over */
  struct buf text;
  struct heard *heard;
  int pieces;
  bool done;
};

/* Waits for pieces, at most LOOK_MS. */
static void take_pieces(struct job *j, struct taken *t) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += LOOK_MS * 1000000L;
  if (until.tv_nsec >= 1000000000L) until.tv_sec++, until.tv_nsec -= 1000000000L;
  pthread_mutex_lock(&j->v->mutex);
  while (!j->done && !j->pieces && pthread_cond_timedwait(&j->more, &j->v->mutex, &until) == 0) {}
  *t = (struct taken){j->text, j->heard, j->pieces, j->done};
  j->text = (struct buf){0}, j->heard = NULL, j->pieces = j->room = 0;
  pthread_mutex_unlock(&j->v->mutex);
}

static int give_pieces(const struct voice *v, const struct voice_request *r, struct taken *t, struct error *e) {
  int rc = OK;
  size_t at = 0;
  for (int i = 0; rc == OK && i < t->pieces; i++) {
    const struct heard *h = &t->heard[i];
    struct voice_token token = {subword_piece(lm_vocabulary(v->m), h->token), h->logprob, h->top, h->tops};
    if (r->token && r->logprobs >= 0) rc = r->token(r->ctx, &token, e);
    if (rc == OK && h->text) rc = r->text(r->ctx, (struct str){t->text.p + at, h->text}, e);
    at += h->text;
  }
  return rc;
}

static void drop_pieces(struct taken *t) {
  if (t->text.p) mem_wipe(t->text.p, t->text.cap);
  buf_release(&t->text);
  mem_free(t->heard);
}

static int converse(struct voice *v, const struct voice_request *r, const struct lm_request *q, struct voice_result *out, struct error *e) {
  struct lm_request own = *q;
  struct job j = {.request = &own};
  struct taken t;
  bool gone = false;
  int rc = OK;
  own.ctx = &j;
  TRY(put_job(v, &j, e));
  do {
    take_pieces(&j, &t);
    if (rc == OK) rc = give_pieces(v, r, &t, e);
    drop_pieces(&t);
    if (rc == OK && !t.done && r->left && r->left(r->ctx)) gone = true;
    if (rc < 0 || gone) atomic_store(&j.cancel, true);
  } while (!t.done);
  pthread_cond_destroy(&j.more);
  *out = (struct voice_result){j.prompt, j.cached, j.generated, j.end == LM_END_LENGTH};
  if (rc < 0) return rc;
  if (gone) return error_set(e, E_CANCELLED, "the one who asked has left");
  if (j.rc < 0) return *e = j.e, j.rc;
  return j.end == LM_END_CANCELLED ? error_set(e, E_UNAVAILABLE, "the server is about to stop") : OK;
}

int voice_say(struct voice *v, const struct voice_request *r, struct voice_result *out, struct error *e) {
  struct subword_ids ids = {0};
  struct lm_schema *schema = NULL;
  *out = (struct voice_result){0};
  if (v->encoder) return error_set(e, E_USAGE, "this model gives embeddings; it does not speak");
  if (v->upstream) return upstream_say(v->upstream, r, out, e);
  TRY(voice_wake(v, e));
  int rc = lm_chat_tokens(v->m, r->message, r->messages, &ids, e);
  if (rc == OK && r->schema.n) rc = lm_schema_new(r->schema.p, r->schema.n, &schema, e);
  struct lm_request q = {.token = ids.id,
                         .n = ids.n,
                         .tenant = r->tenant,
                         .most = r->most,
                         .temperature = r->temperature,
                         .top_p = r->top_p,
                         .seed = r->seed,
                         .stop = r->stop,
                         .stops = r->stops,
                         .logprobs = r->logprobs,
                         .schema = schema,
                         .piece = on_piece};
  if (rc == OK) rc = converse(v, r, &q, out, e);
  if (ids.id) mem_wipe(ids.id, ids.cap * sizeof *ids.id);
  subword_ids_release(&ids);
  lm_schema_free(schema);
  return rc;
}

struct str voice_token_text(const struct voice *v, uint32_t token) {
  return subword_piece(lm_vocabulary(v->m), token);
}

int voice_embed(struct voice *v, const struct str *texts, size_t n, bool last, float *out, int64_t *tokens, struct error *e) {
  struct job j = {.texts = texts, .n = n, .last = last, .vectors = out};
  struct taken t;
  *tokens = 0;
  if (v->upstream) return error_set(e, E_USAGE, "another server speaks here; it is not asked for embeddings");
  TRY(voice_wake(v, e));
  for (size_t i = 0; i < n; i++) {
    struct subword_ids ids = {0};
    int rc = subword_encode(lm_vocabulary(v->m), texts[i], SUBWORD_EDGES, &ids, e);
    *tokens += (int64_t)ids.n;
    subword_ids_release(&ids);
    TRY(rc);
  }
  TRY(put_job(v, &j, e));
  do {
    take_pieces(&j, &t);
    drop_pieces(&t);
  } while (!t.done);
  pthread_cond_destroy(&j.more);
  return j.rc < 0 ? (*e = j.e, j.rc) : OK;
}

/* ---- which there are ---- */

/* The digests of its files as `import` wrote them: one digest for all. */
static int read_description(struct voice *v, struct arena *a, struct error *e) {
  char path[4200], hex[65];
  struct json root, file;
  struct buf all = {0};
  uint8_t digest[32];
  snprintf(path, sizeof path, "%s/description.json", v->path);
  TRY(json_load(a, path, &root, e));
  for (struct json_iter it = json_items(json_get(root, "files")); json_next(&it, &file);) {
    buf_str(&all, json_str(json_get(file, "sha256")));
    buf_putc(&all, '\n');
  }
  struct json up = json_get(root, "upstream");
  buf_str(&all, json_str(json_get(up, "url")));
  buf_str(&all, json_str(json_get(up, "model")));
  struct str family = json_str(json_get(root, "family"));
  v->encoder = str_eqc(family, "bert");
  if (str_eqc(family, "upstream")) TRY(upstream_open(json_get(root, "upstream"), &v->upstream, e));
  sha256_of(all.p ? all.p : "", all.n, digest);
  hash_hex(digest, 6, hex);
  snprintf(v->id, sizeof v->id, "%s@%s", v->name, hex);
  struct stat st;
  v->created = stat(path, &st) == 0 ? (int64_t)st.st_mtime * 1000000 : 0;
  buf_release(&all);
  return OK;
}

static int add_voice(struct voices *all, const char *dir, const char *name, const struct voice_options *o, struct error *e) {
  struct arena a;
  if (all->n == VOICES_MOST) return error_set(e, E_LIMIT, "a site serves at most %d language models", VOICES_MOST);
  struct voice *v = mem_alloc(sizeof *v);
  if (!v) return error_set(e, E_NOMEM, "out of memory");
  memset(v, 0, sizeof *v);
  snprintf(v->name, sizeof v->name, "%s", name);
  snprintf(v->path, sizeof v->path, "%s/%s", dir, name);
  v->streams = o->streams > 0 ? o->streams < STREAMS_MOST ? o->streams : STREAMS_MOST : STREAMS;
  v->threads = o->threads;
  pthread_mutex_init(&v->mutex, NULL);
  pthread_cond_init(&v->wake, NULL), pthread_cond_init(&v->woken, NULL);
  all->voice[all->n++] = v;
  arena_init(&a, 64 << 20, 0);
  int rc = read_description(v, &a, e);
  arena_free(&a);
  return rc;
}

static void voice_free(struct voice *v) {
  if (v->hired) pthread_join(v->thread, NULL);
  lm_close(v->m);
  upstream_close(v->upstream);
  pthread_mutex_destroy(&v->mutex);
  pthread_cond_destroy(&v->wake), pthread_cond_destroy(&v->woken);
  mem_free(v);
}

static int by_name(const void *a, const void *b) { return strcmp((*(struct voice *const *)a)->name, (*(struct voice *const *)b)->name); }

int voices_open(const char *site, const struct voice_options *o, struct voices **out, struct error *e) {
  char dir[4000];
  struct dirent *d;
  struct voices *all = mem_alloc(sizeof *all);
  if (!all) return error_set(e, E_NOMEM, "out of memory");
  memset(all, 0, sizeof *all);
  snprintf(dir, sizeof dir, "%s/models/language", site);
  DIR *list = opendir(dir);
  while (list && (d = readdir(list))) {
    char path[4300];
    snprintf(path, sizeof path, "%s/%s/description.json", dir, d->d_name);
    if (d->d_name[0] == '.' || strlen(d->d_name) >= NAME_BYTES || !file_exists(path)) continue;
    struct error why = {0}; /* one that is damaged does not take the others away */
    int before = all->n;
    if (add_voice(all, dir, d->d_name, o, &why) == OK) continue;
    (void)error_where(&why, path, 0, NULL);
    log_failure(LOG_WARN, &why);
    if (all->n > before) voice_free(all->voice[--all->n]);
  }
  if (list) closedir(list);
  if (all->n > 1) qsort(all->voice, (size_t)all->n, sizeof *all->voice, by_name);
  *out = all;
  return OK;
}

void voices_stop(struct voices *all) {
  for (int i = 0; all && i < all->n; i++) {
    pthread_mutex_lock(&all->voice[i]->mutex);
    all->voice[i]->closed = true;
    pthread_cond_broadcast(&all->voice[i]->wake);
    pthread_mutex_unlock(&all->voice[i]->mutex);
  }
}

void voices_close(struct voices *all) {
  if (!all) return;
  voices_stop(all);
  for (int i = 0; i < all->n; i++) voice_free(all->voice[i]);
  mem_free(all);
}

int voices_count(const struct voices *all) { return all ? all->n : 0; }
struct voice *voice_at(const struct voices *all, int i) {
  return all->voice[i];
}
struct voice *voice_find(const struct voices *all, struct str name) {
  for (int i = 0; all && i < all->n; i++)
    if (str_eqc(name, all->voice[i]->name)) return all->voice[i];
  return NULL;
}
const char *voice_name(const struct voice *v) { return v->name; }
const char *voice_id(const struct voice *v) { return v->id; }
bool voice_encoder(const struct voice *v) { return v->encoder; }
bool voice_upstream(const struct voice *v) { return v->upstream != NULL; }
int64_t voice_created(const struct voice *v) { return v->created; }
int voice_context(const struct voice *v) { return v->upstream ? upstream_context(v->upstream) : lm_context(v->m); }
int voice_width(const struct voice *v) { return lm_width(v->m); }
