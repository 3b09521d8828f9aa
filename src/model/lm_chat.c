/* Chat templates. A template in a model file is a program; it is not run. The common ones are recognised by the marks that they put around a turn
 * and are written out here; a file whose template is another one can be used with plain prompts. */
#include "model/lm_internal.h"

struct form {
  const char *name;
  const char *mark[3];        /* all must be in the template */
  const char *before, *after; /* around a turn; %s: the role */
  const char *answer;         /* begins the model's turn */
  const char *assistant;      /* its name for the assistant's role, NULL: "assistant" */
  bool system_in_user;        /* no role of its own: put before the first user's text */
};
static const struct form forms[] = {
    {"chatml", {"<|im_start|>", "<|im_end|>", NULL}, "<|im_start|>%s\n", "<|im_end|>\n", "<|im_start|>assistant\n", NULL, false},
    {"llama3",
     {"<|start_header_id|>", "<|eot_id|>", NULL},
     "<|start_header_id|>%s<|end_header_id|>\n\n",
     "<|eot_id|>",
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     NULL,
     false},
    {"gemma",
     {"<start_of_turn>", "<end_of_turn>", NULL},
     "<start_of_turn>%s\n",
     "<end_of_turn>\n",
     "<start_of_turn>model\n",
     "model",
     true},
    {"phi3", {"<|user|>", "<|end|>", NULL}, "<|%s|>\n", "<|end|>\n", "<|assistant|>\n", NULL, false},
    {"zephyr", {"<|user|>", "eos_token", NULL}, "<|%s|>\n", "</s>\n", "<|assistant|>\n", NULL, false},
};

static const struct form *form_of(const char *name) {
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
    if (strcmp(forms[i].name, name) == 0) return &forms[i];
  return NULL;
}

static bool contains(struct str s, const char *what) { return s.n && memmem(s.p, s.n, what, strlen(what)) != NULL; }

void lm_chat_recognise(struct str template_text, char name[32]) {
  snprintf(name, 32, "%s", template_text.n ? "unknown" : "");
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    bool all = true;
    for (int k = 0; k < 3 && forms[i].mark[k]; k++) all = all && contains(template_text, forms[i].mark[k]);
    if (!all) continue;
    snprintf(name, 32, "%s", forms[i].name);
    return;
  }
}

/* What such a template says where no system message is given: the literal between its marks, if it is one. */
static struct str standing_system(struct str t) {
  static const char begin[] = "<|im_start|>system\\n", end[] = "<|im_end|>";
  for (size_t at = 0; at < t.n;) {
    const char *p = memmem(t.p + at, t.n - at, begin, sizeof begin - 1);
    if (!p) return STR_NONE;
    p += sizeof begin - 1;
    at = (size_t)(p - t.p);
    const char *q = memmem(p, t.n - at, end, sizeof end - 1);
    if (!q) return STR_NONE;
    struct str s = {p, (size_t)(q - p)};
    if (s.n && !memchr(s.p, '\'', s.n) && !memchr(s.p, '{', s.n) && !memchr(s.p, '+', s.n)) return s;
  }
  return STR_NONE;
}

static int put(const struct lm *m, struct subword_ids *ids, struct str text, unsigned flags, struct error *e) {
  return subword_encode(m->vocabulary, text, flags, ids, e);
}

/* Marks and text that the tokenizer would join (a line end before the text) are encoded together only where the text cannot spell a mark; the
 * content itself is always plain. */
static int put_turn(const struct lm *m, const struct form *f, const char *role, struct str before, struct str content,
                    struct subword_ids *ids, struct error *e) {
  char head[128];
  const char *name = f->assistant && strcmp(role, "assistant") == 0 ? f->assistant : role;
  int n = snprintf(head, sizeof head, f->before, name);
  TRY(put(m, ids, (struct str){head, (size_t)n}, SUBWORD_SPECIAL, e));
  if (before.n) TRY(put(m, ids, before, 0, e));
  if (before.n) TRY(put(m, ids, STR("\n\n"), 0, e));
  TRY(put(m, ids, content, 0, e));
  return put(m, ids, str_c(f->after), SUBWORD_SPECIAL, e);
}

int lm_chat_tokens(const struct lm *m, const struct lm_message *message, int n, struct subword_ids *ids, struct error *e) {
  const struct form *f = form_of(m->chat);
  struct str system = STR_NONE;
  int first = 0;
  if (!f) return error_set(e, E_INPUT, "the model has no chat template that is known; use a plain prompt");
  TRY(put(m, ids, STR(""), SUBWORD_EDGES, e));
  if (n && strcmp(message[0].role, "system") == 0) {
    if (f->system_in_user) system = message[0].content, first = 1;
  } else {
    struct str standing = standing_system(m->template_text);
    if (standing.n && !f->system_in_user) TRY(put_turn(m, f, "system", STR_NONE, standing, ids, e));
  }
  for (int i = first; i < n; i++) {
    const char *role = message[i].role;
    if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0 && strcmp(role, "tool") != 0)
      return error_set(e, E_INPUT, "message %d has a role that is not known", i);
    TRY(put_turn(m, f, role, system, message[i].content, ids, e));
    system = STR_NONE;
  }
  return put(m, ids, str_c(f->answer), SUBWORD_SPECIAL, e);
}

/* The vocabulary's end token, and the mark that ends a turn where that is another one. */
bool lm_is_end(const struct lm *m, uint32_t token) {
  static const char *const ends[] = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", NULL};
  if (token == subword_eos(m->vocabulary)) return true;
  struct str name = subword_name(m->vocabulary, token);
  if (name.n < 7 || name.p[0] != '<') return false;
  for (int i = 0; ends[i]; i++)
    if (str_eqc(name, ends[i])) return true;
  return false;
}
