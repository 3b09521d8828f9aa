#include "base/plot.h"

#include <math.h>
#include <stdio.h>

enum { SERIES = 16, COLOURS = 8 };

/* Okabe and Ito's palette with the yellow and the black replaced: eight hues told apart by every common colour vision,
 * each with enough contrast on white and on near-black. */
static const char *const HEX[COLOURS] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6bb1", "#7f7f7f"};
static const int ANSI[COLOURS] = {33, 166, 36, 175, 74, 178, 97, 244};

void plot_init(struct plot *p, const char *title, const char *x_label, const char *y_label) {
  *p = (struct plot){.x_min = NAN, .x_max = NAN, .y_min = NAN, .y_max = NAN};
  snprintf(p->title, sizeof p->title, "%s", title ? title : "");
  snprintf(p->x_label, sizeof p->x_label, "%s", x_label ? x_label : "");
  snprintf(p->y_label, sizeof p->y_label, "%s", y_label ? y_label : "");
}

static double *copy(const double *v, size_t n) {
  double *p = v ? mem_alloc(n * sizeof *p) : NULL;
  if (p && n) memcpy(p, v, n * sizeof *p);
  return p;
}

/* A series beyond the sixteenth, or one that finds no memory, is left out: a picture is no result. */
void plot_add(struct plot *p, enum plot_kind kind, const char *label, const double *x, const double *y, const double *y2, size_t n) {
  if (p->n == SERIES) return;
  struct plot_series *s = &p->series[p->n];
  *s = (struct plot_series){.kind = kind, .x = copy(x, n), .y = copy(y, n), .y2 = copy(y2, n), .n = n};
  snprintf(s->label, sizeof s->label, "%s", label ? label : "");
  if (s->x && s->y && (!y2 || s->y2)) {
    p->n++;
    return;
  }
  mem_free(s->x);
  mem_free(s->y);
  mem_free(s->y2);
}

void plot_range(struct plot *p, double x_min, double x_max, double y_min, double y_max) {
  p->x_min = x_min;
  p->x_max = x_max;
  p->y_min = y_min;
  p->y_max = y_max;
}

void plot_release(struct plot *p) {
  for (int i = 0; i < p->n; i++) {
    mem_free(p->series[i].x);
    mem_free(p->series[i].y);
    mem_free(p->series[i].y2);
  }
  p->n = 0;
}

/* ---- axes ---- */

enum { TICKS = 32 };
struct axis {
  double low, high;
  bool log;
  double tick[TICKS];
  int ticks;
};

/* Numbers at the edge of the format cannot set an axis: its span and its ratio must stay finite. */
static bool sane(const struct axis *a, double v) { return fabs(v) < 1e300 && (!a->log || v > 1e-300); }

static void include(struct axis *a, double v) {
  if (!sane(a, v)) return;
  if (!(v >= a->low)) a->low = v;
  if (!(v <= a->high)) a->high = v;
}

static void include_series(struct axis *x, struct axis *y, const struct plot_series *s) {
  for (size_t i = 0; i < s->n; i++) {
    include(x, s->x[i]);
    include(y, s->y[i]);
    if (!s->y2) continue;
    if (s->kind == PLOT_BAND) {
      include(y, s->y2[i]);
    } else {
      include(y, s->y[i] - s->y2[i]);
      include(y, s->y[i] + s->y2[i]);
    }
  }
  if (s->kind != PLOT_BARS) return;
  include(y, 0);
  double half = s->n > 1 ? fabs(s->x[s->n - 1] - s->x[0]) / (double)(s->n - 1) / 2 : 0.5;
  if (s->n && !x->log) {
    include(x, s->x[0] - half);
    include(x, s->x[s->n - 1] + half);
  }
}

/* Steps of 1, 2 or 5 times a power of ten, about `wanted` of them (Heckbert 1990). */
static double nice_step(double span, int wanted) {
  double raw = span / wanted, power = pow(10, floor(log10(raw))), r = raw / power;
  return (r < 1.5 ? 1 : r < 3.5 ? 2 : r < 7.5 ? 5 : 10) * power;
}

static void linear_ticks(struct axis *a, bool fixed_low, bool fixed_high, int wanted) {
  double step = nice_step(a->high - a->low, wanted);
  if (!fixed_low) a->low = floor(a->low / step + 1e-9) * step;
  if (!fixed_high) a->high = ceil(a->high / step - 1e-9) * step;
  double first = ceil(a->low / step - 1e-9);
  for (int i = 0; i < TICKS; i++) {
    double v = (first + i) * step;
    if (v > a->high + step * 1e-6) break;
    a->tick[a->ticks++] = fabs(v) < step * 1e-9 ? 0 : v;
  }
}

static void log_ticks(struct axis *a) {
  double from = floor(log10(a->low) + 1e-9), to = ceil(log10(a->high) - 1e-9);
  double every = ceil((to - from + 1) / 10);
  for (double d = from; d <= to && a->ticks < TICKS - 2; d += every) {
    static const double WITHIN[] = {1, 2, 5};
    for (int k = 0; k < (to - from <= 2 ? 3 : 1) && a->ticks < TICKS; k++) {
      double v = WITHIN[k] * pow(10, d);
      if (v >= a->low * (1 - 1e-9) && v <= a->high * (1 + 1e-9)) a->tick[a->ticks++] = v;
    }
  }
}

static void axis_finish(struct axis *a, double fixed_low, double fixed_high, int wanted) {
  if (sane(a, fixed_low)) a->low = fixed_low;
  if (sane(a, fixed_high)) a->high = fixed_high;
  if (!isfinite(a->low) || !isfinite(a->high)) {
    a->low = a->log ? 1 : 0;
    a->high = a->log ? 10 : 1;
  }
  if (!(a->high - a->low > 1e-12 * fabs(a->low) + 1e-290)) { /* one value: room around it */
    double v = a->low, room = fabs(v) > 1e-280 ? fabs(v) / 2 : 0.5;
    a->low = a->log ? v / 2 : v - room;
    a->high = a->log ? v * 2 : v + room;
  }
  if (a->log)
    log_ticks(a);
  else
    linear_ticks(a, sane(a, fixed_low), sane(a, fixed_high), wanted);
}

static void axes(const struct plot *p, struct axis *x, struct axis *y, int x_wanted, int y_wanted) {
  *x = (struct axis){.low = NAN, .high = NAN, .log = p->x_log};
  *y = (struct axis){.low = NAN, .high = NAN};
  for (int i = 0; i < p->n; i++) include_series(x, y, &p->series[i]);
  axis_finish(x, p->x_min, p->x_max, x_wanted);
  axis_finish(y, p->y_min, p->y_max, y_wanted);
}

/* Share of the axis, 0..1 inside it; NaN for what cannot be shown. */
static double place(const struct axis *a, double v) {
  if (!isfinite(v) || (a->log && v <= 0)) return NAN;
  double r = a->log ? (log(v) - log(a->low)) / (log(a->high) - log(a->low)) : (v - a->low) / (a->high - a->low);
  return r < -10 ? -10 : r > 11 ? 11 : r;
}

static void tick_text(double v, char out[32]) {
  double m = fabs(v);
  if (m >= 1e6 || (m < 1e-3 && m > 0))
    snprintf(out, 32, "%.3g", v);
  else if (m >= 1e4)
    snprintf(out, 32, "%.4gk", v / 1e3);
  else
    snprintf(out, 32, "%.5g", v);
}

/* ---- SVG ---- */

struct canvas {
  const struct plot *p;
  struct buf *out;
  struct axis x, y;
  double left, top, width, height;
};

static double px(const struct canvas *c, double v) { return c->left + place(&c->x, v) * c->width; }
static double py(const struct canvas *c, double v) { return c->top + (1 - place(&c->y, v)) * c->height; }

static void svg_text(struct canvas *c, double x, double y, const char *anchor, const char *extra, const char *text) {
  buf_printf(c->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, extra);
  buf_html(c->out, str_c(text));
  buf_puts(c->out, "</text>\n");
}

static void svg_axes(struct canvas *c) {
  char text[32], turn[64];
  double bottom = c->top + c->height, right = c->left + c->width;
  for (int i = 0; i < c->x.ticks; i++) {
    double at = px(c, c->x.tick[i]);
    buf_printf(c->out, "<path class=\"vp-grid\" d=\"M%.1f %.1fV%.1f\"/>\n", at, c->top, bottom);
    tick_text(c->x.tick[i], text);
    svg_text(c, at, bottom + 15, "middle", "", text);
  }
  for (int i = 0; i < c->y.ticks; i++) {
    double at = py(c, c->y.tick[i]);
    buf_printf(c->out, "<path class=\"vp-grid\" d=\"M%.1f %.1fH%.1f\"/>\n", c->left, at, right);
    tick_text(c->y.tick[i], text);
    svg_text(c, c->left - 6, at + 4, "end", "", text);
  }
  buf_printf(c->out, "<path class=\"vp-axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", c->left, c->top, bottom, right);
  svg_text(c, c->left + c->width / 2, 16, "middle", " class=\"vp-title\"", c->p->title);
  svg_text(c, c->left + c->width / 2, bottom + 32, "middle", "", c->p->x_label);
  snprintf(turn, sizeof turn, " transform=\"rotate(-90 14 %.1f)\"", c->top + c->height / 2);
  svg_text(c, 14, c->top + c->height / 2, "middle", turn, c->p->y_label);
}

/* A polyline that breaks where a value is missing; a step goes along x first. */
static void svg_line(struct canvas *c, const struct plot_series *s, const char *colour) {
  bool open = false;
  double last_y = 0;
  buf_printf(c->out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\" stroke-linejoin=\"round\"%s d=\"", colour,
             s->dashed ? " stroke-dasharray=\"5 4\"" : "");
  for (size_t i = 0; i < s->n; i++) {
    double x = px(c, s->x[i]), y = py(c, s->y[i]);
    if (!isfinite(x) || !isfinite(y)) {
      open = false;
      continue;
    }
    if (open && s->kind == PLOT_STEP) buf_printf(c->out, "L%.2f %.2f", x, last_y);
    buf_printf(c->out, "%c%.2f %.2f", open ? 'L' : 'M', x, y);
    open = true;
    last_y = y;
  }
  if (!open && s->n == 0) buf_puts(c->out, "M0 0");
  buf_puts(c->out, "\"/>\n");
}

static void svg_band(struct canvas *c, const struct plot_series *s, const char *colour) {
  if (!s->y2) return;
  char mark = 'M';
  buf_printf(c->out, "<path fill=\"%s\" fill-opacity=\"0.2\" stroke=\"none\" d=\"", colour);
  for (size_t k = 0; k < 2 * s->n; k++) {
    size_t i = k < s->n ? k : 2 * s->n - 1 - k;
    double x = px(c, s->x[i]), y = py(c, k < s->n ? s->y[i] : s->y2[i]);
    if (!isfinite(x) || !isfinite(y)) continue;
    buf_printf(c->out, "%c%.2f %.2f", mark, x, y);
    mark = 'L';
  }
  buf_puts(c->out, mark == 'L' ? "Z\"/>\n" : "M0 0\"/>\n");
}

static void svg_points(struct canvas *c, const struct plot_series *s, const char *colour) {
  for (size_t i = 0; i < s->n; i++) {
    double x = px(c, s->x[i]), y = py(c, s->y[i]);
    if (!isfinite(x) || !isfinite(y)) continue;
    double low = s->y2 ? py(c, s->y[i] - s->y2[i]) : NAN, high = s->y2 ? py(c, s->y[i] + s->y2[i]) : NAN;
    if (isfinite(low) && isfinite(high))
      buf_printf(c->out, "<path fill=\"none\" stroke=\"%s\" d=\"M%.2f %.2fV%.2f\"/>\n", colour, x, low, high);
    buf_printf(c->out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"3\" fill=\"%s\"/>\n", x, y, colour);
  }
}

static void svg_bars(struct canvas *c, const struct plot_series *s, const char *colour) {
  double width = s->n > 1 ? fabs(px(c, s->x[s->n - 1]) - px(c, s->x[0])) / (double)(s->n - 1) * 0.8 : c->width / 4;
  double zero = py(c, c->y.low > 0 ? c->y.low : c->y.high < 0 ? c->y.high : 0);
  for (size_t i = 0; i < s->n; i++) {
    double x = px(c, s->x[i]), y = py(c, s->y[i]);
    if (!isfinite(x) || !isfinite(y) || !isfinite(width)) continue;
    buf_printf(c->out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\" fill-opacity=\"0.8\"/>\n", x - width / 2,
               y < zero ? y : zero, width, fabs(zero - y), colour);
  }
}

static void svg_series(struct canvas *c, int i) {
  const struct plot_series *s = &c->p->series[i];
  const char *colour = HEX[i % COLOURS];
  switch (s->kind) {
    case PLOT_LINE:
    case PLOT_STEP: svg_line(c, s, colour); break;
    case PLOT_POINTS: svg_points(c, s, colour); break;
    case PLOT_BAND: svg_band(c, s, colour); break;
    case PLOT_BARS: svg_bars(c, s, colour); break;
  }
}

static void svg_legend(struct canvas *c) {
  double y = c->top + c->height + 48;
  double x = c->left;
  for (int i = 0; i < c->p->n; i++) {
    const struct plot_series *s = &c->p->series[i];
    if (!s->label[0]) continue;
    double width = 26 + 6.2 * (double)strlen(s->label);
    if (x > c->left && x + width > c->left + c->width) {
      x = c->left;
      y += 15;
    }
    buf_printf(c->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"4\" fill=\"%s\"/>\n", x, y - 6, HEX[i % COLOURS]);
    svg_text(c, x + 16, y, "start", "", s->label);
    x += width;
  }
}

static int legend_lines(const struct plot *p, double width) {
  double x = 0;
  int lines = 0;
  for (int i = 0; i < p->n; i++) {
    if (!p->series[i].label[0]) continue;
    double w = 26 + 6.2 * (double)strlen(p->series[i].label);
    if (!lines || (x > 0 && x + w > width)) {
      lines++;
      x = 0;
    }
    x += w;
  }
  return lines;
}

void plot_svg(const struct plot *p, int width, int height, struct buf *out) {
  if (width < 160) width = 160;
  if (height < 140) height = 140;
  struct canvas c = {.p = p, .out = out, .left = 58, .top = 26, .width = width - 58 - 14};
  double below = 40 + 15 * legend_lines(p, c.width);
  c.height = height - c.top - below > 40 ? height - c.top - below : 40;
  axes(p, &c.x, &c.y, c.width < 300 ? 4 : 6, c.height < 160 ? 4 : 6);
  uint64_t id = 1469598103u; /* the clip path's name must not meet another picture's on the same page */
  for (const char *t = p->title; *t; t++) id = id * 31 + (unsigned char)*t;
  id = id * 31 + out->n;
  buf_printf(out,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"vp\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" "
             "font-family=\"system-ui,sans-serif\" font-size=\"11\">\n<title>",
             width, height, width, height);
  buf_html(out, str_c(p->title));
  buf_puts(out,
           "</title>\n<style>.vp text{fill:#333}.vp .vp-title{font-weight:600;font-size:13px}.vp-grid{stroke:#8884;fill:none}"
           ".vp-axis{stroke:#888;fill:none}@media(prefers-color-scheme:dark){.vp text{fill:#ccc}}</style>\n");
  buf_printf(out, "<clipPath id=\"vp%llx\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/></clipPath>\n",
             (unsigned long long)id, c.left - 4, c.top - 4, c.width + 8, c.height + 8);
  svg_axes(&c);
  buf_printf(out, "<g clip-path=\"url(#vp%llx)\">\n", (unsigned long long)id);
  if (p->diagonal) {
    double low = c.x.low > c.y.low ? c.x.low : c.y.low, high = c.x.high < c.y.high ? c.x.high : c.y.high;
    if (high > low)
      buf_printf(out, "<path stroke=\"#888\" stroke-dasharray=\"3 3\" d=\"M%.2f %.2fL%.2f %.2f\"/>\n", px(&c, low), py(&c, low),
                 px(&c, high), py(&c, high));
  }
  for (int i = 0; i < p->n; i++)
    if (p->series[i].kind == PLOT_BAND) svg_series(&c, i); /* bands lie under the lines */
  for (int i = 0; i < p->n; i++)
    if (p->series[i].kind != PLOT_BAND) svg_series(&c, i);
  buf_puts(out, "</g>\n");
  svg_legend(&c);
  buf_puts(out, "</svg>\n");
}

/* ---- terminal: braille cells of 2 x 4 dots ---- */

struct dots {
  int columns, rows;
  uint8_t *mask;
  int8_t *series;
  struct axis x, y;
};

static void dot(struct dots *d, double x, double y, int series) {
  if (!isfinite(x) || !isfinite(y)) return;
  int i = (int)lround(x * (d->columns * 2 - 1)), j = (int)lround((1 - y) * (d->rows * 4 - 1));
  static const uint8_t BIT[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
  if (i < 0 || j < 0 || i >= d->columns * 2 || j >= d->rows * 4) return;
  size_t cell = (size_t)(j / 4) * (size_t)d->columns + (size_t)(i / 2);
  d->mask[cell] |= BIT[j % 4][i % 2];
  if (series >= 0 || d->series[cell] < 0) d->series[cell] = (int8_t)series;
}

static void segment(struct dots *d, double x0, double y0, double x1, double y1, int series) {
  if (!isfinite(x0 + y0 + x1 + y1)) return;
  double steps = fmax(fabs(x1 - x0) * d->columns * 2, fabs(y1 - y0) * d->rows * 4);
  int n = (int)ceil(steps);
  if (n < 1) n = 1;
  for (int i = 0; i <= n; i++) dot(d, x0 + (x1 - x0) * i / n, y0 + (y1 - y0) * i / n, series);
}

static void dots_series(struct dots *d, const struct plot_series *s, int series) {
  double last_x = NAN, last_y = NAN, zero = place(&d->y, 0);
  for (size_t i = 0; i < s->n; i++) {
    double x = place(&d->x, s->x[i]), y = place(&d->y, s->y[i]);
    switch (s->kind) {
      case PLOT_LINE: segment(d, last_x, last_y, x, y, series); break;
      case PLOT_STEP:
        segment(d, last_x, last_y, x, last_y, series);
        segment(d, x, last_y, x, y, series);
        break;
      case PLOT_POINTS:
        if (s->y2) segment(d, x, place(&d->y, s->y[i] - s->y2[i]), x, place(&d->y, s->y[i] + s->y2[i]), series);
        break;
      case PLOT_BAND:
        if (s->y2) dot(d, x, place(&d->y, s->y2[i]), series);
        break;
      case PLOT_BARS: segment(d, x, zero < 0 ? 0 : zero > 1 ? 1 : zero, x, y, series); break;
    }
    dot(d, x, y, series);
    last_x = x;
    last_y = y;
  }
}

static void braille(struct buf *out, uint8_t mask) {
  if (!mask) {
    buf_putc(out, ' ');
    return;
  }
  unsigned point = 0x2800u + mask;
  char text[3] = {(char)(0xE0 | point >> 12), (char)(0x80 | (point >> 6 & 0x3F)), (char)(0x80 | (point & 0x3F))};
  buf_put(out, text, 3);
}

static void terminal_row(const struct dots *d, int r, bool colour, struct buf *out) {
  char label[32] = "";
  for (int t = 0; t < d->y.ticks; t++)
    if ((int)lround((1 - place(&d->y, d->y.tick[t])) * (d->rows - 1)) == r) tick_text(d->y.tick[t], label);
  buf_printf(out, "%8s \u2502", label);
  for (int c = 0; c < d->columns; c++) {
    size_t cell = (size_t)r * (size_t)d->columns + (size_t)c;
    int s = d->series[cell];
    bool paint = colour && d->mask[cell] && s >= 0;
    if (paint) buf_printf(out, "\x1b[38;5;%dm", ANSI[s % COLOURS]);
    braille(out, d->mask[cell]);
    if (paint) buf_puts(out, "\x1b[0m");
  }
  buf_putc(out, '\n');
}

static void terminal_foot(const struct plot *p, const struct dots *d, bool colour, struct buf *out) {
  char low[32], high[32];
  buf_printf(out, "%8s \u2514", "");
  for (int c = 0; c < d->columns; c++) buf_puts(out, "\u2500");
  tick_text(d->x.low, low);
  tick_text(d->x.high, high);
  int gap = d->columns - (int)strlen(low) - (int)strlen(high) - (int)strlen(p->x_label);
  buf_printf(out, "\n%10s%s%*s%s%*s%s\n", "", low, gap > 0 ? gap / 2 : 1, "", p->x_label, gap > 0 ? gap - gap / 2 : 1, "", high);
  for (int i = 0; i < p->n; i++) {
    if (!p->series[i].label[0]) continue;
    if (colour)
      buf_printf(out, "%10s\x1b[38;5;%dm\u2501\u2501\x1b[0m %s\n", "", ANSI[i % COLOURS], p->series[i].label);
    else
      buf_printf(out, "%10s%s\n", "", p->series[i].label);
  }
}

void plot_terminal(const struct plot *p, int columns, int rows, bool colour, struct buf *out) {
  struct dots d = {.columns = columns - 10 > 10 ? columns - 10 : 10, .rows = rows - 3 > 3 ? rows - 3 : 3};
  if (d.columns > 500) d.columns = 500;
  if (d.rows > 200) d.rows = 200;
  size_t cells = (size_t)d.columns * (size_t)d.rows;
  d.mask = mem_alloc(cells);
  d.series = mem_alloc(cells);
  if (!d.mask || !d.series) {
    out->failed = true;
  } else {
    memset(d.mask, 0, cells);
    memset(d.series, -1, cells);
    axes(p, &d.x, &d.y, 5, d.rows < 10 ? 3 : 5);
    double low = fmax(d.x.low, d.y.low), high = fmin(d.x.high, d.y.high);
    for (int i = 0; p->diagonal && high > low && i <= d.columns; i++) {
      double v = low + (high - low) * i / d.columns;
      dot(&d, place(&d.x, v), place(&d.y, v), -1);
    }
    for (int i = 0; i < p->n; i++) dots_series(&d, &p->series[i], i);
    buf_printf(out, "%10s%s%s%s\n", "", p->title, p->y_label[0] ? "   y: " : "", p->y_label);
    for (int r = 0; r < d.rows; r++) terminal_row(&d, r, colour, out);
    terminal_foot(p, &d, colour, out);
  }
  mem_free(d.mask);
  mem_free(d.series);
}
