#include "model/train_mesh.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/file.h"
#include "model/mesh_plugin.h"

#define PIECE ((size_t)1 << 20) /* floats that travel together: the scratch of a sum */

struct train_mesh {
  const struct mesh_plugin *plugin;
  void *library;
  int rank, ranks;
  float *scratch;
};

/* Beside the program, or where an installation puts it. */
static void *find_library(void) {
  static const char *const places[] = {"vitae-mpi.so", "../lib/vitae/vitae-mpi.so"};
  char self[4096], path[8300];
  if (!file_program_dir(self, sizeof self)) return NULL;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(path, sizeof path, "%s/%s", self, places[i]);
    void *library =
        file_exists(path) ? dlopen(path, RTLD_NOW | RTLD_GLOBAL) : NULL; /* MPI opens components of its own that look for its names */
    if (library) return library;
  }
  return NULL;
}

int train_mesh_open(struct train_mesh **out, struct error *e) {
  *out = NULL;
  struct train_mesh *m = mem_alloc(sizeof *m);
  if (!m) return error_set(e, E_NOMEM, "no memory for the ranks");
  *m = (struct train_mesh){.library = find_library(), .scratch = mem_alloc(PIECE * sizeof(float))};
  m->plugin = m->library ? dlsym(m->library, MESH_PLUGIN_SYMBOL) : NULL;
  int rc = OK;
  if (!m->scratch)
    rc = error_set(e, E_NOMEM, "no memory for the ranks");
  else if (!m->plugin)
    rc = error_set(e, E_UNAVAILABLE,
                   "training over several processes needs vitae-mpi.so beside the program; make builds it where mpicc is found");
  else if (m->plugin->version != MESH_PLUGIN_VERSION)
    rc = error_set(e, E_MISMATCH, "vitae-mpi.so is of another version of the program");
  else if (m->plugin->open(&m->rank, &m->ranks))
    rc = error_set(e, E_UNAVAILABLE, "MPI does not start here");
  if (rc < 0) {
    mem_free(m->scratch);
    mem_free(m);
    return rc;
  }
  *out = m;
  return OK;
}

void train_mesh_close(struct train_mesh *m) {
  if (!m) return;
  m->plugin->close();
  mem_free(m->scratch);
  mem_free(m); /* the library stays: MPI does not like to be unloaded */
}

void train_mesh_give_up(struct train_mesh *m, int status) { m->plugin->give_up(status); }
int train_mesh_rank(const struct train_mesh *m) { return m ? m->rank : 0; }
int train_mesh_ranks(const struct train_mesh *m) { return m ? m->ranks : 1; }

static int lost(struct error *e) { return error_set(e, E_UNAVAILABLE, "the connection to another rank is lost; the run can be resumed"); }

int train_mesh_broadcast(struct train_mesh *m, void *p, size_t bytes, struct error *e) {
  return !m || m->ranks == 1 || m->plugin->broadcast(p, bytes) == 0 ? OK : lost(e);
}

static int sum_piece(struct train_mesh *m, void (*add)(size_t n, const float *x, float *y), float *x, size_t n) {
  for (int step = 1; step < m->ranks; step *= 2) {
    if (m->rank % (2 * step)) return m->plugin->send(m->rank - step, x, n * sizeof *x);
    if (m->rank + step >= m->ranks) continue;
    if (m->plugin->receive(m->rank + step, m->scratch, n * sizeof *x)) return 1;
    add(n, m->scratch, x);
  }
  return 0;
}

int train_mesh_sum(struct train_mesh *m, void (*add)(size_t n, const float *x, float *y), float *x, size_t n, struct error *e) {
  if (!m || m->ranks == 1) return OK;
  for (size_t at = 0; at < n; at += PIECE)
    if (sum_piece(m, add, x + at, n - at < PIECE ? n - at : PIECE)) return lost(e);
  return train_mesh_broadcast(m, x, n * sizeof *x, e);
}

int train_mesh_gather(struct train_mesh *m, void *all, size_t bytes_each, struct error *e) {
  if (!m || m->ranks == 1) return OK;
  char *p = all;
  if (m->rank && m->plugin->send(0, p + (size_t)m->rank * bytes_each, bytes_each)) return lost(e);
  for (int k = 1; k < m->ranks && m->rank == 0; k++)
    if (m->plugin->receive(k, p + (size_t)k * bytes_each, bytes_each)) return lost(e);
  return train_mesh_broadcast(m, all, (size_t)m->ranks * bytes_each, e);
}
