/* Which GPU a rank sees. What ranks do together is in tests/river/mpi.sh: it wants a launcher. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/train_mesh.h"

static void a_rank_sees_its_own_gpu(void **state) {
  static const char *const names[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"};
  static const struct {
    const char *local[3], *visible, *right; /* in names' order; NULL: not there */
  } cases[] = {
      {{NULL}, NULL, NULL},
      {{NULL}, "2,3", "2,3"},
      {{"0"}, NULL, "0"},
      {{"3"}, NULL, "3"},
      {{"0"}, "4,6", "4"},
      {{"1"}, "4,6", "6"},
      {{"3"}, "4,6", "6"}, /* more ranks than GPUs: they share */
      {{"5"}, "1", "1"},   /* the launcher gave each its own */
      {{"1"}, "GPU-1f2e,GPU-77aa", "GPU-77aa"},
      {{"1"}, "", ""}, /* none wanted */
      {{NULL, "2", NULL}, NULL, "2"},
      {{NULL, NULL, "1"}, NULL, "1"},
      {{"2", NULL, "0"}, NULL, "2"}, /* mpirun inside a Slurm job */
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (int k = 0; k < 3; k++) cases[i].local[k] ? setenv(names[k], cases[i].local[k], 1) : unsetenv(names[k]);
    cases[i].visible ? setenv("CUDA_VISIBLE_DEVICES", cases[i].visible, 1) : unsetenv("CUDA_VISIBLE_DEVICES");
    train_mesh_own_device();
    const char *now = getenv("CUDA_VISIBLE_DEVICES");
    if (cases[i].right)
      assert_true(now && strcmp(now, cases[i].right) == 0);
    else
      assert_null(now);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_rank_sees_its_own_gpu)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
