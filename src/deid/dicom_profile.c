#include "deid/dicom_profile.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "record/dicom.h"

enum { TABLES = 3, MEMORY = 32 << 20, RULES = 4096, DEVICES = 2048, LIST = 1024, BOXES = 16 };

static const char *const option_names[DICOM_OPTIONS] = {"retain-safe-private",
                                                        "retain-uids",
                                                        "retain-device",
                                                        "retain-institution",
                                                        "retain-patient-characteristics",
                                                        "retain-longitudinal-full-dates",
                                                        "retain-longitudinal-modified-dates",
                                                        "clean-descriptors",
                                                        "clean-structured-content",
                                                        "clean-graphics",
                                                        "clean-pixel"};
static const char letters[] = "pudicfmtsg";

const char *dicom_option_name(enum dicom_option o) { return o < DICOM_OPTIONS ? option_names[o] : ""; }

static int bad(struct error *e, const char *field, const char *what) {
  error_set(e, E_INPUT, "%s", what);
  error_where(e, NULL, 0, field);
  return E_INPUT;
}
static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for the DICOM profile"); }

static int hex(struct str s, uint32_t most, uint32_t *out) {
  uint32_t v = 0;
  if (s.n == 0 || s.n > 8) return E_INPUT;
  for (size_t i = 0; i < s.n; i++) {
    const char *digits = "0123456789abcdef", *at = strchr(digits, s.p[i]);
    if (!s.p[i] || !at) return E_INPUT;
    v = v << 4 | (uint32_t)(at - digits);
  }
  *out = v;
  return v <= most ? OK : E_INPUT;
}

static int letter_option(char c) {
  const char *at = c ? strchr(letters, c) : NULL;
  return at ? (int)(at - letters) : -1;
}

static enum dicom_action basic_of(struct str s) {
  static const struct {
    const char *code;
    enum dicom_action action;
  } codes[] = {{"X", DICOM_REMOVE},  {"Z", DICOM_EMPTY},   {"D", DICOM_DUMMY},     {"U", DICOM_NEW_UID},    {"K", DICOM_KEEP},
               {"X/Z", DICOM_EMPTY}, {"X/D", DICOM_DUMMY}, {"X/Z/D", DICOM_DUMMY}, {"X/Z/U*", DICOM_CLEAN}, {"Z/D", DICOM_DUMMY}};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (str_eqc(s, codes[i].code)) return codes[i].action;
  return DICOM_UNLISTED;
}

static int rule_add(struct dicom_profile *p, struct str key, struct str actions, struct error *e) {
  struct dicom_rule *r = &p->rule[p->rule_n];
  char tag[9] = "";
  if (str_eqc(key, "private")) return OK;
  if (key.n != 8) return bad(e, "attributes", "a tag has 8 digits");
  memcpy(tag, key.p, 8);
  if (memcmp(tag + 2, "xx", 2) == 0) tag[2] = tag[3] = '0';
  if (strcmp(tag + 4, "xxxx") == 0) memcpy(tag + 4, "3000", 4);
  if (hex(str_c(tag), UINT32_MAX, &r->tag) < 0) return bad(e, "attributes", "a tag has 8 hexadecimal digits in lower case");
  struct str basic = str_cut(&actions, ' ');
  bool compound = basic.n > 1;
  r->basic = (uint8_t)basic_of(basic);
  /* a sequence of no items is valid only where it is type 2; what is X/Z is seldom that */
  if (r->basic == DICOM_EMPTY && compound && dicom_dictionary_vr(r->tag) == DICOM_SQ) r->basic = DICOM_REMOVE;
  if (r->basic == DICOM_UNLISTED) return bad(e, "attributes", "an action that does not exist");
  while (actions.n) {
    struct str s = str_cut(&actions, ' ');
    int option = s.n == 2 ? letter_option(s.p[0]) : -1;
    if (option < 0 || (s.p[1] != 'K' && s.p[1] != 'C')) return bad(e, "attributes", "an option is a letter and K or C");
    if (s.p[1] == 'K')
      r->keep |= (uint16_t)(1u << option);
    else
      r->clean |= (uint16_t)(1u << option);
  }
  p->rule_n++;
  return OK;
}

static int by_tag(const void *a, const void *b) {
  uint32_t x = ((const struct dicom_rule *)a)->tag, y = ((const struct dicom_rule *)b)->tag;
  return (x > y) - (x < y);
}

static int rules_read(struct dicom_profile *p, struct json root, struct error *e) {
  struct json list = json_get(root, "attributes"), v;
  struct str key;
  size_t n = json_count(list);
  if (json_kind(list) != JSON_OBJECT || n == 0 || n > RULES) return bad(e, "attributes", "expected the table of attributes");
  p->rule = arena_array(&p->arena, struct dicom_rule, n);
  if (!p->rule) return no_memory(e);
  for (struct json_iter it = json_members(list); json_next_member(&it, &key, &v);) TRY(rule_add(p, key, json_str(v), e));
  qsort(p->rule, p->rule_n, sizeof *p->rule, by_tag);
  return OK;
}

static int safe_read(struct dicom_profile *p, struct json root, struct error *e) {
  struct json list = json_get(root, "safe_private"), v, vr;
  struct str key;
  p->safe = arena_array(&p->arena, struct dicom_safe, LIST);
  if (!p->safe) return no_memory(e);
  for (struct json_iter it = json_items(list); json_next(&it, &v);) {
    uint32_t group, element;
    struct str creator = str_copy(&p->arena, json_str(json_get(v, "creator")));
    if (creator.n == 0 || hex(json_str(json_get(v, "group")), 0xFFFF, &group) < 0) return bad(e, "safe_private", "wants creator and group");
    for (struct json_iter in = json_members(json_get(v, "elements")); json_next_member(&in, &key, &vr);) {
      struct str s = json_str(vr);
      if (p->safe_n == LIST || s.n != 2 || hex(key, 0xFF, &element) < 0)
        return bad(e, "safe_private", "wants elements and representations");
      p->safe[p->safe_n++] = (struct dicom_safe){creator, (uint16_t)group, DICOM_VR(s.p[0], s.p[1]), (uint8_t)element};
    }
  }
  return OK;
}

static int lists_read(struct dicom_profile *p, struct json root, struct error *e) {
  struct json v;
  p->class_uid = arena_array(&p->arena, uint32_t, LIST);
  p->scheme = arena_array(&p->arena, struct str, LIST);
  if (!p->class_uid || !p->scheme) return no_memory(e);
  for (struct json_iter it = json_items(json_get(root, "class_uids")); json_next(&it, &v);)
    if (p->class_n == LIST || hex(json_str(v), UINT32_MAX, &p->class_uid[p->class_n++]) < 0) return bad(e, "class_uids", "expected tags");
  p->number = arena_array(&p->arena, uint32_t, LIST);
  if (!p->number) return no_memory(e);
  for (struct json_iter it = json_items(json_get(root, "device_numbers")); json_next(&it, &v);)
    if (p->number_n == LIST || hex(json_str(v), UINT32_MAX, &p->number[p->number_n++]) < 0)
      return bad(e, "device_numbers", "expected tags");
  for (struct json_iter it = json_items(json_get(root, "standard_schemes")); json_next(&it, &v);) {
    if (p->scheme_n == LIST) return bad(e, "standard_schemes", "too many");
    p->scheme[p->scheme_n] = str_copy(&p->arena, json_str(v));
    if (p->scheme[p->scheme_n++].n == 0) return bad(e, "standard_schemes", "expected names");
  }
  return OK;
}

static int code_read(struct json codes, const char *name, char out[16], struct error *e) {
  struct str s = json_str(json_get(codes, name));
  if (s.n == 0 || s.n >= 16) return bad(e, "codes", "an option has no code");
  memcpy(out, s.p, s.n);
  return OK;
}

static int profile_read(struct dicom_profile *p, struct json root, struct error *e) {
  struct str s;
  TRY(json_want_str(root, "edition", &s, e));
  if (s.n == 0 || s.n >= sizeof p->edition) return bad(e, "edition", "empty or too long");
  memcpy(p->edition, s.p, s.n);
  for (int i = 0; i < DICOM_OPTIONS; i++) TRY(code_read(json_get(root, "codes"), option_names[i], p->code[i], e));
  TRY(code_read(json_get(root, "codes"), "basic", p->code[DICOM_OPTIONS], e));
  TRY(rules_read(p, root, e));
  TRY(safe_read(p, root, e));
  return lists_read(p, root, e);
}

/* ---- devices ---- */

static int condition_read(struct dicom_profile *p, struct json j, struct dicom_condition *c, struct error *e) {
  static const char *const tests[] = {"contains", "equals", "missing", "empty"};
  struct str test = json_str(json_at(j, 0));
  int at = -1;
  for (int i = 0; i < 4; i++)
    if (str_eqc(test, tests[i])) at = i;
  if (at < 0 || hex(json_str(json_at(j, 1)), UINT32_MAX, &c->tag) < 0) return bad(e, "rules", "a condition is [test, tag, words]");
  c->test = at;
  c->words = str_copy(&p->arena, json_str(json_at(j, 2)));
  return OK;
}

static int clauses_read(struct dicom_profile *p, struct json list, struct dicom_device *d, struct error *e) {
  size_t n = json_count(list), k = 0;
  struct dicom_clause *all = arena_array(&p->arena, struct dicom_clause, n + 1);
  struct json clause, one;
  if (n == 0 || n > LIST) return bad(e, "rules", "a rule without conditions would fit every image");
  if (!all) return no_memory(e);
  for (struct json_iter it = json_items(list); json_next(&it, &clause); k++) {
    size_t m = json_count(clause), i = 0;
    struct dicom_condition *any = arena_array(&p->arena, struct dicom_condition, m + 1);
    if (!any || m > LIST) return no_memory(e);
    for (struct json_iter in = json_items(clause); json_next(&in, &one);) TRY(condition_read(p, one, &any[i++], e));
    all[k] = (struct dicom_clause){any, (uint32_t)m};
  }
  d->all = all;
  d->all_n = (uint32_t)n;
  return OK;
}

static int boxes_read(struct dicom_profile *p, struct json list, struct dicom_device *d, struct error *e) {
  size_t n = json_count(list);
  struct dicom_box *box = arena_array(&p->arena, struct dicom_box, n + 1);
  if (!box) return no_memory(e);
  if (n == 0 || n > BOXES) return bad(e, "rules", "a rule has 1 to 16 boxes");
  for (size_t i = 0; i < n; i++) {
    int64_t v[4];
    for (size_t k = 0; k < 4; k++)
      if (!json_i64(json_at(json_at(list, i), k), &v[k]) || v[k] < 0 || v[k] > 65535) return bad(e, "rules", "a box is 4 numbers");
    box[i] = (struct dicom_box){(int32_t)v[0], (int32_t)v[1], (int32_t)v[2], (int32_t)v[3]};
  }
  d->box = box;
  d->box_n = (uint32_t)n;
  return OK;
}

static int devices_read(struct dicom_profile *p, struct json root, struct error *e) {
  struct json list = json_get(root, "rules"), v;
  size_t n = json_count(list);
  if (json_kind(list) != JSON_ARRAY || n > DEVICES) return bad(e, "rules", "expected a list of rules");
  p->device = arena_array(&p->arena, struct dicom_device, n + 1);
  if (!p->device) return no_memory(e);
  for (struct json_iter it = json_items(list); json_next(&it, &v); p->device_n++) {
    TRY(clauses_read(p, json_get(v, "when"), &p->device[p->device_n], e));
    TRY(boxes_read(p, json_get(v, "boxes"), &p->device[p->device_n], e));
  }
  list = json_get(root, "faces");
  n = json_count(list);
  if (json_kind(list) != JSON_ARRAY || n == 0 || n > LIST) return bad(e, "faces", "expected a list of rules");
  p->face = arena_array(&p->arena, struct dicom_device, n + 1);
  if (!p->face) return no_memory(e);
  for (struct json_iter it = json_items(list); json_next(&it, &v); p->face_n++)
    TRY(clauses_read(p, json_get(v, "when"), &p->face[p->face_n], e));
  return OK;
}

static int words_read(struct dicom_profile *p, struct json root, struct error *e) {
  struct str all;
  TRY(json_want_str(root, "words", &all, e));
  while (all.n) {
    struct str w = str_cut(&all, ' ');
    if (w.n && !map_put(&p->words, w, NULL)) return no_memory(e);
  }
  return OK;
}

/* ---- the policy ---- */

static int options_read(struct dicom_profile *p, struct json j, struct error *e) {
  struct json v;
  if (json_kind(json_get(j, "options")) != JSON_ARRAY) return bad(e, "dicom.options", "expected a list of options");
  for (struct json_iter it = json_items(json_get(j, "options")); json_next(&it, &v);) {
    int at = -1;
    for (int i = 0; i < DICOM_OPTIONS; i++)
      if (str_eqc(json_str(v), option_names[i])) at = i;
    if (at < 0) return bad(e, "dicom.options", "an option that PS3.15 does not have");
    p->options |= (uint16_t)(1u << at);
  }
  if (dicom_profile_option(p, DICOM_FULL_DATES) && dicom_profile_option(p, DICOM_MODIFIED_DATES))
    return bad(e, "dicom.options", "dates are kept or modified, not both");
  struct str numbers = json_str(json_get(j, "device_numbers")), faces = json_str(json_get(j, "faces"));
  p->keep_numbers = str_eqc(numbers, "keep");
  if (numbers.n && !p->keep_numbers && !str_eqc(numbers, "replace")) return bad(e, "dicom.device_numbers", "expected replace or keep");
  p->faces = str_eqc(faces, "keep") ? DICOM_FACES_KEEP : str_eqc(faces, "flag") ? DICOM_FACES_FLAG : DICOM_FACES_REFUSE;
  if (faces.n && p->faces == DICOM_FACES_REFUSE && !str_eqc(faces, "refuse")) return bad(e, "dicom.faces", "expected refuse, flag or keep");
  struct str how = json_str(json_get(j, "descriptors"));
  p->vocabulary = str_eqc(how, "vocabulary");
  if (!p->vocabulary && !str_eqc(how, "scrub")) return bad(e, "dicom.descriptors", "expected vocabulary or scrub");
  return OK;
}

/* A file named in the policy lies beside it. */
static int beside(const char *policy, struct json j, const char *key, char out[4096], struct error *e) {
  struct str name;
  TRY(json_want_str(j, key, &name, e));
  if (name.n == 0 || memchr(name.p, '/', name.n)) return bad(e, key, "a policy may only name files beside it");
  const char *slash = strrchr(policy, '/');
  int dir = slash ? (int)(slash - policy) + 1 : 0, n = snprintf(out, 4096, "%.*s%.*s", dir, policy, STR_ARG(name));
  return n < 0 || n >= 4096 ? error_set(e, E_LIMIT, "path too long") : OK;
}

static int tables_of(struct arena *a, const char *policy, struct json *dicom, char path[TABLES][4096], struct error *e) {
  static const char *const keys[TABLES] = {"profile", "devices", "words"};
  struct json root;
  TRY(json_load(a, policy, &root, e));
  *dicom = json_get(root, "dicom");
  if (json_kind(*dicom) != JSON_OBJECT) return error_set(e, E_NOTFOUND, "this policy says nothing about DICOM");
  for (int i = 0; i < TABLES; i++) TRY(beside(policy, *dicom, keys[i], path[i], e));
  return OK;
}

int dicom_profile_hash(const char *policy, char out[65], struct error *e) {
  char path[TABLES][4096];
  uint8_t digest[TABLES][32], all[32];
  struct json dicom;
  struct arena a;
  struct error own = {0};
  arena_init(&a, MEMORY, 0);
  memset(out, 0, 65);
  int rc = tables_of(&a, policy, &dicom, path, &own);
  arena_free(&a);
  if (rc == E_NOTFOUND && !own.file[0]) return OK;
  if (rc < 0 && e) *e = own;
  if (rc < 0) return rc;
  for (int i = 0; i < TABLES; i++) TRY(sha256_file(path[i], digest[i], e));
  sha256_of(digest, sizeof digest, all);
  hash_hex(all, 32, out);
  out[64] = 0;
  return OK;
}

static int load(struct dicom_profile *p, const char *policy, struct error *e) {
  static int (*const readers[TABLES])(struct dicom_profile *, struct json, struct error *) = {profile_read, devices_read, words_read};
  char path[TABLES][4096];
  struct json dicom, root;
  struct arena a;
  arena_init(&a, MEMORY, 0);
  int rc;
  TRY_OUT(tables_of(&a, policy, &dicom, path, e));
  TRY_OUT(options_read(p, dicom, e));
  for (int i = 0; i < TABLES; i++) {
    TRY_OUT(json_load(&a, path[i], &root, e));
    rc = readers[i](p, root, e);
    if (rc < 0) {
      error_where(e, path[i], 0, NULL);
      goto out;
    }
  }
  rc = dicom_profile_hash(policy, p->hash, e);
out:
  arena_free(&a);
  return rc;
}

int dicom_profile_load(const char *policy, struct dicom_profile **out, struct error *e) {
  *out = NULL;
  struct dicom_profile *p = mem_alloc(sizeof *p);
  if (!p) return no_memory(e);
  memset(p, 0, sizeof *p);
  arena_init(&p->arena, MEMORY, 0);
  map_init(&p->words, MEMORY);
  int rc = load(p, policy, e);
  if (rc < 0) {
    dicom_profile_free(p);
    return rc;
  }
  *out = p;
  return OK;
}

void dicom_profile_free(struct dicom_profile *p) {
  if (!p) return;
  map_release(&p->words);
  arena_free(&p->arena);
  mem_free(p);
}

/* ---- questions ---- */

bool dicom_profile_option(const struct dicom_profile *p, enum dicom_option o) { return p->options >> o & 1; }

enum dicom_action dicom_profile_action(const struct dicom_profile *p, uint32_t tag) {
  uint16_t group = (uint16_t)(tag >> 16);
  if ((group & 0xFF00) == 0x5000 && group < 0x5100) tag = DICOM_TAG(0x5000, 0x3000); /* curves: all of them */
  if ((group & 0xFF00) == 0x6000 && group < 0x6100) tag &= 0xFF00FFFF;
  const struct dicom_rule want = {.tag = tag}, *r = bsearch(&want, p->rule, p->rule_n, sizeof want, by_tag);
  if (!r) return DICOM_UNLISTED;
  if (r->keep & p->options) return DICOM_KEEP;
  if (r->clean & p->options) return DICOM_CLEAN;
  return r->basic;
}

uint16_t dicom_profile_safe(const struct dicom_profile *p, struct str creator, uint32_t tag) {
  for (uint32_t i = 0; i < p->safe_n; i++) {
    const struct dicom_safe *s = &p->safe[i];
    if (s->group == tag >> 16 && s->element == (tag & 0xFF) && str_eq(s->creator, creator)) return s->vr;
  }
  return 0;
}

bool dicom_profile_number(const struct dicom_profile *p, uint32_t tag) {
  for (uint32_t i = 0; i < p->number_n && !p->keep_numbers; i++)
    if (p->number[i] == tag) return true;
  return false;
}

bool dicom_profile_class(const struct dicom_profile *p, uint32_t tag) {
  for (uint32_t i = 0; i < p->class_n; i++)
    if (p->class_uid[i] == tag) return true;
  return false;
}

bool dicom_profile_scheme(const struct dicom_profile *p, struct str scheme) {
  for (uint32_t i = 0; i < p->scheme_n; i++)
    if (str_eq(p->scheme[i], scheme)) return true;
  return false;
}

bool dicom_profile_word(const struct dicom_profile *p, struct str lower) {
  uint64_t v;
  return map_get(&p->words, lower, &v);
}
