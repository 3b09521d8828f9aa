/* What a plug-in for an accelerator offers: a column of the table in kernel.h, and memory that both sides reach. src/kernel/cuda is the one for
 * NVIDIA GPUs (build/vitae-cuda.so, opened beside the program or from ../lib/vitae). The program starts without it.
 *
 * A plug-in's operations return when their result is there, whatever memory they are given: operands outside `memory` travel to the
 * device and back on each call, which is right but slow. A device that fails does not end the process: `failed` says so from then on, results are
 * undefined, and whoever trains stops at the last good checkpoint.
 */
#ifndef KERNEL_KERNEL_PLUGIN_H
#define KERNEL_KERNEL_PLUGIN_H
#include "kernel/kernel.h"

#define KERNEL_PLUGIN_VERSION 2
#define KERNEL_PLUGIN_SYMBOL "vitae_kernel_plugin"
enum { KERNEL_LINK_NAME = 128, KERNEL_LINK_DEVICE = 16 };
/* Messages between the devices of many processes, one device each; from one thread. Memory may be anybody's. Functions return 0, or another number:
 * then failure() says why. */
struct kernel_link {
  int (*find)(unsigned char device[KERNEL_LINK_DEVICE]);               /* can it be? device: its identity, of which a link has no two */
  int (*name)(char name[KERNEL_LINK_NAME]);                            /* on rank 0; it travels to the others by other ways */
  int (*open)(const char name[KERNEL_LINK_NAME], int rank, int ranks); /* returns when every rank has come here */
  int (*send)(int to, const void *p, size_t bytes);
  int (*receive)(int from, void *p, size_t bytes);
  int (*broadcast)(void *p, size_t bytes); /* from rank 0 */
  void (*close)(void);                     /* every rank has to come here */
  const char *(*failure)(void);
};
struct kernel_plugin {
  int version;
  /* The column, or NULL with the reason in why. host: the processor's column, which keeps what is too small to travel. Called once per precision. */
  const struct kernel *(*open)(const struct kernel *host, bool bf16, char *why, size_t why_size);
  const char *(*device)(void);   /* one line for people; after open */
  void *(*memory)(size_t bytes); /* zeroed, 64-byte aligned, reached by both sides; NULL: none left */
  bool (*release)(void *p);      /* false: not one of `memory` */
  const struct kernel_link *link;
};

/* The column of the plug-in at path (NULL: where the program looks); E_UNAVAILABLE with the reason where there is none. The library stays open. */
int kernel_plugin_open(const char *path, bool bf16, const struct kernel **out, struct error *e) MUST_CHECK;
const char *kernel_plugin_device(void); /* NULL: none is open */
const struct kernel_link *kernel_plugin_link(void);
#endif
