/* Checkpoints: a directory that appears all at once or not at all (FORMAT.md).
 *
 * Everything is written to DIR.tmp, synced, and exchanged with DIR in one rename; SHA256SUMS (the format of sha256sum) names every file, and
 * nothing is believed that it does not vouch for. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "model/model_internal.h"
#include "model/safetensors.h"
#include "token/token.h"

#define TEXT_LIMIT ((size_t)256 << 20)

/* ---- writing ---- */

struct writing {
  char temp[4096];
  struct buf sums;
};

static int seal(struct writing *w, const char *name, struct error *e) {
  char path[4096], hex[65];
  uint8_t sum[32];
  TRY(file_join(path, sizeof path, w->temp, name, e));
  TRY(sha256_file(path, sum, e));
  hash_hex(sum, 32, hex);
  buf_printf(&w->sums, "%s  %s\n", hex, name);
  return OK;
}

static int put(struct writing *w, const char *name, struct str text, struct error *e) {
  char path[4096];
  TRY(file_join(path, sizeof path, w->temp, name, e));
  TRY(file_write_atomic(path, text.p, text.n, 0644, e));
  return seal(w, name, e);
}

static int put_config(const struct model *m, struct writing *w, const struct checkpoint_extra *x, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, true);
  json_out_object(&o);
  json_kv_i64(&o, "format", MODEL_FORMAT);
  json_kv_c(&o, "kind", "vitae-timeline-model");
  json_out_key(&o, "model");
  model_config_write(&m->config, &o);
  json_out_key(&o, "tasks");
  json_out_array(&o);
  for (int i = 0; i < m->tasks; i++) json_out_c(&o, m->task[i].name);
  json_out_end(&o);
  if (x && x->run_json.n) {
    json_out_key(&o, "run");
    json_out_raw(&o, x->run_json);
  }
  json_out_end(&o);
  buf_putc(&b, '\n');
  int rc = buf_check(&b, e);
  if (rc >= 0) rc = put(w, "config.json", (struct str){b.p, b.n}, e);
  buf_release(&b);
  return rc;
}

static struct safetensors_out describe(const struct tensor *t, const char *name, const float *data) {
  struct safetensors_out o = {.name = name, .dims = t->rows == 1 ? 1 : 2, .data = data + t->at};
  o.shape[0] = (uint64_t)(t->rows == 1 ? t->cols : t->rows);
  o.shape[1] = (uint64_t)t->cols;
  return o;
}

static int put_tensors(const struct model *m, struct writing *w, const char *file, const float *const *array, const char *const *prefix,
                       int arrays, struct error *e) {
  size_t n = (size_t)m->tensors, total = n * (size_t)arrays;
  struct safetensors_out *out = mem_alloc(total * sizeof *out);
  char(*name)[112] = mem_alloc(total * sizeof *name), path[4096];
  int rc = out && name ? file_join(path, sizeof path, w->temp, file, e) : error_set(e, E_NOMEM, "no memory to write a checkpoint");
  if (rc >= 0) {
    for (size_t i = 0; i < total; i++) {
      const struct tensor *t = &m->tensor[i % n];
      snprintf(name[i], sizeof name[i], "%s%s", prefix[i / n], t->name);
      out[i] = describe(t, name[i], array[i / n]);
    }
    struct safetensors_pair meta[] = {{STR("format"), STR("pt")}, {STR("vitae_format"), STR("2")}};
    rc = safetensors_write(path, out, total, meta, 2, e);
  }
  if (rc >= 0) rc = seal(w, file, e);
  mem_free(out);
  mem_free(name);
  return rc;
}

static int put_tasks(const struct model *m, struct writing *w, struct error *e) {
  char path[4096], name[128];
  if (m->tasks == 0) return OK;
  TRY(file_join(path, sizeof path, w->temp, "tasks", e));
  TRY(file_mkdirs(path, 0755, e));
  for (int i = 0; i < m->tasks; i++) {
    struct buf b = {0};
    snprintf(name, sizeof name, "tasks/%s.json", m->task[i].name);
    int rc = model_task_write(&m->task[i], &b, e);
    if (rc >= 0) rc = put(w, name, (struct str){b.p, b.n}, e);
    buf_release(&b);
    TRY(rc);
  }
  return file_sync_dir(path, e);
}

static int put_vocabulary(const struct model *m, struct writing *w, struct error *e) {
  char path[4096];
  if (!m->vocabulary) return OK;
  TRY(file_join(path, sizeof path, w->temp, "vocabulary.json", e));
  TRY(vocabulary_save(m->vocabulary, path, e));
  return seal(w, "vocabulary.json", e);
}

static int put_all(const struct model *m, struct writing *w, const struct checkpoint_extra *x, struct error *e) {
  TRY(put_config(m, w, x, e));
  TRY(put_tensors(m, w, "model.safetensors", (const float *const[]){m->weight}, (const char *const[]){""}, 1, e));
  TRY(put_vocabulary(m, w, e));
  TRY(put_tasks(m, w, e));
  if (x && x->adam_m)
    TRY(put_tensors(m, w, "optimizer.safetensors", (const float *const[]){x->adam_m, x->adam_v}, (const char *const[]){"m.", "v."}, 2, e));
  if (x && x->training_jsonl.p) TRY(put(w, "training.jsonl", x->training_jsonl, e));
  if (x && x->loss_svg.p) TRY(put(w, "loss.svg", x->loss_svg, e));
  if (x && x->canaries_json.p) TRY(put(w, "canaries.json", x->canaries_json, e));
  if (m->uncertainty) TRY(put(w, "uncertainty.json", str_c(m->uncertainty), e));
  TRY(buf_check(&w->sums, e));
  char path[4096];
  TRY(file_join(path, sizeof path, w->temp, "SHA256SUMS", e));
  TRY(file_write_atomic(path, w->sums.p, w->sums.n, 0644, e));
  return file_sync_dir(w->temp, e);
}

/* The finished directory takes DIR's place. One exchange where the file system can; else two renames. */
static int take_place(const char *temp, const char *dir, struct error *e) {
  if (!file_exists(dir) && !file_is_dir(dir)) return file_rename(temp, dir, e);
  if (renameat2(-100 /* AT_FDCWD */, temp, -100, dir, 2 /* RENAME_EXCHANGE */) != 0) {
    char old[4096 + 8];
    snprintf(old, sizeof old, "%s.old", dir);
    if (file_is_dir(old)) TRY(file_remove_tree(old, e));
    TRY(file_rename(dir, old, e));
    TRY(file_rename(temp, dir, e));
    return file_remove_tree(old, e);
  }
  char parent[4096];
  snprintf(parent, sizeof parent, "%s", dir);
  char *slash = strrchr(parent, '/');
  if (slash) *slash = 0;
  TRY(file_sync_dir(!slash ? "." : slash == parent ? "/" : parent, e));
  return file_remove_tree(temp, e);
}

int checkpoint_write(const struct model *m, const char *dir, const struct checkpoint_extra *x, struct error *e) {
  struct writing w = {.sums = {0}};
  char target[4000];
  size_t n = strlen(dir);
  while (n > 1 && dir[n - 1] == '/') n--;
  if (n == 0 || n >= sizeof target) return error_set(e, E_LIMIT, "checkpoint path too long");
  memcpy(target, dir, n);
  target[n] = 0;
  snprintf(w.temp, sizeof w.temp, "%s.tmp", target);
  if (file_is_dir(w.temp)) TRY(file_remove_tree(w.temp, e));
  TRY(file_mkdirs(w.temp, 0755, e));
  int rc = put_all(m, &w, x, e);
  buf_release(&w.sums);
  if (rc >= 0) rc = take_place(w.temp, target, e);
  if (rc < 0) { /* the old checkpoint is untouched; what was half written goes (its own failure would hide the first one) */
    struct error ignored = {0};
    int cleared = file_is_dir(w.temp) ? file_remove_tree(w.temp, &ignored) : OK;
    (void)cleared;
  }
  return rc;
}

int model_save(const struct model *m, const char *dir, struct error *e) { return checkpoint_write(m, dir, NULL, e); }

/* ---- reading ---- */

struct sums {
  struct str text;
};

static bool sums_line(struct str *rest, struct str *hex, struct str *name) {
  struct str line = str_cut(rest, '\n');
  if (line.n < 67 || line.p[64] != ' ' || line.p[65] != ' ') return false;
  *hex = (struct str){line.p, 64};
  *name = (struct str){line.p + 66, line.n - 66};
  return true;
}

/* E_CORRUPT unless SHA256SUMS vouches for the file. */
static int vouched(const char *dir, const struct sums *s, const char *file, struct error *e) {
  struct str rest = s->text, hex, name;
  char path[4096];
  uint8_t want[32], have[32];
  while (rest.n && sums_line(&rest, &hex, &name)) {
    if (!str_eqc(name, file)) continue;
    TRY(file_join(path, sizeof path, dir, file, e));
    if (hash_unhex(hex, want, 32, e) < 0) break;
    if (!file_exists(path)) return error_set(e, E_CORRUPT, "a file of the checkpoint is missing"), error_where(e, path, 0, NULL), E_CORRUPT;
    TRY(sha256_file(path, have, e));
    if (memcmp(want, have, 32) == 0) return OK;
    error_set(e, E_CORRUPT, "checksum does not match: the file was changed or damaged");
    return error_where(e, path, 0, NULL), E_CORRUPT;
  }
  error_set(e, E_CORRUPT, "SHA256SUMS does not vouch for a file that the checkpoint needs");
  return error_where(e, file, 0, NULL), E_CORRUPT;
}

struct loading {
  struct arena a;
  struct sums sums;
  struct json root;
  struct model_config config;
  char (*task)[MODEL_TASK_NAME];
  int tasks;
};

static int read_tasks(struct loading *l, struct error *e) {
  struct json list = json_get(l->root, "tasks"), item;
  size_t n = json_count(list);
  if (json_kind(list) != JSON_ARRAY || n > 1024) return error_set(e, E_CORRUPT, "config.json: no list of tasks");
  l->task = arena_alloc_array(&l->a, MODEL_TASK_NAME, n + 1, 8);
  if (!l->task) return error_set(e, E_NOMEM, "no memory to load a model");
  struct json_iter it = json_items(list);
  while (json_next(&it, &item)) {
    struct str s = json_str(item);
    if (s.n == 0 || s.n >= MODEL_TASK_NAME || memchr(s.p, 0, s.n)) return error_set(e, E_CORRUPT, "config.json: unusable task name");
    memcpy(l->task[l->tasks], s.p, s.n);
    l->task[l->tasks][s.n] = 0;
    if (!task_name_ok(l->task[l->tasks])) return error_set(e, E_CORRUPT, "config.json: unusable task name");
    for (int i = 0; i < l->tasks; i++)
      if (strcmp(l->task[i], l->task[l->tasks]) == 0) return error_set(e, E_CORRUPT, "config.json: task given twice");
    l->tasks++;
  }
  return OK;
}

static int read_config(const char *dir, struct loading *l, struct error *e) {
  char path[4096];
  int64_t format;
  TRY(file_join(path, sizeof path, dir, "config.json", e));
  if (!file_exists(path)) return error_set(e, E_NOTFOUND, "no checkpoint here"), error_where(e, path, 0, NULL), E_NOTFOUND;
  int rc = json_load(&l->a, path, &l->root, e);
  if (rc == E_INPUT) rc = error_set(e, E_CORRUPT, "config.json is no JSON");
  TRY(rc);
  if (json_want_i64(l->root, "format", &format, e) < 0) return error_set(e, E_CORRUPT, "config.json has no format number");
  if (format > MODEL_FORMAT)
    return error_set(e, E_VERSION, "checkpoint format %lld is newer than this program's %d", (long long)format, MODEL_FORMAT);
  TRY(file_join(path, sizeof path, dir, "SHA256SUMS", e));
  if (!file_exists(path)) return error_set(e, E_CORRUPT, "checkpoint without SHA256SUMS");
  TRY(file_read(&l->a, path, TEXT_LIMIT, &l->sums.text, e));
  TRY(vouched(dir, &l->sums, "config.json", e));
  rc = model_config_read(json_get(l->root, "model"), &l->config, e);
  if (rc == E_INPUT) rc = error_set(e, E_CORRUPT, "config.json: a field of the model is missing");
  TRY(rc);
  return read_tasks(l, e);
}

static int read_vocabulary(const char *dir, const struct loading *l, struct vocabulary **out, struct error *e) {
  char path[4096];
  *out = NULL;
  if (l->config.vocabulary_hash[0] == 0) return OK; /* made without one */
  TRY(file_join(path, sizeof path, dir, "vocabulary.json", e));
  if (!file_exists(path)) return error_set(e, E_CORRUPT, "checkpoint without vocabulary.json");
  struct vocabulary *v;
  TRY(vocabulary_load(path, &v, e));
  int rc = OK;
  if (strcmp(vocabulary_hash(v), l->config.vocabulary_hash) != 0 || vocabulary_codes(v) != l->config.codes ||
      vocabulary_rows(v) != l->config.rows || vocabulary_outcomes(v) != l->config.outcomes)
    rc = error_set(e, E_MISMATCH, "the vocabulary is not the one that these weights were trained with");
  if (rc >= 0) rc = vouched(dir, &l->sums, "vocabulary.json", e);
  if (rc < 0)
    vocabulary_free(v);
  else
    *out = v;
  return rc;
}

static int read_tensor_into(const struct safetensors *s, const struct tensor *t, const char *prefix, float *out, struct error *e) {
  char name[112];
  snprintf(name, sizeof name, "%s%s", prefix, t->name);
  const struct safetensors_tensor *f = safetensors_find(s, name);
  if (!f) return error_set(e, E_CORRUPT, "tensor missing"), error_where(e, NULL, 0, name), E_CORRUPT;
  bool fits = t->rows == 1 ? f->dims == 1 && f->shape[0] == (uint64_t)t->cols
                           : f->dims == 2 && f->shape[0] == (uint64_t)t->rows && f->shape[1] == (uint64_t)t->cols;
  if (!fits)
    return error_set(e, E_MISMATCH, "tensor has another shape than the configuration says"), error_where(e, NULL, 0, name), E_MISMATCH;
  TRY(safetensors_floats(f, out + t->at, t->n, e));
  for (size_t i = 0; i < t->n; i++)
    if (!isfinite(out[t->at + i]))
      return error_set(e, E_CORRUPT, "tensor holds a value that is not finite"), error_where(e, NULL, 0, name), E_CORRUPT;
  return OK;
}

static int read_weights(const char *dir, const struct loading *l, struct model *m, struct error *e) {
  char path[4096];
  struct safetensors *s;
  TRY(vouched(dir, &l->sums, "model.safetensors", e));
  TRY(file_join(path, sizeof path, dir, "model.safetensors", e));
  TRY(safetensors_open(path, &s, e));
  int rc = s->n == (size_t)m->tensors ? OK : error_set(e, E_MISMATCH, "weights have another number of tensors than the configuration says");
  for (int i = 0; rc >= 0 && i < m->tensors; i++) rc = read_tensor_into(s, &m->tensor[i], "", m->weight, e);
  safetensors_close(s);
  return rc < 0 ? (error_where(e, path, 0, NULL), rc) : OK;
}

static int read_heads(const char *dir, const struct loading *l, struct model *m, struct error *e) {
  char path[4096], name[128];
  for (int i = 0; i < m->tasks; i++) {
    snprintf(name, sizeof name, "tasks/%s.json", m->task[i].name);
    TRY(vouched(dir, &l->sums, name, e));
    TRY(file_join(path, sizeof path, dir, name, e));
    TRY(model_task_read(&m->task[i], path, e));
  }
  return OK;
}

static bool has_sum(const struct sums *s, const char *file) {
  struct str rest = s->text, hex, name;
  while (rest.n && sums_line(&rest, &hex, &name))
    if (str_eqc(name, file)) return true;
  return false;
}

static int read_uncertainty(const char *dir, struct loading *l, struct model *m, struct error *e) {
  char path[4096];
  struct str text;
  if (!has_sum(&l->sums, "uncertainty.json")) return OK;
  TRY(vouched(dir, &l->sums, "uncertainty.json", e));
  TRY(file_join(path, sizeof path, dir, "uncertainty.json", e));
  TRY(file_read(&l->a, path, 16 << 20, &text, e));
  m->uncertainty = mem_alloc(text.n + 1);
  if (!m->uncertainty) return error_set(e, E_NOMEM, "no memory to load a model");
  memcpy(m->uncertainty, text.p, text.n);
  m->uncertainty[text.n] = 0;
  return OK;
}

const char *model_uncertainty(const struct model *m) { return m->uncertainty; }

/* Sums without the file, the file, sums with it: a crash leaves a checkpoint that loads, with the file or without. */
int checkpoint_attach(const char *dir, const char *file, struct str text, struct error *e) {
  struct arena a;
  struct sums old;
  struct buf sums = {0};
  char path[4096], sums_path[4096], hex[65];
  uint8_t digest[32];
  arena_init(&a, TEXT_LIMIT, 0);
  int rc;
  TRY_OUT(file_join(sums_path, sizeof sums_path, dir, "SHA256SUMS", e));
  TRY_OUT(file_join(path, sizeof path, dir, file, e));
  TRY_OUT(file_read(&a, sums_path, TEXT_LIMIT, &old.text, e));
  struct str rest = old.text, sum, name;
  while (rest.n && sums_line(&rest, &sum, &name))
    if (!str_eqc(name, file)) buf_printf(&sums, "%.*s  %.*s\n", STR_ARG(sum), STR_ARG(name));
  TRY_OUT(buf_check(&sums, e));
  if (has_sum(&old, file)) TRY_OUT(file_write_atomic(sums_path, sums.p, sums.n, 0644, e));
  TRY_OUT(file_write_atomic(path, text.p, text.n, 0644, e));
  TRY_OUT(sha256_file(path, digest, e));
  hash_hex(digest, 32, hex);
  buf_printf(&sums, "%s  %s\n", hex, file);
  TRY_OUT(buf_check(&sums, e));
  rc = file_write_atomic(sums_path, sums.p, sums.n, 0644, e);
out:
  buf_release(&sums);
  arena_free(&a);
  return rc;
}

int model_load(const char *dir, struct model **out, struct error *e) {
  struct loading l = {.tasks = 0};
  struct vocabulary *v = NULL;
  struct model *m = NULL;
  *out = NULL;
  arena_init(&l.a, 2 * TEXT_LIMIT, 0);
  int rc = read_config(dir, &l, e);
  if (rc >= 0) rc = vouched(dir, &l.sums, "model.safetensors", e); /* before memory is given to whatever the configuration asks for */
  if (rc >= 0) rc = read_vocabulary(dir, &l, &v, e);
  if (rc >= 0) rc = model_build(&l.config, v, (const char(*)[MODEL_TASK_NAME])l.task, l.tasks, 0, &m, e);
  if (rc >= 0)
    m->owns_vocabulary = true, rc = read_weights(dir, &l, m, e);
  else
    vocabulary_free(v);
  if (rc >= 0) rc = read_heads(dir, &l, m, e);
  if (rc >= 0) rc = read_uncertainty(dir, &l, m, e);
  if (rc < 0)
    model_free(m);
  else
    *out = m;
  arena_free(&l.a);
  return rc;
}

int checkpoint_read_optimizer(const struct model *m, const char *dir, float *adam_m, float *adam_v, struct error *e) {
  struct loading l = {.tasks = 0};
  struct safetensors *s = NULL;
  char path[4096];
  arena_init(&l.a, 2 * TEXT_LIMIT, 0);
  int rc = read_config(dir, &l, e);
  if (rc >= 0) rc = vouched(dir, &l.sums, "optimizer.safetensors", e);
  if (rc >= 0) rc = file_join(path, sizeof path, dir, "optimizer.safetensors", e);
  if (rc >= 0) rc = safetensors_open(path, &s, e);
  for (int i = 0; rc >= 0 && i < m->tensors; i++) {
    rc = read_tensor_into(s, &m->tensor[i], "m.", adam_m, e);
    if (rc >= 0) rc = read_tensor_into(s, &m->tensor[i], "v.", adam_v, e);
  }
  safetensors_close(s);
  arena_free(&l.a);
  return rc;
}

/* ---- verify ---- */

int model_verify(const char *dir, void (*finding)(void *, const char *), void *ctx, struct error *e) {
  struct loading l = {.tasks = 0};
  struct error why = {0};
  char line[1024];
  unsigned found = 0;
  arena_init(&l.a, 2 * TEXT_LIMIT, 0);
  int rc = read_config(dir, &l, &why);
  if (rc >= 0) {
    struct str rest = l.sums.text, hex, name;
    while (rest.n && sums_line(&rest, &hex, &name)) {
      char file[256];
      if (name.n >= sizeof file) continue;
      snprintf(file, sizeof file, "%.*s", STR_ARG(name));
      if (strstr(file, "..") || file[0] == '/' || vouched(dir, &l.sums, file, &why) < 0) {
        snprintf(line, sizeof line, "%s: missing, changed or damaged", file);
        finding(ctx, line);
        found++;
      }
    }
    struct model *m = NULL;
    memset(&why, 0, sizeof why);
    rc = model_load(dir, &m, &why);
    model_free(m);
  }
  if (rc < 0 && !found) {
    error_format(&why, line, sizeof line);
    finding(ctx, line);
    found++;
  }
  arena_free(&l.a);
  if (rc == E_NOTFOUND || rc == E_VERSION || rc == E_NOMEM || rc == E_IO) {
    if (e) *e = why;
    return rc;
  }
  return found ? error_set(e, E_CORRUPT, "%u finding(s)", found) : OK;
}
