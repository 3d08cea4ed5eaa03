#include "simulator/body.h"

bool
sim_body_wrong(struct api_error *error, const char *param, const char *wants)
{
	api_error_set(error, 400, param, NULL, "Invalid '%s': expected %s.", param, wants);
	return false;
}

bool
sim_body_is_absent(struct json_value value)
{
	return value.kind == JSON_KIND_NONE || value.kind == JSON_KIND_NULL;
}

bool
sim_body_bool(struct json_value value, const char *param, bool *out, struct api_error *error)
{
	if (sim_body_is_absent(value))
		return true;
	*out = value.kind == JSON_KIND_TRUE;
	return *out || value.kind == JSON_KIND_FALSE || sim_body_wrong(error, param, "a boolean");
}

bool
sim_body_count(struct json_value value, const char *param, uint64_t low, uint64_t high,
               uint64_t *out, struct api_error *error)
{
	uint64_t count;

	if (sim_body_is_absent(value))
		return true;
	if (!json_to_u64(value, high, &count) || count < low) {
		api_error_set(error, 400, param, NULL,
		              "Invalid '%s': expected an integer from %llu to %llu.", param,
		              (unsigned long long)low, (unsigned long long)high);
		return false;
	}
	*out = count;
	return true;
}

bool
sim_body_take(struct bytes body, const char *const *names, size_t count, struct json_value *values,
              struct api_error *error)
{
	struct json_member member;
	struct json_value value;
	struct json_scan scan;

	json_scan_init(&scan, body);
	if (json_enter(&scan, JSON_KIND_OBJECT)) {
		while (json_next_member(&scan, &member)) {
			json_take(&scan, &value);
			for (size_t i = 0; i < count; i++) {
				if (json_key_is(member.key, names[i]))
					values[i] = value;
			}
		}
	} else if (scan.fault == JSON_FAULT_NONE) {
		api_error_set(error, 400, NULL, NULL, "The body must be a JSON object.");
		return false;
	}
	if (!json_scan_end(&scan)) {
		api_error_set(error, 400, NULL, NULL,
		              "We could not parse the JSON body of your request: %s at byte %zu.",
		              json_fault_text(scan.fault), json_scan_offset(&scan));
		return false;
	}
	return true;
}

bool
sim_body_model(struct json_value value, struct buf *model, struct api_error *error)
{
	if (value.kind == JSON_KIND_STRING)
		json_string_decode(value, model);
	if (value.kind == JSON_KIND_STRING && model->n > 0 && !memchr(model->p, '\0', model->n))
		return true;
	api_error_set(error, 400, "model", NULL, "You must provide a model parameter.");
	return false;
}
