#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "record/table_run.h"

struct found {
  struct arena *a;
  struct str *path;
  size_t n, cap;
};

static int found_add(struct found *f, const char *path, struct error *e) {
  if (f->n == f->cap) {
    size_t cap = f->cap ? 2 * f->cap : 64;
    struct str *grown = arena_array(f->a, struct str, cap);
    if (!grown) return error_set(e, E_NOMEM, "list of source files: out of memory");
    if (f->n) memcpy(grown, f->path, f->n * sizeof *grown);
    f->path = grown;
    f->cap = cap;
  }
  f->path[f->n] = str_copy(f->a, str_c(path));
  if (!f->path[f->n].p) return error_set(e, E_NOMEM, "list of source files: out of memory");
  f->n++;
  return OK;
}

static bool has_gz(const char *name, size_t n) { return n > 3 && strcasecmp(name + n - 3, ".gz") == 0; }

/* Does the file name fit, with or without a further .gz? */
static bool fits(const char *pattern, const char *name) {
  size_t n = strlen(name);
  char plain[256];
  if (fnmatch(pattern, name, FNM_CASEFOLD | FNM_PERIOD) == 0) return true;
  if (!has_gz(name, n) || n - 3 >= sizeof plain) return false;
  memcpy(plain, name, n - 3);
  plain[n - 3] = 0;
  return fnmatch(pattern, plain, FNM_CASEFOLD | FNM_PERIOD) == 0;
}

static bool is_kind(const char *dir, const struct dirent *d, bool want_dir) {
  char path[4096];
  struct stat st;
  if (d->d_type == DT_REG) return !want_dir;
  if (d->d_type == DT_DIR) return want_dir;
  if (d->d_type != DT_UNKNOWN || file_join(path, sizeof path, dir, d->d_name, NULL) < 0 || lstat(path, &st) < 0) return false;
  return want_dir ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode);
}

static int by_name(const void *x, const void *y) { return str_cmp(*(const struct str *)x, *(const struct str *)y); }

/* Names in `dir` that fit one component, sorted. */
static int names_in(struct arena *a, const char *dir, const char *pattern, bool want_dir, struct found *out, struct error *e) {
  *out = (struct found){.a = a};
  DIR *d = opendir(dir);
  if (!d) {
    if (errno == ENOENT || errno == ENOTDIR) return OK;
    error_set(e, E_IO, "cannot list the directory: %s", strerror(errno));
    return error_where(e, dir, 0, NULL);
  }
  int rc = OK;
  const struct dirent *entry;
  while (rc >= 0 && (entry = readdir(d)) != NULL) {
    if (entry->d_name[0] == '.') continue;
    bool fit = want_dir ? fnmatch(pattern, entry->d_name, FNM_CASEFOLD | FNM_PERIOD) == 0 : fits(pattern, entry->d_name);
    if (fit && is_kind(dir, entry, want_dir)) rc = found_add(out, entry->d_name, e);
  }
  closedir(d);
  if (out->n) qsort(out->path, out->n, sizeof *out->path, by_name);
  return rc;
}

/* A plain name matches one file: as spelled, as spelled + .gz, else the first in byte order. Under a wildcard X.csv hides X.csv.gz:
 * the same rows must not be read twice. */
static void choose(struct found *f, const char *pattern) {
  if (f->n < 2) return;
  if (!strpbrk(pattern, "*?[")) {
    size_t best = 0, pn = strlen(pattern);
    for (size_t i = 0; i < f->n; i++) {
      struct str s = f->path[i];
      bool gz = s.n == pn + 3 && has_gz(s.p, s.n) && memcmp(s.p, pattern, pn) == 0;
      if (gz) best = i;
      if (str_eqc(s, pattern)) {
        best = i;
        break;
      }
    }
    f->path[0] = f->path[best];
    f->n = 1;
    return;
  }
  size_t kept = 0;
  for (size_t i = 0; i < f->n; i++) {
    struct str s = f->path[i], plain = {s.p, s.n - (has_gz(s.p, s.n) ? 3 : 0)};
    bool hidden = plain.n < s.n && kept && bsearch(&plain, f->path, kept, sizeof *f->path, by_name);
    if (!hidden) f->path[kept++] = s;
  }
  f->n = kept;
}

static int walk(struct found *f, const char *dir, struct str rest, struct error *e) {
  char pattern[256], path[4096];
  struct str part = str_cut(&rest, '/');
  bool last = rest.p == NULL;
  if (part.n == 0 || part.n >= sizeof pattern) return error_set(e, E_INPUT, "file pattern: a part is empty or too long");
  memcpy(pattern, part.p, part.n);
  pattern[part.n] = 0;
  if (strcmp(pattern, ".") == 0 || strcmp(pattern, "..") == 0) {
    if (last) return error_set(e, E_INPUT, "file pattern: ends in a directory");
    TRY(file_join(path, sizeof path, dir, pattern, e));
    return walk(f, path, rest, e);
  }
  struct found names;
  TRY(names_in(f->a, dir, pattern, !last, &names, e));
  if (last) choose(&names, pattern);
  for (size_t i = 0; i < names.n; i++) {
    TRY(file_join(path, sizeof path, dir, names.path[i].p, e));
    if (last)
      TRY(found_add(f, path, e));
    else
      TRY(walk(f, path, rest, e));
  }
  return OK;
}

int table_glob(struct arena *a, const char *root, struct str pattern, struct str **out, size_t *n, struct error *e) {
  struct found f = {.a = a};
  *out = NULL;
  *n = 0;
  TRY(walk(&f, root, pattern, e));
  *out = f.path;
  *n = f.n;
  return OK;
}

int table_glob_any(struct arena *a, const char *root, const struct str *pattern, int patterns, struct str **out, size_t *n,
                   struct error *e) {
  *out = NULL;
  *n = 0;
  for (int i = 0; i < patterns && *n == 0; i++) TRY(table_glob(a, root, pattern[i], out, n, e));
  return OK;
}
