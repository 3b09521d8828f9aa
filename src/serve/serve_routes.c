/* The routes: one table for the router, /openapi.json, the permission tests and the workbench's menu. */
#include <string.h>

#include "serve/serve_private.h"

static const char predict_schema[] =
    "{\"oneOf\":[{\"type\":\"object\",\"description\":\"A FHIR R4 Bundle or resource of one patient\",\"required\":[\"resourceType\"]},"
    "{\"type\":\"object\",\"properties\":{\"bundle\":{\"type\":\"object\",\"description\":\"FHIR R4 Bundle or resource\"},"
    "\"events\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"code\"],\"properties\":{\"time\":{\"type\":\"string\"},"
    "\"code\":{\"type\":\"string\"},\"value\":{\"type\":\"number\"},\"unit\":{\"type\":\"string\"}}}},\"birth\":{\"type\":\"string\","
    "\"format\":\"date\"},"
    "\"subject\":{\"type\":\"string\"},\"task\":{\"type\":\"string\"},\"futures\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":2000},"
    "\"explain\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":100},\"outcomes\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":500},"
    "\"horizon_days\":{\"type\":\"number\",\"minimum\":0,\"maximum\":36525},\"seed\":{\"type\":\"integer\"}}}]}";

static const char ask_schema[] =
    "{\"type\":\"object\",\"required\":[\"question\"],\"properties\":{\"question\":{\"type\":\"string\",\"maxLength\":2000},\"subject\":{"
    "\"type\":\"string\",\"description\":\"A pseudonym; without it the question is about the whole "
    "store\"},\"model\":{\"type\":\"string\",\"description\":\"A language model of the site that may add "
    "sentences\"},\"encoder\":{\"type\":\"string\"},\"rounds\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":8},\"unsupported\":{"
    "\"type\":\"boolean\"}}}";
static const char draft_schema[] =
    "{\"type\":\"object\",\"required\":[\"kind\"],\"properties\":{\"kind\":{\"type\":\"string\",\"description\":\"visit, referral, "
    "discharge, or a "
    "document of the site's own\"},\"tasks\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"description\":\"Questions whose answers "
    "stand in "
    "it; without it all that the version offers\"}}}";
static const char feedback_schema[] =
    "{\"type\":\"object\",\"required\":[\"draft\",\"kind\",\"generation\",\"version\",\"sentences\"],\"properties\":{\"draft\":{\"type\":"
    "\"string\"},"
    "\"kind\":{\"type\":\"string\"},\"generation\":{\"type\":\"string\"},\"version\":{\"type\":\"string\"},\"sentences\":{\"type\":"
    "\"array\",\"maxItems\":500,"
    "\"items\":{\"type\":\"object\",\"required\":[\"id\",\"rule\",\"text\",\"final\"],\"properties\":{\"id\":{\"type\":\"string\"},"
    "\"rule\":{\"type\":"
    "\"string\"},\"text\":{\"type\":\"string\"},\"events\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"final\":{\"type\":["
    "\"string\",\"null\"]}}}},"
    "\"added\":{\"type\":\"array\",\"maxItems\":500,\"items\":{\"type\":\"object\",\"required\":[\"after\",\"text\"],\"properties\":{"
    "\"after\":{\"type\":"
    "\"string\"},\"text\":{\"type\":\"string\"}}}}}}";
static const char differential_schema[] =
    "{\"type\":\"object\",\"description\":\"Findings, or a "
    "phenopacket\",\"properties\":{\"hpo\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
    "\"hpo_excluded\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"genes\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
    "\"top\":{\"type\":"
    "\"integer\",\"minimum\":1,\"maximum\":100}}}";
static const char calculate_schema[] =
    "{\"type\":\"object\",\"required\":[\"inputs\"],\"properties\":{\"inputs\":{\"type\":\"object\",\"description\":\"By name: \\\"88 "
    "umol/L\\\", a number in "
    "the input's own unit, a choice, a day, true or false\"}}}";
static const char chat_schema[] =
    "{\"type\":\"object\",\"required\":[\"messages\"],\"properties\":{\"model\":{\"type\":\"string\"},\"messages\":{\"type\":\"array\","
    "\"minItems\":1,\"items\":{\"type\":\"object\",\"required\":[\"role\"],\"properties\":{\"role\":{\"type\":\"string\"},\"content\":{"
    "\"description\":"
    "\"The last user or tool message holds the patient as JSON text: a FHIR R4 Bundle or {bundle | events, task, explain, outcomes}\"}}}},"
    "\"response_format\":{\"type\":\"object\"},\"stream\":{\"type\":\"boolean\"},\"tools\":{\"type\":\"array\"}}}";
static const char responses_schema[] =
    "{\"type\":\"object\",\"required\":[\"input\"],\"properties\":{\"model\":{\"type\":\"string\"},\"input\":{},\"text\":{\"type\":"
    "\"object\"},"
    "\"stream\":{\"type\":\"boolean\"}}}";
static const char embeddings_schema[] =
    "{\"type\":\"object\",\"required\":[\"input\"],\"properties\":{\"model\":{\"type\":\"string\"},\"input\":{\"description\":\"A patient "
    "as JSON text, or "
    "a list of "
    "them\"},\"dimensions\":{\"type\":\"integer\"},\"encoding_format\":{\"enum\":[\"float\",\"base64\"]},\"pooling\":{\"enum\":[\"last\","
    "\"mean\"]}}}";
static const char score_schema[] =
    "{\"type\":\"object\",\"required\":[\"input_data\"],\"properties\":{\"input_data\":{\"type\":\"object\",\"required\":[\"columns\","
    "\"data\"],"
    "\"properties\":{\"columns\":{\"type\":\"array\",\"items\":{\"enum\":[\"patient\",\"task\"]}},\"index\":{\"type\":\"array\"},\"data\":{"
    "\"type\":\"array\"}}},"
    "\"params\":{\"type\":[\"object\",\"null\"]}}}";

static const char fhir_schema[] =
    "{\"type\":\"object\",\"description\":\"A FHIR R4 Bundle or resource of one patient, or Parameters with patient, task, explain, "
    "outcomes\",\"required\":[\"resourceType\"]}";
static const char cds_schema[] =
    "{\"type\":\"object\",\"required\":[\"hook\",\"hookInstance\",\"context\"],\"properties\":{\"hook\":{\"enum\":[\"patient-view\","
    "\"order-select\",\"order-sign\"]},\"hookInstance\":{\"type\":\"string\",\"format\":\"uuid\"},\"context\":{\"type\":\"object\","
    "\"required\":[\"userId\",\"patientId\"]},\"fhirServer\":{\"type\":\"string\"},\"fhirAuthorization\":{\"type\":\"object\"},"
    "\"prefetch\":{\"type\":\"object\"}}}";
static const char cds_feedback_schema[] =
    "{\"type\":\"object\",\"required\":[\"feedback\"],\"properties\":{\"feedback\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":"
    "\"object\",\"required\":[\"card\",\"outcome\",\"outcomeTimestamp\"]}}}}";

#define A(f, how) f, how, NULL, NULL /* admitted by key or token, no errand */
/* method, path, plane, scope, dialect, quota, summary, schema; answer; how; own admission; errand */
static const struct route_entry table[] = {
    {{"GET", "/", PLANE_HOSPITAL, SCOPE_OPEN, DIALECT_OWN, QUOTA_NONE, "The workbench", NULL}, A(answer_page, AT_ONCE)},
    {{"GET", "/livez", PLANE_BOTH, SCOPE_OPEN, DIALECT_OWN, QUOTA_NONE, "Whether the process runs", NULL}, A(answer_live, AT_ONCE)},
    {{"GET", "/readyz", PLANE_BOTH, SCOPE_OPEN, DIALECT_OWN, QUOTA_NONE,
      "Whether requests are taken: 200, or 503 while starting and draining, and while no version is live", NULL},
     A(answer_ready, AT_ONCE)},
    {{"GET", "/openapi.json", PLANE_BOTH, SCOPE_OPEN, DIALECT_OWN, QUOTA_NONE, "This description", NULL}, A(answer_openapi, AT_ONCE)},
    {{"GET", "/healthz/generate", PLANE_HOSPITAL, SCOPE_OPEN, DIALECT_OWN, QUOTA_NONE,
      "Whether the model really answers: a forward pass, at most one in five seconds", NULL},
     A(answer_generate, BY_MODEL)},
    {{"GET", "/metrics", PLANE_HOSPITAL, SCOPE_READ, DIALECT_OWN, QUOTA_NONE, "Measures in Prometheus' text format", NULL},
     A(answer_metrics, AT_DESK)},
    {{"GET", "/v1/session", PLANE_HOSPITAL, SCOPE_READ, DIALECT_OWN, QUOTA_NONE, "The key's own role and the routes that it may use", NULL},
     A(answer_session, LIGHT)},
    {{"GET", "/v1/model", PLANE_HOSPITAL, SCOPE_READ, DIALECT_OWN, QUOTA_NONE, "The served version", NULL}, A(answer_model, LIGHT)},
    {{"GET", "/v1/tasks", PLANE_HOSPITAL, SCOPE_READ, DIALECT_OWN, QUOTA_NONE, "The questions that this version answers", NULL},
     A(answer_tasks, LIGHT)},
    {{"GET", "/v1/reports", PLANE_HOSPITAL, SCOPE_READ, DIALECT_OWN, QUOTA_NONE, "Validation reports of this site", NULL},
     A(answer_reports, AT_DESK)},
    {{"GET", "/v1/reports/{name}", PLANE_HOSPITAL, SCOPE_READ, DIALECT_OWN, QUOTA_NONE, "One report: JSON, or format=html", NULL},
     A(answer_report, AT_DESK)},
    {{"GET", "/v1/wall", PLANE_HOSPITAL, SCOPE_READ, DIALECT_OWN, QUOTA_NONE, "What de-identification took out, by ingest", NULL},
     A(answer_wall, AT_DESK)},
    {{"GET", "/v1/cohort", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "The subjects of the store: offset, limit, find (first digits of a pseudonym), split", NULL},
     A(answer_cohort, AT_DESK)},
    {{"GET", "/v1/subjects/{id}", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "One subject's timeline; limit = the latest so many events", NULL},
     A(answer_subject, AT_DESK)},
    {{"GET", "/v1/subjects/{id}/risk", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "Risks of one subject: task, futures, explain, outcomes, horizon_days, seed", NULL},
     A(answer_risk, BY_MODEL)},
    {{"POST", "/v1/predict", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "Risks of one patient from a FHIR bundle or an event list; nothing is stored", predict_schema},
     A(answer_predict, BY_MODEL)},
    {{"POST", "/v1/ask", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "A question about a subject or the store, answered in sentences that cite events", ask_schema},
     A(answer_ask, BY_MODEL)},
    {{"POST", "/v1/subjects/{id}/draft", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "A document about a subject from its timeline, every sentence with its events", draft_schema},
     A(answer_draft, BY_MODEL)},
    {{"POST", "/v1/subjects/{id}/draft/feedback", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "What a clinician made of a draft, sentence by sentence: a file in the inbox", feedback_schema},
     A(answer_draft_feedback, AT_DESK)},
    {{"GET", "/v1/differential/knowledge", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "What this site knows of diseases: ontology, annotations, cases", NULL},
     A(answer_knowledge, AT_DESK)},
    {{"POST", "/v1/differential", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "Findings to ranked diseases: odds, evidence, what to look for next; nothing is stored", differential_schema},
     A(answer_differential, AT_DESK)},
    {{"GET", "/v1/terms", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE,
      "Terms of the ontology by words of their names: find, limit", NULL},
     A(answer_terms, AT_DESK)},
    {{"GET", "/v1/calculators", PLANE_HOSPITAL, SCOPE_READ, DIALECT_OWN, QUOTA_NONE, "Clinical calculators with their inputs and sources",
      NULL},
     A(answer_calculators, AT_DESK)},
    {{"POST", "/v1/calculators/{calculator}", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_OWN, QUOTA_NONE, "One calculation; nothing is stored",
      calculate_schema},
     A(answer_calculate, AT_DESK)},
    {{"GET", "/v1/audit", PLANE_HOSPITAL, SCOPE_ADMIN, DIALECT_OWN, QUOTA_NONE,
      "The latest audit rows and the chain's head: limit, before, key, tenant, request, status", NULL},
     A(answer_audit, AT_DESK)},
    {{"GET", "/v1/keys", PLANE_HOSPITAL, SCOPE_ADMIN, DIALECT_OWN, QUOTA_NONE, "The keys: ids, roles, tenants, quotas; never a key", NULL},
     A(answer_keys, AT_DESK)},
    {{"GET", "/v1/usage", PLANE_HOSPITAL, SCOPE_ADMIN, DIALECT_OWN, QUOTA_NONE, "Requests and tokens by key; days = how far back", NULL},
     A(answer_usage, AT_DESK)},
    {{"GET", "/v1/live", PLANE_HOSPITAL, SCOPE_ADMIN, DIALECT_OWN, QUOTA_NONE, "Requests that are under way", NULL},
     A(answer_live_requests, AT_DESK)},
    {{"GET", "/v1/deployments", PLANE_HOSPITAL, SCOPE_ADMIN, DIALECT_OWN, QUOTA_NONE, "Versions in use, by the names that clients call",
      NULL},
     A(answer_deployments, AT_DESK)},
    {{"GET", "/fhir/metadata", PLANE_HOSPITAL, SCOPE_OPEN, DIALECT_FHIR, QUOTA_NONE, "FHIR R4: what this server can", NULL},
     A(answer_fhir_metadata, AT_ONCE)},
    {{"GET", "/fhir/OperationDefinition/predict", PLANE_HOSPITAL, SCOPE_OPEN, DIALECT_FHIR, QUOTA_NONE, "FHIR R4: what $predict takes",
      NULL},
     A(answer_fhir_operation, AT_ONCE)},
    {{"POST", "/fhir/$predict", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_FHIR, QUOTA_NONE,
      "FHIR R4: RiskAssessment, GuidanceResponse, Device and Provenance for the patient of a Bundle; nothing is stored", fhir_schema},
     A(answer_fhir_predict, BY_MODEL)},
    {{"GET", "/fhir/RiskAssessment", PLANE_HOSPITAL, SCOPE_PATIENT, DIALECT_FHIR, QUOTA_NONE,
      "FHIR R4: risks of a subject of the store: patient (a pseudonym), task, explain, outcomes", NULL},
     A(answer_fhir_assess, BY_MODEL)},
    {{"GET", "/fhir/Device", PLANE_HOSPITAL, SCOPE_READ, DIALECT_FHIR, QUOTA_NONE, "FHIR R4: the version in use, as a Device", NULL},
     A(answer_fhir_devices, LIGHT)},
    {{"GET", "/fhir/Device/{device}", PLANE_HOSPITAL, SCOPE_READ, DIALECT_FHIR, QUOTA_NONE, "FHIR R4: one version", NULL},
     A(answer_fhir_device, LIGHT)},
    {{"GET", "/fhir/AuditEvent", PLANE_HOSPITAL, SCOPE_ADMIN, DIALECT_FHIR, QUOTA_NONE, "FHIR R4: the latest audit rows: _count, before",
      NULL},
     A(answer_fhir_events, AT_DESK)},
    {{"GET", "/fhir/AuditEvent/{event}", PLANE_HOSPITAL, SCOPE_ADMIN, DIALECT_FHIR, QUOTA_NONE, "FHIR R4: one audit row", NULL},
     A(answer_fhir_event, AT_DESK)},
    {{"GET", "/cds-services", PLANE_HOSPITAL, SCOPE_CDS, DIALECT_CDS, QUOTA_NONE, "CDS Hooks: the services that there are", NULL},
     A(answer_cds_services, LIGHT)},
    {{"POST", "/cds-services/{id}", PLANE_HOSPITAL, SCOPE_CDS, DIALECT_CDS, QUOTA_NONE, "CDS Hooks: a hook fired; cards", cds_schema},
     answer_cds,
     BY_MODEL,
     NULL,
     errand_cds},
    {{"POST", "/cds-services/{id}/feedback", PLANE_HOSPITAL, SCOPE_CDS, DIALECT_CDS, QUOTA_NONE, "CDS Hooks: what became of cards",
      cds_feedback_schema},
     A(answer_cds_feedback, AT_DESK)},
    {{"GET", "/smart/launch", PLANE_HOSPITAL, SCOPE_OPEN, DIALECT_OWN, QUOTA_NONE,
      "SMART App Launch: iss, launch; goes on to the EHR's login", NULL},
     answer_smart,
     AT_DESK,
     admit_smart,
     errand_smart_launch},
    {{"GET", "/smart/callback", PLANE_HOSPITAL, SCOPE_OPEN, DIALECT_OWN, QUOTA_NONE,
      "SMART App Launch: code, state; goes on to the workbench", NULL},
     answer_smart,
     AT_DESK,
     admit_smart,
     errand_smart_callback},
    {{"GET", "/v1/launch", PLANE_HOSPITAL, SCOPE_LAUNCH, DIALECT_OWN, QUOTA_NONE,
      "What the app was opened with, and the questions there are", NULL},
     answer_launch,
     AT_DESK,
     admit_launch,
     NULL},
    {{"GET", "/v1/launch/patient", PLANE_HOSPITAL, SCOPE_LAUNCH, DIALECT_OWN, QUOTA_NONE,
      "The launched patient, read from the EHR and through the wall in memory: task, futures, explain, outcomes, horizon_days, seed", NULL},
     answer_launch_patient,
     BY_MODEL,
     admit_launch,
     errand_launch},
    {{"GET", "/", PLANE_DEVELOPER, SCOPE_OPEN, DIALECT_SCORE, QUOTA_NONE, "Whether the endpoint lives", NULL}, A(answer_root, AT_ONCE)},
    {{"GET", "/swagger.json", PLANE_DEVELOPER, SCOPE_OPEN, DIALECT_SCORE, QUOTA_NONE, "This description", NULL},
     A(answer_openapi, AT_ONCE)},
    {{"GET", "/usage", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_NONE, "The tenant's requests and tokens; days = how far back",
      NULL},
     A(answer_usage, AT_DESK)},
    {{"GET", "/openai/v1/models", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_READ, "Deployments that this key may use", NULL},
     A(answer_models, LIGHT)},
    {{"GET", "/openai/v1/models/{model}", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_READ, "One deployment", NULL},
     A(answer_one_model, LIGHT)},
    {{"POST", "/openai/v1/chat/completions", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_MODEL,
      "A chat; stream by server-sent events", chat_schema},
     A(answer_chat, BY_MODEL)},
    {{"POST", "/openai/v1/responses", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_MODEL,
      "A response; stream by server-sent events; nothing is stored", responses_schema},
     A(answer_responses, BY_MODEL)},
    {{"POST", "/openai/v1/embeddings", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_MODEL, "Embeddings of patients",
      embeddings_schema},
     A(answer_embeddings, BY_MODEL)},
    {{"GET", "/v1/models", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_READ, "Deployments that this key may use", NULL},
     A(answer_models, LIGHT)},
    {{"GET", "/v1/models/{model}", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_READ, "One deployment", NULL},
     A(answer_one_model, LIGHT)},
    {{"POST", "/v1/chat/completions", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_MODEL, "A chat; stream by server-sent events",
      chat_schema},
     A(answer_chat, BY_MODEL)},
    {{"POST", "/v1/responses", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_MODEL,
      "A response; stream by server-sent events; nothing is stored", responses_schema},
     A(answer_responses, BY_MODEL)},
    {{"POST", "/v1/embeddings", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_OPENAI, QUOTA_MODEL, "Embeddings of patients", embeddings_schema},
     A(answer_embeddings, BY_MODEL)},
    {{"GET", "/openai/models", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_AZURE, QUOTA_READ, "Deployments that this key may use; api-version",
      NULL},
     A(answer_models, LIGHT)},
    {{"GET", "/openai/models/{model}", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_AZURE, QUOTA_READ, "One deployment; api-version", NULL},
     A(answer_one_model, LIGHT)},
    {{"POST", "/openai/deployments/{deployment}/chat/completions", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_AZURE, QUOTA_MODEL,
      "A chat with a deployment; api-version", chat_schema},
     A(answer_chat, BY_MODEL)},
    {{"POST", "/openai/deployments/{deployment}/embeddings", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_AZURE, QUOTA_MODEL,
      "Embeddings by a deployment; api-version", embeddings_schema},
     A(answer_embeddings, BY_MODEL)},
    {{"POST", "/openai/responses", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_AZURE, QUOTA_MODEL, "A response; api-version", responses_schema},
     A(answer_responses, BY_MODEL)},
    {{"GET", "/models/info", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_INFERENCE, QUOTA_READ, "What a deployment is; api-version, model", NULL},
     A(answer_model_info, LIGHT)},
    {{"POST", "/models/chat/completions", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_INFERENCE, QUOTA_MODEL, "A chat; api-version", chat_schema},
     A(answer_chat, BY_MODEL)},
    {{"POST", "/models/embeddings", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_INFERENCE, QUOTA_MODEL, "Embeddings of patients; api-version",
      embeddings_schema},
     A(answer_embeddings, BY_MODEL)},
    {{"GET", "/info", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_INFERENCE, QUOTA_READ, "What a deployment is; api-version, model", NULL},
     A(answer_model_info, LIGHT)},
    {{"POST", "/chat/completions", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_INFERENCE, QUOTA_MODEL, "A chat; api-version", chat_schema},
     A(answer_chat, BY_MODEL)},
    {{"POST", "/embeddings", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_INFERENCE, QUOTA_MODEL, "Embeddings of patients; api-version",
      embeddings_schema},
     A(answer_embeddings, BY_MODEL)},
    {{"POST", "/score", PLANE_DEVELOPER, SCOPE_INFER, DIALECT_SCORE, QUOTA_MODEL, "Rows of patients: risk, embeddings, explanation",
      score_schema},
     A(answer_score, BY_MODEL)},
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

int route_find(enum plane plane, const char *method, const char *path, char arg[128], char allow[64]) {
  bool here = false, head = strcmp(method, "HEAD") == 0;
  allow[0] = 0;
  for (int i = 0; i < ROUTES; i++) {
    const char *m = table[i].route.method;
    if (!(table[i].route.plane & plane) || !match(table[i].route.path, path, arg)) continue;
    if (strcmp(m, method) == 0 || (head && strcmp(m, "GET") == 0)) return i;
    here = true;
    snprintf(allow + strlen(allow), 64 - strlen(allow), "%s%s", allow[0] ? ", " : "", strcmp(m, "GET") == 0 ? "GET, HEAD" : m);
  }
  return here ? -2 : -1;
}

enum dialect route_dialect(enum plane plane, const char *path) {
  char arg[128];
  for (int i = 0; i < ROUTES; i++)
    if ((table[i].route.plane & plane) && match(table[i].route.path, path, arg)) return table[i].route.dialect;
  if (plane == PLANE_DEVELOPER) return DIALECT_OPENAI;
  return strncmp(path, "/fhir/", 6) == 0 ? DIALECT_FHIR : strncmp(path, "/cds-services/", 14) == 0 ? DIALECT_CDS : DIALECT_OWN;
}
