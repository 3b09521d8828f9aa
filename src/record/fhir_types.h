/* The types of FHIR's elements, as data: which members each type has, of what type, how often, and which codes they may hold.
 *
 *     struct fhir_types *t;  TRY(fhir_types_load("policy/fhir-types-r4.json", &t, e));
 *     uint16_t patient = fhir_type_id(t, STR("Patient"));
 *     const struct fhir_el *el = fhir_types_el(t, fhir_types_find(t, patient, STR("birthDate")));  // el->type: "date"
 *     fhir_types_free(t);
 *
 * Ids are small numbers, 0 = none. A choice element is listed under each of its names ("valueQuantity"), with base = "value". Inherited
 * members are members of every type. Immutable after loading; may be shared by threads. The file is made by scripts/make-fhir-types.
 */
#ifndef RECORD_FHIR_TYPES_H
#define RECORD_FHIR_TYPES_H
#include "base/arena.h"
#include "base/str.h"

struct fhir_el {
  struct str name;  /* as in JSON */
  uint16_t base;    /* name id of the element in paths: "value" for valueQuantity */
  uint16_t type;    /* type id */
  uint16_t code_at; /* first of its codes (0 = any), see fhir_types_code */
  uint16_t code_n;
  bool list, required, choice;
};
enum fhir_type_kind { FHIR_COMPLEX, FHIR_PRIMITIVE, FHIR_BACKBONE, FHIR_RESOURCE };
struct fhir_type {
  struct str name;
  uint8_t kind;
  bool number, boolean;    /* how a primitive of this type is written */
  uint16_t el_from, el_to; /* its own members (not the inherited ones): [from, to) */
};
struct fhir_types;
int fhir_types_load(const char *path, struct fhir_types **out, struct error *e) MUST_CHECK;
void fhir_types_free(struct fhir_types *t);
uint16_t fhir_type_id(const struct fhir_types *t, struct str name);
const struct fhir_type *fhir_type_of(const struct fhir_types *t, uint16_t type); /* type 0: an unknown complex type */
uint16_t fhir_types_count(const struct fhir_types *t);                           /* ids are below this */
/* The member of a type; 0 if it has none of that name. */
uint16_t fhir_types_find(const struct fhir_types *t, uint16_t type, struct str member);
const struct fhir_el *fhir_types_el(const struct fhir_types *t, uint16_t el); /* el 0: unknown */
/* Id of an element's name in paths; 0 if no type has such an element. */
uint16_t fhir_types_name(const struct fhir_types *t, struct str name);
struct str fhir_types_name_str(const struct fhir_types *t, uint16_t name);
/* The code is one of those that the standard allows here. False where it allows any. */
bool fhir_types_code(const struct fhir_types *t, const struct fhir_el *el, struct str code);
#endif
