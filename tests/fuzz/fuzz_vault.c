/* The identity map's reader: whole files under a known key (mostly refused at the header or the first message), and the
 * plaintext of messages (what somebody with the key could write). The first byte chooses. */
#include <sodium.h>
#include <stdlib.h>

#include "deid/vault_file.h"

static const uint8_t key[VAULT_KEY] = {7};

/* Header and key check are made right so that the damage is looked for behind them. */
static void file(const uint8_t *p, size_t n, bool mend) {
  struct vault *v;
  if (vault_rows_new(&v, NULL) < 0) return;
  v->key = sodium_malloc(VAULT_KEY);
  uint8_t *bytes = malloc(n + 1);
  if (v->key && bytes) {
    memcpy(v->key, key, VAULT_KEY);
    memcpy(bytes, p, n);
    if (mend && n >= VAULT_HEADER) {
      vault_header_make(v, VAULT_KEY_FILE, NULL, 0, 0);
      memcpy(bytes, v->header, VAULT_HEADER);
    }
    if (vault_header_read(bytes, n, v, NULL) == OK && vault_key_check(v, NULL) == OK && vault_decode(bytes, n, v, NULL) == OK) abort();
  }
  free(bytes);
  vault_close(v);
}

static void messages(const uint8_t *p, size_t n) {
  struct vault *v;
  uint64_t rows = 0;
  uint16_t source;
  if (vault_rows_new(&v, NULL) < 0) return;
  size_t head = n ? p[0] : 0;
  if (head > n - (n > 0)) head = n - (n > 0);
  int rc = head ? vault_message(v, true, p + 1, head, &rows, NULL) : vault_source(v, STR("fhir"), &source, NULL);
  if (rc == OK && n > head + 1) rc = vault_message(v, false, p + 1 + head, n - head - 1, &rows, NULL);
  for (uint32_t i = 0; i < v->row_n; i++) { /* whatever was taken is sound */
    struct identity *id = vault_identity(v, i);
    if (id->pseudonym <= 0 || id->source >= v->source_n || id->key_n == 0) abort();
  }
  vault_close(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  if (data[0] % 3 == 2)
    messages(data + 1, size - 1);
  else
    file(data + 1, size - 1, data[0] % 3 == 1);
  return 0;
}
