/* Bodies of every route that takes one, to a whole server through a socket. The first line is the route's path as the table has it (or any text:
 * then its first byte chooses), the byte after it says how the body is framed; the rest is the body. Beside what live.h finds: a body is one request however it is cut into chunks, is judged alike by length and by
 * chunks, and no failure says a number of nine or more digits that the body brought. */
#include "fuzz/live.h"

enum { POSTS_MOST = 64 };
struct post {
  const char *pattern;
  char path[160];
  bool developer;
};

static int posts(struct post *out) {
  static const char *const names[][2] = {{"{deployment}", "vitae"}, {"{calculator}", "meld"}, {"{id}", "vitae-risk"}};
  int routes, n = 0;
  const struct route *r = serve_routes(&routes);
  for (int i = 0; i < routes && n < POSTS_MOST; i++) {
    if (strcmp(r[i].method, "POST") != 0 || r[i].scope == SCOPE_OPEN) continue;
    struct post *p = &out[n++];
    p->pattern = r[i].path;
    p->developer = r[i].plane == PLANE_DEVELOPER;
    snprintf(p->path, sizeof p->path, "%s", r[i].path);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
      char *at = strstr(p->path, names[k][0]), rest[160];
      if (!at) continue;
      snprintf(rest, sizeof rest, "%s", at + strlen(names[k][0]));
      snprintf(at, sizeof p->path - (size_t)(at - p->path), "%s%s", names[k][1], rest);
    }
    if (r[i].dialect == DIALECT_AZURE || r[i].dialect == DIALECT_INFERENCE)
      snprintf(p->path + strlen(p->path), sizeof p->path - strlen(p->path), "?api-version=2024-10-21");
  }
  return n;
}

static int role_for(const char *path) { return strncmp(path, "/cds", 4) == 0 ? ROLE_EHR : ROLE_ADMIN; }

static int ask_with(const struct live *s, const struct post *p, const char *body, size_t n, int chunk, struct live_reply *r) {
  static struct buf b;
  const char *key = s->key[p->developer ? ROLE_DEVELOPER : role_for(p->path)];
  buf_clear(&b);
  buf_printf(&b, "POST %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n",
             p->path, key);
  if (!chunk) {
    buf_printf(&b, "Content-Length: %zu\r\n\r\n", n);
    buf_put(&b, body, n);
  } else {
    buf_puts(&b, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < n; i += (size_t)chunk) {
      size_t k = n - i < (size_t)chunk ? n - i : (size_t)chunk;
      buf_printf(&b, "%zx\r\n", k);
      buf_put(&b, body + i, k);
      buf_puts(&b, "\r\n");
    }
    buf_puts(&b, "0\r\n\r\n");
  }
  return live_ask(p->developer ? s->developer : s->port, b.p, b.n, false, r, REPLIES_MOST);
}

static void says_no_number(struct str said, const char *body, size_t n) {
  for (size_t i = 0, run = 0; i < n; i++) {
    run = body[i] >= '0' && body[i] <= '9' ? run + 1 : 0;
    if (run >= 9 && memmem(said.p, said.n, body + i - 8, 9)) BUG("a failure says what the body held");
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct live_reply reply[REPLIES_MOST];
  static struct post post[POSTS_MOST];
  static int n;
  const struct live *s = live();
  if (!n) n = posts(post);
  struct str rest = {(const char *)data, size}, path = str_cut(&rest, '\n');
  if (!path.n || rest.n < 2) return 0;
  const struct post *p = &post[(uint8_t)path.p[0] % n];
  for (int i = 0; i < n; i++)
    if (str_eqc(path, post[i].pattern)) p = &post[i];
  uint8_t framing = (uint8_t)rest.p[0];
  const char *body = rest.p + 1;
  size = rest.n - 1;
  if (ask_with(s, p, body, size, 0, reply) != 1) BUG("one body is one request");
  int status = reply[0].status;
  if (status >= 400) says_no_number(reply[0].body, body, size);
  if (framing % 8) return 0;
  int replies = ask_with(s, p, body, size, 1 + framing, reply);
  if (replies != 1) BUG("one body in chunks is one request, and has %d replies", replies);
  if (reply[0].status != status) BUG("chunks change what is said of a body");
  return 0;
}
