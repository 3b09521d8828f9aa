/* The child that turns BCF into text. */
#include <errno.h>
#include <fcntl.h>
#include <htslib/hfile.h>
#include <htslib/hts.h>
#include <htslib/hts_log.h>
#include <htslib/vcf.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "record/vcf_bcf.h"

enum { GOOD = 0, NO_BCF = 1, NO_MEANS = 2, SECONDS = 3600 };

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
    /* the process it was forked from has other files open: it may read its file and write to its pipe, and nothing else */
    struct confinement c = {.read_fd = from, .write_fd = pipes[1], .seconds = SECONDS, .memory = (size_t)4 << 30};
    _exit(confine(&c, NULL) < 0 ? NO_MEANS : work(from, pipes[1]));
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
  if (WIFEXITED(status) && WEXITSTATUS(status) == NO_MEANS)
    return error_set(e, E_UNAVAILABLE, "BCF files are read by a confined process only, and this kernel confines none (seccomp)");
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
    return error_set(e, E_INPUT, "its reader wanted what no reader may: is the file hostile?");
  return error_set(e, E_INPUT, "is no BCF file, or a malformed one");
}
