#include "deid/text_ready.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"

struct head {
  char magic[8];
  uint64_t count;
};
struct entry {
  uint8_t key[32];
  uint64_t features, at, n;
};
static const char magic[8] = "VITAEHS1";

static int key_of(const struct text_expressions *x, uint8_t key[32], struct error *e) {
  struct sha256 h;
  TRY(sha256_init(&h, e));
  sha256_add(&h, hs_version(), strlen(hs_version()) + 1);
  for (unsigned i = 0; i < x->n; i++) {
    uint32_t number[2] = {x->flags[i], x->ids[i]};
    sha256_add(&h, x->expression[i], strlen(x->expression[i]) + 1);
    sha256_add(&h, number, sizeof number);
  }
  return sha256_end(&h, key), OK;
}

int text_ready_make(const struct text_expressions *x, struct buf *out, struct error *e) {
  static const uint64_t features[] = {0, HS_CPU_FEATURES_AVX2, HS_CPU_FEATURES_AVX2 | HS_CPU_FEATURES_AVX512,
                                      HS_CPU_FEATURES_AVX2 | HS_CPU_FEATURES_AVX512 | HS_CPU_FEATURES_AVX512VBMI};
  enum { KINDS = sizeof features / sizeof *features };
  struct head head = {.count = 0};
  struct entry entry[KINDS];
  struct buf all = {0};
  uint8_t key[32];
  memcpy(head.magic, magic, sizeof magic);
  TRY(key_of(x, key, e));
  for (int i = 0; i < KINDS; i++) {
    hs_platform_info_t platform = {.cpu_features = features[i]};
    hs_compile_error_t *why = NULL;
    hs_database_t *database = NULL;
    char *bytes = NULL;
    size_t n = 0;
    /* a vectorscan that was built without a kind of processor has no database for it */
    if (hs_compile_multi(x->expression, x->flags, x->ids, x->n, HS_MODE_BLOCK, &platform, &database, &why) == HS_SUCCESS &&
        hs_serialize_database(database, &bytes, &n) == HS_SUCCESS) {
      struct entry *to = &entry[head.count++];
      *to = (struct entry){.features = features[i], .at = all.n, .n = n};
      memcpy(to->key, key, sizeof key);
      buf_put(&all, bytes, n);
    }
    if (why) hs_free_compile_error(why);
    hs_free_database(database);
    free(bytes);
  }
  for (uint64_t i = 0; i < head.count; i++) entry[i].at += sizeof head + head.count * sizeof *entry;
  buf_put(out, &head, sizeof head);
  buf_put(out, entry, head.count * sizeof *entry);
  buf_put(out, all.p ? all.p : "", all.n);
  int rc = buf_check(&all, e);
  buf_release(&all);
  return rc < 0 ? rc : buf_check(out, e);
}

bool text_ready_open(struct str file, const struct text_expressions *x, hs_database_t **out) {
  struct head head;
  struct entry entry;
  uint8_t key[32];
  hs_platform_info_t here;
  if (file.n < sizeof head || memcmp(file.p, magic, sizeof magic) != 0) return false;
  memcpy(&head, file.p, sizeof head);
  if (head.count > (file.n - sizeof head) / sizeof entry || hs_populate_platform(&here) != HS_SUCCESS || key_of(x, key, NULL) < 0)
    return false;
  for (uint64_t i = 0; i < head.count; i++) {
    memcpy(&entry, file.p + sizeof head + i * sizeof entry, sizeof entry);
    if (entry.features != here.cpu_features || memcmp(entry.key, key, sizeof key) != 0) continue;
    if (entry.at <= file.n && entry.n <= file.n - entry.at && hs_deserialize_database(file.p + entry.at, entry.n, out) == HS_SUCCESS)
      return true;
    log_line(LOG_WARN, "the program's own compiled rules are damaged; compiling them again");
  }
  return false;
}
