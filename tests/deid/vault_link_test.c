/* One identity: persons of several sources become one by what the site trusts, and only then; what links is stored, survives a change of
 * key, and is gone after an erasure. */
#include "deid_helper.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deid/vault_file.h"

/* The n-th rename or unlink from now on is the last thing this process does. */
static int die_in;
static void step(void) {
  if (die_in && --die_in == 0) _exit(42);
}
int rename(const char *from, const char *to) {
  step();
  return renameat(AT_FDCWD, from, AT_FDCWD, to);
}
int unlink(const char *path) {
  step();
  return unlinkat(AT_FDCWD, path, 0);
}

static char base[4096];
static int setup(void **state UNUSED) {
  strcpy(base, "/tmp/vault-link-XXXXXX");
  return mkdtemp(base) ? 0 : -1;
}
static int teardown(void **state UNUSED) { return file_remove_tree(base, NULL); }
static const char *dir_of(const char *name) {
  static char path[4200];
  snprintf(path, sizeof path, "%s/%s", base, name);
  return path;
}

static const char mrn[] = "urn:oid:1.2.3", other_ns[] = "urn:oid:9.9.9";

static struct record identifier(const char *person, const char *ns, const char *value) {
  struct record r = record_identifier(person, IDENTIFIER_MRN, value);
  r.ns = str_c(ns);
  return r;
}
static void learn(struct vault *v, const char *source, struct record r) {
  struct error e = {0};
  if (vault_learn(v, source, &r, &e) < 0) {
    error_print(stderr, &e);
    fail();
  }
}
static void trust(struct vault *v) {
  struct str ns = str_c(mrn);
  assert_int_equal(vault_link_namespaces(v, &ns, 1, NULL), OK);
}
static int64_t who(struct vault *v, const char *source, const char *person) {
  int64_t p = 0;
  int rc = vault_find(v, source, str_c(person), &p, NULL);
  return rc == OK ? p : rc;
}
static struct vault *memory(void) {
  struct vault *v;
  assert_int_equal(vault_open_memory(&v, NULL), OK);
  return v;
}
static struct vault_links links(const struct vault *v) {
  struct vault_links l;
  vault_link_counts(v, &l);
  return l;
}
static void emitted(struct vault *v, const char *source, const char *person) {
  uint16_t s;
  uint32_t row;
  assert_int_equal(vault_source(v, str_c(source), &s, NULL), OK);
  assert_int_equal(vault_person(v, s, str_c(person), &row, NULL), OK);
  vault_identity(v, row)->flags |= IDENTITY_EMITTED;
}

static void trusted_identifiers_link_and_others_do_not(void **state UNUSED) {
  struct vault *v = memory();
  learn(v, "fhir", identifier("p0", mrn, "70001")); /* before anything is trusted: it counts all the same */
  trust(v);
  learn(v, "fhir", identifier("p1", mrn, "70002"));
  learn(v, "fhir", identifier("p1", mrn, "70002"));
  learn(v, "fhir", identifier("p2", other_ns, "70003"));
  learn(v, "omop", identifier("1", mrn, " 70001 "));
  learn(v, "omop", identifier("2", mrn, "70002"));
  learn(v, "omop", identifier("3", other_ns, "70003"));
  learn(v, "omop", identifier("4", "", "70001"));
  learn(v, "dicom", identifier("X", mrn, "70002"));
  assert_true(who(v, "fhir", "p0") > 0 && who(v, "fhir", "p0") == who(v, "omop", "1"));
  assert_true(who(v, "fhir", "p1") == who(v, "omop", "2") && who(v, "fhir", "p1") == who(v, "dicom", "X"));
  assert_true(who(v, "fhir", "p2") != who(v, "omop", "3"));
  assert_true(who(v, "fhir", "p0") != who(v, "omop", "4"));
  assert_int_equal(vault_persons(v), 5);
  assert_int_equal(links(v).linked, 3);
  assert_int_equal(links(v).conflicts, 0);
  vault_close(v);
}

static void source_keys_can_be_the_trusted_numbers(void **state UNUSED) {
  for (int order = 0; order < 2; order++) {
    struct vault *v = memory();
    trust(v);
    assert_int_equal(vault_link_alias(v, STR("meds"), str_c(mrn), NULL), OK);
    assert_int_equal(vault_link_alias(v, STR("hospital-a"), str_c(mrn), NULL), OK);
    assert_int_equal(vault_link_alias(v, STR("x"), str_c(other_ns), NULL), E_USAGE);
    if (order) learn(v, "fhir", identifier("p1", mrn, "70001"));
    emitted(v, "meds", "70001");
    if (!order) learn(v, "fhir", identifier("p1", "hospital-a", "70001")); /* another spelling of the name space */
    assert_true(who(v, "meds", "70001") > 0 && who(v, "meds", "70001") == who(v, "fhir", "p1"));
    assert_int_equal(vault_persons(v), 1);
    vault_close(v);
  }
}

static void two_lives_are_never_merged(void **state UNUSED) {
  struct vault *v = memory();
  trust(v);
  emitted(v, "fhir", "p1");
  emitted(v, "omop", "1");
  int64_t a = who(v, "fhir", "p1"), b = who(v, "omop", "1");
  learn(v, "fhir", identifier("p1", mrn, "70001"));
  learn(v, "omop", identifier("1", mrn, "70001"));
  assert_true(who(v, "fhir", "p1") == a && who(v, "omop", "1") == b && a != b);
  struct vault_links l = links(v);
  assert_int_equal(l.conflicts, 1);
  assert_true(str_eqc(l.conflict[0].source, "omop") && str_eqc(l.conflict[0].other, "fhir") &&
              !strcmp(l.conflict[0].why, "both-have-events"));
  assert_int_equal(vault_link(v, "fhir", STR("p1"), "omop", STR("1"), NULL), E_MISMATCH);
  learn(v, "csv", identifier("z", mrn, "70001")); /* two carry it now: whose is the third? */
  assert_true(who(v, "csv", "z") != a && who(v, "csv", "z") != b);
  vault_close(v);
}

static void a_number_that_was_given_twice_is_noticed(void **state UNUSED) {
  struct vault *v = memory();
  trust(v);
  learn(v, "fhir", record_birth("p1", "1950-02-03"));
  learn(v, "omop", record_birth("1", "1987-02-03"));
  learn(v, "fhir", identifier("p1", mrn, "70001"));
  learn(v, "omop", identifier("1", mrn, "70001"));
  learn(v, "fhir", record_birth("p2", "1950-02-03"));
  learn(v, "omop", record_birth("2", "1950"));
  learn(v, "fhir", identifier("p2", mrn, "70002"));
  learn(v, "omop", identifier("2", mrn, "70002"));
  assert_true(links(v).linked == 2 && links(v).births_differ == 1);
  vault_close(v);
}

static void keys_of_one_source_stay_apart(void **state UNUSED) {
  struct vault *v = memory();
  trust(v);
  learn(v, "fhir", identifier("p1", mrn, "84411"));
  learn(v, "fhir", identifier("p2", mrn, "84411"));
  assert_true(who(v, "fhir", "p1") != who(v, "fhir", "p2"));
  assert_true(!strcmp(links(v).conflict[0].why, "one-source-says-two"));
  vault_link_within_source(v, true);
  learn(v, "fhir", identifier("p3", mrn, "84412"));
  learn(v, "fhir", identifier("p4", mrn, "84412"));
  assert_true(who(v, "fhir", "p3") == who(v, "fhir", "p4"));
  vault_close(v);
}

static void fillers_link_nobody(void **state UNUSED) {
  static const char *const fillers[] = {"0", "-", "00000000", "99999999", "XXX", "unknown", "7", "--- ---"};
  struct vault *v = memory();
  trust(v);
  assert_int_equal(vault_link_never(v, STR("UNKNOWN"), NULL), OK);
  for (size_t i = 0; i < sizeof fillers / sizeof *fillers; i++) {
    char a[16], b[16];
    snprintf(a, sizeof a, "p%zu", i), snprintf(b, sizeof b, "o%zu", i);
    learn(v, "fhir", identifier(a, mrn, fillers[i]));
    learn(v, "omop", identifier(b, mrn, fillers[i]));
    assert_true(who(v, "fhir", a) != who(v, "omop", b));
  }
  vault_close(v);
}

struct listing {
  int n;
  char all[4096];
};
static int list_one(void *ctx, const struct vault_identifier *id, struct error *e UNUSED) {
  struct listing *l = ctx;
  size_t n = strlen(l->all);
  snprintf(l->all + n, sizeof l->all - n, "%d|%.*s|%.*s;", id->kind, STR_ARG(id->ns), STR_ARG(id->value));
  l->n++;
  return OK;
}
static int list_all(void *ctx, int64_t pseudonym, const struct vault_identifier *id, struct error *e) {
  assert_true(pseudonym > 0);
  return list_one(ctx, id, e);
}

static void identifiers_are_kept_once_and_listed(void **state UNUSED) {
  struct vault *v = memory();
  struct listing l = {0};
  trust(v);
  learn(v, "fhir", record_identifier("p1", IDENTIFIER_NAME, "Quetzal"));
  learn(v, "fhir", record_identifier("p1", IDENTIFIER_NAME, " Quetzal "));
  learn(v, "fhir", record_identifier("p1", IDENTIFIER_PHONE, "Quetzal"));
  learn(v, "fhir", record_identifier("p1", IDENTIFIER_DATE, "2020-01-01"));
  learn(v, "fhir", record_identifier("p1", IDENTIFIER_FREE_TEXT, "a long story"));
  learn(v, "fhir", record_identifier("p1", IDENTIFIER_NAME, "  "));
  learn(v, "fhir", identifier("p1", mrn, "70001"));
  learn(v, "omop", record_identifier("1", IDENTIFIER_NAME, "Quetzal"));
  learn(v, "omop", record_identifier("1", IDENTIFIER_EMAIL, "q@example.org"));
  learn(v, "omop", record_birth("1", "1950-02-03"));
  learn(v, "omop", identifier("1", mrn, "70001")); /* here both lists become one */
  assert_int_equal(vault_identifiers(v, who(v, "fhir", "p1"), list_one, &l, NULL), OK);
  assert_int_equal(l.n, 2 + 4); /* keys; name, phone, number, mail */
  static const char *const want[] = {"0||Quetzal;", "3||Quetzal;", "5||q@example.org;", "7|urn:oid:1.2.3|70001;",
                                     "17|fhir|p1;", "17|omop|1;"};
  for (size_t i = 0; i < 6; i++) assert_non_null(strstr(l.all, want[i]));
  assert_null(strstr(l.all, "story"));
  assert_int_equal(vault_all_identifiers(v, list_all, &l, NULL), OK);
  assert_int_equal(l.n, 12);
  assert_int_equal(vault_identifiers(v, 12345, list_one, &l, NULL), E_NOTFOUND);
  uint32_t row;
  assert_true(vault_row_of(v, who(v, "omop", "1"), &row));
  assert_true(vault_identity(v, row)->birth < -7000); /* known before any event */
  vault_close(v);
}

static void the_year_alone_does_not_undo_the_day(void **state UNUSED) {
  struct vault *v = memory();
  uint32_t row;
  learn(v, "fhir", record_birth("p1", "1950-02-03"));
  assert_true(vault_row_of(v, who(v, "fhir", "p1"), &row));
  int32_t day = vault_identity(v, row)->birth;
  learn(v, "fhir", record_birth("p1", "1950"));
  assert_int_equal(vault_identity(v, row)->birth, day);
  learn(v, "fhir", record_birth("p1", "1951"));
  assert_true(vault_identity(v, row)->birth != day);
  vault_close(v);
}

static void too_many_identifiers_are_counted_not_kept(void **state UNUSED) {
  struct vault *v = memory();
  char value[40];
  static char longest[2000];
  memset(longest, 'x', sizeof longest - 1);
  for (int i = 0; i < VAULT_IDENTIFIERS + 7; i++) {
    snprintf(value, sizeof value, "visit-%d", i);
    learn(v, "fhir", record_identifier("p1", IDENTIFIER_ACCOUNT, value));
  }
  learn(v, "fhir", record_identifier("p2", IDENTIFIER_ACCOUNT, longest));
  assert_int_equal(links(v).unkept, 8);
  for (int i = 0; i < VAULT_NAMESPACES + 50; i++) { /* name spaces without end: the identifiers stay, without them */
    snprintf(value, sizeof value, "urn:%d", i);
    learn(v, "fhir", identifier("p3", value, "70001"));
  }
  struct str ns = STR("urn:new");
  assert_int_equal(vault_link_namespaces(v, &ns, 1, NULL), E_LIMIT);
  vault_close(v);
}

static void an_identity_table_links(void **state UNUSED) {
  struct vault *v = memory();
  emitted(v, "fhir", "p1");
  int64_t p = who(v, "fhir", "p1");
  assert_int_equal(vault_link(v, "fhir", STR("p1"), "omop", STR("1"), NULL), OK); /* before omop was ever read */
  assert_int_equal(vault_link(v, "csv", STR("a"), "omop", STR("1"), NULL), OK);
  assert_int_equal(vault_link(v, "x", STR("new"), "y", STR("new"), NULL), OK);
  assert_int_equal(vault_link(v, "fhir", STR("p1"), "csv", STR("a"), NULL), OK); /* known already */
  assert_true(who(v, "omop", "1") == p && who(v, "csv", "a") == p && who(v, "x", "new") == who(v, "y", "new"));
  learn(v, "meds", record_identifier("7", IDENTIFIER_NAME, "Ada"));
  assert_int_equal(vault_link(v, "meds", STR("7"), "csv", STR("a"), NULL), OK);
  assert_true(who(v, "meds", "7") == p);
  assert_int_equal(vault_persons(v), 2);
  assert_true(vault_link(v, "x", STR(""), "y", STR("new"), NULL) < 0);
  vault_close(v);
}

static void a_store_of_everything_comes_back(void **state UNUSED) {
  struct vault *v;
  struct listing before = {0}, after = {0};
  uint8_t secret[2][32];
  assert_int_equal(vault_create(dir_of("all"), NULL, NULL), OK);
  assert_int_equal(vault_open(dir_of("all"), NULL, &v, NULL), OK);
  trust(v);
  for (int i = 0; i < 3000; i++) {
    char p[16], o[16], n[16];
    snprintf(p, sizeof p, "p%d", i), snprintf(o, sizeof o, "%d", i), snprintf(n, sizeof n, "7%05d", i);
    learn(v, "fhir", identifier(p, mrn, n));
    learn(v, "omop", identifier(o, mrn, n));
    for (int k = 0; k < 5; k++) {
      char t[40];
      snprintf(t, sizeof t, "identifier %d of person %d", k, i);
      learn(v, "fhir", record_identifier(p, IDENTIFIER_OTHER, t));
    }
  }
  emitted(v, "fhir", "p17");
  int64_t p = who(v, "fhir", "p17"), gone = who(v, "fhir", "p18");
  assert_int_equal(vault_forget(v, gone, false, NULL), OK);
  assert_int_equal(vault_secret(v, p, "surrogates", secret[0], NULL), OK);
  assert_int_equal(vault_identifiers(v, p, list_one, &before, NULL), OK);
  assert_int_equal(vault_commit(v, NULL), OK);
  vault_close(v);
  assert_int_equal(vault_open(dir_of("all"), NULL, &v, NULL), OK);
  assert_int_equal(vault_persons(v), 2999);
  assert_true(who(v, "fhir", "p17") == p && who(v, "omop", "17") == p);
  assert_int_equal(vault_identifiers(v, p, list_one, &after, NULL), OK);
  assert_int_equal(before.n, after.n);
  assert_int_equal(before.n, 8);
  assert_int_equal(vault_secret(v, p, "surrogates", secret[1], NULL), OK);
  assert_memory_equal(secret[0], secret[1], 32);
  emitted(v, "csv", "a");
  assert_int_equal(vault_link(v, "csv", STR("a"), "fhir", STR("p17"), NULL), E_MISMATCH); /* that events passed is stored too */
  learn(v, "fhir", identifier("p18", mrn, "700018"));                                     /* forgotten: does not come back by itself */
  assert_true(who(v, "fhir", "p18") == E_NOTFOUND && who(v, "omop", "18") == E_NOTFOUND);
  vault_close(v);
}

static void secrets_are_one_a_person_and_purpose(void **state UNUSED) {
  struct vault *v = memory();
  uint8_t s[4][32];
  learn(v, "fhir", record_identifier("p1", IDENTIFIER_NAME, "Ada"));
  learn(v, "fhir", record_identifier("p2", IDENTIFIER_NAME, "Bea"));
  assert_int_equal(vault_secret(v, who(v, "fhir", "p1"), "surrogates", s[0], NULL), OK);
  assert_int_equal(vault_secret(v, who(v, "fhir", "p1"), "dicom-uid", s[1], NULL), OK);
  assert_int_equal(vault_secret(v, who(v, "fhir", "p2"), "surrogates", s[2], NULL), OK);
  assert_int_equal(vault_secret(v, 0, "surrogates", s[3], NULL), OK);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < i; k++) assert_memory_not_equal(s[i], s[k], 32);
  assert_int_equal(vault_secret(v, 42, "surrogates", s[0], NULL), E_NOTFOUND);
  vault_close(v);
}

static void forgetting_takes_every_key(void **state UNUSED) {
  struct vault *v = memory();
  int64_t p, q;
  struct listing l = {0};
  trust(v);
  learn(v, "fhir", identifier("p1", mrn, "70001"));
  learn(v, "omop", identifier("1", mrn, "70001"));
  p = who(v, "fhir", "p1");
  assert_int_equal(vault_forget(v, p, true, NULL), OK);
  assert_int_equal(vault_forget(v, p, true, NULL), E_NOTFOUND);
  assert_int_equal(vault_persons(v), 0);
  assert_int_equal(vault_all_identifiers(v, list_all, &l, NULL), OK);
  assert_int_equal(l.n, 0);
  for (size_t i = 0; i < v->text_chunks; i++) assert_null(memmem(v->text[i], VAULT_TEXT_CHUNK, "70001", 5));
  learn(v, "omop", identifier("1", mrn, "70001"));
  q = who(v, "omop", "1");
  assert_true(q > 0 && q != p); /* somebody new */
  vault_close(v);
}

/* The trusted number, not the key alone, keeps a forgotten person away; what somebody else carries too does not count. */
static void a_forgotten_number_brings_nobody_back(void **state UNUSED) {
  struct vault *v;
  assert_int_equal(vault_create(dir_of("gone"), NULL, NULL), OK);
  assert_int_equal(vault_open(dir_of("gone"), NULL, &v, NULL), OK);
  trust(v);
  learn(v, "fhir", identifier("p1", mrn, "70001"));
  learn(v, "fhir", identifier("p1", mrn, "70009"));
  learn(v, "fhir", identifier("p2", mrn, "70009")); /* of one source: two persons */
  emitted(v, "csv", "unlinked");
  assert_int_equal(vault_forget(v, who(v, "fhir", "p1"), false, NULL), OK);
  assert_int_equal(vault_commit(v, NULL), OK);
  vault_close(v);
  assert_int_equal(vault_open(dir_of("gone"), NULL, &v, NULL), OK);
  trust(v);
  assert_int_equal(vault_link_alias(v, STR("meds"), str_c(mrn), NULL), OK);
  learn(v, "omop", record_identifier("1", IDENTIFIER_NAME, "Quetzalcoatl"));
  learn(v, "omop", identifier("1", mrn, "70001"));
  learn(v, "omop", record_identifier("1", IDENTIFIER_NAME, "Quetzalcoatl"));
  learn(v, "omop", identifier("2", other_ns, "70001"));
  learn(v, "omop", identifier("3", mrn, "70009"));
  learn(v, "meds", record_identifier("70001", IDENTIFIER_NAME, "Quetzalcoatl"));
  learn(v, "csv", identifier("unlinked", mrn, "70001"));
  assert_true(who(v, "omop", "1") == E_NOTFOUND && who(v, "meds", "70001") == E_NOTFOUND);
  assert_true(who(v, "omop", "2") > 0 && who(v, "csv", "unlinked") > 0);
  assert_true(who(v, "omop", "3") > 0 && who(v, "omop", "3") == who(v, "fhir", "p2"));
  for (size_t i = 0; i < v->text_chunks; i++) assert_null(memmem(v->text[i], VAULT_TEXT_CHUNK, "Quetzal", 7));
  vault_close(v);
}

/* A vault that the program of format 1 wrote. */
static void version_1_is_read(void **state UNUSED) {
  static const struct {
    const char *key;
    int64_t pseudonym;
  } persons[] = {{"one", INT64_C(4436364384028113694)}, {"two", INT64_C(7729075164807715973)}, {"three", INT64_C(2235280795324958398)}};
  static const char *const files[] = {"identities", "key"};
  struct vault *v;
  struct arena a;
  char from[4300], to[4300];
  uint8_t secret[2][32];
  uint32_t row;
  arena_init(&a, 0, 0);
  assert_int_equal(file_mkdirs(dir_of("v1"), 0700, NULL), OK);
  for (int i = 0; i < 2; i++) {
    struct str s;
    snprintf(from, sizeof from, "tests/deid/vault-v1/%s", files[i]);
    if (!file_exists(from)) snprintf(from, sizeof from, "%s/tests/deid/vault-v1/%s", file_data_dir(), files[i]);
    snprintf(to, sizeof to, "%s/%s", dir_of("v1"), files[i]);
    assert_int_equal(file_read(&a, from, 1 << 20, &s, NULL), OK);
    assert_int_equal(file_write_atomic(to, s.p, s.n, 0600, NULL), OK);
  }
  for (int turn = 0; turn < 2; turn++) { /* as it was, and as this program writes it */
    struct error e = {0};
    if (vault_open(dir_of("v1"), NULL, &v, &e) < 0) {
      error_print(stderr, &e);
      fail();
    }
    assert_int_equal(vault_persons(v), 3);
    for (int i = 0; i < 3; i++) {
      assert_int_equal(who(v, "fhir", persons[i].key), persons[i].pseudonym);
      assert_true(vault_row_of(v, persons[i].pseudonym, &row));
      assert_true(vault_identity(v, row)->flags & IDENTITY_EMITTED);
    }
    assert_true(vault_row_of(v, persons[0].pseudonym, &row));
    assert_int_equal(vault_identity(v, row)->birth, -7243); /* 1950-03-04 */
    assert_int_equal(vault_identity(v, row)->last, 18388);  /* 2020-05-06 */
    assert_int_equal(vault_secret(v, persons[0].pseudonym, "x", secret[turn], NULL), OK);
    assert_int_equal(vault_commit(v, NULL), OK);
    vault_close(v);
  }
  assert_memory_equal(secret[0], secret[1], 32);
  snprintf(to, sizeof to, "%s/identities", dir_of("v1"));
  struct str s;
  assert_int_equal(file_read(&a, to, 1 << 20, &s, NULL), OK);
  assert_int_equal(s.p[8], 2);
  arena_free(&a);
}

/* ---- rotation ---- */

static void make(const char *name) {
  struct vault *v;
  assert_int_equal(vault_create(dir_of(name), NULL, NULL), OK);
  assert_int_equal(vault_open(dir_of(name), NULL, &v, NULL), OK);
  learn(v, "fhir", record_identifier("p1", IDENTIFIER_NAME, "Ada"));
  assert_int_equal(vault_commit(v, NULL), OK);
  vault_close(v);
}

static void rotation_changes_the_key_and_nothing_else(void **state UNUSED) {
  struct vault *v;
  struct arena a;
  struct str key[2];
  uint8_t secret[2][32];
  char path[4300];
  make("rotate");
  arena_init(&a, 0, 0);
  snprintf(path, sizeof path, "%s/key", dir_of("rotate"));
  assert_int_equal(file_read(&a, path, 64, &key[0], NULL), OK);
  assert_int_equal(vault_open(dir_of("rotate"), NULL, &v, NULL), OK);
  int64_t p = who(v, "fhir", "p1");
  assert_int_equal(vault_secret(v, p, "x", secret[0], NULL), OK);
  assert_int_equal(vault_rotate(v, NULL, NULL), OK);
  vault_close(v);
  assert_int_equal(file_read(&a, path, 64, &key[1], NULL), OK);
  assert_memory_not_equal(key[0].p, key[1].p, 32);
  assert_int_equal(vault_open(dir_of("rotate"), NULL, &v, NULL), OK);
  assert_true(who(v, "fhir", "p1") == p);
  assert_int_equal(vault_secret(v, p, "x", secret[1], NULL), OK);
  assert_memory_equal(secret[0], secret[1], 32);
  assert_false(vault_uses_passphrase(dir_of("rotate")));
  assert_int_equal(vault_rotate(v, "a passphrase", NULL), OK);
  vault_close(v);
  assert_true(vault_uses_passphrase(dir_of("rotate")));
  assert_false(file_exists(path));
  assert_int_equal(vault_open(dir_of("rotate"), NULL, &v, NULL), E_DENIED);
  assert_int_equal(vault_open(dir_of("rotate"), "a passphrase", &v, NULL), OK);
  assert_int_equal(vault_rotate(v, NULL, NULL), OK);
  vault_close(v);
  assert_int_equal(vault_open(dir_of("rotate"), NULL, &v, NULL), OK);
  assert_true(who(v, "fhir", "p1") == p);
  vault_close(v);
  arena_free(&a);
}

static void a_rotation_cut_off_anywhere_opens(void **state UNUSED) {
  for (int n = 1;; n++) {
    char name[32], path[4300];
    struct vault *v;
    int status;
    snprintf(name, sizeof name, "cut-%d", n);
    make(name);
    pid_t child = fork();
    if (child == 0) {
      if (vault_open(dir_of(name), NULL, &v, NULL) < 0) _exit(1);
      die_in = n;
      _exit(vault_rotate(v, NULL, NULL) < 0 ? 2 : 0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 0));
    for (int again = 0; again < 2; again++) { /* settles by the first opening, and stays so */
      struct error e = {0};
      if (vault_open(dir_of(name), NULL, &v, &e) < 0) {
        error_print(stderr, &e);
        fail_msg("cut at step %d", n);
      }
      assert_true(who(v, "fhir", "p1") > 0);
      vault_close(v);
    }
    snprintf(path, sizeof path, "%s/key.next", dir_of(name));
    assert_false(file_exists(path));
    if (WEXITSTATUS(status) == 0) {
      assert_true(n >= 3);
      break;
    }
  }
}

static void a_linked_key_stays_on_its_disk(void **state UNUSED) {
  struct vault *v;
  struct stat st;
  char path[4300], far[4300];
  make("linked");
  snprintf(path, sizeof path, "%s/key", dir_of("linked"));
  snprintf(far, sizeof far, "%s/far-key", base);
  assert_int_equal(renameat(AT_FDCWD, path, AT_FDCWD, far), 0);
  assert_int_equal(symlink(far, path), 0);
  assert_int_equal(vault_open(dir_of("linked"), NULL, &v, NULL), OK);
  assert_int_equal(vault_rotate(v, NULL, NULL), OK);
  vault_close(v);
  assert_true(lstat(path, &st) == 0 && S_ISLNK(st.st_mode));
  assert_true(lstat(far, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0600);
  assert_int_equal(vault_open(dir_of("linked"), NULL, &v, NULL), OK);
  vault_close(v);
}

static void a_sealed_list_opens_with_its_passphrase_only(void **state UNUSED) {
  struct arena a;
  struct str text, file;
  char path[4300];
  static char large[500000];
  for (size_t i = 0; i < sizeof large; i++) large[i] = (char)('a' + i % 26);
  arena_init(&a, 0, ARENA_WIPE);
  snprintf(path, sizeof path, "%s/list", base);
  assert_int_equal(vault_seal_file(path, "for the broker", (struct str){large, sizeof large}, NULL), OK);
  assert_int_equal(file_read(&a, path, 1 << 20, &file, NULL), OK);
  assert_null(memmem(file.p, file.n, "abcdefghijklmnop", 16));
  assert_int_equal(vault_unseal_file(path, "for the broken", &a, &text, NULL), E_DENIED);
  assert_int_equal(vault_unseal_file(path, "for the broker", &a, &text, NULL), OK);
  assert_true(text.n == sizeof large && memcmp(text.p, large, sizeof large) == 0);
  char *bytes = arena_strndup(&a, file.p, file.n);
  for (size_t at = 100; at < file.n; at += 70001) {
    bytes[at] ^= 1;
    assert_int_equal(file_write_atomic(path, bytes, file.n, 0600, NULL), OK);
    assert_int_equal(vault_unseal_file(path, "for the broker", &a, &text, NULL), E_CORRUPT);
    bytes[at] ^= 1;
  }
  assert_int_equal(file_write_atomic(path, bytes, file.n - 5, 0600, NULL), OK);
  assert_int_equal(vault_unseal_file(path, "for the broker", &a, &text, NULL), E_CORRUPT);
  assert_int_equal(file_write_atomic(path, "hello", 5, 0600, NULL), OK);
  assert_int_equal(vault_unseal_file(path, "for the broker", &a, &text, NULL), E_INPUT);
  arena_free(&a);
}

/* ---- through the wall ---- */

/* The same person in three sources: one pseudonym, one shift; distances between dates of different sources are exact to the second. */
static void three_sources_one_life(void **state UNUSED) {
  struct vault *v = memory();
  struct keep keep = {0};
  struct error e = {0};
  struct deid_policy p = policy_of("expert");
  struct event_sink sink = {.ctx = &keep, .event = keep_event};
  static const char *const source[] = {"fhir", "omop54", "meds"}, *const key[] = {"p1", "1001", "70001"};
  static const char *const time[] = {"2020-02-28T23:59:59", "2020-03-01T00:00:01", "2019-12-31T12:00:00"};
  trust(v);
  assert_int_equal(vault_link_alias(v, STR("meds"), str_c(mrn), NULL), OK);
  for (int s = 0; s < 3; s++) {
    struct deid *w;
    assert_int_equal(deid_open(&p, v, source[s], &sink, &w, &e), OK);
    struct record id = identifier(key[s], mrn, "70001"), ev = record_event(key[s], "LOINC//2160-0", time[s]);
    if (s < 2) assert_int_equal(deid_learn(w, &id, &e), OK); /* the pass before: the Patient may come after its observations */
    assert_int_equal(deid_take(w, &ev, &e), OK);
    if (s < 2) assert_int_equal(deid_take(w, &id, &e), OK);
    assert_int_equal(deid_finish(w, &e), OK);
    deid_close(w);
  }
  assert_int_equal(keep.n, 3);
  for (int s = 1; s < 3; s++) {
    assert_true(keep.at[s].subject == keep.at[0].subject);
    assert_true(keep.at[s].time - keep.at[0].time == at(time[s]).us - at(time[0]).us);
  }
  assert_true(keep.at[0].time != at(time[0]).us);
  keep_free(&keep);
  vault_close(v);
}

static void the_forgotten_do_not_pass(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "expert", "fhir");
  take(&f, record_event("p1", "LOINC//2160-0", "2020-01-01"));
  take(&f, record_event("p2", "LOINC//2160-0", "2020-01-01"));
  assert_int_equal(vault_forget(f.vault, f.keep.at[0].subject, false, NULL), OK);
  take(&f, record_event("p1", "LOINC//2160-0", "2020-01-02"));
  take(&f, record_identifier("p1", IDENTIFIER_NAME, "Quetzal"));
  take(&f, record_birth("p1", "1950-01-01"));
  take(&f, record_event("p2", "LOINC//2160-0", "2020-01-02"));
  finish(&f);
  assert_int_equal(f.keep.n, 3);
  assert_true(f.keep.at[2].subject == f.keep.at[1].subject);
  assert_int_equal(vault_persons(f.vault), 1);
  fixture_close(&f);
}

static void a_code_that_is_the_persons_own_number_is_dropped_wherever_it_was_learned(void **state UNUSED) {
  struct fixture f;
  fixture_open(&f, "expert", "fhir");
  struct record id = identifier("p1", mrn, "21600123");
  assert_int_equal(deid_learn(f.wall, &id, &f.e), OK);
  struct record r = record_event("p1", "LOINC//2160-0", "2020-01-01");
  r.value = 21600123;
  take(&f, r);
  assert_int_equal(f.keep.n, 0);
  take(&f, record_event("p2", "LOINC//2160-0", "2020-01-01"));
  assert_int_equal(f.keep.n, 1);
  fixture_close(&f);
}

static void keyed_pseudonyms(void **state UNUSED) {
  struct deid_policy p = policy_of("expert"), year = policy_of("safe-harbor");
  struct keep keep = {0};
  struct event_sink sink = {.ctx = &keep, .event = keep_event};
  struct error e = {0};
  struct deid *w;
  struct vault *v;
  p.random_pseudonyms = year.random_pseudonyms = false;
  char dir[4300], copy[4300], command[9000];
  assert_int_equal(vault_create(dir_of("keyed"), NULL, NULL), OK);
  snprintf(dir, sizeof dir, "%s", dir_of("keyed"));
  snprintf(copy, sizeof copy, "%s", dir_of("keyed-copy"));
  snprintf(command, sizeof command, "cp -a %s %s", dir, copy);
  assert_int_equal(system(command), 0);
  assert_int_equal(vault_open_memory(&v, NULL), OK);
  assert_int_equal(deid_open(&year, v, "fhir", &sink, &w, NULL), E_USAGE);
  vault_close(v);
  for (int turn = 0; turn < 3; turn++) { /* two copies of one vault agree; another vault does not */
    if (turn == 2)
      assert_int_equal(vault_open_memory(&v, NULL), OK);
    else
      assert_int_equal(vault_open(turn ? copy : dir, NULL, &v, NULL), OK);
    assert_int_equal(deid_open(&p, v, "fhir", &sink, &w, &e), OK);
    struct record a = record_event("p1", "LOINC//2160-0", NULL), b = record_event("p2", "LOINC//2160-0", NULL);
    assert_int_equal(deid_take(w, turn ? &b : &a, &e), OK);
    assert_int_equal(deid_take(w, turn ? &a : &b, &e), OK);
    deid_close(w);
    vault_close(v);
  }
  assert_true(keep.at[0].subject == keep.at[3].subject && keep.at[1].subject == keep.at[2].subject);
  assert_true(keep.at[0].subject > 0 && keep.at[0].subject != keep.at[1].subject);
  assert_true(keep.at[0].subject != keep.at[5].subject);
  keep_free(&keep);
}

static void every_allocation_may_fail_while_linking(void **state UNUSED) {
  for (long n = 1;; n++) {
    struct vault *v;
    struct str ns = str_c(mrn);
    struct record a = identifier("p1", mrn, "70001"), b = identifier("1", mrn, "70001"), c = record_identifier("1", IDENTIFIER_NAME, "Ada");
    assert_int_equal(vault_open_memory(&v, NULL), OK);
    arena_fail_at(n);
    int rc = vault_link_namespaces(v, &ns, 1, NULL);
    if (rc == OK) rc = vault_learn(v, "fhir", &a, NULL);
    if (rc == OK) rc = vault_learn(v, "omop", &c, NULL);
    if (rc == OK) rc = vault_learn(v, "omop", &b, NULL);
    if (rc == OK && who(v, "fhir", "p1") > 0) rc = vault_forget(v, who(v, "fhir", "p1"), false, NULL);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    assert_true(rc == OK || rc == E_NOMEM);
    vault_close(v);
    if (pending) break;
    assert_true(n < 200);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(trusted_identifiers_link_and_others_do_not),
      cmocka_unit_test(source_keys_can_be_the_trusted_numbers),
      cmocka_unit_test(two_lives_are_never_merged),
      cmocka_unit_test(a_number_that_was_given_twice_is_noticed),
      cmocka_unit_test(keys_of_one_source_stay_apart),
      cmocka_unit_test(fillers_link_nobody),
      cmocka_unit_test(identifiers_are_kept_once_and_listed),
      cmocka_unit_test(the_year_alone_does_not_undo_the_day),
      cmocka_unit_test(too_many_identifiers_are_counted_not_kept),
      cmocka_unit_test(an_identity_table_links),
      cmocka_unit_test(a_store_of_everything_comes_back),
      cmocka_unit_test(secrets_are_one_a_person_and_purpose),
      cmocka_unit_test(forgetting_takes_every_key),
      cmocka_unit_test(a_forgotten_number_brings_nobody_back),
      cmocka_unit_test(version_1_is_read),
      cmocka_unit_test(rotation_changes_the_key_and_nothing_else),
      cmocka_unit_test(a_rotation_cut_off_anywhere_opens),
      cmocka_unit_test(a_linked_key_stays_on_its_disk),
      cmocka_unit_test(a_sealed_list_opens_with_its_passphrase_only),
      cmocka_unit_test(three_sources_one_life),
      cmocka_unit_test(the_forgotten_do_not_pass),
      cmocka_unit_test(a_code_that_is_the_persons_own_number_is_dropped_wherever_it_was_learned),
      cmocka_unit_test(keyed_pseudonyms),
      cmocka_unit_test(every_allocation_may_fail_while_linking),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
