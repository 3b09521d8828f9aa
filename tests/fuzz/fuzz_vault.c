/* The identity map's reader: whole files under a known key (mostly refused at the header or the first message), the plaintext of messages
 * of both versions (what somebody with the key could write), and sealed lists. The first byte chooses. */
#include <sodium.h>
#include <stdlib.h>

#include "deid/vault_file.h"

static const uint8_t key[VAULT_KEY] = {7};

/* Header and key check are made right so that the damage is looked for behind them. */
static void file(const uint8_t *p, size_t n, bool mend) {
  struct vault *v;
  if (vault_rows_new(false, &v, NULL) < 0) return;
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

static int take(void *ctx, const struct vault_identifier *id, struct error *e UNUSED) {
  if (id->value.n == 0) abort();
  ++*(uint32_t *)ctx;
  return OK;
}

static void messages(const uint8_t *p, size_t n) {
  struct vault *v;
  struct vault_reading s = {.version = n && p[0] & 1 ? 1 : 2};
  if (vault_rows_new(false, &v, NULL) < 0) return;
  size_t head = n ? p[0] / 2 : 0;
  if (head > n - (n > 0)) head = n - (n > 0);
  int rc = head ? vault_message(v, &s, p + 1, head, NULL) : OK;
  s.began = true; /* without a first message, the records alone */
  if (rc == OK && n > head + 1) rc = vault_message(v, &s, p + 1 + head, n - head - 1, NULL);
  for (uint32_t i = 0; i < v->row_n; i++) { /* whatever was taken is sound */
    struct identity *id = vault_identity(v, i);
    uint32_t keys = 0;
    if (id->pseudonym <= 0) abort();
    for (uint32_t k = id->keys; k; k = vault_entry(&v->keys, k - 1)->next, keys++) {
      uint32_t row;
      struct vault_text t = vault_text(v, vault_entry(&v->keys, k - 1));
      if (t.space >= v->source_n || t.value.n == 0 || !vault_known(v, t.space, t.value, &row) || row != i) abort();
    }
    if (keys != id->key_n) abort();
    uint32_t all = 0;
    if (vault_identifiers(v, id->pseudonym, take, &all, NULL) < 0 || all != keys + id->identifier_n) abort();
    vault_row_erase(v, i);
  }
  vault_close(v);
}

/* A sealed list: header and key made right, then whatever comes. */
static void sealed(const uint8_t *p, size_t n) {
  struct vault *v;
  struct error e;
  if (vault_rows_new(false, &v, NULL) < 0) return;
  v->key = sodium_malloc(VAULT_KEY);
  char *out = malloc(n + 1);
  size_t got;
  if (v->key && out) {
    memcpy(v->key, key, VAULT_KEY);
    if (vault_sealed_header(p, n, v, &e) == OK && vault_key_check(v, &e) == OK && vault_unseal(p, n, v, out, &got, &e) == OK) abort();
    vault_header_make(v, VAULT_KEY_FILE, NULL, 0, 0);
    if (vault_unseal(p, n, v, out, &got, &e) == OK) abort();
  }
  free(out);
  vault_close(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  if (data[0] % 4 == 2)
    messages(data + 1, size - 1);
  else if (data[0] % 4 == 3)
    sealed(data + 1, size - 1);
  else
    file(data + 1, size - 1, data[0] % 4 == 1);
  return 0;
}
