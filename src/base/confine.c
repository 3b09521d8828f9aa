#include "base/confine.h"

#include <errno.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __has_feature
#define SANITIZED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const int allowed[] = {SCMP_SYS(exit),           SCMP_SYS(exit_group),        SCMP_SYS(brk),           SCMP_SYS(munmap),
                              SCMP_SYS(mremap),         SCMP_SYS(madvise),           SCMP_SYS(futex),         SCMP_SYS(getpid),
                              SCMP_SYS(gettid),         SCMP_SYS(rt_sigprocmask),    SCMP_SYS(rt_sigreturn),  SCMP_SYS(sigaltstack),
                              SCMP_SYS(sched_yield),    SCMP_SYS(sched_getaffinity), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
                              SCMP_SYS(restart_syscall)};
static const int deadly[] = {SCMP_SYS(execve),
                             SCMP_SYS(execveat),
                             SCMP_SYS(ptrace),
                             SCMP_SYS(process_vm_readv),
                             SCMP_SYS(process_vm_writev),
                             SCMP_SYS(socket),
                             SCMP_SYS(connect),
                             SCMP_SYS(sendto),
                             SCMP_SYS(sendmsg),
                             SCMP_SYS(io_uring_setup),
                             SCMP_SYS(bpf),
                             SCMP_SYS(mount),
                             SCMP_SYS(unshare),
                             SCMP_SYS(setns),
                             SCMP_SYS(keyctl),
                             SCMP_SYS(add_key),
                             SCMP_SYS(pidfd_getfd),
                             SCMP_SYS(userfaultfd),
                             SCMP_SYS(perf_event_open)};

static bool on(scmp_filter_ctx f, int call, int fd) {
  return fd < 0 || seccomp_rule_add(f, SCMP_ACT_ALLOW, call, 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)fd, 0)) == 0;
}

/* glibc's fstat is newfstatat of the descriptor and an empty path. */
static bool descriptors(scmp_filter_ctx f, const struct confinement *c) {
  static const int both[] = {SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat)};
  bool good = on(f, SCMP_SYS(read), c->read_fd) && on(f, SCMP_SYS(lseek), c->read_fd);
  if (SANITIZED) /* its reports */
    good = good && seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(write), 0) == 0;
  else
    good = good && on(f, SCMP_SYS(write), c->write_fd);
  for (size_t i = 0; i < sizeof both / sizeof *both; i++)
    good = good && on(f, both[i], c->read_fd) && (c->write_fd == c->read_fd || on(f, both[i], c->write_fd));
  return good;
}

static bool filter(const struct confinement *c) {
  scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (!f) return false;
  bool good = true;
  for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) good = good && seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0) == 0;
  for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) good = good && seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, deadly[i], 0) == 0;
  static const int pages[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
  for (int i = 0; i < 2; i++)
    good = good && seccomp_rule_add(f, SCMP_ACT_ALLOW, pages[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) == 0;
  good = good && descriptors(f, c) && seccomp_load(f) == 0; /* with no_new_privs, which libseccomp sets */
  seccomp_release(f);
  return good;
}

int confine(const struct confinement *c, struct error *e) {
  struct rlimit seconds = {(rlim_t)c->seconds, (rlim_t)c->seconds}, memory = {c->memory, c->memory}, none = {0, 0};
  setrlimit(RLIMIT_CPU, &seconds);
  setrlimit(RLIMIT_CORE, &none);
  setrlimit(RLIMIT_FSIZE, &none);
  if (!SANITIZED) setrlimit(RLIMIT_AS, &memory);
  return filter(c) ? OK : error_set(e, E_UNAVAILABLE, "this kernel confines no process (seccomp)");
}

bool confine_possible(void) {
  int status = 1;
  pid_t child = fork();
  if (child == 0) {
    struct confinement c = {.read_fd = -1, .write_fd = -1, .seconds = 1, .memory = (size_t)64 << 30};
    _exit(confine(&c, NULL) < 0);
  }
  while (child > 0 && waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return false;
  return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
