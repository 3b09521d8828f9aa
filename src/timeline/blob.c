/* The directory of blobs, and who still names them. */
#include "timeline/blob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "timeline/timeline_store.h"

static int io_failed(struct error *e, const char *path, const char *what) {
  char text[128];
  int rc = errno == ENOENT ? E_NOTFOUND : E_IO;
  error_set(e, rc, "%s: %s", what, strerror_r(errno, text, sizeof text));
  error_where(e, path, 0, NULL);
  return rc;
}

static bool is_digest(struct str hex) {
  for (size_t i = 0; i < hex.n; i++)
    if (!((hex.p[i] >= '0' && hex.p[i] <= '9') || (hex.p[i] >= 'a' && hex.p[i] <= 'f'))) return false;
  return hex.n == 64;
}

int blob_path(const char *dir, struct str hex, char out[4096], struct error *e) {
  if (!is_digest(hex)) return error_set(e, E_INPUT, "name of a blob is no SHA-256");
  int n = snprintf(out, 4096, "%s/blobs/%.2s/%.64s", dir, hex.p, hex.p);
  return n < 4096 ? OK : error_set(e, E_LIMIT, "path too long");
}

/* The new name must survive a power cut as well as the bytes do: file, directory of two digits, the directories above. */
static int make_place(const char *dir, const char *path, struct error *e) {
  char blobs[4096], two[4096];
  TRY(file_join(blobs, sizeof blobs, dir, "blobs", e));
  snprintf(two, sizeof two, "%.*s", (int)(strlen(path) - 65), path);
  if (file_is_dir(two)) return OK;
  TRY(file_mkdirs(two, 0755, e));
  TRY(file_sync_dir(blobs, e));
  return file_sync_dir(dir, e);
}

int blob_put(const char *dir, const char *temporary, char hex[65], struct error *e) {
  uint8_t digest[BLOB_BYTES];
  char path[4096];
  int fd = open(temporary, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return io_failed(e, temporary, "a finished blob cannot be opened");
  int rc = fchmod(fd, 0644) < 0 || fsync(fd) < 0 ? io_failed(e, temporary, "a blob cannot be synced") : OK;
  if (close(fd) < 0 && rc == OK) rc = io_failed(e, temporary, "a blob cannot be synced");
  TRY(rc);
  TRY(sha256_file(temporary, digest, e));
  hash_hex(digest, sizeof digest, hex);
  TRY(blob_path(dir, (struct str){hex, 64}, path, e));
  TRY(make_place(dir, path, e));
  return file_rename(temporary, path, e);
}

int blob_open(const char *dir, struct str hex, int *fd, struct error *e) {
  char path[4096];
  TRY(blob_path(dir, hex, path, e));
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  return *fd < 0 ? io_failed(e, path, "a blob cannot be opened") : OK;
}

int blob_check(const char *dir, struct str hex, struct error *e) {
  uint8_t digest[BLOB_BYTES];
  char path[4096], have[65];
  TRY(blob_path(dir, hex, path, e));
  if (!file_exists(path)) {
    error_set(e, E_NOTFOUND, "a blob is not there");
    error_where(e, path, 0, NULL);
    return E_NOTFOUND;
  }
  TRY(sha256_file(path, digest, e));
  hash_hex(digest, sizeof digest, have);
  if (memcmp(have, hex.p, 64) == 0) return OK;
  error_set(e, E_CORRUPT, "bytes of a blob are not those of its name");
  error_where(e, path, 0, NULL);
  return E_CORRUPT;
}

int blob_remove(const char *dir, struct str hex, struct error *e) {
  char path[4096];
  TRY(blob_path(dir, hex, path, e));
  if (unlink(path) < 0) return io_failed(e, path, "a blob cannot be removed");
  path[strlen(path) - 65] = 0;
  return file_sync_dir(path, e);
}

int blob_each(const char *dir, int (*each)(void *ctx, const char *hex, const char *path, struct error *e), void *ctx, struct error *e) {
  char blobs[4096];
  struct arena a;
  struct str *file;
  size_t n = 0;
  TRY(file_join(blobs, sizeof blobs, dir, "blobs", e));
  if (!file_is_dir(blobs)) return OK;
  arena_init(&a, 0, 0);
  int rc = file_list(&a, blobs, &file, &n, e);
  for (size_t i = 0; rc == OK && i < n; i++) {
    struct str name = file[i];
    size_t at = strlen(blobs) + 1; /* ab/abcdef… */
    char hex[65] = "";
    bool blob = name.n == at + 3 + 64 && is_digest((struct str){name.p + at + 3, 64}) && memcmp(name.p + at, name.p + at + 3, 2) == 0;
    if (blob) memcpy(hex, name.p + at + 3, 64);
    rc = each(ctx, blob ? hex : NULL, name.p, e);
  }
  arena_free(&a);
  return rc;
}

/* ---- who names what ---- */

enum { BY_SUBJECT = 1, BY_OTHERS = 2 };
struct names {
  struct map by; /* digest -> flags */
  int64_t subject;
};

static int name_of_generation(struct names *n, const char *path, struct error *e) {
  struct timeline *t;
  TRY(timeline_open(path, &t, e));
  int rc = OK;
  for (uint32_t i = 0; rc == OK && i < t->shards; i++) {
    const struct shard *s = &t->shard[i];
    uint32_t who = 0;
    for (uint64_t b = 0; rc == OK && b < s->blobs; b++) {
      while (who + 1 < s->subjects && s->start[who + 1] <= s->blob_event[b]) who++;
      uint64_t *flags = map_put(&n->by, (struct str){(const char *)s->blob_digest[b], BLOB_BYTES}, NULL);
      if (!flags) rc = error_set(e, E_NOMEM, "no memory for the names of blobs");
      if (flags) *flags |= n->subject && s->subject[who] == n->subject ? BY_SUBJECT : BY_OTHERS;
    }
  }
  timeline_close(t);
  return rc;
}

/* A generation that cannot be read ends the search: nothing may be removed on half the evidence. */
static int names_collect(struct names *n, const char *dir, struct error *e) {
  DIR *d = opendir(dir);
  if (!d) return io_failed(e, dir, "the directory of timelines cannot be listed");
  int rc = OK;
  for (struct dirent *entry; rc == OK && (entry = readdir(d));) {
    char path[4096];
    uint64_t number;
    if (generation_parse(entry->d_name, &number) < 0) continue;
    rc = file_join(path, sizeof path, dir, entry->d_name, e);
    if (rc == OK) rc = name_of_generation(n, path, e);
  }
  closedir(d);
  return rc;
}

struct pruning {
  struct names names;
  const char *dir;
  uint64_t removed;
};

static int prune_one(void *ctx, const char *hex, const char *path, struct error *e) {
  struct pruning *p = ctx;
  uint8_t digest[BLOB_BYTES];
  uint64_t flags;
  (void)path;
  if (!hex || hash_unhex(str_c(hex), digest, BLOB_BYTES, NULL) < 0) return OK; /* not ours to remove; verify names it */
  if (map_get(&p->names.by, (struct str){(const char *)digest, BLOB_BYTES}, &flags)) return OK;
  TRY(blob_remove(p->dir, (struct str){hex, 64}, e));
  p->removed++;
  return OK;
}

int blob_prune(const char *dir, uint64_t *removed, struct error *e) {
  struct pruning p = {.dir = dir};
  char blobs[4096];
  *removed = 0;
  TRY(file_join(blobs, sizeof blobs, dir, "blobs", e));
  if (!file_is_dir(blobs)) return OK;
  map_init(&p.names.by, 0);
  int rc = names_collect(&p.names, dir, e);
  if (rc == OK) rc = blob_each(dir, prune_one, &p, e);
  map_release(&p.names.by);
  *removed = p.removed;
  return rc;
}

static int forget_all(const char *dir, const struct names *n, uint64_t *removed, uint64_t *shared, struct error *e) {
  struct str key;
  uint64_t flags;
  char path[4096], hex[65];
  for (size_t at = 0; map_next(&n->by, &at, &key, &flags);) {
    if (!(flags & BY_SUBJECT)) continue;
    hash_hex((const uint8_t *)key.p, BLOB_BYTES, hex);
    if (flags & BY_OTHERS) {
      ++*shared;
      continue;
    }
    TRY(blob_path(dir, (struct str){hex, 64}, path, e));
    if (!file_exists(path)) continue;
    TRY(blob_remove(dir, (struct str){hex, 64}, e));
    ++*removed;
  }
  return OK;
}

int blob_forget(const char *dir, int64_t subject, uint64_t *removed, uint64_t *shared, struct error *e) {
  struct names n = {.subject = subject};
  char path[4096];
  int lock;
  *removed = *shared = 0;
  TRY(file_join(path, sizeof path, dir, "LOCK", e));
  TRY(file_lock(path, &lock, e));
  map_init(&n.by, 0);
  int rc = names_collect(&n, dir, e);
  if (rc == OK) rc = forget_all(dir, &n, removed, shared, e);
  map_release(&n.by);
  file_unlock(lock);
  return rc;
}

int blob_named(const char *dir, struct map *into, struct error *e) {
  struct names n = {.by = *into};
  int rc = names_collect(&n, dir, e);
  *into = n.by;
  return rc;
}
