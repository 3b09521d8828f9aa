/* What a cleaned file says of itself: de-identification attributes and new meta information. */
#include "base/hash.h"
#include "deid/dicom_clean.h"
#include "record/dicom.h"

#define VR(a, b) DICOM_VR(a, b)
#define IMPLEMENTATION "2.25.251408262116830137419461226735201684017"

/* PS3.16, context group 7050 */
static const char *const meanings[DICOM_OPTIONS + 1] = {"Retain Safe Private Option",
                                                        "Retain UIDs Option",
                                                        "Retain Device Identity Option",
                                                        "Retain Institution Identity Option",
                                                        "Retain Patient Characteristics Option",
                                                        "Retain Longitudinal Temporal Information Full Dates Option",
                                                        "Retain Longitudinal Temporal Information Modified Dates Option",
                                                        "Clean Descriptors Option",
                                                        "Clean Structured Content Option",
                                                        "Clean Graphics Option",
                                                        "Clean Pixel Data Option",
                                                        "Basic Application Confidentiality Profile"};

static int code_add(struct dicom_file *f, struct dicom_element *sequence, const char *code, const char *meaning, struct error *e) {
  struct dicom_item *item = dicom_item_add(f, sequence);
  if (!item) return error_set(e, E_NOMEM, "no memory for an item");
  TRY(dicom_set_text(f, &item->set, DICOM_TAG(8, 0x100), VR('S', 'H'), str_c(code), e));
  TRY(dicom_set_text(f, &item->set, DICOM_TAG(8, 0x102), VR('S', 'H'), STR("DCM"), e));
  return dicom_set_text(f, &item->set, DICOM_TAG(8, 0x104), VR('L', 'O'), str_c(meaning), e);
}

static int method_names(const struct dicom_profile *p, struct dicom_file *f, bool pixels, struct error *e) {
  struct buf b = {0};
  buf_printf(&b, "DICOM PS3.15 %s Annex E", p->edition);
  for (int i = 0; i < DICOM_OPTIONS; i++)
    if (dicom_profile_option(p, i) && (i != DICOM_CLEAN_PIXELS || pixels)) buf_printf(&b, "\\%s", dicom_option_name(i));
  int rc = buf_check(&b, e);
  if (rc == OK) rc = dicom_set_text(f, &f->data, DICOM_TAG(0x12, 0x63), VR('L', 'O'), (struct str){b.p, b.n}, e);
  buf_release(&b);
  return rc;
}

static int methods(const struct dicom_profile *p, struct dicom_file *f, bool pixels, struct error *e) {
  TRY(dicom_set_text(f, &f->data, DICOM_TAG(0x12, 0x62), VR('C', 'S'), STR("YES"), e));
  struct dicom_element *codes = dicom_make(f, &f->data, DICOM_TAG(0x12, 0x64), DICOM_SQ);
  if (!codes) return error_set(e, E_NOMEM, "no memory for an element");
  TRY(code_add(f, codes, p->code[DICOM_OPTIONS], meanings[DICOM_OPTIONS], e));
  for (int i = 0; i < DICOM_OPTIONS; i++)
    if (dicom_profile_option(p, i) && (i != DICOM_CLEAN_PIXELS || pixels)) TRY(code_add(f, codes, p->code[i], meanings[i], e));
  return method_names(p, f, pixels, e);
}

/* Images from before Part 10 have no UIDs: they get one of their own pixels, and the class that any image may have. */
static void instance_make(const struct dicom_file *f, const struct dicom_person *who, char out[48]) {
  const struct dicom_element *pixels = dicom_find(&f->data, DICOM_PIXELS);
  uint8_t digest[32];
  sha256_of(pixels ? pixels->value.p : "", pixels ? pixels->value.n : 0, digest);
  dicom_uid_map(who->uid_key, (struct str){(const char *)digest, sizeof digest}, out);
}

static int meta(struct dicom_file *f, const struct dicom_person *who, struct error *e) {
  struct str sop = dicom_text(&f->data, DICOM_SOP_CLASS), instance = dicom_text(&f->data, DICOM_SOP_INSTANCE);
  char made[48];
  if (!instance.n) {
    instance_make(f, who, made);
    instance = str_c(made);
    TRY(dicom_set_text(f, &f->data, DICOM_SOP_INSTANCE, VR('U', 'I'), instance, e));
  }
  if (!sop.n) sop = STR("1.2.840.10008.5.1.4.1.1.7");
  f->meta = (struct dicom_set){0};
  struct dicom_element *version = dicom_make(f, &f->meta, DICOM_TAG(2, 1), VR('O', 'B'));
  if (!version) return error_set(e, E_NOMEM, "no memory for an element");
  version->value = (struct str){"\0\1", 2};
  TRY(dicom_set_text(f, &f->meta, DICOM_TAG(2, 2), VR('U', 'I'), sop, e));
  TRY(dicom_set_text(f, &f->meta, DICOM_TAG(2, 3), VR('U', 'I'), instance, e));
  TRY(dicom_set_text(f, &f->meta, DICOM_TAG(2, 0x10), VR('U', 'I'), str_c(f->syntax), e));
  TRY(dicom_set_text(f, &f->meta, DICOM_TAG(2, 0x12), VR('U', 'I'), STR(IMPLEMENTATION), e));
  return dicom_set_text(f, &f->meta, DICOM_TAG(2, 0x13), VR('S', 'H'), STR("VITAE"), e);
}

int dicom_mark(const struct dicom_profile *p, struct dicom_file *f, const struct dicom_person *who, bool pixels_cleaned, struct error *e) {
  const char *temporal = "REMOVED";
  if (dicom_profile_option(p, DICOM_FULL_DATES)) temporal = "UNMODIFIED";
  if (dicom_profile_option(p, DICOM_MODIFIED_DATES)) temporal = "MODIFIED";
  TRY(methods(p, f, pixels_cleaned, e));
  TRY(dicom_set_text(f, &f->data, DICOM_TAG(0x28, 0x303), VR('C', 'S'), str_c(temporal), e));
  if (pixels_cleaned) TRY(dicom_set_text(f, &f->data, DICOM_BURNED_IN, VR('C', 'S'), STR("NO"), e));
  return meta(f, who, e);
}
