/* SITE/forgotten.json: the pseudonyms of persons who were forgotten, random numbers that belong to nobody any more. The entry is written
 * before anything is removed, and marked as done when nothing is left to remove: so an interruption is known and can be finished.
 * And SITE/models/seen/HASH.subjects: who was in the store generation of that hash that a model was trained on. */
#ifndef CLI_CLI_FORGOTTEN_H
#define CLI_CLI_FORGOTTEN_H
#include "base/arena.h"
#include "base/error.h"

struct site;
struct timeline;
struct vault;
struct forgotten {
  int64_t *subject;
  bool *done, *may_return; /* may_return: as somebody new, by a later ingest */
  char (*at)[32];
  uint32_t n;
};
int forgotten_read(const struct site *s, struct arena *a, struct forgotten *out, struct error *e) MUST_CHECK; /* room for one more */
int forgotten_write(const struct site *s, const struct forgotten *f, struct error *e) MUST_CHECK;
/* E_MISMATCH if a vault that is older than the stores lies beside them: they hold persons of whom it knows no events (another ingest would make
 * them somebody else), or it knows persons who were forgotten. One of these may be forgotten nevertheless: `but`, 0 = nobody. */
int forgotten_vault_fits(const struct site *s, const struct vault *v, int64_t but, struct error *e) MUST_CHECK;
/* Looks for every forgotten subject in every generation, and for persons unknown to the vault where that opens without a passphrase;
 * `finding` gets one line each. */
int forgotten_verify(const struct site *s, void (*finding)(void *ctx, const char *what), void *ctx, struct error *e) MUST_CHECK;
int forgotten_unfinished(const struct site *s, struct error *e) MUST_CHECK; /* E_MISMATCH if an erasure was interrupted */
/* E_MISMATCH if somebody was forgotten whom a training on this store (opened before) learned from; `run` is where its checkpoint lies */
int forgotten_since(const struct site *s, const struct timeline *t, const char *run, struct error *e) MUST_CHECK;

int seen_write(const struct site *s, const struct timeline *t, struct error *e) MUST_CHECK; /* persons of the train and tuning splits */
/* 1 = was in training, 0 = was not, -1 = not known: trained by an earlier program */
int seen_had(const struct site *s, const char *store_hash, int64_t subject);
#endif
