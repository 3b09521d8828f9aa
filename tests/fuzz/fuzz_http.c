/* Bytes of a connection, to a whole server through a socket. The first byte says which listener; "@KEY" becomes a key of it. A last request follows,
 * which ends the connection, or ends what the bytes have begun. Beside what live.h
 * finds: a request with more than one length (Content-Length and Transfer-Encoding counted together, also spelt with a space before the colon),
 * a length that is no number, another coding than chunked, or a head that has a line without CR and LF, a folded one, or a control character is
 * refused, and nothing after it on the connection is answered. */
#include "fuzz/live.h"

/* The first request's head as another server might read it: lines end with LF (or with CR), names end before spaces. */
static bool smuggles(struct str all) {
  int lengths = 0, bad = 0, fields = 0;
  struct str line = str_cut(&all, '\n');
  if (!str_starts(line, STR("GET /")) && !str_starts(line, STR("POST /"))) return false; /* no request: libmicrohttpd says so itself */
  if (!memmem(line.p, line.n, " HTTP/1.1\r", 10) || line.p[line.n - 1] != '\r') return false;
  for (;;) {
    if (!all.n) return false; /* the head does not end */
    line = str_cut(&all, '\n');
    /* libmicrohttpd 0.9.75 ends the head at a line of a colon alone that LF or CR alone ends, and leaves no trace of it (docs/api.md) */
    if (fields++ && line.n && line.p[0] == ':' && (line.n == 1 || (line.n > 2 && line.p[1] == '\r'))) return lengths > 1 || bad;
    bool whole = line.n && line.p[line.n - 1] == '\r';
    bad += !whole;
    line.n -= whole;
    if (!line.n) return lengths > 1 || bad;
    for (size_t i = 0; i < line.n; i++) bad += ((uint8_t)line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == 0x7f;
    bad += line.p[0] == ' ' || line.p[0] == '\t';
    struct str value = line, name = str_trim(str_cut(&value, ':'));
    bool length = str_eq_nocase(name, STR("Content-Length")), coding = str_eq_nocase(name, STR("Transfer-Encoding"));
    lengths += length + coding;
    value = str_trim(value);
    bad += coding && !str_eq_nocase(value, STR("chunked"));
    for (size_t i = 0; length && i < value.n; i++) bad += value.p[i] < '0' || value.p[i] > '9';
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct live_reply reply[REPLIES_MOST];
  static struct buf b;
  const struct live *s = live();
  if (size < 2 || size > 16 << 10) return 0;
  bool developer = data[0] & 1;
  const char *p = (const char *)data + 1, *end = (const char *)data + size, *at;
  buf_clear(&b);
  for (; (at = memmem(p, (size_t)(end - p), "@KEY", 4)); p = at + 4) {
    buf_put(&b, p, (size_t)(at - p));
    buf_puts(&b, s->key[developer ? ROLE_DEVELOPER : ROLE_ADMIN]);
  }
  buf_put(&b, p, (size_t)(end - p));
  buf_puts(&b, "\r\n\r\nGET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  int n = live_ask(developer ? s->developer : s->port, b.p, b.n, true, reply, REPLIES_MOST);
  if (!smuggles((struct str){b.p, b.n})) return 0;
  bool taken = n && (reply[0].status < 400 || reply[0].status == 499);
  for (int i = 1; i < n; i++) taken = taken || reply[i].status != reply[0].status; /* libmicrohttpd says some refusals of its own twice */
  for (int i = 0; i < n && taken; i++) fprintf(stderr, "reply %d: %.*s\n%.*s\n", i, STR_ARG(reply[i].head), STR_ARG(reply[i].body));
  if (taken) BUG("a request of unclear length, or one behind it, was taken");
  return 0;
}
