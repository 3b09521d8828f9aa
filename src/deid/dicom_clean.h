/* The DICOM cleaner: a tree of elements without identifiers. Pixels: dicom_pixels.h.
 *
 *     struct dicom_person who = {.pseudonym = "8123…", .dates = DEID_DATES_SHIFT, .shift_days = -12, .age_cap = 89, .uid_key = …};
 *     TRY(dicom_clean(profile, &file, &who, &counts, e));        // every element of every sequence, also private and UN ones
 *     bool cleaned;  TRY(dicom_pixels_clean(…, &cleaned, e));
 *     TRY(dicom_mark(profile, &file, &who, cleaned, e));          // (0012,0062..0064), (0028,0303), (0028,0301), meta information
 *     TRY(dicom_write(&file, &bytes, e));
 *
 * Every element is decided by Table E.1-1 and the policy's options (dicom_profile.h); what the table does not list, by its representation:
 * sequences are entered, dates shifted or emptied, names emptied, UIDs replaced unless they name classes, web and application addresses
 * emptied, texts cleaned, numbers kept; elements that the standard does not have are removed; of private elements those of the safe list
 * stay whose values are numbers or codes. The patient's own identifiers, as they stand in this file and in the vault, are removed
 * from whatever stays. UIDs become 2.25.N with N from HMAC-SHA-256(uid_key, UID): the same in every file and every run of a vault.
 * Fails with E_INPUT on what cannot be taken (a DICOMDIR), E_NOMEM, E_LIMIT. Method: DICOM PS3.15 Annex E, PS3.5 Annex B.2.
 */
#ifndef DEID_DICOM_CLEAN_H
#define DEID_DICOM_CLEAN_H
#include "deid/deid.h"
#include "deid/dicom_profile.h"

struct dicom_file;
struct dicom_set;
struct text_known;
struct text_work;

struct dicom_person {
  char pseudonym[24];
  enum deid_dates dates;
  int32_t shift_days;
  int age_cap; /* 0: none */
  uint8_t uid_key[32];
  const struct text_known *known; /* the vault's; may be NULL */
  uint32_t known_n;
  struct text_work *text; /* may be NULL: descriptors keep words of the vocabulary only */
};
struct dicom_counts {
  uint64_t files, removed[32] /* by enum identifier_kind */, uids, dates_changed, dates_masked, texts_cleaned, private_removed,
      private_kept, unknown_removed, overlays_removed, images_read, images_blanked, boxes, device_numbers, faces_flagged, faces_refused;
};
int dicom_clean(const struct dicom_profile *p, struct dicom_file *f, const struct dicom_person *who, struct dicom_counts *counts,
                struct error *e) MUST_CHECK;
int dicom_mark(const struct dicom_profile *p, struct dicom_file *f, const struct dicom_person *who, bool pixels_cleaned,
               struct error *e) MUST_CHECK;
void dicom_uid_map(const uint8_t key[32], struct str uid, char out[48]);
#endif
