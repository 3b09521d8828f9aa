/* Private to deid/: FHIRPath, as far as anonymisation rules use it (HL7 FHIRPath 2.0, and the functions of Microsoft's FHIR anonymizer).
 *
 *     const struct fhirpath *p;  TRY(fhirpath_parse(&arena, types, STR("nodesByType('HumanName').use"), &p, e));
 *     struct fhirpath_run run = {.doc = &doc, .root = doc.root[r], .arena = &scratch, .budget = 1 << 22};
 *     TRY(fhirpath_eval(&run, p, run.root, &items, e));        // items live in the scratch arena
 *
 * Paths, nodesByType('T'), nodesByName('n') (both within one resource: not in contained ones nor in the entries of a Bundle), children(),
 * descendants(), where, exists, all, select, empty, not, hasValue, count, first, last, tail, ofType, is, as, extension('url'), [n], $this,
 * startsWith, endsWith, contains, substring, length, upper, lower, toString, literals (text, number, true, @date), | in contains = != < <= > >=
 * and or xor implies + - & * /. What is not supported is refused when parsed, with the place. A type error while evaluating is E_INPUT.
 */
#ifndef DEID_FHIRPATH_H
#define DEID_FHIRPATH_H
#include "base/time.h"
#include "deid/fhir_tree.h"

enum { FHIRPATH_LIMIT = 4096, FHIRPATH_DEPTH = 48 };
enum fhirpath_kind { FP_NODE, FP_STRING, FP_NUMBER, FP_BOOL, FP_DATE };
struct fhirpath_date {
  int64_t us;
  enum time_precision precision;
  bool has_offset;
};
struct fhirpath_item {
  enum fhirpath_kind kind;
  uint32_t node;
  struct str text; /* FP_STRING; FP_DATE: as written */
  double number;
  bool yes;
  struct fhirpath_date date;
};
struct fhirpath_items {
  struct fhirpath_item *at;
  uint32_t n, cap;
};
struct fhirpath;
struct fhirpath_run {
  struct fhir_doc *doc;
  uint32_t root; /* the resource whose chains are in doc */
  struct arena *arena;
  uint64_t budget; /* items that may still be made: E_LIMIT at 0 */
};
int fhirpath_parse(struct arena *a, const struct fhir_types *types, struct str text, const struct fhirpath **out,
                   struct error *e) MUST_CHECK;
int fhirpath_eval(struct fhirpath_run *run, const struct fhirpath *p, uint32_t context, struct fhirpath_items *out,
                  struct error *e) MUST_CHECK;
/* 1 true, 0 false, 2 empty (FHIRPath's third value) */
int fhirpath_bool(struct fhirpath_run *run, const struct fhirpath *p, uint32_t context, struct error *e) MUST_CHECK;
/* False if the path cannot find anything in this resource: its type or the first node type that it asks for is not there. Cheap. */
bool fhirpath_may_match(const struct fhirpath *p, const struct fhir_doc *d, uint32_t root);

/* ---- the parsed form ---- */
enum fhirpath_op {
  P_THIS,
  P_NAME,
  P_CALL,
  P_INDEX,
  P_STRING,
  P_NUMBER,
  P_BOOL,
  P_DATE,
  P_EMPTY,
  P_DOT,
  P_OR,
  P_XOR,
  P_AND,
  P_IMPLIES,
  P_IN,
  P_CONTAINS,
  P_EQ,
  P_NE,
  P_LT,
  P_LE,
  P_GT,
  P_GE,
  P_UNION,
  P_IS,
  P_AS,
  P_ADD,
  P_SUB,
  P_CAT,
  P_MUL,
  P_DIV,
  P_NEG
};
enum fhirpath_fn {
  F_BY_TYPE,
  F_BY_NAME,
  F_CHILDREN,
  F_DESCENDANTS,
  F_WHERE,
  F_EXISTS,
  F_ALL,
  F_SELECT,
  F_EMPTY,
  F_NOT,
  F_HAS_VALUE,
  F_COUNT,
  F_FIRST,
  F_LAST,
  F_TAIL,
  F_OF_TYPE,
  F_IS,
  F_AS,
  F_EXTENSION,
  F_STARTS,
  F_ENDS,
  F_CONTAINS,
  F_SUBSTRING,
  F_LENGTH,
  F_UPPER,
  F_LOWER,
  F_TO_STRING
};
struct fhirpath {
  enum fhirpath_op op;
  enum fhirpath_fn fn;
  const struct fhirpath *left, *right; /* P_CALL: left, right = first and second argument; P_DOT: focus and step */
  struct str text;                     /* names, type names, texts */
  uint16_t name, type;                 /* ids in fhir_types, 0 = unknown */
  double number;
  struct fhirpath_date date;
};
#endif
