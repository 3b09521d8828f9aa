/* The vault: what is written comes back; anything else is refused by name; a crash leaves the old one; memory is wiped. */
#include "deid_helper.h"

#include <fcntl.h>
#include <malloc.h>
#include <sodium.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/random.h"
#include "deid/vault_file.h"

/* The program's own rename: the moment between the temporary file and its name can be made the last one. */
static int die_at_rename;
int rename(const char *from, const char *to) {
  if (die_at_rename) _exit(42);
  return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static char base[4096];
static int setup(void **state UNUSED) {
  strcpy(base, "/tmp/vault-test-XXXXXX");
  return mkdtemp(base) ? 0 : -1;
}
static int teardown(void **state UNUSED) { return file_remove_tree(base, NULL); }

static const char *dir_of(const char *name) {
  static char path[4200];
  snprintf(path, sizeof path, "%s/%s", base, name);
  return path;
}
static const char *file_of(const char *dir, const char *name) {
  static char path[4400];
  snprintf(path, sizeof path, "%s/%s", dir_of(dir), name);
  return path;
}

static struct vault *open_ok(const char *name) {
  struct vault *v;
  struct error e = {0};
  if (vault_open(dir_of(name), NULL, &v, &e) < 0) {
    error_print(stderr, &e);
    fail();
  }
  return v;
}

static void fill(struct vault *v, int from, int to) {
  uint16_t source;
  assert_int_equal(vault_source(v, STR("fhir"), &source, NULL), OK);
  for (int i = from; i < to; i++) {
    char key[64];
    uint32_t row;
    int n = snprintf(key, sizeof key, "Patient/person-%06d", i);
    assert_int_equal(vault_person(v, source, (struct str){key, (size_t)n}, &row, NULL), OK);
    struct identity *id = vault_identity(v, row);
    assert_int_equal(vault_shift(v, id, 365, NULL), OK);
    id->birth = -10000 - i;
    id->last = i;
    id->first = -i;
    id->birth_precision = TIME_PRECISION_DAY;
  }
}

static void make(const char *name, int persons) {
  struct error e = {0};
  assert_int_equal(vault_create(dir_of(name), NULL, &e), OK);
  struct vault *v = open_ok(name);
  fill(v, 0, persons);
  assert_int_equal(vault_commit(v, &e), OK);
  vault_close(v);
}

static struct str slurp(struct arena *a, const char *path) {
  struct str s;
  assert_int_equal(file_read(a, path, 64 << 20, &s, NULL), OK);
  return s;
}
static void spit(const char *path, const void *p, size_t n) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  assert_true(fd >= 0 && write(fd, p, n) == (ssize_t)n);
  close(fd);
}

static void round_trip(void **state UNUSED) {
  struct vault *v;
  make("round", 20000); /* several messages */
  v = open_ok("round");
  assert_int_equal(vault_persons(v), 20000);
  int64_t p, q;
  struct vault *w = NULL;
  for (int i = 0; i < 20000; i += 37) {
    char key[64];
    snprintf(key, sizeof key, "Patient/person-%06d", i);
    uint32_t row;
    assert_true(vault_known(v, 0, str_c(key), &row));
    struct identity *id = vault_identity(v, row);
    assert_true(id->pseudonym > 0 && id->shift_days != 0 && id->birth == -10000 - i && id->last == i && id->first == -i);
    assert_int_equal(vault_find(v, "fhir", str_c(key), &p, NULL), OK);
    assert_true(p == id->pseudonym);
  }
  assert_int_equal(vault_find(v, "meds", STR("Patient/person-000000"), &p, NULL), E_NOTFOUND); /* another source is another name space */
  assert_int_equal(vault_find(v, "fhir", STR("Patient/person-000000"), &p, NULL), OK);
  fill(v, 0, 20100);
  assert_int_equal(vault_persons(v), 20100);
  assert_int_equal(vault_commit(v, NULL), OK);
  vault_close(v);
  w = open_ok("round");
  assert_int_equal(vault_persons(w), 20100);
  assert_int_equal(vault_find(w, "fhir", STR("Patient/person-000000"), &q, NULL), OK);
  assert_true(p == q);
  vault_close(w);
}

static void files_are_closed_to_others_and_hold_no_plaintext(void **state UNUSED) {
  struct stat st;
  struct arena a;
  make("modes", 50);
  assert_true(stat(dir_of("modes"), &st) == 0 && (st.st_mode & 0777) == 0700);
  assert_true(stat(file_of("modes", "key"), &st) == 0 && (st.st_mode & 0777) == 0600 && st.st_size == 32);
  assert_true(stat(file_of("modes", "identities"), &st) == 0 && (st.st_mode & 0777) == 0600);
  arena_init(&a, 0, 0);
  struct str s = slurp(&a, file_of("modes", "identities"));
  assert_null(memmem(s.p, s.n, "Patient", 7));
  assert_null(memmem(s.p, s.n, "fhir", 4));
  assert_int_equal(chmod(file_of("modes", "key"), 0640), 0);
  struct vault *v;
  assert_int_equal(vault_open(dir_of("modes"), NULL, &v, NULL), E_DENIED);
  assert_null(v);
  arena_free(&a);
}

static void wrong_keys_are_denied(void **state UNUSED) {
  struct vault *v;
  struct error e = {0};
  uint8_t key[33] = {1};
  make("keys", 5);
  spit(file_of("keys", "key"), key, 32);
  assert_int_equal(vault_open(dir_of("keys"), NULL, &v, &e), E_DENIED);
  assert_null(v);
  spit(file_of("keys", "key"), key, 31);
  assert_int_equal(vault_open(dir_of("keys"), NULL, &v, NULL), E_CORRUPT);
  spit(file_of("keys", "key"), key, 33);
  assert_int_equal(vault_open(dir_of("keys"), NULL, &v, NULL), E_CORRUPT);
  remove(file_of("keys", "key"));
  assert_int_equal(vault_open(dir_of("keys"), NULL, &v, NULL), E_NOTFOUND);
  assert_int_equal(vault_open(dir_of("keys"), "passphrase", &v, NULL), E_DENIED);
  assert_int_equal(vault_open(dir_of("nowhere"), NULL, &v, NULL), E_NOTFOUND);
  assert_int_equal(vault_create(dir_of("keys"), NULL, NULL), E_USAGE); /* there is one already: never overwritten */
}

static void passphrases(void **state UNUSED) {
  struct vault *v;
  struct error e = {0};
  assert_int_equal(vault_create(dir_of("phrase"), "correct horse", &e), OK);
  assert_false(file_exists(file_of("phrase", "key")));
  assert_int_equal(vault_open(dir_of("phrase"), "correct horse", &v, &e), OK);
  fill(v, 0, 3);
  assert_int_equal(vault_commit(v, &e), OK);
  vault_close(v);
  assert_int_equal(vault_open(dir_of("phrase"), "correct  horse", &v, NULL), E_DENIED);
  assert_int_equal(vault_open(dir_of("phrase"), NULL, &v, NULL), E_DENIED);
  assert_int_equal(vault_open(dir_of("phrase"), "correct horse", &v, NULL), OK);
  assert_int_equal(vault_persons(v), 3);
  vault_close(v);
  assert_int_equal(vault_create(dir_of("phrase2"), "", NULL), E_USAGE);
}

/* Decoding in memory: quick enough to try every byte. */
static int decode(const uint8_t *p, size_t n, const uint8_t key[32]) {
  struct vault *v;
  if (vault_rows_new(false, &v, NULL) < 0) return E_NOMEM;
  int rc = vault_header_read(p, n, v, NULL);
  if (rc == OK) {
    uint8_t *exact = malloc(n); /* so that a sanitizer sees one byte too many */
    memcpy(exact, p, n);
    v->key = malloc(32);
    memcpy(v->key, key, 32);
    rc = vault_key_check(v, NULL);
    if (rc == OK) rc = vault_decode(exact, n, v, NULL);
    free(v->key);
    v->key = NULL;
    free(exact);
  }
  vault_close(v);
  return rc;
}

static void damage_anywhere_is_noticed(void **state UNUSED) {
  struct arena a;
  struct vault *v;
  make("damage", 12);
  arena_init(&a, 0, 0);
  struct str file = slurp(&a, file_of("damage", "identities")), key = slurp(&a, file_of("damage", "key"));
  uint8_t *bytes = arena_alloc(&a, file.n + 1, 1);
  memcpy(bytes, file.p, file.n);
  assert_int_equal(decode(bytes, file.n, (const uint8_t *)key.p), OK);
  for (size_t i = 0; i < file.n; i++)
    for (int bit = 0; bit < 8; bit++) {
      bytes[i] ^= (uint8_t)(1 << bit);
      if (decode(bytes, file.n, (const uint8_t *)key.p) != E_CORRUPT) fail_msg("bit %d of byte %zu", bit, i);
      bytes[i] ^= (uint8_t)(1 << bit);
    }
  for (size_t n = 0; n < file.n; n++)
    if (decode(bytes, n, (const uint8_t *)key.p) != E_CORRUPT) fail_msg("cut at byte %zu", n);
  assert_int_equal(decode(bytes, file.n + 1, (const uint8_t *)key.p), E_CORRUPT);
  /* and through the front door */
  bytes[file.n / 2] ^= 1;
  spit(file_of("damage", "identities"), bytes, file.n);
  assert_int_equal(vault_open(dir_of("damage"), NULL, &v, NULL), E_CORRUPT);
  spit(file_of("damage", "identities"), bytes, 0);
  assert_int_equal(vault_open(dir_of("damage"), NULL, &v, NULL), E_CORRUPT);
  arena_free(&a);
}

static void swapped_messages_are_noticed(void **state UNUSED) {
  struct arena a;
  make("swap", 16000);
  arena_init(&a, 0, 0);
  struct str file = slurp(&a, file_of("swap", "identities")), key = slurp(&a, file_of("swap", "key"));
  uint8_t *bytes = arena_alloc(&a, file.n, 1);
  size_t at = VAULT_HEADER + 24, start[8], n = 0;
  while (at < file.n && n < 8) {
    uint32_t length;
    memcpy(&length, file.p + at, 4);
    start[n++] = at;
    at += 4 + length;
  }
  assert_true(n >= 5);
  size_t m1 = start[2] - start[1], m2 = start[3] - start[2];
  memcpy(bytes, file.p, file.n);
  memcpy(bytes + start[1], file.p + start[2], m2);
  memcpy(bytes + start[1] + m2, file.p + start[1], m1);
  assert_int_equal(decode(bytes, file.n, (const uint8_t *)key.p), E_CORRUPT);
  /* one whole message left out */
  memcpy(bytes, file.p, file.n);
  memmove(bytes + start[1], file.p + start[2], file.n - start[2]);
  assert_int_equal(decode(bytes, file.n - m1, (const uint8_t *)key.p), E_CORRUPT);
  arena_free(&a);
}

static void newer_versions_are_refused_by_name(void **state UNUSED) {
  struct arena a;
  struct vault *v;
  struct error e = {0};
  make("newer", 3);
  arena_init(&a, 0, 0);
  struct str file = slurp(&a, file_of("newer", "identities"));
  uint8_t *bytes = arena_alloc(&a, file.n, 1);
  memcpy(bytes, file.p, file.n);
  bytes[8] = 3;
  /* a sound header of the next version: checksum over the changed bytes */
  crypto_generichash(bytes + 72, 16, bytes, 72, NULL, 0);
  spit(file_of("newer", "identities"), bytes, file.n);
  assert_int_equal(vault_open(dir_of("newer"), NULL, &v, &e), E_VERSION);
  assert_non_null(strstr(e.message, "version 3"));
  arena_free(&a);
}

static void a_hostile_header_cannot_ask_for_much(void **state UNUSED) {
  struct vault *v, *got;
  assert_int_equal(vault_rows_new(false, &v, NULL), OK);
  assert_int_equal(vault_rows_new(false, &got, NULL), OK);
  vault_header_make(v, VAULT_ARGON2ID, NULL, 1, UINT64_C(1) << 40);
  assert_int_equal(vault_header_read(v->header, v->header_n, got, NULL), E_CORRUPT);
  vault_header_make(v, VAULT_ARGON2ID, NULL, 1000000, 1 << 20);
  assert_int_equal(vault_header_read(v->header, v->header_n, got, NULL), E_CORRUPT);
  vault_header_make(v, (enum vault_kdf)2, NULL, 0, 0);
  assert_int_equal(vault_header_read(v->header, v->header_n, got, NULL), E_CORRUPT);
  vault_header_make(v, VAULT_KEY_FILE, NULL, 0, 0);
  assert_int_equal(vault_header_read(v->header, v->header_n, got, NULL), OK);
  vault_close(v);
  vault_close(got);
}

static void the_lock_excludes_a_second_ingest(void **state UNUSED) {
  make("lock", 2);
  struct vault *v = open_ok("lock"), *second;
  assert_int_equal(vault_open(dir_of("lock"), NULL, &second, NULL), E_BUSY);
  assert_null(second);
  pid_t child = fork();
  if (child == 0) _exit(vault_open(dir_of("lock"), NULL, &second, NULL) == E_BUSY ? 0 : 1);
  int status;
  waitpid(child, &status, 0);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  vault_close(v);
  vault_close(open_ok("lock"));
}

static void a_crash_before_the_rename_leaves_the_old_vault(void **state UNUSED) {
  struct arena a;
  make("crash", 100);
  arena_init(&a, 0, 0);
  struct str before = slurp(&a, file_of("crash", "identities"));
  pid_t child = fork();
  if (child == 0) {
    struct vault *v;
    if (vault_open(dir_of("crash"), NULL, &v, NULL) < 0) _exit(1);
    fill(v, 100, 5000);
    die_at_rename = 1;
    if (vault_commit(v, NULL) < 0) _exit(2);
    _exit(3);
  }
  int status;
  waitpid(child, &status, 0);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
  struct str after = slurp(&a, file_of("crash", "identities"));
  assert_true(str_eq(before, after));
  struct vault *v = open_ok("crash"); /* the lock died with its owner, the leftover is swept */
  assert_int_equal(vault_persons(v), 100);
  vault_close(v);
  char command[4600];
  snprintf(command, sizeof command, "ls -A %s | wc -l", dir_of("crash"));
  FILE *p = popen(command, "r");
  int files = 0;
  assert_int_equal(fscanf(p, "%d", &files), 1);
  pclose(p);
  assert_int_equal(files, 3); /* identities, key, lock */
  arena_free(&a);
}

static void a_full_disk_leaves_the_old_vault(void **state UNUSED) {
  struct arena a;
  make("full", 100);
  arena_init(&a, 0, 0);
  struct str before = slurp(&a, file_of("full", "identities"));
  pid_t child = fork();
  if (child == 0) {
    struct vault *v;
    struct rlimit small = {2000, 2000};
    signal(SIGXFSZ, SIG_IGN);
    if (vault_open(dir_of("full"), NULL, &v, NULL) < 0) _exit(1);
    fill(v, 100, 5000);
    setrlimit(RLIMIT_FSIZE, &small);
    _exit(vault_commit(v, NULL) == E_IO ? 0 : 2);
  }
  int status;
  waitpid(child, &status, 0);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  assert_true(str_eq(before, slurp(&a, file_of("full", "identities"))));
  arena_free(&a);
}

static void every_allocation_may_fail(void **state UNUSED) {
  make("alloc", 600);
  int failures = 0;
  for (long n = 1;; n++) {
    struct vault *v = NULL;
    arena_fail_at(n);
    int rc = vault_open(dir_of("alloc"), NULL, &v, NULL);
    if (rc == OK) rc = vault_commit(v, NULL);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    vault_close(v);
    if (rc < 0) {
      assert_int_equal(rc, E_NOMEM);
      failures++;
    }
    if (pending) break;
    assert_true(n < 1000);
  }
  assert_true(failures >= 5);
  struct vault *v = open_ok("alloc");
  assert_int_equal(vault_persons(v), 600);
  vault_close(v);
}

static void erasure(void **state UNUSED) {
  struct error e = {0};
  make("erase", 50);
  struct vault *v = open_ok("erase");
  int64_t p, q;
  uint32_t row;
  assert_true(vault_known(v, 0, STR("Patient/person-000007"), &row));
  const char *key = vault_text(v, vault_entry(&v->keys, vault_identity(v, row)->keys - 1)).value.p;
  assert_int_equal(vault_find(v, "fhir", STR("Patient/person-000007"), &p, NULL), OK);
  assert_int_equal(vault_erase(v, "fhir", STR("Patient/person-000007"), &q, &e), OK);
  assert_true(p == q);
  for (int i = 0; i < 21; i++) assert_int_equal(key[i], 0);
  assert_int_equal(vault_identity(v, row)->shift_days, 0);
  assert_int_equal(vault_erase(v, "fhir", STR("Patient/person-000007"), &q, NULL), E_NOTFOUND);
  assert_int_equal(vault_persons(v), 49);
  fill(v, 50, 200); /* the index grows over the gap */
  assert_int_equal(vault_find(v, "fhir", STR("Patient/person-000007"), &q, NULL), E_NOTFOUND);
  assert_int_equal(vault_commit(v, &e), OK);
  vault_close(v);
  v = open_ok("erase");
  assert_int_equal(vault_persons(v), 199);
  fill(v, 7, 8);
  assert_int_equal(vault_find(v, "fhir", STR("Patient/person-000007"), &q, NULL), OK);
  assert_true(p != q); /* the person begins anew */
  vault_close(v);
}

static void rows_out_of_range_are_corrupt(void **state UNUSED) {
  struct vault *v;
  uint16_t source;
  struct identity good = {.pseudonym = 5, .birth = INT32_MIN, .first = INT32_MIN, .last = INT32_MIN};
  assert_int_equal(vault_rows_new(false, &v, NULL), OK);
  assert_int_equal(vault_source(v, STR("fhir"), &source, NULL), OK);
  assert_int_equal(vault_row_add(v, &good, NULL), OK);
  assert_int_equal(vault_key_add(v, 0, source, STR("a"), NULL), OK);
  assert_int_equal(vault_row_add(v, &good, NULL), E_CORRUPT); /* pseudonym twice */
  struct identity bad[7];
  for (int i = 0; i < 7; i++) {
    bad[i] = good;
    bad[i].pseudonym = 100 + i;
  }
  bad[0].pseudonym = -1;
  bad[1].identifiers = 3;
  bad[2].birth = INT32_MAX;
  bad[3].shift_days = 40000;
  bad[4].flags = 128;
  bad[5].birth_precision = 99;
  bad[6].pseudonym = 0;
  for (int i = 0; i < 7; i++) assert_int_equal(vault_row_add(v, &bad[i], NULL), E_CORRUPT);
  assert_int_equal(vault_key_add(v, 0, source, STR("a"), NULL), E_CORRUPT); /* key twice */
  assert_int_equal(vault_key_add(v, 0, source, STR(""), NULL), E_CORRUPT);
  assert_int_equal(vault_key_add(v, 0, 3, STR("b"), NULL), E_CORRUPT);
  assert_int_equal(vault_persons(v), 1);
  vault_close(v);
}

static void memory_for_a_person(void **state UNUSED) {
  struct vault *v;
  uint16_t source;
  uint32_t row;
  struct rng r;
  rng_init(&r, 1, 1);
  assert_int_equal(vault_open_memory(&v, NULL), OK);
  assert_int_equal(vault_source(v, STR("fhir"), &source, NULL), OK);
  enum { PERSONS = 200000 };
  for (int i = 0; i < PERSONS; i++) {
    char key[64];
    int n = snprintf(key, sizeof key, "Patient/%08x-%04x-%04x-%04x-%08x%04x", rng_u32(&r), rng_u32(&r) & 0xffff, i & 0xffff, i >> 16,
                     rng_u32(&r), i & 0xffff);
    assert_int_equal(n, 44);
    assert_int_equal(vault_person(v, source, (struct str){key, (size_t)n}, &row, NULL), OK);
  }
  double each = (double)vault_memory(v) / PERSONS;
  print_message("identity map: %.1f bytes a person with keys of 44 bytes\n", each);
  assert_true(each <= 125);
  vault_close(v);
}

/* ---- is it gone? Every readable page of this process is searched. ---- */

static uint8_t needle[24];
static void needle_make(char *out) { /* never as one string in the program or on a stack that stays */
  for (int i = 0; i < 24; i++) needle[i] = (uint8_t)(("Zq8kVw3nJr6tYp1mXc5hBd7f"[i]) ^ 0x5a);
  for (int i = 0; i < 24; i++) out[i] = (char)(needle[i] ^ 0x5a);
}

static int occurrences(const char *what, size_t n) {
  FILE *maps = fopen("/proc/self/maps", "r");
  int memory = open("/proc/self/mem", O_RDONLY), found = 0;
  static uint8_t window[1 << 20];
  char line[512];
  if (!maps || memory < 0) return -1;
  while (fgets(line, sizeof line, maps)) {
    unsigned long from, to;
    char mode[8];
    if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[0] != 'r' || mode[1] != 'w' || to - from > (1UL << 32)) continue;
    for (unsigned long at = from; at < to; at += sizeof window - n) {
      size_t want = to - at < sizeof window ? to - at : sizeof window;
      ssize_t got = pread(memory, window, want, (off_t)at);
      if (got <= 0) break;
      for (uint8_t *p = window; (p = memmem(p, (size_t)got - (size_t)(p - window), what, n)); p++)
        found += !((uintptr_t)(at + (unsigned long)(p - window)) >= (uintptr_t)window &&
                   (uintptr_t)(at + (unsigned long)(p - window)) < (uintptr_t)window + sizeof window) &&
                 at + (unsigned long)(p - window) != (unsigned long)(uintptr_t)what;
    }
  }
  fclose(maps);
  close(memory);
  mem_wipe(window, sizeof window);
  return found;
}

static void closing_leaves_nothing_in_memory(void **state UNUSED) {
  static char secret[24];
  struct fixture f;
  /* freed memory stays in this process, where the search sees it */
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  needle_make(secret);
  int before = occurrences(secret, 24);
  if (before < 0) skip();
  assert_int_equal(before, 0);
  assert_int_equal(vault_create(dir_of("wipe"), NULL, NULL), OK);
  struct deid_policy p = policy_of("expert");
  f = (struct fixture){0};
  f.vault = open_ok("wipe");
  fill(f.vault, 0, 100); /* the first bytes of a freed block are the allocator's */
  struct event_sink sink = {.ctx = &f.keep, .event = keep_event};
  assert_int_equal(deid_open(&p, f.vault, "fhir", &sink, &f.wall, &f.e), OK);
  struct record r = record_event("x", "LOINC//2160-0", "2020-01-01");
  r.person = (struct str){secret, 24};
  take(&f, r);
  r = record_identifier("x", IDENTIFIER_MRN, "");
  r.person = r.text = (struct str){secret, 24};
  take(&f, r);
  finish(&f);
  assert_int_equal(vault_commit(f.vault, NULL), OK);
  assert_true(occurrences(secret, 24) > 0); /* the search can find it */
  mem_wipe(&r, sizeof r);
  fixture_close(&f);
  assert_int_equal(occurrences(secret, 24), 0);
  struct vault *v = open_ok("wipe");
  assert_true(occurrences(secret, 24) > 0);
  vault_close(v);
  assert_int_equal(occurrences(secret, 24), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trip),
      cmocka_unit_test(files_are_closed_to_others_and_hold_no_plaintext),
      cmocka_unit_test(wrong_keys_are_denied),
      cmocka_unit_test(passphrases),
      cmocka_unit_test(damage_anywhere_is_noticed),
      cmocka_unit_test(swapped_messages_are_noticed),
      cmocka_unit_test(newer_versions_are_refused_by_name),
      cmocka_unit_test(a_hostile_header_cannot_ask_for_much),
      cmocka_unit_test(the_lock_excludes_a_second_ingest),
      cmocka_unit_test(a_crash_before_the_rename_leaves_the_old_vault),
      cmocka_unit_test(a_full_disk_leaves_the_old_vault),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(erasure),
      cmocka_unit_test(rows_out_of_range_are_corrupt),
      cmocka_unit_test(memory_for_a_person),
      cmocka_unit_test(closing_leaves_nothing_in_memory),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
