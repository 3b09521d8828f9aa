/* What a plug-in offers so that processes train together: point-to-point messages and a broadcast, nothing of the model. src/model/mpi/mesh_mpi.c is
 * the one over MPI (build/vitae-mpi.so). Functions return 0, or another number when the connection is lost (most launchers end the run then).
 */
#ifndef MODEL_MESH_PLUGIN_H
#define MODEL_MESH_PLUGIN_H
#include <stddef.h>

#define MESH_PLUGIN_VERSION 1
#define MESH_PLUGIN_SYMBOL "vitae_mesh_plugin"
struct mesh_plugin {
  int version;
  int (*open)(int *rank, int *ranks);
  int (*send)(int to, const void *p, size_t bytes);
  int (*receive)(int from, void *p, size_t bytes);
  int (*broadcast)(void *p, size_t bytes); /* from rank 0 */
  void (*close)(void);                     /* returns when every rank has come here */
  void (*give_up)(int status);             /* ends every rank */
};
#endif
