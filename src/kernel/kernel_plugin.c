#include "kernel/kernel_plugin.h"

#include <dlfcn.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/file.h"

static const struct kernel_plugin *plugin; /* one device a process: opened at start, before threads */

/* Beside the program, or where an installation puts it. */
static void *find_library(void) {
  static const char *const places[] = {"vitae-cuda.so", "../lib/vitae/vitae-cuda.so"};
  char self[4096], path[8300];
  if (!file_program_dir(self, sizeof self)) return NULL;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(path, sizeof path, "%s/%s", self, places[i]);
    void *library = file_exists(path) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library) return library;
  }
  return NULL;
}

int kernel_plugin_open(const char *path, bool bf16, const struct kernel **out, struct error *e) {
  char why[256] = "";
  void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : find_library();
  const struct kernel_plugin *found = library ? dlsym(library, KERNEL_PLUGIN_SYMBOL) : NULL;
  *out = NULL; /* the library stays in any case: CUDA does not like to be unloaded */
  if (!found)
    return error_set(e, E_UNAVAILABLE,
                     "computing on a GPU needs vitae-cuda.so beside the program, and CUDA's libraries; make cuda builds it");
  if (found->version != KERNEL_PLUGIN_VERSION) return error_set(e, E_MISMATCH, "vitae-cuda.so is of another version of the program");
  *out = found->open(kernel_pick(KERNEL_AUTO, KERNEL_F32), bf16, why, sizeof why);
  if (!*out) return error_set(e, E_UNAVAILABLE, "no GPU to compute on: %s", why);
  plugin = found;
  mem_aligned_from(found->memory, found->release);
  return OK;
}

const char *kernel_plugin_device(void) { return plugin ? plugin->device() : NULL; }
const struct kernel_link *kernel_plugin_link(void) { return plugin ? plugin->link : NULL; }
