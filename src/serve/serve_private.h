/* What the files of serve share. A request's way:
 *
 *     MHD thread (serve_http.c)   framing, route, body       never blocks: it suspends the connection and hands the call on
 *     desk threads (serve_desk.c) key, permission, small answers from the store and the reports
 *     model worker (serve_worker.c) everything that needs the model, one at a time
 *     errands (serve_desk.c)  what may wait for other machines: an EHR's FHIR server, its login
 *     talkers (serve_worker.c)    conversations with language models, whose own threads (serve_voice.c) batch what all of them ask
 *     audit thread (serve_audit.c) writes the rows of all waiting calls in one transaction, then resumes their connections
 *
 * A call belongs to one thread at a time; handing it on (under a queue's mutex) is the only synchronisation it needs. While its
 * connection is suspended MHD does not touch it, so it outlives the client: nobody frees it but `completed`.
 */
#ifndef SERVE_PRIVATE_H
#define SERVE_PRIVATE_H
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/hash.h"
#include "base/json.h"
#include "serve/serve.h"
#include "serve/serve_audit.h"
#include "serve/serve_db.h"
#include "serve/serve_parts.h"

/* ---- one call ---- */
enum stage { CALL_NEW, CALL_DESK, CALL_BODY_FIRST, CALL_BODY, CALL_WORK, CALL_DONE, CALL_STREAM, CALL_STREAM_END };
struct quota_state { /* of this minute; -1 = no limit; minute: the one that counts it */
  int64_t limit_requests, left_requests, limit_tokens, left_tokens, reserved, minute;
  int reset_s;
};
struct call {
  struct server *server;
  struct MHD_Connection *connection; /* NULL once detached */
  enum plane plane;
  enum stage stage;
  int route;            /* index, -1 = none matched */
  enum dialect dialect; /* of the path, as far as it tells one: for what is said where no route was found */
  size_t authority;     /* bytes of the target before its path: "http://HOST" (RFC 9112 3.2.2) */
  char arg[128];
  struct identity who;
  uint64_t address; /* of the client, hashed */
  double began;
  char request[REQUEST_ID + 1], client_request[REQUEST_ID + 1];     /* ours; the client's own, "" = none */
  struct sha256 input_hash;                                         /* over the request target and the body */
  bool input_open, input_tree, counted, close, repeat, shadow, nul; /* nul: the target holds "%00" */
  bool talking, to_talkers, again; /* by a talker; a worker hands it to them; the client said that it asks again */
  bool probes;                     /* the one deep probe under way */
  char input[INPUT_MOST + 1];      /* the hash, once it is ended */
  struct voice *voice;             /* the language model that answers, NULL: the version in `served` does */
  struct stream *stream;           /* NULL: its answer leaves whole (serve_stream.h) */
  int events;                      /* of a stream of the Responses API: numbered so far */
  uint8_t *body;
  size_t body_n, body_cap;
  struct served *served, *mirror; /* the version that answers, and the one that answers unseen; counted */
  char deployment[NAME_MOST + 1];
  struct quota_state quota;
  int64_t tokens_in, tokens_out;
  int status, retry_after;
  struct buf out;
  const char *type;   /* content type of `out` */
  const char *csp;    /* NULL: the strictest */
  char code[48];      /* of a failure */
  char verdict[12];   /* of the output filter: "" nothing found, "replaced", "refused" */
  char pseudonym[24]; /* drawn for the patient of this answer alone; "" = none */
  char allow[64];
  int64_t audit_row;        /* 0 = none */
  struct buf place, cookie; /* headers Location and Set-Cookie; empty: none */
  void *job;                /* what an errand made for the model; freed with the call */
  void (*free_job)(void *job);
  struct call *next;
  struct call *live_next, *live_before; /* in the server's list */
};
/* serve_input.c: the input's hash is begun with the target, takes the whole body once, and is ended by the audit. */
void input_begin(struct call *c, const char *target);
void input_body(struct call *c);
void input_end(struct call *c); /* fills c->input */
void call_fail(struct call *c, int status, const char *code, const char *field, const char *message);
/* The failure as its dialect writes it (serve_error.c). */
void error_envelope(struct call *c, enum dialect d, int status, const char *code, const char *field, const char *message,
                    struct json_out *o);
void call_error(struct call *c, const struct error *e);
void call_vitae_error(struct call *c, const struct vitae_error *e);
void call_finish(struct call *c); /* counts; by way of the audit where the route has a role; then the connection goes on */
void call_resume(struct call *c);
void call_to_worker(struct call *c);
/* /healthz/generate: one at a time asks the model: this one? If not, it is answered, or will be by that one's call_finish (probe_end). */
bool probe_begin(struct call *c);
void probe_end(struct call *c);
void call_free(struct call *c);                              /* by whoever is last to need it */
void call_describe(struct call *c, struct audit_entry *row); /* its audit row; ends the input's hash */
bool call_says_again(const struct call *c);                  /* the client's SDK counts this as a further try */
struct str call_credential(const struct call *c);            /* the key or token that came with it */
/* Who it is, as far as memory knows: never blocks. ADMIT_NO: the call has failed. */
enum admission { ADMIT_NO, ADMIT_YES, ADMIT_ASK };
enum admission admit_at_once(struct call *c);
bool call_reserve(struct call *c, int64_t tokens); /* that its key's quota has these; else the call has failed */
bool call_client_left(const struct call *c);
struct str call_header(const struct call *c, const char *name);
struct str call_query(const struct call *c, const char *name);
const struct vitae_engine *call_engine(struct call *c); /* of the version that answers: the live one, if none was chosen; or NULL */
const char *call_version(struct call *c);               /* its id; "" = none */
bool call_versioned(struct call *c);                    /* that there is one, from now on; else the call has failed */
enum dialect call_dialect(const struct call *c);

/* Bounded. With one lane: first in, first out. With more, tenants take turns, a lane each (by hash and plane), and each plane has `most` places:
 * a developers' tenant holds at most half, a hospital's where they are half full and others wait. One of several takers serves no developers. */
enum { LANES = 32 };
struct call_queue {
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  struct lane {
    struct call *head, *tail;
    int n;
  } lane[LANES];
  int lanes, turn, n, most;
  int outside;          /* of n: developers' */
  int takers, occupied; /* 0: unlimited; those at work for developers */
  bool closed;
};
void queue_init(struct call_queue *q, int most, bool fair);
void queue_limit(struct call_queue *q, int takers); /* each calls queue_done between taking one and the next */
void queue_done(struct call_queue *q, enum plane plane);
void queue_destroy(struct call_queue *q);
bool queue_put(struct call_queue *q, struct call *c);                                 /* false: full or closed */
struct call *queue_take(struct call_queue *q);                                        /* NULL: closed and empty */
struct call *queue_take_all(struct call_queue *q);                                    /* a chain by `next` */
struct call *queue_take_if(struct call_queue *q, bool (*over)(const struct call *c)); /* those, wherever they stand: a chain; never waits */
void queue_close(struct call_queue *q);

/* ---- the server ---- */
struct server {
  struct serve_options o;
  struct fleet *fleet;
  struct timeline *store; /* NULL: a site without timelines */
  struct asker *asker;    /* of the store, made at the first question, under desk_mutex */
  struct knowledge *knowledge;
  struct quotas *quotas;
  struct tokens *tokens; /* trusted issuers; NULL = none */
  struct mllp *mllp;     /* NULL: no HL7 v2 */
  struct keys *keys;
  struct audit *audit, *mirror_audit; /* of the audit thread; of the workers, under mirror_mutex */
  pthread_mutex_t mirror_mutex, desk_mutex;
  struct audit *desk_audit; /* for reading at the desk, under desk_mutex */
  struct ehr *ehr;          /* the hospital's systems; NULL: none are told */
  struct cds *cds;
  struct shared *shared; /* what replicas know together: tokens that were taken, logins and sessions of the SMART app */
  struct call_queue desk, errand, work, talk, audited;
  struct voices *voices;
  struct filter *filter; /* of what leaves for developers */
  struct counters n;
  double stop_by;                               /* monotonic, once draining: what is not answered by then is given up */
  atomic_bool ready, draining, giving_up, mute; /* mute: the audit could not be written when it was last tried; nothing can be answered */
  struct buf openapi[2];                        /* of the hospital's plane, the developers': written once */
  double started;
  uint64_t splits[3], subjects, request_seed;
  atomic_uint_fast64_t requests;
  struct live_list { /* calls under way, for the workbench */
    pthread_mutex_t mutex;
    struct call *first;
  } live;
  struct line_list { /* connections */
    pthread_mutex_t mutex;
    struct line *first;
  } lines;
};
enum { CONNECTIONS = 1024 };
#define BODIES_MOST (512u << 20) /* bytes of bodies in memory, of all requests together */
/* ---- listeners (serve_http.c) ---- */
struct listener;
int listener_bind(struct server *s, enum plane plane, const char *listen_at, struct listener **out, struct error *e) MUST_CHECK;
int listener_port(const struct listener *l);
bool listener_loopback(const struct listener *l);
/* A listening socket at HOST:PORT: without TLS only on loopback, unless `insecure`. */
int listener_socket(const struct serve_options *o, const char *listen_at, int *fd, int *port, struct error *e) MUST_CHECK;
int listener_start(struct listener *l, struct error *e) MUST_CHECK;
void lines_cut(struct server *s);          /* ends connections whose client takes too long over a request or an answer */
void listener_quiesce(struct listener *l); /* takes no new connections */
void listener_stop(struct listener *l);    /* NULL and half-made ones too */
typedef void answer_function(struct call *c);
typedef bool admit_function(struct call *c);  /* false: it has failed the call */
typedef bool errand_function(struct call *c); /* false: the call has its answer, or has failed */
enum how {
  AT_DESK,  /* by a desk thread */
  AT_ONCE,  /* in the HTTP thread, open to everybody */
  LIGHT,    /* in the HTTP thread once admitted: from memory only */
  BY_MODEL, /* by a model worker */
};
struct route_entry {
  struct route route;
  answer_function *answer;
  enum how how;
  admit_function *admit;   /* NULL: keys and tokens by the route's plane and scope (serve_desk.c) */
  errand_function *errand; /* before the answer, by a thread that may wait for other machines; or NULL */
};
const struct route_entry *route_at(int i);
/* Index; -1 no such path; -2 wrong method (allow filled). */
int route_find(enum plane plane, const char *method, const char *path, char arg[128], char allow[64]);
enum dialect route_dialect(enum plane plane, const char *path); /* whatever the method; of paths beside a dialect's own too */
void openapi_text(enum plane plane, struct buf *out);

answer_function answer_page, answer_live, answer_ready, answer_metrics, answer_openapi, answer_predict, answer_model, answer_cohort,
    answer_subject, answer_risk, answer_tasks, answer_reports, answer_report, answer_wall, answer_session, answer_audit, answer_generate,
    answer_keys, answer_usage, answer_live_requests, answer_deployments, answer_models, answer_one_model, answer_embeddings, answer_chat,
    answer_responses, answer_score, answer_model_info, answer_root, answer_ask, answer_draft, answer_draft_feedback, answer_knowledge,
    answer_differential, answer_terms, answer_calculators, answer_calculate, answer_cds_services, answer_cds, answer_cds_feedback,
    answer_smart, answer_launch, answer_launch_patient;
errand_function errand_cds, errand_smart_launch, errand_smart_callback, errand_launch;
admit_function admit_by_key, admit_smart, admit_launch;
void tasks_json(struct call *c, struct json_out *o); /* the member "tasks" of an open object */
/* A JSON object in the body goes to `f`, with memory that is wiped afterwards; a failure becomes the answer. */
typedef int body_function(struct call *c, struct json root, struct arena *a, struct error *e);
void answer_json_body(struct call *c, body_function *f);
int server_asker(struct server *s, struct asker **out, struct error *e) MUST_CHECK; /* of the store; made at its first use */
void *errand_main(void *server);
answer_function answer_fhir_metadata, answer_fhir_operation, answer_fhir_predict, answer_fhir_assess, answer_fhir_devices,
    answer_fhir_device, answer_fhir_events, answer_fhir_event;
void *desk_main(void *server);
void *worker_main(void *server);
void *talker_main(void *server);
void *audit_main(void *server);
/* The worker's predictor on the site's own store for the version of the call; only its thread calls these. */
struct predictor *worker_predictor(struct call *c, struct error *e);
/* Parameters task, futures, explain, outcomes, seed, horizon_days of the query. */
struct ask {
  char task[96];
  int64_t futures, explain, outcomes, seed;
  double horizon_days;
};
/* Who says none (0) wants none (-1); 0 stays for who says nothing. */
void ask_outcomes(struct ask *a, bool said);
int ask_query(const struct call *c, struct ask *a, struct error *e) MUST_CHECK;
/* What a JSON text says of a patient: a FHIR resource, or an object with `bundle` or `events` and the parameters of struct ask. *doc is the
 * session's document: the text itself, or rewritten into `b`. */
int patient_document(struct str text, size_t cap, struct json_parser *jp, struct ask *a, struct buf *b, struct str *doc, bool *fhir,
                     struct error *e) MUST_CHECK;
bool call_left(void *call); /* call_client_left as a session asks it */
/* ---- what the site knows beside its timelines (serve_knowledge.c): SITE/knowledge, read at its first use ---- */
struct differential;
struct drafter;
struct calculator;
int knowledge_open(const char *site, struct knowledge **out, struct error *e) MUST_CHECK;
void knowledge_close(struct knowledge *k);
int knowledge_differential(struct knowledge *k, const struct differential **out, struct error *e) MUST_CHECK; /* NULL: the site has none */
bool knowledge_has(const struct knowledge *k, const char *file);
int knowledge_drafter(struct knowledge *k, const struct asker *a, const struct drafter **out, struct error *e) MUST_CHECK;
int knowledge_calculators(struct knowledge *k, struct calculator *const **out, int *n, struct error *e) MUST_CHECK;
const char *page_csp(void);
struct str page_bytes(void);
#endif
