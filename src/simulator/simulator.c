/*
 * The server: what is asked for, by whom, and how it is to be answered. The answering itself is done
 * by a session.
 */
#include "simulator/simulator_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "simulator/mix.h"
#include "simulator/session.h"

enum {
	HEAD_MAX_BYTES = 64 * 1024,
	BODY_MAX_BYTES = 64 * 1024 * 1024,
	READ_TIMEOUT_MS = 60000,
	WRITE_TIMEOUT_MS = 120000,
	MODELS_CREATED_S = 1744317542, /* any fixed moment will do */
};

/* What goes wrong when only a rate is given. */
static const char *const usual_faults[] = {
        "status=503", "status=429,retry-after=1", "cut=5", "garbage=5", "html502", "error200"};

static const char *const usual_models[] = {"gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano",
                                           "text-embedding-3-small", "text-embedding-3-large"};

static const struct sim_plan *
plan_of_model(const struct simulator *s, const char *model)
{
	for (size_t i = 0; i < s->profile_count; i++) {
		if (strcmp(s->profiles[i].model, model) == 0)
			return &s->profiles[i].plan;
	}
	return &s->defaults;
}

/* Adds the fault that this request meets, if it meets one. */
static void
plan_add_fault(const struct simulator *s, struct sim_plan *plan, const char *model)
{
	uint64_t bits = sim_mix(s->seed ^ sim_mix(s->serial));
	char error[256];

	if (s->fault_count == 0 || sim_unit(bits) >= s->fault_rate)
		return;
	/* They were found to be well formed when the simulator was made. */
	sim_plan_apply(plan, bytes_of(s->faults[sim_mix(bits) % s->fault_count]), model, error,
	               sizeof(error));
}

/* How to answer this prompt; s->text is what is left of it without the marks. */
static bool
plan_make(struct simulator *s, struct sim_plan *plan, struct bytes prompt,
          enum sim_mark_scope scope, const char *model, struct api_error *error)
{
	const char *param = scope == SIM_MARKS_ALL ? "messages" : "input";
	char why[256];

	*plan = *plan_of_model(s, model);
	plan_add_fault(s, plan, model);
	buf_reset(&s->text);
	if (!sim_plan_read_prompt(plan, prompt, scope, model, &s->text, why, sizeof(why))) {
		api_error_set(error, 400, param, "invalid_mark", "%s", why);
		return false;
	}
	if (s->text.failed) {
		api_error_set(error, 500, NULL, NULL, "There is no memory for this request.");
		return false;
	}
	return true;
}

static void
on_chat(struct simulator *s, struct http_call *call, struct api_error *error)
{
	struct sim_request *request = &s->request;
	struct sim_completion *completion;
	struct buf none = {0};
	struct sim_plan plan;

	if (!sim_request_read(request, http_call_body(call), error))
		return;
	buf_add(&request->model, "", 1); /* a terminator, not part of the name */
	if (request->model.failed) {
		api_error_set(error, 500, NULL, NULL, "There is no memory for this request.");
		return;
	}
	request->model.n--;
	if (!plan_make(s, &plan, buf_bytes(&request->prompt), SIM_MARKS_ALL, request->model.p,
	               error))
		return;
	sim_plan_add_doubt(&plan, buf_bytes(&s->text), s->seed);
	completion = sim_completion_new(&(struct sim_completion_spec){
	        .request = request,
	        .plan = &plan,
	        .prompt = buf_bytes(&s->text),
	        .vocabulary = s->vocabulary,
	        .distributions = s->distributions,
	        .seed = s->seed,
	        .serial = s->serial,
	        .created_s = clock_wall_ms() / 1000,
	});
	if (!completion) {
		api_error_set(error, 500, NULL, NULL, "There is no memory for this answer.");
		return;
	}
	sim_session_start(s, call, &plan, buf_bytes(&request->model), completion, request->stream,
	                  &none);
}

static void
on_embeddings(struct simulator *s, struct http_call *call, struct api_error *error)
{
	struct sim_embedding_request *request = &s->embedding_request;
	struct buf document = {0};
	struct sim_plan plan;

	if (!sim_embedding_request_read(request, http_call_body(call), error))
		return;
	buf_add(&request->model, "", 1);
	if (request->model.failed) {
		api_error_set(error, 500, NULL, NULL, "There is no memory for this request.");
		return;
	}
	request->model.n--;
	if (!plan_make(s, &plan, sim_embedding_request_input(request, 0), SIM_MARKS_ADDRESSED,
	               request->model.p, error))
		return;
	sim_embedding_write(request, &document);
	sim_session_start(s, call, &plan, buf_bytes(&request->model), NULL, false, &document);
}

static void
write_model(struct buf *out, struct bytes id)
{
	buf_add_text(out, "{\"id\":");
	buf_add_json_string(out, id);
	buf_add_format(out, ",\"object\":\"model\",\"created\":%d,\"owned_by\":\"simulator\"}",
	               MODELS_CREATED_S);
}

static void
on_models(struct simulator *s, struct http_call *call, struct api_error *error)
{
	struct buf out = {0};

	(void)error;
	buf_add_text(&out, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < sizeof(usual_models) / sizeof(usual_models[0]); i++) {
		if (i > 0)
			buf_add(&out, ",", 1);
		write_model(&out, bytes_of(usual_models[i]));
	}
	for (size_t i = 0; i < s->profile_count; i++) {
		bool is_usual = false;

		for (size_t k = 0; k < sizeof(usual_models) / sizeof(usual_models[0]); k++)
			is_usual |= strcmp(s->profiles[i].model, usual_models[k]) == 0;
		if (is_usual)
			continue;
		buf_add(&out, ",", 1);
		write_model(&out, bytes_of(s->profiles[i].model));
	}
	buf_add_text(&out, "]}");
	sim_reply_json(s, call, buf_bytes(&out));
	buf_fini(&out);
}

/* Any name is a model's: requests for it are answered too. */
static void
on_model(struct simulator *s, struct http_call *call, struct api_error *error)
{
	const char *id = strstr(http_call_path(call), "/models/") + strlen("/models/");
	struct buf out = {0};

	if (*id == '\0') {
		api_error_set(error, 404, NULL, NULL, "A model's name is missing.");
		return;
	}
	write_model(&out, bytes_of(id));
	sim_reply_json(s, call, buf_bytes(&out));
	buf_fini(&out);
}

static void
on_health(struct simulator *s, struct http_call *call, struct api_error *error)
{
	(void)error;
	sim_reply_json(s, call, bytes_of("{\"status\":\"ok\"}"));
}

/* Paths without the base path; one that ends in a slash is a prefix. */
static const struct endpoint {
	const char *path;
	bool is_post; /* else GET and HEAD */
	void (*handle)(struct simulator *s, struct http_call *call, struct api_error *error);
	bool is_open; /* needs no key */
} endpoints[] = {
        {"/chat/completions", true, on_chat, false}, {"/embeddings", true, on_embeddings, false},
        {"/models", false, on_models, false},        {"/models/", false, on_model, false},
        {"/health", false, on_health, true},
};

static const struct endpoint *
endpoint_find(const char *path)
{
	if (strncmp(path, "/v1/", 4) == 0)
		path += 3;
	for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
		size_t n = strlen(endpoints[i].path);

		if (strcmp(path, endpoints[i].path) == 0 ||
		    (endpoints[i].path[n - 1] == '/' && strncmp(path, endpoints[i].path, n) == 0))
			return &endpoints[i];
	}
	return NULL;
}

static bool
endpoint_allows(const struct endpoint *endpoint, const char *method)
{
	if (endpoint->is_post)
		return strcmp(method, "POST") == 0;
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static bool
is_authorized(const struct simulator *s, const struct http_call *call)
{
	const char *value = http_call_header(call, HTTP_FIELD_AUTHORIZATION);

	if (!s->authorization)
		return true;
	/* The scheme's name has no case. */
	return value && strncasecmp(value, "Bearer ", 7) == 0 &&
	       strcmp(value + 7, s->authorization + 7) == 0;
}

static void
on_request(struct http_call *call, void *arg)
{
	struct simulator *s = arg;
	const char *method = http_call_method(call), *allow = NULL;
	const struct endpoint *endpoint = endpoint_find(http_call_path(call));
	struct api_error error;

	s->serial++;
	error.status = 0;
	if (!endpoint) {
		api_error_set(&error, 404, NULL, "unknown_url", "Invalid URL (%s %s)", method,
		              http_call_path(call));
	} else if (!endpoint->is_open && !is_authorized(s, call)) {
		api_error_set(&error, 401, NULL, "invalid_api_key", "Incorrect API key provided.");
		error.type = "invalid_request_error";
	} else if (!endpoint_allows(endpoint, method)) {
		allow = endpoint->is_post ? "POST" : "GET, HEAD";
		api_error_set(&error, 405, NULL, NULL, "Not allowed to %s on %s.", method,
		              http_call_path(call));
	} else {
		endpoint->handle(s, call, &error);
	}
	/* A handler that fills in the error has not answered. */
	if (error.status)
		sim_reply_error(s, call, &error, allow);
}

void
simulator_log(const struct simulator *simulator, const char *path, struct bytes model, int status,
              uint64_t frames, uint64_t tokens, uint64_t started_us, const char *end)
{
	char when[CLOCK_TEXT_SIZE];
	struct buf line = {0};

	if (!simulator->requests)
		return;
	clock_format(clock_wall_ms(), when);
	buf_add_format(&line, "%s path=", when);
	buf_add_json_string(&line, bytes_of(path));
	buf_add_text(&line, " model=");
	buf_add_json_string(&line, model);
	buf_add_format(&line, " status=%d frames=%llu tokens=%llu ms=%llu end=%s", status,
	               (unsigned long long)frames, (unsigned long long)tokens,
	               (unsigned long long)((clock_now_us() - started_us) / 1000), end);
	log_sink_write(simulator->requests, buf_bytes(&line).p, line.n);
	buf_fini(&line);
}

bool
simulator_check_marks(const char *marks, bool needs_model, char *error, size_t size)
{
	const char *colon = strrchr(marks, ':');
	struct sim_plan plan;

	if (needs_model && (!colon || colon == marks)) {
		snprintf(error, size, "'%s' wants MODEL:marks", marks);
		return false;
	}
	sim_plan_init(&plan);
	return sim_plan_apply(&plan, bytes_of(marks), NULL, error, size) == SIM_MARK_OK;
}

/* Reads the defaults and the profiles into plans. */
static bool
simulator_read_plans(struct simulator *s, const struct simulator_options *options, char *error,
                     size_t size)
{
	sim_plan_init(&s->defaults);
	for (size_t i = 0; i < options->default_count; i++) {
		if (sim_plan_apply(&s->defaults, bytes_of(options->defaults[i]), NULL, error,
		                   size) != SIM_MARK_OK)
			return false;
	}
	s->profiles = mem_array(options->profile_count + 1, sizeof(*s->profiles));
	for (size_t i = 0; i < options->profile_count; i++) {
		const char *text = options->profiles[i], *colon = strrchr(text, ':');
		struct sim_profile *profile;
		size_t k;

		if (!simulator_check_marks(text, true, error, size))
			return false;
		for (k = 0; k < s->profile_count; k++) {
			if (bytes_is((struct bytes){text, (size_t)(colon - text)},
			             s->profiles[k].model))
				break;
		}
		profile = &s->profiles[k];
		if (k == s->profile_count) {
			profile->model = mem_copy((struct bytes){text, (size_t)(colon - text)});
			profile->plan = s->defaults;
			s->profile_count++;
		}
		sim_plan_apply(&profile->plan, bytes_of(text), profile->model, error, size);
	}
	return true;
}

static bool
simulator_read_faults(struct simulator *s, const struct simulator_options *options, char *error,
                      size_t size)
{
	const char *const *faults = options->faults;
	size_t count = options->fault_count;

	s->fault_rate = options->fault_rate;
	if (count == 0 && s->fault_rate > 0) {
		faults = usual_faults;
		count = sizeof(usual_faults) / sizeof(usual_faults[0]);
	}
	if (s->fault_rate < 0)
		s->fault_rate = 1;
	s->faults = mem_array(count + 1, sizeof(*s->faults));
	for (size_t i = 0; i < count; i++) {
		if (!simulator_check_marks(faults[i], false, error, size))
			return false;
		s->faults[s->fault_count++] = mem_copy(bytes_of(faults[i]));
	}
	return true;
}

struct simulator *
simulator_new(struct worker *worker, const struct simulator_options *options, char *error,
              size_t size)
{
	const struct http_server_options server = {
	        .max_head_bytes = HEAD_MAX_BYTES,
	        .max_body_bytes = BODY_MAX_BYTES,
	        .read_timeout_ms = READ_TIMEOUT_MS,
	        .write_timeout_ms = WRITE_TIMEOUT_MS,
	};
	struct simulator *s = mem_new(sizeof(*s));
	uint16_t port = options->port;

	s->worker = worker;
	s->requests = options->requests;
	s->seed = options->seed;
	s->vocabulary = sim_vocabulary_new();
	s->distributions = sim_distribution_set_new();
	sim_request_init(&s->request);
	sim_embedding_request_init(&s->embedding_request);
	if (options->api_key)
		s->authorization = mem_format("Bearer %s", options->api_key);
	if (simulator_read_plans(s, options, error, size) &&
	    simulator_read_faults(s, options, error, size) &&
	    (s->server = http_server_new(worker, &server, on_request, s, error, size)) &&
	    http_server_listen(s->server, options->host ? options->host : "", &port, error, size))
		return s;
	simulator_free(s);
	return NULL;
}

uint16_t
simulator_port(const struct simulator *simulator)
{
	return http_server_port(simulator->server);
}

void
simulator_free(struct simulator *s)
{
	if (!s)
		return;
	/* Each session under way is told that its client is gone, and ends. */
	if (s->server)
		http_server_free(s->server);
	for (size_t i = 0; i < s->profile_count; i++)
		free(s->profiles[i].model);
	for (size_t i = 0; i < s->fault_count; i++)
		free(s->faults[i]);
	free(s->profiles);
	free(s->faults);
	free(s->authorization);
	sim_request_fini(&s->request);
	sim_embedding_request_fini(&s->embedding_request);
	buf_fini(&s->text);
	sim_vocabulary_free(s->vocabulary);
	sim_distribution_set_free(s->distributions);
	free(s);
}
