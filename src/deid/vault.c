/* The vault on disk: directory, lock, key, atomic commit. The bytes are vault_file.c's, the rows vault_rows.c's. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "deid/vault_file.h"

enum { NAME = 4096 };

/* File name in the vault's directory, and the place for its errors. */
static int in_dir(const struct vault *v, const char *name, char out[NAME], struct error *e) {
  return file_join(out, NAME, v->dir, name, e);
}

static int key_room(struct vault *v, struct error *e) {
  v->key = sodium_malloc(VAULT_KEY);
  return v->key ? OK : error_set(e, E_NOMEM, "no memory for a key");
}

static int io(struct error *e, const char *path, const char *what) {
  int rc = error_set(e, errno == ENOENT ? E_NOTFOUND : E_IO, "%s: %s", what, strerror(errno));
  error_where(e, path, 0, NULL);
  return rc;
}

/* A key that others can read is no key: ssh's rule. */
static int key_read_at(struct vault *v, const char *path, struct error *e) {
  struct stat st;
  uint8_t more;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return io(e, path, "cannot open the key file");
  int rc = OK;
  if (fstat(fd, &st) < 0)
    rc = io(e, path, "cannot read the key file");
  else if (st.st_mode & 077)
    rc = error_set(e, E_DENIED, "the key file can be read by others; set its mode to 0600");
  else if (read(fd, v->key, VAULT_KEY) != VAULT_KEY || read(fd, &more, 1) != 0)
    rc = error_set(e, E_CORRUPT, "the key file must hold 32 bytes");
  close(fd);
  if (rc < 0) error_where(e, path, 0, NULL);
  return rc;
}

static int key_read(struct vault *v, const char *name, struct error *e) {
  char path[NAME];
  TRY(in_dir(v, name, path, e));
  return key_read_at(v, path, e);
}

/* The key file that is read and replaced: where a link points to, so that a key on another disk stays there. */
static int key_path(const struct vault *v, char out[NAME], struct error *e) {
  char path[NAME];
  TRY(in_dir(v, "key", path, e));
  if (!realpath(path, out)) snprintf(out, NAME, "%s", path);
  return OK;
}

/* A rotation that was cut off: the map was stored under the next key, which has not got its name yet; or it was not, and the next key is
 * of no use. */
static int key_settle(struct vault *v, struct error *e) {
  char path[NAME], next[NAME];
  TRY(key_path(v, path, e));
  if ((size_t)snprintf(next, sizeof next, "%s.next", path) >= sizeof next) return error_set(e, E_LIMIT, "path too long");
  bool waits = file_exists(next);
  int rc = key_read(v, "key", e);
  if (rc == OK || (waits && rc == E_NOTFOUND)) {
    struct error ignored = {0};
    bool fits = rc == OK && vault_key_check(v, &ignored) == OK;
    if (!waits) return fits ? OK : vault_key_check(v, e);
    if (fits) return unlink(next) == 0 ? OK : io(e, next, "cannot remove a key that is not used");
    TRY(key_read_at(v, next, e));
    TRY(vault_key_check(v, e));
    return file_rename(next, path, e);
  }
  return rc;
}

static int key_find(struct vault *v, const char *passphrase, struct error *e) {
  TRY(key_room(v, e));
  if (vault_header_kdf(v) == VAULT_KEY_FILE) {
    if (passphrase) return error_set(e, E_DENIED, "this vault opens with its key file, not with a passphrase");
    return key_settle(v, e);
  }
  if (!passphrase) return error_set(e, E_DENIED, "this vault needs its passphrase");
  TRY(vault_key_derive(v, passphrase, e));
  return vault_key_check(v, e);
}

/* Temporary files that a crash left (they hold ciphertext only). The lock is held. */
static void sweep(const struct vault *v) {
  static const char prefix[] = ".identities.tmp-";
  char path[NAME];
  DIR *d = opendir(v->dir);
  for (struct dirent *f; d && (f = readdir(d));)
    if (strncmp(f->d_name, prefix, sizeof prefix - 1) == 0 && file_join(path, sizeof path, v->dir, f->d_name, NULL) == OK) unlink(path);
  if (d) closedir(d);
}

static int load(struct vault *v, const char *passphrase, struct error *e) {
  char path[NAME];
  struct file_map m;
  TRY(in_dir(v, "identities", path, e));
  TRY(file_map_open(path, &m, e));
  int rc = vault_header_read(m.p, m.n, v, e);
  if (rc == OK) rc = key_find(v, passphrase, e);
  if (rc == OK) rc = vault_decode(m.p, m.n, v, e);
  file_map_close(&m);
  if (rc < 0 && !(e && e->file[0])) error_where(e, path, 0, NULL);
  return rc;
}

static int begin(const char *dir, struct vault **out, struct error *e) {
  char path[NAME];
  *out = NULL;
  TRY(vault_rows_new(true, out, e));
  struct vault *v = *out;
  int rc = OK;
  if (strlen(dir) >= sizeof v->dir) TRY_OUT(error_set(e, E_LIMIT, "path too long"));
  strcpy(v->dir, dir);
  TRY_OUT(in_dir(v, "lock", path, e));
  TRY_OUT(file_lock(path, &v->lock, e));
  sweep(v);
out:
  if (rc == OK) return OK;
  vault_close(v);
  *out = NULL;
  return rc;
}

int vault_open(const char *dir, const char *passphrase, struct vault **out, struct error *e) {
  *out = NULL;
  if (!file_is_dir(dir)) {
    int rc = error_set(e, E_NOTFOUND, "no vault here");
    error_where(e, dir, 0, NULL);
    return rc;
  }
  TRY(begin(dir, out, e));
  int rc = load(*out, passphrase, e);
  if (rc < 0) {
    vault_close(*out);
    *out = NULL;
  }
  return rc;
}

int vault_open_memory(struct vault **out, struct error *e) { return vault_rows_new(false, out, e); }

/* Not through a file_writer: no copy of the key may stay in a buffer. */
static int key_put(const struct vault *v, const char *path, struct error *e) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return io(e, path, "cannot make the key file");
  bool ok = fchmod(fd, 0600) == 0 && write(fd, v->key, VAULT_KEY) == VAULT_KEY && fsync(fd) == 0;
  int rc = ok ? OK : io(e, path, "cannot write the key file");
  close(fd);
  return rc;
}

static int key_write(const struct vault *v, const char *path, struct error *e) {
  char temp[NAME];
  TRY(in_dir(v, "key.new", temp, e));
  TRY(key_put(v, temp, e));
  return file_rename(temp, path, e);
}

static int phrase_key(struct vault *v, const char *passphrase, struct error *e) {
  uint8_t salt[VAULT_SALT];
  if (!*passphrase) return error_set(e, E_USAGE, "the passphrase is empty");
  TRY(random_secret(salt, sizeof salt, e));
  vault_header_make(v, VAULT_ARGON2ID, salt, crypto_pwhash_OPSLIMIT_MODERATE, crypto_pwhash_MEMLIMIT_MODERATE);
  TRY(vault_key_derive(v, passphrase, e));
  vault_header_make(v, VAULT_ARGON2ID, salt, crypto_pwhash_OPSLIMIT_MODERATE, crypto_pwhash_MEMLIMIT_MODERATE);
  return OK;
}

/* A key file that is already there is used: it may have been brought from elsewhere. */
static int key_new(struct vault *v, const char *passphrase, struct error *e) {
  char path[NAME];
  TRY(key_room(v, e));
  if (passphrase) return phrase_key(v, passphrase, e);
  TRY(in_dir(v, "key", path, e));
  if (file_exists(path)) {
    TRY(key_read(v, "key", e));
  } else {
    TRY(random_secret(v->key, VAULT_KEY, e));
    TRY(key_write(v, path, e));
  }
  vault_header_make(v, VAULT_KEY_FILE, NULL, 0, 0);
  return OK;
}

int vault_create(const char *dir, const char *passphrase, struct error *e) {
  struct vault *v;
  char path[NAME];
  TRY(file_mkdirs(dir, 0700, e));
  if (chmod(dir, 0700) < 0) return io(e, dir, "cannot close the vault's directory to others");
  TRY(begin(dir, &v, e));
  int rc;
  TRY_OUT(in_dir(v, "identities", path, e));
  if (file_exists(path)) TRY_OUT(error_set(e, E_USAGE, "there is a vault here already"));
  TRY_OUT(key_new(v, passphrase, e));
  TRY_OUT(vault_commit(v, e));
out:
  if (rc < 0 && !(e && e->file[0])) error_where(e, dir, 0, NULL);
  vault_close(v);
  return rc < 0 ? rc : OK;
}

static int store(struct vault *v, struct error *e) {
  char path[NAME];
  struct file_writer w;
  TRY(in_dir(v, "identities", path, e));
  uint8_t *plain = mem_alloc(VAULT_MESSAGE), *cipher = mem_alloc(VAULT_MESSAGE + crypto_secretstream_xchacha20poly1305_ABYTES);
  int rc = OK;
  if (!plain || !cipher) TRY_OUT(error_set(e, E_NOMEM, "no memory to write the identity map"));
  TRY_OUT(file_writer_open(&w, path, e));
  if (fchmod(w.fd, 0600) < 0) {
    rc = io(e, path, "cannot close the identity map to others");
    file_writer_abort(&w);
    goto out;
  }
  vault_encode(v, plain, cipher, &w);
  rc = file_writer_commit(&w, e);
out:
  if (plain) mem_wipe(plain, VAULT_MESSAGE);
  mem_free(plain);
  mem_free(cipher);
  return rc < 0 ? rc : OK;
}

int vault_commit(struct vault *v, struct error *e) {
  if (!v->key) return error_set(e, E_USAGE, "a vault in memory is not stored");
  vault_header_upgrade(v);
  return store(v, e);
}

void vault_close(struct vault *v) {
  if (!v) return;
  file_unlock(v->lock);
  vault_rows_free(v);
}

/* ---- rotation ---- */

/* The next key is on disk before the map that needs it, and takes the old one's name after: see key_settle. */
static int rotate(struct vault *v, const char *passphrase, struct error *e) {
  char path[NAME], next[NAME];
  TRY(key_path(v, path, e));
  if ((size_t)snprintf(next, sizeof next, "%s.next", path) >= sizeof next) return error_set(e, E_LIMIT, "path too long");
  if (passphrase) {
    TRY(phrase_key(v, passphrase, e));
    TRY(store(v, e));
    if (file_exists(path) && unlink(path) < 0) return io(e, path, "the vault has its passphrase; the old key file cannot be removed");
    return OK;
  }
  TRY(random_secret(v->key, VAULT_KEY, e));
  vault_header_make(v, VAULT_KEY_FILE, NULL, 0, 0);
  TRY(key_put(v, next, e));
  int rc = store(v, e);
  return rc < 0 ? rc : file_rename(next, path, e);
}

int vault_rotate(struct vault *v, const char *passphrase, struct error *e) {
  if (!v->key) return error_set(e, E_USAGE, "a vault in memory has no key");
  uint8_t *old = sodium_malloc(VAULT_KEY), header[sizeof v->header];
  if (!old) return error_set(e, E_NOMEM, "no memory for a key");
  memcpy(old, v->key, VAULT_KEY);
  memcpy(header, v->header, sizeof header);
  int rc = rotate(v, passphrase, e);
  if (rc < 0) { /* what is on disk opens with the old key, or has been stored under the new one and settles when it is opened */
    memcpy(v->key, old, VAULT_KEY);
    memcpy(v->header, header, sizeof header);
  }
  sodium_free(old);
  return rc;
}

bool vault_uses_passphrase(const char *dir) {
  char path[NAME];
  struct file_map m;
  bool yes = false;
  struct vault *v;
  struct error ignored = {0};
  if (file_join(path, sizeof path, dir, "identities", &ignored) < 0 || file_map_open(path, &m, &ignored) < 0) return false;
  if (vault_rows_new(true, &v, &ignored) == OK) {
    yes = vault_header_read(m.p, m.n, v, &ignored) == OK && vault_header_kdf(v) == VAULT_ARGON2ID;
    vault_rows_free(v);
  }
  file_map_close(&m);
  return yes;
}

/* ---- a list for somebody else ---- */

int vault_seal_file(const char *path, const char *passphrase, struct str text, struct error *e) {
  struct vault *v;
  struct file_writer w;
  TRY(vault_rows_new(true, &v, e));
  int rc = key_room(v, e);
  uint8_t *cipher = mem_alloc(VAULT_MESSAGE + crypto_secretstream_xchacha20poly1305_ABYTES);
  if (rc == OK && !cipher) rc = error_set(e, E_NOMEM, "no memory to write the list");
  if (rc == OK) rc = phrase_key(v, passphrase, e);
  if (rc == OK) rc = file_writer_open(&w, path, e);
  if (rc == OK) {
    (void)fchmod(w.fd, 0600);
    rc = vault_seal(v, text, cipher, &w);
    if (rc == OK)
      rc = file_writer_commit(&w, e);
    else
      file_writer_abort(&w);
  }
  mem_free(cipher);
  vault_rows_free(v);
  return rc;
}

int vault_unseal_file(const char *path, const char *passphrase, struct arena *a, struct str *text, struct error *e) {
  struct vault *v;
  struct file_map m;
  TRY(file_map_open(path, &m, e));
  int rc = vault_rows_new(true, &v, e);
  if (rc == OK) {
    rc = key_room(v, e);
    if (rc == OK) rc = vault_sealed_header(m.p, m.n, v, e);
    if (rc == OK) rc = vault_key_derive(v, passphrase, e);
    if (rc == OK) rc = vault_key_check(v, e);
    char *out = rc == OK ? arena_alloc(a, m.n + 1, 1) : NULL;
    if (rc == OK && !out) rc = error_set(e, E_NOMEM, "no memory for the list");
    if (rc == OK) rc = vault_unseal(m.p, m.n, v, out, &text->n, e);
    text->p = out;
    vault_rows_free(v);
  }
  file_map_close(&m);
  if (rc < 0) error_where(e, path, 0, NULL);
  return rc;
}
