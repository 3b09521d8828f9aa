/* Private to deid/: the state of one run through the wall. */
#ifndef DEID_WALL_H
#define DEID_WALL_H
#include "base/map.h"
#include "deid/code_rules.h"
#include "deid/deid.h"
#include "deid/event.h"
#include "deid/vault_rows.h"
#include "deid/vcf_clean.h"
#include "record/record.h"

/* Why a part of a record did not pass. Order = names in deid_manifest.c. */
enum drop {
  DROP_ELEMENT,        /* the reader does not take this element */
  DROP_TEXT,           /* free text */
  DROP_SYSTEM,         /* code of a system that is not listed (open sources) */
  DROP_SHAPE,          /* code without its system's shape or check digit */
  DROP_OWN,            /* code, unit or value equal to an identifier of the same person */
  DROP_UNIT,           /* unit that is none; the number goes with it */
  DROP_SENTINEL,       /* date that stands for "unknown" */
  DROP_CALENDAR,       /* date outside the years 1..9999 */
  DROP_SPAN,           /* so long before the person's last event that it would show an age over the cap */
  DROP_TIMELESS,       /* a death without a time */
  DROP_TAKING_BACK,    /* a correction that has no effect here: no exact times, or a sink that holds nothing from before */
  DROP_PERSON,         /* no usable person key */
  DROP_FORGOTTEN,      /* a person who was forgotten: vitae forget */
  DROP_OBJECT,         /* image or genome where nothing can take blobs */
  DROP_OBJECT_POLICY,  /* the policy does not let it out */
  DROP_OBJECT_DAMAGED, /* it cannot be cleaned */
  DROPS
};

struct path_count {
  struct str path; /* in the map's arena */
  uint64_t n[DROPS];
};

/* What is known of a code that has passed once. A description from outside is held until `display_persons` persons had the
 * very same one: a name written into Coding.display is one person's, a description is everybody's. Hashes, not texts. */
enum { DISPLAY_CANDIDATES = 2, DISPLAY_PERSONS = 8 };
struct code_entry {
  uint64_t shown; /* hash of the description that passes; 0 = none yet */
  struct {
    uint64_t hash;
    uint32_t person[DISPLAY_PERSONS];
    uint32_t n;
  } candidate[DISPLAY_CANDIDATES];
  bool age;
};

enum { OWN_LEAST = 5, PATHS_LIMIT = 4096 };
struct deid {
  struct deid_policy policy;
  struct vault *vault;
  struct event_sink out;
  const struct code_rules *rules;
  struct code_rules *own_rules; /* NULL: `rules` are the caller's */
  uint16_t source;
  bool open;                /* an open source: see code_rules.h */
  uint32_t person;          /* row of the person of the last record */
  struct identity *current; /* NULL before the first */
  struct str key;           /* the key under which that person came, in the vault's memory */
  uint64_t changes;         /* of the vault, when that person was found */
  struct map codes;         /* code -> index into entries */
  struct code_entry *entries;
  uint32_t entry_n, entry_cap;
  struct map paths; /* path -> index into counts_at */
  struct path_count *paths_at;
  uint32_t path_n, path_cap;
  char unit[UNIT_LIMIT]; /* of the event at hand, as UCUM spells it */
  struct deid_counts counts;
  uint64_t drops[DROPS], births, spans_left;
  struct vcf_rules *vcf_rules; /* loaded for the first genome */
  struct vcf_split *genomes;   /* of the VCF file of the last genome; see vcf_clean.h */
  uint64_t object_n, objects;  /* objects seen; objects that became blobs */
  struct vcf_counts genome;
  struct deid_texts *texts; /* made for the first text that may pass; see deid_text.h */
  struct dicom_wall *dicom; /* what cleaning images needs; made for the first one */
};
int dicom_object(struct deid *w, const struct record *r, const char *to, struct error *e) MUST_CHECK;
void dicom_object_close(struct deid *w);
struct json_out;
void dicom_object_manifest(const struct deid *w, struct json_out *o); /* counts, if an image came */
#endif
