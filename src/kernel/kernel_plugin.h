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

#define KERNEL_PLUGIN_VERSION 1
#define KERNEL_PLUGIN_SYMBOL "vitae_kernel_plugin"
struct kernel_plugin {
  int version;
  /* The column, or NULL with the reason in why. host: the processor's column, which keeps what is too small to travel. Called once per precision. */
  const struct kernel *(*open)(const struct kernel *host, bool bf16, char *why, size_t why_size);
  const char *(*device)(void);   /* one line for people; after open */
  void *(*memory)(size_t bytes); /* zeroed, 64-byte aligned, reached by both sides; NULL: none left */
  bool (*release)(void *p);      /* false: not one of `memory` */
};

/* The column of the plug-in at path (NULL: where the program looks); E_UNAVAILABLE with the reason where there is none. The library stays open. */
int kernel_plugin_open(const char *path, bool bf16, const struct kernel **out, struct error *e) MUST_CHECK;
const char *kernel_plugin_device(void); /* NULL: none is open */
#endif
