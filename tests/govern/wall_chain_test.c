/* The chain of signed statements: every changed byte is found, and so is a statement that was removed, exchanged or put in. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "govern/site.h"
#include "govern/wall_chain.h"

struct fixture {
  char dir[64], site[96], said[4000];
  int findings, notes;
};

#define MUST(x)                \
  do {                         \
    struct error e = {0};      \
    if ((x) < 0) {             \
      error_print(stderr, &e); \
      fail_msg("%s", #x);      \
    }                          \
  } while (0)

static void heard(void *ctx, const char *what) {
  struct fixture *f = ctx;
  if (strncmp(what, "note: ", 6) == 0)
    f->notes++;
  else
    f->findings++;
  snprintf(f->said + strlen(f->said), sizeof f->said - strlen(f->said), "%s\n", what);
}

static int verify(struct fixture *f, struct wall_chain_counts *n) {
  struct wall_chain_counts unused;
  struct error e = {0};
  f->findings = f->notes = 0;
  f->said[0] = 0;
  return wall_chain_verify(f->site, heard, f, n ? n : &unused, &e);
}

static void path_of(const struct fixture *f, int generation, const char *suffix, char out[256]) {
  snprintf(out, 256, "%s/reports/wall-gen-%06d.%s", f->site, generation, suffix);
}

static void add(struct fixture *f, int generation) {
  struct wall_link link;
  char json[600], name[32];
  MUST(wall_chain_head(f->site, &link, &e));
  assert_int_equal(strlen(link.signer), 64);
  snprintf(name, sizeof name, "gen-%06d", generation);
  snprintf(json, sizeof json, "{\"format\":1,\"generation\":\"%s\",\"previous\":\"%s\",\"signer\":\"%s\",\"store\":\"\",\"names\":%d}",
           name, link.previous, link.signer, generation * 17);
  MUST(wall_chain_add(f->site, name, str_c(json), &e));
}

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  strcpy(f->dir, "/tmp/vitae-chain-XXXXXX");
  assert_non_null(mkdtemp(f->dir));
  snprintf(f->site, sizeof f->site, "%s/site", f->dir);
  MUST(site_init(f->site, "ward", "expert", &e));
  for (int i = 1; i <= 3; i++) add(f, i);
  *state = f;
  return 0;
}
static int teardown(void **state) {
  struct fixture *f = *state;
  assert_int_equal(file_remove_tree(f->dir, NULL), OK);
  free(f);
  return 0;
}

static void a_whole_chain_holds(void **state) {
  struct wall_chain_counts n;
  assert_int_equal(verify(*state, &n), OK);
  assert_int_equal(((struct fixture *)*state)->findings, 0);
  assert_int_equal(n.statements, 3);
  assert_int_equal(n.unsigned_n, 0);
}

static void every_changed_byte_is_found(void **state) {
  struct fixture *f = *state;
  for (int part = 0; part < 2; part++) {
    char path[256];
    struct arena a;
    struct str text;
    path_of(f, 2, part ? "sig" : "json", path);
    arena_init(&a, 1 << 20, 0);
    MUST(file_read(&a, path, 1 << 16, &text, &e));
    for (size_t i = 0; i + 1 < text.n; i++) { /* the newline at the end of a signature carries nothing */
      char *changed = malloc(text.n);
      memcpy(changed, text.p, text.n);
      changed[i] ^= 1;
      MUST(file_write_atomic(path, changed, text.n, 0644, &e));
      free(changed);
      int rc = verify(f, NULL);
      if (rc == OK && f->findings == 0) fail_msg("byte %zu of the %s", i, part ? "signature" : "statement");
    }
    MUST(file_write_atomic(path, text.p, text.n, 0644, &e));
    arena_free(&a);
  }
  assert_int_equal(verify(f, NULL), OK);
  assert_int_equal(f->findings, 0);
}

static void a_removed_statement_is_found(void **state) {
  struct fixture *f = *state;
  char path[256];
  path_of(f, 2, "json", path);
  unlink(path);
  assert_int_equal(verify(f, NULL), OK);
  assert_non_null(strstr(f->said, "wall-gen-000003.json: does not follow"));
  path_of(f, 1, "json", path);
  unlink(path);
  assert_int_equal(verify(f, NULL), OK);
  assert_true(f->findings > 0);
}

static void another_keys_signature_is_found(void **state) {
  struct fixture *f = *state;
  char key[256], path[256];
  snprintf(key, sizeof key, "%s/vault/signing.key", f->site);
  uint8_t public_key[crypto_sign_PUBLICKEYBYTES], other[crypto_sign_SECRETKEYBYTES];
  crypto_sign_keypair(public_key, other);
  assert_int_equal(file_write_atomic(key, other, sizeof other, 0600, NULL), OK);
  path_of(f, 3, "json", path);
  unlink(path);
  add(f, 3);
  assert_int_equal(verify(f, NULL), OK);
  assert_non_null(strstr(f->said, "wall-gen-000001.json: the signature does not hold"));
  assert_null(strstr(f->said, "wall-gen-000003.json: the signature"));
}

static void exchanged_statements_are_found(void **state) {
  struct fixture *f = *state;
  for (int k = 0; k < 2; k++) {
    char a[256], b[256], c[300];
    path_of(f, 1, k ? "sig" : "json", a), path_of(f, 2, k ? "sig" : "json", b);
    snprintf(c, sizeof c, "%s.x", a);
    assert_int_equal(rename(a, c) || rename(b, a) || rename(c, b), 0);
  }
  assert_int_equal(verify(f, NULL), OK);
  assert_non_null(strstr(f->said, "names another generation"));
}

static void statements_of_earlier_programs_stand_before_signed_ones_only(void **state) {
  struct fixture *f = *state;
  struct wall_chain_counts n;
  char path[256];
  path_of(f, 4, "json", path);
  MUST(file_write_atomic(path, "{\"generation\":\"gen-000004\"}", 27, 0644, &e));
  assert_int_equal(verify(f, &n), OK);
  assert_int_equal(n.unsigned_n, 1);
  assert_non_null(strstr(f->said, "is not signed"));
  for (int i = 1; i <= 3; i++) path_of(f, i, "json", path), unlink(path);
  assert_int_equal(verify(f, NULL), OK);
  assert_int_equal(f->findings, 0);
  add(f, 5);
  assert_int_equal(verify(f, NULL), OK);
  assert_int_equal(f->findings, 0);
}

static void a_later_format_is_refused(void **state) {
  struct fixture *f = *state;
  MUST(wall_chain_add(f->site, "gen-000009", STR("{\"format\":2}"), &e));
  assert_int_equal(verify(f, NULL), E_VERSION);
}

static void a_generation_without_a_statement_is_told(void **state) {
  struct fixture *f = *state;
  char path[256];
  snprintf(path, sizeof path, "%s/timelines/CURRENT", f->site);
  MUST(file_write_atomic(path, "gen-000003\n", 11, 0644, &e));
  assert_int_equal(verify(f, NULL), OK);
  assert_int_equal(f->notes, 0);
  MUST(file_write_atomic(path, "gen-000004\n", 11, 0644, &e));
  assert_int_equal(verify(f, NULL), OK);
  assert_int_equal(f->notes, 1);
  assert_int_equal(f->findings, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_whole_chain_holds, setup, teardown),
      cmocka_unit_test_setup_teardown(every_changed_byte_is_found, setup, teardown),
      cmocka_unit_test_setup_teardown(a_removed_statement_is_found, setup, teardown),
      cmocka_unit_test_setup_teardown(another_keys_signature_is_found, setup, teardown),
      cmocka_unit_test_setup_teardown(exchanged_statements_are_found, setup, teardown),
      cmocka_unit_test_setup_teardown(statements_of_earlier_programs_stand_before_signed_ones_only, setup, teardown),
      cmocka_unit_test_setup_teardown(a_later_format_is_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(a_generation_without_a_statement_is_told, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
