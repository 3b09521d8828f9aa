/* A confined process: what it may do, what it is refused, what ends it; and a kernel that confines nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/confine.h"

enum { STAYED_FREE = 99 };
static int wire[2], other;

/* The status with which a confined child ends that does `f`: its exit status, or 256 + the signal. */
static int in_a_child(int (*f)(void)) {
  int status = 0;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    struct confinement c = {.read_fd = wire[0], .write_fd = wire[1], .seconds = 2, .memory = (size_t)1 << 30};
    _exit(confine(&c, NULL) < 0 ? STAYED_FREE : f());
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static int works(void) {
  char word[4] = "";
  char *p = malloc(3 << 20); /* by mmap */
  if (!p) return 1;
  memset(p, 1, 3 << 20);
  free(p);
  if (write(wire[1], "yes", 3) != 3 || read(wire[0], word, 3) != 3 || strcmp(word, "yes") != 0) return 2;
  return 0;
}

#define REFUSED(call) (errno = 0, (call) == -1 && errno == EPERM)
static int asks(void) {
  char b;
  void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!REFUSED(open("/etc/passwd", O_RDONLY))) return 1;
  if (!REFUSED(open("/tmp/vitae-confined", O_WRONLY | O_CREAT, 0600))) return 2;
  if (!REFUSED(read(other, &b, 1))) return 3;
  if (!REFUSED(lseek(other, 0, SEEK_SET))) return 4;
  if (!REFUSED(kill(getppid(), 0))) return 5;
  if (!REFUSED(fork())) return 6;
  if (page == MAP_FAILED || !REFUSED(mprotect(page, 4096, PROT_READ | PROT_EXEC))) return 7;
  if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) return 8;
  if (!REFUSED(unlink("/tmp/vitae-confined"))) return 9;
  return 0;
}

static int runs_a_program(void) { return execl("/bin/true", "true", (char *)NULL); }
static int calls_out(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static int looks_into_its_parent(void) { return (int)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL); }
static int spins(void) {
  volatile unsigned n = 0;
  while (n < UINT32_MAX || time(NULL)) n++;
  return (int)n;
}

static void it_may_compute_and_answer(void **state) {
  (void)state;
  assert_int_equal(in_a_child(works), 0);
}
static void it_is_refused_files_and_processes(void **state) {
  (void)state;
  assert_int_equal(in_a_child(asks), 0);
  assert_int_not_equal(access("/tmp/vitae-confined", F_OK), 0);
}
static void what_no_decoder_does_ends_it(void **state) {
  (void)state;
  assert_int_equal(in_a_child(runs_a_program), 256 + SIGSYS);
  assert_int_equal(in_a_child(calls_out), 256 + SIGSYS);
  assert_int_equal(in_a_child(looks_into_its_parent), 256 + SIGSYS);
}
static void it_has_so_much_time(void **state) {
  (void)state;
  int how = in_a_child(spins);
  assert_true(how == 256 + SIGXCPU || how == 256 + SIGKILL);
}

/* What a kernel without seccomp says to both ways of asking for it. */
static bool take_seccomp_away(void) {
  scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
  return f && seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(seccomp), 0) == 0 &&
         seccomp_rule_add(f, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP, 0)) == 0 &&
         seccomp_load(f) == 0;
}

static void a_kernel_without_it_is_said(void **state) {
  (void)state;
  int status = 0;
  assert_true(confine_possible());
  pid_t child = fork();
  if (child == 0) {
    struct error e = {0};
    struct confinement c = {.read_fd = -1, .write_fd = -1, .seconds = 2, .memory = (size_t)1 << 30};
    if (!take_seccomp_away()) _exit(1);
    if (confine_possible()) _exit(2);
    if (confine(&c, &e) != E_UNAVAILABLE) _exit(3);
    _exit(strstr(e.message, "seccomp") ? 0 : 4);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static int open_all(void **state) {
  (void)state;
  other = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  return other < 0 || pipe(wire) != 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(it_may_compute_and_answer), cmocka_unit_test(it_is_refused_files_and_processes),
                                     cmocka_unit_test(what_no_decoder_does_ends_it), cmocka_unit_test(it_has_so_much_time),
                                     cmocka_unit_test(a_kernel_without_it_is_said)};
  return cmocka_run_group_tests(tests, open_all, NULL);
}
