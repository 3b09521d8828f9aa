#include "helpers.h"

#include <math.h>

#include "base/plot.h"

/* A small XML reader: tags nest, attributes are quoted, entities are known, no stray '<'. Returns elements or -1. */
static int well_formed(struct str s) {
  char open[32][24];
  int depth = 0, elements = 0;
  for (size_t i = 0; i < s.n;) {
    if (s.p[i] == '&') {
      size_t k = i;
      while (k < s.n && s.p[k] != ';' && k - i < 8) k++;
      if (k == s.n || s.p[k] != ';') return -1;
    }
    if ((unsigned char)s.p[i] < ' ' && s.p[i] != '\n') return -1;
    if (s.p[i] != '<') {
      if (depth == 0 && s.p[i] != '\n') return -1;
      i++;
      continue;
    }
    bool closing = s.p[++i] == '/';
    if (closing) i++;
    size_t from = i;
    while (i < s.n && ((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z')) i++;
    size_t n = i - from;
    if (n == 0 || n >= sizeof open[0]) return -1;
    bool quoted = false;
    size_t attributes = i;
    while (i < s.n && (quoted || s.p[i] != '>')) {
      if (s.p[i] == '"') quoted = !quoted;
      if (s.p[i] == '<') return -1;
      i++;
    }
    if (i == s.n || quoted) return -1;
    bool single = s.p[i - 1] == '/';
    for (size_t k = attributes; k + 2 < i; k++)
      if (!memcmp(s.p + k, "nan", 3) || !memcmp(s.p + k, "inf", 3)) return -1; /* no number that an SVG reader refuses */
    i++;
    if (closing) {
      if (depth == 0 || strncmp(open[depth - 1], s.p + from, n) != 0 || open[depth - 1][n]) return -1;
      depth--;
    } else {
      elements++;
      if (!single) {
        if (depth == 32) return -1;
        memcpy(open[depth], s.p + from, n);
        open[depth++][n] = 0;
      }
    }
  }
  return depth == 0 ? elements : -1;
}

static bool holds(const struct buf *b, const char *text) { return b->p && memmem(b->p, b->n, text, strlen(text)) != NULL; }

static void draw(struct plot *p, struct buf *svg, struct buf *text) {
  buf_clear(svg);
  buf_clear(text);
  plot_svg(p, 420, 360, svg);
  plot_terminal(p, 72, 18, false, text);
  assert_int_equal(buf_check(svg, NULL), OK);
  assert_true(well_formed((struct str){svg->p, svg->n}) > 3);
  assert_true(str_utf8_valid((struct str){text->p, text->n}));
  assert_null(memchr(text->p, '\x1b', text->n));
}

TEST(the_checker_checks) {
  assert_int_equal(well_formed(STR("<a x=\"1\"><b/>t&amp;</a>")), 2);
  assert_int_equal(well_formed(STR("<a><b></a></b>")), -1);
  assert_int_equal(well_formed(STR("<a>&</a>")), -1);
  assert_int_equal(well_formed(STR("<a>")), -1);
  assert_int_equal(well_formed(STR("<a d=\"nan\"/>")), -1);
}

TEST(a_roc_curve) {
  double x[50], y[50], low[50], high[50];
  for (int i = 0; i < 50; i++) {
    x[i] = i / 49.0;
    y[i] = sqrt(x[i]);
    low[i] = y[i] - 0.05;
    high[i] = y[i] + 0.05;
  }
  struct plot p;
  struct buf svg = {0}, text = {0};
  plot_init(&p, "ROC <held out> & \"all\"", "1 - specificity", "sensitivity");
  plot_add(&p, PLOT_BAND, "", x, low, high, 50);
  plot_add(&p, PLOT_STEP, "model <1>", x, y, NULL, 50);
  plot_add(&p, PLOT_LINE, "baseline", x, x, NULL, 50);
  p.series[2].dashed = true;
  p.diagonal = true;
  plot_range(&p, 0, 1, 0, 1);
  draw(&p, &svg, &text);
  assert_true(holds(&svg, "ROC &lt;held out&gt; &amp; &quot;all&quot;"));
  assert_true(holds(&svg, "model &lt;1&gt;"));
  assert_true(holds(&svg, "stroke-dasharray=\"5 4\""));
  assert_true(holds(&svg, "currentColor") || holds(&svg, "prefers-color-scheme"));
  assert_true(holds(&svg, ">0.2<") && holds(&svg, ">1<"));
  assert_true(holds(&text, "sensitivity") && holds(&text, "baseline"));
  int lines = 0;
  for (size_t i = 0; i < text.n; i++) lines += text.p[i] == '\n';
  assert_int_equal(lines, 1 + 15 + 2 + 2);
  buf_clear(&text);
  plot_terminal(&p, 72, 18, true, &text);
  assert_true(holds(&text, "\x1b[38;5;"));
  plot_release(&p);
  buf_release(&svg);
  buf_release(&text);
}

TEST(data_are_copied_and_drawn_where_they_are) {
  double x[2] = {0, 10}, y[2] = {0, 10};
  struct plot p;
  struct buf svg = {0}, text = {0};
  plot_init(&p, "t", "", "");
  plot_add(&p, PLOT_LINE, "", x, y, NULL, 2);
  x[0] = y[0] = 99;
  draw(&p, &svg, &text);
  assert_true(holds(&svg, "d=\"M58.00 320.00L406.00 26.00\"")); /* left 58, top 26, 348 x 294 */
  plot_release(&p);
  buf_release(&svg);
  buf_release(&text);
}

TEST(hostile_numbers) {
  double x[] = {NAN, 1, 2, INFINITY, 3, -INFINITY, 4, 1e308, -1e308, 5e-324};
  double y[] = {1, NAN, 2, 3, INFINITY, -1e308, 1e308, 4, 5, 5e-324};
  double e[] = {NAN, 1, INFINITY, 1, 1, 1, 1e308, 1, 1, 1};
  struct buf svg = {0}, text = {0};
  for (int kind = PLOT_LINE; kind <= PLOT_BARS; kind++)
    for (int logarithmic = 0; logarithmic < 2; logarithmic++)
      for (size_t n = 0; n <= 10; n++) {
        struct plot p;
        plot_init(&p, "x", "x", "y");
        p.x_log = logarithmic;
        p.diagonal = n % 2;
        plot_add(&p, (enum plot_kind)kind, "s", x, y, kind == PLOT_POINTS || kind == PLOT_BAND ? e : NULL, n);
        draw(&p, &svg, &text);
        plot_release(&p);
      }
  struct plot p;
  double one = 5, same[] = {3, 3, 3};
  plot_init(&p, NULL, NULL, NULL);
  draw(&p, &svg, &text); /* empty */
  plot_add(&p, PLOT_POINTS, NULL, &one, &one, NULL, 1);
  draw(&p, &svg, &text);
  plot_add(&p, PLOT_BARS, "same", same, same, NULL, 3);
  plot_range(&p, 5, 5, 2, -2);
  draw(&p, &svg, &text);
  plot_svg(&p, -5, 0, &svg);
  plot_terminal(&p, -5, 0, true, &text);
  plot_terminal(&p, 1 << 30, 1 << 30, true, &text);
  plot_release(&p);
  buf_release(&svg);
  buf_release(&text);
}

TEST(long_names_and_many_series) {
  char name[300];
  memset(name, '<', sizeof name - 1);
  name[sizeof name - 1] = 0;
  double x[3] = {1, 10, 100}, y[3] = {1, 2, 3};
  struct plot p;
  struct buf svg = {0}, text = {0};
  plot_init(&p, name, name, name);
  p.x_log = true;
  for (int i = 0; i < 20; i++) plot_add(&p, PLOT_LINE, name, x, y, NULL, 3);
  assert_int_equal(p.n, 16);
  draw(&p, &svg, &text);
  assert_true(holds(&svg, ">10<") && holds(&svg, ">100<"));
  plot_release(&p);
  buf_release(&svg);
  buf_release(&text);
}

TEST(survives_every_failing_allocation) {
  double x[3] = {1, 2, 3};
  for (long n = 1;; n++) {
    struct plot p;
    struct buf svg = {0}, text = {0};
    arena_fail_at(n);
    plot_init(&p, "t", "x", "y");
    plot_add(&p, PLOT_POINTS, "a", x, x, x, 3);
    plot_add(&p, PLOT_LINE, "b", x, x, NULL, 3);
    plot_svg(&p, 300, 200, &svg);
    plot_terminal(&p, 40, 10, false, &text);
    bool hit = !arena_fail_pending();
    arena_fail_at(0);
    if (!svg.failed) assert_true(well_formed((struct str){svg.p, svg.n}) > 3);
    plot_release(&p);
    buf_release(&svg);
    buf_release(&text);
    if (!hit) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_checker_checks),
      cmocka_unit_test(a_roc_curve),
      cmocka_unit_test(data_are_copied_and_drawn_where_they_are),
      cmocka_unit_test(hostile_numbers),
      cmocka_unit_test(long_names_and_many_series),
      cmocka_unit_test(survives_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
