/* A patient's record out of prefetch, and out of the EHR where prefetch does not have it. What comes of it is a list of resources for the reader, each where its document
 * was parsed. */
#include <string.h>

#include "base/time.h"
#include "record/record.h"
#include "serve/serve_cds.h"
#include "serve/serve_ehr.h"

enum { PAGES = 5 }; /* of one list */
#define PAGE_BYTES (8u << 20)

static int bad(struct error *e, const char *key, int code, const char *what) {
  char field[96];
  snprintf(field, sizeof field, "prefetch.%s", key);
  (void)error_set(e, code, "%s", what);
  return error_where(e, NULL, 0, field);
}

static struct str type_of(struct json resource) { return json_str(json_get(resource, "resourceType")); }

/* ---- one resource into the list ---- */

int cds_parser(struct cds_job *job, struct json_parser **out, struct error *e) {
  struct json_parser **more = mem_realloc(job->parser, ((size_t)job->parsers + 1) * sizeof *more);
  if (!more) return error_set(e, E_NOMEM, "out of memory");
  job->parser = more;
  TRY(json_parser_new(out, e));
  job->parser[job->parsers++] = *out;
  return OK;
}

static int keep(struct cds_job *job, struct json resource, struct str full_url, struct error *e) {
  if (job->resources == job->resource_room) {
    size_t room = job->resource_room ? 2 * job->resource_room : 128;
    struct fhir_parsed *more = mem_realloc(job->resource, room * sizeof *more);
    if (!more) return error_set(e, E_NOMEM, "out of memory");
    job->resource = more, job->resource_room = room;
  }
  job->resource[job->resources++] = (struct fhir_parsed){resource, full_url};
  return OK;
}

/* "Patient/X", "https://…/Patient/X", "Patient/X/_history/1": whether X is another than the one whose record this is. */
static bool names_another(struct json reference, struct str patient) {
  struct str r = json_str(json_get(reference, "reference"));
  const char *at = r.n ? memmem(r.p, r.n, "Patient/", 8) : NULL;
  if (!at || (at != r.p && at[-1] != '/')) return false; /* urn:uuid and groups: the reader tells persons apart */
  struct str id = {at + 8, (size_t)(r.p + r.n - at - 8)};
  return !str_eq(str_cut(&id, '/'), patient);
}

static int put_resource(struct json resource, struct str full_url, const char *key, struct str patient, struct cds_job *job,
                        struct error *e) {
  struct str type = type_of(resource);
  if (!type.n) return bad(e, key, E_INPUT, "expected a FHIR resource");
  if (str_eqc(type, "OperationOutcome")) return OK; /* a search's own remarks */
  bool another = str_eqc(type, "Patient")
                     ? !str_eq(json_str(json_get(resource, "id")), patient)
                     : names_another(json_get(resource, "subject"), patient) || names_another(json_get(resource, "patient"), patient);
  if (another) return bad(e, key, E_INPUT, "this speaks of another patient than the context");
  return keep(job, resource, full_url, e);
}

static int put_document(struct json doc, const char *key, struct str patient, struct cds_job *job, struct error *e) {
  struct json item;
  if (!str_eqc(type_of(doc), "Bundle")) return put_resource(doc, STR_NONE, key, patient, job, e);
  for (struct json_iter it = json_items(json_get(doc, "entry")); json_next(&it, &item);) {
    struct json resource = json_get(item, "resource");
    if (json_kind(resource) == JSON_OBJECT) TRY(put_resource(resource, json_str(json_get(item, "fullUrl")), key, patient, job, e));
  }
  return OK;
}

static struct str next_page(struct json bundle) {
  struct json link;
  for (struct json_iter it = json_items(json_get(bundle, "link")); json_next(&it, &link);)
    if (str_eqc(json_str(json_get(link, "relation")), "next")) return json_str(json_get(link, "url"));
  return STR_NONE;
}

/* ---- asking the EHR: a thread for each list, because an EHR may take a tenth of a second for each ---- */

enum outcome { FETCH_NONE, FETCH_DONE, FETCH_REFUSED, FETCH_LATE };
struct errand {
  const struct cds_gather *g;
  const struct cds_query *query;
  struct buf url;
  struct fetch_answer page[PAGES];
  int pages;
  bool given, more; /* the request had a part; there were more pages than were read */
  enum outcome outcome;
  bool running;
  pthread_t thread;
};

/* {{context.patientId}} and its like; false if the context has no such member. */
static bool expand(const struct cds_gather *g, const char *query, struct buf *url) {
  buf_str(url, g->fhir);
  if (url->n && url->p[url->n - 1] != '/') buf_putc(url, '/');
  for (const char *p = query; *p;) {
    const char *end = strncmp(p, "{{", 2) == 0 ? strstr(p, "}}") : NULL;
    if (!end) {
      buf_putc(url, *p++);
      continue;
    }
    struct str token = str_trim((struct str){p + 2, (size_t)(end - p - 2)}), value = STR_NONE;
    char name[64];
    if (!str_starts(token, STR("context.")) || token.n - 8 >= sizeof name) return false;
    snprintf(name, sizeof name, "%.*s", (int)token.n - 8, token.p + 8);
    value = strcmp(name, "patientId") == 0     ? g->patient
            : strcmp(name, "encounterId") == 0 ? g->encounter
                                               : json_str(json_get(g->context, name));
    if (!value.n) return false;
    fetch_escape(url, value);
    p = end + 2;
  }
  return !url->failed;
}

/* One page; *next = the following one's address, copied into r->url. */
static enum outcome one_page(struct errand *r, struct json_parser *jp, bool *next) {
  const struct cds_gather *g = r->g;
  struct fetch_answer *a = &r->page[r->pages];
  struct json root;
  double left = g->until - time_monotonic();
  *next = false;
  if (left < 1e-3) return FETCH_LATE;
  int rc = fetch(ehr_fetcher(g->server->ehr),
                 &(struct fetch_request){.url = {r->url.p, r->url.n},
                                         .bearer = g->token,
                                         .accept = "application/fhir+json",
                                         .timeout_ms = (int)(left * 1e3) + 1, /* up, so that who times out is late by our own clock too */
                                         .most = PAGE_BYTES},
                 a, NULL);
  atomic_fetch_add(&g->server->n.cds_fetches, 1);
  if (rc < 0) return time_monotonic() >= g->until ? FETCH_LATE : FETCH_REFUSED;
  if (a->status != 200 || json_parse(jp, a->body.p, a->body.n, a->body.cap, &root, NULL) < 0 || json_kind(root) != JSON_OBJECT ||
      str_eqc(type_of(root), "OperationOutcome")) {
    fetch_release(a);
    return FETCH_REFUSED;
  }
  r->pages++;
  struct str url = next_page(root);
  if (!url.n) return FETCH_DONE;
  if (r->pages == PAGES || !ehr_fhir(g->server->ehr, url)) return r->more = true, FETCH_DONE;
  buf_clear(&r->url);
  buf_str(&r->url, url);
  *next = !r->url.failed;
  return FETCH_DONE;
}

static void *ask_main(void *ctx) {
  struct errand *r = ctx;
  struct json_parser *jp = NULL;
  bool next = true;
  r->outcome = json_parser_new(&jp, NULL) < 0 ? FETCH_REFUSED : FETCH_DONE;
  while (r->outcome == FETCH_DONE && next) {
    enum outcome page = one_page(r, jp, &next);
    if (page == FETCH_DONE) continue;
    if (r->given || r->pages)
      r->more = true; /* what came stands */
    else
      r->outcome = page;
    break;
  }
  json_parser_free(jp);
  return NULL;
}

static void release(struct errand *r, int n) {
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < r[i].pages; k++) fetch_release(&r[i].page[k]);
    if (r[i].url.p) mem_wipe(r[i].url.p, r[i].url.cap);
    buf_release(&r[i].url);
  }
}

static void run_all(struct errand *r, int n) {
  for (int i = 0; i < n; i++)
    if (r[i].url.n) r[i].running = pthread_create(&r[i].thread, NULL, ask_main, &r[i]) == 0;
  for (int i = 0; i < n; i++)
    if (r[i].running) pthread_join(r[i].thread, NULL);
}

/* ---- all of it ---- */

static void note_absent(struct cds_job *job, const char *key) {
  size_t n = strlen(job->absent);
  snprintf(job->absent + n, sizeof job->absent - n, "%s%s", n ? ", " : "", key);
}

/* What the request holds of one key; errands for what it does not hold. `r->url` is filled where the EHR is to be asked. */
static int take_given(const struct cds_gather *g, struct errand *r, bool may_ask, struct cds_job *job, struct error *e) {
  struct json v = json_get(g->prefetch, r->query->key);
  bool failed = str_eqc(type_of(v), "OperationOutcome");
  if (json_kind(v) == JSON_NULL) return r->outcome = FETCH_DONE, OK; /* the EHR says that there is none */
  if (json_kind(v) != JSON_NONE && json_kind(v) != JSON_OBJECT)
    return bad(e, r->query->key, E_INPUT, "expected a FHIR resource, a Bundle or null");
  if (json_kind(v) == JSON_OBJECT && !failed) {
    r->outcome = FETCH_DONE, r->given = true;
    TRY(put_document(v, r->query->key, g->patient, job, e));
    struct str next = next_page(v);
    r->more = next.n > 0;
    if (next.n && may_ask && ehr_fhir(g->server->ehr, next)) buf_str(&r->url, next), r->more = false;
    return OK;
  }
  if (!may_ask || !expand(g, r->query->query, &r->url)) buf_clear(&r->url);
  return OK;
}

static int take_fetched(const struct cds_gather *g, struct errand *r, struct cds_job *job, struct error *e) {
  struct json_parser *jp;
  struct json root;
  int rc = OK;
  for (int i = 0; i < r->pages && rc == OK; i++) {
    struct buf *b = &r->page[i].body;
    rc = cds_parser(job, &jp, e);
    if (rc == OK) rc = json_parse(jp, b->p, b->n, b->cap, &root, e);
    if (rc == OK) rc = put_document(root, r->query->key, g->patient, job, e);
  }
  job->cut = job->cut || r->more;
  return rc;
}

int cds_gather(const struct cds_gather *g, struct cds_job *job, struct error *e) {
  struct errand r[CDS_QUERIES];
  bool may_ask = g->fhir.n && ehr_fhir(g->server->ehr, g->fhir);
  int n = g->service->queries, rc = OK;
  memset(r, 0, sizeof r);
  for (int i = 0; i < n && rc == OK; i++) {
    r[i].g = g, r[i].query = &g->service->query[i];
    rc = take_given(g, &r[i], may_ask, job, e);
  }
  if (rc == OK) run_all(r, n);
  for (int i = 0; i < n && rc == OK; i++) {
    rc = take_fetched(g, &r[i], job, e);
    if (rc < 0 || r[i].outcome == FETCH_DONE) continue;
    if (!r[i].query->required)
      note_absent(job, r[i].query->key);
    else if (r[i].outcome == FETCH_LATE)
      rc = error_set(e, E_UNAVAILABLE, "the FHIR server did not answer in time");
    else
      rc = bad(e, r[i].query->key, E_NOTFOUND, "this is needed: neither prefetch has it nor can the FHIR server be asked for it");
  }
  release(r, n);
  return rc;
}
