#include "wire/embedding_request.h"

#include "wire/param_check.h"

enum { FALLBACKS_MAX = 8 };

static const char *const names[EMBEDDING_MEMBER_COUNT] = {
        [EMBEDDING_MODEL] = "model",           [EMBEDDING_INPUT] = "input",
        [EMBEDDING_REQUEST_ID] = "request_id", [EMBEDDING_PROJECT_ID] = "project_id",
        [EMBEDDING_FALLBACKS] = "fallbacks",
};

/* Checks a value that is not null. */
static bool
check_value(struct embedding_request *q, enum embedding_member member, struct api_error *error)
{
	struct json_value value = q->slots[member].value;
	const char *name = names[member];

	switch (member) {
	case EMBEDDING_MODEL:
		return param_check_text(error, name, value, q->model, sizeof(q->model));
	case EMBEDDING_INPUT:
		if (value.kind == JSON_KIND_STRING || value.kind == JSON_KIND_ARRAY)
			return true;
		return param_refuse_type(error, name, "a string or an array", value);
	case EMBEDDING_REQUEST_ID:
		return param_check_name(error, name, value, q->request_id, sizeof(q->request_id));
	case EMBEDDING_PROJECT_ID:
		return param_check_name(error, name, value, q->project_id, sizeof(q->project_id));
	case EMBEDDING_FALLBACKS: return param_check_strings(error, name, value, FALLBACKS_MAX);
	case EMBEDDING_MEMBER_COUNT: break;
	}
	return true;
}

static bool
read_member(struct embedding_request *q, struct json_walk *walk, struct api_error *error)
{
	enum embedding_member member = 0;
	struct json_slot *slot;

	while (member < EMBEDDING_MEMBER_COUNT && !json_key_is(walk->member.key, names[member]))
		member++;
	if (member == EMBEDDING_MEMBER_COUNT)
		return json_skip(walk->scan);
	slot = &q->slots[member];
	if (slot->value.kind != JSON_KIND_NONE)
		return param_refuse_twice(error, names[member]);
	return json_walk_take(walk, slot) &&
	       (slot->value.kind == JSON_KIND_NULL || check_value(q, member, error));
}

bool
embedding_request_read(struct embedding_request *request, struct bytes body,
                       struct api_error *error)
{
	struct json_scan scan;
	struct json_walk walk;
	bool is_object, fine = true;

	*request = (struct embedding_request){.body = body};
	error->status = 0;
	json_scan_init(&scan, body);
	is_object = json_walk_enter(&walk, &scan, &request->object);
	while (is_object && fine && json_walk_next(&walk))
		fine = read_member(request, &walk, error);
	if (error->status)
		return false;
	if (!json_scan_end(&scan) || !is_object)
		return param_refuse_body(error, &scan);
	if (request->model[0] == '\0')
		return param_refuse_missing(error, names[EMBEDDING_MODEL]);
	if (request->slots[EMBEDDING_INPUT].value.kind <= JSON_KIND_NULL)
		return param_refuse_missing(error, names[EMBEDDING_INPUT]);
	return true;
}

void
embedding_request_forward(const struct embedding_request *request, const char *model,
                          struct rope *out)
{
	const char *begin = request->body.p, *end = request->object.close + 1;
	struct json_change changes[EMBEDDING_MEMBER_COUNT];
	size_t count = 0;
	struct buf name;

	buf_init(&name, 0);
	buf_add_json_string(&name, bytes_of(model));
	changes[count++] = (struct json_change){names[EMBEDDING_MODEL],
	                                        &request->slots[EMBEDDING_MODEL], buf_bytes(&name)};
	for (enum embedding_member m = EMBEDDING_REQUEST_ID; m <= EMBEDDING_FALLBACKS; m++)
		changes[count++] = (struct json_change){names[m], &request->slots[m], {NULL, 0}};
	rope_add(out, (struct bytes){begin, (size_t)(request->object.open - begin)});
	json_splice_rope(out, &request->object, changes, count);
	rope_add(out, (struct bytes){end, (size_t)(begin + request->body.n - end)});
	out->own.failed |= name.failed;
	buf_fini(&name);
}
