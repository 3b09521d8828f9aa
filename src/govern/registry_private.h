/* What registry.c and card.c share. */
#ifndef GOVERN_REGISTRY_PRIVATE_H
#define GOVERN_REGISTRY_PRIVATE_H
#include <sodium.h>

#include "base/json.h"
#include "govern/govern.h"
#include "govern/site.h"

#define REGISTRY_FORMAT 1
struct registry {
  struct site site;
  int lock;
  bool reading;
  uint8_t public_key[crypto_sign_PUBLICKEYBYTES], secret_key[crypto_sign_SECRETKEYBYTES];
};
struct state_row {
  char id[65];
  enum version_state state;
  struct json history; /* valid with the arena that read it */
};
struct file_row {
  struct str name; /* relative to the version's directory */
  const char *path;
  char hash[65];
};
struct report_row {
  char task[64], hash[65];
  bool passes;
};
struct manifest {
  struct version_info info;
  struct report_row *reports; /* one place to spare */
  int n_reports;
  struct json root;
};
int registry_path(const struct registry *r, char out[4096], const char *a, const char *b, const char *c, struct error *e) MUST_CHECK;
/* Reads a version's manifest and checks its signature. */
int registry_manifest(struct registry *r, const char *id, struct arena *a, struct manifest *out, struct error *e) MUST_CHECK;
#endif
