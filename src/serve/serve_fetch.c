#include "serve/serve_fetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "base/file.h"
#include "base/time.h"

enum { IDLE_MOST = 8, URL_MOST = 4096, TIMEOUT_MS = 10000, STILL_SECONDS = 60, HOST_MOST = 256, PATH_MOST = 1024 };
#define BODY_MOST (8u << 20)

struct place { /* what of an address decides whether it may be asked */
  char scheme[8], host[HOST_MOST], path[PATH_MOST];
  long port;
};
struct fetcher {
  pthread_mutex_t mutex;
  struct place base[FETCH_BASES];
  int bases, idle_n;
  CURL *idle[IDLE_MOST]; /* with their open connections */
  char ca[1024], cert[1024], key[1024];
};

/* ---- addresses ---- */

static bool part(CURLU *u, CURLUPart which, unsigned flags, char *out, size_t size) {
  char *text = NULL;
  bool ok = curl_url_get(u, which, &text, flags) == CURLUE_OK && strlen(text) < size;
  if (ok) memcpy(out, text, strlen(text) + 1);
  curl_free(text);
  return ok;
}

static bool absent(CURLU *u, CURLUPart which) {
  char *text = NULL;
  bool none = curl_url_get(u, which, &text, 0) != CURLUE_OK;
  curl_free(text);
  return none;
}

static bool loopback(const char *host) {
  return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
}

/* Dots that climb, encoded ones too, have no business in an address that a base's path is to fence. */
static bool climbs(const char *url) {
  char path[URL_MOST]; /* what comes after it is a query's business */
  snprintf(path, sizeof path, "%.*s", (int)strcspn(url, "?#"), url);
  return strstr(path, "/..") || strcasestr(path, "%2e") || strcasestr(path, "%2f") || strchr(path, '\\');
}

/* The library would take "https:/host" and "https:///host" too: one spelling is enough. */
static bool spelled(const char *url) {
  size_t n = strncasecmp(url, "https://", 8) == 0 ? 8 : strncasecmp(url, "http://", 7) == 0 ? 7 : 0;
  for (const char *p = url; *p; p++)
    if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 127) return false;
  return n && url[n] && url[n] != '/';
}

static bool place_of(const char *url, struct place *p) {
  CURLU *u = curl_url();
  char port[8];
  bool ok = u && spelled(url) && !climbs(url) && curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS) == CURLUE_OK &&
            absent(u, CURLUPART_USER) && absent(u, CURLUPART_PASSWORD) && part(u, CURLUPART_SCHEME, 0, p->scheme, sizeof p->scheme) &&
            part(u, CURLUPART_HOST, 0, p->host, sizeof p->host) && part(u, CURLUPART_PATH, 0, p->path, sizeof p->path) &&
            part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof port);
  curl_url_cleanup(u);
  if (!ok) return false;
  p->port = atol(port);
  return strcmp(p->scheme, "https") == 0 || (strcmp(p->scheme, "http") == 0 && loopback(p->host));
}

static bool under(const struct place *base, const struct place *p) {
  size_t n = strlen(base->path);
  while (n && base->path[n - 1] == '/') n--;
  return strcmp(base->scheme, p->scheme) == 0 && strcasecmp(base->host, p->host) == 0 && base->port == p->port &&
         strncmp(base->path, p->path, n) == 0 && (p->path[n] == 0 || p->path[n] == '/');
}

static bool copy_url(struct str url, char out[URL_MOST]) {
  if (!url.n || url.n >= URL_MOST || memchr(url.p, 0, url.n)) return false;
  memcpy(out, url.p, url.n);
  out[url.n] = 0;
  return true;
}

bool fetch_allowed(const struct fetcher *f, struct str url) {
  char text[URL_MOST];
  struct place p;
  if (!copy_url(url, text) || !place_of(text, &p)) return false;
  for (int i = 0; i < f->bases; i++)
    if (under(&f->base[i], &p)) return true;
  return false;
}

/* ---- life ---- */

int fetcher_open(const struct fetch_policy *p, struct fetcher **out, struct error *e) {
  struct fetcher *f = mem_alloc(sizeof *f);
  if (!f) return error_set(e, E_NOMEM, "out of memory");
  memset(f, 0, sizeof *f);
  pthread_mutex_init(&f->mutex, NULL);
  snprintf(f->ca, sizeof f->ca, "%s", p->ca ? p->ca : "");
  snprintf(f->cert, sizeof f->cert, "%s", p->cert ? p->cert : "");
  snprintf(f->key, sizeof f->key, "%s", p->key ? p->key : "");
  int rc = p->allowed > FETCH_BASES ? error_set(e, E_LIMIT, "at most %d bases may be allowed", FETCH_BASES) : OK;
  for (int i = 0; rc == OK && i < p->allowed; i++)
    if (!place_of(p->allow[i], &f->base[f->bases++]))
      rc = error_set(e, E_USAGE, "an allowed base is https://HOST[:PORT][/PATH] (http: loopback only)");
  if (rc < 0)
    fetcher_close(f);
  else
    *out = f;
  return rc;
}

void fetcher_close(struct fetcher *f) {
  if (!f) return;
  for (int i = 0; i < f->idle_n; i++) curl_easy_cleanup(f->idle[i]);
  pthread_mutex_destroy(&f->mutex);
  mem_free(f);
}

static CURL *take_handle(struct fetcher *f) {
  pthread_mutex_lock(&f->mutex);
  CURL *c = f->idle_n ? f->idle[--f->idle_n] : NULL;
  pthread_mutex_unlock(&f->mutex);
  if (!c) return curl_easy_init();
  curl_easy_reset(c); /* options go, connections stay */
  return c;
}

static void give_handle(struct fetcher *f, CURL *c) {
  curl_easy_reset(c); /* no token of this request waits in it for the next */
  pthread_mutex_lock(&f->mutex);
  bool room = f->idle_n < IDLE_MOST;
  if (room) f->idle[f->idle_n++] = c;
  pthread_mutex_unlock(&f->mutex);
  if (!room) curl_easy_cleanup(c);
}

/* ---- a request ---- */

struct transfer {
  const struct fetch_request *r;
  struct fetch_answer *a;
  CURL *curl;
  size_t got, most;
  int stopped; /* why we ended it ourselves */
};

static size_t take_bytes(char *p, size_t size, size_t n, void *ctx) {
  struct transfer *t = ctx;
  long status = 0;
  n *= size;
  if ((t->got += n) > t->most) return t->stopped = E_LIMIT, (size_t)0;
  if (t->r->take) (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
  t->a->status = (int)status; /* `take` may want to know whether this is a part or the whole */
  if (status / 100 == 2) {
    if (t->r->take(t->r->ctx, p, n) < 0) return t->stopped = E_CANCELLED, (size_t)0;
    return n;
  }
  buf_put(&t->a->body, p, n);
  return t->a->body.failed ? (t->stopped = E_NOMEM, (size_t)0) : n;
}

static bool header_is(struct str line, const char *name, char *out, size_t size) {
  struct str rest = line, key = str_cut(&rest, ':');
  rest = str_trim(rest);
  if (!rest.p || !str_eq_nocase(key, str_c(name)) || rest.n >= size) return false;
  memcpy(out, rest.p, rest.n);
  out[rest.n] = 0;
  return true;
}

static void take_retry(const char *text, int *out) {
  int64_t seconds;
  time_t at;
  if (str_to_i64(str_c(text), &seconds) < 0) seconds = (at = curl_getdate(text, NULL)) < 0 ? -1 : (int64_t)(at - time(NULL));
  *out = seconds < 0 ? 0 : seconds > 86400 ? 86400 : (int)seconds;
}

static size_t take_header(char *p, size_t size, size_t n, void *ctx) {
  struct fetch_answer *a = ctx;
  struct str line = {p, size * n};
  char text[128];
  if (str_starts(line, STR("HTTP/"))) a->type[0] = a->place[0] = a->progress[0] = 0, a->retry_after = -1; /* after a 100 Continue */
  if (header_is(line, "Content-Type", a->type, sizeof a->type)) return size * n;
  if (header_is(line, "Content-Location", a->place, sizeof a->place)) return size * n;
  if (!a->place[0] && header_is(line, "Location", a->place, sizeof a->place)) return size * n;
  if (header_is(line, "X-Progress", a->progress, sizeof a->progress)) return size * n;
  if (header_is(line, "Retry-After", text, sizeof text)) take_retry(text, &a->retry_after);
  return size * n;
}

static struct curl_slist *append(struct curl_slist *list, bool *failed, const char *line) {
  struct curl_slist *longer = curl_slist_append(list, line);
  if (!longer) *failed = true;
  return longer ? longer : list;
}

/* Lines of our own; a token with a line end in it is not sent but refused. */
static int headers(const struct fetch_request *r, struct curl_slist **out, struct error *e) {
  struct buf line = {0};
  bool failed = false;
  for (size_t i = 0; i < r->bearer.n; i++)
    if (r->bearer.p[i] <= ' ' || r->bearer.p[i] == 127) return error_set(e, E_INPUT, "the token holds characters that no token has");
  *out = append(NULL, &failed, "Expect:");
  if (r->bearer.n) {
    buf_printf(&line, "Authorization: Bearer %.*s", STR_ARG(r->bearer));
    *out = append(*out, &failed, buf_cstr(&line));
    mem_wipe(line.p, line.cap);
    buf_clear(&line);
  }
  if (r->accept) {
    buf_printf(&line, "Accept: %s", r->accept);
    *out = append(*out, &failed, buf_cstr(&line));
    buf_clear(&line);
  }
  if (r->type) {
    buf_printf(&line, "Content-Type: %s", r->type);
    *out = append(*out, &failed, buf_cstr(&line));
  }
  for (size_t i = 0; i < sizeof r->header / sizeof *r->header && r->header[i]; i++) *out = append(*out, &failed, r->header[i]);
  failed |= line.failed;
  buf_release(&line);
  return failed ? error_set(e, E_NOMEM, "out of memory") : OK;
}

/* HTTP Basic as OAuth has it (RFC 6749, 2.3.1): both halves form-encoded first. */
static void basic(CURL *c, const struct fetch_request *r) {
  char *user = curl_easy_escape(c, r->user.p, (int)r->user.n),
       *password = curl_easy_escape(c, r->password.p ? r->password.p : "", (int)r->password.n);
  curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
  curl_easy_setopt(c, CURLOPT_USERNAME, user);
  curl_easy_setopt(c, CURLOPT_PASSWORD, password);
  if (password) mem_wipe(password, strlen(password));
  curl_free(user), curl_free(password);
}

static void set_up(CURL *c, const struct fetcher *f, const char *url, struct transfer *t, struct curl_slist *lines) {
  const struct fetch_request *r = t->r;
  curl_easy_setopt(c, CURLOPT_URL, url);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(r->timeout_ms > 0 ? r->timeout_ms : TIMEOUT_MS));
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https"); /* http: place_of has asked for loopback */
  curl_easy_setopt(c, CURLOPT_PROXY, "");
  curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, ""); /* what the library can undo */
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, lines);
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_bytes);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
  curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(c, CURLOPT_HEADERDATA, t->a);
  if (f->ca[0]) curl_easy_setopt(c, CURLOPT_CAINFO, f->ca);
  if (f->cert[0]) curl_easy_setopt(c, CURLOPT_SSLCERT, f->cert);
  if (f->key[0]) curl_easy_setopt(c, CURLOPT_SSLKEY, f->key);
  if (r->user.n) basic(c, r);
  if (r->body.p) {
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.n);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body.p);
  }
  if (r->method) curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method);
  if (r->take) { /* a long transfer may take its time, but not stand still */
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STILL_SECONDS);
  }
}

static int judge(CURLcode rc, const struct transfer *t, struct error *e) {
  if (t->stopped == E_LIMIT) return error_set(e, E_LIMIT, "the other side's answer is too long");
  if (t->stopped == E_CANCELLED) return error_set(e, E_CANCELLED, "the transfer was ended on our side");
  if (t->stopped == E_NOMEM || rc == CURLE_OUT_OF_MEMORY) return error_set(e, E_NOMEM, "out of memory");
  if (rc == CURLE_OPERATION_TIMEDOUT) return error_set(e, E_UNAVAILABLE, "the other side did not answer in time");
  if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CACERT_BADFILE)
    return error_set(e, E_UNAVAILABLE, "the other side's certificate is not trusted");
  if (rc != CURLE_OK) return error_set(e, E_UNAVAILABLE, "the other side cannot be asked (curl %d)", (int)rc);
  return OK;
}

int fetch(struct fetcher *f, const struct fetch_request *r, struct fetch_answer *a, struct error *e) {
  char url[URL_MOST];
  struct curl_slist *lines = NULL;
  struct transfer t = {.r = r, .a = a, .most = r->most ? r->most : BODY_MOST};
  long status = 0;
  *a = (struct fetch_answer){.retry_after = -1};
  if (!copy_url(r->url, url) || !fetch_allowed(f, r->url))
    return error_set(e, E_DENIED, "this address is not among those that may be asked");
  CURL *c = t.curl = take_handle(f);
  int rc = c ? headers(r, &lines, e) : error_set(e, E_NOMEM, "out of memory");
  if (rc == OK) {
    set_up(c, f, url, &t, lines);
    rc = judge(curl_easy_perform(c), &t, e);
    (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    a->status = (int)status;
    buf_reserve(&a->body, STREAM_PAD);
    if (rc == OK) rc = buf_check(&a->body, e);
    if (a->body.p) memset(a->body.p + a->body.n, 0, STREAM_PAD);
  }
  for (struct curl_slist *l = lines; l; l = l->next) mem_wipe(l->data, strlen(l->data));
  curl_slist_free_all(lines);
  if (c) give_handle(f, c);
  if (rc < 0) fetch_release(a);
  return rc;
}

void fetch_release(struct fetch_answer *a) {
  if (a->body.p) mem_wipe(a->body.p, a->body.cap);
  buf_release(&a->body);
}

void fetch_escape(struct buf *b, struct str value) {
  static const char hex[] = "0123456789ABCDEF";
  for (size_t i = 0; i < value.n; i++) {
    unsigned char ch = (unsigned char)value.p[i];
    bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch == '.' ||
                 ch == '~';
    if (plain)
      buf_putc(b, (char)ch);
    else
      buf_putc(b, '%'), buf_putc(b, hex[ch >> 4]), buf_putc(b, hex[ch & 15]);
  }
}

void fetch_beside(const char *file, const char *name, char path[2048]) {
  const char *slash = strrchr(file, '/');
  bool whole = name[0] == '/' || strstr(name, "://") || !slash;
  snprintf(path, 2048, "%.*s%s", whole ? 0 : (int)(slash + 1 - file), file, name);
}

void fetch_form(struct buf *b, const char *name, struct str value) {
  if (b->n && b->p[b->n - 1] != '?') buf_putc(b, '&');
  buf_puts(b, name);
  buf_putc(b, '=');
  fetch_escape(b, value);
}
