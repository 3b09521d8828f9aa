/* Tokens that somebody did sign: the input is a header and, after the first line's end, claims, both signed here with the key (ES256, ES384)
 * of the issuer whose set the site trusts; "@NOW" becomes a time a minute from now, "@JTI" an id that was not seen before. One that is taken, by
 * the developers' plane or by the CDS services, has said the algorithm, the issuer and the audience, and gets the role of its plane. */
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/time.h"
#include "serve/serve_ehr.h"
#include "serve/serve_shared.h"
#include "serve/serve_token.h"

static EVP_PKEY *key[2]; /* P-256, P-384 */
static struct tokens *tokens;
static struct ehr *ehr;
static struct shared *shared;
static const char *folder;
static void sweep(void) { (void)!file_remove_tree(folder, NULL); }

static void base64(struct buf *b, const void *p, size_t n) {
  size_t room = sodium_base64_encoded_len(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
  char *text = mem_alloc(room);
  if (!text) abort();
  buf_puts(b, sodium_bin2base64(text, room, p, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING));
  mem_free(text);
}

static void put_key(int i, struct buf *b) {
  uint8_t point[1 + 2 * 48];
  size_t n = 0, half = i ? 48 : 32;
  key[i] = EVP_EC_gen(i ? "P-384" : "P-256");
  if (!key[i] || EVP_PKEY_get_octet_string_param(key[i], "pub", point, sizeof point, &n) != 1 || n != 1 + 2 * half) BUG("a key");
  buf_printf(b, "%s{\"kty\":\"EC\",\"crv\":\"%s\",\"kid\":\"%s\",\"x\":\"", i ? "," : "", i ? "P-384" : "P-256", i ? "two" : "one");
  base64(b, point + 1, half);
  buf_puts(b, "\",\"y\":\"");
  base64(b, point + 1 + half, half);
  buf_puts(b, "\"}");
}

static void start(void) {
  static const char oidc[] =
      "{\"issuers\":[{\"issuer\":\"https://issuer.test\",\"audiences\":[\"https://vitae.test\"],\"jwks\":\"set.json\","
      "\"algorithms\":[\"ES256\",\"ES384\"],\"roles\":{\"Vitae.Developer\":\"developer\",\"Vitae.Admin\":\"admin\"},"
      "\"tenant_claim\":\"tid\"}]}";
  static const char cds[] =
      "{\"base\":\"https://vitae.test\",\"cds\":{\"clients\":[{\"issuer\":\"https://issuer.test\",\"jwks\":\"set.json\","
      "\"algorithms\":[\"ES384\"]}]}}";
  static char dir[] = "/tmp/fuzz-claims-XXXXXX";
  char path[64];
  struct error e = {0};
  struct buf b = {0};
  if (!mkdtemp(dir)) abort();
  folder = dir;
  atexit(sweep);
  buf_puts(&b, "{\"keys\":[");
  for (int i = 0; i < 2; i++) put_key(i, &b);
  buf_puts(&b, "]}");
  snprintf(path, sizeof path, "%s/set.json", dir);
  int rc = file_write_atomic(path, b.p, b.n, 0600, &e);
  snprintf(path, sizeof path, "%s/ehr.json", dir);
  if (rc == OK) rc = file_write_atomic(path, cds, sizeof cds - 1, 0600, &e);
  if (rc == OK) rc = ehr_open(dir, &ehr, &e);
  if (rc == OK) rc = shared_open(dir, NULL, &shared, &e);
  snprintf(path, sizeof path, "%s/oidc.json", dir);
  if (rc == OK) rc = file_write_atomic(path, oidc, sizeof oidc - 1, 0600, &e);
  if (rc == OK) rc = tokens_open(path, &tokens, &e);
  buf_release(&b);
  if (rc < 0) error_print(stderr, &e), abort();
}

/* r and s, each as wide as the curve */
static void sign(int i, const struct buf *text, struct buf *out) {
  uint8_t der[256], raw[96];
  size_t n = sizeof der, half = i ? 48 : 32;
  const uint8_t *p = der;
  EVP_MD_CTX *m = EVP_MD_CTX_new();
  if (!m || EVP_DigestSignInit(m, NULL, i ? EVP_sha384() : EVP_sha256(), NULL, key[i]) != 1 ||
      EVP_DigestSign(m, der, &n, (const uint8_t *)text->p, text->n) != 1)
    BUG("signing");
  EVP_MD_CTX_free(m);
  ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)n);
  if (!s || BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, (int)half) < 0 || BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + half, (int)half) < 0)
    BUG("a signature");
  ECDSA_SIG_free(s);
  base64(out, raw, 2 * half);
}

/* The input's part with its words replaced. */
static void fill(struct buf *b, const char *p, size_t n) {
  static uint64_t id;
  for (size_t i = 0; i < n; i++) {
    if (n - i >= 4 && memcmp(p + i, "@NOW", 4) == 0)
      buf_printf(b, "%lld", (long long)(time_now() / 1000000 + 60)), i += 3;
    else if (n - i >= 4 && memcmp(p + i, "@JTI", 4) == 0)
      buf_printf(b, "id-%llu", (unsigned long long)id++), i += 3;
    else
      buf_putc(b, p[i]);
  }
}

static bool says(const struct buf *b, const char *word) { return b->n && memmem(b->p, b->n, word, strlen(word)); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct buf header = {0}, claims = {0}, token = {0};
  if (!tokens) start();
  if (size < 2) return 0;
  int i = data[0] & 1;
  const char *p = (const char *)data + 1, *end = memchr(p, '\n', size - 1);
  size_t n = end ? (size_t)(end - p) : size - 1;
  fill(&header, p, n);
  if (end) fill(&claims, end + 1, size - 2 - n);
  base64(&token, header.p ? header.p : "", header.n);
  buf_putc(&token, '.');
  base64(&token, claims.p ? claims.p : "", claims.n);
  struct buf text = {0};
  buf_put(&text, token.p, token.n);
  buf_putc(&token, '.');
  sign(i, &text, &token);
  struct str whole = {token.p, token.n};
  for (int plane = PLANE_HOSPITAL; plane <= PLANE_DEVELOPER + 1; plane++) {
    struct identity who = {0};
    bool cds = plane > PLANE_DEVELOPER;
    int rc = cds ? ehr_token(ehr, shared, "/cds-services/vitae-risk", whole, &who, NULL)
                 : token_check(tokens, (enum plane)plane, whole, 1, &who, NULL);
    if (rc < 0) continue;
    /* a backslash may spell any of these words otherwise */
    if (!says(&header, "\\") && !says(&header, i ? "ES384" : "ES256")) BUG("an algorithm that the key is not of");
    if (!says(&claims, "\\") && (!says(&claims, "https://issuer.test") || !says(&claims, "https://vitae.test") || !says(&claims, "exp")))
      BUG("a token of somebody else, or for somebody else");
    if (cds ? who.role != ROLE_EHR : who.role != (plane == PLANE_DEVELOPER ? ROLE_DEVELOPER : ROLE_ADMIN)) BUG("a role of another plane");
    if (cds && ehr_token(ehr, shared, "/cds-services/vitae-risk", whole, &who, NULL) == OK) BUG("a token was taken twice");
  }
  buf_release(&header), buf_release(&claims), buf_release(&token), buf_release(&text);
  return 0;
}
