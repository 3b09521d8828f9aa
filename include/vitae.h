/* Vitae's public C API. Two nouns: an engine (immutable, shared by threads) and a session (one mutable timeline, one owner).
 *
 *     struct vitae_error err = {0};
 *     vitae_engine *eng;  vitae_session *s;  char *json;
 *     if (vitae_engine_open("site", "live", &eng, &err)) …                    // a site's promoted version
 *     if (vitae_session_open(eng, &s, &err)) …
 *     if (vitae_session_add_fhir(s, bundle, bundle_len, &err)) …              // through the wall, in memory
 *     if (vitae_session_predict(s, &(vitae_query){.task = "in-hospital-death", .futures = 100}, &json, &err)) …
 *     puts(json);  vitae_free(json);  vitae_session_close(s);  vitae_engine_close(eng);
 *
 * Every function returns 0 or a negative code (the same codes as the program's exit table) and fills the caller's error, whose
 * message never contains a value from the data. Nothing identified outlives the session; nothing is written to disk.
 */
#ifndef VITAE_H
#define VITAE_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct vitae_engine vitae_engine;
typedef struct vitae_session vitae_session;

struct vitae_error {
  int code;          /* 0 = none */
  char message[512]; /* one line: place and reason */
  char field[96];    /* field in the schema's words, "" if none */
};

typedef struct {
  const char *task;    /* name of a task the version was trained for; NULL: hazards only */
  int futures;         /* sampled futures; 0 = none */
  double horizon_days; /* of the futures; 0 = the task's */
  int explain;         /* contributing events wanted */
  int outcomes;        /* likely outcomes wanted; 0 = 10, -1 = none */
  uint64_t seed;
} vitae_query;

const char *vitae_version(void);

/* `version`: "live", a version id or its first 6+ letters, or a checkpoint directory. */
int vitae_engine_open(const char *site, const char *version, vitae_engine **out, struct vitae_error *err);
void vitae_engine_close(vitae_engine *e);
/* JSON description: version id, parameters, codes, outcomes, tasks. Free with vitae_free. */
int vitae_engine_describe(const vitae_engine *e, char **json, struct vitae_error *err);
const char *vitae_engine_id(const vitae_engine *e);

int vitae_session_open(const vitae_engine *e, vitae_session **out, struct vitae_error *err);
void vitae_session_close(vitae_session *s); /* wipes */
/* FHIR R4 Bundle or resource; may be called again to add more of the same patient. Bad entries are counted, not fatal. */
int vitae_session_add_fhir(vitae_session *s, const char *bytes, size_t n, struct vitae_error *err);
/* {"birth":"1950-01-01","events":[{"time":"…","code":"LOINC//2160-0","value":1.2,"unit":"mg/dL"}]} */
int vitae_session_add_events(vitae_session *s, const char *bytes, size_t n, struct vitae_error *err);
/* Answer as JSON (docs/api.md). Free with vitae_free. */
int vitae_session_predict(vitae_session *s, const vitae_query *q, char **json, struct vitae_error *err);
void vitae_free(char *json);

#ifdef __cplusplus
}
#endif
#endif
