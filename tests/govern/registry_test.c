/* Sites and the registry: states, signatures, gates, crashes. Checkpoint contents are of no concern here: any files do. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "govern/govern.h"
#include "govern/site.h"

struct fixture {
  char dir[64], site[128], run[128], report[128];
};

static void put(const char *dir, const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  assert_int_equal(file_write_atomic(path, text, strlen(text), 0644, NULL), OK);
}

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  struct error e = {0};
  strcpy(f->dir, "/tmp/vitae-govern-XXXXXX");
  assert_non_null(mkdtemp(f->dir));
  snprintf(f->site, sizeof f->site, "%s/site", f->dir);
  snprintf(f->run, sizeof f->run, "%s/run", f->dir);
  snprintf(f->report, sizeof f->report, "%s/report", f->dir);
  assert_int_equal(site_init(f->site, "ward", "expert", &e), OK);
  assert_int_equal(file_mkdirs(f->run, 0755, &e), OK);
  assert_int_equal(file_mkdirs(f->report, 0755, &e), OK);
  put(f->run, "config.json", "{\"preset\":\"tiny\",\"layers\":2}");
  put(f->run, "model.safetensors", "weights");
  put(f->run, "optimizer.safetensors", "not part of a version");
  *state = f;
  return 0;
}
static int teardown(void **state) {
  struct fixture *f = *state;
  assert_int_equal(file_remove_tree(f->dir, NULL), OK);
  free(f);
  return 0;
}

static struct registry *open_registry(const struct fixture *f) {
  struct registry *r;
  struct error e = {0};
  assert_int_equal(registry_open(f->site, &r, &e), OK);
  return r;
}
static void add(struct registry *r, const struct fixture *f, char id[65]) {
  struct version_info info = {.store_hash = "d", .policy_hash = "p", .commit = "c", .code_version = "0", .created = "2026-01-01T00:00:00"};
  assert_int_equal(registry_add(r, f->run, &info, id, NULL), OK);
}
static void report(const struct fixture *f, const char *task, bool passes) {
  char text[256];
  snprintf(text, sizeof text, "{\"task\":\"%s\",\"n\":100,\"events\":20,\"gate\":{\"passes\":%s,\"reasons\":\"%s\"}}", task,
           passes ? "true" : "false", passes ? "" : "memorisation: too much");
  put(f->report, "report.json", text);
  put(f->report, "report.html", "<html>");
}
static int findings;
static void count(void *ctx, const char *what) { (void)ctx, findings += strncmp(what, "note: ", 6) != 0; }
static int verify(const struct fixture *f) {
  findings = 0;
  assert_int_equal(registry_verify(f->site, count, NULL, NULL), OK);
  return findings;
}

static void a_version_climbs_one_step_at_a_time(void **state) {
  struct fixture *f = *state;
  struct registry *r = open_registry(f);
  char id[65], dir[4096], got[65];
  add(r, f, id);
  assert_int_equal(registry_promote(r, id, STATE_VALIDATED, "board", NULL), E_DENIED); /* no report */
  report(f, "death", false);
  assert_int_equal(registry_attach_report(r, id, f->report, NULL), OK);
  struct error why = {0};
  assert_int_equal(registry_promote(r, id, STATE_VALIDATED, "board", &why), E_DENIED); /* it fails its gate, and says what for */
  assert_non_null(strstr(why.message, "death: memorisation: too much"));
  report(f, "death", true);
  assert_int_equal(registry_attach_report(r, id, f->report, NULL), OK);
  assert_int_equal(registry_promote(r, id, STATE_LIVE, "board", NULL), E_DENIED); /* not in one leap */
  for (int s = STATE_VALIDATED; s <= STATE_LIVE; s++) assert_int_equal(registry_promote(r, id, (enum version_state)s, "board", NULL), OK);
  assert_int_equal(registry_resolve(r, "live", dir, sizeof dir, got, NULL), OK);
  assert_string_equal(got, id);
  char path[4200];
  snprintf(path, sizeof path, "%s/optimizer.safetensors", dir);
  assert_false(file_exists(path));
  registry_close(r);
  assert_int_equal(verify(f), 0);
}

static void one_version_is_live(void **state) {
  struct fixture *f = *state;
  struct registry *r = open_registry(f);
  char id[2][65];
  struct arena a;
  struct version *v;
  int n;
  for (int k = 0; k < 2; k++) {
    put(f->run, "model.safetensors", k ? "other weights" : "weights");
    add(r, f, id[k]);
    report(f, "death", true);
    assert_int_equal(registry_attach_report(r, id[k], f->report, NULL), OK);
    for (int s = STATE_VALIDATED; s <= STATE_LIVE; s++)
      assert_int_equal(registry_promote(r, id[k], (enum version_state)s, "board", NULL), OK);
  }
  arena_init(&a, 0, 0);
  assert_int_equal(registry_list(r, &a, &v, &n, NULL), OK);
  assert_int_equal(n, 2);
  assert_string_equal(v[0].id, id[1]); /* newest first */
  assert_int_equal(v[0].state, STATE_LIVE);
  assert_int_equal(v[1].state, STATE_SHADOW);
  assert_int_equal(v[1].passing, 1);
  /* rollback */
  assert_int_equal(registry_promote(r, id[0], STATE_LIVE, "board", NULL), OK);
  /* validated again, and it fails by now: down is open, up is not */
  report(f, "death", false);
  assert_int_equal(registry_attach_report(r, id[0], f->report, NULL), OK);
  assert_int_equal(registry_promote(r, id[0], STATE_SHADOW, "board", NULL), OK);
  assert_int_equal(registry_promote(r, id[0], STATE_LIVE, "board", NULL), E_DENIED);
  assert_int_equal(registry_promote(r, id[1], STATE_RETIRED, "board", NULL), OK);
  assert_int_equal(registry_promote(r, id[1], STATE_DRAFT, "board", NULL), E_DENIED);
  arena_free(&a);
  registry_close(r);
  assert_int_equal(verify(f), 0);
}

static void same_content_is_the_same_version(void **state) {
  struct fixture *f = *state;
  struct registry *r = open_registry(f);
  char a[65], b[65], dir[4096], id[65];
  add(r, f, a);
  add(r, f, b);
  assert_string_equal(a, b);
  char prefix[8] = {0};
  memcpy(prefix, a, 7);
  assert_int_equal(registry_resolve(r, prefix, dir, sizeof dir, id, NULL), OK);
  assert_string_equal(id, a);
  assert_int_equal(registry_resolve(r, "abc", dir, sizeof dir, id, NULL), E_USAGE);
  assert_int_equal(registry_resolve(r, "ffffffffff", dir, sizeof dir, id, NULL), E_NOTFOUND);
  assert_int_equal(registry_resolve(r, "live", dir, sizeof dir, id, NULL), E_NOTFOUND);
  registry_close(r);
}

/* Any byte of a version or of its manifest changed: verify finds it, and a changed manifest is not believed. */
static void tampering_is_found(void **state) {
  struct fixture *f = *state;
  struct registry *r = open_registry(f);
  char id[65], path[512], dir[4096], got[65];
  struct str text;
  struct arena a;
  add(r, f, id);
  report(f, "death", false);
  assert_int_equal(registry_attach_report(r, id, f->report, NULL), OK);
  registry_close(r);
  assert_int_equal(verify(f), 0);
  arena_init(&a, 0, 0);
  static const char *const files[] = {"model.safetensors", "manifest.json", "config.json"};
  for (int k = 0; k < 3; k++) {
    snprintf(path, sizeof path, "%s/models/versions/%s/%s", f->site, id, files[k]);
    assert_int_equal(file_read(&a, path, 1 << 20, &text, NULL), OK);
    char *copy = malloc(text.n);
    memcpy(copy, text.p, text.n);
    /* a verdict turned round, or any byte */
    char *fails = k == 1 ? memmem(copy, text.n, "false", 5) : NULL;
    if (fails)
      memcpy(fails, "true ", 5);
    else
      copy[text.n / 2] ^= 1;
    assert_int_equal(file_write_atomic(path, copy, text.n, 0644, NULL), OK);
    assert_true(verify(f) > 0);
    if (fails) {
      r = open_registry(f);
      assert_int_equal(registry_promote(r, id, STATE_VALIDATED, "mallory", NULL), E_CORRUPT);
      registry_close(r);
    }
    assert_int_equal(file_write_atomic(path, text.p, text.n, 0644, NULL), OK);
    assert_int_equal(verify(f), 0);
    free(copy);
  }
  arena_free(&a);
  (void)dir, (void)got;
}

/* A verdict turned round in the loose report, a report taken away, files of another version: nothing of it is believed. */
static void loose_files_are_not_believed(void **state) {
  struct fixture *f = *state;
  struct registry *r = open_registry(f);
  char id[65], path[512];
  bool passes = true;
  add(r, f, id);
  report(f, "death", true);
  assert_int_equal(registry_attach_report(r, id, f->report, NULL), OK);
  report(f, "stay", false);
  assert_int_equal(registry_attach_report(r, id, f->report, NULL), OK);
  snprintf(path, sizeof path, "%s/models/versions/%s", f->site, id);
  put(path, "reports/stay-report.json", "{\"task\":\"stay\",\"gate\":{\"passes\":true}}");
  assert_int_equal(registry_passes(r, id, "stay", &passes, NULL), OK);
  assert_false(passes);
  assert_int_equal(registry_passes(r, id, "death", &passes, NULL), OK);
  assert_true(passes);
  assert_int_equal(registry_promote(r, id, STATE_VALIDATED, "board", NULL), OK);
  put(path, "model.safetensors", "other weights");
  assert_int_equal(registry_check(r, id, NULL), E_CORRUPT);
  assert_int_equal(registry_promote(r, id, STATE_SHADOW, "board", NULL), E_CORRUPT);
  put(path, "model.safetensors", "weights");
  assert_int_equal(registry_promote(r, id, STATE_SHADOW, "board", NULL), OK);
  registry_close(r);
  assert_int_equal(verify(f), 1);
  snprintf(path, sizeof path, "%s/models/versions/%s/reports/stay-report.json", f->site, id);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(verify(f), 1);
  snprintf(path, sizeof path, "%s/models/states.json", f->site); /* a site that was half restored */
  assert_int_equal(unlink(path), 0);
  assert_int_equal(verify(f), 1);
}

/* A new key would disown everything that the old one signed. */
static void a_lost_key_is_not_replaced(void **state) {
  struct fixture *f = *state;
  struct registry *r = open_registry(f);
  struct error e = {0};
  char id[65], key[512], kept[512], public_path[512];
  add(r, f, id);
  registry_close(r);
  snprintf(key, sizeof key, "%s/vault/signing.key", f->site);
  snprintf(kept, sizeof kept, "%s/kept.key", f->dir);
  snprintf(public_path, sizeof public_path, "%s/models/signing.pub", f->site);
  assert_int_equal(rename(key, kept), 0);
  assert_int_equal(verify(f), 1);
  assert_int_equal(registry_open(f->site, &r, &e), E_NOTFOUND);
  assert_non_null(strstr(e.message, "vault/signing.key"));
  assert_int_equal(unlink(public_path), 0); /* the version alone says that there was a key */
  assert_int_equal(registry_open(f->site, &r, &e), E_NOTFOUND);
  assert_false(file_exists(key));
  assert_false(file_exists(public_path));
  assert_int_equal(rename(kept, key), 0);
  assert_int_equal(verify(f), 0);
}

/* Killed at random moments while adding, attaching and promoting: whatever is left verifies and can be gone on with. */
static void killed_at_any_moment(void **state) {
  struct fixture *f = *state;
  char id[65];
  report(f, "death", true);
  for (int round = 0; round < 25; round++) {
    pid_t child = fork();
    if (child == 0) {
      for (int k = 0;; k++) {
        char text[32];
        struct registry *r;
        snprintf(text, sizeof text, "weights %d %d", round, k);
        put(f->run, "model.safetensors", text);
        if (registry_open(f->site, &r, NULL) < 0) _exit(1);
        struct version_info info = {.store_hash = "d", .created = "t"};
        if (registry_add(r, f->run, &info, id, NULL) < 0 || registry_attach_report(r, id, f->report, NULL) < 0) _exit(1);
        for (int s = STATE_VALIDATED; s <= STATE_LIVE; s++)
          if (registry_promote(r, id, (enum version_state)s, "loop", NULL) < 0) _exit(1);
        registry_close(r);
      }
    }
    usleep(3000 + (unsigned)round * 1700);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status)); /* it must not have failed on its own */
    assert_int_equal(verify(f), 0);
  }
  struct registry *r = open_registry(f);
  put(f->run, "model.safetensors", "after");
  add(r, f, id);
  assert_int_equal(registry_attach_report(r, id, f->report, NULL), OK);
  assert_int_equal(registry_promote(r, id, STATE_VALIDATED, "board", NULL), OK);
  registry_close(r);
}

static void sites_are_refused_by_name(void **state) {
  struct fixture *f = *state;
  struct site s;
  struct error e = {0};
  char path[512];
  struct stat st;
  assert_int_equal(site_init(f->site, "again", "expert", &e), E_USAGE);
  assert_int_equal(site_open("/nowhere/at/all", &s, &e), E_NOTFOUND);
  snprintf(path, sizeof path, "%s/vault", f->site);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0700);
  put(f->site, "vitae.json", "{\"format\":99,\"name\":\"x\",\"policy\":\"expert\"}");
  assert_int_equal(site_open(f->site, &s, &e), E_VERSION);
  assert_non_null(strstr(e.message, "99"));
  put(f->site, "vitae.json", "{\"format\":");
  assert_true(site_open(f->site, &s, &e) < 0);
  put(f->site, "vitae.json", "[]");
  assert_true(site_open(f->site, &s, &e) < 0);
}

static void the_card_holds_the_figures(void **state) {
  struct fixture *f = *state;
  struct registry *r = open_registry(f);
  char id[65], path[512];
  struct arena a;
  struct str text;
  add(r, f, id);
  put(f->report, "report.json",
      "{\"task\":\"death\",\"n\":321,\"events\":45,\"gate\":{\"passes\":true},\"predictors\":{\"model\":{\"metrics\":{\"auroc\":{\"at\":0."
      "871,\"lo\":0.85,\"hi\":0.89}}}}}");
  assert_int_equal(registry_attach_report(r, id, f->report, NULL), OK);
  snprintf(path, sizeof path, "%s/card.html", f->dir);
  assert_int_equal(model_card_write(r, id, path, NULL), OK);
  arena_init(&a, 0, 0);
  assert_int_equal(file_read(&a, path, 1 << 20, &text, NULL), OK);
  assert_non_null(strstr(text.p, "0.871 [0.850, 0.890]"));
  assert_non_null(strstr(text.p, "321"));
  arena_free(&a);
  registry_close(r);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {T(a_version_climbs_one_step_at_a_time),
                                     T(one_version_is_live),
                                     T(same_content_is_the_same_version),
                                     T(tampering_is_found),
                                     T(loose_files_are_not_believed),
                                     T(a_lost_key_is_not_replaced),
                                     T(killed_at_any_moment),
                                     T(sites_are_refused_by_name),
                                     T(the_card_holds_the_figures)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
