#include "helpers.h"

#include <errno.h>
#include <fcntl.h>

static struct str slurp(struct arena *a, const char *path) {
  struct str s;
  if (file_read(a, path, 1 << 20, &s, NULL) < 0) return STR_NONE;
  return s;
}

TEST(read_and_map) {
  struct arena a;
  arena_init(&a, 0, 0);
  struct str s;
  struct error e = {0};
  const char *path = temp_file("data", "hello\0there", 11);
  assert_int_equal(file_read(&a, path, 11, &s, &e), OK);
  assert_int_equal(s.n, 11);
  assert_int_equal(s.p[11], 0);
  assert_int_equal(file_read(&a, path, 10, &s, &e), E_LIMIT);
  assert_string_equal(e.file, path);
  assert_int_equal(file_read(&a, temp("absent"), 10, &s, &e), E_NOTFOUND);
  assert_true(file_read(&a, temp_dir, 1 << 20, &s, &e) < 0);
  struct file_map m;
  assert_int_equal(file_map_open(path, &m, &e), OK);
  assert_int_equal(m.n, 11);
  assert_memory_equal(m.p, "hello", 5);
  file_map_close(&m);
  assert_null(m.p);
  assert_int_equal(file_map_open(temp_file("empty", "", 0), &m, &e), OK);
  assert_null(m.p);
  file_map_close(&m);
  assert_int_equal(file_map_open(temp("absent"), &m, &e), E_NOTFOUND);
  assert_true(file_map_open(temp_dir, &m, &e) < 0);
  struct arena small;
  arena_init(&small, 4, 0);
  assert_int_equal(file_read(&small, path, 100, &s, &e), E_NOMEM);
  arena_free(&small);
  arena_free(&a);
}

TEST(a_pipe_is_not_waited_for) {
  struct arena a;
  struct str s;
  struct file_map m;
  struct error e = {0};
  const char *pipe = temp("pipe");
  assert_int_equal(mkfifo(pipe, 0600), 0);
  arena_init(&a, 0, 0);
  assert_true(file_map_open(pipe, &m, &e) == E_IO && strstr(e.message, "no regular file") != NULL);
  assert_true(file_read(&a, pipe, 10, &s, &e) == E_IO && strstr(e.message, "no regular file") != NULL);
  assert_false(file_is_regular(pipe));
  assert_int_equal(unlink(pipe), 0);
  assert_true(!file_is_regular(pipe) && !file_is_regular(temp_dir) && file_is_regular(temp_file("data", "hello", 5)));
  arena_free(&a);
}

TEST(facts) {
  const char *path = temp_file("facts", "12345", 5);
  assert_true(file_exists(path));
  assert_false(file_exists(temp("none")));
  assert_true(file_is_dir(temp_dir));
  assert_false(file_is_dir(path));
  assert_int_equal(file_size(path), 5);
  assert_int_equal(file_size(temp("none")), -1);
  char out[12];
  assert_int_equal(file_join(out, sizeof out, "a/b", "c", NULL), OK);
  assert_string_equal(out, "a/b/c");
  assert_int_equal(file_join(out, sizeof out, "a/b/", "c", NULL), OK);
  assert_string_equal(out, "a/b/c");
  assert_int_equal(file_join(out, sizeof out, "", "c", NULL), OK);
  assert_string_equal(out, "c");
  assert_int_equal(file_join(out, sizeof out, "abcdefgh", "ijk", NULL), E_LIMIT);
}

static size_t count_entries(const char *dir) {
  char command[300];
  snprintf(command, sizeof command, "ls -A '%s' | wc -l", dir);
  FILE *f = popen(command, "r");
  unsigned n = 999;
  if (!f || fscanf(f, "%u", &n) != 1) fail_msg("ls");
  pclose(f);
  return n;
}

TEST(atomic_writes) {
  struct arena a;
  arena_init(&a, 0, 0);
  const char *dir = temp("atomic");
  char path[300];
  assert_int_equal(file_mkdirs(dir, 0755, NULL), OK);
  snprintf(path, sizeof path, "%s/target", dir);
  mode_t old = umask(077);
  assert_int_equal(file_write_atomic(path, "one", 3, 0644, NULL), OK);
  umask(old);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0644);
  assert_text(slurp(&a, path), "one");
  assert_int_equal(file_write_atomic(path, "", 0, 0600, NULL), OK);
  assert_int_equal(file_size(path), 0);
  stat(path, &st);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(count_entries(dir), 1);
  struct error e = {0};
  assert_true(file_write_atomic(temp("nodir/x"), "x", 1, 0600, &e) < 0);
  assert_int_equal(e.code, E_NOTFOUND);
  arena_free(&a);
}

TEST(large_writer_pads_and_commits) {
  const char *path = temp("large");
  struct file_writer w;
  assert_int_equal(file_writer_open(&w, path, NULL), OK);
  struct buf want = {0};
  char chunk[5000];
  for (int i = 0; i < 600; i++) {
    size_t n = (size_t)(i * 37 % 5000);
    memset(chunk, 'a' + i % 26, n);
    file_writer_put(&w, chunk, n);
    buf_put(&want, chunk, n);
    if (i % 50) continue;
    file_writer_pad(&w, 64);
    while (want.n % 64) buf_putc(&want, 0);
    assert_int_equal(w.offset, want.n);
  }
  size_t big = 3 << 20;
  char *p = malloc(big);
  memset(p, 'Z', big);
  file_writer_put(&w, p, big);
  buf_put(&want, p, big);
  free(p);
  assert_false(file_exists(path)); /* not before the commit */
  assert_int_equal(file_writer_commit(&w, NULL), OK);
  struct file_map m;
  assert_int_equal(file_map_open(path, &m, NULL), OK);
  assert_int_equal(m.n, want.n);
  assert_memory_equal(m.p, want.p, want.n);
  file_map_close(&m);
  buf_release(&want);
}

static char victim[300];
static void die_in_the_middle(void) {
  struct file_writer w;
  if (file_writer_open(&w, victim, NULL) < 0) _exit(3);
  char junk[100000] = {1};
  for (int i = 0; i < 50; i++) file_writer_put(&w, junk, sizeof junk);
  raise(SIGKILL);
}

TEST(abort_and_crash_leave_the_old_file) {
  struct arena a;
  arena_init(&a, 0, 0);
  const char *dir = temp("crash");
  assert_int_equal(file_mkdirs(dir, 0755, NULL), OK);
  snprintf(victim, sizeof victim, "%s/target", dir);
  assert_int_equal(file_write_atomic(victim, "old", 3, 0600, NULL), OK);
  struct file_writer w;
  assert_int_equal(file_writer_open(&w, victim, NULL), OK);
  file_writer_put(&w, "new", 3);
  file_writer_abort(&w);
  file_writer_abort(&w); /* twice does no harm */
  assert_text(slurp(&a, victim), "old");
  assert_int_equal(count_entries(dir), 1);
  int status = child(die_in_the_middle);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  assert_text(slurp(&a, victim), "old");
  struct str *names;
  size_t n;
  assert_int_equal(file_list(&a, dir, &names, &n, NULL), OK); /* the leftover is hidden: no listing takes it for data */
  assert_int_equal(n, 1);
  arena_free(&a);
}

TEST(a_full_disk_is_reported) {
  if (access("/dev/full", W_OK) != 0) skip();
  struct file_writer w;
  struct error e = {0};
  const char *path = temp("full");
  assert_int_equal(file_writer_open(&w, path, NULL), OK);
  int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  dup2(full, w.fd);
  close(full);
  file_writer_put(&w, "x", 1);
  assert_int_equal(file_writer_commit(&w, &e), E_IO);
  assert_non_null(strstr(e.message, strerror(ENOSPC)));
  assert_false(file_exists(path));
}

TEST(directories_and_listing) {
  struct arena a;
  arena_init(&a, 0, 0);
  struct error e = {0};
  char root[256];
  strcpy(root, temp("tree"));
  char path[600];
  assert_int_equal(file_mkdirs(temp("tree/b/c//d"), 0755, &e), OK);
  assert_int_equal(file_mkdirs(temp("tree/b"), 0755, &e), OK);
  temp_file("tree/b/two", "2", 1);
  temp_file("tree/b/c/three", "3", 1);
  temp_file("tree/b-one", "1", 1);
  temp_file("tree/.hidden", "h", 1);
  temp_file("outside", "o", 1);
  snprintf(path, sizeof path, "%s/link_out", root);
  assert_int_equal(symlink("../outside", path), 0);
  snprintf(path, sizeof path, "%s/link_in", root);
  assert_int_equal(symlink("b/two", path), 0);
  snprintf(path, sizeof path, "%s/b/loop", root);
  assert_int_equal(symlink("..", path), 0);
  struct str *names;
  size_t n;
  assert_int_equal(file_list(&a, root, &names, &n, &e), OK);
  static const char *const WANT[] = {"b-one", "b/c/three", "b/two", "link_in"};
  assert_int_equal(n, 4);
  for (size_t i = 0; i < n; i++) {
    snprintf(path, sizeof path, "%s/%s", root, WANT[i]);
    assert_text(names[i], path);
    assert_int_equal(names[i].p[names[i].n], 0);
  }
  assert_int_equal(mkfifo(temp("tree/b/pipe"), 0600), 0);
  assert_int_equal(file_left_out(root, false), 3); /* link_out, loop, the pipe */
  assert_int_equal(file_left_out(root, true), 4);
  assert_int_equal(file_left_out(temp("tree/b-one"), true) + file_left_out(temp("nothing"), true), 0);
  snprintf(path, sizeof path, "%s/b-one", root);
  assert_int_equal(file_list(&a, path, &names, &n, &e), OK);
  assert_int_equal(n, 1);
  assert_int_equal(file_list(&a, temp("nothing"), &names, &n, &e), E_NOTFOUND);
  assert_true(file_mkdirs(path, 0755, &e) < 0); /* a file stands there */
  assert_int_equal(file_mkdirs("", 0755, &e), E_LIMIT);
  assert_int_equal(file_remove_tree(root, &e), OK);
  assert_false(file_exists(root));
  assert_true(file_exists(temp("outside"))); /* the links were removed, not followed */
  assert_int_equal(file_remove_tree(root, &e), OK);
  arena_free(&a);
}

TEST(listing_survives_failing_allocations) {
  assert_int_equal(file_mkdirs(temp("many"), 0755, NULL), OK);
  char name[32];
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "many/%03d", i);
    temp_file(name, "", 0);
  }
  for (long at = 1;; at++) {
    struct arena a;
    arena_init(&a, 0, 0);
    struct str *names;
    size_t n;
    arena_fail_at(at);
    int rc = file_list(&a, temp("many"), &names, &n, NULL);
    bool hit = !arena_fail_pending();
    arena_fail_at(0);
    assert_int_equal(rc, hit ? E_NOMEM : OK);
    if (!hit) assert_int_equal(n, 100);
    arena_free(&a);
    if (!hit) break;
  }
}

TEST(rename_and_sync) {
  struct arena a;
  arena_init(&a, 0, 0);
  temp_file("from", "x", 1);
  assert_int_equal(file_rename(temp("from"), temp("to"), NULL), OK);
  assert_text(slurp(&a, temp("to")), "x");
  assert_int_equal(file_rename(temp("from"), temp("to"), NULL), E_NOTFOUND);
  assert_int_equal(file_sync_dir(temp_dir, NULL), OK);
  assert_int_equal(file_sync_dir(temp("zz"), NULL), E_NOTFOUND);
  arena_free(&a);
}

static char lock_path[300];
static void try_lock(void) {
  int fd;
  _exit(-file_lock(lock_path, &fd, NULL));
}
TEST(locks_exclude) {
  int fd;
  strcpy(lock_path, temp("lock"));
  assert_int_equal(file_lock(lock_path, &fd, NULL), OK);
  int status = child(try_lock);
  assert_int_equal(WEXITSTATUS(status), -E_BUSY);
  file_unlock(fd);
  status = child(try_lock);
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(file_lock(lock_path, &fd, NULL), OK); /* the child's lock went with it */
  file_unlock(fd);
  assert_true(file_lock(temp("no/dir"), &fd, NULL) < 0);
}

static void try_shared(void) {
  int fd;
  int rc = file_lock_shared(lock_path, &fd, NULL);
  _exit(rc < 0 ? -rc : fd >= 0 ? 100 : 101);
}
static void a_stranger_tries(void) {
  if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) _exit(1);
  try_shared();
}
TEST(readers_share_a_lock) {
  int fd;
  struct stat st;
  chmod(temp_dir, 0755);
  strcpy(lock_path, temp("absent"));
  assert_int_equal(file_lock_shared(lock_path, &fd, NULL), OK);
  assert_true(fd == -1 && !file_exists(lock_path)); /* nothing is made */
  strcpy(lock_path, temp("shared"));
  assert_int_equal(file_lock(lock_path, &fd, NULL), OK);
  assert_true(stat(lock_path, &st) == 0 && (st.st_mode & 0444) == 0444);
  assert_int_equal(WEXITSTATUS(child(try_shared)), -E_BUSY);
  file_unlock(fd);
  assert_int_equal(chmod(lock_path, 0444), 0);
  assert_int_equal(file_lock_shared(lock_path, &fd, NULL), OK);
  assert_int_equal(WEXITSTATUS(child(a_stranger_tries)), 100);
  assert_int_equal(WEXITSTATUS(child(try_lock)), geteuid() == 0 ? -E_BUSY : -E_IO);
  file_unlock(fd);
  assert_int_equal(chmod(lock_path, geteuid() == 0 ? 0600 : 0), 0);
  assert_int_equal(WEXITSTATUS(child(a_stranger_tries)), 101); /* may not be opened: nobody waits */
  assert_int_equal(chmod(temp_dir, 0700), 0);
  strcpy(lock_path, temp("private"));
  assert_int_equal(file_lock(lock_path, &fd, NULL), OK);
  assert_true(stat(lock_path, &st) == 0 && (st.st_mode & 0777) == 0600);
  file_unlock(fd);
}

static void data_from_environment(void) {
  setenv("VITAE_DATA", temp_dir, 1);
  _exit(strcmp(file_data_dir(), temp_dir) == 0 ? 7 : 8);
}
TEST(data_directory) {
  assert_int_equal(file_mkdirs(temp("mapping"), 0755, NULL), OK);
  assert_int_equal(file_mkdirs(temp("tasks"), 0755, NULL), OK);
  assert_int_equal(WEXITSTATUS(child(data_from_environment)), 7);
  unsetenv("VITAE_DATA");
  const char *dir = file_data_dir(); /* found from the test program's own place, or "." */
  assert_non_null(dir);
  assert_ptr_equal(dir, file_data_dir());
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(read_and_map),
      cmocka_unit_test(a_pipe_is_not_waited_for),
      cmocka_unit_test(facts),
      cmocka_unit_test(atomic_writes),
      cmocka_unit_test(large_writer_pads_and_commits),
      cmocka_unit_test(abort_and_crash_leave_the_old_file),
      cmocka_unit_test(a_full_disk_is_reported),
      cmocka_unit_test(directories_and_listing),
      cmocka_unit_test(listing_survives_failing_allocations),
      cmocka_unit_test(rename_and_sync),
      cmocka_unit_test(locks_exclude),
      cmocka_unit_test(readers_share_a_lock),
      cmocka_unit_test(data_directory),
  };
  return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
