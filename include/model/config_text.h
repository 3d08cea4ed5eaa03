/* Small readers of texts in the configuration. Pure, but for the environment and files they are
 * told to read. */
#ifndef MODEL_CONFIG_TEXT_H
#define MODEL_CONFIG_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONFIG_PROBLEM_MAX = 256 };

/*
 * Replaces ${NAME} and ${NAME:-default} (used when NAME is unset or empty) from the environment;
 * `$${` stands for a literal `${`. What was put in is not looked at again. *replaced: was there
 * any? The result is freed with config_text_wipe. NULL with a message in
 * problem[CONFIG_PROBLEM_MAX], which names the variable but never a value.
 */
char *config_text_expand(const char *text, bool *replaced, char *problem);

/* The content of a regular file of at most CONFIG_SCALAR_MAX bytes, line ends at its end
 * removed. NULL with a message in problem, without any of the content. Freed with
 * config_text_wipe. */
char *config_text_file(const char *path, char *problem);

/* Wipes and frees; NULL is allowed. */
void config_text_wipe(char *text);

bool config_text_has_controls(const char *text);

/* A number in JSON's grammar. */
bool config_text_to_number(const char *text, double *out);
/* A whole number without sign or leading zeros. */
bool config_text_to_whole(const char *text, uint64_t *out);
/* Seconds, or with ms, s, m, h. *unit: was one given? False when it is no duration. */
bool config_text_to_ms(const char *text, double *ms, bool *unit);
/* Bytes, or with KiB, MiB, GiB. */
bool config_text_to_bytes(const char *text, uint64_t *bytes, bool *unit);

/* What is wrong with a provider's base URL, or NULL. Never contains the URL, for it may hold a
 * password. */
const char *config_url_problem(const char *url);
/* Would a key sent there reach OpenAI, and nobody on the way? */
bool config_url_is_openai(const char *url);

/* Splits HOST:PORT, [V6]:PORT, :PORT or *:PORT. host[size] becomes "*" for every interface.
 * Returns what is wrong, or NULL. */
const char *config_address_split(const char *text, char *host, size_t size, uint16_t *port);

/* Is it a token of RFC 9110, as header names are? */
bool config_text_is_token(const char *text);

/* Is `name` so near to `known` that a slip of the finger is likely? *distance: how near; smaller
 * is nearer. */
bool config_text_is_like(const char *name, const char *known, unsigned *distance);

/* Edits that turn one into the other (insert, delete, replace, swap neighbours); at most `limit`
 * + 1. */
unsigned config_text_distance(const char *a, const char *b, unsigned limit);

#endif
