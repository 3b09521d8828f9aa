/* Answers that leave while they are made. The thread that makes one writes frames into c->out and flushes; an audit row ("begun", status 100) is
 * committed before the first frame leaves, the row of the whole (status, tokens, SHA-256 of every frame) before the last ones do.
 *
 *     buf_puts(&c->out, "data: …\n\n");
 *     TRY(stream_flush(c, e));                 // E_CANCELLED: the client left; E_UNAVAILABLE: the audit cannot be written
 *     …                                        // what is in c->out at call_finish leaves after the last row
 *
 * From the first flush on the connection is the HTTP thread's, which may end it at any time: everything that needs it (headers, who has
 * left) goes through the stream's lock. The call itself lives until both are done with it.
 */
#ifndef SERVE_STREAM_H
#define SERVE_STREAM_H
#include "serve/serve_private.h"

int stream_flush(struct call *c, struct error *e) MUST_CHECK;
bool stream_runs(const struct call *c);                 /* its status has left */
bool stream_left(const struct call *c);                 /* of a call that streams: has the client gone? */
bool stream_gone(struct call *c);                       /* the HTTP thread: the connection ends; true: the call is somebody's still */
void stream_end(struct call *c);                        /* by call_finish: on to the audit */
bool stream_committed(struct call *c, bool good);       /* by the audit thread; true: the call is nobody's any more, free it */
void stream_digest(struct call *c, uint8_t digest[32]); /* of all frames, those in c->out too */
struct MHD_Response *stream_response(struct call *c);   /* by the HTTP thread; NULL: none can be made */
void stream_started(struct call *c);
void stream_free(struct call *c);
/* *to = the call, streaming or not, as one that does not: the HTTP thread may be taking its connection away meanwhile. */
void stream_copy(const struct call *c, struct call *to);
#endif
