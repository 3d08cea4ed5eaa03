/* What the readers of request bodies share: members taken by name, and values judged. Pure. */
#ifndef SIMULATOR_BODY_H
#define SIMULATOR_BODY_H

#include "wire/api_error.h"
#include "wire/json_scan.h"

/* Takes the named members of the object that is the whole body; values[] must be zeroed. False, with
 * `error` filled, when the body is not one JSON object. */
bool sim_body_take(struct bytes body, const char *const *names, size_t count,
                   struct json_value *values, struct api_error *error);

/* Fills `error` with a 400 about a member. Always false. */
bool sim_body_wrong(struct api_error *error, const char *param, const char *wants);

/* Is it not there, or null? */
bool sim_body_is_absent(struct json_value value);

/* The two below leave *out alone when the value is absent, and are false when it is wrong. */
bool sim_body_bool(struct json_value value, const char *param, bool *out, struct api_error *error);
bool sim_body_count(struct json_value value, const char *param, uint64_t low, uint64_t high,
                    uint64_t *out, struct api_error *error);

/* Decodes the model's name, which must be there. */
bool sim_body_model(struct json_value value, struct buf *model, struct api_error *error);

#endif
