/* A language model that another server runs (vLLM, llama.cpp, another Vitae, a cloud's deployment), asked in OpenAI's dialect. Behind serve_voice.h it is a
 * voice like any other: the same tools, checks, citations and audit; only the words come from elsewhere.
 *
 *     {"name": "big", "family": "upstream", "upstream": {"url": "https://llm.hospital.example/v1", "model": "qwen3-32b",
 *      "key_file": "/etc/vitae/llm.key", "ca": "/etc/vitae/ca.pem", "context": 32768}}                       // description.json, by `vitae import URL`
 *
 * Prompts leave this machine: that one address is all that is ever asked (serve_fetch.h), https except on loopback. The key is read from its file at
 * every request and is in no message. Answers stream; a client that leaves ends them at the next piece.
 * Errors: E_UNAVAILABLE (no answer, a refused key), E_BUSY (429), E_INPUT (the request is refused), E_LIMIT, E_CANCELLED.
 */
#ifndef SERVE_UPSTREAM_H
#define SERVE_UPSTREAM_H
#include "base/json.h"
#include "serve/serve_voice.h"

struct upstream;
int upstream_open(struct json config, struct upstream **out, struct error *e) MUST_CHECK; /* the object "upstream" */
void upstream_close(struct upstream *u);
int upstream_context(const struct upstream *u);
/* What an upstream's stream says, for its fuzz target: pure. `r->text` and `r->tool` are called as upstream_say calls them. */
int upstream_hear(const struct voice_request *r, const char *bytes, size_t n, struct voice_result *out, struct error *e) MUST_CHECK;
int upstream_say(struct upstream *u, const struct voice_request *r, struct voice_result *out, struct error *e) MUST_CHECK;
#endif
