#include "reason/gatekeeper.h"

#include "base/json.h"
#include "reason/sequential_private.h"

#define DEEP 12

struct walk {
  const struct sequential *k;
  enum sequential_kind kind;
  struct str path[DEEP];
  struct buf to[SEQUENTIAL_ACTIONS];
  int unplaced;
};

/* The action with the longest key in this name, as whole words; -1 = none */
static int by_name(const struct walk *w, struct str name, bool generic) {
  char text[130], key[130];
  size_t longest = 0;
  int best = -1;
  text[0] = ' ';
  int n = sequential_fold(name, text + 1);
  text[1 + n] = ' ';
  text[n + 2 < 130 ? n + 2 : 129] = 0;
  for (int i = 0; i < w->k->actions; i++) {
    const struct sequential_action *x = &w->k->action[i];
    if (x->kind != w->kind || x->generic != generic) continue;
    for (int j = 0; j < x->keys; j++) {
      snprintf(key, sizeof key, " %.*s ", STR_ARG(x->key[j]));
      if (x->key[j].n > longest && strstr(text, key)) longest = x->key[j].n, best = i;
    }
  }
  return best;
}
static int action_of(const struct walk *w, int depth) {
  for (int generic = 0; generic < 2; generic++)
    for (int i = 0; i < depth; i++) {
      int at = by_name(w, w->path[i], generic);
      if (at >= 0) return at;
    }
  for (int i = w->k->actions - 1; i >= 0; i--) /* the last generic one of the part takes the rest */
    if (w->k->action[i].kind == w->kind && w->k->action[i].generic) return i;
  return -1;
}
static void put(struct walk *w, const char *gap, struct str text, int depth) {
  int at = action_of(w, depth);
  if (at < 0) {
    w->unplaced++;
    return;
  }
  struct buf *b = &w->to[at];
  for (int i = 0; i < depth; i++) {
    for (size_t c = 0; c < w->path[i].n; c++) buf_putc(b, w->path[i].p[c] == '_' ? ' ' : w->path[i].p[c]);
    buf_puts(b, i + 1 < depth ? ", " : gap);
  }
  buf_str(b, text);
  bool ended = text.n && strchr(".!?", text.p[text.n - 1]);
  buf_puts(b, ended ? " " : ". ");
}
static int walk_value(struct walk *w, struct json v, int depth, struct error *e) {
  struct str key;
  struct json item;
  if (json_kind(v) == JSON_OBJECT) {
    struct json_iter it = json_members(v);
    if (depth == DEEP) return error_set(e, E_LIMIT, "a case nested more than %d deep", DEEP);
    while (json_next_member(&it, &key, &item)) {
      w->path[depth] = key;
      TRY(walk_value(w, item, depth + 1, e));
    }
  } else if (json_kind(v) == JSON_ARRAY) {
    struct json_iter it = json_items(v);
    while (json_next(&it, &item)) TRY(walk_value(w, item, depth, e));
  } else if (json_kind(v) == JSON_STRING) {
    if (json_str(v).n) put(w, ": ", json_str(v), depth);
  } else if (json_kind(v) == JSON_BOOL) {
    bool yes = false;
    json_bool(v, &yes);
    put(w, " ", yes ? STR("present") : STR("absent"), depth); /* without a mark between, so that the name is denied */
  } else if (json_kind(v) == JSON_INT || json_kind(v) == JSON_REAL) {
    double x;
    char text[40];
    if (!json_f64(v, &x)) return OK;
    snprintf(text, sizeof text, "%g", x);
    put(w, ": ", str_c(text), depth);
  }
  return OK;
}
static int walk_part(struct walk *w, struct json part, enum sequential_kind kind, bool patient, struct error *e) {
  struct str key;
  struct json v;
  struct json_iter it = json_members(part);
  w->kind = kind;
  while (json_next_member(&it, &key, &v)) {
    if (patient && str_eqc(key, "Demographics")) continue;
    w->path[0] = key;
    if (patient && str_eqc(key, "Symptoms") && json_kind(v) == JSON_OBJECT) { /* the primary one is in the opening */
      struct json_iter inner = json_members(v);
      for (struct json x; json_next_member(&inner, &key, &x);) {
        if (str_eqc(key, "Primary_Symptom")) continue;
        w->path[1] = key;
        TRY(walk_value(w, x, 2, e));
      }
      continue;
    }
    TRY(walk_value(w, v, 1, e));
  }
  return OK;
}

static int opening_of(struct json root, struct json patient, struct arena *a, struct str *out, struct error *e) {
  const struct json part[] = {json_get(root, "Objective_for_Doctor"), json_get(patient, "Demographics"),
                              json_get(json_get(patient, "Symptoms"), "Primary_Symptom")};
  struct buf b = {0};
  for (int i = 0; i < 3; i++)
    if (json_str(part[i]).n) {
      if (b.n) buf_puts(&b, ". ");
      buf_str(&b, json_str(part[i]));
    }
  int rc = buf_check(&b, e);
  if (rc == OK && b.n == 0) rc = error_set(e, E_INPUT, "a case without objective, demographics and complaint");
  if (rc == OK) *out = str_copy(a, (struct str){b.p, b.n});
  buf_release(&b);
  return rc;
}

int gatekeeper_open(const struct sequential *k, struct json root, struct arena *a, struct gatekeeper *out, struct error *e) {
  struct walk *w = arena_array(a, struct walk, 1);
  struct json inner = json_get(root, "OSCE_Examination");
  *out = (struct gatekeeper){0};
  if (!w) return error_set(e, E_NOMEM, "no memory for a case");
  if (json_kind(inner) == JSON_OBJECT) root = inner;
  if (json_kind(root) != JSON_OBJECT) return error_set(e, E_INPUT, "expected an object with a case");
  w->k = k;
  struct json patient = json_get(root, "Patient_Actor");
  TRY(opening_of(root, patient, a, &out->opening, e));
  int rc = walk_part(w, patient, SEQUENTIAL_QUESTION, true, e);
  if (rc == OK) rc = walk_part(w, json_get(root, "Physical_Examination_Findings"), SEQUENTIAL_EXAMINATION, false, e);
  if (rc == OK) rc = walk_part(w, json_get(root, "Test_Results"), SEQUENTIAL_TEST, false, e);
  for (int i = 0; i < k->actions; i++) {
    if (rc == OK) rc = buf_check(&w->to[i], e);
    if (rc == OK && w->to[i].n) out->answer[i] = str_copy(a, (struct str){w->to[i].p, w->to[i].n});
    buf_release(&w->to[i]);
  }
  if (rc == OK) out->truth = str_copy(a, json_str(json_get(root, "Correct_Diagnosis")));
  out->unplaced = w->unplaced;
  return rc;
}

bool gatekeeper_judge(const struct sequential *k, const struct gatekeeper *g, int disease) {
  return g->truth.n > 0 && sequential_disease_find(k, g->truth) == disease;
}
