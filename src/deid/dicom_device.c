/* Device rules: which boxes a maker's image carries text in, by what its header says. */
#include "deid/dicom_pixels.h"
#include "record/dicom.h"

static bool has(struct str text, struct str word) {
  for (size_t i = 0; word.n && i + word.n <= text.n; i++)
    if (str_eq_nocase((struct str){text.p + i, word.n}, word)) return true;
  return false;
}

static bool number_is(const struct dicom_file *f, uint32_t tag, struct str want) {
  uint16_t v;
  double d;
  int64_t w;
  struct str digits = want;
  if (str_to_i64(digits, &w) < 0) return false;
  if (dicom_u16(f, &f->data, tag, &v)) return v == w;
  return dicom_number(&f->data, tag, &d) && d == (double)w;
}

static bool holds(const struct dicom_file *f, const struct dicom_condition *c) {
  const struct dicom_set *s = c->tag >> 16 == 2 ? &f->meta : &f->data;
  const struct dicom_element *el = dicom_find(s, c->tag);
  struct str text = dicom_value(el), words = c->words;
  switch (c->test) {
    case DICOM_MISSING: return !el;
    case DICOM_NO_VALUE: return el && !el->value.n && !el->items;
    case DICOM_CONTAINS:
      while (words.n)
        if (has(text, str_trim(str_cut(&words, '|')))) return true;
      return false;
    default:
      while (words.n) {
        struct str w = str_trim(str_cut(&words, '|'));
        if ((text.n && str_eq_nocase(text, w)) || (el && number_is(f, c->tag, w))) return true;
      }
      return false;
  }
}

static bool fits(const struct dicom_file *f, const struct dicom_device *d) {
  for (uint32_t k = 0; k < d->all_n; k++) {
    bool any = false;
    for (uint32_t j = 0; j < d->all[k].n && !any; j++) any = holds(f, &d->all[k].any[j]);
    if (!any) return false;
  }
  return true;
}

bool dicom_face_likely(const struct dicom_profile *p, const struct dicom_file *f) {
  for (uint32_t i = 0; i < p->face_n; i++)
    if (fits(f, &p->face[i])) return true;
  return false;
}

uint32_t dicom_device_boxes(const struct dicom_profile *p, const struct dicom_file *f, struct dicom_box *out, uint32_t room) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->device_n; i++) {
    const struct dicom_device *d = &p->device[i];
    bool all = fits(f, d);
    for (uint32_t k = 0; all && k < d->box_n && n < room; k++) out[n++] = d->box[k];
  }
  return n;
}

bool dicom_text_likely(const struct dicom_file *f) {
  static const char *const modalities[] = {"US", "OT", "SC", "XC", "ES", "DOC", "SR", "BMUS", "IVUS", "EPS", "ECG"};
  struct str modality = dicom_text(&f->data, DICOM_MODALITY), class = dicom_text(&f->data, DICOM_SOP_CLASS);
  struct str type = dicom_text(&f->data, DICOM_IMAGE_TYPE);
  if (str_eqc(dicom_text(&f->data, DICOM_BURNED_IN), "YES")) return true;
  if (str_starts(class, STR("1.2.840.10008.5.1.4.1.1.7")) || dicom_find(&f->data, DICOM_TAG(8, 0x64))) return true;
  for (size_t i = 0; i < sizeof modalities / sizeof *modalities; i++)
    if (str_eqc(modality, modalities[i])) return true;
  return has(type, STR("SCREEN")) || has(type, STR("SAVE"));
}
