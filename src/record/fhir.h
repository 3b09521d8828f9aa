/* Private to the FHIR reader: the schema tables, the reader's state, and what its files share.
 *
 * One pass over a resource's members sorts them by its shape into slots (struct taken): elements that we take, elements
 * that are structure without content of their own (ignored), and the rest, which is counted as dropped. Handlers then read
 * the slots. Nothing that came from a document is ever used as a path or a reason.
 *
 *     struct taken t;
 *     TRY(fhir_gather(f, resource, shape, &t));
 *     if (has(&t, SLOT_CODE)) …
 */
#ifndef RECORD_FHIR_H
#define RECORD_FHIR_H
#include "base/arena.h"
#include "base/json.h"
#include "base/map.h"
#include "record/record.h"

/* Where an element goes. Meanings of A..F belong to each shape. */
enum slot {
  SLOT_ID,
  SLOT_SUBJECT,
  SLOT_STATUS,
  SLOT_CODE,
  SLOT_IDENTIFIER,
  SLOT_CONTAINED,
  SLOT_MODIFIER,
  SLOT_RULES,
  SLOT_T0,
  SLOT_T1,
  SLOT_T2,
  SLOT_T3,
  SLOT_T4, /* times in order of preference */
  SLOT_END0,
  SLOT_END1,
  SLOT_QUANTITY,
  SLOT_CONCEPT,
  SLOT_STRING,
  SLOT_BOOLEAN,
  SLOT_INTEGER,
  SLOT_ABSENT,
  SLOT_A,
  SLOT_B,
  SLOT_C,
  SLOT_D,
  SLOT_E,
  SLOT_F,
  SLOT_G,
  SLOT_H,
  SLOT_I,
  SLOT_J,
  SLOTS,
  SLOT_IGNORE = 64, /* structure, references, bookkeeping: nothing of the person's course in it that is not elsewhere */
  SLOT_DROP         /* content that is not taken: counted under its path */
};

struct element {
  const char *name;
  uint8_t length, slot;
  const char *path;
};

struct fhir;
struct lookup;
struct taken {
  struct json v[SLOTS];
  const struct element *el[SLOTS];
  uint64_t mask;
};
static inline bool has(const struct taken *t, enum slot s) { return t->mask >> s & 1; }

/* Takes the gathered resource of f->person. Returns < 0 only to stop the run. */
typedef int fhir_handler(struct fhir *f, const struct taken *t);
struct shape {
  const char *name;
  const char *unknown; /* "Observation.?": the path of whatever the table does not know */
  const struct element *elements;
  size_t n;
  struct lookup *names;    /* name -> row of elements, built by fhir_schema_ready */
  const char *const *skip; /* status codes that say "this did not happen", NULL-terminated */
  const char *subject;     /* path for a missing subject; NULL for shapes that are no clinical resource */
  const char *code, *time; /* paths for a missing code or time */
  const char *suffix;      /* state that is appended to the code, e.g. "//ALLERGY"; "" for none */
  fhir_handler *handler;
};

/* Builds the lookup tables, once per process; any thread. Must come before anything below. */
void fhir_schema_ready(void);
/* Resource type name -> its shape, or NULL with *path set to the type's own name (or "Resource.?") for those not taken. */
const struct shape *fhir_shape(struct str type, const char **path);
const struct element *fhir_element(const struct shape *shape, struct str name);

/* Shapes of data types (fhir_schema.c). Slots as commented there. */
extern const struct shape fhir_coding, fhir_concept, fhir_quantity, fhir_reference, fhir_period, fhir_name, fhir_address, fhir_telecom,
    fhir_identifier, fhir_attachment, fhir_component, fhir_contact, fhir_hospitalization, fhir_entry, fhir_medication;

/* Code system URL -> short name and rank (smaller = preferred). Unknown URLs become "URL" + 8 hex digits of their hash,
 * so that nothing written in one can reach a code. `room` receives that form. */
struct str fhir_system(struct str url, char room[16], int *rank);
/* Identifier kind by v2-0203 type code and by system URL; IDENTIFIER_OTHER if neither tells. */
enum identifier_kind fhir_identifier_kind(struct str type, struct str system);

#define FHIR_CODE_LIMIT 64
struct coded { /* "SYSTEM//CODE" */
  char text[288];
  size_t n;
  struct str display;
};
static inline struct str coded_str(const struct coded *c) { return (struct str){c->text, c->n}; }
bool coded_append(struct coded *c, struct str s); /* false if it does not fit */

struct medication { /* what a reference to a Medication stands for */
  struct str code, display;
};

struct fhir {
  const struct record_sink *sink;
  struct record_stats *stats;
  struct json_parser *jp;
  struct error *e;
  const char *name; /* of the file, for rejects */
  uint32_t file;
  uint64_t row;
  const struct shape *shape;
  struct str person;
  struct json contained;
  bool has_contained, in_bundle, identities;
  bool in_error; /* the resource says that it should not have been: its events come as RECORD_IN_ERROR, and nothing else of it */
  struct arena scratch, document, run, bundle;             /* item, file, job, bundle lifetimes; all wiped */
  struct map run_medications, bundle_medications, aliases; /* id -> struct medication *; fullUrl id -> struct str * */
  uint64_t bytes_done, bytes_total, progress_at;
  size_t limit;
};

/* fhir_read.c */
int fhir_take_document(struct fhir *f, struct json root);

/* fhir_value.c: data types and emission. Here < 0 always means that the run stops; what is wrong with the data is positive. */
#define FHIR_WRONG 2
int fhir_emit(struct fhir *f, struct record *r) MUST_CHECK;
int fhir_drop(struct fhir *f, const char *path) MUST_CHECK;
int fhir_reject(struct fhir *f, const char *field, const char *reason); /* always 0, so that `return fhir_reject(…)` goes on */
int fhir_gather(struct fhir *f, struct json object, const struct shape *shape, struct taken *t) MUST_CHECK;
/* The items of a slot: none if it is empty, none and a reject if it is no list. */
struct json_iter fhir_list(struct fhir *f, const struct taken *t, enum slot s);
struct record fhir_event(const struct fhir *f, const struct coded *code, struct record_time time);
bool fhir_code_ok(struct str code);
/* 1 = found, 0 = no usable coding, < 0 stop */
int fhir_code_of(struct fhir *f, struct json concept, struct coded *out) MUST_CHECK;
int fhir_code_of_coding(struct fhir *f, struct json coding, struct coded *out) MUST_CHECK;
/* 1 = found; 0 = absent (*bad NULL) or unusable (*bad = its path). Only slots T0..T4 are looked at. */
int fhir_when(struct fhir *f, const struct taken *t, enum slot from, enum slot to, struct record_time *out, const char **bad) MUST_CHECK;
bool fhir_time(struct str s, struct record_time *out);
/* The id in a reference ("urn:uuid:X", "Patient/X", "http://…/Patient/X/_history/1") and its type, STR_NONE if not said. */
bool fhir_reference_id(struct str reference, struct str *type, struct str *id);
/* 1 = f->person is set; 0 = rejected or dropped; < 0 stop */
int fhir_subject(struct fhir *f, const struct taken *t) MUST_CHECK;
int fhir_identifiers(struct fhir *f, struct json list, enum identifier_kind otherwise, const char *path) MUST_CHECK;
int fhir_identify(struct fhir *f, enum identifier_kind kind, struct json text, const char *path) MUST_CHECK;
int fhir_identify_in(struct fhir *f, enum identifier_kind kind, struct json text, struct str ns, const char *path) MUST_CHECK;
struct quantity {
  double value;
  struct str unit;
};
/* 1 = a number, 0 = no number in it, FHIR_WRONG = wrong type, or no record_number() in out, < 0 = stop */
int fhir_read_quantity(struct fhir *f, struct json v, struct quantity *out) MUST_CHECK;
/* Text of an attachment in f->scratch: 1 = text; 0 = none that we read (dropped or rejected under `path`); < 0 stop */
int fhir_text_of(struct fhir *f, struct json attachment, const char *path, struct str *out) MUST_CHECK;
bool fhir_base64(struct str s, char *out, size_t *n); /* out has room for s.n * 3 / 4 + 3 */

/* handlers */
fhir_handler fhir_take_patient, fhir_take_related, fhir_take_device, fhir_take_encounter, fhir_take_condition, fhir_take_observation,
    fhir_take_plain, fhir_take_medication_use, fhir_take_report, fhir_take_document_reference, fhir_take_imaging;
/* Keeps a Medication for references to it. */
int fhir_keep_medication(struct fhir *f, struct json resource, struct str full_url, bool bundle) MUST_CHECK;
#endif
