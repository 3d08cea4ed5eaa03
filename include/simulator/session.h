/*
 * One answer on its way: a plan, what is to be said, and the call it is said to. It waits, sends and
 * goes wrong as the plan says.
 *
 *	begun ── delay ─┬─> head ── frames as they are due ──> end
 *	                └─> a whole document, or an error ───> end
 *
 * It owns itself: session_finish is its only end, reached when the reply is complete or cut, or
 * when the client is gone.
 */
#ifndef SIMULATOR_SESSION_H
#define SIMULATOR_SESSION_H

#include "simulator/simulator_private.h"

/*
 * Begins an answer; the call is the session's from now on. completion: owned; NULL for an answer
 * that is no chat, whose document is taken over from `document`, which is left empty. The plan is
 * copied.
 */
void sim_session_start(struct simulator *simulator, struct http_call *call,
                       const struct sim_plan *plan, struct bytes model,
                       struct sim_completion *completion, bool stream, struct buf *document);

/* Answers with an error at once, and logs it. allow: the methods that a 405 tells of, or NULL. */
void sim_reply_error(struct simulator *simulator, struct http_call *call,
                     const struct api_error *error, const char *allow);

/* Answers 200 with a document at once, and logs it. */
void sim_reply_json(struct simulator *simulator, struct http_call *call, struct bytes document);

#endif
