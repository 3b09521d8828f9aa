/* A hospital's own documents (guidelines, formularies, notes on procedure), cut into passages and found again: SQLite FTS5 by words (bm25),
 * by meaning where an encoder is given, both together by reciprocal ranks (Cormack et al. 2009).
 *
 *     struct library *k;  TRY(library_open("site/knowledge.db", true, &k, e));     // false: for reading; E_NOTFOUND without a file
 *     TRY(library_add(k, "sepsis.md", text, &encoder, &passages, e));                // again: replaces what that document said
 *     TRY(library_find(k, STR("lactate in sepsis"), &encoder, &arena, found, 5, &n, e));
 *
 * Passages are quoted, never paraphrased; what stands in one is data and steers nothing. One thread owns a struct library; several may have
 * the same file open. Vectors belong to one encoder: a document added with another one, or without, is found by its words alone.
 */
#ifndef REASON_LIBRARY_H
#define REASON_LIBRARY_H
#include "base/json.h"
#include "base/str.h"

struct encoder { /* texts to vectors of length 1; NULL where one is wanted: none */
  const char *name;
  int width;
  int (*embed)(void *ctx, const struct str *texts, size_t n, float *out, struct error *e); /* out (n, width) */
  void *ctx;
};
struct passage {
  int64_t id;
  struct str document, text; /* memory from the arena */
  double score;
};
enum { PASSAGE_BYTES = 900, DOCUMENT_BYTES = 16 << 20 };
struct library;
int library_open(const char *path, bool write, struct library **out, struct error *e) MUST_CHECK;
void library_close(struct library *k);
int library_verify(const char *path, int64_t *passages, struct error *e) MUST_CHECK; /* E_CORRUPT: pages or word index are damaged */
int library_add(struct library *k, struct str document, struct str text, const struct encoder *enc, int *passages,
                struct error *e) MUST_CHECK;
int library_remove(struct library *k, struct str document, struct error *e) MUST_CHECK; /* E_NOTFOUND */
int library_list(struct library *k, struct json_out *o, struct error *e) MUST_CHECK;    /* [{document, passages, bytes, encoder}] */
int library_find(struct library *k, struct str query, const struct encoder *enc, struct arena *a, struct passage *out, int most, int *n,
                 struct error *e) MUST_CHECK;
#endif
