/*
 * The configuration: one YAML file read into an immutable, reference-counted snapshot. Requests
 * hold the snapshot they started with; a reload swaps in another.
 *
 * The short form (drafter, heavyweight) is turned into the long form (providers, models,
 * routes), so that the rest of the program knows only one.
 */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "model/breaker.h"
#include "score/rule.h"
#include "score/token.h"
#include "wire/chat_request.h"

struct config_listen {
	char *host; /* "*": every interface */
	uint16_t port;
};

struct config_server {
	struct config_listen *listen;
	size_t listen_count;
	unsigned workers; /* resolved: at least 1 */
	unsigned max_connections;
	unsigned max_concurrent; /* chat requests at a time, all workers together; 0: no limit */
	uint64_t max_body_bytes;
	uint32_t read_timeout_ms, write_timeout_ms, idle_timeout_ms;
	uint32_t
	        request_timeout_ms; /* until an answer begins, retries and waits included; 0: none */
	uint32_t drain_timeout_ms, keepalive_interval_ms;
	char *tls_certificate, *tls_key; /* NULL: plain HTTP */
};

struct config_header {
	char *name, *value;
};

struct config_provider {
	char *name;
	char *label;    /* what the operator calls it: the name, or the short form's `provider` */
	char *base_url; /* without a trailing slash */
	char *api_key;  /* NULL: none. Never printed */
	struct config_header *headers;
	size_t header_count;
	uint32_t connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms;
	uint32_t timeout_ms;     /* total; 0: none */
	unsigned max_concurrent; /* 0: no limit */
	unsigned retries;
	enum chat_prefill prefill;
	bool stream_usage; /* does it take stream_options? */
};

struct config_price {
	bool known;
	/* pico-USD a token, which is USD per million tokens × 1,000,000: half a nano-USD is a price
	 * that providers ask for. See model/price.h. */
	uint64_t input_pico, cached_input_pico, output_pico;
};

enum {
	MODEL_CAN_TOOLS = 1 << 0,
	MODEL_CAN_JSON = 1 << 1,
	MODEL_CAN_VISION = 1 << 2,
	MODEL_CAN_LOGPROBS = 1 << 3,
	MODEL_CAN_EMBEDDINGS = 1 << 4,
};

struct config_model {
	char *name;
	char *upstream_name; /* what the provider calls it */
	char *label; /* what operators and clients are told: the name, in the short form the upstream's */
	const struct config_provider *provider; /* borrowed from the same snapshot */
	struct config_price price;
	bool capabilities_known; /* false: nothing was declared, everything but embeddings is assumed */
	unsigned capabilities; /* MODEL_CAN_… */
	uint64_t context;      /* tokens; 0: not declared */
	bool implied; /* the file does not name it: cache.embedding_model at a drafter's provider */
};

enum config_on_unscorable { ON_UNSCORABLE_ESCALATE, ON_UNSCORABLE_ACCEPT };
enum config_on_heavyweight_down { ON_HEAVYWEIGHT_DOWN_FAIL, ON_HEAVYWEIGHT_DOWN_DRAFT };

struct config_entropy {
	const struct rule_kind *rule;
	struct rule_options options;
	unsigned top_logprobs; /* candidates asked for and scored; 1 to 20 */
	enum entropy_tail tail;
	enum config_on_unscorable on_unscorable;
};

enum config_stream_mode { STREAM_HOLD, STREAM_LIVE };
enum config_stream_late { STREAM_LATE_HANDOFF, STREAM_LATE_FINISH };

struct config_stream {
	enum config_stream_mode mode;
	enum config_stream_late late; /* when the rule trips after text has left */
};

struct config_speculative {
	bool enabled;
	double soft_threshold_mult; /* a token above threshold times this starts the heavyweight */
	double max_share;           /* of a route's requests, 0 to 1 */
};

enum config_embedder { EMBEDDER_MODEL, EMBEDDER_LEXICAL, EMBEDDER_NONE, EMBEDDER_UNSET };

/* Of the one cache that all routes share. */
struct config_cache_store {
	uint64_t max_bytes;
	unsigned max_entries;
	double caller_share;       /* 0 to 1 */
	char *file;                /* NULL: none */
	uint32_t file_interval_ms; /* 0: only at the end */
};

struct config_cache {
	bool enabled;
	double similarity_threshold; /* a cosine */
	uint32_t ttl_ms;
	enum config_embedder embedder;              /* resolved: never EMBEDDER_UNSET */
	char *embedding_name;                       /* as the file has it; NULL: none */
	const struct config_model *embedding_model; /* borrowed; EMBEDDER_MODEL only, else NULL */
	unsigned embedding_dimensions;              /* 0: what the model gives */
	uint32_t embedding_timeout_ms;
	double min_margin; /* bits */
	double max_temperature;
	bool tool_calls;
	uint64_t max_answer_bytes;
	struct config_cache_store store; /* the same in all routes */
};

/* How a pool chooses. */
enum config_strategy { STRATEGY_ORDER, STRATEGY_HEALTH, STRATEGY_WEIGHTED };
/* What `reasoning_effort: auto` of a request becomes. */
enum config_effort { EFFORT_LOW, EFFORT_MEDIUM, EFFORT_HIGH };

enum { CONFIG_POOL_MAX = 64, CONFIG_WEIGHT_MAX = 1000 };

/* A cascade, which drafts; or a pool, of which one model answers. A pool's models are its heavyweights: then
 * there are no drafters, and nothing is kept in the cache. */
struct config_route {
	char *name;
	const struct config_model **drafters; /* owned array of borrowed models; tried in order */
	size_t drafter_count;
	const struct config_model **heavyweights;
	size_t heavyweight_count;
	bool is_pool;
	enum config_strategy strategy; /* a pool's */
	unsigned *weights;             /* a pool's: of each heavyweight, at least 1; else NULL */
	enum config_effort reasoning_effort;
	struct config_entropy entropy;
	struct config_stream stream;
	struct config_speculative speculative;
	struct config_cache cache;
	enum config_on_heavyweight_down on_heavyweight_down;
};

enum config_unknown_model { UNKNOWN_MODEL_DEFAULT, UNKNOWN_MODEL_REJECT };

struct config {
	struct config_server server;
	struct config_provider *providers;
	size_t provider_count;
	struct config_model *models;
	size_t model_count;
	struct config_route *routes;
	size_t route_count;
	const struct config_route *default_route; /* `auto`, or the first */
	enum config_unknown_model unknown_model;
	struct breaker_options breaker; /* for every model */
	struct config_cache_store cache;
	bool metrics_enabled;
	char *metrics_path;
	char *log_file;               /* "-": standard error */
	char *access_file;            /* "-": standard error; NULL: off */
	unsigned log_level;           /* enum log_level */
	unsigned references;          /* atomic */
	struct config_memory *memory; /* owned: every text and array above; wiped when freed */
};

/* What was found wrong, or is worth a warning: one line each, `FILE:LINE: path.to.key: text`. */
struct config_report {
	struct buf errors, warnings;
	unsigned error_count, warning_count;
};

void config_report_init(struct config_report *report);
void config_report_fini(struct config_report *report);

/* Reads a file (path) or a text under a name for messages. NULL when the report has errors;
 * every fault is reported, not just the first. The result has one reference. path NULL: the
 * built-in defaults. */
struct config *config_load(const char *path, struct config_report *report);
struct config *config_parse(const char *name, struct bytes text, struct config_report *report);

/* The file that is read when none is named, if it is there; else NULL: the built-in defaults. */
const char *config_default_path(void);

/* Can it answer a chat? */
bool config_model_chats(const struct config_model *model);

struct config *config_ref(struct config *config);
void config_unref(struct config *config); /* any thread; frees at the last, wiping keys */

const char *config_effort_name(enum config_effort effort); /* low, medium, high */

/* Looks names up; NULL when unknown. */
const struct config_route *config_route_find(const struct config *config, const char *name);
const struct config_model *config_model_named(const struct config *config, const char *name);
/* By its name under `models`, or as `provider/model`: the provider by name or label, the model
 * by the provider's own name for it, which may have slashes of its own. */
const struct config_model *config_model_find(const struct config *config, const char *name);

#endif
