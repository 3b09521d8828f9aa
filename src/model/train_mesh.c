#include "model/train_mesh.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/progress.h"
#include "kernel/kernel_plugin.h"
#include "model/mesh_plugin.h"

#define PIECE ((size_t)1 << 20) /* floats that travel together: the scratch of a sum */

struct train_mesh {
  const struct mesh_plugin *plugin;
  const struct kernel_link *link; /* NULL: gradients go by the plug-in too */
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

/* Slurm's is last: under mpirun in a Slurm job it is the script's own. Set as an environment, not by CUDA's call, which holds for one thread only. */
void train_mesh_own_device(void) {
  static const char *const names[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"};
  const char *local = NULL, *visible = env_get("CUDA_VISIBLE_DEVICES");
  char own[64];
  for (size_t i = 0; i < sizeof names / sizeof *names && !local; i++) local = env_get(names[i]);
  if (!local) return;
  long k = strtol(local, NULL, 10), n = 1;
  snprintf(own, sizeof own, "%ld", k);
  if (visible) {
    for (const char *p = visible; *p; p++) n += *p == ',';
    for (k = k % n; k > 0; k--) visible = strchr(visible, ',') + 1;
    snprintf(own, sizeof own, "%.*s", (int)strcspn(visible, ","), visible);
  }
  setenv("CUDA_VISIBLE_DEVICES", own, visible != NULL); /* one that is there but empty says: none */
}

int train_mesh_open(struct train_mesh **out, struct error *e) {
  *out = NULL;
  train_mesh_own_device();
  struct train_mesh *m = mem_alloc(sizeof *m);
  if (!m) return error_set(e, E_NOMEM, "no memory for the ranks");
  *m = (struct train_mesh){.library = find_library()};
  m->plugin = m->library ? dlsym(m->library, MESH_PLUGIN_SYMBOL) : NULL;
  int rc = OK;
  if (!m->plugin)
    rc = error_set(e, E_UNAVAILABLE,
                   "training over several processes needs vitae-mpi.so beside the program; make builds it where mpicc is found");
  else if (m->plugin->version != MESH_PLUGIN_VERSION)
    rc = error_set(e, E_MISMATCH, "vitae-mpi.so is of another version of the program");
  else if (m->plugin->open(&m->rank, &m->ranks))
    rc = error_set(e, E_UNAVAILABLE, "MPI does not start here");
  if (rc < 0) {
    mem_free(m);
    return rc;
  }
  *out = m;
  return OK;
}

void train_mesh_close(struct train_mesh *m) {
  if (!m) return;
  m->plugin->close();
  mem_free_aligned(m->scratch, PIECE * sizeof(float));
  mem_free(m); /* the library stays: MPI does not like to be unloaded */
}

void train_mesh_give_up(struct train_mesh *m, int status) { m->plugin->give_up(status); }
int train_mesh_rank(const struct train_mesh *m) { return m ? m->rank : 0; }
int train_mesh_ranks(const struct train_mesh *m) { return m ? m->ranks : 1; }

static int lost(struct error *e) { return error_set(e, E_UNAVAILABLE, "the connection to another rank is lost; the run can be resumed"); }
static int link_lost(const struct train_mesh *m, struct error *e) {
  return m->link ? error_set(e, E_UNAVAILABLE, "%s; the run can be resumed", m->link->failure()) : lost(e);
}

int train_mesh_broadcast(struct train_mesh *m, void *p, size_t bytes, struct error *e) {
  return !m || m->ranks == 1 || m->plugin->broadcast(p, bytes) == 0 ? OK : lost(e);
}

static int sum_piece(struct train_mesh *m, void (*add)(size_t n, const float *x, float *y), float *x, size_t n) {
  for (int step = 1; step < m->ranks; step *= 2) {
    if (m->rank % (2 * step))
      return m->link ? m->link->send(m->rank - step, x, n * sizeof *x) : m->plugin->send(m->rank - step, x, n * sizeof *x);
    if (m->rank + step >= m->ranks) continue;
    if (m->link ? m->link->receive(m->rank + step, m->scratch, n * sizeof *x)
                : m->plugin->receive(m->rank + step, m->scratch, n * sizeof *x))
      return 1;
    add(n, m->scratch, x);
  }
  return 0;
}

int train_mesh_sum(struct train_mesh *m, void (*add)(size_t n, const float *x, float *y), float *x, size_t n, struct error *e) {
  if (!m || m->ranks == 1) return OK;
  if (!m->scratch) m->scratch = mem_alloc_aligned(PIECE * sizeof(float)); /* here the column is open, so that a device reaches it */
  if (!m->scratch) return error_set(e, E_NOMEM, "no memory for the ranks");
  for (size_t at = 0; at < n; at += PIECE)
    if (sum_piece(m, add, x + at, n - at < PIECE ? n - at : PIECE)) return link_lost(m, e);
  if (!m->link) return train_mesh_broadcast(m, x, n * sizeof *x, e);
  return m->link->broadcast(x, n * sizeof *x) == 0 ? OK : link_lost(m, e);
}

int train_mesh_gather(struct train_mesh *m, void *all, size_t bytes_each, struct error *e) {
  if (!m || m->ranks == 1) return OK;
  char *p = all;
  if (m->rank && m->plugin->send(0, p + (size_t)m->rank * bytes_each, bytes_each)) return lost(e);
  for (int k = 1; k < m->ranks && m->rank == 0; k++)
    if (m->plugin->receive(k, p + (size_t)k * bytes_each, bytes_each)) return lost(e);
  return train_mesh_broadcast(m, all, (size_t)m->ranks * bytes_each, e);
}

struct seat {
  unsigned char device[KERNEL_LINK_DEVICE];
  char failure[160];
};

/* Empty: every rank has the library and a device of its own. The same on every rank: who joins a link that another does not join waits for ever. */
static int seats(struct train_mesh *m, const struct kernel_link *link, char why[256], struct error *e) {
  size_t n = (size_t)m->ranks;
  struct seat *all = mem_alloc(n * sizeof *all), *own;
  if (!all) return error_set(e, E_NOMEM, "no memory for the ranks");
  memset(all, 0, n * sizeof *all);
  own = all + m->rank;
  if (link->find(own->device)) snprintf(own->failure, sizeof own->failure, "%s", link->failure());
  int rc = train_mesh_gather(m, all, sizeof *all, e);
  why[0] = 0;
  for (size_t k = 0; k < n && rc >= 0 && !why[0]; k++) {
    if (all[k].failure[0]) snprintf(why, 256, "rank %zu: %s", k, all[k].failure);
    for (size_t j = 0; j < k && !why[0]; j++)
      if (memcmp(all[j].device, all[k].device, sizeof all[k].device) == 0) snprintf(why, 256, "ranks %zu and %zu have the same GPU", j, k);
  }
  mem_free(all);
  return rc;
}

int train_mesh_link(struct train_mesh *m, const struct kernel_link *link, const char *transport, struct error *e) {
  bool asked = transport && strcmp(transport, "nccl") == 0;
  char why[256], note[384];
  struct {
    char name[KERNEL_LINK_NAME];
    int failed;
  } first = {0};
  if (transport && !asked && strcmp(transport, "mpi") != 0) return error_set(e, E_USAGE, "gradients travel by nccl or mpi");
  if (asked && !link) return error_set(e, E_USAGE, "NCCL sends between GPUs only: it wants a column of them");
  if (!m || m->ranks == 1 || !link || (transport && !asked)) return OK;
  TRY(seats(m, link, why, e));
  if (why[0] && asked) return error_set(e, E_UNAVAILABLE, "NCCL cannot be used: %s", why);
  if (why[0]) {
    snprintf(note, sizeof note, "gradients travel by MPI, not NCCL: %s", why);
    progress_note(note);
    return OK;
  }
  if (m->rank == 0) first.failed = link->name(first.name);
  TRY(train_mesh_broadcast(m, &first, sizeof first, e));
  if (first.failed) return error_set(e, E_UNAVAILABLE, "%s", m->rank == 0 ? link->failure() : "rank 0 finds no name for NCCL");
  if (link->open(first.name, m->rank, m->ranks)) return error_set(e, E_UNAVAILABLE, "%s", link->failure());
  m->link = link;
  progress_note("gradients travel by NCCL");
  return OK;
}

void train_mesh_unlink(struct train_mesh *m) {
  if (!m || !m->link) return;
  m->link->close();
  m->link = NULL;
}
