/* The bulk export's client. */
#include "serve/serve_bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/thread.h"
#include "base/time.h"
#include "serve/serve_fetch.h"
#include "serve/serve_backend.h"

enum { TRIES = 6, PAUSE_MOST = 60, FILE_MS = 6 * 3600 * 1000, ASK_MS = 60000, PAGES = 1000 };
#define FILE_MOST ((size_t)1 << 38)
static const char *const kind_name[BULK_KINDS] = {"output", "deleted", "error"}, *const kind_dir[BULK_KINDS] = {"files", "deleted",
                                                                                                                "errors"};

/* ---- the manifest ---- */

static int bad(struct error *e, const char *field, const char *what) {
  (void)error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}

static bool plain_type(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if (!((s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] >= 'a' && s.p[i] <= 'z'))) return false;
  return s.n > 0 && s.n <= 64;
}

bool bulk_instant(struct str s) {
  for (size_t i = 0; i < s.n; i++)
    if (!strchr("0123456789-:.+TZ", s.p[i]) || !s.p[i]) return false;
  return s.n >= 20 && s.n < 64;
}

static int one_file(struct json j, enum bulk_kind kind, struct arena *a, struct bulk_file *f, struct error *e) {
  struct str type = json_str(json_get(j, "type")), url = json_str(json_get(j, "url"));
  *f = (struct bulk_file){.kind = kind, .count = -1};
  if (!type.n && kind == BULK_ERRORS) type = STR("OperationOutcome");
  if (!type.n && kind == BULK_DELETED) type = STR("Bundle");
  if (!plain_type(type)) return bad(e, "output.type", "a file without a resource type");
  if (!url.n || url.n > BULK_URL || memchr(url.p, 0, url.n)) return bad(e, "output.url", "a file without an address, or with one too long");
  if (json_kind(json_get(j, "count")) != JSON_NONE && (!json_i64(json_get(j, "count"), &f->count) || f->count < 0))
    return bad(e, "output.count", "not a number of resources");
  f->type = str_copy(a, type), f->url = str_copy(a, url);
  return f->type.p && f->url.p ? OK : error_set(e, E_LIMIT, "a manifest larger than its memory");
}

static int file_list_of(struct json list, enum bulk_kind kind, struct arena *a, struct bulk_manifest *m, struct error *e) {
  struct json item;
  if (json_kind(list) == JSON_NONE || json_kind(list) == JSON_NULL) return OK;
  if (json_kind(list) != JSON_ARRAY) return bad(e, kind_name[kind], "expected a list");
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    if (m->n == BULK_FILES) return error_set(e, E_LIMIT, "a manifest of more than %d files", BULK_FILES);
    TRY(one_file(item, kind, a, &m->file[m->n], e));
    m->n++;
  }
  return OK;
}

static int next_page(struct json links, struct arena *a, struct bulk_manifest *m, struct error *e) {
  struct json link;
  for (struct json_iter it = json_items(links); json_next(&it, &link);) {
    struct str url = json_str(json_get(link, "url"));
    if (!str_eqc(json_str(json_get(link, "relation")), "next")) continue;
    if (!url.n || url.n > BULK_URL || memchr(url.p, 0, url.n)) return bad(e, "link.url", "a page without an address, or with one too long");
    m->next = str_copy(a, url);
    if (!m->next.p) return error_set(e, E_LIMIT, "a manifest larger than its memory");
  }
  return OK;
}

static int take_manifest(struct json root, struct arena *a, struct bulk_manifest *m, struct error *e) {
  struct str time = json_str(json_get(root, "transactionTime"));
  struct json token = json_get(root, "requiresAccessToken");
  static const char *const lists[] = {"output", "deleted", "error", "outcome"}; /* the last two: one thing, before and since STU 4 */
  static const enum bulk_kind kinds[] = {BULK_OUTPUT, BULK_DELETED, BULK_ERRORS, BULK_ERRORS};
  size_t most = 0;
  if (json_kind(root) != JSON_OBJECT) return bad(e, "", "expected an object");
  if (!bulk_instant(time)) return bad(e, "transactionTime", "expected an instant");
  if (json_kind(token) != JSON_NONE && !json_bool(token, &m->token)) return bad(e, "requiresAccessToken", "expected true or false");
  for (int i = 0; i < 4; i++) most += json_count(json_get(root, lists[i]));
  m->time = str_copy(a, time);
  m->file = arena_array(a, struct bulk_file, (most < BULK_FILES ? most : BULK_FILES) + 1);
  if (!m->time.p || !m->file) return error_set(e, E_LIMIT, "a manifest larger than its memory");
  for (int i = 0; i < 4; i++) TRY(file_list_of(json_get(root, lists[i]), kinds[i], a, m, e));
  return next_page(json_get(root, "link"), a, m, e);
}

int bulk_manifest_parse(const char *text, size_t n, size_t cap, struct arena *a, struct bulk_manifest *out, struct error *e) {
  struct json_parser *jp;
  struct json root;
  *out = (struct bulk_manifest){0};
  if (n > BULK_MANIFEST) return error_set(e, E_LIMIT, "a manifest longer than its limit");
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, text, n, cap, &root, e);
  if (rc == OK) rc = take_manifest(root, a, out, e);
  json_parser_free(jp);
  return rc;
}

/* ---- asking ---- */

struct run {
  const struct bulk_options *o;
  struct bulk_result *r;
  struct error *e;
  char status[BULK_URL + 1]; /* of the job */
  bool lost;                 /* a file of it cannot be had any more */
  double until;
};

static void tell(const struct run *x, const char *what, uint64_t bytes) {
  if (x->o->tell) x->o->tell(x->o->ctx, what, bytes);
}

static int nap(double seconds, struct error *e) {
  double until = time_monotonic() + seconds;
  while (time_monotonic() < until) {
    if (cancel_requested()) return error_set(e, E_CANCELLED, "interrupted; the next run goes on from here");
    (void)poll(NULL, 0, 100);
  }
  return OK;
}

/* With a token, if there is a client for one; a refused token is asked for again, once. */
static int ask(struct run *x, struct fetch_request *q, bool with_token, struct fetch_answer *a) {
  for (int try = 0;; try++) {
    q->bearer = STR_NONE;
    if (with_token && x->o->backend) TRY(backend_token(x->o->backend, &q->bearer, x->e));
    TRY(fetch(x->o->fetcher, q, a, x->e));
    if (a->status != 401 || try || !with_token || !x->o->backend) return OK;
    backend_forget(x->o->backend);
    fetch_release(a);
  }
}

static bool passing(int status) { return status == 429 || status == 502 || status == 503 || status == 504; }

static double pause_of(const struct fetch_answer *a, double otherwise) {
  double s = a->retry_after >= 0 ? a->retry_after : otherwise;
  return s > 3600 ? 3600 : s < 0.2 ? 0.2 : s;
}

static int refused(const struct run *x, const char *doing, int status) {
  return error_set(x->e, status == 401 || status == 403 ? E_DENIED : E_UNAVAILABLE, "the server refuses %s (%d)", doing, status);
}

/* ---- kick-off ---- */

static void kick_url(const struct bulk_options *o, struct buf *b) {
  static const char *const path[] = {"/Patient/$export", NULL, "/$export"};
  if (o->level == BULK_GROUP)
    buf_printf(b, "%s/Group/%s/$export", o->base, o->group);
  else
    buf_printf(b, "%s%s", o->base, path[o->level]);
}

static int kick(struct run *x, bool post, struct fetch_answer *a) {
  const struct bulk_options *o = x->o;
  struct buf url = {0}, body = {0};
  struct json_out p;
  const char *const names[] = {"_outputFormat", "_since", "_type"}, *const values[] = {"application/fhir+ndjson", o->since, o->types};
  kick_url(o, &url);
  json_out_init(&p, &body, false);
  json_out_object(&p);
  json_kv_c(&p, "resourceType", "Parameters");
  json_out_key(&p, "parameter");
  json_out_array(&p);
  if (!post) buf_putc(&url, '?');
  for (int i = 0; i < 3; i++) {
    if (!values[i]) continue;
    if (!post) fetch_form(&url, names[i], str_c(values[i]));
    json_out_object(&p);
    json_kv_c(&p, "name", names[i]);
    json_kv_c(&p, i == 1 ? "valueInstant" : "valueString", values[i]);
    json_out_end(&p);
  }
  json_out_end(&p);
  json_out_end(&p);
  struct fetch_request q = {
      .url = {url.p, url.n}, .accept = "application/fhir+json", .header = {"Prefer: respond-async"}, .timeout_ms = ASK_MS};
  if (post) q.type = "application/fhir+json", q.body = (struct str){body.p, body.n};
  int rc = buf_check(&url, x->e);
  if (rc == OK) rc = buf_check(&body, x->e);
  if (rc == OK) rc = ask(x, &q, true, a);
  buf_release(&url), buf_release(&body);
  return rc;
}

static int path_in(const struct run *x, const char *name, char out[4096]) { return file_join(out, 4096, x->o->dir, name, x->e); }

static int note_job(struct run *x) {
  char path[4096];
  struct buf b = {0};
  struct json_out o;
  TRY(path_in(x, "job.json", path));
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "status", x->status);
  json_kv_c(&o, "since", x->o->since ? x->o->since : "");
  json_out_end(&o);
  int rc = buf_check(&b, x->e);
  if (rc == OK) rc = file_write_atomic(path, b.p, b.n, 0600, x->e);
  buf_release(&b);
  return rc;
}

/* GET is what versions 1 to 3 all take; 4 has POST alone. */
static int start(struct run *x) {
  struct fetch_answer a = {0};
  bool post = false;
  for (int try = 0;; try++) {
    TRY(kick(x, post, &a));
    if (a.status == 202) break;
    if ((a.status == 405 || a.status == 501) && !post) {
      post = true;
    } else if (passing(a.status) && try < TRIES) {
      tell(x, "the server is busy; waiting", 0);
      double s = pause_of(&a, 1 << try);
      fetch_release(&a);
      TRY(nap(s, x->e));
      continue;
    } else {
      int status = a.status;
      fetch_release(&a);
      return refused(x, "the export", status);
    }
    fetch_release(&a);
  }
  snprintf(x->status, sizeof x->status, "%s", a.place);
  fetch_release(&a);
  if (!x->status[0]) return error_set(x->e, E_INPUT, "the server took the export but says nowhere where to ask for it (Content-Location)");
  tell(x, "the export is under way", 0);
  return note_job(x);
}

/* ---- waiting ---- */

/* Only what can be read: a gateway's page, say, is none, and the next run asks again. */
static int keep_manifest(struct run *x, const struct buf *text) {
  char path[4096];
  struct arena a;
  struct bulk_manifest m;
  arena_init(&a, 4 * (size_t)BULK_MANIFEST, 0);
  int rc = bulk_manifest_parse(text->p ? text->p : "", text->n, text->n, &a, &m, x->e);
  arena_free(&a);
  TRY(rc);
  TRY(path_in(x, "manifest.json", path));
  return file_write_atomic(path, text->p, text->n, 0600, x->e);
}

/* 1: the manifest is here; 0: the job is not known any more */
static int wait_for(struct run *x) {
  double pause = 1;
  for (int failures = 0;;) {
    struct fetch_answer a = {0};
    struct fetch_request q = {.url = str_c(x->status), .accept = "application/json", .timeout_ms = ASK_MS, .most = BULK_MANIFEST};
    int rc = ask(x, &q, true, &a);
    int status = rc < 0 ? 0 : a.status;
    double s = pause_of(&a, pause);
    if (status == 200) rc = keep_manifest(x, &a.body);
    if (rc == OK && status == 202) tell(x, "the server is at work", 0);
    fetch_release(&a);
    if (status == 200) return rc < 0 ? rc : 1;
    if (rc < 0 && rc != E_UNAVAILABLE) return rc;
    if (status == 404 || status == 410) return 0;
    bool again = rc < 0 || passing(status);
    if (status == 202) failures = 0;
    if (again && ++failures > TRIES) return rc < 0 ? rc : refused(x, "to tell how far the export is", status);
    if (!again && status != 202) return refused(x, "to tell how far the export is", status);
    if (time_monotonic() + s > x->until)
      return error_set(x->e, E_UNAVAILABLE, "the export is not ready in time; the next run goes on waiting for it");
    TRY(nap(s, x->e));
    if (pause < PAUSE_MOST) pause *= 2;
  }
}

/* ---- one file ---- */

struct taking {
  const struct run *x;
  struct fetch_answer *answer;
  int fd;
  uint64_t offset; /* asked for from here on */
  bool begun;
  int failed;
};

static int take_piece(void *ctx, const char *p, size_t n) {
  struct taking *t = ctx;
  if (cancel_requested()) return -1;
  if (!t->begun && t->offset && t->answer->status == 200) { /* the whole, though a part was asked for */
    if (ftruncate(t->fd, 0) < 0 || lseek(t->fd, 0, SEEK_SET) < 0) return t->failed = errno, -1;
    t->offset = 0;
  }
  t->begun = true;
  tell(t->x, "downloading", n);
  while (n) {
    ssize_t k = write(t->fd, p, n);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return t->failed = errno ? errno : EIO, -1;
    p += k, n -= (size_t)k;
  }
  return 0;
}

/* 1: whole; 0: try again; < 0 */
static int take_once(struct run *x, const struct bulk_manifest *m, const struct bulk_file *f, int fd, double *pause) {
  struct fetch_answer a = {0};
  off_t at = lseek(fd, 0, SEEK_END);
  char range[64];
  struct taking t = {.x = x, .answer = &a, .fd = fd, .offset = at > 0 ? (uint64_t)at : 0};
  struct fetch_request q = {.url = f->url,
                            .accept = "application/fhir+ndjson",
                            .header = {"Accept-Encoding: identity"},
                            .timeout_ms = FILE_MS,
                            .most = FILE_MOST,
                            .take = take_piece,
                            .ctx = &t};
  snprintf(range, sizeof range, "Range: bytes=%llu-", (unsigned long long)t.offset);
  if (t.offset) q.header[1] = range;
  int rc = ask(x, &q, m->token, &a), status = rc < 0 ? 0 : a.status;
  *pause = pause_of(&a, *pause);
  fetch_release(&a);
  if (t.failed) return error_set(x->e, E_IO, "a file cannot be written: %s", strerror(t.failed));
  if (rc == E_UNAVAILABLE) return 0;
  if (rc < 0) return cancel_requested() ? error_set(x->e, E_CANCELLED, "interrupted; the next run goes on from here") : rc;
  if (status == 200 || status == 206) return 1;
  if (status == 416) return ftruncate(fd, 0) < 0 ? error_set(x->e, E_IO, "a file cannot be written: %s", strerror(errno)) : 0;
  if (status == 400 || status == 401 || status == 403 || status == 404 || status == 410) { /* signed addresses, too, have their time */
    x->lost = true;
    return error_set(x->e, status == 401 || status == 403 ? E_DENIED : E_UNAVAILABLE,
                     "the server gives a file of the export no longer (%d); the next run asks for a new one", status);
  }
  return passing(status) ? 0 : refused(x, "a file of the export", status);
}

static int download(struct run *x, const struct bulk_manifest *m, const struct bulk_file *f, const char *part, const char *whole) {
  int fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0600), rc = 0;
  if (fd < 0) return error_set(x->e, E_IO, "a file cannot be written: %s", strerror(errno));
  double pause = 0.5;
  for (int try = 0; rc == 0 && try < TRIES; try++) {
    rc = take_once(x, m, f, fd, &pause);
    if (rc == 0 && try + 1 < TRIES) {
      tell(x, "a transfer broke off; going on", 0);
      int slept = nap(pause, x->e);
      if (slept < 0) rc = slept;
      pause *= 2;
    }
  }
  if (rc == 0) rc = error_set(x->e, E_UNAVAILABLE, "a file of the export does not come; the next run goes on from here");
  if (rc > 0 && fsync(fd) < 0) rc = error_set(x->e, E_IO, "a file cannot be written: %s", strerror(errno));
  close(fd);
  return rc < 0 ? rc : file_rename(part, whole, x->e);
}

static int count_lines(struct run *x, const char *path, const struct bulk_file *f) {
  struct stream s;
  struct str line;
  int64_t n = 0;
  int rc = stream_open(&s, path, x->e);
  if (rc < 0) return rc;
  while ((rc = stream_line(&s, &line, x->e)) == OK) n += str_trim(line).n > 0;
  x->r->bytes += s.size;
  stream_close(&s);
  if (rc != E_END) return rc;
  x->r->files[f->kind]++;
  x->r->lines[f->kind] += (uint64_t)n;
  if (f->count < 0 || f->count == n) return OK;
  (void)unlink(path); /* what came is not what was announced: it is fetched again */
  return error_set(x->e, E_CORRUPT, "a file of the export holds another number of resources than its manifest says");
}

static int fetch_files(struct run *x, const struct bulk_manifest *m, uint32_t *number) {
  char dir[4096], part[4096], whole[4096], name[96];
  for (uint32_t i = 0; i < m->n; i++, ++*number) {
    const struct bulk_file *f = &m->file[i];
    TRY(path_in(x, kind_dir[f->kind], dir));
    TRY(file_mkdirs(dir, 0700, x->e));
    snprintf(name, sizeof name, "%06u-%.*s.ndjson", *number, STR_ARG(f->type));
    TRY(file_join(whole, sizeof whole, dir, name, x->e));
    snprintf(name, sizeof name, ".%06u.part", *number);
    TRY(file_join(part, sizeof part, dir, name, x->e));
    if (!file_exists(whole)) TRY(download(x, m, f, part, whole));
    TRY(count_lines(x, whole, f));
  }
  return OK;
}

/* The manifest's pages one after the other; a page beyond the first is asked for each time, since it is small. */
static int fetch_all(struct run *x) {
  char path[4096];
  struct arena a;
  struct str text;
  uint32_t number = 1;
  TRY(path_in(x, "manifest.json", path));
  arena_init(&a, 4 * (size_t)BULK_MANIFEST, 0);
  int rc = file_read(&a, path, BULK_MANIFEST, &text, x->e);
  for (int page = 0; rc == OK; page++) {
    struct bulk_manifest m;
    rc = bulk_manifest_parse(text.p, text.n, text.n, &a, &m, x->e);
    if (rc == OK && page == 0) snprintf(x->r->time, sizeof x->r->time, "%.*s", STR_ARG(m.time));
    if (rc == OK) rc = fetch_files(x, &m, &number);
    if (rc < 0 || !m.next.n) break;
    if (page == PAGES) rc = error_set(x->e, E_LIMIT, "a manifest of more than %d pages", PAGES);
    struct fetch_answer answer = {0};
    struct fetch_request q = {.url = m.next, .accept = "application/json", .timeout_ms = ASK_MS, .most = BULK_MANIFEST};
    if (rc == OK) rc = ask(x, &q, true, &answer);
    if (rc == OK && answer.status != 200) rc = refused(x, "a page of the manifest", answer.status);
    if (rc == OK && !(text = str_copy(&a, (struct str){answer.body.p, answer.body.n})).p)
      rc = error_set(x->e, E_LIMIT, "a manifest larger than its memory");
    fetch_release(&answer);
  }
  arena_free(&a);
  return rc;
}

/* ---- the whole ---- */

static int forget(const struct run *x) {
  static const char *const names[] = {"job.json", "manifest.json"};
  char path[4096];
  for (int i = 0; i < 2; i++) {
    TRY(path_in(x, names[i], path));
    (void)unlink(path);
  }
  for (int k = 0; k < BULK_KINDS; k++) {
    TRY(path_in(x, kind_dir[k], path));
    if (file_is_dir(path)) TRY(file_remove_tree(path, x->e));
  }
  return OK;
}

/* *same: it asks for what this run asks for, or there is none. */
static int known_job(struct run *x, bool *same) {
  char path[4096];
  struct arena a;
  struct json root;
  *same = true;
  TRY(path_in(x, "job.json", path));
  if (!file_exists(path)) return OK;
  arena_init(&a, 1 << 20, 0);
  int rc = json_load(&a, path, &root, x->e);
  if (rc == OK) {
    struct str s = json_str(json_get(root, "status"));
    *same = str_eqc(json_str(json_get(root, "since")), x->o->since ? x->o->since : "");
    if (s.n && s.n <= BULK_URL) snprintf(x->status, sizeof x->status, "%.*s", STR_ARG(s));
  }
  arena_free(&a);
  return rc;
}

int bulk_export(const struct bulk_options *o, struct bulk_result *r, struct error *e) {
  struct run x = {.o = o, .r = r, .e = e, .until = time_monotonic() + (o->patience_s > 0 ? o->patience_s : 86400)};
  char path[4096];
  bool same;
  *r = (struct bulk_result){0};
  TRY(file_mkdirs(o->dir, 0700, e));
  TRY(known_job(&x, &same));
  if (!same) {
    x.status[0] = 0;
    TRY(forget(&x));
  }
  TRY(path_in(&x, "manifest.json", path));
  for (int try = 0; !file_exists(path); try++) {
    if (!x.status[0]) TRY(start(&x));
    int rc = wait_for(&x);
    TRY(rc);
    if (rc) break;
    if (try) return error_set(e, E_UNAVAILABLE, "the server does not know the export that it has just begun");
    x.status[0] = 0; /* an old job is gone: a new one */
    TRY(forget(&x));
  }
  int rc = fetch_all(&x);
  if (x.lost) (void)forget(&x);
  return rc;
}

static int keep_files(struct run *x) {
  char from[4096], to[4096], name[64], stamp[32];
  snprintf(stamp, sizeof stamp, "kept-%lld", (long long)(time_now() / 1000));
  TRY(path_in(x, stamp, to));
  TRY(file_mkdirs(to, 0700, x->e));
  for (int k = 0; k < BULK_KINDS; k++) {
    TRY(path_in(x, kind_dir[k], from));
    snprintf(name, sizeof name, "%s/%s", stamp, kind_dir[k]);
    TRY(path_in(x, name, to));
    if (file_is_dir(from)) TRY(file_rename(from, to, x->e));
  }
  return OK;
}

int bulk_done(const struct bulk_options *o, bool keep, struct error *e) {
  struct bulk_result none;
  struct error ignored = {0};
  struct run x = {.o = o, .r = &none, .e = &ignored};
  struct fetch_answer a = {0};
  bool same;
  if (known_job(&x, &same) == OK && x.status[0]) { /* good manners; a server that forgets by itself says 404 */
    struct fetch_request q = {.url = str_c(x.status), .method = "DELETE", .timeout_ms = ASK_MS};
    if (ask(&x, &q, true, &a) == OK) fetch_release(&a);
  }
  x.e = e;
  if (keep) TRY(keep_files(&x));
  return forget(&x);
}
