/* The sheet is a CSV file, one text a row, for two people who read independently. It lies in the vault, because a text in which something
 * was missed is identified. Columns: id, stratum (the text's code), tags (replacements that can be counted), text, and for reviewers a
 * and b and the final word: how many identifiers were missed, how many were removed. Empty = not filled in. */
#include "cli/cli_sheet.h"

#include <stdlib.h>

#include "base/csv.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "cli/cli_site.h"
#include "govern/site.h"
#include "timeline/timeline.h"
#include "validate/binomial.h"

struct place {
  uint32_t subject, event, code;
};
struct places {
  struct place *at;
  uint64_t n, cap;
};

static int gather(const struct timeline *t, struct places *p, struct error *e) {
  for (uint32_t i = 0; i < timeline_subjects(t); i++) {
    struct timeline_view v = timeline_view(t, i);
    for (uint32_t k = 0; k < v.n; k++) {
      if (!timeline_text(t, i, k).n) continue;
      if (p->n == p->cap) {
        uint64_t cap = p->cap ? p->cap * 2 : 1024;
        struct place *more = mem_realloc(p->at, cap * sizeof *more);
        if (!more) return error_set(e, E_NOMEM, "no memory for the list of texts");
        p->at = more, p->cap = cap;
      }
      p->at[p->n++] = (struct place){i, k, v.code[k]};
    }
  }
  return p->n ? OK : error_set(e, E_NOTFOUND, "the store holds no texts");
}

static int by_code(const void *a, const void *b) {
  const struct place *x = a, *y = b;
  return x->code != y->code         ? (x->code < y->code ? -1 : 1)
         : x->subject != y->subject ? (x->subject < y->subject ? -1 : 1)
                                    : (int)x->event - (int)y->event;
}

/* In every stratum its share of `want`, at least one; drawn without repetition, the same for the same store. */
static uint64_t draw(struct places *p, uint64_t want, struct rng *r) {
  uint64_t kept = 0;
  qsort(p->at, p->n, sizeof *p->at, by_code);
  for (uint64_t from = 0, to; from < p->n; from = to) {
    for (to = from; to < p->n && p->at[to].code == p->at[from].code;) to++;
    uint64_t n = to - from, take = (want * n + p->n / 2) / p->n;
    if (take < 1) take = 1;
    if (take > n) take = n;
    for (uint64_t i = 0; i < take; i++) {
      uint64_t j = from + i + rng_u64(r) % (n - i);
      struct place swap = p->at[from + i];
      p->at[from + i] = p->at[j], p->at[j] = swap;
      p->at[kept++] = p->at[from + i];
    }
  }
  return kept;
}

static void quoted(struct buf *b, struct str s) {
  buf_putc(b, '"');
  for (size_t i = 0; i < s.n; i++) {
    if (s.p[i] == '"') buf_putc(b, '"');
    buf_putc(b, s.p[i]);
  }
  buf_putc(b, '"');
}

/* [NAME], [DATE] …: capital letters in brackets */
static uint32_t tags(struct str s) {
  uint32_t n = 0;
  for (size_t i = 0; i + 2 < s.n; i++) {
    size_t k = i + 1;
    if (s.p[i] != '[') continue;
    while (k < s.n && ((s.p[k] >= 'A' && s.p[k] <= 'Z') || s.p[k] == '-' || s.p[k] == '_' || s.p[k] == ' ')) k++;
    n += k > i + 2 && k < s.n && s.p[k] == ']';
  }
  return n;
}

int cli_sheet(struct cli *c, const struct site *s, struct error *e) {
  struct timeline *t;
  struct places p = {0};
  struct buf b = {0};
  struct rng r;
  char file[4096], name[64];
  int64_t want = cli_integer(c, "sheet", 0);
  TRY(cli_store(s, &t, e));
  int rc = gather(t, &p, e);
  if (rc == OK) {
    rng_init(&r, hash64(timeline_hash(t), 64, 0), (uint64_t)want);
    uint64_t n = draw(&p, (uint64_t)want, &r);
    buf_puts(&b, "id,stratum,tags,text,a_missed,a_removed,b_missed,b_removed,final_missed,final_removed\r\n");
    for (uint64_t i = 0; i < n; i++) {
      struct str text = timeline_text(t, p.at[i].subject, p.at[i].event);
      buf_printf(&b, "%llu,", (unsigned long long)i + 1);
      quoted(&b, timeline_code_name(t, p.at[i].code));
      buf_printf(&b, ",%u,", tags(text));
      quoted(&b, text);
      buf_puts(&b, ",,,,,,\r\n");
    }
    snprintf(name, sizeof name, "review-%s.csv", timeline_generation(t));
    rc = buf_check(&b, e);
    if (rc == OK) rc = site_path(s, file, "vault", name, NULL);
    if (rc == OK && file_exists(file)) { /* somebody may have read half of it */
      rc = error_set(e, E_USAGE, "there is a sheet of this generation already: move it away to draw another one");
      error_where(e, file, 0, NULL);
    }
    if (rc == OK) rc = file_write_atomic(file, b.p, b.n, 0600, e);
    if (rc == OK) printf("%llu of %llu texts: %s (for the vault's owner alone)\n", (unsigned long long)n, (unsigned long long)p.n, file);
  }
  mem_free(p.at);
  buf_release(&b);
  timeline_close(t);
  return rc;
}

/* ---- counting ---- */

enum { A_MISSED, A_REMOVED, B_MISSED, B_REMOVED, F_MISSED, F_REMOVED, COLUMNS };
struct score {
  uint64_t texts, read, missed, removed, leaking, both, agree;
  int column[COLUMNS], tags;
};

static bool number(const struct csv_row *row, int column, int64_t *out) {
  struct str s = column >= 0 && (size_t)column < row->n ? str_trim(row->field[column]) : STR_NONE;
  return s.n && str_to_i64(s, out) == OK && *out >= 0 && *out < 1000000;
}

/* The final word where there is one; else the reader who missed more; removed: what was counted, else the tags. */
static void one_row(struct score *s, const struct csv_row *row) {
  int64_t v[COLUMNS], tags_n = 0, missed, removed;
  bool has[COLUMNS];
  for (int i = 0; i < COLUMNS; i++) has[i] = number(row, s->column[i], &v[i]);
  s->texts++;
  if (has[A_MISSED] && has[B_MISSED]) s->both++, s->agree += (v[A_MISSED] > 0) == (v[B_MISSED] > 0);
  if (!has[F_MISSED] && !has[A_MISSED] && !has[B_MISSED]) return;
  missed = has[F_MISSED] ? v[F_MISSED] : !has[B_MISSED] || (has[A_MISSED] && v[A_MISSED] > v[B_MISSED]) ? v[A_MISSED] : v[B_MISSED];
  removed = number(row, s->tags, &tags_n) ? tags_n : 0;
  if (has[F_REMOVED])
    removed = v[F_REMOVED];
  else if (has[A_REMOVED] || has[B_REMOVED])
    removed = !has[B_REMOVED] || (has[A_REMOVED] && v[A_REMOVED] < v[B_REMOVED]) ? v[A_REMOVED] : v[B_REMOVED];
  s->read++;
  s->missed += (uint64_t)missed;
  s->removed += (uint64_t)removed;
  s->leaking += missed > 0;
}

static int read_sheet(const char *path, struct score *s, struct error *e) {
  static const char *const names[COLUMNS] = {"a_missed", "a_removed", "b_missed", "b_removed", "final_missed", "final_removed"};
  struct csv csv;
  struct csv_row row;
  TRY(csv_open(&csv, path, ',', e));
  int rc = csv_row(&csv, &row, e);
  for (int i = 0; rc == OK && i < COLUMNS; i++) {
    s->column[i] = csv_column(&row, names[i]);
    if (csv_column_twice(&row, names[i])) rc = error_set(e, E_INPUT, "the sheet has its column %s twice", names[i]);
  }
  if (rc == OK) s->tags = csv_column(&row, "tags");
  if (rc == OK && s->column[A_MISSED] < 0 && s->column[F_MISSED] < 0)
    rc = error_set(e, E_INPUT, "the sheet has no column a_missed or final_missed");
  while (rc == OK && (rc = csv_row(&csv, &row, e)) == OK) one_row(s, &row);
  csv_close(&csv);
  if (rc < 0 && rc != E_END) return rc;
  return s->read ? OK : error_set(e, E_INPUT, "no row of the sheet has been filled in");
}

int cli_score(struct cli *c, const char *path, struct error *e) {
  struct score s = {0};
  TRY(read_sheet(path, &s, e));
  uint64_t all = s.missed + s.removed;
  double recall = all ? (double)s.removed / (double)all : 1, lower = binomial_lower(s.removed, all, 0.95);
  double leaking = (double)s.leaking / (double)s.read, upper = binomial_upper(s.leaking, s.read, 0.95);
  if (!c->json) {
    printf("%llu of %llu texts were read.\n", (unsigned long long)s.read, (unsigned long long)s.texts);
    printf("identifiers   %llu, of which %llu were missed\n", (unsigned long long)all, (unsigned long long)s.missed);
    printf("recall        %.5f; with 95 %% confidence not below %.5f (exact, Clopper and Pearson)\n", recall, lower);
    printf("texts         %.5f with something missed; with 95 %% confidence not above %.5f\n", leaking, upper);
    if (s.both)
      printf("reviewers     agree on %.1f %% of %llu texts that both read\n", 100.0 * (double)s.agree / (double)s.both,
             (unsigned long long)s.both);
    return OK;
  }
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_i64(&o, "texts", (int64_t)s.texts);
  json_kv_i64(&o, "read", (int64_t)s.read);
  json_kv_i64(&o, "identifiers", (int64_t)all);
  json_kv_i64(&o, "missed", (int64_t)s.missed);
  json_kv_f64(&o, "recall", recall);
  json_kv_f64(&o, "recall_lower_95", lower);
  json_kv_f64(&o, "texts_with_a_miss", leaking);
  json_kv_f64(&o, "texts_with_a_miss_upper_95", upper);
  json_kv_i64(&o, "read_by_both", (int64_t)s.both);
  json_kv_i64(&o, "reviewers_agree", (int64_t)s.agree);
  json_out_end(&o);
  int rc = cli_print_json(&b, e);
  buf_release(&b);
  return rc;
}
