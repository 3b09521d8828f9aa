/* Private to deid/: texts and dates inside DICOM elements.
 *
 *     struct dicom_known k;  dicom_known_init(&k, profile, arena);
 *     TRY(dicom_known_add(&k, IDENTIFIER_NAME, STR("KAUFMAN^SCOTT"), true, e));
 *     TRY(dicom_text_scrub(profile, &k, work, DICOM_DESCRIPTOR, a, utf8, &clean, e));
 *     bool ok = dicom_date(DICOM_VR('D','T'), value, DEID_DATES_SHIFT, days, buffer, &n);
 */
#ifndef DEID_DICOM_TEXT_H
#define DEID_DICOM_TEXT_H
#include "deid/deid.h"
#include "deid/dicom_profile.h"

struct text_work;

/* ---- what is known of the person and of others in the file ---- */
struct dicom_known_word {
  struct str folded; /* letters and digits only, lower case */
  bool name, own;    /* own: of the patient, not of a physician or an institution */
};
struct dicom_known {
  const struct dicom_profile *profile;
  struct arena *arena;
  struct dicom_known_word *at;
  uint32_t n, cap;
};
void dicom_known_init(struct dicom_known *k, const struct dicom_profile *p, struct arena *a);
int dicom_known_add(struct dicom_known *k, int kind, struct str utf8, bool own, struct error *e) MUST_CHECK;
/* A known identifier stands in these bytes, whatever they are. */
bool dicom_known_in(const struct dicom_known *k, struct str bytes);

/* ---- cleaning ---- */
enum dicom_text_mode {
  DICOM_CODE,       /* code values, and what an option lets stay: the patient's own identifiers only */
  DICOM_TERM,       /* one of the standard's own words (CS): the same, but for words of the vocabulary */
  DICOM_LIGHT,      /* names of products, short technical words: the patient's own identifiers and shapes only */
  DICOM_DESCRIPTOR, /* a short description: by vocabulary, or by the text scrubber */
  DICOM_FREE        /* sentences */
};
/* `out` is in the arena; equal to `in` when nothing had to go. `work` may be NULL: then the vocabulary decides. */
int dicom_text_scrub(const struct dicom_profile *p, const struct dicom_known *k, struct text_work *work, enum dicom_text_mode mode,
                     struct arena *a, struct str in, struct str *out, struct error *e) MUST_CHECK;

/* ---- dates ---- */
enum { DICOM_DATE_ROOM = 64 };
/* One value of DA, DT or TM, or a range of two. False: no date that can be understood (the caller masks it). */
bool dicom_date(uint16_t vr, struct str value, enum deid_dates how, int32_t shift_days, char out[DICOM_DATE_ROOM], size_t *n);
/* DA + TM, or DT, as local microseconds. */
bool dicom_date_us(struct str date, struct str time, int64_t *us, bool *has_time);
#endif
