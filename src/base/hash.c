#include "base/hash.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash_pieces.h"

/* Looked up once: EVP_sha256() has OpenSSL 3 look for it at every use, which takes as long as a short text's hash. */
static pthread_once_t kind_once = PTHREAD_ONCE_INIT;
static const EVP_MD *kind;
static void kind_find(void) {
  kind = EVP_MD_fetch(NULL, "SHA256", NULL);
  if (!kind) kind = EVP_sha256();
}
static const EVP_MD *sha256_kind(void) {
  pthread_once(&kind_once, kind_find);
  return kind;
}

int sha256_init(struct sha256 *s, struct error *e) {
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  if (!ctx || !EVP_DigestInit_ex(ctx, sha256_kind(), NULL)) {
    EVP_MD_CTX_free(ctx);
    s->ctx = NULL;
    return error_set(e, E_NOMEM, "cannot start SHA-256");
  }
  s->ctx = ctx;
  return OK;
}

void sha256_add(struct sha256 *s, const void *p, size_t n) {
  if (n && !EVP_DigestUpdate(s->ctx, p, n)) BUG("SHA-256 update");
}

void sha256_end(struct sha256 *s, uint8_t out[32]) {
  unsigned n = 32;
  if (!EVP_DigestFinal_ex(s->ctx, out, &n) || n != 32) BUG("SHA-256 final");
  EVP_MD_CTX_free(s->ctx);
  s->ctx = NULL;
}

void sha256_of(const void *p, size_t n, uint8_t out[32]) {
  unsigned length = 32;
  if (!EVP_Digest(n ? p : "", n, out, &length, sha256_kind(), NULL) || length != 32) BUG("SHA-256");
}

/* Files are read, not mapped: a mapped file would count as resident memory while it is hashed. */
static int open_file(const char *path, int *fd, struct error *e) {
  *fd = open(path, O_RDONLY | O_CLOEXEC);
  if (*fd >= 0) return OK;
  (void)error_set(e, errno == ENOENT ? E_NOTFOUND : E_IO, "a file cannot be read for its hash: %s", strerror(errno));
  return e ? error_where(e, path, 0, NULL) : errno == ENOENT ? E_NOTFOUND : E_IO;
}

/* n bytes, fewer only at the end of the file; -1: errno says why */
static ssize_t read_full(int fd, uint8_t *p, size_t n) {
  size_t got = 0;
  while (got < n) {
    ssize_t k = read(fd, p + got, n - got);
    if (k == 0) break;
    if (k < 0 && errno != EINTR) return -1;
    got += k > 0 ? (size_t)k : 0;
  }
  return (ssize_t)got;
}

/* `once`: a file shorter than one window is hashed in one go, a longer one by its pieces */
static int hash_file(const char *path, size_t window, bool once, uint8_t out[32], bool *pieces, struct error *e) {
  struct sha256 sha = {NULL};
  uint8_t list[32 * (SHA256_WHOLE / SHA256_PIECE)];
  ssize_t n = 0;
  int fd;
  TRY(open_file(path, &fd, e));
  uint8_t *p = mem_alloc(window);
  int rc = p ? sha256_init(&sha, e) : error_set(e, E_NOMEM, "out of memory");
  *pieces = false;
  while (rc == OK && (n = read_full(fd, p, window)) > 0) {
    *pieces = *pieces || (once && (size_t)n == window);
    if (*pieces)
      sha256_pieces(p, (size_t)n, SHA256_PIECE, list), sha256_add(&sha, list, 32 * sha256_pieces_count((size_t)n, SHA256_PIECE));
    else
      sha256_add(&sha, p, (size_t)n);
    if ((size_t)n < window) break;
  }
  if (n < 0) rc = error_set(e, E_IO, "a file cannot be read for its hash: %s", strerror(errno));
  if (sha.ctx) sha256_end(&sha, out);
  mem_free(p);
  close(fd);
  return rc;
}

int sha256_file(const char *path, uint8_t out[32], struct error *e) {
  bool pieces;
  return hash_file(path, SHA256_PIECE, false, out, &pieces, e);
}

int sha256_source(const char *path, uint8_t out[32], bool *pieces, struct error *e) {
  return hash_file(path, SHA256_WHOLE, true, out, pieces, e);
}

void hash_hex(const uint8_t *p, size_t n, char *out) {
  static const char HEX[] = "0123456789abcdef";
  for (size_t i = 0; i < n; i++) {
    out[2 * i] = HEX[p[i] >> 4];
    out[2 * i + 1] = HEX[p[i] & 15];
  }
  out[2 * n] = 0;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int hash_unhex(struct str hex, uint8_t *out, size_t n, struct error *e) {
  if (hex.n != 2 * n) return error_set(e, E_INPUT, "expected %zu hexadecimal digits", 2 * n);
  for (size_t i = 0; i < n; i++) {
    int high = hex_digit(hex.p[2 * i]), low = hex_digit(hex.p[2 * i + 1]);
    if (high < 0 || low < 0) return error_set(e, E_INPUT, "no hexadecimal digit at position %zu", 2 * i + (high >= 0));
    out[i] = (uint8_t)(high << 4 | low);
  }
  return OK;
}

/* hash64. Pairs of 64-bit words are mixed by one 64x64 -> 128 bit multiplication whose halves are folded by xor; a long
 * input runs through four independent chains of 16 bytes each, so that the multiplier's latency is hidden. The
 * length goes into the start value, the tail is read as overlapping words, and the end is splitmix64's finaliser. A word
 * that cancels its constant makes a product 0: therefore each chain adds its previous state instead of only multiplying
 * it away. Little-endian words, as everywhere in our files. */
static const uint64_t K[8] = {0xD1342543DE82EF95u, 0x9FB21C651E98DF25u, 0xA0761D65B4F8A3C7u, 0xE7037ED1A0B428DBu,
                              0x8EBC6AF09C88C6E3u, 0x589965CC75374CC3u, 0x1D8E4E27C47D124Fu, 0xC2B2AE3D27D4EB4Fu};

static inline uint64_t fold(uint64_t a, uint64_t b) {
  __uint128_t m = (__uint128_t)a * b;
  return (uint64_t)m ^ (uint64_t)(m >> 64);
}
static inline uint64_t word(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  v = __builtin_bswap64(v);
#endif
  return v;
}
static inline uint64_t chain(uint64_t state, const uint8_t *p, int k) {
  return fold(word(p) ^ K[k], word(p + 8) ^ state) + ((state << 29) | (state >> 35));
}

uint64_t hash64(const void *data, size_t n, uint64_t seed) {
  const uint8_t *p = data;
  uint64_t h = hash64_u64(seed ^ ((uint64_t)n * K[0]));
  size_t left = n;
  if (left > 64) {
    uint64_t a = h ^ K[1], b = h ^ K[2], c = h ^ K[3], d = h ^ K[4];
    for (; left > 64; left -= 64, p += 64) {
      a = chain(a, p, 4);
      b = chain(b, p + 16, 5);
      c = chain(c, p + 32, 6);
      d = chain(d, p + 48, 7);
    }
    h = fold(a ^ K[5], b ^ K[6]) + fold(c ^ K[7], d ^ K[0]) + a + d;
  }
  for (; left > 16; left -= 16, p += 16) h = chain(h, p, 0);
  uint64_t x = 0, y = 0;
  if (left >= 8) {
    x = word(p);
    y = word(p + left - 8);
  } else {
    for (size_t i = 0; i < left; i++) x |= (uint64_t)p[i] << (8 * i);
  }
  return hash64_u64(fold(x ^ K[2] ^ h, y ^ K[3]) + h);
}
