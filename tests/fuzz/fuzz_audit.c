/* The audit's search and shapes on any bytes: hits lie inside, and cutting the bytes into windows changes nothing that begins in them. */
#include "deid/audit_days.h"
#include "deid/audit_search.h"
#include "deid/deid.h"

struct sum {
  size_t n;
  uint64_t hits, offsets;
};
static int note(void *ctx, const struct audit_hit *h, struct error *e) {
  struct sum *s = ctx;
  (void)e;
  if (h->offset + h->length > s->n) BUG("a hit outside the bytes");
  if (h->weight == AUDIT_STRONG) s->hits++, s->offsets += h->offset;
  return OK;
}

static struct audit_search *make(void) {
  struct audit_search *s;
  static const struct {
    int kind;
    const char *value;
  } known[] = {{0, "Müller-Smith"},
               {0, "Jo"},
               {0, "José"},
               {1, "12 High Street"},
               {1, "02139"},
               {2, "1970-03-05"},
               {3, "+1 617 555 0123"},
               {5, "a.b@c.de"},
               {6, "123-45-6789"},
               {7, "MRN-77120934"},
               {17, "3f2a9c1e-77aa-4b1c-9d2e-0011aabbccdd"}};
  if (audit_search_new(&s, NULL) < 0) BUG("no search");
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (audit_search_add(s, 5, &(struct vault_identifier){known[i].kind, STR_NONE, str_c(known[i].value)}, NULL) < 0)
      BUG("an identifier is refused");
  if (audit_search_key(s, 5, STR("Patient/p-1234567"), NULL) < 0 || audit_search_seal(s, NULL) < 0) BUG("no search");
  return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct audit_search *s;
  if (!s) s = make();
  if (size < 2) return 0;
  struct audit_place at = {.where = (enum audit_where)(data[0] % 6), .subject = data[0] & 8 ? 5 : 0, .surrogates = data[0] & 16};
  size_t cut = data[1] * (size - 2) / 255;
  char *exact = mem_alloc(size - 2 + 1);
  if (!exact) return 0;
  memcpy(exact, data + 2, size - 2);
  struct str text = {exact, size - 2};
  struct sum whole = {.n = text.n}, parts = {.n = text.n}, shapes = {.n = text.n};
  if (audit_search_scan(s, text, &at, note, &whole, NULL) < 0) BUG("the search fails");
  if (audit_search_range(s, text, 0, cut, &at, note, &parts, NULL) < 0 ||
      audit_search_range(s, text, cut, text.n, &at, note, &parts, NULL) < 0)
    BUG("the search fails");
  if (parts.hits < whole.hits) BUG("a window loses a hit");
  if (audit_shapes_scan(text, 0, text.n, &(struct audit_shapes){true, true}, note, &shapes, NULL) < 0) BUG("shapes fail");
  mem_free(exact);
  return 0;
}
