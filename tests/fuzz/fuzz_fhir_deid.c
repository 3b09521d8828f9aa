/* FHIR to FHIR: a rule's path, a configuration and a document, all hostile. The input is three parts with a zero byte between them. What
 * comes out is JSON; under our policies no text of the document's free fields is in it; what the tree's parser takes, simdjson takes too. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "deid/deid.h"
#include "deid/fhir_deid.h"
#include "deid/fhirpath.h"

#include "input.h"

static struct fhir_types *types;
static struct fhir_deid *ours;
static struct vault *vault;
static struct json_parser *jp;

static void must_be_json(const char *p, size_t n, struct json *root) {
  char *copy = malloc(n + STREAM_PAD);
  if (!copy) abort();
  memcpy(copy, p, n);
  memset(copy + n, ' ', STREAM_PAD);
  int rc = json_parse(jp, copy, n, n + STREAM_PAD, root, NULL);
  free(copy);
  if (rc < 0) abort();
}

static void path(struct str text) {
  struct arena a;
  const struct fhirpath *p;
  struct fhir_doc doc;
  struct fhirpath_items out;
  arena_init(&a, 32 << 20, 0);
  if (fhir_doc_init(&doc, types, NULL) < 0) abort();
  static const char patient[] =
      "{\"resourceType\":\"Patient\",\"birthDate\":\"1970\",\"_birthDate\":{\"id\":\"x\"},\"name\":[{\"given\":[\"a\",\"b\"]}],\"active\":"
      "true}";
  if (fhir_doc_parse(&doc, str_c(patient), NULL) < 0 || fhir_doc_type(&doc, 0, NULL) < 0) abort();
  if (fhirpath_parse(&a, types, text, &p, NULL) == OK) {
    struct fhirpath_run run = {.doc = &doc, .root = 1, .arena = &a, .budget = 1 << 14};
    int rc = fhirpath_eval(&run, p, 1, &out, NULL);
    if (rc == OK && out.n && out.at[0].kind == FP_NODE && p->op == P_DOT && !fhirpath_may_match(p, &doc, 1)) abort();
  }
  fhir_doc_release(&doc);
  arena_free(&a);
}

static void document(struct fhir_deid *f, struct str text, bool own) {
  struct buf out = {0};
  struct json root;
  const char *why;
  int rc = fhir_deid_document(f, text, &out, &why, NULL);
  if (rc == 0) {
    must_be_json(out.p, out.n, &root);
    if (own && memmem(out.p, out.n, "zvkxj", 5)) abort();
  }
  if (rc == 1 && (!why || out.n)) abort();
  buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *p = (const char *)data, *end = p + size, *a = size ? memchr(p, 0, size) : NULL,
             *b = a ? memchr(a + 1, 0, (size_t)(end - a - 1)) : NULL;
  if (!b) return 0;
  if (!types) {
    struct fhir_deid_config c = {.policy = "policy/safe-harbor.json", .tables = "policy"};
    if (json_parser_new(&jp, NULL) < 0 || fhir_types_load("policy/fhir-types-r4.json", &types, NULL) < 0) abort();
    if (vault_open_memory(&vault, NULL) < 0) abort();
    c.vault = vault;
    if (fhir_deid_open(&c, &ours, NULL) < 0) abort();
  }
  path((struct str){p, (size_t)(a - p)});
  struct str config = {a + 1, (size_t)(b - a - 1)};
  size_t n = (size_t)(end - b - 1);
  char *text = malloc(n + 1); /* exact size, so that a read behind it is seen */
  if (!text) return 0;
  memcpy(text, b + 1, n);
  struct json_tree t;
  json_tree_init(&t);
  if (json_tree_parse(&t, (struct str){text, n}, NULL) == OK) {
    struct json root;
    struct buf again = {0};
    json_tree_write(&t, 1, &again);
    must_be_json(again.p, again.n, &root);
    buf_release(&again);
  }
  json_tree_release(&t);
  document(ours, (struct str){text, n}, true);
  if (config.n) {
    struct fhir_deid *theirs;
    struct vault *v;
    if (vault_open_memory(&v, NULL) < 0) abort();
    struct fhir_deid_config c = {
        .policy = "policy/safe-harbor.json", .rules = fuzz_input((const uint8_t *)config.p, config.n), .tables = "policy", .vault = v};
    if (fhir_deid_open(&c, &theirs, NULL) == OK) {
      document(theirs, (struct str){text, n}, false);
      fhir_deid_close(theirs);
    }
    vault_close(v);
  }
  free(text);
  return 0;
}
