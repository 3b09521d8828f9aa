#include "cli/cli_site.h"

#include "cli/cli_forgotten.h"

#include <string.h>

#include "base/file.h"
#include "govern/govern.h"
#include "govern/site.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include "timeline/task.h"
#include "timeline/timeline.h"

int cli_passphrase(const struct cli *c, struct arena *a, char **out, struct error *e) {
  *out = NULL;
  const char *path = cli_text(c, "passphrase-file", NULL);
  if (!path) return OK;
  struct str text;
  TRY(file_read(a, path, 4096, &text, e));
  text = str_cut(&text, '\n');
  if (text.n < 8) return error_set(e, E_INPUT, "the passphrase must have at least 8 bytes");
  *out = arena_strndup(a, text.p, text.n);
  return *out ? OK : error_set(e, E_NOMEM, "out of memory");
}

bool cli_name_letter(const char *name, size_t at) {
  char c = name[at];
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || (c == '.' && at > 0);
}

int cli_name(const char *name, struct error *e) {
  size_t n = 0;
  while (name[n] && cli_name_letter(name, n)) n++;
  if (n && n < 128 && !name[n]) return OK;
  return error_set(e, E_USAGE, "--name may hold letters, digits, dots, - and _, at most 127, and does not begin with a dot");
}

int cli_store(const struct site *s, struct timeline **out, struct error *e) {
  char dir[4096];
  TRY(site_path(s, dir, "timelines", NULL));
  TRY(forgotten_unfinished(s, e));
  int rc = timeline_open(dir, out, e);
  if (rc == E_NOTFOUND)
    return error_set(e, E_NOTFOUND, "this site has no timelines yet; bring records in with: vitae ingest %s --from fhir PATH", s->path);
  return rc;
}

int cli_task(const struct site *s, const char *name, struct task **out, struct error *e) {
  char file[4096];
  TRY(site_find(s, "tasks", name, file, e));
  return task_load(file, out, e);
}

static int add_tasks(const char *dir, struct arena *a, struct task **at, int *n, int cap, struct error *e) {
  struct str *files;
  size_t count;
  if (!file_is_dir(dir)) return OK;
  TRY(file_list(a, dir, &files, &count, e));
  for (size_t i = 0; i < count; i++) {
    if (!str_ends(files[i], STR(".json")) || *n >= cap) continue;
    struct task *t;
    TRY(task_load(files[i].p, &t, e));
    bool known = false;
    for (int k = 0; k < *n; k++) known |= strcmp(task_name(at[k]), task_name(t)) == 0;
    if (known)
      task_free(t);
    else
      at[(*n)++] = t;
  }
  return OK;
}

int cli_task_all(const struct site *s, struct arena *a, struct task ***out, int *n, struct error *e) {
  enum { MOST = 256 };
  char dir[4096];
  *n = 0;
  *out = arena_array(a, struct task *, MOST);
  if (!*out) return error_set(e, E_NOMEM, "out of memory");
  TRY(site_path(s, dir, "tasks", NULL));
  TRY(add_tasks(dir, a, *out, n, MOST, e));
  TRY(file_join(dir, sizeof dir, file_data_dir(), "tasks", e));
  return add_tasks(dir, a, *out, n, MOST, e);
}

int cli_model(const struct site *s, const char *name, struct model **out, char dir[4096], char id[65], struct error *e) {
  id[0] = 0;
  if (name && file_is_dir(name)) {
    snprintf(dir, 4096, "%s", name);
  } else {
    struct registry *r;
    TRY(registry_read(s->path, &r, e));
    int rc = OK;
    if (name) {
      rc = registry_resolve(r, name, dir, 4096, id, e);
    } else {
      struct arena a;
      struct version *v;
      int n;
      arena_init(&a, 16 << 20, 0);
      rc = registry_list(r, &a, &v, &n, e);
      if (rc == OK && n == 0) rc = error_set(e, E_NOTFOUND, "this site has no model yet; train one with: vitae train %s", s->path);
      if (rc == OK) rc = registry_resolve(r, v[0].id, dir, 4096, id, e);
      arena_free(&a);
    }
    registry_close(r);
    TRY(rc);
  }
  TRY(model_load(dir, out, e));
  model_set_kernel(*out, kernel_pick(KERNEL_AUTO, KERNEL_F32));
  int rc = model_lay_out(*out, e);
  if (rc < 0) model_free(*out);
  return rc;
}
