/* Finding lines of text in an image, in the helper process. What looks like a line of letters (connected components of like height side by
 * side, at several thresholds, bright and dark) is read by Tesseract; a line in which it reads a word is a box. Images whose header makes
 * text likely are read as a whole besides. Anatomy that only looks like letters reads as nothing, so its pixels stay. */
#include <dlfcn.h>
#include <stdlib.h>
#include <tesseract/capi.h>

#include "deid/dicom_pixels.h"

enum {
  GLYPH_LEAST = 5, /* pixels of height */
  GLYPH_MOST = 96,
  LINE_LEAST = 3,  /* glyphs of a line */
  LINES_MOST = 64, /* read at one threshold of one frame */
  FRAMES_MOST = 8,
  PARTS_MOST = 200000,
  HEIGHT = 32, /* of letters as Tesseract gets them */
  MARGIN = 12,
  SURE = 75,        /* confidences, percent */
  SURE_LIKELY = 45, /* where the header makes text likely */
  SURE_MIXED = 90,  /* of letters in several colours */
  SURE_SAME_LINE = 30,
  WHOLE_SURE = 70
};

struct dicom_reader {
  TessBaseAPI *tess;
};
struct part { /* a connected component: inclusive bounds */
  int32_t left, top, right, bottom, area, next;
  bool used;
};
struct page {
  const struct dicom_image *image;
  const uint8_t *frame;
  bool likely, dark;
  int32_t w, h;
  int32_t *value; /* of each pixel, bright text first or dark text first */
  uint8_t *mask, *grey;
  int32_t *label, *parent;
  struct part *part;
  int32_t part_n;
  struct dicom_box *box;
  uint32_t box_n, room;
};

struct dicom_reader *dicom_reader_new(void) {
  /* no threads: the image's child may not make any. Tesseract asks for them by number, so only this holds it back. */
  void (*levels)(int) = NULL;
  void *found = dlsym(RTLD_DEFAULT, "omp_set_max_active_levels");
  memcpy(&levels, &found, sizeof found);
  if (levels) levels(0);
  struct dicom_reader *r = mem_alloc(sizeof *r);
  if (!r) return NULL;
  r->tess = TessBaseAPICreate();
  if (!r->tess || TessBaseAPIInit3(r->tess, NULL, "eng") != 0) {
    mem_free(r);
    return NULL;
  }
  TessBaseAPISetVariable(r->tess, "debug_file", "/dev/null");
  return r;
}

/* ---- connected components ---- */

static int32_t root(int32_t *parent, int32_t i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

static void join(int32_t *parent, int32_t a, int32_t b) {
  a = root(parent, a), b = root(parent, b);
  if (a < b) parent[b] = a;
  if (b < a) parent[a] = b;
}

/* Labels from 1; false when there are more than this can hold (noise). */
static bool label(struct page *p) {
  int32_t n = 0;
  for (int32_t y = 0; y < p->h; y++)
    for (int32_t x = 0; x < p->w; x++) {
      int64_t at = (int64_t)y * p->w + x;
      int32_t *l = &p->label[at], found = 0;
      *l = 0;
      if (!p->mask[at]) continue;
      const int32_t beside[4] = {x ? l[-1] : 0, y ? l[-p->w] : 0, x && y ? l[-p->w - 1] : 0, y && x + 1 < p->w ? l[-p->w + 1] : 0};
      for (int k = 0; k < 4; k++) {
        if (!beside[k]) continue;
        if (found)
          join(p->parent, found, beside[k]);
        else
          found = beside[k];
      }
      if (!found) {
        if (n + 1 >= PARTS_MOST) return false;
        found = ++n;
        p->parent[n] = n;
      }
      *l = found;
    }
  p->part_n = n;
  return true;
}

static void parts(struct page *p) {
  for (int32_t i = 1; i <= p->part_n; i++)
    p->part[i] = (struct part){.left = INT32_MAX, .top = INT32_MAX, .right = -1, .bottom = -1, .next = -1};
  for (int32_t y = 0; y < p->h; y++)
    for (int32_t x = 0; x < p->w; x++) {
      int32_t l = p->label[(int64_t)y * p->w + x];
      if (!l) continue;
      struct part *q = &p->part[root(p->parent, l)];
      if (x < q->left) q->left = x;
      if (x > q->right) q->right = x;
      if (y < q->top) q->top = y;
      if (y > q->bottom) q->bottom = y;
      q->area++;
    }
}

/* ---- lines ---- */

static bool glyph(const struct part *q) {
  int32_t h = q->bottom - q->top + 1, w = q->right - q->left + 1;
  if (q->right < 0 || h < GLYPH_LEAST || h > GLYPH_MOST || w > h * 8) return false;
  return (int64_t)q->area * 12 >= (int64_t)w * h && !(w > 12 && h > 12 && (int64_t)q->area * 20 > (int64_t)w * h * 19);
}

static int by_place(const void *a, const void *b) {
  const struct part *x = a, *y = b;
  if (x->left != y->left) return x->left < y->left ? -1 : 1;
  return (x->top > y->top) - (x->top < y->top);
}

static bool beside(const struct part *a, const struct part *b) { /* b is the next letter of a's line */
  int32_t ha = a->bottom - a->top + 1, hb = b->bottom - b->top + 1, tall = ha > hb ? ha : hb, small = ha < hb ? ha : hb;
  int32_t top = a->top > b->top ? a->top : b->top, bottom = a->bottom < b->bottom ? a->bottom : b->bottom;
  int32_t gap = b->left - a->right;
  return tall <= small * 2 + 2 && bottom - top + 1 >= small * 6 / 10 && gap <= tall + tall / 2 && b->right > a->right - small / 2;
}

/* Follows a line from its leftmost glyph. */
static int32_t follow(struct part *glyphs, int32_t n, int32_t from, struct dicom_box *box) {
  struct part last = glyphs[from], all = last;
  int32_t count = 1;
  glyphs[from].used = true;
  for (int32_t i = from + 1; i < n; i++) {
    if (glyphs[i].left > last.right + 2 * GLYPH_MOST) break;
    if (glyphs[i].used || !beside(&last, &glyphs[i])) continue;
    glyphs[i].used = true;
    last = glyphs[i];
    count++;
    if (last.top < all.top) all.top = last.top;
    if (last.bottom > all.bottom) all.bottom = last.bottom;
    if (last.right > all.right) all.right = last.right;
  }
  *box = (struct dicom_box){all.left, all.top, all.right - all.left + 1, all.bottom - all.top + 1};
  return count;
}

/* ---- reading ---- */

static size_t letters(const char *text) {
  size_t n = 0;
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    n += (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
  }
  return n;
}

struct crop { /* a part of the image for Tesseract: dark on white, letters HEIGHT high, a white margin */
  uint8_t *p;
  int32_t w, h;
  double scale;
  struct dicom_box from; /* inside the image */
};
struct ink { /* values of the letters, and of what is behind them */
  int32_t text, behind;
  bool one_colour;
};

static double shade(const struct page *p, const struct crop *c, const struct ink *ink, int32_t x, int32_t y) {
  if (x < c->from.left || x >= c->from.left + c->from.width || y < c->from.top || y >= c->from.top + c->from.height) return 0;
  size_t at = (size_t)y * (size_t)p->w + (size_t)x;
  if (!ink) return p->mask[at];
  double v = ((double)p->value[at] - ink->behind) / ((double)ink->text - ink->behind);
  return v < 0 ? 0 : v > 1 ? 1 : v;
}

/* From the mask, or with `ink` from the values: small letters are more than their mask. False: no memory. */
static bool crop_make(const struct page *p, struct dicom_box from, int32_t height, const struct ink *ink, struct crop *c) {
  *c = (struct crop){.scale = (double)HEIGHT / height, .from = from};
  c->w = (int32_t)(from.width * c->scale) + 2 * MARGIN;
  c->h = (int32_t)(from.height * c->scale) + 2 * MARGIN;
  c->p = mem_alloc((size_t)c->w * (size_t)c->h);
  if (!c->p) return false;
  for (int32_t y = 0; y < c->h; y++)
    for (int32_t x = 0; x < c->w; x++) {
      double sx = (x - MARGIN + 0.5) / c->scale - 0.5 + from.left, sy = (y - MARGIN + 0.5) / c->scale - 0.5 + from.top;
      int32_t x0 = (int32_t)sx - (sx < 0), y0 = (int32_t)sy - (sy < 0);
      double fx = sx - x0, fy = sy - y0, v = 0;
      for (int k = 0; k < 4; k++) v += shade(p, c, ink, x0 + (k & 1), y0 + (k >> 1)) * (k & 1 ? fx : 1 - fx) * (k >> 1 ? fy : 1 - fy);
      c->p[(int64_t)y * c->w + x] = (uint8_t)(255 - 255 * v);
    }
  return true;
}

static int by_value(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

/* Text is drawn in one colour: half of its pixels have the value of their median, measured against what is behind it. */
static struct ink ink_of(const struct page *p, const struct dicom_box *b) {
  size_t n = (size_t)b->width * (size_t)b->height, ink = 0, paper = 0, near = 0;
  int32_t *v = mem_alloc(n * sizeof *v);
  if (!v) return (struct ink){.one_colour = true};
  for (int32_t y = b->top; y < b->top + b->height; y++)
    for (int32_t x = b->left; x < b->left + b->width; x++) {
      size_t at = (size_t)y * (size_t)p->w + (size_t)x;
      if (p->mask[at])
        v[ink++] = p->value[at];
      else
        v[n - ++paper] = p->value[at];
    }
  qsort(v, ink, sizeof *v, by_value);
  qsort(v + ink, paper, sizeof *v, by_value);
  int64_t text = ink ? v[ink / 2] : 0, behind = paper ? v[ink + paper / 2] : 0;
  int64_t reach = (text > behind ? text - behind : behind - text) / 12;
  for (size_t i = 0; i < ink; i++) near += v[i] >= text - reach && v[i] <= text + reach;
  struct ink out = {(int32_t)text, (int32_t)behind, near * 2 >= ink};
  if (ink) out.text = p->dark ? v[ink / 10] : v[ink - 1 - ink / 10];
  mem_free(v);
  return out;
}

static void widen(struct dicom_box *b, const struct crop *c, TessResultIterator *it) {
  int left, top, right, bottom;
  if (!TessPageIteratorBoundingBox(TessResultIteratorGetPageIterator(it), RIL_WORD, &left, &top, &right, &bottom)) return;
  int32_t l = c->from.left + (int32_t)((left - MARGIN) / c->scale), r = c->from.left + (int32_t)((right - MARGIN) / c->scale) + 1;
  int32_t t = c->from.top + (int32_t)((top - MARGIN) / c->scale), d = c->from.top + (int32_t)((bottom - MARGIN) / c->scale) + 1;
  int32_t old_r = b->left + b->width, old_d = b->top + b->height;
  if (l < b->left) b->left = l;
  if (t < b->top) b->top = t;
  b->width = (r > old_r ? r : old_r) - b->left;
  b->height = (d > old_d ? d : old_d) - b->top;
}

/* A word of `least` letters is read with this confidence: then the box takes in every word of the line. */
static bool crop_reads(struct dicom_reader *r, const struct crop *c, size_t least, float sure, struct dicom_box *b) {
  bool reads = false;
  struct dicom_box all = *b;
  TessBaseAPISetImage(r->tess, c->p, c->w, c->h, 1, c->w);
  TessBaseAPISetSourceResolution(r->tess, 150);
  if (TessBaseAPIRecognize(r->tess, NULL) != 0) return false;
  TessResultIterator *it = TessBaseAPIGetIterator(r->tess);
  while (it) {
    char *text = TessResultIteratorGetUTF8Text(it, RIL_WORD);
    float confidence = TessResultIteratorConfidence(it, RIL_WORD);
    size_t n = text ? letters(text) : 0;
    if (n >= least && confidence >= sure) reads = true;
    if (n >= 1 && confidence >= SURE_SAME_LINE) widen(&all, c, it);
    TessDeleteText(text);
    if (!TessResultIteratorNext(it, RIL_WORD)) break;
  }
  if (it) TessResultIteratorDelete(it);
  if (reads) *b = all;
  return reads;
}

static struct dicom_box around(const struct page *p, const struct dicom_box *b) {
  int32_t left = b->left - 2 * b->height, top = b->top - b->height / 2, right = b->left + b->width + 2 * b->height;
  int32_t bottom = b->top + b->height + b->height / 2;
  if (left < 0) left = 0;
  if (top < 0) top = 0;
  if (right > p->w) right = p->w;
  if (bottom > p->h) bottom = p->h;
  return (struct dicom_box){left, top, right - left, bottom - top};
}

/* A line is text when a word of it is read surely: more surely where its colour varies, less surely where the header makes text likely. */
static bool line_reads(struct dicom_reader *r, const struct page *p, struct dicom_box *b) {
  struct ink ink = ink_of(p, b);
  size_t least = p->likely ? 2 : 3;
  float sure = p->likely ? SURE_LIKELY : ink.one_colour ? SURE : SURE_MIXED;
  struct crop c;
  if (!crop_make(p, *b, b->height, NULL, &c)) return true; /* unread is blanked, not passed */
  TessBaseAPISetPageSegMode(r->tess, PSM_SINGLE_LINE);
  bool reads = crop_reads(r, &c, least, sure, b);
  mem_free(c.p);
  if (reads || ink.text == ink.behind) return reads;
  if (!crop_make(p, around(p, b), b->height, &ink, &c)) return true;
  reads = crop_reads(r, &c, least, sure, b);
  mem_free(c.p);
  return reads;
}

static bool covered(const struct page *p, const struct dicom_box *b) {
  for (uint32_t i = 0; i < p->box_n; i++) {
    const struct dicom_box *a = &p->box[i];
    if (a->left <= b->left && a->top <= b->top && a->left + a->width >= b->left + b->width && a->top + a->height >= b->top + b->height)
      return true;
  }
  return false;
}

static void box_add(struct page *p, struct dicom_box b) {
  int32_t side = b.height / 3 + 2, edge = b.height / 5 + 2;
  b = (struct dicom_box){b.left - side, b.top - edge, b.width + 2 * side, b.height + 2 * edge};
  if (covered(p, &b)) return;
  if (p->box_n == p->room) { /* no room: one box around everything */
    p->box[0] = (struct dicom_box){0, 0, p->w, p->h};
    return;
  }
  p->box[p->box_n++] = b;
}

static void lines(struct dicom_reader *r, struct page *p) {
  int32_t n = 0, read = 0;
  if (!label(p)) return;
  parts(p);
  for (int32_t i = 1; i <= p->part_n; i++)
    if (glyph(&p->part[i])) p->part[n++] = p->part[i];
  qsort(p->part, (size_t)n, sizeof *p->part, by_place);
  for (int32_t i = 0; i < n && read < LINES_MOST; i++) {
    struct dicom_box b;
    if (p->part[i].used || follow(p->part, n, i, &b) < LINE_LEAST - p->likely || b.width < b.height * 3 / 2) continue;
    if (covered(p, &b)) continue;
    read++;
    if (line_reads(r, p, &b)) box_add(p, b);
  }
}

struct range {
  double lo, hi;
};

static struct range values(struct page *p) {
  size_t n = (size_t)p->w * (size_t)p->h;
  int32_t lo = INT32_MAX, hi = INT32_MIN;
  for (size_t i = 0; i < n; i++) {
    int64_t v = dicom_image_value(p->image, p->frame, i, p->dark);
    int32_t k = v > INT32_MAX ? INT32_MAX : (int32_t)v;
    if (p->image->mono1) k = k == INT32_MIN ? INT32_MAX : -k; /* bright is bright from here on */
    p->value[i] = k;
    if (k < lo) lo = k;
    if (k > hi) hi = k;
  }
  return (struct range){lo, hi};
}

static struct range window(const struct dicom_image *m) {
  double center = m->mono1 ? -m->center : m->center;
  return (struct range){center - m->width / 2, center + m->width / 2};
}

/* Text covers little of an image: a mask of a third of it and more is something else. */
static bool threshold(struct page *p, struct range r, int level, bool dark) {
  size_t n = (size_t)p->w * (size_t)p->h, set = 0;
  double at = r.lo + (r.hi - r.lo) * level / 255;
  if (!(r.hi > r.lo)) return false;
  for (size_t i = 0; i < n; i++) set += p->mask[i] = dark ? p->value[i] <= at : p->value[i] >= at;
  return set * 3 < n;
}

/* ---- a whole image ---- */

static void whole_words(struct dicom_reader *r, struct page *p) {
  TessBaseAPISetPageSegMode(r->tess, PSM_SPARSE_TEXT);
  TessBaseAPISetImage(r->tess, p->grey, p->w, p->h, 1, p->w);
  TessBaseAPISetSourceResolution(r->tess, 150);
  if (TessBaseAPIRecognize(r->tess, NULL) != 0) return;
  TessResultIterator *it = TessBaseAPIGetIterator(r->tess);
  while (it) {
    char *text = TessResultIteratorGetUTF8Text(it, RIL_WORD);
    int left, top, right, bottom;
    size_t n = text ? letters(text) : 0;
    bool sure = n >= 2 && TessResultIteratorConfidence(it, RIL_WORD) >= WHOLE_SURE;
    TessDeleteText(text);
    if (sure && TessPageIteratorBoundingBox(TessResultIteratorGetPageIterator(it), RIL_WORD, &left, &top, &right, &bottom) &&
        bottom - top <= GLYPH_MOST)
      box_add(p, (struct dicom_box){left, top, right - left, bottom - top});
    if (!TessResultIteratorNext(it, RIL_WORD)) break;
  }
  if (it) TessResultIteratorDelete(it);
}

static void frame_read(struct dicom_reader *r, struct page *p) {
  static const struct {
    int level;
    bool window, dark;
  } looks[] = {{250, false, false}, {250, true, false}, {160, false, false}, {5, false, true}, {80, false, true}};
  struct range all = {0};
  bool colours = p->image->samples >= 3 && !p->image->ybr;
  for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
    if (looks[i].window && !(p->image->width > 0)) continue;
    bool fresh = i == 0 || (colours && looks[i].dark != p->dark);
    p->dark = looks[i].dark;
    if (fresh) all = values(p);
    if (threshold(p, looks[i].window ? window(p->image) : all, looks[i].level, p->dark)) lines(r, p);
  }
  if (!p->likely) return;
  dicom_image_grey(p->image, p->frame, true, false, p->grey);
  whole_words(r, p);
}

uint32_t dicom_reader_boxes(struct dicom_reader *r, const struct dicom_image *m, const uint8_t *pixels, bool whole, struct dicom_box *out,
                            uint32_t room) {
  struct page p = {.image = m, .likely = whole, .w = (int32_t)m->columns, .h = (int32_t)m->rows, .box = out, .room = room};
  size_t n = (size_t)m->rows * m->columns, frame = dicom_image_frame(m);
  uint32_t looks = m->frames < FRAMES_MOST ? m->frames : FRAMES_MOST;
  p.grey = mem_alloc(n);
  p.mask = mem_alloc(n);
  p.value = mem_alloc(n * sizeof *p.value);
  p.label = mem_alloc(n * sizeof *p.label);
  p.parent = mem_alloc((PARTS_MOST + 1) * sizeof *p.parent);
  p.part = mem_alloc((PARTS_MOST + 1) * sizeof *p.part);
  bool memory = p.grey && p.mask && p.value && p.label && p.parent && p.part;
  for (uint32_t i = 0; memory && i < looks; i++) {
    uint32_t at = looks > 1 ? (uint32_t)((uint64_t)i * (m->frames - 1) / (looks - 1)) : 0;
    p.frame = pixels + at * frame;
    frame_read(r, &p);
  }
  if (!memory) *out = (struct dicom_box){0, 0, p.w, p.h}, p.box_n = 1; /* unread is blanked */
  mem_free(p.grey);
  mem_free(p.mask);
  mem_free(p.value);
  mem_free(p.label);
  mem_free(p.parent);
  mem_free(p.part);
  return p.box_n;
}
