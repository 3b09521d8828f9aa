/* An image's geometry, its picture for the eye, and blanking. */
#include "deid/dicom_pixels.h"
#include "record/dicom.h"

#define T(g, e) DICOM_TAG(g, e)

static bool fits(const struct dicom_image *m) {
  if (!m->rows || !m->columns || !m->frames || (m->samples != 1 && m->samples != 3 && m->samples != 4)) return false;
  if (m->allocated != 8 && m->allocated != 16 && m->allocated != 32) return false;
  return m->stored >= 1 && m->stored <= m->allocated && m->high < m->allocated && m->high + 1 >= m->stored;
}

int dicom_image_of(const struct dicom_file *f, struct dicom_image *m, bool *readable, struct error *e) {
  const struct dicom_element *pixels = dicom_find(&f->data, DICOM_PIXELS);
  uint16_t rows = 0, columns = 0, samples = 1, allocated = 0, stored = 0, high = 0, sign = 0, planar = 0;
  double frames = 1;
  *readable = false;
  *m = (struct dicom_image){0};
  if (!pixels || !pixels->value.n) return OK;
  dicom_u16(f, &f->data, DICOM_ROWS, &rows);
  dicom_u16(f, &f->data, DICOM_COLUMNS, &columns);
  dicom_u16(f, &f->data, T(0x28, 2), &samples);
  dicom_u16(f, &f->data, T(0x28, 6), &planar);
  dicom_u16(f, &f->data, T(0x28, 0x100), &allocated);
  if (!dicom_u16(f, &f->data, T(0x28, 0x101), &stored)) stored = allocated;
  if (!dicom_u16(f, &f->data, T(0x28, 0x102), &high)) high = (uint16_t)(stored - 1);
  dicom_u16(f, &f->data, T(0x28, 0x103), &sign);
  dicom_number(&f->data, T(0x28, 8), &frames);
  bool bits = allocated == 1;
  if (bits && (stored != 1 || high || pixels->encapsulated))
    return error_set(e, E_INPUT, "pixels of one bit in a form that cannot be read");
  if (bits) allocated = 8, sign = 0;
  if (!(frames >= 1 && frames <= 1e6)) return error_set(e, E_INPUT, "a number of frames that cannot be");
  struct str photometric = dicom_text(&f->data, T(0x28, 4));
  *m = (struct dicom_image){.rows = rows,
                            .columns = columns,
                            .frames = (uint32_t)frames,
                            .samples = samples,
                            .allocated = allocated,
                            .stored = stored,
                            .high = high,
                            .is_signed = sign == 1,
                            .planar = planar == 1 && samples > 1,
                            .big = f->big,
                            .bits = !bits                                        ? 0
                                    : f->big && pixels->vr == DICOM_VR('O', 'W') ? 2
                                                                                 : 1,
                            .swapped = !bits && f->big && allocated == 8 && pixels->vr == DICOM_VR('O', 'W'),
                            .mono1 = str_eqc(photometric, "MONOCHROME1"),
                            .ybr = samples == 3 && str_starts(photometric, STR("YBR")),
                            .half = samples == 3 && str_eqc(photometric, "YBR_FULL_422") && !pixels->encapsulated};
  if (!fits(m) || (m->half && (allocated != 8 || columns % 2))) return error_set(e, E_INPUT, "attributes of an image that cannot be");
  if (dicom_number(&f->data, T(0x28, 0x1050), &m->center) && dicom_number(&f->data, T(0x28, 0x1051), &m->width)) {
    double slope = 1, intercept = 0;
    dicom_number(&f->data, T(0x28, 0x1053), &slope);
    dicom_number(&f->data, T(0x28, 0x1052), &intercept);
    m->center = slope != 0 ? (m->center - intercept) / slope : 0;
    m->width = slope != 0 && m->width > 1 ? m->width / (slope < 0 ? -slope : slope) : 0;
  }
  /* some writers say 422 and write whole pixels */
  if (m->half && pixels->value.n >= (size_t)rows * columns * m->frames * 3) m->half = false;
  size_t least = bits ? dicom_bits_bytes(m) : dicom_image_bytes(m);
  if (bits && m->samples != 1) return error_set(e, E_INPUT, "coloured pixels of one bit");
  if (!pixels->encapsulated && pixels->value.n < least) return error_set(e, E_INPUT, "fewer pixels than the image has");
  if (m->swapped && dicom_image_frame(m) % 2) return error_set(e, E_INPUT, "pixels in halves of words, and an odd number of them");
  *readable = true;
  return OK;
}

size_t dicom_image_frame(const struct dicom_image *m) {
  size_t pixels = (size_t)m->rows * m->columns;
  return m->half ? pixels * 2 : pixels * m->samples * (m->allocated / 8);
}
size_t dicom_image_bytes(const struct dicom_image *m) { return dicom_image_frame(m) * m->frames; }

/* ---- one bit a pixel: the first pixel is the lowest bit of the first byte ---- */

size_t dicom_bits_bytes(const struct dicom_image *m) {
  size_t n = ((size_t)m->rows * m->columns * m->frames + 7) / 8;
  return m->bits == 2 ? n + n % 2 : n;
}
static size_t byte_of_bit(const struct dicom_image *m, size_t i) { return m->bits == 2 ? i / 8 ^ 1 : i / 8; }

void dicom_bits_unpack(const struct dicom_image *m, const uint8_t *bits, uint8_t *pixels) {
  size_t n = (size_t)m->rows * m->columns * m->frames;
  for (size_t i = 0; i < n; i++) pixels[i] = bits[byte_of_bit(m, i)] >> i % 8 & 1;
}

void dicom_bits_pack(const struct dicom_image *m, const uint8_t *pixels, uint8_t *bits) {
  size_t n = (size_t)m->rows * m->columns * m->frames;
  for (size_t i = 0; i < n; i++) {
    uint8_t *at = &bits[byte_of_bit(m, i)], bit = (uint8_t)(1u << i % 8);
    *at = pixels[i] ? *at | bit : *at & (uint8_t)~bit;
  }
}

/* Byte of sample `c` of pixel `i`. */
static size_t sample_at(const struct dicom_image *m, size_t i, uint32_t c) {
  size_t size = m->allocated / 8, at;
  if (m->half)
    at = c == 0 ? i / 2 * 4 + (i & 1) : i / 2 * 4 + 1 + c;
  else
    at = m->planar ? ((size_t)c * m->rows * m->columns + i) * size : (i * m->samples + c) * size;
  return m->swapped ? at ^ 1 : at;
}

static int64_t sample(const struct dicom_image *m, const uint8_t *frame, size_t i, uint32_t c) {
  const uint8_t *p = frame + sample_at(m, i, c);
  uint32_t v = 0;
  int size = (int)m->allocated / 8;
  for (int k = 0; k < size; k++) v |= (uint32_t)p[m->big ? size - 1 - k : k] << (8 * k);
  v >>= m->high + 1 - m->stored;
  if (m->stored < 32) v &= (1u << m->stored) - 1;
  if (!m->is_signed) return v;
  uint32_t top = 1u << (m->stored - 1);
  return (int64_t)(v & (top - 1)) - (int64_t)(v & top);
}

/* Colours: the brightest sample for bright text, the darkest for dark text. */
int64_t dicom_image_value(const struct dicom_image *m, const uint8_t *frame, size_t i, bool dark) {
  int64_t v = sample(m, frame, i, 0);
  if (m->samples < 3 || m->ybr) return v;
  for (uint32_t c = 1; c < 3; c++) {
    int64_t w = sample(m, frame, i, c);
    if (dark ? w < v : w > v) v = w;
  }
  return v;
}

void dicom_image_grey(const struct dicom_image *m, const uint8_t *frame, bool window, bool dark, uint8_t *out) {
  size_t n = (size_t)m->rows * m->columns;
  double lo = 1e300, hi = -1e300;
  for (size_t i = 0; i < n; i++) {
    double v = (double)dicom_image_value(m, frame, i, dark);
    if (v < lo) lo = v;
    if (v > hi) hi = v;
  }
  if (window && m->width > 0) {
    lo = m->center - m->width / 2;
    hi = m->center + m->width / 2;
  }
  double scale = hi > lo ? 255 / (hi - lo) : 0;
  for (size_t i = 0; i < n; i++) {
    double v = ((double)dicom_image_value(m, frame, i, dark) - lo) * scale;
    uint8_t g = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    out[i] = m->mono1 ? (uint8_t)(255 - g) : g;
  }
}

/* ---- blanking ---- */

/* The darkest value of the frame: inside the image's own range. */
static size_t darkest(const struct dicom_image *m, const uint8_t *frame) {
  size_t n = (size_t)m->rows * m->columns, at = 0;
  int64_t best = sample(m, frame, 0, 0);
  for (size_t i = 1; i < n; i++) {
    int64_t v = sample(m, frame, i, 0);
    if (m->mono1 ? v > best : v < best) best = v, at = i;
  }
  return at;
}

static void blank_box(const struct dicom_image *m, uint8_t *frame, const struct dicom_box *b, const uint8_t *dark) {
  int64_t left = b->left, right = left + b->width, top = b->top, bottom = top + b->height;
  if (left < 0) left = 0;
  if (top < 0) top = 0;
  if (right > m->columns) right = m->columns;
  if (bottom > m->rows) bottom = m->rows;
  if (m->half) left -= left & 1, right += right & 1;
  size_t size = m->allocated / 8;
  for (int64_t y = top; y < bottom; y++)
    for (int64_t x = left; x < right; x++)
      for (uint32_t c = 0; c < m->samples; c++) {
        uint8_t *p = frame + sample_at(m, (size_t)y * m->columns + (size_t)x, c);
        if (m->samples == 1)
          memcpy(p, dark, size);
        else
          memset(p, m->ybr && c ? 0x80 : 0, size);
      }
}

void dicom_image_blank(const struct dicom_image *m, uint8_t *pixels, const struct dicom_box *box, uint32_t n) {
  size_t frame = dicom_image_frame(m);
  for (uint32_t k = 0; k < m->frames; k++) {
    uint8_t dark[4], *at = pixels + k * frame;
    memcpy(dark, at + sample_at(m, m->samples == 1 ? darkest(m, at) : 0, 0), m->allocated / 8);
    for (uint32_t i = 0; i < n; i++) blank_box(m, at, &box[i], dark);
  }
}
