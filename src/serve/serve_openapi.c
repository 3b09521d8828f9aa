/* OpenAPI 3.1 from the routes table. */
#include <ctype.h>
#include <string.h>

#include "serve/serve_private.h"
#include "vitae.h"

static const char *const scope_name[6] = {"read", "patient", "admin", "infer", "cds", "launch"};

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

static void query_parameter(const char *name, bool needed, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "name", name);
  json_kv_c(o, "in", "query");
  if (needed) json_kv_bool(o, "required", true);
  json_out_key(o, "schema");
  json_out_raw(o, STR("{\"type\":\"string\"}"));
  json_out_end(o);
}

static void parameters(const struct route *r, struct json_out *o) {
  static const struct {
    const char *path, *names[8];
  } query[] = {{"/v1/usage", {"days"}},
               {"/usage", {"days"}},
               {"/models/info", {"model"}},
               {"/info", {"model"}},
               {"/v1/cohort", {"offset", "limit", "find", "split"}},
               {"/v1/subjects/{id}", {"limit"}},
               {"/v1/subjects/{id}/risk", {"task", "futures", "explain", "outcomes", "horizon_days", "seed"}},
               {"/smart/launch", {"iss", "launch"}},
               {"/smart/callback", {"code", "state", "error"}},
               {"/v1/launch/patient", {"task", "futures", "explain", "outcomes", "horizon_days", "seed"}},
               {"/v1/predict", {"task", "futures", "explain", "outcomes", "horizon_days", "seed"}},
               {"/fhir/$predict", {"task", "explain", "outcomes", "seed"}},
               {"/fhir/RiskAssessment", {"patient", "patient.identifier", "task", "explain", "outcomes", "seed"}},
               {"/fhir/AuditEvent", {"_count", "before"}},
               {"/v1/reports/{name}", {"format"}},
               {"/v1/terms", {"find", "limit"}},
               {"/v1/audit", {"limit", "before", "key", "tenant", "request", "status"}}};
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
    for (int k = 0; strcmp(query[i].path, r->path) == 0 && k < 8 && query[i].names[k]; k++) query_parameter(query[i].names[k], false, o);
  if (r->dialect == DIALECT_AZURE || r->dialect == DIALECT_INFERENCE) query_parameter("api-version", true, o);
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
  json_kv_c(o, "x-plane", r->plane == PLANE_BOTH ? "both" : r->plane == PLANE_HOSPITAL ? "hospital" : "developer");
  json_kv_c(o, "x-dialect", dialect_name[r->dialect]);
  json_out_key(o, "x-scopes");
  json_out_array(o);
  for (int i = 0; i < 6; i++)
    if (r->scope & (1u << i)) json_out_c(o, scope_name[i]);
  json_out_end(o);
  parameters(r, o);
  json_out_key(o, "security");
  json_out_raw(o, r->scope == SCOPE_OPEN ? STR("[]") : STR("[{\"bearer\":[]},{\"header\":[]}]"));
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

static bool has_path(enum plane plane, int before, const char *path) {
  int n;
  const struct route *r = serve_routes(&n);
  for (int i = 0; i < before; i++)
    if ((r[i].plane & plane) && strcmp(r[i].path, path) == 0) return true;
  return false;
}

void openapi_text(enum plane plane, struct buf *out) {
  int n;
  const struct route *r = serve_routes(&n);
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
  for (int i = 0; i < n; i++) {
    if (!(r[i].plane & plane) || has_path(plane, i, r[i].path)) continue;
    json_out_key(&o, r[i].path);
    json_out_object(&o);
    for (int k = i; k < n; k++)
      if ((r[k].plane & plane) && strcmp(r[k].path, r[i].path) == 0) operation(&r[k], &o);
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
