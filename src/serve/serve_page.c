/* The workbench: one self-contained page, packed in at build time. */
#include "index.html.h"
#include "serve/serve_private.h"

struct str page_bytes(void) {
  return (struct str){(const char *)page_html, sizeof page_html};
}
const char *page_csp(void) { return page_policy; }

void answer_page(struct call *c) {
  buf_str(&c->out, page_bytes());
  c->status = 200;
  c->type = "text/html; charset=utf-8";
  c->csp = page_csp();
}
