/* Private to deid/: a FHIR document as a typed tree. json_tree.h holds the nodes; this lays the types of fhir_types.h over them, one resource at a
 * time, and walks it as FHIRPath sees it: an array is its items, "_birthDate" belongs to birthDate, value[x] is called value.
 *
 *     struct fhir_doc d;  TRY(fhir_doc_init(&d, types, e));
 *     TRY(fhir_doc_parse(&d, text, e));                       // d.root[0] = 1: the document's resource
 *     for (uint32_t r = 0; r < d.root_n; r++) {
 *       fhir_doc_type(&d, r);                                 // types d.root[r]; resources inside it are added to d.root
 *       for (uint32_t i = d.head[type]; i; i = d.json.at[i].same) …   // all nodes of that type, in order, of this resource only
 *     }
 *
 * A node's type is 0 where the schema does not know it. Nodes of a resource inside another are typed when their turn comes.
 */
#ifndef DEID_FHIR_TREE_H
#define DEID_FHIR_TREE_H
#include "deid/json_tree.h"
#include "record/fhir_types.h"

struct fhir_doc {
  struct json_tree json;
  const struct fhir_types *types;
  uint32_t *root; /* resources, outer before inner */
  uint32_t root_n, root_cap;
  uint32_t *head, *tail; /* by type, of the resource typed last */
  uint16_t *touched;
  uint16_t touched_n, element_type, resource_type, extension_type, string_type;
  bool failed;      /* out of memory while typing */
  uint32_t unknown; /* resources of a type that FHIR does not have; marked gone */
};
int fhir_doc_init(struct fhir_doc *d, const struct fhir_types *types, struct error *e) MUST_CHECK;
void fhir_doc_release(struct fhir_doc *d);
/* Parses and finds the resource type of the document; E_INPUT when it is no resource of a known type. */
int fhir_doc_parse(struct fhir_doc *d, struct str text, struct error *e) MUST_CHECK;
int fhir_doc_type(struct fhir_doc *d, uint32_t root, struct error *e) MUST_CHECK;
/* Types a grafted value as an element of that type; chains are not touched. */
void fhir_doc_type_new(struct fhir_doc *d, uint32_t i, uint16_t el, uint16_t type);

/* Child elements of a node. Resources inside are among them. */
struct fhir_iter {
  const struct json_tree *t;
  uint32_t member, item;
};
struct fhir_iter fhir_children(const struct fhir_doc *d, uint32_t i);
uint32_t fhir_next(struct fhir_iter *it); /* 0 at the end */
/* The element above; 0 for a document's root */
uint32_t fhir_parent(const struct fhir_doc *d, uint32_t i);
static inline bool fhir_is_resource(const struct fhir_doc *d, uint32_t i) {
  return d->json.at[i].kind == JSON_OBJECT && fhir_type_of(d->types, d->json.at[i].type)->kind == FHIR_RESOURCE;
}
static inline bool fhir_is_primitive(const struct fhir_doc *d, uint32_t i) {
  uint8_t k = d->json.at[i].kind;
  return k == JSON_STRING || k == JSON_INT || k == JSON_REAL || k == JSON_BOOL;
}
#endif
