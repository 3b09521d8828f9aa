/* What an audit row's "input" says of a request (docs/api.md, "Audit"): SHA-256 of its target, a newline and its body; of a long body, the
 * digests of its pieces in its place. */
#include <string.h>

#include "base/hash_pieces.h"
#include "serve/serve_private.h"

enum { PIECE = 8192, PLAIN_MOST = 4 * PIECE, PIECES = 64 };

void input_begin(struct call *c, const char *target) {
  c->input_open = sha256_init(&c->input_hash, NULL) == OK;
  if (!c->input_open) return;
  sha256_add(&c->input_hash, target, strlen(target));
  sha256_add(&c->input_hash, "\n", 1);
}

void input_body(struct call *c) {
  uint8_t list[32 * PIECES];
  char head[64];
  if (!c->input_open || !c->body) return;
  if (c->body_n <= PLAIN_MOST) {
    sha256_add(&c->input_hash, c->body, c->body_n);
    return;
  }
  c->input_tree = true;
  snprintf(head, sizeof head, "vitae-tree-1 %d %zu\n", PIECE, c->body_n);
  sha256_add(&c->input_hash, head, strlen(head));
  for (size_t at = 0; at < c->body_n; at += (size_t)PIECES * PIECE) {
    size_t n = c->body_n - at < (size_t)PIECES * PIECE ? c->body_n - at : (size_t)PIECES * PIECE;
    sha256_pieces(c->body + at, n, PIECE, list);
    sha256_add(&c->input_hash, list, 32 * sha256_pieces_count(n, PIECE));
  }
}

void input_end(struct call *c) {
  uint8_t digest[32];
  if (!c->input_open) return;
  sha256_end(&c->input_hash, digest);
  c->input_open = false;
  strcpy(c->input, c->input_tree ? INPUT_TREE : "");
  hash_hex(digest, 32, c->input + strlen(c->input));
}
