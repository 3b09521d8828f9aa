/* DICOM Part 10 files: bytes -> a tree of elements, and back. Pure: no I/O, no policy; deid/dicom_* decides what stays.
 *
 *     struct arena a;  arena_init(&a, 256 << 20, ARENA_WIPE);
 *     struct dicom_file f;
 *     TRY(dicom_parse(&a, bytes, n, NULL, &f, e));              // elements point into `bytes`, which must outlive f
 *     const struct dicom_element *name = dicom_find(&f.data, DICOM_TAG(0x0010, 0x0010));
 *     TRY(dicom_write(&f, sink, e));                            // the same transfer syntax, lengths made anew
 *
 * Read: implicit and explicit VR little endian, explicit VR big endian, deflated, every encapsulated syntax (fragments are kept as they
 * are); files without preamble or meta information; sequences of defined and undefined length, of any depth up to the limit, also those
 * written as UN (implicit little endian inside, PS3.5 6.2.2); items in implicit VR inside explicit files. A value keeps the byte order of
 * the file. Every length is hostile: what reaches beyond its parent is E_INPUT, what is too deep or too many is E_LIMIT.
 * Written: preamble of zeros, meta information with its length, no group lengths, sequences and items with undefined length.
 */
#ifndef RECORD_DICOM_H
#define RECORD_DICOM_H
#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

#define DICOM_TAG(group, element) ((uint32_t)(group) << 16 | (uint32_t)(element))
#define DICOM_VR(a, b) ((uint16_t)((a) << 8 | (b)))
enum { DICOM_UN = DICOM_VR('U', 'N'), DICOM_SQ = DICOM_VR('S', 'Q') };
enum {
  DICOM_CHARSET = DICOM_TAG(0x0008, 0x0005),
  DICOM_IMAGE_TYPE = DICOM_TAG(0x0008, 0x0008),
  DICOM_SOP_CLASS = DICOM_TAG(0x0008, 0x0016),
  DICOM_SOP_INSTANCE = DICOM_TAG(0x0008, 0x0018),
  DICOM_STUDY_DATE = DICOM_TAG(0x0008, 0x0020),
  DICOM_MODALITY = DICOM_TAG(0x0008, 0x0060),
  DICOM_PATIENT_NAME = DICOM_TAG(0x0010, 0x0010),
  DICOM_PATIENT_ID = DICOM_TAG(0x0010, 0x0020),
  DICOM_PATIENT_ISSUER = DICOM_TAG(0x0010, 0x0021),
  DICOM_STUDY = DICOM_TAG(0x0020, 0x000D),
  DICOM_SERIES = DICOM_TAG(0x0020, 0x000E),
  DICOM_ROWS = DICOM_TAG(0x0028, 0x0010),
  DICOM_COLUMNS = DICOM_TAG(0x0028, 0x0011),
  DICOM_BURNED_IN = DICOM_TAG(0x0028, 0x0301),
  DICOM_PIXELS = DICOM_TAG(0x7FE0, 0x0010)
};

struct dicom_item;
struct dicom_element {
  uint32_t tag;
  uint16_t vr;              /* DICOM_VR; of a standard element written as UN or in implicit VR: the dictionary's; UN if nobody knows */
  bool encapsulated;        /* pixel data in fragments: value = the items with their headers, without the closing delimiter */
  struct str value;         /* bytes as in the file; STR_NONE for a sequence */
  struct dicom_item *items; /* of a sequence */
  struct dicom_element *next;
};
struct dicom_set { /* in the order of the file */
  struct dicom_element *first, *last;
};
struct dicom_item {
  struct dicom_set set;
  struct dicom_item *next;
};
struct dicom_file {
  struct arena *arena;
  struct dicom_set meta, data;                      /* meta: group 0002 */
  char syntax[65];                                  /* transfer syntax UID; "" in a file without meta information */
  bool implicit, big, deflated, encapsulated, bare; /* bare: the file had no meta information */
  uint32_t elements;
};
struct dicom_limits {
  uint32_t depth, elements; /* 0 = default: 32 levels, 1 << 20 elements */
  size_t inflated;          /* most bytes out of a deflated file; default 1 GiB */
};

int dicom_parse(struct arena *a, const uint8_t *p, size_t n, const struct dicom_limits *limits, struct dicom_file *out,
                struct error *e) MUST_CHECK;
/* Looks like a DICOM file: "DICM" at 128, or a data set that begins like one. */
bool dicom_looks(const uint8_t *p, size_t n);

struct dicom_element *dicom_find(const struct dicom_set *s, uint32_t tag); /* NULL if absent; not inside sequences */
/* The text of an element, padding off; STR_NONE if absent, binary or a sequence. */
struct str dicom_text(const struct dicom_set *s, uint32_t tag);
struct str dicom_value(const struct dicom_element *el);
struct str dicom_part(struct str *rest); /* the next of values separated by backslash; *rest becomes STR_NONE after the last */
bool dicom_u16(const struct dicom_file *f, const struct dicom_set *s, uint32_t tag, uint16_t *out);
/* A number written as text (DS, IS): the first value. */
bool dicom_number(const struct dicom_set *s, uint32_t tag, double *out);
bool dicom_is_text(uint16_t vr);            /* a VR that holds characters */
bool dicom_is_string(uint16_t vr);          /* of those, one in which backslash separates values */
uint16_t dicom_dictionary_vr(uint32_t tag); /* 0: not a standard element */
static inline bool dicom_private(uint32_t tag) { return tag >> 16 & 1; }

/* Makes or replaces an element in its place by tag; value is copied into the file's arena and padded. E_NOMEM. */
int dicom_set_text(struct dicom_file *f, struct dicom_set *s, uint32_t tag, uint16_t vr, struct str value, struct error *e) MUST_CHECK;
int dicom_set_value(struct dicom_file *f, struct dicom_element *el, struct str value, struct error *e) MUST_CHECK;
struct dicom_element *dicom_make(struct dicom_file *f, struct dicom_set *s, uint32_t tag, uint16_t vr); /* empty; NULL: no memory */
struct dicom_item *dicom_item_add(struct dicom_file *f, struct dicom_element *sequence);
void dicom_remove(struct dicom_set *s, uint32_t tag);

/* Texts. `charset`: SpecificCharacterSet's value; "" = ISO_IR 6, read as UTF-8 if it is that, else as Latin-1. E_INPUT: an unknown set, or
 * bytes that are not of it. What is ASCII stays where it is. */
int dicom_text_decode(struct arena *a, struct str charset, struct str in, struct str *utf8, struct error *e) MUST_CHECK;
int dicom_text_encode(struct arena *a, struct str charset, struct str utf8, struct str *out, struct error *e) MUST_CHECK;

/* Files -> records, for record_sink: a file, or a directory of which everything that looks like DICOM is taken. For each file the identifiers
 * and the birth date, then one RECORD_EVENT "DICOM//MODALITY//BODYPART" (parts that the file has) at the time of acquisition, series,
 * content or study, with the file as object. person = PatientID, after its issuer and a slash where the file names one; a file without
 * PatientID is a person of its own study. What cannot be parsed is rejected, as are DICOMDIRs. */
struct record_sink;
struct record_stats;
int dicom_read(const char *path, const struct record_sink *sink, struct record_stats *stats, struct error *e) MUST_CHECK;

/* Appends the file to `out`. The syntax is f->syntax; implicit, big and deflated must agree with it. */
int dicom_write(const struct dicom_file *f, struct buf *out, struct error *e) MUST_CHECK;
#endif
