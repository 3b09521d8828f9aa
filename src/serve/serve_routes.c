/* The routes: one table for the router, /openapi.json, the permission tests and the workbench's menu. */
#include <ctype.h>
#include <string.h>

#include "serve/serve_private.h"
#include "vitae.h"

static const char predict_schema[] =
    "{\"oneOf\":[{\"type\":\"object\",\"description\":\"A FHIR R4 Bundle or resource of one patient\",\"required\":[\"resourceType\"]},"
    "{\"type\":\"object\",\"properties\":{\"bundle\":{\"type\":\"object\",\"description\":\"FHIR R4 Bundle or resource\"},"
    "\"events\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"code\"],\"properties\":{\"time\":{\"type\":\"string\"},"
    "\"code\":{\"type\":\"string\"},\"value\":{\"type\":\"number\"},\"unit\":{\"type\":\"string\"}}}},\"birth\":{\"type\":\"string\","
    "\"format\":\"date\"},"
    "\"subject\":{\"type\":\"string\"},\"task\":{\"type\":\"string\"},\"futures\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":2000},"
    "\"explain\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":100},\"outcomes\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":500},"
    "\"horizon_days\":{\"type\":\"number\",\"minimum\":0,\"maximum\":36525},\"seed\":{\"type\":\"integer\"}}}]}";

static const struct route_entry table[] = {
    {{"GET", "/", ROLE_NONE, "The workbench", NULL}, answer_page, false, true},
    {{"GET", "/livez", ROLE_NONE, "Whether the process runs", NULL}, answer_live, false, true},
    {{"GET", "/readyz", ROLE_NONE, "Whether requests are taken: 200, or 503 while starting and draining", NULL}, answer_ready, false, true},
    {{"GET", "/openapi.json", ROLE_NONE, "This description", NULL}, answer_openapi, false, true},
    {{"GET", "/metrics", ROLE_VIEWER, "Measures in Prometheus' text format", NULL}, answer_metrics, false, false},
    {{"GET", "/v1/session", ROLE_VIEWER, "The key's own role and the routes that it may use", NULL}, answer_session, false, false},
    {{"GET", "/v1/model", ROLE_VIEWER, "The served version", NULL}, answer_model, false, false},
    {{"GET", "/v1/tasks", ROLE_VIEWER, "The questions that this version answers", NULL}, answer_tasks, false, false},
    {{"GET", "/v1/reports", ROLE_VIEWER, "Validation reports of this site", NULL}, answer_reports, false, false},
    {{"GET", "/v1/reports/{name}", ROLE_VIEWER, "One report: JSON, or format=html", NULL}, answer_report, false, false},
    {{"GET", "/v1/wall", ROLE_VIEWER, "What de-identification took out, by ingest", NULL}, answer_wall, false, false},
    {{"GET", "/v1/cohort", ROLE_CLINICIAN, "The subjects of the store: offset, limit, find (first digits of a pseudonym), split", NULL},
     answer_cohort,
     false,
     false},
    {{"GET", "/v1/subjects/{id}", ROLE_CLINICIAN, "One subject's timeline; limit = the latest so many events", NULL},
     answer_subject,
     false,
     false},
    {{"GET", "/v1/subjects/{id}/risk", ROLE_CLINICIAN, "Risks of one subject: task, futures, explain, outcomes, horizon_days, seed", NULL},
     answer_risk,
     true,
     false},
    {{"POST", "/v1/predict", ROLE_CLINICIAN, "Risks of one patient from a FHIR bundle or an event list; nothing is stored", predict_schema},
     answer_predict,
     true,
     false},
    {{"GET", "/v1/audit", ROLE_ADMIN, "The latest audit rows and the chain's head; limit", NULL}, answer_audit, false, false},
};
enum { ROUTES = sizeof table / sizeof *table };
_Static_assert((int)ROUTES <= (int)ROUTES_MAX, "the counters have a row for every route");

static struct route rows[ROUTES];
static void copy_rows(void) {
  for (int i = 0; i < ROUTES; i++) rows[i] = table[i].route;
}
const struct route *serve_routes(int *n) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, copy_rows);
  *n = ROUTES;
  return rows;
}

const struct route_entry *route_at(int i) { return &table[i]; }

/* "{x}" in the pattern matches one segment, kept in arg. */
static bool match(const char *pattern, const char *path, char arg[128]) {
  while (*pattern) {
    if (*pattern != '{') {
      if (*pattern++ != *path++) return false;
      continue;
    }
    size_t n = strcspn(path, "/");
    if (n == 0 || n >= 128) return false;
    memcpy(arg, path, n);
    arg[n] = 0;
    path += n;
    pattern = strchr(pattern, '}') + 1;
  }
  return *path == 0;
}

int route_find(const char *method, const char *path, char arg[128], char allow[64]) {
  bool here = false, head = strcmp(method, "HEAD") == 0;
  allow[0] = 0;
  for (int i = 0; i < ROUTES; i++) {
    const char *m = table[i].route.method;
    if (!match(table[i].route.path, path, arg)) continue;
    if (strcmp(m, method) == 0 || (head && strcmp(m, "GET") == 0)) return i;
    here = true;
    snprintf(allow + strlen(allow), 64 - strlen(allow), "%s%s", allow[0] ? ", " : "", strcmp(m, "GET") == 0 ? "GET, HEAD" : m);
  }
  return here ? -2 : -1;
}

/* ---- OpenAPI 3.1 ---- */

static void kv_ref(struct json_out *o, const char *status, const char *description, const char *schema) {
  json_out_key(o, status);
  json_out_object(o);
  json_kv_c(o, "description", description);
  if (schema) {
    json_out_key(o, "content");
    json_out_raw(o, str_c(schema));
  }
  json_out_end(o);
}

static void parameters(const struct route *r, struct json_out *o) {
  static const struct {
    const char *path, *names[8];
  } query[] = {{"/v1/cohort", {"offset", "limit", "find", "split"}},
               {"/v1/subjects/{id}", {"limit"}},
               {"/v1/subjects/{id}/risk", {"task", "futures", "explain", "outcomes", "horizon_days", "seed"}},
               {"/v1/predict", {"task", "futures", "explain", "outcomes", "horizon_days", "seed"}},
               {"/v1/reports/{name}", {"format"}},
               {"/v1/audit", {"limit"}}};
  json_out_key(o, "parameters");
  json_out_array(o);
  const char *at = strchr(r->path, '{'), *end = at ? strchr(at, '}') : NULL;
  if (at && end) {
    json_out_object(o);
    json_kv_str(o, "name", (struct str){at + 1, (size_t)(end - at - 1)});
    json_kv_c(o, "in", "path");
    json_kv_bool(o, "required", true);
    json_out_key(o, "schema");
    json_out_raw(o, STR("{\"type\":\"string\"}"));
    json_out_end(o);
  }
  for (size_t i = 0; i < sizeof query / sizeof *query; i++)
    for (int k = 0; strcmp(query[i].path, r->path) == 0 && k < 8 && query[i].names[k]; k++) {
      json_out_object(o);
      json_kv_c(o, "name", query[i].names[k]);
      json_kv_c(o, "in", "query");
      json_out_key(o, "schema");
      json_out_raw(o, STR("{\"type\":\"string\"}"));
      json_out_end(o);
    }
  json_out_end(o);
}

static void operation(const struct route *r, struct json_out *o) {
  static const char failure[] = "{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/Error\"}}}";
  char method[8];
  size_t n = 0;
  for (; n < 7 && r->method[n]; n++) method[n] = (char)tolower((unsigned char)r->method[n]);
  method[n] = 0;
  json_out_key(o, method);
  json_out_object(o);
  json_kv_c(o, "summary", r->summary);
  json_kv_c(o, "x-role", role_name[r->role]);
  parameters(r, o);
  json_out_key(o, "security");
  json_out_raw(o, r->role == ROLE_NONE ? STR("[]") : STR("[{\"bearer\":[]},{\"header\":[]}]"));
  if (r->body_schema) {
    json_out_key(o, "requestBody");
    json_out_object(o);
    json_kv_bool(o, "required", true);
    json_out_key(o, "content");
    json_out_object(o);
    for (int i = 0; i < 2; i++) {
      json_out_key(o, i ? "application/fhir+json" : "application/json");
      json_out_object(o);
      json_out_key(o, "schema");
      json_out_raw(o, str_c(r->body_schema));
      json_out_end(o);
    }
    json_out_end(o);
    json_out_end(o);
  }
  json_out_key(o, "responses");
  json_out_object(o);
  kv_ref(o, "200", "The answer", NULL);
  kv_ref(o, "default", "A failure", failure);
  json_out_end(o);
  json_out_end(o);
}

void openapi_text(struct buf *out) {
  struct json_out o;
  json_out_init(&o, out, false);
  json_out_object(&o);
  json_kv_c(&o, "openapi", "3.1.0");
  json_out_key(&o, "info");
  json_out_object(&o);
  json_kv_c(&o, "title", "Vitae");
  json_kv_c(&o, "version", vitae_version());
  json_out_end(&o);
  json_out_key(&o, "paths");
  json_out_object(&o);
  for (int i = 0; i < ROUTES; i++) { /* every path has one method */
    json_out_key(&o, table[i].route.path);
    json_out_object(&o);
    operation(&table[i].route, &o);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_key(&o, "components");
  json_out_raw(&o, STR("{\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\"},\"header\":{\"type\":\"apiKey\",\"in\":"
                       "\"header\",\"name\":\"api-key\"}},"
                       "\"schemas\":{\"Error\":{\"type\":\"object\",\"properties\":{\"error\":{\"type\":\"object\",\"properties\":{"
                       "\"code\":{\"type\":\"string\"},"
                       "\"message\":{\"type\":\"string\"},\"field\":{\"type\":[\"string\",\"null\"]}}}}}}}"));
  json_out_end(&o);
}
