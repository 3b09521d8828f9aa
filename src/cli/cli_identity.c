/* identity.json: which identifiers the site trusts to say that two records are one person's (docs/deid.md, "One identity"). */
#include "cli/cli_identity.h"

#include "base/file.h"
#include "base/json.h"
#include "deid/deid.h"
#include "govern/site.h"

static const char empty[] =
    "{\n"
    "  \"note\": \"Which identifiers link one person's records across sources. namespaces: names of the systems whose identifiers belong "
    "to "
    "one person only, as they stand in Identifier.system, a mapping's ns or DICOM's issuer, such as urn:oid:1.2.3 for the hospital's "
    "record "
    "numbers. aliases: another name for one of them; the name of a source (--source) means that its own person keys are such identifiers. "
    "never: values that stand for unknown. within_source: true links two keys of one source as well. Empty: nothing is linked.\",\n"
    "  \"namespaces\": [],\n"
    "  \"aliases\": {},\n"
    "  \"never\": [\"UNKNOWN\", \"UNK\", \"NONE\", \"NULL\", \"N/A\", \"NA\", \"NOT AVAILABLE\", \"TEST\", \"ANONYMOUS\", \"UNASSIGNED\", "
    "\"123456789\", \"987654321\", \"12345678\", \"1234567\", \"123456\", \"12345\", \"1234\"],\n"
    "  \"within_source\": false\n"
    "}\n";

int cli_identity_init(const struct site *s, struct error *e) {
  char path[4096];
  TRY(site_path(s, path, "identity.json", NULL));
  if (file_exists(path)) return OK; /* of an init that was broken off, or brought along */
  return file_write_atomic(path, empty, sizeof empty - 1, 0644, e);
}

static int bad(struct error *e, const char *field, const char *what) {
  error_set(e, E_INPUT, "%s", what);
  error_where(e, NULL, 0, field);
  return E_INPUT;
}

static int namespaces(struct json root, struct vault *v, struct error *e) {
  struct json list = json_get(root, "namespaces"), item;
  if (json_kind(list) != JSON_ARRAY) return bad(e, "namespaces", "expected a list of names");
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    struct str name = json_str(item);
    if (!name.n) return bad(e, "namespaces", "expected names");
    TRY(vault_link_namespaces(v, &name, 1, e));
  }
  return OK;
}

static int aliases(struct json root, struct vault *v, struct error *e) {
  struct json map = json_get(root, "aliases"), item;
  struct str name;
  if (json_kind(map) == JSON_NONE) return OK;
  if (json_kind(map) != JSON_OBJECT) return bad(e, "aliases", "expected an object: name -> name space");
  for (struct json_iter it = json_members(map); json_next_member(&it, &name, &item);) {
    if (!name.n || !json_str(item).n) return bad(e, "aliases", "expected an object: name -> name space");
    TRY(vault_link_alias(v, name, json_str(item), e));
  }
  return OK;
}

static int others(struct json root, struct vault *v, struct error *e) {
  struct json list = json_get(root, "never"), within = json_get(root, "within_source"), item;
  bool yes = false;
  if (json_kind(list) != JSON_NONE && json_kind(list) != JSON_ARRAY) return bad(e, "never", "expected a list of values");
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    if (!json_str(item).n) return bad(e, "never", "expected texts");
    TRY(vault_link_never(v, json_str(item), e));
  }
  if (json_kind(within) != JSON_NONE && !json_bool(within, &yes)) return bad(e, "within_source", "expected true or false");
  vault_link_within_source(v, yes);
  return OK;
}

int cli_identity(const struct site *s, struct vault *v, struct error *e) {
  static const char *const known[] = {"note", "namespaces", "aliases", "never", "within_source"};
  char path[4096];
  struct arena a;
  struct json root, item;
  struct str key;
  TRY(site_path(s, path, "identity.json", NULL));
  if (!file_exists(path)) return OK; /* a site of an earlier program: nothing is trusted */
  arena_init(&a, 8 << 20, ARENA_WIPE);
  int rc = json_load(&a, path, &root, e);
  if (rc == OK && json_kind(root) != JSON_OBJECT) rc = bad(e, "", "expected an object");
  for (struct json_iter it = json_members(root); rc == OK && json_next_member(&it, &key, &item);) {
    bool fits = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) fits |= str_eqc(key, known[i]);
    if (!fits) rc = bad(e, "", "a setting that does not exist: there are namespaces, aliases, never, within_source, note");
  }
  if (rc == OK) rc = others(root, v, e); /* fillers before what they must not link */
  if (rc == OK) rc = namespaces(root, v, e);
  if (rc == OK) rc = aliases(root, v, e);
  if (rc < 0 && !(e && e->file[0])) error_where(e, "identity.json", 0, NULL);
  arena_free(&a);
  return rc;
}
