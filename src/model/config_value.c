/* One value of the configuration file: its text made into what its key wants, or a fault. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/config_table.h"
#include "model/config_text.h"

struct scalar {
	char *text;   /* owned; variables replaced */
	bool bare;    /* may be a number or a boolean: without quotes, or taken from a variable */
	bool literal; /* without quotes and not from a variable: what YAML says it is */
};

static const char *
type_wanted(enum config_type type)
{
	switch (type) {
	case KEY_BOOL: return "true or false is wanted";
	case KEY_COUNT:
	case KEY_PORT:
	case KEY_TOKENS: return "a whole number is wanted";
	case KEY_SIZE: return "a number of bytes is wanted, such as 1048576, 64KiB, 10MiB, 1GiB";
	case KEY_DURATION: return "a duration is wanted: seconds, or such as 250ms, 30s, 5m, 1h";
	case KEY_NUMBER:
	case KEY_MONEY: return "a number is wanted";
	case KEY_TEXT:
	case KEY_SECRET:
	case KEY_URL:
	case KEY_NAME:
	case KEY_CHOICE:
	case KEY_RULE: return "a text is wanted";
	case KEY_BLOCK:
	case KEY_BLOCKS:
	case KEY_HEADERS: return "a block of keys is wanted";
	case KEY_NAMES: return "a name or a list of names is wanted";
	case KEY_TEXTS:
	case KEY_ADDRESSES: return "a list is wanted";
	}
	return "";
}

static bool
scalar_open(struct config_reader *reader, enum config_type type, const struct config_node *node,
            struct scalar *scalar)
{
	char problem[CONFIG_PROBLEM_MAX];
	bool replaced;

	if (node->kind != NODE_SCALAR) {
		config_error(reader, config_at(node), "%s", type_wanted(type));
		return false;
	}
	if (config_node_is_null(node)) {
		config_error(reader, config_at(node), "has no value; %s", type_wanted(type));
		return false;
	}
	scalar->text = config_text_expand(node->text, &replaced, problem);
	if (!scalar->text) {
		config_error(reader, config_at(node), "%s", problem);
		return false;
	}
	scalar->bare = node->plain || replaced;
	scalar->literal = node->plain && !replaced;
	return true;
}

static bool
fail_type(struct config_reader *reader, const struct config_key *key,
          const struct config_node *node, const struct scalar *scalar)
{
	config_error(reader, config_at(node), "%s%s", type_wanted(key->type),
	             scalar->bare ? "" : ", without quotes");
	return false;
}

static bool
check_range(struct config_reader *reader, const struct config_key *key,
            const struct config_node *node, double value, const char *unit)
{
	if (value >= key->min && value <= key->max)
		return true;
	config_error(reader, config_at(node), "must be between %.15g and %.15g%s", key->min,
	             key->max, unit);
	return false;
}

/* COUNT, PORT, TOKENS, SIZE. */
static bool
read_whole(struct config_reader *reader, const struct config_key *key,
           const struct config_node *node, const struct scalar *scalar, uint64_t *out)
{
	bool unit = false, fine;
	double number;

	if (key->type == KEY_SIZE)
		fine = config_text_to_bytes(scalar->text, out, &unit) && (scalar->bare || unit);
	else
		fine = scalar->bare && config_text_to_whole(scalar->text, out);
	/* What is whole but negative, or too long for the machine, is of the right type. */
	if (!fine && scalar->bare && config_text_to_number(scalar->text, &number) &&
	    !strpbrk(scalar->text, ".eE"))
		return check_range(reader, key, node, number, "");
	if (!fine)
		return fail_type(reader, key, node, scalar);
	return check_range(reader, key, node, (double)*out, "");
}

/* NUMBER, MONEY. */
static bool
read_number(struct config_reader *reader, const struct config_key *key,
            const struct config_node *node, const struct scalar *scalar, double *out)
{
	if (!scalar->bare || !config_text_to_number(scalar->text, out))
		return fail_type(reader, key, node, scalar);
	return check_range(reader, key, node, *out, "");
}

static bool
read_money(struct config_reader *reader, const struct config_key *key,
           const struct config_node *node, const struct scalar *scalar, uint64_t *out)
{
	double number;

	if (!read_number(reader, key, node, scalar, &number))
		return false;
	*out = (uint64_t)llround(number * 1e6);
	/* What costs a little must not become free. */
	if (number <= 0 || *out > 0)
		return true;
	config_error(reader, config_at(node), "less than 0.000001 USD per million tokens");
	return false;
}

static bool
read_duration(struct config_reader *reader, const struct config_key *key,
              const struct config_node *node, const struct scalar *scalar, uint32_t *out)
{
	bool unit;
	double ms;

	if (!config_text_to_ms(scalar->text, &ms, &unit) || !(scalar->bare || unit))
		return fail_type(reader, key, node, scalar);
	if (!check_range(reader, key, node, ms / 1e3, " seconds"))
		return false;
	/* Rounding it to 0 would turn a very short wait into an endless one. */
	if (ms > 0 && ms < 1) {
		config_error(reader, config_at(node), "shorter than a millisecond");
		return false;
	}
	*out = (uint32_t)llround(ms);
	return true;
}

/* Is it what YAML takes for a number or a boolean? */
static bool
scalar_is_no_text(const struct scalar *scalar)
{
	double number;

	return scalar->literal &&
	       (strcmp(scalar->text, "true") == 0 || strcmp(scalar->text, "false") == 0 ||
	        config_text_to_number(scalar->text, &number));
}

static bool
check_text(struct config_reader *reader, const struct config_node *node,
           const struct scalar *scalar)
{
	if (scalar_is_no_text(scalar)) {
		config_error(reader, config_at(node), "a text is wanted; put it in quotes");
		return false;
	}
	if (config_text_has_controls(scalar->text)) {
		config_error(reader, config_at(node), "may not hold control characters");
		return false;
	}
	return true;
}

static bool
check_length(struct config_reader *reader, const struct config_key *key,
             const struct config_node *node, const char *text)
{
	size_t n = strlen(text);

	if ((double)n >= key->min && (double)n <= key->max)
		return true;
	if (n == 0)
		config_error(reader, config_at(node), "must not be empty");
	else
		config_error(reader, config_at(node), "must not be longer than %.0f bytes",
		             key->max);
	return false;
}

/* Replaces `file:PATH` with the file's content. */
static bool
scalar_read_file(struct config_reader *reader, const struct config_node *node,
                 struct scalar *scalar)
{
	char problem[CONFIG_PROBLEM_MAX];
	char *content;

	if (strncmp(scalar->text, "file:", 5) != 0)
		return true;
	content = config_text_file(scalar->text + 5, problem);
	config_text_wipe(scalar->text);
	scalar->text = content;
	scalar->literal = false;
	if (!content)
		config_error(reader, config_at(node), "%s", problem);
	return content != NULL;
}

static char *
text_read(struct config_reader *reader, enum config_type type, const struct config_node *node)
{
	struct scalar scalar;
	char *copy = NULL;

	if (!scalar_open(reader, type, node, &scalar))
		return NULL;
	if (check_text(reader, node, &scalar) &&
	    (type != KEY_SECRET || scalar_read_file(reader, node, &scalar))) {
		/* Again, for now it may be a file's content. */
		if (check_text(reader, node, &scalar))
			copy = config_copy(reader->config, scalar.text);
	}
	config_text_wipe(scalar.text);
	return copy;
}

char *
config_text_read(struct config_reader *reader, const struct config_node *node)
{
	return text_read(reader, KEY_TEXT, node);
}

char *
config_secret_read(struct config_reader *reader, const struct config_node *node)
{
	return text_read(reader, KEY_SECRET, node);
}

/* TEXT, NAME, SECRET, URL. */
static bool
read_text(struct config_reader *reader, const struct config_key *key,
          const struct config_node *node, char **out)
{
	char *text = text_read(reader, key->type, node);
	const char *problem = NULL;

	if (!text || !check_length(reader, key, node, text))
		return false;
	if (key->type == KEY_URL && (problem = config_url_problem(text))) {
		config_error(reader, config_at(node), "%s", problem);
		return false;
	}
	for (size_t n = strlen(text); key->type == KEY_URL && text[n - 1] == '/'; n--)
		text[n - 1] = '\0';
	*out = key->type == KEY_SECRET && !*text ? NULL : text;
	return true;
}

/* The place of text in "a|b|c", or -1. */
static int
choice_find(const char *choices, const char *text)
{
	size_t n = strlen(text);

	for (int i = 0; choices; i++) {
		const char *end = strchr(choices, '|');
		size_t length = end ? (size_t)(end - choices) : strlen(choices);

		if (n == length && memcmp(choices, text, n) == 0)
			return i;
		choices = end ? end + 1 : NULL;
	}
	return -1;
}

static void
fail_choice(struct config_reader *reader, const struct config_key *key,
            const struct config_node *node)
{
	struct buf names;

	buf_init(&names, 0);
	for (const char *p = key->choices; *p; p++) {
		if (*p == '|')
			buf_add_text(&names, ", ");
		else
			buf_add(&names, p, 1);
	}
	config_error(reader, config_at(node), "must be one of: %.*s", (int)names.n, names.p);
	buf_fini(&names);
}

static bool
read_choice(struct config_reader *reader, const struct config_key *key,
            const struct config_node *node, unsigned *out)
{
	struct scalar scalar;
	int index;

	if (!scalar_open(reader, KEY_CHOICE, node, &scalar))
		return false;
	index = choice_find(key->choices, scalar.text);
	config_text_wipe(scalar.text);
	if (index < 0)
		fail_choice(reader, key, node);
	else
		*out = (unsigned)index;
	return index >= 0;
}

static bool
read_rule(struct config_reader *reader, const struct config_key *key,
          const struct config_node *node, const struct rule_kind **out)
{
	struct scalar scalar;

	if (!scalar_open(reader, KEY_RULE, node, &scalar))
		return false;
	*out = rule_kind_find(scalar.text);
	config_text_wipe(scalar.text);
	if (!*out)
		fail_choice(reader, key, node);
	return *out != NULL;
}

/* What is neither text nor choice. */
static bool
read_scalar(struct config_reader *reader, const struct config_key *key,
            const struct config_node *node, const struct scalar *scalar, union config_value *value)
{
	uint64_t whole;

	if (key->type == KEY_BOOL) {
		value->flag = strcmp(scalar->text, "true") == 0;
		if (scalar->bare && (value->flag || strcmp(scalar->text, "false") == 0))
			return true;
		return fail_type(reader, key, node, scalar);
	}
	if (key->type == KEY_DURATION)
		return read_duration(reader, key, node, scalar, &value->ms);
	if (key->type == KEY_NUMBER)
		return read_number(reader, key, node, scalar, &value->number);
	if (key->type == KEY_MONEY)
		return read_money(reader, key, node, scalar, &value->whole);
	if (!read_whole(reader, key, node, scalar, &whole))
		return false;
	if (key->type == KEY_COUNT || key->type == KEY_PORT)
		value->count = (unsigned)whole;
	else
		value->whole = whole;
	return true;
}

bool
config_value_read(struct config_reader *reader, const struct config_key *key,
                  const struct config_node *node, union config_value *value)
{
	struct scalar scalar;
	bool fine;

	switch (key->type) {
	case KEY_TEXT:
	case KEY_NAME:
	case KEY_SECRET:
	case KEY_URL: return read_text(reader, key, node, &value->text);
	case KEY_CHOICE: return read_choice(reader, key, node, &value->count);
	case KEY_RULE: return read_rule(reader, key, node, &value->rule);
	case KEY_BOOL:
	case KEY_COUNT:
	case KEY_PORT:
	case KEY_TOKENS:
	case KEY_SIZE:
	case KEY_DURATION:
	case KEY_NUMBER:
	case KEY_MONEY: break;
	case KEY_BLOCK:
	case KEY_BLOCKS:
	case KEY_NAMES:
	case KEY_TEXTS:
	case KEY_ADDRESSES:
	case KEY_HEADERS: die("%s: no value of one scalar", key->name);
	}
	if (!scalar_open(reader, key->type, node, &scalar))
		return false;
	fine = read_scalar(reader, key, node, &scalar, value);
	config_text_wipe(scalar.text);
	return fine;
}
