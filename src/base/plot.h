/* Pictures: SVG (text stays text) for reports and docs, braille for terminals. One description, both outputs.
 *
 *     struct plot p;  plot_init(&p, "ROC", "1 - specificity", "sensitivity");
 *     plot_add(&p, PLOT_LINE, "model", x, y, NULL, n);  p.diagonal = true;
 *     plot_svg(&p, 420, 360, &html);   plot_terminal(&p, 72, 18, &text);   plot_release(&p);
 *
 * Colours are a fixed, colour-blind-safe cycle, readable on light and dark. Data are copied.
 */
#ifndef BASE_PLOT_H
#define BASE_PLOT_H
#include "base/str.h"

enum plot_kind { PLOT_LINE, PLOT_STEP, PLOT_POINTS, PLOT_BAND, PLOT_BARS };
struct plot_series {
  enum plot_kind kind;
  char label[64];
  double *x, *y, *y2; /* y2: upper edge of a band; error bar half-widths for points */
  size_t n;
  bool dashed;
};
struct plot {
  char title[96], x_label[64], y_label[64];
  struct plot_series series[16];
  int n;
  double x_min, x_max, y_min, y_max; /* NAN = from the data */
  bool x_log, diagonal;
};
void plot_init(struct plot *p, const char *title, const char *x_label, const char *y_label);
void plot_add(struct plot *p, enum plot_kind kind, const char *label, const double *x, const double *y, const double *y2, size_t n);
void plot_range(struct plot *p, double x_min, double x_max, double y_min, double y_max);
void plot_svg(const struct plot *p, int width, int height, struct buf *out);
void plot_terminal(const struct plot *p, int columns, int rows, bool colour, struct buf *out);
void plot_release(struct plot *p);
#endif
