/* Looking, blanking, and putting the pixels back. */
#include "deid/dicom_pixels.h"

#include "record/dicom.h"

#define VR(a, b) DICOM_VR(a, b)
#define T(g, e) DICOM_TAG(g, e)
enum { LOOK_MOST = 1 << 30 };

/* What a decoder must know of an image, and no more. */
static int image_file(const struct dicom_file *f, struct buf *out, struct error *e) {
  static const uint32_t tags[] = {T(0x28, 2),    T(0x28, 4),     T(0x28, 6),     T(0x28, 8),     T(0x28, 0x10),
                                  T(0x28, 0x11), T(0x28, 0x100), T(0x28, 0x101), T(0x28, 0x102), T(0x28, 0x103)};
  struct dicom_file image = {.arena = f->arena};
  memcpy(image.syntax, f->syntax, sizeof image.syntax);
  TRY(dicom_set_text(&image, &image.meta, T(2, 2), VR('U', 'I'), STR("1.2.840.10008.5.1.4.1.1.7"), e));
  TRY(dicom_set_text(&image, &image.meta, T(2, 3), VR('U', 'I'), STR("2.25.1"), e));
  TRY(dicom_set_text(&image, &image.meta, T(2, 0x10), VR('U', 'I'), str_c(f->syntax), e));
  for (size_t i = 0; i <= sizeof tags / sizeof *tags; i++) {
    const struct dicom_element *from = dicom_find(&f->data, i < sizeof tags / sizeof *tags ? tags[i] : DICOM_PIXELS);
    if (!from) continue;
    struct dicom_element *to = dicom_make(&image, &image.data, from->tag, from->vr);
    if (!to) return error_set(e, E_NOMEM, "no memory for an image");
    to->value = from->value;
    to->encapsulated = from->encapsulated;
  }
  return dicom_write(&image, out, e);
}

static int set_u16(struct dicom_file *f, uint32_t tag, uint16_t v, struct error *e) {
  char bytes[2] = {(char)v, (char)(v >> 8)};
  return dicom_set_text(f, &f->data, tag, VR('U', 'S'), (struct str){bytes, 2}, e);
}

/* A compressed image that had to be blanked: its frames as they were decoded. */
static int uncompress(struct dicom_file *f, const struct dicom_look *look, const char *photometric, struct error *e) {
  TRY(dicom_set_text(f, &f->data, T(0x28, 4), VR('C', 'S'), str_c(photometric), e));
  if (look->image.samples > 1) TRY(set_u16(f, T(0x28, 6), look->image.planar, e));
  TRY(set_u16(f, T(0x28, 0x100), (uint16_t)look->image.allocated, e));
  TRY(set_u16(f, T(0x28, 0x101), (uint16_t)look->image.stored, e));
  TRY(set_u16(f, T(0x28, 0x102), (uint16_t)look->image.high, e));
  strcpy(f->syntax, "1.2.840.10008.1.2.1");
  f->encapsulated = false;
  return OK;
}

static int blank(struct dicom_file *f, const struct dicom_look *look, uint8_t *unpacked, struct error *e) {
  struct dicom_element *pixels = dicom_find(&f->data, DICOM_PIXELS);
  const uint8_t *from = look->pixels ? look->pixels : (const uint8_t *)pixels->value.p;
  size_t n = look->pixels ? look->pixels_n : pixels->value.n;
  uint8_t *copy = arena_alloc(f->arena, n + 1, 8);
  if (!copy) return error_set(e, E_LIMIT, "no room for the pixels");
  memcpy(copy, from, n);
  dicom_image_blank(&look->image, unpacked ? unpacked : copy, look->box, look->box_n);
  if (unpacked) dicom_bits_pack(&look->image, unpacked, copy);
  pixels->value = (struct str){(const char *)copy, n};
  if (!pixels->encapsulated) return OK;
  pixels->encapsulated = false;
  pixels->vr = look->image.allocated > 8 ? VR('O', 'W') : VR('O', 'B');
  return uncompress(f, look, look->photometric, e);
}

/* Pixels of one bit as the eye reads them: a byte each. */
static int unpack(struct dicom_file *f, const struct dicom_element *pixels, struct dicom_look *look, uint8_t **unpacked, struct error *e) {
  size_t n = dicom_image_bytes(&look->image);
  uint8_t *out = n > LOOK_MOST ? NULL : arena_alloc(f->arena, n + 1, 8);
  if (!out) return error_set(e, E_LIMIT, "an image too large to be looked at");
  dicom_bits_unpack(&look->image, (const uint8_t *)pixels->value.p, out);
  *unpacked = out;
  look->input = out, look->input_n = n;
  return OK;
}

int dicom_pixels_clean(const struct dicom_profile *p, struct dicom_file *f, struct dicom_eye *eye, struct dicom_counts *counts,
                       bool *cleaned, struct error *e) {
  struct dicom_look look = {0};
  struct buf file = {0};
  uint8_t *unpacked = NULL;
  bool readable;
  *cleaned = false;
  if (!dicom_profile_option(p, DICOM_CLEAN_PIXELS)) return OK;
  TRY(dicom_image_of(f, &look.image, &readable, e));
  if (!readable) return OK;
  const struct dicom_element *pixels = dicom_find(&f->data, DICOM_PIXELS);
  look.encapsulated = pixels->encapsulated;
  look.whole = dicom_text_likely(f);
  look.read = true;
  if (pixels->value.n > LOOK_MOST) return error_set(e, E_LIMIT, "an image too large to be looked at");
  int rc;
  if (pixels->encapsulated) {
    TRY_OUT(image_file(f, &file, e));
    look.input = (const uint8_t *)file.p;
    look.input_n = file.n;
  } else if (look.image.bits) {
    TRY_OUT(unpack(f, pixels, &look, &unpacked, e));
  } else {
    look.input = (const uint8_t *)pixels->value.p;
    look.input_n = dicom_image_bytes(&look.image);
  }
  TRY_OUT(dicom_eye_look(eye, &look, e));
  counts->images_read++;
  *cleaned = true;
  look.box_n += dicom_device_boxes(p, f, look.box + look.box_n, DICOM_BOXES - look.box_n);
  if (look.box_n == 0) goto out;
  counts->images_blanked++;
  counts->boxes += look.box_n;
  rc = blank(f, &look, unpacked, e);
out:
  buf_release(&file);
  return rc;
}
