/* The child that turns BCF into text. */
#include <errno.h>
#include <fcntl.h>
#include <htslib/hfile.h>
#include <htslib/hts.h>
#include <htslib/hts_log.h>
#include <htslib/vcf.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "record/vcf_bcf.h"

#ifdef __has_feature
#define SANITIZED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum { GOOD = 0, NO_BCF = 1, NO_MEANS = 2, SECONDS = 3600 };

/* The process it was forked from has other files open: it may write to its pipe and read its file, and nothing else. */
static bool confine(int from, int to) {
  static const int calls[] = {SCMP_SYS(exit),   SCMP_SYS(exit_group), SCMP_SYS(brk),         SCMP_SYS(mmap),   SCMP_SYS(munmap),
                              SCMP_SYS(mremap), SCMP_SYS(madvise),    SCMP_SYS(futex),       SCMP_SYS(getpid), SCMP_SYS(rt_sigprocmask),
                              SCMP_SYS(gettid), SCMP_SYS(close),      SCMP_SYS(sigaltstack), SCMP_SYS(fstat),  SCMP_SYS(rt_sigreturn),
                              SCMP_SYS(lseek),  SCMP_SYS(newfstatat), SCMP_SYS(sched_yield)};
  struct rlimit seconds = {SECONDS, SECONDS}, memory = {(rlim_t)4 << 30, (rlim_t)4 << 30}, none = {0, 0};
  setrlimit(RLIMIT_CPU, &seconds);
  setrlimit(RLIMIT_CORE, &none);
  setrlimit(RLIMIT_FSIZE, &none);
  if (!SANITIZED) setrlimit(RLIMIT_AS, &memory);
  scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (!c) return false;
  bool good = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(read), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)from, 0)) == 0 &&
              seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)to, 0)) == 0;
  for (size_t i = 0; i < sizeof calls / sizeof *calls && good; i++) good = seccomp_rule_add(c, SCMP_ACT_ALLOW, calls[i], 0) == 0;
  good = good && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && seccomp_load(c) == 0;
  seccomp_release(c);
  return good;
}

static bool put(int to, const char *p, size_t n) {
  while (n) {
    ssize_t k = write(to, p, n);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return false;
    p += k;
    n -= (size_t)k;
  }
  return true;
}

static int records(htsFile *in, bcf_hdr_t *header, int to) {
  kstring_t text = {0, 0, NULL};
  bcf1_t *record = bcf_init();
  if (!record || bcf_hdr_format(header, 0, &text) < 0) return NO_MEANS;
  for (;;) {
    if (text.l >= 1 << 16) {
      if (!put(to, text.s, text.l)) return NO_MEANS;
      text.l = 0;
    }
    int rc = bcf_read(in, header, record);
    if (rc == -1) return put(to, text.s, text.l) ? GOOD : NO_MEANS;
    if (rc < -1 || record->errcode || vcf_format(header, record, &text) < 0) return NO_BCF;
  }
}

static int work(int from, int to) {
  hts_set_log_level(HTS_LOG_OFF); /* its messages quote the file */
  hFILE *file = hdopen(from, "r");
  htsFile *in = file ? hts_hopen(file, "input", "r") : NULL;
  if (!in || hts_get_format(in)->format != bcf) return NO_BCF;
  bcf_hdr_t *header = bcf_hdr_read(in);
  return header ? records(in, header, to) : NO_BCF;
}

int vcf_bcf_start(const char *path, int *text, pid_t *child, struct error *e) {
  int pipes[2], from = open(path, O_RDONLY | O_CLOEXEC);
  if (from < 0) return error_set(e, E_IO, "a BCF file cannot be opened");
  if (pipe2(pipes, O_CLOEXEC) < 0) {
    close(from);
    return error_set(e, E_IO, "no pipe for a BCF file");
  }
  *child = fork();
  if (*child == 0) {
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(pipes[0]);
    _exit(confine(from, pipes[1]) ? work(from, pipes[1]) : NO_MEANS);
  }
  close(from);
  close(pipes[1]);
  if (*child < 0) {
    close(pipes[0]);
    return error_set(e, E_IO, "no process for a BCF file");
  }
  *text = pipes[0];
  return OK;
}

int vcf_bcf_end(pid_t child, bool stop, struct error *e) {
  int status = 0;
  if (stop) kill(child, SIGKILL);
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return error_set(e, E_IO, "the reader of a BCF file is lost");
  if (stop || (WIFEXITED(status) && WEXITSTATUS(status) == GOOD)) return OK;
  if (WIFEXITED(status) && WEXITSTATUS(status) == NO_MEANS) return error_set(e, E_IO, "a BCF file cannot be read in a confined process");
  return error_set(e, E_INPUT, "is no BCF file, or a malformed one");
}
