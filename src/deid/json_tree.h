/* Private to deid/: one JSON document as a tree that can be changed and written again. Order of members, spelling of numbers and texts
 * of strings stay as they came: a node keeps the bytes of its scalar, escapes included.
 *
 *     struct json_tree t = {0};   json_tree_init(&t);
 *     TRY(json_tree_parse(&t, text, e));             // t.at[1] is the root; `text` must stay while the tree is in use
 *     for (uint32_t i = t.at[1].child; i; i = t.at[i].next) …
 *     json_tree_set_str(&t, i, STR("new"));          // the value as plain text; escaped when written
 *     json_tree_write(&t, 1, &out);                  // compact; nodes with JSON_TREE_GONE are left out
 *     json_tree_release(&t);                         // wipes
 *
 * Nodes are numbers (0 = none), and stay what they are until the next parse. Limits: depth, nodes, members of one object. Refused, as
 * malformed: duplicate names in an object, names with escapes, invalid UTF-8. One owner, not thread-safe.
 */
#ifndef DEID_JSON_TREE_H
#define DEID_JSON_TREE_H
#include "base/arena.h"
#include "base/json.h"
#include "base/str.h"

enum { JSON_TREE_DEPTH = 100, JSON_TREE_MEMBERS = 512 };
enum {
  JSON_TREE_ESCAPES = 1,
  JSON_TREE_GONE = 2,
  JSON_TREE_DONE = 4,
  JSON_TREE_WRAP = 8,
  JSON_TREE_TWIN = 16,
  JSON_TREE_NEW = 32,
  JSON_TREE_KEEP = 64
};
struct json_node {
  const char *key, *raw; /* raw: a string's bytes between its quotes, a number's digits */
  uint32_t key_n, raw_n;
  uint32_t parent, child, last, next;
  uint32_t same, twin; /* for who walks the tree: fhir_tree.h */
  uint16_t type, el;
  uint8_t kind, flags; /* enum json_kind; the bits above */
};
struct json_tree {
  struct json_node *at;
  uint32_t n, cap, limit; /* limit: most nodes, default 4 million */
  struct arena text;      /* new texts; wiped */
};
void json_tree_init(struct json_tree *t);
void json_tree_release(struct json_tree *t);
/* E_INPUT (not JSON as above), E_LIMIT, E_NOMEM. Messages hold no byte of the text. */
int json_tree_parse(struct json_tree *t, struct str text, struct error *e) MUST_CHECK;
/* Parses another text behind the tree's nodes; *root is not linked to anything. */
int json_tree_graft(struct json_tree *t, struct str text, uint32_t *root, struct error *e) MUST_CHECK;
/* The value of a scalar as plain text (strings unescaped into t->text). STR_NONE for objects, arrays, null, and when out of memory. */
struct str json_tree_str(struct json_tree *t, uint32_t i);
static inline struct str json_tree_key(const struct json_tree *t, uint32_t i) { return (struct str){t->at[i].key, t->at[i].key_n}; }
uint32_t json_tree_get(const struct json_tree *t, uint32_t object, struct str key);
int json_tree_set_str(struct json_tree *t, uint32_t i, struct str plain, struct error *e) MUST_CHECK;
int json_tree_set_raw(struct json_tree *t, uint32_t i, enum json_kind kind, struct str raw, struct error *e) MUST_CHECK;
/* A new node as the last child of parent (key ignored in arrays; keys must outlive the tree). Returns 0 when out of memory. */
uint32_t json_tree_add(struct json_tree *t, uint32_t parent, enum json_kind kind, const char *key);
void json_tree_link(struct json_tree *t, uint32_t parent, uint32_t i); /* i as last child */
void json_tree_write(const struct json_tree *t, uint32_t i, struct buf *out);
#endif
