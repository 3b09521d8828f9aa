#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/progress.h"
#include "base/random.h"

enum { WRITE_BUFFER = 1 << 20, DEEPEST = 64 };

static int io_error(struct error *e, const char *path, const char *what) {
  char text[128];
  int code = errno == ENOENT ? E_NOTFOUND : errno == EACCES || errno == EPERM ? E_DENIED : errno == ENOMEM ? E_NOMEM : E_IO;
  error_set(e, code, "%s: %s", what, strerror_r(errno, text, sizeof text));
  error_where(e, path, 0, NULL);
  return code;
}

static int irregular(struct error *e, const char *path) {
  error_set(e, E_IO, "is no regular file");
  error_where(e, path, 0, NULL);
  return E_IO;
}

int file_map_open(const char *path, struct file_map *m, struct error *e) {
  *m = (struct file_map){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe that nobody writes to would be waited for */
  if (fd < 0) return io_error(e, path, "cannot open");
  struct stat st;
  int rc = OK;
  if (fstat(fd, &st) < 0) {
    rc = io_error(e, path, "cannot stat");
  } else if (!S_ISREG(st.st_mode)) {
    rc = irregular(e, path);
  } else if (st.st_size > 0) {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
      rc = io_error(e, path, "cannot map");
    else
      *m = (struct file_map){p, (size_t)st.st_size};
  }
  close(fd);
  return rc;
}

void file_map_close(struct file_map *m) {
  if (m->p) munmap((void *)(uintptr_t)m->p, m->n);
  *m = (struct file_map){0};
}

static int64_t read_full(int fd, char *p, size_t n) {
  size_t got = 0;
  while (got < n) {
    ssize_t k = read(fd, p + got, n - got);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return -1;
    if (k == 0) break;
    got += (size_t)k;
  }
  return (int64_t)got;
}

int file_read(struct arena *a, const char *path, size_t limit, struct str *out, struct error *e) {
  *out = STR_NONE;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = OK;
  if (fd < 0) return io_error(e, path, "cannot open");
  struct stat st;
  if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode) || S_ISFIFO(st.st_mode)) {
    rc = irregular(e, path);
  } else if (st.st_size < 0 || (uint64_t)st.st_size > limit) {
    rc = error_set(e, E_LIMIT, "file longer than %zu bytes", limit);
    error_where(e, path, 0, NULL);
  } else {
    char *p = arena_alloc(a, (size_t)st.st_size + 1, 64);
    int64_t n = p ? read_full(fd, p, (size_t)st.st_size) : 0;
    if (!p)
      rc = error_set(e, E_NOMEM, "no memory for a file of %lld bytes", (long long)st.st_size);
    else if (n < 0)
      rc = io_error(e, path, "cannot read");
    else
      *out = (struct str){p, (size_t)n};
  }
  close(fd);
  return rc;
}

/* ---- writing ---- */

static int write_full(int fd, const uint8_t *p, size_t n) {
  while (n) {
    ssize_t k = write(fd, p, n);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return -1;
    p += k;
    n -= (size_t)k;
  }
  return 0;
}

/* A hidden name beside the target, so that a crash leaves nothing that a listing would take for data. */
static int temp_name(const char *path, char out[4096], struct error *e) {
  uint32_t r;
  TRY(random_secret(&r, sizeof r, e));
  const char *slash = strrchr(path, '/');
  int dir = slash ? (int)(slash - path) + 1 : 0;
  int n = snprintf(out, 4096, "%.*s.%s.tmp-%08x", dir, path, path + dir, r);
  if (n < 0 || n >= 4096) return error_set(e, E_LIMIT, "path too long");
  return OK;
}

static int writer_open(struct file_writer *w, const char *path, unsigned mode, struct error *e) {
  *w = (struct file_writer){.fd = -1};
  if (strlen(path) >= sizeof w->path) return error_set(e, E_LIMIT, "path too long");
  strcpy(w->path, path);
  TRY(temp_name(path, w->temp, e));
  w->buffer = mem_alloc(WRITE_BUFFER);
  if (!w->buffer) return error_set(e, E_NOMEM, "no memory for a write buffer");
  w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (w->fd >= 0) return OK;
  int rc = io_error(e, path, "cannot create");
  mem_free(w->buffer);
  w->buffer = NULL;
  return rc;
}

int file_writer_open(struct file_writer *w, const char *path, struct error *e) { return writer_open(w, path, 0666, e); }

static void flush(struct file_writer *w, const void *p, size_t n) {
  if (w->code == OK && write_full(w->fd, p, n) < 0) w->code = -errno;
}

void file_writer_put(struct file_writer *w, const void *p, size_t n) {
  BUG_IF(!w->buffer);
  if (!n) return;
  w->offset += n;
  if (n > WRITE_BUFFER - w->fill) {
    flush(w, w->buffer, w->fill);
    w->fill = 0;
    if (n >= WRITE_BUFFER) {
      flush(w, p, n);
      return;
    }
  }
  memcpy(w->buffer + w->fill, p, n);
  w->fill += n;
}

void file_writer_pad(struct file_writer *w, size_t align) {
  static const uint8_t zeros[64];
  BUG_IF(align == 0);
  size_t n = (align - (size_t)(w->offset % align)) % align;
  for (; n; n -= n < sizeof zeros ? n : sizeof zeros) file_writer_put(w, zeros, n < sizeof zeros ? n : sizeof zeros);
}

static void writer_end(struct file_writer *w) {
  if (w->fd >= 0) close(w->fd);
  mem_free(w->buffer);
  w->fd = -1;
  w->buffer = NULL;
}

int file_writer_commit(struct file_writer *w, struct error *e) {
  BUG_IF(!w->buffer);
  flush(w, w->buffer, w->fill);
  if (w->code == OK && fsync(w->fd) < 0) w->code = -errno;
  if (w->code == OK) {
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) < 0) w->code = -errno;
  }
  if (w->code == OK && rename(w->temp, w->path) < 0) w->code = -errno;
  if (w->code != OK) {
    errno = -w->code;
    int rc = io_error(e, w->path, "cannot write");
    file_writer_abort(w);
    return rc;
  }
  writer_end(w);
  char dir[4096];
  strcpy(dir, w->path);
  char *slash = strrchr(dir, '/');
  if (slash) slash[slash == dir] = 0;
  return file_sync_dir(slash ? dir : ".", e);
}

void file_writer_abort(struct file_writer *w) {
  if (!w->buffer) return;
  writer_end(w);
  unlink(w->temp);
}

int file_write_atomic(const char *path, const void *p, size_t n, unsigned mode, struct error *e) {
  struct file_writer w;
  TRY(writer_open(&w, path, mode, e));
  if (fchmod(w.fd, mode) < 0) w.code = -errno; /* exactly the mode asked for, whatever the umask */
  file_writer_put(&w, p, n);
  return file_writer_commit(&w, e);
}

/* ---- directories ---- */

int file_mkdirs(const char *path, unsigned mode, struct error *e) {
  char part[4096];
  size_t n = strlen(path);
  if (n == 0 || n >= sizeof part) return error_set(e, E_LIMIT, "path empty or too long");
  for (size_t i = 1; i <= n; i++) {
    if (path[i] != '/' && path[i] != 0) continue;
    memcpy(part, path, i);
    part[i] = 0;
    if (mkdir(part, mode) < 0 && errno != EEXIST) return io_error(e, path, "cannot make directory");
  }
  if (file_is_dir(path)) return OK;
  errno = ENOTDIR;
  return io_error(e, path, "cannot make directory");
}

bool file_exists(const char *path) {
  struct stat st;
  return stat(path, &st) == 0;
}

bool file_is_dir(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool file_is_regular(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int64_t file_size(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

int file_join(char *out, size_t size, const char *dir, const char *name, struct error *e) {
  size_t n = strlen(dir);
  const char *between = n == 0 || dir[n - 1] == '/' ? "" : "/";
  int k = snprintf(out, size, "%s%s%s", dir, between, name);
  if (k < 0 || (size_t)k >= size) return error_set(e, E_LIMIT, "path too long");
  return OK;
}

struct listing {
  struct arena *a;
  struct str *names;
  size_t n, cap;
  uint64_t left_out;
  bool no_links;
  char root[PATH_MAX]; /* resolved: links may not lead out of it */
};

static int listing_add(struct listing *l, const char *path, struct error *e) {
  if (!l->a) return OK; /* what is left out is counted only */
  if (l->n == l->cap) {
    size_t cap = l->cap ? l->cap * 2 : 64;
    struct str *names = mem_realloc(l->names, cap * sizeof *names);
    if (!names) return error_set(e, E_NOMEM, "no memory for a list of files");
    l->names = names;
    l->cap = cap;
  }
  char *copy = arena_strndup(l->a, path, strlen(path));
  if (!copy) return error_set(e, E_NOMEM, "no memory for a list of files");
  l->names[l->n++] = (struct str){copy, strlen(copy)};
  return OK;
}

static bool inside(const struct listing *l, const char *path) {
  char real[PATH_MAX];
  size_t n = strlen(l->root);
  return realpath(path, real) && strncmp(real, l->root, n) == 0 && (real[n] == '/' || n == 1);
}

static int list_entry(struct listing *l, const char *path, int depth, struct error *e);

static int list_dir(struct listing *l, const char *path, int depth, struct error *e) {
  if (depth > DEEPEST) return error_set(e, E_LIMIT, "directories nested deeper than %d", DEEPEST);
  DIR *d = opendir(path);
  if (!d) return io_error(e, path, "cannot list");
  int rc = OK;
  for (struct dirent *entry; rc == OK && (entry = readdir(d));) {
    if (entry->d_name[0] == '.') continue;
    char child[4096];
    rc = file_join(child, sizeof child, path, entry->d_name, e);
    if (rc == OK) rc = list_entry(l, child, depth, e);
  }
  closedir(d);
  return rc;
}

static int list_entry(struct listing *l, const char *path, int depth, struct error *e) {
  struct stat st;
  if (lstat(path, &st) < 0) return OK; /* gone since it was listed */
  if (S_ISLNK(st.st_mode)) {           /* a link to a file inside counts; to a directory never: no loops */
    if (l->no_links || stat(path, &st) < 0 || !S_ISREG(st.st_mode) || !inside(l, path)) return l->left_out++, OK;
  }
  if (S_ISDIR(st.st_mode)) return list_dir(l, path, depth + 1, e);
  return S_ISREG(st.st_mode) ? listing_add(l, path, e) : (l->left_out++, OK);
}

static int by_bytes(const void *a, const void *b) { return str_cmp(*(const struct str *)a, *(const struct str *)b); }

int file_list(struct arena *a, const char *path, struct str **out, size_t *n, struct error *e) {
  struct listing l = {.a = a};
  struct stat st;
  int rc = OK;
  *out = NULL;
  *n = 0;
  if (stat(path, &st) < 0 || !realpath(path, l.root)) return io_error(e, path, "cannot list");
  rc = S_ISDIR(st.st_mode) ? list_dir(&l, path, 0, e) : S_ISREG(st.st_mode) ? listing_add(&l, path, e) : OK;
  if (rc == OK && l.n) {
    qsort(l.names, l.n, sizeof *l.names, by_bytes);
    *out = arena_array(a, struct str, l.n);
    if (*out)
      memcpy(*out, l.names, l.n * sizeof *l.names);
    else
      rc = error_set(e, E_NOMEM, "no memory for a list of files");
  }
  if (rc == OK) *n = l.n;
  mem_free(l.names);
  return rc;
}

uint64_t file_left_out(const char *path, bool no_links) {
  struct listing l = {.no_links = no_links};
  struct error none = {0};
  if (!file_is_dir(path) || !realpath(path, l.root)) return 0;
  (void)!list_dir(&l, path, 0, &none); /* what cannot be listed its reader says */
  return l.left_out;
}

static int remove_at(int dir, const char *name, int depth) {
  if (unlinkat(dir, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return -1;
  if (depth > 4 * DEEPEST) {
    errno = ELOOP;
    return -1;
  }
  int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *d = fd < 0 ? NULL : fdopendir(fd);
  if (!d) {
    if (fd >= 0) close(fd);
    return -1;
  }
  int rc = 0;
  for (struct dirent *entry; rc == 0 && (entry = readdir(d));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) rc = remove_at(fd, entry->d_name, depth + 1);
  int saved = errno;
  closedir(d);
  errno = saved;
  return rc == 0 ? unlinkat(dir, name, AT_REMOVEDIR) : rc;
}

int file_remove_tree(const char *path, struct error *e) {
  return remove_at(AT_FDCWD, path, 0) == 0 ? OK : io_error(e, path, "cannot remove");
}

int file_sync_dir(const char *dir, struct error *e) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return io_error(e, dir, "cannot open directory");
  int rc = fsync(fd) < 0 && errno != EINVAL ? io_error(e, dir, "cannot sync directory") : OK; /* EINVAL: file systems without it */
  close(fd);
  return rc;
}

int file_rename(const char *from, const char *to, struct error *e) {
  char dir[4096];
  if (strlen(to) >= sizeof dir) return error_set(e, E_LIMIT, "path too long");
  if (rename(from, to) < 0) return io_error(e, to, "cannot rename");
  strcpy(dir, to);
  char *slash = strrchr(dir, '/');
  if (slash) slash[slash == dir] = 0;
  return file_sync_dir(slash ? dir : ".", e);
}

static int hold(const char *path, int how, int *fd, struct error *e) {
  while (flock(*fd, how | LOCK_NB) < 0) {
    if (errno == EINTR) continue;
    int busy = errno == EWOULDBLOCK;
    int rc = busy ? error_set(e, E_BUSY, "another process holds the lock") : io_error(e, path, "cannot lock");
    if (busy) error_where(e, path, 0, NULL);
    close(*fd);
    *fd = -1;
    return rc;
  }
  return OK;
}

int file_lock(const char *path, int *fd, struct error *e) {
  char dir[4096];
  struct stat st;
  const char *slash = strrchr(path, '/');
  mode_t mode = 0600;
  int n = slash ? (int)(slash - path) + 1 : 0;
  *fd = -1;
  if (n >= (int)sizeof dir) return error_set(e, E_LIMIT, "path too long");
  snprintf(dir, sizeof dir, "%.*s.", n, path);
  if (stat(dir, &st) == 0) mode |= st.st_mode & 0444;
  *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, mode);
  return *fd < 0 ? io_error(e, path, "cannot open lock") : hold(path, LOCK_EX, fd, e);
}

int file_lock_shared(const char *path, int *fd, struct error *e) {
  *fd = open(path, O_RDONLY | O_CLOEXEC);
  if (*fd >= 0) return hold(path, LOCK_SH, fd, e);
  return errno == ENOENT || errno == EACCES ? OK : io_error(e, path, "cannot open lock");
}

void file_unlock(int fd) {
  if (fd >= 0) close(fd);
}

/* ---- the program's own data ---- */

static char data_dir[PATH_MAX] = ".";

static bool holds_data(const char *dir) {
  char path[PATH_MAX + 16];
  snprintf(path, sizeof path, "%s/mapping", dir);
  if (!file_is_dir(path)) return false;
  snprintf(path, sizeof path, "%s/tasks", dir);
  return file_is_dir(path);
}

bool file_program_dir(char *out, size_t n) {
  ssize_t got = readlink("/proc/self/exe", out, n - 1);
  if (got <= 0) return false;
  out[got] = 0;
  char *slash = strrchr(out, '/');
  if (slash) *slash = 0;
  return slash != NULL;
}

static void data_dir_find(void) {
  static const char *const near[] = {".", "..", "../..", "../../..", "../share/vitae"}; /* tests lie deeper than the program */
  char self[PATH_MAX], dir[PATH_MAX + 32];
  const char *named = env_get("VITAE_DATA");
  if (named && strlen(named) < sizeof data_dir && holds_data(named)) {
    strcpy(data_dir, named);
    return;
  }
  if (!file_program_dir(self, sizeof self)) return;
  for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
    snprintf(dir, sizeof dir, "%s/%s", self, near[i]);
    if (holds_data(dir) && realpath(dir, data_dir)) return;
  }
  strcpy(data_dir, ".");
}

const char *file_data_dir(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, data_dir_find);
  return data_dir;
}
