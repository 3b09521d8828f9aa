/* A CDS Hooks request as its body came, up to what the model would get; and, where the input begins with "http", an address against an allow-list.
 * No request of these may be told of another patient than its own, and no address outside the base is allowed. */
#include <stdlib.h>

#include "base/file.h"
#include "govern/site.h"
#include "record/record.h"
#include "serve/serve_cds.h"
#include "serve/serve_fetch.h"

static struct server *start(void) {
  static struct server s;
  char dir[] = "/tmp/fuzz-cds-XXXXXX";
  struct error e = {0};
  if (!mkdtemp(dir) || site_init(dir, "fuzz", "expert", &e) < 0 || cds_open(dir, &s.cds, &e) < 0) BUG("the site of the fuzzer");
  (void)!file_remove_tree(dir, NULL);
  return &s;
}

static void address(const char *url, size_t n) {
  static struct fetcher *f;
  static const char *const base = "https://fhir.example.org/r4";
  if (!f && fetcher_open(&(struct fetch_policy){.allow = &base, .allowed = 1}, &f, NULL) < 0) BUG("the base");
  if (!fetch_allowed(f, (struct str){url, n})) return;
  char text[4096];
  snprintf(text, sizeof text, "%.*s", (int)n, url);
  text[strcspn(text, "?#")] = 0; /* dots in a query climb nowhere */
  for (size_t i = 0; text[i]; i++)
    if (text[i] >= 'A' && text[i] <= 'Z') text[i] = (char)(text[i] + 32);
  if (!strstr(text, "https://") || !strstr(text, "fhir.example.org") || !strstr(text, "/r4") || strstr(text, "/.."))
    BUG("an address was allowed");
}

/* The resources lie in the request's own document: every text of a record is read here. */
static int take(void *ctx, const struct record *r, struct error *e) {
  (void)ctx, (void)e;
  (void)hash64(r->code.p, r->code.n, 0), (void)hash64(r->display.p, r->display.n, 0), (void)hash64(r->person.p, r->person.n, 0);
  (void)hash64(r->text.p, r->text.n, 0), (void)hash64(r->unit.p, r->unit.n, 0);
  return OK;
}
static void pass(void *ctx, const struct record_reject *r) { (void)ctx, (void)r; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct server *server;
  static const char *const ids[3] = {"vitae-risk", "vitae-risk-order-select", "vitae-risk-order-sign"};
  const struct record_sink sink = {NULL, take, pass, NULL, NULL};
  struct record_stats stats = {0};
  if (!server) server = start();
  char *text = mem_alloc(size + STREAM_PAD); /* a block of its own: a read past the end is seen */
  if (!text) return 0;
  memcpy(text, data, size);
  memset(text + size, 0, STREAM_PAD);
  if (size > 4 && memcmp(text, "http", 4) == 0) address(text, size);
  for (int i = 0; i < 3; i++) {
    struct call c = {.server = server,
                     .route = -1,
                     .plane = PLANE_HOSPITAL,
                     .began = 1e18,
                     .body = (uint8_t *)text,
                     .body_n = size,
                     .body_cap = size + STREAM_PAD};
    snprintf(c.arg, sizeof c.arg, "%s", ids[i]);
    bool on = errand_cds(&c);
    const struct cds_job *job = c.job;
    if (on && !job) BUG("the model would get nothing");
    if (on && fhir_take_parsed(job->resource, job->resources, 0, "fuzz", &sink, &stats, NULL) < 0) BUG("the reader gave up");
    if (!on && c.status == 0) BUG("neither an answer nor a way on");
    if (c.job) c.free_job(c.job);
    buf_release(&c.out);
  }
  mem_free(text);
  return 0;
}
