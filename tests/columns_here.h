/* Every kernel column that can run here, a GPU's if there is one, and the CUDA columns over emulated hardware (kernel/cuda_emulated.h). Include after cmocka.h. */
#ifndef COLUMNS_HERE_H
#define COLUMNS_HERE_H
#include <stdio.h>
#include <unistd.h>

#include "kernel/kernel_plugin.h"

static int columns_here(const struct kernel *out[12]) {
  char path[4096];
  int n = kernel_all(out);
  struct error e = {0};
  ssize_t at = readlink("/proc/self/exe", path, sizeof path - 32);
  assert_true(at > 0);
  while (path[at - 1] != '/') at--;
  snprintf(path + at, sizeof path - (size_t)at, "../vitae-cuda-emulated.so");
  for (int bf16 = 0; bf16 < 2; bf16++) {
    if (kernel_plugin_open(path, bf16, &out[n], &e) < 0) fail_msg("%s", e.message);
    n++;
    if (kernel_plugin_open(NULL, bf16, &out[n], &e) == OK) n++;
  }
  return n;
}
#endif
