/* One failure, in the words of each dialect. A message names a field, never a value. */
#include <string.h>

#include "serve/serve_stream.h"

const char *const dialect_name[DIALECTS] = {"own", "openai", "azure", "inference", "score", "fhir", "cds"};

static void kv_or_null(struct json_out *o, const char *key, const char *value) {
  json_out_key(o, key);
  if (value)
    json_out_c(o, value);
  else
    json_out_null(o);
}

static void own_envelope(const char *code, const char *field, const char *message, struct json_out *o) {
  json_out_object(o);
  json_out_key(o, "error");
  json_out_object(o);
  json_kv_c(o, "code", code);
  json_kv_c(o, "message", message);
  kv_or_null(o, "field", field);
  json_out_end(o);
  json_out_end(o);
}

/* Our own codes as Azure spells them; codes that begin with a capital letter or stand for themselves pass. */
static const char *azure_code(int status, const char *code) {
  static const struct {
    const char *ours, *theirs;
  } table[] = {
      {"input", "BadRequest"},      {"usage", "BadRequest"},        {"unauthorized", "401"},      {"denied", "Forbidden"},
      {"notfound", "NotFound"},     {"method", "MethodNotAllowed"}, {"limit", "RequestTooLarge"}, {"mediatype", "UnsupportedMediaType"},
      {"cancelled", "ClientClosed"}};
  if (status == 429) return "429";
  if (status == 503) return "ServiceUnavailable";
  if (status >= 500) return "InternalServerError";
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (strcmp(table[i].ours, code) == 0) return table[i].theirs;
  return code;
}

static const char *type_of(int status) {
  return status == 401   ? "authentication_error"
         : status == 403 ? "permission_error"
         : status == 429 ? "rate_limit_error"
         : status >= 500 ? "server_error"
                         : "invalid_request_error";
}

/* The envelope of OpenAI and Azure; in the Model Inference dialect a 422 also has the older members beside it. */
static void azure_envelope(bool inference, int status, const char *code, const char *field, const char *message, struct json_out *o) {
  json_out_object(o);
  json_out_key(o, "error");
  json_out_object(o);
  json_kv_c(o, "code", code);
  json_kv_c(o, "message", message);
  json_kv_c(o, "type", type_of(status));
  kv_or_null(o, "param", field);
  json_out_end(o);
  if (inference && status == 422) {
    json_kv_i64(o, "status", status);
    json_kv_c(o, "code", code);
    json_kv_c(o, "message", message);
    json_out_key(o, "detail");
    json_out_array(o);
    json_out_object(o);
    json_out_key(o, "loc");
    json_out_array(o);
    json_out_c(o, "body");
    if (field) json_out_c(o, field);
    json_out_end(o);
    json_out_key(o, "input");
    json_out_null(o);
    json_out_end(o);
    json_out_end(o);
  }
  json_out_end(o);
}

/* In a stream of the Responses API: an event like its others. */
static void event_envelope(const struct call *c, const char *code, const char *field, const char *message, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "type", "error");
  json_kv_i64(o, "sequence_number", c->events);
  json_kv_c(o, "code", code);
  json_kv_c(o, "message", message);
  kv_or_null(o, "param", field);
  json_out_end(o);
}

static void outcome_envelope(int status, const char *field, const char *message, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "resourceType", "OperationOutcome");
  json_out_key(o, "issue");
  json_out_array(o);
  json_out_object(o);
  json_kv_c(o, "severity", "error");
  json_kv_c(o, "code",
            status == 401   ? "login"
            : status == 403 ? "forbidden"
            : status == 404 ? "not-found"
            : status == 405 ? "not-supported"
            : status == 429 ? "throttled"
            : status >= 500 ? "exception"
                            : "invalid");
  json_kv_c(o, "diagnostics", message);
  if (field) {
    json_out_key(o, "expression");
    json_out_array(o);
    json_out_c(o, field);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
  json_out_end(o);
}

void error_envelope(struct call *c, enum dialect d, int status, const char *code, const char *field, const char *message,
                    struct json_out *o) {
  switch (d) {
    case DIALECT_OPENAI:
    case DIALECT_AZURE:
    case DIALECT_INFERENCE:
    case DIALECT_SCORE:
      code = azure_code(status, code);
      if (c->events && stream_runs(c))
        event_envelope(c, code, field, message, o);
      else
        azure_envelope(d == DIALECT_INFERENCE, status, code, field, message, o);
      break;
    case DIALECT_CDS:
    case DIALECT_FHIR: outcome_envelope(status, field, message, o); break;
    default: own_envelope(code, field, message, o);
  }
  snprintf(c->code, sizeof c->code, "%s", code);
}
