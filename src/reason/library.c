#include "reason/library.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

enum { CANDIDATES = 40, TERMS = 32, ENCODED_AT_ONCE = 16 };
#define RANK_CONSTANT 60.0 /* Cormack et al. 2009 */

struct library {
  sqlite3 *db;
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS passages(id INTEGER PRIMARY KEY, document TEXT NOT NULL, text TEXT NOT NULL, encoder TEXT, vector BLOB);"
    "CREATE INDEX IF NOT EXISTS passages_document ON passages(document);"
    "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, content='passages', content_rowid='id', tokenize='porter unicode61');";

static int broken(struct library *k, struct error *e) {
  int rc = sqlite3_errcode(k->db);
  return rc == SQLITE_BUSY ? error_set(e, E_BUSY, "the knowledge base is in use")
                           : error_set(e, E_IO, "the knowledge base: %s", sqlite3_errstr(rc));
}
static int run(struct library *k, const char *sql, struct error *e) {
  return sqlite3_exec(k->db, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : broken(k, e);
}
static int prepare(struct library *k, const char *sql, sqlite3_stmt **s, struct error *e) {
  return sqlite3_prepare_v2(k->db, sql, -1, s, NULL) == SQLITE_OK ? OK : broken(k, e);
}
static void bind(sqlite3_stmt *s, int i, struct str t) { sqlite3_bind_text(s, i, t.p ? t.p : "", (int)t.n, SQLITE_STATIC); }
static struct str column(sqlite3_stmt *s, int i) {
  return (struct str){(const char *)sqlite3_column_text(s, i), (size_t)sqlite3_column_bytes(s, i)};
}

int library_open(const char *path, bool write, struct library **out, struct error *e) {
  if (!write && !file_exists(path)) return error_set(e, E_NOTFOUND, "this site has no knowledge base");
  struct library *k = mem_alloc(sizeof *k);
  if (!k) return error_set(e, E_NOMEM, "no memory for a knowledge base");
  *k = (struct library){0};
  int flags = (write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY) | SQLITE_OPEN_NOMUTEX;
  int rc = sqlite3_open_v2(path, &k->db, flags, NULL) == SQLITE_OK ? OK : broken(k, e);
  if (rc == OK) sqlite3_busy_timeout(k->db, 5000);
  if (rc == OK && write) rc = run(k, schema, e);
  if (rc < 0) {
    library_close(k);
    return rc;
  }
  *out = k;
  return OK;
}
void library_close(struct library *k) {
  if (!k) return;
  sqlite3_close(k->db);
  mem_free(k);
}

int library_verify(const char *path, int64_t *passages, struct error *e) {
  struct library *k;
  sqlite3_stmt *s = NULL;
  *passages = 0;
  TRY(library_open(path, true, &k, e)); /* the word index checks itself by a write that writes nothing */
  int rc = prepare(k, "PRAGMA integrity_check(1)", &s, e);
  if (rc == OK && (sqlite3_step(s) != SQLITE_ROW || !str_eqc(column(s, 0), "ok")))
    rc = error_set(e, E_CORRUPT, "the knowledge base is damaged");
  sqlite3_finalize(s);
  if (rc == OK && sqlite3_exec(k->db, "INSERT INTO words(words, rank) VALUES('integrity-check', 1)", NULL, NULL, NULL) != SQLITE_OK)
    rc = error_set(e, E_CORRUPT, "the knowledge base's index of words does not fit its passages");
  s = NULL;
  if (rc == OK) rc = prepare(k, "SELECT count(*) FROM passages", &s, e);
  if (rc == OK && sqlite3_step(s) == SQLITE_ROW) *passages = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  library_close(k);
  return rc;
}

/* ---- adding ---- */

/* The next passage: whole paragraphs up to PASSAGE_BYTES; a longer one is cut after a line, a sentence or a blank. */
static struct str next_passage(struct str *rest) {
  *rest = str_trim(*rest);
  size_t cut = 0, soft = 0;
  for (size_t i = 0; i < rest->n && i < PASSAGE_BYTES; i++) {
    char c = rest->p[i], after = i + 1 < rest->n ? rest->p[i + 1] : '\n';
    if (c == '\n' && after == '\n') cut = i + 1;
    if (c == ' ' || c == '\n') soft = i + 1;
    if ((c == '.' || c == '\n') && (after == ' ' || after == '\n') && i > PASSAGE_BYTES / 2) soft = i + 1;
  }
  if (rest->n <= PASSAGE_BYTES) cut = rest->n;
  if (cut < PASSAGE_BYTES / 3 && rest->n > PASSAGE_BYTES) cut = soft ? soft : PASSAGE_BYTES;
  while (cut < rest->n && cut && ((unsigned char)rest->p[cut] & 0xC0) == 0x80) cut--;
  struct str out = str_trim((struct str){rest->p, cut});
  rest->p += cut, rest->n -= cut;
  return out;
}

static int put(struct library *k, struct str document, const struct str *text, int n, const struct encoder *enc, const float *vector,
               struct error *e) {
  sqlite3_stmt *row, *words;
  TRY(prepare(k, "INSERT INTO passages(document, text, encoder, vector) VALUES(?,?,?,?)", &row, e));
  int rc = prepare(k, "INSERT INTO words(rowid, text) VALUES(?,?)", &words, e);
  for (int i = 0; rc == OK && i < n; i++) {
    bind(row, 1, document), bind(row, 2, text[i]);
    if (enc) {
      bind(row, 3, str_c(enc->name));
      sqlite3_bind_blob(row, 4, vector + (size_t)i * (size_t)enc->width, enc->width * (int)sizeof *vector, SQLITE_STATIC);
    }
    if (sqlite3_step(row) != SQLITE_DONE) rc = broken(k, e);
    sqlite3_bind_int64(words, 1, sqlite3_last_insert_rowid(k->db));
    bind(words, 2, text[i]);
    if (rc == OK && sqlite3_step(words) != SQLITE_DONE) rc = broken(k, e);
    sqlite3_reset(row), sqlite3_reset(words);
  }
  sqlite3_finalize(row), sqlite3_finalize(words);
  return rc;
}

static int drop(struct library *k, struct str document, int *changed, struct error *e) {
  static const char *const sql[] = {"INSERT INTO words(words, rowid, text) SELECT 'delete', id, text FROM passages WHERE document = ?",
                                    "DELETE FROM passages WHERE document = ?"};
  for (int i = 0; i < 2; i++) {
    sqlite3_stmt *s;
    TRY(prepare(k, sql[i], &s, e));
    bind(s, 1, document);
    int rc = sqlite3_step(s) == SQLITE_DONE ? OK : broken(k, e);
    sqlite3_finalize(s);
    TRY(rc);
  }
  *changed = sqlite3_changes(k->db);
  return OK;
}

static int add_passages(struct library *k, struct str document, struct str text, const struct encoder *enc, int *passages,
                        struct error *e) {
  struct str batch[ENCODED_AT_ONCE];
  float *vector = enc ? mem_alloc(ENCODED_AT_ONCE * (size_t)enc->width * sizeof *vector) : NULL;
  int rc = enc && !vector ? error_set(e, E_NOMEM, "no memory for vectors") : OK;
  *passages = 0;
  while (rc == OK && str_trim(text).n) {
    int n = 0;
    while (n < ENCODED_AT_ONCE && str_trim(text).n) {
      batch[n] = next_passage(&text);
      n += batch[n].n > 0;
    }
    if (enc) rc = enc->embed(enc->ctx, batch, (size_t)n, vector, e);
    if (rc == OK) rc = put(k, document, batch, n, enc, vector, e);
    *passages += n;
  }
  mem_free(vector);
  return rc;
}

int library_add(struct library *k, struct str document, struct str text, const struct encoder *enc, int *passages, struct error *e) {
  int changed;
  if (!document.n || document.n > 250 || memchr(document.p, 0, document.n))
    return error_set(e, E_INPUT, "a document's name has 1 to 250 bytes");
  if (text.n > DOCUMENT_BYTES) return error_set(e, E_LIMIT, "a document has at most %d MiB", DOCUMENT_BYTES >> 20);
  if (!str_utf8_valid(text) || (text.n && memchr(text.p, 0, text.n))) return error_set(e, E_INPUT, "a document is plain text in UTF-8");
  TRY(run(k, "BEGIN IMMEDIATE", e));
  int rc = drop(k, document, &changed, e);
  if (rc == OK) rc = add_passages(k, document, text, enc, passages, e);
  if (rc == OK) rc = run(k, "COMMIT", e);
  if (rc < 0) (void)run(k, "ROLLBACK", NULL);
  return rc;
}

int library_remove(struct library *k, struct str document, struct error *e) {
  int changed = 0;
  TRY(run(k, "BEGIN IMMEDIATE", e));
  int rc = drop(k, document, &changed, e);
  if (rc == OK) rc = run(k, "COMMIT", e);
  if (rc < 0) (void)run(k, "ROLLBACK", NULL);
  return rc == OK && !changed ? error_set(e, E_NOTFOUND, "the knowledge base has no such document") : rc;
}

int library_list(struct library *k, struct json_out *o, struct error *e) {
  sqlite3_stmt *s;
  TRY(prepare(k,
              "SELECT document, count(*), sum(length(CAST(text AS BLOB))), coalesce(min(encoder), '') FROM passages GROUP BY document "
              "ORDER BY document",
              &s, e));
  json_out_array(o);
  while (sqlite3_step(s) == SQLITE_ROW) {
    json_out_object(o);
    json_kv_str(o, "document", column(s, 0));
    json_kv_i64(o, "passages", sqlite3_column_int64(s, 1));
    json_kv_i64(o, "bytes", sqlite3_column_int64(s, 2));
    json_kv_str(o, "encoder", column(s, 3).p ? column(s, 3) : STR(""));
    json_out_end(o);
  }
  json_out_end(o);
  sqlite3_finalize(s);
  return OK;
}

/* ---- finding ---- */

struct ranks {
  int64_t id[2 * CANDIDATES];
  double score[2 * CANDIDATES];
  int n;
};
static void add_rank(struct ranks *r, int64_t id, int rank) {
  int i = 0;
  while (i < r->n && r->id[i] != id) i++;
  if (i == r->n) {
    if (r->n == 2 * CANDIDATES) return;
    r->id[r->n] = id, r->score[r->n++] = 0;
  }
  r->score[i] += 1 / (RANK_CONSTANT + rank);
}

/* Each word in quotation marks: nothing of a question is an operator. "a" OR "b" … */
static void fts_query(struct str q, struct buf *b) {
  int terms = 0;
  for (size_t i = 0; i < q.n && terms < TERMS;) {
    size_t from = i;
    while (i < q.n && ((unsigned char)q.p[i] >= 0x80 || (q.p[i] >= '0' && q.p[i] <= '9') || ((q.p[i] | 32) >= 'a' && (q.p[i] | 32) <= 'z')))
      i++;
    if (i - from > 2 || (i > from && (unsigned char)q.p[from] >= 0x80)) {
      buf_printf(b, "%s\"", terms++ ? " OR " : "");
      buf_put(b, q.p + from, i - from);
      buf_putc(b, '"');
    }
    if (i == from) i++;
  }
}

static int by_words(struct library *k, struct str query, struct ranks *r, struct error *e) {
  struct buf b = {0};
  sqlite3_stmt *s;
  fts_query(query, &b);
  if (!b.n || b.failed) return buf_release(&b), OK;
  int rc = prepare(k, "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank, rowid LIMIT ?", &s, e);
  if (rc == OK) {
    bind(s, 1, (struct str){b.p, b.n});
    sqlite3_bind_int(s, 2, CANDIDATES);
    for (int i = 0; sqlite3_step(s) == SQLITE_ROW; i++) add_rank(r, sqlite3_column_int64(s, 0), i);
    sqlite3_finalize(s);
  }
  buf_release(&b);
  return rc;
}

struct near {
  int64_t id;
  float cosine;
};
static int by_meaning(struct library *k, struct str query, const struct encoder *enc, struct ranks *r, struct error *e) {
  struct near best[CANDIDATES];
  int n = 0;
  sqlite3_stmt *s;
  float *q = mem_alloc((size_t)enc->width * sizeof *q);
  if (!q) return error_set(e, E_NOMEM, "no memory for a vector");
  int rc = enc->embed(enc->ctx, &query, 1, q, e);
  if (rc == OK) rc = prepare(k, "SELECT id, vector FROM passages WHERE encoder = ?", &s, e);
  if (rc < 0) return mem_free(q), rc;
  bind(s, 1, str_c(enc->name));
  while (sqlite3_step(s) == SQLITE_ROW) {
    const float *v = sqlite3_column_blob(s, 1);
    struct near x = {sqlite3_column_int64(s, 0), 0};
    if (sqlite3_column_bytes(s, 1) != enc->width * (int)sizeof *v) continue;
    for (int i = 0; i < enc->width; i++) x.cosine += q[i] * v[i];
    if (n == CANDIDATES && x.cosine <= best[n - 1].cosine) continue;
    int at = n < CANDIDATES ? n++ : n - 1;
    for (; at > 0 && best[at - 1].cosine < x.cosine; at--) best[at] = best[at - 1];
    best[at] = x;
  }
  sqlite3_finalize(s);
  mem_free(q);
  for (int i = 0; i < n; i++) add_rank(r, best[i].id, i);
  return OK;
}

int library_find(struct library *k, struct str query, const struct encoder *enc, struct arena *a, struct passage *out, int most, int *n,
                 struct error *e) {
  struct ranks r = {.n = 0};
  sqlite3_stmt *s;
  *n = 0;
  if (query.n > 2000 || !str_utf8_valid(query)) return error_set(e, E_INPUT, "a query is UTF-8 text of at most 2,000 bytes");
  if (!str_trim(query).n) return OK;
  TRY(by_words(k, query, &r, e));
  if (enc) TRY(by_meaning(k, query, enc, &r, e));
  TRY(prepare(k, "SELECT document, text FROM passages WHERE id = ?", &s, e));
  int rc = OK;
  for (; rc == OK && *n < most; ++*n) {
    int best = -1;
    for (int i = 0; i < r.n; i++)
      if (r.score[i] > 0 && (best < 0 || r.score[i] > r.score[best])) best = i;
    if (best < 0) break;
    sqlite3_bind_int64(s, 1, r.id[best]);
    struct passage *p = &out[*n];
    if (sqlite3_step(s) != SQLITE_ROW) rc = broken(k, e);
    *p = (struct passage){r.id[best], str_copy(a, column(s, 0)), str_copy(a, column(s, 1)), r.score[best]};
    if (rc == OK && (!p->document.p || !p->text.p)) rc = error_set(e, E_NOMEM, "no memory for passages");
    r.score[best] = 0;
    sqlite3_reset(s);
  }
  sqlite3_finalize(s);
  return rc;
}
