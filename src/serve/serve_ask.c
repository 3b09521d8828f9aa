/* POST /v1/ask: a question about one subject of the store, or about all of them. Shapes: docs/ask.md. */
#include <string.h>

#include "reason/ask.h"
#include "serve/serve_private.h"
#include "timeline/timeline.h"

#define ANSWER_MEMORY (256u << 20)

struct question {
  struct str text;
  bool one; /* about a subject, not the store */
  uint32_t index;
};

static int bad(struct error *e, int code, const char *field, const char *what) {
  (void)error_set(e, code, "%s", what);
  return error_where(e, NULL, 0, field);
}

static int check_members(struct json root, struct error *e) {
  static const char *const known[] = {"question", "subject"};
  struct str key;
  struct json v;
  for (struct json_iter it = json_members(root); json_next_member(&it, &key, &v);) {
    size_t i = 0;
    while (i < sizeof known / sizeof *known && !str_eqc(key, known[i])) i++;
    if (i == sizeof known / sizeof *known) return bad(e, E_INPUT, "body", "an unknown member; known are question and subject");
  }
  return OK;
}

static int take_subject(struct call *c, struct json v, struct question *q, struct error *e) {
  int64_t id;
  if (json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL) return OK;
  if (json_kind(v) != JSON_STRING || str_to_i64(json_str(v), &id) < 0)
    return bad(e, E_INPUT, "subject", "expected a pseudonym as a text of digits");
  if (timeline_find(c->server->store, id, &q->index, NULL) < 0) return bad(e, E_NOTFOUND, "subject", "there is no such subject");
  q->one = true;
  return OK;
}

static int read_question(struct call *c, struct json root, struct question *q, struct error *e) {
  if (json_kind(root) != JSON_OBJECT) return bad(e, E_INPUT, "body", "expected a JSON object");
  TRY(check_members(root, e));
  q->text = json_str(json_get(root, "question"));
  if (!str_trim(q->text).n) return bad(e, E_INPUT, "question", "expected a question as a text");
  if (!c->server->store) return error_set(e, E_NOTFOUND, "this site has no timelines");
  return take_subject(c, json_get(root, "subject"), q, e);
}

/* Made at the first question: not every server is asked any. */
int server_asker(struct server *s, struct asker **out, struct error *e) {
  int rc = OK;
  pthread_mutex_lock(&s->desk_mutex);
  if (!s->asker) rc = asker_new(s->store, &s->asker, e);
  *out = s->asker;
  pthread_mutex_unlock(&s->desk_mutex);
  return rc;
}

static int answer(struct call *c, struct arena *a, struct error *e) {
  struct json_parser *jp;
  struct json root;
  struct question q = {0};
  struct asker *k = NULL;
  struct ask_answer r = {0};
  struct json_out o;
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, (const char *)c->body, c->body_n, c->body_cap, &root, e);
  if (rc == OK) rc = read_question(c, root, &q, e);
  if (rc == OK) rc = server_asker(c->server, &k, e);
  if (rc == OK) rc = q.one ? ask(k, q.index, q.text, a, &r, e) : ask_cohort(k, q.text, a, &r, e);
  if (rc == OK) {
    json_out_init(&o, &c->out, false);
    ask_json(k, q.index, &r, &o);
  }
  json_parser_free(jp);
  return rc;
}

void answer_ask(struct call *c) {
  struct error e = {0};
  struct arena a;
  c->status = 200;
  arena_init(&a, ANSWER_MEMORY, ARENA_WIPE);
  if (answer(c, &a, &e) < 0) call_error(c, &e);
  arena_free(&a);
}
