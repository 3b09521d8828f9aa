/* What becomes of a DICOM attribute: the tables of policy/dicom-*.json and the options that a policy chooses from them.
 *
 *     struct dicom_profile *p;  TRY(dicom_profile_load("policy/expert.json", &p, e));
 *     switch (dicom_profile_action(p, tag)) { case DICOM_REMOVE: … }
 *
 * The policy's "dicom" object names the tables (files beside it) and lists options of PS3.15 Annex E, e.g.
 *     "dicom": {"profile": "dicom-ps3.15.json", "devices": "dicom-devices.json", "words": "dicom-words.json",
 *               "options": ["clean-pixel", "clean-descriptors", "retain-longitudinal-modified-dates"], "descriptors": "vocabulary",
 *               "device_numbers": "replace", "faces": "flag"}
 * Compound codes want an object's type (1, 2, 3), which needs the tables of all objects; the stricter action that stays valid is taken:
 * X/Z -> Z (X for a sequence), X/D -> D, Z/D -> D, X/Z/D -> D, X/Z/U* -> items with new UIDs. Immutable after loading. Paper: DICOM PS3.15 Annex E.
 */
#ifndef DEID_DICOM_PROFILE_H
#define DEID_DICOM_PROFILE_H
#include "base/map.h"

enum dicom_action {
  DICOM_UNLISTED, /* not in the table: its representation decides */
  DICOM_REMOVE,   /* X */
  DICOM_EMPTY,    /* Z */
  DICOM_DUMMY,    /* D */
  DICOM_NEW_UID,  /* U */
  DICOM_KEEP,     /* K */
  DICOM_CLEAN     /* C */
};
enum dicom_option { /* order of dicom_option_name; letters of the table in the profile's file */
                    DICOM_SAFE_PRIVATE,
                    DICOM_RETAIN_UIDS,
                    DICOM_RETAIN_DEVICE,
                    DICOM_RETAIN_INSTITUTION,
                    DICOM_RETAIN_PATIENT,
                    DICOM_FULL_DATES,
                    DICOM_MODIFIED_DATES,
                    DICOM_CLEAN_DESCRIPTORS,
                    DICOM_CLEAN_STRUCTURED,
                    DICOM_CLEAN_GRAPHICS,
                    DICOM_CLEAN_PIXELS,
                    DICOM_OPTIONS
};
struct dicom_rule {
  uint32_t tag;
  uint8_t basic;        /* enum dicom_action */
  uint16_t keep, clean; /* bits of enum dicom_option */
};
struct dicom_safe { /* a private element that may stay */
  struct str creator;
  uint16_t group, vr;
  uint8_t element;
};
struct dicom_condition {
  uint32_t tag;
  enum { DICOM_CONTAINS, DICOM_EQUALS, DICOM_MISSING, DICOM_NO_VALUE } test;
  struct str words; /* separated by bars */
};
struct dicom_clause {
  const struct dicom_condition *any;
  uint32_t n;
};
struct dicom_box {
  int32_t left, top, width, height;
};
struct dicom_device {
  const struct dicom_clause *all;
  const struct dicom_box *box;
  uint32_t all_n, box_n;
};
enum dicom_faces { DICOM_FACES_REFUSE, DICOM_FACES_FLAG, DICOM_FACES_KEEP };
struct dicom_profile {
  struct arena arena;
  struct dicom_rule *rule; /* by tag; 50xx and 60xx as 5000 and 6000 */
  struct dicom_safe *safe;
  uint32_t *class_uid;
  struct str *scheme; /* coding schemes whose meanings are published */
  struct dicom_device *device;
  struct dicom_device *face; /* without boxes: images from which a face could be rebuilt */
  uint32_t *number;          /* elements that name one device, such as its serial number */
  uint32_t rule_n, safe_n, class_n, scheme_n, device_n, face_n, number_n;
  struct map words;
  uint16_t options;                 /* bits of enum dicom_option */
  bool vocabulary;                  /* descriptors keep known words only */
  bool keep_numbers;                /* "device_numbers": "keep"; else they are replaced by numbers of the vault's, the same in every file */
  enum dicom_faces faces;           /* "faces": keep, flag, or refuse (the default) */
  char code[DICOM_OPTIONS + 1][16]; /* DCM codes of the options, the last one the basic profile's */
  char edition[16], hash[65];
};

int dicom_profile_load(const char *policy, struct dicom_profile **out, struct error *e) MUST_CHECK; /* E_NOTFOUND: no "dicom" in it */
void dicom_profile_free(struct dicom_profile *p);
/* SHA-256 over the tables that the policy's "dicom" names, for the policy's own hash; "" if it names none. */
int dicom_profile_hash(const char *policy, char hex[65], struct error *e) MUST_CHECK;
enum dicom_action dicom_profile_action(const struct dicom_profile *p, uint32_t tag);
bool dicom_profile_option(const struct dicom_profile *p, enum dicom_option o);
uint16_t dicom_profile_safe(const struct dicom_profile *p, struct str creator, uint32_t tag); /* representation; 0: not safe */
bool dicom_profile_number(const struct dicom_profile *p, uint32_t tag);                       /* names one device, and is not kept */
bool dicom_profile_class(const struct dicom_profile *p, uint32_t tag);                        /* UIDs that name classes, not things */
bool dicom_profile_scheme(const struct dicom_profile *p, struct str scheme);
bool dicom_profile_word(const struct dicom_profile *p, struct str lower);
const char *dicom_option_name(enum dicom_option o);
#endif
