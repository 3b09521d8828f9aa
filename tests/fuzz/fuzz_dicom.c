/* DICOM files: parse, clean, write; what was written is the same tree again, and no identifier of the file stands in it. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "deid/dicom_clean.h"
#include "record/dicom.h"

static struct dicom_profile *profile(void) {
  static struct dicom_profile *p;
  struct error e = {0};
  if (!p && dicom_profile_load("policy/expert.json", &p, &e) < 0) abort();
  return p;
}

static void again(const struct buf *b) {
  struct arena a;
  struct dicom_file f;
  struct error e = {0};
  struct buf out = {0};
  arena_init(&a, 256 << 20, 0);
  if (dicom_parse(&a, (const uint8_t *)b->p, b->n, NULL, &f, &e) == OK) {
    dicom_remove(&f.meta, DICOM_TAG(2, 0));
    if (dicom_write(&f, &out, &e) == OK && (out.n != b->n || memcmp(out.p, b->p, b->n) != 0)) abort();
  } else if (e.code != E_LIMIT) {
    abort();
  }
  buf_release(&out);
  arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct arena a;
  struct dicom_file f;
  struct dicom_counts counts = {0};
  struct dicom_person who = {.pseudonym = "77", .dates = DEID_DATES_SHIFT, .shift_days = 9, .age_cap = 89};
  struct error e = {0};
  struct buf out = {0};
  arena_init(&a, 256 << 20, 0);
  int rc = dicom_parse(&a, data, size, NULL, &f, &e);
  if (rc < 0 && rc != E_INPUT && rc != E_LIMIT && rc != E_NOMEM) abort();
  if (rc == OK) rc = dicom_clean(profile(), &f, &who, &counts, &e);
  if (rc == OK) rc = dicom_mark(profile(), &f, &who, false, &e);
  if (rc == OK) rc = dicom_write(&f, &out, &e);
  if (rc == OK && !f.deflated) again(&out);
  buf_release(&out);
  arena_free(&a);
  return 0;
}
