/* HL7 v2 over MLLP: messages in and acknowledged, risks out as ORU^R01. docs/hospital-plane.md.
 *
 *     struct mllp *m;
 *     TRY(mllp_open(server, &m, e));        // settings, socket, TLS key: while the process still has its rights
 *     TRY(mllp_start(m, e));                // threads; the server's database and versions are open by now
 *     mllp_stop(m);                         // no new message; what is under way is answered; joins; NULL too
 *     mllp_free(m);                         // once nobody asks for messages or metrics any more; NULL too
 *
 *     connection thread (serve_mllp.c)  frames, limits; a message is looked at (hl7v2_take) and handed to
 *     the clerk (serve_hl7.c)           who knows it again, stores it if configured, writes the audit row: all that wait in one transaction;
 *                                       only then does the acknowledgement leave, and the message joins its patient's in memory
 *     the risk thread (serve_hl7_risk.c) takes a patient's messages through the wall in memory, asks the model, writes an ORU
 *     the sender (serve_hl7_send.c)     delivers it, reads its acknowledgement, tries again
 *     the keeper (serve_hl7_keep.c)     has what waits in the database, and takes up what another process left there
 *
 * Settings, SITE/mllp.json or --mllp-settings: {"store": false, "senders": ["APPLICATION|FACILITY"], "memory": {"hours": 72, "mib": 64},
 *   "remember_days": 30, "results": {"to": "host:port", "tls": true, "ca": FILE, "application": "…", "facility": "…", "tasks": ["…"],
 *   "after": ["A01", "R01"], "tries": 10, "key": FILE}}. Everything may be absent: then a message is looked at, acknowledged, kept in memory.
 */
#ifndef SERVE_MLLP_H
#define SERVE_MLLP_H
#include "record/hl7v2.h"
#include "serve/serve_private.h"
#include "serve/serve_shared.h"

/* ---- a socket with or without TLS (serve_wire.c) ---- */
struct wire_tls; /* credentials of one side */
struct wire {
  int fd;
  void *tls; /* gnutls_session_t, NULL = plain */
};
enum { WIRE_CLOSED = 0, WIRE_FAILED = -1, WIRE_LATE = -2 };
/* cert, key: PEM texts of our own (a server needs them); ca: whom the other side must be of; NULL: a client trusts the system's */
int wire_tls_new(bool server, const char *cert, const char *key, const char *ca, struct wire_tls **out, struct error *e) MUST_CHECK;
void wire_tls_free(struct wire_tls *t);
bool wire_accept(struct wire *w, int fd, const struct wire_tls *t, int timeout_ms); /* takes fd; false: closed */
int wire_dial(struct wire *w, const char *host_port, const struct wire_tls *t, int timeout_ms, struct error *e) MUST_CHECK;
ptrdiff_t wire_read(struct wire *w, void *p, size_t n, int timeout_ms); /* > 0, or one of the above */
bool wire_write(struct wire *w, const void *p, size_t n, int timeout_ms);
void wire_close(struct wire *w);

/* ---- settings ---- */
enum { MLLP_LIST = 32, MLLP_NAME = 128 };
struct mllp_settings {
  bool store;
  char sender[MLLP_LIST][MLLP_NAME];
  int senders; /* 0: any */
  int64_t hours, mib, remember_days, tries;
  char to[256]; /* "" = no results are sent */
  bool tls;
  char ca[1024], key[1024], application[MLLP_NAME], facility[MLLP_NAME]; /* key: "" = results are not stored */
  char task[MLLP_LIST][96];
  int tasks; /* 0: all that the version offers */
  char after[MLLP_LIST][8];
  int afters;
};
int mllp_settings_load(const char *path, struct mllp_settings *out, struct error *e) MUST_CHECK; /* NULL: the defaults */

/* ---- one message ---- */
struct hl7_item {
  struct str message;         /* without its frame; the connection's */
  struct hl7v2_answer answer; /* points into it and the connection's arena */
  struct buf reply;
  uint64_t person, replaced; /* hashes; 0 = none */
  double began;
  bool again; /* was taken before: nothing more is done with it */
  bool laid;  /* lies in the inbox */
  bool done;
  struct hl7_item *next;
};

/* ---- the parts ---- */
struct hl7_kept { /* a message in memory; messages of all patients in one list, oldest first */
  struct hl7_kept *older, *newer;
  uint64_t person;
  double when;
  size_t n;
  char text[];
};
struct hl7_wish { /* a patient whose risks are to be told */
  struct hl7_wish *next;
  uint64_t person;
  struct buf message; /* whose PID and PV1 the result repeats */
};
struct hl7_result {
  struct hl7_result *next;
  char control[24];
  struct buf message;
};
enum { HL7_WISHES = 1024, HL7_RESULTS = 1024, HL7_LAID = 4096 };
struct hl7_counters {
  atomic_uint_fast64_t answers[3], again, stored, wishes_dropped, results, delivered, undelivered, retries, refused_results, resumed, lost;
  atomic_int connections;
};
struct mllp {
  struct server *server;
  struct mllp_settings set;
  struct hl7v2_options options;
  struct hl7v2_tables *tables;
  struct hl7_counters n;
  struct wire_tls *tls_in, *tls_out;
  int fd, port;
  struct mllp_listener *listener; /* serve_mllp.c */
  atomic_bool stopping;
  struct { /* the clerk's desk */
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    struct hl7_item *first, *last;
    bool closed;
    pthread_t thread;
    bool started;
    struct audit *audit;
    int store; /* descriptor of the day's file, -1 = none */
    uint8_t laid[HL7_LAID]
                [16]; /* hashes of messages that lie in the inbox though their transaction failed: their senders will send them again */
    uint64_t laid_n;
    uint64_t forget_next;
    struct settled settled;
    atomic_uint_fast64_t ids;
  } clerk;
  struct {
    pthread_mutex_t mutex;
    struct hl7_kept *oldest, *newest;
    size_t bytes;
  } memory;
  struct {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct hl7_wish *first;
    int n;
    bool closed, started;
    pthread_t thread;
  } risk;
  struct {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct hl7_result *first, *last;
    int n;
    bool closed, started;
    double stop_by; /* once closed: later than that no answer is waited for */
    pthread_t thread;
    struct audit *audit;
  } send;
  struct {
    pthread_mutex_t mutex; /* of the connection too: the keeper's and the risk thread's */
    pthread_cond_t work;
    bool closed, started;
    pthread_t thread;
    struct audit *audit;
    char owner[17];
    uint8_t key[SEAL_KEY];
    int foreign;
  } keep;
};
int mllp_open(struct server *s, struct mllp **out, struct error *e) MUST_CHECK;
int mllp_start(struct mllp *m, struct error *e) MUST_CHECK;
void mllp_stop(struct mllp *m);
void mllp_free(struct mllp *m);
void mllp_metrics(struct mllp *m, struct buf *b);

int hl7_clerk_start(struct mllp *m, struct error *e) MUST_CHECK;
void hl7_clerk_stop(struct mllp *m);
/* Records the items (all on the clerk's terms: at once or not at all) and fills their replies. Returns when they may be sent. */
void hl7_record(struct mllp *m, struct hl7_item *item, int n);
void hl7_remember(struct mllp *m, const struct hl7_item *item); /* the message into memory, and a wish if it is one of `after` */
void hl7_forget_all(struct mllp *m);
/* A patient's messages, oldest first, copied into `a`. */
int hl7_recall(struct mllp *m, uint64_t person, struct arena *a, struct str **out, size_t *n, struct error *e) MUST_CHECK;
uint64_t hl7_person(const struct mllp *m, struct str key); /* "AUTHORITY/NUMBER" -> hash; 0: no key */

int hl7_risk_start(struct mllp *m, struct error *e) MUST_CHECK;
void hl7_risk_stop(struct mllp *m);
void hl7_wish(struct mllp *m, const struct hl7_item *item);
bool hl7_send(struct mllp *m, struct hl7_result *r); /* takes it; false: too many wait, it stays the caller's */
int hl7_waiting(struct mllp *m);
void hl7_result_free(struct hl7_result *r); /* wipes */
int hl7_send_start(struct mllp *m, struct error *e) MUST_CHECK;
void hl7_send_stop(struct mllp *m);

/* A file of 64 hexadecimal digits that only its owner may read. */
int hl7_key_load(const char *path, uint8_t key[SEAL_KEY], struct error *e) MUST_CHECK;
int hl7_keep_start(struct mllp *m, struct error *e) MUST_CHECK; /* what others have left is in the sender's queue on return */
void hl7_keep_stop(struct mllp *m);
int hl7_keep(struct mllp *m, const struct hl7_result *r, struct error *e) MUST_CHECK; /* before it goes to the sender */
void hl7_drop(struct mllp *m, const struct hl7_result *r);                            /* the sender has no room for it */
int hl7_unkeep(struct db *db, const char *control, struct error *e) MUST_CHECK;       /* in the transaction of the row that says why */
#endif
