/* Private to deid/: the bytes of vault/identities. Little-endian.
 *
 *   header   "VITAEVLT", u32 version, u32 header length, u32 kdf (0 key file, 1 Argon2id), u32 0, u64 opslimit, u64 memlimit,
 *            salt[16], key check[16] (keyed BLAKE2b of a constant), checksum[16] (BLAKE2b of the header before it)
 *   stream   24 bytes of crypto_secretstream_xchacha20poly1305, then messages: u32 length, ciphertext. The header is the
 *            additional data of every message, so it cannot be exchanged.
 *   version 2
 *   1st      u64 persons, keys, identifiers, forgotten keys; secret[32]
 *   then     records, whole ones only in a message, each beginning with a letter:
 *            S u16 length, name of a source             N u16 length, a name space (both numbered in this order; N from 1)
 *            P i64 pseudonym, i32 shift days, i32 birth, i32 first, i32 last (days since 1970, INT32_MIN unknown), u8 flags
 *              (1 birth moved, 8 events have passed), u8 birth precision; the K and I that follow are this person's
 *            K u16 source, u16 length, key              I u8 kind, u16 name space (0 none), u16 length, value
 *            X hash[16] of a key, or of a trusted identifier, that must not come back
 *   version 1 (read, never written)
 *   1st      u64 rows, u32 sources, each u16 length + name
 *   then     rows, whole ones only: the fields of P up to `last`, u16 source, u16 key length, u8 flags, u8 birth precision, key
 *   last     with the FINAL tag: u64 persons. Nothing after it.
 *
 * A sealed list (vitae vault export) is the same header with "VITAESLD" and one text in the stream.
 *
 * In every version the first 16 bytes and the checksum at the end of the header mean the same. So a damaged header is
 * E_CORRUPT, a sound one of a later version E_VERSION, a sound one whose key check does not fit E_DENIED.
 *
 *     TRY(vault_header_read(bytes, n, v, e));  … find the key …  TRY(vault_decode(bytes, n, v, e));
 */
#ifndef DEID_VAULT_FILE_H
#define DEID_VAULT_FILE_H
#include "base/file.h"
#include "deid/vault_rows.h"

enum { VAULT_VERSION = 2, VAULT_HEADER = 88, VAULT_KEY = 32, VAULT_SALT = 16, VAULT_MESSAGE = 192 << 10 };
enum vault_kdf { VAULT_KEY_FILE, VAULT_ARGON2ID };

/* Makes v->header for v->key. salt, opslimit, memlimit: 0 for a key file. */
void vault_header_make(struct vault *v, enum vault_kdf kdf, const uint8_t *salt, uint64_t opslimit, uint64_t memlimit);
/* Checks and keeps the header; the key is not needed yet. */
int vault_header_read(const uint8_t *p, size_t n, struct vault *v, struct error *e) MUST_CHECK;
void vault_header_upgrade(struct vault *v); /* before writing: what was read may have been of an earlier version */
enum vault_kdf vault_header_kdf(const struct vault *v);
/* v->key (allocated) from a passphrase, by the parameters of v->header. */
int vault_key_derive(struct vault *v, const char *passphrase, struct error *e) MUST_CHECK;
int vault_key_check(const struct vault *v, struct error *e) MUST_CHECK; /* E_DENIED */
/* Everything after the header, into an empty v with its key. Pure. */
int vault_decode(const uint8_t *p, size_t n, struct vault *v, struct error *e) MUST_CHECK;
/* One message's plaintext. `s` begins as {.version = …}. Pure (fuzzed). */
struct vault_reading {
  uint32_t version;
  bool began, row_known;
  uint32_t row; /* the person that keys and identifiers belong to */
  uint64_t persons, keys, identifiers, gone /* as the first message said */, keys_seen, identifiers_seen;
};
int vault_message(struct vault *v, struct vault_reading *s, const uint8_t *p, size_t n, struct error *e) MUST_CHECK;
void vault_encode(const struct vault *v, uint8_t *plain, uint8_t *cipher,
                  struct file_writer *w); /* buffers of VAULT_MESSAGE (+ 17) bytes */
/* A text under v->key and v->header (which becomes that of a sealed file). `cipher` has room for VAULT_MESSAGE + 17, `out` for n bytes. */
int vault_seal(struct vault *v, struct str text, uint8_t *cipher, struct file_writer *w) MUST_CHECK;
int vault_sealed_header(const uint8_t *p, size_t n, struct vault *v, struct error *e) MUST_CHECK;
int vault_unseal(const uint8_t *p, size_t n, struct vault *v, char *out, size_t *out_n, struct error *e) MUST_CHECK;
#endif
