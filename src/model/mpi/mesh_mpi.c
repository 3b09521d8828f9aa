/* MPI as a mesh (mesh_plugin.h). Compiled by mpicc into a plug-in, so that the program itself needs no MPI. */
#include <mpi.h>
#include <time.h>

#include "model/mesh_plugin.h"

#define PIECE ((size_t)1 << 26) /* MPI counts are ints */

static int open_mesh(int *rank, int *ranks) {
  int have = 0, level;
  if (MPI_Initialized(&have) || (!have && MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level))) return 1;
  return MPI_Comm_rank(MPI_COMM_WORLD, rank) || MPI_Comm_size(MPI_COMM_WORLD, ranks);
}

static int piece_of(size_t left) { return (int)(left < PIECE ? left : PIECE); }

static int send_all(int to, const void *p, size_t bytes) {
  for (size_t at = 0; at < bytes; at += PIECE)
    if (MPI_Send((const char *)p + at, piece_of(bytes - at), MPI_BYTE, to, 0, MPI_COMM_WORLD)) return 1;
  return 0;
}

static int receive_all(int from, void *p, size_t bytes) {
  for (size_t at = 0; at < bytes; at += PIECE)
    if (MPI_Recv((char *)p + at, piece_of(bytes - at), MPI_BYTE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE)) return 1;
  return 0;
}

static int broadcast_all(void *p, size_t bytes) {
  for (size_t at = 0; at < bytes; at += PIECE)
    if (MPI_Bcast((char *)p + at, piece_of(bytes - at), MPI_BYTE, 0, MPI_COMM_WORLD)) return 1;
  return 0;
}

/* Rank 0 goes on for long after the last step (heads, checks); the others wait asleep, not spinning. */
static void close_mesh(void) {
  MPI_Request all;
  int done = 0;
  if (MPI_Ibarrier(MPI_COMM_WORLD, &all)) return;
  while (!MPI_Test(&all, &done, MPI_STATUS_IGNORE) && !done) nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  MPI_Finalize();
}

static void give_up(int status) { MPI_Abort(MPI_COMM_WORLD, status); }

extern const struct mesh_plugin vitae_mesh_plugin;
const struct mesh_plugin vitae_mesh_plugin = {MESH_PLUGIN_VERSION, open_mesh, send_all, receive_all, broadcast_all, close_mesh, give_up};
