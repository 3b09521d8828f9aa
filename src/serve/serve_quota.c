/* Requests and tokens a minute, by key. In memory on one machine, where minutes are those of the clock that does not jump; in the database,
 * one statement a request, where replicas share one: minutes are those of the database's clock, so that replicas need not agree. */
#include <string.h>

#include "base/time.h"
#include "serve/serve_private.h"

enum { SLOTS = 2048, WAYS = 8 };
#define MINUTE 60
#define EPOCH "CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp())) AS BIGINT)" /* PostgreSQL only */

struct spent {
  char key[CALLER_ID + 1];
  int64_t minute, requests, tokens, second; /* second: of the minute */
};
struct quotas {
  pthread_mutex_t mutex; /* of everything below */
  struct db *db;         /* NULL: in memory */
  int64_t swept;
  struct spent list[SLOTS];
};

int quotas_open(const char *site, const char *database, struct quotas **out, struct error *e) {
  struct quotas *q = mem_alloc(sizeof *q);
  if (!q) return error_set(e, E_NOMEM, "out of memory");
  memset(q, 0, sizeof *q);
  pthread_mutex_init(&q->mutex, NULL);
  int rc = db_open(site, database, &q->db, e);
  if (rc < 0) {
    mem_free(q);
    return rc;
  }
  if (!db_shared(q->db)) db_close(q->db), q->db = NULL;
  *out = q;
  return OK;
}

void quotas_close(struct quotas *q) {
  if (!q) return;
  db_close(q->db);
  pthread_mutex_destroy(&q->mutex);
  mem_free(q);
}

static struct spent *slots_of(struct quotas *q, const char *key) { return &q->list[hash64(key, strlen(key), 7) % (SLOTS / WAYS) * WAYS]; }

static struct spent *in_memory(struct quotas *q, const char *key, int64_t minute) {
  struct spent *s = slots_of(q, key), *oldest = s;
  for (int i = 0; i < WAYS; i++) {
    if (strcmp(s[i].key, key) == 0) {
      oldest = &s[i];
      break;
    }
    if (s[i].minute < oldest->minute) oldest = &s[i];
  }
  if (strcmp(oldest->key, key) != 0 || oldest->minute != minute) {
    *oldest = (struct spent){.minute = minute};
    snprintf(oldest->key, sizeof oldest->key, "%s", key);
  }
  return oldest;
}

static int take_sum(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct spent *s = ctx;
  (void)e;
  s->requests = v[0].i, s->tokens = v[1].i;
  if (n > 2) s->second = v[2].i, s->minute = v[3].i;
  return OK;
}

static int add(struct quotas *q, const char *key, int64_t requests, int64_t tokens, struct spent *out, struct error *e) {
  int64_t now = (int64_t)time_monotonic(), minute = now / MINUTE;
  if (!q->db) {
    struct spent *s = in_memory(q, key, minute);
    s->requests += requests, s->tokens += tokens;
    *out = *s;
    out->second = now % MINUTE;
    return OK;
  }
  if (q->swept != minute / 10) { /* what is long over */
    q->swept = minute / 10;
    TRY(db_run(q->db, "DELETE FROM quotas WHERE minute < " EPOCH " / 60 - 10", NULL, 0, NULL, e));
  }
  struct db_value v[] = {DB_T(key), DB_I(requests), DB_I(tokens)};
  return db_each(
      q->db,
      "INSERT INTO quotas(key, minute, requests, tokens) VALUES(?," EPOCH
      " / 60,?,?) ON CONFLICT(key, minute) DO UPDATE SET "
      "requests = quotas.requests + excluded.requests, tokens = quotas.tokens + excluded.tokens RETURNING requests, tokens, " EPOCH
      " % 60, minute",
      v, 3, take_sum, out, e);
}

/* The same in the minute that is named; one that nobody counts any more stays as it was, and so does *s. */
static int change(struct quotas *q, const char *key, int64_t requests, int64_t tokens, struct spent *s, struct error *e) {
  if (q->db) {
    struct db_value v[] = {DB_I(requests), DB_I(tokens), DB_T(key), DB_I(s->minute)};
    return db_each(q->db,
                   "UPDATE quotas SET requests = requests + ?, tokens = tokens + ? WHERE key = ? AND minute = ? RETURNING requests, tokens",
                   v, 4, take_sum, s, e);
  }
  struct spent *slot = slots_of(q, key);
  for (int i = 0; i < WAYS; i++)
    if (strcmp(slot[i].key, key) == 0 && slot[i].minute == s->minute) {
      slot[i].requests += requests, slot[i].tokens += tokens;
      s->requests = slot[i].requests, s->tokens = slot[i].tokens;
    }
  return OK;
}

static int64_t left_of(int64_t limit, int64_t spent) { return limit <= 0 ? -1 : spent < limit ? limit - spent : 0; }

/* What fits is counted. One request alone may be larger than the limit: it takes the minute. */
static int take(struct quotas *q, struct call *c, int64_t requests, int64_t tokens, struct error *e) {
  struct spent s = {0};
  struct quota_state *x = &c->quota;
  pthread_mutex_lock(&q->mutex);
  int rc = add(q, c->who.key, requests, tokens, &s, e);
  int64_t before = s.tokens - tokens;
  bool over = rc == OK && ((requests && x->limit_requests > 0 && s.requests > x->limit_requests) ||
                           (x->limit_tokens > 0 && before > 0 && (before >= x->limit_tokens || s.tokens > x->limit_tokens)));
  if (over) rc = change(q, c->who.key, -requests, -tokens, &s, e); /* what was refused is not counted */
  if (over && !requests && rc == OK) rc = change(q, c->who.key, -1, 0, &(struct spent){.minute = x->minute}, e);
  pthread_mutex_unlock(&q->mutex);
  TRY(rc);
  x->reset_s = MINUTE - (int)s.second;
  x->left_requests = left_of(x->limit_requests, s.requests);
  x->left_tokens = left_of(x->limit_tokens, s.tokens);
  if (over) {
    c->retry_after = x->reset_s;
    return error_set(e, E_BUSY, "this key's requests or tokens of the minute are used up; retry after %d seconds", x->reset_s);
  }
  x->reserved = tokens, x->minute = s.minute;
  return OK;
}

int quota_take(struct quotas *q, struct call *c, struct error *e) {
  const struct identity *who = &c->who;
  c->quota = (struct quota_state){.limit_requests = who->requests_per_minute > 0 ? who->requests_per_minute : -1,
                                  .limit_tokens = who->tokens_per_minute > 0 ? who->tokens_per_minute : -1,
                                  .left_requests = -1,
                                  .left_tokens = -1,
                                  .reset_s = MINUTE};
  return who->requests_per_minute <= 0 && who->tokens_per_minute <= 0 ? OK : take(q, c, 1, 0, e);
}

int quota_reserve(struct quotas *q, struct call *c, int64_t tokens, struct error *e) {
  if (c->quota.limit_tokens <= 0 || c->quota.reserved) return OK;
  return take(q, c, 0, tokens, e);
}

bool quotas_quick(const struct quotas *q) { return !q->db; }

void quota_settle(struct quotas *q, struct call *c) {
  struct spent s = {.minute = c->quota.minute, .tokens = -1};
  int64_t difference = c->tokens_in + c->tokens_out - c->quota.reserved;
  if (c->who.tokens_per_minute <= 0 || difference == 0 || !c->quota.limit_tokens) return;
  pthread_mutex_lock(&q->mutex);
  int rc = change(q, c->who.key, 0, difference, &s, NULL);
  pthread_mutex_unlock(&q->mutex);
  if (rc == OK && s.tokens >= 0) c->quota.left_tokens = left_of(c->quota.limit_tokens, s.tokens);
}
