/* What a process may still do once it takes foreign bytes apart with somebody else's code: use its memory, answer, and end.
 *
 *     if (fork() == 0) {
 *       struct confinement c = {.read_fd = from, .write_fd = to, .seconds = 120, .memory = (size_t)4 << 30};
 *       _exit(confine(&c, &e) < 0 ? NO_MEANS : work(from, to));            // from here on for good, and for what it forks too
 *     }
 *
 * A list of system calls is allowed (seccomp): memory without new executable pages, clocks, its own signals, ending, and read, write, seek and
 * status of the two descriptors. Opening a file, or whatever else is not named, fails with EPERM: libraries ask for this and that and get on
 * without it. A call that no decoder makes (another program, the network, another process's memory, a new kernel object) kills the process
 * (SIGSYS), so that its parent hears of it. Limits on processor time and address space come with it; no core is written.
 * E_UNAVAILABLE: the kernel has no seccomp, or forbids it; the caller then does not decode, and says so.
 */
#ifndef BASE_CONFINE_H
#define BASE_CONFINE_H
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct confinement {
  int read_fd, write_fd; /* -1: none */
  int seconds;           /* of processor time */
  size_t memory;         /* bytes of address space; not under a sanitizer, which needs terabytes */
};
int confine(const struct confinement *c, struct error *e) MUST_CHECK;
/* Whether a process of this one could be confined: tries with a child that ends at once. */
bool confine_possible(void);
#endif
