/*
 * The keys of the configuration file: one table (config_table.def) that says for each its block,
 * type, range, default and meaning. The reader, the defaults, `check --keys` and the test that
 * holds the manual page to it all come from there.
 */
#ifndef MODEL_CONFIG_TABLE_H
#define MODEL_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "model/config_reader.h"

enum config_block {
	BLOCK_ROOT,
	BLOCK_SERVER,
	BLOCK_TLS,
	BLOCK_DRAFTER,
	BLOCK_HEAVYWEIGHT,
	BLOCK_PROVIDER,
	BLOCK_MODEL,
	BLOCK_PRICE,
	BLOCK_ROUTE,
	BLOCK_POOLED,
	BLOCK_ENTROPY,
	BLOCK_SPECULATIVE,
	BLOCK_STREAM,
	BLOCK_BREAKER,
	BLOCK_CACHE,
	BLOCK_METRICS,
	BLOCK_TRACE,
	BLOCK_LOG,
	BLOCK_COUNT,
};

enum config_type {
	KEY_BOOL,     /* bool */
	KEY_COUNT,    /* unsigned */
	KEY_TOKENS,   /* uint64_t */
	KEY_SIZE,     /* uint64_t, bytes */
	KEY_DURATION, /* uint32_t, milliseconds; the range is in seconds */
	KEY_NUMBER,   /* double */
	KEY_MONEY,    /* uint64_t, pico-USD a token; the range is in USD per million */
	KEY_TEXT,     /* char *, in the snapshot's memory */
	KEY_SECRET,   /* char *; an empty one becomes NULL */
	KEY_URL,      /* char * */
	KEY_CHOICE,   /* an enum in the order of `choices` */
	KEY_RULE,     /* const struct rule_kind * */
	KEY_PORT,     /* unsigned; from here on: read by the part that knows it */
	KEY_NAME,     /* char * */
	KEY_BLOCK,
	KEY_BLOCKS,    /* NAME: block */
	KEY_NAMES,     /* a text, or a list of texts; a pool's may be blocks */
	KEY_TEXTS,     /* a list of texts */
	KEY_ADDRESSES, /* a list of HOST:PORT */
	KEY_HEADERS,   /* NAME: secret */
};

enum config_stage {
	STAGE_NOW,
	STAGE_LATER, /* checked, but without effect in this version; `stage_text` says what it lacks */
	STAGE_IGNORED, /* for files written for an older program; `stage_text` says why */
};

struct config_key {
	enum config_block block;
	const char *name;
	enum config_type type;
	size_t offset;       /* in the block's struct, or CONFIG_NOWHERE */
	const char *initial; /* the default as the file would write it; NULL: none */
	double min, max;     /* for texts: of the length */
	const char *choices; /* "hold|live" */
	enum config_stage stage;
	const char *stage_text;
	const char *help;
};

#define CONFIG_NOWHERE ((size_t)-1)

const struct config_key *config_keys(size_t *count);
const struct config_key *config_key_find(enum config_block block, const char *name);
const char *config_block_path(enum config_block block); /* `providers.NAME`; "" for the root */
const char *config_type_name(enum config_type type);

/* What one item of a pool's list holds, besides its model. */
struct config_pooled {
	unsigned weight;
};

/* What the short form's two blocks hold. */
struct config_side {
	char *provider, *base_url, *api_key, *model;
	uint32_t timeout_ms;
	bool stream_usage;
	unsigned retries; /* the heavyweight's alone, as is the next */
	enum chat_prefill prefill;
};

/* Sets the struct at base to the defaults of the block's keys. */
void config_block_defaults(struct config_reader *reader, enum config_block block, void *base);

/* Reads a block's scalar keys over what is at base, and says which keys are unknown, of a wrong
 * type, out of range, or without effect. node NULL or null: nothing. base NULL: only checks. */
void config_block_read(struct config_reader *reader, enum config_block block,
                       const struct config_node *node, void *base);

union config_value {
	bool flag;                    /* BOOL */
	unsigned count;               /* COUNT, PORT, CHOICE */
	uint32_t ms;                  /* DURATION */
	uint64_t whole;               /* TOKENS, SIZE, MONEY */
	double number;                /* NUMBER */
	char *text;                   /* TEXT, SECRET, URL, NAME; in the snapshot's memory */
	const struct rule_kind *rule; /* RULE */
};

/* Reads one value of a type up to KEY_NAME. False after a fault. */
bool config_value_read(struct config_reader *reader, const struct config_key *key,
                       const struct config_node *node, union config_value *value);

/* A scalar that must be a text: a copy in the snapshot's memory, variables replaced; NULL after
 * a fault. */
char *config_text_read(struct config_reader *reader, const struct config_node *node);
/* Likewise, and `file:PATH` is replaced with the file's content. */
char *config_secret_read(struct config_reader *reader, const struct config_node *node);

/* Is it a map, or without a value? Otherwise says so. */
bool config_block_check(struct config_reader *reader, const struct config_node *node);

/* Is the node's key fit as the name of a provider, route (no slash) or model? Otherwise says so. */
bool config_name_check(struct config_reader *reader, const struct config_node *node, size_t max,
                       bool slash);
bool config_name_is_fit(const char *name, size_t max, bool slash);

#endif
