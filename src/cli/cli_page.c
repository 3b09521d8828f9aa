#include "cli/cli_page.h"

#include "base/progress.h"

static const char style[] =
    ":root{color-scheme:light "
    "dark;--ink:#1b1f24;--page:#fff;--line:#dde1e6;--soft:#5a6470;--bar:#4477aa;--good:#1a7f37;--bad:#b3261e;--card:#f6f8fa}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--page:#15181c;--line:#3a4048;--soft:#9aa4af;--bar:#7aa7d6;--good:#5bd47e;--bad:"
    "#ff8a80;"
    "--card:#1d2127}}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--page)}"
    "h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem}p.soft,td.soft,small{color:var(--soft)}"
    "table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid "
    "var(--line);vertical-align:top}"
    "th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "div.wide td,div.wide th{padding:.2rem .55rem}td.bar{width:14rem}td.bar "
    "i{display:block;height:.8rem;margin-top:.35rem;background:var(--bar);border-radius:2px;min-width:1px}"
    ".good{color:var(--good)}.bad{color:var(--bad)}.wide{overflow-x:auto}code{overflow-wrap:anywhere}"
    ".cards{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0}.cards div{background:var(--card);border:1px solid "
    "var(--line);border-radius:6px;"
    "padding:.6rem 1rem;min-width:8rem}.cards b{display:block;font-size:1.4rem;font-variant-numeric:tabular-nums}"
    "svg{max-width:100%;height:auto}";

void page_begin(struct buf *b, const char *title) {
  buf_printf(
      b,
      "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>%s</title><style>%s</style>"
      "<h1>%s</h1>\n",
      title, style, title);
}
void page_end(struct buf *b) { buf_puts(b, "</html>\n"); }

void page_bar(struct buf *b, double share) {
  if (!(share > 0)) share = 0;
  if (share > 1) share = 1;
  buf_printf(b, "<td class=bar>");
  if (share > 0) buf_printf(b, "<i style='width:%.1f%%'></i>", 100 * share);
}

void page_count(struct buf *b, uint64_t n) {
  char text[32];
  human_thousands((int64_t)n, text);
  buf_puts(b, text);
}
