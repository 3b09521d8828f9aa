/* The stream of another server's language model: whatever it sends, calls have names, texts are UTF-8, and the same bytes say the same. */
#include "serve/serve_upstream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_text(void *ctx, struct str piece, struct error *e) {
  (void)e;
  if (!piece.n || !str_utf8_valid(piece)) BUG("a piece that is no text");
  buf_str(ctx, piece);
  return OK;
}
static int on_tool(void *ctx, const char *name, struct str arguments, struct error *e) {
  (void)e;
  if (!name[0]) BUG("a call without a name");
  buf_puts(ctx, name);
  buf_str(ctx, arguments);
  return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct buf heard[2] = {{0}, {0}};
  int rc[2];
  for (int i = 0; i < 2; i++) {
    struct voice_request r = {.logprobs = -1, .text = on_text, .tool = on_tool, .ctx = &heard[i]};
    struct voice_result out = {0};
    rc[i] = upstream_hear(&r, (const char *)data, size, &out, NULL);
  }
  if (rc[0] != rc[1] || heard[0].n != heard[1].n || (heard[0].n && memcmp(heard[0].p, heard[1].p, heard[0].n) != 0))
    BUG("the same bytes say something else");
  buf_release(&heard[0]), buf_release(&heard[1]);
  return 0;
}
