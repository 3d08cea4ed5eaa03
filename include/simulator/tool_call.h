/* Makes up a call of one of the tools that a request offers. Pure. */
#ifndef SIMULATOR_TOOL_CALL_H
#define SIMULATOR_TOOL_CALL_H

#include "base/buf.h"

/*
 * tools: the text of the request's array. Appends the first function's name, decoded, and arguments for it as a
 * JSON text: each member of its schema's properties gets a value of its type, strings the begin of
 * the prompt. False when the array offers no function, or there is no memory.
 */
bool sim_tool_call_make(struct bytes tools, struct bytes prompt, struct buf *name,
                        struct buf *arguments);

#endif
