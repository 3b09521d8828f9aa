/* What every test program of base/ begins with. */
#ifndef BASE_HELPERS_H
#define BASE_HELPERS_H
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

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"

#define TEST(name) static void name(void **state UNUSED)
#define assert_text(s, literal)                                                   \
  do {                                                                            \
    struct str assert_text_ = (s);                                                \
    if (!str_eqc(assert_text_, literal)) {                                        \
      print_error("got \"%.*s\", want \"%s\"\n", STR_ARG(assert_text_), literal); \
      fail();                                                                     \
    }                                                                             \
  } while (0)

static char temp_dir[64];
static inline int temp_make(void **state UNUSED) {
  strcpy(temp_dir, "/tmp/base-test-XXXXXX");
  return mkdtemp(temp_dir) ? 0 : -1;
}
static inline int temp_remove(void **state UNUSED) { return file_remove_tree(temp_dir, NULL) < 0 ? -1 : 0; }
/* Path of `name` in the temporary directory; one of four buffers in turn. */
static inline const char *temp(const char *name) {
  static char path[4][256];
  static int i;
  i = (i + 1) % 4;
  snprintf(path[i], sizeof path[i], "%s/%s", temp_dir, name);
  return path[i];
}
static inline const char *temp_file(const char *name, const void *p, size_t n) {
  const char *path = temp(name);
  FILE *f = fopen(path, "wb");
  if (!f || (n && fwrite(p, 1, n, f) != n) || fclose(f) != 0) fail_msg("cannot write a test file");
  return path;
}
/* How a child that runs f ends: its wait status. Its stderr is dropped. */
static inline int child(void (*f)(void)) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    if (!freopen("/dev/null", "w", stderr)) _exit(99);
    signal(SIGABRT, SIG_DFL);
    f();
    _exit(0);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  return status;
}
#endif
