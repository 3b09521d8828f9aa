/* Two threads share a stream: the one that makes the answer, and MHD's, which asks for bytes and is suspended while there are none. */
#include "serve/serve_stream.h"

#include <microhttpd.h>
#include <poll.h>
#include <string.h>

enum state { ASKED, RUNS, REFUSED };
#define UNREAD_MOST (32u << 20) /* a client that does not read what it asked for */
enum { BLOCK = 16 << 10 };

struct stream {
  pthread_mutex_t mutex; /* of all that follows, and of c->connection */
  pthread_cond_t begun;
  enum state state;
  struct buf out;
  size_t sent;
  bool hashes; /* of the thread that makes the answer and the audit's; apart from the flags under the lock, which are read as one word */
  struct sha256 hash;
  bool made;    /* by the answering thread, until its last row is committed */
  bool waiting; /* the connection is suspended for want of bytes */
  bool ended, broken, gone;
};

static int open_stream(struct call *c, struct error *e) {
  struct stream *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "out of memory");
  memset(s, 0, sizeof *s);
  if (sha256_init(&s->hash, e) < 0) {
    mem_free(s);
    return E_NOMEM;
  }
  s->hashes = s->made = true;
  pthread_mutex_init(&s->mutex, NULL);
  pthread_cond_init(&s->begun, NULL);
  c->again = call_says_again(c);
  c->stage = CALL_STREAM;
  c->stream = s;
  if (!queue_put(&c->server->audited, c)) return s->state = REFUSED, error_set(e, E_UNAVAILABLE, "the server is about to stop");
  pthread_mutex_lock(&s->mutex);
  while (s->state == ASKED && !s->gone) pthread_cond_wait(&s->begun, &s->mutex);
  bool refused = s->state == REFUSED, gone = s->gone;
  pthread_mutex_unlock(&s->mutex);
  if (gone) return error_set(e, E_CANCELLED, "the one who asked has left");
  return refused ? error_set(e, E_UNAVAILABLE, "the audit cannot be written, so nothing may be answered") : OK;
}

/* With the lock. */
static void take_over(struct call *c) {
  struct stream *s = c->stream;
  buf_put(&s->out, c->out.p, c->out.n);
  if (c->out.p) mem_wipe(c->out.p, c->out.cap);
  buf_clear(&c->out);
}
static void go_on(struct call *c) {
  if (!c->stream->waiting || c->stream->gone) return;
  c->stream->waiting = false;
  MHD_resume_connection(c->connection);
}

int stream_flush(struct call *c, struct error *e) {
  if (!c->stream) TRY(open_stream(c, e));
  struct stream *s = c->stream;
  if (!c->out.n) return OK;
  TRY(buf_check(&c->out, e));
  sha256_add(&s->hash, c->out.p, c->out.n);
  pthread_mutex_lock(&s->mutex);
  take_over(c);
  bool gone = s->gone, unread = s->out.failed || s->out.n - s->sent > UNREAD_MOST;
  if (!gone) go_on(c);
  pthread_mutex_unlock(&s->mutex);
  if (gone) return error_set(e, E_CANCELLED, "the one who asked has left");
  return unread ? error_set(e, E_LIMIT, "the client does not read its answer") : OK;
}

bool stream_runs(const struct call *c) {
  if (!c->stream) return false;
  pthread_mutex_lock(&c->stream->mutex);
  bool runs = c->stream->state == RUNS;
  pthread_mutex_unlock(&c->stream->mutex);
  return runs;
}

bool stream_left(const struct call *c) {
  struct stream *s = c->stream;
  bool left;
  pthread_mutex_lock(&s->mutex);
  left = s->gone || !c->connection;
  if (!left) {
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct pollfd p = {.fd = i ? i->connect_fd : -1, .events = POLLRDHUP};
    left = i && poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
  }
  pthread_mutex_unlock(&s->mutex);
  return left;
}

/* An answer that failed on its way says so in a frame of its own: the status has left long ago. */
static void wrap_failure(struct call *c) {
  struct buf b = {0};
  if (c->status < 400) return;
  buf_puts(&b, "event: error\ndata: ");
  buf_put(&b, c->out.p, c->out.n);
  buf_puts(&b, "\n\n");
  buf_release(&c->out);
  c->out = b;
}

void stream_end(struct call *c) {
  if (c->stream->state == REFUSED) { /* no frame has left: an answer like any other */
    c->stage = CALL_DONE;
    call_resume(c);
    return;
  }
  wrap_failure(c);
  c->stage = CALL_STREAM_END;
  if (!queue_put(&c->server->audited, c) && stream_committed(c, false)) call_free(c);
}

void stream_digest(struct call *c, uint8_t digest[32]) {
  struct stream *s = c->stream;
  memset(digest, 0, 32);
  if (!s->hashes) return;
  if (c->out.n) sha256_add(&s->hash, c->out.p, c->out.n);
  sha256_end(&s->hash, digest);
  s->hashes = false;
}

bool stream_committed(struct call *c, bool good) {
  struct stream *s = c->stream;
  pthread_mutex_lock(&s->mutex);
  bool last = c->stage == CALL_STREAM_END;
  if (!last) { /* the first row: the HTTP thread queues the response, then the answering thread is told */
    if (!good) s->state = REFUSED, pthread_cond_signal(&s->begun);
    pthread_mutex_unlock(&s->mutex);
    if (good) call_resume(c);
    return false;
  }
  if (good) take_over(c);
  s->ended = good && !s->out.failed, s->broken = !s->ended;
  s->made = false;
  bool free_it = s->gone;
  if (!free_it) go_on(c);
  pthread_mutex_unlock(&s->mutex);
  return free_it;
}

bool stream_gone(struct call *c) {
  struct stream *s = c->stream;
  if (!s) return false;
  pthread_mutex_lock(&s->mutex);
  s->gone = true;
  c->connection = NULL;
  bool made = s->made && s->state != REFUSED;
  pthread_cond_signal(&s->begun);
  pthread_mutex_unlock(&s->mutex);
  return made;
}

void stream_started(struct call *c) {
  pthread_mutex_lock(&c->stream->mutex);
  c->stream->state = RUNS;
  pthread_cond_signal(&c->stream->begun);
  pthread_mutex_unlock(&c->stream->mutex);
}

static ssize_t read_frames(void *ctx, uint64_t at, char *to, size_t most) {
  struct call *c = ctx;
  struct stream *s = c->stream;
  ssize_t n = 0;
  (void)at;
  pthread_mutex_lock(&s->mutex);
  size_t left = s->out.n - s->sent;
  if (left) {
    n = (ssize_t)(left < most ? left : most);
    memcpy(to, s->out.p + s->sent, (size_t)n);
    s->sent += (size_t)n;
    if (s->sent == s->out.n) mem_wipe(s->out.p, s->out.n), buf_clear(&s->out), s->sent = 0;
  } else if (s->ended || s->broken) {
    n = s->ended ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
  } else {
    s->waiting = true;
    MHD_suspend_connection(c->connection);
  }
  pthread_mutex_unlock(&s->mutex);
  return n;
}

struct MHD_Response *stream_response(struct call *c) {
  return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_frames, c, NULL);
}

void stream_copy(const struct call *c, struct call *to) {
  if (c->stream) pthread_mutex_lock(&c->stream->mutex);
  *to = *c;
  if (c->stream) pthread_mutex_unlock(&c->stream->mutex);
  if (c->stream) to->stream = NULL, to->stage = CALL_WORK;
}

void stream_free(struct call *c) {
  struct stream *s = c->stream;
  uint8_t digest[32];
  if (!s) return;
  if (s->hashes) sha256_end(&s->hash, digest);
  if (s->out.p) mem_wipe(s->out.p, s->out.cap);
  buf_release(&s->out);
  pthread_mutex_destroy(&s->mutex);
  pthread_cond_destroy(&s->begun);
  mem_free(s);
  c->stream = NULL;
}
