#include "route/choose.h"

#include <stdlib.h>

#include "base/mem.h"
#include "route/resolve.h"

enum { BYTES_A_TOKEN = 4 };

_Static_assert((int)CONFIG_POOL_MAX <= (int)PICK_MODELS_MAX, "a picker holds every pool");

struct needs
needs_of(const struct chat_request *request)
{
	struct needs needs = {0};

	if (request->has_tools)
		needs.capabilities |= MODEL_CAN_TOOLS;
	if (request->wants_json)
		needs.capabilities |= MODEL_CAN_JSON;
	if (request->has_images)
		needs.capabilities |= MODEL_CAN_VISION;
	/* The bytes of a picture or a recording say nothing about its tokens. */
	if (!request->has_media)
		needs.tokens = request->body.n / BYTES_A_TOKEN;
	return needs;
}

unsigned
needs_lacking(const struct needs *needs, const struct config_model *model)
{
	unsigned lacking = 0;

	if (model->capabilities_known)
		lacking = needs->capabilities & ~model->capabilities;
	if (model->context && needs->tokens > model->context)
		lacking |= MODEL_LACKS_CONTEXT;
	return lacking;
}

void
choice_fini(struct choice *choice)
{
	free(choice->own);
	*choice = (struct choice){0};
}

/* What one list is made from. */
struct source {
	const struct choose_spec *spec;
	struct needs needs;
	const struct candidate *list; /* the plan's */
	size_t count;
	bool pinned;         /* the list is what the client chose */
	const size_t *order; /* to go through the list in; NULL: as it stands */
	const struct config_model *fallbacks[CHAT_FALLBACKS_MAX];
	size_t fallback_count;
	unsigned lacking; /* what those that were left out lack */
};

static bool
has_room(const struct source *source, const struct candidate *candidate)
{
	struct vitals_look look;

	health_look(candidate->health, source->spec->now_ms, &look);
	return look.headroom > 0;
}

static bool
is_fit(struct source *source, const struct candidate *candidate)
{
	unsigned lacking = needs_lacking(&source->needs, candidate->model);

	source->lacking |= lacking;
	return !lacking;
}

/* Is the plan's list right as it stands? */
static bool
serves_as_it_is(struct source *source)
{
	if (source->order || source->fallback_count > 0)
		return false;
	if (source->pinned)
		return true;
	for (size_t i = 0; i < source->count; i++) {
		if (!is_fit(source, &source->list[i]) ||
		    (source->count > 1 && !has_room(source, &source->list[i])))
			return false;
	}
	return true;
}

static void
choice_add(struct choice *choice, const struct candidate *candidate)
{
	for (size_t i = 0; i < choice->count; i++) {
		if (choice->own[i].model == candidate->model)
			return;
	}
	choice->own[choice->count++] = *candidate;
}

/* Adds what is fit: only those with room, or all that are not there yet. */
static void
choice_fill(struct choice *choice, struct source *source, bool with_room)
{
	for (size_t i = 0; i < source->count; i++) {
		const struct candidate *candidate =
		        &source->list[source->order ? source->order[i] : i];

		if ((source->pinned || is_fit(source, candidate)) &&
		    (!with_room || has_room(source, candidate)))
			choice_add(choice, candidate);
	}
	for (size_t i = 0; i < source->fallback_count; i++) {
		const struct candidate *candidate =
		        plan_candidate(source->spec->plan, source->fallbacks[i]);

		if (is_fit(source, candidate) && (!with_room || has_room(source, candidate)))
			choice_add(choice, candidate);
	}
}

static void
choice_make(struct choice *choice, struct source *source)
{
	*choice = (struct choice){.list = source->list, .count = source->count};
	if (source->count == 0 || serves_as_it_is(source))
		return;
	choice->own = mem_array(source->count + source->fallback_count, sizeof(*choice->own));
	choice->list = choice->own;
	choice->count = 0;
	choice_fill(choice, source, true);
	choice_fill(choice, source, false);
}

static bool
is_busy(const struct candidate *candidate)
{
	unsigned limit = candidate->model->provider->max_concurrent;

	return limit && load_count(candidate->load) >= limit;
}

/* The order of a pool's turns; those that are not fit take no turn, and stand last. */
static void
order_pool(const struct source *source, const struct config_route *route, struct picker *picker,
           size_t *order)
{
	struct pick_model models[PICK_MODELS_MAX];
	double weights[PICK_MODELS_MAX];

	for (size_t i = 0; i < source->count; i++) {
		const struct candidate *candidate = &source->list[i];
		bool open;

		models[i].weight = route->weights[i];
		open = !health_look(candidate->health, source->spec->now_ms, &models[i].look);
		models[i].out = open || is_busy(candidate) ||
		                needs_lacking(&source->needs, candidate->model);
	}
	pick_weigh(models, source->count, route->strategy == STRATEGY_HEALTH, weights);
	picker_order(picker, weights, source->spec->peek, order);
}

static void
set_unable(struct api_error *error, const struct source *source)
{
	static const struct {
		unsigned bit;
		const char *text;
	} names[] = {
	        {MODEL_CAN_TOOLS, "tools"},
	        {MODEL_CAN_JSON, "json (response_format)"},
	        {MODEL_CAN_VISION, "vision (images)"},
	};
	struct buf text;
	const char *between = "";

	buf_init(&text, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (source->lacking & names[i].bit) {
			buf_add_format(&text, "%s%s", between, names[i].text);
			between = ", ";
		}
	}
	if (source->lacking & MODEL_LACKS_CONTEXT)
		buf_add_format(&text, "%sa context of about %llu tokens", between,
		               (unsigned long long)source->needs.tokens);
	api_error_set(
	        error, 422, NULL, NULL,
	        "None of the models that may answer can do all that this request needs; lacking "
	        "with them: %.*s.",
	        (int)text.n, text.n ? text.p : "");
	buf_fini(&text);
}

bool
choose_models(const struct choose_spec *spec, struct choice *drafters, struct choice *heavyweights,
              struct api_error *error)
{
	struct source heavy = {.spec = spec, .needs = needs_of(spec->request)}, draft = heavy;
	size_t order[PICK_MODELS_MAX];

	if (!resolve_fallbacks(spec->plan->config, spec->request, heavy.fallbacks,
	                       &heavy.fallback_count, error))
		return false;
	if (spec->route) {
		const struct plan_route *route = plan_route(spec->plan, spec->route);

		draft.list = route->drafters;
		draft.count = spec->route->drafter_count;
		heavy.list = route->heavyweights;
		heavy.count = spec->route->heavyweight_count;
		if (route->picker) {
			order_pool(&heavy, spec->route, route->picker, order);
			heavy.order = order;
		}
	} else {
		heavy.list = plan_candidate(spec->plan, spec->pinned);
		heavy.count = 1;
		heavy.pinned = true;
	}
	choice_make(heavyweights, &heavy);
	if (heavyweights->count == 0) {
		choice_fini(heavyweights);
		set_unable(error, &heavy);
		return false;
	}
	choice_make(drafters, &draft);
	return true;
}
