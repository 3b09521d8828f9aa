/* Bearer tokens and key sets: the first line of the input is a key set's text or empty (then a fixed set), the rest a token. No input may be accepted:
 * nobody has the fixed set's private keys. */
#include "serve/serve_token.h"

static const char set[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"one\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":"
    "\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct jwks *fixed;
  struct jwks *own = NULL;
  static struct json_parser *parser;
  struct buf read = {0};
  struct json claims;
  if (!parser && json_parser_new(&parser, NULL) < 0) BUG("the parser");
  if (!fixed && jwks_bytes(STR(set), &fixed, NULL) < 0) BUG("the fixed set");
  const uint8_t *end = memchr(data, '\n', size);
  size_t n = end ? (size_t)(end - data) : 0, rest = end ? size - n - 1 : size;
  char *token = mem_alloc(rest + 1), *text = mem_alloc(n + 1); /* blocks of their own: a read past the end is seen */
  if (token && text) {
    memcpy(token, end ? end + 1 : data, rest);
    memcpy(text, data, n);
    (void)token_shape((struct str){token, rest});
    (void)!jwks_claims((struct str){token, rest}, parser, &read, &claims, NULL);
    if (jwks_verify(fixed, (struct str){token, rest}, "RS256,RS384,ES256,ES384,PS256", NULL) == OK) BUG("a token was accepted");
    if (n && jwks_bytes((struct str){text, n}, &own, NULL) == OK) {
      (void)!jwks_verify(own, (struct str){token, rest}, "RS256,ES256,ES384", NULL); /* the input may hold a key of its own */
      jwks_close(own);
    }
  }
  buf_release(&read);
  mem_free(token), mem_free(text);
  return 0;
}
